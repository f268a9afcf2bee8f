//! Connections of a client, whole, cut at every byte, and damaged.

use super::frame::{
    CONTINUATION, DATA, HEADERS, PING, PRIORITY, PRIORITY_UPDATE, PRIORITY_UPDATE_LIMIT_BYTES,
    SETTINGS, WINDOW_UPDATE,
};
use super::*;
use proptest::prelude::*;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// HEADERS of a request for `host`, which goes into the dynamic table.
fn request(stream: u32, host: &str) -> Vec<u8> {
    let block = [&b"\x82\x86\x84\x41"[..], &[host.len() as u8], host.as_bytes()].concat();
    frame(HEADERS, 4, stream, &block)
}

fn opening() -> Vec<u8> {
    [PREFACE.to_vec(), frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 100])].concat()
}

/// Feeds a client's bytes cut at `cuts`, as the engine does; the hosts of the messages, where each
/// head ended, and how it came out.
fn feed(bytes: &[u8], cuts: &[usize]) -> (Vec<(String, usize)>, Result<usize, Reason>) {
    let (mut reader, mut facts, mut seen) = (Http2Reader::new(), Facts::default(), Vec::new());
    let mut done = 0;
    for &cut in cuts.iter().chain([&bytes.len()]) {
        while done < cut {
            let progress = reader.read(Direction::Original, &bytes[done..cut], &mut facts);
            done += progress.consumed;
            assert!(done <= cut);
            match progress.outcome {
                Outcome::Message => {
                    let name = facts.domain.known().map_or("-".to_owned(), |d| d.to_string());
                    seen.push((name, done));
                }
                Outcome::Fault(reason) => return (seen, Err(reason)),
                Outcome::Opening => assert!(seen.is_empty() && progress.consumed > 0),
                Outcome::More if progress.consumed > 0 => assert!(!seen.is_empty()),
                Outcome::More => break,
                other => panic!("{other:?}"),
            }
        }
    }
    (seen, Ok(done))
}

fn hosts(frames: &[Vec<u8>]) -> (Vec<String>, Option<Reason>) {
    let (seen, end) = feed(&[opening(), frames.concat()].concat(), &[]);
    (seen.into_iter().map(|s| s.0).collect(), end.err())
}

/// A connection with everything in it, and the hosts it asks for.
fn connection() -> (Vec<u8>, Vec<&'static str>) {
    let block = b"\x82\x86\x84\x41\x8c\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff";
    let frames = [
        opening(),
        frame(WINDOW_UPDATE, 0, 0, &[0, 1, 0, 0]),
        frame(PRIORITY, 0, 3, &[0; 5]),
        request(1, "A.example:80"),
        frame(SETTINGS, 1, 0, b""),
        frame(DATA, 0, 1, &[0x55; 300]),
        frame(HEADERS, 0x28, 5, &[&[2, 0, 0, 0, 0, 16][..], &block[..4], &[0, 0]].concat()),
        frame(CONTINUATION, 0, 5, b""),
        frame(CONTINUATION, 4, 5, &block[4..]),
        frame(DATA, 1, 5, b""),
        frame(HEADERS, 5, 1, b"\x00\x01x\x01y"),
        frame(0xbb, 7, 9, b"grease"),
        // Both names from the dynamic table, the later one first.
        frame(HEADERS, 5, 7, b"\x82\x86\x84\xbf"),
        frame(HEADERS, 5, 9, b"\x82\x86\x84\xbe"),
        frame(PING, 0, 0, &[0; 8]),
    ];
    (frames.concat(), vec!["a.example", "www.example.com", "a.example", "www.example.com"])
}

#[test]
fn every_request_is_named_whatever_stands_between() {
    let (bytes, names) = connection();
    let (seen, end) = feed(&bytes, &[]);
    assert_eq!(seen.into_iter().map(|s| s.0).collect::<Vec<_>>(), names);
    assert_eq!(end, Ok(bytes.len()));
}

#[test]
fn the_opening_passes_before_there_is_a_request() {
    let (mut reader, mut facts) = (Http2Reader::new(), Facts::default());
    let bytes = [opening(), request(1, "a")].concat();
    let len = opening().len();
    assert_eq!(reader.read(Direction::Original, &bytes[..len - 1], &mut facts), Progress::more(0));
    let progress = reader.read(Direction::Original, &bytes, &mut facts);
    assert_eq!(progress, Progress::new(len, Outcome::Opening));
    assert_eq!(facts.app, Fact::Known(App::Http));
    assert!(facts.domain.is_unknown());
    let progress = reader.read(Direction::Original, &bytes[len..], &mut facts);
    assert_eq!(progress, Progress::message(bytes.len() - len));
}

#[test]
fn the_opening_ends_at_its_limit() {
    let spare = OPENING_LIMIT_BYTES - opening().len();
    for (extra, fits) in [(spare - 1, true), (spare, true), (spare + 1, false)] {
        // SETTINGS have nine and a multiple of six, WINDOW_UPDATE thirteen, PING seventeen bytes.
        let pings = (0..10).find(|n| (extra - 9 - n * 17) % 6 == 0).unwrap();
        let settings = frame(SETTINGS, 0, 0, &vec![0; extra - 9 - pings * 17]);
        let pings = frame(PING, 0, 0, &[0; 8]).repeat(pings);
        let (seen, fault) = hosts(&[settings, pings, request(1, "a")]);
        assert_eq!(fault, (!fits).then_some(Reason::LimitInspection), "{extra}");
        assert_eq!(seen.len(), usize::from(fits));
    }
}

#[test]
fn a_priority_may_come_before_its_request() {
    for (len, fits) in [
        (3, false),
        (4, true),
        (PRIORITY_UPDATE_LIMIT_BYTES - 1, true),
        (PRIORITY_UPDATE_LIMIT_BYTES, true),
        (PRIORITY_UPDATE_LIMIT_BYTES + 1, false),
    ] {
        let update = [&[0, 0, 0, 1][..], &[b' '; 40]].concat();
        let update = &update[..len as usize];
        let (seen, fault) = hosts(&[frame(PRIORITY_UPDATE, 0, 0, update), request(1, "a")]);
        assert_eq!(fault, (!fits).then_some(Reason::Http2Malformed), "{len}");
        assert_eq!(seen.len(), usize::from(fits), "{len}");
        let other = frame(PRIORITY_UPDATE, 0, 1, update);
        assert_eq!(hosts(&[other]).1, Some(Reason::Http2Malformed), "on a stream");
    }
    let later = frame(PRIORITY_UPDATE, 0, 0, &[b'1'; 200]);
    assert_eq!(hosts(&[request(1, "a"), later, request(3, "b")]).0, ["a", "b"]);
}

#[test]
fn a_tunnel_nobody_can_look_into_is_refused() {
    let method = |name: &str, protocol: &[u8]| {
        let block = [&[0x02, name.len() as u8][..], name.as_bytes(), b"\x01\x01a", protocol];
        hosts(&[frame(HEADERS, 4, 1, &block.concat())])
    };
    assert_eq!(method("CONNECT", b""), (vec![], Some(Reason::OpaqueTunnel)));
    assert_eq!(method("CONNECX", b""), (vec!["a".to_owned()], None));
    let websocket = b"\x00\x09:protocol\x09websocket";
    assert_eq!(method("CONNECT", websocket), (vec!["a".to_owned()], None), "as over HTTP/1");
    let other = b"\x00\x09:protocol\x0bconnect-udp";
    assert_eq!(method("CONNECT", other), (vec![], Some(Reason::OpaqueTunnel)));
}

#[test]
fn what_is_no_http2_is_malformed() {
    for bytes in [&b"GET / HTTP/1.1\r\n"[..], b"PRI * HTTP/2.0\r\n\r\nXX", b"PRX"] {
        assert_eq!(feed(bytes, &[]), (vec![], Err(Reason::Http2Malformed)));
    }
    for first in [frame(PING, 0, 0, &[0; 8]), frame(SETTINGS, 1, 0, b""), request(1, "a")] {
        let bytes = [PREFACE.to_vec(), first].concat();
        assert_eq!(feed(&bytes, &[]), (vec![], Err(Reason::Http2Malformed)));
    }
    for frames in [
        vec![frame(DATA, 0, 1, b"x")],
        vec![frame(0xbb, 0, 0, b"x")],
        vec![frame(CONTINUATION, 4, 1, b"")],
        vec![request(2, "a")],
        vec![frame(HEADERS, 4, 1, b"\x82\x86"), request(1, "b")],
        vec![frame(HEADERS, 0, 1, b"\x82"), frame(DATA, 0, 1, b"x")],
    ] {
        assert_eq!(hosts(&frames).1, Some(Reason::Http2Malformed), "{frames:02x?}");
    }
    assert_eq!(hosts(&[request(1, "a b")]), (vec![], Some(Reason::MalformedName)));
}

#[test]
fn any_cut_of_the_bytes_gives_the_same_messages() {
    let (bytes, _) = connection();
    let whole = feed(&bytes, &[]);
    for cut in 1..bytes.len() {
        assert_eq!(feed(&bytes, &[cut]), whole, "{cut}");
    }
    assert_eq!(feed(&bytes, &(1..bytes.len()).collect::<Vec<_>>()), whole);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn damaged_bytes_never_panic_and_fail_alike_however_cut(
        damage in prop::collection::vec((0_usize..700, any::<u8>()), 0..4),
        cuts in prop::collection::vec(1_usize..700, 0..8),
    ) {
        let (mut bytes, _) = connection();
        for (at, byte) in damage {
            let at = at % bytes.len();
            bytes[at] = byte;
        }
        let mut cuts: Vec<_> = cuts.into_iter().filter(|&c| c < bytes.len()).collect();
        cuts.sort_unstable();
        prop_assert_eq!(feed(&bytes, &cuts), feed(&bytes, &[]));
    }
}

#[test]
fn no_block_makes_the_decoder_panic() {
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = move || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        (random >> 33) as usize
    };
    for _ in 0..20_000 {
        let mut decoder = Decoder::new();
        for _ in 0..3 {
            let mut block = b"\x82\x86\x84\x41\x8c\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff\x58\x08no-cache".to_vec();
            for _ in 0..next() % 4 {
                let at = next() % block.len();
                block[at] = next() as u8;
            }
            block.truncate(next() % 40);
            let _ = decoder.decode(&block).map(|request| request.asked().is_ok());
        }
    }
}
