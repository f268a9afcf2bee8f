//! The HTTP readers over captures of others, against what their `expected.jsonl` says: the names of every
//! flow on which two engines agree.

mod others;

use lockgate::inspect::http::HttpReader;
use lockgate::inspect::http2::{Http2Reader, PREFACE};
use lockgate::inspect::{Outcome, Progress, Wants};
use lockgate::io::pcap::CaptureReader;
use lockgate::model::{Direction, Facts, FiveTuple};
use lockgate::wire::{Checksums, Settings, TcpFlags, parse};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

/// A scan that sends request lines no recipient must take (RFC 9112 section 3), `GET /HTTP/1.1` or
/// `PUT / HTTP/1.`; other engines look for Host all the same. The client's ports.
const BROKEN_REQUEST_LINES: (&str, &[u64]) = (
    "zeek__http__methods.pcap",
    &[
        46563, 46565, 46567, 46568, 46577, 46578, 46582, 46583, 46587, 46588, 46592, 46593, 46597,
        46598, 46602, 46603, 46607, 46608,
    ],
);

enum Reader {
    Undecided,
    Http(HttpReader),
    Http2(Http2Reader),
    Over,
}

impl Reader {
    fn read(&mut self, direction: Direction, bytes: &[u8], facts: &mut Facts) -> Progress {
        if matches!(self, Self::Undecided) && direction == Direction::Original {
            let shown = bytes.len().min(PREFACE.len());
            *self = match bytes {
                _ if bytes[..shown] == PREFACE[..shown] && shown < 4 => return Progress::more(0),
                _ if bytes[..shown] == PREFACE[..shown] => Self::Http2(Http2Reader::new()),
                [b'A'..=b'Z' | b'\r' | b'\n', ..] => Self::Http(HttpReader::new()),
                _ => Self::Over,
            };
        }
        let progress = match self {
            Self::Http(reader) => reader.read(direction, bytes, facts),
            Self::Http2(reader) => reader.read(direction, bytes, facts),
            Self::Undecided => Progress::more(0),
            Self::Over => Progress::done(bytes.len()),
        };
        match progress.outcome {
            Outcome::Switch => *self = Self::Undecided,
            Outcome::Done | Outcome::Fault(_) => *self = Self::Over,
            _ => {}
        }
        progress
    }

    fn wants(&self) -> Wants {
        match self {
            Self::Http(reader) => reader.wants(),
            Self::Http2(reader) => reader.wants(),
            Self::Undecided | Self::Over => Wants::ORIGINAL,
        }
    }
}

/// One direction, put in order; the first copy of a byte counts.
#[derive(Default)]
struct Stream {
    next: Option<u32>,
    unread: Vec<u8>,
    waiting: BTreeMap<u32, Vec<u8>>,
}

impl Stream {
    fn insert(&mut self, seq: u32, bytes: &[u8]) {
        let next = *self.next.get_or_insert(seq);
        let old = next.wrapping_sub(seq);
        if (old as i32) < 0 {
            self.waiting.insert(seq, bytes.to_vec());
        } else if let Some(new) = bytes.get(old as usize..).filter(|new| !new.is_empty()) {
            self.unread.extend(new);
            self.next = Some(next.wrapping_add(new.len() as u32));
            let ready = self
                .waiting
                .keys()
                .copied()
                .find(|&seq| self.next.is_some_and(|next| next.wrapping_sub(seq) as i32 >= 0));
            if let Some((seq, bytes)) = ready.and_then(|seq| self.waiting.remove_entry(&seq)) {
                self.insert(seq, &bytes);
            }
        }
    }
}

struct Flow {
    reader: Reader,
    streams: [Stream; 2],
    names: BTreeSet<String>,
    fault: Option<String>,
}

impl Flow {
    fn new() -> Self {
        let streams = [Stream::default(), Stream::default()];
        Self { reader: Reader::Undecided, streams, names: BTreeSet::new(), fault: None }
    }

    /// Shows the reader what is unread, as the engine does.
    fn read(&mut self) {
        let mut facts = Facts::default();
        let mut progressed = true;
        while std::mem::take(&mut progressed) {
            for direction in [Direction::Original, Direction::Reply] {
                let stream = &mut self.streams[direction.index()];
                if direction == Direction::Reply && !self.reader.wants().has(direction) {
                    stream.unread.clear();
                }
                if stream.unread.is_empty() {
                    continue;
                }
                let progress = self.reader.read(direction, &stream.unread, &mut facts);
                stream.unread.drain(..progress.consumed);
                progressed |= progress.consumed > 0 && !stream.unread.is_empty();
                progressed |= progress.outcome == Outcome::Switch;
                match progress.outcome {
                    Outcome::Message => {
                        self.names.extend(facts.domain.known().map(ToString::to_string));
                        progressed = true;
                    }
                    Outcome::Fault(reason) => {
                        self.fault.get_or_insert(reason.name().to_owned());
                        stream.unread.clear();
                    }
                    Outcome::More if direction == Direction::Reply && progress.consumed > 0 => {
                        progressed |= !self.streams[0].unread.is_empty();
                    }
                    _ => {}
                }
            }
        }
    }
}

/// What the readers find in the flows of `clients`.
fn flows(path: &Path, clients: &BTreeSet<FiveTuple>) -> HashMap<FiveTuple, Vec<Flow>> {
    let settings = Settings {
        checksums: Checksums::Ignore,
        outer_udp: Checksums::Ignore,
        ..Settings::CAPTURE
    };
    let mut flows: HashMap<FiveTuple, Vec<Flow>> = HashMap::new();
    let Ok(mut capture) = CaptureReader::open(&path.to_string_lossy()) else { return flows };
    while let Ok(Some(packet)) = capture.next_packet() {
        let Ok(parsed) = parse(packet.bytes, packet.link, &settings) else { continue };
        let Some(segment) = parsed.tcp() else { continue };
        let (tuple, direction) = if clients.contains(&parsed.tuple) {
            (parsed.tuple, Direction::Original)
        } else if clients.contains(&parsed.tuple.reverse()) {
            (parsed.tuple.reverse(), Direction::Reply)
        } else {
            continue;
        };
        let known = flows.entry(tuple).or_default();
        let syn = segment.flags.contains(TcpFlags::SYN);
        if known.is_empty() || (syn && direction == Direction::Original) {
            known.push(Flow::new());
        }
        let Some(flow) = known.last_mut() else { continue };
        let stream = &mut flow.streams[direction.index()];
        if syn {
            stream.next = Some(segment.seq.wrapping_add(1));
        } else {
            stream.insert(segment.seq, parsed.payload(packet.bytes));
            flow.read();
        }
    }
    flows
}

fn tuple(row: &Value) -> Option<FiveTuple> {
    let addr = |key| Some(row[key].as_str()?.parse::<std::net::IpAddr>().ok()?.into());
    let port = |key| u16::try_from(row[key].as_u64()?).ok();
    let protocol = lockgate::model::Protocol::TCP;
    (row["proto"] == "tcp").then_some(FiveTuple {
        src: addr("src")?,
        dst: addr("dst")?,
        src_port: port("sport")?,
        dst_port: port("dport")?,
        protocol,
    })
}

/// The names a row lists; addresses are none.
fn names(row: &Value) -> BTreeSet<String> {
    let lists = [&row["http_hosts"], &row["http2_authority"]];
    let all = lists.into_iter().filter_map(Value::as_array).flatten().filter_map(Value::as_str);
    all.filter(|name| name.parse::<std::net::IpAddr>().is_err()).map(ToOwned::to_owned).collect()
}

#[test]
fn names_are_those_two_other_engines_agree_on() {
    let Some(folder) = others::captures("expected.jsonl") else { return };
    let text = std::fs::read_to_string(folder.join("expected.jsonl")).unwrap();
    let mut rows: BTreeMap<String, Vec<(FiveTuple, Value)>> = BTreeMap::new();
    for row in text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()) {
        let http = ["http_hosts", "http2_authority"].iter().any(|key| !row[*key].is_null());
        if let Some(tuple) = tuple(&row).filter(|_| http) {
            rows.entry(row["pcap"].as_str().unwrap().to_owned()).or_default().push((tuple, row));
        }
    }
    let (mut same, mut refused, mut unsure, mut wrong) = (0, 0, 0, Vec::new());
    for (pcap, rows) in rows {
        let clients = rows.iter().map(|row| row.0).collect();
        let seen = flows(&folder.join(&pcap), &clients);
        for (tuple, row) in rows {
            let flows = seen.get(&tuple).map(Vec::as_slice).unwrap_or_default();
            let found: BTreeSet<_> = flows.iter().flat_map(|f| f.names.clone()).collect();
            let faults: BTreeSet<_> = flows.iter().filter_map(|f| f.fault.clone()).collect();
            let expected = names(&row);
            let broken = BROKEN_REQUEST_LINES.0 == pcap
                && row["sport"].as_u64().is_some_and(|p| BROKEN_REQUEST_LINES.1.contains(&p));
            let sure = row["verdict"]["http_host"] == "agree" && row["optional"].is_null();
            let line = format!("{pcap} {tuple}: found {found:?} {faults:?}, others {expected:?}");
            if found == expected {
                same += 1;
            } else if broken && faults.contains("http-malformed") {
                refused += 1;
            } else if sure || (!found.is_subset(&expected) && row["open"].is_null()) {
                wrong.push(line);
            } else {
                unsure += 1;
                eprintln!("{line}");
            }
        }
    }
    eprintln!("{same} flows the same, {refused} refused, {unsure} unsure, {} wrong", wrong.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
