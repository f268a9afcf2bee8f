//! The figures as one page that needs nothing but itself: a table and plots.

use super::plot::{Line, Plot, short};
use crate::bench::figures::{Figures, LATENCY_BATCH, MixFigures};
use crate::observe::page::{self, escaped};
use std::fmt::Write;

/// The page.
#[must_use]
pub fn page(figures: &Figures) -> String {
    let mut out = page::begin("lockgate bench");
    let Figures { processor, cores, rules, rounds, .. } = figures;
    let _ = writeln!(
        out,
        "<header>\n<h1>lockgate bench</h1>\n<p class=\"lead\">{}, {cores} cores. {rules} five-tuple \
         rules and 10 000 names in force. Medians of {rounds} rounds in which engine and floor took \
         turns; CPU time of the thread. The floor parses, looks one flow up, counts and turns the \
         frame around: the least that a stateful forwarder does.</p>\n</header>\n<main>",
        escaped(processor)
    );
    table(&mut out, &figures.mixes);
    out.push_str("<div class=\"plots\">\n");
    for (title, note, plot) in plots(figures) {
        if plot.lines.iter().all(|line| line.points.len() < 2) {
            continue;
        }
        let _ = writeln!(
            out,
            "<section>\n<h2>{title}</h2>\n<p class=\"lead\">{note}</p>\n{}{}</section>",
            plot.legend(),
            plot.svg()
        );
    }
    out.push_str("</div>\n</main>\n");
    page::end(&mut out, "");
    out
}

fn table(out: &mut String, mixes: &[MixFigures]) {
    out.push_str(
        "<section>\n<div class=\"scroll\"><table class=\"figures\">\n<thead><tr><th>mix<th>flows<th>bytes a frame<th>floor, ns<th>engine, \
         ns<th>engine / floor<th>million a second<th>Gbit/s<th>bytes a flow<th>new \
         flows<th>allocations<th>cycles</tr></thead>\n<tbody>\n",
    );
    for mix in mixes {
        let weight = mix.flow_bytes.map_or_else(|| "–".to_owned(), |bytes| format!("{bytes:.0}"));
        let cycles =
            mix.engine_cycles.map_or_else(|| "–".to_owned(), |count| format!("{count:.0}"));
        let _ = writeln!(
            out,
            "<tr><td>{}<td>{}<td>{:.0}<td>{:.1}<td>{:.1}<td>{:.2}<td>{:.1}<td>{:.1}<td>{weight}\
             <td>{:.0} %<td>{:.3}<td>{cycles}</tr>",
            mix.mix,
            short(mix.flows as f64),
            mix.frame_bytes,
            mix.floor_ns.median,
            mix.engine_ns.median,
            mix.ratio,
            mix.millions(),
            mix.gigabits(),
            mix.new_flows_share * 100.0,
            mix.allocations_per_thousand / 1000.0,
        );
    }
    out.push_str("</tbody></table></div>\n</section>\n");
}

fn plots(figures: &Figures) -> Vec<(&'static str, String, Plot<'static>)> {
    vec![
        (
            "By flows",
            "64-byte UDP packets of flows drawn at random".to_owned(),
            by_flows(&figures.mixes),
        ),
        (
            "By rules",
            "a new TCP connection: set up, judged, forgotten".to_owned(),
            by_rules(figures),
        ),
        (
            "By workers",
            "each worker has the frames of its own flows".to_owned(),
            by_workers(figures),
        ),
        (
            "Latency",
            format!("time in the engine of a batch of {LATENCY_BATCH} frames"),
            latency(&figures.mixes),
        ),
    ]
}

fn by_flows(mixes: &[MixFigures]) -> Plot<'static> {
    let small: Vec<_> = mixes.iter().filter(|mix| mix.mix.starts_with("udp64")).collect();
    let line = |name: &str, value: fn(&MixFigures) -> f64| Line {
        name: name.to_owned(),
        points: small.iter().map(|mix| ((mix.flows as f64).log10(), value(mix))).collect(),
    };
    Plot {
        x: "flows",
        y: "ns a packet",
        ticks: small
            .iter()
            .map(|mix| ((mix.flows as f64).log10(), short(mix.flows as f64)))
            .collect(),
        lines: vec![
            line("engine", |mix| mix.engine_ns.median),
            line("floor", |mix| mix.floor_ns.median),
        ],
        log: false,
    }
}

fn by_rules(figures: &Figures) -> Plot<'static> {
    let at = |rules: usize| (rules as f64).log10();
    Plot {
        x: "five-tuple rules",
        y: "ns a new flow",
        ticks: figures.by_rules.iter().map(|by| (at(by.rules), short(by.rules as f64))).collect(),
        lines: vec![Line {
            name: "connection storm".to_owned(),
            points: figures.by_rules.iter().map(|by| (at(by.rules), by.storm_ns)).collect(),
        }],
        log: false,
    }
}

fn by_workers(figures: &Figures) -> Plot<'static> {
    let mut lines: Vec<Line> = Vec::new();
    for by in &figures.workers {
        let point = (by.workers as f64, by.sharded_per_second / 1e6);
        match lines.iter_mut().find(|line| line.name == by.mix) {
            Some(line) => line.points.push(point),
            None => lines.push(Line { name: by.mix.clone(), points: vec![point] }),
        }
    }
    let most = figures.workers.iter().map(|by| by.workers).max().unwrap_or(1);
    Plot {
        x: "workers",
        y: "million packets a second",
        ticks: (1..=most).map(|count| (count as f64, count.to_string())).collect(),
        lines,
        log: false,
    }
}

fn latency(mixes: &[MixFigures]) -> Plot<'static> {
    let shown = ["udp64-1k", "udp64-1m", "imix", "enterprise", "storm", "dns"];
    let lines = mixes.iter().filter(|mix| shown.contains(&mix.mix.as_str())).map(|mix| Line {
        name: mix.mix.clone(),
        points: mix
            .latency
            .iter()
            .filter(|point| point.percent < 100.0)
            .map(|point| (nines(point.percent), point.ns as f64 / 1000.0))
            .collect(),
    });
    Plot {
        x: "percentile",
        y: "microseconds",
        ticks: [50.0, 90.0, 99.0, 99.9, 99.99].map(|p| (nines(p), p.to_string())).into(),
        lines: lines.collect(),
        log: true,
    }
}

/// Percentiles so that each nine takes as much room as the one before.
fn nines(percent: f64) -> f64 {
    -(1.0 - percent / 100.0).log10()
}
