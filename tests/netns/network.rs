//! A client, a server and targets around a gateway that runs the emulator: real programs on both sides,
//! the appliance in the middle. Frames are moved by this process, from interface to interface.

use crate::cards::{self, End, join, wait_for_link};
use crate::gwlb::{Gwlb, INNER_MAX, Refusal};
use crate::lab::{Namespace, StopAtEnd, must, run, skipped};
use lockgate::io::live::Clock;
use pnet::datalink::{self, Channel, DataLinkReceiver, DataLinkSender};
use rustix::net::{AddressFamily, SocketType, sockopt};
use std::collections::HashMap;
use std::net::UdpSocket;
use std::os::fd::{IntoRawFd, OwnedFd};
use std::process::{Command, Output};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Client and server; each has the gateway at `.1` of its /16.
pub(crate) const CLIENT: [u8; 4] = [10, 1, 0, 10];
pub(crate) const SERVER: [u8; 4] = [10, 2, 0, 20];

/// The MAC address of one end of link number `link`: the gateway's (1) or the other (2).
const fn mac(link: u8, end: u8) -> [u8; 6] {
    [2, 0, 0, 0, link, end]
}

/// The namespaces. Link 0 goes to the client, 1 to the server, 2 and on to the targets, where it is
/// `fw0` with the address 10.99.0.2 and on; behind them come clients and servers of further partners,
/// with the same addresses as the first.
#[derive(Debug)]
pub(crate) struct Network {
    pub(crate) client: Namespace,
    pub(crate) server: Namespace,
    pub(crate) targets: Vec<Namespace>,
    /// Client and server of each further partner.
    pub(crate) more: Vec<(Namespace, Namespace)>,
    gateway: Namespace,
}

/// What the gateway saw while it ran.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) refused: HashMap<Refusal, usize>,
    /// Packets that went on to client or server.
    pub(crate) passed: usize,
    /// Datagrams each target was sent.
    pub(crate) sent: Vec<usize>,
}

impl Network {
    /// Makes it; none where that is not possible.
    pub(crate) fn make(targets: usize, queues: usize) -> Option<Self> {
        Self::of_partners(1, targets, queues)
    }

    /// The same with so many partners, each with a client and a server of its own.
    pub(crate) fn of_partners(partners: usize, targets: usize, queues: usize) -> Option<Self> {
        if !run("ethtool --version") || !run("curl --version") {
            return None;
        }
        if cards::present() && targets > 1 {
            skipped("there is one cable");
            return None;
        }
        let gateway = Namespace::make()?;
        let (client, server) = (Namespace::make()?, Namespace::make()?);
        let targets: Option<Vec<Namespace>> = (0..targets).map(|_| Namespace::make()).collect();
        let targets = targets?;
        attach_host(&gateway, 0, &client, CLIENT);
        attach_host(&gateway, 1, &server, SERVER);
        let mut more = Vec::new();
        let first = u8::try_from(targets.len() + 2).expect("few links");
        for link in (first..).step_by(2).take(partners - 1) {
            let (client, server) = (Namespace::make()?, Namespace::make()?);
            attach_host(&gateway, link, &client, CLIENT);
            attach_host(&gateway, link + 1, &server, SERVER);
            more.push((client, server));
        }
        for (number, target) in (2u8..).zip(&targets) {
            let (name, port) = (target.name(), format!("port{number}"));
            let end = End { namespace: &gateway, name: &port, mac: mac(number, 1) };
            let other = End { namespace: target, name: "fw0", mac: mac(number, 2) };
            if !join(end, other, queues) {
                return None;
            }
            must(&format!("ip -n {} link set {port} mtu 9001 up", gateway.name()));
            must(&format!("ip -n {name} link set fw0 mtu 9001"));
            must(&format!("ip -n {name} addr add 10.99.0.{number}/24 dev fw0"));
            must(&format!("ip -n {name} link set fw0 up"));
            wait_for_link(target, "fw0");
        }
        must(&format!("ip -n {} addr add 10.99.0.1/24 dev port2", gateway.name()));
        Some(Self { client, server, targets, more, gateway })
    }

    /// Runs the gateway while `work` runs here.
    pub(crate) fn run<T>(&self, gwlb: &Mutex<Gwlb>, work: impl FnOnce() -> T) -> (T, Seen) {
        self.run_all(&[gwlb], work)
    }

    /// The same with a node for each partner, which differ by their endpoints.
    pub(crate) fn run_all<T>(&self, gwlbs: &[&Mutex<Gwlb>], work: impl FnOnce() -> T) -> (T, Seen) {
        let links = self.targets.len() + 2 + self.more.len() * 2;
        let stop = AtomicBool::new(false);
        let (receivers, hub) = self.gateway.run(|| Hub::open(links, self.targets.len(), gwlbs));
        let result = std::thread::scope(|scope| {
            for (link, mut receiver) in receivers.into_iter().enumerate() {
                let (hub, stop) = (&hub, &stop);
                scope.spawn(move || {
                    while !stop.load(Ordering::Relaxed) {
                        if let Ok(frame) = receiver.next() {
                            hub.take(link, frame);
                        }
                    }
                });
            }
            let _stop = StopAtEnd(&stop);
            work()
        });
        (result, hub.seen.into_inner().expect("no thread panicked"))
    }

    /// Runs a program on the client.
    pub(crate) fn on_client(&self, line: &str) -> Output {
        on(&self.client, line)
    }
}

/// Runs a program in a namespace.
pub(crate) fn on(namespace: &Namespace, line: &str) -> Output {
    let mut words = line.split_whitespace();
    Command::new("ip")
        .args(["netns", "exec", namespace.name()])
        .args(&mut words)
        .output()
        .expect("ip runs")
}

/// Joins a client or a server to the gateway.
fn attach_host(gateway: &Namespace, link: u8, host: &Namespace, [a, b, c, d]: [u8; 4]) {
    // The client's segments are what GWLB carries at most.
    let (gw, name) = (gateway.name(), host.name());
    must(&format!(
        "ip -n {gw} link add port{link} address 02:00:00:00:{link:02x}:01 type veth \
         peer name eth0 netns {name} address 02:00:00:00:{link:02x}:02"
    ));
    must(&format!("ip -n {gw} link set port{link} mtu {INNER_MAX} up"));
    must(&format!("ip -n {name} link set eth0 mtu {INNER_MAX}"));
    let host = name;
    must(&format!("ip -n {host} addr add {a}.{b}.{c}.{d}/16 dev eth0"));
    must(&format!("ip -n {host} link set eth0 up"));
    let [.., last] = mac(link, 1);
    let neighbour = format!("lladdr 02:00:00:00:{link:02x}:{last:02x} nud permanent");
    must(&format!("ip -n {host} neigh add {a}.{b}.0.1 {neighbour} dev eth0"));
    must(&format!("ip -n {host} route add default via {a}.{b}.0.1"));
    // Segments leave as they would travel, with their checksums made.
    let off = "tx off tso off gso off gro off";
    must(&format!("ip netns exec {host} ethtool -K eth0 {off}"));
}

/// A packet socket that can keep what comes while this process is not run: the gateway is to lose
/// nothing, so that what is missing was lost elsewhere.
fn roomy_socket() -> OwnedFd {
    // Without a protocol it receives nothing until the channel binds it.
    let socket = rustix::net::socket(AddressFamily::PACKET, SocketType::RAW, None);
    let socket = socket.expect("a packet socket");
    sockopt::set_socket_recv_buffer_size_force(&socket, 64 << 20).expect("root may");
    socket
}

/// The gateway at work.
struct Hub<'g> {
    /// One for each partner.
    gwlbs: &'g [&'g Mutex<Gwlb>],
    targets: usize,
    senders: Vec<Mutex<Box<dyn DataLinkSender>>>,
    seen: Mutex<Seen>,
    clock: Clock,
    /// Keeps the gateway's kernel from answering targets.
    _taken: UdpSocket,
}

impl<'g> Hub<'g> {
    fn open(
        links: usize,
        targets: usize,
        gwlbs: &'g [&'g Mutex<Gwlb>],
    ) -> (Vec<Box<dyn DataLinkReceiver>>, Self) {
        let all = datalink::interfaces();
        let (mut receivers, mut senders) = (Vec::new(), Vec::new());
        for link in 0..links {
            let name = format!("port{link}");
            let interface = all.iter().find(|one| one.name == name).expect("it was made");
            let config = datalink::Config {
                read_buffer_size: 1 << 14,
                write_buffer_size: 1 << 14,
                read_timeout: Some(Duration::from_millis(50)),
                socket_fd: Some(roomy_socket().into_raw_fd()),
                ..datalink::Config::default()
            };
            match datalink::channel(interface, config) {
                Ok(Channel::Ethernet(sender, receiver)) => {
                    senders.push(Mutex::new(sender));
                    receivers.push(receiver);
                }
                other => panic!("no channel: {:?}", other.err()),
            }
        }
        let seen = Seen { refused: HashMap::new(), passed: 0, sent: vec![0; targets] };
        let taken = UdpSocket::bind("10.99.0.1:6081").expect("the port is free");
        let (seen, clock) = (Mutex::new(seen), Clock::start());
        (receivers, Self { gwlbs, targets, senders, seen, clock, _taken: taken })
    }

    /// A frame from one of the links.
    fn take(&self, link: usize, frame: &[u8]) {
        let number = u8::try_from(link).expect("few links");
        let Some((header, packet)) = frame.split_at_checked(14) else { return };
        if header[..6] != mac(number, 1) || !matches!(header[12..], [8, 0] | [0x86, 0xdd]) {
            return;
        }
        // Short frames come padded.
        let len = match packet.first().map(|first| first >> 4) {
            Some(4) => usize::from(u16::from_be_bytes([packet[2], packet[3]])),
            _ => 40 + usize::from(u16::from_be_bytes([packet[4], packet[5]])),
        };
        let Some(packet) = packet.get(..len) else { return };
        let now = Duration::from_nanos(self.clock.now().as_nanos());
        if let Some(partner) = self.partner(link) {
            let made = self.gwlbs[partner].lock().expect("no thread panicked").send(now, packet);
            match made {
                Ok(datagram) => {
                    let target = usize::from(datagram[19]);
                    self.seen.lock().expect("no thread panicked").sent[target - 2] += 1;
                    self.put(target, &datagram);
                }
                Err(refusal) => self.refuse(refusal),
            }
            return;
        }
        if packet.get(9) != Some(&17) || packet.get(22..24) == Some(&[0, 0]) {
            return;
        }
        let partner = self.partner_of(packet);
        let taken = self.gwlbs[partner].lock().expect("no thread panicked").receive(now, packet);
        match taken {
            Ok(inner) => {
                self.seen.lock().expect("no thread panicked").passed += 1;
                let to_client = match inner[0] >> 4 {
                    4 => inner[16..18] == CLIENT[..2],
                    _ => inner[24..32] == [0x20, 1, 0x0d, 0xb8, 0, 1, 0, 0],
                };
                let base = if partner == 0 { 0 } else { self.targets + partner * 2 };
                self.put(base + usize::from(!to_client), &inner);
            }
            Err(refusal) => self.refuse(refusal),
        }
    }

    /// Whose client or server is at the other end of a link; none if a target is.
    fn partner(&self, link: usize) -> Option<usize> {
        match link.checked_sub(2) {
            None => Some(0),
            Some(behind) => behind.checked_sub(self.targets).map(|behind| 1 + behind / 2),
        }
    }

    /// Whose a target's datagram is, by its endpoint; the first's if it is nobody's.
    fn partner_of(&self, datagram: &[u8]) -> usize {
        let endpoint = datagram.get(40..48).and_then(|bytes| bytes.try_into().ok());
        let endpoint = endpoint.map(u64::from_be_bytes);
        let of = |gwlb: &&Mutex<Gwlb>| gwlb.lock().expect("no thread panicked").endpoint;
        self.gwlbs.iter().position(|gwlb| Some(of(gwlb)) == endpoint).unwrap_or(0)
    }

    fn refuse(&self, refusal: Refusal) {
        let mut seen = self.seen.lock().expect("no thread panicked");
        *seen.refused.entry(refusal).or_default() += 1;
    }

    fn put(&self, link: usize, packet: &[u8]) {
        let number = u8::try_from(link).expect("few links");
        let ethertype = if packet[0] >> 4 == 6 { [0x86, 0xdd] } else { [8, 0] };
        let frame = [&mac(number, 2)[..], &mac(number, 1), &ethertype, packet].concat();
        let mut sender = self.senders[link].lock().expect("no thread panicked");
        // A full interface loses a frame, as a network does.
        let _ = sender.send_to(&frame, None);
    }
}
