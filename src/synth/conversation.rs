//! A whole conversation as inner packets: what a client and a server send each other, in order, with
//! nothing lost. What they say stands in `speech`.

use super::packet;
use super::session::{Session, Side};
use super::speech::{Speech, proxy_header};
use crate::model::{EndpointId, FiveTuple, Protocol};

/// Most payload bytes of one segment.
const SEGMENT_BYTES: usize = 1400;

/// Who talks, and what is said.
#[derive(Clone, Copy, Debug)]
pub struct Conversation<'a> {
    /// As the client sends.
    pub tuple: FiveTuple,
    /// ICMP type and code, for those protocols; echo is answered.
    pub icmp: Option<(u8, u8)>,
    /// A PROXY header in front, with this endpoint if there is one inside.
    pub proxy: Option<Option<EndpointId>>,
    /// What is said.
    pub speech: Speech<'a>,
}

impl Conversation<'_> {
    /// Its packets, in order.
    #[must_use]
    pub fn packets(&self) -> Vec<Vec<u8>> {
        match self.tuple.protocol {
            Protocol::TCP => self.stream(),
            Protocol::UDP => self.datagrams(),
            Protocol::ICMP | Protocol::ICMPV6 => self.messages(),
            _ => [Side::Client, Side::Server]
                .into_iter()
                .map(|side| packet::other(&self.directed(side), &[0xb7; 24]))
                .collect(),
        }
    }

    fn stream(&self) -> Vec<Vec<u8>> {
        let mut session = Session::new(self.tuple);
        let mut packets = session.handshake();
        if let Some(endpoint) = self.proxy {
            packets.push(session.send(Side::Client, &proxy_header(endpoint, self.tuple.protocol)));
        }
        for (side, bytes) in self.speech.stream() {
            packets.extend(session.send_split(side, &bytes, SEGMENT_BYTES));
        }
        packets.push(session.fin(Side::Client));
        packets.push(session.fin(Side::Server));
        packets.push(session.ack(Side::Client));
        packets
    }

    /// A PROXY header is on each of the client's datagrams.
    fn datagrams(&self) -> Vec<Vec<u8>> {
        let header = self.proxy.map(|endpoint| proxy_header(endpoint, self.tuple.protocol));
        let said = self.speech.datagrams().into_iter().map(|(side, payload)| match &header {
            Some(header) if side == Side::Client => (side, [header.as_slice(), &payload].concat()),
            _ => (side, payload),
        });
        said.map(|(side, payload)| packet::udp(&self.directed(side), &payload)).collect()
    }

    fn messages(&self) -> Vec<Vec<u8>> {
        let echo = if self.tuple.protocol == Protocol::ICMP { (8, 0) } else { (128, 0) };
        match self.icmp.unwrap_or(echo) {
            asked if asked == echo => {
                let reply = FiveTuple { src_port: self.tuple.src_port, ..self.tuple.reverse() };
                vec![packet::echo(&self.tuple, false, 1), packet::echo(&reply, true, 1)]
            }
            (kind, code) => vec![packet::icmp(&self.tuple, kind, code, &[0xb7; 24])],
        }
    }

    const fn directed(&self, side: Side) -> FiveTuple {
        match side {
            Side::Client => self.tuple,
            Side::Server => self.tuple.reverse(),
        }
    }
}
