//! HTTP/2 frames (RFC 9113 sections 4 and 6): their header, and a header block put together from
//! HEADERS and its CONTINUATIONs. It decodes no block.

use crate::inspect::bytes::Reader;
use crate::model::Reason;
use std::borrow::Cow;

/// The length of a frame's header.
pub(super) const HEADER_LEN: usize = 9;
/// The longest header block, compressed, with the frame headers in it.
pub const BLOCK_LIMIT_BYTES: usize = 64 * 1024;
/// The most CONTINUATION frames of one block; empty ones cost nothing to send and much to follow.
pub const CONTINUATIONS_LIMIT: usize = 64;

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const PRIORITY: u8 = 2;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PUSH_PROMISE: u8 = 5;
pub(super) const PING: u8 = 6;
pub(super) const GOAWAY: u8 = 7;
pub(super) const WINDOW_UPDATE: u8 = 8;
pub(super) const CONTINUATION: u8 = 9;
/// RFC 9218 section 7.1.
pub(super) const PRIORITY_UPDATE: u8 = 0x10;
/// The longest PRIORITY_UPDATE before the first request: a stream and room for `u=7, i`, for it passes
/// undecided.
pub(super) const PRIORITY_UPDATE_LIMIT_BYTES: u32 = 16;

const ACK: u8 = 0x1;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const WITH_PRIORITY: u8 = 0x20;

/// A frame's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    /// Length of the payload.
    pub(super) len: u32,
    /// Type.
    pub(super) kind: u8,
    /// Flags.
    pub(super) flags: u8,
    /// Stream, its reserved bit left out.
    pub(super) stream: u32,
}

impl Frame {
    /// The header at the start of `bytes`.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes.get(..HEADER_LEN)?);
        let (len, kind, flags) = (reader.u24()?, reader.u8()?, reader.u8()?);
        Some(Self { len, kind, flags, stream: reader.u32()? & 0x7fff_ffff })
    }

    /// Header and payload together.
    pub(super) const fn whole(self) -> usize {
        HEADER_LEN.saturating_add(self.len as usize)
    }

    /// Whether length and stream are what the type asks for. Types that are not known are ignored
    /// (RFC 9113 section 4.1); a client sends no PUSH_PROMISE (section 8.4), and CONTINUATION
    /// stands behind HEADERS alone (section 6.10).
    pub(super) const fn is_sound(self) -> bool {
        let on_stream = self.stream != 0;
        match self.kind {
            DATA => on_stream,
            HEADERS => self.stream % 2 == 1,
            PRIORITY => on_stream && self.len == 5,
            RST_STREAM => on_stream && self.len == 4,
            SETTINGS if self.flags & ACK != 0 => !on_stream && self.len == 0,
            SETTINGS => !on_stream && self.len.is_multiple_of(6),
            PING => !on_stream && self.len == 8,
            GOAWAY => !on_stream && self.len >= 8,
            WINDOW_UPDATE => self.len == 4,
            PUSH_PROMISE | CONTINUATION => false,
            PRIORITY_UPDATE => !on_stream && self.len >= 4,
            _ => true,
        }
    }

    /// Whether a frame of this kind may come before the first request and carries none of it.
    pub(super) const fn is_opening(self) -> bool {
        match self.kind {
            PRIORITY | SETTINGS | PING | WINDOW_UPDATE => true,
            PRIORITY_UPDATE => self.len <= PRIORITY_UPDATE_LIMIT_BYTES,
            _ => false,
        }
    }

    /// Whether this is SETTINGS and no acknowledgement.
    pub(super) const fn is_settings(self) -> bool {
        self.kind == SETTINGS && self.flags & ACK == 0
    }
}

/// A complete header block.
#[derive(Debug)]
pub(super) struct Block<'a> {
    /// The compressed fields.
    pub(super) fragment: Cow<'a, [u8]>,
    /// Behind the last frame of the block.
    pub(super) end: usize,
}

/// The header block that starts with the HEADERS `frame` at the start of `bytes`; none until all of
/// it is there.
pub(super) fn block<'a>(frame: Frame, bytes: &'a [u8]) -> Result<Option<Block<'a>>, Reason> {
    let mut end = frame.whole();
    let mut flags = frame.flags;
    if end > BLOCK_LIMIT_BYTES {
        return Err(Reason::LimitInspection);
    }
    let Some(payload) = bytes.get(HEADER_LEN..end) else { return Ok(None) };
    let mut fragment = Cow::Borrowed(unpadded(frame, payload).ok_or(Reason::Http2Malformed)?);
    let mut continuations = 0_usize;
    while flags & END_HEADERS == 0 {
        let rest = bytes.get(end..).unwrap_or_default();
        let Some(next) = Frame::read(rest) else { return Ok(None) };
        if next.kind != CONTINUATION || next.stream != frame.stream {
            return Err(Reason::Http2Malformed);
        }
        continuations = continuations.saturating_add(1);
        end = end.saturating_add(next.whole());
        if continuations > CONTINUATIONS_LIMIT || end > BLOCK_LIMIT_BYTES {
            return Err(Reason::LimitInspection);
        }
        let Some(part) = rest.get(HEADER_LEN..next.whole()) else { return Ok(None) };
        fragment.to_mut().extend_from_slice(part);
        flags = next.flags;
    }
    Ok(Some(Block { fragment, end }))
}

/// The payload of HEADERS without padding and priority (RFC 9113 section 6.2).
fn unpadded(frame: Frame, payload: &[u8]) -> Option<&[u8]> {
    let mut reader = Reader::new(payload);
    let padding = if frame.flags & PADDED != 0 { usize::from(reader.u8()?) } else { 0 };
    if frame.flags & WITH_PRIORITY != 0 {
        reader.take(5)?;
    }
    reader.take(reader.len().checked_sub(padding)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
        bytes.extend([kind, flags]);
        bytes.extend(stream.to_be_bytes());
        bytes.extend(payload);
        bytes
    }

    fn read(bytes: &[u8]) -> Result<Option<(Vec<u8>, usize)>, Reason> {
        let block = block(Frame::read(bytes).unwrap(), bytes)?;
        Ok(block.map(|b| (b.fragment.into_owned(), b.end)))
    }

    #[test]
    fn padding_and_priority_are_left_out() {
        let bytes = frame(HEADERS, END_HEADERS | PADDED | WITH_PRIORITY, 1, b"\x02PPPPPabcxx");
        assert_eq!(read(&bytes), Ok(Some((b"abc".to_vec(), bytes.len()))));
        for payload in [&b"\x03ab"[..], b"", b"\x01"] {
            let bytes = frame(HEADERS, END_HEADERS | PADDED, 1, payload);
            assert_eq!(read(&bytes), Err(Reason::Http2Malformed));
        }
    }

    #[test]
    fn a_block_goes_on_in_continuations_of_its_stream() {
        let first = frame(HEADERS, 0, 3, b"ab");
        let good =
            [first.clone(), frame(CONTINUATION, 0, 3, b"c"), frame(CONTINUATION, 4, 3, b"d")];
        let good = good.concat();
        assert_eq!(read(&good), Ok(Some((b"abcd".to_vec(), good.len()))));
        for cut in HEADER_LEN..good.len() {
            assert_eq!(read(&good[..cut]), Ok(None));
        }
        for other in [frame(CONTINUATION, 4, 5, b"c"), frame(DATA, 4, 3, b"c")] {
            let bytes = [first.clone(), other].concat();
            assert_eq!(read(&bytes), Err(Reason::Http2Malformed));
        }
    }

    #[test]
    fn blocks_end_at_their_limits() {
        for (count, fits) in [(63, true), (64, true), (65, false)] {
            let mut bytes = frame(HEADERS, 0, 1, b"");
            bytes.extend(frame(CONTINUATION, 0, 1, b"").repeat(count - 1));
            bytes.extend(frame(CONTINUATION, END_HEADERS, 1, b""));
            assert_eq!(read(&bytes).is_ok(), fits, "{count}");
        }
        for (len, fits) in [(65_535, true), (65_536, true), (65_537, false)] {
            let bytes = frame(HEADERS, END_HEADERS, 1, &vec![0; len - HEADER_LEN]);
            assert_eq!(read(&bytes).is_ok(), fits, "{len}");
        }
    }

    #[test]
    fn frames_of_a_wrong_length_or_stream_are_unsound() {
        for (kind, stream, len, sound) in [
            (DATA, 1, 0, true),
            (DATA, 0, 0, false),
            (HEADERS, 1, 0, true),
            (HEADERS, 2, 0, false),
            (HEADERS, 0, 0, false),
            (PRIORITY, 1, 5, true),
            (PRIORITY, 1, 4, false),
            (RST_STREAM, 0, 4, false),
            (SETTINGS, 0, 12, true),
            (SETTINGS, 0, 7, false),
            (SETTINGS, 1, 6, false),
            (PUSH_PROMISE, 1, 8, false),
            (PING, 0, 8, true),
            (GOAWAY, 0, 7, false),
            (WINDOW_UPDATE, 0, 4, true),
            (CONTINUATION, 1, 1, false),
            (0xbb, 7, 9, true),
        ] {
            let frame = Frame { len, kind, flags: 0, stream };
            assert_eq!(frame.is_sound(), sound, "{frame:?}");
        }
        assert!(!Frame { len: 6, kind: SETTINGS, flags: ACK, stream: 0 }.is_sound());
    }
}
