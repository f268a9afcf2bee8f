//! Whole conversations, read at any cut, and hostile bytes.

use super::*;
use crate::model::{DomainName, Fact};

use Direction::{Original, Reply};

/// What was told of a conversation: the app and the name or first question of each message.
type Told = Vec<(App, Option<String>)>;

/// Bytes of one side.
type Part<'a> = (Direction, &'a [u8]);

/// Reads a conversation, its parts cut into segments of `step` bytes, the way the engine does.
fn told(mut inspector: Inspector, parts: &[Part<'_>], step: usize) -> (Told, Outcome) {
    let mut facts = Facts::default();
    let mut unread = [Vec::new(), Vec::new()];
    let (mut told, mut last) = (Vec::new(), Outcome::More);
    for (direction, bytes) in parts {
        for segment in bytes.chunks(step) {
            unread[direction.index()].extend_from_slice(segment);
            let mut idle = 0;
            let mut turn = *direction;
            while idle < 2 {
                let waiting = &mut unread[turn.index()];
                if waiting.is_empty() || !inspector.wants().has(turn) {
                    idle += 1;
                    turn = turn.flip();
                    continue;
                }
                let progress = inspector.read(turn, waiting, &mut facts);
                assert!(progress.consumed <= waiting.len());
                waiting.drain(..progress.consumed);
                last = progress.outcome;
                match last {
                    Outcome::Message => told.push(told_of(&facts)),
                    Outcome::Done | Outcome::Fault(_) => return (told, last),
                    _ => {}
                }
                idle = if last == Outcome::More && progress.consumed == 0 { idle + 1 } else { 0 };
                if idle > 0 {
                    turn = turn.flip();
                }
            }
        }
    }
    (told, last)
}

fn told_of(facts: &Facts) -> (App, Option<String>) {
    let question = facts.questions.known().and_then(|names| names.first().copied());
    let name = facts.domain.known().map(|name| **name).or(question);
    (*facts.app.known().unwrap(), name.as_ref().map(DomainName::to_string))
}

fn query(name: &[u8]) -> Vec<u8> {
    let mut message = vec![0, 0, 0x2b, 0x17, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    message.push(u8::try_from(name.len()).unwrap());
    message.extend_from_slice(name);
    message.extend_from_slice(&[0, 0, 1, 0, 1]);
    message[1] = u8::try_from(message.len() - 2).unwrap();
    message
}

const SSH: &[u8] = b"SSH-2.0-OpenSSH_9.9\r\n";

#[test]
fn conversations_are_told_the_same_at_any_cut() {
    let two = [query(b"a"), query(b"b")].concat();
    let greeting = |name| (App::Greeting(name), None);
    let dns = |name: &str| (App::Dns, Some(name.to_owned()));
    let cases: Vec<(Vec<Part<'_>>, Told)> = vec![
        (vec![(Original, &two)], vec![dns("a"), dns("b")]),
        (vec![(Reply, SSH), (Original, SSH)], vec![greeting("ssh")]),
        (vec![(Original, SSH), (Reply, SSH)], vec![greeting("ssh")]),
        (vec![(Reply, b"220 a ESMTP\r\n"), (Original, b"EHLO a\r\n")], vec![greeting("smtp")]),
        (vec![(Original, b"\x01\x02\x03\x04\xff"), (Reply, b"x")], vec![(App::Other, None)]),
        (vec![(Reply, b"hello\n"), (Original, b"\x01\x02\x03\x04\xff")], vec![(App::Other, None)]),
        (vec![(Reply, b"hello\n"), (Original, &two)], vec![(App::Other, None), dns("a"), dns("b")]),
        (
            vec![
                (Original, b"\x05\x01\0"),
                (Reply, b"\x05\0"),
                (Original, b"\x05\x01\0\x01\xc0\0\x02\x01\0\x35"),
                (Reply, b"\x05\0\0\x01\0\0\0\0\0\0"),
                (Original, &two),
            ],
            vec![greeting("socks"), dns("a"), dns("b")],
        ),
    ];
    for (parts, wanted) in cases {
        for step in 1..64 {
            assert_eq!(told(Inspector::stream(), &parts, step).0, wanted, "{parts:?} by {step}");
        }
    }
}

#[test]
fn a_proxy_header_comes_first_and_what_follows_is_detected() {
    let header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x0a\xc6\x33\x64\x14\xca\xf2\0\x35";
    let bytes = [&header[..], header, &query(b"a")].concat();
    let dns = vec![(App::Dns, Some("a".to_owned()))];
    for step in 1..bytes.len() {
        let parts = [(Original, bytes.as_slice())];
        assert_eq!(told(Inspector::stream_behind_proxy(), &parts, step).0, dns, "by {step}");
    }
    let server_first = [(Original, &header[..]), (Reply, SSH)];
    let ssh = vec![(App::Greeting("ssh"), None)];
    assert_eq!(told(Inspector::stream_behind_proxy(), &server_first, 9).0, ssh);
    let missing = Outcome::Fault(Reason::ProxyHeaderMissing);
    assert_eq!(told(Inspector::stream_behind_proxy(), &[(Original, SSH)], 9), (vec![], missing));
}

#[test]
fn settings_of_a_server_say_nothing_before_the_client_speaks() {
    let settings = b"\0\0\x06\x04\0\0\0\0\0\0\x03\0\0\0\x64";
    let (told, last) = told(Inspector::stream(), &[(Reply, settings)], 100);
    assert_eq!((told, last), (vec![], Outcome::More));
}

#[test]
fn the_end_is_told_with_the_next_bytes() {
    let mut inspector = Inspector::stream();
    let mut facts = Facts::default();
    assert_eq!(inspector.read(Original, b"\x01", &mut facts), Progress::more(0));
    assert!(!inspector.is_done());
    assert_eq!(inspector.read(Original, b"\x01\0\0\0\xff", &mut facts), Progress::message(5));
    assert!(inspector.is_done());
    assert_eq!(inspector.wants(), Wants::BOTH);
    assert_eq!(inspector.read(Reply, b"x", &mut facts), Progress::done(1));
}

#[test]
fn a_fault_is_told_again() {
    let mut inspector = Inspector::stream_behind_proxy();
    let mut facts = Facts::default();
    for _ in 0..2 {
        let progress = inspector.read(Original, b"GET", &mut facts);
        assert_eq!(progress.outcome, Outcome::Fault(Reason::ProxyHeaderMissing));
    }
    assert_eq!(facts.proxy, Fact::Absent);
}

#[test]
fn every_datagram_of_a_dns_flow_is_a_message_and_other_flows_may_turn_into_dns() {
    let mut facts = Facts::default();
    let mut inspector = Inspector::datagrams();
    let read = |inspector: &mut Inspector, facts: &mut Facts, bytes: &[u8]| {
        let progress = inspector.datagram(Original, bytes, facts);
        assert_eq!(progress.consumed, bytes.len());
        progress.outcome
    };
    assert_eq!(read(&mut inspector, &mut facts, b"\x01\x02"), Outcome::Message);
    assert_eq!(told_of(&facts), (App::Other, None));
    assert_eq!(read(&mut inspector, &mut facts, b"\x01\x02"), Outcome::More);
    for name in ["a", "b"] {
        let message = query(name.as_bytes());
        assert_eq!(read(&mut inspector, &mut facts, &message[2..]), Outcome::Message);
        assert_eq!(told_of(&facts), (App::Dns, Some(name.to_owned())));
    }
    let fault = Outcome::Fault(Reason::DnsMalformed);
    assert_eq!(read(&mut inspector, &mut facts, b"\x01\x02"), fault);
}
