//! Stream heads against a naive twin, around the wrap of sequence numbers, and at their limits.

use super::*;

const ROOM: usize = 1 << 16;

/// Every place a byte of its own; what is not released is compared, in order or not.
struct Naive {
    places: Vec<Option<u8>>,
    acked: usize,
}

impl Naive {
    fn insert(&mut self, at: usize, bytes: &[u8]) -> bool {
        let clash = bytes
            .iter()
            .enumerate()
            .any(|(i, b)| at + i >= self.acked && self.places[at + i].is_some_and(|old| old != *b));
        if !clash {
            for (i, b) in bytes.iter().enumerate() {
                if at + i >= self.acked {
                    self.places[at + i] = Some(*b);
                }
            }
        }
        !clash
    }

    fn in_order(&self) -> Vec<u8> {
        self.places.iter().map_while(|p| *p).collect()
    }
}

fn random(state: &mut u64, below: usize) -> usize {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    usize::try_from(*state >> 33).unwrap() % below
}

#[test]
fn a_random_stream_is_what_a_naive_twin_sees() {
    let mut state = 7;
    for round in 0..4000 {
        let initial = if round % 2 == 0 { u32::MAX - 9 } else { 1000 };
        let mut head = StreamHead::new(initial, ROOM);
        let mut naive = Naive { places: vec![None; 32], acked: 0 };
        let mut read = Vec::new();
        for _ in 0..random(&mut state, 24) {
            let at = random(&mut state, 24);
            let mut bytes: Vec<u8> =
                (at..at + 1 + random(&mut state, 7)).map(|i| i as u8).collect();
            if random(&mut state, 8) == 0 {
                let place = random(&mut state, bytes.len());
                bytes[place] = 0xee;
            }
            let result = head.insert(initial.wrapping_add(at as u32), &bytes);
            assert_eq!(result.is_ok(), naive.insert(at, &bytes), "round {round}");
            if random(&mut state, 3) == 0 {
                let count = random(&mut state, head.bytes().len() + 1);
                read.extend_from_slice(&head.bytes()[..count]);
                head.consume(count);
            }
            if random(&mut state, 3) == 0 {
                naive.acked = naive.acked.max(random(&mut state, naive.in_order().len() + 1));
                assert!(!head.acked(initial.wrapping_add(naive.acked as u32)));
            }
            let seen = [read.as_slice(), head.bytes()].concat();
            assert_eq!(seen, naive.in_order(), "round {round}");
            assert_eq!(head.in_order_end(), initial.wrapping_add(seen.len() as u32));
            assert_eq!(head.read_seq(), initial.wrapping_add(read.len() as u32));
            let filled = naive.places.iter().flatten().count();
            assert_eq!(head.held_bytes(), filled - read.len().min(naive.acked));
        }
    }
}

#[test]
fn every_order_of_segments_gives_the_same_stream_across_the_wrap() {
    let segments = [(0, 2), (2, 3), (4, 3), (5, 1), (7, 2)];
    for order in 0..120 {
        let mut left: Vec<_> = segments.to_vec();
        let mut head = StreamHead::new(u32::MAX - 3, ROOM);
        let mut rest = order;
        while !left.is_empty() {
            let (at, len) = left.remove(rest % left.len());
            rest /= left.len() + 1;
            let bytes: Vec<u8> = (at..at + len).collect();
            assert!(head.insert((u32::MAX - 3).wrapping_add(at.into()), &bytes).is_ok());
        }
        assert_eq!(head.bytes(), (0..9).collect::<Vec<u8>>(), "order {order}");
        assert_eq!(head.in_order_end(), 5);
    }
}

#[test]
fn what_became_of_a_segment_is_told() {
    let mut head = StreamHead::new(0, ROOM);
    assert_eq!(head.insert(2, b"cd"), Ok(Inserted::BehindGap));
    assert_eq!(head.insert(2, b"cd"), Ok(Inserted::Duplicate));
    assert_eq!(head.insert(3, b"de"), Ok(Inserted::BehindGap));
    assert_eq!(head.gap_bytes(), 3);
    assert_eq!(head.insert(0, b"ab"), Ok(Inserted::InOrder(5)));
    assert_eq!(head.insert(1, b"bcd"), Ok(Inserted::Duplicate));
    assert_eq!(head.insert(9, b""), Ok(Inserted::Duplicate));
    assert_eq!(head.gap_bytes(), 0);
}

#[test]
fn a_changed_byte_is_told_in_order_behind_a_gap_and_after_it_was_read() {
    let mut head = StreamHead::new(0, ROOM);
    assert!(head.insert(0, b"abc").is_ok());
    assert!(head.insert(5, b"fg").is_ok());
    for (seq, bytes) in [(0, &b"aXc"[..]), (2, b"cdeX"), (5, b"X"), (6, b"X"), (2, b"X")] {
        assert_eq!(head.insert(seq, bytes), Err(Reason::InconsistentRetransmission));
    }
    head.consume(3);
    assert_eq!(head.insert(0, b"X"), Err(Reason::InconsistentRetransmission), "consumed");
    assert!(!head.acked(2));
    assert_eq!(head.insert(0, b"XX"), Ok(Inserted::Duplicate), "the receiver ignores it");
    assert_eq!(head.insert(0, b"zzz"), Err(Reason::InconsistentRetransmission));
    assert_eq!(head.insert(0, b"XXcde"), Ok(Inserted::InOrder(4)));
    assert_eq!(head.bytes(), b"defg");
}

#[test]
fn consumed_bytes_are_kept_until_acknowledged_and_no_longer() {
    let mut head = StreamHead::new(10, ROOM);
    assert!(head.insert(10, b"abcdef").is_ok());
    head.consume(4);
    assert_eq!(head.held_bytes(), 6);
    assert!(!head.acked(12));
    assert_eq!(head.held_bytes(), 4);
    assert!(!head.acked(16), "unread bytes stay");
    assert_eq!((head.held_bytes(), head.bytes()), (2, &b"ef"[..]));
    assert!(!head.acked(9), "old news");
    assert!(head.acked(17), "the receiver has what was not seen");
}

#[test]
fn kept_bytes_end_at_their_limit() {
    for (len, result) in
        [(7, Ok(Inserted::InOrder(7))), (8, Ok(Inserted::InOrder(8))), (9, Err(Reason::LimitHeld))]
    {
        let mut head = StreamHead::new(0, 8);
        assert_eq!(head.insert(0, &vec![1; len]), result, "{len} in order");
    }
    for (len, result) in
        [(4, Ok(Inserted::BehindGap)), (5, Ok(Inserted::BehindGap)), (6, Err(Reason::HeldGap))]
    {
        let mut head = StreamHead::new(0, 8);
        assert!(head.insert(0, &[1; 3]).is_ok());
        assert_eq!(head.insert(100, &vec![1; len]), result, "{len} behind a gap");
        assert_eq!(head.bytes().len(), 3);
    }
    let mut head = StreamHead::new(0, 8);
    assert!(head.insert(4, &[1; 4]).is_ok());
    assert_eq!(head.insert(0, &[1; 8]), Ok(Inserted::InOrder(8)), "what is there takes no room");
}

#[test]
fn passed_bytes_do_not_count_up_to_what_is_allowed() {
    let allowed = |passed: usize, consumed: usize, more: usize| {
        let mut head = StreamHead::new(0, 10);
        head.allow_passed(passed);
        for byte in 0..consumed {
            head.insert(byte as u32, b"x").unwrap();
            head.consume(1);
        }
        head.insert(consumed as u32, &vec![b'y'; more])
    };
    for (more, inserted) in [(9, true), (10, true), (11, false)] {
        assert_eq!(allowed(20, 20, more).is_ok(), inserted, "{more} behind 20 that passed");
    }
    for (more, inserted) in [(4, true), (5, true), (6, false)] {
        assert_eq!(allowed(20, 25, more).is_ok(), inserted, "{more} behind 25");
    }
    assert_eq!(allowed(0, 9, 2), Err(Reason::LimitHeld));
    let mut head = StreamHead::new(0, 10);
    head.allow_passed(20);
    head.insert(0, &[b'x'; 10]).unwrap();
    head.consume(10);
    head.insert(10, &[b'x'; 10]).unwrap();
    assert_eq!(head.insert(0, b"y"), Err(Reason::InconsistentRetransmission), "still compared");
}

#[test]
fn pieces_end_at_their_limit() {
    let mut head = StreamHead::new(0, ROOM);
    for piece in 0..GAP_PIECES_LIMIT as u32 {
        assert_eq!(head.insert(2 + 2 * piece, b"x"), Ok(Inserted::BehindGap), "piece {piece}");
    }
    let next = 2 + 2 * GAP_PIECES_LIMIT as u32;
    assert_eq!(head.insert(next, b"x"), Err(Reason::HeldGap));
    assert_eq!(head.insert(0, &vec![b'x'; next as usize]), Ok(Inserted::InOrder(next as usize)));
}

#[test]
fn what_is_passed_is_never_read_in_whatever_order_it_comes() {
    let mut head = StreamHead::new(100, 1000);
    head.pass(300);
    head.pass(200);
    assert_eq!(head.read_seq(), 300, "a late segment moves nothing back");
    assert_eq!(head.insert(250, &[1; 60]), Ok(Inserted::InOrder(10)));
    assert_eq!(head.bytes(), [1; 10]);
    head.pass(305);
    assert!(head.bytes().is_empty());
    head.begin(7);
    assert_eq!((head.read_seq(), head.held_bytes()), (7, 0));
}
