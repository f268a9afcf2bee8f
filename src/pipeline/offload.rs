//! Tells captures that were taken on a sending host with checksum offload: there the sums of that
//! host's packets were not yet made when they were captured, and verifying them would drop all.

use crate::io::merge::Captures;
use crate::model::Addr;
use crate::wire::{self, Settings, header_checksum_ok, transport_checksum_ok};
use std::collections::HashMap;
use std::fmt;

/// As many packets are looked at, from the start.
pub const SAMPLE_PACKETS: u64 = 20_000;

/// As many senders are told apart.
const SENDERS_MAX: usize = 4096;

/// A sender with fewer wrong packets may as well have been unlucky.
const WRONG_LEAST: u64 = 3;

/// What a sample of packets says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offload {
    /// Packets whose checksums, of IPv4 header and transport, were looked at.
    pub sampled: u64,
    /// Of these, packets with a wrong one.
    pub wrong: u64,
    /// Senders that have never a right one, or only in half of their packets with payload or less:
    /// what goes without payload some cards leave to the host.
    pub senders: u64,
}

impl Offload {
    /// Whether checksums should not be verified. Single wrong packets are a fault or an attempt to
    /// evade; a host that gets every other one wrong leaves them to its network card, and a capture
    /// without a single right one was changed after it was taken.
    #[must_use]
    pub const fn suspected(&self) -> bool {
        self.senders > 0 || (self.sampled > 0 && self.wrong == self.sampled)
    }
}

impl fmt::Display for Offload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sampled, wrong, senders } = self;
        if self.suspected() {
            write!(
                f,
                "checksums are ignored: {wrong} of {sampled} sampled packets have a wrong one, \
                 {senders} senders in half of theirs or more, as in captures taken with checksum offload"
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

/// The packets of one sender.
#[derive(Clone, Copy, Debug, Default)]
struct Sender {
    packets: u64,
    wrong: u64,
    /// Those with payload.
    loaded: u64,
    loaded_wrong: u64,
}

impl Sender {
    /// Whether it leaves its checksums to its network card: it never has a right one, or with payload
    /// only every other time.
    const fn offloads(self) -> bool {
        let never_right = self.wrong == self.packets && self.wrong >= WRONG_LEAST;
        let seldom_right =
            self.loaded_wrong >= WRONG_LEAST && self.loaded_wrong >= self.loaded.div_ceil(2);
        never_right || seldom_right
    }
}

/// Samples the first packets of captures.
#[must_use]
pub fn offload(captures: &mut Captures, settings: &Settings) -> Offload {
    let mut senders: HashMap<Addr, Sender> = HashMap::new();
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
        let right = header_checksum_ok(captured.bytes, &packet)
            && transport_checksum_ok(captured.bytes, &packet);
        let wrong = u64::from(!right);
        found.sampled += 1;
        found.wrong += wrong;
        let room = senders.len() < SENDERS_MAX;
        if let Some(sender) = match senders.get_mut(&packet.tuple.src) {
            None if room => Some(senders.entry(packet.tuple.src).or_default()),
            known => known,
        } {
            sender.packets += 1;
            sender.wrong += wrong;
            if packet.payload_len > 0 {
                sender.loaded += 1;
                sender.loaded_wrong += wrong;
            }
        }
    }
    found.senders = senders.values().filter(|sender| sender.offloads()).count() as u64;
    found
}
