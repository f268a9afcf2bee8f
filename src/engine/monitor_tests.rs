//! What is written down of monitored flows that enforcing would deny for what they send: the same as of
//! enforced ones, while everything passes.

use super::half_tests::named;
use super::record::{Ended, Event};
use super::tests::{Bench, tuple};
use crate::inspect::quic::seal::{Initial, crypto_frame};
use crate::inspect::quic::version::V1;
use crate::model::{Action, FlowVerdict, Protocol, Reason, Verdict};
use crate::policy::spec::Mode;
use crate::synth::packet::{self, flag};
use crate::synth::session::{Session, Side};

const GOOD: &[u8] = b"GET / HTTP/1.1\r\nHost: api.good.example\r\n\r\n";
const TWICE: &[u8] = b"GET / HTTP/1.1\r\nHost: api.good.example\r\nHost: x\r\n\r\n";

/// Gives packets to a flow of a policy in this mode: what is recorded of it, and whether all passed.
fn judged(mode: Mode, packets: &[Vec<u8>]) -> (FlowVerdict, bool) {
    let mut spec = named(".good.example");
    spec.policies[0].mode = mode;
    let mut bench = Bench::new(&spec);
    let passed = packets.iter().filter(|packet| bench.give(packet) == Verdict::Forward).count();
    bench.pass(8 * 3_600);
    let Some(Event::FlowEnd(record)) = bench.events.last() else { panic!("it ended") };
    assert_eq!(record.enforced, mode == Mode::Enforce);
    assert!(mode == Mode::Enforce || record.ended != Some(Ended::Denied));
    (record.verdict.unwrap(), passed == packets.len())
}

/// A connection whose client sends these, each in a segment with these flags.
fn sends(port: u16, segments: &[(&[u8], u8)]) -> Vec<Vec<u8>> {
    let mut session = Session::new(tuple(port, Protocol::TCP));
    let mut packets = session.handshake();
    for (payload, flags) in segments {
        packets.push(session.raw(Side::Client, flag::ACK | flags, payload));
        session.send(Side::Client, payload);
    }
    packets
}

#[test]
fn a_monitored_flow_is_recorded_as_it_would_be_enforced() {
    let mut changed = sends(80, &[(&GOOD[..20], 0)]);
    let mut session = Session::new(tuple(80, Protocol::TCP));
    session.handshake();
    changed.push(session.raw(Side::Client, flag::ACK, b"GET /other HTTP/1.1\r\n"));
    let datagram = |payload: &[u8]| packet::udp(&tuple(443, Protocol::UDP), payload);
    let initial =
        Initial { version: V1, destination: &[7; 8], padded_to: 1200, ..Initial::default() };
    let mut initial = initial.seal(&crypto_frame(0, &[1, 0, 0, 9]).unwrap()).unwrap();
    *initial.last_mut().unwrap() ^= 1;
    for (what, reason, packets) in [
        ("malformed", Reason::HttpMalformed, sends(80, &[(TWICE, 0)])),
        ("malformed later", Reason::HttpMalformed, sends(80, &[(GOOD, 0), (TWICE, 0)])),
        (
            "another name",
            Reason::Otherwise,
            sends(80, &[(GOOD, 0), (b"GET / HTTP/1.1\r\nHost: e.example\r\n\r\n", 0)]),
        ),
        ("tls", Reason::TlsMalformed, sends(8443, &[(&[22, 3, 1, 0, 5, 1, 0, 0, 1, 0], 0)])),
        ("urgent", Reason::UrgentData, sends(80, &[(GOOD, flag::URG)])),
        ("changed", Reason::InconsistentRetransmission, changed),
        ("quic", Reason::QuicMalformed, vec![datagram(&initial)]),
        ("allowed", Reason::Rule, sends(80, &[(GOOD, 0)])),
    ] {
        let (enforced, passed) = judged(Mode::Enforce, &packets);
        assert_eq!(enforced.reason, reason, "{what}");
        assert_eq!(passed, enforced.action == Action::Allow, "{what}");
        assert_eq!(judged(Mode::Monitor, &packets), (enforced, true), "{what}");
    }
}
