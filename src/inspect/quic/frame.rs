//! The frames an Initial packet may hold (RFC 9000 section 12.4). Of them only CRYPTO is told.

use crate::inspect::bytes::Reader;

/// The most ranges of one ACK frame.
const ACK_RANGES_LIMIT: u64 = 1024;

/// A piece of the CRYPTO stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece<'a> {
    /// Where it belongs.
    pub offset: u64,
    /// Its bytes.
    pub bytes: &'a [u8],
}

/// Walks the frames of an opened Initial packet.
#[derive(Clone, Copy, Debug)]
pub struct Frames<'a> {
    reader: Reader<'a>,
    google: bool,
}

impl<'a> Frames<'a> {
    /// All frames of `plain`.
    #[must_use]
    pub const fn new(plain: &'a [u8]) -> Self {
        Self { reader: Reader::new(plain), google: false }
    }

    /// Frames of Google's T050 and T051: CRYPTO is 8, and what is behind others is not read.
    #[must_use]
    pub const fn google(plain: &'a [u8]) -> Self {
        Self { reader: Reader::new(plain), google: true }
    }

    /// The next CRYPTO frame: `Ok(None)` at the end, `Err` for a frame that is malformed or must not
    /// be in an Initial packet.
    #[allow(clippy::result_unit_err, reason = "there is one way to be malformed")]
    pub fn next_piece(&mut self) -> Result<Option<Piece<'a>>, ()> {
        loop {
            self.skip_padding();
            if self.reader.is_empty() {
                return Ok(None);
            }
            if let Some(piece) = self.step().ok_or(())? {
                return Ok(Some(piece));
            }
        }
    }

    /// Padding is most of a packet: eight bytes at a time.
    fn skip_padding(&mut self) {
        let rest = self.reader.rest();
        let (words, _) = rest.as_chunks::<8>();
        let zeros = words.iter().take_while(|word| **word == [0; 8]).count().saturating_mul(8);
        let tail = rest.get(zeros..).unwrap_or_default();
        let tail = tail.iter().take_while(|&&byte| byte == 0).count();
        self.reader.take(zeros.saturating_add(tail));
    }

    /// One frame; the outer `None` is malformed.
    #[allow(clippy::option_option, reason = "malformed, passed over and found are three things")]
    fn step(&mut self) -> Option<Option<Piece<'a>>> {
        let reader = &mut self.reader;
        match reader.varint()? {
            0x06 if !self.google => return crypto(reader).map(Some),
            0x08 if self.google => return crypto(reader).map(Some),
            _ if self.google => *reader = Reader::new(&[]),
            0x01 => {}
            kind @ (0x02 | 0x03) => {
                reader.varint()?;
                reader.varint()?;
                let ranges = reader.varint()?;
                if ranges > ACK_RANGES_LIMIT {
                    return None;
                }
                let counts = if kind == 0x03 { 3 } else { 0 };
                for _ in 0..ranges.checked_mul(2)?.checked_add(1 + counts)? {
                    reader.varint()?;
                }
            }
            kind @ (0x1c | 0x1d) => {
                reader.varint()?;
                if kind == 0x1c {
                    reader.varint()?;
                }
                let len = usize::try_from(reader.varint()?).ok()?;
                reader.take(len)?;
            }
            _ => return None,
        }
        Some(None)
    }
}

fn crypto<'a>(reader: &mut Reader<'a>) -> Option<Piece<'a>> {
    let offset = reader.varint()?;
    let len = usize::try_from(reader.varint()?).ok()?;
    Some(Piece { offset, bytes: reader.take(len)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crypto_frames_are_found_between_the_others() {
        let plain = [
            &[0; 21][..],
            &[1, 2, 5, 0, 1, 0, 3, 4, 3, 5, 0, 0, 1, 7, 8, 9, 6, 2, 3, b'a', b'b', b'c', 0],
            &[0x1c, 0, 6, 2, b'n', b'o', 6, 0, 0],
        ]
        .concat();
        let mut frames = Frames::new(&plain);
        assert_eq!(frames.next_piece(), Ok(Some(Piece { offset: 2, bytes: b"abc" })));
        assert_eq!(frames.next_piece(), Ok(Some(Piece { offset: 0, bytes: b"" })));
        assert_eq!(frames.next_piece(), Ok(None));
    }

    #[test]
    fn google_numbers_its_frames_otherwise() {
        let mut frames = Frames::google(&[8, 0, 1, b'a', 0, 0x60, 1, 2, 3]);
        assert_eq!(frames.next_piece(), Ok(Some(Piece { offset: 0, bytes: b"a" })));
        assert_eq!(frames.next_piece(), Ok(None));
    }

    #[test]
    fn frames_that_are_cut_or_not_of_an_initial_are_malformed() {
        for plain in [&[6, 0, 4, 1][..], &[8, 0], &[2, 0], &[0x1e], &[2, 0, 0, 0x44, 1, 0]] {
            assert_eq!(Frames::new(plain).next_piece(), Err(()), "{plain:?}");
        }
    }
}
