//! Bodies of HTTP/1 messages: how far one reaches, sized or chunked (RFC 9112 sections 6 and 7). Their
//! content is not looked at.

use super::fields::is_forbidden_trailer;
use super::head::{FIELDS_LIMIT, HEAD_LIMIT_BYTES};
use super::line::{self, Ending};
use crate::model::Reason;

/// The longest line in front of a chunk, with its extensions and line end.
pub const CHUNK_LINE_LIMIT_BYTES: usize = 1024;

/// What is left of a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Body {
    /// This many bytes.
    Sized(u64),
    /// Chunks.
    Chunked(Chunks),
    /// Everything until the connection ends (answers only).
    UntilClose,
}

/// Where in a chunked body the next byte stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Chunks {
    part: Part,
    /// How far the next line has been searched.
    seen: usize,
    trailers: usize,
    trailer_bytes: usize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Part {
    #[default]
    Size,
    Data(u64),
    DataEnd,
    Trailers,
    End,
}

/// How far a body was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Advance {
    /// Bytes of the body.
    pub(super) consumed: usize,
    /// Whether the body ended with them.
    pub(super) ended: bool,
}

impl Body {
    /// Reads on in `bytes`, which start where the last look stopped.
    pub(super) fn advance(&mut self, bytes: &[u8]) -> Result<Advance, Reason> {
        match self {
            Self::Sized(left) => {
                let consumed = take(left, bytes.len());
                Ok(Advance { consumed, ended: *left == 0 })
            }
            Self::Chunked(chunks) => chunks.advance(bytes),
            Self::UntilClose => Ok(Advance { consumed: bytes.len(), ended: false }),
        }
    }
}

/// Takes at most `available` from `left`.
fn take(left: &mut u64, available: usize) -> usize {
    let taken = usize::try_from(*left).map_or(available, |left| left.min(available));
    *left = left.saturating_sub(taken as u64);
    taken
}

impl Chunks {
    fn advance(&mut self, bytes: &[u8]) -> Result<Advance, Reason> {
        let mut consumed = 0_usize;
        while self.part != Part::End {
            let rest = bytes.get(consumed..).unwrap_or_default();
            let step = match &mut self.part {
                Part::Data(left) => {
                    let step = take(left, rest.len());
                    if *left == 0 {
                        self.part = Part::DataEnd;
                    }
                    step
                }
                _ => self.line(rest)?,
            };
            if step == 0 {
                return Ok(Advance { consumed, ended: false });
            }
            consumed = consumed.saturating_add(step);
        }
        Ok(Advance { consumed, ended: true })
    }

    /// One line of the framing; nothing is consumed until all of it is there. Lines end with CR LF
    /// alone: who takes a bare LF here and who does not see different chunks.
    fn line(&mut self, rest: &[u8]) -> Result<usize, Reason> {
        let limit = match self.part {
            Part::Size => CHUNK_LINE_LIMIT_BYTES,
            Part::Trailers => HEAD_LIMIT_BYTES.saturating_sub(self.trailer_bytes),
            _ => b"\r\n".len(),
        };
        let window = rest.get(..limit).unwrap_or(rest);
        let Some(found) = line::find(window, &mut self.seen)? else {
            if window.len() < limit {
                return Ok(0);
            }
            let data_end = self.part == Part::DataEnd;
            return Err(if data_end { Reason::HttpMalformed } else { Reason::LimitInspection });
        };
        self.seen = 0;
        if found.ending == Ending::Lf {
            return Err(Reason::HttpMalformed);
        }
        self.part = self.after(window.get(..found.end).unwrap_or_default(), found.next)?;
        Ok(found.next)
    }

    /// The part behind a line.
    fn after(&mut self, text: &[u8], len: usize) -> Result<Part, Reason> {
        match self.part {
            Part::Size => match chunk_size(text).ok_or(Reason::HttpMalformed)? {
                0 => Ok(Part::Trailers),
                size => Ok(Part::Data(size)),
            },
            Part::Trailers if text.is_empty() => Ok(Part::End),
            Part::Trailers => {
                self.trailers = self.trailers.saturating_add(1);
                self.trailer_bytes = self.trailer_bytes.saturating_add(len);
                if self.trailers > FIELDS_LIMIT {
                    return Err(Reason::LimitInspection);
                }
                let (name, _) = line::field(text)?;
                let forbidden = is_forbidden_trailer(name);
                if forbidden { Err(Reason::HttpMalformed) } else { Ok(Part::Trailers) }
            }
            _ if text.is_empty() => Ok(Part::Size),
            _ => Err(Reason::HttpMalformed),
        }
    }
}

/// `1*HEXDIG`, then nothing or an extension behind its semicolon; no white space in front of it, no
/// sign, no prefix (RFC 9112 section 7.1).
fn chunk_size(text: &[u8]) -> Option<u64> {
    let end = text.iter().position(|&b| b == b';').unwrap_or(text.len());
    let digits = text.get(..end)?;
    if digits.is_empty() {
        return None;
    }
    let size = digits.iter().try_fold(0_u64, |sum, &byte| {
        let digit = char::from(byte).to_digit(16)?;
        sum.checked_mul(16)?.checked_add(u64::from(digit))
    })?;
    // Above 2^63 recipients that count in signed numbers differ.
    i64::try_from(size).is_ok().then_some(size)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunked(bytes: &[u8]) -> Result<Advance, Reason> {
        Body::Chunked(Chunks::default()).advance(bytes)
    }

    #[test]
    fn chunks_end_with_their_trailers() {
        for (bytes, len) in [
            (&b"0\r\n\r\nGET"[..], 5),
            (b"3\r\nabc\r\n0\r\n\r\nGET", 13),
            (b"A;x=\"y\"\r\n0123456789\r\n00\r\nX: y\r\n\r\n", 33),
            (b"1\r\n\r\r\n0\r\n\r\n", 11),
        ] {
            let advance = chunked(bytes).unwrap();
            assert!(advance.ended);
            assert_eq!(advance.consumed, len, "{:?}", String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn chunk_syntax_that_recipients_read_differently_is_refused() {
        for bytes in [
            &b"\r\n"[..],
            b"0x3\r\nabc\r\n",
            b"+3\r\nabc\r\n",
            b"-1\r\n",
            b" 3\r\n",
            b"3 \r\n",
            b"3 ;x\r\n",
            b"3\n",
            b"3;x\n",
            b"3;\0\r\n",
            b"3\rX\n",
            b"3\r\nabcd\r\n",
            b"3\r\nabc\n",
            b"3\r\nabcXY",
            b"g\r\n",
            b";x\r\n",
            b"8000000000000000\r\n",
            b"10000000000000003\r\n",
            b"0\r\nX : y\r\n",
            b"0\r\n X: y\r\n",
            b"0\r\nX\r\n",
            b"0\r\nHost: a\r\n",
            b"0\r\ncontent-LENGTH: 1\r\n",
            b"0\r\nTransfer-Encoding: chunked\r\n",
            b"0\r\nX: y\n",
        ] {
            let result = chunked(bytes);
            assert_eq!(result, Err(Reason::HttpMalformed), "{:?}", String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn chunk_lines_end_at_their_limit() {
        for (len, fits) in [(1023, true), (1024, true), (1025, false)] {
            let line = format!("1;{}\r\n", "x".repeat(len - 4));
            assert_eq!(chunked(line.as_bytes()).is_ok(), fits, "{len}");
        }
        assert_eq!(chunked(&[b'1'; 1024]), Err(Reason::LimitInspection));
    }

    #[test]
    fn trailers_end_at_their_limits() {
        for (count, fits) in [(255, true), (256, true), (257, false)] {
            let body = format!("0\r\n{}\r\n", "X: y\r\n".repeat(count));
            assert_eq!(chunked(body.as_bytes()).is_ok(), fits, "{count}");
        }
        for (bytes, fits) in [(65_535, true), (65_536, true), (65_537, false)] {
            let body = format!("0\r\nX: {}\r\n\r\n", "y".repeat(bytes - 7));
            assert_eq!(chunked(body.as_bytes()).is_ok(), fits, "{bytes}");
        }
    }

    #[test]
    fn a_sized_body_ends_at_its_size() {
        let mut body = Body::Sized(5);
        assert_eq!(body.advance(b"abc"), Ok(Advance { consumed: 3, ended: false }));
        assert_eq!(body.advance(b"defg"), Ok(Advance { consumed: 2, ended: true }));
    }
}
