//! Frames on their way to judgement: read ahead, their flows' places asked of the cache meanwhile. No
//! verdict is made here, and what is asked for changes none.
//!
//! Frames go in groups of [`GROUP`], a step at a time, so that the groups' loops are short and what is
//! asked for arrives while the groups before it are worked on:
//!
//! ```text
//! 4 groups ahead  headers are asked for
//! 2 groups ahead  headers are read, the index of the flow table is asked for
//! 1 group ahead   the index is read, the entry is asked for; of a flow that is not there, its rules
//!                 and, if it asks one DNS question, what is looked up by its name
//! then            judged
//! ```

use super::early::{DNS_PORT, Early, Questions, prefetch_questions};
use super::{Engine, Frame};
use crate::flow::{FlowHash, FlowKey, Likely, Near};
use crate::model::{Addr, EndpointId, Reason, ScopeId};
use crate::policy::{Approach, Toward};
use crate::wire::{self, Body, Checksums, Packet, TcpGlimpse, near};

/// Frames in a group.
pub(super) const GROUP: usize = 8;
/// Groups between the request for a frame's headers and its judgement.
const HEADERS_AHEAD: usize = 4;
/// Groups between reading and judgement.
const READ_AHEAD: usize = 2;
/// Groups that are kept: those being read, placed and judged, rounded up.
const GROUPS: usize = (READ_AHEAD + 1).next_power_of_two();

/// The groups between reading and judgement, each at its number modulo their count.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    groups: [Group; GROUPS],
    /// What DNS messages among them ask; apart, so that groups lie close to each other.
    questions: [Questions; GROUPS],
}

/// What was read of a group's frames.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) soon: [Soon; GROUP],
    /// Those that are not of the usual form, or of an unknown scope.
    whole: [Prepared; GROUP],
    /// What is known of the flows that were not there when they were looked for.
    pub(super) approach: [Option<Approach>; GROUP],
    /// Whether they were looked for.
    approached: bool,
}

/// A frame of the usual form, or a sign that it is another.
#[derive(Clone, Copy, Debug)]
pub(super) struct Soon {
    pub(super) key: Near,
    pub(super) hash: FlowHash,
    pub(super) endpoint: EndpointId,
    pub(super) likely: Likely,
    pub(super) tcp: TcpGlimpse,
    pub(super) ip_len: u16,
    pub(super) payload_len: u16,
    pub(super) reversed: bool,
    usual: bool,
}

/// A frame that has been parsed and whose flow's place in the table is on its way to the cache.
#[derive(Clone, Copy, Debug)]
pub(super) struct Prepared {
    pub(super) packet: Packet,
    /// Why it could not be parsed; then nothing else here counts.
    pub(super) fault: Option<Reason>,
    /// A whole TCP or UDP packet in a known scope.
    pub(super) plain: bool,
    pub(super) scope: Option<ScopeId>,
    pub(super) key: FlowKey,
    pub(super) hash: FlowHash,
    likely: Likely,
    pub(super) reversed: bool,
}

/// What is next in line.
pub(super) enum Next<'a> {
    /// A frame of the usual form.
    Usual(&'a Soon),
    /// Any other.
    Whole(&'a Prepared),
}

impl Ahead {
    /// What was read of a group.
    #[inline]
    pub(super) const fn group(&self, group: usize) -> &Group {
        &self.groups[group % GROUPS]
    }

    /// What is known of the flow that the frame at this position may open, if that was looked up.
    pub(super) fn approach(&self, position: usize) -> Option<&Approach> {
        let group = self.group(position / GROUP);
        group.approach.get(position % GROUP).filter(|_| group.approached)?.as_ref()
    }

    /// What the frame at this position asks, if that was read.
    #[inline]
    pub(super) fn question(&self, position: usize) -> Option<&Early> {
        let group = position / GROUP;
        let questions = &self.questions[group % GROUPS];
        if self.group(group).approached { questions.get(position % GROUP) } else { None }
    }

    #[inline]
    const fn group_mut(&mut self, group: usize) -> &mut Group {
        &mut self.groups[group % GROUPS]
    }
}

impl Group {
    /// Its frames in order; behind the last of a batch come those of another.
    #[inline]
    pub(super) fn iter(&self) -> impl Iterator<Item = Next<'_>> {
        self.soon
            .iter()
            .zip(&self.whole)
            .map(|(soon, whole)| if soon.usual { Next::Usual(soon) } else { Next::Whole(whole) })
    }
}

impl Engine {
    /// Brings frames nearer until those of the first group can be judged.
    pub(super) fn begin_batch(&self, frames: &[Frame<'_>], ahead: &mut Ahead) {
        for frame in frames.iter().take(HEADERS_AHEAD * GROUP) {
            near::prefetch_headers(frame.bytes);
        }
        for group in 0..READ_AHEAD {
            self.read_group(group, frames, ahead);
        }
        self.place_group(0, frames, ahead);
    }

    /// Brings every group behind `group`, which is judged next, a step nearer.
    #[inline(always)]
    pub(super) fn look_ahead(&self, group: usize, frames: &[Frame<'_>], ahead: &mut Ahead) {
        for frame in of_group(frames, group.wrapping_add(HEADERS_AHEAD)) {
            near::prefetch_headers(frame.bytes);
        }
        self.read_group(group.wrapping_add(READ_AHEAD), frames, ahead);
        self.place_group(group.wrapping_add(1), frames, ahead);
    }

    /// Reads the headers of a group and asks for the index.
    #[inline(never)]
    fn read_group(&self, group: usize, frames: &[Frame<'_>], ahead: &mut Ahead) {
        let Group { soon, whole, .. } = ahead.group_mut(group);
        for (frame, (soon, whole)) in of_group(frames, group).zip(soon.iter_mut().zip(whole)) {
            if self.read_usual(frame, soon).is_none() {
                soon.usual = false;
                self.read_whole(frame, whole);
            }
        }
        for soon in &ahead.group(group).soon {
            self.table.prefetch_bucket(soon.hash);
        }
    }

    /// Reads the index for a group and asks for its entries; while flows are new, for their rules too.
    #[inline(never)]
    fn place_group(&self, group: usize, frames: &[Frame<'_>], ahead: &mut Ahead) {
        let all = self.busy != 0;
        let Group { soon, whole, approached, .. } = ahead.group_mut(group);
        *approached = all;
        for (_, (soon, whole)) in of_group(frames, group).zip(soon.iter_mut().zip(whole)) {
            if soon.usual {
                soon.likely = self.table.likely(soon.hash, all);
            } else {
                whole.likely = self.table.likely(whole.hash, true);
            }
        }
        if all {
            self.approach_group(group, frames, ahead);
        }
    }

    /// Asks for the rules of flows that are not there, for their first packets, and reads what they ask;
    /// of the group behind, whose headers are read, for what may be such a question.
    #[inline(never)]
    fn approach_group(&self, group: usize, frames: &[Frame<'_>], ahead: &mut Ahead) {
        let questions = &mut ahead.questions[group % GROUPS];
        questions.clear();
        let near = &mut ahead.groups[group % GROUPS];
        if self.approach_flows(near) {
            self.read_questions(of_group(frames, group), near, questions);
        }
        let next = group.wrapping_add(1);
        prefetch_questions(of_group(frames, next), ahead.group(next));
    }

    /// Asks for the rules. True: some of these packets may be DNS questions.
    #[inline]
    fn approach_flows(&self, group: &mut Group) -> bool {
        let Group { soon, whole, approach, .. } = group;
        let mut may_ask = false;
        for ((soon, whole), approach) in soon.iter().zip(whole).zip(approach) {
            *approach = None;
            if soon.usual && !soon.likely.is_some() {
                let [(src, _), (dst, dst_port)] = soon.key.sides(soon.reversed);
                let toward = Toward { src, dst, dst_port, protocol: soon.key.protocol() };
                may_ask |= dst_port == DNS_PORT;
                *approach = Some(self.policy.approach_v4(soon.key.scope(), &toward));
            } else if !soon.usual && whole.plain && !whole.likely.is_some() {
                let scope = whole.scope.unwrap_or_default();
                *approach = Some(self.policy.approach(scope, &whole.packet.tuple));
            }
        }
        may_ask
    }

    /// Reads a frame of the usual form in a known scope, and asks for its place in the index.
    #[inline(always)]
    fn read_usual(&self, frame: &Frame<'_>, soon: &mut Soon) -> Option<()> {
        let glimpse = wire::glimpse(frame.bytes, frame.link, &self.settings_for(frame))?;
        if let Some(gateways) = &self.gateways
            && !gateways.believe(Addr::v4(glimpse.gateway))
        {
            return None;
        }
        let scope = self.policy.scope(Some(glimpse.endpoint))?;
        let (key, reversed) = Near::v4(scope, glimpse.protocol, glimpse.src, glimpse.dst);
        let hash = self.table.hash_near(&key);
        *soon = Soon {
            key,
            hash,
            endpoint: glimpse.endpoint,
            likely: Likely::NONE,
            tcp: glimpse.tcp,
            ip_len: glimpse.ip_len,
            payload_len: glimpse.payload_len,
            reversed,
            usual: true,
        };
        Some(())
    }

    /// Reads any frame, and asks for its place in the index.
    #[inline(never)]
    fn read_whole(&self, frame: &Frame<'_>, prepared: &mut Prepared) {
        let settings = self.settings_for(frame);
        prepared.fault = wire::read(frame.bytes, frame.link, &settings, &mut prepared.packet);
        prepared.plain = false;
        if prepared.fault.is_some() {
            return;
        }
        let packet = &prepared.packet;
        if let (Some(gateways), Some(outer)) = (&self.gateways, &packet.outer)
            && !gateways.believe(outer.source)
        {
            prepared.fault = Some(Reason::UnknownGateway);
            return;
        }
        let endpoint = packet.outer.map_or(self.bare_endpoint, |outer| Some(outer.endpoint));
        prepared.scope = self.policy.scope(endpoint);
        (prepared.key, prepared.reversed) =
            FlowKey::new(prepared.scope.unwrap_or_default(), &packet.tuple);
        prepared.hash = self.table.hash(&prepared.key);
        prepared.plain = prepared.scope.is_some()
            && !packet.is_fragment()
            && matches!(packet.body, Body::Tcp(_) | Body::Udp);
        self.table.prefetch_bucket(prepared.hash);
    }

    #[inline(always)]
    fn settings_for(&self, frame: &Frame<'_>) -> wire::Settings {
        let mut settings = self.settings;
        if frame.vouched {
            settings.outer_udp = Checksums::Ignore;
        }
        settings
    }
}

/// The frames of a group; none behind the last.
#[inline(always)]
fn of_group<'a, 'f>(
    frames: &'a [Frame<'f>],
    group: usize,
) -> impl Iterator<Item = &'a Frame<'f>> + use<'a, 'f> {
    frames.get(group.wrapping_mul(GROUP)..).unwrap_or_default().iter().take(GROUP)
}

impl Soon {
    /// Whether it is of the usual form.
    #[inline]
    pub(super) const fn is_usual(&self) -> bool {
        self.usual
    }

    const NONE: Self = Self {
        key: Near::NONE,
        hash: FlowHash::NONE,
        endpoint: EndpointId(0),
        likely: Likely::NONE,
        tcp: TcpGlimpse { seq: 0, ack: 0, window: 0, flags: wire::TcpFlags(0) },
        ip_len: 0,
        payload_len: 0,
        reversed: false,
        usual: false,
    };
}

impl Prepared {
    const NONE: Self = Self {
        packet: Packet::NONE,
        fault: None,
        plain: false,
        scope: None,
        key: FlowKey::NONE,
        hash: FlowHash::NONE,
        likely: Likely::NONE,
        reversed: false,
    };
}

impl Default for Group {
    fn default() -> Self {
        Self {
            soon: [Soon::NONE; GROUP],
            whole: [Prepared::NONE; GROUP],
            approach: [None; GROUP],
            approached: false,
        }
    }
}
