//! The binary as an operator runs it, between real programs: `lockgate run` in a target's namespace,
//! curl and dig on the client, the emulator of the load balancer in between.

use crate::gwlb::{Gwlb, Refusal};
use crate::lab::{Namespace, StopAtEnd, run, skipped};
use crate::network::{Network, SERVER, Seen, on};
use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

const ENDPOINT: u64 = 0x1234_5678_9abc_def0;
const OTHER: u64 = 0x0fee_ddcc_bbaa_9988;
/// How long anything may take that is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

const RULES: &str = r#"
lockgate: 1
segments:
  acme: { kind: partner, endpoints: [vpce-0123456789abcdef0], networks: [10.1.0.0/16] }
  globex: { kind: partner, endpoints: [vpce-00feeddccbbaa9988], networks: [10.1.0.0/16] }
  shop: { kind: workload, networks: [10.2.0.0/16] }
policies:
  - from: acme
    to: shop
    rules:
      - { id: shop, action: allow, protocol: tcp, ports: [8080], domains: [shop.example] }
      - { id: names, action: allow, protocol: udp, ports: [53], dns: [.shop.example] }
      - { id: files, action: allow, protocol: tcp, ports: [8081] }
    otherwise: reject
  - from: globex
    to: shop
    rules:
      - { id: globex-shop, action: allow, protocol: tcp, ports: [8080], domains: [other.example] }
    otherwise: reject
defaults: { midstream: MIDSTREAM }
"#;

/// A running binary.
struct Appliance<'n> {
    child: Child,
    folder: PathBuf,
    namespace: &'n Namespace,
}

impl<'n> Appliance<'n> {
    /// Writes configuration and ruleset, starts, waits until it is healthy.
    fn start(namespace: &'n Namespace, name: &str, midstream: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("lockgate-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("rules.yaml"), RULES.replace("MIDSTREAM", midstream)).unwrap();
        let config = "appliance: 1\nruleset: rules.yaml\ninterface: fw0\ngateways: [10.99.0.1]\n\
                      workers: 2\nbackend: af-packet\ncontrol: control.sock\nlimits: { flows: 4096 }\n\
                      logs: { flows: { file: flows.json } }\n\
                      drain: { deadline: 60s, new_flows: refuse }\n";
        fs::write(folder.join("appliance.yaml"), config).unwrap();
        Self::again(namespace, folder)
    }

    /// Starts with what is in the folder.
    fn again(namespace: &'n Namespace, folder: PathBuf) -> Self {
        let log =
            fs::OpenOptions::new().create(true).append(true).open(folder.join("log")).unwrap();
        let child = Command::new("ip")
            .args(["netns", "exec", namespace.name(), env!("CARGO_BIN_EXE_lockgate"), "run"])
            .arg("--config")
            .arg(folder.join("appliance.yaml"))
            .stderr(Stdio::from(log))
            .spawn()
            .unwrap();
        let one = Self { child, folder, namespace };
        one.until("it is healthy", |one| one.health().is_some_and(|(status, _)| status == 200));
        one
    }

    fn until(&self, what: &str, is: impl Fn(&Self) -> bool) {
        let mut waited = Duration::ZERO;
        while !is(self) {
            assert!(waited < PATIENCE, "never: {what}\n{}", self.log());
            thread::sleep(Duration::from_millis(20));
            waited += Duration::from_millis(20);
        }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    /// Status and body of the health endpoint.
    fn health(&self) -> Option<(u16, String)> {
        let mut stream = self.namespace.run(|| TcpStream::connect("127.0.0.1:8080")).ok()?;
        stream.write_all(b"GET /health HTTP/1.0\r\n\r\n").ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        let status = text.split(' ').nth(1)?.parse().ok()?;
        Some((status, text.split_once("\r\n\r\n")?.1.to_owned()))
    }

    fn ctl(&self, arguments: &str) -> String {
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

    /// Sends a signal; `ip netns exec` became the binary, so the child is it.
    fn signal(&self, signal: &str) {
        assert!(run(&format!("kill -{signal} {}", self.child.id())));
    }

    /// Waits for its end; whether it ended well.
    fn wait(mut self) -> (bool, String) {
        let status = self.child.wait().unwrap();
        (status.success(), self.log())
    }

    fn folder(&self) -> &Path {
        &self.folder
    }
}

impl Drop for Appliance<'_> {
    fn drop(&mut self) {
        // Most tests have waited for its end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A body that differs everywhere, so that a lost or doubled piece is seen.
fn body(len: usize) -> Vec<u8> {
    (0..len as u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

/// Answers every request on a port with `body`, in `pieces` pieces with `pause` between them.
fn serve(listener: &TcpListener, body: &[u8], pieces: usize, pause: Duration, stop: &AtomicBool) {
    listener.set_nonblocking(true).unwrap();
    thread::scope(|scope| {
        while !stop.load(Ordering::Relaxed) {
            let Ok((mut stream, _)) = listener.accept() else {
                thread::sleep(Duration::from_millis(5));
                continue;
            };
            scope.spawn(move || {
                stream.set_nonblocking(false).unwrap();
                stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
                // A client that is cut off is told nothing, and neither are we.
                stream.set_write_timeout(Some(Duration::from_secs(5))).unwrap();
                let mut request = Vec::new();
                let mut room = [0; 4096];
                while !request.ends_with(b"\r\n\r\n") {
                    match stream.read(&mut room) {
                        Ok(0) | Err(_) => return,
                        Ok(len) => request.extend_from_slice(&room[..len]),
                    }
                }
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
                if stream.write_all(head.as_bytes()).is_err() {
                    return;
                }
                for piece in body.chunks(body.len().div_ceil(pieces)) {
                    if stream.write_all(piece).is_err() {
                        return;
                    }
                    thread::sleep(pause);
                }
            });
        }
    });
}

/// The network with a gateway and a web server at work, while `work` runs.
fn with_server<T>(
    port: u16,
    body: &[u8],
    pieces: usize,
    pause: Duration,
    work: impl FnOnce(&Network) -> T,
) -> Option<(T, Seen)> {
    let Some(network) = Network::make(1, 2) else {
        skipped("no network namespaces, ethtool or curl");
        return None;
    };
    let mut gwlb = Gwlb::new(ENDPOINT, &[[10, 99, 0, 2]]);
    // Both sides are told of a rejection: the second reset passes while the flow lingers.
    gwlb.linger = Duration::from_millis(100);
    let gwlb = Mutex::new(gwlb);
    let address = (Ipv4Addr::from(SERVER), port);
    let listener = network.server.run(|| TcpListener::bind(address)).unwrap();
    let stop = AtomicBool::new(false);
    let result = network.run(&gwlb, || {
        thread::scope(|scope| {
            scope.spawn(|| serve(&listener, body, pieces, pause, &stop));
            let _stop = StopAtEnd(&stop);
            work(&network)
        })
    });
    Some(result)
}

/// Exit code and body.
fn curl(network: &Network, port: u16, host: &str, seconds: u64) -> (i32, Vec<u8>) {
    curl_in(&network.client, port, host, seconds)
}

fn curl_in(client: &Namespace, port: u16, host: &str, seconds: u64) -> (i32, Vec<u8>) {
    let line = format!(
        "curl -sS -o /dev/stdout --max-time {seconds} -H Host:{host} http://10.2.0.20:{port}/"
    );
    let output = on(client, &line);
    (output.status.code().unwrap_or(-1), output.stdout)
}

fn nothing_was_refused(seen: &Seen) {
    for refusal in [Refusal::StaleCookie, Refusal::ChangedHeader, Refusal::SwappedPorts] {
        assert_eq!(seen.refused.get(&refusal), None, "{seen:?}");
    }
}

#[test]
fn the_binary_serves_what_its_rules_allow_and_leaves_when_told() {
    let data = body(2_000_000);
    let done = with_server(8080, &data, 1, Duration::ZERO, |network| {
        let one = Appliance::start(&network.targets[0], "serve", "deny");
        assert_eq!(curl(network, 8080, "shop.example", 30), (0, data.clone()));
        // 56: reset while receiving.
        assert_eq!(curl(network, 8080, "evil.example", 30), (56, Vec::new()));
        let status = one.ctl("status");
        assert!(status.starts_with("healthy"), "{status}");
        one.signal("TERM");
        one.until("it drains", |one| {
            one.ctl("status").contains("draining") || one.health().is_none()
        });
        let folder = one.folder().to_owned();
        let (well, log) = one.wait();
        assert!(well && log.contains("drained: no flow is left"), "{log}");
        let records = fs::read_to_string(folder.join("flows.json")).unwrap();
        assert!(records.contains("\"rule\":\"shop\"") && records.contains("evil.example"));
    });
    if let Some(((), seen)) = done {
        nothing_was_refused(&seen);
    }
}

#[test]
fn a_download_survives_reload_after_reload_and_then_a_drain() {
    let data = body(6_000_000);
    let done = with_server(8080, &data, 60, Duration::from_millis(50), |network| {
        let one = Appliance::start(&network.targets[0], "reload", "deny");
        thread::scope(|scope| {
            let download = scope.spawn(|| curl(network, 8080, "shop.example", 60));
            for _ in 0..10 {
                thread::sleep(Duration::from_millis(100));
                assert!(one.ctl("reload").starts_with("installed"));
            }
            let foreseen = one.ctl("reload --dry-run");
            assert!(foreseen.contains("0 of 1 live flow would change verdict"), "{foreseen}");
            let drain = one.ctl("drain");
            assert!(drain.starts_with("draining: 1 flow left"), "{drain}");
            assert_eq!(one.health().unwrap().0, 503, "no_rebalance: at once");
            let (code, _) = curl(network, 8080, "shop.example", 2);
            assert_ne!(code, 0, "new flows are refused");
            let (code, received) = download.join().unwrap();
            assert_eq!(code, 0);
            assert!(received == data, "{} of {} bytes", received.len(), data.len());
        });
        let (well, log) = one.wait();
        assert!(well && log.contains("drained: no flow is left"), "{log}");
    });
    if let Some(((), seen)) = done {
        nothing_was_refused(&seen);
    }
}

#[test]
fn after_kill_and_restart_the_midstream_setting_answers() {
    for (midstream, survives) in [("adopt", true), ("deny", false)] {
        let data = body(3_000_000);
        with_server(8081, &data, 80, Duration::from_millis(100), |network| {
            let one = Appliance::start(&network.targets[0], midstream, midstream);
            let folder = one.folder().to_owned();
            thread::scope(|scope| {
                let download = scope.spawn(|| curl(network, 8081, "x.example", 30));
                one.until("the flow is known", |one| one.ctl("flows").contains("files"));
                one.signal("KILL");
                drop(one);
                let two = Appliance::again(&network.targets[0], folder);
                let (code, received) = download.join().unwrap();
                assert_eq!((code == 0, received == data), (survives, survives), "{midstream}");
                drop(two);
            });
        });
    }
}

#[test]
fn partners_with_the_same_addresses_meet_their_own_rules_and_their_own_servers() {
    let Some(network) = Network::of_partners(2, 1, 2) else {
        return skipped("no network namespaces, ethtool or curl");
    };
    let gwlb = |endpoint| {
        let mut gwlb = Gwlb::new(endpoint, &[[10, 99, 0, 2]]);
        gwlb.linger = Duration::from_millis(100);
        Mutex::new(gwlb)
    };
    let (acme, globex) = (gwlb(ENDPOINT), gwlb(OTHER));
    let (client, server) = &network.more[0];
    let address = (Ipv4Addr::from(SERVER), 8080);
    let listen = |server: &Namespace| server.run(|| TcpListener::bind(address)).unwrap();
    let (listeners, stop) = ([listen(&network.server), listen(server)], AtomicBool::new(false));
    let ((), seen) = network.run_all(&[&acme, &globex], || {
        let one = Appliance::start(&network.targets[0], "partners", "deny");
        thread::scope(|scope| {
            let _stop = StopAtEnd(&stop);
            for (listener, body) in listeners.iter().zip([b"of acme".as_slice(), b"of globex"]) {
                let stop = &stop;
                scope.spawn(move || serve(listener, body, 1, Duration::ZERO, stop));
            }
            for _ in 0..3 {
                assert_eq!(curl(&network, 8080, "shop.example", 20), (0, b"of acme".to_vec()));
                assert_eq!(curl_in(client, 8080, "other.example", 20), (0, b"of globex".to_vec()));
                assert_eq!(curl(&network, 8080, "other.example", 20).0, 56);
                assert_eq!(curl_in(client, 8080, "shop.example", 20).0, 56);
            }
        });
        let flows = one.ctl("flows");
        assert!(flows.contains("acme") && flows.contains("globex"), "{flows}");
    });
    nothing_was_refused(&seen);
}

#[test]
fn dig_is_answered_for_the_names_its_rules_allow() {
    if !run("dig -v") {
        return skipped("no dig");
    }
    with_server(8080, b"x", 1, Duration::ZERO, |network| {
        let _one = Appliance::start(&network.targets[0], "dig", "deny");
        let socket = network.server.run(|| UdpSocket::bind((Ipv4Addr::from(SERVER), 53))).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            let _stop = StopAtEnd(&stop);
            scope.spawn(|| answer(&socket, &stop));
            let ask = |name: &str| {
                let line =
                    format!("dig +time=2 +tries=1 +noall +answer +comments @10.2.0.20 {name}");
                String::from_utf8_lossy(&network.on_client(&line).stdout).into_owned()
            };
            let (allowed, refused) = (ask("db.shop.example"), ask("evil.example"));
            assert!(allowed.contains("NOERROR") && allowed.contains("10.2.0.99"), "{allowed}");
            assert!(refused.contains("REFUSED"), "{refused}");
        });
    });
}

/// Answers every DNS question with one address.
fn answer(socket: &UdpSocket, stop: &AtomicBool) {
    let mut room = [0; 1500];
    while !stop.load(Ordering::Relaxed) {
        let Ok((len, from)) = socket.recv_from(&mut room) else { continue };
        let question = &room[12..len];
        let end = question.iter().position(|byte| *byte == 0).unwrap() + 5;
        let head = [&room[..2], &[0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]].concat();
        let record = [0xc0, 0x0c, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 10, 2, 0, 99];
        let _ = socket.send_to(&[&head, &question[..end], &record].concat(), from);
    }
}
