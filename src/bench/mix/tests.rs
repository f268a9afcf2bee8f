//! Each mix has the flows, shares and outcomes it says it has, judged by the engine itself.

use super::*;
use crate::bench::load::Load;
use crate::bench::subject::Subject;
use crate::engine::record::{Event, FlowRecord};
use crate::engine::{Engine, Frame, Limits, Output};
use crate::model::{App, Reason, Timestamp};
use crate::wire::{Link, Settings};
use std::sync::Arc;

const RULES: usize = 200;

/// An engine, what it counted and what it told about flows.
struct Trial {
    engine: Engine,
    out: Output,
    now: Timestamp,
}

impl Trial {
    fn new() -> Self {
        let policy = Arc::new(Rules::new(RULES).compile().unwrap());
        let secret = Secret::new(1, 2);
        Self {
            engine: Engine::new(policy, Limits::default(), Settings::GWLB, secret),
            out: Output::default(),
            now: Timestamp::from_secs(1_750_000_000),
        }
    }

    fn run(&mut self, tape: &mut Tape) {
        let (mut rest, marks) = tape.parts();
        for mark in marks {
            let (slot, behind) = rest.split_at_mut(mark.stride());
            rest = behind;
            self.now = self.now + Span::from_nanos(1000);
            let frame = Frame::new(self.now, Link::Ethernet, 0, &mut slot[..mark.place().1]);
            self.engine.process(&mut [frame], &mut self.out);
        }
    }

    fn open(&mut self, mix: Mix) {
        let rules = Rules::new(RULES);
        let mut tape = Tape::default();
        for number in 0..mix.flows() {
            for (inner, from_client) in mix.opening(number, &rules) {
                tape.push(&inner, from_client, &mix.around(&mix.tuple(number, &rules), number));
            }
        }
        self.run(&mut tape);
    }

    fn records(mut self) -> Vec<FlowRecord> {
        self.engine.finish(&mut self.out);
        let ended = |event| match event {
            Event::FlowEnd(record) => Some(record),
            _ => None,
        };
        self.out.events.into_iter().filter_map(ended).collect()
    }
}

fn laid_out(mix: Mix, frames: usize) -> Tape {
    mix.tape(&Rules::new(RULES), frames)
}

#[test]
fn packets_of_known_flows_are_forwarded_and_open_none() {
    for mix in [Mix::Small(1_000), Mix::Segments(1_000)] {
        let mut trial = Trial::new();
        trial.open(mix);
        assert_eq!(trial.engine.flows(), 1_000);
        let opened = trial.engine.counters().clone();
        let mut tape = laid_out(mix, 3_000);
        assert_eq!(tape.len(), 3_000);
        trial.run(&mut tape);
        trial.run(&mut tape);
        let counters = trial.engine.counters();
        assert_eq!(counters.forwarded - opened.forwarded, 6_000, "{mix}");
        assert_eq!(counters.flows, 1_000);
    }
}

#[test]
fn small_packets_have_sixty_four_bytes_and_imix_its_three_lengths() {
    assert!(laid_out(Mix::Small(1_000), 100).frames().all(|frame| frame.len() == 82 + 64));
    let tape = laid_out(Mix::Imix, 12_000);
    for (share, len) in IMIX {
        let count = tape.frames().filter(|frame| frame.len() == 82 + len).count();
        assert!(count.abs_diff(share * 1_000) < 400, "{len}: {count}");
    }
}

#[test]
fn every_packet_of_the_storm_opens_a_flow_that_a_rule_allows() {
    let mut trial = Trial::new();
    let mut tape = laid_out(Mix::Storm, 2_000);
    trial.run(&mut tape);
    tape.turn();
    trial.run(&mut tape);
    let counters = trial.engine.counters();
    assert_eq!((counters.flows, counters.forwarded), (4_000, 4_000));
    assert!(trial.records().iter().all(|record| record.verdict.unwrap().reason == Reason::Rule));
}

#[test]
fn the_flood_is_dropped_beyond_what_its_partner_may_have() {
    let mut trial = Trial::new();
    trial.run(&mut laid_out(Mix::Flood, 3_000));
    let counters = trial.engine.counters();
    assert_eq!(counters.flows, rules::FLOOD_FLOWS);
    assert_eq!(counters.dropped(Reason::LimitSegmentFlows), 3_000 - rules::FLOOD_FLOWS);
}

#[test]
fn every_dns_flow_has_one_question_and_every_fiftieth_is_denied() {
    let mut trial = Trial::new();
    trial.run(&mut laid_out(Mix::Dns, 2_000));
    let records = trial.records();
    assert_eq!(records.len(), 1_000);
    assert!(records.iter().all(|record| record.found.questions.all().len() == 1));
    let answered = records.iter().filter(|record| record.packets() == 2);
    let forwarded = answered.filter(|record| record.volume[0].forwarded_packets == 1);
    assert_eq!(forwarded.count(), 980);
}

#[test]
fn every_quic_connection_is_named_and_forty_in_a_hundred_take_two_packets() {
    let mut trial = Trial::new();
    let tape = laid_out(Mix::Quic, 200 * talk::QUIC_PACKETS);
    let initials = tape.frames().filter(|frame| is_client_initial(frame)).count();
    assert!((250..310).contains(&initials), "{initials} client Initial packets");
    let mut tape = tape;
    trial.run(&mut tape);
    let records = trial.records();
    assert_eq!(records.len(), 200);
    assert!(records.iter().all(|record| record.found.app == Some(App::Quic)));
    assert!(records.iter().all(|record| record.found.names.first().is_some()));
}

/// To port 443, with a long header.
fn is_client_initial(frame: &[u8]) -> bool {
    let transport = if frame[82] >> 4 == 4 { 82 + 20 } else { 82 + 40 };
    frame[transport + 2..transport + 4] == [1, 187] && frame[transport + 8] & 0xf0 == 0xc0
}

#[test]
fn the_enterprise_mix_has_its_shares_of_protocols_and_families() {
    let mut trial = Trial::new();
    trial.run(&mut laid_out(Mix::Enterprise, 1_000 * talk::ENTERPRISE_PACKETS));
    let records = trial.records();
    assert_eq!(records.len(), 1_000);
    let share = |app: App| records.iter().filter(|record| record.found.app == Some(app)).count();
    assert_eq!((share(App::Tls), share(App::Dns)), (450, 300));
    assert!((90..150).contains(&share(App::Quic)), "{}", share(App::Quic));
    assert!((60..120).contains(&share(App::Http)), "{}", share(App::Http));
    assert_eq!(records.iter().filter(|record| !record.tuple.src.is_v4()).count(), 100);
    let named = records.iter().filter(|record| {
        record.found.names.first().is_some() || record.found.questions.first().is_some()
    });
    assert_eq!(named.count(), 950);
}

#[test]
fn a_turned_tape_brings_other_flows_with_right_sums() {
    for mix in [Mix::Storm, Mix::Dns, Mix::Enterprise] {
        let mut trial = Trial::new();
        let mut tape = laid_out(mix, 3_200);
        let mut flows = 0;
        for _ in 0..3 {
            trial.run(&mut tape);
            tape.turn();
            let now = trial.engine.counters().flows;
            assert!(now > flows, "{mix}");
            flows = now;
        }
        let counters = trial.engine.counters();
        assert_eq!(counters.dropped(Reason::TransportChecksum), 0, "{mix}");
        assert_eq!(counters.dropped(Reason::IpChecksum), 0, "{mix}");
        assert_eq!(flows % 3, 0, "{mix}: each turn brings as many flows");
    }
}

#[test]
fn a_mix_that_settles_has_about_the_flows_it_claims() {
    let rules = Rules::new(RULES);
    let policy = Arc::new(rules.compile().unwrap());
    let mut load = Load::of_mix(Mix::Storm, &rules, 2_000);
    // A thousandth of the flows, a thousand times as far apart.
    let mut subject =
        Subject::new(&policy, load.room, Span::from_nanos(load.gap.as_nanos() * 1_000));
    subject.settle(&mut load.tape, load.settling);
    assert!((900..1_200).contains(&subject.flows()), "{}", subject.flows());
}

#[test]
fn every_mix_is_found_by_its_word() {
    for mix in Mix::ALL {
        assert_eq!(Mix::named(&mix.word()), Some(mix));
        assert!(!mix.about().is_empty());
    }
    assert_eq!(Mix::named("nothing"), None);
}
