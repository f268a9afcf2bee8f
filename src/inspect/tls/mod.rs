//! TLS over a stream: server name, versions, fingerprints, client certificates. Reads the
//! handshake in the clear; never decrypts, never verifies.

pub mod certificate;
pub mod compose;
pub mod facts;
pub mod fingerprint;
pub mod hello;
pub mod ja3;
pub mod ja4;
pub mod lane;
pub mod record;
pub mod sslv2;
#[cfg(test)]
mod tests;
pub mod watch;

pub use facts::Fingerprints;

use super::bytes::Reader;
use super::progress::{Progress, Wants};
use crate::model::{Direction, Fact, Facts, Reason, TlsVersion};
use hello::{CLIENT_HELLO, ClientHello, ServerHello, Transport};
use lane::{Event, Lane};
use record::{Assembly, Content, HEADER_BYTES, Header, MESSAGE_HEADER_BYTES};
use watch::Watch;

/// What may pass of a handshake behind the first hello, of each side, before the connection is
/// decided: room for a chain of certificates with post-quantum signatures, of some tens of kilobytes,
/// and as much again.
pub const HANDSHAKE_LIMIT_BYTES: usize = 128 * 1024;

/// Reads one TLS connection.
#[derive(Debug)]
pub struct TlsReader {
    client: Direction,
    fingerprints: Fingerprints,
    settled: bool,
    /// The hello was allowed, whatever the server answers.
    allowed: bool,
    /// Nobody asks.
    for_record: bool,
    /// What the server said passed unseen.
    server_unseen: bool,
    named: bool,
    stage: Stage,
    assembly: Assembly,
    lanes: Option<Box<Lanes>>,
}

/// How far the handshake got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The first ClientHello is to come.
    Hello,
    /// The server's answer is to come, or after a HelloRetryRequest the second ClientHello.
    Answer,
    /// A version with certificates in the clear was chosen; the client's may come.
    Certificate,
    /// Nothing more can be seen.
    Done,
}

/// State behind the hello, made when it is first needed.
#[derive(Debug, Default)]
struct Lanes {
    client: Lane,
    server: Lane,
    watch: Watch,
    /// The server asked for a second hello, of this version.
    retried: Option<TlsVersion>,
}

impl Default for TlsReader {
    fn default() -> Self {
        Self::new()
    }
}

impl TlsReader {
    /// A connection whose client opened the flow; all fingerprints are made.
    #[must_use]
    pub fn new() -> Self {
        Self {
            client: Direction::Original,
            fingerprints: Fingerprints::default(),
            settled: false,
            allowed: false,
            for_record: false,
            server_unseen: false,
            named: false,
            stage: Stage::Hello,
            assembly: Assembly::default(),
            lanes: None,
        }
    }

    /// Makes only these fingerprints.
    #[must_use]
    pub fn with_fingerprints(mut self, fingerprints: Fingerprints) -> Self {
        self.fingerprints = fingerprints;
        self
    }

    /// The client's side of the flow, where it is not the side that opened it (active FTP data).
    #[must_use]
    pub fn with_client(mut self, client: Direction) -> Self {
        self.client = client;
        self
    }

    /// Nobody asks: the client's certificate is told for the record once its owner showed the key,
    /// whether or not the server was seen to go on.
    #[must_use]
    pub const fn for_record(mut self, for_record: bool) -> Self {
        self.for_record = for_record;
        self
    }

    /// As [`Self::for_record`], of a reader that has begun.
    pub const fn set_for_record(&mut self, for_record: bool) {
        self.for_record = for_record;
    }

    /// The decision is final on the facts known: application data need not wait, and the client's
    /// certificate is not looked for. A second hello still is.
    pub fn settle(&mut self, facts: &mut Facts) {
        self.settled = true;
        if self.stage == Stage::Certificate {
            self.finish();
            facts.tls.client_certificate = Fact::Missed;
        }
    }

    /// The hello is allowed whatever else is told: application data need not wait for that, early or
    /// in front of the end of the handshake (RFC 7918). Further facts are told all the same.
    pub const fn allow(&mut self) {
        self.allowed = true;
    }

    /// Bytes of one direction passed unseen: the other side has acknowledged them.
    pub fn miss(&mut self, direction: Direction) {
        self.server_unseen |= direction != self.client;
    }

    /// Which directions tell more.
    #[must_use]
    pub fn wants(&self) -> Wants {
        match self.stage {
            Stage::Hello => Wants::only(self.client),
            Stage::Answer | Stage::Certificate => Wants::BOTH,
            Stage::Done => Wants::NOTHING,
        }
    }

    /// Reads the unread in-order bytes of one direction. Never panics, whatever the bytes.
    #[inline]
    pub fn read(&mut self, direction: Direction, bytes: &[u8], facts: &mut Facts) -> Progress {
        let from_client = direction == self.client;
        let bounded = self.is_bounded();
        let read = match self.stage {
            Stage::Hello if from_client => self.read_hello(bytes, facts),
            Stage::Hello => Ok(Progress::more(0)),
            Stage::Answer if from_client => self.read_between(bytes, facts),
            Stage::Answer => self.read_answer(bytes, facts),
            Stage::Certificate => self.read_certificate(from_client, bytes, facts),
            Stage::Done => Ok(Progress::done(bytes.len())),
        };
        let read = match read {
            Ok(progress) if bounded => self.within_bound(from_client, progress),
            read => read,
        };
        read.unwrap_or_else(|reason| {
            self.finish();
            Progress::fault(reason)
        })
    }

    /// Whether what is read travels though nothing is decided.
    const fn is_bounded(&self) -> bool {
        matches!(self.stage, Stage::Answer | Stage::Certificate)
            && !(self.settled || self.allowed || self.for_record)
    }

    /// Counts what is let go of one side before the decision. Application data is not: it waits.
    fn within_bound(&mut self, from_client: bool, progress: Progress) -> Result<Progress, Reason> {
        let Some(lanes) = self.lanes.as_mut() else { return Ok(progress) };
        let lane = if from_client { &mut lanes.client } else { &mut lanes.server };
        if lane.count(progress.consumed) > HANDSHAKE_LIMIT_BYTES {
            return Err(Reason::LimitInspection);
        }
        Ok(progress)
    }

    /// A ClientHello, the first or a further one, that starts `bytes`.
    #[inline]
    fn read_hello(&mut self, bytes: &[u8], facts: &mut Facts) -> Result<Progress, Reason> {
        if !self.named && bytes.first().is_some_and(|&first| first & 0x80 != 0) {
            return self.read_sslv2(bytes, facts);
        }
        let Some(whole) = self.assembly.find(bytes, CLIENT_HELLO)? else {
            return Ok(Progress::more(0));
        };
        let hello = ClientHello::read(whole.body).ok_or(Reason::TlsMalformed)?;
        if self.named {
            facts::again(facts, &hello)?;
        } else {
            facts::first(facts, &hello, Transport::Tcp, self.fingerprints)?;
            self.named = true;
        }
        let consumed = whole.consumed;
        self.assembly.clear();
        self.stage = Stage::Answer;
        Ok(Progress::message(consumed))
    }

    fn read_sslv2(&mut self, bytes: &[u8], facts: &mut Facts) -> Result<Progress, Reason> {
        let Some(hello) = sslv2::read(bytes)? else { return Ok(Progress::more(0)) };
        sslv2::fill(facts, &hello);
        self.named = true;
        self.stage = if hello.is_sslv2() { Stage::Done } else { Stage::Answer };
        Ok(Progress::message(hello.len))
    }

    /// The client between its hello and the server's: a second hello, early data, alerts.
    fn read_between(&mut self, bytes: &[u8], facts: &mut Facts) -> Result<Progress, Reason> {
        let mut at = 0_usize;
        loop {
            let rest = bytes.get(at..).unwrap_or_default();
            let lanes = self.lanes.get_or_insert_default();
            let passes = self.settled || self.allowed;
            let lane = &mut lanes.client;
            let (used, event) = lane.next(rest, true)?;
            at = at.saturating_add(used);
            let rest = rest.get(used..).unwrap_or_default();
            match event {
                Event::ApplicationData if passes => {
                    at = at.saturating_add(lane.pass_application_data(rest));
                }
                Event::More | Event::ApplicationData => return Ok(Progress::more(at)),
                Event::ChangeCipherSpec => lane.unseal(),
                Event::Handshake | Event::Message(_) => {
                    match rest.get(HEADER_BYTES) {
                        None => return Ok(Progress::more(at)),
                        Some(&CLIENT_HELLO) => {}
                        Some(_) => return self.unanswered(at, facts),
                    }
                    let inner = self.read_hello(rest, facts)?;
                    let consumed = at.saturating_add(inner.consumed);
                    return Ok(Progress::new(consumed, inner.outcome));
                }
            }
        }
    }

    /// The client goes on with its handshake before the server answered. No client can, so that the
    /// answer passed unseen, as in a capture of one direction; where it cannot have, the client only
    /// pretends. A server takes no hello behind this.
    fn unanswered(&mut self, consumed: usize, facts: &mut Facts) -> Result<Progress, Reason> {
        if !(self.server_unseen || self.for_record) {
            return Err(Reason::TlsMalformed);
        }
        facts.tls.version = Fact::Missed;
        facts.tls.client_certificate = Fact::Missed;
        if self.for_record {
            self.stage = Stage::Certificate;
        } else {
            self.finish();
        }
        Ok(Progress::fact(consumed))
    }

    fn finish(&mut self) {
        self.lanes = None;
        self.stage = Stage::Done;
    }

    /// The server up to its ServerHello, or a HelloRetryRequest on the way.
    fn read_answer(&mut self, bytes: &[u8], facts: &mut Facts) -> Result<Progress, Reason> {
        if let Some((consumed, answer)) = self.last_word(bytes) {
            self.answered(answer, facts);
            return Ok(Progress::fact(consumed));
        }
        let mut at = 0_usize;
        loop {
            let rest = bytes.get(at..).unwrap_or_default();
            let lanes = self.lanes.get_or_insert_default();
            let lane = &mut lanes.server;
            let (used, event) = lane.next(rest, false)?;
            at = at.saturating_add(used);
            match event {
                Event::More => return Ok(Progress::more(at)),
                Event::ChangeCipherSpec => lane.unseal(),
                Event::Message(hello::SERVER_HELLO) => {
                    let answer = ServerHello::read(lane.body()).ok_or(Reason::TlsMalformed)?;
                    // The version stays what the retry said, and there is one retry at most
                    // (RFC 8446 sections 4.1.3 and 4.1.4).
                    if lanes
                        .retried
                        .is_some_and(|version| answer.retry || version != answer.version)
                        || answer.retry && !answer.sealed
                    {
                        return Err(Reason::TlsMalformed);
                    }
                    if answer.retry {
                        lanes.retried = Some(answer.version);
                        facts.tls.version = Fact::Known(answer.version);
                        facts.tls.client_certificate = Fact::Missed;
                    } else {
                        self.answered(answer, facts);
                    }
                    return Ok(Progress::fact(at));
                }
                Event::ApplicationData | Event::Handshake | Event::Message(_) => {
                    return Err(Reason::TlsMalformed);
                }
            }
        }
    }

    /// The ServerHello that is there whole in the server's first bytes, and their length up to its end,
    /// where nothing behind it is read: by far the most frequent answer, for which nothing is kept.
    fn last_word(&self, bytes: &[u8]) -> Option<(usize, ServerHello)> {
        let header = Header::read(bytes).ok()??;
        if self.lanes.is_some() || header.content != Content::Handshake {
            return None;
        }
        let mut reader = Reader::new(bytes.get(HEADER_BYTES..)?);
        let mut message = Reader::new(reader.take(header.len.min(reader.len()))?);
        if message.u8()? != hello::SERVER_HELLO {
            return None;
        }
        let body = message.vec24()?;
        let answer = ServerHello::read(body)?;
        let consumed = HEADER_BYTES + MESSAGE_HEADER_BYTES + body.len();
        (!answer.retry && self.is_last(answer)).then_some((consumed, answer))
    }

    /// Whether nothing is read behind this answer.
    const fn is_last(&self, answer: ServerHello) -> bool {
        answer.sealed || self.settled
    }

    fn answered(&mut self, answer: ServerHello, facts: &mut Facts) {
        facts.tls.version = Fact::Known(answer.version);
        if self.is_last(answer) {
            // TLS 1.3 protects the certificates (RFC 8446 section 2).
            facts.tls.client_certificate = Fact::Missed;
            self.finish();
        } else {
            self.stage = Stage::Certificate;
        }
    }

    /// Both sides until it is known whether the client has a certificate.
    fn read_certificate(
        &mut self,
        from_client: bool,
        bytes: &[u8],
        facts: &mut Facts,
    ) -> Result<Progress, Reason> {
        let allowed = self.allowed;
        let lanes = self.lanes.get_or_insert_default();
        let lane = if from_client { &mut lanes.client } else { &mut lanes.server };
        let mut at = 0_usize;
        loop {
            let (used, event) = lane.next(bytes.get(at..).unwrap_or_default(), false)?;
            at = at.saturating_add(used);
            if allowed && event == Event::ApplicationData {
                let rest = bytes.get(at..).unwrap_or_default();
                at = at.saturating_add(lane.pass_application_data(rest));
                continue;
            }
            if matches!(event, Event::More | Event::ApplicationData) {
                return Ok(Progress::more(at));
            }
            let fact = match lanes.watch.see(from_client, event, lane.body())? {
                None if self.for_record && from_client && event == Event::ChangeCipherSpec => {
                    Some(lanes.watch.shown())
                }
                fact => fact,
            };
            if let Some(fact) = fact {
                facts.tls.client_certificate = fact;
                self.finish();
                return Ok(Progress::fact(at));
            }
        }
    }
}
