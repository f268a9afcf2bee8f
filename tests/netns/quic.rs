//! Real QUIC: client and server of aioquic through the appliance. A name that is allowed is served, in
//! both versions and with a hello of several packets; of one that is denied the server sees nothing.

use crate::binary::{Appliance, ENDPOINT, PATIENCE, SEGMENTS, backends};
use crate::lab::skipped;
use crate::network::{Network, on};
use crate::web::gateway;
use lockgate::io::live::Backend;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

const RULES: &str = "
policies:
  - from: acme
    to: shop
    rules:
      - { id: shop, action: allow, protocol: udp, ports: [443], app: quic, domains: [shop.example] }
    otherwise: deny
";

/// A Python that has aioquic: of the environment `LOCKGATE_VALIDATORS` names, or of the path.
fn python() -> Option<String> {
    let python = match std::env::var("LOCKGATE_VALIDATORS") {
        Ok(folder) => format!("{folder}/bin/python3"),
        Err(_) => "python3".to_owned(),
    };
    let has = Command::new(&python).args(["-c", "import aioquic"]).output();
    has.is_ok_and(|output| output.status.success()).then_some(python)
}

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/netns/quic.py")
}

/// Ends a program that was started here, also when a test fails.
struct Ends(Mutex<Child>);

impl Drop for Ends {
    fn drop(&mut self) {
        let mut child = self.0.lock().unwrap();
        let _ = child.kill();
        let _ = child.wait();
    }
}

#[test]
fn quic_is_served_by_name_and_a_denied_name_reaches_nobody() {
    let Some(python) = python() else {
        return skipped("no aioquic (pip install aioquic)");
    };
    backends().iter().for_each(|backend| by_name(&python, *backend));
}

fn by_name(python: &str, backend: Backend) {
    let Some(network) = Network::make(1, 2) else {
        return skipped("no network namespaces, ethtool or curl");
    };
    let gwlb = gateway(ENDPOINT);
    network.run(&gwlb, || {
        let rules = format!("{SEGMENTS}{RULES}");
        let config = "workers: 2\ngateways: [10.99.0.1]\nlimits: { flows: 4096 }";
        let one = Appliance::start(&network.targets[0], ("quic", backend), &rules, config);
        let datagrams = AtomicUsize::new(0);
        let allowed = thread::scope(|scope| {
            let (server, lines) = start_server(python, &network, one.folder());
            let datagrams = &datagrams;
            // Ends with the server.
            scope.spawn(move || {
                lines.map_while(Result::ok).for_each(|_| {
                    datagrams.fetch_add(1, Ordering::Relaxed);
                });
            });
            let ask = |more: &str| {
                let script = script();
                let asked = format!("{python} {} client --host 10.2.0.20 {more}", script.display());
                let output = on(&network.client, &asked);
                (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
            };
            let seconds = PATIENCE.as_secs();
            // The last one's hello does not fit one datagram.
            for more in ["", "--version 2", "--protocols 150"] {
                let before = datagrams.load(Ordering::Relaxed);
                let served = ask(&format!("--name shop.example --seconds {seconds} {more}"));
                assert_eq!(served, (Some(0), String::new()), "{more}\n{}", one.ctl("flows"));
                assert!(datagrams.load(Ordering::Relaxed) > before + 50, "{more}");
            }
            let before = datagrams.load(Ordering::Relaxed);
            for more in ["", "--version 2", "--protocols 150"] {
                let (code, said) = ask(&format!("--name evil.example --seconds 3 {more}"));
                assert_eq!(code, Some(2), "{said}");
            }
            drop(server);
            before
        });
        // By now everything the server said has been read.
        assert_eq!(datagrams.into_inner(), allowed, "nothing of a denied name reached the server");
        let flows = one.ctl("flows");
        for name in ["shop.example", "evil.example"] {
            assert_eq!(flows.matches(name).count(), 3, "{flows}");
        }
        assert!(one.metric(&["lockgate_rule_hits_total{rule=\"shop\""]) >= 3.0);
    });
}

/// A server in its namespace that is ready, and what it says from then on.
fn start_server(
    python: &str,
    network: &Network,
    folder: &Path,
) -> (Ends, std::io::Lines<BufReader<std::process::ChildStdout>>) {
    let made = rcgen::generate_simple_self_signed(["shop.example".to_owned()]).unwrap();
    let (certificate, key) = (folder.join("certificate.pem"), folder.join("key.pem"));
    fs::write(&certificate, made.cert.pem()).unwrap();
    fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let mut child = Command::new("ip")
        .args(["netns", "exec", network.server.name(), python])
        .arg(script())
        .args(["server", "--certificate"])
        .arg(certificate)
        .arg("--key")
        .arg(key)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "ready");
    (Ends(Mutex::new(child)), lines)
}
