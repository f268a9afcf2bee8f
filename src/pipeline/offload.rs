//! Tells captures that were taken on a sending host with checksum offload: there the sums of that
//! host's packets were not yet made when they were captured, and verifying them would drop all.

use crate::io::merge::Captures;
use crate::model::Addr;
use crate::wire::{self, Settings, transport_checksum_ok};
use std::collections::HashMap;
use std::fmt;

/// As many packets are looked at, from the start.
pub const SAMPLE_PACKETS: u64 = 20_000;

/// As many senders are told apart.
const SENDERS_MAX: usize = 4096;

/// A sender with fewer packets, all wrong, may as well have been unlucky.
const WRONG_LEAST: u64 = 3;

/// What a sample of packets says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offload {
    /// Packets whose transport checksum was looked at.
    pub sampled: u64,
    /// Of these, packets with a wrong one.
    pub wrong: u64,
    /// Senders whose every packet has a wrong one.
    pub senders: u64,
}

impl Offload {
    /// Whether checksums should not be verified. Single wrong packets are a fault or an attempt to
    /// evade; a host that never gets one right is a host that leaves it to its network card.
    #[must_use]
    pub const fn suspected(&self) -> bool {
        self.senders > 0
    }
}

impl fmt::Display for Offload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sampled, wrong, senders } = self;
        if self.suspected() {
            write!(
                f,
                "checksums are ignored: {wrong} of {sampled} sampled packets have a wrong one, and \
                 {senders} senders never a right one, as in captures taken with checksum offload"
            )
        } else {
            write!(
                f,
                "checksums are verified: {wrong} of {sampled} sampled packets have a wrong one, no \
                 sign of checksum offload"
            )
        }
    }
}

/// Samples the first packets of captures.
#[must_use]
pub fn offload(captures: &mut Captures, settings: &Settings) -> Offload {
    let mut senders: HashMap<Addr, (u64, u64)> = HashMap::new();
    let mut found = Offload::default();
    let mut looked = 0;
    while looked < SAMPLE_PACKETS
        && let Some(captured) = captures.next_packet()
    {
        looked += 1;
        if usize::try_from(captured.original_len).is_ok_and(|len| len > captured.bytes.len()) {
            continue;
        }
        let Ok(packet) = wire::parse(captured.bytes, captured.link, settings) else { continue };
        if packet.is_fragment() {
            continue;
        }
        let wrong = u64::from(!transport_checksum_ok(captured.bytes, &packet));
        found.sampled += 1;
        found.wrong += wrong;
        let room = senders.len() < SENDERS_MAX;
        if let Some((packets, bad)) = match senders.get_mut(&packet.tuple.src) {
            None if room => Some(senders.entry(packet.tuple.src).or_default()),
            known => known,
        } {
            *packets += 1;
            *bad += wrong;
        }
    }
    let never_right = senders.values().filter(|(all, bad)| all == bad && *bad >= WRONG_LEAST);
    found.senders = never_right.count() as u64;
    found
}
