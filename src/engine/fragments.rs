//! Packets that came in fragments: every fragment is kept until all are there, then the packet is
//! judged as one, and all of its frames share the verdict. What the receiver puts together is what
//! was judged: no two fragments may share a byte (RFC 5722, RFC 1858).

use super::frame::{Discard, Extra, Origin};
use super::gate::Account;
use super::{Engine, Output, Parcel};
use crate::flow::{FlowKey, Shares};
use crate::model::{Addr, Protocol, Reason, ScopeId, Span, Timestamp, Verdict};
use crate::policy::Located;
use crate::policy::spec::FragmentMode;
use crate::wire::{self, Body, Fragment, Packet};
use std::collections::HashMap;

/// How long a packet may take from its first fragment to its last; RFC 8200 section 4.5 allows
/// receivers 60 s, the largest deployed ones take half of it.
const TIMEOUT: Span = Span::from_secs(30);
/// The largest number of bytes in all fragments of one packet (RFC 791 section 3.1).
const PACKET_MAX: u32 = 65_535;
/// Fragments of one packet: 64 KiB at an MTU of 576.
const PARTS_MAX: usize = 128;
/// The smallest first fragment: a TCP header without options.
const TCP_HEADER: u32 = 20;

/// Whose fragment it is (RFC 791 section 3.2, RFC 8200 section 4.5), per scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct TrainKey {
    scope: ScopeId,
    src: Addr,
    dst: Addr,
    /// The protocol in IPv4, always 44 in IPv6.
    protocol: Protocol,
    id: u32,
}

/// One fragment of a packet, kept.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) number: u64,
    pub(super) packet: Packet,
    pub(super) bytes: Vec<u8>,
    offset: u32,
    len: u32,
}

/// A packet of which not all fragments are there.
#[derive(Debug)]
struct Train {
    parts: Vec<Part>,
    since: Timestamp,
    /// Who pays for it.
    account: Account,
    /// The length behind the last fragment, once that is there.
    end: Option<u32>,
    /// Broken by an overlap: nothing of it passes any more.
    broken: bool,
}

/// All packets whose fragments are being waited for.
#[derive(Debug)]
pub(super) struct Assembly {
    trains: HashMap<TrainKey, Train>,
    /// How many of them each account has: whoever sends first fragments alone keeps nobody else from
    /// sending whole ones.
    shares: Shares<Account>,
    oldest: Timestamp,
}

/// Where a fragment stands in its packet.
#[derive(Clone, Copy)]
struct Place {
    offset: u32,
    len: u32,
    more: bool,
    id: u32,
    protocol: Protocol,
}

impl Assembly {
    pub(super) fn new(limit: usize) -> Self {
        Self { trains: HashMap::new(), shares: Shares::new(limit), oldest: Timestamp::ZERO }
    }
}

impl Train {
    fn bytes(&self) -> usize {
        self.parts.iter().map(|part| part.bytes.len()).sum()
    }
}

impl Engine {
    /// Takes a fragment in; judges its packet if it was the last one missing.
    pub(super) fn fragment(&mut self, parcel: &Parcel<'_>, out: &mut Output) -> Verdict {
        let Some(place) = place_of(parcel.packet) else {
            return Verdict::Drop(Reason::FragmentTiny);
        };
        if self.policy.defaults().fragments == FragmentMode::Deny {
            return Verdict::Drop(Reason::FragmentsDenied);
        }
        let (src, dst) = (parcel.packet.tuple.src, parcel.packet.tuple.dst);
        let Located::Pair { from, .. } = self.policy.locate(parcel.scope, src, dst) else {
            return self.stranger(parcel, out);
        };
        let key =
            TrainKey { scope: parcel.scope, src, dst, protocol: place.protocol, id: place.id };
        let account = self.gate.account(from);
        if let Err(reason) = self.take_in(key, account, place, parcel, out) {
            return Verdict::Drop(reason);
        }
        let Some(parts) = self.complete(key) else { return Verdict::Hold };
        self.judge_train(parts, parcel, out)
    }

    fn take_in(
        &mut self,
        key: TrainKey,
        account: Account,
        place: Place,
        parcel: &Parcel<'_>,
        out: &mut Output,
    ) -> Result<(), Reason> {
        // Who pays stays who it was, whatever ruleset came in between.
        let known = self.assembly.trains.get(&key).map(|train| train.account);
        let account = known.unwrap_or(account);
        if known.is_none() && !self.assembly.shares.has_room(account) {
            return Err(Reason::LimitFragments);
        }
        self.gate.hold(account, parcel.bytes.len())?;
        if self.assembly.trains.is_empty() {
            self.assembly.oldest = self.now;
        }
        let (now, shares) = (self.now, &mut self.assembly.shares);
        let train = self.assembly.trains.entry(key).or_insert_with(|| {
            shares.enter(account);
            Train { parts: Vec::new(), since: now, account, end: None, broken: false }
        });
        if let Err(reason) = train.admit(place) {
            self.gate.unhold(account, parcel.bytes.len());
            if train.broken {
                self.gate.unhold(account, train.bytes());
                for part in std::mem::take(&mut train.parts) {
                    self.counters.drop_held(reason);
                    out.discards.push(Discard { number: part.number, reason });
                }
            }
            return Err(reason);
        }
        let at = train.parts.partition_point(|part| part.offset < place.offset);
        let part = Part {
            number: parcel.number,
            packet: *parcel.packet,
            bytes: parcel.bytes.to_vec(),
            offset: place.offset,
            len: place.len,
        };
        train.parts.insert(at, part);
        Ok(())
    }

    /// The parts of a packet that is whole now.
    fn complete(&mut self, key: TrainKey) -> Option<Vec<Part>> {
        let train = self.assembly.trains.get(&key)?;
        let end = train.end?;
        let mut reached = 0;
        for part in &train.parts {
            if part.offset != reached {
                return None;
            }
            reached = part.offset.saturating_add(part.len);
        }
        if reached != end {
            return None;
        }
        let train = self.assembly.trains.remove(&key)?;
        self.assembly.shares.leave(train.account);
        self.gate.unhold(train.account, train.bytes());
        Some(train.parts)
    }

    /// Judges a packet that is whole; its frames, but the last one received, leave as extras.
    fn judge_train(&mut self, parts: Vec<Part>, last: &Parcel<'_>, out: &mut Output) -> Verdict {
        let Some(first) = parts.first() else { return Verdict::Drop(Reason::FragmentIncomplete) };
        let mut body = Vec::with_capacity(usize::from(u16::MAX));
        for part in &parts {
            let bytes = part.packet.inner(&part.bytes);
            let header = usize::from(part.packet.transport.saturating_sub(part.packet.ip));
            body.extend_from_slice(bytes.get(header..).unwrap_or_default());
        }
        if first.packet.body == Body::Udp && !is_counted(&body) {
            return self.settle_train(parts, last, Verdict::Drop(Reason::UdpLength), out);
        }
        let header = usize::from(first.packet.payload.saturating_sub(first.packet.transport));
        let mut packet = first.packet;
        packet.fragment = Fragment::Whole;
        packet.ip_len = parts.iter().map(|part| part.packet.ip_len).sum();
        let payload = body.get(header..).unwrap_or_default();
        packet.payload_len = u16::try_from(payload.len()).unwrap_or(u16::MAX);
        let (key, reversed) = FlowKey::new(last.scope, &packet.tuple);
        let whole = Parcel {
            key,
            hash: self.table.hash(&key),
            reversed,
            packet: &packet,
            payload,
            bytes: &first.bytes,
            number: first.number,
            parts: &parts,
            sums_up: wire::reassembled_checksum_ok(&first.bytes, &first.packet, &body),
            approach: None,
            ..*last
        };
        let verdict = match &packet.body {
            Body::IcmpError { quoted, .. } => self.related(&whole, quoted, out),
            _ => self.whole(&whole, out),
        };
        self.settle_train(parts, last, verdict, out)
    }

    /// Gives all frames of a packet its verdict. That of the last one received is returned.
    fn settle_train(
        &mut self,
        parts: Vec<Part>,
        last: &Parcel<'_>,
        verdict: Verdict,
        out: &mut Output,
    ) -> Verdict {
        for mut part in parts {
            if part.number == last.number {
                continue;
            }
            match verdict {
                Verdict::Forward => {
                    self.counters.release();
                    wire::reflect(&mut part.bytes, &part.packet);
                    out.extras.push(Extra {
                        before: last.position,
                        origin: Origin::Held(part.number),
                        link: part.packet.link,
                        bytes: part.bytes,
                    });
                }
                Verdict::Drop(reason) => {
                    self.counters.drop_held(reason);
                    out.discards.push(Discard { number: part.number, reason });
                }
                Verdict::Hold => {}
            }
        }
        verdict
    }

    /// Drops what waited too long.
    pub(super) fn expire_fragments(&mut self, out: &mut Output) {
        if self.assembly.trains.is_empty() || self.now.since(self.assembly.oldest) <= TIMEOUT {
            return;
        }
        let now = self.now;
        self.end_trains(out, |train| now.since(train.since) > TIMEOUT);
        let oldest = self.assembly.trains.values().map(|train| train.since).min();
        self.assembly.oldest = oldest.unwrap_or(now);
    }

    /// Whether fragments are waited for.
    #[inline]
    pub(super) fn has_fragments(&self) -> bool {
        !self.assembly.trains.is_empty()
    }

    /// Drops everything that waits.
    pub(super) fn drop_fragments(&mut self, out: &mut Output) {
        self.end_trains(out, |_| true);
    }

    fn end_trains(&mut self, out: &mut Output, ends: impl Fn(&Train) -> bool) {
        let counters = &mut self.counters;
        let reason = Reason::FragmentIncomplete;
        let mut gone = Vec::new();
        let Assembly { trains, shares, .. } = &mut self.assembly;
        trains.retain(|_, train| {
            if !ends(train) {
                return true;
            }
            self.gate.unhold(train.account, train.bytes());
            shares.leave(train.account);
            gone.extend(train.parts.iter().map(|part| part.number));
            false
        });
        gone.sort_unstable();
        for number in gone {
            counters.drop_held(reason);
            out.discards.push(Discard { number, reason });
        }
    }
}

impl Train {
    /// Whether a fragment fits between those that are there.
    fn admit(&mut self, place: Place) -> Result<(), Reason> {
        if self.broken {
            return Err(Reason::FragmentOverlap);
        }
        if self.parts.len() >= PARTS_MAX {
            return Err(Reason::LimitFragments);
        }
        let end = place.offset.saturating_add(place.len);
        let twin = |part: &Part| part.offset == place.offset && part.len == place.len;
        if self.parts.iter().any(twin) {
            return Err(Reason::FragmentOverlap);
        }
        let overlaps = self
            .parts
            .iter()
            .any(|part| part.offset < end && place.offset < part.offset + part.len);
        let behind_end = self.end.is_some_and(|known| end > known || !place.more);
        let cuts = !place.more && self.parts.iter().any(|part| part.offset + part.len > end);
        if overlaps || behind_end || cuts {
            self.broken = true;
            return Err(Reason::FragmentOverlap);
        }
        if !place.more {
            self.end = Some(end);
        }
        Ok(())
    }
}

/// Whether the length in a UDP header, with which `body` begins, is that of all fragments together.
fn is_counted(body: &[u8]) -> bool {
    let length = body.get(4..).and_then(<[u8]>::first_chunk).copied();
    length.map(u16::from_be_bytes).map(usize::from) == Some(body.len())
}

/// Where a fragment stands; none if its length fits no fragment.
fn place_of(packet: &Packet) -> Option<Place> {
    let place = match packet.fragment {
        Fragment::Whole => return None,
        Fragment::First { id, len, key } => {
            Place { offset: 0, len: u32::from(len), more: true, id, protocol: key }
        }
        Fragment::Later { id, offset, len, more, key } => {
            Place { offset: u32::from(offset), len: u32::from(len), more, id, protocol: key }
        }
    };
    let whole_words = !place.more || place.len % 8 == 0;
    let tiny = place.offset == 0 && place.protocol == Protocol::TCP && place.len < TCP_HEADER;
    let fits = place.offset.saturating_add(place.len) <= PACKET_MAX;
    (whole_words && !tiny && fits && place.len > 0).then_some(place)
}
