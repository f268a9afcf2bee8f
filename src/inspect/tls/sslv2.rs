//! The ClientHello in the format of SSL 2.0 (RFC 5246 appendix E.2), which old clients send to
//! offer SSL 3.0 or later. It has no extensions and so no name.

use crate::inspect::bytes::Reader;
use crate::model::{App, Fact, Facts, Reason, TlsFacts, TlsVersion};

const SSL_2: u16 = 0x0002;

/// Such a hello.
#[derive(Debug, PartialEq, Eq)]
pub struct Hello {
    /// The version offered.
    pub version: u16,
    /// Bytes it takes, its header counted.
    pub len: usize,
}

impl Hello {
    /// SSL 2.0 itself is offered: what follows is no TLS.
    pub const fn is_sslv2(&self) -> bool {
        self.version == SSL_2
    }
}

/// Reads a hello at the start of `bytes`; `None` while it is incomplete.
pub fn read(bytes: &[u8]) -> Result<Option<Hello>, Reason> {
    let mut reader = Reader::new(bytes);
    let Some(len) = reader.u16() else { return Ok(None) };
    let len = usize::from(len & 0x7fff);
    let body = reader.rest().get(..len.min(reader.len())).unwrap_or_default();
    let mut body = Reader::new(body);
    match body.u8() {
        Some(1) => {}
        Some(_) => return Err(Reason::TlsMalformed),
        None if len == 0 => return Err(Reason::TlsMalformed),
        None => return Ok(None),
    }
    if reader.len() < len {
        return Ok(None);
    }
    let version = parse(&mut body).ok_or(Reason::TlsMalformed)?;
    Ok(Some(Hello { version, len: len.saturating_add(2) }))
}

fn parse(body: &mut Reader<'_>) -> Option<u16> {
    let version = body.u16()?;
    if version != SSL_2 && version >> 8 != 3 {
        return None;
    }
    let ciphers = usize::from(body.u16()?);
    let session = usize::from(body.u16()?);
    let challenge = usize::from(body.u16()?);
    let sound = ciphers != 0 && ciphers.is_multiple_of(3);
    let whole = ciphers.checked_add(session)?.checked_add(challenge)? == body.len();
    (sound && whole).then_some(version)
}

/// The facts of such a hello.
pub fn fill(facts: &mut Facts, hello: &Hello) {
    let offered = TlsVersion(hello.version);
    facts.app = Fact::Known(App::Tls);
    facts.domain = Fact::Absent;
    facts.questions = Fact::Absent;
    facts.tls =
        TlsFacts { offered: Fact::Known(offered), ja4: Fact::Absent, ..TlsFacts::default() };
    if hello.is_sslv2() {
        facts.tls.version = Fact::Known(offered);
        facts.tls.client_certificate = Fact::Missed;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HELLO: [u8; 30] = [
        0x80, 28, 1, 3, 1, 0, 3, 0, 0, 0, 16, 0, 0, 47, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13,
        14, 15, 16,
    ];

    #[test]
    fn a_hello_is_read_when_it_is_whole() {
        for end in 0..HELLO.len() {
            assert_eq!(read(&HELLO[..end]), Ok(None), "{end}");
        }
        assert_eq!(read(&HELLO), Ok(Some(Hello { version: 0x0301, len: 30 })));
    }

    #[test]
    fn lengths_that_do_not_add_up_are_malformed() {
        for at in [6, 8, 10] {
            let mut bytes = HELLO;
            bytes[at] += 3;
            assert_eq!(read(&bytes), Err(Reason::TlsMalformed));
        }
    }
}
