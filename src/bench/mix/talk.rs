//! Conversations written down packet by packet: what a client and a server say to each other over
//! TLS, QUIC, HTTP and DNS. Lengths and shares are those of an enterprise's traffic; the bytes of
//! hellos, requests and questions are real, those of what follows are filling.

use crate::bench::dice::Dice;
use crate::bench::rules;
use crate::inspect::quic::seal::{Initial, crypto_frame};
use crate::inspect::quic::version::V1;
use crate::inspect::tls::compose::Offer;
use crate::model::{Addr, FiveTuple, Protocol};
use crate::synth::packet::{self, Segment, flag};
use crate::synth::session::{Session, Side};

/// Packets of a flow, and whether the client sends each.
type Talk = Vec<(Vec<u8>, bool)>;

/// Packets of a QUIC connection.
pub(super) const QUIC_PACKETS: usize = 24;
/// Packets of a flow of the enterprise mix, on average.
pub(super) const ENTERPRISE_PACKETS: usize = 32;

/// Payload of a full segment.
const FULL: usize = 1400;
/// Hosts whose flows are decided by name: 172.24.0.0/13, apart from those of the five-tuple rules.
const NAMED_HOSTS: [u8; 2] = [172, 24];

/// The handshake and first bytes of a connection that a five-tuple rule allows.
pub(super) fn opening(tuple: FiveTuple) -> Talk {
    let mut session = Session::new(tuple);
    let mut talk = handshake(&mut session);
    talk.push((session.send(Side::Client, &[0x17; 6]), true));
    talk.push((session.send(Side::Server, &[0x17; 6]), false));
    talk.push((session.ack(Side::Client), true));
    talk
}

/// A segment of six bytes of an established connection, after [`opening`].
pub(super) fn segment(tuple: FiveTuple, from_client: bool) -> Vec<u8> {
    let (tuple, seq, ack) =
        if from_client { (tuple, 1007, 9007) } else { (tuple.reverse(), 9007, 1007) };
    let flags = flag::PSH | flag::ACK;
    packet::tcp(&tuple, &Segment { seq, ack, flags, payload: &[0x17; 6] })
}

/// A question and its answer.
pub(super) fn dns(tuple: FiveTuple, number: usize, dice: &mut Dice) -> Talk {
    let tuple = towards(tuple, number, Protocol::UDP, 53);
    let name = name_of(number, dice);
    let question = question(&name, number);
    let mut answer = question.clone();
    if let Some(flags) = answer.get_mut(2..8) {
        flags.copy_from_slice(&[0x81, 0x80, 0, 1, 0, 1]);
    }
    answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 172, 24, 1, 1]);
    vec![(packet::udp(&tuple, &question), true), (packet::udp(&tuple.reverse(), &answer), false)]
}

/// A QUIC connection: the hello in one Initial packet or, 40 times in a hundred, in two; the
/// server's answer; protected packets.
pub(super) fn quic(tuple: FiveTuple, number: usize, dice: &mut Dice) -> Talk {
    let tuple = towards(tuple, number, Protocol::UDP, 443);
    let name = name_of(number, dice);
    let large = dice.percent(40);
    let mut talk = Talk::new();
    let id = dice.bits().to_be_bytes();
    for datagram in initials(&name, large, &id).unwrap_or_default() {
        talk.push((packet::udp(&tuple, &datagram), true));
    }
    let mut answer = vec![0xc3, 0, 0, 0, 1, 0, 8];
    answer.extend(id);
    answer.extend([0, 0x44, 0xb0]);
    answer.resize(1200, 0x5a);
    talk.push((packet::udp(&tuple.reverse(), &answer), false));
    for turn in talk.len()..QUIC_PACKETS {
        let from_client = turn % 4 == 0;
        let len = if from_client { 40 } else { dice.pareto(300, 1250) };
        let mut protected = vec![0x45];
        protected.resize(len, 0x5a);
        let tuple = if from_client { tuple } else { tuple.reverse() };
        talk.push((packet::udp(&tuple, &protected), from_client));
    }
    talk
}

/// One flow of the enterprise mix: of a hundred 45 TLS, 30 DNS, 12 QUIC, 8 HTTP and 5 something
/// else; every tenth IPv6.
pub(super) fn enterprise(tuple: FiveTuple, number: usize, dice: &mut Dice) -> Talk {
    match number % 20 * 5 {
        0..45 => https(tuple, number, dice),
        45..75 => dns(tuple, number, dice),
        75..87 if dice.percent(80) => quic(tuple, number, dice),
        75..95 => http(tuple, number, dice),
        _ => other(tuple, number, dice),
    }
}

fn https(tuple: FiveTuple, number: usize, dice: &mut Dice) -> Talk {
    let mut session = Session::new(towards(tuple, number, Protocol::TCP, 443));
    let mut talk = handshake(&mut session);
    let name = name_of(number, dice);
    let key_share = if dice.percent(40) { 1216 } else { 32 };
    let hello = offer(&name, key_share).records(16_384).unwrap_or_default();
    say(&mut talk, &mut session, Side::Client, &hello);
    let mut answer = server_hello();
    answer.extend([0x14, 3, 3, 0, 1, 1]);
    record(&mut answer, 3200);
    say(&mut talk, &mut session, Side::Server, &answer);
    let mut finished = Vec::new();
    record(&mut finished, 74);
    record(&mut finished, 300);
    say(&mut talk, &mut session, Side::Client, &finished);
    let mut body = Vec::new();
    record(&mut body, dice.pareto(9_000, 150_000).min(16_000));
    let rest = dice.pareto(9_000, 150_000);
    body.resize(body.len() + rest, 0x5a);
    say(&mut talk, &mut session, Side::Server, &body);
    close(&mut talk, &mut session);
    talk
}

fn http(tuple: FiveTuple, number: usize, dice: &mut Dice) -> Talk {
    let mut session = Session::new(towards(tuple, number, Protocol::TCP, 80));
    let mut talk = handshake(&mut session);
    let name = name_of(number, dice);
    for turn in 0..2 {
        let request = format!(
            "GET /v1/items/{turn} HTTP/1.1\r\nHost: {name}\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n"
        );
        say(&mut talk, &mut session, Side::Client, request.as_bytes());
        let len = dice.pareto(4_000, 60_000);
        let mut answer =
            format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {len}\r\n\r\n")
                .into_bytes();
        answer.resize(answer.len() + len, b'x');
        say(&mut talk, &mut session, Side::Server, &answer);
    }
    close(&mut talk, &mut session);
    talk
}

fn other(tuple: FiveTuple, number: usize, dice: &mut Dice) -> Talk {
    let mut session = Session::new(towards(tuple, number, Protocol::TCP, 2222));
    let mut talk = handshake(&mut session);
    say(&mut talk, &mut session, Side::Server, b"SSH-2.0-OpenSSH_9.6\r\n");
    say(&mut talk, &mut session, Side::Client, b"SSH-2.0-OpenSSH_9.6\r\n");
    for _ in 0..8 {
        let len = dice.pareto(60, 4_000);
        say(&mut talk, &mut session, Side::Client, &[0x5a; 48]);
        say(&mut talk, &mut session, Side::Server, &vec![0x5a; len]);
    }
    close(&mut talk, &mut session);
    talk
}

/// The flow's tuple with a server that is decided by name; every tenth flow is IPv6.
fn towards(tuple: FiveTuple, number: usize, protocol: Protocol, dst_port: u16) -> FiveTuple {
    let [high, low] = u16::try_from(number % 2000).unwrap_or(0).to_be_bytes();
    let [first, second] = NAMED_HOSTS;
    let (src, dst) = if number % 10 == 9 {
        let [.., a, b, c, d] = tuple.src.octets();
        let mut client = [0; 16];
        let mut server = [0; 16];
        client[..2].copy_from_slice(&[0xfd, 0x20]);
        client[12..].copy_from_slice(&[a, b, c, d]);
        server[..2].copy_from_slice(&[0xfd, 0x10]);
        server[14..].copy_from_slice(&[high, low]);
        (Addr::v6(client), Addr::v6(server))
    } else {
        (tuple.src, Addr::v4([first, second, high, low]))
    };
    FiveTuple { src, dst, dst_port, protocol, ..tuple }
}

/// Every fiftieth flow asks for a name that no rule allows.
fn name_of(number: usize, dice: &mut Dice) -> String {
    if number % 50 == 49 {
        rules::other_name(number)
    } else {
        rules::name(dice.below(rules::NAMES))
    }
}

fn handshake(session: &mut Session) -> Talk {
    session.handshake().into_iter().zip([true, false, true]).collect()
}

/// Data in full segments; the other side acknowledges every second one and the last.
fn say(talk: &mut Talk, session: &mut Session, side: Side, bytes: &[u8]) {
    let (from_client, other) = match side {
        Side::Client => (true, Side::Server),
        Side::Server => (false, Side::Client),
    };
    let segments: Vec<_> =
        bytes.chunks(FULL).map(|part| (session.send(side, part), session.ack(other))).collect();
    let count = segments.len();
    for (number, (segment, ack)) in segments.into_iter().enumerate() {
        talk.push((segment, from_client));
        if number % 2 == 1 || number + 1 == count {
            talk.push((ack, !from_client));
        }
    }
}

fn close(talk: &mut Talk, session: &mut Session) {
    talk.push((session.fin(Side::Client), true));
    talk.push((session.fin(Side::Server), false));
    talk.push((session.ack(Side::Client), true));
}

fn offer(name: &str, key_share: usize) -> Hello<'_> {
    Hello { name: name.as_bytes(), key_share }
}

/// A hello as browsers send it.
struct Hello<'a> {
    name: &'a [u8],
    key_share: usize,
}

impl Hello<'_> {
    fn with<T>(&self, alpn: &[&[u8]], make: impl Fn(&Offer<'_>) -> Option<T>) -> Option<T> {
        make(&Offer {
            names: &[self.name],
            versions: &[0x0a0a, 0x0304, 0x0303],
            protocols: alpn,
            key_share: self.key_share,
            extensions: &[(0x1a1a, b""), (0x0017, b""), (0xff01, b"\0"), (0x0023, &[0; 192])],
            ..Offer::default()
        })
    }

    fn records(&self, size: usize) -> Option<Vec<u8>> {
        self.with(&[b"h2", b"http/1.1"], |offer| offer.records(size))
    }

    fn message(&self) -> Option<Vec<u8>> {
        self.with(&[b"h3"], |offer| offer.message())
    }
}

fn initials(name: &str, large: bool, id: &[u8]) -> Option<Vec<Vec<u8>>> {
    let hello = offer(name, if large { 1216 } else { 32 }).message()?;
    let mut datagrams = Vec::new();
    for (number, part) in (0..).zip(hello.chunks(1000)) {
        let initial =
            Initial { version: V1, destination: id, number, padded_to: 1200, ..Initial::default() };
        let offset = usize::try_from(number).unwrap_or(0) * 1000;
        datagrams.push(initial.seal(&crypto_frame(offset, part)?)?);
    }
    Some(datagrams)
}

/// A TLS record of application data with so many bytes.
fn record(bytes: &mut Vec<u8>, len: usize) {
    let [high, low] = u16::try_from(len).unwrap_or(u16::MAX).to_be_bytes();
    bytes.extend([0x17, 3, 3, high, low]);
    bytes.resize(bytes.len() + len, 0x5a);
}

/// A ServerHello that chooses TLS 1.3 (RFC 8446 section 4.1.3), in its record.
fn server_hello() -> Vec<u8> {
    let mut hello = vec![0x16, 3, 3, 0, 90, 2, 0, 0, 86, 3, 3];
    hello.resize(hello.len() + 32, 0x01);
    hello.extend([0, 0x13, 1, 0, 0, 46]);
    hello.extend([0, 0x33, 0, 36, 0, 0x1d, 0, 32]);
    hello.resize(hello.len() + 32, 0x07);
    hello.extend([0, 0x2b, 0, 2, 3, 4]);
    hello
}

/// A DNS query for the address of a name (RFC 1035 section 4.1).
fn question(name: &str, number: usize) -> Vec<u8> {
    let [high, low] = u16::try_from(number & 0xffff).unwrap_or(0).to_be_bytes();
    let mut message = vec![high, low, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        message.push(u8::try_from(label.len()).unwrap_or(0));
        message.extend_from_slice(label.as_bytes());
    }
    message.extend([0, 0, 1, 0, 1]);
    message
}
