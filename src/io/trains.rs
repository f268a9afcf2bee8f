//! Fragments on their way to a worker: the later ones of a packet follow the first one, which alone
//! has the ports. Those that come before it wait here. Nothing is judged; that is the engine's.

use crate::model::{Addr, EndpointId, FiveTuple, Protocol, Span, Timestamp};
use crate::wire::{Fragment, Packet};
use std::collections::{HashMap, VecDeque};

/// Fragmented packets known at once.
pub const TRAINS_MAX: usize = 65_536;

/// Fragments that wait for a first one, of all packets.
pub const WAITING_MAX: usize = 4096;

/// How long a packet's fragments are known, as long as the engine waits for them.
pub const TRAIN_TIMEOUT: Span = Span::from_secs(30);

/// Whose fragment it is (RFC 791 section 3.2, RFC 8200 section 4.5), apart by endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TrainKey {
    /// The GWLB endpoint it came through.
    pub endpoint: Option<EndpointId>,
    /// Inner source.
    pub src: Addr,
    /// Inner destination.
    pub dst: Addr,
    /// The protocol in IPv4, always 44 in IPv6.
    pub protocol: Protocol,
    /// Identification.
    pub id: u32,
}

impl TrainKey {
    /// The key of a fragment; none for a whole packet.
    #[must_use]
    pub fn of(packet: &Packet) -> Option<Self> {
        let (id, protocol) = match packet.fragment {
            Fragment::Whole => return None,
            Fragment::First { id, key, .. } | Fragment::Later { id, key, .. } => (id, key),
        };
        let endpoint = packet.outer.map(|outer| outer.endpoint);
        let FiveTuple { src, dst, .. } = packet.tuple;
        Some(Self { endpoint, src, dst, protocol, id })
    }
}

/// Where a later fragment goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// To the worker that has the first one.
    With(usize),
    /// It waits here.
    Waits,
}

/// The fragmented packets under way; `T` is a fragment that waits.
#[derive(Debug)]
pub struct Trains<T> {
    known: HashMap<TrainKey, Train<T>>,
    /// Every train once, in the order they were first seen.
    order: VecDeque<(Timestamp, TrainKey, u64)>,
    births: u64,
    waiting: usize,
}

#[derive(Debug)]
struct Train<T> {
    birth: u64,
    worker: Option<usize>,
    waiting: Vec<T>,
}

impl<T> Default for Trains<T> {
    fn default() -> Self {
        Self { known: HashMap::new(), order: VecDeque::new(), births: 0, waiting: 0 }
    }
}

impl<T> Trains<T> {
    /// The first fragment goes to `worker`; gives those that waited for it.
    pub fn first(&mut self, key: TrainKey, worker: usize, at: Timestamp) -> Vec<T> {
        let waiting = self.remove(&key);
        self.insert(key, at, Some(worker));
        waiting
    }

    /// A later fragment, which is copied by `keep` if it has to wait.
    pub fn later(&mut self, key: TrainKey, at: Timestamp, keep: impl FnOnce() -> T) -> Place {
        if !self.known.contains_key(&key) {
            self.insert(key, at, None);
        }
        let Some(train) = self.known.get_mut(&key) else { return Place::Waits };
        if let Some(worker) = train.worker {
            return Place::With(worker);
        }
        train.waiting.push(keep());
        self.waiting = self.waiting.saturating_add(1);
        Place::Waits
    }

    /// Forgets the oldest train if it is older than [`TRAIN_TIMEOUT`], if there are more than may be,
    /// or if there is no time; with the fragments that waited in it.
    pub fn overdue(&mut self, now: Option<Timestamp>) -> Option<(TrainKey, Vec<T>)> {
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

    fn remove(&mut self, key: &TrainKey) -> Vec<T> {
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

    fn at(secs: u64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    #[test]
    fn later_fragments_follow_the_first_and_those_before_it_are_given_with_it() {
        let mut trains = Trains::<u64>::default();
        assert!(matches!(trains.later(key(1), at(1), || 7), Place::Waits));
        assert!(matches!(trains.later(key(2), at(1), || 8), Place::Waits));
        assert_eq!(trains.first(key(1), 3, at(2)), [7]);
        assert!(matches!(trains.later(key(1), at(2), || 9), Place::With(3)));
        assert!(trains.overdue(Some(at(31))).is_none());
        let (given_up, waited) = trains.overdue(Some(at(32))).unwrap();
        assert_eq!((given_up, waited.len()), (key(2), 1));
        assert!(matches!(trains.later(key(1), at(32), || 9), Place::With(3)));
    }

    #[test]
    fn trains_are_bounded_and_the_oldest_goes_first() {
        for (count, gone) in
            [(TRAINS_MAX - 1, None), (TRAINS_MAX, None), (TRAINS_MAX + 1, Some(key(0)))]
        {
            let mut trains = Trains::<u64>::default();
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
            let mut trains = Trains::<u64>::default();
            for id in 0..count {
                trains.later(key(id), at(1), || id as u64);
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
        let mut trains = Trains::<u64>::default();
        for _ in 0..2 * TRAINS_MAX {
            trains.first(key(1), 0, at(1));
            assert!(trains.overdue(Some(at(1))).is_none());
        }
        assert!(trains.order.len() <= TRAINS_MAX);
    }
}
