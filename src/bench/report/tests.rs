//! The shape of reports: figures that were never measured, held against files that read well in a diff.

use super::*;
use crate::bench::figures::{
    MixFigures, PERCENTILES, Percentile, RuleFigures, Spread, StageFigures, WorkerFigures,
};
use std::path::Path;

fn spread(median: f64) -> Spread {
    Spread { least: median * 0.9, median, most: median * 1.2 }
}

fn mix(word: &str, flows: usize, floor: f64, engine: f64) -> MixFigures {
    let fresh = matches!(word, "storm" | "dns");
    let latency = PERCENTILES.into_iter().zip(1..);
    let latency = latency.map(|(percent, step)| Percentile { percent, ns: 900 * step * step });
    let parts = [("headers", 10.0), ("key and hash", 4.0), ("flow table", 12.0)];
    let stages = parts.into_iter().chain([("judgement", engine - 26.0)]);
    MixFigures {
        mix: word.to_owned(),
        flows,
        frames: 1 << 20,
        frame_bytes: 146.0,
        new_flows_share: if fresh { 1.0 } else { 0.0 },
        forwarded_share: 1.0,
        held_share: 0.0,
        dropped_share: 0.0,
        engine_ns: spread(engine),
        floor_ns: spread(floor),
        ratio: engine / floor,
        flow_bytes: (flows > 50_000 && !fresh).then_some(145.0),
        allocations_per_thousand: if fresh { 2015.5 } else { 0.0 },
        engine_cycles: (flows > 50_000).then_some(engine * 2.6),
        latency: latency.collect(),
        stages: stages.map(|(stage, ns)| StageFigures { stage, ns, share: ns / engine }).collect(),
    }
}

fn sample() -> Figures {
    let worker = |workers, rate| WorkerFigures {
        mix: "imix".to_owned(),
        workers,
        sharded_per_second: rate,
        pipeline_per_second: Some(rate / 4.0),
    };
    Figures {
        processor: "Processor <of a test>".to_owned(),
        cores: 2,
        rules: 10_000,
        rounds: 15,
        mixes: vec![
            mix("udp64-1k", 1_000, 16.0, 30.0),
            mix("udp64-1m", 1_000_000, 30.0, 45.0),
            mix("storm", 1_000_000, 32.0, 170.0),
        ],
        workers: vec![worker(1, 20e6), worker(2, 39e6)],
        by_rules: [(100, 120.0), (1_000, 130.0), (10_000, 150.0), (100_000, 170.0)]
            .map(|(rules, storm_ns)| RuleFigures {
                rules,
                storm_ns,
                compile_ms: 1.5,
                compiled_bytes: rules * 48,
            })
            .to_vec(),
        left_out: vec!["udp64-10m: needs 6 GiB of free memory".to_owned()],
    }
}

fn is_as_before(name: &str, found: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&file, found).unwrap();
    }
    let expected = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(expected == found, "UPDATE_GOLDEN=1 takes the new {name}:\n{found}");
}

#[test]
fn the_text_fits_eighty_columns_and_is_what_it_was() {
    let text = text(&sample());
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    is_as_before("bench.txt", &text);
}

#[test]
fn the_json_is_what_it_was() {
    is_as_before("bench.json", &(json(&sample()) + "\n"));
}

#[test]
fn the_page_is_what_it_was_needs_nothing_else_and_escapes_what_it_is_told() {
    let page = page(&sample());
    assert!(!page.contains("http:") && !page.contains("https:") && !page.contains("<script"));
    assert!(page.contains("Processor &lt;of a test&gt;"));
    assert_eq!(page.matches("<svg").count(), 4);
    // All pages share one style, which says nothing of these figures.
    let (style, body) = (page.find("<style>").unwrap(), page.find("</style>").unwrap());
    is_as_before("bench.html", &format!("{}{}", &page[..style], &page[body..]));
}
