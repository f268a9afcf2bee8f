//! HTTP/1: the host of every request of a connection, pipelined, with bodies, behind CONNECT or an
//! upgrade. It reads requests as the strictest recipients do (RFC 9112), so that no two recipients
//! find different requests in what it lets through; it does not read answers but where they decide
//! what the client's next bytes are, and it looks into no body.

mod answers;
mod body;
mod fields;
mod head;
pub(in crate::inspect) mod line;
pub(in crate::inspect) mod target;

#[cfg(test)]
mod tests;

pub use answers::OUTSTANDING_LIMIT;
pub use body::CHUNK_LINE_LIMIT_BYTES;
pub use head::{FIELDS_LIMIT, HEAD_LIMIT_BYTES, METHOD_LIMIT_BYTES};

use super::{Outcome, Progress, Wants};
use crate::model::{ApiId, App, Direction, Fact, Facts, Reason};
use answers::{Answer, Answers, Asked, asked_by};
use body::{Body, Chunks};
pub(in crate::inspect) use fields::{API_ID, note_stray_host};
use head::{Head, Kind, Method, Start, Version};

/// The most empty lines in front of a request; RFC 9112 section 2.2 asks to ignore at least one.
pub const EMPTY_LINES_LIMIT: u8 = 4;

/// Reads both directions of an HTTP/1 connection.
#[derive(Debug)]
pub struct HttpReader {
    state: State,
    /// The request on its way; begun anew with every message.
    head: Head,
    /// Whether a request was read.
    begun: bool,
    /// Empty lines since the last request.
    empty_lines: u8,
    /// Kept from the first request on if that one may change the protocol: a later one cannot be
    /// matched with its answer any more, and the connection stays HTTP/1 for this reader.
    answers: Option<Box<Answers>>,
}

#[derive(Debug)]
enum State {
    /// A request, or nothing yet.
    Head,
    /// The body of the last request.
    Body { body: Body, asked: Asked },
    /// The client's next bytes mean what the server's answer makes of them.
    Waiting,
    /// Not read any more: WebSocket, or a protocol that others read.
    Over,
    /// Malformed.
    Broken(Reason),
}

impl Default for HttpReader {
    fn default() -> Self {
        Self::new()
    }
}

impl HttpReader {
    /// A reader for a stream that starts with a request.
    #[must_use]
    pub fn new() -> Self {
        Self {
            state: State::Head,
            head: Head::new(Kind::Request),
            begun: false,
            empty_lines: 0,
            answers: None,
        }
    }

    /// Which directions must be read: answers only where they decide what requests mean.
    #[must_use]
    pub const fn wants(&self) -> Wants {
        match (&self.state, &self.answers) {
            (State::Over | State::Broken(_), _) => Wants::NOTHING,
            (_, Some(_)) => Wants::BOTH,
            (_, None) => Wants::ORIGINAL,
        }
    }

    /// Whether no answer will be wanted any more: that is decided by the first request.
    #[must_use]
    pub const fn is_through_with_answers(&self) -> bool {
        self.begun && self.answers.is_none()
    }

    /// Reads in-order bytes of one direction; see [`Outcome`] for what the answer means. Never
    /// panics; looks at each byte of a head about once however it is cut into segments.
    #[inline]
    pub fn read(&mut self, direction: Direction, bytes: &[u8], facts: &mut Facts) -> Progress {
        let progress = match direction {
            Direction::Original => self.request(bytes, facts),
            Direction::Reply => self.answer(bytes),
        };
        progress.unwrap_or_else(|reason| {
            facts.settle_without_names(App::Http);
            if direction == Direction::Original && matches!(self.state, State::Head) {
                note_stray_host(bytes, facts);
            }
            self.state = State::Broken(reason);
            Progress::fault(reason)
        })
    }

    fn request(&mut self, bytes: &[u8], facts: &mut Facts) -> Result<Progress, Reason> {
        match &mut self.state {
            State::Head => self.head(bytes, facts),
            State::Body { body, asked } => {
                let (advance, asked) = (body.advance(bytes)?, *asked);
                if advance.ended {
                    self.state = self.behind(asked);
                }
                Ok(Progress::more(advance.consumed))
            }
            State::Waiting => Ok(Progress::more(0)),
            State::Over => Ok(Progress::done(bytes.len())),
            State::Broken(reason) => Err(*reason),
        }
    }

    /// The next head. Empty lines in front of it belong to the message before, so that they are not
    /// held; in front of the first one they wait for it.
    #[inline]
    fn head(&mut self, bytes: &[u8], facts: &mut Facts) -> Result<Progress, Reason> {
        let empty = if matches!(bytes, [b'\r' | b'\n', ..]) { self.empty_lines(bytes)? } else { 0 };
        let rest = bytes.get(empty..).unwrap_or_default();
        if (empty > 0 && self.begun) || rest.is_empty() || rest == b"\r" {
            return Ok(Progress::more(if self.begun { empty } else { 0 }));
        }
        let Some(len) = self.head.read(rest)? else { return Ok(Progress::more(0)) };
        if self.tells_nothing_new(rest, facts) {
            self.head = Head::new(Kind::Request);
            self.empty_lines = 0;
            return Ok(Progress::message(empty.saturating_add(len)));
        }
        let (body, asked) = framing(&self.head)?;
        let told = self.head.host(rest)?.tell(facts);
        told.map_err(|_| Reason::MalformedName)?;
        facts.api_id = api_id(self.head.fields.api_id.map(|place| place.of(rest)));
        self.head = Head::new(Kind::Request);
        self.track(asked);
        self.state = match body {
            Some(body) => State::Body { body, asked },
            None => self.behind(asked),
        };
        self.begun = true;
        self.empty_lines = 0;
        Ok(Progress::message(empty.saturating_add(len)))
    }

    /// Whether a request that has been read is as the one before to all that is told: for the same host,
    /// without a body, and nothing depends on its answer. Then the facts are those of this one too.
    #[inline]
    fn tells_nothing_new(&self, head: &[u8], facts: &Facts) -> bool {
        self.begun
            && self.answers.is_none()
            && matches!(facts.app, Fact::Known(App::Http))
            && matches!(facts.api_id, Fact::Absent)
            && facts.domain.known().is_some_and(|name| self.head.is_plain(head, name.as_bytes()))
    }

    /// The length of the empty lines at the start of `bytes`. They are counted once consumed.
    #[cold]
    fn empty_lines(&mut self, bytes: &[u8]) -> Result<usize, Reason> {
        let (mut rest, mut lines) = (bytes, self.empty_lines);
        while let Some(next) = rest.strip_prefix(b"\r\n").or_else(|| rest.strip_prefix(b"\n")) {
            rest = next;
            lines = lines.saturating_add(1);
            if lines > EMPTY_LINES_LIMIT {
                return Err(Reason::HttpMalformed);
            }
        }
        if self.begun {
            self.empty_lines = lines;
        }
        Ok(bytes.len().saturating_sub(rest.len()))
    }

    /// Notes what a request asks of its answer. Where answers cannot be matched any more the
    /// connection stays HTTP/1 for this reader, and bytes that are not are malformed.
    fn track(&mut self, asked: Asked) {
        if !self.begun && asked.awaits() {
            self.answers = Some(Box::new(Answers::new()));
        }
        if self.answers.as_mut().is_some_and(|answers| !answers.expect(asked)) {
            self.answers = None;
        }
    }

    /// What comes behind a request and its body.
    fn behind(&self, asked: Asked) -> State {
        if asked.awaits() && self.answers.is_some() { State::Waiting } else { State::Head }
    }

    /// Reads the server's bytes. What cannot be read ends the matching of answers; where a client's
    /// bytes wait for this very answer, it ends the flow.
    fn answer(&mut self, bytes: &[u8]) -> Result<Progress, Reason> {
        let awaited = match &self.state {
            State::Over => return Ok(Progress::done(bytes.len())),
            State::Broken(reason) => return Err(*reason),
            State::Waiting => true,
            State::Body { asked, .. } => asked.awaits(),
            State::Head => false,
        };
        let Some(answers) = &mut self.answers else { return Ok(Progress::more(bytes.len())) };
        let (consumed, answer) = match answers.read(bytes) {
            Ok(read) => read,
            Err(reason) if awaited => return Err(reason),
            Err(_) => {
                self.answers = None;
                return Ok(Progress::more(bytes.len()));
            }
        };
        match (answer, &mut self.state) {
            (Answer::Kept, State::Body { asked, .. }) => *asked = Asked::Plain,
            (Answer::Kept, state) => *state = State::Head,
            (Answer::More, _) => {}
            (Answer::Switched, State::Waiting) => {
                self.state = State::Over;
                return Ok(Progress::new(consumed, Outcome::Switch));
            }
            (Answer::WebSocket, State::Waiting) => {
                self.state = State::Over;
                return Ok(Progress::done(bytes.len()));
            }
            // The protocol changes while the request's body is still on its way.
            _ => return Err(Reason::HttpMalformed),
        }
        Ok(Progress::more(consumed))
    }
}

/// The API a request names, by the value of its field.
pub(in crate::inspect) fn api_id(value: Option<&[u8]>) -> Fact<ApiId> {
    value.and_then(ApiId::parse).map_or(Fact::Absent, Fact::Known)
}

/// How the body behind a request's head is framed (RFC 9112 section 6.3), and what the request asks
/// of its answer. Two framings at once, chunks in HTTP/1.0 (section 6.1) and a body of CONNECT are
/// where recipients differ.
#[inline]
fn framing(head: &Head) -> Result<(Option<Body>, Asked), Reason> {
    let Some(Start::Request { method, version, .. }) = head.start() else {
        return Err(Reason::HttpMalformed);
    };
    let body = match (head.fields.transfer, head.fields.length) {
        (Some(_), None) if version == Version::Http11 => Some(Body::Chunked(Chunks::default())),
        (Some(_), _) => return Err(Reason::HttpMalformed),
        (None, Some(0) | None) => None,
        (None, Some(length)) => Some(Body::Sized(length)),
    };
    if method == Method::Connect && body.is_some() {
        return Err(Reason::HttpMalformed);
    }
    Ok((body, asked_by(method, head)))
}
