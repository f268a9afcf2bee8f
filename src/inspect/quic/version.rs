//! The QUIC versions whose Initial packets can be read, and what differs between them: salt, key
//! labels, packet type bits.

/// Numbers of the packet types in a long header, the same for all versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Initial.
    Initial,
    /// 0-RTT.
    ZeroRtt,
    /// Handshake.
    Handshake,
    /// Retry.
    Retry,
}

/// A version's way to make Initial keys (RFC 9001 section 5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dialect {
    /// Salt of HKDF-Extract.
    pub salt: &'static [u8; 20],
    /// Frames are those of Google's versions T050 and T051.
    pub google: bool,
    /// Labels and packet types are those of version 2 (RFC 9369 section 3).
    pub second: bool,
}

/// Version 1, RFC 9000.
pub const V1: u32 = 0x0000_0001;
/// Version 2, RFC 9369.
pub const V2: u32 = 0x6b33_43cf;

/// RFC 9001 section 5.2, and drafts 33 and 34.
const SALT_V1: [u8; 20] = [
    0x38, 0x76, 0x2c, 0xf7, 0xf5, 0x59, 0x34, 0xb3, 0x4d, 0x17, 0x9a, 0xe6, 0xa4, 0xc8, 0x0c, 0xad,
    0xcc, 0xbb, 0x7f, 0x0a,
];
/// RFC 9369 section 3.3.1.
const SALT_V2: [u8; 20] = [
    0x0d, 0xed, 0xe3, 0xde, 0xf7, 0x00, 0xa6, 0xdb, 0x81, 0x93, 0x81, 0xbe, 0x6e, 0x26, 0x9d, 0xcb,
    0xf9, 0xbd, 0x2e, 0xd9,
];
/// draft-ietf-quic-tls-29 to -32, section 5.2.
const SALT_DRAFT_29: [u8; 20] = [
    0xaf, 0xbf, 0xec, 0x28, 0x99, 0x93, 0xd2, 0x4c, 0x9e, 0x97, 0x86, 0xf1, 0x9c, 0x61, 0x11, 0xe0,
    0x43, 0x90, 0xa8, 0x99,
];
/// draft-ietf-quic-tls-23 to -28, section 5.2.
const SALT_DRAFT_23: [u8; 20] = [
    0xc3, 0xee, 0xf7, 0x12, 0xc7, 0x2e, 0xbb, 0x5a, 0x11, 0xa7, 0xd2, 0x43, 0x2b, 0xb4, 0x63, 0x65,
    0xbe, 0xf9, 0xf5, 0x02,
];
/// draft-ietf-quic-tls-22, section 5.2.
const SALT_DRAFT_22: [u8; 20] = [
    0x7f, 0xbc, 0xdb, 0x0e, 0x7c, 0x66, 0xbb, 0xe9, 0x19, 0x3a, 0x96, 0xcd, 0x21, 0x51, 0x9e, 0xbd,
    0x7a, 0x02, 0x64, 0x4a,
];
/// Google's T050.
const SALT_T050: [u8; 20] = [
    0x7f, 0xf5, 0x79, 0xe5, 0xac, 0xd0, 0x72, 0x91, 0x55, 0x80, 0x30, 0x4c, 0x43, 0xa2, 0x36, 0x7c,
    0x60, 0x48, 0x83, 0x10,
];
/// Google's T051.
const SALT_T051: [u8; 20] = [
    0x7a, 0x4e, 0xde, 0xf4, 0xe7, 0xcc, 0xee, 0x5f, 0xa4, 0x50, 0x6c, 0x19, 0x12, 0x4f, 0xc8, 0xcc,
    0xda, 0x6e, 0x03, 0x3d,
];

/// Whether a version number is one that implementations use, readable or not: RFC drafts, those
/// reserved to force negotiation (RFC 9000 section 15), Google's and Facebook's.
#[must_use]
pub const fn is_plausible(version: u32) -> bool {
    dialect(version).is_some()
        || version >> 8 == 0x00ff_0000
        || version & 0x0f0f_0f0f == 0x0a0a_0a0a
        || matches!(version >> 16, 0x5130 | 0x5430 | 0xface)
}

/// How Initial packets of `version` are read; `None` if they cannot be.
#[inline]
#[must_use]
pub const fn dialect(version: u32) -> Option<Dialect> {
    let salt = match version {
        V1 | 0xff00_0021..=0xff00_0022 => &SALT_V1,
        V2 => return Some(Dialect { salt: &SALT_V2, google: false, second: true }),
        0xff00_001d..=0xff00_0020 => &SALT_DRAFT_29,
        // Facebook's mvfst variants follow drafts 22 and 27.
        0xff00_0017..=0xff00_001c | 0xface_b002 | 0xface_b00e => &SALT_DRAFT_23,
        0xff00_0016 | 0xface_b001 => &SALT_DRAFT_22,
        0x5430_3530 => &SALT_T050,
        0x5430_3531 => &SALT_T051,
        _ => return None,
    };
    let google = matches!(version, 0x5430_3530 | 0x5430_3531);
    Some(Dialect { salt, google, second: false })
}

impl Dialect {
    /// The packet type the first byte of a long header says (RFC 9000 section 17.2, RFC 9369
    /// section 3.2).
    #[inline]
    #[must_use]
    pub const fn kind(self, first: u8) -> Kind {
        let bits = (first >> 4) & 3;
        let bits = if self.second { bits.wrapping_sub(1) & 3 } else { bits };
        match bits {
            0 => Kind::Initial,
            1 => Kind::ZeroRtt,
            2 => Kind::Handshake,
            _ => Kind::Retry,
        }
    }
}

/// Whether a datagram that starts with this byte and this version starts with an Initial packet, or
/// with one of a version that cannot be read.
#[inline]
#[must_use]
pub const fn is_long_header_initial(first_byte: u8, version: u32) -> bool {
    if first_byte & 0x80 == 0 {
        return false;
    }
    match dialect(version) {
        Some(dialect) => matches!(dialect.kind(first_byte), Kind::Initial),
        None => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packet_types_of_version_2_are_shifted_by_one() {
        let kinds = [Kind::Initial, Kind::ZeroRtt, Kind::Handshake, Kind::Retry];
        for (bits, kind) in (0_u8..).zip(kinds) {
            assert_eq!(dialect(V1).unwrap().kind(0xc0 | bits << 4), kind);
            assert_eq!(dialect(V2).unwrap().kind(0xc0 | ((bits + 1) & 3) << 4), kind);
        }
    }

    #[test]
    fn only_initials_and_unreadable_versions_need_a_look() {
        assert!(is_long_header_initial(0xc3, V1));
        assert!(!is_long_header_initial(0xe3, V1));
        assert!(is_long_header_initial(0xd3, V2));
        assert!(is_long_header_initial(0xe3, 0x1234_5678));
        assert!(!is_long_header_initial(0x43, V1));
    }
}
