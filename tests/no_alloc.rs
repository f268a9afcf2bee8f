//! A packet of a decided flow costs no allocation, whatever the size of the batch it comes in. Every
//! allocation of this process is counted, by the thread that makes it.

use lockgate::bench::allocations::{self, Counting};
use lockgate::bench::mix::Mix;
use lockgate::bench::rules::Rules;
use lockgate::bench::tape::Tape;
use lockgate::engine::{Engine, Frame, Limits, Output};
use lockgate::flow::Secret;
use lockgate::model::{Span, Timestamp, Verdict};
use lockgate::wire::{Link, Settings};
use std::sync::Arc;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn counted(work: impl FnOnce()) -> u64 {
    let before = allocations::so_far();
    work();
    allocations::so_far() - before
}

/// Runs a tape in batches of this size; gives the allocations of the engine alone.
fn run(engine: &mut Engine, tape: &mut Tape, batch: usize, now: &mut Timestamp) -> u64 {
    let mut out = Output::default();
    let (mut rest, marks) = tape.parts();
    let mut allocations = 0;
    for marks in marks.chunks(batch) {
        let mut frames = Vec::new();
        for mark in marks {
            let (slot, behind) = rest.split_at_mut(mark.stride());
            rest = behind;
            *now = *now + Span::from_nanos(1000);
            frames.push(Frame::new(*now, Link::Ethernet, 0, &mut slot[..mark.place().1]));
        }
        allocations += counted(|| engine.process(&mut frames, &mut out));
        assert!(frames.iter().all(|frame| frame.verdict == Verdict::Forward));
        out.clear();
    }
    allocations
}

fn decided_flows_cost_no_allocation(mix: Mix) {
    let rules = Rules::new(1000);
    let policy = Arc::new(rules.compile().unwrap());
    let mut engine = Engine::new(policy, Limits::default(), Settings::GWLB, Secret::new(1, 2));
    let mut opening = Tape::default();
    for number in 0..mix.flows() {
        for (inner, from_client) in mix.opening(number, &rules) {
            opening.push(&inner, from_client, &mix.around(&mix.tuple(number, &rules), number));
        }
    }
    let mut now = Timestamp::from_secs(1_750_000_000);
    assert!(run(&mut engine, &mut opening, 256, &mut now) > 0, "opening a flow allocates");
    let mut tape = mix.tape(&rules, 20_000);
    for batch in [1, 2, 15, 16, 17, 31, 32, 33, 64, 256, 1000, 20_000] {
        assert_eq!(run(&mut engine, &mut tape, batch, &mut now), 0, "{mix}, batches of {batch}");
    }
    assert_eq!(engine.flows(), mix.flows());
}

#[test]
fn packets_of_decided_udp_flows_allocate_nothing() {
    decided_flows_cost_no_allocation(Mix::Small(1_000));
}

#[test]
fn segments_of_decided_tcp_connections_allocate_nothing() {
    decided_flows_cost_no_allocation(Mix::Segments(1_000));
}
