//! Which answer belongs to which request, read only for connections that may change their protocol:
//! what the client sends behind CONNECT or Upgrade means what the server's answer makes of it.
//! It knows no hosts.

use super::body::{Body, Chunks};
use super::head::{Head, Kind, Method, Start, Version};
use crate::model::Reason;

/// The most requests without an answer that are told apart.
pub const OUTSTANDING_LIMIT: usize = 32;

/// What a request asks of its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// Nothing special.
    Plain,
    /// HEAD: the answer has no body whatever its fields say.
    Head,
    /// CONNECT: a successful answer opens a tunnel.
    Tunnel,
    /// Upgrade: status 101 changes the protocol.
    Upgrade {
        /// WebSocket and nothing else was offered.
        websocket: bool,
    },
}

impl Asked {
    /// Whether the answer decides how the client's next bytes are read.
    pub(super) const fn awaits(self) -> bool {
        matches!(self, Self::Tunnel | Self::Upgrade { .. })
    }
}

/// What a look at the server's bytes gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// Nothing that changes how the client's bytes are read.
    More,
    /// The last request got an answer that keeps the protocol.
    Kept,
    /// The protocol changes behind these bytes to one that is to be detected.
    Switched,
    /// The protocol changes to WebSocket, in which no name is asked for.
    WebSocket,
}

/// The requests without an answer, and where in the server's bytes the next byte stands.
#[derive(Debug)]
pub(super) struct Answers {
    outstanding: [Asked; OUTSTANDING_LIMIT],
    first: usize,
    count: usize,
    part: Part,
}

#[derive(Debug)]
enum Part {
    Head(Head),
    Body(Body),
}

impl Answers {
    /// No request yet.
    pub(super) fn new() -> Self {
        Self {
            outstanding: [Asked::Plain; OUTSTANDING_LIMIT],
            first: 0,
            count: 0,
            part: Part::Head(Head::new(Kind::Answer)),
        }
    }

    /// A request was sent. False: there is no room, and answers can no longer be told apart.
    pub(super) fn expect(&mut self, asked: Asked) -> bool {
        let at = self.first.wrapping_add(self.count) % OUTSTANDING_LIMIT;
        match self.outstanding.get_mut(at) {
            Some(slot) if self.count < OUTSTANDING_LIMIT => {
                *slot = asked;
                self.count = self.count.saturating_add(1);
                true
            }
            _ => false,
        }
    }

    /// Reads on. An error: this is no HTTP/1 answer to what was asked.
    pub(super) fn read(&mut self, bytes: &[u8]) -> Result<(usize, Answer), Reason> {
        match &mut self.part {
            Part::Body(body) => {
                let advance = body.advance(bytes)?;
                if advance.ended {
                    self.part = Part::Head(Head::new(Kind::Answer));
                }
                Ok((advance.consumed, Answer::More))
            }
            Part::Head(head) => match head.read(bytes)? {
                None => Ok((0, Answer::More)),
                Some(len) => Ok((len, self.take()?)),
            },
        }
    }

    /// Takes a complete head as the answer to the oldest request.
    fn take(&mut self) -> Result<Answer, Reason> {
        let next = Part::Head(Head::new(Kind::Answer));
        let Part::Head(head) = std::mem::replace(&mut self.part, next) else {
            return Ok(Answer::More);
        };
        let asked = self.outstanding.get(self.first).copied().filter(|_| self.count > 0);
        let (Some(asked), Some(Start::Answer { status, version })) = (asked, head.start()) else {
            return Err(Reason::HttpMalformed);
        };
        match (status, asked) {
            (101, Asked::Upgrade { websocket }) => {
                let agreed = head.fields.upgrade.is_some_and(|u| u.websocket_alone);
                let opaque = websocket && agreed;
                return Ok(if opaque { Answer::WebSocket } else { Answer::Switched });
            }
            (101, _) => return Err(Reason::HttpMalformed),
            (100..=199, _) => return Ok(Answer::More),
            (200..=299, Asked::Tunnel) => return Ok(Answer::Switched),
            _ => {}
        }
        self.first = self.first.wrapping_add(1) % OUTSTANDING_LIMIT;
        self.count = self.count.saturating_sub(1);
        if let Some(body) = body_of(&head, status, version, asked)? {
            self.part = Part::Body(body);
        }
        Ok(if asked.awaits() { Answer::Kept } else { Answer::More })
    }
}

/// The body behind the head of an answer (RFC 9112 section 6.3).
fn body_of(
    head: &Head,
    status: u16,
    version: Version,
    asked: Asked,
) -> Result<Option<Body>, Reason> {
    if asked == Asked::Head || status == 204 || status == 304 {
        return Ok(None);
    }
    match (head.fields.transfer, head.fields.length) {
        (Some(_), None) if version == Version::Http11 => Ok(Some(Body::Chunked(Chunks::default()))),
        (Some(_), _) => Err(Reason::HttpMalformed),
        (None, Some(0)) => Ok(None),
        (None, Some(length)) => Ok(Some(Body::Sized(length))),
        (None, None) => Ok(Some(Body::UntilClose)),
    }
}

/// The method and the Upgrade field as far as the answer depends on them. An Upgrade field counts
/// without `Connection: upgrade` too, since some servers act on it.
pub(super) const fn asked_by(method: Method, head: &Head) -> Asked {
    match (method, head.fields.upgrade) {
        (Method::Connect, _) => Asked::Tunnel,
        (_, Some(upgrade)) => Asked::Upgrade { websocket: upgrade.websocket_alone },
        (Method::Head, None) => Asked::Head,
        (Method::Other, None) => Asked::Plain,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(asked: &[Asked], bytes: &[u8]) -> Result<Vec<(usize, Answer)>, Reason> {
        let mut answers = Answers::new();
        for &asked in asked {
            assert!(answers.expect(asked));
        }
        let (mut at, mut seen) = (0, Vec::new());
        while at < bytes.len() {
            let (consumed, answer) = answers.read(&bytes[at..])?;
            seen.push((consumed, answer));
            at += consumed;
            if consumed == 0 || matches!(answer, Answer::Switched | Answer::WebSocket) {
                break;
            }
        }
        Ok(seen)
    }

    #[test]
    fn answers_are_matched_in_order() {
        let bytes = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc\
            HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nHTTP/1.1 101 Switching\r\nUpgrade: h2c\r\n\r\nx";
        let asked = [Asked::Plain, Asked::Head, Asked::Upgrade { websocket: false }];
        let seen = all(&asked, bytes).unwrap();
        assert_eq!(seen.last().unwrap().1, Answer::Switched);
        assert_eq!(seen.iter().map(|s| s.0).sum::<usize>(), bytes.len() - 1);
    }

    #[test]
    fn only_websocket_asked_and_agreed_is_opaque() {
        let agreed = b"HTTP/1.1 101 x\r\nUpgrade: WebSocket\r\n\r\n";
        let other = b"HTTP/1.1 101 x\r\nUpgrade: h2c\r\n\r\n";
        let last = |websocket, bytes| all(&[Asked::Upgrade { websocket }], bytes).unwrap()[0].1;
        assert_eq!(last(true, agreed), Answer::WebSocket);
        assert_eq!(last(false, agreed), Answer::Switched);
        assert_eq!(last(true, other), Answer::Switched);
    }

    #[test]
    fn a_tunnel_opens_on_success_alone() {
        let last = |bytes| all(&[Asked::Tunnel], bytes).unwrap().last().unwrap().1;
        assert_eq!(last(b"HTTP/1.0 200\r\nContent-Length: 9\r\n\r\n"), Answer::Switched);
        assert_eq!(last(b"HTTP/1.1 407 x\r\nContent-Length: 0\r\n\r\n"), Answer::Kept);
    }

    #[test]
    fn an_answer_nobody_asked_for_is_refused() {
        assert!(all(&[], b"HTTP/1.1 200 OK\r\n\r\n").is_err());
        assert!(all(&[Asked::Plain], b"HTTP/1.1 101 x\r\n\r\n").is_err());
        assert!(all(&[Asked::Plain], b"SSH-2.0-x\r\n").is_err());
    }

    #[test]
    fn outstanding_requests_end_at_their_limit() {
        let mut answers = Answers::new();
        for asked in 0..OUTSTANDING_LIMIT {
            assert!(answers.expect(Asked::Plain), "{asked}");
        }
        assert!(!answers.expect(Asked::Plain));
        answers.read(b"HTTP/1.1 204 x\r\n\r\n").unwrap();
        assert!(answers.expect(Asked::Plain));
    }
}
