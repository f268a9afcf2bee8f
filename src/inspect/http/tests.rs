//! HTTP/1 as smuggling tests do it: tables of requests that recipients read differently, every
//! split of the bytes, and bytes at random.

use super::*;
use crate::model::Fact;
use proptest::prelude::*;

/// Feeds a client's bytes cut at `cuts`, as the engine does; the hosts of the messages, where each
/// head ended, and how it came out.
fn feed(bytes: &[u8], cuts: &[usize]) -> (Vec<(String, usize)>, Result<usize, Reason>) {
    let (mut reader, mut facts, mut seen) = (HttpReader::new(), Facts::default(), Vec::new());
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
                Outcome::More if progress.consumed > 0 => {}
                Outcome::More => break,
                other => panic!("{other:?}"),
            }
        }
    }
    (seen, Ok(done))
}

fn hosts(bytes: &[u8]) -> (Vec<String>, Option<Reason>) {
    let (seen, end) = feed(bytes, &[]);
    (seen.into_iter().map(|s| s.0).collect(), end.err())
}

#[test]
fn every_request_of_a_connection_is_named() {
    let body = "POST /p HTTP/1.1\r\nhOsT:B.example:8080\r\nContent-Length: 3\r\n\r\nabc";
    let chunks = "PUT /c HTTP/1.1\r\nTransfer-Encoding: gzip, Chunked\r\nHost: c.example.\r\n\r\n\
        3;e=1\r\nabc\r\n0\r\nX-T: 1\r\n\r\n";
    let all = format!(
        "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n{body}{chunks}\r\n\
         OPTIONS * HTTP/1.0\r\n\r\nGET http://d.example/ HTTP/1.1\r\nHost: d.example:80\r\n\r\n\
         GET / HTTP/1.1\r\nHost: 192.0.2.1\r\n\r\nGET / HTTP/1.1\r\nHost:\r\n\r\n"
    );
    let (seen, fault) = hosts(all.as_bytes());
    assert_eq!(seen, ["a.example", "b.example", "c.example", "-", "d.example", "-", "-"]);
    assert_eq!(fault, None);
}

#[test]
fn bytes_are_consumed_as_they_belong_to_messages() {
    let head = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n";
    let bytes = format!("{head}12345\r\nGET / HTTP/1.1\r\nHost: b\r\n\r\n");
    let (mut reader, mut facts) = (HttpReader::new(), Facts::default());
    let mut read = |from: usize, to: usize| {
        reader.read(Direction::Original, &bytes.as_bytes()[from..to], &mut facts)
    };
    let at = head.len();
    assert_eq!(read(0, at - 1), Progress::more(0));
    assert_eq!(read(0, at + 2), Progress::message(at));
    assert_eq!(read(at, at + 2), Progress::more(2));
    assert_eq!(read(at + 2, bytes.len()), Progress::more(3));
    assert_eq!(read(at + 5, bytes.len()), Progress::more(2));
    assert_eq!(read(at + 7, bytes.len() - 1), Progress::more(0));
    assert_eq!(read(at + 7, bytes.len()), Progress::message(bytes.len() - at - 7));
}

/// Heads behind `GET / HTTP/1.1`, without their last empty line, and their lines joined with CR LF.
#[test]
fn ambiguous_fields_are_refused() {
    for fields in [
        "Host: a\r\nHost: a",
        "Host: a\r\nhost: b",
        "Host : a",
        "Host\t: a",
        " Host: a",
        "Host: a\r\n Host: b",
        "Host: a\r\n\tb",
        "Host:\ta",
        "Host: a:b",
        "Host: a\r\nX",
        "Host: a\r\n: x",
        "Host: a\r\nX\0: y",
        "Host: a\r\nX: \0",
        "Host: a\r\nX: y\rHost: b",
        "Host: a\r\nX: y\nHost: b",
        "Host: a\r\nX: y\u{b}Host: b",
        "Host: a\r\nContent-Length: 1\r\nContent-Length: 1",
        "Host: a\r\nContent-Length: 1\r\nContent-Length: 2",
        "Host: a\r\nContent-Length: 1, 1",
        "Host: a\r\nContent-Length: +1",
        "Host: a\r\nContent-Length: -1",
        "Host: a\r\nContent-Length: 0x1",
        "Host: a\r\nContent-Length: 1 1",
        "Host: a\r\nContent-Length: \t1",
        "Host: a\r\nContent-Length:",
        "Host: a\r\nContent-Length: 9223372036854775808",
        "Host: a\r\nContent-Length: 18446744073709551617",
        "Host: a\r\nContent-Length : 1",
        "Host: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked",
        "Host: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 4",
        "Host: a\r\nTransfer-Encoding: xchunked",
        "Host: a\r\nTransfer-Encoding : chunked",
        "Host: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: x",
        "Host: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Host: a\r\nTransfer-Encoding:\tchunked",
        "Host: a\r\n Transfer-Encoding: chunked",
        "Host: a\r\nX: X\nTransfer-Encoding: chunked",
        "Host: a\r\nTransfer-Encoding\r\n: chunked",
        "Host: a\r\nTransfer-Encoding: identity",
        "Host: a\r\nTransfer-Encoding: identity, chunked",
        "Host: a\r\nTransfer-Encoding: chunked, identity",
        "Host: a\r\nTransfer-Encoding: chunked, chunked",
        "Host: a\r\nTransfer-Encoding: \"chunked\"",
        "Host: a\r\nTransfer-Encoding: chunked;x=y",
        "Host: a\r\nTransfer-Encoding: ,chunked",
        "Host: a\r\nTransfer-Encoding: gzip",
        "Host: a\r\nTransfer-Encoding:",
        "Host: a\r\nTransfer-Encoding: chunked\u{b}",
    ] {
        let head = format!("POST / HTTP/1.1\r\n{fields}\r\n\r\n");
        assert_eq!(hosts(head.as_bytes()), (vec![], Some(Reason::HttpMalformed)), "{fields:?}");
    }
}

/// RFC 9110 section 5.6.3 allows a TAB around every value; recipients differ in what they take off.
#[test]
fn a_tab_is_refused_in_fields_that_say_where_a_request_goes_and_taken_in_others() {
    for (fields, taken) in [
        ("Host: a \r\nX:\ty\t", true),
        ("Host: a\t", false),
        ("Host:\ta", false),
        ("Host: a\r\nX-Apigw-Api-Id: b\t", false),
        ("Host: a\r\nContent-Length: 0\t", false),
        ("Host: a\r\nTransfer-Encoding: chunked\t", false),
    ] {
        let fault = hosts(format!("POST / HTTP/1.1\r\n{fields}\r\n\r\n").as_bytes()).1;
        assert_eq!(fault, (!taken).then_some(Reason::HttpMalformed), "{fields:?}");
    }
}

#[test]
fn ambiguous_request_lines_are_refused() {
    for line in [
        "GET /",
        "GET / HTTP/0.9",
        "GET / HTTP/1.2",
        "GET / HTTP/2.0",
        "GET / http/1.1",
        "GET  / HTTP/1.1",
        "GET /  HTTP/1.1",
        "GET / HTTP/1.1 ",
        "GET\t/ HTTP/1.1",
        "GET /a b HTTP/1.1",
        "GET /a\tb HTTP/1.1",
        " GET / HTTP/1.1",
        "GET/ HTTP/1.1",
        "GET HTTP/1.1",
        "GET a HTTP/1.1",
        "GET a.example/ HTTP/1.1",
        "GET *x HTTP/1.1",
        "GET \\\\a\\ HTTP/1.1",
        "G(T / HTTP/1.1",
        "GET / HTTP/1.1\rX",
        "GET http://b/ HTTP/1.1",
        "GET http://a@b/ HTTP/1.1",
        "GET http:///x HTTP/1.1",
        "GET http://192.0.2.1/ HTTP/1.1",
        "CONNECT b:443 HTTP/1.1",
        "CONNECT a:b HTTP/1.1",
        "ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEFG / HTTP/1.1",
    ] {
        let head = format!("{line}\r\nHost: a\r\n\r\n");
        assert_eq!(hosts(head.as_bytes()), (vec![], Some(Reason::HttpMalformed)), "{line:?}");
    }
}

#[test]
fn names_that_are_none_are_malformed_names() {
    for host in ["a b", "a,b", "u@a", "a..b", "a/b", "%s", "b\u{fc}cher.example", "a\\b"] {
        let head = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
        assert_eq!(hosts(head.as_bytes()), (vec![], Some(Reason::MalformedName)), "{host:?}");
    }
}

#[test]
fn lines_ended_by_lf_alone_are_read_and_mixed_ones_refused() {
    assert_eq!(hosts(b"GET / HTTP/1.0\nHost: a\n\n").0, ["a"]);
    for bytes in [
        &b"GET / HTTP/1.1\r\nHost: a\n\r\n"[..],
        b"GET / HTTP/1.1\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n\n",
        b"GET / HTTP/1.1\nHost: a\n\r\n",
    ] {
        assert_eq!(hosts(bytes), (vec![], Some(Reason::HttpMalformed)));
    }
}

#[test]
fn what_follows_a_message_must_be_http() {
    let first = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    for rest in ["\x16\x03\x01", "SSH-2.0-x\r\n", "\0", "a(", "\r\n\r\n\r\n\r\n\r\n"] {
        let (seen, fault) = hosts(format!("{first}{rest}").as_bytes());
        assert_eq!((seen.len(), fault), (1, Some(Reason::HttpMalformed)), "{rest:?}");
    }
}

#[test]
fn a_fault_stays_and_takes_the_name_away() {
    let (mut reader, mut facts) = (HttpReader::new(), Facts::default());
    let mut read = |bytes: &[u8]| {
        let outcome = reader.read(Direction::Original, bytes, &mut facts).outcome;
        (outcome, facts.domain.clone(), reader.wants())
    };
    read(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let fault = Outcome::Fault(Reason::HttpMalformed);
    assert_eq!(read(b"\0"), (fault, Fact::Absent, Wants::NOTHING));
    assert_eq!(read(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").0, fault);
}

#[test]
fn heads_end_at_their_limits() {
    for (fields, fits) in [(255, true), (256, true), (257, false)] {
        let head = format!("GET / HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(fields));
        let fault = (!fits).then_some(Reason::LimitInspection);
        assert_eq!(hosts(head.as_bytes()).1, fault, "{fields}");
    }
    for (len, fits) in [(65_535, true), (65_536, true), (65_537, false)] {
        let head = format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "y".repeat(len - 23));
        assert_eq!(head.len(), len);
        let fault = (!fits).then_some(Reason::LimitInspection);
        assert_eq!(hosts(head.as_bytes()).1, fault, "{len}");
    }
    for (len, fits) in [(31, true), (32, true), (33, false)] {
        let head = format!("{} / HTTP/1.1\r\n\r\n", "M".repeat(len));
        assert_eq!(hosts(head.as_bytes()).1.is_none(), fits, "{len}");
    }
    for (lines, fits) in [(3, true), (4, true), (5, false)] {
        let request = "GET / HTTP/1.1\r\n\r\n";
        let empty = "\r\n".repeat(lines);
        for bytes in [format!("{empty}{request}"), format!("{request}{empty}{request}")] {
            assert_eq!(hosts(bytes.as_bytes()).1.is_none(), fits, "{lines}");
        }
    }
}

/// A reader that was given a client's bytes, and then a server's.
fn upgraded(client: &str, server: &str) -> (HttpReader, Progress) {
    let (mut reader, mut facts) = (HttpReader::new(), Facts::default());
    let first = reader.read(Direction::Original, client.as_bytes(), &mut facts);
    assert_eq!(first, Progress::message(client.len()));
    assert_eq!(reader.wants(), Wants::BOTH);
    let next = reader.read(Direction::Original, b"x", &mut facts);
    assert_eq!(next, Progress::more(0), "what follows waits for the answer");
    let progress = reader.read(Direction::Reply, server.as_bytes(), &mut facts);
    (reader, progress)
}

const UPGRADE: &str = "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: ";

#[test]
fn a_tunnel_is_a_new_protocol_once_the_server_agrees() {
    let client = "CONNECT b.example:443 HTTP/1.1\r\nHost: b.example:443\r\n\r\n";
    let server = "HTTP/1.1 200 ok\r\n\r\n";
    let (reader, progress) = upgraded(client, &format!("{server}tunnel"));
    assert_eq!(progress, Progress::new(server.len(), Outcome::Switch));
    assert!(reader.wants().is_nothing());
}

#[test]
fn a_refused_tunnel_leaves_http_behind_it() {
    let client = "CONNECT b.example:443 HTTP/1.1\r\nHost: b.example:443\r\n\r\n";
    let server = "HTTP/1.1 407 x\r\nContent-Length: 2\r\n\r\n";
    let (mut reader, progress) = upgraded(client, &format!("{server}no"));
    assert_eq!(progress, Progress::more(server.len()));
    let mut facts = Facts::default();
    assert_eq!(reader.read(Direction::Reply, b"no", &mut facts), Progress::more(2));
    let again = reader.read(Direction::Original, client.as_bytes(), &mut facts);
    assert_eq!(again, Progress::message(client.len()));
    let agreed = reader.read(Direction::Reply, b"HTTP/1.1 200 ok\r\n\r\n", &mut facts);
    assert_eq!(agreed.outcome, Outcome::Switch);
}

#[test]
fn an_upgrade_is_what_the_server_makes_of_it() {
    let h2c = format!("{UPGRADE}h2c\r\n\r\n");
    let ws = format!("{UPGRADE}websocket\r\n\r\n");
    let agreed = "HTTP/1.1 101 x\r\nConnection: upgrade\r\nUpgrade: ";
    assert_eq!(upgraded(&h2c, &format!("{agreed}h2c\r\n\r\n")).1.outcome, Outcome::Switch);
    assert_eq!(upgraded(&ws, &format!("{agreed}websocket\r\n\r\n")).1.outcome, Outcome::Done);
    assert_eq!(upgraded(&ws, "HTTP/1.1 200 ok\r\n\r\n").1.outcome, Outcome::More);
    let garbage = upgraded(&ws, "SSH-2.0-x\r\n").1.outcome;
    assert_eq!(garbage, Outcome::Fault(Reason::HttpMalformed));
}

#[test]
fn an_upgrade_behind_other_requests_is_not_followed() {
    let (mut reader, mut facts) = (HttpReader::new(), Facts::default());
    let first = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let later = format!("{UPGRADE}websocket\r\n\r\n");
    reader.read(Direction::Original, first, &mut facts);
    assert_eq!(
        reader.read(Direction::Original, later.as_bytes(), &mut facts).outcome,
        Outcome::Message
    );
    assert_eq!(reader.wants(), Wants::ORIGINAL);
    let frame = reader.read(Direction::Original, b"\x81\x85abcd", &mut facts);
    assert_eq!(frame.outcome, Outcome::Fault(Reason::HttpMalformed));
}

#[test]
fn a_body_may_come_between_an_upgrade_and_its_answer() {
    let head = "POST / HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\nContent-Length: 2\r\n\r\n";
    let (mut reader, mut facts) = (HttpReader::new(), Facts::default());
    reader.read(Direction::Original, head.as_bytes(), &mut facts);
    let early = b"HTTP/1.1 101 x\r\n\r\n";
    assert_eq!(reader.read(Direction::Original, b"ab", &mut facts), Progress::more(2));
    assert_eq!(reader.read(Direction::Original, b"PRI", &mut facts), Progress::more(0));
    assert_eq!(reader.read(Direction::Reply, early, &mut facts).outcome, Outcome::Switch);
    let mut hasty = HttpReader::new();
    hasty.read(Direction::Original, head.as_bytes(), &mut facts);
    let progress = hasty.read(Direction::Reply, early, &mut facts);
    assert_eq!(progress.outcome, Outcome::Fault(Reason::HttpMalformed));
}

#[test]
fn every_request_names_its_api_or_none() {
    let api = |fields: &str| {
        let head = format!("GET / HTTP/1.1\r\nHost: a.example\r\n{fields}\r\n");
        let mut facts = Facts::default();
        let progress = HttpReader::new().read(Direction::Original, head.as_bytes(), &mut facts);
        (progress.outcome, facts.api_id.known().map(ToString::to_string))
    };
    let one = |text: &str| (Outcome::Message, Some(text.to_owned()));
    assert_eq!(api("x-apigw-api-id: p4ym3nts01\r\n"), one("p4ym3nts01"));
    assert_eq!(api("X-APIGW-API-ID:P4YM3NTS01 \r\n"), one("P4YM3NTS01"));
    for none in ["", "x-apigw-api-id:\r\n", "x-apigw-api-id: a,b\r\n", "x-apigw-api-ids: a\r\n"] {
        assert_eq!(api(none), (Outcome::Message, None), "{none}");
    }
    for (length, found) in [(63, true), (64, true), (65, false)] {
        let id = "a".repeat(length);
        let expected = found.then(|| id.clone());
        assert_eq!(api(&format!("x-apigw-api-id: {id}\r\n")), (Outcome::Message, expected));
    }
    let twice = api("x-apigw-api-id: a\r\nX-Apigw-Api-Id: a\r\n");
    assert_eq!(twice.0, Outcome::Fault(Reason::HttpMalformed));
    let (mut reader, mut facts) = (HttpReader::new(), Facts::default());
    let first = b"GET / HTTP/1.1\r\nHost: a\r\nx-apigw-api-id: one\r\n\r\n";
    reader.read(Direction::Original, first, &mut facts);
    assert!(facts.api_id.known().is_some());
    reader.read(Direction::Original, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", &mut facts);
    assert_eq!(facts.api_id, Fact::Absent, "of this request, not of the one before");
}

/// Pieces of requests, good and bad, that are put together at random.
const PIECES: &[&str] = &[
    "GET / HTTP/1.1\r\n",
    "POST http://a.example/ HTTP/1.1\r\n",
    "HEAD * HTTP/1.0\r\n",
    "GET / HTTP/1.1\n",
    "Host: a.example\r\n",
    "Host: b.example:80\r\n",
    "Host: \r\n",
    "Content-Length: 3\r\n",
    "Content-Length: 0\r\n",
    "Transfer-Encoding: chunked\r\n",
    "X: y\r\n",
    "x-apigw-api-id: p4ym3nts01\r\n",
    "X : y\r\n",
    "Host: c\n",
    " fold\r\n",
    "\r\n",
    "\n",
    "\r",
    "abc",
    "3\r\nabc\r\n",
    "0\r\n\r\n",
    "0\r\nX: y\r\n\r\n",
    "\0",
    "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: b\r\nContent-Length: 3\r\n\r\nabc",
    "POST / HTTP/1.1\r\nHost: d\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n",
];

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn any_split_of_the_bytes_gives_the_same_messages(
        pieces in prop::collection::vec(prop::sample::select(PIECES), 1..12),
        cuts in prop::collection::vec(0_usize..400, 0..12),
    ) {
        let bytes = pieces.concat().into_bytes();
        let mut cuts: Vec<_> = cuts.into_iter().filter(|&c| c < bytes.len()).collect();
        cuts.sort_unstable();
        let whole = feed(&bytes, &[]);
        prop_assert_eq!(&feed(&bytes, &cuts), &whole);
        let every: Vec<_> = (1..bytes.len()).collect();
        prop_assert_eq!(&feed(&bytes, &every), &whole);
    }

    /// A request that is as the one before is not told anew: it would say the same.
    #[test]
    fn a_request_behind_others_is_told_as_a_lone_one(
        picks in prop::collection::vec((0..REQUESTS.len(), 0..2_usize), 1..12),
    ) {
        let (mut reader, mut facts) = (HttpReader::new(), Facts::default());
        for (pick, again) in picks {
            for _ in 0..=again {
                let request = REQUESTS[pick].as_bytes();
                let (mut lone, mut alone) = (HttpReader::new(), Facts::default());
                let expected = lone.read(Direction::Original, request, &mut alone);
                alone.host_address = facts.host_address.or(alone.host_address);
                let progress = reader.read(Direction::Original, request, &mut facts);
                facts.host_address = alone.host_address;
                prop_assert_eq!((progress, &facts), (expected, &alone));
                let rest = &request[progress.consumed..];
                prop_assert!(reader.read(Direction::Original, rest, &mut facts).consumed == rest.len());
            }
        }
    }
}

#[test]
fn no_bytes_make_the_reader_panic_or_read_too_far() {
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = move |below: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        (random >> 33) as usize % below
    };
    for _ in 0..20_000 {
        let mut bytes: Vec<u8> =
            (0..next(6) + 1).flat_map(|_| PIECES[next(PIECES.len())].as_bytes().to_vec()).collect();
        for _ in 0..next(4) {
            let at = next(bytes.len());
            bytes[at] = next(256) as u8;
        }
        let (mut reader, mut facts, mut at) = (HttpReader::new(), Facts::default(), 0);
        while at < bytes.len() {
            let direction = if next(4) == 0 { Direction::Reply } else { Direction::Original };
            let progress = reader.read(direction, &bytes[at..], &mut facts);
            assert!(progress.consumed <= bytes.len() - at);
            at += progress.consumed.max(1);
        }
    }
}

/// Requests that differ in one thing, none of which changes the protocol.
const REQUESTS: [&str; 12] = [
    "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n",
    "GET /x HTTP/1.0\r\nAccept: */*\r\nhost:\x20\x20A.Example\x20\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a.example.\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a.example:80\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: b.example\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a.example\r\nx-apigw-api-id: a1b2c3d4e5\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 3\r\n\r\nabc",
    "POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "GET http://a.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n",
    "OPTIONS * HTTP/1.1\r\nHost: a.example\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: 192.0.2.1\r\n\r\n",
    "GET / HTTP/1.1\r\nHost:\r\n\r\n",
];

#[test]
fn a_stray_host_is_noted_once_its_line_is_whole() {
    let head = b"BREW /\r\nx: y\r\nHost: www.google.example\r\n\r\n";
    let end = head.windows(2).rposition(|two| two == b"e\r").unwrap() + 3;
    for cut in 0..head.len() {
        let mut facts = Facts::default();
        super::note_stray_host(&head[..cut], &mut facts);
        let noted: Vec<String> = facts.noted.iter().map(ToString::to_string).collect();
        let expected: &[&str] = if cut < end { &[] } else { &["www.google.example"] };
        assert_eq!(noted, expected, "{cut}");
    }
}
