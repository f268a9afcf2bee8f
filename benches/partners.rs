//! Three hundred partners as one instance has them: how long their ruleset takes to load, what it and its
//! flows take in memory, and what the first packets of their flows cost, beside one partner alone.

#![expect(clippy::disallowed_methods, reason = "a measurement reads the clock")]
#![expect(clippy::unwrap_used, reason = "a measurement may stop where it stands")]

use lockgate::engine::{Engine, Frame, Limits, Output};
use lockgate::flow::Secret;
use lockgate::model::{EndpointId, FiveTuple, Protocol, Timestamp, TlsVersion};
use lockgate::policy::Policy;
use lockgate::ruleset::{self, Date, Options};
use lockgate::synth::conversation::Conversation;
use lockgate::synth::gwlb::Encapsulation;
use lockgate::synth::ruleset::{Size, ruleset as generate};
use lockgate::synth::speech::Speech;
use lockgate::wire::{Link, Settings};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

/// Rules and names of each partner.
const RULES: usize = 30;
const NAMES: usize = 100;
/// Flows of one run, over all partners.
const FLOWS: usize = 120_000;
/// Runs, of which the fastest counts: others had more of the machine taken from them.
const RUNS: usize = 9;
/// Compiled policies that are kept to see what one takes.
const COPIES: usize = 8;
const BATCH: usize = 32;

/// Writes the ruleset below the build folder.
fn written(partners: usize) -> PathBuf {
    let root = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("partners-{partners}"));
    let size = Size { partners, rules: partners * RULES, names: 1_000, own_names: NAMES };
    for (path, text) in generate(size) {
        let path = root.join(path);
        let folder = path.parent().map(PathBuf::from).unwrap_or_default();
        std::fs::create_dir_all(folder).unwrap();
        std::fs::write(path, text).unwrap();
    }
    root
}

/// Resident memory of this process, in KiB.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|rest| rest.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
}

/// Nanoseconds this thread has run on a processor: what others take of the machine does not count.
fn ran() -> u64 {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    told.split(' ').next().and_then(|ns| ns.parse().ok()).unwrap_or(0)
}

/// A kind of flow, and which of its packets are measured.
struct Kind {
    name: &'static str,
    port: u16,
    protocol: Protocol,
    /// The packet of the conversation that is measured; those before it are given unmeasured.
    packet: usize,
}

const KINDS: [Kind; 4] = [
    Kind {
        name: "SYN of a flow that waits for its name",
        port: 443,
        protocol: Protocol::TCP,
        packet: 0,
    },
    Kind {
        name: "SYN that is rejected by its port",
        port: 2007,
        protocol: Protocol::TCP,
        packet: 0,
    },
    Kind {
        name: "ClientHello with one of 100 names",
        port: 443,
        protocol: Protocol::TCP,
        packet: 3,
    },
    Kind { name: "DNS question over UDP", port: 53, protocol: Protocol::UDP, packet: 0 },
];

/// The packet of every flow, one after another over all partners.
fn packets(kind: &Kind, partners: usize, packet: usize) -> Vec<Vec<u8>> {
    let mut all = Vec::with_capacity(FLOWS);
    for flow in 0..FLOWS {
        let partner = flow % partners;
        let own = flow / partners;
        let name = match kind.protocol {
            Protocol::UDP => "api.payments.example".to_owned(),
            _ => format!("n{}.own.p{partner}.example.org", own % NAMES),
        };
        let [_, _, high, low] = u32::try_from(own / 20_000 + 1).unwrap().to_be_bytes();
        let tuple = FiveTuple {
            src: IpAddr::from([10, 20, high, low]).into(),
            dst: IpAddr::from(if kind.port == 53 { [10, 53, 0, 2] } else { [10, 100, 1, 7] })
                .into(),
            src_port: u16::try_from(20_000 + own % 20_000).unwrap(),
            dst_port: kind.port,
            protocol: kind.protocol,
        };
        let speech = match kind.protocol {
            Protocol::UDP => Speech::Dns { name: &name, answer: None },
            _ => Speech::Tls { name: Some(&name), version: TlsVersion(0x0304), certificate: None },
        };
        let said = Conversation { tuple, icmp: None, proxy: None, speech }.packets();
        let endpoint = EndpointId(u64::try_from(partner).unwrap());
        all.push(Encapsulation::of(endpoint).wrap(&said[packet]));
    }
    all
}

/// Gives every frame; nanoseconds a frame.
fn give(engine: &mut Engine, frames: &mut [Vec<u8>], out: &mut Output, at: Timestamp) -> f64 {
    let count = frames.len();
    let before = ran();
    for part in frames.chunks_mut(BATCH) {
        let mut batch: Vec<Frame<'_>> =
            part.iter_mut().map(|bytes| Frame::new(at, Link::Ethernet, 0, bytes)).collect();
        engine.process(&mut batch, out);
        out.clear();
    }
    ran().saturating_sub(before) as f64 / count as f64
}

fn engine(policy: &Arc<Policy>) -> Engine {
    let limits = Limits { flows: 200_000, ..Limits::default() };
    Engine::new(Arc::clone(policy), limits, Settings::GWLB, Secret::new(1, 2))
}

fn measure(kind: &Kind, partners: usize, policy: &Arc<Policy>) -> (f64, usize) {
    let mut before: Vec<Vec<Vec<u8>>> =
        (0..kind.packet).map(|packet| packets(kind, partners, packet)).collect();
    let measured = packets(kind, partners, kind.packet);
    let (mut costs, mut flows) = (Vec::new(), 0);
    for run in 0..RUNS {
        let mut engine = engine(policy);
        let mut out = Output::default();
        let at = Timestamp::from_secs(1_800_000_000);
        // A frame comes back with its outer addresses swapped, which the next run does not mind.
        for frames in &mut before {
            give(&mut engine, frames, &mut out, at);
        }
        let mut frames = measured.clone();
        costs.push(give(&mut engine, &mut frames, &mut out, at));
        flows = engine.flows();
        assert!(flows == FLOWS, "{}: {flows} flows in run {run}", kind.name);
    }
    costs.sort_by(f64::total_cmp);
    (costs[0], flows)
}

fn main() {
    // `cargo test --benches` only asks whether it runs.
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    let options = Options { today: Date::parse_day("2027-01-01"), ..Options::default() };
    let mut policies = Vec::new();
    for partners in [1, 300] {
        let folder = written(partners);
        let before = resident();
        let start = Instant::now();
        let loaded = ruleset::load(&folder, &options).unwrap_or_else(|refused| panic!("{refused}"));
        let took = start.elapsed();
        let whole = resident().saturating_sub(before);
        let loaded_at = resident();
        let copies: Vec<Policy> =
            (0..COPIES).map(|_| Policy::compile(&loaded.spec, None).unwrap()).collect();
        let compiled = resident().saturating_sub(loaded_at) / copies.len();
        let policy = Arc::new(Policy::compile(&loaded.spec, None).unwrap());
        println!(
            "{partners} partners, {} rules, {} names: read, proved and compiled in {:.0} ms; {whole} KiB with texts and places, of which a compiled policy is {compiled} KiB",
            partners * RULES,
            partners * NAMES,
            took.as_secs_f64() * 1e3,
        );
        policies.push((partners, policy));
    }
    let before = resident();
    let mut empty = engine(&policies[1].1);
    let mut out = Output::default();
    let mut frames = packets(&KINDS[0], 300, 0);
    let held = resident();
    give(&mut empty, &mut frames, &mut out, Timestamp::from_secs(1_800_000_000));
    let filled = resident().saturating_sub(held);
    println!(
        "an engine for 200000 flows, {FLOWS} flows in it: {filled} KiB more than before, frames left aside ({before} KiB before)"
    );
    drop((empty, frames));
    println!("{:<40} {:>14} {:>14}", "first packets, ns each", "1 partner", "300 partners");
    for kind in &KINDS {
        let costs: Vec<f64> =
            policies.iter().map(|(partners, policy)| measure(kind, *partners, policy).0).collect();
        println!("{:<40} {:>14.0} {:>14.0}", kind.name, costs[0], costs[1]);
    }
}
