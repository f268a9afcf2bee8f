//! TLS handshakes that are undecided: what of them passes, how much, and when what the server says
//! counts as having passed unseen.

use super::half_tests::named;
use super::record::Event;
use super::tests::{Bench, tuple};
use crate::inspect::tls::HANDSHAKE_LIMIT_BYTES;
use crate::inspect::tls::compose::Offer;
use crate::model::{Protocol, Reason, TlsVersion, Verdict};
use crate::policy::spec::{Answer, CertificateSpec, Midstream, PolicySpec, RuleSpec};
use crate::synth::packet::flag;
use crate::synth::session::{Session, Side};

const FORWARD: Verdict = Verdict::Forward;
const MALFORMED: Verdict = Verdict::Drop(Reason::TlsMalformed);

/// The rule for TLS asks for this too, and answers for what was not seen.
fn asking(more: impl FnOnce(&mut RuleSpec)) -> PolicySpec {
    let mut spec = named(".good.example");
    let rule = spec.policies[0].rules.iter_mut().find(|rule| rule.id == "tls").unwrap();
    rule.midstream = Answer::Allow;
    more(rule);
    spec
}

fn of_tls_1_3() -> PolicySpec {
    asking(|rule| rule.tls.min_version = Some(TlsVersion(0x0304)))
}

fn of_a_certificate() -> PolicySpec {
    asking(|rule| rule.tls.client_certificate = Some(CertificateSpec::default()))
}

fn record(content: u8, payload: &[u8]) -> Vec<u8> {
    let len = u16::try_from(payload.len()).unwrap().to_be_bytes();
    [&[content, 3, 3, len[0], len[1]], payload].concat()
}

fn hello() -> Vec<u8> {
    let names: &[&[u8]] = &[b"api.good.example"];
    Offer { names, versions: &[0x0304, 0x0303], ..Offer::default() }.records(16_384).unwrap()
}

/// A ClientKeyExchange.
fn key_exchange() -> Vec<u8> {
    record(22, &[&[16, 0, 0, 66], &[6; 66][..]].concat())
}

/// A HelloRetryRequest of TLS 1.3.
fn retry() -> Vec<u8> {
    let mut body = vec![2, 0, 0, 46, 3, 3];
    body.extend(crate::inspect::tls::hello::RETRY_RANDOM);
    body.extend([0, 0x13, 0x01, 0, 0, 6, 0, 43, 0, 2, 3, 4]);
    record(22, &body)
}

/// A connection of which the engine sees the SYN and, if at all, its answer.
fn opened(bench: &mut Bench, answered: bool) -> Session {
    let mut session = Session::new(tuple(8443, Protocol::TCP));
    for (at, packet) in session.handshake().into_iter().enumerate() {
        if at != 1 || answered {
            assert_eq!(bench.give(&packet), FORWARD);
        }
    }
    session
}

#[test]
fn a_server_whose_answers_are_seen_is_not_missed_because_its_client_goes_on_without() {
    for mut spec in [of_tls_1_3(), of_a_certificate()] {
        for setting in [Midstream::Deny, Midstream::Adopt] {
            spec.defaults.midstream = setting;
            for at_once in [false, true] {
                let mut bench = Bench::new(&spec);
                let mut session = opened(&mut bench, true);
                if at_once {
                    let both = [hello(), key_exchange()].concat();
                    assert_eq!(bench.give(&session.send(Side::Client, &both)), MALFORMED);
                } else {
                    assert_eq!(bench.give(&session.send(Side::Client, &hello())), FORWARD);
                    let early = session.send(Side::Client, &key_exchange());
                    assert_eq!(bench.give(&early), MALFORMED);
                }
            }
        }
    }
}

#[test]
fn a_server_that_answers_by_another_way_is_missed_where_the_setting_lets_it() {
    for mut spec in [of_tls_1_3(), of_a_certificate()] {
        spec.defaults.midstream = Midstream::Adopt;
        for syn_answered in [false, true] {
            let mut bench = Bench::new(&spec);
            let mut session = opened(&mut bench, syn_answered);
            assert_eq!(bench.give(&session.send(Side::Client, &hello())), FORWARD);
            session.send(Side::Server, &[0; 3000]);
            assert_eq!(bench.give(&session.ack(Side::Client)), FORWARD);
            assert_eq!(bench.give(&session.send(Side::Client, &key_exchange())), FORWARD);
            let data = session.send(Side::Client, &record(23, &[1; 90]));
            assert_eq!(bench.give(&data), FORWARD, "the rule answers for what passed unseen");
        }
    }
}

#[test]
fn a_retry_decides_what_asks_for_a_version_or_a_certificate() {
    let early = record(23, &[7; 500]);
    for (spec, passes) in [(of_tls_1_3(), true), (of_a_certificate(), false)] {
        let mut bench = Bench::new(&spec);
        let mut session = opened(&mut bench, true);
        assert_eq!(bench.give(&session.send(Side::Client, &hello())), FORWARD);
        assert_eq!(bench.give(&session.send(Side::Client, &early)), Verdict::Hold);
        let answer = bench.give(&session.send(Side::Server, &retry()));
        let more = bench.give(&session.send(Side::Client, &early));
        if passes {
            assert_eq!((answer, more), (FORWARD, FORWARD));
        } else {
            assert!(matches!((answer, more), (Verdict::Drop(_), Verdict::Drop(_))));
        }
        bench.pass(4000);
        let Some(Event::FlowEnd(told)) = bench.events.last() else { panic!("it ended") };
        assert_eq!(told.found.tls_version, Some(TlsVersion(0x0304)));
    }
}

#[test]
fn an_undecided_handshake_lets_so_many_bytes_of_each_side_pass_and_no_more() {
    let alert = record(21, &[0; 1019]);
    for side in [Side::Client, Side::Server] {
        let mut bench = Bench::new(&of_a_certificate());
        let mut session = opened(&mut bench, true);
        assert_eq!(bench.give(&session.send(Side::Client, &hello())), FORWARD);
        for _ in 0..HANDSHAKE_LIMIT_BYTES / alert.len() {
            assert_eq!(bench.give(&session.send(side, &alert)), FORWARD);
            let other = if side == Side::Client { Side::Server } else { Side::Client };
            assert_eq!(bench.give(&session.ack(other)), FORWARD);
        }
        let beyond = session.raw(side, flag::ACK, &alert);
        assert_eq!(bench.give(&beyond), Verdict::Drop(Reason::LimitInspection));
    }
}
