//! What is run: mixes one after the other, each in rounds in which engine and floor take turns, then
//! the curves by rules and by workers.

use super::allocations;
use super::clock;
use super::figures::{
    Figures, LATENCY_BATCH, MixFigures, PERCENTILES, Percentile, RuleFigures, Spread, median,
};
use super::floor::Floor;
use super::load::Load;
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

/// Weighs the flows of a mix in a process of its own; none where that is not possible.
pub type Weigh<'w> = &'w dyn Fn(Mix) -> Option<f64>;

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
pub fn run(
    plan: &Plan,
    weigh: Weigh<'_>,
    tell: &mut dyn FnMut(&str),
) -> Result<Figures, CompileFault> {
    let mut figures = Figures::here(plan.rules, plan.rounds);
    clock::pin(0);
    let rules = Rules::new(plan.rules);
    let policy = Arc::new(rules.compile()?);
    for &mix in &plan.mixes {
        let room = mix.flows().saturating_mul(FLOW_BYTES_ROOM).saturating_add(2 << 30);
        if clock::available_bytes().is_some_and(|free| free < room) {
            figures.left_out.push(format!("{mix}: needs {} GiB of free memory", room >> 30));
            continue;
        }
        tell(&mix.word());
        let heavy = mix.known() && mix.flows() >= FLOWS_TO_WEIGH;
        let flow_bytes = if heavy { weigh(mix) } else { None };
        let load = Load::of_mix(mix, &rules, plan.frames);
        figures.mixes.push(measure(load, plan.rounds, &rules, &policy, flow_bytes));
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

/// Measures frames of captures by a policy.
#[must_use]
pub fn run_captures(load: Load, rounds: usize, rules: usize, policy: &Arc<Policy>) -> Figures {
    let mut figures = Figures::here(rules, rounds);
    clock::pin(0);
    figures.mixes.push(measure(load, rounds, &Rules::new(2), policy, None));
    figures
}

/// Opens and settles the flows of a load, then measures it in rounds in which engine and floor take
/// turns.
fn measure(
    mut load: Load,
    rounds: usize,
    rules: &Rules,
    policy: &Arc<Policy>,
    flow_bytes: Option<f64>,
) -> MixFigures {
    let known = load.opening.is_some();
    let mut floor = Floor::new(if known { load.flows } else { load.flows.max(load.tape.len()) });
    load.tape.frames().for_each(|frame| floor.admit(frame));
    let mut subject = Subject::new(policy, load.room, load.gap);
    if let Some(mix) = load.opening {
        subject.open(mix, rules);
    }
    subject.settle(&mut load.tape, load.settling);
    let places: Vec<_> = load.tape.parts().1.iter().map(super::tape::Mark::place).collect();
    let frames = load.tape.len().max(1) as f64;
    let (mut engine_ns, mut floor_ns, mut cycles) = (Vec::new(), Vec::new(), Vec::new());
    let mut allocations: u64 = 0;
    let mut meter = clock::Cycles::count();
    let before = subject.counters().clone();
    // One round more than asked for: the first only warms up.
    for round in 0..=rounds {
        let of_floor = run_floor(&mut floor, &mut load.tape, &places, round as u32) as f64 / frames;
        let (asked, began) = (subject.allocations(), meter.so_far());
        let of_engine = subject.run(&mut load.tape) as f64 / frames;
        if round > 0 {
            allocations += subject.allocations().saturating_sub(asked);
            let took = meter.so_far().zip(began).map(|(now, began)| now.saturating_sub(began));
            cycles.extend(took.map(|took| took as f64 / frames));
            floor_ns.push(of_floor);
            engine_ns.push(of_engine);
        }
        if !known {
            next_flows(&mut load.tape, &mut floor);
        }
    }
    let counted = Counted::between(&before, subject.counters());
    let stages = stages::measure(&load.tape, median(&engine_ns), rounds.min(7));
    let mut latency = histogram();
    subject.run_noting(&mut load.tape, LATENCY_BATCH, &mut latency);
    let ratios: Vec<f64> =
        engine_ns.iter().zip(&floor_ns).map(|(engine, floor)| engine / floor).collect();
    MixFigures {
        mix: load.name,
        flows: subject.flows(),
        frames: load.tape.len(),
        frame_bytes: load.tape.frame_bytes() as f64 / frames,
        new_flows_share: counted.flows,
        forwarded_share: counted.forwarded,
        held_share: counted.held,
        dropped_share: counted.dropped,
        engine_ns: Spread::over(&engine_ns),
        floor_ns: Spread::over(&floor_ns),
        ratio: median(&ratios),
        flow_bytes,
        allocations_per_thousand: allocations as f64 * 1000.0 / frames / rounds.max(1) as f64,
        engine_cycles: (!cycles.is_empty()).then(|| median(&cycles)),
        latency: PERCENTILES
            .into_iter()
            .map(|percent| Percentile { percent, ns: latency.value_at_percentile(percent) })
            .collect(),
        stages,
    }
}

/// Brings new flows; the floor knows them beforehand.
fn next_flows(tape: &mut Tape, floor: &mut Floor) {
    tape.turn();
    floor.clear();
    tape.frames().for_each(|frame| floor.admit(frame));
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
    let (before, held) = (clock::thread_ns(), allocations::bytes_held());
    let policy = Arc::new(rules.compile()?);
    let compile_ms = clock::thread_ns().saturating_sub(before) as f64 / 1e6;
    let compiled_bytes = usize::try_from(allocations::bytes_held() - held).unwrap_or(0);
    let Load { mut tape, room, gap, settling, .. } = Load::of_mix(Mix::Storm, &rules, plan.frames);
    let mut subject = Subject::new(&policy, room, gap);
    subject.settle(&mut tape, settling);
    let frames = tape.len().max(1) as f64;
    let mut ns = Vec::new();
    for _ in 0..plan.rounds.clamp(3, 7) {
        ns.push(subject.run(&mut tape) as f64 / frames);
        tape.turn();
    }
    Ok(RuleFigures { rules: count, storm_ns: median(&ns), compile_ms, compiled_bytes })
}
