//! Where everything is in one frame. Offsets and numbers only, no borrow, so that a frame can be
//! changed, held or sent while its `Packet` is kept.

use super::bytes::u16_at;
use super::{Link, Outer, Quoted, TcpSegment};
use crate::model::{Addr, FiveTuple, Protocol};

/// A UDP header, and where in it the length stands (RFC 768).
const UDP_LEN: usize = 8;
const UDP_LENGTH_AT: usize = 4;

/// One parsed frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// The GWLB encapsulation; none in a capture of bare traffic or behind another tunnel.
    pub outer: Option<Outer>,
    /// Inner five-tuple. ICMP echo has its identifier as both ports, later fragments have zeros.
    pub tuple: FiveTuple,
    /// The layer the frame starts with.
    pub link: Link,
    /// Offset of the first network header, right behind the link header.
    pub network: u16,
    /// Offset of the inner IP header.
    pub ip: u16,
    /// Length of the inner packet with its IP header.
    pub ip_len: u32,
    /// Offset of the transport header (of a later fragment: of its bytes).
    pub transport: u16,
    /// Offset of what the transport carries.
    pub payload: u16,
    /// Length of what the transport carries.
    pub payload_len: u16,
    /// Time to live or hop limit of the inner packet.
    pub ttl: u8,
    /// Whether this is a whole packet.
    pub fragment: Fragment,
    /// What the transport header says.
    pub body: Body,
}

impl Packet {
    /// What stands where no packet was read.
    pub const NONE: Self = Self {
        outer: None,
        tuple: FiveTuple {
            src: Addr::v4([0; 4]),
            dst: Addr::v4([0; 4]),
            src_port: 0,
            dst_port: 0,
            protocol: Protocol(0),
        },
        link: Link::RawIp,
        network: 0,
        ip: 0,
        ip_len: 0,
        transport: 0,
        payload: 0,
        payload_len: 0,
        ttl: 0,
        fragment: Fragment::Whole,
        body: Body::Other,
    };

    /// The inner packet from its IP header on, without link-layer padding.
    #[must_use]
    pub fn inner<'f>(&self, frame: &'f [u8]) -> &'f [u8] {
        slice(frame, self.ip, self.ip_len as usize)
    }

    /// What the transport carries.
    #[must_use]
    pub fn payload<'f>(&self, frame: &'f [u8]) -> &'f [u8] {
        slice(frame, self.payload, usize::from(self.payload_len))
    }

    /// The TCP segment, if this is one.
    #[must_use]
    pub const fn tcp(&self) -> Option<&TcpSegment> {
        match &self.body {
            Body::Tcp(segment) => Some(segment),
            _ => None,
        }
    }

    /// Bytes behind what a whole UDP datagram's length counts, up to the end of its packet: no payload,
    /// but read by receivers that know UDP options (RFC 9868).
    #[must_use]
    pub fn surplus(&self) -> u32 {
        let end = u32::from(self.payload).saturating_add(u32::from(self.payload_len));
        u32::from(self.ip).saturating_add(self.ip_len).saturating_sub(end)
    }

    /// Bytes behind the inner packet that came in its GWLB encapsulation with it: no length of the packet
    /// counts them. Padding behind the outer datagram is none of them.
    #[must_use]
    pub fn trailing<'f>(&self, frame: &'f [u8]) -> &'f [u8] {
        let Some(outer) = self.outer else { return &[] };
        let udp = usize::from(outer.geneve).saturating_sub(UDP_LEN);
        let len = u16_at(frame, udp.saturating_add(UDP_LENGTH_AT)).unwrap_or_default();
        let end = udp.saturating_add(usize::from(len));
        let inner_end = usize::from(self.ip).saturating_add(self.ip_len as usize);
        frame.get(inner_end..end).unwrap_or_default()
    }

    /// Whether the packet came in pieces of which this is one.
    #[must_use]
    pub const fn is_fragment(&self) -> bool {
        !matches!(self.fragment, Fragment::Whole)
    }
}

fn slice(frame: &[u8], at: u16, len: usize) -> &[u8] {
    frame.get(usize::from(at)..).and_then(|rest| rest.get(..len)).unwrap_or_default()
}

/// Which part of a packet a frame carries (RFC 791 section 3.2, RFC 8200 section 4.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fragment {
    /// All of it. An IPv6 atomic fragment (RFC 6946) is whole.
    Whole,
    /// Its beginning, with the whole transport header.
    First {
        /// Identification; 16 bits in IPv4.
        id: u32,
        /// Bytes of the fragmentable part in this frame.
        len: u16,
        /// What tells fragments with equal `id` apart: the protocol in IPv4, always 44 in IPv6,
        /// where later fragments may name another next header (RFC 8200 section 4.5).
        key: Protocol,
    },
    /// A later part; it has no transport header.
    Later {
        /// Identification; 16 bits in IPv4.
        id: u32,
        /// Offset in bytes, never 0.
        offset: u16,
        /// Bytes of the fragmentable part in this frame.
        len: u16,
        /// Whether more fragments follow.
        more: bool,
        /// As in `First`.
        key: Protocol,
    },
}

/// What the transport header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// TCP.
    Tcp(TcpSegment),
    /// UDP.
    Udp,
    /// ICMP or ICMPv6 echo.
    Echo {
        /// An answer, not a question.
        reply: bool,
    },
    /// An ICMP or ICMPv6 error about a packet it quotes.
    IcmpError {
        /// ICMP type.
        kind: u8,
        /// ICMP code.
        code: u8,
        /// The packet it is about.
        quoted: Quoted,
    },
    /// Any other ICMP or ICMPv6 message.
    Icmp {
        /// ICMP type.
        kind: u8,
        /// ICMP code.
        code: u8,
    },
    /// A protocol known by its number only, or a later fragment.
    Other,
}
