//! The inspector of one flow: tells the protocol, hands the bytes to its reader, and starts anew
//! where one protocol gives way to another. Holds no bytes and no facts.

use super::datagrams::{Datagrams, Speech, Strand};
use super::detect::{Detection, client};
use super::dns::DnsStreamReader;
use super::greeting::{Greeting, recognise};
use super::http::{HttpReader, note_stray_host};
use super::http2::Http2Reader;
use super::preface::{Preface, Step, Watch};
use super::progress::{Outcome, Progress, Wants};
use super::proxy::ProxyReader;
use super::quic::QuicReader;
use super::tls::TlsReader;
use crate::model::{App, Direction, Facts, Reason};

/// Protocols that may follow one another within the bytes of one call.
pub const SWITCH_LIMIT: usize = 8;

/// Reads one flow. The bytes of a TCP flow come through [`Inspector::read`], in order and each
/// direction from its first byte; the datagrams of a UDP flow through [`Inspector::datagram`].
#[derive(Debug)]
pub struct Inspector {
    state: State,
    /// DNS answers over streams are read too.
    answers: bool,
    /// Nobody asks: facts are for the record alone.
    for_record: bool,
}

#[derive(Debug)]
enum State {
    /// A PROXY header is due.
    Proxy(ProxyReader),
    /// The protocol is not known, or only that the server spoke first.
    Detect {
        /// What the flow was called because of the server's first bytes.
        settled: Option<App>,
    },
    /// A protocol without names in which TLS or a tunnel may start.
    Watch(Watch),
    Tls(TlsReader),
    Http(Box<HttpReader>),
    Http2(Box<Http2Reader>),
    Dns(DnsStreamReader),
    Datagrams(Datagrams),
    Done,
    /// Ended with a reason.
    Broken(Reason),
}

impl Inspector {
    /// A TCP flow whose protocol is to be told from its bytes.
    #[must_use]
    pub const fn stream() -> Self {
        Self { state: State::Detect { settled: None }, answers: false, for_record: false }
    }

    /// A TCP flow from a trusted proxy: it starts with a PROXY protocol header.
    #[must_use]
    pub const fn stream_behind_proxy() -> Self {
        Self { state: State::Proxy(ProxyReader::new()), answers: false, for_record: false }
    }

    /// A UDP flow.
    #[must_use]
    pub const fn datagrams() -> Self {
        Self { state: State::Datagrams(Datagrams::new()), answers: false, for_record: false }
    }

    /// A UDP flow from a trusted proxy: its first datagram starts with a PROXY protocol header.
    #[must_use]
    pub const fn datagrams_behind_proxy() -> Self {
        Self {
            state: State::Datagrams(Datagrams::behind_proxy()),
            answers: false,
            for_record: false,
        }
    }

    /// A UDP flow of which it is known what it speaks.
    #[must_use]
    pub const fn speaking(speech: Speech) -> Self {
        let state = State::Datagrams(Datagrams::speaking(speech));
        Self { state, answers: false, for_record: false }
    }

    /// A UDP flow whose QUIC hello this reader has read.
    #[must_use]
    pub const fn of_quic(reader: Box<QuicReader>) -> Self {
        let state = State::Datagrams(Datagrams::of_quic(reader));
        Self { state, answers: false, for_record: false }
    }

    /// Will read a UDP flow with this reader, which is as a new one, should it turn out to be QUIC.
    #[must_use]
    pub fn with_quic(mut self, spare: Option<Box<QuicReader>>) -> Self {
        if let State::Datagrams(datagrams) = &mut self.state {
            datagrams.lend(spare);
        }
        self
    }

    /// Takes the reader of a QUIC flow out, or the one it was lent; the inspector is done.
    pub fn take_quic(&mut self) -> Option<Box<QuicReader>> {
        match std::mem::replace(&mut self.state, State::Done) {
            State::Datagrams(datagrams) => datagrams.into_quic(),
            _ => None,
        }
    }

    /// What a UDP flow speaks, if that alone says how to read on.
    #[must_use]
    pub fn speech(&self) -> Option<Speech> {
        match &self.state {
            State::Datagrams(datagrams) => datagrams.speech(),
            _ => None,
        }
    }

    /// Whether the answers of a DNS stream are to be shown too, each consumed alone: somebody wants to
    /// remember them.
    #[must_use]
    pub fn with_answers(mut self, answers: bool) -> Self {
        self.answers = answers;
        self
    }

    /// Whether DNS answers are shown to it, over whatever transport.
    #[must_use]
    pub const fn is_shown_answers(&self) -> bool {
        self.answers || self.is_datagrams()
    }

    /// Whether it reads datagrams.
    #[must_use]
    pub const fn is_datagrams(&self) -> bool {
        matches!(self.state, State::Datagrams(_))
    }

    /// Whether nobody asks, and facts are for the record alone.
    #[must_use]
    pub const fn for_record(mut self, for_record: bool) -> Self {
        self.for_record = for_record;
        self
    }

    /// Whether nobody asks from now on.
    pub fn set_for_record(&mut self, for_record: bool) {
        self.for_record = for_record;
        if let State::Tls(reader) = &mut self.state {
            reader.set_for_record(for_record);
        }
    }

    /// Which directions must be read, and so held, before more can be said. When nothing can be
    /// said any more that is both: the next bytes of either give [`Outcome::Done`].
    #[must_use]
    pub fn wants(&self) -> Wants {
        let wants = self.reader_wants();
        if wants.is_nothing() { Wants::BOTH } else { wants }
    }

    /// Whether no byte of the server's stream will be wanted from now on, whatever the client sends.
    #[must_use]
    pub const fn is_through_with_replies(&self) -> bool {
        match &self.state {
            State::Http(reader) => reader.is_through_with_answers(),
            State::Http2(_) => true,
            _ => false,
        }
    }

    /// Whether nothing later in this flow can be a new message or a new fact, so that the next
    /// outcome is [`Outcome::Done`], or the fault that was told last.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.reader_wants().is_nothing()
    }

    /// The decision is final on the facts known: what later bytes of this message could still tell
    /// (a client certificate) need not be waited for. Later messages are read all the same.
    pub fn settle(&mut self, facts: &mut Facts) {
        if let State::Tls(reader) = &mut self.state {
            reader.settle(facts);
        }
    }

    /// The present message is allowed whatever later facts say: its early data need not wait for them.
    pub const fn allow(&mut self) {
        if let State::Tls(reader) = &mut self.state {
            reader.allow();
        }
    }

    /// Bytes of one direction of a TCP flow passed unseen: the other side has acknowledged them.
    pub fn miss(&mut self, direction: Direction) {
        if let State::Tls(reader) = &mut self.state {
            reader.miss(direction);
        }
    }

    fn reader_wants(&self) -> Wants {
        match &self.state {
            State::Proxy(reader) if reader.is_identified() => Wants::BOTH,
            State::Proxy(reader) => reader.wants(),
            State::Detect { settled: None } => Wants::BOTH,
            State::Detect { settled: Some(_) } | State::Watch(_) => Wants::ORIGINAL,
            State::Tls(reader) => reader.wants(),
            State::Http(reader) => reader.wants(),
            State::Http2(reader) => reader.wants(),
            State::Dns(_) if self.answers => Wants::BOTH,
            State::Dns(reader) => reader.wants(),
            State::Datagrams(datagrams) => datagrams.wants(),
            State::Done | State::Broken(_) => Wants::NOTHING,
        }
    }

    /// Reads unread in-order bytes of one direction of a TCP flow. At most one message, fact or
    /// fault is told at a time; while something is consumed the rest is to be shown again, and
    /// then the other direction's too. Never [`Outcome::Switch`]. Never panics.
    pub fn read(&mut self, direction: Direction, bytes: &[u8], facts: &mut Facts) -> Progress {
        let mut at = 0_usize;
        for _ in 0..SWITCH_LIMIT {
            let rest = bytes.get(at..).unwrap_or_default();
            if rest.is_empty() {
                return Progress::more(at);
            }
            let progress = self.step(direction, rest, facts);
            at = at.saturating_add(progress.consumed);
            match progress.outcome {
                Outcome::Switch => {}
                Outcome::Fault(reason) => {
                    self.state = State::Broken(reason);
                    return Progress::new(at, progress.outcome);
                }
                outcome => return Progress::new(at, outcome),
            }
        }
        self.state = State::Broken(Reason::LimitInspection);
        Progress::fault(Reason::LimitInspection)
    }

    /// Reads one datagram of a UDP flow. Consumed, it is a message or belongs to the one decided
    /// last; with [`Outcome::More`] and not consumed, it belongs to a message that is not complete
    /// and waits for it, whatever was decided before. It is not to be shown again. A fault is of
    /// this datagram alone: later ones are to be shown as before. Never panics.
    pub fn datagram(
        &mut self,
        direction: Direction,
        payload: &[u8],
        facts: &mut Facts,
    ) -> Progress {
        let State::Datagrams(datagrams) = &mut self.state else {
            return Progress::done(payload.len());
        };
        datagrams.read(direction, payload, facts)
    }

    /// What the last datagram was part of.
    #[must_use]
    pub const fn strand(&self) -> Strand {
        match &self.state {
            State::Datagrams(datagrams) => datagrams.strand(),
            _ => Strand::Flow,
        }
    }

    /// Whether what a datagram is part of that waits is read still. If not, nothing will ever decide it.
    #[must_use]
    pub fn reads(&self, strand: Strand) -> bool {
        match &self.state {
            State::Datagrams(datagrams) => datagrams.reads(strand),
            _ => strand == Strand::Flow,
        }
    }

    /// One reader's look at the bytes. [`Outcome::Switch`]: the state changed, look again.
    fn step(&mut self, direction: Direction, bytes: &[u8], facts: &mut Facts) -> Progress {
        match &mut self.state {
            State::Proxy(reader) => {
                let greeted = direction == Direction::Reply && reader.is_identified();
                let progress = if greeted {
                    Progress::new(0, Outcome::Switch)
                } else {
                    reader.read(direction, bytes, facts)
                };
                self.anew(progress)
            }
            State::Detect { settled } => {
                let settled = *settled;
                match direction {
                    Direction::Original => self.detect(settled, bytes, facts),
                    Direction::Reply => self.greet(settled, bytes, facts),
                }
            }
            State::Watch(watch) => match direction {
                Direction::Original => {
                    let step = watch.read(bytes);
                    self.watched(step, bytes)
                }
                Direction::Reply => Progress::more(bytes.len()),
            },
            State::Tls(reader) => reader.read(direction, bytes, facts),
            State::Http(reader) => {
                let progress = reader.read(direction, bytes, facts);
                self.anew(progress)
            }
            State::Http2(reader) => reader.read(direction, bytes, facts),
            State::Dns(reader) => reader.read(direction, bytes, facts),
            State::Datagrams(_) | State::Done => Progress::done(bytes.len()),
            State::Broken(reason) => Progress::fault(*reason),
        }
    }

    /// Starts anew if a reader says that another protocol follows.
    fn anew(&mut self, progress: Progress) -> Progress {
        if progress.outcome == Outcome::Switch {
            self.state = State::Detect { settled: None };
        }
        progress
    }

    /// The next look is with another reader, at the same bytes.
    fn hand_over(&mut self, consumed: usize, state: State) -> Progress {
        self.state = state;
        Progress::new(consumed, Outcome::Switch)
    }

    /// The client's first bytes.
    fn detect(&mut self, settled: Option<App>, bytes: &[u8], facts: &mut Facts) -> Progress {
        match client(bytes) {
            Detection::Unsure => Progress::more(0),
            Detection::Tls => self.hand_over(0, self.tls()),
            Detection::Dns => self.hand_over(0, State::Dns(DnsStreamReader::new())),
            Detection::Http => self.hand_over(0, State::Http(Box::default())),
            Detection::Http2 => self.hand_over(0, State::Http2(Box::default())),
            Detection::Ssh => self.unread(App::Greeting("ssh"), settled, bytes, facts),
            // Its server spoke first; TLS may follow, as in the protocols of that kind that are known.
            Detection::Other if settled == Some(App::Other) => {
                self.hand_over(0, State::Watch(Watch::new(Preface::Anywhere("other"))))
            }
            Detection::Other => self.unread(App::Other, settled, bytes, facts),
            Detection::Preface(preface) => {
                self.state = State::Watch(Watch::new(preface));
                facts.settle_without_names(preface.app());
                Progress::message(0)
            }
        }
    }

    fn tls(&self) -> State {
        State::Tls(TlsReader::new().for_record(self.for_record))
    }

    /// A protocol that is not read any further.
    fn unread(
        &mut self,
        app: App,
        settled: Option<App>,
        bytes: &[u8],
        facts: &mut Facts,
    ) -> Progress {
        self.state = State::Done;
        if settled == Some(app) {
            return Progress::done(bytes.len());
        }
        facts.settle_without_names(app);
        // Some servers answer even what is no request line.
        note_stray_host(bytes, facts);
        Progress::message(bytes.len())
    }

    /// The server's first bytes, while the client's are not known.
    fn greet(&mut self, settled: Option<App>, bytes: &[u8], facts: &mut Facts) -> Progress {
        if settled.is_some() {
            return Progress::more(bytes.len());
        }
        let (app, state) = match recognise(bytes) {
            Greeting::Unsure | Greeting::Settings => return Progress::more(0),
            Greeting::Hello => {
                let reader = TlsReader::new().with_client(Direction::Reply);
                let reader = reader.for_record(self.for_record);
                return self.hand_over(0, State::Tls(reader));
            }
            Greeting::Preface(preface) => (preface.app(), State::Watch(Watch::new(preface))),
            Greeting::Plain(name) => (App::Greeting(name), State::Done),
            // The client may yet turn out to speak a known protocol.
            Greeting::Unknown => (App::Other, State::Detect { settled: Some(App::Other) }),
        };
        self.state = state;
        facts.settle_without_names(app);
        Progress::message(bytes.len())
    }

    /// What a watched protocol's bytes lead to.
    fn watched(&mut self, step: Step, bytes: &[u8]) -> Progress {
        match step {
            Step::Skip(count) => Progress::more(count),
            Step::Tls(at) => self.hand_over(at, self.tls()),
            // The server's answers to SOCKS are no greeting: the client's bytes tell the protocol.
            Step::Tunnel(at) => {
                let settled = Some(App::Greeting("socks"));
                self.hand_over(at, State::Detect { settled })
            }
            Step::Wrong => Progress::fault(Reason::ProtocolContradiction),
            Step::Over => {
                self.state = State::Done;
                Progress::done(bytes.len())
            }
        }
    }
}

#[cfg(test)]
mod tests;
