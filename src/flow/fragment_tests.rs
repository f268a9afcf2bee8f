//! Tests of fragment trains, and their comparison with a map of every byte.

use super::*;
use proptest::prelude::*;

const START: Timestamp = Timestamp::from_secs(1_795_000_000);

fn key(id: u32) -> FragmentKey {
    FragmentKey {
        scope: ScopeId(1),
        src: Addr::v4([10, 20, 1, 5]),
        dst: Addr::v4([10, 100, 4, 7]),
        protocol: Protocol::UDP,
        id,
    }
}

const fn piece(offset: u32, len: u32, more: bool) -> Piece {
    Piece { offset, len, more }
}

type Trains = Fragments<char, u32>;

fn trains() -> Trains {
    let limits = FragmentLimits { trains: 3, parked_per_train: 2, parked: 3 };
    Fragments::new(limits, Secret::new(1, 2))
}

fn accept(trains: &mut Trains, id: u32, piece: Piece) -> Result<Admission<char>, Reason> {
    trains.accept(&key(id), piece, START).map_err(|refused| refused.reason)
}

const OVERLAP: Result<Admission<char>, Reason> = Err(Reason::FragmentOverlap);
const TINY: Result<Admission<char>, Reason> = Err(Reason::FragmentTiny);

#[test]
fn the_first_fragments_verdict_governs_the_later_ones() {
    let mut trains = trains();
    assert_eq!(accept(&mut trains, 1, piece(0, 16, true)), Ok(Admission::First));
    assert!(trains.decide(&key(1), 'v').is_empty());
    assert_eq!(accept(&mut trains, 1, piece(16, 16, true)), Ok(Admission::Follows('v')));
    assert_eq!(accept(&mut trains, 1, piece(32, 3, false)), Ok(Admission::Follows('v')));
    assert!(trains.is_empty(), "a complete packet is forgotten");
}

#[test]
fn what_comes_before_the_first_waits_and_leaves_in_order() {
    let mut trains = trains();
    assert_eq!(accept(&mut trains, 1, piece(32, 3, false)), Ok(Admission::Waits));
    assert_eq!(trains.park(&key(1), 32), Ok(()));
    assert_eq!(accept(&mut trains, 1, piece(16, 16, true)), Ok(Admission::Waits));
    assert_eq!(trains.park(&key(1), 16), Ok(()));
    assert_eq!(trains.parked(), 2);
    assert_eq!(accept(&mut trains, 1, piece(0, 16, true)), Ok(Admission::First));
    assert_eq!(trains.decide(&key(1), 'v'), [32, 16]);
    assert!(trains.is_empty());
    assert_eq!(trains.parked(), 0);
}

#[test]
fn trains_differ_by_every_part_of_their_key() {
    let mut trains: Trains = Fragments::new(FragmentLimits::default(), Secret::new(1, 2));
    let base = key(1);
    let keys = [
        base,
        key(2),
        key(1 << 16),
        FragmentKey { scope: ScopeId(2), ..base },
        FragmentKey { src: base.dst, dst: base.src, ..base },
        FragmentKey { protocol: Protocol(47), ..base },
    ];
    for key in &keys {
        let admission = trains.accept(key, piece(0, 16, true), START);
        assert_eq!(admission.unwrap(), Admission::First);
    }
    let secret = Secret::new(1, 2);
    assert_eq!(keys[0].shard_hash(&secret), keys[3].shard_hash(&secret));
    assert_ne!(keys[0].shard_hash(&secret), keys[1].shard_hash(&secret));
}

#[test]
fn a_repeated_fragment_is_dropped_alone() {
    let mut trains = trains();
    assert_eq!(accept(&mut trains, 1, piece(0, 16, true)), Ok(Admission::First));
    assert_eq!(accept(&mut trains, 1, piece(0, 16, true)), OVERLAP);
    trains.decide(&key(1), 'v');
    assert_eq!(accept(&mut trains, 1, piece(24, 8, false)), Ok(Admission::Follows('v')));
    assert_eq!(accept(&mut trains, 1, piece(24, 8, false)), OVERLAP);
    assert_eq!(accept(&mut trains, 1, piece(16, 8, true)), Ok(Admission::Follows('v')));
}

#[test]
fn an_overlap_or_a_second_end_spoils_the_packet_and_hands_out_what_waits() {
    let conflicts = [
        piece(40, 8, true),
        piece(24, 16, true),
        piece(48, 8, true),
        piece(32, 8, true),
        piece(64, 8, false),
        piece(64, 8, true),
        piece(24, 8, false),
    ];
    for conflict in conflicts {
        let mut trains = trains();
        assert_eq!(accept(&mut trains, 1, piece(32, 24, false)), Ok(Admission::Waits));
        assert_eq!(trains.park(&key(1), 32), Ok(()));
        let refused = trains.accept(&key(1), conflict, START);
        let expected = Refused { reason: Reason::FragmentOverlap, parked: vec![32] };
        assert_eq!(refused, Err(expected), "{conflict:?}");
        assert_eq!(trains.parked(), 0);
        assert_eq!(accept(&mut trains, 1, piece(0, 16, true)), OVERLAP);
        assert_eq!((trains.decide(&key(1), 'v'), trains.len()), (vec![], 1));
    }
}

#[test]
fn an_end_before_what_was_seen_spoils_the_packet() {
    let mut trains = trains();
    assert_eq!(accept(&mut trains, 1, piece(32, 24, true)), Ok(Admission::Waits));
    assert_eq!(accept(&mut trains, 1, piece(16, 8, false)), OVERLAP);
}

#[test]
fn lengths_that_fit_no_fragment_are_refused() {
    let mut trains = trains();
    for bad in [
        piece(0, 7, false),
        piece(0, 0, true),
        piece(8, 0, false),
        piece(8, 9, true),
        piece(4, 8, true),
        piece(65_528, 8, false),
        piece(u32::MAX - 7, 8, false),
    ] {
        assert_eq!(accept(&mut trains, 1, bad), TINY, "{bad:?}");
    }
    assert_eq!(accept(&mut trains, 1, piece(65_528, 7, false)), Ok(Admission::Waits));
    for (len, fits) in [(16, false), (24, true)] {
        let tcp = FragmentKey { protocol: Protocol::TCP, ..key(2) };
        assert_eq!(trains.accept(&tcp, piece(0, len, true), START).is_ok(), fits);
    }
    assert_eq!(trains.len(), 2, "a refused length takes no room");
}

#[test]
fn trains_are_bounded() {
    let mut trains = trains();
    for id in 0..3 {
        assert_eq!(trains.len(), id as usize);
        assert_eq!(accept(&mut trains, id, piece(8, 8, true)), Ok(Admission::Waits));
    }
    assert_eq!(accept(&mut trains, 3, piece(8, 8, true)), Err(Reason::LimitFragments));
    assert_eq!(trains.len(), 3);
}

#[test]
fn waiting_fragments_are_bounded_per_packet_and_in_total() {
    let mut trains = trains();
    for id in 0..2 {
        for offset in [8, 16, 24] {
            assert_eq!(accept(&mut trains, id, piece(offset, 8, true)), Ok(Admission::Waits));
        }
    }
    assert_eq!(trains.park(&key(0), 8), Ok(()));
    assert_eq!(trains.park(&key(0), 16), Ok(()));
    assert_eq!(trains.park(&key(0), 24), Err((Reason::LimitFragments, 24)));
    assert_eq!(trains.park(&key(1), 8), Ok(()));
    assert_eq!(trains.park(&key(1), 16), Err((Reason::LimitFragments, 16)));
    assert_eq!(trains.park(&key(9), 8), Err((Reason::LimitFragments, 8)));
    assert_eq!(trains.parked(), 3);
}

#[test]
fn a_packet_has_at_most_so_many_fragments() {
    let mut trains = trains();
    let count = PIECES_MAX as u32;
    assert_eq!(accept(&mut trains, 1, piece(0, 8, true)), Ok(Admission::First));
    trains.decide(&key(1), 'v');
    for n in 1..count {
        assert_eq!(accept(&mut trains, 1, piece(n * 8, 8, true)), Ok(Admission::Follows('v')));
    }
    assert_eq!(accept(&mut trains, 1, piece(count * 8, 8, true)), Err(Reason::LimitFragments));
}

#[test]
fn what_waits_too_long_is_handed_out_once() {
    let mut trains = trains();
    for id in 0..2 {
        assert_eq!(accept(&mut trains, id, piece(8, 8, true)), Ok(Admission::Waits));
        assert_eq!(trains.park(&key(id), id), Ok(()));
    }
    let mut gone = Vec::new();
    let due = START + TIMEOUT;
    trains.expire(due, |fragment| gone.push(fragment));
    assert!(gone.is_empty());
    // Packet 0 starts over although its old train was not visited yet.
    let first = trains.accept(&key(0), piece(0, 16, true), due);
    assert_eq!(first, Ok(Admission::First));
    trains.expire(due, |fragment| gone.push(fragment));
    assert_eq!((gone.as_slice(), trains.parked()), ([0].as_slice(), 1));
    trains.expire(due + Span::from_secs(1), |fragment| gone.push(fragment));
    assert_eq!((gone.as_slice(), trains.parked(), trains.len()), ([0, 1].as_slice(), 0, 1));
}

proptest! {
    /// A packet passes in whole exactly if no two of its fragments share a byte and none
    /// disagrees about the end; whatever passed never overlaps.
    #[test]
    fn what_passes_never_overlaps(
        pieces in prop::collection::vec((0u32..6, 1u32..4, any::<bool>()), 1..12)
    ) {
        let mut trains = trains();
        let mut owner = [0u8; 128];
        let mut end = None;
        let mut passed = Vec::new();
        for (offset, len, more) in pieces {
            let piece = piece(offset * 8, len * 8, more);
            match trains.accept(&key(1), piece, START) {
                Ok(Admission::First) => prop_assert!(trains.decide(&key(1), 'v').is_empty()),
                Ok(_) => {}
                Err(_) => continue,
            }
            prop_assert!(!passed.contains(&piece));
            passed.push(piece);
            for at in piece.offset..piece.offset + piece.len {
                owner[at as usize] += 1;
            }
            prop_assert!(owner.iter().all(|times| *times <= 1));
            let reach = piece.offset + piece.len;
            if !more {
                prop_assert_eq!(end, None);
                end = Some(reach);
            }
            prop_assert!(end.is_none_or(|end| owner[end as usize..].iter().all(|n| *n == 0)));
            if trains.is_empty() {
                prop_assert!(owner[..end.unwrap() as usize].iter().all(|times| *times == 1));
                break;
            }
        }
    }
}
