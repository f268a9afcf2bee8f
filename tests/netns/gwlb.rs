//! A Gateway Load Balancer as its targets see it: gives each flow a target and a cookie, takes packets
//! back only as it sent them out, forgets flows at close and idle. Reads and writes bytes on its own:
//! nothing of the project's parsers is used, so that neither can hide a fault of the other.

use std::collections::HashMap;
use std::time::Duration;

/// UDP port of GENEVE.
const PORT: u16 = 6081;
/// Outer IPv4 (20), UDP (8), GENEVE (8), options (32).
const HEADERS: usize = 68;
/// The largest inner packet; a larger one is dropped without a word.
pub(crate) const INNER_MAX: usize = 8500;
const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;

/// What makes packets one flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stickiness {
    Five,
    Three,
    Two,
}

/// What becomes of the flows of a target that is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failover {
    NoRebalance,
    Rebalance,
}

/// Why a packet went no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Refusal {
    /// It is no IP packet, or cut.
    Malformed,
    /// The inner packet is larger than [`INNER_MAX`].
    TooLarge,
    /// A TCP segment that opens nothing, of a flow that is not known (any more).
    NoEntry,
    /// No target is registered.
    NoTarget,
    /// It comes from no target, or not to this gateway.
    Foreign,
    /// The UDP ports were turned round like the addresses.
    SwappedPorts,
    /// The UDP source port is not the flow's.
    ChangedPort,
    /// A byte of GENEVE header or options is not as it was sent, the cookie aside.
    ChangedHeader,
    /// The cookie is one of an earlier flow.
    StaleCookie,
    /// No packet of this flow was ever sent to a target.
    UnknownFlow,
    /// The flow belongs to another target.
    WrongTarget,
    /// The outer UDP checksum is there and wrong.
    Checksum,
}

/// Both sides of a flow, the smaller first.
type Side = ([u8; 16], u16);
type Key = (u8, [Side; 2]);

#[derive(Clone, Debug)]
struct Target {
    address: [u8; 4],
    healthy: bool,
    draining: bool,
}

#[derive(Clone, Debug)]
struct Flow {
    target: usize,
    cookie: u32,
    port: u16,
    last: Duration,
    /// What acknowledges the FIN of the larger side, of the smaller; once it was seen.
    fins: [Option<u32>; 2],
    /// Whether it was acknowledged.
    acknowledged: [bool; 2],
    closed: Option<Duration>,
}

/// One node of the load balancer.
#[derive(Debug)]
pub(crate) struct Gwlb {
    pub(crate) node: [u8; 4],
    pub(crate) endpoint: u64,
    pub(crate) attachment: u64,
    pub(crate) stickiness: Stickiness,
    pub(crate) failover: Failover,
    pub(crate) tcp_idle: Duration,
    /// How long packets of a closed flow are still taken back from its target. What GWLB does is not
    /// known; none is the worst.
    pub(crate) linger: Duration,
    targets: Vec<Target>,
    flows: HashMap<Key, Flow>,
    /// The flow of each cookie in use.
    cookies: HashMap<u32, Key>,
    next_cookie: u32,
    /// No flow is over before.
    next_end: Duration,
}

/// What is read of an inner packet.
struct Inner {
    key: Key,
    /// Whether it comes from the smaller side.
    smaller: bool,
    tcp: Option<Tcp>,
    icmp: bool,
}

/// What is read of a TCP segment.
struct Tcp {
    flags: u8,
    acknowledges: u32,
    /// The sequence number behind it.
    end: u32,
}

impl Gwlb {
    /// A node that serves one endpoint, with these targets, all healthy.
    pub(crate) fn new(endpoint: u64, targets: &[[u8; 4]]) -> Self {
        let target =
            |address: &[u8; 4]| Target { address: *address, healthy: true, draining: false };
        Self {
            node: [10, 99, 0, 1],
            endpoint,
            attachment: 0x0a1b_2c3d_4e5f_6071,
            stickiness: Stickiness::Five,
            failover: Failover::NoRebalance,
            tcp_idle: Duration::from_secs(350),
            linger: Duration::ZERO,
            targets: targets.iter().map(target).collect(),
            flows: HashMap::new(),
            cookies: HashMap::new(),
            next_cookie: 0xc0ff_ee01,
            next_end: Duration::MAX,
        }
    }

    /// A health check's result.
    pub(crate) fn set_health(&mut self, target: usize, healthy: bool) {
        self.targets[target].healthy = healthy;
    }

    /// Takes a target out of the group: no new flows, and what `failover` says of the others.
    pub(crate) fn deregister(&mut self, target: usize) {
        self.targets[target].draining = true;
    }

    /// Flows known.
    pub(crate) fn flows(&self) -> usize {
        self.flows.len()
    }

    /// The target of a flow's packets, if it is known.
    pub(crate) fn target_of(&self, inner: &[u8]) -> Option<usize> {
        Some(self.flows.get(&read(inner, self.stickiness)?.key)?.target)
    }

    /// An inner packet from either side: the IPv4 datagram to its target.
    pub(crate) fn send(&mut self, now: Duration, inner: &[u8]) -> Result<Vec<u8>, Refusal> {
        self.expire(now);
        if inner.len() > INNER_MAX {
            return Err(Refusal::TooLarge);
        }
        let packet = read(inner, self.stickiness).ok_or(Refusal::Malformed)?;
        if self.flows.get(&packet.key).is_none_or(|flow| flow.closed.is_some()) {
            if packet.tcp.as_ref().is_some_and(|tcp| tcp.flags & (SYN | ACK | RST) != SYN) {
                return Err(Refusal::NoEntry);
            }
            let target = self.choose(&packet.key).ok_or(Refusal::NoTarget)?;
            let cookie = self.next_cookie;
            self.next_cookie = cookie.wrapping_add(1);
            let port = 49_152 | (hash(&packet.key) as u16 & 0x3fff);
            let (fins, acknowledged) = ([None; 2], [false; 2]);
            let flow = Flow { target, cookie, port, last: now, fins, acknowledged, closed: None };
            if let Some(closed) = self.flows.insert(packet.key, flow) {
                self.cookies.remove(&closed.cookie);
            }
            self.cookies.insert(cookie, packet.key);
            self.next_end = self.next_end.min(now + self.idle(packet.key.0));
        }
        let again = self.flows.get(&packet.key).is_some_and(|flow| self.lost(flow.target));
        let elsewhere = if again { self.choose(&packet.key) } else { None };
        let flow = self.flows.get_mut(&packet.key).expect("it was put there");
        flow.target = elsewhere.unwrap_or(flow.target);
        flow.last = now;
        let (port, cookie) = (flow.port, flow.cookie);
        let to = self.targets[flow.target].address;
        let datagram = encapsulate(self.node, to, port, self.header(cookie, inner), inner);
        Ok(datagram)
    }

    /// A datagram from a target: the inner packet that goes on to its destination.
    pub(crate) fn receive(&mut self, now: Duration, datagram: &[u8]) -> Result<Vec<u8>, Refusal> {
        self.expire(now);
        let (outer, inner) = datagram.split_at_checked(HEADERS).ok_or(Refusal::Malformed)?;
        let length = usize::from(u16::from_be_bytes([outer[2], outer[3]]));
        if outer[0] != 0x45 || outer[9] != 17 || length != datagram.len() || outer[6] & 0x3f != 0 {
            return Err(Refusal::Malformed);
        }
        let from = self.targets.iter().position(|target| target.address == outer[12..16]);
        let from = from.filter(|_| outer[16..20] == self.node).ok_or(Refusal::Foreign)?;
        let port = |at: usize| u16::from_be_bytes([outer[at], outer[at + 1]]);
        if port(20) == PORT && port(22) != PORT {
            return Err(Refusal::SwappedPorts);
        }
        if port(22) != PORT {
            return Err(Refusal::ChangedPort);
        }
        if outer[26..28] != [0, 0] && udp_sum(&datagram[12..20], &datagram[20..]) != 0xffff {
            return Err(Refusal::Checksum);
        }
        let packet = read(inner, self.stickiness).ok_or(Refusal::Malformed)?;
        let cookie = u32::from_be_bytes([outer[64], outer[65], outer[66], outer[67]]);
        // What a target makes itself, an ICMP error, travels under the header of the flow it is about.
        let key = match self.cookies.get(&cookie) {
            Some(key) if packet.icmp || *key == packet.key => *key,
            _ if self.flows.contains_key(&packet.key) => return Err(Refusal::StaleCookie),
            _ => return Err(Refusal::UnknownFlow),
        };
        let flow = &self.flows[&key];
        if outer[28..] != self.header(cookie, inner) {
            return Err(Refusal::ChangedHeader);
        }
        if port(20) != flow.port {
            return Err(Refusal::ChangedPort);
        }
        if flow.target != from {
            return Err(Refusal::WrongTarget);
        }
        self.observe(now, key, &packet);
        Ok(inner.to_vec())
    }

    /// Lets a packet that passed move the state of its flow.
    fn observe(&mut self, now: Duration, key: Key, packet: &Inner) {
        let Some(flow) = self.flows.get_mut(&key) else { return };
        flow.last = now;
        let Some(tcp) = &packet.tcp else { return };
        let (from, to) = (usize::from(packet.smaller), usize::from(!packet.smaller));
        if tcp.flags & FIN != 0 {
            flow.fins[from].get_or_insert(tcp.end);
        }
        if tcp.flags & ACK != 0
            && flow.fins[to].is_some_and(|end| tcp.acknowledges.wrapping_sub(end) < 1 << 31)
        {
            flow.acknowledged[to] = true;
        }
        if tcp.flags & RST != 0 || flow.acknowledged == [true; 2] {
            let end = *flow.closed.get_or_insert(now) + self.linger;
            self.next_end = self.next_end.min(end);
            self.expire(now);
        }
    }

    /// How long a flow of this protocol may be idle.
    fn idle(&self, protocol: u8) -> Duration {
        if protocol == 6 { self.tcp_idle } else { Duration::from_secs(120) }
    }

    /// Forgets flows that are over. Looks at all of them only when one may be: a flood is many.
    fn expire(&mut self, now: Duration) {
        if now < self.next_end {
            return;
        }
        let end_of = |gwlb: &Self, key: &Key, flow: &Flow| match flow.closed {
            Some(at) => at + gwlb.linger,
            None => flow.last + gwlb.idle(key.0),
        };
        let mut flows = std::mem::take(&mut self.flows);
        self.next_end = Duration::MAX;
        flows.retain(|key, flow| {
            let end = end_of(self, key, flow);
            if now >= end {
                self.cookies.remove(&flow.cookie);
                return false;
            }
            self.next_end = self.next_end.min(end);
            true
        });
        self.flows = flows;
    }

    fn lost(&self, target: usize) -> bool {
        let target = &self.targets[target];
        self.failover == Failover::Rebalance && (target.draining || !target.healthy)
    }

    /// A target for a new flow. If all are unhealthy, one is used all the same.
    fn choose(&self, key: &Key) -> Option<usize> {
        let registered: Vec<usize> =
            (0..self.targets.len()).filter(|at| !self.targets[*at].draining).collect();
        let healthy: Vec<usize> =
            registered.iter().copied().filter(|at| self.targets[*at].healthy).collect();
        let among = if healthy.is_empty() { registered } else { healthy };
        let at = hash(key) >> 16;
        among.get((at % among.len().max(1) as u64) as usize).copied()
    }

    /// GENEVE header and options.
    fn header(&self, cookie: u32, inner: &[u8]) -> [u8; 40] {
        let protocol: [u8; 2] = if inner[0] >> 4 == 6 { [0x86, 0xdd] } else { [0x08, 0x00] };
        let mut header = [0; 40];
        header[0] = 8;
        header[2..4].copy_from_slice(&protocol);
        header[8..12].copy_from_slice(&[0x01, 0x08, 1, 2]);
        header[12..20].copy_from_slice(&self.endpoint.to_be_bytes());
        header[20..24].copy_from_slice(&[0x01, 0x08, 2, 2]);
        header[24..32].copy_from_slice(&self.attachment.to_be_bytes());
        header[32..36].copy_from_slice(&[0x01, 0x08, 3, 1]);
        header[36..40].copy_from_slice(&cookie.to_be_bytes());
        header
    }
}

fn encapsulate(from: [u8; 4], to: [u8; 4], port: u16, header: [u8; 40], inner: &[u8]) -> Vec<u8> {
    let length =
        |headers: usize| u16::try_from(headers + inner.len()).expect("it fits").to_be_bytes();
    let mut datagram = vec![0x45, 0];
    datagram.extend(length(HEADERS));
    datagram.extend([0, 0, 0x40, 0, 0xff, 17, 0, 0]);
    datagram.extend(from);
    datagram.extend(to);
    let sum = !ones_sum(0, &datagram);
    datagram[10..12].copy_from_slice(&sum.to_be_bytes());
    datagram.extend(port.to_be_bytes());
    datagram.extend(PORT.to_be_bytes());
    datagram.extend(length(HEADERS - 20));
    datagram.extend([0, 0]);
    datagram.extend(header);
    datagram.extend(inner);
    datagram
}

fn ones_sum(start: u32, bytes: &[u8]) -> u16 {
    let mut sum = start;
    for pair in bytes.chunks(2) {
        sum += u32::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]));
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// The sum over pseudo-header and datagram; all ones if its checksum is right.
fn udp_sum(addresses: &[u8], datagram: &[u8]) -> u16 {
    let start = u32::from(ones_sum(17 + datagram.len() as u32, addresses));
    ones_sum(start, datagram)
}

/// FNV-1a, with its bits mixed once more: neighbours shall not meet.
fn hash((protocol, sides): &Key) -> u64 {
    let mut sum = 0xcbf2_9ce4_8422_2325u64;
    let ports = sides.iter().flat_map(|(_, port)| port.to_be_bytes());
    for byte in sides.iter().flat_map(|(address, _)| *address).chain(ports).chain([*protocol]) {
        sum = (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    (sum ^ sum >> 32).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// Reads an inner packet as far as a load balancer does.
fn read(inner: &[u8], stickiness: Stickiness) -> Option<Inner> {
    let wide = |bytes: &[u8]| {
        let mut address = [0; 16];
        address[..bytes.len()].copy_from_slice(bytes);
        address
    };
    let (src, dst, protocol, transport, later) = match inner.first()? >> 4 {
        4 => {
            let later = u16::from_be_bytes([*inner.get(6)?, *inner.get(7)?]) & 0x1fff != 0;
            let transport = inner.get(usize::from(inner[0] & 0x0f) * 4..)?;
            (wide(inner.get(12..16)?), wide(inner.get(16..20)?), inner[9], transport, later)
        }
        6 => (wide(inner.get(8..24)?), wide(inner.get(24..40)?), inner[6], inner.get(40..)?, false),
        _ => return None,
    };
    let ported = matches!(protocol, 6 | 17) && !later && stickiness == Stickiness::Five;
    let port = |at: usize| Some(u16::from_be_bytes([*transport.get(at)?, *transport.get(at + 1)?]));
    let ports = if ported { (port(0)?, port(2)?) } else { (0, 0) };
    let protocol_key = if stickiness == Stickiness::Two { 0 } else { protocol };
    let (source, destination) = ((src, ports.0), (dst, ports.1));
    let smaller = source <= destination;
    let sides = if smaller { [source, destination] } else { [destination, source] };
    let tcp = if protocol == 6 && !later { read_tcp(transport) } else { None };
    Some(Inner { key: (protocol_key, sides), smaller, tcp, icmp: matches!(protocol, 1 | 58) })
}

/// Reads a segment that goes up to the end of the packet.
fn read_tcp(segment: &[u8]) -> Option<Tcp> {
    let word = |at: usize| Some(u32::from_be_bytes(segment.get(at..at + 4)?.try_into().ok()?));
    let flags = *segment.get(13)?;
    let header = usize::from(segment[12] >> 4) * 4;
    let payload = u32::try_from(segment.len().checked_sub(header)?).ok()?;
    let counted = u32::from(flags & SYN != 0) + u32::from(flags & FIN != 0);
    let end = word(4)?.wrapping_add(payload).wrapping_add(counted);
    Some(Tcp { flags, acknowledges: word(8)?, end })
}

#[cfg(test)]
mod tests;
