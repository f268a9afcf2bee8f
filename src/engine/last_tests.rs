//! When the last packet of a flow came, as its record tells: in every way a flow can end, and whatever
//! rulesets with other idle times came in between.

use super::record::Event;
use super::tests::{Bench, spec, tuple};
use super::{Output, Policy};
use crate::model::{FiveTuple, Protocol, Span, Timestamp, Verdict};
use crate::policy::spec::PolicySpec;
use crate::synth::packet::{self, Segment, flag};
use crate::synth::session::{Session, Side};
use std::sync::Arc;

/// What ends a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Idle,
    LateForAnother,
    Finish,
    Flush,
    Revoked,
    Reset,
    Replaced,
}

const ENDS: [End; 7] = [
    End::Idle,
    End::LateForAnother,
    End::Finish,
    End::Flush,
    End::Revoked,
    End::Reset,
    End::Replaced,
];

/// The same rules with idle times of their own.
fn idle(seconds: u64) -> PolicySpec {
    let mut spec = spec();
    spec.defaults.timeouts.tcp_idle = Span::from_secs(seconds);
    spec.defaults.timeouts.udp = Span::from_secs(seconds / 2);
    spec
}

fn install(bench: &mut Bench, spec: &PolicySpec) {
    let policy = Policy::compile(spec, Some(bench.engine.policy())).unwrap();
    bench.engine.install(Arc::new(policy));
}

fn conversation(bench: &mut Bench, tuple: FiveTuple, packets: usize) -> Session {
    let mut session = Session::new(tuple);
    if tuple.protocol == Protocol::TCP {
        for packet in session.handshake() {
            bench.give(&packet);
        }
    }
    talk(bench, &mut session, tuple, packets);
    session
}

fn talk(bench: &mut Bench, session: &mut Session, tuple: FiveTuple, packets: usize) {
    for number in 0..packets {
        let side = if number % 2 == 0 { Side::Client } else { Side::Server };
        let packet = match (tuple.protocol, side) {
            (Protocol::TCP, side) => session.send(side, b"\0opaque"),
            (_, Side::Client) => packet::udp(&tuple, b"\0opaque"),
            (_, Side::Server) => packet::udp(&tuple.reverse(), b"\0opaque"),
        };
        bench.give(&packet);
        bench.skip(1);
    }
}

/// Ends the flow; the time of the last packet that was its own.
fn end(bench: &mut Bench, session: &Session, tuple: FiveTuple, how: End) -> Option<Timestamp> {
    let segment = |seq: u32, ack: u32, flags: u8, tuple: &FiveTuple| {
        packet::tcp(tuple, &Segment { seq, ack, flags, payload: &[] })
    };
    let (client, server) = (session.seq(Side::Client), session.seq(Side::Server));
    match how {
        End::Idle => bench.pass(100_000),
        End::LateForAnother => {
            bench.skip(100_000);
            bench.give(&match tuple.protocol {
                Protocol::TCP => segment(1, 0, flag::SYN, &tuple),
                _ => packet::udp(&tuple, b"\0opaque"),
            });
        }
        End::Finish => {
            let mut out = Output::default();
            bench.engine.finish(&mut out);
            bench.events.extend(out.events);
        }
        End::Flush => {
            let mut out = Output::default();
            bench.engine.flush(|_| true, &mut out);
            bench.events.extend(out.events);
        }
        End::Revoked => {
            let mut none = idle(77);
            none.policies[0].rules.clear();
            install(bench, &none);
            let mut session = *session;
            talk(bench, &mut session, tuple, 1);
            let last = Timestamp::from_nanos(bench.now().as_nanos() - 1_000_000_000);
            bench.pass(100_000);
            return Some(last);
        }
        End::Reset if tuple.protocol == Protocol::TCP => {
            bench.give(&segment(client, 0, flag::RST, &tuple));
            let last = bench.now();
            bench.pass(100_000);
            return Some(last);
        }
        End::Replaced if tuple.protocol == Protocol::TCP => {
            bench.give(&segment(client + 70_000, 0, flag::SYN, &tuple));
            let last = bench.now();
            let answer = flag::SYN | flag::ACK;
            bench.give(&segment(server + 5, client + 70_001, answer, &tuple.reverse()));
            return Some(last);
        }
        End::Reset | End::Replaced => bench.pass(100_000),
    }
    None
}

#[test]
fn a_record_tells_when_the_last_packet_came_however_the_flow_ends() {
    for flow in [tuple(443, Protocol::TCP), tuple(514, Protocol::UDP)] {
        for how in ENDS {
            for (packets, reloads, after) in
                [(1, 0, 0), (12, 0, 0), (12, 1, 0), (12, 2, 3), (2, 3, 0)]
            {
                let mut bench = Bench::new(&idle(600));
                let mut session = conversation(&mut bench, flow, packets);
                let mut last = bench.now();
                for round in 1..=reloads {
                    install(&mut bench, &idle(600 + 100 * round));
                    talk(&mut bench, &mut session, flow, after);
                    if after > 0 {
                        last = bench.now();
                    }
                }
                // Time has gone on by a second behind each packet.
                last = Timestamp::from_nanos(last.as_nanos() - 1_000_000_000);
                let last = end(&mut bench, &session, flow, how).unwrap_or(last);
                let told = bench.events.iter().find_map(|event| match event {
                    Event::FlowEnd(record) => Some(record.end),
                    _ => None,
                });
                assert_eq!(
                    told,
                    Some(last),
                    "{how:?} {:?} {packets} {reloads} {after}",
                    flow.protocol
                );
            }
        }
    }
}

#[test]
fn a_connection_both_sides_have_finished_is_served_no_longer_than_a_closed_one() {
    let mut bench = Bench::new(&idle(600));
    let mut session = conversation(&mut bench, tuple(443, Protocol::TCP), 2);
    let served = |bench: &Bench| bench.engine.served_at(0, bench.engine.places());
    for side in [Side::Client, Side::Server] {
        bench.pass(60);
        assert_eq!(served(&bench), 1, "one side may go on for as long as it likes");
        bench.give(&session.fin(side));
    }
    let repeated = packet::tcp(
        &tuple(443, Protocol::TCP).reverse(),
        &Segment {
            seq: session.seq(Side::Server) - 1,
            ack: session.seq(Side::Client),
            flags: flag::FIN | flag::ACK,
            payload: &[],
        },
    );
    for round in 0..2 {
        for (seconds, left) in [(9, 1), (1, 1), (1, 0)] {
            bench.pass(seconds);
            assert_eq!((served(&bench), bench.engine.flows()), (left, 1), "{round} {seconds}");
        }
        assert_eq!(bench.give(&repeated), Verdict::Forward, "the flow is known all the same");
    }
    for (seconds, known) in [(29, 1), (1, 1), (1, 0)] {
        bench.pass(seconds);
        assert_eq!(bench.engine.flows(), known, "{seconds}");
    }
}
