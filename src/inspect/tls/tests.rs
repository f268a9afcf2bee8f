//! The reader over whole connections: hellos in every cut, retries, certificates, and bytes that are
//! no TLS.

use super::compose::Offer;
use super::*;
use crate::inspect::Outcome;
use crate::model::{App, Ech, Fact, TlsVersion};
use proptest::prelude::*;

const ORIGINAL: Direction = Direction::Original;
const REPLY: Direction = Direction::Reply;
const NAME: &[u8] = b"api.payments.example";

fn offer() -> Offer<'static> {
    Offer {
        names: &[NAME],
        versions: &[0x0a0a, 0x0304, 0x0303],
        protocols: &[b"h2", b"http/1.1"],
        key_share: 1216,
        extensions: &[(0x1a1a, b"")],
        ..Offer::default()
    }
}

fn hello() -> Vec<u8> {
    offer().records(16_384).unwrap()
}

fn record(content: u8, payload: &[u8]) -> Vec<u8> {
    let len = u16::try_from(payload.len()).unwrap().to_be_bytes();
    [&[content, 3, 3, len[0], len[1]], payload].concat()
}

fn handshake(kind: u8, body: &[u8]) -> Vec<u8> {
    let len = u32::try_from(body.len()).unwrap().to_be_bytes();
    [&[kind, len[1], len[2], len[3]], body].concat()
}

fn server_hello(selected: Option<u16>, retry: bool) -> Vec<u8> {
    let mut body = vec![3, 3];
    if retry {
        body.extend([
            0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65,
            0xb8, 0x91, 0xc2, 0xa2, 0x11, 0x16, 0x7a, 0xbb, 0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2,
            0xc8, 0xa8, 0x33, 0x9c,
        ]);
    } else {
        body.extend([9; 32]);
    }
    body.extend([0, 0x13, 0x01, 0]);
    if let Some(version) = selected {
        let version = version.to_be_bytes();
        body.extend([0, 6, 0, 43, 0, 2, version[0], version[1]]);
    }
    handshake(2, &body)
}

fn named(facts: &Facts) -> String {
    facts.domain.known().unwrap().to_string()
}

/// A reader that has read the first hello, and its facts.
fn after_hello() -> (TlsReader, Facts) {
    let (mut reader, mut facts) = (TlsReader::new(), Facts::default());
    let bytes = hello();
    assert_eq!(reader.read(ORIGINAL, &bytes, &mut facts), Progress::message(bytes.len()));
    (reader, facts)
}

/// Feeds one direction as the engine does, byte by byte, and gives what came of it.
fn feed(
    reader: &mut TlsReader,
    facts: &mut Facts,
    direction: Direction,
    bytes: &[u8],
) -> Vec<Outcome> {
    let mut unread = Vec::new();
    let mut outcomes = Vec::new();
    for &byte in bytes {
        unread.push(byte);
        while !unread.is_empty() {
            let progress = reader.read(direction, &unread, facts);
            unread.drain(..progress.consumed);
            if progress.outcome == Outcome::More {
                break;
            }
            outcomes.push(progress.outcome);
            if matches!(progress.outcome, Outcome::Fault(_) | Outcome::Done) {
                return outcomes;
            }
        }
    }
    outcomes
}

#[test]
fn a_hello_tells_name_versions_protocol_and_fingerprints() {
    let (reader, facts) = after_hello();
    assert_eq!(named(&facts), "api.payments.example");
    assert_eq!(facts.app, Fact::Known(App::Tls));
    assert_eq!(facts.questions, Fact::Absent);
    assert_eq!(facts.tls.offered, Fact::Known(TlsVersion(0x0304)));
    assert_eq!(facts.tls.version, Fact::Unknown);
    assert_eq!(facts.tls.alpn.as_deref(), Some("h2"));
    assert_eq!(facts.tls.ech, Ech::None);
    assert!(facts.tls.ja4.known().unwrap().to_string().starts_with("t13d0806h2_"));
    assert!(facts.tls.ja3.is_some());
    assert_eq!(reader.wants(), Wants::BOTH);
}

#[test]
fn fingerprints_that_nobody_asks_for_are_missed() {
    let mut facts = Facts::default();
    let mut reader = TlsReader::new().with_fingerprints(Fingerprints::None);
    reader.read(ORIGINAL, &hello(), &mut facts);
    assert_eq!((facts.tls.ja4, facts.tls.ja3), (Fact::Missed, None));
}

#[test]
fn no_name_an_address_and_a_bad_name_are_told_apart() {
    for (names, domain, outcome) in [
        (&[][..], Fact::Absent, None),
        (&[&b"192.0.2.7"[..]][..], Fact::Absent, None),
        (&[b"a\0b.example"], Fact::Absent, Some(Reason::MalformedName)),
        (&[b""], Fact::Absent, Some(Reason::MalformedName)),
        (&[NAME, b"other.example"], Fact::Unknown, Some(Reason::TlsMalformed)),
    ] {
        let mut facts = Facts::default();
        let bytes = Offer { names, ..offer() }.records(9000).unwrap();
        let progress = TlsReader::new().read(ORIGINAL, &bytes, &mut facts);
        let expected = outcome.map_or(Progress::message(bytes.len()), Progress::fault);
        assert_eq!((progress, &facts.domain), (expected, &domain), "{names:?}");
        let address = names.first().filter(|name| name.starts_with(b"192"));
        assert_eq!(facts.host_address.is_some(), address.is_some(), "{names:?}");
    }
}

#[test]
fn encrypted_hellos_are_told_by_their_extension() {
    for (kind, ech) in [(0xfe0d, Ech::Present), (0xffce, Ech::Esni), (0xfe0c, Ech::None)] {
        let mut facts = Facts::default();
        let bytes = Offer { extensions: &[(kind, &[0; 9])], ..offer() }.records(9000).unwrap();
        TlsReader::new().read(ORIGINAL, &bytes, &mut facts);
        assert_eq!(facts.tls.ech, ech);
    }
}

#[test]
fn an_extension_that_comes_twice_is_malformed() {
    let mut facts = Facts::default();
    let bytes = Offer { extensions: &[(5, b""), (5, b"")], ..offer() }.records(9000).unwrap();
    let progress = TlsReader::new().read(ORIGINAL, &bytes, &mut facts);
    assert_eq!(progress, Progress::fault(Reason::TlsMalformed));
}

#[test]
fn nothing_of_a_hello_is_consumed_before_it_is_whole() {
    for size in [1, 7, 100, 16_384] {
        let bytes = offer().records(size).unwrap();
        let (mut reader, mut facts) = (TlsReader::new(), Facts::default());
        for end in 1..bytes.len() {
            let progress = reader.read(ORIGINAL, &bytes[..end], &mut facts);
            assert_eq!(progress, Progress::more(0));
            assert_eq!(reader.wants(), Wants::ORIGINAL);
        }
        let progress = reader.read(ORIGINAL, &bytes, &mut facts);
        assert_eq!(progress, Progress::message(bytes.len()));
        assert_eq!(named(&facts), "api.payments.example");
    }
}

#[test]
fn the_chosen_version_is_a_fact_and_ends_tls_1_3() {
    let (mut reader, mut facts) = after_hello();
    let answer = record(22, &server_hello(Some(0x0304), false));
    assert_eq!(feed(&mut reader, &mut facts, REPLY, &answer), [Outcome::Fact]);
    assert_eq!(facts.tls.version, Fact::Known(TlsVersion(0x0304)));
    assert_eq!(facts.tls.client_certificate, Fact::Missed);
    assert!(reader.wants().is_nothing());
    assert_eq!(reader.read(ORIGINAL, &[0xff; 9], &mut facts), Progress::done(9));
}

#[test]
fn an_answer_that_comes_whole_tells_what_one_in_pieces_tells() {
    let more = handshake(8, &[0; 30]);
    let answers = [
        (server_hello(Some(0x0304), false), false),
        (server_hello(Some(0x0304), true), false),
        (server_hello(None, false), false),
        (server_hello(None, false), true),
        ([server_hello(Some(0x0304), false), more.clone()].concat(), false),
        ([server_hello(None, false), more].concat(), true),
        (handshake(2, &[3, 3, 1]), false),
        (handshake(11, &[3, 3, 1]), true),
    ];
    for (messages, settled) in answers {
        let answer = record(22, &messages);
        for cut in 1..=answer.len() {
            let (mut whole, mut known) = after_hello();
            let (mut pieces, mut facts) = after_hello();
            if settled {
                whole.settle(&mut known);
                pieces.settle(&mut facts);
            }
            let first = whole.read(REPLY, &answer, &mut known);
            let mut progress = pieces.read(REPLY, &answer[..cut], &mut facts);
            if progress.outcome == Outcome::More {
                let used = progress.consumed;
                progress = pieces.read(REPLY, &answer[used..], &mut facts);
                progress.consumed += used;
            }
            if matches!(first.outcome, Outcome::Fault(_)) {
                progress.consumed = first.consumed;
            }
            assert_eq!((progress, &facts), (first, &known), "{cut} of {answer:?}");
            assert_eq!(pieces.wants(), whole.wants());
        }
    }
}

#[test]
fn a_second_hello_after_a_retry_is_a_message_and_must_keep_the_name() {
    for (name, outcome) in [
        (NAME, Outcome::Message),
        (b"API.payments.example", Outcome::Message),
        (b"other.example", Outcome::Fault(Reason::NameChanged)),
    ] {
        let (mut reader, mut facts) = after_hello();
        let retry = [record(22, &server_hello(Some(0x0304), true)), record(20, &[1])].concat();
        assert_eq!(feed(&mut reader, &mut facts, REPLY, &retry), [Outcome::Fact]);
        assert_eq!(facts.tls.version, Fact::Known(TlsVersion(0x0304)));
        assert_eq!(facts.tls.client_certificate, Fact::Missed);
        let second = Offer { names: &[name], ..offer() }.records(300).unwrap();
        let second = [record(20, &[1]), second].concat();
        assert_eq!(feed(&mut reader, &mut facts, ORIGINAL, &second), [outcome]);
        if outcome == Outcome::Message {
            let answer = record(22, &server_hello(Some(0x0304), false));
            assert_eq!(feed(&mut reader, &mut facts, REPLY, &answer), [Outcome::Fact]);
        }
    }
    let (mut reader, mut facts) = after_hello();
    let nameless = Offer { names: &[], ..offer() }.records(9000).unwrap();
    let outcome = feed(&mut reader, &mut facts, ORIGINAL, &nameless);
    assert_eq!(outcome, [Outcome::Fault(Reason::NameChanged)]);
}

#[test]
fn an_empty_record_hides_no_second_hello() {
    let (mut reader, mut facts) = after_hello();
    let retry = record(22, &server_hello(Some(0x0304), true));
    assert_eq!(feed(&mut reader, &mut facts, REPLY, &retry), [Outcome::Fact]);
    let other = Offer { names: &[b"other.example"], ..offer() }.records(9000).unwrap();
    for kind in [21, 22] {
        let behind = [record(kind, &[]), other.clone()].concat();
        let mut reader = after_hello().0;
        let outcome = feed(&mut reader, &mut facts, ORIGINAL, &behind);
        assert_eq!(outcome, [Outcome::Fault(Reason::TlsMalformed)], "{kind}");
    }
}

#[test]
fn early_data_waits_for_the_version_unless_the_decision_is_settled() {
    let early = record(23, &[7; 100]);
    let (mut reader, mut facts) = after_hello();
    assert_eq!(reader.read(ORIGINAL, &early, &mut facts), Progress::more(0));
    reader.settle(&mut facts);
    assert_eq!(reader.read(ORIGINAL, &early, &mut facts), Progress::more(early.len()));
    let other = Offer { names: &[b"other.example"], ..offer() }.records(9000).unwrap();
    let outcome = feed(&mut reader, &mut facts, ORIGINAL, &[early, other].concat());
    assert_eq!(outcome, [Outcome::Fault(Reason::NameChanged)]);
}

#[test]
fn application_data_of_an_allowed_hello_does_not_wait_and_facts_are_told_all_the_same() {
    let (mut reader, mut facts) = after_hello();
    reader.allow();
    let data = record(23, &[7; 100]);
    let other = Offer { names: &[b"other.example"], ..offer() }.records(9000).unwrap();
    assert_eq!(reader.read(ORIGINAL, &data, &mut facts), Progress::more(data.len()));
    let answer = record(22, &server_hello(None, false));
    assert_eq!(feed(&mut reader, &mut facts, REPLY, &answer), [Outcome::Fact]);
    assert_eq!(facts.tls.version, Fact::Known(TlsVersion(0x0303)));
    for direction in [ORIGINAL, REPLY] {
        assert_eq!(reader.read(direction, &data, &mut facts), Progress::more(data.len()));
    }
    assert!(facts.tls.client_certificate.is_unknown());
    let done = record(22, &handshake(14, &[]));
    assert_eq!(feed(&mut reader, &mut facts, REPLY, &done), [Outcome::Fact]);
    assert_eq!(facts.tls.client_certificate, Fact::Absent);
    let (mut reader, mut facts) = after_hello();
    reader.allow();
    let outcome = feed(&mut reader, &mut facts, ORIGINAL, &[data, other].concat());
    assert_eq!(outcome, [Outcome::Fault(Reason::NameChanged)]);
}

#[test]
fn early_data_of_a_client_that_must_say_hello_again_waits_for_the_decision() {
    let early = record(23, &[7; 100]);
    let (mut reader, mut facts) = after_hello();
    assert_eq!(reader.read(ORIGINAL, &early, &mut facts), Progress::more(0));
    let retry = record(22, &server_hello(Some(0x0304), true));
    assert_eq!(feed(&mut reader, &mut facts, REPLY, &retry), [Outcome::Fact]);
    assert_eq!(reader.read(ORIGINAL, &early, &mut facts), Progress::more(0));
    reader.allow();
    assert_eq!(reader.read(ORIGINAL, &early, &mut facts), Progress::more(early.len()));
}

#[test]
fn a_server_asks_once_for_another_hello_and_keeps_the_version_it_named() {
    let retry = |version| record(22, &server_hello(version, true));
    let answer = |version| record(22, &server_hello(version, false));
    let malformed = Outcome::Fault(Reason::TlsMalformed);
    for (said, expected) in [
        ([retry(Some(0x0304)), answer(Some(0x0304))], &[Outcome::Fact, Outcome::Fact][..]),
        ([retry(Some(0x0304)), answer(Some(0x7f1c))], &[Outcome::Fact, malformed]),
        ([retry(Some(0x0304)), answer(None)], &[Outcome::Fact, malformed]),
        ([retry(Some(0x0304)), retry(Some(0x0304))], &[Outcome::Fact, malformed]),
        ([retry(None), answer(None)], &[malformed]),
    ] {
        let (mut reader, mut facts) = after_hello();
        assert_eq!(feed(&mut reader, &mut facts, REPLY, &said.concat()), expected, "{said:?}");
    }
}

#[test]
fn what_passes_of_an_undecided_handshake_ends_at_its_limit() {
    let alert = record(21, &[0; 11]);
    for (direction, other) in [(ORIGINAL, REPLY), (REPLY, ORIGINAL)] {
        for (len, fits) in [
            (HANDSHAKE_LIMIT_BYTES - 1, true),
            (HANDSHAKE_LIMIT_BYTES, true),
            (HANDSHAKE_LIMIT_BYTES + 1, false),
        ] {
            for (allowed, for_record) in [(false, false), (true, false), (false, true)] {
                let (mut reader, mut facts) = after_hello();
                reader.set_for_record(for_record);
                if allowed {
                    reader.allow();
                }
                let count = reader.read(other, &alert, &mut facts).consumed;
                assert_eq!(count, alert.len(), "the sides are counted by themselves");
                let whole = (len - 20) / alert.len();
                for _ in 0..whole {
                    let progress = reader.read(direction, &alert, &mut facts);
                    assert_eq!(progress, Progress::more(alert.len()));
                }
                let rest = len - whole * alert.len() - HEADER_BYTES;
                let last = record(21, &vec![0; rest]);
                let free = fits || allowed || for_record;
                let expected = if free {
                    Progress::more(last.len())
                } else {
                    Progress::fault(Reason::LimitInspection)
                };
                assert_eq!(reader.read(direction, &last, &mut facts), expected, "{len}");
            }
        }
    }
}

#[test]
fn a_server_that_answers_no_tls_is_malformed() {
    let (mut reader, mut facts) = after_hello();
    let outcome = feed(&mut reader, &mut facts, REPLY, b"HTTP/1.1 400 Bad Request\r\n");
    assert_eq!(outcome, [Outcome::Fault(Reason::TlsMalformed)]);
    assert!(reader.wants().is_nothing());
}

#[test]
fn a_server_that_is_not_seen_leaves_its_facts_missed() {
    for acknowledged in [true, false] {
        let (mut reader, mut facts) = after_hello();
        if acknowledged {
            reader.miss(REPLY);
        } else {
            reader.set_for_record(true);
        }
        let client = [record(20, &[1]), record(22, &[0xee; 40]), record(23, &[1; 90])].concat();
        let outcomes = feed(&mut reader, &mut facts, ORIGINAL, &client);
        let expected: &[_] =
            if acknowledged { &[Outcome::Fact, Outcome::Done] } else { &[Outcome::Fact] };
        assert_eq!(outcomes, expected);
        assert_eq!(facts.tls.version, Fact::Missed);
        assert_eq!(facts.tls.client_certificate, Fact::Missed);
    }
}

#[test]
fn a_client_that_goes_on_before_its_server_answered_is_malformed() {
    for missed in [None, Some(ORIGINAL)] {
        for kind in [11, 16, 20] {
            let (mut reader, mut facts) = after_hello();
            missed.into_iter().for_each(|direction| reader.miss(direction));
            let early = record(22, &handshake(kind, &[6; 66]));
            let outcomes = feed(&mut reader, &mut facts, ORIGINAL, &early);
            assert_eq!(outcomes, [Outcome::Fault(Reason::TlsMalformed)]);
            assert!(facts.tls.version.is_unknown() && facts.tls.client_certificate.is_unknown());
        }
    }
}

#[test]
fn early_drafts_of_tls_1_3_name_their_version_in_front() {
    for version in [[3, 4], [0x7f, 18]] {
        let (mut reader, mut facts) = after_hello();
        let body = [&version[..], &[9; 32], &[0xc0, 0x2b, 0, 0]].concat();
        let answer = record(22, &handshake(2, &body));
        assert_eq!(feed(&mut reader, &mut facts, REPLY, &answer), [Outcome::Fact]);
        assert_eq!(facts.tls.version, Fact::Known(TlsVersion(u16::from_be_bytes(version))));
        assert!(reader.wants().is_nothing());
    }
}

#[test]
fn alerts_are_passed_over() {
    let (mut reader, mut facts) = after_hello();
    let alert = record(21, &[2, 40]);
    assert_eq!(reader.read(REPLY, &alert, &mut facts), Progress::more(alert.len()));
    assert_eq!(reader.read(ORIGINAL, &alert, &mut facts), Progress::more(alert.len()));
}

#[test]
fn a_client_that_accepted_the_connection_is_read_in_the_reply_direction() {
    let mut reader = TlsReader::new().with_client(REPLY);
    let mut facts = Facts::default();
    assert_eq!(reader.wants(), Wants::REPLY);
    assert_eq!(reader.read(ORIGINAL, &[1], &mut facts), Progress::more(0));
    let bytes = hello();
    assert_eq!(reader.read(REPLY, &bytes, &mut facts), Progress::message(bytes.len()));
}

/// How a TLS 1.2 handshake goes.
#[derive(Clone, Copy, PartialEq)]
enum Flight {
    Verified,
    Unverified,
    Empty,
    NotRequested,
    Resumed,
}

fn certificate_of(
    flight: Flight,
) -> (Vec<Outcome>, Fact<std::sync::Arc<crate::model::Certificate>>) {
    let (mut reader, mut facts) = after_hello();
    let der = rcgen::generate_simple_self_signed(vec!["client.example".into()]).unwrap();
    let der = der.cert.der().to_vec();
    let length = |len: usize| u32::try_from(len).unwrap().to_be_bytes()[1..].to_vec();
    let mut server = server_hello(None, false);
    let mut client = Vec::new();
    if flight != Flight::Resumed {
        server.extend(handshake(11, &[5; 3000]));
        if flight != Flight::NotRequested {
            server.extend(handshake(13, &[1, 1, 0, 0, 0, 0]));
        }
        server.extend(handshake(14, &[]));
        match flight {
            Flight::Empty => client.extend(handshake(11, &[0, 0, 0])),
            Flight::NotRequested => {}
            _ => {
                let list = [length(der.len() + 3), length(der.len()), der.clone()].concat();
                client.extend(handshake(11, &list));
            }
        }
        client.extend(handshake(16, &[6; 66]));
        if flight == Flight::Verified {
            client.extend(handshake(15, &[7; 70]));
        }
    }
    let mut outcomes = Vec::new();
    let server: Vec<u8> = server.chunks(1000).flat_map(|part| record(22, part)).collect();
    outcomes.extend(feed(&mut reader, &mut facts, REPLY, &server));
    let mut client: Vec<u8> = client.chunks(90).flat_map(|part| record(22, part)).collect();
    client.extend([record(20, &[1]), record(22, &[0xee; 40])].concat());
    if flight != Flight::Resumed {
        outcomes.extend(feed(&mut reader, &mut facts, ORIGINAL, &client));
    }
    let last = [record(20, &[1]), record(22, &[0xee; 40])].concat();
    outcomes.extend(feed(&mut reader, &mut facts, REPLY, &last));
    assert!(reader.wants().is_nothing());
    (outcomes, facts.tls.client_certificate)
}

#[test]
fn a_client_certificate_counts_when_it_was_verified_and_the_server_went_on() {
    let (outcomes, certificate) = certificate_of(Flight::Verified);
    assert_eq!(outcomes, [Outcome::Fact, Outcome::Fact, Outcome::Done]);
    assert_eq!(certificate.known().unwrap().names, ["client.example"]);
}

#[test]
fn without_verification_list_or_request_there_is_no_certificate() {
    for flight in [Flight::Unverified, Flight::Empty, Flight::NotRequested] {
        assert_eq!(certificate_of(flight).1, Fact::Absent);
    }
}

#[test]
fn a_resumed_session_hides_its_certificate() {
    let (outcomes, certificate) = certificate_of(Flight::Resumed);
    assert_eq!(outcomes[..2], [Outcome::Fact, Outcome::Fact]);
    assert_eq!(certificate, Fact::Missed);
}

#[test]
fn application_data_waits_until_the_certificate_is_known() {
    let (mut reader, mut facts) = after_hello();
    let answer = record(22, &server_hello(None, false));
    assert_eq!(feed(&mut reader, &mut facts, REPLY, &answer), [Outcome::Fact]);
    let data = record(23, &[1; 50]);
    assert_eq!(reader.read(ORIGINAL, &data, &mut facts), Progress::more(0));
    reader.settle(&mut facts);
    assert_eq!(reader.read(ORIGINAL, &data, &mut facts), Progress::done(data.len()));
    assert_eq!(facts.tls.client_certificate, Fact::Missed);
}

proptest! {
    #[test]
    fn any_cut_of_records_and_segments_gives_the_same_facts(
        record_size in 1_usize..2000,
        cuts in prop::collection::vec(1_usize..3000, 1..12),
    ) {
        let bytes = offer().records(record_size).unwrap();
        let (_, expected) = after_hello();
        let (mut reader, mut facts) = (TlsReader::new(), Facts::default());
        let mut end = 0;
        for cut in cuts.iter().cycle() {
            end = (end + cut).min(bytes.len());
            let progress = reader.read(ORIGINAL, &bytes[..end], &mut facts);
            if end == bytes.len() {
                prop_assert_eq!(progress, Progress::message(end));
                break;
            }
            prop_assert_eq!(progress, Progress::more(0));
        }
        prop_assert_eq!(facts, expected);
    }

    #[test]
    fn mutated_connections_never_panic_or_consume_more_than_was_shown(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
        cut in 1_usize..4000,
        random in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let mut client = [hello(), record(20, &[1]), hello(), handshake(11, &[0; 90])].concat();
        let mut server = record(22, &server_hello(None, false));
        server.extend(record(22, &handshake(14, &[])));
        server.extend(random);
        for (at, value) in changes {
            let (at, len) = (at.index(client.len() + server.len()), client.len());
            if at < len { client[at] = value } else { server[at - len] = value }
        }
        let (mut reader, mut facts) = (TlsReader::new(), Facts::default());
        for (direction, bytes) in [(ORIGINAL, &client), (REPLY, &server), (ORIGINAL, &client)] {
            let mut rest = &bytes[..];
            for _ in 0..bytes.len() {
                let shown = &rest[..cut.min(rest.len())];
                if shown.is_empty() { break }
                let progress = reader.read(direction, shown, &mut facts);
                prop_assert!(progress.consumed <= shown.len());
                if progress.consumed == 0 { break }
                rest = &rest[progress.consumed..];
            }
        }
    }
}
