//! One direction of a TLS connection behind the ClientHello: records to handshake messages, byte by
//! byte if need be. Keeps only the messages asked for; holds nothing back but application data.

use super::hello::SERVER_HELLO;
use super::record::{Content, HEADER_BYTES, Header, MESSAGE_HEADER_BYTES};
use crate::inspect::bytes::Reader;
use crate::model::Reason;

/// Handshake message type of a Certificate.
pub const CERTIFICATE: u8 = 11;
/// The longest message that is kept.
pub const MESSAGE_LIMIT_BYTES: usize = 64 * 1024;

/// What stands in the bytes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// All bytes were used up to an incomplete record header.
    More,
    /// A handshake message of this type ended; its body is [`Lane::body`] if it is one that is kept.
    Message(u8),
    /// A `change_cipher_spec` record ended: what follows is protected.
    ChangeCipherSpec,
    /// An application data record starts here; it is not consumed.
    ApplicationData,
    /// A plaintext handshake record starts here; it is not consumed. Only where asked for.
    Handshake,
}

/// The state of one direction.
#[derive(Debug, Default)]
pub struct Lane {
    /// Payload of the current record still to come.
    left: usize,
    /// That payload is no plaintext handshake and is passed over.
    passing: bool,
    /// Everything behind `change_cipher_spec` is protected.
    sealed: bool,
    header: Vec<u8>,
    kind: u8,
    body: Vec<u8>,
    body_left: usize,
    in_body: bool,
    /// What was let go before the connection was decided.
    passed: usize,
}

impl Lane {
    /// The body of the message last told, if it is one that is kept.
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// Counts bytes that are let go before the decision; how many there were so far.
    pub const fn count(&mut self, bytes: usize) -> usize {
        self.passed = self.passed.saturating_add(bytes);
        self.passed
    }

    /// Lets the application data record that starts `bytes` pass; its bytes are used by what is
    /// read next.
    pub fn pass_application_data(&mut self, bytes: &[u8]) -> usize {
        match Header::read(bytes) {
            Ok(Some(header)) => {
                self.left = header.len;
                self.passing = true;
                HEADER_BYTES
            }
            _ => 0,
        }
    }

    /// What comes next in `bytes`, and how many of them it takes. With `peek`, plaintext handshake
    /// records are told, not read.
    ///
    /// # Errors
    /// [`Reason::TlsMalformed`], or [`Reason::LimitInspection`] beyond [`MESSAGE_LIMIT_BYTES`].
    pub fn next(&mut self, bytes: &[u8], peek: bool) -> Result<(usize, Event), Reason> {
        let mut reader = Reader::new(bytes);
        loop {
            let used = bytes.len().saturating_sub(reader.len());
            if self.left == 0 {
                let Some(header) = Header::read(reader.rest())? else {
                    return Ok((used, Event::More));
                };
                match header.content {
                    Content::ApplicationData => return Ok((used, Event::ApplicationData)),
                    Content::ChangeCipherSpec => {
                        let end = HEADER_BYTES.saturating_add(header.len);
                        if header.len != 1 {
                            return Err(Reason::TlsMalformed);
                        }
                        if reader.take(end).is_none() {
                            return Ok((used, Event::More));
                        }
                        self.sealed = true;
                        return Ok((used.saturating_add(end), Event::ChangeCipherSpec));
                    }
                    // Nobody may send an empty one (RFC 8446 section 5.1), and what stands behind it
                    // is the next record's header, not a message.
                    _ if header.len == 0 => return Err(Reason::TlsMalformed),
                    Content::Handshake if peek => return Ok((used, Event::Handshake)),
                    content => self.passing = self.sealed || content == Content::Alert,
                }
                self.left = header.len;
                reader.take(HEADER_BYTES);
            }
            if reader.is_empty() {
                return Ok((bytes.len(), Event::More));
            }
            if self.passing {
                let count = self.left.min(reader.len());
                reader.take(count);
                self.left = self.left.saturating_sub(count);
            } else if let Some(kind) = self.step(&mut reader)? {
                return Ok((bytes.len().saturating_sub(reader.len()), Event::Message(kind)));
            }
        }
    }

    /// Reads a part of a handshake message; its type when it ended.
    fn step(&mut self, reader: &mut Reader<'_>) -> Result<Option<u8>, Reason> {
        if !self.in_body {
            let missing = MESSAGE_HEADER_BYTES.saturating_sub(self.header.len());
            let count = missing.min(self.left).min(reader.len());
            self.header.extend_from_slice(reader.take(count).unwrap_or_default());
            self.left = self.left.saturating_sub(count);
            let mut header = Reader::new(&self.header);
            let (Some(kind), Some(len)) = (header.u8(), header.u24()) else { return Ok(None) };
            self.kind = kind;
            self.body_left = usize::try_from(len).unwrap_or(usize::MAX);
            if self.keeps() && self.body_left > MESSAGE_LIMIT_BYTES {
                return Err(Reason::LimitInspection);
            }
            self.in_body = true;
            self.header.clear();
            self.body.clear();
        }
        let count = self.body_left.min(self.left).min(reader.len());
        let part = reader.take(count).unwrap_or_default();
        if self.keeps() {
            self.body.extend_from_slice(part);
        }
        self.left = self.left.saturating_sub(count);
        self.body_left = self.body_left.saturating_sub(count);
        if self.body_left > 0 {
            return Ok(None);
        }
        self.in_body = false;
        Ok(Some(self.kind))
    }

    const fn keeps(&self) -> bool {
        matches!(self.kind, SERVER_HELLO | CERTIFICATE)
    }

    /// Handshake messages behind a dummy `change_cipher_spec` (RFC 8446 appendix D.4) are still in
    /// the clear.
    pub const fn unseal(&mut self) {
        self.sealed = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(lane: &mut Lane, bytes: &[u8]) -> Vec<Event> {
        let mut events = Vec::new();
        let mut at = 0;
        loop {
            let (used, event) = lane.next(&bytes[at..], false).unwrap();
            at += used;
            if event == Event::More || event == Event::ApplicationData {
                assert_eq!(at, bytes.len());
                return events;
            }
            events.push(event);
        }
    }

    #[test]
    fn messages_are_found_at_any_cut_of_records_and_bytes() {
        let messages = [2, 0, 0, 3, 7, 8, 9, 14, 0, 0, 0, 11, 0, 0, 1, 5];
        for size in 1..=messages.len() {
            let bytes: Vec<u8> = messages
                .chunks(size)
                .flat_map(|part| [&[22, 3, 3, 0, u8::try_from(part.len()).unwrap()], part].concat())
                .chain([20, 3, 3, 0, 1, 1, 22, 3, 3, 0, 2, 99, 99])
                .collect();
            let expected = [
                Event::Message(2),
                Event::Message(14),
                Event::Message(11),
                Event::ChangeCipherSpec,
            ];
            assert_eq!(run(&mut Lane::default(), &bytes), expected, "{size}");
            let mut lane = Lane::default();
            let mut events = Vec::new();
            let mut unread = Vec::new();
            for &byte in &bytes {
                unread.push(byte);
                loop {
                    let (used, event) = lane.next(&unread, false).unwrap();
                    unread.drain(..used);
                    if event == Event::More {
                        break;
                    }
                    events.push(event);
                }
            }
            assert_eq!(events, expected, "{size}");
        }
    }

    #[test]
    fn a_message_that_is_kept_ends_at_its_limit() {
        for (len, fits) in [
            (MESSAGE_LIMIT_BYTES - 1, true),
            (MESSAGE_LIMIT_BYTES, true),
            (MESSAGE_LIMIT_BYTES + 1, false),
        ] {
            let size = u32::try_from(len).unwrap().to_be_bytes();
            let bytes = [22, 3, 3, 0, 4, 11, size[1], size[2], size[3]];
            assert_eq!(Lane::default().next(&bytes, false).is_ok(), fits, "{len}");
        }
    }
}
