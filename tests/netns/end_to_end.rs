//! Real clients and servers, the emulator of the load balancer between them, ports and engine as its
//! target.

use crate::gwlb::{Gwlb, Refusal};
use crate::lab::skipped;
use crate::network::{Network, SERVER};
use lockgate::engine::{Counters, Engine, Limits};
use lockgate::flow::Secret;
use lockgate::io::live::{Backend, PortSettings, open};
use lockgate::model::Reason;
use lockgate::policy::Policy;
use lockgate::ruleset::{self, Options};
use lockgate::wire::Settings;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const ENDPOINT: u64 = 0x1234_5678_9abc_def0;
const RULES: &str = r#"
lockgate: 1
segments:
  acme: { kind: partner, endpoints: [vpce-0123456789abcdef0], networks: [10.1.0.0/16] }
  shop: { kind: workload, networks: [10.2.0.0/16] }
policies:
  - from: acme
    to: shop
    rules:
      - { id: shop, action: allow, protocol: tcp, ports: [8080], domains: [shop.example] }
    otherwise: reject
"#;

fn policy() -> Arc<Policy> {
    let options = Options::default();
    match ruleset::load_text("rules.yaml", RULES, &options) {
        Ok(loaded) => Arc::new(loaded.policy),
        Err(refused) => panic!("{refused}"),
    }
}

/// Runs the appliance of a target while `work` runs; gives what its engines counted.
fn appliance<T>(
    network: &Network,
    target: usize,
    settings: &PortSettings,
    work: impl FnOnce() -> T,
) -> (T, Counters) {
    let ports = network.targets[target].run(|| open(settings)).expect("ports").ports;
    let (stop, policy) = (AtomicBool::new(false), policy());
    std::thread::scope(|scope| {
        let workers: Vec<_> = ports
            .into_iter()
            .map(|mut port| {
                let (stop, policy) = (&stop, Arc::clone(&policy));
                scope.spawn(move || {
                    let limits = Limits { flows: 1024, ..Limits::default() };
                    let secret = Secret::new(1, 2);
                    let mut engine = Engine::new(policy, limits, Settings::GWLB, secret);
                    while !stop.load(Ordering::Relaxed) {
                        port.exchange(Duration::from_millis(20), &mut |now, frames, out| {
                            engine.tick(now, out);
                            engine.process(frames, out);
                        })
                        .expect("the port works");
                    }
                    assert_eq!(port.losses().total(), 0);
                    engine.counters().clone()
                })
            })
            .collect();
        let result = work();
        stop.store(true, Ordering::Relaxed);
        let mut counters = Counters::default();
        for worker in workers {
            counters.merge(&worker.join().expect("it did not panic"));
        }
        (result, counters)
    })
}

/// Answers HTTP requests with this body until it is told to stop.
fn serve(listener: &TcpListener, body: &[u8], stop: &AtomicBool) {
    listener.set_nonblocking(true).expect("it can");
    while !stop.load(Ordering::Relaxed) {
        let Ok((mut stream, _)) = listener.accept() else {
            std::thread::sleep(Duration::from_millis(5));
            continue;
        };
        stream.set_nonblocking(false).expect("it can");
        stream.set_read_timeout(Some(Duration::from_secs(5))).expect("it can");
        let mut request = Vec::new();
        let mut room = [0; 4096];
        while !request.ends_with(b"\r\n\r\n") {
            match stream.read(&mut room) {
                Ok(0) | Err(_) => break,
                Ok(len) => request.extend_from_slice(&room[..len]),
            }
        }
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
        let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
    }
}

/// A server with this body behind the network, while `work` runs.
fn with_server<T>(network: &Network, body: &[u8], work: impl FnOnce() -> T) -> T {
    let address = (Ipv4Addr::from(SERVER), 8080);
    let listener = network.server.run(|| TcpListener::bind(address)).expect("the port is free");
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| serve(&listener, body, &stop));
        let result = work();
        stop.store(true, Ordering::Relaxed);
        result
    })
}

fn curl(network: &Network, host: &str) -> (i32, usize) {
    let output = network.on_client(&format!(
        "curl -sS -o /dev/stdout --max-time 8 -H Host:{host} http://10.2.0.20:8080/"
    ));
    (output.status.code().unwrap_or(-1), output.stdout.len())
}

fn allowed_and_denied(backend: Backend, workers: usize) {
    let Some(network) = Network::make(1, 2) else {
        return skipped("no network namespaces, ethtool or curl");
    };
    // Both sides are told of a rejection: the second reset passes while the flow lingers.
    let mut gwlb = Gwlb::new(ENDPOINT, &[[10, 99, 0, 2]]);
    gwlb.linger = Duration::from_millis(100);
    let gwlb = Mutex::new(gwlb);
    let settings = PortSettings { backend, workers, seed: 3, ..PortSettings::on("fw0") };
    let body = vec![b'x'; 3_000_000];
    let (((good, bad), counters), seen) = network.run(&gwlb, || {
        appliance(&network, 0, &settings, || {
            with_server(&network, &body, || {
                let good: Vec<_> = (0..5).map(|_| curl(&network, "shop.example")).collect();
                (good, curl(&network, "evil.example"))
            })
        })
    });
    assert_eq!(good, vec![(0, body.len()); 5]);
    // 56: reset while receiving.
    assert_eq!(bad, (56, 0), "{seen:?}");
    assert_eq!(seen.refused.get(&Refusal::StaleCookie), None, "{seen:?}");
    assert_eq!(seen.refused.get(&Refusal::ChangedHeader), None, "{seen:?}");
    assert_eq!(counters.flows, 6);
    assert!(counters.dropped(Reason::Otherwise) + counters.dropped(Reason::HeldDenied) > 0);
}

#[test]
fn curl_gets_what_its_host_allows_and_is_reset_where_it_does_not() {
    allowed_and_denied(Backend::AfPacket, 1);
}

#[test]
fn curl_gets_the_same_by_af_xdp() {
    allowed_and_denied(Backend::AfXdp, 1);
}

#[test]
fn several_workers_serve_as_one() {
    allowed_and_denied(Backend::AfPacket, 3);
}

#[test]
fn several_workers_serve_as_one_by_af_xdp() {
    allowed_and_denied(Backend::AfXdp, 2);
}

#[test]
fn flows_spread_over_targets_each_of_which_judges_its_own() {
    let Some(network) = Network::make(2, 1) else {
        return skipped("no network namespaces, ethtool or curl");
    };
    let gwlb = Mutex::new(Gwlb::new(ENDPOINT, &[[10, 99, 0, 2], [10, 99, 0, 3]]));
    let settings = PortSettings { backend: Backend::AfPacket, ..PortSettings::on("fw0") };
    let body = b"hello";
    let (((results, second), first), seen) = network.run(&gwlb, || {
        appliance(&network, 0, &settings, || {
            let (results, second) = appliance(&network, 1, &settings, || {
                with_server(&network, body, || {
                    (0..16).map(|_| curl(&network, "shop.example")).collect::<Vec<_>>()
                })
            });
            (results, second)
        })
    });
    assert_eq!(results, vec![(0, body.len()); 16], "{seen:?}");
    assert_eq!(first.flows + second.flows, 16);
    assert!(first.flows > 0 && second.flows > 0, "{} and {}", first.flows, second.flows);
}
