//! A bounds-checked walk over bytes in network order. It knows no protocol and never panics.

/// Bytes not yet read. A read that does not fit gives `None` and moves nothing.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// A walk from the first byte.
    #[inline]
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// What has not been read.
    #[inline]
    #[must_use]
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// How many bytes have not been read.
    #[inline]
    #[must_use]
    pub const fn len(&self) -> usize {
        self.rest.len()
    }

    /// Whether everything has been read.
    #[inline]
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next `count` bytes.
    #[inline]
    pub const fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        match self.rest.split_at_checked(count) {
            Some((head, rest)) => {
                self.rest = rest;
                Some(head)
            }
            None => None,
        }
    }

    /// The next `N` bytes as an array.
    #[inline]
    pub const fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        match self.rest.split_first_chunk::<N>() {
            Some((head, rest)) => {
                self.rest = rest;
                Some(*head)
            }
            None => None,
        }
    }

    /// One byte.
    #[inline]
    pub const fn u8(&mut self) -> Option<u8> {
        match self.array::<1>() {
            Some([byte]) => Some(byte),
            None => None,
        }
    }

    /// Two bytes.
    #[inline]
    pub const fn u16(&mut self) -> Option<u16> {
        match self.array() {
            Some(bytes) => Some(u16::from_be_bytes(bytes)),
            None => None,
        }
    }

    /// Three bytes.
    #[inline]
    pub const fn u24(&mut self) -> Option<u32> {
        match self.array() {
            Some([a, b, c]) => Some(u32::from_be_bytes([0, a, b, c])),
            None => None,
        }
    }

    /// Four bytes.
    #[inline]
    pub const fn u32(&mut self) -> Option<u32> {
        match self.array() {
            Some(bytes) => Some(u32::from_be_bytes(bytes)),
            None => None,
        }
    }

    /// A variable-length integer (RFC 9000 section 16).
    #[inline]
    pub fn varint(&mut self) -> Option<u64> {
        let first = *self.rest.first()?;
        let len = 1_usize << (first >> 6);
        let bytes = self.take(len)?;
        let start = u64::from(first & 0x3f);
        Some(bytes.iter().skip(1).fold(start, |value, &byte| (value << 8) | u64::from(byte)))
    }

    /// What a one-byte length in front says.
    #[inline]
    pub fn vec8(&mut self) -> Option<&'a [u8]> {
        let mut ahead = *self;
        let len = usize::from(ahead.u8()?);
        let bytes = ahead.take(len)?;
        *self = ahead;
        Some(bytes)
    }

    /// What a two-byte length in front says.
    #[inline]
    pub fn vec16(&mut self) -> Option<&'a [u8]> {
        let mut ahead = *self;
        let len = usize::from(ahead.u16()?);
        let bytes = ahead.take(len)?;
        *self = ahead;
        Some(bytes)
    }

    /// What a three-byte length in front says.
    #[inline]
    pub fn vec24(&mut self) -> Option<&'a [u8]> {
        let mut ahead = *self;
        let len = usize::try_from(ahead.u24()?).ok()?;
        let bytes = ahead.take(len)?;
        *self = ahead;
        Some(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_that_does_not_fit_moves_nothing() {
        let mut reader = Reader::new(&[0, 3, 1, 2]);
        assert_eq!(reader.vec16(), None);
        assert_eq!(reader.u32(), Some(0x0003_0102));
        assert_eq!(reader.u8(), None);
        assert!(reader.is_empty());
    }

    #[test]
    fn lengths_bound_what_is_read() {
        let mut reader = Reader::new(&[1, 9, 0, 2, 7, 8, 0, 0, 1, 6, 5]);
        assert_eq!(reader.vec8(), Some(&[9][..]));
        assert_eq!(reader.vec16(), Some(&[7, 8][..]));
        assert_eq!(reader.vec24(), Some(&[6][..]));
        assert_eq!(reader.rest(), [5]);
    }

    #[test]
    fn variable_length_integers_are_those_of_rfc_9000_appendix_a_1() {
        for (bytes, value) in [
            (&[0xc2, 0x19, 0x7c, 0x5e, 0xff, 0x14, 0xe8, 0x8c][..], 151_288_809_941_952_652),
            (&[0x9d, 0x7f, 0x3e, 0x7d], 494_878_333),
            (&[0x7b, 0xbd], 15_293),
            (&[0x25], 37),
            (&[0x40, 0x25], 37),
        ] {
            let mut reader = Reader::new(bytes);
            assert_eq!(reader.varint(), Some(value));
            assert!(reader.is_empty());
        }
        let mut cut = Reader::new(&[0x7b]);
        assert_eq!(cut.varint(), None);
        assert_eq!(cut.len(), 1);
    }
}
