//! Five-tuple, protocol number, direction.

use super::Addr;
use std::fmt;

/// An IP protocol number (IANA "Protocol Numbers").
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Protocol(pub u8);

impl Protocol {
    /// ICMP, 1.
    pub const ICMP: Self = Self(1);
    /// TCP, 6.
    pub const TCP: Self = Self(6);
    /// UDP, 17.
    pub const UDP: Self = Self(17);
    /// ICMPv6, 58.
    pub const ICMPV6: Self = Self(58);

    /// Whether packets of this protocol have ports.
    #[must_use]
    pub const fn has_ports(self) -> bool {
        matches!(self, Self::TCP | Self::UDP)
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::ICMP => f.write_str("icmp"),
            Self::TCP => f.write_str("tcp"),
            Self::UDP => f.write_str("udp"),
            Self::ICMPV6 => f.write_str("icmpv6"),
            Self(number) => write!(f, "{number}"),
        }
    }
}

/// Which way a packet of a flow travels: as the flow's first packet did, or back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Direction {
    /// The way of the flow's first packet.
    Original = 0,
    /// The other way.
    Reply = 1,
}

impl Direction {
    /// The opposite direction.
    #[must_use]
    pub const fn flip(self) -> Self {
        match self {
            Self::Original => Self::Reply,
            Self::Reply => Self::Original,
        }
    }

    /// What is kept for this direction, of a pair that has the original one first.
    pub const fn of<T>(self, [original, reply]: &[T; 2]) -> &T {
        match self {
            Self::Original => original,
            Self::Reply => reply,
        }
    }

    /// The same, to change.
    pub const fn of_mut<T>(self, [original, reply]: &mut [T; 2]) -> &mut T {
        match self {
            Self::Original => original,
            Self::Reply => reply,
        }
    }

    /// Position in two-element arrays kept per direction.
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// The directed five-tuple of a packet or of a flow. For ICMP echo both ports hold the
/// identifier; protocols without ports have zeros.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
// It is handed on for every new flow: aligned, it is copied in words that do not overlap, so that no
// copy waits for the one before it.
#[repr(align(8))]
pub struct FiveTuple {
    /// Source address.
    pub src: Addr,
    /// Destination address.
    pub dst: Addr,
    /// Source port.
    pub src_port: u16,
    /// Destination port.
    pub dst_port: u16,
    /// Protocol number.
    pub protocol: Protocol,
}

impl FiveTuple {
    /// The tuple of the answer.
    #[must_use]
    pub const fn reverse(self) -> Self {
        Self {
            src: self.dst,
            dst: self.src,
            src_port: self.dst_port,
            dst_port: self.src_port,
            protocol: self.protocol,
        }
    }
}

impl fmt::Display for FiveTuple {
    /// `10.20.1.5:40000 -> 10.100.4.7:443/tcp`, IPv6 addresses in brackets before a port.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.protocol.has_ports() {
            return write!(f, "{} -> {}/{}", self.src, self.dst, self.protocol);
        }
        let side = |f: &mut fmt::Formatter<'_>, addr: Addr, port: u16| {
            if addr.is_v4() { write!(f, "{addr}:{port}") } else { write!(f, "[{addr}]:{port}") }
        };
        side(f, self.src, self.src_port)?;
        f.write_str(" -> ")?;
        side(f, self.dst, self.dst_port)?;
        write!(f, "/{}", self.protocol)
    }
}
