//! Protocols whose server speaks first, told by its greeting. What the greeting says is not read.

use super::detect::{Likeness, Try, literal, tls_start};
use super::preface::Preface;

/// The longest first line of a greeting that is waited for.
pub const GREETING_LINE_LIMIT_BYTES: usize = 1024;

/// What a server's first bytes are, the client's not being known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Greeting {
    /// More bytes are needed.
    Unsure,
    /// A protocol without names in which TLS may start later.
    Preface(Preface),
    /// A protocol without names that stays what it is.
    Plain(&'static str),
    /// HTTP/2 SETTINGS (RFC 9113 section 3.4): says nothing until the client speaks.
    Settings,
    /// A ClientHello: the side that was connected to is the client (FTP's data, RFC 4217).
    Hello,
    /// None that is recognised.
    Unknown,
}

/// The greeting that a server's first bytes are.
#[must_use]
pub fn recognise(bytes: &[u8]) -> Greeting {
    let tries: [Try<Greeting>; 4] = [
        (settings, Greeting::Settings),
        (tls_start, Greeting::Hello),
        (mysql, Greeting::Preface(Preface::Mysql)),
        (telnet, Greeting::Preface(Preface::Anywhere("telnet"))),
    ];
    for (likeness, greeting) in tries {
        match likeness(bytes) {
            Likeness::Certain => return greeting,
            Likeness::Unsure => return Greeting::Unsure,
            Likeness::No => {}
        }
    }
    text(bytes)
}

/// Greetings in text that one literal tells.
const LITERALS: [(&[u8], Greeting); 9] = [
    (b"SSH-", Greeting::Plain("ssh")),
    (b"RFB 0", Greeting::Preface(Preface::Anywhere("vnc"))),
    (b"@RSYNCD:", Greeting::Plain("rsync")),
    (b"+OK", Greeting::Preface(Preface::Lines("pop3"))),
    (b"-ERR", Greeting::Preface(Preface::Lines("pop3"))),
    (b"* OK", Greeting::Preface(Preface::Lines("imap"))),
    (b"* PREAUTH", Greeting::Preface(Preface::Lines("imap"))),
    (b"* BYE", Greeting::Preface(Preface::Lines("imap"))),
    (b"INFO {", Greeting::Preface(Preface::Lines("nats"))),
];

fn text(bytes: &[u8]) -> Greeting {
    let mut unsure = false;
    for (wanted, greeting) in LITERALS {
        match literal(bytes, wanted) {
            Likeness::Certain => return greeting,
            Likeness::Unsure => unsure = true,
            Likeness::No => {}
        }
    }
    if unsure { Greeting::Unsure } else { reply_code(bytes) }
}

/// Codes servers greet with: FTP (RFC 959 section 5.4), SMTP (RFC 5321 section 4.3.2), NNTP
/// (RFC 3977 section 5.1), refusals included.
const CODES: [&[u8]; 7] = [b"220", b"120", b"421", b"554", b"200", b"201", b"400"];

/// A line that starts with a code; what else it says tells FTP from SMTP as far as can be told.
fn reply_code(bytes: &[u8]) -> Greeting {
    let code = bytes.get(..3).unwrap_or(bytes);
    if !CODES.iter().any(|known| known.starts_with(code)) {
        return Greeting::Unknown;
    }
    match bytes.get(3) {
        None => return Greeting::Unsure,
        Some(b' ' | b'-') => {}
        Some(_) => return Greeting::Unknown,
    }
    let line = bytes.get(..GREETING_LINE_LIMIT_BYTES).unwrap_or(bytes);
    let end = line.iter().position(|b| *b == b'\n');
    if end.is_none() && line.len() < GREETING_LINE_LIMIT_BYTES {
        return Greeting::Unsure;
    }
    let line = line.get(..end.unwrap_or(line.len())).unwrap_or_default();
    let says = |word: &[u8]| line.windows(word.len()).any(|w| w.eq_ignore_ascii_case(word));
    let name = match code {
        b"200" | b"201" | b"400" => "nntp",
        b"120" => "ftp",
        _ if says(b"ftp") && !says(b"smtp") => "ftp",
        _ => "smtp",
    };
    Greeting::Preface(Preface::Lines(name))
}

/// As far as there are bytes, whether each fits its place; certain once `len` are there.
fn fits(bytes: &[u8], len: usize, place: impl Fn(usize, u8) -> bool) -> Likeness {
    if !bytes.iter().take(len).enumerate().all(|(at, byte)| place(at, *byte)) {
        Likeness::No
    } else if bytes.len() < len {
        Likeness::Unsure
    } else {
        Likeness::Certain
    }
}

/// A SETTINGS frame without ACK on stream 0 (RFC 9113 section 6.5), at most 256 settings.
fn settings(bytes: &[u8]) -> Likeness {
    fits(bytes, 9, |at, byte| match at {
        0 | 4..=8 => byte == 0,
        1 => byte < 6,
        3 => byte == 4,
        _ => true,
    })
}

/// A handshake packet of protocol 10 with a version that starts with a digit, or an error packet
/// with a server error number (MySQL, "Protocol::HandshakeV10", "ERR_Packet").
fn mysql(bytes: &[u8]) -> Likeness {
    let handshake = |at, byte: u8| match at {
        1 => byte < 4,
        2 | 3 => byte == 0,
        4 => byte == 10,
        5 => byte.is_ascii_digit(),
        _ => true,
    };
    let error = |at, byte: u8| match at {
        1 => byte < 4,
        2 | 3 => byte == 0,
        4 => byte == 0xff,
        6 => byte == 4,
        _ => true,
    };
    match fits(bytes, 6, handshake) {
        Likeness::No => fits(bytes, 7, error),
        likeness => likeness,
    }
}

/// A command with an option (RFC 854): WILL, WONT, DO, DONT or the start of a subnegotiation.
fn telnet(bytes: &[u8]) -> Likeness {
    fits(bytes, 3, |at, byte| match at {
        0 => byte == 0xff,
        1 => (0xfa..=0xfe).contains(&byte),
        _ => true,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// First bytes of servers, and what they are.
    const KNOWN: [(&[u8], Greeting); 18] = [
        (b"SSH-2.0-OpenSSH_9.9\r\n", Greeting::Plain("ssh")),
        (b"RFB 003.008\n", Greeting::Preface(Preface::Anywhere("vnc"))),
        (b"@RSYNCD: 31.0\n", Greeting::Plain("rsync")),
        (b"\xff\xfd\x18\xff\xfd\x20", Greeting::Preface(Preface::Anywhere("telnet"))),
        (b"+OK ready\r\n", Greeting::Preface(Preface::Lines("pop3"))),
        (b"* OK [CAPABILITY IMAP4rev1]\r\n", Greeting::Preface(Preface::Lines("imap"))),
        (b"220 mail.example ESMTP\r\n", Greeting::Preface(Preface::Lines("smtp"))),
        (b"220-mail.example\r\n220 ok\r\n", Greeting::Preface(Preface::Lines("smtp"))),
        (b"220 (vsFTPd 3.0.5)\r\n", Greeting::Preface(Preface::Lines("ftp"))),
        (b"554 no service\r\n", Greeting::Preface(Preface::Lines("smtp"))),
        (b"200 news.example\r\n", Greeting::Preface(Preface::Lines("nntp"))),
        (b"INFO {\"server_id\":", Greeting::Preface(Preface::Lines("nats"))),
        (b"\x4a\0\0\0\x0a8.4.3\0", Greeting::Preface(Preface::Mysql)),
        (b"\x45\0\0\0\xff\x69\x04Host", Greeting::Preface(Preface::Mysql)),
        (b"\0\0\x12\x04\0\0\0\0\0\0\x03", Greeting::Settings),
        (b"\x16\x03\x01\x02\0\x01\0\x01\xfc", Greeting::Hello),
        (b"HTTP/1.1 200 OK\r\n", Greeting::Unknown),
        (b"220volt\r\n", Greeting::Unknown),
    ];

    #[test]
    fn greetings_are_recognised_and_no_cut_gives_another_answer() {
        for (bytes, greeting) in KNOWN {
            assert_eq!(recognise(bytes), greeting, "{bytes:?}");
            for end in 1..bytes.len() {
                let early = recognise(&bytes[..end]);
                assert!(early == Greeting::Unsure || early == greeting, "{bytes:?} at {end}");
            }
        }
    }

    #[test]
    fn lines_are_waited_for_up_to_their_limit() {
        for (len, unsure) in [
            (GREETING_LINE_LIMIT_BYTES - 1, true),
            (GREETING_LINE_LIMIT_BYTES, false),
            (GREETING_LINE_LIMIT_BYTES + 1, false),
        ] {
            let mut line = b"220 ".to_vec();
            line.resize(len, b'x');
            assert_eq!(recognise(&line) == Greeting::Unsure, unsure, "{len}");
        }
    }
}
