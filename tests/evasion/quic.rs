//! Initial packets and CRYPTO frames in every order and disorder.

use crate::talk::{Family, From, Talk};
use crate::tls::offer;
use crate::{Case, case};
use From::{Client, Server};
use lockgate::inspect::quic::seal::{Initial, crypto_frame};
use lockgate::inspect::quic::version::{V1, V2};
use lockgate::model::Protocol;

const ID: &[u8] = &[0x83, 0x94, 0xc8, 0xf0, 0x3e, 0x51, 0x57, 0x08];
const OTHER: &[u8] = &[1, 2, 3, 4, 5, 6, 7, 8];

fn hello(name: &[u8]) -> Vec<u8> {
    offer(&[name]).message().unwrap()
}

fn initial(id: &[u8], number: u32, frames: &[Vec<u8>]) -> Vec<u8> {
    let packet =
        Initial { version: V1, destination: id, number, padded_to: 1200, ..Initial::default() };
    packet.seal(&frames.concat()).unwrap()
}

fn crypto(offset: usize, bytes: &[u8]) -> Vec<u8> {
    crypto_frame(offset, bytes).unwrap()
}

fn talk(family: Family, datagrams: &[Vec<u8>]) -> Talk {
    let mut talk = Talk::new(family, Protocol::UDP, 443);
    for datagram in datagrams {
        talk.datagram(Client, datagram);
    }
    talk
}

fn simple(name: &[u8]) -> Vec<u8> {
    initial(ID, 0, &[crypto(0, &hello(name))])
}

/// Something behind a header that only looks like a packet of the connection.
fn short_header() -> Vec<u8> {
    [&[0x43][..], ID, &[9; 40]].concat()
}

/// The server's Retry to the first hello, which leads to `OTHER`.
fn retried(family: Family, second: &[u8]) -> Talk {
    let retry = [&[0xf0, 0, 0, 0, 1, 0, 8][..], OTHER, b"token", &[0; 16]].concat();
    let packet = Initial {
        version: V1,
        destination: OTHER,
        token: b"token",
        number: 1,
        padded_to: 1200,
        ..Initial::default()
    };
    let mut talk = talk(family, &[simple(b"good.example")]);
    talk.datagram(Server, &retry);
    talk.datagram(Client, &packet.seal(&crypto(0, &hello(second))).unwrap());
    talk
}

pub(crate) const CASES: &[Case] = &[
    case("an allowed hello", "The control.", |f| talk(f, &[simple(b"good.example")])),
    case("a denied hello", "Not one datagram arrives.", |f| {
        talk(f, &[simple(b"evil.example"), short_header()])
    }),
    case("version 2", "Keys and packet types of its own (RFC 9369).", |f| {
        let packet =
            Initial { version: V2, destination: ID, padded_to: 1200, ..Initial::default() };
        talk(f, &[packet.seal(&crypto(0, &hello(b"evil.example"))).unwrap()])
    }),
    case("frames out of order, allowed", "Put in order by offset.", |f| {
        let hello = hello(b"good.example");
        let frames =
            [crypto(90, &hello[90..]), crypto(0, &hello[..30]), crypto(30, &hello[30..90])];
        talk(f, &[initial(ID, 0, &frames)])
    }),
    case("frames out of order, denied", "Put in order by offset.", |f| {
        let hello = hello(b"evil.example");
        let frames =
            [crypto(90, &hello[90..]), crypto(0, &hello[..30]), crypto(30, &hello[30..90])];
        talk(f, &[initial(ID, 0, &frames)])
    }),
    case("frames that overlap and agree", "Nothing wrong with that (RFC 9000 section 2.2).", |f| {
        let hello = hello(b"good.example");
        talk(f, &[initial(ID, 0, &[crypto(0, &hello[..100]), crypto(50, &hello[50..])])])
    }),
    case("frames that overlap and disagree", "Data at an offset may not change.", |f| {
        let (good, evil) = (hello(b"good.example"), hello(b"evil.example"));
        talk(f, &[initial(ID, 0, &[crypto(0, &good[..good.len() - 1]), crypto(0, &evil)])])
    }),
    case(
        "a hello over datagrams, last one first, allowed",
        "Held until it is whole, then all of it goes.",
        |f| {
            let hello = hello(b"good.example");
            let first = initial(ID, 0, &[crypto(0, &hello[..60])]);
            talk(f, &[initial(ID, 1, &[crypto(60, &hello[60..])]), first])
        },
    ),
    case(
        "a hello over datagrams, last one first, denied",
        "Held until it is whole, then none of it goes.",
        |f| {
            let hello = hello(b"evil.example");
            let first = initial(ID, 0, &[crypto(0, &hello[..60])]);
            talk(f, &[initial(ID, 1, &[crypto(60, &hello[60..])]), first])
        },
    ),
    case(
        "half a hello, then other packets",
        "Nothing passes behind a hello that is not whole.",
        |f| {
            let hello = hello(b"evil.example");
            talk(f, &[initial(ID, 0, &[crypto(0, &hello[..60])]), short_header(), short_header()])
        },
    ),
    case(
        "a second connection on the flow, denied",
        "Another connection id is another connection: judged anew.",
        |f| {
            let second = initial(OTHER, 0, &[crypto(0, &hello(b"evil.example"))]);
            talk(f, &[simple(b"good.example"), second])
        },
    ),
    case("half a second connection", "It waits, while the first goes on.", |f| {
        let hello = hello(b"evil.example");
        let second = initial(OTHER, 0, &[crypto(0, &hello[..60])]);
        talk(f, &[simple(b"good.example"), second, short_header()])
    }),
    case(
        "two connections in one datagram",
        "Packets of one datagram share a connection (RFC 9000 section 12.2).",
        |f| {
            let small = Initial { version: V1, destination: ID, ..Initial::default() };
            let good = small.seal(&crypto(0, &hello(b"good.example"))).unwrap();
            let evil = initial(OTHER, 0, &[crypto(0, &hello(b"evil.example"))]);
            talk(f, &[[good, evil].concat()])
        },
    ),
    case(
        "a hello for another name on the same connection",
        "The name of a connection does not change.",
        |f| {
            let good = hello(b"good.example");
            let behind = crypto(good.len(), &hello(b"evil.example"));
            talk(f, &[simple(b"good.example"), initial(ID, 1, &[behind])])
        },
    ),
    case("an Initial whose tag is wrong", "Nobody can open it; the flow ends.", |f| {
        let mut broken = simple(b"good.example");
        *broken.last_mut().unwrap() ^= 1;
        talk(f, &[broken, simple(b"evil.example")])
    }),
    case("keys of another connection id", "What the server would not open is not believed.", |f| {
        let packet = Initial {
            version: V1,
            destination: ID,
            keyed_by: Some(OTHER),
            padded_to: 1200,
            ..Initial::default()
        };
        talk(
            f,
            &[packet.seal(&crypto(0, &hello(b"good.example"))).unwrap(), simple(b"evil.example")],
        )
    }),
    case(
        "a version nobody can read",
        "A fact of its own: no name, so no rule that asks for one.",
        |f| {
            let mut unread = simple(b"good.example");
            unread[1..5].copy_from_slice(&0xff00_00ff_u32.to_be_bytes());
            talk(f, &[unread])
        },
    ),
    case("version negotiation from the client", "Servers alone send it.", |f| {
        let mut odd = simple(b"good.example");
        odd[1..5].copy_from_slice(&[0; 4]);
        talk(f, &[odd, simple(b"evil.example")])
    }),
    case("a short header first", "The middle of a connection, or nothing: it has no name.", |f| {
        talk(f, &[short_header(), simple(b"evil.example")])
    }),
    case("something else in front", "Not QUIC, and no name.", |f| {
        talk(f, &[b"evil, and no QUIC".to_vec(), simple(b"good.example")])
    }),
    case(
        "a frame no Initial may hold",
        "A STREAM frame in an Initial is an error (RFC 9000 section 12.4).",
        |f| {
            let frames = [crypto(0, &hello(b"good.example")), vec![0x08, 0, 1, 2, 3]];
            talk(f, &[initial(ID, 0, &frames)])
        },
    ),
    case("an offset beyond any hello", "A bound, not memory.", |f| {
        talk(f, &[initial(ID, 0, &[crypto(1 << 20, b"x")]), simple(b"evil.example")])
    }),
    case("Retry, the same name", "The hello comes again with the token.", |f| {
        retried(f, b"good.example")
    }),
    case("Retry, another name", "The name of a connection does not change.", |f| {
        retried(f, b"evil.example")
    }),
    case("the same connection id with another hello", "Data at an offset may not change.", |f| {
        talk(f, &[simple(b"good.example"), initial(ID, 1, &[crypto(0, &hello(b"evil.example"))])])
    }),
    case("the same connection id in another version", "A new connection: judged anew.", |f| {
        let packet =
            Initial { version: V2, destination: ID, padded_to: 1200, ..Initial::default() };
        let evil = packet.seal(&crypto(0, &hello(b"evil.example"))).unwrap();
        talk(f, &[simple(b"good.example"), evil])
    }),
    case(
        "another connection id under the keys of the first",
        "The first connection goes on.",
        |f| {
            let packet = Initial {
                version: V1,
                destination: OTHER,
                keyed_by: Some(ID),
                number: 1,
                padded_to: 1200,
                ..Initial::default()
            };
            let evil = packet.seal(&crypto(0, &hello(b"evil.example"))).unwrap();
            talk(f, &[simple(b"good.example"), evil])
        },
    ),
    case("a second connection from another port", "Another flow: it begins anew.", |f| {
        let mut talk = talk(f, &[simple(b"good.example")]);
        talk.tuple.src_port += 1;
        talk.datagram(Client, &short_header());
        talk.datagram(Client, &initial(OTHER, 0, &[crypto(0, &hello(b"evil.example"))]));
        talk
    }),
];
