//! An engine with the frames it is measured by: filled with flows first, then run over its tape again
//! and again.

use super::allocations;
use super::clock;
use super::floor::Floor;
use super::mix::Mix;
use super::rules::{self, Rules};
use super::tape::Tape;
use crate::engine::{Counters, Engine, Frame, Limits, Output};
use crate::flow::Secret;
use crate::model::{Span, Timestamp};
use crate::policy::Policy;
use crate::wire::{Link, Settings, near};
use hdrhistogram::Histogram;
use std::sync::Arc;

/// Frames handed to the engine at once, as a ring gives them.
pub const BATCH: usize = 256;
/// The engine's time when a measurement begins.
const START: Timestamp = Timestamp::from_secs(1_750_000_000);
/// The largest time of a batch a histogram holds, in nanoseconds.
const LATENCY_LIMIT_NS: u64 = 1_000_000_000;

/// An engine, its frames and its time.
#[derive(Debug)]
pub struct Subject {
    engine: Engine,
    out: Output,
    now: Timestamp,
    gap: Span,
    allocations: u64,
}

impl Subject {
    /// An engine with room for so many flows.
    #[must_use]
    pub fn new(policy: &Arc<Policy>, flows: usize, gap: Span) -> Self {
        let limits = Limits {
            flows: flows.max(1 << 16),
            inspections: flows.max(1 << 18),
            held_bytes: 256 << 20,
            answers_per_second: u32::MAX,
            ..Limits::default()
        };
        let secret = Secret::new(0x6c6f_636b_6761_7465, 0x0062_656e_6368);
        let engine = Engine::new(Arc::clone(policy), limits, Settings::GWLB, secret);
        Self { engine, out: Output::default(), now: START, gap, allocations: 0 }
    }

    /// Opens the flows of a mix.
    pub fn open(&mut self, mix: Mix, rules: &Rules) {
        let mut tape = Tape::default();
        for number in 0..mix.flows() {
            for (inner, from_client) in mix.opening(number, rules) {
                tape.push(&inner, from_client, &mix.around(&mix.tuple(number, rules), number));
            }
            if tape.len() >= BATCH {
                self.run(&mut tape);
                tape.clear();
            }
        }
        self.run(&mut tape);
    }

    /// Runs flows through that begin and end until as many do one as the other.
    pub fn settle(&mut self, tape: &mut Tape, settling: Span) {
        let until = self.now + settling;
        while self.now < until && !tape.is_empty() {
            self.run(tape);
            tape.turn();
        }
    }

    /// Judges every frame of the tape; gives the nanoseconds this thread took.
    pub fn run(&mut self, tape: &mut Tape) -> u64 {
        let before = clock::thread_ns();
        self.each_batch(tape, |engine, frames, out| engine.process(frames, out));
        clock::thread_ns().saturating_sub(before)
    }

    /// The same, with the time of every batch noted for every frame in it.
    pub fn run_noting(&mut self, tape: &mut Tape, batch: usize, latency: &mut Histogram<u64>) {
        self.each_batch(tape, |engine, frames, out| {
            for part in frames.chunks_mut(batch.max(1)) {
                let before = clock::wall_ns();
                engine.process(part, out);
                let took = clock::wall_ns().saturating_sub(before).clamp(1, LATENCY_LIMIT_NS);
                latency.saturating_record_n(took, part.len() as u64);
            }
        });
    }

    fn each_batch(
        &mut self,
        tape: &mut Tape,
        mut judge: impl FnMut(&mut Engine, &mut [Frame<'_>], &mut Output),
    ) {
        let (mut rest, marks) = tape.parts();
        let mut frames: Vec<Frame<'_>> = Vec::with_capacity(BATCH);
        let mut soon = marks.iter().skip(BATCH);
        for marks in marks.chunks(BATCH) {
            frames.clear();
            for mark in marks {
                if let Some(mark) = soon.next() {
                    near::prefetch(mark);
                }
                let (slot, behind) = rest.split_at_mut_checked(mark.stride()).unwrap_or_default();
                rest = behind;
                let (bytes, _) = slot.split_at_mut_checked(mark.place().1).unwrap_or_default();
                self.now = self.now + self.gap;
                frames.push(Frame::new(self.now, Link::Ethernet, 0, bytes));
            }
            let before = allocations::so_far();
            judge(&mut self.engine, &mut frames, &mut self.out);
            self.allocations += allocations::so_far().saturating_sub(before);
            self.out.clear();
        }
    }

    /// Flows there are now.
    #[must_use]
    pub fn flows(&self) -> usize {
        self.engine.flows()
    }

    /// Allocations of the engine so far, where the program counts them.
    #[must_use]
    pub const fn allocations(&self) -> u64 {
        self.allocations
    }

    /// What has been counted so far.
    #[must_use]
    pub const fn counters(&self) -> &Counters {
        self.engine.counters()
    }
}

/// Bytes of memory this process takes for each flow of a mix, opened here and now: to be asked of a
/// process that has done nothing else, whose allocator has no memory left over from before.
#[must_use]
pub fn weigh(mix: Mix, rules: &Rules, policy: &Arc<Policy>) -> f64 {
    let mut subject = Subject::new(policy, mix.flows() + rules::FLOOD_FLOWS as usize, mix.gap());
    let before = clock::resident_bytes();
    subject.open(mix, rules);
    let grown = clock::resident_bytes().saturating_sub(before);
    grown as f64 / subject.flows().max(1) as f64
}

/// A histogram of what batches take.
#[must_use]
pub fn histogram() -> Histogram<u64> {
    // Three digits over this range are always accepted; the smallest histogram stands in.
    Histogram::new_with_bounds(1, LATENCY_LIMIT_NS, 3).unwrap_or_else(|_| smallest())
}

fn smallest() -> Histogram<u64> {
    let mut digits = 0;
    loop {
        if let Ok(histogram) = Histogram::new(digits) {
            return histogram;
        }
        digits += 1;
    }
}

/// Runs the floor over a tape; gives the nanoseconds this thread took.
pub fn run_floor(floor: &mut Floor, tape: &mut Tape, places: &[(usize, usize)], now: u32) -> u64 {
    let (bytes, _) = tape.parts();
    let before = clock::thread_ns();
    floor.forward(bytes, places, now);
    clock::thread_ns().saturating_sub(before)
}
