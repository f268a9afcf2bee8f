//! Packets cut into IP fragments, as receivers differ about.

use crate::talk::{Family, From, Seg, Talk};
use crate::{Case, case};
use lockgate::model::Protocol;

const GOOD: &[u8] = b"GET /0123456789 HTTP/1.1\r\nHost: good.example\r\n\r\n";
const EVIL: &[u8] = b"GET /0123456789 HTTP/1.1\r\nHost: evil.example\r\n\r\n";
/// A place inside the segment, header included, before the name.
const CUT: usize = 48;

fn open(family: Family) -> Talk {
    let mut talk = Talk::new(family, Protocol::TCP, 80);
    talk.handshake();
    talk
}

fn body(talk: &Talk, payload: &[u8]) -> Vec<u8> {
    let whole = talk.segment(From::Client, Seg { payload, ..Seg::default() });
    talk.body(&whole).to_vec()
}

pub(crate) const CASES: &[Case] = &[
    case(
        "a decoy with a wrong checksum",
        "Fragments are put together before they are believed: the sum is that of the whole.",
        |f| {
            let mut talk = open(f);
            let fake = Seg { payload: GOOD, broken_sum: true, ..Seg::default() };
            let whole = talk.segment(From::Client, fake);
            let body = talk.body(&whole).to_vec();
            talk.fragment(9, 0, true, &body[..24]).fragment(9, 24, false, &body[24..]);
            talk.send(From::Client, EVIL);
            talk
        },
    ),
    case("two fragments, allowed", "Put together, judged once, sent as they came.", |f| {
        let mut talk = open(f);
        talk.fragments(GOOD, &[0, CUT], &[0, 1]);
        talk
    }),
    case("two fragments, denied", "Put together and judged.", |f| {
        let mut talk = open(f);
        talk.fragments(EVIL, &[0, CUT], &[0, 1]);
        talk
    }),
    case("the last fragment first", "Nothing travels before the first fragment was judged.", |f| {
        let mut talk = open(f);
        talk.fragments(EVIL, &[0, CUT], &[1, 0]);
        talk
    }),
    case(
        "eight bytes a fragment",
        "A first fragment without the whole TCP header is refused (RFC 1858).",
        |f| {
            let mut talk = open(f);
            let len = body(&talk, EVIL).len();
            let cuts: Vec<usize> = (0..len).step_by(8).collect();
            let order: Vec<usize> = (0..cuts.len()).collect();
            talk.fragments(EVIL, &cuts, &order);
            talk
        },
    ),
    case("a name over several fragments", "Judged as one packet.", |f| {
        let mut talk = open(f);
        talk.fragments(EVIL, &[0, 24, 32, 48, 56], &[0, 2, 1, 4, 3]);
        talk
    }),
    case(
        "overlapping fragments that disagree",
        "No two fragments may share a byte (RFC 5722); the whole packet goes.",
        |f| {
            let mut talk = open(f);
            let (good, evil) = (body(&talk, GOOD), body(&talk, EVIL));
            talk.fragment(9, 0, true, &good[..56]);
            talk.fragment(9, CUT, false, &evil[CUT..]);
            talk.fragment(9, 56, false, &good[56..]);
            talk
        },
    ),
    case(
        "the name twice, once good, once evil",
        "A second copy of a fragment is dropped; what was put together is what travels.",
        |f| {
            let mut talk = open(f);
            let (good, evil) = (body(&talk, GOOD), body(&talk, EVIL));
            talk.fragment(9, CUT, false, &good[CUT..]);
            talk.fragment(9, CUT, false, &evil[CUT..]);
            talk.fragment(9, 0, true, &good[..CUT]);
            talk
        },
    ),
    case("two ends", "Fragments that disagree about the end are refused.", |f| {
        let mut talk = open(f);
        let evil = body(&talk, EVIL);
        talk.fragment(9, CUT, false, &evil[CUT..]);
        talk.fragment(9, CUT + 64, false, &evil[CUT..]);
        talk.fragment(9, 0, true, &evil[..CUT]);
        talk
    }),
    case("a fragment without its first", "It waits, and goes nowhere.", |f| {
        let mut talk = open(f);
        let evil = body(&talk, EVIL);
        talk.fragment(9, CUT, false, &evil[CUT..]);
        talk
    }),
    case("a fragment of no multiple of eight", "Only the last may have such a length.", |f| {
        let mut talk = open(f);
        let evil = body(&talk, EVIL);
        talk.fragment(9, 0, true, &evil[..CUT + 3]);
        talk.fragment(9, CUT, false, &evil[CUT..]);
        talk
    }),
    case("a DNS question in fragments", "Datagrams too are judged whole.", |f| {
        let mut talk = Talk::new(f, Protocol::UDP, 53);
        let question = crate::dns::query(&[b"evil", b"example"]);
        talk.datagram(From::Client, &question);
        let whole = talk.packets.pop().unwrap();
        let body = talk.body(&whole).to_vec();
        talk.fragment(9, 16, false, &body[16..]);
        talk.fragment(9, 0, true, &body[..16]);
        talk
    }),
];
