//! Fragments on their way to a worker: the later ones of a packet follow the first one, which alone
//! has the ports. Those that come before it wait here. Nothing is judged; that is the engine's.

use crate::model::{Addr, EndpointId, FiveTuple, Protocol, Span, Timestamp};
use crate::wire::{Fragment, Packet};
use std::collections::{BTreeSet, HashMap, VecDeque};

/// Room for all fragmented packets known at once: each takes one.
pub const ROOM: usize = 65_536;

/// What a fragment that waits for the first one takes beside: there are fewer than 4096 of them.
pub const WAITING_ROOM: usize = 16;

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

/// The fragmented packets under way; `T` is a fragment that waits. Where there is no room for more, the
/// endpoint that takes most of it gives up its oldest: whatever one sends in, others lose nothing.
#[derive(Debug)]
pub struct Trains<T> {
    known: HashMap<TrainKey, Train<T>>,
    /// Of every endpoint that has any.
    shares: HashMap<Owner, Share>,
    /// The endpoints by the time of their oldest, and by the room they take.
    by_age: BTreeSet<(Timestamp, Owner)>,
    by_room: BTreeSet<(usize, Owner)>,
    births: u64,
    room: usize,
}

/// An endpoint is what the load balancer says, not what a sender can choose.
type Owner = Option<EndpointId>;

#[derive(Debug)]
struct Train<T> {
    birth: u64,
    worker: Option<usize>,
    waiting: Vec<T>,
}

/// What one endpoint has.
#[derive(Debug, Default)]
struct Share {
    /// Every train once, in the order they were first seen.
    order: VecDeque<(Timestamp, TrainKey, u64)>,
    waiting: usize,
}

impl Share {
    /// Where it stands in both orders; none without a train.
    fn place(&self) -> Option<(Timestamp, usize)> {
        let &(oldest, _, _) = self.order.front()?;
        let waiting = self.waiting.saturating_mul(WAITING_ROOM);
        Some((oldest, self.order.len().saturating_add(waiting)))
    }
}

impl<T> Default for Trains<T> {
    fn default() -> Self {
        Self {
            known: HashMap::new(),
            shares: HashMap::new(),
            by_age: BTreeSet::new(),
            by_room: BTreeSet::new(),
            births: 0,
            room: 0,
        }
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
        self.change(key.endpoint, |share| share.waiting = share.waiting.saturating_add(1));
        Place::Waits
    }

    /// Forgets the oldest train if it is older than [`TRAIN_TIMEOUT`] or there is no time, or the oldest
    /// of the endpoint with most of them if they take more than [`ROOM`]; with the fragments that waited
    /// in it.
    pub fn overdue(&mut self, now: Option<Timestamp>) -> Option<(TrainKey, Vec<T>)> {
        loop {
            let owner = if self.room > ROOM {
                self.by_room.last()?.1
            } else {
                let &(oldest, owner) = self.by_age.first()?;
                let late = now.is_none_or(|now| now.since(oldest) > TRAIN_TIMEOUT);
                late.then_some(owner)?
            };
            let (_, key, birth) = self.change(owner, |share| share.order.pop_front())?;
            if self.known.get(&key).is_some_and(|train| train.birth == birth) {
                return Some((key, self.remove(&key)));
            }
        }
    }

    fn insert(&mut self, key: TrainKey, at: Timestamp, worker: Option<usize>) {
        self.births = self.births.wrapping_add(1);
        let birth = self.births;
        self.known.insert(key, Train { birth, worker, waiting: Vec::new() });
        self.change(key.endpoint, |share| share.order.push_back((at, key, birth)));
    }

    fn remove(&mut self, key: &TrainKey) -> Vec<T> {
        let waiting = self.known.remove(key).map_or_else(Vec::new, |train| train.waiting);
        if !waiting.is_empty() {
            self.change(key.endpoint, |share| {
                share.waiting = share.waiting.saturating_sub(waiting.len());
            });
        }
        waiting
    }

    /// Changes what an endpoint has, and with it its place among the others.
    fn change<R>(&mut self, owner: Owner, change: impl FnOnce(&mut Share) -> R) -> R {
        let share = self.shares.entry(owner).or_default();
        if let Some((oldest, room)) = share.place() {
            self.by_age.remove(&(oldest, owner));
            self.by_room.remove(&(room, owner));
            self.room = self.room.saturating_sub(room);
        }
        let result = change(share);
        if let Some((oldest, room)) = share.place() {
            self.by_age.insert((oldest, owner));
            self.by_room.insert((room, owner));
            self.room = self.room.saturating_add(room);
        } else {
            self.shares.remove(&owner);
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(id: usize) -> TrainKey {
        let (src, dst) = (Addr::v4([10, 0, 0, 1]), Addr::v4([10, 0, 0, 2]));
        TrainKey { endpoint: None, src, dst, protocol: Protocol::UDP, id: id as u32 }
    }

    fn of(endpoint: u64, id: usize) -> TrainKey {
        TrainKey { endpoint: Some(EndpointId(endpoint)), ..key(id) }
    }

    fn at(secs: u64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    /// What is given up, now.
    fn given_up(trains: &mut Trains<u64>, now: u64) -> Vec<(TrainKey, usize)> {
        let next = || trains.overdue(Some(at(now))).map(|(key, waited)| (key, waited.len()));
        std::iter::from_fn(next).collect()
    }

    #[test]
    fn later_fragments_follow_the_first_and_those_before_it_are_given_with_it() {
        let mut trains = Trains::<u64>::default();
        assert_eq!(trains.later(key(1), at(1), || 7), Place::Waits);
        assert_eq!(trains.later(key(2), at(1), || 8), Place::Waits);
        assert_eq!(trains.first(key(1), 3, at(2)), [7]);
        assert_eq!(trains.later(key(1), at(2), || 9), Place::With(3));
        assert_eq!(given_up(&mut trains, 31), []);
        assert_eq!(given_up(&mut trains, 32), [(key(2), 1)]);
        assert_eq!(trains.later(key(1), at(32), || 9), Place::With(3));
    }

    #[test]
    fn trains_are_bounded_and_the_oldest_goes_first() {
        for (count, gone) in [(ROOM - 1, vec![]), (ROOM, vec![]), (ROOM + 1, vec![(key(0), 0)])] {
            let mut trains = Trains::<u64>::default();
            for id in 0..count {
                trains.first(key(id), 0, at(1));
            }
            assert_eq!(given_up(&mut trains, 1), gone, "{count}");
        }
    }

    #[test]
    fn waiting_fragments_are_bounded() {
        let most = ROOM / (1 + WAITING_ROOM);
        for (count, gone) in [(most - 1, vec![]), (most, vec![]), (most + 1, vec![(key(0), 1)])] {
            let mut trains = Trains::<u64>::default();
            for id in 0..count {
                trains.later(key(id), at(1), || id as u64);
            }
            assert_eq!(given_up(&mut trains, 1), gone, "{count}");
        }
        let most = (ROOM - 1) / WAITING_ROOM;
        for (count, gone) in [(most - 1, 0), (most, 0), (most + 1, 1)] {
            let mut trains = Trains::<u64>::default();
            for number in 0..count {
                trains.later(key(1), at(1), || number as u64);
            }
            assert_eq!(given_up(&mut trains, 1).len(), gone, "{count} of one packet");
        }
    }

    #[test]
    fn a_first_fragment_that_comes_again_does_not_fill_the_order() {
        let mut trains = Trains::<u64>::default();
        for _ in 0..2 * ROOM {
            trains.first(key(1), 0, at(1));
            assert_eq!(given_up(&mut trains, 1), []);
        }
        assert!(trains.shares.values().all(|share| share.order.len() <= ROOM));
    }

    #[test]
    fn a_flood_behind_some_endpoints_takes_nothing_from_another() {
        for flooders in [1_usize, 3, 300] {
            let mut trains = Trains::<u64>::default();
            trains.first(of(0, 1), 5, at(1));
            trains.later(of(0, 2), at(1), || 7);
            let mut lost = 0;
            for number in 0..ROOM {
                let from = 1 + (number % flooders) as u64;
                // Fragments that wait, and first ones of which nothing more comes.
                trains.later(of(from, number), at(2), || 8);
                trains.first(of(from, ROOM + number), 1, at(2));
                let given_up = given_up(&mut trains, 2);
                assert!(given_up.iter().all(|(key, _)| key.endpoint != Some(EndpointId(0))));
                lost += given_up.len();
            }
            assert!(lost > ROOM / 2, "the flood is more than there is room for");
            assert_eq!(trains.later(of(0, 1), at(2), || 9), Place::With(5), "{flooders}");
            assert_eq!(trains.first(of(0, 2), 5, at(2)), [7]);
        }
    }

    #[test]
    fn nothing_is_left_of_what_was_given_up() {
        let mut trains = Trains::<u64>::default();
        for number in 0..1000 {
            trains.later(of(number % 7, number as usize / 3), at(number), || number);
            trains.first(of(number % 5, number as usize / 2), 1, at(number));
            given_up(&mut trains, number);
        }
        while trains.overdue(None).is_some() {}
        assert!(trains.known.is_empty() && trains.shares.is_empty());
        assert!(trains.by_age.is_empty() && trains.by_room.is_empty());
        assert_eq!(trains.room, 0);
    }
}
