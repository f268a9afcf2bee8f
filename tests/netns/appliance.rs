//! The binary as an operator runs it, between real programs: `lockgate run` in a target's namespace,
//! curl and dig on the client, the emulator of the load balancer in between; on either back end.

use crate::binary::{Appliance, ENDPOINT, OTHER, SEGMENTS, backends};
use crate::gwlb::{Failover, Gwlb, Refusal};
use crate::lab::{StopAtEnd, run, skipped};
use crate::network::{Network, SERVER, Seen};
use crate::web::{Answer, body, curl, curl_in, gateway, listen, serve, with_server};
use lockgate::io::live::Backend;
use std::fs;
use std::net::{Ipv4Addr, UdpSocket};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

const RULES: &str = "
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
";
/// Two workers, new flows refused while it leaves.
const CONFIG: &str = "workers: 2\ngateways: [10.99.0.1]\nlimits: { flows: 4096 }\n\
                      drain: { deadline: 120s, at_least: 1s, new_flows: refuse }";

fn rules(midstream: &str) -> String {
    format!("{SEGMENTS}{RULES}defaults: {{ midstream: {midstream} }}\n")
}

/// A pause of so long before each piece.
fn pause(millis: u64) -> impl Fn(usize) -> bool + Sync {
    move |_| {
        thread::sleep(Duration::from_millis(millis));
        true
    }
}

fn nothing_was_refused(seen: &Seen) {
    for refusal in [Refusal::StaleCookie, Refusal::ChangedHeader, Refusal::SwappedPorts] {
        assert_eq!(seen.refused.get(&refusal), None, "{seen:?}");
    }
}

#[test]
fn the_binary_serves_what_its_rules_allow_and_leaves_when_told() {
    backends().iter().for_each(|backend| serves_and_leaves(*backend));
}

fn serves_and_leaves(backend: Backend) {
    let data = body(2_000_000);
    let done = with_server(8080, &Answer::whole(&data), |network| {
        let one = Appliance::start(&network.targets[0], ("serve", backend), &rules("deny"), CONFIG);
        assert_eq!(curl(network, 8080, "shop.example", 60), (0, data.clone()));
        // 56: reset while receiving.
        assert_eq!(curl(network, 8080, "evil.example", 60), (56, Vec::new()));
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
    backends().iter().for_each(|backend| survives(*backend));
}

fn survives(backend: Backend) {
    let data = body(6_000_000);
    let (pieces, go_on) = (60, AtomicBool::new(false));
    // The second half waits until everything was asked for that it is to outlive.
    let pause = |piece: usize| {
        while piece >= pieces / 2 && !go_on.load(Ordering::Relaxed) {
            thread::sleep(Duration::from_millis(5));
        }
        thread::sleep(Duration::from_millis(10));
        true
    };
    let answer = Answer { body: &data, pieces, pause: &pause };
    let done = with_server(8080, &answer, |network| {
        let one =
            Appliance::start(&network.targets[0], ("reload", backend), &rules("deny"), CONFIG);
        thread::scope(|scope| {
            let _go_on = StopAtEnd(&go_on);
            let download = scope.spawn(|| curl(network, 8080, "shop.example", 120));
            one.until("the flow is known", |one| one.ctl("flows --verdict allow").contains("shop"));
            for _ in 0..10 {
                assert!(one.ctl("reload").starts_with("installed"));
            }
            let foreseen = one.ctl("reload --dry-run");
            assert!(foreseen.contains("0 of 1 live flow would change verdict"), "{foreseen}");
            let drain = one.ctl("drain");
            assert!(drain.starts_with("draining: 1 flow left"), "{drain}");
            assert_eq!(one.health().unwrap().0, 503, "no_rebalance: at once");
            let (code, _) = curl(network, 8080, "shop.example", 2);
            assert_ne!(code, 0, "new flows are refused");
            go_on.store(true, Ordering::Relaxed);
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
    for backend in backends() {
        restarts(*backend, "adopt", true);
        restarts(*backend, "deny", false);
    }
}

fn restarts(backend: Backend, midstream: &str, survives: bool) {
    let data = body(3_000_000);
    let pause = pause(100);
    let answer = Answer { body: &data, pieces: 80, pause: &pause };
    with_server(8081, &answer, |network| {
        let one =
            Appliance::start(&network.targets[0], (midstream, backend), &rules(midstream), CONFIG);
        let folder = one.folder().to_owned();
        thread::scope(|scope| {
            // What is denied in the middle is told nothing more: curl gives up by itself.
            let seconds = if survives { 60 } else { 8 };
            let download = scope.spawn(move || curl(network, 8081, "x.example", seconds));
            one.until("the flow is known", |one| one.ctl("flows").contains("files"));
            one.signal("KILL");
            drop(one);
            let two = Appliance::again(&network.targets[0], folder);
            if !survives {
                two.until("it is met in the middle", |two| two.dropped("", "midstream") > 0.0);
            }
            let (code, received) = download.join().unwrap();
            assert_eq!((code == 0, received == data), (survives, survives), "{midstream}");
            drop(two);
        });
    });
}

#[test]
fn a_flow_that_is_moved_to_another_target_goes_on_there() {
    backends().iter().for_each(|backend| moves(*backend));
}

fn moves(backend: Backend) {
    let Some(network) = Network::make(2, 2) else {
        return skipped("no network namespaces, ethtool or curl");
    };
    let mut gwlb = Gwlb::new(ENDPOINT, &[[10, 99, 0, 2], [10, 99, 0, 3]]);
    (gwlb.failover, gwlb.linger) = (Failover::Rebalance, Duration::from_millis(100));
    let gwlb = Mutex::new(gwlb);
    let (listener, stop) = (listen(&network.server, 8081), AtomicBool::new(false));
    let (data, go_on) = (body(1_000_000), AtomicBool::new(false));
    let pause = |piece: usize| {
        while piece > 3 && !go_on.load(Ordering::Relaxed) && !stop.load(Ordering::Relaxed) {
            thread::sleep(Duration::from_millis(5));
        }
        true
    };
    let answer = Answer { body: &data, pieces: 10, pause: &pause };
    let ((), seen) = network.run(&gwlb, || {
        let start = |target: usize, name| {
            Appliance::start(&network.targets[target], (name, backend), &rules("adopt"), CONFIG)
        };
        let both = [start(0, "first"), start(1, "second")];
        thread::scope(|scope| {
            let _stop = StopAtEnd(&stop);
            scope.spawn(|| serve(&listener, &answer, &stop));
            let download = scope.spawn(|| curl(&network, 8081, "x.example", 120));
            let knows = |one: &Appliance<'_>| one.ctl("flows").contains("files");
            both[0].until("one of them has it", |_| both.iter().any(knows));
            let first = usize::from(knows(&both[1]));
            gwlb.lock().unwrap().set_health(first, false);
            go_on.store(true, Ordering::Relaxed);
            let (code, received) = download.join().unwrap();
            assert!(code == 0 && received == data, "{code}, {} bytes", received.len());
            assert!(knows(&both[1 - first]), "it was adopted");
        });
    });
    assert!(seen.sent.iter().all(|sent| *sent > 0), "{seen:?}");
    nothing_was_refused(&seen);
}

#[test]
fn partners_with_the_same_addresses_meet_their_own_rules_and_their_own_servers() {
    backends().iter().for_each(|backend| are_told_apart(*backend));
}

fn are_told_apart(backend: Backend) {
    let Some(network) = Network::of_partners(2, 1, 2) else {
        return skipped("no network namespaces, ethtool or curl");
    };
    let (acme, globex) = (gateway(ENDPOINT), gateway(OTHER));
    let (client, server) = &network.more[0];
    let listeners = [listen(&network.server, 8080), listen(server, 8080)];
    let stop = AtomicBool::new(false);
    let ((), seen) = network.run_all(&[&acme, &globex], || {
        let one =
            Appliance::start(&network.targets[0], ("partners", backend), &rules("deny"), CONFIG);
        thread::scope(|scope| {
            let _stop = StopAtEnd(&stop);
            for (listener, body) in listeners.iter().zip([b"of acme".as_slice(), b"of globex"]) {
                let stop = &stop;
                scope.spawn(move || serve(listener, &Answer::whole(body), stop));
            }
            for _ in 0..3 {
                assert_eq!(curl(&network, 8080, "shop.example", 60), (0, b"of acme".to_vec()));
                assert_eq!(curl_in(client, 8080, "other.example", 60), (0, b"of globex".to_vec()));
                assert_eq!(curl(&network, 8080, "other.example", 60).0, 56);
                assert_eq!(curl_in(client, 8080, "shop.example", 60).0, 56);
            }
        });
        let flows = one.ctl("flows");
        assert!(flows.contains("acme") && flows.contains("globex"), "{flows}");
    });
    nothing_was_refused(&seen);
}

#[test]
fn dig_is_answered_for_the_names_its_rules_allow() {
    backends().iter().for_each(|backend| dig_is_answered(*backend));
}

fn dig_is_answered(backend: Backend) {
    if !run("dig -v") {
        return skipped("no dig");
    }
    with_server(8080, &Answer::whole(b"x"), |network| {
        let _one = Appliance::start(&network.targets[0], ("dig", backend), &rules("deny"), CONFIG);
        let socket = network.server.run(|| UdpSocket::bind((Ipv4Addr::from(SERVER), 53))).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            let _stop = StopAtEnd(&stop);
            scope.spawn(|| answer(&socket, &stop));
            let ask = |name: &str| {
                let line =
                    format!("dig +time=5 +tries=3 +noall +answer +comments @10.2.0.20 {name}");
                String::from_utf8_lossy(&network.on_client(&line).stdout).into_owned()
            };
            let (allowed, refused) = (ask("db.shop.example"), ask("evil.example"));
            assert!(allowed.contains("NOERROR") && allowed.contains("10.2.0.99"), "{allowed}");
            assert!(refused.contains("REFUSED"), "{refused}");
        });
    });
}

#[test]
fn the_back_end_that_cannot_be_had_is_told_with_its_reason_and_the_other_serves() {
    // One queue for two workers.
    let Some(network) = Network::make(1, 1) else {
        return skipped("no network namespaces, ethtool or curl");
    };
    let (gwlb, listener) = (gateway(ENDPOINT), listen(&network.server, 8080));
    let stop = AtomicBool::new(false);
    network.run(&gwlb, || {
        thread::scope(|scope| {
            let _stop = StopAtEnd(&stop);
            scope.spawn(|| serve(&listener, &Answer::whole(b"x"), &stop));
            let of = ("fallback", Backend::Auto);
            let one = Appliance::start(&network.targets[0], of, &rules("deny"), CONFIG);
            assert_eq!(curl(&network, 8080, "shop.example", 60), (0, b"x".to_vec()));
            let log = one.log();
            assert!(log.contains("the faster back end is not used"), "{log}");
            assert!(log.contains("1 receive queue for 2 workers"), "{log}");
            assert!(log.contains("backend=\"af-packet"), "{log}");
            assert!(one.ctl("status").contains("af-packet"), "{}", one.ctl("status"));
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
