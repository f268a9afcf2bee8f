//! Questions as clients write them, over UDP and TCP.

use crate::talk::{Family, From, Talk};
use crate::{Case, case};
use From::{Client, Server};
use lockgate::model::Protocol;

/// A query for one name, label by label.
pub(crate) fn query(labels: &[&[u8]]) -> Vec<u8> {
    message(1, &[question(labels)])
}

fn question(labels: &[&[u8]]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for label in labels {
        bytes.push(u8::try_from(label.len()).unwrap());
        bytes.extend_from_slice(label);
    }
    bytes.extend([0, 0, 1, 0, 1]);
    bytes
}

fn message(count: u8, questions: &[Vec<u8>]) -> Vec<u8> {
    [&[0x12, 0x34, 1, 0, 0, count, 0, 0, 0, 0, 0, 0][..], &questions.concat()].concat()
}

fn udp(family: Family, datagrams: &[Vec<u8>]) -> Talk {
    let mut talk = Talk::new(family, Protocol::UDP, 53);
    for datagram in datagrams {
        talk.datagram(Client, datagram);
    }
    talk
}

fn over_tcp(message: &[u8]) -> Vec<u8> {
    [&u16::try_from(message.len()).unwrap().to_be_bytes()[..], message].concat()
}

fn tcp(family: Family) -> Talk {
    let mut talk = Talk::new(family, Protocol::TCP, 53);
    talk.handshake();
    talk
}

/// One question to resolvers of which all but one name may be asked.
fn openly(family: Family, question: &[u8]) -> Talk {
    let mut talk = Talk::new(family, Protocol::UDP, 5300);
    talk.datagram(Client, question);
    talk
}

/// The same over TCP, in a message of which length and number start like this.
fn openly_like(family: Family, start: [u8; 4]) -> Talk {
    let [high, low, id @ ..] = start;
    let mut message = evil();
    message[..2].copy_from_slice(&id);
    message.resize(usize::from(u16::from_be_bytes([high, low])), 0);
    let mut talk = Talk::new(family, Protocol::TCP, 5300);
    talk.handshake();
    let bytes = over_tcp(&message);
    let (head, rest) = bytes.split_at(4);
    talk.send(Client, head).send_split(rest, 1400);
    talk
}

fn good() -> Vec<u8> {
    query(&[b"good", b"example"])
}

fn evil() -> Vec<u8> {
    query(&[b"evil", b"example"])
}

pub(crate) const CASES: &[Case] = &[
    case("an allowed question", "The control.", |f| udp(f, &[good()])),
    case("a denied question", "Refused alone; the flow goes on.", |f| udp(f, &[evil(), good()])),
    case("a denied question behind an allowed one", "Every message is judged.", |f| {
        udp(f, &[good(), evil(), good()])
    }),
    case("mixed case", "The same name (RFC 4343), the 0x20 trick of resolvers.", |f| {
        udp(f, &[query(&[b"gOoD", b"ExAmPlE"])])
    }),
    case("two questions, one denied", "Every question must be allowed.", |f| {
        let two = [question(&[b"good", b"example"]), question(&[b"evil", b"example"])];
        udp(f, &[message(2, &two)])
    }),
    case(
        "two questions, one counted",
        "Bytes behind the last record are no question to any resolver.",
        |f| {
            let two = [question(&[b"good", b"example"]), question(&[b"axfr", b"example"])];
            udp(f, &[message(1, &two)])
        },
    ),
    case("no question", "Nothing that could be allowed.", |f| udp(f, &[message(0, &[])])),
    case("a dot inside a label", "One label is not two.", |f| udp(f, &[query(&[b"good.example"])])),
    case("a NUL behind the name", "Another name.", |f| {
        udp(f, &[query(&[b"good", b"example\0", b"evil", b"example"])])
    }),
    case("a pointer at itself", "Pointers step back or are malformed.", |f| {
        let mut loops = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0xc0, 12];
        loops.extend([0, 1, 0, 1]);
        udp(f, &[loops])
    }),
    case("a pointer into the header", "Backwards, but not to a name.", |f| {
        let mut header = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 4];
        header.extend(b"evil\xc0\x00");
        header.extend([0, 1, 0, 1]);
        udp(f, &[header])
    }),
    case("a label type of long ago", "Obsolete (RFC 6891 section 5).", |f| {
        let mut odd = good();
        odd[12] = 0x41;
        udp(f, &[odd])
    }),
    case("an answer where a question is due", "Malformed from a client.", |f| {
        let mut answer = evil();
        answer[2] |= 0x80;
        udp(f, &[answer])
    }),
    case(
        "a malformed message, then a denied question",
        "One bad message does not end the reading.",
        |f| {
            let mut answer = good();
            answer[2] |= 0x80;
            udp(f, &[answer, evil(), b"evil, and no DNS at all".to_vec()])
        },
    ),
    case("no DNS at all on the port of DNS", "No question, so no rule for questions.", |f| {
        udp(f, &[b"evil, and no DNS at all".to_vec(), evil()])
    }),
    case("something else behind an allowed question", "A DNS flow stays one.", |f| {
        udp(f, &[good(), b"evil, and no DNS at all".to_vec()])
    }),
    case("an update", "Judged by its zone.", |f| {
        let mut update = evil();
        update[2] = 5 << 3;
        udp(f, &[update])
    }),
    case(
        "a question the server asks",
        "A reply is part of the flow; the client's next question is judged.",
        |f| {
            let mut talk = udp(f, &[good()]);
            talk.datagram(Server, &good());
            talk.datagram(Client, &evil());
            talk
        },
    ),
    case("over TCP, allowed", "The control.", |f| {
        let mut talk = tcp(f);
        talk.send(Client, &over_tcp(&good()));
        talk
    }),
    case("over TCP, one byte a segment", "Put together behind its length.", |f| {
        let mut talk = tcp(f);
        talk.send_split(&over_tcp(&evil()), 1);
        talk
    }),
    case(
        "over TCP, two messages in one segment",
        "Allowed and denied bytes in one segment: none goes.",
        |f| {
            let mut talk = tcp(f);
            talk.send(Client, &[over_tcp(&good()), over_tcp(&evil())].concat());
            talk
        },
    ),
    case(
        "over TCP, a length that hides a second message",
        "The length is believed by both: what is behind the last record is no message.",
        |f| {
            let hidden = [good(), over_tcp(&query(&[b"axfr", b"example"]))].concat();
            let mut talk = tcp(f);
            talk.send(Client, &over_tcp(&hidden));
            talk
        },
    ),
    case("over TCP, a length of a few bytes", "Too short for a header.", |f| {
        let mut talk = tcp(f);
        talk.send(Client, &[&over_tcp(&good())[..], &[0, 3, 1, 2, 3], &over_tcp(&evil())].concat());
        talk
    }),
    case("a denied question among all others", "The control.", |f| openly(f, &evil())),
    case("a reserved bit set", "Resolvers answer all the same, so it is a question.", |f| {
        let mut odd = evil();
        odd[3] = 0x40;
        openly(f, &odd)
    }),
    case("a question that says it failed", "Resolvers answer all the same.", |f| {
        let mut odd = evil();
        odd[3] = 3;
        openly(f, &odd)
    }),
    case("a record for every octet", "No resolver minds how many there are.", |f| {
        let mut many = evil();
        many[10..12].copy_from_slice(&600u16.to_be_bytes());
        for _ in 0..600 {
            many.extend([0, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0]);
        }
        let mut talk = Talk::new(f, Protocol::TCP, 5300);
        talk.handshake().send_split(&over_tcp(&many), 1400);
        talk
    }),
    case("more records counted than there are", "Some resolvers answer all the same.", |f| {
        let mut odd = evil();
        odd[10] = 0xff;
        openly(f, &odd)
    }),
    case("a name further on", "Some resolvers follow a pointer forwards.", |f| {
        let mut odd = message(1, &[]);
        odd.extend([0xc0, 18, 0, 1, 0, 1, 4]);
        odd.extend(b"evil\x07example\0");
        openly(f, &odd)
    }),
    case("over TCP, padded to start like a line", "A length may read as text.", |f| {
        openly_like(f, *b"hi\n ")
    }),
    case("over TCP, padded to start like SSH", "A length may read as a greeting.", |f| {
        openly_like(f, *b"SSH-")
    }),
    case("over TCP, padded to start like HTTP", "A length may read as a method.", |f| {
        openly_like(f, *b"GET ")
    }),
    case("over TCP, padded to start like TLS", "A length may read as a record.", |f| {
        openly_like(f, *b"\x16\x03\x01\0")
    }),
    case("over TCP, padded to start like SOCKS 5", "A length may read as a greeting.", |f| {
        openly_like(f, *b"\x05\x01\0\x05")
    }),
];
