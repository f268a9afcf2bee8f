//! Frames on their way to judgement: read ahead, their flows' places asked of the cache meanwhile. No
//! verdict is made here, and what is asked for changes none.
//!
//! ```text
//! frame 48 ahead  its headers are asked for
//!       16 ahead  they are read, the index of the flow table is asked for
//!        8 ahead  the index is read, the entry is asked for
//!        0        judged
//! ```

use super::{Engine, Frame};
use crate::flow::{FlowHash, FlowKey, Likely, Near};
use crate::model::{Addr, Reason, ScopeId};
use crate::wire::{self, Body, Checksums, Packet, TcpGlimpse, near};

/// How far ahead of being read a frame's headers are asked for.
const HEADERS_AHEAD: usize = 32;
/// How far ahead of judgement frames are read and the index of the flow table is asked for.
pub(super) const LOOKAHEAD: usize = 16;
/// How far ahead the flow's entry is asked for.
const ENTRY_AHEAD: usize = 8;

/// The frames between reading and judgement, each at its number modulo their count.
#[derive(Debug)]
pub(super) struct Ahead {
    soon: [Soon; LOOKAHEAD],
    /// Those that are not of the usual form, or of an unknown scope.
    whole: [Prepared; LOOKAHEAD],
}

/// A frame of the usual form, or a sign that it is another.
#[derive(Clone, Copy, Debug)]
pub(super) struct Soon {
    pub(super) key: Near,
    pub(super) hash: FlowHash,
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
    /// What was read of frame `number`.
    #[inline(always)]
    pub(super) const fn next(&self, number: usize) -> Next<'_> {
        let soon = &self.soon[number % LOOKAHEAD];
        if soon.usual { Next::Usual(soon) } else { Next::Whole(&self.whole[number % LOOKAHEAD]) }
    }
}

impl Engine {
    /// Asks for the headers of the first frames.
    #[inline]
    pub(super) fn begin_batch(frames: &[Frame<'_>]) {
        for frame in frames.iter().take(HEADERS_AHEAD) {
            near::prefetch_headers(frame.bytes);
        }
    }

    /// Brings every frame of the batch a step nearer; `step` is the number of the one to be read now.
    #[inline(always)]
    pub(super) fn look_ahead(&self, step: usize, frames: &[Frame<'_>], ahead: &mut Ahead) {
        if let Some(frame) = frames.get(step.wrapping_add(HEADERS_AHEAD)) {
            near::prefetch_headers(frame.bytes);
        }
        if let Some(frame) = frames.get(step) {
            let soon = &mut ahead.soon[step % LOOKAHEAD];
            if self.read_usual(frame, soon).is_none() {
                soon.usual = false;
                self.read_whole(frame, &mut ahead.whole[step % LOOKAHEAD]);
            }
        }
        let Some(near) = step.checked_sub(LOOKAHEAD - ENTRY_AHEAD) else { return };
        if near >= frames.len() {
            return;
        }
        let soon = &mut ahead.soon[near % LOOKAHEAD];
        if soon.usual {
            soon.likely = self.table.likely(soon.hash, self.busy != 0);
        } else {
            self.table.prefetch_entry(ahead.whole[near % LOOKAHEAD].hash);
        }
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
        self.table.prefetch_bucket(hash);
        *soon = Soon {
            key,
            hash,
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

impl Soon {
    const NONE: Self = Self {
        key: Near::NONE,
        hash: FlowHash::NONE,
        likely: Likely::NONE,
        tcp: TcpGlimpse { seq: 0, ack: 0, window: 0, flags: wire::TcpFlags(0) },
        ip_len: 0,
        payload_len: 0,
        reversed: false,
        usual: false,
    };

    /// The same at length.
    pub(super) fn prepared(&self, frame: &Frame<'_>) -> Prepared {
        let (key, packet) = (FlowKey::from(self.key), wire::at_length(frame.bytes));
        Prepared {
            fault: packet.is_none().then_some(Reason::Truncated),
            packet: packet.unwrap_or(Packet::NONE),
            plain: true,
            scope: Some(key.scope()),
            key,
            hash: self.hash,
            reversed: self.reversed,
        }
    }
}

impl Prepared {
    const NONE: Self = Self {
        packet: Packet::NONE,
        fault: None,
        plain: false,
        scope: None,
        key: FlowKey::NONE,
        hash: FlowHash::NONE,
        reversed: false,
    };
}

impl Default for Ahead {
    fn default() -> Self {
        Self { soon: [Soon::NONE; LOOKAHEAD], whole: [Prepared::NONE; LOOKAHEAD] }
    }
}
