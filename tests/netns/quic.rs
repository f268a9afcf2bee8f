//! Real QUIC: client and server of aioquic through the appliance. A name that is allowed is served, in
//! both versions and with a hello of several packets; of one that is denied the server sees nothing.

use crate::binary::{Appliance, PATIENCE, backends};
use crate::lab::skipped;
use crate::network::{Network, on};
use crate::served::{self, Served};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
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

#[test]
fn quic_is_served_by_name_and_a_denied_name_reaches_nobody() {
    let Some(python) = python() else {
        return skipped("no aioquic (pip install aioquic)");
    };
    for backend in backends() {
        served::behind_appliance(("quic", *backend), RULES, |network, one| {
            by_name(&python, network, one);
        });
    }
}

fn by_name(python: &str, network: &Network, one: &Appliance<'_>) {
    let datagrams = AtomicUsize::new(0);
    let allowed = thread::scope(|scope| {
        let [certificate, key] = served::certificate(one.folder()).map(PathBuf::into_os_string);
        let words: [OsString; 7] = [
            python.into(),
            script().into(),
            "server".into(),
            "--certificate".into(),
            certificate,
            "--key".into(),
            key,
        ];
        let (server, lines) = Served::start(network, &words, "ready");
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
}
