//! The hold, on the wire: two TCP stacks over a network that loses, copies, delays and reorders, with
//! the engine between them. What a denied destination gets, and what an allowed one.

#![expect(clippy::unwrap_used, reason = "a test may stop where it stands")]

mod network;
mod stack;

use lockgate::inspect::tls::compose::Offer;
use lockgate::model::Action;
use lockgate::policy::Policy;
use lockgate::ruleset::{self, Options};
use network::{Network, Story, Weather};
use std::path::Path;
use std::sync::Arc;

const SEEDS: u64 = 8;

/// From a clear day to a bad one; the last two cut streams into single bytes.
const WEATHER: [Weather; 6] = [
    Weather { loss: 0, duplication: 0, delay: 1, segment: 1400 },
    Weather { loss: 0, duplication: 0, delay: 40, segment: 300 },
    Weather { loss: 10, duplication: 0, delay: 5, segment: 500 },
    Weather { loss: 10, duplication: 10, delay: 40, segment: 100 },
    Weather { loss: 0, duplication: 0, delay: 3, segment: 1 },
    Weather { loss: 5, duplication: 5, delay: 20, segment: 1 },
];

fn policy() -> Arc<Policy> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/evasion/lockgate.yaml");
    Arc::new(ruleset::load(&path, &Options::default()).unwrap().policy)
}

/// A hello as large as its key share.
fn hello(name: &[u8], key_share: usize) -> Vec<u8> {
    Offer { names: &[name], key_share, ..Offer::default() }.records(900).unwrap()
}

fn requests(names: &[&str]) -> Vec<u8> {
    let request = |name| format!("GET /some/where HTTP/1.1\r\nHost: {name}\r\nAccept: */*\r\n\r\n");
    names.iter().map(request).collect::<String>().into_bytes()
}

/// Every seed under every weather.
fn everywhere(port: u16, request: &[u8], answer: &[u8], check: impl Fn(&Story, Weather, u64)) {
    let policy = policy();
    for weather in WEATHER {
        // Streams of single bytes take long; fewer seeds do.
        let seeds = if weather.segment == 1 { SEEDS / 4 } else { SEEDS };
        for seed in 0..seeds {
            let story = Network::new(&policy, port, [request, answer], weather, seed).run();
            check(&story, weather, seed);
        }
    }
}

fn is_whole(request: &[u8], answer: &[u8]) -> impl Fn(&Story, Weather, u64) {
    move |story, weather, seed| {
        let place = format!("{weather:?} seed {seed}: {:?} {:?}", story.verdicts, story.drops);
        assert!(story.through, "both sides come to an end: {place}");
        assert!(story.server == request, "the server's bytes: {place}");
        assert!(story.client == answer, "the client's bytes: {place}");
        let allowed = |verdict: &Option<_>| {
            verdict.is_some_and(|v: lockgate::model::FlowVerdict| v.action == Action::Allow)
        };
        assert!(story.verdicts.iter().any(allowed), "{place}");
    }
}

fn gets_nothing(story: &Story, weather: Weather, seed: u64) {
    let place = format!("{weather:?} seed {seed}: {:?}", story.verdicts);
    assert_eq!(story.leaked, 0, "payload left the engine: {place}");
    assert!(story.server.is_empty(), "{place}");
    assert!(story.verdicts.iter().flatten().all(|v| v.action == Action::Deny), "{place}");
}

#[test]
fn an_allowed_server_reads_what_the_client_sent() {
    let (request, answer) = (requests(&["good.example", "a.fine.example"]), vec![b'x'; 3000]);
    everywhere(80, &request, &answer, is_whole(&request, &answer));
}

#[test]
fn an_allowed_hello_arrives_whole() {
    let answer = b"\x15\x03\x03\0\x02\x02\x28";
    let request = hello(b"good.example", 32);
    everywhere(443, &request, answer, is_whole(&request, answer));
}

#[test]
fn an_allowed_post_quantum_hello_arrives_whole() {
    let answer = b"\x15\x03\x03\0\x02\x02\x28";
    let request = hello(b"good.example", 1216);
    let whole = is_whole(&request, answer);
    everywhere(443, &request, answer, |story, weather, seed| {
        // In single bytes its frames are more than a flow may hold, which takes longer than a hello may.
        if weather.segment > 1 {
            whole(story, weather, seed);
        }
    });
}

#[test]
fn a_denied_destination_gets_not_one_payload_byte() {
    everywhere(80, &requests(&["evil.example"]), b"", gets_nothing);
    everywhere(443, &hello(b"evil.example", 1216), b"", gets_nothing);
}

#[test]
fn of_several_requests_the_denied_one_and_what_follows_do_not_arrive() {
    let allowed = requests(&["good.example"]);
    let request = requests(&["good.example", "evil.example", "good.example"]);
    everywhere(80, &request, b"", |story, weather, seed| {
        let place = format!("{weather:?} seed {seed}");
        assert!(allowed.starts_with(&story.server), "{place}");
    });
}

#[test]
fn a_flow_has_one_verdict_however_it_is_cut() {
    for (request, action) in
        [(requests(&["good.example"]), Action::Allow), (requests(&["evil.example"]), Action::Deny)]
    {
        everywhere(80, &request, b"", |story, weather, seed| {
            let judged: Vec<_> = story.verdicts.iter().flatten().map(|v| v.action).collect();
            assert!(judged.contains(&action), "{weather:?} seed {seed}: {:?}", story.verdicts);
        });
    }
}
