//! Long header packets of QUIC (RFC 9000 section 17.2) as they lie in a datagram, still protected.

use super::version::{Dialect, Kind, dialect};
use crate::inspect::bytes::Reader;

/// The longest connection id of the versions that are read (RFC 9000 section 17.2).
pub const ID_LIMIT_BYTES: usize = 20;

/// A connection id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConnectionId {
    bytes: [u8; ID_LIMIT_BYTES],
    len: u8,
}

impl ConnectionId {
    /// A connection id of at most [`ID_LIMIT_BYTES`].
    #[must_use]
    pub fn new(id: &[u8]) -> Option<Self> {
        let mut bytes = [0; ID_LIMIT_BYTES];
        bytes.get_mut(..id.len())?.copy_from_slice(id);
        Some(Self { bytes, len: u8::try_from(id.len()).ok()? })
    }

    /// The bytes of the id.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or_default()
    }
}

/// What all versions have in common (RFC 8999 section 5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Invariant<'a> {
    /// First byte.
    pub first: u8,
    /// Version; 0 is version negotiation.
    pub version: u32,
    /// Destination connection id.
    pub destination: &'a [u8],
    /// Source connection id.
    pub source: &'a [u8],
    /// Bytes up to here.
    pub len: usize,
}

impl<'a> Invariant<'a> {
    /// The version a long header says, whatever follows it.
    #[inline]
    #[must_use]
    pub fn version(bytes: &[u8]) -> Option<u32> {
        let mut reader = Reader::new(bytes);
        let first = reader.u8()?;
        if first & 0x80 == 0 { None } else { reader.u32() }
    }

    /// Reads the start of a long header; `None` if it is none or does not fit.
    #[inline]
    #[must_use]
    pub fn read(bytes: &'a [u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        let first = reader.u8()?;
        if first & 0x80 == 0 {
            return None;
        }
        let version = reader.u32()?;
        let destination = reader.vec8()?;
        let source = reader.vec8()?;
        let len = bytes.len().checked_sub(reader.len())?;
        Some(Self { first, version, destination, source, len })
    }
}

/// A long header packet of a version that can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    /// Its type.
    pub kind: Kind,
    /// How its version makes keys.
    pub dialect: Dialect,
    /// Its version.
    pub version: u32,
    /// Destination connection id.
    pub destination: ConnectionId,
    /// Source connection id.
    pub source: ConnectionId,
    /// The whole packet.
    pub bytes: &'a [u8],
    /// Where in it the packet number starts.
    pub number_at: usize,
    /// What follows it in the datagram.
    pub rest: &'a [u8],
}

impl<'a> Packet<'a> {
    /// Reads the packet at the start of `bytes`; `None` if it is malformed or of a version that
    /// cannot be read.
    #[inline]
    #[must_use]
    pub fn read(bytes: &'a [u8]) -> Option<Self> {
        let invariant = Invariant::read(bytes)?;
        let dialect = dialect(invariant.version)?;
        let kind = dialect.kind(invariant.first);
        let mut reader = Reader::new(bytes.get(invariant.len..)?);
        let (number_at, end) = if kind == Kind::Retry {
            // A Retry packet has no length: it takes the rest of the datagram.
            (bytes.len(), bytes.len())
        } else {
            if kind == Kind::Initial {
                let token = usize::try_from(reader.varint()?).ok()?;
                reader.take(token)?;
            }
            let len = usize::try_from(reader.varint()?).ok()?;
            let number_at = bytes.len().checked_sub(reader.len())?;
            (number_at, number_at.checked_add(len)?)
        };
        let (packet, rest) = bytes.split_at_checked(end)?;
        Some(Self {
            kind,
            dialect,
            version: invariant.version,
            destination: ConnectionId::new(invariant.destination)?,
            source: ConnectionId::new(invariant.source)?,
            bytes: packet,
            number_at,
            rest,
        })
    }
}

/// Whether a datagram may hold an Initial packet: it, or one coalesced behind long header packets of
/// other types, is one, or cannot be read. False for short headers after one look.
#[inline]
#[must_use]
pub fn may_hold_initial(datagram: &[u8]) -> bool {
    let mut rest = datagram;
    while rest.first().is_some_and(|first| first & 0x80 != 0) {
        match Packet::read(rest) {
            Some(packet) if packet.kind != Kind::Initial => rest = packet.rest,
            _ => return true,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inspect::quic::version::V1;

    fn packet(kind: u8, payload: usize) -> Vec<u8> {
        let mut bytes = vec![0xc0 | kind << 4];
        bytes.extend(V1.to_be_bytes());
        bytes.extend([4, 1, 2, 3, 4, 0]);
        if kind == 0 {
            bytes.extend([1, 0xee]);
        }
        bytes.push(u8::try_from(payload).unwrap());
        bytes.resize(bytes.len() + payload, 0x55);
        bytes
    }

    #[test]
    fn coalesced_packets_are_read_one_after_the_other() {
        let datagram = [packet(2, 30), packet(0, 40), vec![0x40, 1, 2]].concat();
        let first = Packet::read(&datagram).unwrap();
        assert_eq!(first.kind, Kind::Handshake);
        let second = Packet::read(first.rest).unwrap();
        assert_eq!(
            (second.kind, second.destination.as_bytes()),
            (Kind::Initial, &[1, 2, 3, 4][..])
        );
        assert_eq!(second.bytes.len() - second.number_at, 40);
        assert_eq!(second.rest, [0x40, 1, 2]);
        assert!(may_hold_initial(&datagram));
        assert!(!may_hold_initial(&packet(2, 30)));
        assert!(!may_hold_initial(&[0x40, 1, 2]));
    }

    #[test]
    fn a_packet_that_is_cut_is_none() {
        let whole = packet(0, 40);
        for end in 0..whole.len() {
            assert_eq!(Packet::read(&whole[..end]), None, "{end}");
        }
    }

    #[test]
    fn connection_ids_end_at_their_limit() {
        for (len, fits) in
            [(ID_LIMIT_BYTES - 1, true), (ID_LIMIT_BYTES, true), (ID_LIMIT_BYTES + 1, false)]
        {
            assert_eq!(ConnectionId::new(&vec![7; len]).is_some(), fits);
        }
    }
}
