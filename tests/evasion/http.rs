//! Requests that recipients read differently, second requests, tunnels and upgrades.

use crate::talk::{Family, From, Talk};
use crate::{Case, case};
use From::{Client, Server};
use lockgate::model::Protocol;

const GOOD: &[u8] = b"GET / HTTP/1.1\r\nHost: good.example\r\n\r\n";
const EVIL: &[u8] = b"GET /evil HTTP/1.1\r\nHost: evil.example\r\n\r\n";

fn open(family: Family) -> Talk {
    let mut talk = Talk::new(family, Protocol::TCP, 80);
    talk.handshake();
    talk
}

/// The client's bytes to servers of which all but one name may be asked for.
fn openly(family: Family, parts: &[&[u8]]) -> Talk {
    let mut talk = Talk::new(family, Protocol::TCP, 8080);
    talk.handshake();
    talk.send(Client, &parts.concat());
    talk
}

/// The client's bytes in one segment.
fn says(family: Family, parts: &[&[u8]]) -> Talk {
    let mut talk = open(family);
    talk.send(Client, &parts.concat());
    talk
}

/// An HTTP/2 frame.
fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let [_, size @ ..] = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&size[..], &[kind, flags, 0, 0, 0, stream], payload].concat()
}

/// A GET for an authority: HEADERS with END_STREAM and END_HEADERS.
fn get(stream: u8, authority: &[u8]) -> Vec<u8> {
    let block = [&[0x82, 0x86, 0x84, 0x01, authority.len() as u8][..], authority].concat();
    frame(1, 5, stream, &block)
}

fn h2_preface() -> Vec<u8> {
    [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &frame(4, 0, 0, &[])].concat()
}

/// A request that asks for another protocol, the server's answer, then the client's bytes.
fn switched(family: Family, request: &[u8], answer: &[u8], then: &[u8]) -> Talk {
    let mut talk = open(family);
    talk.send(Client, request).ack(Server);
    talk.send(Server, answer);
    talk.send(Client, then);
    talk
}

const UPGRADE_H2C: &[u8] = b"GET / HTTP/1.1\r\nHost: good.example\r\nConnection: Upgrade, \
HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n";

pub(crate) const CASES: &[Case] = &[
    case(
        "the second request of a connection",
        "Every request is judged; the connection ends.",
        |f| {
            let mut talk = open(f);
            talk.send(Client, GOOD).ack(Server).send(Client, GOOD).send(Client, EVIL);
            talk
        },
    ),
    case(
        "a pipelined request",
        "Allowed bytes and denied ones in one segment: none of it goes.",
        |f| says(f, &[GOOD, EVIL]),
    ),
    case("a pipelined request, split", "The first request goes, the second does not.", |f| {
        let mut talk = open(f);
        talk.send(Client, GOOD).send(Client, &EVIL[..4]).send(Client, &EVIL[4..]);
        talk
    }),
    case("CL.TE", "Two framings at once are refused (RFC 9112 section 6.1).", |f| {
        says(
            f,
            &[
                b"POST / HTTP/1.1\r\nHost: good.example\r\nContent-Length: 6\r\n\
            Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
                EVIL,
            ],
        )
    }),
    case("TE.CL", "Two framings at once are refused.", |f| {
        says(
            f,
            &[
                b"POST / HTTP/1.1\r\nHost: good.example\r\nTransfer-Encoding: chunked\r\n\
            Content-Length: 4\r\n\r\n5c\r\n",
                EVIL,
                b"0\r\n\r\n",
            ],
        )
    }),
    case("TE.TE", "A coding that one recipient takes and another does not.", |f| {
        says(
            f,
            &[
                b"POST / HTTP/1.1\r\nHost: good.example\r\nTransfer-Encoding: xchunked\r\n\r\n",
                EVIL,
            ],
        )
    }),
    case(
        "a space before the colon of a framing field",
        "No field name (RFC 9112 section 5.1).",
        |f| {
            says(f, &[b"POST / HTTP/1.1\r\nHost: good.example\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n", EVIL])
        },
    ),
    case("two lengths", "Recipients differ in which they believe.", |f| {
        says(f, &[b"POST / HTTP/1.1\r\nHost: good.example\r\nContent-Length: 0\r\nContent-Length: 44\r\n\r\n", EVIL])
    }),
    case("a length with a sign", "Digits alone are a length.", |f| {
        says(f, &[b"POST / HTTP/1.1\r\nHost: good.example\r\nContent-Length: +0\r\n\r\n", EVIL])
    }),
    case("a chunk size with a sign", "Hexadecimal digits alone are a size.", |f| {
        says(f, &[b"POST / HTTP/1.1\r\nHost: good.example\r\nTransfer-Encoding: chunked\r\n\r\n+0\r\n\r\n", EVIL])
    }),
    case(
        "a request behind a chunked body",
        "The body ends where it says; the next request is judged.",
        |f| {
            let mut talk = open(f);
            talk.send(
                Client,
                b"POST / HTTP/1.1\r\nHost: good.example\r\nTransfer-Encoding: chunked\r\n\r\n",
            );
            talk.send(Client, b"3\r\nabc\r\n0\r\n\r\n").send(Client, EVIL);
            talk
        },
    ),
    case("a GET with a body", "Its length counts, whatever the method.", |f| {
        let mut talk = open(f);
        talk.send(Client, b"GET / HTTP/1.1\r\nHost: good.example\r\nContent-Length: 3\r\n\r\nabc");
        talk.send(Client, EVIL);
        talk
    }),
    case("two hosts", "Two Host fields are refused (RFC 9112 section 3.2).", |f| {
        says(f, &[b"GET / HTTP/1.1\r\nHost: good.example\r\nHost: evil.example\r\n\r\n"])
    }),
    case("the same host twice", "Refused all the same.", |f| {
        says(f, &[b"GET / HTTP/1.1\r\nHost: good.example\r\nHost: good.example\r\n\r\n"])
    }),
    case("no host", "No name for a rule that asks for one.", |f| {
        says(f, &[b"GET / HTTP/1.1\r\n\r\n"])
    }),
    case("an empty host", "No name for a rule that asks for one.", |f| {
        says(f, &[b"GET / HTTP/1.1\r\nHost:\r\n\r\n"])
    }),
    case("a folded host", "Folding is refused (RFC 9112 section 5.2).", |f| {
        says(f, &[b"GET / HTTP/1.1\r\nHost: good.example\r\n .evil.example\r\n\r\n"])
    }),
    case("a folded field with a host in it", "Folding is refused.", |f| {
        says(f, &[b"GET / HTTP/1.1\r\nX: a\r\n Host: good.example\r\nHost: evil.example\r\n\r\n"])
    }),
    case("bare line feeds, denied", "Read as lenient recipients do.", |f| {
        says(f, &[b"GET / HTTP/1.1\nHost: evil.example\n\n"])
    }),
    case("line ends of both kinds", "Recipients cut such a head differently.", |f| {
        says(f, &[b"GET / HTTP/1.1\r\nHost: good.example\nHost: evil.example\r\n\r\n"])
    }),
    case("a lone carriage return", "A line end for some.", |f| {
        says(f, &[b"GET / HTTP/1.1\r\nX: a\rHost: evil.example\r\nHost: good.example\r\n\r\n"])
    }),
    case("a NUL in the host", "No byte of a field.", |f| {
        says(f, &[b"GET / HTTP/1.1\r\nHost: good.example\0.evil.example\r\n\r\n"])
    }),
    case("a host with userinfo", "A host has none (RFC 9110 section 7.2).", |f| {
        says(f, &[b"GET / HTTP/1.1\r\nHost: good.example@evil.example\r\n\r\n"])
    }),
    case("a list of hosts", "One host it is.", |f| {
        says(f, &[b"GET / HTTP/1.1\r\nHost: good.example, evil.example\r\n\r\n"])
    }),
    case("a host with a port", "The port is left out.", |f| {
        says(f, &[b"GET / HTTP/1.1\r\nHost: GOOD.example.:80\r\n\r\n"])
    }),
    case("an address as host", "An address is no name.", |f| {
        says(f, &[b"GET / HTTP/1.1\r\nHost: 10.100.4.7\r\n\r\n"])
    }),
    case("an absolute target against Host", "Where both name a host they must agree.", |f| {
        says(f, &[b"GET http://evil.example/ HTTP/1.1\r\nHost: good.example\r\n\r\n"])
    }),
    case("an absolute target alone", "The target names the host (RFC 9112 section 3.2.2).", |f| {
        says(f, &[b"GET http://evil.example/ HTTP/1.0\r\n\r\n"])
    }),
    case("a target that only looks relative", "Neither origin nor absolute form.", |f| {
        says(f, &[b"GET evil.example HTTP/1.1\r\nHost: good.example\r\n\r\n"])
    }),
    case("a request without a version", "HTTP/0.9 has no Host.", |f| says(f, &[b"GET /evil\r\n"])),
    case("a method nobody knows", "A request line all the same.", |f| {
        says(f, &[b"FROB / HTTP/1.1\r\nHost: evil.example\r\n\r\n"])
    }),
    case("white space in front of the method", "No request line.", |f| {
        says(f, &[b" GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n"])
    }),
    case("empty lines in front", "Recipients ignore them (RFC 9112 section 2.2).", |f| {
        says(f, &[b"\r\n\r\nGET / HTTP/1.1\r\nHost: evil.example\r\n\r\n"])
    }),
    case("CONNECT to a denied host", "Its target is its name.", |f| {
        says(f, &[b"CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example:443\r\n\r\n"])
    }),
    case(
        "CONNECT, then a denied server name",
        "What is in the tunnel is a message of its own.",
        |f| {
            switched(
                f,
                b"CONNECT good.example:443 HTTP/1.1\r\nHost: good.example:443\r\n\r\n",
                b"HTTP/1.1 200 OK\r\n\r\n",
                &crate::tls::hello(&[b"evil.example"]),
            )
        },
    ),
    case(
        "CONNECT refused, then a denied request",
        "No tunnel: the next bytes are a request.",
        |f| {
            switched(
                f,
                b"CONNECT good.example:443 HTTP/1.1\r\nHost: good.example:443\r\n\r\n",
                b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n",
                EVIL,
            )
        },
    ),
    case(
        "CONNECT, tunnelled bytes before the answer",
        "They wait for the answer that says what they are.",
        |f| {
            let connect = b"CONNECT good.example:443 HTTP/1.1\r\nHost: good.example:443\r\n\r\n";
            says(f, &[connect, &crate::tls::hello(&[b"evil.example"])])
        },
    ),
    case("upgrade to h2c, then a denied authority", "HTTP/2 is read behind the upgrade.", |f| {
        let then = [h2_preface(), get(3, b"evil.example")].concat();
        let answer =
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n";
        switched(f, UPGRADE_H2C, answer, &then)
    }),
    case("upgrade refused, then a denied request", "The connection stays HTTP/1.", |f| {
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
        switched(f, UPGRADE_H2C, answer, EVIL)
    }),
    case("HTTP/2, an allowed authority", "The control.", |f| {
        says(f, &[&h2_preface(), &get(1, b"good.example")])
    }),
    case("HTTP/2, a denied authority", "`:authority` is the name.", |f| {
        says(f, &[&h2_preface(), &get(1, b"evil.example")])
    }),
    case("HTTP/2, the second stream denied", "Every request has its name.", |f| {
        let mut talk = open(f);
        talk.send(Client, &[h2_preface(), get(1, b"good.example")].concat());
        talk.send(Client, &get(3, b"evil.example"));
        talk
    }),
    case("HTTP/2, an authority over CONTINUATION", "Header blocks are put together.", |f| {
        let block = [&[0x82, 0x86, 0x84, 0x01, 12][..], b"evil.example"].concat();
        let parts = [frame(1, 1, 1, &block[..8]), frame(9, 4, 1, &block[8..])].concat();
        says(f, &[&h2_preface(), &parts])
    }),
    case("HTTP/2, authority and host differ", "Recipients differ in which they believe.", |f| {
        let host = [&[0x00, 4][..], b"host", &[12], b"evil.example"].concat();
        let block = [&[0x82, 0x86, 0x84, 0x01, 12][..], b"good.example", &host].concat();
        says(f, &[&h2_preface(), &frame(1, 5, 1, &block)])
    }),
    case("HTTP/2, two authorities", "A pseudo-header may not be there twice.", |f| {
        let second = [&[0x01, 12][..], b"evil.example"].concat();
        let block = [&[0x82, 0x86, 0x84, 0x01, 12][..], b"good.example", &second].concat();
        says(f, &[&h2_preface(), &frame(1, 5, 1, &block)])
    }),
    case("HTTP/2, a priority in front of a denied request", "It is no request (RFC 9218).", |f| {
        let update = frame(0x10, 0, 0, b"\0\0\0\x01u=1");
        says(f, &[&h2_preface(), &update, &get(1, b"evil.example")])
    }),
    case("HTTP/2, CONNECT to an allowed host", "Nobody looks into its DATA.", |f| {
        let block = [&b"\x02\x07CONNECT\x01\x0c"[..], b"good.example"].concat();
        let evil = crate::tls::hello(&[b"evil.example"]);
        says(f, &[&h2_preface(), &frame(1, 4, 1, &block), &frame(0, 0, 1, &evil)])
    }),
    case(
        "upgrade to h2c by the second request, then a denied authority",
        "Only the first request's answer is followed; what is no HTTP/1 behind it is malformed.",
        |f| {
            let mut talk = open(f);
            talk.send(Client, GOOD).ack(Server);
            talk.send(Server, b"HTTP/1.1 204 No Content\r\n\r\n");
            talk.send(Client, UPGRADE_H2C).ack(Server);
            talk.send(Server, b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n");
            talk.send(Client, &[h2_preface(), get(3, b"evil.example")].concat());
            talk
        },
    ),
    case(
        "CONNECT by the second request, then a denied server name",
        "Only the first request's answer is followed; what is no HTTP/1 behind it is malformed.",
        |f| {
            let mut talk = open(f);
            talk.send(Client, GOOD).ack(Server);
            talk.send(Server, b"HTTP/1.1 204 No Content\r\n\r\n");
            talk.send(Client, b"CONNECT good.example:443 HTTP/1.1\r\nHost: good.example\r\n\r\n");
            talk.send(Server, b"HTTP/1.1 200 OK\r\n\r\n");
            talk.send(Client, &crate::tls::hello(&[b"evil.example"]));
            talk
        },
    ),
    case("a denied host among all others", "The control.", |f| openly(f, &[EVIL])),
    case("more empty lines than anybody needs", "Some servers pass over any number.", |f| {
        openly(f, &[&b"\r\n".repeat(40), EVIL])
    }),
    case("spaces in front of the method, among all others", "Some servers trim the line.", |f| {
        openly(f, &[b" \t \x0b", EVIL])
    }),
    case("another space behind the method", "White space to those who read Latin-1.", |f| {
        openly(f, &[b"GET\xa0/evil HTTP/1.1\r\nHost: evil.example\r\n\r\n"])
    }),
    case("another space before the version", "White space to those who read Latin-1.", |f| {
        openly(f, &[b"FROB /evil\x85HTTP/1.1\r\nHost: evil.example\r\n\r\n"])
    }),
    case("a method of 300 letters", "Some servers take any method.", |f| {
        openly(f, &[&[b'M'; 300], b" /evil HTTP/1.1\r\nHost: evil.example\r\n\r\n"])
    }),
    case("a control character in the target", "Some servers take any target.", |f| {
        openly(f, &[b"OPTIONS /evil\x01 HTTP/1.1\r\nHost: evil.example\r\n\r\n"])
    }),
];
