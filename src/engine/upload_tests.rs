//! How much of a stream that is read may be under way at once, for senders whose receivers take much.

use super::Limits;
use super::tests::{Bench, ENDPOINT, OTHER, spec};
use crate::model::{EndpointId, Reason, Verdict};
use crate::policy::names::{NamePattern, NameSet};
use crate::policy::spec::Selector;
use etherparse::{PacketBuilder, TcpOptionElement};
use std::sync::Arc;

const CLIENT: [u8; 4] = [10, 20, 1, 5];
const SERVER: [u8; 4] = [10, 100, 4, 7];
/// Bytes that an undecided flow may hold where nothing is said.
const HELD: usize = 96 * 1024;
const PIECE: usize = 1024;

/// A segment whose window, scaled where the SYNs agreed on it, is of many megabytes.
fn segment(from: [u8; 4], seq: u32, ack: Option<u32>, syn: bool, payload: &[u8]) -> Vec<u8> {
    segment_of(40_000, from, (seq, ack), syn, payload)
}

/// The same of a client that has this port.
fn segment_of(
    port: u16,
    from: [u8; 4],
    (seq, ack): (u32, Option<u32>),
    syn: bool,
    payload: &[u8],
) -> Vec<u8> {
    let (to, ports) = if from == CLIENT { (SERVER, (port, 443)) } else { (CLIENT, (443, port)) };
    let mut step = PacketBuilder::ipv4(from, to, 64).tcp(ports.0, ports.1, seq, 64_000);
    if syn {
        step = step.syn().options(&[TcpOptionElement::WindowScale(8)]).unwrap();
    }
    if let Some(ack) = ack {
        step = step.ack(ack);
    }
    let mut packet = Vec::new();
    step.write(&mut packet, payload).unwrap();
    packet
}

/// Bytes of a body that go before one is dropped, while none is acknowledged; then what becomes of
/// the next once all of them are.
fn under_way(limits: Limits) -> (usize, Verdict, Verdict) {
    let mut spec = spec();
    let names = NameSet::build([NamePattern::parse("api.example").unwrap()]).unwrap();
    spec.policies[0].rules[0].domains = Some(Arc::new(names));
    let mut bench = Bench::with(&spec, Limits { flows: 100, ..limits });
    let head = b"POST / HTTP/1.1\r\nHost: api.example\r\nContent-Length: 99000000\r\n\r\n";
    let body = 1001 + u32::try_from(head.len()).unwrap();
    for packet in [
        segment(CLIENT, 1000, None, true, &[]),
        segment(SERVER, 9000, Some(1001), true, &[]),
        segment(CLIENT, 1001, Some(9001), false, head),
        segment(SERVER, 9001, Some(body), false, &[]),
    ] {
        assert_eq!(bench.give(&packet), Verdict::Forward);
    }
    let mut next = body;
    loop {
        let piece = segment(CLIENT, next, Some(9001), false, &[b'x'; PIECE]);
        let verdict = bench.give(&piece);
        if verdict != Verdict::Forward {
            let acknowledged = segment(SERVER, 9001, Some(next), false, &[]);
            assert_eq!(bench.give(&acknowledged), Verdict::Forward);
            return ((next - body) as usize, verdict, bench.give(&piece));
        }
        next += u32::try_from(PIECE).unwrap();
    }
}

#[test]
fn an_upload_may_have_a_large_window_under_way() {
    let (bytes, dropped, next) = under_way(Limits::default());
    assert_eq!((dropped, next), (Verdict::Drop(Reason::LimitHeld), Verdict::Forward));
    assert!(bytes >= 1 << 20, "{bytes}");
    assert!(bytes <= (1 << 20) + HELD, "{bytes}");
}

#[test]
fn without_room_for_more_an_upload_has_as_much_under_way_as_may_be_held() {
    let (bytes, dropped, next) = under_way(Limits { kept_bytes: 0, ..Limits::default() });
    assert_eq!((dropped, next), (Verdict::Drop(Reason::LimitHeld), Verdict::Forward));
    assert_eq!(bytes, HELD);
    let (bytes, ..) = under_way(Limits { kept_bytes: 3 * HELD, ..Limits::default() });
    assert_eq!(bytes, HELD + 3 * HELD / 2, "and as much more as is left to others");
}

/// Sends so many bytes of a body, none of which is acknowledged, from a port of its own; how many go.
fn upload(bench: &mut Bench, endpoint: EndpointId, port: u16, bytes: usize) -> usize {
    let mut give = |from, seq, ack, syn, payload: &[u8]| {
        bench.give_from(endpoint, &segment_of(port, from, (seq, ack), syn, payload))
    };
    let head = b"POST / HTTP/1.1\r\nHost: api.example\r\nContent-Length: 99000000\r\n\r\n";
    let body = 1001 + u32::try_from(head.len()).unwrap();
    assert_eq!(give(CLIENT, 1000, None, true, &[]), Verdict::Forward);
    assert_eq!(give(SERVER, 9000, Some(1001), true, &[]), Verdict::Forward);
    assert_eq!(give(CLIENT, 1001, Some(9001), false, head), Verdict::Forward);
    assert_eq!(give(SERVER, 9001, Some(body), false, &[]), Verdict::Forward);
    let pieces = (body..).step_by(PIECE).take(bytes / PIECE);
    let gone = pieces
        .filter(|&seq| give(CLIENT, seq, Some(9001), false, &[b'x'; PIECE]) == Verdict::Forward);
    gone.count() * PIECE
}

#[test]
fn uploads_of_one_segment_take_no_room_from_those_of_another() {
    let mut spec = spec();
    let names = NameSet::build([NamePattern::parse("api.example").unwrap()]).unwrap();
    spec.policies[0].rules[0].domains = Some(Arc::new(names));
    let mut block = spec.policies[0].clone();
    block.from = vec![Selector::Segment("globex".to_owned())];
    spec.policies.push(block);
    let limits = Limits { flows: 100, kept_bytes: 16 * HELD, ..Limits::default() };
    // Half of the room is left, and half of that is for who is alone with it.
    let most = HELD + 4 * HELD;
    for bytes in [most - PIECE, most, most + PIECE] {
        let mut bench = Bench::with(&spec, limits.clone());
        let flood: usize =
            (0..20).map(|number| upload(&mut bench, ENDPOINT, 40_000 + number, 4 * HELD)).sum();
        assert_eq!(flood, 20 * HELD + 8 * HELD);
        assert_eq!(upload(&mut bench, OTHER, 50_000, bytes), bytes.min(most));
        bench.pass(1000);
        assert_eq!(bench.engine.cases.kept.total(), 0);
    }
}
