//! Segments that the server never sees, sees differently, or sees in another order. The stream is
//! HTTP, so that what arrives can be read.

use crate::talk::{DYING, Family, From, Seg, Talk};
use crate::{Case, case};
use From::{Client, Server};
use lockgate::model::Protocol;
use lockgate::synth::packet::flag;

const GOOD: &[u8] = b"GET / HTTP/1.1\r\nHost: good.example\r\n\r\n";
const EVIL: &[u8] = b"GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n";
/// Where the two begin to differ.
const NAME: usize = 22;

fn open(family: Family) -> Talk {
    let mut talk = Talk::new(family, Protocol::TCP, 80);
    talk.handshake();
    talk
}

fn seg(payload: &[u8]) -> Seg<'_> {
    Seg { payload, ..Seg::default() }
}

/// A decoy segment, then the real request at the same place.
fn decoy(family: Family, change: fn(&mut Seg<'_>)) -> Talk {
    let mut talk = open(family);
    let mut fake = seg(GOOD);
    change(&mut fake);
    talk.put(Client, fake);
    talk.send(Client, EVIL);
    talk
}

/// A request that is answered; then a SYN `behind` the first one's number, an answer from behind what
/// the server sent, and another request where the first one stood.
fn reopened(family: Family, behind: i32) -> Talk {
    let mut talk = open(family);
    talk.send(Client, GOOD).ack(Server);
    let back = GOOD.len() as i32 + behind;
    talk.put(Client, Seg { at: -back - 1, flags: flag::SYN, ..Seg::default() });
    let acknowledged = (-back) as u32;
    let flags = flag::SYN | flag::ACK;
    talk.put(Server, Seg { at: -2000, flags, ack_ahead: acknowledged, ..Seg::default() });
    let answered = (-1999_i32) as u32;
    talk.put(Client, Seg { at: -back, flags: flag::ACK, ack_ahead: answered, ..Seg::default() });
    talk.put(Client, Seg { at: -back, ack_ahead: answered, ..seg(EVIL) });
    talk
}

pub(crate) const CASES: &[Case] = &[
    case("an allowed request", "The control: all of it arrives.", |f| {
        let mut talk = open(f);
        talk.send(Client, GOOD).ack(Server);
        talk
    }),
    case("a denied request", "The control: not one byte arrives.", |f| {
        let mut talk = open(f);
        talk.send(Client, EVIL);
        talk
    }),
    case(
        "a decoy with a wrong checksum",
        "It is dropped before it is read; the real request is what is judged.",
        |f| decoy(f, |fake| fake.broken_sum = true),
    ),
    case(
        "a decoy that dies on the way",
        "The engine cannot know how far it is to the server. The decoy is read and may travel; the real\n    \
         request changes bytes that were read, which ends the flow before it arrives.",
        |f| decoy(f, |fake| fake.hops = DYING),
    ),
    case(
        "a decoy with an old timestamp",
        "A server drops it (RFC 7323 section 5.3). What was read and what comes next disagree.",
        |f| {
            let mut talk = open(f);
            talk.put(Client, Seg { stamp: talk.fresh(), flags: flag::ACK, ..Seg::default() });
            talk.put(Client, Seg { stamp: Some(1), ..seg(GOOD) });
            let stamp = talk.fresh();
            talk.put(Client, Seg { stamp, ..seg(EVIL) });
            talk
        },
    ),
    case("a decoy behind the window", "Out of the window it is neither read nor forwarded.", |f| {
        decoy(f, |fake| fake.at = 100_000)
    }),
    case(
        "a decoy before the window",
        "Older than anything a receiver may still take: neither read nor forwarded.",
        |f| decoy(f, |fake| fake.at = -100_000),
    ),
    case(
        "a decoy without ACK",
        "A segment of an open connection has ACK (RFC 9293 section 3.10.7.4); receivers drop it.",
        |f| decoy(f, |fake| fake.flags = flag::PSH),
    ),
    case(
        "a decoy that acknowledges what was never sent",
        "Receivers drop it (RFC 9293 section 3.10.7.4), and so does the engine.",
        |f| decoy(f, |fake| fake.ack_ahead = 5_000),
    ),
    case("a decoy with impossible flags", "SYN and FIN in one segment are no TCP.", |f| {
        decoy(f, |fake| fake.flags = flag::SYN | flag::FIN | flag::ACK)
    }),
    case("a request inside a RST", "Nobody reads what a RST carries, so nobody allowed it.", |f| {
        let mut talk = open(f);
        talk.put(Client, Seg { flags: flag::RST | flag::ACK, ..seg(EVIL) });
        talk
    }),
    case(
        "a decoy inside a RST",
        "Not a byte of it goes; for the engine the connection is over.",
        |f| decoy(f, |fake| fake.flags = flag::RST | flag::ACK),
    ),
    case(
        "a decoy on the SYN",
        "Data on a SYN is read from its first byte; other data later differs.",
        |f| {
            let mut talk = Talk::new(f, Protocol::TCP, 80);
            talk.syn(GOOD).syn_ack().ack(Client).send(Client, EVIL);
            talk
        },
    ),
    case("a denied request on the SYN", "Decided before it travels; the SYN does not.", |f| {
        let mut talk = Talk::new(f, Protocol::TCP, 80);
        talk.syn(EVIL).syn_ack().ack(Client).send(Client, EVIL);
        talk
    }),
    case(
        "half a request on the SYN, the rest behind",
        "Data that does not decide is refused on a SYN; the client comes again without.",
        |f| {
            let mut talk = Talk::new(f, Protocol::TCP, 80);
            talk.syn(&GOOD[..NAME]);
            talk.syn(&[]);
            talk
        },
    ),
    case(
        "half a request on a SYN in fragments",
        "As on a SYN that came whole: all of its fragments are refused, and none is kept.",
        |f| {
            let mut talk = Talk::new(f, Protocol::TCP, 80);
            let whole = talk.segment(Client, Seg { flags: flag::SYN, ..seg(&GOOD[..NAME]) });
            let body = talk.body(&whole).to_vec();
            for id in [1, 2] {
                talk.fragment(id, 0, true, &body[..24]).fragment(id, 24, false, &body[24..]);
                talk.syn(&[]);
                talk.advance(Client, u32::MAX as usize);
            }
            talk.advance(Client, 1).syn_ack().ack(Client).send(Client, GOOD);
            talk
        },
    ),
    case(
        "urgent data",
        "Whether the urgent byte is part of the stream is the receiver's choice.",
        |f| {
            let mut talk = open(f);
            talk.put(Client, Seg { flags: flag::ACK | flag::URG, ..seg(GOOD) });
            talk.advance(Client, GOOD.len()).send(Client, EVIL);
            talk
        },
    ),
    case(
        "an overlap that changes the name",
        "Half a request is held; the next segment disagrees about its end.",
        |f| {
            let mut talk = open(f);
            talk.put(Client, seg(&GOOD[..NAME + 4]));
            talk.put(Client, Seg { at: NAME as i32, ..seg(&EVIL[NAME..]) });
            talk
        },
    ),
    case(
        "an overlap behind a gap",
        "Bytes behind the gap are kept and compared; two copies disagree.",
        |f| {
            let mut talk = open(f);
            talk.put(Client, Seg { at: NAME as i32, ..seg(&GOOD[NAME..]) });
            talk.put(Client, Seg { at: NAME as i32, ..seg(&EVIL[NAME..]) });
            talk.put(Client, seg(&GOOD[..NAME]));
            talk
        },
    ),
    case(
        "an overlap when the gap closes",
        "The segment that closes the gap disagrees with what was kept behind it.",
        |f| {
            let mut talk = open(f);
            talk.put(Client, Seg { at: NAME as i32, ..seg(&GOOD[NAME..]) });
            talk.put(Client, seg(EVIL));
            talk
        },
    ),
    case(
        "a retransmission that changes what was allowed",
        "Until the server acknowledges them, inspected bytes may not change.",
        |f| {
            let mut talk = open(f);
            talk.put(Client, seg(GOOD)).put(Client, seg(EVIL));
            talk
        },
    ),
    case(
        "a retransmission of acknowledged bytes",
        "It draws the acknowledgement that was lost; the server ignores the bytes.",
        |f| {
            let mut talk = open(f);
            talk.send(Client, GOOD).ack(Server);
            let back = -(GOOD.len() as i32);
            talk.put(Client, Seg { at: back, ..seg(GOOD) });
            talk
        },
    ),
    case("an exact retransmission of held bytes", "Held once, sent once.", |f| {
        let mut talk = open(f);
        talk.put(Client, seg(&GOOD[..NAME])).put(Client, seg(&GOOD[..NAME]));
        talk.advance(Client, NAME).send(Client, &GOOD[NAME..]);
        talk
    }),
    case("one byte a segment, allowed", "The name does not depend on segmentation.", |f| {
        let mut talk = open(f);
        talk.send_split(GOOD, 1);
        talk
    }),
    case("one byte a segment, denied", "Nor does the denial.", |f| {
        let mut talk = open(f);
        talk.send_split(EVIL, 1);
        talk
    }),
    case(
        "segments backwards, allowed",
        "Put in order, then judged; they leave as they came.",
        |f| {
            let mut talk = open(f);
            for start in (0..GOOD.len()).step_by(5).rev() {
                let part = &GOOD[start..GOOD.len().min(start + 5)];
                talk.put(Client, Seg { at: start as i32, ..seg(part) });
            }
            talk
        },
    ),
    case("segments backwards, denied", "Put in order, then judged.", |f| {
        let mut talk = open(f);
        for start in (0..EVIL.len()).step_by(5).rev() {
            let part = &EVIL[start..EVIL.len().min(start + 5)];
            talk.put(Client, Seg { at: start as i32, ..seg(part) });
        }
        talk
    }),
    case(
        "a byte in front of the stream",
        "At the SYN's own place, or before: none of the stream's, and it does not travel.",
        |f| {
            let mut talk = open(f);
            talk.put(Client, Seg { at: -1, flags: flag::ACK, ..seg(b"X") });
            talk.put(Client, Seg { at: -38, flags: flag::ACK, ..seg(EVIL) });
            talk.send(Client, EVIL);
            talk
        },
    ),
    case(
        "a RST that dies on the way, then the request",
        "For the engine the connection is over; what comes after is dropped, not believed.",
        |f| {
            let mut talk = open(f);
            talk.send(Client, GOOD).ack(Server);
            talk.put(Client, Seg { flags: flag::RST, hops: DYING, ..Seg::default() });
            talk.send(Client, EVIL);
            talk
        },
    ),
    case(
        "a RST off the edge, then the request",
        "Doubtful resets end nothing; every request is still judged.",
        |f| {
            let mut talk = open(f);
            talk.send(Client, GOOD).ack(Server);
            talk.put(Client, Seg { at: 9, flags: flag::RST, ..Seg::default() });
            talk.send(Client, EVIL);
            talk
        },
    ),
    case(
        "a RST far outside the window, then the request",
        "Dropped, and the request judged.",
        |f| {
            let mut talk = open(f);
            talk.put(Client, Seg { at: 1 << 20, flags: flag::RST, ..Seg::default() });
            talk.send(Client, EVIL);
            talk
        },
    ),
    case("a FIN that dies on the way, then the request", "Nothing comes behind a FIN.", |f| {
        let mut talk = open(f);
        talk.send(Client, GOOD).ack(Server);
        talk.put(Client, Seg { flags: flag::FIN | flag::ACK, hops: DYING, ..Seg::default() });
        talk.advance(Client, 1).send(Client, EVIL);
        talk
    }),
    case(
        "an ACK ahead of the stream, then the request",
        "Where a stream begins follows from its SYN; no later segment moves that.",
        |f| {
            let mut talk = open(f);
            talk.put(Client, Seg { at: 500, flags: flag::ACK, ..Seg::default() });
            talk.send(Client, EVIL);
            talk
        },
    ),
    case("a FIN ahead of the stream, then the request", "The same with a FIN.", |f| {
        let mut talk = open(f);
        talk.put(Client, Seg { at: 500, flags: flag::FIN | flag::ACK, ..Seg::default() });
        talk.send(Client, EVIL);
        talk
    }),
    case("an ACK ahead of the stream, then an allowed request", "It does no harm either.", |f| {
        let mut talk = open(f);
        talk.put(Client, Seg { at: 500, flags: flag::ACK, ..Seg::default() });
        talk.send(Client, GOOD);
        talk
    }),
    case(
        "a second SYN, the request behind the first",
        "A SYN on a live flow is a candidate until its answer; the flow goes on being judged.",
        |f| {
            let mut talk = open(f);
            talk.put(Client, Seg { at: 50_000, flags: flag::SYN, ..Seg::default() });
            talk.send(Client, EVIL);
            talk
        },
    ),
    case(
        "a new connection on the same ports",
        "Behind RST and SYN it is a new flow and judged from its first byte.",
        |f| {
            let mut talk = open(f);
            talk.send(Client, GOOD).ack(Server);
            talk.put(Client, Seg { flags: flag::RST, ..Seg::default() });
            talk.advance(Client, 70_000).handshake().send(Client, EVIL);
            talk
        },
    ),
    case(
        "the same SYN again, answered anew",
        "The server forgot the connection unseen and the client opens another with the number of the\n    \
         first. Its bytes are no retransmissions: it is a new flow.",
        |f| reopened(f, 0),
    ),
    case(
        "an earlier SYN, answered anew",
        "The same with another number; the answer tells that the server took it.",
        |f| reopened(f, 5),
    ),
    case(
        "both sides open at once",
        "Simultaneous open changes nothing about what is judged.",
        |f| {
            let mut talk = Talk::new(f, Protocol::TCP, 80);
            talk.syn(&[]);
            talk.put(Server, Seg { flags: flag::SYN, ..Seg::default() });
            talk.advance(Server, 1);
            talk.put(Client, Seg { at: -1, flags: flag::SYN | flag::ACK, ..Seg::default() });
            talk.put(Server, Seg { at: -1, flags: flag::SYN | flag::ACK, ..Seg::default() });
            talk.send(Client, EVIL);
            talk
        },
    ),
    case(
        "a request before the handshake is complete",
        "Data in front of the SYN+ACK fits no state.",
        |f| {
            let mut talk = Talk::new(f, Protocol::TCP, 80);
            talk.syn(&[]).send(Client, EVIL);
            talk
        },
    ),
    case(
        "a request without a handshake",
        "The middle of an unknown flow: `midstream` denies.",
        |f| {
            let mut talk = Talk::new(f, Protocol::TCP, 80);
            talk.send(Client, GOOD).send(Client, EVIL);
            talk
        },
    ),
    case("never a whole request", "Undecided at the end of `pending_timeout`.", |f| {
        let mut talk = open(f);
        talk.send(Client, &EVIL[..NAME + 4]);
        talk
    }),
    case("a FIN behind half a request", "The FIN queues behind held data; neither leaves.", |f| {
        let mut talk = open(f);
        talk.send(Client, &EVIL[..NAME + 4]);
        talk.put(Client, Seg { flags: flag::FIN | flag::ACK, ..Seg::default() });
        talk
    }),
];
