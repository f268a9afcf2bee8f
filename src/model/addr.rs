//! One representation for IPv4 and IPv6 addresses, so that keys, networks and tables need no
//! second case.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An address. IPv4 is kept as its IPv4-mapped form `::ffff:a.b.c.d` (RFC 4291 section 2.5.5.2);
/// a mapped address in a real IPv6 header is refused by the parser, so the two never meet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct Addr([u8; 16]);

impl Addr {
    /// From the four bytes of an IPv4 header.
    #[must_use]
    pub const fn v4(b: [u8; 4]) -> Self {
        // As one number, so that it is stored in two words and not byte by byte: the next reader
        // would wait for the stores.
        Self((0xffff_u128 << 32 | u32::from_be_bytes(b) as u128).to_be_bytes())
    }

    /// From the sixteen bytes of an IPv6 header.
    #[must_use]
    pub const fn v6(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// All sixteen bytes, IPv4 in its mapped form.
    #[must_use]
    pub const fn octets(self) -> [u8; 16] {
        self.0
    }

    /// The address as one number, for comparison with networks.
    #[must_use]
    pub const fn bits(self) -> u128 {
        u128::from_be_bytes(self.0)
    }

    /// Whether this is an IPv4 address.
    #[must_use]
    pub const fn is_v4(self) -> bool {
        self.bits() >> 32 == 0xffff
    }

    /// The address that stands where a client names a host: IPv4 with dots, or IPv6, with or without
    /// brackets (RFC 3986 section 3.2.2). `None`: it is none.
    #[must_use]
    pub fn from_host(host: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(host).ok()?;
        let bare = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(text);
        bare.parse::<IpAddr>().ok().map(Self::from)
    }

    /// The address as the standard library writes it.
    #[must_use]
    pub fn to_ip(self) -> IpAddr {
        let v6 = Ipv6Addr::from(self.0);
        v6.to_ipv4_mapped().map_or(IpAddr::V6(v6), IpAddr::V4)
    }
}

impl From<IpAddr> for Addr {
    fn from(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(v4) => v4.into(),
            IpAddr::V6(v6) => v6.into(),
        }
    }
}

impl From<Ipv4Addr> for Addr {
    fn from(v4: Ipv4Addr) -> Self {
        Self::v4(v4.octets())
    }
}

impl From<Ipv6Addr> for Addr {
    fn from(v6: Ipv6Addr) -> Self {
        Self::v6(v6.octets())
    }
}

impl fmt::Display for Addr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_ip().fmt(f)
    }
}
