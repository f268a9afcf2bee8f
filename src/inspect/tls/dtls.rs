//! DTLS in datagrams (RFC 6347, RFC 9147): the ClientHello and its name. Nothing behind it is read.

use super::facts::{self, Fingerprints};
use super::hello::{CLIENT_HELLO, ClientHello, Transport};
use super::record::HELLO_LIMIT_BYTES;
use crate::inspect::bytes::Reader;
use crate::inspect::progress::{Progress, Wants};
use crate::inspect::quic::crypto::Crypto;
use crate::model::{Direction, Facts, Reason};

const HANDSHAKE: u8 = 22;
/// The most records of one datagram that are looked at.
pub const RECORDS_LIMIT: usize = 64;

/// A piece of a ClientHello (RFC 6347 section 4.2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Fragment<'a> {
    message: u16,
    len: usize,
    offset: usize,
    bytes: &'a [u8],
}

/// Whether a datagram can be the first of a DTLS client.
#[must_use]
pub fn is_client_start(datagram: &[u8]) -> bool {
    record(&mut Reader::new(datagram)).flatten().is_some()
}

/// Reads the DTLS datagrams of one flow whose client sends first.
#[derive(Debug, Default)]
pub struct DtlsReader {
    fingerprints: Fingerprints,
    named: bool,
    /// The hello that is not whole: its message number and what is there.
    partial: Option<(u16, Crypto)>,
}

impl DtlsReader {
    /// Makes only these fingerprints.
    #[must_use]
    pub fn with_fingerprints(mut self, fingerprints: Fingerprints) -> Self {
        self.fingerprints = fingerprints;
        self
    }

    /// Which directions tell more: hellos come from the client alone.
    #[must_use]
    pub const fn wants(&self) -> Wants {
        Wants::ORIGINAL
    }

    /// Reads one datagram; consumed as one of QUIC is. A hello that comes again, as after a
    /// HelloVerifyRequest, must keep the name.
    pub fn datagram(
        &mut self,
        direction: Direction,
        payload: &[u8],
        facts: &mut Facts,
    ) -> Progress {
        if direction == Direction::Reply {
            return Progress::more(payload.len());
        }
        match self.read(payload, facts) {
            Ok(true) => Progress::message(payload.len()),
            Ok(false) if self.named && self.partial.is_none() => Progress::more(payload.len()),
            Ok(false) => Progress::more(0),
            Err(reason) => Progress::fault(reason),
        }
    }

    fn read(&mut self, payload: &[u8], facts: &mut Facts) -> Result<bool, Reason> {
        let mut reader = Reader::new(payload);
        let mut message = false;
        for _ in 0..RECORDS_LIMIT {
            if reader.is_empty() {
                return Ok(message);
            }
            let Some(found) = record(&mut reader) else {
                return if self.named { Ok(message) } else { Err(Reason::TlsMalformed) };
            };
            if let Some(fragment) = found {
                message |= self.piece(fragment, facts)?;
            }
        }
        if reader.is_empty() { Ok(message) } else { Err(Reason::LimitInspection) }
    }

    fn piece(&mut self, fragment: Fragment<'_>, facts: &mut Facts) -> Result<bool, Reason> {
        if fragment.bytes.len() == fragment.len {
            return self.hello(fragment.bytes, facts);
        }
        let (number, mut crypto) = self.partial.take().unwrap_or_default();
        if number != fragment.message {
            crypto = Crypto::default();
        }
        crypto.insert(fragment.offset as u64, fragment.bytes)?;
        if crypto.prefix().len() == fragment.len {
            return self.hello(crypto.prefix(), facts);
        }
        self.partial = Some((fragment.message, crypto));
        Ok(false)
    }

    fn hello(&mut self, body: &[u8], facts: &mut Facts) -> Result<bool, Reason> {
        let hello = ClientHello::read(body, Transport::Dtls).ok_or(Reason::TlsMalformed)?;
        self.partial = None;
        if self.named {
            facts::again(facts, &hello)?;
        } else {
            facts::first(facts, &hello, Transport::Dtls, self.fingerprints)?;
            self.named = true;
        }
        Ok(true)
    }
}

/// The next record, and the piece of a ClientHello it holds in the clear. The outer `None` is no
/// DTLS of before version 1.3's own records, which follow a hello.
#[allow(clippy::option_option, reason = "no record, another record and a hello are three things")]
fn record<'a>(reader: &mut Reader<'a>) -> Option<Option<Fragment<'a>>> {
    let content = reader.u8()?;
    let version = reader.u16()?;
    if !(20..=26).contains(&content) || !matches!(version, 0xfeff | 0xfefd | 0x0100) {
        return None;
    }
    let epoch = reader.u16()?;
    reader.array::<6>()?;
    let mut body = Reader::new(reader.vec16()?);
    if content != HANDSHAKE || epoch != 0 || body.u8()? != CLIENT_HELLO {
        return Some(None);
    }
    let len = usize::try_from(body.u24()?).ok()?;
    let message = body.u16()?;
    let offset = usize::try_from(body.u24()?).ok()?;
    let bytes = body.vec24().filter(|_| body.is_empty())?;
    let fits = offset.checked_add(bytes.len())? <= len && len <= HELLO_LIMIT_BYTES;
    fits.then_some(Some(Fragment { message, len, offset, bytes }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inspect::Outcome;
    use crate::inspect::tls::compose::Offer;

    /// A hello with an empty cookie, in records of at most `size` bytes of it.
    fn records(name: &[u8], size: usize) -> Vec<Vec<u8>> {
        let names = [name];
        let message = Offer { version: 0xfefd, names: &names, ..Offer::default() }.message();
        let mut body = message.unwrap().split_off(4);
        body.insert(2 + 32 + 33, 0);
        let length = |value: usize| u32::try_from(value).unwrap().to_be_bytes()[1..].to_vec();
        let pieces = body.chunks(size).enumerate().map(|(at, piece)| {
            let fragment =
                [&[1][..], &length(body.len()), &[0, 0], &length(at * size), &length(piece.len())];
            let fragment = [&fragment.concat(), piece].concat();
            let header =
                [&[22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0][..], &length(fragment.len())[1..]];
            [&header.concat(), &fragment[..]].concat()
        });
        pieces.collect()
    }

    #[test]
    fn a_hello_tells_its_name_whole_or_in_pieces_in_any_order() {
        for (size, backwards) in [(9000, false), (40, false), (40, true)] {
            let mut datagrams = records(b"dtls.example", size);
            if backwards {
                datagrams.reverse();
            }
            let (mut reader, mut facts) = (DtlsReader::default(), Facts::default());
            let (last, before) = datagrams.split_last().unwrap();
            for datagram in before {
                let progress = reader.datagram(Direction::Original, datagram, &mut facts);
                assert_eq!(progress, Progress::more(0));
            }
            let progress = reader.datagram(Direction::Original, last, &mut facts);
            assert_eq!(progress, Progress::message(last.len()));
            assert_eq!(facts.domain.known().unwrap().to_string(), "dtls.example");
            assert!(facts.tls.ja4.known().unwrap().to_string().starts_with("dd2d"));
            assert!(is_client_start(last));
        }
    }

    #[test]
    fn a_second_hello_must_keep_the_name() {
        for (name, outcome) in [
            (&b"dtls.example"[..], Outcome::Message),
            (b"other.example", Outcome::Fault(Reason::NameChanged)),
        ] {
            let (mut reader, mut facts) = (DtlsReader::default(), Facts::default());
            for first in records(b"dtls.example", 9000) {
                reader.datagram(Direction::Original, &first, &mut facts);
            }
            let again = records(name, 9000).concat();
            let progress = reader.datagram(Direction::Original, &again, &mut facts);
            assert_eq!(progress.outcome, outcome);
        }
    }

    #[test]
    fn records_of_a_datagram_end_at_their_limit() {
        let alert = [21, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 1, 0];
        for (count, fits) in
            [(RECORDS_LIMIT - 1, true), (RECORDS_LIMIT, true), (RECORDS_LIMIT + 1, false)]
        {
            let mut facts = Facts::default();
            let datagram = alert.repeat(count);
            let progress =
                DtlsReader::default().datagram(Direction::Original, &datagram, &mut facts);
            let limit = Outcome::Fault(Reason::LimitInspection);
            assert_eq!(progress.outcome != limit, fits, "{count}");
        }
    }
}
