//! Link-layer types of captures (the registry of draft-ietf-opsawg-pcaplinktype) to the link layers
//! the engine reads.

use crate::wire::Link;
use std::fmt;

/// A link-layer type as a capture file has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkType(pub u16);

/// A packet behind what its link type puts before the link layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Linked {
    /// The link layer that is left.
    pub link: Link,
    /// Bytes before it.
    pub skip: usize,
}

const NULL: u16 = 0;
const ETHERNET: u16 = 1;
const PPP: u16 = 9;
/// `DLT_RAW` as some systems number it; files carry it although LINKTYPE_RAW is 101.
const RAW_BSD: [u16; 2] = [12, 14];
const PPP_HDLC: u16 = 50;
const RAW: u16 = 101;
const LOOP: u16 = 108;
const LINUX_SLL: u16 = 113;
const PPI: u16 = 192;
const PPP_WITH_DIRECTION: u16 = 204;
const IPV4: u16 = 228;
const IPV6: u16 = 229;
const LINUX_SLL2: u16 = 276;

/// Version 0, flags, header length, link type of the packet, all little endian.
const PPI_HEADER_BYTES: usize = 8;

impl LinkType {
    /// What captures of a link layer are written as.
    #[must_use]
    pub const fn of(link: Link) -> Self {
        Self(match link {
            Link::Ethernet => ETHERNET,
            Link::RawIp => RAW,
            Link::Null => NULL,
            Link::Ppp => PPP,
            Link::LinuxSll => LINUX_SLL,
            Link::LinuxSll2 => LINUX_SLL2,
        })
    }

    /// The link layer of a packet of this type; none if it cannot be read.
    #[must_use]
    pub fn resolve(self, packet: &[u8]) -> Option<Linked> {
        match self.0 {
            PPI => {
                let header: &[u8; PPI_HEADER_BYTES] = packet.first_chunk()?;
                let [_, _, len_low, len_high, a, b, c, d] = *header;
                let inner = u16::try_from(u32::from_le_bytes([a, b, c, d])).ok()?;
                let skip = usize::from(u16::from_le_bytes([len_low, len_high]));
                let link = Self(inner).plain()?;
                (PPI_HEADER_BYTES..=packet.len()).contains(&skip).then_some(Linked { link, skip })
            }
            PPP_WITH_DIRECTION => Some(Linked { link: Link::Ppp, skip: packet.len().min(1) }),
            _ => self.plain().map(|link| Linked { link, skip: 0 }),
        }
    }

    const fn plain(self) -> Option<Link> {
        Some(match self.0 {
            NULL | LOOP => Link::Null,
            ETHERNET => Link::Ethernet,
            PPP | PPP_HDLC => Link::Ppp,
            RAW | IPV4 | IPV6 => Link::RawIp,
            other if other == RAW_BSD[0] || other == RAW_BSD[1] => Link::RawIp,
            LINUX_SLL => Link::LinuxSll,
            LINUX_SLL2 => Link::LinuxSll2,
            _ => return None,
        })
    }
}

impl fmt::Display for LinkType {
    /// The number, and the name of those often met that cannot be read.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.0 {
            105 | 127 | 163 => " (802.11)",
            PPI => " (PPI)",
            148 | 187 | 201 => " (Bluetooth)",
            189 | 220 | 249 => " (USB)",
            195 | 230 => " (802.15.4)",
            239 => " (NFLOG)",
            _ => "",
        };
        write!(f, "{}{name}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Link; 6] =
        [Link::Ethernet, Link::RawIp, Link::Null, Link::Ppp, Link::LinuxSll, Link::LinuxSll2];

    #[test]
    fn link_types_written_are_read_as_what_they_were() {
        for link in ALL {
            assert_eq!(LinkType::of(link).resolve(&[]), Some(Linked { link, skip: 0 }));
        }
    }

    #[test]
    fn per_packet_information_is_skipped() {
        let header = [0, 0, 8, 0, 1, 0, 0, 0];
        assert_eq!(LinkType(PPI).resolve(&header), Some(Linked { link: Link::Ethernet, skip: 8 }));
        assert_eq!(
            LinkType(PPI).resolve(&[0, 0, 9, 0, 1, 0, 0, 0]),
            None,
            "longer than the packet"
        );
        assert_eq!(LinkType(PPI).resolve(&[0, 0, 7, 0, 1, 0, 0, 0]), None, "shorter than itself");
        assert_eq!(LinkType(PPI).resolve(&[0, 0, 8, 0, 105, 0, 0, 0]), None, "802.11 inside");
        assert_eq!(LinkType(PPI).resolve(&[0, 0, 8]), None);
    }

    #[test]
    fn what_is_no_ip_link_is_not_guessed() {
        for number in [2, 105, 127, 147, 220, u16::MAX] {
            assert_eq!(LinkType(number).resolve(&[0x45; 40]), None, "{number}");
        }
    }
}
