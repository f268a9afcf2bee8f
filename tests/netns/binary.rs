//! The binary as an operator runs it: started in a target's namespace, asked over its sockets, told by
//! signals. What it is started for is each test's own.

use crate::folder::Folder;
use crate::lab::{Namespace, Wire, run, skipped};
use lockgate::io::live::{Backend, PortSettings, open};
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{LazyLock, Mutex};
use std::thread;
use std::time::Duration;

/// The endpoints of the two partners the rules of these tests know.
pub(crate) const ENDPOINT: u64 = 0x1234_5678_9abc_def0;
pub(crate) const OTHER: u64 = 0x0fee_ddcc_bbaa_9988;
/// How long anything may take that is waited for.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(20);

/// Two partners with the same addresses and what they reach; rules follow.
pub(crate) const SEGMENTS: &str = "
lockgate: 1
segments:
  acme: { kind: partner, endpoints: [vpce-0123456789abcdef0], networks: [10.1.0.0/16] }
  globex: { kind: partner, endpoints: [vpce-00feeddccbbaa9988], networks: [10.1.0.0/16] }
  shop: { kind: workload, networks: [10.2.0.0/16] }
";

/// The back ends that can be had here; says so of the one that cannot.
pub(crate) fn backends() -> &'static [Backend] {
    static FOUND: LazyLock<Vec<Backend>> = LazyLock::new(|| {
        let mut found = vec![Backend::AfPacket];
        let Some(wire) = Wire::make(9001, 2) else { return found };
        let settings = PortSettings { backend: Backend::AfXdp, ..PortSettings::on("fw0") };
        match wire.target.run(|| open(&settings).map(drop)) {
            Ok(()) => found.push(Backend::AfXdp),
            Err(error) => skipped(&format!("AF_XDP: {error}")),
        }
        found
    });
    &FOUND
}

/// A running binary.
pub(crate) struct Appliance<'n> {
    child: Mutex<Child>,
    folder: Folder,
    namespace: &'n Namespace,
}

impl<'n> Appliance<'n> {
    /// Writes configuration and ruleset, starts, waits until it is healthy. `more` are lines of the
    /// configuration beyond the usual ones.
    pub(crate) fn start(
        namespace: &'n Namespace,
        of: (&str, Backend),
        rules: &str,
        more: &str,
    ) -> Self {
        let logs = "logs: { flows: { file: flows.json } }";
        Self::start_with(namespace, of, rules, &format!("{logs}\n{more}"))
    }

    /// The same without a flow log of its own.
    pub(crate) fn start_with(
        namespace: &'n Namespace,
        (name, backend): (&str, Backend),
        rules: &str,
        more: &str,
    ) -> Self {
        let word = match backend {
            Backend::Auto => "auto",
            Backend::AfPacket => "af-packet",
            Backend::AfXdp => "af-xdp",
        };
        let folder = Folder::new(&format!("{name}-{word}"));
        fs::write(folder.join("rules.yaml"), rules).unwrap();
        let config = format!(
            "appliance: 1\nruleset: rules.yaml\ninterface: fw0\nbackend: {word}\n\
             control: control.sock\n{more}\n"
        );
        fs::write(folder.join("appliance.yaml"), config).unwrap();
        let one = Self::again(namespace, folder);
        let log = one.log();
        assert!(backend == Backend::Auto || log.contains(&format!("backend=\"{word}")), "{log}");
        one
    }

    /// Starts with what is in the folder.
    pub(crate) fn again(namespace: &'n Namespace, folder: Folder) -> Self {
        Self::under(namespace, folder, &[])
    }

    /// The same as a child of another program; signals would reach that one.
    pub(crate) fn under(namespace: &'n Namespace, folder: Folder, program: &[&str]) -> Self {
        let log =
            fs::OpenOptions::new().create(true).append(true).open(folder.join("log")).unwrap();
        let child = Command::new("ip")
            .args(["netns", "exec", namespace.name()])
            .args(program)
            .args([env!("CARGO_BIN_EXE_lockgate"), "run", "--config"])
            .arg(folder.join("appliance.yaml"))
            .stderr(Stdio::from(log))
            .spawn()
            .unwrap();
        let one = Self { child: Mutex::new(child), folder, namespace };
        one.until("it is healthy", |one| one.health().is_some_and(|(status, _)| status == 200));
        one
    }

    pub(crate) fn until(&self, what: &str, is: impl Fn(&Self) -> bool) {
        let mut waited = Duration::ZERO;
        while !is(self) {
            assert!(
                waited < PATIENCE && self.lives(),
                "never: {what}\n{}\n{}",
                self.log(),
                self.counted("packets_total{")
            );
            thread::sleep(LOOK);
            waited += LOOK;
        }
    }

    fn lives(&self) -> bool {
        self.child.lock().unwrap().try_wait().unwrap().is_none()
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    /// The records of the flow log.
    pub(crate) fn records(folder: &Path) -> Vec<serde_json::Value> {
        let text = fs::read_to_string(folder.join("flows.json")).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Status and body of a page.
    fn get(&self, path: &str) -> Option<(u16, String)> {
        let mut stream = self.namespace.run(|| TcpStream::connect("127.0.0.1:8080")).ok()?;
        stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        let status = text.split(' ').nth(1)?.parse().ok()?;
        Some((status, text.split_once("\r\n\r\n")?.1.to_owned()))
    }

    /// Status and body of the health endpoint.
    pub(crate) fn health(&self) -> Option<(u16, String)> {
        self.get("/health")
    }

    /// The sum of all samples of metrics whose line has every one of these parts.
    pub(crate) fn metric(&self, parts: &[&str]) -> f64 {
        let page = self.get("/metrics").map_or_else(String::new, |(_, page)| page);
        let samples = page.lines().filter(|line| !line.starts_with('#'));
        let meant = samples.filter(|line| parts.iter().all(|part| line.contains(part)));
        meant.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    /// The lines of metrics with this part.
    pub(crate) fn counted(&self, part: &str) -> String {
        let page = self.get("/metrics").map_or_else(String::new, |(_, page)| page);
        page.lines()
            .filter(|line| line.contains(part))
            .fold(String::new(), |all, line| all + line + "\n")
    }

    /// Packets from a segment, or from any if it is empty, that were dropped for this reason.
    pub(crate) fn dropped(&self, from: &str, reason: &str) -> f64 {
        let (from, reason) = (format!("from=\"{from}"), format!("reason=\"{reason}\""));
        self.metric(&["lockgate_packets_total", "verdict=\"drop\"", &from, &reason])
    }

    pub(crate) fn ctl(&self, arguments: &str) -> String {
        let output = Command::new(env!("CARGO_BIN_EXE_lockgate"))
            .arg("ctl")
            .arg("--socket")
            .arg(self.folder.join("control.sock"))
            .args(arguments.split_whitespace())
            .output()
            .unwrap();
        let text = [output.stdout, output.stderr].concat();
        String::from_utf8(text).unwrap()
    }

    /// Its process; `ip netns exec` became the binary, so the child is it.
    pub(crate) fn process(&self) -> u32 {
        self.child.lock().unwrap().id()
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: &str) {
        assert!(run(&format!("kill -{signal} {}", self.process())));
    }

    /// Waits for its end; whether it ended well.
    pub(crate) fn wait(self) -> (bool, String) {
        let status = self.child.lock().unwrap().wait().unwrap();
        (status.success(), self.log())
    }

    pub(crate) const fn folder(&self) -> &Folder {
        &self.folder
    }
}

impl Drop for Appliance<'_> {
    fn drop(&mut self) {
        // Most tests have waited for its end.
        let mut child = self.child.lock().unwrap();
        let _ = child.kill();
        let _ = child.wait();
    }
}
