//! More than there is room for: a flood in one partner's segment while another is served, and a flow
//! table without a place left. What is refused, why, who sees it, and how it ends.

use crate::binary::{Appliance, ENDPOINT, OTHER, PATIENCE, SEGMENTS, backends};
use crate::lab::{Namespace, StopAtEnd, skipped};
use crate::network::{Network, SERVER};
use crate::web::{Answer, body, curl, gateway, listen, serve, with_server};
use lockgate::io::live::Backend;
use lockgate::model::Protocol;
use lockgate::synth::packet::{self, Segment, flag};
use pnet::datalink::{self, Channel};
use std::net::{Ipv4Addr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

/// Both partners may reach the shop; one of them has a place reserved, the other a bound.
const FLOOD_RULES: &str = "
lockgate: 1
segments:
  acme:
    { kind: partner, endpoints: [vpce-0123456789abcdef0], networks: [10.1.0.0/16], limits: { flows: 1000 } }
  globex:
    kind: partner
    endpoints: [vpce-00feeddccbbaa9988]
    networks: [10.1.0.0/16]
    limits: { flows: 300, new_flows_per_second: 200 }
  shop: { kind: workload, networks: [10.2.0.0/16] }
policies:
  - { from: acme, to: shop, rules: [{ id: shop, action: allow, protocol: tcp, ports: [8080] }] }
  - { from: globex, to: shop, rules: [{ id: flooded, action: allow, protocol: tcp, ports: [8080] }] }
";

#[test]
fn a_syn_flood_of_one_partner_costs_another_nothing() {
    backends().iter().for_each(|backend| flood(*backend));
}

fn flood(backend: Backend) {
    let Some(network) = Network::of_partners(2, 1, 2) else {
        return skipped("no network namespaces, ethtool or curl");
    };
    let (acme, globex) = (gateway(ENDPOINT), gateway(OTHER));
    let listener = listen(&network.server, 8080);
    let (stop, sent) = (AtomicBool::new(false), AtomicUsize::new(0));
    let data = body(200_000);
    network.run_all(&[&acme, &globex], || {
        let config = "workers: 2\ngateways: [10.99.0.1]\nlimits: { flows: 4096 }";
        let of = ("flood", backend);
        let one = Appliance::start(&network.targets[0], of, FLOOD_RULES, config);
        thread::scope(|scope| {
            let _stop = StopAtEnd(&stop);
            scope.spawn(|| serve(&listener, &Answer::whole(&data), &stop));
            scope.spawn(|| network.more[0].0.run(|| send_syns(&sent, &stop)));
            let reasons = ["limit-segment-flows", "limit-new-flows"];
            one.until("both bounds of the flooder are reached", |one| {
                reasons.iter().all(|reason| one.dropped("globex", reason) > 100.0)
            });
            let before = sent.load(Ordering::Relaxed);
            for _ in 0..40 {
                assert_eq!(curl(&network, 8080, "shop.example", 60), (0, data.clone()));
            }
            one.until("the flood went on", |_| sent.load(Ordering::Relaxed) > before + 1000);
        });
        served_whole(&one);
        let open = one.metric(&["lockgate_segment_flows{segment=\"globex\"}"]);
        // Each of two workers has its share.
        assert!((1.0..=300.0).contains(&open), "{open}");
        let opened = one.metric(&["lockgate_flows_opened_total", "from=\"acme\""]);
        assert_eq!(opened, 40.0, "every connection was one flow: nothing was tried again");
    });
}

/// No packet of acme was dropped, nothing was lost before or behind the engine, and that is healthy.
fn served_whole(one: &Appliance<'_>) {
    let dropped = one.metric(&["lockgate_packets_total", "from=\"acme\"", "verdict=\"drop\""]);
    let lost = one.metric(&["lockgate_backend_lost_packets_total"]);
    assert_eq!((dropped, lost), (0.0, 0.0), "{}", one.counted("_packets_total{"));
    assert_eq!(one.health().unwrap().0, 200, "denials are no losses");
}

/// Opens connections and never goes on with them, each from an address and port of its own. Counts
/// them, and pauses as a machine needs it on which the gateway has to move every frame.
fn send_syns(sent: &AtomicUsize, stop: &AtomicBool) {
    let all = datalink::interfaces();
    let interface = all.iter().find(|one| one.name == "eth0").expect("eth0");
    let Ok(Channel::Ethernet(mut sender, _)) = datalink::channel(interface, Default::default())
    else {
        panic!("no channel");
    };
    let link = 3;
    let macs = [[2, 0, 0, 0, link, 1], [2, 0, 0, 0, link, 2]].concat();
    while !stop.load(Ordering::Relaxed) {
        let number = sent.fetch_add(1, Ordering::Relaxed);
        let [.., high, low] = u32::try_from(number / 100 % 50_000).expect("it fits").to_be_bytes();
        let port = 10_000 + u16::try_from(number % 100).expect("it fits");
        let src = (Ipv4Addr::new(10, 1, high, low).into(), port);
        let tuple = packet::tuple(src, (Ipv4Addr::from(SERVER).into(), 8080), Protocol::TCP);
        let syn = Segment { seq: 7, ack: 0, flags: flag::SYN, payload: b"" };
        let frame = [&macs, &[8, 0][..], &packet::tcp(&tuple, &syn)].concat();
        sender.send_to(&frame, None).expect("sent").expect("sent");
        if number.is_multiple_of(16) {
            thread::sleep(Duration::from_millis(2));
        }
    }
}

/// What a full table is filled with expires in seconds, what is served does not.
const FULL_RULES: &str = "
policies:
  - from: acme
    to: shop
    rules:
      - { id: shop, action: allow, protocol: tcp, ports: [8080] }
      - { id: filler, action: allow, protocol: udp }
defaults: { timeouts: { udp: 10s } }
";

#[test]
fn a_full_table_refuses_new_flows_serves_known_ones_and_has_room_again_later() {
    backends().iter().for_each(|backend| fill(*backend));
}

fn fill(backend: Backend) {
    let data = body(1_000_000);
    let go_on = AtomicBool::new(false);
    let pause = |piece: usize| {
        while piece >= 10 && !go_on.load(Ordering::Relaxed) {
            thread::sleep(Duration::from_millis(5));
        }
        true
    };
    let answer = Answer { body: &data, pieces: 20, pause: &pause };
    with_server(8080, &answer, |network| {
        let rules = format!("{SEGMENTS}{FULL_RULES}");
        let config = "workers: 2\ngateways: [10.99.0.1]\nlimits: { flows: 64 }";
        let one = Appliance::start(&network.targets[0], ("full", backend), &rules, config);
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            let _go_on = StopAtEnd(&go_on);
            let known = scope.spawn(|| curl(network, 8080, "shop.example", PATIENCE.as_secs()));
            one.until("the download is known", |one| one.ctl("flows").contains("shop"));
            let full = scope.spawn(|| {
                let _stop = StopAtEnd(&stop);
                refuses(&one, network);
                go_on.store(true, Ordering::Relaxed);
                let (code, received) = known.join().unwrap();
                assert!(code == 0 && received == data, "{code}, {} bytes", received.len());
            });
            scope.spawn(|| keep_flows(&network.client, &stop));
            full.join().unwrap();
            // Nobody keeps the others alive any more.
            one.until("there is room again", |one| one.metric(&["lockgate_flows "]) < 10.0);
            assert_eq!(curl(network, 8080, "shop.example", 60), (0, data.clone()));
        });
        served_but_for(&one, "limit-flows");
    });
}

/// Waits until the table is full and looks at what that means.
fn refuses(one: &Appliance<'_>, network: &Network) {
    one.until("the table is full", |one| {
        one.metric(&["lockgate_flows "]) == 64.0 && one.dropped("acme", "limit-flows") > 100.0
    });
    assert_eq!(one.metric(&["lockgate_flows_limit "]), 64.0);
    let before = one.dropped("acme", "limit-flows");
    assert_ne!(curl(network, 8080, "shop.example", 2).0, 0, "no place for it");
    assert!(one.dropped("acme", "limit-flows") > before);
    assert_eq!(one.health().unwrap().0, 200, "a full table is no fault of the instance");
    assert_eq!(one.metric(&["lockgate_flows_ended_total{how=\"replaced\"}"]), 0.0);
}

/// The only packets that were dropped are those of this reason.
fn served_but_for(one: &Appliance<'_>, reason: &str) {
    let all = one.metric(&["lockgate_packets_total", "verdict=\"drop\""]);
    assert_eq!(all, one.dropped("acme", reason), "{}", one.counted("packets_total{"));
    assert_eq!(one.metric(&["lockgate_backend_lost_packets_total"]), 0.0);
}

/// Sends from 300 ports, again and again: so many flows as there is room for live as long as that.
fn keep_flows(client: &Namespace, stop: &AtomicBool) {
    let sockets: Vec<UdpSocket> =
        client.run(|| (0..300).map(|_| UdpSocket::bind("0.0.0.0:0").unwrap()).collect());
    while !stop.load(Ordering::Relaxed) {
        for socket in &sockets {
            // The server has nothing there and says so; that is not of interest.
            let _ = socket.send_to(b"x", (Ipv4Addr::from(SERVER), 9));
        }
        thread::sleep(Duration::from_millis(50));
    }
}
