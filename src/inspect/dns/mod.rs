//! DNS messages (RFC 1035 section 4): header, questions, records; a query's names become facts.
//! Caches nothing and knows no transport but the datagram; [`stream`] has the one of TCP.

pub mod answers;
pub mod lone;
pub mod name;
pub mod stream;

use super::bytes::Reader;
use super::progress::{Outcome, Progress};
use crate::model::{App, Direction, DomainName, Fact, Facts, Reason};
use name::{NameError, is_host_byte, is_lenient_host, name_at, read_name, skip_name};

pub use stream::DnsStreamReader;

/// Bytes of a message's header (RFC 1035 section 4.1.1).
pub const HEADER_BYTES: usize = 12;
/// Questions read from one message. Real messages have one; servers refuse more.
pub const QUESTION_LIMIT: u16 = 32;

/// A message's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Chosen by the client, repeated by the server.
    pub id: u16,
    /// QR, opcode, AA, TC, RD, RA, Z, AD, CD and RCODE as they stand.
    pub flags: u16,
    /// Entries of the question section.
    pub questions: u16,
    /// Records of the answer section.
    pub answers: u16,
    /// Records of the authority section.
    pub authorities: u16,
    /// Records of the additional section.
    pub additionals: u16,
}

impl Header {
    /// The header in front of a message; `None` if it is cut.
    #[inline]
    #[must_use]
    pub fn read(message: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(message);
        Some(Self {
            id: reader.u16()?,
            flags: reader.u16()?,
            questions: reader.u16()?,
            answers: reader.u16()?,
            authorities: reader.u16()?,
            additionals: reader.u16()?,
        })
    }

    /// Whether this is a response (QR).
    #[must_use]
    pub const fn is_response(self) -> bool {
        self.flags & 0x8000 != 0
    }

    /// What is asked for: 0 query, 1 inverse, 2 status, 4 notify, 5 update, 6 stateful.
    #[must_use]
    pub const fn opcode(self) -> u8 {
        ((self.flags >> 11) & 0xf) as u8
    }

    /// How it went; 0 is well.
    #[must_use]
    pub const fn rcode(self) -> u8 {
        (self.flags & 0xf) as u8
    }

    /// Whether it counts no more than 511 records of a kind, as all but hostile queries do.
    #[must_use]
    pub const fn counts_few(self) -> bool {
        (self.answers | self.authorities | self.additionals) >> 9 == 0
    }

    /// Whether the message was cut to fit (TC).
    #[must_use]
    pub const fn is_truncated(self) -> bool {
        self.flags & 0x0200 != 0
    }
}

/// One entry of the question section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question {
    /// QNAME.
    pub name: DomainName,
    /// QTYPE.
    pub kind: u16,
    /// QCLASS.
    pub class: u16,
}

impl Question {
    /// The question that starts at `at`, and the position behind it.
    ///
    /// # Errors
    /// What is wrong with the name, or that the message ends within the question.
    #[inline]
    pub fn read(message: &[u8], at: usize) -> Result<(Self, usize), NameError> {
        let (name, behind) = name_at(message, at)?;
        let tail = QuestionTail::read(message, behind).ok_or(NameError::Truncated)?;
        let QuestionTail { kind, class } = tail;
        Ok((Self { name, kind, class }, behind.saturating_add(4)))
    }

    /// The name of the question that starts at `at` in the place of another, and the position behind
    /// the question.
    ///
    /// # Errors
    /// As [`Question::read`].
    #[inline]
    pub fn read_name(message: &[u8], at: usize, name: &mut DomainName) -> Result<usize, NameError> {
        let behind = read_name(message, at, name)?;
        QuestionTail::read(message, behind).ok_or(NameError::Truncated)?;
        Ok(behind.saturating_add(4))
    }

    /// Whether the question that starts at `at`, whose name this engine does not take for one, has a
    /// class and names a host to those who follow pointers wherever they lead.
    ///
    /// # Errors
    /// As [`Question::read`], but for what is wrong with pointers.
    pub fn is_lenient(message: &[u8], at: usize) -> Result<bool, NameError> {
        let behind = skip_name(message, at)?;
        let tail = QuestionTail::read(message, behind).ok_or(NameError::Truncated)?;
        Ok(tail.has_class() && is_lenient_host(message, at)?)
    }

    /// Whether it is a question of DNS: of a class there is, and for no NetBIOS name.
    #[must_use]
    pub fn is_dns(&self) -> bool {
        QuestionTail { kind: self.kind, class: self.class }.is_dns(&self.name)
    }
}

/// Whether a name is one that hosts have: letters, digits, hyphens and underscores. By this queries
/// that are odd otherwise are told from bytes that only look like one.
#[inline]
#[must_use]
pub fn is_host(name: &DomainName) -> bool {
    !name.is_empty() && name.as_bytes().iter().all(|&byte| byte == b'.' || is_host_byte(byte))
}

/// What stands behind the name of a question.
struct QuestionTail {
    kind: u16,
    class: u16,
}

impl QuestionTail {
    #[inline]
    fn read(message: &[u8], at: usize) -> Option<Self> {
        let &[k, l, c, d] = message.get(at..)?.first_chunk()?;
        Some(Self { kind: u16::from_be_bytes([k, l]), class: u16::from_be_bytes([c, d]) })
    }

    #[inline]
    fn is_dns(&self, name: &DomainName) -> bool {
        self.has_class() && !self.is_netbios(name)
    }

    #[inline]
    const fn has_class(&self) -> bool {
        // The top bit asks for an answer to this host alone (RFC 6762 section 5.4).
        matches!(self.class & 0x7fff, 1 | 3 | 4 | 254 | 255)
    }

    /// A NetBIOS name is one label of 32 bytes (RFC 1001 section 14.1), each one of sixteen letters,
    /// and asked for by types of its own (RFC 1002 section 4.2.1.3). With a domain behind it a resolver
    /// would answer, so that is DNS whatever its first label.
    #[inline]
    fn is_netbios(&self, name: &DomainName) -> bool {
        let name = name.as_bytes();
        if name.len() != 32 || name.contains(&b'.') {
            return false;
        }
        let typed = matches!(self.kind, 0x20 | 0x21);
        typed || name.iter().all(|b| (b'a'..=b'p').contains(b))
    }
}

/// One resource record (RFC 1035 section 4.1.3), its name and data left where they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// Position of the owner's name.
    pub owner: usize,
    /// TYPE.
    pub kind: u16,
    /// CLASS; the sender's UDP size for OPT.
    pub class: u16,
    /// Seconds the record may be kept; flags for OPT.
    pub ttl: u32,
    /// Position of the data.
    pub data: usize,
    /// Length of the data.
    pub data_len: usize,
}

impl Record {
    /// The record that starts at `at`, and the position behind it.
    ///
    /// # Errors
    /// What is wrong with the owner, or that the message ends within the record.
    pub fn read(message: &[u8], at: usize) -> Result<(Self, usize), NameError> {
        let behind = skip_name(message, at)?;
        let mut reader = Reader::new(message.get(behind..).unwrap_or_default());
        let fields = (reader.u16(), reader.u16(), reader.u32(), reader.vec16());
        let (Some(kind), Some(class), Some(ttl), Some(data)) = fields else {
            return Err(NameError::Truncated);
        };
        let start = behind.saturating_add(10);
        let record = Self { owner: at, kind, class, ttl, data: start, data_len: data.len() };
        Ok((record, start.saturating_add(data.len())))
    }
}

/// Reads one datagram of a DNS flow. Every query is a message of its own, whichever side sends it:
/// a flow met in the middle may have been opened by the server's answer. Answers to the side that
/// opened the flow are passed over (see [`answers`]); one from that side is malformed.
pub fn read_datagram(direction: Direction, payload: &[u8], facts: &mut Facts) -> Progress {
    if direction == Direction::Reply && is_answer(payload) {
        return Progress::more(payload.len());
    }
    match read_query(payload, facts) {
        Ok(()) => Progress::message(payload.len()),
        Err(reason) => Progress::new(payload.len(), Outcome::Fault(reason)),
    }
}

/// Whether a datagram is no query: an answer, or too short for either.
#[inline]
#[must_use]
pub fn is_answer(payload: &[u8]) -> bool {
    Header::read(payload).is_none_or(Header::is_response)
}

/// Fills `facts` from a message a client sent. Bytes behind the last record are ignored, as
/// resolvers do.
///
/// # Errors
/// [`Reason::DnsMalformed`] if it is no well-formed query; the names of a response's questions are
/// noted for the record. [`Reason::LimitInspection`] beyond [`QUESTION_LIMIT`].
pub fn read_query(message: &[u8], facts: &mut Facts) -> Result<(), Reason> {
    let mut names = match std::mem::take(&mut facts.questions) {
        Fact::Known(names) => names,
        _ => Vec::new(),
    };
    let mut read = 0;
    facts.settle_without_names(App::Dns);
    let header = Header::read(message).ok_or(Reason::DnsMalformed)?;
    if header.questions > QUESTION_LIMIT {
        return Err(Reason::LimitInspection);
    }
    let mut at = HEADER_BYTES;
    for _ in 0..header.questions {
        if read == names.len() {
            names.push(DomainName::empty());
        }
        let Some(name) = names.get_mut(read) else { break };
        at = Question::read_name(message, at, name).map_err(fault)?;
        read = read.saturating_add(1);
    }
    names.truncate(read);
    if header.is_response() {
        facts.noted = names;
        return Err(Reason::DnsMalformed);
    }
    if !names.is_empty() {
        facts.questions = Fact::Known(names);
    }
    skip_records(message, at, [header.answers, header.authorities, header.additionals])
}

/// Walks the records behind the questions. Each is eleven bytes or more, so the message bounds it.
fn skip_records(message: &[u8], start: usize, counts: [u16; 3]) -> Result<(), Reason> {
    let mut at = start;
    for _ in 0..counts.into_iter().map(u32::from).sum() {
        at = Record::read(message, at).map_err(fault)?.1;
    }
    Ok(())
}

const fn fault(error: NameError) -> Reason {
    match error {
        NameError::Truncated | NameError::Malformed => Reason::DnsMalformed,
        NameError::Pointers => Reason::LimitInspection,
    }
}

#[cfg(test)]
mod tests;
