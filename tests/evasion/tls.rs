//! Server names as clients write them, and hellos as clients cut them.

use crate::talk::{Family, From, Talk};
use crate::{Case, case};
use From::{Client, Server};
use lockgate::inspect::tls::compose::Offer;
use lockgate::model::Protocol;

const GOOD: &[u8] = b"good.example";
const EVIL: &[u8] = b"evil.example";

fn open(family: Family, port: u16) -> Talk {
    let mut talk = Talk::new(family, Protocol::TCP, port);
    talk.handshake();
    talk
}

pub(crate) fn offer<'a>(names: &'a [&'a [u8]]) -> Offer<'a> {
    Offer {
        names,
        versions: &[0x0304, 0x0303],
        protocols: &[b"h2"],
        key_share: 32,
        ..Offer::default()
    }
}

pub(crate) fn hello(names: &[&[u8]]) -> Vec<u8> {
    offer(names).records(16_384).unwrap()
}

/// A hello for one name in one segment.
fn named(family: Family, name: &[u8]) -> Talk {
    let mut talk = open(family, 443);
    talk.send(Client, &hello(&[name]));
    talk
}

/// A hello with one extension as it is.
fn with_extension(kind: u16, data: &[u8], names: &[&[u8]]) -> Vec<u8> {
    Offer { extensions: &[(kind, data)], ..offer(names) }.records(16_384).unwrap()
}

/// ServerHello that asks for another hello (RFC 8446 section 4.1.4).
fn retry_request() -> Vec<u8> {
    let random = [
        0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8,
        0x91, 0xc2, 0xa2, 0x11, 0x16, 0x7a, 0xbb, 0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8,
        0x33, 0x9c,
    ];
    let mut body = vec![3, 3];
    body.extend(random);
    body.push(32);
    body.extend([0xa5; 32]);
    body.extend([0x13, 0x01, 0, 0, 6, 0, 43, 0, 2, 3, 4]);
    record(22, &message(2, &body))
}

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let [_, size @ ..] = u32::try_from(body.len()).unwrap().to_be_bytes();
    [&[kind][..], &size, body].concat()
}

fn record(kind: u8, payload: &[u8]) -> Vec<u8> {
    let len = u16::try_from(payload.len()).unwrap().to_be_bytes();
    [&[kind, 3, 3][..], &len, payload].concat()
}

/// The first hello, a HelloRetryRequest, a second hello.
fn retried(family: Family, second: &[u8]) -> Talk {
    let mut talk = open(family, 443);
    talk.send(Client, &hello(&[GOOD])).ack(Server);
    talk.send(Server, &retry_request());
    talk.send(Client, &[&record(20, &[1])[..], &hello(&[second])].concat());
    talk
}

/// The same with early data behind the first hello, and half of it behind the server's answer.
fn retried_early(family: Family, second: &[u8]) -> Talk {
    let early = record(23, &[7; 300]);
    let first = [with_extension(42, &[], &[GOOD]), record(20, &[1]), early.clone()].concat();
    let mut talk = open(family, 443);
    talk.send(Client, &first).ack(Server);
    talk.send(Server, &[retry_request(), record(20, &[1])].concat());
    talk.send(Client, &[early, hello(&[second])].concat());
    talk
}

/// A mail server that was sent a byte behind the command for TLS, and goes on as if it was not.
fn after_more_than_starttls(family: Family) -> Talk {
    let mut talk = open(family, 25);
    talk.send(Server, b"220 mail.example ESMTP\r\n");
    talk.send(Client, b"STARTTLS\r\nX").ack(Server);
    talk.send(Server, b"220 go ahead\r\n");
    talk
}

/// SMTP up to STARTTLS, then these bytes.
fn after_starttls(family: Family, bytes: &[u8]) -> Talk {
    let mut talk = open(family, 25);
    talk.send(Server, b"220 mail.example ESMTP\r\n");
    talk.send(Client, b"EHLO a.example\r\n").ack(Server);
    talk.send(Server, b"250-mail.example\r\n250 STARTTLS\r\n");
    talk.send(Client, b"STARTTLS\r\n").ack(Server);
    talk.send(Server, b"220 go ahead\r\n");
    talk.send(Client, bytes);
    talk
}

pub(crate) const CASES: &[Case] = &[
    case("the allowed name", "The control.", |f| named(f, GOOD)),
    case("mixed case", "Names are compared without case.", |f| named(f, b"GoOd.ExAmPlE")),
    case("a trailing dot", "The same name (RFC 6066 section 3 has none, clients send it).", |f| {
        named(f, b"good.example.")
    }),
    case("two trailing dots", "An empty label is no name.", |f| named(f, b"good.example..")),
    case("a NUL behind the name", "Readers of C strings would see the allowed name.", |f| {
        named(f, b"good.example\0.evil.example")
    }),
    case("a space behind the name", "No byte of a name.", |f| named(f, b"good.example ")),
    case("the allowed name in front", "Names match whole, by label.", |f| {
        named(f, b"good.example.evil.example")
    }),
    case("the allowed name behind, no dot between", "Names match whole, by label.", |f| {
        named(f, b"evilgood.example")
    }),
    case("a U-label", "Server names are A-labels (RFC 6066 section 3).", |f| {
        named(f, "b\u{fc}cher.good.example".as_bytes())
    }),
    case("a full-width name", "Equivalent only for those who normalise; servers do not.", |f| {
        named(f, "\u{ff47}ood.example".as_bytes())
    }),
    case("an A-label nobody allowed", "Compared as it stands.", |f| {
        named(f, b"xn--god-ula.example")
    }),
    case("a label of 64 bytes", "Longer than a label may be.", |f| {
        named(f, &[&[b'a'; 64][..], b".good.example"].concat())
    }),
    case("an IPv4 address as name", "An address is no name (RFC 6066 section 3).", |f| {
        named(f, b"10.100.4.7")
    }),
    case("an empty name", "Nothing that could be matched.", |f| named(f, b"")),
    case("no name", "A rule that asks for a name is not met.", |f| {
        let mut talk = open(f, 443);
        talk.send(Client, &hello(&[]));
        talk
    }),
    case(
        "two names, the allowed one first",
        "A list with two host names is malformed (RFC 6066 section 3).",
        |f| {
            let mut talk = open(f, 443);
            talk.send(Client, &hello(&[GOOD, EVIL]));
            talk
        },
    ),
    case("two names, the allowed one last", "Whichever a server would take.", |f| {
        let mut talk = open(f, 443);
        talk.send(Client, &hello(&[EVIL, GOOD]));
        talk
    }),
    case(
        "two server name extensions",
        "An extension may not be there twice (RFC 8446 section 4.2).",
        |f| {
            let list = [&[0, 15, 0, 0, 12][..], GOOD].concat();
            let mut talk = open(f, 443);
            talk.send(Client, &with_extension(0, &list, &[EVIL]));
            talk
        },
    ),
    case("a name list of another type", "A type other than host_name is unknown to all.", |f| {
        let list = [&[0, 15, 7, 0, 12][..], GOOD].concat();
        let mut talk = open(f, 443);
        talk.send(Client, &with_extension(0, &list, &[]));
        talk
    }),
    case("a hello in records of one byte, denied", "Records are put together.", |f| {
        let mut talk = open(f, 443);
        talk.send_split(&offer(&[EVIL]).records(1).unwrap(), 1000);
        talk
    }),
    case("a hello in records of one byte, allowed", "Records are put together.", |f| {
        let mut talk = open(f, 443);
        talk.send_split(&offer(&[GOOD]).records(1).unwrap(), 1000);
        talk
    }),
    case("a hello one byte a segment, denied", "Segmentation is no shelter.", |f| {
        let mut talk = open(f, 443);
        talk.send_split(&hello(&[EVIL]), 1);
        talk
    }),
    case(
        "a hello above the MTU, denied",
        "A post-quantum key share pushes the name out of the first segment.",
        |f| {
            let extensions: &[(u16, &[u8])] = &[(0x0015, &[0; 2000])];
            let hello = Offer { key_share: 1216, extensions, ..offer(&[EVIL]) };
            let mut talk = open(f, 443);
            talk.send_split(&hello.records(16_384).unwrap(), 1400);
            talk
        },
    ),
    case("a hello above the MTU, allowed", "And an allowed one arrives whole.", |f| {
        let extensions: &[(u16, &[u8])] = &[(0x0015, &[0; 2000])];
        let hello = Offer { key_share: 1216, extensions, ..offer(&[GOOD]) };
        let mut talk = open(f, 443);
        talk.send_split(&hello.records(16_384).unwrap(), 1400);
        talk
    }),
    case("a record version nobody uses", "Servers look at the major version alone.", |f| {
        let mut hello = hello(&[EVIL]);
        hello[2] = 0x63;
        let mut talk = open(f, 443);
        talk.send(Client, &hello);
        talk
    }),
    case(
        "an alert in front of the hello",
        "What is no hello at the start of TLS is malformed.",
        |f| {
            let mut talk = open(f, 443);
            talk.send(Client, &[&record(21, &[1, 0])[..], &hello(&[EVIL])].concat());
            talk
        },
    ),
    case(
        "an empty record in front of the hello",
        "No empty handshake records (RFC 8446 section 5.1).",
        |f| {
            let mut talk = open(f, 443);
            talk.send(Client, &[&record(22, &[])[..], &hello(&[EVIL])].concat());
            talk
        },
    ),
    case(
        "a second hello in the same record",
        "Nothing comes behind a hello before its answer.",
        |f| {
            let both =
                [offer(&[GOOD]).message().unwrap(), offer(&[EVIL]).message().unwrap()].concat();
            let mut talk = open(f, 443);
            talk.send(Client, &record(22, &both));
            talk
        },
    ),
    case(
        "a second hello without a retry request",
        "The name of a connection does not change.",
        |f| {
            let mut talk = open(f, 443);
            talk.send(Client, &hello(&[GOOD])).ack(Server).send(Client, &hello(&[EVIL]));
            talk
        },
    ),
    case("HelloRetryRequest, the same name", "The second hello is compared and passes.", |f| {
        retried(f, GOOD)
    }),
    case("HelloRetryRequest, another name", "A name that changes is a denial.", |f| {
        retried(f, EVIL)
    }),
    case("a hello in the format of SSL 2", "It has no server name.", |f| {
        let mut body = vec![1, 3, 1, 0, 3, 0, 0, 0, 16, 0, 0, 0x2f];
        body.extend([7; 16]);
        let mut talk = open(f, 443);
        talk.send(Client, &[&[0x80, body.len() as u8][..], &body].concat());
        talk
    }),
    case(
        "encrypted hello, the allowed outer name",
        "`outer-name`: judged by the name in the clear.",
        |f| {
            let mut talk = open(f, 443);
            talk.send(Client, &with_extension(0xfe0d, &[0; 64], &[GOOD]));
            talk
        },
    ),
    case("encrypted hello, a denied outer name", "The name in the clear is what is judged.", |f| {
        let mut talk = open(f, 443);
        talk.send(Client, &with_extension(0xfe0d, &[0; 64], &[EVIL]));
        talk
    }),
    case(
        "an encrypted server name alone",
        "There is no name in the clear (draft-ietf-tls-esni-02).",
        |f| {
            let mut talk = open(f, 443);
            talk.send(Client, &with_extension(0xffce, &[0; 64], &[]));
            talk
        },
    ),
    case("a name list longer than its extension", "A length that lies is malformed.", |f| {
        let list = [&[0, 200, 0, 0, 12][..], GOOD].concat();
        let mut talk = open(f, 443);
        talk.send(Client, &with_extension(0, &list, &[]));
        talk
    }),
    case("a hello that never ends", "Held up to the bound of time, then undecided.", |f| {
        let hello = hello(&[EVIL]);
        let mut talk = open(f, 443);
        talk.send(Client, &hello[..hello.len() - 1]);
        talk
    }),
    case(
        "TLS on another port",
        "The protocol is told from its bytes; port 80 asks for a name too.",
        |f| {
            let mut talk = open(f, 80);
            talk.send(Client, &hello(&[EVIL]));
            talk
        },
    ),
    case("STARTTLS, an allowed name", "What follows STARTTLS is a message of its own.", |f| {
        after_starttls(f, &hello(&[GOOD]))
    }),
    case("STARTTLS, a denied name", "The second name of the connection is judged anew.", |f| {
        after_starttls(f, &hello(&[EVIL]))
    }),
    case("STARTTLS, a record of a version nobody made", "Servers read the major one alone.", |f| {
        let mut odd = hello(&[EVIL]);
        odd[2] = 9;
        after_starttls(f, &odd)
    }),
    case("STARTTLS, a warning in front of the hello", "Some servers pass over it.", |f| {
        after_starttls(f, &[&record(21, &[1, 90])[..], &hello(&[EVIL])].concat())
    }),
    case("STARTTLS, an empty record in front of the hello", "Some servers pass over it.", |f| {
        after_starttls(f, &[&record(22, &[])[..], &hello(&[EVIL])].concat())
    }),
    case("STARTTLS, a change of ciphers in front of the hello", "Some pass over it.", |f| {
        after_starttls(f, &[&record(20, &[1])[..], &hello(&[EVIL])].concat())
    }),
    case("STARTTLS and the hello in one segment", "The hello is found behind the command.", |f| {
        let mut talk = open(f, 25);
        talk.send(Server, b"220 mail.example ESMTP\r\n");
        talk.send(Client, &[&b"STARTTLS\r\n"[..], &hello(&[EVIL])].concat());
        talk
    }),
    case(
        "STARTTLS, the rest of its segment thrown away",
        "As servers do that fear injection.",
        |f| {
            let mut talk = after_more_than_starttls(f);
            talk.send(Client, &hello(&[EVIL]));
            talk
        },
    ),
    case("the same, in records of one byte", "As servers do that fear injection.", |f| {
        let mut talk = after_more_than_starttls(f);
        talk.send_split(&offer(&[EVIL]).records(1).unwrap(), 1000);
        talk
    }),
    case("STARTTLS of LDAP behind a search", "It need not be the first message.", |f| {
        let mut talk = open(f, 25);
        let search =
            b"\x30\x25\x02\x01\x01\x63\x20\x04\x00\x0a\x01\x00\x0a\x01\x00\x02\x01\x00\x02\x01\
\x00\x01\x01\x00\x87\x0bobjectclass\x30\x00";
        talk.send(Client, search).ack(Server);
        talk.send(Client, b"\x30\x1d\x02\x01\x02\x77\x18\x80\x161.3.6.1.4.1.1466.20037");
        talk.ack(Server);
        talk.send(Client, &hello(&[EVIL]));
        talk
    }),
    case("STARTTLS of LDAP with long lengths", "As one large vendor writes them.", |f| {
        let mut talk = open(f, 25);
        let ask = b"\x30\x84\0\0\0\x21\x02\x01\x01\x77\x84\0\0\0\x18\x80\x161.3.6.1.4.1.1466.20037";
        talk.send(Client, ask).ack(Server);
        talk.send(Client, &hello(&[EVIL]));
        talk
    }),
    case(
        "STARTTLS of a protocol nobody knows",
        "Its server speaks first, as all of that kind.",
        |f| {
            let mut talk = open(f, 25);
            talk.send(Server, b"\"IMPLEMENTATION\" \"sieve\"\r\n\"STARTTLS\"\r\nOK\r\n");
            talk.send(Client, b"STARTTLS\r\n").ack(Server);
            talk.send(Server, b"OK\r\n");
            talk.send(Client, &hello(&[EVIL]));
            talk
        },
    ),
    case("TLS inside a remote desktop", "Negotiated in binary (VeNCrypt).", |f| {
        let mut talk = open(f, 25);
        talk.send(Server, b"RFB 003.008\n");
        talk.send(Client, b"RFB 003.008\n").ack(Server);
        talk.send(Server, b"\x01\x13");
        talk.send(Client, b"\x13\0\x02\0\0\x01\x05").ack(Server);
        talk.send(Client, &hello(&[EVIL]));
        talk
    }),
    case(
        "TLS of a database, bytes behind the request for it",
        "A server may throw them away.",
        |f| {
            let mut talk = open(f, 25);
            talk.send(Server, b"\x4a\0\0\0\x0a8.4.3\0");
            let request = [&b"\x20\0\0\x01\0\x08"[..], &[0; 30], b"X"].concat();
            talk.send(Client, &request).ack(Server);
            talk.send(Client, &hello(&[EVIL]));
            talk
        },
    ),
    case(
        "early data, HelloRetryRequest, the same name",
        "Early data is void then; all goes.",
        |f| retried_early(f, GOOD),
    ),
    case("early data, HelloRetryRequest, another name", "The second hello is behind it.", |f| {
        retried_early(f, EVIL)
    }),
    case("early data, then another hello at once", "It is read behind the early data.", |f| {
        let first = [with_extension(42, &[], &[GOOD]), record(23, &[7; 300])].concat();
        let mut talk = open(f, 443);
        talk.send(Client, &first).ack(Server).send(Client, &hello(&[EVIL]));
        talk
    }),
    case("SOCKS with a method nobody has", "What is in the tunnel is a message of its own.", |f| {
        let mut talk = open(f, 25);
        talk.send(Client, b"\x05\x05\0\x80\x55\x01\x33").ack(Server);
        talk.send(Server, b"\x05\0");
        talk.send(Client, b"\x05\x01\0\x01\xc0\0\x02\x01\x01\xbb").ack(Server);
        talk.send(Server, b"\x05\0\0\x01\0\0\0\0\0\0");
        talk.send(Client, &hello(&[EVIL]));
        talk
    }),
];
