//! The protocol from a client's first bytes, never from the port. Says what the bytes are, reads no
//! name. Every answer but [`Detection::Unsure`] stays the same however many bytes follow.

use super::dns::{HEADER_BYTES, Header, QUESTION_LIMIT, Question, is_host, name::NameError};
use super::http::line::is_token;
use super::preface::{self, Preface};

/// The longest first line, and the longest method, that may yet turn out to be HTTP's; what is longer is
/// left to HTTP, which refuses it: some servers take any.
pub const LINE_LIMIT_BYTES: usize = 8192;
/// Empty lines and white space, in bytes, in front of a request (RFC 9112 section 2.2); what is longer is
/// left to HTTP too.
pub const EMPTY_LINES_LIMIT_BYTES: usize = 64;

/// How bytes compare with one protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Likeness {
    /// Not this protocol, whatever follows.
    No,
    /// More bytes are needed.
    Unsure,
    /// This protocol, whatever follows.
    Certain,
}

impl Likeness {
    const fn of(certain: bool) -> Self {
        if certain { Self::Certain } else { Self::No }
    }
}

/// A comparison, and what is found if it is certain.
pub(super) type Try<T> = (fn(&[u8]) -> Likeness, T);

/// What a client's first bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detection {
    /// More bytes are needed.
    Unsure,
    /// TLS, or a hello in the format of SSL 2.0.
    Tls,
    /// HTTP/1, well-formed or not.
    Http,
    /// HTTP/2 with prior knowledge.
    Http2,
    /// DNS behind a length.
    Dns,
    /// A protocol without names in which TLS may follow.
    Preface(Preface),
    /// SSH: its client may speak first (RFC 4253 section 4.2).
    Ssh,
    /// None that is recognised.
    Other,
}

/// The preface of an HTTP/2 client (RFC 9113 section 3.4).
pub const HTTP2_PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The protocol of a TCP flow from what the client sent first. The first protocol that is not
/// excluded decides, so the answer never depends on where the bytes were cut.
#[must_use]
pub fn client(bytes: &[u8]) -> Detection {
    let tries: [Try<Detection>; 8] = [
        (tls, Detection::Tls),
        (ssl2, Detection::Tls),
        (|b| literal(b, HTTP2_PREFACE), Detection::Http2),
        (ssh, Detection::Ssh),
        (http, Detection::Http),
        (dns_stream, Detection::Dns),
        (preface::socks4, Detection::Preface(Preface::Socks4)),
        (preface::socks5_odd, Detection::Preface(Preface::Socks5Odd)),
    ];
    // Protocols whose first message is shorter than what tells DNS apart come before it.
    match preface::detect(bytes) {
        (Likeness::Certain, preface) => return Detection::Preface(preface),
        (Likeness::Unsure, _) => return Detection::Unsure,
        (Likeness::No, _) => {}
    }
    for (likeness, detection) in tries {
        match likeness(bytes) {
            Likeness::Certain => return detection,
            Likeness::Unsure => return Detection::Unsure,
            Likeness::No => {}
        }
    }
    Detection::Other
}

/// Whether bytes that are met on their own are, for certain, what a client sends and no server does:
/// the start of a ClientHello, or of an HTTP request.
#[must_use]
pub fn asks(bytes: &[u8]) -> bool {
    let [hello, ..] = TLS_STARTS;
    let tls = pattern(bytes, hello) == Likeness::Certain;
    let request =
        |method: &&[u8]| bytes.strip_prefix(*method).is_some_and(|rest| rest.starts_with(b" "));
    tls || METHODS.iter().any(request) || bytes.starts_with(HTTP2_PREFACE)
}

/// Whether bytes start with a literal.
#[must_use]
pub fn literal(bytes: &[u8], wanted: &[u8]) -> Likeness {
    let same = bytes.iter().zip(wanted).take_while(|(a, b)| a == b).count();
    if same == wanted.len() {
        Likeness::Certain
    } else if same == bytes.len() {
        Likeness::Unsure
    } else {
        Likeness::No
    }
}

/// The version line of SSH 2, or of a version before it (RFC 4253 sections 4.2 and 5). Its first four
/// bytes alone may be the length and the number of a DNS query; its fifth is never a query's.
fn ssh(bytes: &[u8]) -> Likeness {
    pattern(bytes, &[b"S", b"S", b"H", b"-", b"12"])
}

/// A TLS record (RFC 8446 section 5.1): any handshake record, whatever its minor version, since
/// servers look at the major one alone; other types only with a known version.
#[must_use]
pub fn tls(bytes: &[u8]) -> Likeness {
    match *bytes {
        [] | [0x14..=0x17] | [0x14 | 0x15 | 0x17, 3] => Likeness::Unsure,
        [0x16, 3, ..] | [0x14 | 0x15 | 0x17, 3, 0..=4, ..] => Likeness::Certain,
        _ => Likeness::No,
    }
}

/// Records a TLS client may start with, each told strictly enough to be looked for in the middle of
/// another protocol: the start of a ClientHello, and what lenient servers pass over in front of one
/// (an empty record, a warning, a `change_cipher_spec`). Servers look at the major version alone.
const TLS_STARTS: [&[&[u8]]; 4] = [
    &[&[0x16], &[3], ANY, ANY, ANY, &[1]],
    &[&[0x16], &[3], ANY, &[0], &[0]],
    &[&[0x15], &[3], ANY, &[0], &[2], &[1, 2]],
    &[&[0x14], &[3], ANY, &[0], &[1], &[1]],
];

/// Whether TLS starts here, in the middle of another protocol.
#[must_use]
pub fn tls_start(bytes: &[u8]) -> Likeness {
    let mut likeness = Likeness::No;
    for start in TLS_STARTS {
        match pattern(bytes, start) {
            Likeness::Certain => return Likeness::Certain,
            Likeness::Unsure => likeness = Likeness::Unsure,
            Likeness::No => {}
        }
    }
    likeness
}

/// Whether a ClientHello starts here, in the middle of anything: told by so much of its records and of
/// itself that no text and hardly any data has it (one place in 2^36). Of its version only the major one
/// counts: a server that reads `supported_versions` looks at no other (RFC 8446 section 4.1.2). Records
/// shorter than what tells the hello are told by their own length.
#[must_use]
pub fn hello_anywhere(bytes: &[u8]) -> Likeness {
    const LONG: &[&[u8]] = &[&[0x16], &[3], ANY, ANY, ANY, &[1], &[0, 1, 2], ANY, ANY, &[3]];
    const SHORT: &[&[u8]] = &[&[0x16], &[3], ANY, &[0], &[1, 2, 3, 4, 5], &[1]];
    match (pattern(bytes, LONG), pattern(bytes, SHORT)) {
        (Likeness::Certain, _) | (_, Likeness::Certain) => Likeness::Certain,
        (Likeness::No, Likeness::No) => Likeness::No,
        _ => Likeness::Unsure,
    }
}

/// Any byte, in a [`pattern`].
pub(super) const ANY: &[u8] = &[];

/// Whether each position holds one of some bytes, as far as there are bytes.
pub(super) fn pattern(bytes: &[u8], places: &[&[u8]]) -> Likeness {
    let fits = |(byte, set): (&u8, &&[u8])| set.is_empty() || set.contains(byte);
    if !bytes.iter().zip(places).all(fits) {
        Likeness::No
    } else if bytes.len() < places.len() {
        Likeness::Unsure
    } else {
        Likeness::Certain
    }
}

/// A hello in the format of SSL 2.0 (RFC 5246 appendix E.2), its lengths checked.
fn ssl2(bytes: &[u8]) -> Likeness {
    let fits = |(at, &byte): (usize, &u8)| match at {
        0 => byte & 0x80 != 0,
        2 => byte == 1,
        3 => byte == 3 || byte == 0,
        _ => true,
    };
    if !bytes.iter().take(4).enumerate().all(fits) {
        return Likeness::No;
    }
    let Some(&[l, m, _, major, minor, c, d, s, t, x, y]) = bytes.first_chunk() else {
        return Likeness::Unsure;
    };
    let length = |high: u8, low: u8| usize::from(u16::from_be_bytes([high, low]));
    let [ciphers, session, challenge] = [length(c, d), length(s, t), length(x, y)];
    let whole = ciphers.saturating_add(session).saturating_add(challenge).saturating_add(9);
    let version = major == 3 || minor == 2;
    let sound = ciphers > 0
        && ciphers % 3 == 0
        && session <= 32
        && (16..=32).contains(&challenge)
        && whole == length(l & 0x7f, m);
    Likeness::of(version && sound)
}

/// Methods that make a first line HTTP even without a version, as HTTP/0.9 has it.
const METHODS: [&[u8]; 8] =
    [b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"CONNECT", b"TRACE", b"PATCH"];

/// White space to the most lenient of servers: that of ASCII, and what is some in Latin-1.
const fn is_space(byte: u8) -> bool {
    matches!(byte, b'\t' | 0x0b | 0x0c | 0x1c..=b' ' | 0x85 | 0xa0)
}

/// An HTTP/1 request line, also where it is malformed: lenient servers take other white space, also in
/// front of it, and methods nobody has heard of.
#[must_use]
pub fn http(bytes: &[u8]) -> Likeness {
    let empty = bytes.iter().take_while(|b| matches!(b, b'\r' | b'\n') || is_space(**b)).count();
    if empty > EMPTY_LINES_LIMIT_BYTES {
        return Likeness::Certain;
    }
    let line = bytes.get(empty..).unwrap_or_default();
    let token = line.iter().take_while(|b| is_token(**b)).count();
    if token >= LINE_LIMIT_BYTES {
        return Likeness::Certain;
    }
    let Some((method, rest)) = line.split_at_checked(token) else { return Likeness::No };
    match rest.first() {
        None => Likeness::Unsure,
        Some(&space) if token > 0 && is_space(space) => {
            if METHODS.contains(&method) {
                Likeness::Certain
            } else {
                http_line(rest)
            }
        }
        Some(_) => Likeness::No,
    }
}

/// The rest of a line whose method is not known: a version in it makes it HTTP. No server takes a NUL
/// for a part of one.
fn http_line(rest: &[u8]) -> Likeness {
    let line = rest.get(..LINE_LIMIT_BYTES).unwrap_or(rest);
    let Some(end) = line.iter().position(|b| matches!(b, 0 | b'\n')) else {
        let full = line.len() == LINE_LIMIT_BYTES;
        return if full { Likeness::Certain } else { Likeness::Unsure };
    };
    let line = rest.get(..end).unwrap_or_default();
    let version = |w: &[u8]| {
        w.split_first_chunk::<6>().is_some_and(|([space, http @ ..], _)| {
            (*space <= b' ' || is_space(*space)) && http.eq_ignore_ascii_case(b"HTTP/")
        })
    };
    Likeness::of(rest.get(end) == Some(&b'\n') && line.windows(6).any(version))
}

/// A DNS query behind its length (RFC 1035 section 4.2.2), told by header and first question. Length
/// and number are the client's to choose, and may read as a line of text: they tell nothing.
#[must_use]
pub fn dns_stream(bytes: &[u8]) -> Likeness {
    let Some((&[high, low], behind)) = bytes.split_first_chunk() else { return Likeness::Unsure };
    let len = usize::from(u16::from_be_bytes([high, low]));
    if len < SMALLEST_QUERY_BYTES {
        return Likeness::No;
    }
    dns_query(behind.get(..len).unwrap_or(behind), behind.len() >= len)
}

/// Header, a root name, type and class.
const SMALLEST_QUERY_BYTES: usize = HEADER_BYTES + 5;

/// Whether a datagram is a DNS message: a query, or a response in the wrong direction, whose
/// header is sane and whose first question can be read.
#[must_use]
pub fn dns_datagram(payload: &[u8]) -> bool {
    let Some(header) = Header::read(payload) else { return false };
    if !header.is_response() {
        return dns_query(payload, true) == Likeness::Certain;
    }
    let sane = header.opcode() <= 5 && header.opcode() != 3 && header.flags & 0x40 == 0;
    let counted = header.questions == 1 && header.answers <= 512 && header.authorities <= 512;
    sane && counted && question(payload, true) == Likeness::Certain
}

/// A query, whole or its first bytes. The header alone excludes nearly everything else.
fn dns_query(message: &[u8], whole: bool) -> Likeness {
    let fits = |(at, &byte): (usize, &u8)| match at {
        // QR; opcodes query, notify and update: nobody answers inverse queries (RFC 3425), and status
        // was never specified. AA may be set by notify. What stands behind, Z and RCODE, should be zero
        // in a query (RFC 1035 section 4.1.1), but resolvers answer whatever it is, and however many
        // records there are or are said to be.
        2 => byte & 0x80 == 0 && matches!(byte >> 3, 0 | 4 | 5),
        4 => byte == 0,
        5 => (1..=QUESTION_LIMIT).contains(&u16::from(byte)),
        _ => true,
    };
    if !message.iter().take(HEADER_BYTES).enumerate().all(fits) {
        return Likeness::No;
    }
    match Header::read(message) {
        Some(_) => question(message, whole),
        None if !whole => Likeness::Unsure,
        _ => Likeness::No,
    }
}

/// The first question: of a class there is, and for no NetBIOS name (RFC 1002 section 4.2). Resolvers
/// differ in the pointers they follow and in what they make of counts, so that a query with odd ones is
/// a query too, if its name is that of a host: sealed datagrams of another protocol are none.
fn question(message: &[u8], whole: bool) -> Likeness {
    let likeness = match Question::read(message, HEADER_BYTES) {
        Ok((question, _)) => {
            let usual = Header::read(message).is_some_and(Header::counts_few);
            Ok(question.is_dns() && (usual || is_host(&question.name)))
        }
        Err(NameError::Truncated) => Err(NameError::Truncated),
        Err(_) => Question::is_lenient(message, HEADER_BYTES),
    };
    match likeness {
        Ok(certain) => Likeness::of(certain),
        Err(NameError::Truncated) if !whole => Likeness::Unsure,
        Err(_) => Likeness::No,
    }
}

#[cfg(test)]
mod tests;
