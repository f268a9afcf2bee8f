//! Ports against frames made here.

use crate::binary::backends;
use crate::cards::{self, wait_for_link};
use crate::lab::{MACS, Wire, must, run, skipped};
use lockgate::io::live::{Backend, Losses, Mode, Port, PortSettings, open};
use lockgate::model::{EndpointId, Protocol, Verdict};
use lockgate::synth::gwlb::Encapsulation;
use lockgate::synth::packet;
use lockgate::wire::{self, Settings};
use pnet::datalink::{self, Channel, DataLinkReceiver, DataLinkSender};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// The gateway's end: Ethernet frames out and in.
pub(crate) struct Tap {
    sender: Box<dyn DataLinkSender>,
    receiver: Box<dyn DataLinkReceiver>,
}

impl Tap {
    /// Opens the interface `gw0` of the namespace this thread is in.
    pub(crate) fn open() -> Self {
        let all = datalink::interfaces();
        let interface = all.iter().find(|interface| interface.name == "gw0").expect("gw0");
        let config = datalink::Config {
            read_buffer_size: 1 << 14,
            write_buffer_size: 1 << 14,
            read_timeout: Some(Duration::from_millis(200)),
            ..datalink::Config::default()
        };
        match datalink::channel(interface, config) {
            Ok(Channel::Ethernet(sender, receiver)) => Self { sender, receiver },
            other => panic!("no channel: {:?}", other.err()),
        }
    }

    pub(crate) fn send(&mut self, frame: &[u8]) {
        self.sender.send_to(frame, None).expect("sent").expect("sent");
    }

    /// The next GENEVE datagram from the target, which is to come: a busy machine takes its time.
    pub(crate) fn arrives(&mut self) -> Option<Vec<u8>> {
        (0..25).find_map(|_| self.receive())
    }

    /// How many frames with IPv4 from this MAC address have come, until nothing does for 200 ms.
    pub(crate) fn ip_frames_from(&mut self, mac: [u8; 6]) -> usize {
        let mut found = 0;
        while let Ok(frame) = self.receiver.next() {
            let ip = frame.get(12..14) == Some(&[8, 0]);
            found += usize::from(ip && frame.get(6..12) == Some(&mac));
        }
        found
    }

    /// The next GENEVE datagram from the target, within 200 ms.
    pub(crate) fn receive(&mut self) -> Option<Vec<u8>> {
        while let Ok(frame) = self.receiver.next() {
            if frame.get(6..12) == Some(&MACS[1]) && frame.get(36..38) == Some(&[0x17, 0xc1]) {
                return Some(frame.to_vec());
            }
        }
        None
    }
}

/// Forwards everything: outer addresses turned round.
fn forward_all(frames: &mut [lockgate::engine::Frame<'_>]) {
    for frame in frames {
        if let Ok(packet) = wire::parse(frame.bytes, frame.link, &Settings::GWLB) {
            wire::reflect(frame.bytes, &packet);
            frame.verdict = Verdict::Forward;
        }
    }
}

/// Tells workers to stop when it goes.
struct Stops<'a>(&'a AtomicBool);

impl Drop for Stops<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Runs ports as a reflector in the target's namespace while `work` runs in the gateway's; gives the
/// frames each port judged, and all losses.
pub(crate) fn reflecting(
    wire: &Wire,
    settings: &PortSettings,
    work: impl FnOnce() + Send,
) -> (Vec<usize>, Losses) {
    let opened = wire.target.run(|| open(settings)).expect("ports");
    eprintln!("{:?}: {} {:?}", opened.backend, opened.detail, opened.notes);
    let ports = opened.ports;
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let workers: Vec<_> = ports
            .into_iter()
            .map(|mut port: Box<dyn Port>| {
                let stop = &stop;
                scope.spawn(move || {
                    let mut judged = 0;
                    while !stop.load(Ordering::Relaxed) {
                        let wait = Duration::from_millis(20);
                        let done = port.exchange(wait, &mut |_, frames, _| forward_all(frames));
                        judged += done.expect("the port works").received;
                    }
                    (judged, port.losses())
                })
            })
            .collect();
        {
            // Set also where `work` panics, or the workers would be waited for without end.
            let _stops = Stops(&stop);
            wire.gateway.run(work);
        }
        let mut losses = Losses::default();
        let judged = workers
            .into_iter()
            .map(|worker| {
                let (judged, lost) = worker.join().expect("it did not panic");
                losses.add(&lost);
                judged
            })
            .collect();
        (judged, losses)
    })
}

fn flow(port: u16) -> lockgate::model::FiveTuple {
    let (src, dst) = ("10.1.0.10".parse().unwrap(), "10.2.0.20".parse().unwrap());
    packet::tuple((src, port), (dst, 443), Protocol::UDP)
}

/// Runs a test on both back ends; where AF_XDP cannot be had, says so.
fn on_both(test: impl Fn(Backend)) {
    test(Backend::AfPacket);
    let Some(wire) = Wire::make(1500, 1) else { return skipped("no network namespaces") };
    let settings = PortSettings { backend: Backend::AfXdp, ..PortSettings::on("fw0") };
    match wire.target.run(|| open(&settings)) {
        Ok(opened) => {
            drop(opened);
            // There may be one cable for all.
            drop(wire);
            test(Backend::AfXdp);
        }
        Err(error) => skipped(&format!("AF_XDP: {error}")),
    }
}

#[test]
fn a_frame_comes_back_with_its_addresses_turned_and_nothing_else_changed() {
    on_both(|backend| {
        for mtu in [1500, 9001] {
            comes_back(backend, mtu);
        }
    });
}

fn comes_back(backend: Backend, mtu: u32) {
    let Some(wire) = Wire::make(mtu, 1) else { return skipped("no network namespaces") };
    let settings = PortSettings { backend, ..PortSettings::on("fw0") };
    let (judged, losses) = reflecting(&wire, &settings, || {
        let mut tap = Tap::open();
        let longest = mtu.min(8568) as usize - 96;
        for len in [0, 1, 1400, longest] {
            let inner = packet::udp(&flow(40_000), &vec![0x5a; len]);
            let sent = Encapsulation::of(EndpointId(7)).wrap(&inner);
            tap.send(&sent);
            let back = tap.arrives().expect("it comes back");
            let mut turned = sent;
            turned[..12].rotate_left(6);
            turned[26..34].rotate_left(4);
            assert!(back == turned, "{backend:?} {mtu}: {len}");
        }
    });
    assert_eq!((judged, losses), (vec![4], Losses::default()), "{backend:?} {mtu}");
}

/// The UDP datagram of `flow(port)`, in either direction.
fn datagram(port: u16, reply: bool, payload: &[u8]) -> Vec<u8> {
    let tuple = if reply { flow(port).reverse() } else { flow(port) };
    packet::udp(&tuple, payload)
}

/// Two fragments of a packet with this many bytes behind its IPv4 header in the first one.
fn fragments(whole: &[u8], cut: usize, id: u16) -> [Vec<u8>; 2] {
    let piece = |from: usize, to: usize, more: u16| {
        let mut piece = [&whole[..20], &whole[20 + from..20 + to]].concat();
        let len = u16::try_from(piece.len()).unwrap();
        piece[2..4].copy_from_slice(&len.to_be_bytes());
        piece[4..6].copy_from_slice(&id.to_be_bytes());
        let field = more << 13 | u16::try_from(from / 8).unwrap();
        piece[6..8].copy_from_slice(&field.to_be_bytes());
        piece[10..12].fill(0);
        let sum = lockgate::wire::Sum::default().bytes(&piece[..20]).finish();
        piece[10..12].copy_from_slice(&sum);
        piece
    };
    [piece(0, cut, 1), piece(cut, whole.len() - 20, 0)]
}

#[test]
fn both_directions_and_all_fragments_of_a_flow_meet_in_one_worker() {
    on_both(meet);
}

fn meet(backend: Backend) {
    let Some(wire) = Wire::make(9001, 3) else { return skipped("no network namespaces") };
    let settings = PortSettings { backend, workers: 3, seed: 1, ..PortSettings::on("fw0") };
    let seen = std::sync::Mutex::new(std::collections::HashMap::new());
    let opened = wire.target.run(|| open(&settings)).expect("ports");
    let stop = AtomicBool::new(false);
    let total = std::sync::atomic::AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for (worker, mut port) in opened.ports.into_iter().enumerate() {
            let (stop, seen, total) = (&stop, &seen, &total);
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    port.exchange(Duration::from_millis(500), &mut |_, frames, _| {
                        for frame in frames {
                            // The payload names the flow, in every piece of it.
                            let last = frame.bytes.last_chunk::<2>().copied().unwrap();
                            seen.lock().unwrap().entry(last).or_insert_with(Vec::new).push(worker);
                            total.fetch_add(1, Ordering::Relaxed);
                        }
                    })
                    .expect("the port works");
                }
            });
        }
        wire.gateway.run(|| {
            let mut tap = Tap::open();
            for port in 0..100u16 {
                let payload = port.to_be_bytes().repeat(20);
                // The outer source port decides the queue: one for each direction.
                let mut around = Encapsulation::of(EndpointId(7));
                for (reply, outer) in [(false, 50_000), (true, 50_001 + port)] {
                    around.source_port = outer;
                    tap.send(&around.wrap(&datagram(1000 + port, reply, &payload)));
                    let [first, second] =
                        fragments(&datagram(1000 + port, reply, &payload), 24, port);
                    let order = if port % 2 == 0 { [first, second] } else { [second, first] };
                    for piece in order {
                        tap.send(&around.wrap(&piece));
                    }
                }
            }
            let mut rounds = 0;
            while total.load(Ordering::Relaxed) < 600 && rounds < 100 {
                std::thread::sleep(Duration::from_millis(20));
                rounds += 1;
            }
        });
        stop.store(true, Ordering::Relaxed);
    });
    let seen = seen.into_inner().unwrap();
    assert_eq!(seen.len(), 100, "{backend:?}");
    let mut used = std::collections::HashSet::new();
    for (flow, workers) in seen {
        assert_eq!(workers.len(), 6, "{flow:?}");
        assert!(workers.iter().all(|worker| *worker == workers[0]), "{flow:?}: {workers:?}");
        used.insert(workers[0]);
    }
    assert_eq!(used.len(), 3, "all workers have work");
}

#[test]
fn the_kernel_does_not_answer_port_unreachable() {
    on_both(is_silent);
}

fn is_silent(backend: Backend) {
    let Some(wire) = Wire::make(1500, 1) else { return skipped("no network namespaces") };
    let settings = PortSettings { backend, ..PortSettings::on("fw0") };
    let mut port = wire.target.run(|| open(&settings)).expect("a port").ports.remove(0);
    // A card has no buffers before its port is used once.
    port.exchange(Duration::ZERO, &mut |_, _, _| {}).expect("the port works");
    wire.gateway.run(|| {
        let mut tap = Tap::open();
        let icmp = |tap: &mut Tap| {
            let mut found = 0;
            while let Ok(frame) = tap.receiver.next() {
                found +=
                    usize::from(frame.get(12..14) == Some(&[8, 0]) && frame.get(23) == Some(&1));
            }
            found
        };
        let mut frame = Encapsulation::of(EndpointId(7)).wrap(&datagram(1, false, b"x"));
        tap.send(&frame);
        assert_eq!(icmp(&mut tap), 0);
        frame[37] ^= 1;
        tap.send(&frame);
        let answered = (0..10).map(|_| icmp(&mut tap)).find(|found| *found > 0);
        assert_eq!(answered, Some(1), "{backend:?}, any other port: else nothing is seen here");
    });
    drop(port);
}

#[test]
fn what_cannot_be_opened_says_what_is_wrong() {
    let Some(wire) = Wire::make(1500, 1) else { return skipped("no network namespaces") };
    let fails = |settings: PortSettings| {
        wire.target.run(|| open(&settings).err().expect("it fails").to_string())
    };
    let good = PortSettings::on("fw0");
    let missing = fails(PortSettings::on("eth7"));
    assert_eq!(missing, "there is no interface \"eth7\"; there are: lo, fw0");
    let address = "10.99.0.3".parse().ok();
    let elsewhere = fails(PortSettings { address, ..good.clone() });
    assert_eq!(elsewhere, "interface \"fw0\" does not have the address 10.99.0.3");
    let _taken = wire.target.run(|| std::net::UdpSocket::bind("10.99.0.2:6081").unwrap());
    let in_use = fails(good);
    assert_eq!(
        in_use,
        "UDP 10.99.0.2:6081 is in use by another program; `ss -lunp sport = :6081` tells which"
    );
}

#[test]
fn mirrored_traffic_is_judged_and_nothing_is_sent() {
    let Some(wire) = Wire::make(1500, 1) else { return skipped("no network namespaces") };
    let settings = PortSettings { mode: Mode::Passive, ..PortSettings::on("fw0") };
    let mut port = wire.target.run(|| open(&settings)).expect("a port").ports.remove(0);
    let inner = datagram(40_000, false, b"mirrored");
    let ethernet = [&[2u8; 12][..], &[8, 0], &inner].concat();
    let vxlan = [&[8u8, 0, 0, 0, 0, 0, 7, 0][..], &ethernet].concat();
    let mut seen = Vec::new();
    let answered = wire.gateway.run(|| {
        let mut tap = Tap::open();
        // By itself: outer IPv4 and UDP 4789 from the kernel.
        let socket = std::net::UdpSocket::bind("10.99.0.1:0").unwrap();
        socket.send_to(&vxlan, "10.99.0.2:4789").unwrap();
        // Behind the endpoint of a load balancer.
        let (from, to) = ("10.9.0.1".parse().unwrap(), "10.9.0.2".parse().unwrap());
        let mirror = packet::tuple((from, 9), (to, 4789), Protocol::UDP);
        tap.send(&Encapsulation::of(EndpointId(7)).wrap(&packet::udp(&mirror, &vxlan)));
        for _ in 0..500 {
            if seen.len() >= 2 {
                break;
            }
            port.exchange(Duration::from_millis(20), &mut |_, frames, _| {
                for frame in frames.iter_mut() {
                    let read = wire::parse(frame.bytes, frame.link, &Settings::CAPTURE).unwrap();
                    seen.push(read.tuple);
                    frame.verdict = Verdict::Forward;
                }
            })
            .unwrap();
        }
        let mut answered = 0;
        while let Ok(frame) = tap.receiver.next() {
            answered += usize::from(frame.get(6..14) == Some(&[2, 0, 0, 0, 0, 2, 8, 0]));
        }
        answered
    });
    assert_eq!(seen, [flow(40_000); 2]);
    assert_eq!(answered, 0);
}

#[test]
fn frames_that_find_no_room_are_counted() {
    on_both(overrun);
}

fn overrun(backend: Backend) {
    if cards::present() {
        return skipped("a card has room of its own");
    }
    let Some(wire) = Wire::make(9001, 1) else { return skipped("no network namespaces") };
    let ring_bytes = 1 << 20;
    let settings = PortSettings { backend, ring_bytes, ..PortSettings::on("fw0") };
    let mut port = wire.target.run(|| open(&settings)).expect("a port").ports.remove(0);
    wire.gateway.run(|| {
        let mut tap = Tap::open();
        let frame = Encapsulation::of(EndpointId(7)).wrap(&datagram(1, false, b"x"));
        (0..1000).for_each(|_| tap.send(&frame));
    });
    let mut received = 0;
    while let done @ 1.. = port
        .exchange(Duration::from_millis(100), &mut |_, frames, _| forward_all(frames))
        .expect("the port works")
        .received
    {
        received += done;
    }
    let losses = port.losses();
    // Eight blocks of fourteen slots; 256 chunks but for those kept for sending.
    let room = if backend == Backend::AfXdp { 192 } else { 112 };
    assert_eq!((received, losses.overrun), (room, 1000 - room as u64), "{losses:?}");
    assert_eq!(port.losses(), losses, "asking again changes nothing");
}

#[test]
fn tagged_frames_come_back_tagged_or_are_counted() {
    on_both(tagged);
}

fn tagged(backend: Backend) {
    let Some(wire) = Wire::make(1500, 2) else { return skipped("no network namespaces") };
    if cards::present() {
        // A card that filters lets through what the kernel has an interface for, and AF_XDP sees no tag
        // that the card took off.
        let target = wire.target.name();
        for (name, protocol) in [("tag", "802.1q"), ("outer", "802.1ad")] {
            let kind = format!("type vlan protocol {protocol} id 5");
            run(&format!("ip -n {target} link add link fw0 name {name} {kind}"));
        }
        if backend == Backend::AfXdp {
            run(&format!("ip netns exec {target} ethtool -K fw0 rx-vlan-offload off"));
            wait_for_link(&wire.target, "fw0");
        }
    }
    let settings = PortSettings { backend, workers: 2, ..PortSettings::on("fw0") };
    let plain = Encapsulation::of(EndpointId(7)).wrap(&datagram(1, false, b"x"));
    let behind = |tag: &[u8]| [&plain[..12], tag, &plain[12..]].concat();
    let elsewhere = {
        let mut frame = behind(&[0x81, 0, 0, 5]);
        frame[41] ^= 1;
        frame
    };
    let (judged, losses) = reflecting(&wire, &settings, || {
        let mut tap = Tap::open();
        // Of another port, and twice tagged: nobody's.
        tap.send(&elsewhere);
        tap.send(&behind(&[0x88, 0xa8, 0, 5, 0x81, 0, 0, 5]));
        for tag in [[0x81, 0, 0, 5], [0x88, 0xa8, 0, 5]] {
            tap.send(&behind(&tag));
        }
        tap.send(&plain);
        assert!(tap.arrives().is_some(), "{backend:?}");
        // A card's queues keep no order among each other: two seconds for those behind.
        for _ in 0..if cards::present() { 10 } else { 0 } {
            let _ = tap.receive();
        }
    });
    let judged: usize = judged.iter().sum();
    match backend {
        Backend::AfXdp => assert_eq!((judged, losses.tagged, losses.total()), (1, 2, 2)),
        _ => assert_eq!((judged, losses.total()), (3, 0)),
    }
}

#[test]
fn what_the_interface_would_not_send_is_answered_in_its_own_encapsulation() {
    let Some(wire) = Wire::make(1500, 1) else { return skipped("no network namespaces") };
    let settings = PortSettings { backend: Backend::AfXdp, ..PortSettings::on("fw0") };
    let mut port = match wire.target.run(|| open(&settings)) {
        Ok(mut opened) => opened.ports.remove(0),
        Err(error) => return skipped(&format!("AF_XDP: {error}")),
    };
    // What was opened for 1500 bytes gets more: a mistake, but nobody may wait in vain for it.
    for (end, interface) in [(&wire.gateway, "gw0"), (&wire.target, "fw0")] {
        if !run(&format!("ip -n {} link set {interface} mtu 3000", end.name())) {
            return skipped("the card keeps its MTU");
        }
    }
    let sent = Encapsulation::of(EndpointId(7)).wrap(&datagram(1, false, &[7; 1500]));
    let answer = wire.gateway.run(|| {
        let mut tap = Tap::open();
        tap.send(&sent);
        port.exchange(Duration::from_millis(500), &mut |_, frames, _| forward_all(frames)).unwrap();
        tap.arrives().expect("an answer")
    });
    let read = wire::parse(&answer, wire::Link::Ethernet, &Settings::GWLB).unwrap();
    assert!(matches!(read.body, wire::Body::IcmpError { kind: 3, code: 4, .. }));
    assert_eq!(answer[34..82], {
        let mut headers = sent[34..82].to_vec();
        headers[4..6].copy_from_slice(&answer[38..40]);
        headers
    });
    assert_eq!(port.losses(), Losses { too_big: 1, ..Losses::default() });
}

#[test]
fn a_link_that_comes_back_is_used_again() {
    on_both(comes_up_again);
}

fn comes_up_again(backend: Backend) {
    let Some(wire) = Wire::make(1500, 1) else { return skipped("no network namespaces") };
    let settings = PortSettings { backend, ..PortSettings::on("fw0") };
    let mut port = wire.target.run(|| open(&settings)).expect("a port").ports.remove(0);
    let (wait, target) = (Duration::from_millis(50), wire.target.name());
    must(&format!("ip -n {target} link set fw0 down"));
    let down = (0..10)
        .filter_map(|_| port.exchange(wait, &mut |_, frames, _| forward_all(frames)).err())
        .map(|error| error.to_string())
        .collect::<Vec<_>>();
    if backend == Backend::AfPacket {
        assert_eq!(down, ["interface \"fw0\" is down; `ip link set fw0 up` starts it"]);
    }
    must(&format!("ip -n {target} link set fw0 up"));
    let received = wire.gateway.run(|| {
        let mut tap = Tap::open();
        let mut received = 0;
        // Neighbours need a moment to see each other again.
        for _ in 0..50 {
            tap.send(&Encapsulation::of(EndpointId(7)).wrap(&datagram(1, false, b"x")));
            let done = port.exchange(wait, &mut |_, frames, _| forward_all(frames)).unwrap();
            received += done.received;
            if received > 0 {
                break;
            }
        }
        received
    });
    assert!(received > 0, "{backend:?}");
}

#[test]
fn what_af_xdp_cannot_do_here_is_told_and_done_otherwise() {
    let Some(wire) = Wire::make(1500, 1) else { return skipped("no network namespaces") };
    let asked = |backend| PortSettings { backend, workers: 2, ..PortSettings::on("fw0") };
    let refused = wire.target.run(|| open(&asked(Backend::AfXdp)).err().expect("too few queues"));
    let why = "interface \"fw0\" has 1 receive queue for 2 workers, AF_XDP needs one for each: \
               `ethtool -L fw0 combined 2` makes more if the card has them, `workers: 1` asks for fewer";
    assert_eq!(refused.to_string(), why);
    let opened = wire.target.run(|| open(&asked(Backend::Auto))).expect("packet rings");
    assert_eq!((opened.backend, opened.ports.len()), (Backend::AfPacket, 2));
    assert_eq!(opened.fallback.expect("a reason").to_string(), why);
    drop(opened.ports);
    let one = PortSettings { backend: Backend::AfXdp, ..PortSettings::on("fw0") };
    let Ok(first) = wire.target.run(|| open(&one)) else { return skipped("AF_XDP") };
    if !cards::present() {
        assert_eq!(first.detail, "in the driver, copy mode, 1 queue");
    }
}

/// The kernel gives a queue back some time after the socket on it is closed.
#[test]
fn an_interface_is_taken_again_at_once() {
    if !backends().contains(&Backend::AfXdp) {
        return skipped("no AF_XDP");
    }
    let Some(wire) = Wire::make(9001, 2) else { return skipped("no network namespaces") };
    let settings = PortSettings { backend: Backend::AfXdp, workers: 2, ..PortSettings::on("fw0") };
    for round in 0..5 {
        let opened = wire.target.run(|| open(&settings).map(drop));
        assert!(opened.is_ok(), "{round}: {:?}", opened.err());
    }
}
