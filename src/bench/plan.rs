//! What is run: mixes one after the other, each in rounds in which engine and floor take turns, then
//! the curves by rules and by workers.

use super::clock;
use super::figures::{
    Figures, LATENCY_BATCH, MixFigures, PERCENTILES, Percentile, RuleFigures, Spread, median,
};
use super::floor::Floor;
use super::mix::Mix;
use super::rules::Rules;
use super::subject::{Subject, histogram, run_floor};
use super::tape::Tape;
use super::{shards, stages};
use crate::engine::Counters;
use crate::policy::{CompileFault, Policy};
use std::sync::Arc;

/// Below so many flows, the memory of one is lost among everything else.
const FLOWS_TO_WEIGH: usize = 50_000;
/// Bytes that a flow may take while it is measured, floor and engine together; for telling
/// beforehand whether memory suffices.
const FLOW_BYTES_ROOM: usize = 512;

/// How much is measured.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The mixes.
    pub mixes: Vec<Mix>,
    /// Rounds of each.
    pub rounds: usize,
    /// Five-tuple rules.
    pub rules: usize,
    /// Workers, at most.
    pub workers: usize,
    /// Frames of a round; 0: as many as the mix has by itself.
    pub frames: usize,
    /// Whether the curves by rules and by workers are measured too.
    pub curves: bool,
}

/// Runs the plan; `tell` hears what is being measured.
///
/// # Errors
/// More rules than can be compiled.
pub fn run(plan: &Plan, tell: &mut dyn FnMut(&str)) -> Result<Figures, CompileFault> {
    let cores = clock::cores();
    clock::pin(0);
    let rules = Rules::new(plan.rules);
    let policy = Arc::new(rules.compile()?);
    let mut figures = Figures {
        processor: clock::processor(),
        cores,
        rules: plan.rules,
        rounds: plan.rounds,
        mixes: Vec::new(),
        workers: Vec::new(),
        by_rules: Vec::new(),
        left_out: Vec::new(),
    };
    for &mix in &plan.mixes {
        let room = mix.flows().saturating_mul(FLOW_BYTES_ROOM).saturating_add(2 << 30);
        if clock::available_bytes().is_some_and(|free| free < room) {
            figures.left_out.push(format!("{mix}: needs {} GiB of free memory", room >> 30));
            continue;
        }
        tell(&mix.word());
        figures.mixes.push(measure(mix, plan, &rules, &policy));
    }
    if plan.curves {
        tell("by rules");
        for count in [100, 1_000, 10_000, 100_000] {
            figures.by_rules.push(by_rules(count, plan)?);
        }
        tell("by workers");
        figures.workers = shards::measure(plan, &rules, &policy);
    }
    Ok(figures)
}

/// Measures one mix.
fn measure(mix: Mix, plan: &Plan, rules: &Rules, policy: &Arc<Policy>) -> MixFigures {
    let mut tape = mix.tape(rules, plan.frames);
    let mut floor = Floor::new(if mix.known() { mix.flows() } else { mix.flows().max(tape.len()) });
    for frame in tape.frames() {
        floor.admit(frame);
    }
    let mut subject = Subject::for_mix(policy, mix);
    let before = clock::resident_bytes();
    // The floor's table is there in full from the start; its own pages are none of the flows'.
    subject.open(mix, rules, &mut floor);
    let opened = clock::resident_bytes().saturating_sub(before);
    subject.settle(&mut tape, mix.settling());
    let flow_bytes = (mix.known() && mix.flows() >= FLOWS_TO_WEIGH)
        .then(|| opened as f64 / subject.flows().max(1) as f64);
    rounds(mix, plan, &mut tape, &mut floor, &mut subject, flow_bytes)
}

/// The rounds of a mix, engine and floor in turn, and what stands beside them.
fn rounds(
    mix: Mix,
    plan: &Plan,
    tape: &mut Tape,
    floor: &mut Floor,
    subject: &mut Subject,
    flow_bytes: Option<f64>,
) -> MixFigures {
    let places: Vec<_> = tape.parts().1.iter().map(super::tape::Mark::place).collect();
    let frames = tape.len().max(1) as f64;
    let (mut engine_ns, mut floor_ns) = (Vec::new(), Vec::new());
    let mut latency = histogram();
    let before = subject.counters().clone();
    // One round more than asked for: the first only warms up.
    for round in 0..=plan.rounds {
        let of_floor = run_floor(floor, tape, &places, round as u32) as f64 / frames;
        let of_engine = subject.run(tape) as f64 / frames;
        if round > 0 {
            floor_ns.push(of_floor);
            engine_ns.push(of_engine);
        }
        next_flows(mix, tape, floor);
    }
    let counted = Counted::between(&before, subject.counters());
    let stages = stages::measure(tape, median(&engine_ns), plan.rounds.min(7));
    subject.run_noting(tape, LATENCY_BATCH, &mut latency);
    let ratios: Vec<f64> =
        engine_ns.iter().zip(&floor_ns).map(|(engine, floor)| engine / floor).collect();
    MixFigures {
        mix: mix.word(),
        flows: subject.flows(),
        frames: tape.len(),
        frame_bytes: tape.frame_bytes() as f64 / frames,
        new_flows_share: counted.flows,
        forwarded_share: counted.forwarded,
        held_share: counted.held,
        dropped_share: counted.dropped,
        engine_ns: Spread::over(&engine_ns),
        floor_ns: Spread::over(&floor_ns),
        ratio: median(&ratios),
        flow_bytes,
        latency: PERCENTILES
            .into_iter()
            .map(|percent| Percentile { percent, ns: latency.value_at_percentile(percent) })
            .collect(),
        stages,
    }
}

/// Brings new flows where the mix is one of new flows; the floor knows them beforehand.
fn next_flows(mix: Mix, tape: &mut Tape, floor: &mut Floor) {
    if mix.known() {
        return;
    }
    tape.turn();
    floor.clear();
    for frame in tape.frames() {
        floor.admit(frame);
    }
}

/// Shares of what an engine counted between two moments.
struct Counted {
    flows: f64,
    forwarded: f64,
    held: f64,
    dropped: f64,
}

impl Counted {
    fn between(before: &Counters, after: &Counters) -> Self {
        let received = after.received.saturating_sub(before.received).max(1) as f64;
        let share = |after: u64, before: u64| after.saturating_sub(before) as f64 / received;
        let held = share(after.held, before.held);
        let forwarded = share(after.forwarded - after.released, before.forwarded - before.released);
        let flows = share(after.flows, before.flows);
        Self { flows, forwarded, held, dropped: (1.0 - held - forwarded).max(0.0) }
    }
}

/// The connection storm with so many rules.
fn by_rules(count: usize, plan: &Plan) -> Result<RuleFigures, CompileFault> {
    let rules = Rules::new(count);
    let before = clock::thread_ns();
    let policy = Arc::new(rules.compile()?);
    let compile_ms = clock::thread_ns().saturating_sub(before) as f64 / 1e6;
    let mut tape = Mix::Storm.tape(&rules, plan.frames);
    let mut subject = Subject::for_mix(&policy, Mix::Storm);
    subject.settle(&mut tape, Mix::Storm.settling());
    let frames = tape.len().max(1) as f64;
    let mut ns = Vec::new();
    for _ in 0..plan.rounds.clamp(3, 7) {
        ns.push(subject.run(&mut tape) as f64 / frames);
        tape.turn();
    }
    Ok(RuleFigures { rules: count, storm_ns: median(&ns), compile_ms })
}
