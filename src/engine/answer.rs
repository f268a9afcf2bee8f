//! Denials carried out: who is told, and with what. The frames themselves are built by `wire`.

use super::entry::Mark;
use super::frame::{Extra, Origin};
use super::gate::Account;
use super::record::{Ended, Event};
use super::state::{Case, Cleared, Inspection, Stage};
use super::{Engine, Output, Parcel};
use crate::flow::{FlowId, TcpState};
use crate::model::{Action, Direction, FlowVerdict, Reason, Verdict};
use crate::wire::{Body, Packet, TcpSegment, answer};

/// A packet that is answered, and before which frame of the batch the answer leaves.
pub(super) struct Prompt<'a> {
    packet: &'a Packet,
    bytes: &'a [u8],
    before: usize,
    origin: Origin,
}

impl<'a> From<&Parcel<'a>> for Prompt<'a> {
    /// Answers leave right behind the packet.
    fn from(parcel: &Parcel<'a>) -> Self {
        let before = parcel.position.saturating_add(1);
        Self { packet: parcel.packet, bytes: parcel.bytes, before, origin: Origin::Answer }
    }
}

impl Engine {
    /// Ends a stream on a denial: held frames are dropped; a flow whose handshake passed is reset
    /// towards the server, and with `reject` towards the client too.
    pub(super) fn end_stream(
        &mut self,
        id: FlowId,
        inspection: &mut Inspection,
        parcel: &Parcel<'_>,
        direction: Direction,
        verdict: FlowVerdict,
        out: &mut Output,
    ) -> Verdict {
        self.drop_held(id, inspection, Reason::HeldDenied, out);
        inspection.done = true;
        self.end_flow(id, verdict);
        self.reset(id, &parcel.into(), direction, verdict, inspection.sent(), out);
        Verdict::Drop(verdict.reason)
    }

    /// Ends a flow that has waited for its decision as long as one may, on the first frame it holds;
    /// like any other denial it is remembered. False: it holds none, and nothing has changed.
    pub(super) fn end_waiting(&mut self, id: FlowId, before: usize, out: &mut Output) -> bool {
        let Some(flow) = self.table.get(id) else { return false };
        let (at, policy) = (flow.case, self.present_policy_of(flow));
        let account = Some(flow.account);
        let Some(mut case) = self.cases.take(at) else { return false };
        let Some(mut inspection) = case.inspection.take_if(|open| !open.held.is_empty()) else {
            self.cases.put(at, case);
            return false;
        };
        let whole = inspection.held.iter().find(|held| !held.packet.is_fragment());
        let heard = whole.map(|held| (held.packet, held.bytes.clone(), held.direction));
        self.drop_held(id, &mut inspection, Reason::HeldDenied, out);
        let verdict = self.deny_undecided(policy);
        self.end_flow(id, verdict);
        if let Some((packet, bytes, direction)) = &heard {
            let prompt = Prompt { packet, bytes, before, origin: Origin::Overdue };
            match packet.body {
                Body::Tcp(_) => {
                    self.reset(id, &prompt, *direction, verdict, inspection.sent(), out);
                }
                _ => self.answer_refusal(account, &prompt, verdict, out),
            }
        }
        self.cases.leave(inspection);
        self.shelve(id, at, case);
        true
    }

    /// Writes a denial into a flow.
    pub(super) fn end_flow(&mut self, id: FlowId, verdict: FlowVerdict) {
        let now = self.now;
        self.note_last(id);
        if let Some(flow) = self.table.get_mut(id) {
            flow.set_verdict(verdict);
            flow.set_stage(Stage::Final);
        }
        self.table.touch(id, now, super::open::REFUSED);
    }

    /// RST to the sides that have seen the flow, the server first: GWLB may forget the flow at the
    /// first. `sent` says up to where either direction was forwarded.
    pub(super) fn reset(
        &mut self,
        id: FlowId,
        prompt: &Prompt<'_>,
        direction: Direction,
        verdict: FlowVerdict,
        sent: [Option<u32>; 2],
        out: &mut Output,
    ) {
        let Some(flow) = self.table.get(id) else { return };
        let seq = |of: Direction| {
            sent.get(of.index()).copied().flatten().unwrap_or_else(|| flow.tcp.next_seq(of))
        };
        let (from_client, from_server) = (seq(Direction::Original), seq(Direction::Reply));
        let account = Some(flow.account);
        let answers = flow.tcp.state() != TcpState::SynSent;
        let mut sides = Vec::with_capacity(2);
        if answers {
            sides.push((Direction::Original, from_client, from_server));
        }
        if verdict.action == Action::Reject {
            sides.push((Direction::Reply, from_server, from_client));
        }
        for (as_sent, seq, ack) in sides {
            let toward = if as_sent == direction {
                answer::Toward::Receiver
            } else {
                answer::Toward::Sender
            };
            if self.gate.answer(account, self.now) {
                let frame = answer::rst(prompt.bytes, prompt.packet, seq, Some(ack), toward);
                self.send_answer(frame, prompt, out);
            }
        }
    }

    /// Answers the packet on which a flow of this account was refused, or what is no segment's, as the
    /// action says.
    pub(super) fn refuse(
        &mut self,
        account: Option<Account>,
        parcel: &Parcel<'_>,
        verdict: FlowVerdict,
        out: &mut Output,
    ) {
        self.answer_refusal(account, &parcel.into(), verdict, out);
    }

    /// A RST of a peer, which discards what is held. Nobody reads the text it may carry (RFC 9293 section
    /// 3.5.3), so nobody allowed it: the reset goes on without. One that counts bytes which were held
    /// would not be taken for one behind what its receiver has (section 3.10.7.4): it goes on from there.
    /// Both leave in a frame of our own, one for one.
    pub(super) fn peer_reset(
        &mut self,
        id: FlowId,
        parcel: &Parcel<'_>,
        segment: &TcpSegment,
        direction: Direction,
        out: &mut Output,
    ) -> Verdict {
        let Some(flow) = self.table.get(id) else { return Verdict::Drop(Reason::FlowDenied) };
        let decided = flow.stage() == Stage::Final || flow.is(Mark::Monitored);
        let fits = flow.ended() == Some(Ended::Reset);
        let open = self.cases.get(flow.case).and_then(|case| case.inspection.as_deref());
        let sent = open.filter(|open| fits && !open.unasked);
        let sent = sent.and_then(|open| *direction.of(&open.sent()));
        let withheld = |sent: &u32| (segment.seq.wrapping_sub(*sent) as i32) > 0;
        let sent = sent.filter(withheld);
        self.discard_held(id, Reason::HeldDiscarded, out);
        let bare = parcel.payload.is_empty();
        if decided || (bare && sent.is_none()) {
            return Verdict::Forward;
        }
        let ack = segment.flags.ack().then_some(segment.ack);
        let (seq, onward) = (sent.unwrap_or(segment.seq), answer::Toward::Receiver);
        let frame = answer::rst(parcel.bytes, parcel.packet, seq, ack, onward);
        if frame.is_none() && bare {
            return Verdict::Forward;
        }
        self.send_answer(frame, &parcel.into(), out);
        Verdict::Drop(Reason::Undecided)
    }

    fn answer_refusal(
        &mut self,
        account: Option<Account>,
        prompt: &Prompt<'_>,
        verdict: FlowVerdict,
        out: &mut Output,
    ) {
        let packet = prompt.packet;
        if verdict.action != Action::Reject || !answer::is_answerable(packet) {
            return;
        }
        if !self.gate.answer(account, self.now) {
            return;
        }
        let frame = match packet.body {
            Body::Tcp(_) => answer::rst_to_sender(prompt.bytes, packet),
            _ => answer::icmp_prohibited(prompt.bytes, packet),
        };
        self.send_answer(frame, prompt, out);
    }

    /// A packet of a flow that was refused before: a rejected TCP client that comes again is told
    /// again, everything else is silent.
    pub(super) fn refuse_again(
        &mut self,
        account: Account,
        parcel: &Parcel<'_>,
        direction: Direction,
        verdict: FlowVerdict,
        out: &mut Output,
    ) {
        if direction == Direction::Original {
            self.refuse(Some(account), parcel, verdict, out);
        }
    }

    /// Refuses one DNS message, which starts so many bytes behind the start of the payload; its
    /// flow goes on. Whether question or answer, it is the client that is told.
    pub(super) fn refuse_message(
        &mut self,
        id: FlowId,
        case: &Case,
        parcel: &Parcel<'_>,
        (direction, message_at): (Direction, usize),
        verdict: FlowVerdict,
        out: &mut Output,
    ) {
        let account = self.table.get_mut(id).map(|flow| {
            flow.set_verdict(verdict);
            flow.set_stage(Stage::Following);
            flow.account
        });
        if verdict.action == Action::Reject && self.gate.answer(account, self.now) {
            let toward = match direction {
                Direction::Original => answer::Toward::Sender,
                Direction::Reply => answer::Toward::Receiver,
            };
            let frame = answer::dns_refused(parcel.bytes, parcel.packet, message_at, toward);
            self.send_answer(frame, &parcel.into(), out);
        }
        self.start_event_with(id, case, out);
        if let Some(record) = self.record_with(id, case) {
            out.events.push(Event::MessageDenied(record));
        }
    }

    pub(super) fn send_answer(
        &mut self,
        frame: Option<Vec<u8>>,
        prompt: &Prompt<'_>,
        out: &mut Output,
    ) {
        let Some(bytes) = frame else { return };
        self.counters.answers += 1;
        let &Prompt { before, origin, .. } = prompt;
        out.extras.push(Extra { before, origin, link: prompt.packet.link, bytes });
    }
}

impl Inspection {
    /// Up to where either direction of a stream was let go, where that is not all of it.
    fn sent(&self) -> [Option<u32>; 2] {
        self.lanes.each_ref().map(|lane| match lane.cleared {
            Cleared::To(seq) => Some(seq),
            Cleared::All => None,
        })
    }
}
