//! A day in the life of an instance, in the time its packets bring: worker, flow table and its wheel,
//! flow log with rotation, counters, reloads and an expiring rule, twenty-four hours of them. What goes
//! by the process's own clock (health, drain deadlines, the watchdog) is not here: it has not aged.

use super::bench::{ACME, Bench};
use lockgate::appliance::control::Request;
use lockgate::appliance::supervise::Left;
use lockgate::model::Protocol;
use lockgate::synth::gwlb::Encapsulation;
use lockgate::synth::packet;
use lockgate::synth::session::{Session, Side};
use serde_json::Value;
use std::cell::Cell;
use std::collections::HashMap;
use std::fs;
use std::time::Duration;

/// The bench begins at eight in the morning: midnight comes after sixteen hours.
const MIDNIGHT: u64 = 16 * 3600;
const DAY: u64 = 24 * 3600;
/// Flows that last all day, kept alive once a minute.
const LASTING: u16 = 20;
/// UDP flows are forgotten after so many seconds without a packet.
const IDLE: u64 = 120;

const RULES: &str = "
lockgate: 1
segments:
  acme: { kind: partner, endpoints: [vpce-0123456789abcdef0], networks: [10.20.0.0/16] }
  payments: { kind: workload, networks: [10.100.0.0/16] }
policies:
  - from: acme
    to: payments
    rules:
      - { id: until-tonight, action: allow, protocol: udp, ports: [9000], expires: 2027-01-15 }
      - { id: web, action: allow, protocol: tcp, ports: [80], domains: [.shop.example] }
      - { id: datagrams, action: allow, protocol: udp, ports: [443] }
";

/// The instance, and how many frames it was given.
struct Day {
    bench: Bench,
    given: Cell<u64>,
}

impl Day {
    fn put(&self, second: u64, inner: &[u8]) {
        self.bench.put(Duration::from_secs(second), &Encapsulation::of(ACME).wrap(inner));
        self.given.set(self.given.get() + 1);
    }

    /// A datagram from a port of a client.
    fn datagram(&self, second: u64, client: u8, from: u16, to: u16) {
        let src = ([10, 20, 1, client].into(), from);
        let tuple = packet::tuple(src, ([10, 100, 4, 7].into(), to), Protocol::UDP);
        self.put(second, &packet::udp(&tuple, b"x"));
    }

    /// A connection that asks for a host and is closed.
    fn connection(&self, second: u64, host: &str) {
        let port = u16::try_from(10_000 + second / 60).unwrap();
        let (src, dst) = (([10, 20, 3, 1].into(), port), ([10, 100, 4, 7].into(), 80));
        let mut session = Session::new(packet::tuple(src, dst, Protocol::TCP));
        let mut packets = session.handshake();
        let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
        packets.push(session.send(Side::Client, request.as_bytes()));
        packets.push(session.send(Side::Server, b"HTTP/1.1 204 No Content\r\n\r\n"));
        packets.extend([session.fin(Side::Client), session.fin(Side::Server)]);
        packets.push(session.ack(Side::Client));
        packets.iter().for_each(|packet| self.put(second, packet));
    }

    /// What happens in one second.
    fn second(&self, second: u64) {
        // One new flow, from a port that a flow forgotten long ago had.
        self.datagram(second, 1, u16::try_from(second % 50_000).unwrap(), 443);
        if second.is_multiple_of(60) {
            (0..LASTING).for_each(|port| self.datagram(second, 2, port, 443));
            self.datagram(second, 4, 1, 9000);
        }
        if second % 600 == 300 {
            self.connection(second, "api.shop.example");
        }
        // One that comes back just before it would be forgotten, and one just after.
        if second.is_multiple_of(IDLE - 1) {
            self.datagram(second, 5, 1, 443);
        }
        if second.is_multiple_of(IDLE) {
            self.datagram(second, 6, 1, 443);
        }
    }

    /// What an operator does and looks at every hour.
    fn hour(&self, hour: u64) {
        self.bench.until_judged(self.given.get());
        let totals = self.bench.totals();
        // What began in the last two minutes, what lasts, what is closing.
        let most = IDLE + u64::from(LASTING) + 10;
        assert!((IDLE..most).contains(&(totals.flows as u64)), "{hour}: {}", totals.flows);
        assert_eq!(totals.losses.total(), 0);
        let log = self.bench.folder().join("flows.json");
        fs::rename(&log, self.bench.folder().join(format!("flows.{hour}.json"))).unwrap();
        self.bench.reopen_log();
        if hour.is_multiple_of(6) {
            assert!(self.bench.ask(&Request::Reload { dry_run: false, limit: 0 }).is_ok());
        }
    }
}

#[test]
fn a_day_of_flows_leaves_every_record_and_nothing_else() {
    let config = "logs: { flows: { file: flows.json } }";
    let day = Day { bench: Bench::with("day", RULES, config), given: Cell::new(0) };
    let mut table = None;
    for second in 0..DAY {
        day.second(second);
        if second % 3600 == 3599 {
            day.hour(second / 3600 + 1);
            let bytes = day.bench.totals().table_bytes;
            assert_eq!(*table.get_or_insert(bytes), bytes, "memory does not grow");
        }
    }
    let before = day.bench.totals();
    // Nobody sends anything for a night.
    day.datagram(DAY + 8 * 3600, 7, 1, 443);
    day.bench.until_judged(day.given.get());
    let totals = day.bench.totals();
    assert_eq!(totals.flows, 1, "everything has been forgotten, but for the one that woke it");
    assert_eq!(totals.counters.received, day.given.get());
    assert_eq!((before.epoch, totals.epoch), (6, 6), "four reloads and a midnight");
    let folder = day.bench.folder().to_owned();
    let opened = totals.counters.flows;
    assert_eq!(day.bench.records_lost(), 0);
    assert_eq!(day.bench.leave(), Left::Asked);
    look_at_records(&records(&folder), opened);
}

/// All records of all files, each with its hour's number.
fn records(folder: &std::path::Path) -> Vec<Value> {
    let name = |hour| match hour {
        25 => "flows.json".to_owned(),
        hour => format!("flows.{hour}.json"),
    };
    let all = (1..=25).map(|hour| fs::read_to_string(folder.join(name(hour))).unwrap());
    all.flat_map(|text| {
        assert!(text.ends_with('\n') && text.lines().count() > 100, "a file with half a line");
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<Value>>()
    })
    .collect()
}

fn look_at_records(records: &[Value], opened: u64) {
    assert_eq!(records.len() as u64, opened, "one for each flow");
    let mut by_client: HashMap<&str, Vec<&Value>> = HashMap::new();
    for record in records {
        assert_eq!(record["event_type"], "flow");
        by_client.entry(record["src_ip"].as_str().unwrap()).or_default().push(record);
    }
    let of = |client: &str| by_client.get(client).map_or(&[][..], Vec::as_slice);
    assert_eq!(of("10.20.1.1").len() as u64, DAY);
    assert_eq!(of("10.20.3.1").len() as u64, DAY / 600);
    for connection in of("10.20.3.1") {
        assert_eq!(connection["http"]["hostname"], "api.shop.example");
        assert_eq!(connection["flow"]["reason"], "closed");
    }
    assert_eq!(of("10.20.1.2").len(), usize::from(LASTING));
    for lasting in of("10.20.1.2") {
        assert_eq!(lasting["flow"]["pkts_toserver"], DAY / 60);
        assert_eq!(lasting["flow"]["age"], DAY - 60);
    }
    // It was one flow all day, and a new one each time.
    assert_eq!((of("10.20.1.5").len() as u64, of("10.20.1.6").len() as u64), (1, DAY / IDLE));
    expires_at_midnight(of("10.20.1.4"));
    // A record is not written later than a file is changed: they come in the order flows ended.
    let ends: Vec<&str> =
        of("10.20.1.1").iter().map(|record| record["flow"]["end"].as_str().unwrap()).collect();
    assert!(ends.is_sorted(), "records are in the order of time");
}

/// One flow under the rule until its last day is over; what comes after is denied, and forgotten sooner.
fn expires_at_midnight(records: &[&Value]) {
    let sum = |part: &str, field: &str| -> u64 {
        records.iter().filter_map(|record| record[part][field].as_u64()).sum()
    };
    assert_eq!(sum("flow", "pkts_toserver"), DAY / 60);
    assert_eq!(sum("lockgate", "forwarded_toserver"), MIDNIGHT / 60);
    let (first, later) = records.split_first().unwrap();
    assert_eq!(first["lockgate"]["forwarded_toserver"], MIDNIGHT / 60);
    assert!(!later.is_empty());
    for record in records {
        assert_eq!(record["lockgate"]["verdict"], "deny");
        assert_eq!(record["lockgate"]["reason"], "otherwise");
    }
}
