//! What decided flows hold of messages that stay away, and what becomes of it and of them; resets by
//! peers while something waits.

use super::Origin;
use super::half_tests::named;
use super::record::{Ended, Event};
use super::tests::{Bench, tuple};
use crate::inspect::quic::seal::{Initial, crypto_frame};
use crate::inspect::quic::version::V1;
use crate::inspect::tls::compose::Offer;
use crate::model::{Action, FiveTuple, Protocol, Reason, Verdict};
use crate::policy::spec::{Answer, Midstream, Mode, PolicySpec};
use crate::synth::packet::{self, flag};
use crate::synth::session::{Session, Side};
use crate::wire::{Link, Packet, Settings, parse};

const GOOD: &[u8] = b"GET / HTTP/1.1\r\nHost: api.good.example\r\n\r\n";
const EVIL: &[u8] = b"GET / HTTP/1.1\r\nHost: www.evil.example\r\n\r\n";

/// A connection whose first request was allowed and is acknowledged.
fn asked(bench: &mut Bench) -> Session {
    let mut session = Session::new(tuple(80, Protocol::TCP));
    for packet in session.handshake() {
        assert_eq!(bench.give(&packet), Verdict::Forward);
    }
    assert_eq!(bench.give(&session.send(Side::Client, GOOD)), Verdict::Forward);
    assert_eq!(bench.give(&session.ack(Side::Server)), Verdict::Forward);
    session
}

/// Names are asked for, and whatever comes from the middle of flows may go on.
fn tolerant() -> PolicySpec {
    let mut spec = named(".good.example");
    spec.defaults.midstream = Midstream::Adopt;
    for rule in &mut spec.policies[0].rules {
        rule.midstream = Answer::Allow;
    }
    spec
}

impl Bench {
    /// The resets that were sent since this was last asked: to whom, and their numbers.
    fn resets(&mut self) -> Vec<(FiveTuple, u32, u32)> {
        let read = |bytes: &[u8]| parse(bytes, Link::Ethernet, &Settings::GWLB).unwrap();
        let number = |packet: &Packet| packet.tcp().map(|tcp| (packet.tuple, tcp.seq, tcp.ack));
        let sent = std::mem::take(&mut self.sent);
        let made = |origin| matches!(origin, Origin::Answer | Origin::Overdue);
        let answers = sent.iter().filter(|(origin, _)| made(*origin));
        answers.map(|(_, bytes)| number(&read(bytes)).unwrap()).collect()
    }
}

#[test]
fn a_message_that_stays_away_ends_its_flow_by_otherwise_and_is_not_forgotten() {
    for (otherwise, told) in [(Action::Deny, 1), (Action::Reject, 2)] {
        for noticed_by_a_packet in [false, true] {
            let mut spec = tolerant();
            spec.policies[0].otherwise = otherwise;
            let mut bench = Bench::new(&spec);
            let mut session = asked(&mut bench);
            let (client, server) = (session.seq(Side::Client), session.seq(Side::Server));
            let [part, again] =
                [&EVIL[..20], EVIL].map(|bytes| session.raw(Side::Client, flag::ACK, bytes));
            assert_eq!(bench.give(&part), Verdict::Hold);
            session.send(Side::Client, EVIL);
            bench.sent.clear();
            if noticed_by_a_packet {
                bench.skip(7);
            } else {
                bench.pass(4);
                assert!(bench.sent.is_empty(), "not yet");
                bench.pass(3);
            }
            assert_eq!(bench.give(&again), Verdict::Drop(Reason::FlowDenied));
            let mut resets = bench.resets();
            let flow = tuple(80, Protocol::TCP);
            assert_eq!(resets.remove(0), (flow, client, server), "the server first");
            // Whoever comes again after a rejection is told again.
            let again = usize::from(otherwise == Action::Reject);
            assert_eq!(resets.len(), told - 1 + again, "{otherwise:?}");
            bench.pass(60);
            let Some(Event::FlowEnd(record)) = bench.events.last() else { panic!("it ended") };
            let verdict = record.verdict.unwrap();
            assert_eq!((verdict.reason, record.ended), (Reason::Undecided, Some(Ended::Denied)));
            assert_ne!(verdict.action, Action::Allow);
        }
    }
}

#[test]
fn a_datagram_that_waits_in_vain_does_not_end_what_was_decided() {
    let mut bench = Bench::new(&named(".good.example"));
    let flow = tuple(443, Protocol::UDP);
    let hello = |name: &[u8]| {
        Offer { names: &[name], versions: &[0x0304], ..Offer::default() }.message().unwrap()
    };
    let initial = |destination: &[u8], frames: &[u8]| {
        let initial = Initial { version: V1, destination, padded_to: 1200, ..Initial::default() };
        packet::udp(&flow, &initial.seal(frames).unwrap())
    };
    let whole = crypto_frame(0, &hello(b"api.good.example")).unwrap();
    let part = crypto_frame(0, &hello(b"www.good.example")[..60]).unwrap();
    let sealed = packet::udp(&flow, &[0x45; 40]);
    assert_eq!(bench.give(&initial(&[7; 8], &whole)), Verdict::Forward);
    for _ in 0..3 {
        assert_eq!(bench.give(&initial(&[9; 8], &part)), Verdict::Hold);
        assert_eq!(bench.give(&sealed), Verdict::Forward);
        bench.pass(6);
        assert_eq!(bench.engine.held_bytes(), 0, "what waited is gone");
        assert_eq!(bench.give(&sealed), Verdict::Forward, "and the flow is not");
    }
    assert_eq!(bench.engine.counters().dropped(Reason::HeldDiscarded), 3);
    assert_eq!(bench.give(&initial(&[9; 8], &part)), Verdict::Hold);
    bench.pass(119);
    assert_eq!(bench.engine.flows(), 1);
    bench.pass(2);
    assert_eq!(bench.ended(), [(Some(Action::Allow), Ended::Expired, 11)], "as without it");
}

#[test]
fn what_waits_behind_a_gap_is_dropped_and_its_flow_goes_on() {
    let mut bench = Bench::new(&named(".good.example"));
    let mut session = asked(&mut bench);
    let second = session.send_split(Side::Client, GOOD, 20);
    for packet in &second[1..] {
        assert_eq!(bench.give(packet), Verdict::Hold);
    }
    bench.pass(6);
    assert_eq!((bench.engine.held_bytes(), bench.engine.flows()), (0, 1));
    assert!(bench.resets().is_empty());
    for packet in &second {
        assert_ne!(bench.give(packet), Verdict::Drop(Reason::FlowDenied));
    }
    assert_eq!(bench.give(&session.ack(Side::Server)), Verdict::Forward);
    assert_eq!(bench.give(&session.send(Side::Client, EVIL)), Verdict::Drop(Reason::Otherwise));
}

#[test]
fn whoever_is_always_within_the_next_message_waits_for_each_as_long_as_for_the_first() {
    let mut bench = Bench::new(&named(".good.example"));
    let mut session = asked(&mut bench);
    assert_eq!(bench.give(&session.send(Side::Client, &GOOD[..20])), Verdict::Hold);
    for round in 0..4 {
        bench.pass(3);
        let rest = [&GOOD[20..], &GOOD[..20]].concat();
        assert_eq!(bench.give(&session.send(Side::Client, &rest)), Verdict::Hold, "{round}");
    }
    bench.pass(6);
    assert_eq!(bench.resets().len(), 1, "the last one stays away");
}

#[test]
fn a_reset_with_text_goes_on_without_it_and_one_behind_what_waited_from_where_that_began() {
    for (part, text) in [(0, 8), (20, 0), (20, 8), (0, 0)] {
        for first in [false, true] {
            let mut bench = Bench::new(&tolerant());
            let mut session = Session::new(tuple(80, Protocol::TCP));
            if first {
                session = asked(&mut bench);
            } else {
                session
                    .handshake()
                    .iter()
                    .for_each(|packet| assert_eq!(bench.give(packet), Verdict::Forward));
            }
            let (sent, server) = (session.seq(Side::Client), session.seq(Side::Server));
            if part > 0 {
                assert_eq!(bench.give(&session.send(Side::Client, &EVIL[..part])), Verdict::Hold);
            }
            bench.resets();
            let verdict =
                bench.give(&session.raw(Side::Client, flag::RST | flag::ACK, &EVIL[..text]));
            let flow = tuple(80, Protocol::TCP);
            if (part, text) == (0, 0) {
                assert_eq!((verdict, bench.resets()), (Verdict::Forward, vec![]));
            } else {
                assert_eq!(verdict, Verdict::Drop(Reason::Undecided));
                assert_eq!(bench.resets(), [(flow, sent, server)], "{part} {text}");
            }
            bench.pass(60);
            let Some(Event::FlowEnd(record)) = bench.events.last() else { panic!("it ended") };
            // One that asked for nothing it might have has otherwise ended by its policy.
            let undecided = !first && part > 0;
            assert_eq!(record.ended, Some(if undecided { Ended::Denied } else { Ended::Reset }));
        }
    }
}

#[test]
fn a_reset_that_its_receiver_may_not_obey_is_made_no_better() {
    let mut bench = Bench::new(&named(".good.example"));
    let mut session = asked(&mut bench);
    let sent = session.seq(Side::Client);
    assert_eq!(bench.give(&session.send(Side::Client, &EVIL[..20])), Verdict::Hold);
    session.send(Side::Client, &EVIL[20..30]);
    bench.resets();
    let reset = session.raw(Side::Client, flag::RST, b"text");
    assert_eq!(bench.give(&reset), Verdict::Drop(Reason::Undecided));
    assert_eq!(bench.resets(), [(tuple(80, Protocol::TCP), sent + 30, 0)]);
}

#[test]
fn a_policy_that_monitors_lets_resets_with_text_and_what_is_behind_datagrams_pass_as_they_are() {
    let mut spec = named(".good.example");
    spec.policies[0].mode = Mode::Monitor;
    let mut bench = Bench::new(&spec);
    let mut session = Session::new(tuple(80, Protocol::TCP));
    for packet in session.handshake() {
        assert_eq!(bench.give(&packet), Verdict::Forward);
    }
    assert_eq!(bench.give(&session.send(Side::Client, &EVIL[..20])), Verdict::Forward);
    assert_eq!(bench.give(&session.raw(Side::Client, flag::RST, b"text")), Verdict::Forward);
    assert!(bench.resets().is_empty());
    let mut behind = packet::udp(&tuple(443, Protocol::UDP), b"surplus!");
    behind[24..26].copy_from_slice(&8u16.to_be_bytes());
    behind[26..28].fill(0);
    assert_eq!(bench.give(&behind), Verdict::Forward);
}
