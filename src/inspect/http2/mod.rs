//! HTTP/2 in clear text, with prior knowledge or behind an upgrade: the host of every request of a
//! connection. It reads the client's frames alone: nothing the server sends changes which host a
//! request names. It looks into no DATA and keeps no streams, for a denied request ends the
//! connection; so a request for a tunnel is refused.

mod frame;
mod hpack;
mod huffman;
mod request;
mod statics;

#[cfg(test)]
mod tests;

pub use crate::inspect::detect::HTTP2_PREFACE as PREFACE;
pub use frame::{BLOCK_LIMIT_BYTES, CONTINUATIONS_LIMIT};
pub use hpack::{LIST_LIMIT_BYTES, TABLE_DEFAULT_BYTES, TABLE_LIMIT_BYTES};

use super::{Outcome, Progress, Wants};
use crate::model::{App, Direction, Fact, Facts, Reason};
use frame::{Frame, HEADERS};
use hpack::Decoder;

/// The most bytes that may come before the first request: the preface, SETTINGS and what clients
/// send with it. They pass undecided, so they are kept few.
pub const OPENING_LIMIT_BYTES: usize = 1024;

/// Reads the client's direction of an HTTP/2 connection.
#[derive(Debug)]
pub struct Http2Reader {
    state: State,
    hpack: Box<Decoder>,
    /// Bytes consumed before the first request.
    opening: usize,
    /// The highest stream a request was read on; 0 before the first.
    last: u32,
}

#[derive(Debug)]
enum State {
    /// The preface, then SETTINGS (RFC 9113 section 3.4).
    Preface,
    /// A frame.
    Frame,
    /// The rest of a frame's payload.
    Payload(u32),
    /// Malformed.
    Broken(Reason),
}

impl Default for Http2Reader {
    fn default() -> Self {
        Self::new()
    }
}

impl Http2Reader {
    /// A reader for a stream that starts with the client's preface.
    #[must_use]
    pub fn new() -> Self {
        Self { state: State::Preface, hpack: Box::new(Decoder::new()), opening: 0, last: 0 }
    }

    /// Which directions must be read.
    #[must_use]
    pub const fn wants(&self) -> Wants {
        match self.state {
            State::Broken(_) => Wants::NOTHING,
            _ => Wants::ORIGINAL,
        }
    }

    /// Reads in-order bytes of one direction; see [`Outcome`] for what the answer means. Never
    /// panics.
    pub fn read(&mut self, direction: Direction, bytes: &[u8], facts: &mut Facts) -> Progress {
        if direction == Direction::Reply {
            return Progress::more(bytes.len());
        }
        let progress = match self.state {
            State::Preface => self.preface(bytes, facts),
            State::Frame => self.frames(bytes, facts),
            State::Payload(left) => Ok(self.payload(left, bytes)),
            State::Broken(reason) => Err(reason),
        };
        progress.unwrap_or_else(|reason| {
            facts.domain = Fact::Absent;
            self.state = State::Broken(reason);
            Progress::fault(reason)
        })
    }

    /// The preface and the SETTINGS behind it, taken together: many a client waits for the server's
    /// SETTINGS before its first request, and a server for nothing less.
    fn preface(&mut self, bytes: &[u8], facts: &mut Facts) -> Result<Progress, Reason> {
        if bytes.iter().zip(PREFACE).any(|(a, b)| a != b) {
            return Err(Reason::Http2Malformed);
        }
        let Some(rest) = bytes.get(PREFACE.len()..) else { return Ok(Progress::more(0)) };
        let Some(frame) = Frame::read(rest) else { return Ok(Progress::more(0)) };
        if !frame.is_settings() || !frame.is_sound() {
            return Err(Reason::Http2Malformed);
        }
        let len = PREFACE.len().saturating_add(frame.whole());
        if len > OPENING_LIMIT_BYTES {
            return Err(Reason::LimitInspection);
        }
        if bytes.len() < len {
            return Ok(Progress::more(0));
        }
        self.state = State::Frame;
        self.opening = len;
        facts.app = Fact::Known(App::Http);
        Ok(Progress::new(len, Outcome::Opening))
    }

    /// Frames up to the next request, or as many as there are.
    fn frames(&mut self, bytes: &[u8], facts: &mut Facts) -> Result<Progress, Reason> {
        let mut consumed = 0_usize;
        loop {
            let rest = bytes.get(consumed..).unwrap_or_default();
            let Some(frame) = Frame::read(rest) else { break };
            if !frame.is_sound() {
                return self.later(consumed, Reason::Http2Malformed);
            }
            if frame.kind == HEADERS {
                // What came before a request is let go first, so that it is judged alone.
                if consumed > 0 {
                    break;
                }
                return self.headers(frame, rest, facts);
            }
            if self.last == 0 {
                match self.opening_frame(frame) {
                    Ok(()) if rest.len() < frame.whole() => break,
                    Ok(()) => {
                        consumed = consumed.saturating_add(frame.whole());
                        self.opening = self.opening.saturating_add(frame.whole());
                    }
                    Err(reason) => return self.later(consumed, reason),
                }
                continue;
            }
            consumed = consumed.saturating_add(frame.whole());
            if let Some(left) = consumed.checked_sub(bytes.len()).filter(|&left| left > 0) {
                self.state = State::Payload(u32::try_from(left).unwrap_or(frame.len));
                consumed = bytes.len();
                break;
            }
        }
        let opening = self.last == 0 && consumed > 0;
        Ok(Progress::new(consumed, if opening { Outcome::Opening } else { Outcome::More }))
    }

    /// A fault behind frames that are sound: those are let go first, however the bytes were cut.
    fn later(&self, consumed: usize, reason: Reason) -> Result<Progress, Reason> {
        match (consumed, self.last) {
            (0, _) => Err(reason),
            (_, 0) => Ok(Progress::new(consumed, Outcome::Opening)),
            _ => Ok(Progress::more(consumed)),
        }
    }

    /// Whether a frame may come before the first request.
    fn opening_frame(&self, frame: Frame) -> Result<(), Reason> {
        if !frame.is_opening() {
            return Err(Reason::Http2Malformed);
        }
        let len = self.opening.saturating_add(frame.whole());
        if len > OPENING_LIMIT_BYTES { Err(Reason::LimitInspection) } else { Ok(()) }
    }

    /// A request, or the trailers of one, whose block must be decoded all the same.
    fn headers(
        &mut self,
        frame: Frame,
        bytes: &[u8],
        facts: &mut Facts,
    ) -> Result<Progress, Reason> {
        let Some(block) = frame::block(frame, bytes)? else { return Ok(Progress::more(0)) };
        let request = self.hpack.decode(&block.fragment)?;
        if frame.stream > self.last {
            let told = request.asked()?.tell(facts);
            told.map_err(|_| Reason::MalformedName)?;
            if request.opens_tunnel() {
                return Err(Reason::OpaqueTunnel);
            }
            facts.api_id = request.api_id();
            self.last = frame.stream;
            return Ok(Progress::message(block.end));
        }
        if request.is_trailers() {
            Ok(Progress::more(block.end))
        } else {
            Err(Reason::Http2Malformed)
        }
    }

    fn payload(&mut self, left: u32, bytes: &[u8]) -> Progress {
        let taken = u32::try_from(bytes.len()).map_or(left, |len| len.min(left));
        let rest = left.saturating_sub(taken);
        self.state = if rest == 0 { State::Frame } else { State::Payload(rest) };
        Progress::more(taken as usize)
    }
}
