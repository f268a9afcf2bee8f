//! VXLAN (RFC 7348) as traffic mirroring sends it. The network identifier is not interpreted.

use super::bytes::u8_at;
use crate::model::Reason;

/// UDP destination port of VXLAN (RFC 7348 section 5).
pub const VXLAN_PORT: u16 = 4789;

const HEADER_LEN: usize = 8;

/// The I flag: the network identifier is valid, and must be (RFC 7348 section 5).
const VALID_VNI: u8 = 0x08;

/// Offset of the Ethernet frame in the datagram `at..end`.
pub(super) fn payload(frame: &[u8], at: usize, end: usize) -> Result<usize, Reason> {
    let inner = at.saturating_add(HEADER_LEN);
    let flags = u8_at(frame, at).ok_or(Reason::Truncated)?;
    if inner > end || flags & VALID_VNI == 0 {
        return Err(Reason::VxlanHeader);
    }
    Ok(inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_i_flag_and_a_whole_header_are_asked_for() {
        let mut header = [0x08, 0, 0, 0, 0, 0, 7, 0];
        assert_eq!(payload(&header, 0, 8), Ok(8));
        assert_eq!(payload(&header, 0, 7), Err(Reason::VxlanHeader));
        assert_eq!(payload(&header, 8, 8), Err(Reason::Truncated));
        header[0] = 0xf7;
        assert_eq!(payload(&header, 0, 8), Err(Reason::VxlanHeader));
    }
}
