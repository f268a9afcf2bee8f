//! Holding frames and letting them go: in the order they came, each in its own encapsulation, once.

use super::frame::{Discard, Extra};
use super::gate::Account;
use super::state::{Held, Inspection};
use super::tally::PairRef;
use super::{Engine, Output, Parcel};
use crate::flow::FlowId;
use crate::model::{Direction, Reason, Verdict};
use crate::wire;

impl Engine {
    /// Keeps a parcel until its flow is decided.
    pub(super) fn hold(
        &mut self,
        id: FlowId,
        inspection: &mut Inspection,
        parcel: &Parcel<'_>,
        direction: Direction,
        (start, end): (u32, u32),
    ) -> Verdict {
        let single = parcel.bytes.len();
        let size = if parcel.parts.is_empty() {
            single
        } else {
            parcel.parts.iter().map(|part| part.bytes.len()).sum()
        };
        if inspection.held_bytes.saturating_add(size) > self.held_bytes_per_flow() {
            return Verdict::Drop(Reason::LimitHeld);
        }
        let account = self.charged(id);
        if let Err(reason) = self.gate.hold(account, size) {
            return Verdict::Drop(reason);
        }
        if inspection.held.is_empty() {
            inspection.deadline = self.now + self.policy.defaults().pending_timeout;
        }
        inspection.held_bytes = inspection.held_bytes.saturating_add(size);
        let strand = inspection.inspector.strand();
        let keep = |number, bytes: &[u8], packet: &wire::Packet| Held {
            number,
            link: packet.link,
            direction,
            start,
            end,
            strand,
            packet: *packet,
            bytes: bytes.to_vec(),
        };
        if parcel.parts.is_empty() {
            inspection.held.push(keep(parcel.number, parcel.bytes, parcel.packet));
        }
        for part in parcel.parts {
            inspection.held.push(keep(part.number, &part.bytes, &part.packet));
        }
        Verdict::Hold
    }

    /// A SYN is never held: its client comes again without data (RFC 7413 section 4.1.3). Takes back
    /// what was just kept of it.
    pub(super) fn refuse_syn_data(&mut self, id: FlowId, parcel: &Parcel<'_>) -> Verdict {
        let Some(at) = self.table.get(id).map(|flow| flow.case) else {
            return Verdict::Drop(Reason::SynData);
        };
        if let Some(mut case) = self.cases.take(at) {
            if let Some(inspection) = case.inspection.as_mut() {
                for _ in 0..parcel.parts.len().max(1) {
                    let Some(frame) = inspection.held.pop() else { break };
                    self.unhold(id, inspection, frame.bytes.len());
                }
            }
            self.cases.put(at, case);
        }
        Verdict::Drop(Reason::SynData)
    }

    /// Lets every held frame go that its direction's clearance covers.
    pub(super) fn release(
        &mut self,
        id: FlowId,
        inspection: &mut Inspection,
        parcel: &Parcel<'_>,
        out: &mut Output,
    ) {
        if inspection.held.is_empty() {
            return;
        }
        let cleared = inspection.lanes.each_ref().map(|lane| lane.cleared);
        let goes = |held: &Held| {
            cleared.get(held.direction.index()).is_some_and(|cleared| cleared.covers(held.end))
        };
        let (free, kept) = std::mem::take(&mut inspection.held).into_iter().partition(goes);
        inspection.held = kept;
        self.send_held(id, inspection, free, parcel.position, out);
    }

    /// Lets every held datagram go that waits for what the last one was part of, or for nothing of its
    /// own.
    pub(super) fn release_strand(
        &mut self,
        id: FlowId,
        inspection: &mut Inspection,
        position: usize,
        out: &mut Output,
    ) {
        if inspection.held.is_empty() {
            return;
        }
        let strand = inspection.inspector.strand();
        let goes = |held: &Held| strand.frees(held.strand);
        let (free, kept) = std::mem::take(&mut inspection.held).into_iter().partition(goes);
        inspection.held = kept;
        self.send_held(id, inspection, free, position, out);
    }

    /// Drops every held datagram that is part of what is read no more: nothing will ever decide it.
    pub(super) fn drop_unread(
        &mut self,
        id: FlowId,
        inspection: &mut Inspection,
        out: &mut Output,
    ) {
        let inspector = &inspection.inspector;
        if inspection.held.iter().all(|held| inspector.reads(held.strand)) {
            return;
        }
        let reads = |held: &Held| inspector.reads(held.strand);
        let (read, unread) = std::mem::take(&mut inspection.held).into_iter().partition(reads);
        inspection.held = unread;
        self.drop_held(id, inspection, Reason::HeldDiscarded, out);
        inspection.held = read;
    }

    /// Lets every held frame go.
    pub(super) fn release_all(
        &mut self,
        id: FlowId,
        inspection: &mut Inspection,
        position: usize,
        out: &mut Output,
    ) {
        let held = std::mem::take(&mut inspection.held);
        self.send_held(id, inspection, held, position, out);
    }

    fn send_held(
        &mut self,
        id: FlowId,
        inspection: &mut Inspection,
        held: Vec<Held>,
        position: usize,
        out: &mut Output,
    ) {
        for mut frame in held {
            self.unhold(id, inspection, frame.bytes.len());
            self.counters.release();
            self.tally_release(id, &frame);
            wire::reflect(&mut frame.bytes, &frame.packet);
            out.extras.push(Extra {
                before: position,
                origin: frame.origin(),
                link: frame.link,
                bytes: frame.bytes,
            });
        }
    }

    /// Drops every held frame.
    pub(super) fn drop_held(
        &mut self,
        id: FlowId,
        inspection: &mut Inspection,
        reason: Reason,
        out: &mut Output,
    ) {
        for frame in std::mem::take(&mut inspection.held) {
            self.unhold(id, inspection, frame.bytes.len());
            self.counters.drop_held(reason);
            let pair = self.pair_of(id);
            self.tally.count_at(pair, Verdict::Drop(reason), frame.bytes.len());
            out.discards.push(Discard { number: frame.number, reason });
        }
    }

    /// Drops what a flow holds, wherever its case is.
    pub(super) fn discard_held(&mut self, id: FlowId, reason: Reason, out: &mut Output) {
        let Some(at) = self.table.get(id).map(|flow| flow.case) else { return };
        let Some(mut case) = self.cases.take(at) else { return };
        if let Some(inspection) = case.inspection.as_mut() {
            self.drop_held(id, inspection, reason, out);
        }
        self.cases.put(at, case);
    }

    fn unhold(&mut self, id: FlowId, inspection: &mut Inspection, bytes: usize) {
        let account = self.charged(id);
        self.gate.unhold(account, bytes);
        inspection.held_bytes = inspection.held_bytes.saturating_sub(bytes);
    }

    fn tally_release(&mut self, id: FlowId, frame: &Held) {
        let pair = self.pair_of(id);
        self.tally.count_at(pair, Verdict::Forward, frame.bytes.len());
        let Some(flow) = self.table.get_mut(id) else { return };
        self.asides.release(id.index(), flow, frame.direction, frame.packet.ip_len);
    }

    /// The pair a flow is counted for; none between a reload and its next packet.
    fn pair_of(&self, id: FlowId) -> PairRef {
        let flow = self.table.get(id).filter(|flow| flow.epoch(self.epoch.0) == self.epoch.0);
        flow.map_or(PairRef::NONE, |flow| flow.pair)
    }

    /// Who pays for a flow.
    fn charged(&self, id: FlowId) -> Account {
        self.table.get(id).map_or_else(Account::default, |flow| flow.account)
    }
}
