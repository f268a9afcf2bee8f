//! Link layers of captures and of live queues: from the start of a frame to its IP header.
//! No PPPoE, no MPLS, no 802.11; what is not IP is `not-ip`.

use super::bytes::{array_at, u8_at, u16_at};
use super::ip::Version;
use crate::model::Reason;

/// VLAN tags in one frame that are skipped.
pub const VLAN_LIMIT: usize = 4;

/// Tag protocol identifiers: 802.1Q, 802.1ad, and the one used before 802.1ad.
const VLAN_TAGS: [u16; 3] = [0x8100, 0x88a8, 0x9100];

const ETHERNET_ADDRESSES_LEN: usize = 12;

/// What a frame starts with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Link {
    /// Ethernet II, with VLAN tags or without (LINKTYPE_ETHERNET 1).
    Ethernet,
    /// An IP header (LINKTYPE_RAW 101, LINKTYPE_IPV4 228, LINKTYPE_IPV6 229).
    RawIp,
    /// BSD loopback: an address family in either byte order (LINKTYPE_NULL 0, LINKTYPE_LOOP 108).
    Null,
    /// PPP, with HDLC-like framing or without (LINKTYPE_PPP 9, LINKTYPE_PPP_HDLC 50).
    Ppp,
    /// Linux cooked capture (LINKTYPE_LINUX_SLL 113).
    LinuxSll,
    /// Linux cooked capture, version 2 (LINKTYPE_LINUX_SLL2 276).
    LinuxSll2,
}

impl Link {
    /// The link of a capture's LINKTYPE number, if it is one of those.
    #[must_use]
    pub const fn of_linktype(number: u32) -> Option<Self> {
        match number {
            0 | 108 => Some(Self::Null),
            1 => Some(Self::Ethernet),
            9 | 50 => Some(Self::Ppp),
            // 12 and 14 are what DLT_RAW is on the systems that wrote it unmapped.
            12 | 14 | 101 | 228 | 229 => Some(Self::RawIp),
            113 => Some(Self::LinuxSll),
            276 => Some(Self::LinuxSll2),
            _ => None,
        }
    }

    /// The LINKTYPE number to write frames of this link with.
    #[must_use]
    pub const fn linktype(self) -> u32 {
        match self {
            Self::Null => 0,
            Self::Ethernet => 1,
            Self::Ppp => 9,
            Self::RawIp => 101,
            Self::LinuxSll => 113,
            Self::LinuxSll2 => 276,
        }
    }
}

/// Offset and version of the first IP header.
#[inline]
pub(super) fn network(frame: &[u8], link: Link) -> Result<(usize, Version), Reason> {
    match link {
        Link::Ethernet => ethernet(frame, 0),
        Link::RawIp => {
            let first = u8_at(frame, 0).ok_or(Reason::Truncated)?;
            Ok((0, Version::of_nibble(first >> 4).ok_or(Reason::IpVersion)?))
        }
        Link::Null => null(frame),
        Link::Ppp => ppp(frame),
        Link::LinuxSll => tagged(frame, 14),
        Link::LinuxSll2 => {
            let ethertype = u16_at(frame, 0).ok_or(Reason::Truncated)?;
            if VLAN_TAGS.contains(&ethertype) {
                return tagged(frame, 22);
            }
            Ok((20, Version::of_ethertype(ethertype).ok_or(Reason::NotIp)?))
        }
    }
}

/// The same for an Ethernet frame that starts at `at`.
#[inline]
pub(super) fn ethernet(frame: &[u8], at: usize) -> Result<(usize, Version), Reason> {
    tagged(frame, at.saturating_add(ETHERNET_ADDRESSES_LEN))
}

/// Skips VLAN tags; `at` is where the first EtherType stands.
#[inline]
fn tagged(frame: &[u8], at: usize) -> Result<(usize, Version), Reason> {
    let mut at = at;
    for _ in 0..=VLAN_LIMIT {
        let ethertype = u16_at(frame, at).ok_or(Reason::Truncated)?;
        if let Some(version) = Version::of_ethertype(ethertype) {
            return Ok((at.saturating_add(2), version));
        }
        if !VLAN_TAGS.contains(&ethertype) {
            return Err(Reason::NotIp);
        }
        at = at.saturating_add(4);
    }
    Err(Reason::TooDeep)
}

/// The address family is in the byte order of the machine that captured; AF_INET is 2 everywhere,
/// AF_INET6 is 24, 28 or 30, and 10 where Linux wrote it.
fn null(frame: &[u8]) -> Result<(usize, Version), Reason> {
    let bytes: [u8; 4] = array_at(frame, 0).ok_or(Reason::Truncated)?;
    let family = u32::from_le_bytes(bytes).min(u32::from_be_bytes(bytes));
    match family {
        2 => Ok((4, Version::V4)),
        10 | 24 | 28 | 30 => Ok((4, Version::V6)),
        _ => Err(Reason::NotIp),
    }
}

/// RFC 1662 section 3.1 (address and control field), RFC 1661 section 2 and 6.5 (protocol field,
/// one byte if compressed, told by its odd first byte).
fn ppp(frame: &[u8]) -> Result<(usize, Version), Reason> {
    let at = if frame.starts_with(&[0xff, 0x03]) { 2 } else { 0 };
    let first = u8_at(frame, at).ok_or(Reason::Truncated)?;
    let (protocol, network) = if first & 1 == 1 {
        (u16::from(first), at.saturating_add(1))
    } else {
        (u16_at(frame, at).ok_or(Reason::Truncated)?, at.saturating_add(2))
    };
    match protocol {
        0x0021 => Ok((network, Version::V4)),
        0x0057 => Ok((network, Version::V6)),
        _ => Err(Reason::NotIp),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ethernet_with_tags(tags: &[u16]) -> Vec<u8> {
        let mut frame = vec![0; 12];
        for tag in tags {
            frame.extend(tag.to_be_bytes());
            frame.extend([0, 1]);
        }
        frame.extend([0x08, 0x00]);
        frame
    }

    #[test]
    fn vlan_tags_are_skipped_up_to_the_limit() {
        for (tags, expected) in [
            (vec![], Ok(14)),
            (vec![0x8100], Ok(18)),
            (vec![0x88a8, 0x8100], Ok(22)),
            (vec![0x9100, 0x8100], Ok(22)),
            (vec![0x8100; VLAN_LIMIT - 1], Ok(14 + 4 * (VLAN_LIMIT - 1))),
            (vec![0x8100; VLAN_LIMIT], Ok(14 + 4 * VLAN_LIMIT)),
            (vec![0x8100; VLAN_LIMIT + 1], Err(Reason::TooDeep)),
            (vec![0x1234], Err(Reason::NotIp)),
        ] {
            let found = network(&ethernet_with_tags(&tags), Link::Ethernet);
            assert_eq!(found.map(|(at, _)| at), expected, "{tags:x?}");
        }
    }

    #[test]
    fn loopback_families_of_both_byte_orders_are_known() {
        for family in [24u32, 28, 30] {
            for bytes in [family.to_le_bytes(), family.to_be_bytes()] {
                assert_eq!(network(&bytes, Link::Null), Ok((4, Version::V6)));
            }
        }
        assert_eq!(network(&[2, 0, 0, 0], Link::Null), Ok((4, Version::V4)));
        assert_eq!(network(&[0, 0, 0, 2], Link::Null), Ok((4, Version::V4)));
        assert_eq!(network(&[0, 0, 0, 7], Link::Null), Err(Reason::NotIp));
        assert_eq!(network(&[0, 0, 0], Link::Null), Err(Reason::Truncated));
    }

    #[test]
    fn ppp_is_read_with_and_without_framing_and_compression() {
        for (bytes, expected) in [
            (&[0xff, 0x03, 0x00, 0x21][..], Ok((4, Version::V4))),
            (&[0x00, 0x57], Ok((2, Version::V6))),
            (&[0x21], Ok((1, Version::V4))),
            (&[0xff, 0x03, 0x57], Ok((3, Version::V6))),
            (&[0xc0, 0x21], Err(Reason::NotIp)),
            (&[0xff, 0x03], Err(Reason::Truncated)),
            (&[0x00], Err(Reason::Truncated)),
        ] {
            assert_eq!(network(bytes, Link::Ppp), expected, "{bytes:x?}");
        }
    }

    #[test]
    fn cooked_captures_are_read_with_and_without_tags() {
        let mut sll = vec![0; 14];
        sll.extend([0x86, 0xdd]);
        assert_eq!(network(&sll, Link::LinuxSll), Ok((16, Version::V6)));
        let mut tagged = vec![0; 14];
        tagged.extend([0x81, 0x00, 0x00, 0x05, 0x08, 0x00]);
        assert_eq!(network(&tagged, Link::LinuxSll), Ok((20, Version::V4)));
        let mut sll2 = vec![0x08, 0x00];
        sll2.extend([0; 18]);
        assert_eq!(network(&sll2, Link::LinuxSll2), Ok((20, Version::V4)));
        let mut sll2_tagged = vec![0x81, 0x00];
        sll2_tagged.extend([0; 20]);
        sll2_tagged.extend([0x86, 0xdd]);
        assert_eq!(network(&sll2_tagged, Link::LinuxSll2), Ok((24, Version::V6)));
        assert_eq!(network(&[0x08, 0x06, 0, 0], Link::LinuxSll2), Err(Reason::NotIp));
    }

    #[test]
    fn what_is_written_with_a_linktype_is_read_with_it() {
        for link in
            [Link::Ethernet, Link::RawIp, Link::Null, Link::Ppp, Link::LinuxSll, Link::LinuxSll2]
        {
            assert_eq!(Link::of_linktype(link.linktype()), Some(link));
        }
        assert_eq!(Link::of_linktype(105), None);
    }

    #[test]
    fn raw_ip_is_told_by_its_version() {
        assert_eq!(network(&[0x45], Link::RawIp), Ok((0, Version::V4)));
        assert_eq!(network(&[0x60], Link::RawIp), Ok((0, Version::V6)));
        assert_eq!(network(&[0x50], Link::RawIp), Err(Reason::IpVersion));
        assert_eq!(network(&[], Link::RawIp), Err(Reason::Truncated));
    }
}
