//! The reader over datagrams: the packets of RFC 9001, hellos in every order and cut, and what
//! changes a connection under way.

use super::seal::{Initial, crypto_frame};
use super::version::{V1, V2};
use super::*;
use crate::inspect::Outcome;
use crate::inspect::tls::compose::Offer;
use crate::model::{Fact, TlsVersion};
use proptest::prelude::*;

pub(super) const ORIGINAL: Direction = Direction::Original;
pub(super) const ID: &[u8] = &[0x83, 0x94, 0xc8, 0xf0, 0x3e, 0x51, 0x57, 0x08];
pub(super) const NAME: &[u8] = b"quic.payments.example";

pub(super) fn hello(name: &[u8], key_share: usize) -> Vec<u8> {
    let names = [name];
    Offer { names: &names, versions: &[0x0304], key_share, ..Offer::default() }.message().unwrap()
}

pub(super) fn initial() -> Initial<'static> {
    Initial { version: V1, destination: ID, padded_to: 1200, ..Initial::default() }
}

pub(super) fn whole(name: &[u8]) -> Vec<u8> {
    crypto_frame(0, &hello(name, 32)).unwrap()
}

pub(super) fn read(reader: &mut QuicReader, facts: &mut Facts, datagram: &[u8]) -> Outcome {
    let progress = reader.datagram(ORIGINAL, datagram, facts);
    match progress.outcome {
        Outcome::Message => assert_eq!(progress.consumed, datagram.len()),
        Outcome::More => assert!([0, datagram.len()].contains(&progress.consumed)),
        _ => assert_eq!(progress.consumed, 0),
    }
    progress.outcome
}

/// A reader that has read one hello.
pub(super) fn after_hello() -> (QuicReader, Facts) {
    let (mut reader, mut facts) = (QuicReader::new(), Facts::default());
    let datagram = initial().seal(&whole(NAME)).unwrap();
    assert_eq!(read(&mut reader, &mut facts, &datagram), Outcome::Message);
    assert_eq!(named(&facts), "quic.payments.example");
    (reader, facts)
}

pub(super) fn named(facts: &Facts) -> String {
    facts.domain.known().unwrap().to_string()
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
    let digit = |byte: u8| u8::try_from(char::from(byte).to_digit(16).unwrap()).unwrap();
    digits.chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}

#[test]
fn the_packet_of_rfc_9001_appendix_a_2_is_sealed_and_opened() {
    let frame = bytes(
        "060040f1010000ed0303ebf8fa56f12939b9584a3896472ec40bb863cfd3e86804fe3a47f06a2b69484c0000
         0413011302010000c000000010000e00000b6578616d706c652e636f6dff01000100000a00080006001d0017
         001800100007000504616c706e000500050100000000003300260024001d00209370b2c9caa47fbabaf4559f
         edba753de171fa71f50f1ce15d43e994ec74d748002b0003020304000d0010000e0403050306030203080408
         050806002d00020101001c00024001003900320408ffffffffffffffff05048000ffff07048000ffff080110
         0104800075300901100f088394c8f03e51570806048000ffff",
    );
    let packet = Initial { number: 2, ..initial() }.seal(&frame).unwrap();
    assert_eq!(packet.len(), 1200);
    assert_eq!(
        packet[..32],
        bytes("c000000001088394c8f03e5157080000449e7b9aec34d1b1c98dd7689fb8ec11",)
    );
    assert_eq!(packet[1184..], bytes("e221af44860018ab0856972e194cd934"));
    let mut facts = Facts::default();
    assert_eq!(read(&mut QuicReader::new(), &mut facts, &packet), Outcome::Message);
    assert_eq!(named(&facts), "example.com");
    assert_eq!(facts.app, Fact::Known(App::Quic));
    assert_eq!(facts.quic_version, Some(QuicVersion(1)));
    assert_eq!(facts.tls.version, Fact::Known(TlsVersion(0x0304)));
    assert_eq!(facts.tls.alpn.as_deref(), Some("alpn"));
}

#[test]
fn every_version_that_can_be_read_is_read() {
    for version in [V1, V2, 0xff00_0016, 0xff00_001b, 0xff00_001d, 0xff00_0022, 0xface_b002] {
        let datagram = Initial { version, ..initial() }.seal(&whole(NAME)).unwrap();
        let mut facts = Facts::default();
        assert_eq!(read(&mut QuicReader::new(), &mut facts, &datagram), Outcome::Message);
        assert_eq!(facts.quic_version, Some(QuicVersion(version)));
        assert!(is_client_start(&datagram) && may_hold_initial(&datagram));
    }
}

#[test]
fn a_version_that_cannot_be_read_is_a_fact() {
    let mut datagram = initial().seal(&whole(NAME)).unwrap();
    datagram[1..5].copy_from_slice(&[0x1a, 0x2a, 0x3a, 0x4a]);
    let (mut reader, mut facts) = (QuicReader::new(), Facts::default());
    assert!(is_client_start(&datagram));
    assert_eq!(read(&mut reader, &mut facts, &datagram), Outcome::Message);
    assert_eq!(facts.quic_version, Some(QuicVersion(0x1a2a_3a4a)));
    assert_eq!((&facts.domain, &facts.app), (&Fact::Absent, &Fact::Known(App::Quic)));
    let again = reader.datagram(ORIGINAL, &datagram, &mut facts);
    assert_eq!(again, Progress::more(datagram.len()));
    let known = initial().seal(&whole(NAME)).unwrap();
    assert_eq!(read(&mut reader, &mut facts, &known), Outcome::Message);
    assert_eq!(named(&facts), "quic.payments.example");
}

#[test]
fn coalesced_and_early_packets_wait_for_the_hello() {
    let hello = hello(NAME, 1216);
    let (front, back) = hello.split_at(700);
    let first = initial().seal(&crypto_frame(0, front).unwrap()).unwrap();
    let second = Initial { number: 1, ..initial() };
    let second = second.seal(&crypto_frame(700, back).unwrap()).unwrap();
    let mut early = vec![0xd0, 0, 0, 0, 1, 8];
    early.extend(ID);
    early.extend([0, 25]);
    early.extend([0x33; 25]);
    for datagrams in [
        vec![first.clone(), [second.clone(), early.clone()].concat()],
        vec![[early.clone(), second.clone()].concat(), first.clone()],
        vec![early.clone(), second.clone(), first.clone()],
        vec![[first.clone(), second.clone()].concat()],
        vec![first.clone(), first.clone(), second.clone()],
    ] {
        let (mut reader, mut facts) = (QuicReader::new(), Facts::default());
        for (at, datagram) in datagrams.iter().enumerate() {
            let progress = reader.datagram(ORIGINAL, datagram, &mut facts);
            let last = at + 1 == datagrams.len();
            let expected = if last { Progress::message(datagram.len()) } else { Progress::more(0) };
            assert_eq!(progress, expected);
        }
        assert_eq!(named(&facts), "quic.payments.example");
        for datagram in &datagrams {
            let again = reader.datagram(ORIGINAL, datagram, &mut facts);
            assert_eq!(again, Progress::more(datagram.len()));
        }
    }
}

#[test]
fn crypto_bytes_that_change_are_told_before_and_after_the_hello() {
    let hello = hello(NAME, 32);
    let part = initial().seal(&crypto_frame(0, &hello[..90]).unwrap()).unwrap();
    let other = initial().seal(&whole(b"other.payments.example")).unwrap();
    let (mut reader, mut facts) = (QuicReader::new(), Facts::default());
    assert_eq!(read(&mut reader, &mut facts, &part), Outcome::More);
    let fault = Outcome::Fault(Reason::InconsistentRetransmission);
    assert_eq!(read(&mut reader, &mut facts, &other), fault);
    let (mut reader, mut facts) = after_hello();
    assert_eq!(read(&mut reader, &mut facts, &other), fault);
}

/// A long header packet of the server.
fn from_server(kind: u8, id: &[u8]) -> Vec<u8> {
    let mut packet = vec![0xc0 | kind << 4, 0, 0, 0, 1, 0, u8::try_from(id.len()).unwrap()];
    packet.extend(id);
    packet.extend([20; 21]);
    packet
}

#[test]
fn after_retry_the_keys_change_and_the_name_may_not() {
    for (name, outcome) in
        [(NAME, Outcome::Message), (b"other.payments.example", Outcome::Fault(Reason::NameChanged))]
    {
        let (mut reader, mut facts) = after_hello();
        let retry = from_server(3, b"retried!");
        let learned = reader.datagram(Direction::Reply, &retry, &mut facts);
        assert_eq!(learned, Progress::more(retry.len()));
        let token = [0xee; 400];
        let datagram = Initial { destination: b"retried!", token: &token, ..initial() };
        let datagram = datagram.seal(&whole(name)).unwrap();
        assert_eq!(read(&mut reader, &mut facts, &datagram), outcome);
    }
}

#[test]
fn another_connection_on_the_flow_is_a_message_of_its_own() {
    let (mut reader, mut facts) = after_hello();
    let other = Initial { destination: b"elsewhere", ..initial() };
    let datagram = other.seal(&whole(b"other.payments.example")).unwrap();
    assert_eq!(read(&mut reader, &mut facts, &datagram), Outcome::Message);
    assert_eq!(named(&facts), "other.payments.example");
}

#[test]
fn the_server_chosen_id_goes_with_the_first_keys() {
    let moved = Initial { destination: b"server-id", keyed_by: Some(ID), ..initial() };
    let acknowledge = moved.seal(&[2, 0, 0, 0, 0]).unwrap();
    let (mut reader, mut facts) = after_hello();
    let passes = Progress::more(acknowledge.len());
    assert_eq!(reader.datagram(ORIGINAL, &acknowledge, &mut facts), passes);
    assert_eq!(reader.wants(), Wants::BOTH);
    reader.datagram(Direction::Reply, &from_server(2, b"server-id"), &mut facts);
    assert_eq!(reader.wants(), Wants::ORIGINAL);
    assert_eq!(reader.datagram(ORIGINAL, &acknowledge, &mut facts), passes);
    let second = crypto_frame(hello(NAME, 32).len(), &hello(b"other.example", 32)).unwrap();
    let second = moved.seal(&second).unwrap();
    let changed = Outcome::Fault(Reason::NameChanged);
    assert_eq!(read(&mut reader, &mut facts, &second), changed);
}

#[test]
fn a_compatible_version_goes_on_with_the_same_connection() {
    // Some clients, wrongly, keep the keys of the first version for what they still acknowledge.
    for keyed_in in [V2, V1] {
        let (mut reader, mut facts) = after_hello();
        let moved = Initial { version: V2, destination: b"s", keyed_by: Some(ID), ..initial() };
        let moved = Initial { keyed_in: Some(keyed_in), number: 1, ..moved };
        let acknowledge = moved.seal(&[2, 0, 0, 0, 0]).unwrap();
        let progress = reader.datagram(ORIGINAL, &acknowledge, &mut facts);
        assert_eq!(progress, Progress::more(acknowledge.len()));
        let second = crypto_frame(hello(NAME, 32).len(), &hello(b"other.example", 32)).unwrap();
        let outcome = read(&mut reader, &mut facts, &moved.seal(&second).unwrap());
        assert_eq!(outcome, Outcome::Fault(Reason::NameChanged));
    }
}

#[test]
fn what_nobody_can_open_is_malformed_first_and_refused_alone_later() {
    let forged = Initial { keyed_by: Some(b"nobody"), ..initial() };
    let forged = forged.seal(&whole(NAME)).unwrap();
    let (mut reader, mut facts) = (QuicReader::new(), Facts::default());
    let fault = Outcome::Fault(Reason::QuicMalformed);
    assert_eq!(read(&mut reader, &mut facts, &forged), fault);
    let (mut reader, mut facts) = after_hello();
    for _ in 0..=INITIALS_LIMIT {
        let progress = reader.datagram(ORIGINAL, &forged, &mut facts);
        assert_eq!(progress, Progress::refused(Reason::QuicMalformed));
    }
}

#[test]
fn a_datagram_too_small_for_a_server_names_nothing() {
    let refused = Progress::refused(Reason::QuicMalformed);
    for (len, named) in [
        (FIRST_DATAGRAM_BYTES - 1, false),
        (FIRST_DATAGRAM_BYTES, true),
        (FIRST_DATAGRAM_BYTES + 1, true),
    ] {
        let (mut reader, mut facts) = (QuicReader::new(), Facts::default());
        let datagram = Initial { padded_to: len, ..initial() }.seal(&whole(NAME)).unwrap();
        assert_eq!(datagram.len(), len);
        let progress = reader.datagram(ORIGINAL, &datagram, &mut facts);
        assert_eq!(progress, if named { Progress::message(len) } else { refused }, "{len}");
        assert_eq!(reader.is_decided(), named);
    }
    let small = |frames: &[u8]| Initial { padded_to: 300, ..initial() }.seal(frames).unwrap();
    let (mut reader, mut facts) = (QuicReader::new(), Facts::default());
    let hello = hello(NAME, 32);
    let front = initial().seal(&crypto_frame(0, &hello[..60]).unwrap()).unwrap();
    let back = small(&crypto_frame(60, &hello[60..]).unwrap());
    assert_eq!(read(&mut reader, &mut facts, &front), Outcome::More);
    assert_eq!(reader.datagram(ORIGINAL, &back, &mut facts), refused);
    let (mut reader, mut facts) = after_hello();
    let passes = small(&[2, 0, 0, 0, 0]);
    assert_eq!(reader.datagram(ORIGINAL, &passes, &mut facts), Progress::more(passes.len()));
    let other = small(&crypto_frame(hello.len(), &self::hello(b"other.example", 32)).unwrap());
    assert_eq!(read(&mut reader, &mut facts, &other), Outcome::Fault(Reason::NameChanged));
}

#[test]
fn packet_numbers_are_whole_behind_what_is_written_of_them() {
    let (front, back) = (&hello(NAME, 32)[..60], &hello(NAME, 32)[60..]);
    let part = |number, offset, bytes: &[u8]| {
        let packet = Initial { number, number_bytes: 1, ..initial() };
        packet.seal(&crypto_frame(offset, bytes).unwrap()).unwrap()
    };
    let (mut reader, mut facts) = (QuicReader::new(), Facts::default());
    assert_eq!(read(&mut reader, &mut facts, &part(0xff, 0, front)), Outcome::More);
    assert_eq!(read(&mut reader, &mut facts, &part(0x100, 60, back)), Outcome::Message);
    assert_eq!(named(&facts), "quic.payments.example");
    // Behind 0x100, what says 1 is 0x101 to the server, which opens no packet 1.
    let (mut reader, mut facts) = (QuicReader::new(), Facts::default());
    let ping = Initial { number: 0x100, ..initial() }.seal(&[1]).unwrap();
    assert_eq!(read(&mut reader, &mut facts, &ping), Outcome::More);
    let fault = Outcome::Fault(Reason::QuicMalformed);
    assert_eq!(read(&mut reader, &mut facts, &part(1, 0, &hello(NAME, 32))), fault);
    let (mut reader, mut facts) = (QuicReader::new(), Facts::default());
    assert_eq!(read(&mut reader, &mut facts, &ping), Outcome::More);
    let behind = part(0x101, 0, &hello(NAME, 32));
    assert_eq!(read(&mut reader, &mut facts, &behind), Outcome::Message);
}

#[test]
fn only_what_a_server_would_open_begins_a_connection() {
    let datagram = initial().seal(&whole(NAME)).unwrap();
    assert!(begins(&datagram));
    let early = [&[0xd0, 0, 0, 0, 1, 8][..], ID, &[0, 25], &[0x33; 25]].concat();
    assert!(begins(&[early.clone(), datagram].concat()));
    assert!(!begins(&early));
    let moved = Initial { destination: b"server-id", keyed_by: Some(ID), ..initial() };
    for other in [moved.seal(&[1]).unwrap(), from_server(0, b"x"), vec![0x45; 60], vec![0xc5; 60]] {
        assert!(!begins(&other));
    }
}

#[test]
fn packets_of_two_connections_in_one_datagram_are_malformed() {
    let other = Initial { destination: b"elsewhere", ..initial() }.seal(&whole(NAME)).unwrap();
    let datagram = [initial().seal(&whole(NAME)).unwrap(), other].concat();
    let mut facts = Facts::default();
    let outcome = read(&mut QuicReader::new(), &mut facts, &datagram);
    assert_eq!(outcome, Outcome::Fault(Reason::QuicMalformed));
}

#[test]
fn initials_end_at_their_limit() {
    for (count, fits) in
        [(INITIALS_LIMIT - 1, true), (INITIALS_LIMIT, true), (INITIALS_LIMIT + 1, false)]
    {
        let (mut reader, mut facts) = (QuicReader::new(), Facts::default());
        let ping = initial().seal(&[1]).unwrap();
        let mut outcomes = (0..count).map(|_| read(&mut reader, &mut facts, &ping));
        let faulty = outcomes.any(|o| o == Outcome::Fault(Reason::LimitInspection));
        assert_eq!(!faulty, fits, "{count}");
    }
}

#[test]
fn short_headers_wait_before_a_hello_and_pass_after_it() {
    let short = [0x45; 60];
    let mut facts = Facts::default();
    assert_eq!(QuicReader::new().datagram(ORIGINAL, &short, &mut facts), Progress::more(0));
    let (mut reader, mut facts) = after_hello();
    assert_eq!(reader.datagram(ORIGINAL, &short, &mut facts), Progress::more(60));
    assert!(!may_hold_initial(&short));
}

/// Datagrams of two connections of a client, and of their servers.
fn talk() -> Vec<(Direction, Vec<u8>)> {
    let large = hello(NAME, 1216);
    let (front, back) = large.split_at(900);
    let frames = [
        whole(NAME),
        whole(b"other.example"),
        crypto_frame(0, front).unwrap(),
        crypto_frame(front.len(), back).unwrap(),
        crypto_frame(40_000, b"far behind").unwrap(),
        vec![1],
    ];
    let ids = [(V1, ID), (V2, ID), (V1, b"elsewhere")];
    let sealed = ids.iter().flat_map(|&(version, destination)| {
        let packet = Initial { version, destination, ..initial() };
        frames.iter().map(move |frames| (ORIGINAL, packet.seal(frames).unwrap()))
    });
    let long = |first: u8| {
        [&[first, 0, 0, 0, 1, 4, 1, 2, 3, 4, 9], &b"elsewhere"[..], &[2, 0xee, 0xee]].concat()
    };
    let mut unreadable = initial().seal(&whole(NAME)).unwrap();
    unreadable[1..5].copy_from_slice(&[0x1a, 0x2a, 0x3a, 0x4a]);
    let others = [
        (Direction::Reply, long(0xe0)),
        (Direction::Reply, long(0xf0)),
        (ORIGINAL, long(0xe0)),
        (ORIGINAL, vec![0x45; 40]),
        (ORIGINAL, unreadable),
    ];
    sealed.chain(others).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_renewed_reader_reads_as_a_new_one(
        before in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
        after in prop::collection::vec(any::<prop::sample::Index>(), 1..6),
    ) {
        let talk = talk();
        let (mut used, mut facts) = (QuicReader::new(), Facts::default());
        for at in before {
            let (direction, datagram) = at.get(&talk);
            used.datagram(*direction, datagram, &mut facts);
        }
        used.renew();
        let mut new = QuicReader::new();
        let mut facts = [Facts::default(), Facts::default()];
        for at in after {
            let (direction, datagram) = at.get(&talk);
            let [of_used, of_new] = &mut facts;
            let progress = used.datagram(*direction, datagram, of_used);
            prop_assert_eq!(progress, new.datagram(*direction, datagram, of_new));
            prop_assert_eq!(&facts[0], &facts[1]);
            prop_assert_eq!(used.wants(), new.wants());
            prop_assert_eq!(used.is_decided(), new.is_decided());
        }
    }
}

proptest! {
    #[test]
    fn any_order_and_cut_of_crypto_frames_gives_the_name(
        cut in 40_usize..600,
        order in Just((0..40_usize).collect::<Vec<_>>()).prop_shuffle(),
        overlap in 0_usize..30,
    ) {
        let hello = hello(NAME, 1216);
        let parts: Vec<_> = (0..hello.len()).step_by(cut).collect();
        let (mut reader, mut facts) = (QuicReader::new(), Facts::default());
        let mut last = Outcome::More;
        for &start in order.iter().filter_map(|&at| parts.get(at)) {
            prop_assert_eq!(last, Outcome::More);
            let end = (start + cut + overlap).min(hello.len());
            let mut frames = vec![1, 0, 0];
            frames.extend(crypto_frame(start, &hello[start..end]).unwrap());
            let number = u32::try_from(start / cut).unwrap();
            let datagram = Initial { number, ..initial() }.seal(&frames).unwrap();
            let progress = reader.datagram(ORIGINAL, &datagram, &mut facts);
            last = progress.outcome;
            if last == Outcome::Message { break }
        }
        prop_assert_eq!(last, Outcome::Message);
        prop_assert_eq!(named(&facts), "quic.payments.example");
    }

    #[test]
    fn mutated_datagrams_never_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        len in 0_usize..1300,
        frames in prop::collection::vec(any::<u8>(), 0..120),
    ) {
        let (mut reader, mut facts) = (QuicReader::new(), Facts::default());
        let sealed = initial().seal(&frames).unwrap();
        reader.datagram(ORIGINAL, &sealed, &mut facts);
        let mut datagram = initial().seal(&whole(NAME)).unwrap();
        for (at, value) in changes {
            let at = at.index(64);
            datagram[at] = value;
        }
        datagram.resize(len, 0xc0);
        for direction in [ORIGINAL, Direction::Reply, ORIGINAL] {
            let progress = reader.datagram(direction, &datagram, &mut facts);
            prop_assert!(progress.consumed <= datagram.len());
        }
        let _ = may_hold_initial(&datagram);
        let _ = is_client_start(&datagram);
    }
}
