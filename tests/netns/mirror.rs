//! Passive mode as an operator runs it: copies of packets come in VXLAN, by themselves and through a load
//! balancer; they are judged and recorded, and not one packet leaves.

use crate::binary::{Appliance, ENDPOINT};
use crate::lab::{MACS, Wire, skipped};
use crate::ports::Tap;
use lockgate::io::live::Backend;
use lockgate::model::{EndpointId, Protocol};
use lockgate::synth::gwlb::Encapsulation;
use lockgate::synth::packet;
use lockgate::synth::session::{Session, Side};
use std::net::UdpSocket;
use std::thread;
use std::time::Duration;

/// A mirror has no endpoint of its own: addresses tell who is who.
const RULES: &str = "
lockgate: 1
common_endpoints: any
segments:
  acme: { kind: partner, networks: [10.3.0.0/16] }
  shop: { kind: workload, networks: [10.2.0.0/16] }
policies:
  - from: acme
    to: shop
    rules: [{ id: beside, action: allow, protocol: tcp, ports: [80], domains: [shop.example] }]
    otherwise: reject
";

/// A connection from begin to end that asks for this host, as VXLAN carries it.
fn mirrored(from: &str, port: u16, host: &str) -> Vec<Vec<u8>> {
    let (src, dst) = (from.parse().unwrap(), "10.2.0.20".parse().unwrap());
    let mut session = Session::new(packet::tuple((src, port), (dst, 80), Protocol::TCP));
    let mut packets = session.handshake();
    let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
    packets.push(session.send(Side::Client, request.as_bytes()));
    packets.push(session.send(Side::Server, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"));
    packets.extend([session.fin(Side::Client), session.fin(Side::Server)]);
    packets.push(session.ack(Side::Client));
    let vxlan =
        |packet: &Vec<u8>| [&[8, 0, 0, 0, 0, 0, 7, 0][..], &[2; 12], &[8, 0], packet].concat();
    packets.iter().map(vxlan).collect()
}

#[test]
fn mirrored_connections_are_judged_recorded_and_never_answered() {
    let Some(wire) = Wire::make(9001, 1) else { return skipped("no network namespaces") };
    let of = ("mirror", Backend::AfPacket);
    let one = Appliance::start(&wire.target, of, RULES, "mode: passive");
    assert!(one.log().contains("passive: mirrored traffic is judged"), "{}", one.log());
    let left = wire.gateway.run(|| {
        let mut tap = Tap::open();
        let socket = UdpSocket::bind("10.99.0.1:0").unwrap();
        for (number, host) in [(1, "shop.example"), (2, "evil.example")] {
            for datagram in mirrored("10.3.0.10", 1000 + number, host) {
                socket.send_to(&datagram, "10.99.0.2:4789").unwrap();
            }
            // The same through the endpoint of a load balancer.
            let mirror = packet::tuple(
                ("10.9.0.1".parse().unwrap(), 9),
                ("10.9.0.2".parse().unwrap(), 4789),
                Protocol::UDP,
            );
            for datagram in mirrored("10.3.0.11", 2000 + number, host) {
                let around = Encapsulation::of(EndpointId(ENDPOINT));
                tap.send(&around.wrap(&packet::udp(&mirror, &datagram)));
            }
        }
        one.until("all were seen", |one| one.metric(&["lockgate_received_packets_total"]) >= 32.0);
        thread::sleep(Duration::from_millis(100));
        tap.ip_frames_from(MACS[1])
    });
    assert_eq!(left, 0, "nothing may leave");
    let flows = one.ctl("flows");
    for (word, count) in [("beside", 2), ("shop.example", 2), ("evil.example", 2), ("reject", 2)] {
        assert_eq!(flows.matches(word).count(), count, "{word}\n{flows}");
    }
    assert_eq!(one.health().unwrap().0, 200);
    let folder = one.folder().to_owned();
    one.signal("TERM");
    // Flows of a mirror have nothing to wait for.
    one.until("it drains", |one| one.ctl("status").contains("draining"));
    one.signal("TERM");
    assert!(one.wait().0);
    assert_eq!(Appliance::records(&folder).len(), 4);
}
