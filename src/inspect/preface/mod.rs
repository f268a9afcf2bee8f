//! Protocols without names in which TLS, or in a tunnel anything, may start later: found by their
//! first message or by the greeting of their server, then watched for what follows. Commands are
//! not understood; a hello is told by its own bytes, so that no spelling of STARTTLS hides it.

use super::detect::{ANY, Likeness, Try, hello_anywhere, literal, pattern, tls_start};
use crate::model::App;

/// How a protocol is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preface {
    /// Lines of text; TLS starts behind one (SMTP, FTP, POP3, IMAP, NNTP, NATS), or in the middle of one
    /// whose beginning the server threw away, as those do that fear injected commands.
    Lines(&'static str),
    /// XML; TLS starts anywhere, its first byte cannot stand in XML (RFC 6120 section 5).
    Xml,
    /// PostgreSQL: a request for TLS or GSSAPI, or the start of a session in the clear.
    Postgres,
    /// RDP: a connection request in a TPKT (RFC 2126), then TLS.
    Rdp,
    /// A protocol in which TLS may follow anything: LDAP (StartTLS, RFC 4511 section 4.14), VNC
    /// (VeNCrypt), telnet, and those whose server speaks first and is not known.
    Anywhere(&'static str),
    /// MySQL behind its greeting: a request for TLS in the first packet, then TLS.
    Mysql,
    /// SOCKS 5 (RFC 1928): greeting, perhaps a password, request, then a tunnel.
    Socks5,
    /// The same with methods few use, told only after DNS. If the next bytes are none of it, they were
    /// something else that has no names.
    Socks5Odd,
    /// SOCKS 4: request, then a tunnel.
    Socks4,
}

impl Preface {
    /// What a flow of it is called.
    #[must_use]
    pub const fn app(self) -> App {
        App::Greeting(match self {
            Self::Lines(name) | Self::Anywhere(name) => name,
            Self::Xml => "xmpp",
            Self::Postgres => "postgresql",
            Self::Rdp => "rdp",
            Self::Mysql => "mysql",
            Self::Socks5 | Self::Socks5Odd | Self::Socks4 => "socks",
        })
    }
}

/// The preface a client's first bytes are; SOCKS 4 and odd SOCKS 5 are left out, which are told only
/// after DNS.
#[must_use]
pub fn detect(bytes: &[u8]) -> (Likeness, Preface) {
    let tries: [Try<Preface>; 5] = [
        (postgres, Preface::Postgres),
        (rdp, Preface::Rdp),
        (ldap, Preface::Anywhere("ldap")),
        (socks5, Preface::Socks5),
        (xml, Preface::Xml),
    ];
    for (likeness, preface) in tries {
        match likeness(bytes) {
            Likeness::No => {}
            found => return (found, preface),
        }
    }
    (Likeness::No, Preface::Xml)
}

/// What to do with a client's bytes behind a preface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// So many bytes are of the protocol; the rest is shown again with more behind it.
    Skip(usize),
    /// TLS starts behind so many bytes.
    Tls(usize),
    /// A tunnel starts behind so many bytes: any protocol.
    Tunnel(usize),
    /// Neither will come.
    Over,
    /// The bytes contradict the first ones.
    Wrong,
}

/// Messages skipped before TLS, in protocols where they are counted.
pub const MESSAGE_LIMIT: u8 = 4;

/// Watches the client's bytes of one flow.
#[derive(Clone, Copy, Debug)]
pub struct Watch {
    preface: Preface,
    /// Lines: whether the next byte starts one.
    fresh: bool,
    messages: u8,
}

impl Watch {
    /// From the protocol's first byte, or from the client's first byte behind a greeting.
    #[must_use]
    pub const fn new(preface: Preface) -> Self {
        Self { preface, fresh: true, messages: 0 }
    }

    /// Reads the client's unread bytes.
    pub fn read(&mut self, bytes: &[u8]) -> Step {
        match self.preface {
            Preface::Lines(_) => self.lines(bytes),
            Preface::Xml => until_tls(bytes, tls_start),
            Preface::Anywhere(_) => until_tls(bytes, hello_anywhere),
            _ => self.message(bytes),
        }
    }

    fn lines(&mut self, bytes: &[u8]) -> Step {
        let mut at = 0_usize;
        loop {
            let rest = bytes.get(at..).unwrap_or_default();
            let likeness = match rest.first() {
                _ if self.fresh => tls_start(rest),
                Some(&0x16) => hello_anywhere(rest),
                _ => Likeness::No,
            };
            match likeness {
                Likeness::Certain => return Step::Tls(at),
                Likeness::Unsure => return Step::Skip(at),
                Likeness::No => {}
            }
            // What is looked at next: behind the line, or a record in the middle of it.
            let next = rest.iter().enumerate().position(|(place, byte)| match byte {
                b'\n' => true,
                0x16 => place > 0,
                _ => false,
            });
            let Some(next) = next else {
                self.fresh = false;
                return Step::Skip(bytes.len());
            };
            self.fresh = rest.get(next) == Some(&b'\n');
            at = at.saturating_add(next).saturating_add(usize::from(self.fresh));
        }
    }

    /// TLS, or one more message of the protocol.
    fn message(&mut self, bytes: &[u8]) -> Step {
        if self.messages > 0 {
            match tls_start(bytes) {
                Likeness::Certain => return Step::Tls(0),
                Likeness::Unsure => return Step::Skip(0),
                Likeness::No => {}
            }
        }
        if self.messages == MESSAGE_LIMIT {
            return if self.preface == Preface::Socks5 { Step::Wrong } else { Step::Over };
        }
        let (len, tunnel) = match self.preface {
            Preface::Postgres => (postgres_request(bytes), false),
            Preface::Rdp if self.messages == 0 => (tpkt(bytes), false),
            Preface::Mysql if self.messages == 0 => (mysql_request(bytes), false),
            Preface::Socks4 => (socks4_request(bytes), true),
            Preface::Socks5 | Preface::Socks5Odd => socks5_message(self.messages, bytes),
            _ => (Length::Wrong, false),
        };
        match len {
            Length::Unknown => Step::Skip(0),
            // Three bytes told SOCKS 5. If the next are none of it, they were something else.
            Length::Wrong if self.preface == Preface::Socks5 => Step::Wrong,
            // Nothing but TLS follows the request for it; what a server throws away hides nothing.
            Length::Wrong if self.preface == Preface::Mysql && self.messages > 0 => Step::Wrong,
            Length::Wrong => Step::Over,
            Length::Known(len) if len > bytes.len() => Step::Skip(0),
            Length::Known(len) if tunnel => Step::Tunnel(len),
            Length::Known(len) => {
                self.messages = self.messages.saturating_add(1);
                Step::Skip(len)
            }
        }
    }
}

/// The length of a message.
enum Length {
    Known(usize),
    Unknown,
    Wrong,
}

/// Up to where TLS starts, anywhere.
fn until_tls(bytes: &[u8], starts: fn(&[u8]) -> Likeness) -> Step {
    let mut at = 0_usize;
    loop {
        let rest = bytes.get(at..).unwrap_or_default();
        let Some(found) = rest.iter().position(|b| *b == 0x16) else {
            return Step::Skip(bytes.len());
        };
        at = at.saturating_add(found);
        match starts(bytes.get(at..).unwrap_or_default()) {
            Likeness::Certain => return Step::Tls(at),
            Likeness::Unsure => return Step::Skip(at),
            Likeness::No => at = at.saturating_add(1),
        }
    }
}

/// SSLRequest and GSSENCRequest, or a start-up message of protocol 3 (PostgreSQL, "Message Formats").
fn postgres(bytes: &[u8]) -> Likeness {
    let request = pattern(bytes, &[&[0], &[0], &[0], &[8], &[4], &[0xd2], &[0x16], &[0x2f, 0x30]]);
    match request {
        Likeness::No => pattern(
            bytes,
            &[&[0], &[0], ANY, ANY, &[0], &[3], &[0], &[0, 1, 2], b"abcdefghijklmnopqrstuvwxyz_"],
        ),
        likeness => likeness,
    }
}

fn postgres_request(bytes: &[u8]) -> Length {
    match literal(bytes, &[0, 0, 0, 8, 4, 0xd2, 0x16]) {
        Likeness::Certain => Length::Known(8),
        Likeness::Unsure => Length::Unknown,
        Likeness::No => Length::Wrong,
    }
}

/// TPKT version 3 with an X.224 connection request (RFC 2126 section 4, X.224 section 13.3).
fn rdp(bytes: &[u8]) -> Likeness {
    pattern(bytes, &[&[3], &[0], ANY, ANY, ANY, &[0xe0], &[0], &[0]])
}

fn tpkt(bytes: &[u8]) -> Length {
    let Some(&[_, _, high, low]) = bytes.first_chunk() else { return Length::Unknown };
    Length::Known(usize::from(u16::from_be_bytes([high, low])).max(4))
}

/// An LDAPMessage (RFC 4511 section 4.1.1): a sequence, its length in any form, a message id of at most
/// four bytes, then a request that is not empty: with an empty one it may be a DNS query.
fn ldap(bytes: &[u8]) -> Likeness {
    const LENGTH: &[u8] = &[0x84, 0x83, 0x82, 0x81];
    /// Bind, search, modify, add, modifyDN, compare, extended.
    const REQUESTS: &[u8] = &[0x60, 0x63, 0x66, 0x68, 0x6c, 0x6e, 0x77];
    let mut reader = bytes.iter().copied();
    let mut step = |fits: fn(u8) -> bool| match reader.next() {
        None => Err(Likeness::Unsure),
        Some(byte) if fits(byte) => Ok(byte),
        Some(_) => Err(Likeness::No),
    };
    let mut message = || {
        step(|byte| byte == 0x30)?;
        let length = step(|byte| byte < 0x80 || LENGTH.contains(&byte))?;
        for _ in 0..length.saturating_sub(0x80) {
            step(|_| true)?;
        }
        step(|byte| byte == 2)?;
        let id = step(|byte| (1..=4).contains(&byte))?;
        for _ in 0..id {
            step(|_| true)?;
        }
        step(|byte| REQUESTS.contains(&byte))?;
        step(|byte| byte != 0)
    };
    message().map_or_else(|likeness| likeness, |_| Likeness::Certain)
}

/// SSLRequest: a packet of 32 bytes, number 1, with CLIENT_SSL among its capabilities.
fn mysql_request(bytes: &[u8]) -> Length {
    match (pattern(bytes, &[&[32], &[0], &[0], &[1], ANY]), bytes.get(5)) {
        (Likeness::Certain, Some(capabilities)) if capabilities & 0x08 != 0 => Length::Known(36),
        (Likeness::No, _) | (_, Some(_)) => Length::Wrong,
        _ => Length::Unknown,
    }
}

/// A greeting with one to three methods that are in use: none, GSSAPI, password.
fn socks5(bytes: &[u8]) -> Likeness {
    match bytes.get(1) {
        None => pattern(bytes, &[&[5], ANY]),
        Some(&count @ 1..=3) => {
            const METHODS: &[u8] = &[0, 1, 2];
            let places: [&[u8]; 5] = [&[5], ANY, METHODS, METHODS, METHODS];
            let len = usize::from(count).saturating_add(2);
            pattern(bytes, places.get(..len).unwrap_or(&places))
        }
        Some(_) => Likeness::No,
    }
}

/// A greeting with any methods, each once: so that it is no zeros of a header.
pub(super) fn socks5_odd(bytes: &[u8]) -> Likeness {
    let start = pattern(bytes, &[&[5], ANY]);
    let Some((&[_, count], methods)) = bytes.split_first_chunk() else { return start };
    let count = usize::from(count);
    let mut seen = [0_u128; 2];
    let fresh = |method: &u8| {
        let bit = 1_u128 << (method & 0x7f);
        let half = if method & 0x80 == 0 { &mut seen[0] } else { &mut seen[1] };
        let fresh = *half & bit == 0;
        *half |= bit;
        fresh
    };
    if start == Likeness::No || count == 0 || !methods.iter().take(count).all(fresh) {
        Likeness::No
    } else if methods.len() < count {
        Likeness::Unsure
    } else {
        Likeness::Certain
    }
}

/// CONNECT or BIND, told with the port and the address behind it.
pub(super) fn socks4(bytes: &[u8]) -> Likeness {
    pattern(bytes, &[&[4], &[1, 2], ANY, ANY, ANY, ANY, ANY, ANY, ANY])
}

/// The client's messages in order; the last of them, the request, starts the tunnel.
fn socks5_message(messages: u8, bytes: &[u8]) -> (Length, bool) {
    let at = |place: usize| bytes.get(place).map(|b| usize::from(*b));
    let sum = |parts: &[usize]| parts.iter().copied().fold(0, usize::saturating_add);
    if messages == 0 {
        return (at(1).map_or(Length::Unknown, |n| Length::Known(sum(&[n, 2]))), false);
    }
    let length = match (at(0), at(1), at(3), at(4)) {
        // RFC 1929: version, name and password behind their lengths.
        (Some(1), Some(name), ..) => {
            let password = at(sum(&[name, 2]));
            return (
                password.map_or(Length::Unknown, |n| Length::Known(sum(&[name, n, 3]))),
                false,
            );
        }
        (Some(5), _, Some(1), _) => Length::Known(10),
        (Some(5), _, Some(4), _) => Length::Known(22),
        (Some(5), _, Some(3), Some(name)) => Length::Known(sum(&[name, 7])),
        (Some(5), _, Some(3), None) | (Some(5), _, None, _) | (Some(1), None, ..) => {
            Length::Unknown
        }
        _ => Length::Wrong,
    };
    (length, true)
}

/// Eight bytes, a name that ends in NUL, and with address 0.0.0.x a host that does too.
fn socks4_request(bytes: &[u8]) -> Length {
    let Some((&[_, _, _, _, a, b, c, d], texts)) = bytes.split_first_chunk() else {
        return Length::Unknown;
    };
    let wanted = if [a, b, c] == [0; 3] && d != 0 { 2 } else { 1 };
    let ends = texts.iter().enumerate().filter(|(_, b)| **b == 0);
    match ends.map(|(at, _)| at).nth(wanted - 1) {
        Some(end) => Length::Known(end.saturating_add(9)),
        None if texts.len() > SOCKS4_TEXT_LIMIT_BYTES => Length::Wrong,
        None => Length::Unknown,
    }
}

/// Name and host of a SOCKS 4 request.
pub const SOCKS4_TEXT_LIMIT_BYTES: usize = 512;

/// The start of an XMPP stream (RFC 6120 section 4.2), an XML declaration perhaps in front.
fn xml(bytes: &[u8]) -> Likeness {
    const STREAM: &[u8] = b"<stream:stream";
    let declared = literal(bytes, b"<?xml");
    match declared {
        Likeness::No => literal(bytes, STREAM),
        Likeness::Unsure => Likeness::Unsure,
        Likeness::Certain => {
            let declaration = bytes.get(..DECLARATION_LIMIT_BYTES).unwrap_or(bytes);
            let Some(end) = declaration.iter().position(|b| *b == b'>') else {
                let full = declaration.len() == DECLARATION_LIMIT_BYTES;
                return if full { Likeness::No } else { Likeness::Unsure };
            };
            let behind = bytes.get(end.saturating_add(1)..).unwrap_or_default();
            let spaces = behind.iter().take_while(|b| b.is_ascii_whitespace()).count();
            if spaces > DECLARATION_LIMIT_BYTES {
                return Likeness::No;
            }
            literal(behind.get(spaces..).unwrap_or_default(), STREAM)
        }
    }
}

/// An XML declaration, and the white space behind it.
pub const DECLARATION_LIMIT_BYTES: usize = 256;

#[cfg(test)]
mod tests;
