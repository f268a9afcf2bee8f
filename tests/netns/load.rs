//! Reload and drain under many flows: what is still allowed loses no packet, what is revoked is cut
//! and says why.

use crate::binary::{Appliance, ENDPOINT, PATIENCE, SEGMENTS, backends};
use crate::lab::{Namespace, StopAtEnd, skipped};
use crate::network::{Network, SERVER, on};
use crate::web::{Answer, body, curl, gateway, listen, serve};
use lockgate::io::live::Backend;
use std::fs;
use std::net::{Ipv4Addr, UdpSocket};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

/// Connections that stay allowed, connections that are revoked, flows of datagrams.
const ALLOWED: usize = 200;
const REVOKED: usize = 40;
const DATAGRAMS: usize = 60;
/// Pieces of each answer; so far every connection goes before the next thing happens to it.
const PIECES: usize = 6;

/// The ruleset with and without what is revoked.
fn rules(old: bool) -> String {
    let old = if old {
        "      - { id: old, action: allow, protocol: tcp, ports: [8080], domains: [old.example] }\n"
    } else {
        ""
    };
    format!(
        "{SEGMENTS}policies:\n  - from: acme\n    to: shop\n    rules:\n{old}      \
         - {{ id: shop, action: allow, protocol: tcp, ports: [8080], domains: [shop.example] }}\n      \
         - {{ id: echo, action: allow, protocol: udp, ports: [7] }}\n    otherwise: reject\n"
    )
}

#[test]
fn hundreds_of_flows_outlive_reloads_and_a_drain_and_the_revoked_ones_are_cut() {
    backends().iter().for_each(|backend| outlive(*backend));
}

fn outlive(backend: Backend) {
    let Some(network) = Network::make(1, 2) else {
        return skipped("no network namespaces, ethtool or curl");
    };
    let data = body(240_000);
    let (stop, piece) = (AtomicBool::new(false), AtomicUsize::new(0));
    let pause = |number: usize| {
        while number > piece.load(Ordering::Relaxed) && !stop.load(Ordering::Relaxed) {
            thread::sleep(Duration::from_millis(10));
        }
        !stop.load(Ordering::Relaxed)
    };
    let answer = Answer { body: &data, pieces: PIECES, pause: &pause };
    let listener = listen(&network.server, 8080);
    // There before the first datagram, which nobody sends again.
    let echoing = network.server.run(|| UdpSocket::bind((Ipv4Addr::from(SERVER), 7))).unwrap();
    let (gwlb, datagrams) = (gateway(ENDPOINT), AtomicBool::new(false));
    network.run(&gwlb, || {
        let config = "workers: 2\ngateways: [10.99.0.1]\nlimits: { flows: 4096 }\n\
                      drain: { deadline: 600s, at_least: 1s, new_flows: refuse }";
        let of = ("load", backend);
        let one = Appliance::start(&network.targets[0], of, &rules(true), config);
        let folder = one.folder().to_owned();
        thread::scope(|scope| {
            let (_stop, _datagrams) = (StopAtEnd(&stop), StopAtEnd(&datagrams));
            scope.spawn(|| serve(&listener, &answer, &stop));
            scope.spawn(|| echo(&echoing, &stop));
            let echoed = scope.spawn(|| ask_for_echo(&network.client, &datagrams));
            let many = |host, count| fetch(&network.client, &folder.join(host), host, count);
            let shop = scope.spawn(move || many("shop.example", ALLOWED));
            let old = scope.spawn(move || many("old.example", REVOKED));
            one.until("all flows are there", |one| {
                one.ctl("flows --verdict allow --limit 1")
                    .contains(&format!("{} flows match", ALLOWED + REVOKED + DATAGRAMS))
            });
            one.until("every answer has begun", |_| {
                begun(&folder.join("old.example")) == REVOKED
                    && begun(&folder.join("shop.example")) == ALLOWED
            });
            piece.store(1, Ordering::Relaxed);
            reload(&one, &piece);
            let old = old.join().unwrap();
            assert_eq!(old, vec!["56 200"; REVOKED], "reset while receiving");
            drain(&one, &network);
            piece.store(PIECES, Ordering::Relaxed);
            let shop = shop.join().unwrap();
            assert_eq!(shop, vec!["0 200"; ALLOWED]);
            datagrams.store(true, Ordering::Relaxed);
            let rounds = echoed.join().unwrap();
            assert!(rounds > DATAGRAMS, "{rounds}");
            nothing_was_lost(&one);
            // Flows of datagrams have no end of their own.
            one.until("only those are left", |one| {
                one.metric(&["lockgate_drain_flows_left"]) <= DATAGRAMS as f64
            });
            one.ctl("flush --rule echo");
        });
        let (well, log) = one.wait();
        assert!(well && log.contains("drained: no flow is left"), "{log}");
        for number in 1..=ALLOWED {
            let file = folder.join("shop.example").join(number.to_string());
            assert!(fs::read(&file).unwrap() == data, "{}", file.display());
        }
        tells_of_the_revoked(&folder);
    });
}

/// The same ruleset ten times, then one without what is revoked, which is foreseen.
fn reload(one: &Appliance<'_>, piece: &AtomicUsize) {
    for round in 0..10 {
        assert!(one.ctl("reload").starts_with("installed"));
        piece.store(1 + round / 4, Ordering::Relaxed);
    }
    fs::write(one.folder().join("rules.yaml"), rules(false)).unwrap();
    let foreseen = one.ctl("reload --dry-run --limit 1");
    let all = ALLOWED + REVOKED + DATAGRAMS;
    let expected = format!("{REVOKED} of {all} live flows would change verdict");
    assert!(foreseen.contains(&expected), "{foreseen}");
    assert!(one.ctl("reload").starts_with("installed"));
    piece.store(4, Ordering::Relaxed);
}

/// Known flows are served, new ones are not.
fn drain(one: &Appliance<'_>, network: &Network) {
    let told = one.ctl("drain");
    assert!(told.starts_with("draining: "), "{told}");
    assert_eq!(one.health().unwrap().0, 503);
    assert_ne!(curl(network, 8080, "shop.example", 1).0, 0, "new flows are refused");
    assert!(one.dropped("acme", "draining") > 0.0);
}

/// Nothing was lost before or behind the engine, and it dropped only what it had to.
fn nothing_was_lost(one: &Appliance<'_>) {
    let lost = one.metric(&["lockgate_backend_lost_packets_total"]);
    assert_eq!(lost, 0.0, "{}", one.counted("lost_packets"));
    let dropped = one.metric(&["lockgate_packets_total", "verdict=\"drop\""]);
    // Revoked flows: by the packet that met the new ruleset, and what followed.
    let expected: f64 = ["otherwise", "flow-denied", "draining", "tcp-closed", "midstream"]
        .iter()
        .map(|reason| one.dropped("acme", reason))
        .sum();
    assert_eq!(dropped, expected, "{}", one.counted("packets_total{"));
}

/// Every revoked flow has a record that says so.
fn tells_of_the_revoked(folder: &Path) {
    let records = Appliance::records(folder);
    let of = |host: &str| {
        let all = records.iter().filter(|record| record["http"]["hostname"] == host);
        all.filter(|record| record["event_type"] == "flow").collect::<Vec<_>>()
    };
    let (old, shop) = (of("old.example"), of("shop.example"));
    assert_eq!((old.len(), shop.len()), (REVOKED, ALLOWED));
    for record in old {
        let said = &record["lockgate"];
        assert_eq!((&said["reason"], &said["verdict"]), (&"otherwise".into(), &"reject".into()));
        assert_eq!(record["flow"]["reason"], "denied", "{record}");
    }
    for record in shop {
        assert_eq!(
            (&record["lockgate"]["rule"], &record["flow"]["reason"]),
            (&"shop".into(), &"closed".into())
        );
    }
}

/// One curl with so many connections at once; each one's exit code and status.
fn fetch(client: &Namespace, folder: &Path, host: &str, count: usize) -> Vec<String> {
    let told = folder.with_extension("told");
    // The format has a space, so it comes by file.
    fs::write(&told, "%{exitcode} %{http_code}\\n").unwrap();
    let line = format!(
        "curl -s --parallel --parallel-immediate --parallel-max {count} --create-dirs \
         --max-time {} -H Host:{host} -w @{} -o {}/#1 http://10.2.0.20:8080/[1-{count}]",
        PATIENCE.as_secs() * 2,
        told.display(),
        folder.display()
    );
    let output = on(client, &line);
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

/// How many files there are of which something has come.
fn begun(folder: &Path) -> usize {
    let files = fs::read_dir(folder).into_iter().flatten().flatten();
    files.filter(|file| file.metadata().is_ok_and(|about| about.len() > 0)).count()
}

/// Gives every datagram back.
fn echo(socket: &UdpSocket, stop: &AtomicBool) {
    socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let mut room = [0; 1500];
    while !stop.load(Ordering::Relaxed) {
        let Ok((len, from)) = socket.recv_from(&mut room) else { continue };
        let _ = socket.send_to(&room[..len], from);
    }
}

/// From each of many ports one datagram after the other, each once the one before is back. None is
/// sent twice, so that one lost would be missed for ever. Gives how many came back.
fn ask_for_echo(client: &Namespace, stop: &AtomicBool) -> usize {
    let socket = |_| {
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        socket.connect((Ipv4Addr::from(SERVER), 7)).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket
    };
    let sockets: Vec<UdpSocket> = client.run(|| (0..DATAGRAMS).map(socket).collect());
    let mut number = 0_usize;
    while !stop.load(Ordering::Relaxed) {
        for socket in &sockets {
            number += 1;
            socket.send(&number.to_be_bytes()).unwrap();
            let mut room = [0; 8];
            let len = socket.recv(&mut room).expect("no datagram is lost");
            assert_eq!((len, usize::from_be_bytes(room)), (8, number));
        }
        thread::sleep(Duration::from_millis(50));
    }
    number
}
