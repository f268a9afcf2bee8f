//! The same work by 1, 2, ... workers: each with the frames of its own flows, as a network card
//! delivers them; and through the pipeline, where one thread reads a capture and shards.

use super::captures::write_tape;
use super::clock;
use super::figures::{WorkerFigures, median};
use super::mix::Mix;
use super::plan::Plan;
use super::rules::Rules;
use super::subject::Subject;
use super::tape::Tape;
use crate::engine::record::Event;
use crate::flow::{Secret, symmetric_hash};
use crate::io::merge::Captures;
use crate::io::pcap::CaptureReader;
use crate::pipeline::{ReplayOptions, Settled, Sink, replay};
use crate::policy::Policy;
use crate::wire::{self, Link, Settings};
use std::convert::Infallible;
use std::io::Cursor;
use std::sync::{Arc, Barrier};
use std::thread;

/// Mixes that are measured by workers.
const MIXES: [Mix; 3] = [Mix::Small(100_000), Mix::Small(1_000_000), Mix::Imix];
/// Rounds of the pipeline, each of which reads a whole capture.
const PIPELINE_ROUNDS: usize = 5;

/// One worker's engine and frames.
type Share = (Subject, Tape);

/// Measures 1 to `plan.workers` workers, all of them in every round.
#[must_use]
pub fn measure(plan: &Plan, rules: &Rules, policy: &Arc<Policy>) -> Vec<WorkerFigures> {
    let mut figures = Vec::new();
    for mix in MIXES {
        if !plan.mixes.contains(&mix) {
            continue;
        }
        let tape = mix.tape(rules, plan.frames);
        let counts: Vec<usize> = (1..=plan.workers.max(1)).collect();
        let mut crews: Vec<Vec<Share>> =
            counts.iter().map(|&count| crew(mix, count, &tape, rules, policy)).collect();
        let mut rates = vec![Vec::new(); counts.len()];
        for round in 0..=plan.rounds {
            for (crew, rates) in crews.iter_mut().zip(&mut rates) {
                let rate = run_together(crew);
                if round > 0 {
                    rates.push(rate);
                }
            }
        }
        drop(crews);
        for (count, rates) in counts.into_iter().zip(rates) {
            figures.push(WorkerFigures {
                mix: mix.word(),
                workers: count,
                sharded_per_second: median(&rates),
                pipeline_per_second: (mix == Mix::Imix)
                    .then(|| through_pipeline(&tape, count, policy)),
            });
        }
    }
    figures
}

/// So many engines, each with the flows and frames that the hash of the inner packet gives it.
fn crew(mix: Mix, count: usize, tape: &Tape, rules: &Rules, policy: &Arc<Policy>) -> Vec<Share> {
    let secret = Secret::new(3, 4);
    let owner = |frame: &[u8]| {
        wire::parse(frame, Link::Ethernet, &Settings::GWLB).map_or(0, |packet| {
            let hash = u128::from(symmetric_hash(&packet.tuple, &secret));
            ((hash * count as u128) >> 64) as usize
        })
    };
    let mut crew: Vec<Share> = tape
        .split(count, owner)
        .into_iter()
        .map(|tape| {
            (Subject::new(policy, mix.flows().div_ceil(count) * 9 / 8 + 2000, mix.gap()), tape)
        })
        .collect();
    let mut openings: Vec<Tape> = (0..count).map(|_| Tape::default()).collect();
    for number in 0..mix.flows() {
        let tuple = mix.tuple(number, rules);
        let hash = u128::from(symmetric_hash(&tuple, &secret));
        let at = ((hash * count as u128) >> 64) as usize;
        let (Some(opening), Some((subject, _))) = (openings.get_mut(at), crew.get_mut(at)) else {
            continue;
        };
        for (inner, from_client) in mix.opening(number, rules) {
            opening.push(&inner, from_client, &mix.around(&tuple, number));
        }
        if opening.len() >= super::subject::BATCH {
            subject.run(opening);
            opening.clear();
        }
    }
    for ((subject, _), opening) in crew.iter_mut().zip(&mut openings) {
        subject.run(opening);
    }
    crew
}

/// Frames a second of all workers at once: all frames over the time of the slowest.
fn run_together(crew: &mut [Share]) -> f64 {
    let frames: usize = crew.iter().map(|(_, tape)| tape.len()).sum();
    let start = Barrier::new(crew.len());
    let slowest = thread::scope(|scope| {
        let running: Vec<_> = crew
            .iter_mut()
            .enumerate()
            .map(|(core, (subject, tape))| {
                let start = &start;
                scope.spawn(move || {
                    clock::pin(core);
                    start.wait();
                    subject.run(tape)
                })
            })
            .collect();
        running.into_iter().map(|worker| worker.join().unwrap_or(u64::MAX)).max().unwrap_or(1)
    });
    frames as f64 * 1e9 / slowest.max(1) as f64
}

/// Frames a second of wall time from a capture in memory through reader, workers and collector.
fn through_pipeline(tape: &Tape, workers: usize, policy: &Arc<Policy>) -> f64 {
    let Ok(capture) = write_tape(tape, Vec::new()) else { return 0.0 };
    let options = ReplayOptions { workers, settings: Settings::GWLB, ..ReplayOptions::default() };
    let mut rates = Vec::new();
    for _ in 0..PIPELINE_ROUNDS {
        let source = Box::new(Cursor::new(capture.clone()));
        let Ok(reader) = CaptureReader::new("bench", source) else { return 0.0 };
        let mut captures = Captures::new(vec![reader]);
        let before = clock::wall_ns();
        let Ok(replayed) = replay(policy, &mut captures, &options, &mut Nobody, &mut |_| {});
        let took = clock::wall_ns().saturating_sub(before).max(1);
        rates.push(replayed.packets as f64 * 1e9 / took as f64);
    }
    median(&rates)
}

/// A sink that takes no frames and forgets events.
#[derive(Clone, Copy, Debug)]
pub struct Nobody;

impl Sink for Nobody {
    type Error = Infallible;

    fn wants_frames(&self) -> bool {
        false
    }

    fn frame(&mut self, _frame: Settled<'_>) -> Result<(), Infallible> {
        Ok(())
    }

    fn event(&mut self, _event: Event) -> Result<(), Infallible> {
        Ok(())
    }
}
