//! Google QUIC as far as its hello is in the clear: versions Q024 to Q046. Later ones protect it.

use super::packet::Invariant;
use crate::inspect::bytes::Reader;

/// How far into a datagram the hello may start: public header, hash, frame header.
const START_LIMIT_BYTES: usize = 128;
/// The most entries of a hello's tag table.
const TAGS_LIMIT: u16 = 256;

/// The version of a datagram that says one and is Google's with the hello in the clear.
#[inline]
#[must_use]
pub fn version(datagram: &[u8]) -> Option<u32> {
    let first = *datagram.first()?;
    let version = if first & 0x80 == 0 {
        // Public header: version flag, connection id of eight bytes or none.
        let mut reader = Reader::new(datagram);
        reader.u8()?;
        if first & 0x08 != 0 {
            reader.array::<8>()?;
        }
        (first & 0x01 != 0).then_some(())?;
        reader.u32()?
    } else {
        // Google's long header encodes id lengths otherwise, but the version is at its place.
        Invariant::version(datagram)?
    };
    let [letter, zero, tens, ones] = version.to_be_bytes();
    let number = [tens, ones];
    let clear = letter == b'Q' && zero == b'0' && (*b"24"..=*b"46").contains(&number);
    (clear && number.iter().all(u8::is_ascii_digit)).then_some(version)
}

/// The hello of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello<'a> {
    /// Its server name.
    pub name: Option<&'a [u8]>,
}

/// The hello in a datagram, if one starts there.
#[must_use]
pub fn hello(datagram: &[u8]) -> Option<Hello<'_>> {
    let start = datagram.windows(4).take(START_LIMIT_BYTES).position(|four| four == b"CHLO")?;
    let mut reader = Reader::new(datagram.get(start..)?);
    reader.array::<4>()?;
    let count = u16::from_le_bytes(reader.array()?);
    reader.array::<2>()?;
    if count > TAGS_LIMIT {
        return None;
    }
    let table = reader.take(usize::from(count).checked_mul(8)?)?;
    let values = reader.rest();
    let mut table = Reader::new(table);
    let mut from = 0_usize;
    for _ in 0..count {
        let tag = table.array::<4>()?;
        let to = usize::try_from(u32::from_le_bytes(table.array()?)).ok()?;
        if tag == *b"SNI\0" {
            return Some(Hello { name: Some(values.get(from..to)?) });
        }
        from = to;
    }
    Some(Hello { name: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn datagram() -> Vec<u8> {
        let mut bytes = vec![0x0d, 1, 2, 3, 4, 5, 6, 7, 8];
        bytes.extend(*b"Q043");
        bytes.extend([1; 17]);
        bytes.extend(*b"CHLO\x02\0\0\0PAD\0\x03\0\0\0SNI\0\x0e\0\0\0---api.example");
        bytes
    }

    #[test]
    fn the_name_is_in_the_table_of_tags() {
        let bytes = datagram();
        assert_eq!(version(&bytes), Some(0x5130_3433));
        assert_eq!(hello(&bytes), Some(Hello { name: Some(b"api.example") }));
        for end in 0..bytes.len() {
            assert_eq!(hello(&bytes[..end]), None, "{end}");
        }
    }

    #[test]
    fn other_versions_are_not_googles() {
        for text in [b"Q099", b"T051", b"Q0x3", b"\0\0\0\x01"] {
            let mut bytes = datagram();
            bytes[9..13].copy_from_slice(text);
            assert_eq!(version(&bytes), None);
        }
    }
}
