//! Tests of the flow table against a map that knows every deadline exactly.

use super::*;
use crate::model::{Addr, FiveTuple, Protocol, ScopeId};
use proptest::prelude::*;
use std::collections::{HashMap, HashSet};

fn key(n: u32) -> FlowKey {
    let tuple = FiveTuple {
        src: Addr::v4(n.to_be_bytes()),
        dst: Addr::v4([192, 0, 2, 1]),
        src_port: 40_000,
        dst_port: 443,
        protocol: Protocol::TCP,
    };
    FlowKey::new(ScopeId(0), &tuple).0
}

fn table<S: Default>(limit: usize) -> FlowTable<S> {
    FlowTable::new(limit, Secret::new(1, 2))
}

const fn millis(n: u64) -> Timestamp {
    Timestamp::from_nanos(n * 1_000_000)
}

const START: u64 = 1_795_000_000_000;

fn add(table: &mut FlowTable<u32>, n: u32, now: Timestamp, timeout: Span) -> Result<FlowId, Full> {
    let hash = table.hash(&key(n));
    table.insert(key(n), hash, n, now, timeout)
}

fn expired(table: &mut FlowTable<u32>, now: Timestamp) -> Vec<u32> {
    let mut gone = Vec::new();
    table.expire(now, |entry| {
        gone.push(*entry.state);
        Fate::Remove
    });
    gone
}

#[test]
fn a_table_takes_its_limit_and_not_one_more() {
    for limit in [0usize, 1, 7, 100, CHUNK - 1, CHUNK, CHUNK + 1] {
        let mut table = table::<u32>(limit);
        let timeout = Span::from_secs(1);
        for n in 0..limit as u32 {
            assert_eq!(table.len(), n as usize);
            assert!(add(&mut table, n, millis(START), timeout).is_ok());
        }
        assert_eq!(add(&mut table, u32::MAX, millis(START), timeout), Err(Full));
        assert_eq!(table.len(), limit);
        let Some(first) = table.lookup(&key(0), table.hash(&key(0))) else { continue };
        assert_eq!(table.remove(first), Some(0));
        assert!(add(&mut table, u32::MAX, millis(START), timeout).is_ok());
        assert_eq!(add(&mut table, 0, millis(START), timeout), Err(Full));
    }
}

#[test]
fn a_flow_takes_at_most_150_bytes_at_a_million_and_ten_million() {
    assert_eq!(size_of::<Slot<[u64; 10]>>(), 128);
    for flows in [1_000_000usize, 10_000_000] {
        let entries = flows * size_of::<Slot<[u64; 10]>>();
        let table = table::<[u64; 10]>(flows);
        assert!((entries + table.bytes()) / flows < 150);
    }
}

#[test]
fn an_entry_expires_at_its_deadline_and_is_visited_once_its_tick_is_over() {
    let mut table = table(4);
    let id = add(&mut table, 1, millis(START), Span::from_millis(10_000)).unwrap();
    let hash = table.hash(&key(1));
    assert_eq!(table.find(&key(1), hash, millis(START + 9_999)), Found::Live(id));
    assert_eq!(table.find(&key(1), hash, millis(START + 10_000)), Found::Expired(id));
    assert_eq!(table.find(&key(2), table.hash(&key(2)), millis(START)), Found::No);
    assert!(expired(&mut table, millis(START + 9_999)).is_empty());
    assert_eq!(expired(&mut table, millis(START + 10_000 + 269)), [1]);
    assert!(table.is_empty());
}

#[test]
fn a_touched_entry_lives_on_and_a_shortened_one_goes_early() {
    let mut table = table(4);
    let long = Span::from_secs(350);
    let kept = add(&mut table, 1, millis(START), long).unwrap();
    let short = add(&mut table, 2, millis(START), long).unwrap();
    table.touch(kept, millis(START + 300_000), long);
    table.touch(short, millis(START + 1_000), Span::from_secs(10));
    assert_eq!(expired(&mut table, millis(START + 11_500)), [2]);
    assert!(expired(&mut table, millis(START + 649_000)).is_empty());
    assert_eq!(expired(&mut table, millis(START + 650_500)), [1]);
}

#[test]
fn time_that_jumps_visits_each_entry_once_and_keeps_what_is_not_due() {
    let year = 365 * 86_400_000u64;
    for jump in [1_000u64, 3_600_000 * 3, 86_400_000 * 3, year, 50 * year] {
        let mut table = table(1000);
        for n in 0..500 {
            let timeout = Span::from_millis(u64::from(n) * 13_000);
            add(&mut table, n, millis(START), timeout).unwrap();
        }
        let now = millis(START + jump);
        for n in 500..600 {
            add(&mut table, n, now, Span::from_secs(60)).unwrap();
        }
        let gone = expired(&mut table, now);
        let due = (jump - 268).div_ceil(13_000).min(500) as usize;
        assert!(gone.len().abs_diff(due) <= 1, "{} of {due}", gone.len());
        assert!(gone.is_sorted());
        assert!(expired(&mut table, now).is_empty());
        let later = expired(&mut table, millis(START + jump + 60_300));
        assert_eq!(later.iter().filter(|n| **n >= 500).count(), 100);
    }
}

#[test]
fn a_deadline_beyond_the_wheel_is_kept_until_it_is_due() {
    let mut table = table(4);
    let week = 7 * 86_400_000;
    add(&mut table, 1, millis(START), Span::from_millis(week)).unwrap();
    let mut now = START;
    while now < START + week {
        assert!(expired(&mut table, millis(now)).is_empty());
        now += 3_600_000;
    }
    assert_eq!(expired(&mut table, millis(START + week + 300)), [1]);
}

#[test]
fn a_visitor_may_keep_an_entry() {
    let mut table = table(4);
    add(&mut table, 1, millis(START), Span::from_secs(5)).unwrap();
    let mut visits = 0;
    for second in 0..60 {
        table.expire(millis(START + second * 1000), |entry| {
            visits += 1;
            assert_eq!(entry.key, key(1));
            Fate::Keep(Span::from_secs(10))
        });
    }
    assert_eq!((table.len(), visits), (1, 5));
}

#[test]
fn a_stale_name_does_nothing() {
    let mut table = table(4);
    let id = add(&mut table, 1, millis(START), Span::from_secs(5)).unwrap();
    assert_eq!(table.remove(id), Some(1));
    assert_eq!(table.remove(id), None);
    assert_eq!((table.get(id), table.key(id), table.deadline(id)), (None, None, None));
    table.touch(id, millis(START), Span::from_secs(1));
    assert_eq!(table.iter().count(), 0);
    assert!(expired(&mut table, millis(START + 100_000)).is_empty());
}

#[derive(Clone, Copy, Debug)]
enum Op {
    Insert(u32, u64),
    Touch(u32, u64),
    Remove(u32),
    Wait(u64),
    Expire,
    Take,
    GiveBack,
}

fn any_op() -> impl Strategy<Value = Op> {
    let n = 0u32..60;
    let timeout = prop_oneof![0u64..2_000, 0u64..400_000, Just(9_000_000), Just(90_000_000)];
    prop_oneof![
        4 => (n.clone(), timeout.clone()).prop_map(|(n, timeout)| Op::Insert(n, timeout)),
        3 => (n.clone(), timeout).prop_map(|(n, timeout)| Op::Touch(n, timeout)),
        1 => n.prop_map(Op::Remove),
        2 => prop_oneof![0u64..500, 0u64..400_000, 0u64..100_000_000].prop_map(Op::Wait),
        2 => Just(Op::Expire),
        1 => Just(Op::Take),
        1 => Just(Op::GiveBack),
    ]
}

/// The table next to a map from number to name and deadline.
struct Twins {
    table: FlowTable<u32>,
    map: HashMap<u32, (FlowId, u64)>,
    now: u64,
    /// Entries that a visitor took, some of which are gone, and those whose timer it has still.
    taken: Vec<FlowId>,
    without_timer: HashSet<u32>,
}

impl Twins {
    const LIMIT: usize = 40;

    fn apply(&mut self, op: Op) {
        let now = millis(self.now);
        match op {
            Op::Insert(n, timeout) if !self.map.contains_key(&n) => {
                let added = add(&mut self.table, n, now, Span::from_millis(timeout));
                assert_eq!(added.is_ok(), self.map.len() < Self::LIMIT);
                added.into_iter().for_each(|id| {
                    self.map.insert(n, (id, self.now + timeout));
                });
            }
            Op::Insert(..) => {}
            Op::Touch(n, timeout) => {
                if let Some((id, deadline)) = self.map.get_mut(&n) {
                    self.table.touch(*id, now, Span::from_millis(timeout));
                    let before = std::mem::replace(deadline, self.now + timeout);
                    if tick(millis(*deadline).as_nanos()) < tick(millis(before).as_nanos()) {
                        self.without_timer.remove(&n);
                    }
                }
            }
            Op::Remove(n) => {
                if let Some((id, _)) = self.map.remove(&n) {
                    assert_eq!(self.table.remove(id), Some(n));
                    self.without_timer.remove(&n);
                }
            }
            Op::Wait(span) => self.now += span,
            Op::Expire => {
                let over = tick(now.as_nanos());
                for n in expired(&mut self.table, now) {
                    let (_, deadline) = self.map.remove(&n).unwrap();
                    assert!(tick(millis(deadline).as_nanos()) < over);
                    assert!(!self.without_timer.contains(&n));
                }
                self.nothing_is_left_before(over);
            }
            Op::Take => {
                let (taken, without_timer) = (&mut self.taken, &mut self.without_timer);
                self.table.expire(now, |entry| {
                    taken.push(entry.id);
                    assert!(without_timer.insert(*entry.state), "it was taken before");
                    Fate::Taken
                });
                self.nothing_is_left_before(tick(now.as_nanos()));
            }
            Op::GiveBack => {
                self.taken.drain(..).for_each(|id| self.table.give_back(id));
                self.without_timer.clear();
                // What is overdue then is found a tick later.
                self.now += 300;
            }
        }
    }

    fn nothing_is_left_before(&self, over: u64) {
        for (n, (_, deadline)) in &self.map {
            let due = tick(millis(*deadline).as_nanos()) < over;
            assert!(!due || self.without_timer.contains(n));
        }
    }

    fn compare(&self) {
        assert_eq!(self.table.len(), self.map.len());
        assert_eq!(self.table.iter().count(), self.map.len());
        for n in 0..60 {
            let hash = self.table.hash(&key(n));
            let found = self.table.find(&key(n), hash, millis(self.now));
            let expected = self.map.get(&n).map_or(Found::No, |(id, deadline)| {
                if *deadline <= self.now { Found::Expired(*id) } else { Found::Live(*id) }
            });
            assert_eq!(found, expected);
            if let Some((id, deadline)) = self.map.get(&n) {
                assert_eq!(self.table.get(*id), Some(&n));
                assert_eq!(self.table.deadline(*id), Some(millis(*deadline)));
            }
        }
    }
}

proptest! {
    #[test]
    fn table_agrees_with_a_map(ops in prop::collection::vec(any_op(), 0..200)) {
        let table = table(Twins::LIMIT);
        let (map, without_timer) = (HashMap::new(), HashSet::new());
        let mut twins = Twins { table, map, now: START, taken: Vec::new(), without_timer };
        for op in ops {
            twins.apply(op);
            twins.compare();
        }
    }

    /// Expiring at every step or once at the end visits the same entries in the same order.
    #[test]
    fn order_of_expiry_does_not_depend_on_how_often_it_is_asked_for(
        flows in prop::collection::vec((0u64..5_000, 0u64..6_000_000, prop::option::of(0u64..6_000_000)), 1..60),
        step in 100u64..1_000_000,
    ) {
        let run = |step: u64| {
            let mut table = table(100);
            let mut gone = Vec::new();
            for (n, (at, timeout, again)) in (0u32..).zip(&flows) {
                let id = add(&mut table, n, millis(START + at), Span::from_millis(*timeout)).unwrap();
                if let Some(again) = again {
                    table.touch(id, millis(START + at), Span::from_millis(*again));
                }
            }
            let mut now = 5_000;
            while now < 7_000_000 {
                gone.extend(expired(&mut table, millis(START + now)));
                now += step;
            }
            gone.extend(expired(&mut table, millis(START + 8_000_000)));
            gone
        };
        let once = run(u64::from(u32::MAX));
        prop_assert_eq!(once.len(), flows.len());
        prop_assert_eq!(once, run(step));
    }
}
