//! TLS records (RFC 8446 section 5.1) and the putting together of a hello from several of them.
//! Reads no handshake message beyond its four-byte header.

use crate::inspect::bytes::Reader;
use crate::model::Reason;

/// Bytes of a record header.
pub const HEADER_BYTES: usize = 5;
/// Bytes of a handshake message header.
pub const MESSAGE_HEADER_BYTES: usize = 4;
/// The longest hello that is read, without its message header.
pub const HELLO_LIMIT_BYTES: usize = 64 * 1024;
/// The longest plaintext record (RFC 8446 section 5.1).
pub const PLAIN_LIMIT_BYTES: usize = 1 << 14;
/// The longest protected record (RFC 5246 section 6.2.3: 2^14 + 2048).
pub const SEALED_LIMIT_BYTES: usize = PLAIN_LIMIT_BYTES + 2048;

/// The content types there are (RFC 8446 section 5.1, RFC 6520).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// `change_cipher_spec`.
    ChangeCipherSpec,
    /// `alert`.
    Alert,
    /// `handshake`.
    Handshake,
    /// `application_data`, and all that is protected in TLS 1.3.
    ApplicationData,
}

/// A record header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What the record carries.
    pub content: Content,
    /// How many bytes follow.
    pub len: usize,
}

impl Header {
    /// The header at the start of `bytes`; `None` while it is incomplete. A first byte that no
    /// record starts with is told at once.
    ///
    /// # Errors
    /// [`Reason::TlsMalformed`] for what is no record of SSL 3.0 or later.
    #[inline]
    pub fn read(bytes: &[u8]) -> Result<Option<Self>, Reason> {
        let mut reader = Reader::new(bytes);
        let Some(first) = reader.u8() else { return Ok(None) };
        let content = match first {
            20 => Content::ChangeCipherSpec,
            21 => Content::Alert,
            22 => Content::Handshake,
            23 => Content::ApplicationData,
            _ => return Err(Reason::TlsMalformed),
        };
        match reader.u8() {
            Some(3) => {}
            Some(_) => return Err(Reason::TlsMalformed),
            None => return Ok(None),
        }
        let (Some(_minor), Some(len)) = (reader.u8(), reader.u16()) else { return Ok(None) };
        let len = usize::from(len);
        if len > SEALED_LIMIT_BYTES {
            return Err(Reason::TlsMalformed);
        }
        Ok(Some(Self { content, len }))
    }
}

/// A hello found in records.
#[derive(Debug, PartialEq, Eq)]
pub struct Whole<'a> {
    /// The message without its header.
    pub body: &'a [u8],
    /// Bytes of the records that hold it.
    pub consumed: usize,
}

/// Puts one handshake message together that starts at a record and must end with one (RFC 8446
/// section 5.1: messages do not span key changes, and both hellos come before one).
#[derive(Debug, Default)]
pub struct Assembly {
    gathered: Vec<u8>,
    scanned: usize,
}

impl Assembly {
    /// Looks for a whole message of type `wanted` in `bytes`, which start at its first record and
    /// are shown again, longer, until it is found. Records before are scanned once only, and a
    /// message in one record is not copied.
    ///
    /// # Errors
    /// [`Reason::TlsMalformed`], or [`Reason::LimitInspection`] beyond [`HELLO_LIMIT_BYTES`].
    #[inline]
    pub fn find<'a>(
        &'a mut self,
        bytes: &'a [u8],
        wanted: u8,
    ) -> Result<Option<Whole<'a>>, Reason> {
        if self.scanned != 0 {
            return self.gather(bytes, wanted);
        }
        let Some(header) = handshake(bytes)? else { return Ok(None) };
        let end = HEADER_BYTES.saturating_add(header.len);
        let present = bytes.get(HEADER_BYTES..end.min(bytes.len())).unwrap_or_default();
        if present.first().is_some_and(|&kind| kind != wanted) {
            return Err(Reason::TlsMalformed);
        }
        let Some(len) = message_len(present)? else {
            return if header.len < MESSAGE_HEADER_BYTES {
                self.gather(bytes, wanted)
            } else {
                Ok(None)
            };
        };
        match header.len.cmp(&len.saturating_add(MESSAGE_HEADER_BYTES)) {
            std::cmp::Ordering::Less => self.gather(bytes, wanted),
            std::cmp::Ordering::Greater => Err(Reason::TlsMalformed),
            std::cmp::Ordering::Equal if present.len() < header.len => Ok(None),
            std::cmp::Ordering::Equal => {
                let body = present.get(MESSAGE_HEADER_BYTES..).unwrap_or_default();
                Ok(Some(Whole { body, consumed: end }))
            }
        }
    }

    /// Forgets what was gathered.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    #[cold]
    fn gather(&mut self, bytes: &[u8], wanted: u8) -> Result<Option<Whole<'_>>, Reason> {
        loop {
            let rest = bytes.get(self.scanned..).unwrap_or_default();
            let Some(header) = handshake(rest)? else { return Ok(None) };
            let mut reader = Reader::new(rest);
            reader.take(HEADER_BYTES);
            let Some(fragment) = reader.take(header.len) else { return Ok(None) };
            self.gathered.extend_from_slice(fragment);
            self.scanned = self.scanned.saturating_add(HEADER_BYTES).saturating_add(header.len);
            if self.gathered.first() != Some(&wanted) {
                return Err(Reason::TlsMalformed);
            }
            let Some(len) = message_len(&self.gathered)? else { continue };
            match self.gathered.len().cmp(&len.saturating_add(MESSAGE_HEADER_BYTES)) {
                std::cmp::Ordering::Less => {}
                std::cmp::Ordering::Greater => return Err(Reason::TlsMalformed),
                std::cmp::Ordering::Equal => break,
            }
        }
        let body = self.gathered.get(MESSAGE_HEADER_BYTES..).unwrap_or_default();
        Ok(Some(Whole { body, consumed: self.scanned }))
    }
}

/// The header of a plaintext handshake record; nothing else may stand between the records of one
/// message, and none may be empty (RFC 8446 section 5.1).
#[inline]
fn handshake(bytes: &[u8]) -> Result<Option<Header>, Reason> {
    let Some(header) = Header::read(bytes)? else { return Ok(None) };
    let fits = (1..=PLAIN_LIMIT_BYTES).contains(&header.len);
    if header.content == Content::Handshake && fits {
        Ok(Some(header))
    } else {
        Err(Reason::TlsMalformed)
    }
}

/// The length in a message header, `None` while it is incomplete.
#[inline]
fn message_len(message: &[u8]) -> Result<Option<usize>, Reason> {
    let mut reader = Reader::new(message);
    let (Some(_kind), Some(len)) = (reader.u8(), reader.u24()) else { return Ok(None) };
    match usize::try_from(len) {
        Ok(len) if len <= HELLO_LIMIT_BYTES => Ok(Some(len)),
        _ => Err(Reason::LimitInspection),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(len: usize) -> Vec<u8> {
        let size = u32::try_from(len).unwrap().to_be_bytes();
        let mut bytes = vec![1, size[1], size[2], size[3]];
        bytes.extend((0..len).map(|at| u8::try_from(at % 251).unwrap()));
        bytes
    }

    fn records(message: &[u8], size: usize) -> Vec<u8> {
        let record = |part: &[u8]| {
            let len = u16::try_from(part.len()).unwrap().to_be_bytes();
            [&[22, 3, 1, len[0], len[1]], part].concat()
        };
        message.chunks(size).flat_map(record).collect()
    }

    #[test]
    fn a_message_is_found_whole_at_any_record_size_and_never_early() {
        let message = message(300);
        for size in [1, 2, 3, 4, 5, 150, 303, 304, 305] {
            let bytes = records(&message, size);
            let mut assembly = Assembly::default();
            for end in 0..bytes.len() {
                assert_eq!(assembly.find(&bytes[..end], 1), Ok(None), "{size} {end}");
            }
            let whole = assembly.find(&bytes, 1).unwrap().unwrap();
            assert_eq!((whole.body, whole.consumed), (&message[4..], bytes.len()));
        }
    }

    #[test]
    fn a_hello_ends_at_its_limit() {
        for (len, fits) in [
            (HELLO_LIMIT_BYTES - 1, true),
            (HELLO_LIMIT_BYTES, true),
            (HELLO_LIMIT_BYTES + 1, false),
        ] {
            let bytes = records(&message(len), PLAIN_LIMIT_BYTES);
            let found = Assembly::default().find(&bytes, 1).map(|whole| whole.is_some());
            assert_eq!(found, if fits { Ok(true) } else { Err(Reason::LimitInspection) });
        }
    }

    #[test]
    fn records_end_at_their_limits() {
        for (len, fits) in [(0x3fff, true), (0x4000, true), (0x4001, false), (0, false)] {
            let bytes =
                [22, 3, 1, u8::try_from(len >> 8).unwrap(), u8::try_from(len & 255).unwrap()];
            assert_eq!(Assembly::default().find(&bytes, 1).is_ok(), fits, "{len}");
        }
        for (len, fits) in [(0x47ff, true), (0x4800, true), (0x4801, false)] {
            let bytes =
                [23, 3, 3, u8::try_from(len >> 8).unwrap(), u8::try_from(len & 255).unwrap()];
            assert_eq!(Header::read(&bytes).is_ok(), fits, "{len}");
        }
    }

    #[test]
    fn nothing_stands_between_the_records_of_a_message_or_behind_it() {
        let message = message(20);
        let mut between = records(&message[..10], 10);
        between.extend([21, 3, 1, 0, 2, 1, 0]);
        assert_eq!(Assembly::default().find(&between, 1), Err(Reason::TlsMalformed));
        let behind = records(&[message.as_slice(), &[0]].concat(), 100);
        assert_eq!(Assembly::default().find(&behind, 1), Err(Reason::TlsMalformed));
        let two = records(&[message.as_slice(), &[0]].concat(), 13);
        assert_eq!(Assembly::default().find(&two, 1), Err(Reason::TlsMalformed));
    }
}
