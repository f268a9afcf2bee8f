//! Figures as tables for a terminal of 80 columns.

use crate::bench::figures::{Figures, LATENCY_BATCH, MixFigures, WorkerFigures};
use std::fmt::Write;

/// Everything that was measured.
#[must_use]
pub fn text(figures: &Figures) -> String {
    let mut text = String::new();
    let out = &mut text;
    let Figures { processor, cores, rules, rounds, .. } = figures;
    let _ = writeln!(out, "{processor}, {cores} cores; {rules} five-tuple rules, 10000 names");
    let _ = writeln!(
        out,
        "one core, medians of {rounds} rounds, engine and floor in turn; CPU time of the thread\n"
    );
    mixes(out, &figures.mixes);
    latency(out, &figures.mixes);
    stages(out, &figures.mixes);
    if !figures.by_rules.is_empty() {
        let _ = writeln!(out, "\n    rules  ns a new flow  ms to compile  KiB compiled");
        for by in &figures.by_rules {
            let _ = writeln!(
                out,
                "{:>9} {:>14.1} {:>14.1} {:>13}",
                by.rules,
                by.storm_ns,
                by.compile_ms,
                by.compiled_bytes.div_ceil(1024),
            );
        }
    }
    workers(out, &figures.workers);
    for left_out in &figures.left_out {
        let _ = writeln!(out, "\nleft out: {left_out}");
    }
    text
}

fn mixes(out: &mut String, mixes: &[MixFigures]) {
    let _ = writeln!(
        out,
        "mix            flows  bytes  floor ns  engine ns  ratio   Mpps  Gbit/s  B/flow"
    );
    for mix in mixes {
        let weight = mix.flow_bytes.map_or_else(|| "-".to_owned(), |bytes| format!("{bytes:.0}"));
        let _ = writeln!(
            out,
            "{:<11} {:>8} {:>6.0} {:>9.1} {:>10.1} {:>6.2} {:>6.1} {:>7.1} {:>7}",
            mix.mix,
            mix.flows,
            mix.frame_bytes,
            mix.floor_ns.median,
            mix.engine_ns.median,
            mix.ratio,
            mix.millions(),
            mix.gigabits(),
            weight,
        );
    }
}

fn latency(out: &mut String, mixes: &[MixFigures]) {
    let _ =
        writeln!(out, "\nus in the engine of a batch of {LATENCY_BATCH} frames; share of frames");
    let _ = writeln!(
        out,
        "mix              p50     p90     p99   p99.9     max   new  forward  held  drop"
    );
    for mix in mixes {
        let at = |percent: f64| {
            let point = mix.latency.iter().find(|point| point.percent >= percent);
            point.map_or(0.0, |point| point.ns as f64 / 1000.0)
        };
        let _ = writeln!(
            out,
            "{:<11} {:>8.1} {:>7.1} {:>7.1} {:>7.1} {:>7.0} {:>5} {:>8} {:>5} {:>5}",
            mix.mix,
            at(50.0),
            at(90.0),
            at(99.0),
            at(99.9),
            at(100.0),
            percent(mix.new_flows_share),
            percent(mix.forwarded_share),
            percent(mix.held_share),
            percent(mix.dropped_share),
        );
    }
}

fn stages(out: &mut String, mixes: &[MixFigures]) {
    let Some(first) = mixes.first() else { return };
    let _ = write!(out, "\nns a frame ");
    for stage in &first.stages {
        let _ = write!(out, " {:>14}", stage.stage);
    }
    let _ = writeln!(out, "  allocs");
    for mix in mixes {
        let _ = write!(out, "{:<11}", mix.mix);
        for stage in &mix.stages {
            let _ = write!(out, " {:>7.1} {:>6}", stage.ns, percent(stage.share));
        }
        let _ = writeln!(out, " {:>7.3}", mix.allocations_per_thousand / 1000.0);
    }
    let readable = mixes.iter().filter_map(|mix| Some((&mix.mix, mix.engine_cycles?)));
    for (at, (mix, cycles)) in readable.enumerate() {
        let _ = write!(out, "{}", if at == 0 { "\ncycles a frame\n" } else { "" });
        let _ = writeln!(out, "{mix:<11} {cycles:>14.1}");
    }
}

fn workers(out: &mut String, workers: &[WorkerFigures]) {
    if workers.is_empty() {
        return;
    }
    let _ = writeln!(out, "\nworkers  mix          Mpps, own flows     x  Mpps, pipeline");
    for by in workers {
        let one = workers.iter().find(|one| one.mix == by.mix && one.workers == 1);
        let more = one.map_or(0.0, |one| by.sharded_per_second / one.sharded_per_second.max(1.0));
        let pipeline = by
            .pipeline_per_second
            .map_or_else(|| "-".to_owned(), |rate| format!("{:.1}", rate / 1e6));
        let _ = writeln!(
            out,
            "{:>7}  {:<11} {:>16.1} {:>5.2} {:>15}",
            by.workers,
            by.mix,
            by.sharded_per_second / 1e6,
            more,
            pipeline,
        );
    }
}

fn percent(share: f64) -> String {
    format!("{:.0}%", share * 100.0)
}
