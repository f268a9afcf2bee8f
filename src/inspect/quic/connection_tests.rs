//! Several connections on one flow: each read apart from the others, and no more than there may be.

use super::crypto::STREAM_LIMIT_BYTES;
use super::seal::{Initial, crypto_frame};
use super::tests::{ID, NAME, ORIGINAL, after_hello, hello, initial, named, read, whole};
use super::*;
use crate::inspect::Outcome;

/// An Initial packet of the connection of this number.
fn of(number: u8, frames: &[u8]) -> Vec<u8> {
    let id = [number; 8];
    Initial { destination: &id, ..initial() }.seal(frames).unwrap()
}

#[test]
fn connections_side_by_side_are_told_apart() {
    let (mut reader, mut facts) = after_hello();
    let first = reader.connection();
    let hello = hello(b"other.example", 32);
    let (front, back) = hello.split_at(60);
    assert_eq!(
        read(&mut reader, &mut facts, &of(1, &crypto_frame(0, front).unwrap())),
        Outcome::More
    );
    let second = reader.connection();
    assert!(first.is_some() && second.is_some() && first != second);
    let again = initial().seal(&whole(NAME)).unwrap();
    assert_eq!(reader.datagram(ORIGINAL, &again, &mut facts), Progress::more(again.len()));
    assert_eq!((reader.connection(), named(&facts).as_str()), (first, "quic.payments.example"));
    let early = [&[0xd0, 0, 0, 0, 1, 8][..], &[1; 8], &[0, 25], &[0x33; 25]].concat();
    assert_eq!(reader.datagram(ORIGINAL, &early, &mut facts), Progress::more(0));
    assert_eq!(reader.connection(), second);
    assert_eq!(read(&mut reader, &mut facts, &[0x45; 60]), Outcome::More);
    assert_eq!(reader.connection(), None);
    let rest = of(1, &crypto_frame(60, back).unwrap());
    assert_eq!(read(&mut reader, &mut facts, &rest), Outcome::Message);
    assert_eq!((reader.connection(), named(&facts).as_str()), (second, "other.example"));
}

#[test]
fn a_second_hello_is_held_against_the_first_of_its_connection() {
    let moved = Initial { destination: b"server-id", keyed_by: Some(ID), number: 1, ..initial() };
    let len = hello(NAME, 32).len();
    for (name, outcome) in [
        (NAME, Outcome::Message),
        (&b"other.example"[..], Outcome::Fault(Reason::NameChanged)),
        (&b"third.example"[..], Outcome::Fault(Reason::NameChanged)),
    ] {
        let (mut reader, mut facts) = after_hello();
        let between = of(1, &whole(b"other.example"));
        assert_eq!(read(&mut reader, &mut facts, &between), Outcome::Message);
        let second = moved.seal(&crypto_frame(len, &hello(name, 32)).unwrap()).unwrap();
        assert_eq!(read(&mut reader, &mut facts, &second), outcome);
        if outcome == Outcome::Message {
            assert_eq!(named(&facts), "quic.payments.example", "it is a message of its own");
        }
    }
}

#[test]
fn connections_are_known_up_to_their_limit_and_then_the_oldest_that_was_read_is_not() {
    let most = u8::try_from(CONNECTIONS_MAX).unwrap();
    let late = Initial { destination: b"server-id", keyed_by: Some(&[1; 8]), ..initial() };
    let late = late.seal(&[1]).unwrap();
    for count in [most - 1, most, most + 1] {
        let (mut reader, mut facts) = (QuicReader::new(), Facts::default());
        for number in 1..=count {
            let outcome = read(&mut reader, &mut facts, &of(number, &whole(NAME)));
            assert_eq!(outcome, Outcome::Message);
        }
        let progress = reader.datagram(ORIGINAL, &late, &mut facts);
        let known = count <= most;
        let refused = Progress::refused(Reason::QuicMalformed);
        assert_eq!(progress, if known { Progress::more(1200) } else { refused }, "{count}");
    }
}

#[test]
fn where_all_are_waited_for_the_oldest_is_given_up() {
    let most = u8::try_from(CONNECTIONS_MAX).unwrap();
    let hello = hello(NAME, 32);
    let (front, back) = hello.split_at(60);
    for count in [most - 1, most, most + 1] {
        let (mut reader, mut facts) = (QuicReader::new(), Facts::default());
        for number in 1..=count {
            let part = of(number, &crypto_frame(0, front).unwrap());
            assert_eq!(read(&mut reader, &mut facts, &part), Outcome::More);
            assert_eq!(reader.connection(), Some(u32::from(number)));
        }
        assert_eq!(reader.knows(1), count <= most, "{count}");
        for number in 2..=count {
            assert!(reader.knows(u32::from(number)));
            let rest = of(number, &crypto_frame(60, back).unwrap());
            assert_eq!(read(&mut reader, &mut facts, &rest), Outcome::Message);
            assert_eq!(reader.connection(), Some(u32::from(number)));
        }
    }
}

#[test]
fn streams_of_all_connections_together_end_where_that_of_one_does() {
    let taken = 1000;
    for (end, fits) in [
        (STREAM_LIMIT_BYTES - taken - 1, true),
        (STREAM_LIMIT_BYTES - taken, true),
        (STREAM_LIMIT_BYTES - taken + 1, false),
    ] {
        let (mut reader, mut facts) = (QuicReader::new(), Facts::default());
        let frame = |end: usize| crypto_frame(end - 1, b"x").unwrap();
        assert_eq!(read(&mut reader, &mut facts, &of(1, &frame(taken))), Outcome::More);
        let outcome = read(&mut reader, &mut facts, &of(2, &frame(end)));
        let expected = if fits { Outcome::More } else { Outcome::Fault(Reason::LimitInspection) };
        assert_eq!(outcome, expected, "{end}");
    }
}
