//! Ports beside the least that reflects, in the same namespaces in one run: CPU time a frame of the
//! thread at the target, frames a second, and the time of a round trip. Needs root.
//!
//! The gateway is a port too, which turns every frame round: frames put in once go to and fro for ever,
//! and their number is the number in flight. Each carries the time it left the gateway at. Subjects take
//! turns, and a figure is the median of its rounds: `cargo bench --bench live` (`LIVE_ROUNDS`, 5 if
//! unset, of `LIVE_SECONDS`, 1 if unset; `LIVE_ONLY=xdp` measures the subjects with that in their name,
//! `LIVE_SCENE=192x60` so many frames in flight of so many bytes).

mod bare;
mod bare_xdp;
#[path = "../../tests/netns/cards.rs"]
#[expect(dead_code, reason = "shared with the tests, which use all of it")]
mod cards;
#[path = "../../tests/netns/lab.rs"]
#[expect(dead_code, reason = "shared with the tests, which use all of it")]
mod lab;
mod report;

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
#[derive(Clone, Copy, Debug, PartialEq)]
enum Subject {
    /// The kernel, which routes every frame back. It works in the sender's time.
    Kernel,
    /// The least there is, of this kind.
    Bare(Backend),
    /// A port that turns every frame round.
    Port(Backend),
    /// A port and the engine, all flows allowed and known.
    Engine(Backend),
}

/// What one round told of a subject.
#[derive(Clone, Copy)]
struct Figures {
    frames_per_second: f64,
    cpu_us: f64,
    /// Half of the round trips take no longer, and all but a thousandth.
    p50_us: f64,
    p999_us: f64,
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

/// Where a frame has the time it left the gateway at: its last eight bytes.
fn stamp<'f>(frame: &'f mut Frame<'_>) -> Option<&'f mut [u8; 8]> {
    frame.bytes.last_chunk_mut::<8>()
}

/// Notes how long each frame was away, and when it leaves again.
fn note_trips(frames: &mut [Frame<'_>], trips: &mut Vec<u64>) {
    let now = wall().as_nanos() as u64;
    for stamp in frames.iter_mut().filter_map(stamp) {
        let left = u64::from_be_bytes(*stamp);
        if left != 0 && trips.len() < trips.capacity() {
            trips.push(now.saturating_sub(left));
        }
        *stamp = now.to_be_bytes();
    }
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
        Subject::Kernel => {
            let name = wire.target.name();
            let own = "net.ipv4.ip_forward=1 net.ipv4.conf.all.send_redirects=0 \
                       net.ipv4.conf.fw0.send_redirects=0 net.ipv4.conf.all.rp_filter=0";
            lab::must(&format!("ip netns exec {name} sysctl -qw {own}"));
            ready.store(true, Ordering::Relaxed);
            while !stop.load(Ordering::Relaxed) {
                std::thread::sleep(WAIT);
            }
            (0, Duration::ZERO)
        }
        Subject::Bare(kind) => {
            wire.target.enter();
            let _taken = std::net::UdpSocket::bind("10.99.0.2:6081").expect("the port is free");
            let all = datalink::interfaces();
            let index = all.iter().find(|one| one.name == "fw0").expect("fw0").index;
            if kind == Backend::AfXdp {
                let reflector = bare_xdp::open(index);
                ready.store(true, Ordering::Relaxed);
                let from = cpu();
                return (reflector.reflect(stop), cpu() - from);
            }
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

/// Turns frames round that the kernel has routed: addressed to the gateway, they go to the target's MAC
/// address again, with all the hops they had.
fn turn_routed(frames: &mut [Frame<'_>]) {
    for frame in frames {
        let Some(headers) = frame.bytes.get_mut(..34) else { continue };
        headers[..12].rotate_left(6);
        headers[22] = 255;
        headers[24..26].fill(0);
        let sum = lockgate::wire::Sum::default().bytes(&headers[14..34]).finish();
        headers[24..26].copy_from_slice(&sum);
        frame.verdict = Verdict::Forward;
    }
}

/// Puts so many frames in, each of a flow of its own.
fn inject(wire: &Wire, subject: Subject, frames: u16, payload: usize) {
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
            let mut data = vec![0x5a; payload];
            // No time yet; and no checksum, which times would make wrong (RFC 768: zero is none).
            data[payload - 8..].fill(0);
            let mut inner = packet::udp(&tuple, &data);
            inner[26..28].fill(0);
            let mut around = Encapsulation::of(EndpointId(7));
            if subject == Subject::Kernel {
                (around.gateway, around.target) = ([10, 98, 0, 1], around.gateway);
            }
            let frame = around.wrap(&inner);
            sender.send_to(&frame, None).expect("sent").expect("sent");
        }
    });
}

fn measure(subject: Subject, in_flight: u16, payload: usize, seconds: u64) -> Figures {
    let wire = Wire::make(9001, 1).expect("network namespaces, which need root");
    let settings = PortSettings { backend: Backend::AfPacket, ..PortSettings::on("gw0") };
    let mut gateway = wire.gateway.run(|| open(&settings)).expect("a port").ports.remove(0);
    let [stop, count, ready] = [const { AtomicBool::new(false) }; 3];
    let frames = AtomicU64::new(0);
    std::thread::scope(|scope| {
        let target = scope.spawn(|| at_target(&wire, subject, [&stop, &count, &ready]));
        let gateway = scope.spawn(|| {
            pin(0);
            let (mut trips, mut counting) = (Vec::with_capacity(1 << 20), false);
            work(gateway.as_mut(), &stop, &count, &mut |_, batch, _| {
                if subject == Subject::Kernel {
                    turn_routed(batch)
                } else {
                    turn(batch)
                }
                if !counting && count.load(Ordering::Relaxed) {
                    counting = true;
                    trips.clear();
                }
                note_trips(batch, &mut trips);
                frames.fetch_add(batch.len() as u64, Ordering::Relaxed);
            });
            trips
        });
        while !ready.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(5));
        }
        inject(&wire, subject, in_flight, payload);
        std::thread::sleep(Duration::from_millis(150));
        count.store(true, Ordering::Relaxed);
        let (from, before) = (wall(), frames.load(Ordering::Relaxed));
        std::thread::sleep(Duration::from_secs(seconds));
        let (took, done) = (wall() - from, frames.load(Ordering::Relaxed) - before);
        stop.store(true, Ordering::Relaxed);
        let (judged, cpu) = target.join().expect("it did not panic");
        let mut trips = gateway.join().expect("it did not panic");
        trips.sort_unstable();
        let trip = |part: f64| {
            let at = (trips.len() as f64 * part) as usize;
            trips.get(at).map_or(f64::NAN, |nanos| *nanos as f64 / 1e3)
        };
        Figures {
            frames_per_second: done as f64 / took.as_secs_f64(),
            cpu_us: cpu.as_secs_f64() * 1e6 / judged as f64,
            p50_us: trip(0.5),
            p999_us: trip(0.999),
        }
    })
}

fn number(variable: &str, usual: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

/// Whether a variable that chooses is unset or a part of this name.
fn chosen(variable: &str, name: &str) -> bool {
    let wanted = std::env::var(variable).unwrap_or_default();
    name.to_lowercase().contains(&wanted.to_lowercase())
}

fn main() {
    // `cargo test` builds and runs benches without the argument `--bench`.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let (rounds, seconds) = (number("LIVE_ROUNDS", 5), number("LIVE_SECONDS", 1));
    let mut subjects = vec![
        Subject::Kernel,
        Subject::Bare(Backend::AfPacket),
        Subject::Port(Backend::AfPacket),
        Subject::Engine(Backend::AfPacket),
        Subject::Bare(Backend::AfXdp),
        Subject::Port(Backend::AfXdp),
        Subject::Engine(Backend::AfXdp),
    ];
    subjects.retain(|subject| chosen("LIVE_ONLY", &report::name(*subject)));
    let mut scenes = vec![(1, 32), (32, 32), (192, 32), (192, 1372), (192, 8472)];
    scenes.retain(|(frames, payload)| chosen("LIVE_SCENE", &format!("{frames}x{}", payload + 28)));
    println!("{}", report::HEAD);
    for (in_flight, payload) in scenes {
        let mut all: Vec<Vec<Figures>> = vec![Vec::new(); subjects.len()];
        for _ in 0..rounds {
            for (subject, figures) in subjects.iter().zip(&mut all) {
                figures.push(measure(*subject, in_flight, payload, seconds));
            }
        }
        for (subject, figures) in subjects.iter().zip(&all) {
            let bare = subjects.iter().position(|other| Some(*other) == report::beside(*subject));
            let bare = bare.and_then(|at| all.get(at));
            let scene = (in_flight, payload + 28);
            println!("{}", report::row(*subject, scene, figures, bare));
        }
    }
}
