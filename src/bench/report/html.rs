//! One page that needs nothing but itself: a table and plots, light or dark as the reader has it.

use super::plot::{Line, Plot, short};
use crate::bench::figures::{Figures, LATENCY_BATCH, MixFigures};
use std::fmt::Write;

const HEAD: &str = "<!doctype html>
<html lang=\"en\">
<meta charset=\"utf-8\">
<meta name=\"viewport\" content=\"width=device-width\">
<title>lockgate bench</title>
<style>
:root { color-scheme: light dark; --ink: #1c2430; --soft: #5d6878; --paper: #ffffff;
  --rule: #dde2e9; --c0: #0b62c4; --c1: #b4530a; --c2: #0f7b4d; --c3: #8a2be2; --c4: #b3123f;
  --c5: #5d6878; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e9f0; --soft: #9aa6b6; --paper: #12161c;
  --rule: #2c3540; --c0: #6db3ff; --c1: #ffb067; --c2: #5fd39b; --c3: #c79bff; --c4: #ff8aa5;
  --c5: #9aa6b6; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
  max-width: 1180px; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.1rem; margin: 0 0 .4rem; }
p { color: var(--soft); margin: .2rem 0 1rem; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 480px), 1fr));
  gap: 2rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; margin: 0 0 2rem; font-variant-numeric: tabular-nums;
  width: 100%; }
th, td { text-align: right; padding: .3rem .7rem; border-bottom: 1px solid var(--rule);
  white-space: nowrap; }
th { color: var(--soft); font-weight: 500; } th:first-child, td:first-child { text-align: left; }
svg { width: 100%; height: auto; } .grid { stroke: var(--rule); }
.tick { fill: var(--soft); font-size: 11px; } .axis { fill: var(--soft); font-size: 12px; }
.line { fill: none; stroke-width: 2; stroke: var(--c); } .dot { fill: var(--c); }
.s0 { --c: var(--c0); } .s1 { --c: var(--c1); } .s2 { --c: var(--c2); } .s3 { --c: var(--c3); }
.s4 { --c: var(--c4); } .s5 { --c: var(--c5); }
.legend { margin: 0; } .key { margin-right: 1rem; white-space: nowrap; }
.key::before { content: \"\"; display: inline-block; width: .8rem; height: .2rem;
  margin-right: .4rem; vertical-align: middle; background: var(--c); }
</style>
";

/// The page.
#[must_use]
pub fn page(figures: &Figures) -> String {
    let mut page = String::from(HEAD);
    let Figures { processor, cores, rules, rounds, .. } = figures;
    let _ = writeln!(
        page,
        "<h1>lockgate bench</h1>\n<p>{}, {cores} cores. {rules} five-tuple rules and 10 000 names \
         in force. Medians of {rounds} rounds in which engine and floor took turns; CPU time of \
         the thread. The floor parses, looks one flow up, counts and turns the frame around: the \
         least that a stateful forwarder does.</p>",
        escape(processor)
    );
    table(&mut page, &figures.mixes);
    page.push_str("<div class=\"plots\">\n");
    for (title, note, plot) in plots(figures) {
        if plot.lines.iter().all(|line| line.points.len() < 2) {
            continue;
        }
        let _ = writeln!(
            page,
            "<section><h2>{title}</h2><p>{note}</p>\n{}{}</section>",
            plot.legend(),
            plot.svg()
        );
    }
    page.push_str("</div>\n</html>\n");
    page
}

fn table(page: &mut String, mixes: &[MixFigures]) {
    page.push_str(
        "<div class=\"wide\"><table><tr><th>mix<th>flows<th>bytes a frame<th>floor, ns<th>engine, \
         ns<th>engine / floor<th>million a second<th>Gbit/s<th>bytes a flow<th>new \
         flows<th>allocations<th>cycles</tr>\n",
    );
    for mix in mixes {
        let weight = mix.flow_bytes.map_or_else(|| "–".to_owned(), |bytes| format!("{bytes:.0}"));
        let cycles =
            mix.engine_cycles.map_or_else(|| "–".to_owned(), |count| format!("{count:.0}"));
        let _ = writeln!(
            page,
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
    page.push_str("</table></div>\n");
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

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
