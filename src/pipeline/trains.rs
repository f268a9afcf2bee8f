//! Fragments on their way to a worker: the later ones of a packet follow the first one, which alone
//! has the ports. Those that come before it wait here. Nothing is judged; that is the engine's.

use crate::io::pcap::CapturedPacket;
use crate::model::{Addr, EndpointId, Protocol, Span, Timestamp};
use crate::wire::Link;
use std::collections::{HashMap, VecDeque};

/// Fragmented packets known at once.
pub const TRAINS_MAX: usize = 65_536;

/// Fragments that wait for a first one, of all packets.
pub const WAITING_MAX: usize = 4096;

/// How long a packet's fragments are known, as long as the engine waits for them.
pub const TRAIN_TIMEOUT: Span = Span::from_secs(30);

/// Whose fragment it is (RFC 791 section 3.2, RFC 8200 section 4.5), apart by endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct TrainKey {
    pub(super) endpoint: Option<EndpointId>,
    pub(super) src: Addr,
    pub(super) dst: Addr,
    pub(super) protocol: Protocol,
    pub(super) id: u32,
}

/// A fragment that waits.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) number: u64,
    at: Timestamp,
    link: Link,
    bytes: Vec<u8>,
    original_len: u32,
}

impl Waiting {
    pub(super) fn packet(&self) -> CapturedPacket<'_> {
        let Self { at, link, ref bytes, original_len, .. } = *self;
        CapturedPacket { at, link, bytes, original_len }
    }
}

/// Where a later fragment goes.
pub(super) enum Place {
    /// To the worker that has the first one.
    With(usize),
    /// It waits here.
    Waits,
}

/// The fragmented packets under way.
#[derive(Debug, Default)]
pub(super) struct Trains {
    known: HashMap<TrainKey, Train>,
    /// Every train once, in the order they were first seen.
    order: VecDeque<(Timestamp, TrainKey, u64)>,
    births: u64,
    waiting: usize,
}

#[derive(Debug)]
struct Train {
    birth: u64,
    worker: Option<usize>,
    waiting: Vec<Waiting>,
}

impl Trains {
    /// The first fragment goes to `worker`; gives those that waited for it.
    pub(super) fn first(&mut self, key: TrainKey, worker: usize, at: Timestamp) -> Vec<Waiting> {
        let waiting = self.remove(&key);
        self.insert(key, at, Some(worker));
        waiting
    }

    pub(super) fn later(
        &mut self,
        key: TrainKey,
        number: u64,
        packet: &CapturedPacket<'_>,
    ) -> Place {
        if !self.known.contains_key(&key) {
            self.insert(key, packet.at, None);
        }
        let Some(train) = self.known.get_mut(&key) else { return Place::Waits };
        if let Some(worker) = train.worker {
            return Place::With(worker);
        }
        let CapturedPacket { at, link, bytes, original_len } = *packet;
        train.waiting.push(Waiting { number, at, link, bytes: bytes.to_vec(), original_len });
        self.waiting = self.waiting.saturating_add(1);
        Place::Waits
    }

    /// Forgets the oldest train if it is older than [`TRAIN_TIMEOUT`], if there are more than may be,
    /// or if there is no time; with the fragments that waited in it.
    pub(super) fn overdue(&mut self, now: Option<Timestamp>) -> Option<(TrainKey, Vec<Waiting>)> {
        loop {
            let &(since, key, birth) = self.order.front()?;
            let full = self.order.len() > TRAINS_MAX || self.waiting > WAITING_MAX;
            let late = now.is_none_or(|now| now.since(since) > TRAIN_TIMEOUT);
            if !full && !late {
                return None;
            }
            self.order.pop_front();
            if self.known.get(&key).is_some_and(|train| train.birth == birth) {
                return Some((key, self.remove(&key)));
            }
        }
    }

    fn insert(&mut self, key: TrainKey, at: Timestamp, worker: Option<usize>) {
        self.births = self.births.wrapping_add(1);
        let birth = self.births;
        self.known.insert(key, Train { birth, worker, waiting: Vec::new() });
        self.order.push_back((at, key, birth));
    }

    fn remove(&mut self, key: &TrainKey) -> Vec<Waiting> {
        let waiting = self.known.remove(key).map_or_else(Vec::new, |train| train.waiting);
        self.waiting = self.waiting.saturating_sub(waiting.len());
        waiting
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(id: usize) -> TrainKey {
        let (src, dst) = (Addr::v4([10, 0, 0, 1]), Addr::v4([10, 0, 0, 2]));
        TrainKey { endpoint: None, src, dst, protocol: Protocol::UDP, id: id as u32 }
    }

    fn packet(at: Timestamp) -> CapturedPacket<'static> {
        CapturedPacket { at, link: Link::RawIp, bytes: &[1, 2], original_len: 2 }
    }

    fn at(secs: u64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    #[test]
    fn later_fragments_follow_the_first_and_those_before_it_are_given_with_it() {
        let mut trains = Trains::default();
        assert!(matches!(trains.later(key(1), 7, &packet(at(1))), Place::Waits));
        assert!(matches!(trains.later(key(2), 8, &packet(at(1))), Place::Waits));
        let waited: Vec<u64> = trains.first(key(1), 3, at(2)).iter().map(|w| w.number).collect();
        assert_eq!(waited, [7]);
        assert!(matches!(trains.later(key(1), 9, &packet(at(2))), Place::With(3)));
        assert!(trains.overdue(Some(at(31))).is_none());
        let (given_up, waited) = trains.overdue(Some(at(32))).unwrap();
        assert_eq!((given_up, waited.len()), (key(2), 1));
        assert!(matches!(trains.later(key(1), 9, &packet(at(32))), Place::With(3)));
    }

    #[test]
    fn trains_are_bounded_and_the_oldest_goes_first() {
        for (count, gone) in
            [(TRAINS_MAX - 1, None), (TRAINS_MAX, None), (TRAINS_MAX + 1, Some(key(0)))]
        {
            let mut trains = Trains::default();
            for id in 0..count {
                trains.first(key(id), 0, at(1));
            }
            assert_eq!(trains.overdue(Some(at(1))).map(|(key, _)| key), gone, "{count}");
            assert!(trains.overdue(Some(at(1))).is_none());
        }
    }

    #[test]
    fn waiting_fragments_are_bounded() {
        for (count, gone) in [(WAITING_MAX - 1, 0), (WAITING_MAX, 0), (WAITING_MAX + 1, 1)] {
            let mut trains = Trains::default();
            for id in 0..count {
                trains.later(key(id), id as u64, &packet(at(1)));
            }
            let mut seen = 0;
            while let Some((_, waiting)) = trains.overdue(Some(at(1))) {
                seen += waiting.len();
            }
            assert_eq!(seen, gone, "{count}");
        }
    }

    #[test]
    fn a_first_fragment_that_comes_again_does_not_fill_the_order() {
        let mut trains = Trains::default();
        for _ in 0..2 * TRAINS_MAX {
            trains.first(key(1), 0, at(1));
            assert!(trains.overdue(Some(at(1))).is_none());
        }
        assert!(trains.order.len() <= TRAINS_MAX);
    }
}
