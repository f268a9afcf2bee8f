//! Ports beside the least that reflects, in the same namespaces in one run: CPU time a frame of the
//! thread at the target, frames a second, and the time of a round trip. Needs root.
//!
//! The gateway is a port too, which turns every frame round: frames put in once go to and fro for ever,
//! and their number is the number in flight. `cargo bench --bench live` (`LIVE_SECONDS`, 1 if unset,
//! for each figure).

mod bare;
#[path = "../../tests/netns/lab.rs"]
#[expect(dead_code, reason = "shared with the tests, which use all of it")]
mod lab;

use lab::Wire;
use lockgate::engine::{Engine, Frame, Limits, Output};
use lockgate::flow::Secret;
use lockgate::io::live::{Backend, Port, PortSettings, open};
use lockgate::model::{EndpointId, Protocol, Timestamp, Verdict};
use lockgate::ruleset::{self, Options};
use lockgate::synth::gwlb::Encapsulation;
use lockgate::synth::packet;
use lockgate::wire::Settings;
use pnet::datalink::{self, Channel};
use rustix::thread::{CpuSet, sched_setaffinity};
use rustix::time::{ClockId, clock_gettime};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

const WAIT: Duration = Duration::from_millis(20);
const RULES: &str = "
lockgate: 1
segments:
  acme: { kind: partner, endpoints: [vpce-00000000000000007], networks: [10.1.0.0/16] }
  shop: { kind: workload, networks: [10.2.0.0/16] }
policies:
  - { from: acme, to: shop, rules: [{ id: all, action: allow, protocol: udp }], otherwise: deny }
";

/// What stands at the target.
#[derive(Clone, Copy, PartialEq)]
enum Subject {
    /// The least there is.
    Bare,
    /// A port that turns every frame round.
    Port(Backend),
    /// A port and the engine, all flows allowed and known.
    Engine(Backend),
}

struct Figures {
    frames: u64,
    cpu_us: f64,
    wall: Duration,
    /// Round trips, in nanoseconds, sorted.
    trips: Vec<u64>,
}

fn cpu() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

fn wall() -> Duration {
    let now = clock_gettime(ClockId::Monotonic);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

fn pin(core: usize) {
    let mut set = CpuSet::new();
    set.set(core);
    // Figures are only less steady without.
    let _ = sched_setaffinity(None, &set);
}

fn turn(frames: &mut [Frame<'_>]) {
    for frame in frames {
        if let Some(addresses) = frame.bytes.get_mut(..34) {
            addresses[..12].rotate_left(6);
            addresses[26..34].rotate_left(4);
            frame.verdict = Verdict::Forward;
        }
    }
}

/// Works until it is told to stop; gives frames and CPU time of those after `count` was set.
fn work(
    port: &mut dyn Port,
    stop: &AtomicBool,
    count: &AtomicBool,
    judge: &mut dyn FnMut(Timestamp, &mut [Frame<'_>], &mut Output),
) -> (u64, Duration) {
    let (mut frames, mut from) = (0, None);
    while !stop.load(Ordering::Relaxed) {
        if from.is_none() && count.load(Ordering::Relaxed) {
            from = Some(cpu());
        }
        let done = port.exchange(WAIT, judge).expect("the port works");
        frames += if from.is_some() { done.received as u64 } else { 0 };
    }
    (frames, cpu() - from.unwrap_or_default())
}

fn engine() -> Engine {
    let loaded = match ruleset::load_text("rules.yaml", RULES, &Options::default()) {
        Ok(loaded) => loaded,
        Err(refused) => panic!("{refused}"),
    };
    let limits = Limits { flows: 1 << 16, ..Limits::default() };
    Engine::new(Arc::new(loaded.policy), limits, Settings::GWLB, Secret::new(1, 2))
}

fn at_target(
    wire: &Wire,
    subject: Subject,
    [stop, count, ready]: [&AtomicBool; 3],
) -> (u64, Duration) {
    let port = |backend| {
        let settings = PortSettings { backend, ..PortSettings::on("fw0") };
        wire.target.run(|| open(&settings)).expect("a port").ports.remove(0)
    };
    pin(1);
    match subject {
        Subject::Bare => {
            wire.target.enter();
            let _taken = std::net::UdpSocket::bind("10.99.0.2:6081").expect("the port is free");
            let all = datalink::interfaces();
            let index = all.iter().find(|one| one.name == "fw0").expect("fw0").index;
            let reflector = bare::open(index);
            ready.store(true, Ordering::Relaxed);
            let from = cpu();
            (bare::reflect(reflector, stop), cpu() - from)
        }
        Subject::Port(backend) => {
            let mut port = port(backend);
            ready.store(true, Ordering::Relaxed);
            work(port.as_mut(), stop, count, &mut |_, frames, _| turn(frames))
        }
        Subject::Engine(backend) => {
            let (mut port, mut engine) = (port(backend), engine());
            ready.store(true, Ordering::Relaxed);
            work(port.as_mut(), stop, count, &mut |_, frames, out| {
                engine.process(frames, out);
                out.events.clear();
            })
        }
    }
}

/// Puts so many frames in, each of a flow of its own.
fn inject(wire: &Wire, frames: u16, payload: usize) {
    wire.gateway.run(|| {
        let all = datalink::interfaces();
        let interface = all.iter().find(|one| one.name == "gw0").expect("gw0");
        let config = datalink::Config { write_buffer_size: 1 << 14, ..datalink::Config::default() };
        let Ok(Channel::Ethernet(mut sender, _)) = datalink::channel(interface, config) else {
            panic!("no channel");
        };
        let (src, dst) = ("10.1.0.10".parse().unwrap(), "10.2.0.20".parse().unwrap());
        for port in 0..frames {
            let tuple = packet::tuple((src, 1000 + port), (dst, 53), Protocol::UDP);
            let inner = packet::udp(&tuple, &vec![0x5a; payload]);
            let frame = Encapsulation::of(EndpointId(7)).wrap(&inner);
            sender.send_to(&frame, None).expect("sent").expect("sent");
        }
    });
}

fn measure(subject: Subject, in_flight: u16, payload: usize, seconds: u64) -> Figures {
    let wire = Wire::make(9001, 1).expect("network namespaces, which need root");
    let settings = PortSettings { backend: Backend::AfPacket, ..PortSettings::on("gw0") };
    let mut gateway = wire.gateway.run(|| open(&settings)).expect("a port").ports.remove(0);
    let [stop, count, ready] = [const { AtomicBool::new(false) }; 3];
    let trips = AtomicU64::new(0);
    std::thread::scope(|scope| {
        let target = scope.spawn(|| at_target(&wire, subject, [&stop, &count, &ready]));
        let gateway = scope.spawn(|| {
            pin(0);
            let (mut times, mut last) = (Vec::with_capacity(1 << 20), wall());
            work(gateway.as_mut(), &stop, &count, &mut |_, frames, _| {
                turn(frames);
                let now = wall();
                if !frames.is_empty() && times.len() < times.capacity() {
                    times.push((now - last).as_nanos() as u64);
                }
                last = if frames.is_empty() { last } else { now };
                trips.fetch_add(frames.len() as u64, Ordering::Relaxed);
            });
            times
        });
        while !ready.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(5));
        }
        inject(&wire, in_flight, payload);
        std::thread::sleep(Duration::from_millis(150));
        count.store(true, Ordering::Relaxed);
        let (from, before) = (wall(), trips.load(Ordering::Relaxed));
        std::thread::sleep(Duration::from_secs(seconds));
        let (wall, frames) = (wall() - from, trips.load(Ordering::Relaxed) - before);
        stop.store(true, Ordering::Relaxed);
        let (judged, cpu) = target.join().expect("it did not panic");
        let mut trips = gateway.join().expect("it did not panic");
        trips.sort_unstable();
        let cpu_us = cpu.as_secs_f64() * 1e6 / judged.max(1) as f64;
        Figures { frames, cpu_us, wall, trips }
    })
}

fn main() {
    // `cargo test` builds and runs benches without the argument `--bench`.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let seconds = std::env::var("LIVE_SECONDS").ok().and_then(|s| s.parse().ok()).unwrap_or(1);
    let subjects = [
        ("bare ring (TPACKET_V3)", Subject::Bare),
        ("af-packet, reflecting", Subject::Port(Backend::AfPacket)),
        ("af-packet, engine", Subject::Engine(Backend::AfPacket)),
        ("af-xdp, reflecting", Subject::Port(Backend::AfXdp)),
        ("af-xdp, engine", Subject::Engine(Backend::AfXdp)),
    ];
    println!(
        "{:24} {:>8} {:>6} {:>10} {:>8} {:>9} {:>9}",
        "subject", "in flight", "bytes", "frames/s", "CPU us", "p50 us", "p99.9 us"
    );
    for (in_flight, payload) in [(1, 32), (32, 32), (192, 32), (192, 1372), (192, 8472)] {
        for (name, subject) in subjects {
            let figures = measure(subject, in_flight, payload, seconds);
            let rate = figures.frames as f64 / figures.wall.as_secs_f64();
            let at = |part: f64| {
                let index = (figures.trips.len() as f64 * part) as usize;
                figures.trips.get(index).map_or(f64::NAN, |nanos| *nanos as f64 / 1e3)
            };
            let (p50, p999) =
                if in_flight == 1 { (at(0.5), at(0.999)) } else { (f64::NAN, f64::NAN) };
            println!(
                "{name:24} {in_flight:>8} {:>6} {rate:>10.0} {:>8.2} {p50:>9.1} {p999:>9.1}",
                payload + 28,
                figures.cpu_us
            );
        }
    }
}
