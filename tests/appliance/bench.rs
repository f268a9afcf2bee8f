//! An instance on a port in memory, with the sockets an operator has.

use crate::folder::Folder;
use lockgate::appliance::config::{self, Config};
use lockgate::appliance::control::{self, Request, client};
use lockgate::appliance::flow_log::{self, FlowLog, Writer};
use lockgate::appliance::http::{self, Pages};
use lockgate::appliance::instance::Instance;
use lockgate::appliance::notify::Notify;
use lockgate::appliance::start;
use lockgate::appliance::supervise::{Left, Signals, supervise};
use lockgate::appliance::totals::Totals;
use lockgate::io::live::memory::{self, Peer};
use lockgate::io::live::{Exchanged, Judge, Losses, Port, PortError, Skew};
use lockgate::model::{EndpointId, Protocol, Timestamp};
use lockgate::ruleset::{self, Options};
use lockgate::synth::gwlb::Encapsulation;
use lockgate::synth::packet::{self, Segment, flag};
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

pub(crate) const ACME: EndpointId = EndpointId(0x1234_5678_9abc_def0);
pub(crate) const GLOBEX: EndpointId = EndpointId(0x0fee_ddcc_bbaa_9988);

/// Two partners with the same network; one of them may do something.
pub(crate) const RULES: &str = "
lockgate: 1
segments:
  acme: { kind: partner, endpoints: [vpce-0123456789abcdef0], networks: [10.20.0.0/16] }
  globex: { kind: partner, endpoints: [vpce-00feeddccbbaa9988], networks: [10.20.0.0/16] }
  payments: { kind: workload, networks: [10.100.0.0/16] }
policies:
  - from: acme
    to: payments
    rules:
      - { id: web, action: allow, protocol: udp, ports: [443] }
";

/// The same, but nobody may do anything.
pub(crate) const RULES_WITHOUT_WEB: &str = "
lockgate: 1
segments:
  acme: { kind: partner, endpoints: [vpce-0123456789abcdef0], networks: [10.20.0.0/16] }
  globex: { kind: partner, endpoints: [vpce-00feeddccbbaa9988], networks: [10.20.0.0/16] }
  payments: { kind: workload, networks: [10.100.0.0/16] }
policies:
  - { from: acme, to: payments }
";

/// When the packets of a bench begin: 2027-01-15 08:00:00 UTC.
pub(crate) const START_NS: u64 = 1_800_000_000_000_000_000;

/// How long anything may take that is waited for.
const PATIENCE: Duration = Duration::from_secs(20);

/// A port that fails for good.
pub(crate) struct Broken;

impl Port for Broken {
    fn exchange(&mut self, _: Duration, _: Judge<'_>) -> Result<Exchanged, PortError> {
        Err(PortError::System { what: "receiving", error: std::io::Error::other("broken") })
    }

    fn link(&self) -> Result<(), PortError> {
        Ok(())
    }

    fn losses(&self) -> Losses {
        Losses::default()
    }
}

/// A port that never comes back.
pub(crate) struct Stuck;

impl Port for Stuck {
    fn exchange(&mut self, _: Duration, _: Judge<'_>) -> Result<Exchanged, PortError> {
        loop {
            thread::park();
        }
    }

    fn link(&self) -> Result<(), PortError> {
        Ok(())
    }

    fn losses(&self) -> Losses {
        Losses::default()
    }
}

pub(crate) struct Bench {
    folder: Folder,
    peer: Option<Peer>,
    http: SocketAddr,
    now: AtomicU64,
    supervisor: JoinHandle<Left>,
    instance: Arc<Instance>,
}

impl Bench {
    pub(crate) fn new(name: &str, rules: &str) -> Self {
        Self::with(name, rules, "")
    }

    pub(crate) fn with(name: &str, rules: &str, more: &str) -> Self {
        let (port, peer) = memory::pair();
        Self { peer: Some(peer), ..Self::on(name, rules, more, Box::new(port)) }
    }

    /// With a flow log to this writer, of so many records that may wait.
    pub(crate) fn with_log(
        name: &str,
        rules: &str,
        to: Box<dyn Write + Send>,
        queue: usize,
    ) -> Self {
        let (port, peer) = memory::pair();
        let log = flow_log::to(to, None, queue);
        Self { peer: Some(peer), ..Self::start(name, rules, "", Box::new(port), Some(log)) }
    }

    pub(crate) fn on(name: &str, rules: &str, more: &str, port: Box<dyn Port>) -> Self {
        Self::start(name, rules, more, port, None)
    }

    fn start(
        name: &str,
        rules: &str,
        more: &str,
        port: Box<dyn Port>,
        log: Option<(FlowLog, Writer)>,
    ) -> Self {
        let folder = Folder::new(name);
        fs::write(folder.join("rules.yaml"), rules).unwrap();
        let config = configuration(&folder, more);
        let options = Options { capacity: config.capacity, ..Options::default() };
        let policy = Arc::new(ruleset::load(&config.ruleset, &options).unwrap().policy);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let http = listener.local_addr().unwrap();
        let control = control::bind(&config.control).unwrap();
        let log = log.or_else(|| config.flow_log.as_ref().map(|log| flow_log::open(log).unwrap()));
        let (instance, threads) =
            start::assemble(config, policy, vec![port], "memory".to_owned(), log).unwrap();
        let for_http = Arc::clone(&instance);
        let pages = Pages { health: true, metrics: true };
        thread::spawn(move || http::serve(&listener, pages, &for_http));
        let for_control = Arc::clone(&instance);
        thread::spawn(move || control::serve(&control, &for_control));
        let for_supervisor = Arc::clone(&instance);
        let supervisor = thread::spawn(move || {
            supervise(&for_supervisor, threads, &Signals::default(), &Notify::default())
        });
        let now = AtomicU64::new(START_NS);
        Self { folder, peer: None, http, now, supervisor, instance }
    }

    pub(crate) const fn folder(&self) -> &Folder {
        &self.folder
    }

    pub(crate) fn write_rules(&self, rules: &str) {
        fs::write(self.folder.join("rules.yaml"), rules).unwrap();
    }

    /// Whether a datagram to a port comes back.
    pub(crate) fn passes(&self, endpoint: EndpointId, port: u16) -> bool {
        self.passes_from(endpoint, 40_000, port)
    }

    pub(crate) fn passes_from(&self, endpoint: EndpointId, source_port: u16, port: u16) -> bool {
        let peer = self.peer.as_ref().unwrap();
        let tuple = packet::tuple(
            ("10.20.1.5".parse().unwrap(), source_port),
            ("10.100.4.7".parse().unwrap(), port),
            Protocol::UDP,
        );
        let frame = Encapsulation::of(endpoint).wrap(&packet::udp(&tuple, b"hello"));
        let received = || self.instance.totals().unwrap().counters.received;
        let before = received();
        assert!(peer.send(self.tick(1), frame.clone()));
        // A worker answers between two batches: what it counted, it has sent or dropped.
        while received() == before {
            thread::sleep(Duration::from_millis(1));
        }
        let Some(back) = peer.receive(Duration::ZERO) else { return false };
        assert_eq!(back.len(), frame.len());
        assert_eq!(back[26..30], frame[30..34], "outer addresses are swapped");
        true
    }

    /// Opens a TCP connection from a port to 443 at ACME's endpoint, and sends what its client says.
    pub(crate) fn opens(&self, source_port: u16, said: &[u8]) {
        let peer = self.peer.as_ref().unwrap();
        let tuple = packet::tuple(
            ("10.20.1.5".parse().unwrap(), source_port),
            ("10.100.4.7".parse().unwrap(), 443),
            Protocol::TCP,
        );
        let mut segments = vec![
            (false, Segment { seq: 1, flags: flag::SYN, ..Segment::default() }),
            (true, Segment { seq: 1, ack: 2, flags: flag::SYN | flag::ACK, payload: &[] }),
            (false, Segment { seq: 2, ack: 2, flags: flag::ACK, payload: &[] }),
        ];
        if !said.is_empty() {
            let flags = flag::ACK | flag::PSH;
            segments.push((false, Segment { seq: 2, ack: 2, flags, payload: said }));
        }
        for (reply, segment) in segments {
            let tuple = if reply { tuple.reverse() } else { tuple };
            let frame = Encapsulation::of(ACME).wrap(&packet::tcp(&tuple, &segment));
            let before = self.totals().counters.received;
            assert!(peer.send(self.tick(0), frame));
            self.until_judged(before + 1);
        }
    }

    /// Sets the system's time, as it was not when the instance started.
    pub(crate) fn set_system_time(&self, seconds: i64) {
        let peer = self.peer.as_ref().unwrap();
        peer.set_system_time(Skew::from_nanos(seconds * 1_000_000_000));
        let told = (seconds != 0).then_some(seconds);
        while self.instance.skew() != told {
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits until so many flows are known.
    pub(crate) fn until_flows_are(&self, flows: usize) {
        while self.totals().flows != flows {
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Gives the instance a frame that arrives so long after the bench's beginning. Waits for room, and
    /// takes what comes back meanwhile, which is not looked at.
    pub(crate) fn put(&self, after: Duration, frame: &[u8]) {
        let peer = self.peer.as_ref().unwrap();
        let nanos = START_NS + u64::try_from(after.as_nanos()).unwrap();
        while !peer.send(Timestamp::from_nanos(nanos), frame.to_vec()) {
            // Long enough for many: to be woken for each of them takes longer than they do.
            thread::sleep(Duration::from_millis(5));
            while peer.receive(Duration::ZERO).is_some() {}
        }
        while peer.receive(Duration::ZERO).is_some() {}
    }

    /// Waits until so many frames have been judged.
    pub(crate) fn until_judged(&self, frames: u64) {
        let peer = self.peer.as_ref().unwrap();
        while self.totals().counters.received < frames {
            while peer.receive(Duration::ZERO).is_some() {}
            thread::sleep(Duration::from_millis(5));
        }
        while peer.receive(Duration::ZERO).is_some() {}
    }

    pub(crate) fn totals(&self) -> Totals {
        self.instance.totals().unwrap()
    }

    /// As SIGUSR1 does.
    pub(crate) fn reopen_log(&self) {
        self.instance.reopen_log();
    }

    /// Records that were lost.
    pub(crate) fn records_lost(&self) -> u64 {
        self.instance.log_stats().unwrap().lost.load(Ordering::Relaxed)
    }

    /// Lets so much time pass that every flow has expired.
    pub(crate) fn forget_flows(&self) {
        self.peer.as_ref().unwrap().send(self.tick(1000), vec![0; 14]);
    }

    fn tick(&self, seconds: u64) -> Timestamp {
        let step = seconds * 1_000_000_000;
        Timestamp::from_nanos(self.now.fetch_add(step, Ordering::Relaxed) + step)
    }

    pub(crate) fn ask(&self, request: &Request) -> client::Answer {
        client::ask(&self.folder.join("control.sock"), request).unwrap()
    }

    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.http).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    pub(crate) fn get(&self, path: &str) -> (u16, String) {
        self.raw(format!("GET {path} HTTP/1.1\r\nConnection: close\r\n\r\n").as_bytes())
    }

    /// Status and body of the answer to any bytes.
    pub(crate) fn raw(&self, request: &[u8]) -> (u16, String) {
        let mut stream = self.connect();
        stream.write_all(request).unwrap();
        let mut text = String::new();
        let mut piece = [0; 4096];
        // A connection that is kept open has its whole answer when the body is as long as it says.
        loop {
            let read = stream.read(&mut piece).unwrap_or(0);
            text.push_str(&String::from_utf8_lossy(&piece[..read]));
            if read == 0 || is_whole(&text, request) {
                break;
            }
        }
        let status = text.split(' ').nth(1).and_then(|word| word.parse().ok()).unwrap_or(0);
        let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body).to_owned();
        (status, body)
    }

    /// The end of the network.
    pub(crate) fn unplug(&mut self) {
        self.peer = None;
    }

    pub(crate) fn until_unhealthy(&self) -> String {
        for _ in 0..1000 {
            let health = self.instance.health();
            if !health.is_healthy() {
                return health.json();
            }
            thread::sleep(Duration::from_millis(10));
        }
        panic!("it stays healthy");
    }

    /// Leaves at once.
    pub(crate) fn leave(self) -> Left {
        let drain = Request::Drain { deadline_seconds: Some(0), refuse_new: None, cancel: false };
        self.ask(&drain);
        self.wait()
    }

    /// Waits until the instance has left.
    pub(crate) fn wait(self) -> Left {
        self.supervisor.join().unwrap()
    }
}

fn is_whole(text: &str, request: &[u8]) -> bool {
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let len = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
    request.starts_with(b"HEAD") || len.and_then(|len| len.parse().ok()) == Some(body.len())
}

fn configuration(folder: &Path, more: &str) -> Config {
    let path = folder.join("appliance.yaml");
    let text = format!(
        "appliance: 1\nruleset: rules.yaml\ninterface: memory\ngateways: [10.99.0.1]\n\
         control: control.sock\nlimits: {{ flows: 1000 }}\n{more}\n"
    );
    fs::write(&path, text).unwrap();
    config::load(&path).unwrap()
}
