//! Which worker a packet belongs to: a symmetric hash of its inner five-tuple, so that both
//! directions of a flow meet. ICMP errors go by the packet they quote, fragments with the first one.

use crate::flow::{Secret, symmetric_hash};
use crate::io::pcap::CapturedPacket;
use crate::io::trains::{Place, TrainKey, Trains};
use crate::model::{FiveTuple, Timestamp};
use crate::wire::{self, Body, Fragment, Link};

/// Decides which worker judges a packet.
#[derive(Debug)]
pub struct Sharder {
    settings: wire::Settings,
    secret: Secret,
    workers: u64,
    trains: Trains<Waiting>,
}

/// A fragment that waits for the first one.
#[derive(Debug)]
struct Waiting {
    number: u64,
    at: Timestamp,
    link: Link,
    bytes: Vec<u8>,
    original_len: u32,
}

impl Waiting {
    fn of(number: u64, packet: &CapturedPacket<'_>) -> Self {
        let CapturedPacket { at, link, bytes, original_len } = *packet;
        Self { number, at, link, bytes: bytes.to_vec(), original_len }
    }

    fn packet(&self) -> CapturedPacket<'_> {
        let Self { at, link, ref bytes, original_len, .. } = *self;
        CapturedPacket { at, link, bytes, original_len }
    }
}

/// A packet and the worker it goes to.
pub(super) type Deliver<'d> = &'d mut dyn FnMut(usize, u64, &CapturedPacket<'_>);

impl Sharder {
    /// For so many workers (at least one), reading headers as their engines do.
    #[must_use]
    pub fn new(settings: wire::Settings, secret: Secret, workers: usize) -> Self {
        let workers = u64::try_from(workers).unwrap_or(u64::MAX).max(1);
        Self { settings, secret, workers, trains: Trains::default() }
    }

    /// Hands a packet to its worker. A later fragment that comes before the first one is kept until
    /// then; it does not depend on the number of workers which.
    pub(super) fn place(&mut self, number: u64, packet: &CapturedPacket<'_>, deliver: Deliver<'_>) {
        self.give_up(Some(packet.at), deliver);
        let Ok(parsed) = wire::parse(packet.bytes, packet.link, &self.settings) else {
            return deliver(0, number, packet);
        };
        let tuple = match parsed.body {
            Body::IcmpError { quoted, .. } => quoted.tuple,
            _ => parsed.tuple,
        };
        let Some(train) = TrainKey::of(&parsed) else {
            return deliver(self.worker(&tuple), number, packet);
        };
        if matches!(parsed.fragment, Fragment::First { .. }) {
            let worker = self.worker(&tuple);
            deliver(worker, number, packet);
            for waiting in self.trains.first(train, worker, packet.at) {
                deliver(worker, waiting.number, &waiting.packet());
            }
        } else {
            let keep = || Waiting::of(number, packet);
            match self.trains.later(train, packet.at, keep) {
                Place::With(worker) => deliver(worker, number, packet),
                Place::Waits => {}
            }
        }
    }

    /// Hands on fragments whose first one did not come in time, or of a packet too many; without a
    /// time, all of them.
    pub(super) fn give_up(&mut self, now: Option<Timestamp>, deliver: Deliver<'_>) {
        while let Some((key, waiting)) = self.trains.overdue(now) {
            let (src, dst, protocol) = (key.src, key.dst, key.protocol);
            let worker = self.worker(&FiveTuple { src, dst, protocol, ..FiveTuple::default() });
            for fragment in waiting {
                deliver(worker, fragment.number, &fragment.packet());
            }
        }
    }

    fn worker(&self, tuple: &FiveTuple) -> usize {
        // The upper bits of the product spread evenly, whatever the number of workers.
        let hash = u128::from(symmetric_hash(tuple, &self.secret));
        usize::try_from((hash * u128::from(self.workers)) >> 64).unwrap_or(0)
    }
}
