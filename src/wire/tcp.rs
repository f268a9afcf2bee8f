//! TCP headers (RFC 9293): ports, numbers, flags, and the options that matter to tracking. No state.

use super::bytes::{array_at, u8_at};
use super::{Fragment, Packet};
use crate::model::Reason;
use etherparse::TcpHeaderSlice;
use etherparse::err::tcp::HeaderSliceError;
use std::fmt;

/// The largest window scale (RFC 7323 section 2.3); larger ones mean this one.
const WINDOW_SCALE_LIMIT: u8 = 14;

const HEADER_LEN: usize = 20;

/// Option kinds (RFC 9293 section 3.2, RFC 7323).
const END: u8 = 0;
const NO_OPERATION: u8 = 1;
const WINDOW_SCALE: u8 = 3;
const TIMESTAMPS: u8 = 8;

/// The flag byte of a TCP header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct TcpFlags(pub u8);

impl TcpFlags {
    /// No more data from the sender.
    pub const FIN: Self = Self(0x01);
    /// Synchronise sequence numbers.
    pub const SYN: Self = Self(0x02);
    /// Reset.
    pub const RST: Self = Self(0x04);
    /// Push.
    pub const PSH: Self = Self(0x08);
    /// The acknowledgement number counts.
    pub const ACK: Self = Self(0x10);
    /// The urgent pointer counts.
    pub const URG: Self = Self(0x20);

    /// Whether every flag of `other` is set.
    #[inline]
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether FIN is set.
    #[inline]
    #[must_use]
    pub const fn fin(self) -> bool {
        self.contains(Self::FIN)
    }

    /// Whether SYN is set.
    #[inline]
    #[must_use]
    pub const fn syn(self) -> bool {
        self.contains(Self::SYN)
    }

    /// Whether RST is set.
    #[inline]
    #[must_use]
    pub const fn rst(self) -> bool {
        self.contains(Self::RST)
    }

    /// Whether ACK is set.
    #[inline]
    #[must_use]
    pub const fn ack(self) -> bool {
        self.contains(Self::ACK)
    }

    /// Whether a connection can produce these: at most one of SYN, FIN and RST, and FIN or plain
    /// data only with ACK (RFC 9293 section 3.10).
    #[inline]
    pub(super) const fn are_sane(self) -> bool {
        let ends = Self::SYN.0 | Self::FIN.0 | Self::RST.0;
        let starts = Self::SYN.0 | Self::RST.0 | Self::ACK.0;
        (self.0 & ends).count_ones() <= 1 && self.0 & starts != 0
    }
}

impl std::ops::BitOr for TcpFlags {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl fmt::Display for TcpFlags {
    /// `S`, `SA`, `FPA`: the letters of the flags that are set, from the lowest bit up.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (bit, letter) in "FSRPAUEC".chars().enumerate() {
            if self.0 >> bit & 1 == 1 {
                write!(f, "{letter}")?;
            }
        }
        Ok(())
    }
}

/// What a TCP header says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TcpSegment {
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgement number; counts only with ACK.
    pub ack: u32,
    /// Flags.
    pub flags: TcpFlags,
    /// Window, not scaled.
    pub window: u16,
    /// Window scale, read from SYN segments only.
    pub wscale: Option<u8>,
    /// Whether the segment carries urgent data: URG is set, whatever the pointer says.
    pub urgent: bool,
}

/// Ports, length of the header and the segment in `bytes`, which end with the packet.
#[inline(always)]
pub(super) fn parse(
    bytes: &[u8],
    fragment: Fragment,
) -> Result<((u16, u16), usize, TcpSegment), Reason> {
    let header = TcpHeaderSlice::from_slice(bytes).map_err(|error| match (error, fragment) {
        (HeaderSliceError::Len(_), Fragment::First { .. }) => Reason::FragmentTiny,
        _ => Reason::TcpHeader,
    })?;
    let flags = TcpFlags(u8_at(header.slice(), 13).unwrap_or_default());
    if !flags.are_sane() {
        return Err(Reason::TcpFlags);
    }
    let segment = TcpSegment {
        seq: header.sequence_number(),
        ack: header.acknowledgment_number(),
        flags,
        window: header.window_size(),
        wscale: if flags.syn() { window_scale(header.options()) } else { None },
        urgent: flags.contains(TcpFlags::URG),
    };
    Ok(((header.source_port(), header.destination_port()), header.slice().len(), segment))
}

#[cold]
pub(super) fn window_scale(options: &[u8]) -> Option<u8> {
    option(options, WINDOW_SCALE)?.first().map(|scale| WINDOW_SCALE_LIMIT.min(*scale))
}

/// The timestamp option (RFC 7323 section 3): its own value and the one it echoes. Read only where
/// the engine inspects, since decided flows do not need it.
#[must_use]
pub fn timestamp(frame: &[u8], packet: &Packet) -> Option<(u32, u32)> {
    packet.tcp()?;
    let options = usize::from(packet.transport).checked_add(HEADER_LEN)?;
    let data = option(frame.get(options..usize::from(packet.payload))?, TIMESTAMPS)?;
    let [value, echo] = [array_at(data, 0)?, array_at(data, 4)?].map(u32::from_be_bytes);
    (data.len() == 8).then_some((value, echo))
}

/// The data of the first option of this kind. Malformed options end the walk, as receivers do.
/// Every step takes at least one of at most 40 bytes.
fn option(options: &[u8], wanted: u8) -> Option<&[u8]> {
    let mut rest = options;
    loop {
        match *rest.first()? {
            END => return None,
            NO_OPERATION => rest = rest.get(1..)?,
            kind => {
                let len = usize::from(u8_at(rest, 1)?).max(1);
                let (option, behind) = rest.split_at_checked(len)?;
                let data = option.get(2..)?;
                if kind == wanted {
                    return Some(data);
                }
                rest = behind;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_flags_of_connections_are_sane() {
        let sane = ["S", "SA", "R", "RA", "A", "FA", "PA", "FPA", "AU", "SEC", "SAE"];
        for flags in (0..=255).map(TcpFlags) {
            let [fin, syn, rst, ack] = [flags.fin(), flags.syn(), flags.rst(), flags.ack()];
            let ends = [syn, fin, rst].into_iter().filter(|set| *set).count();
            let expected = ends <= 1 && (syn || rst || ack);
            assert_eq!(flags.are_sane(), expected, "{flags}");
            if sane.contains(&flags.to_string().as_str()) {
                assert!(flags.are_sane(), "{flags}");
            }
        }
    }

    #[test]
    fn options_are_found_behind_others_and_not_behind_malformed_ones() {
        assert_eq!(window_scale(&[2, 4, 0x21, 0x0c, 1, 3, 3, 7]), Some(7));
        assert_eq!(window_scale(&[30, 4, 0, 0, 3, 3, 200]), Some(14));
        assert_eq!(window_scale(&[30, 0, 3, 3, 7]), None);
        assert_eq!(window_scale(&[30, 1, 3, 3, 7]), None);
        assert_eq!(window_scale(&[0, 3, 3, 7]), None);
        assert_eq!(window_scale(&[3, 2]), None);
        assert_eq!(window_scale(&[3, 3]), None);
        assert_eq!(window_scale(&[]), None);
    }
}
