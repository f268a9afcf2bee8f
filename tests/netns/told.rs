//! What an operator is told: of a ruleset that is read, or refused, by signal or by itself; of rights
//! that are missing; of bytes on the port that are no packets.

use crate::binary::{Appliance, ENDPOINT, SEGMENTS, backends};
use crate::lab::{Namespace, Wire, must, skipped};
use crate::network::on;
use crate::ports::Tap;
use lockgate::io::live::Backend;
use lockgate::model::{EndpointId, Protocol};
use lockgate::synth::gwlb::Encapsulation;
use lockgate::synth::packet;
use std::fs;

const RULES: &str = "
policies:
  - { from: acme, to: shop, rules: [{ id: echo, action: allow, protocol: udp, ports: [7] }] }
";

fn rules() -> String {
    format!("{SEGMENTS}{RULES}")
}

#[test]
fn a_ruleset_is_read_at_sighup_and_when_its_file_changes_and_a_refusal_is_told_everywhere() {
    let Some(wire) = Wire::make(1500, 1) else { return skipped("no network namespaces") };
    let config = "workers: 1\ngateways: [10.99.0.1]\nreload: { watch: true }";
    let of = ("told", Backend::AfPacket);
    let one = Appliance::start(&wire.target, of, &rules(), config);
    let epoch = |one: &Appliance<'_>| one.metric(&["lockgate_policy_epoch "]);
    one.signal("HUP");
    one.until("it was read at SIGHUP", |one| epoch(one) == 2.0);
    fs::write(one.folder().join("rules.yaml"), rules().replace("[7]", "[9]")).unwrap();
    one.until("it was read when it changed", |one| epoch(one) == 3.0);
    fs::write(one.folder().join("rules.yaml"), rules().replace("ports", "prots")).unwrap();
    one.until("it was refused", |one| one.metric(&["lockgate_reload_refused "]) == 1.0);
    assert_eq!(one.metric(&["lockgate_reloads_total{result=\"refused\"}"]), 1.0);
    let (status, body) = one.health().unwrap();
    assert_eq!(status, 200, "the old one serves");
    assert!(body.contains("the ruleset was refused"), "{body}");
    assert!(one.ctl("status").contains("refused"), "{}", one.ctl("status"));
    let log = one.log();
    assert!(log.contains("unknown field `prots`"), "with its place: {log}");
    assert_eq!(epoch(&one), 3.0);
}

#[test]
fn that_only_unknown_gateways_send_is_told_until_another_does() {
    let Some(wire) = Wire::make(1500, 1) else { return skipped("no network namespaces") };
    let of = ("strangers", Backend::AfPacket);
    let one = Appliance::start(&wire.target, of, &rules(), "workers: 1\ngateways: [10.99.0.9]");
    let frame = Encapsulation::of(EndpointId(ENDPOINT)).wrap(&question());
    let mut known = frame.clone();
    known[26..30].copy_from_slice(&[10, 99, 0, 9]);
    let noted =
        |one: &Appliance<'_>| one.health().is_some_and(|(_, body)| body.contains("`gateways`"));
    wire.gateway.run(|| {
        let mut tap = Tap::open();
        (0..5).for_each(|_| tap.send(&frame));
        one.until("it is noted", noted);
        one.until("it is told", |one| one.log().contains("sender=10.99.0.1"));
        let (status, body) = one.health().unwrap();
        assert_eq!(status, 200, "{body}");
        let text = one.ctl("status");
        assert!(text.contains("does not name, such as 10.99.0.1, and is dropped"), "{text}");
        assert!(text.contains("dropped    5 unknown-gateway"), "{text}");
        tap.send(&mended(known));
        one.until("the note is gone", |one| !noted(one));
    });
    let told = one.log().matches("`gateways` does not name").count();
    assert_eq!(told, 1, "once, not for each packet\n{}", one.log());
}

#[test]
fn what_was_lost_and_why_it_was_unhealthy_is_in_the_log() {
    let Some(wire) = Wire::make(1500, 1) else { return skipped("no network namespaces") };
    let of = ("lossy", Backend::AfPacket);
    let config = "workers: 1\ngateways: [10.99.0.1]\nring: 1MiB";
    let one = Appliance::start(&wire.target, of, &rules(), config);
    wire.gateway.run(|| {
        let mut tap = Tap::open();
        let frame = Encapsulation::of(EndpointId(ENDPOINT)).wrap(&question());
        one.signal("STOP");
        (0..5000).for_each(|_| tap.send(&frame));
        one.signal("CONT");
    });
    one.until("the loss is told", |one| one.log().contains("frames were lost"));
    one.until("health is told", |one| one.log().contains("unhealthy reasons="));
    one.until("its end is told", |one| one.log().contains("healthy again"));
    let log = one.log();
    for words in ["worker=0", "interface=\"fw0\"", "causes=\"overrun ", "the back end lost"] {
        assert!(log.contains(words), "{words}\n{log}");
    }
    assert_eq!(log.matches("frames were lost").count(), 1, "{log}");
}

/// A packet of acme's that the rules allow.
fn question() -> Vec<u8> {
    let (src, dst) = ("10.1.0.10".parse().unwrap(), "10.2.0.20".parse().unwrap());
    packet::udp(&packet::tuple((src, 1), (dst, 7), Protocol::UDP), b"hello")
}

#[test]
fn a_missing_capability_is_named() {
    let Some(wire) = Wire::make(1500, 1) else { return skipped("no network namespaces") };
    let of = ("rightless", Backend::AfPacket);
    let config = "workers: 1\ngateways: [10.99.0.1]";
    let folder = Appliance::start(&wire.target, of, &rules(), config).folder().to_owned();
    let start = |namespace: &Namespace, backend: &str| {
        let path = folder.join("appliance.yaml");
        let text = fs::read_to_string(&path).unwrap().replace("af-packet", backend);
        fs::write(&path, text).unwrap();
        let (program, path) = (env!("CARGO_BIN_EXE_lockgate"), path.display());
        let line = format!("setpriv --bounding-set -all {program} run --config {path}");
        let output = on(namespace, &line);
        assert!(!output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let said = start(&wire.target, "af-packet");
    assert!(said.contains("opening a packet socket; it needs CAP_NET_RAW (root has it)"), "{said}");
    let said = start(&wire.target, "af-xdp");
    assert!(said.contains("it needs CAP_NET_ADMIN, CAP_NET_RAW and CAP_BPF"), "{said}");
}

#[test]
fn garbage_on_the_port_is_counted_with_its_reason_and_never_answered() {
    backends().iter().for_each(|backend| garbage(*backend));
}

fn garbage(backend: Backend) {
    let Some(wire) = Wire::make(9001, 1) else { return skipped("no network namespaces") };
    let config = "workers: 1\ngateways: [10.99.0.1]";
    let one = Appliance::start(&wire.target, ("garbage", backend), &rules(), config);
    let good = Encapsulation::of(EndpointId(ENDPOINT)).wrap(&question());
    // Ethernet 14, IPv4 20, UDP 8, GENEVE 8, options 32.
    let with = |changes: &[(usize, u8)]| {
        let mut frame = good.clone();
        changes.iter().for_each(|(at, byte)| frame[*at] = *byte);
        frame
    };
    let noise: Vec<u8> =
        (0..400_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let cases = [
        ("geneve-version", with(&[(42, 0x48)])),
        ("geneve-control", with(&[(43, 0x80)])),
        ("geneve-critical-option", with(&[(52, 0x89)])),
        ("geneve-option-length", with(&[(53, 9)])),
        ("geneve-protocol", with(&[(44, 0x12)])),
        // The inner packet is of no version that the type names.
        ("geneve-protocol", with(&[(82, 0x75)])),
        ("ip-checksum", with(&[(92, 0x55)])),
        ("unknown-gateway", with(&[(26, 11), (24, 0), (25, 0)])),
        ("geneve-control", [&good[..42], &noise].concat()),
    ];
    let answered = wire.gateway.run(|| {
        let mut tap = Tap::open();
        for (number, (_, frame)) in cases.iter().enumerate() {
            let frame = mended(frame.clone());
            tap.send(&frame);
            let all = number as f64 + 1.0;
            one.until("it was judged", |one| {
                one.metric(&["lockgate_received_packets_total"]) >= all
            });
        }
        let answered = tap.receive().is_some();
        // And it serves as before.
        tap.send(&good);
        assert!(tap.arrives().is_some());
        answered
    });
    assert!(!answered, "{}", one.counted("packets_total{"));
    for (reason, _) in &cases {
        let expected = cases.iter().filter(|(other, _)| other == reason).count() as f64;
        assert_eq!(
            one.dropped("", reason),
            expected,
            "{reason}\n{}",
            one.counted("packets_total{")
        );
    }
    assert_eq!(one.metric(&["lockgate_packets_total", "verdict=\"drop\""]), cases.len() as f64);
}

/// The outer lengths and the IPv4 checksum made right: only what is meant is wrong.
fn mended(mut frame: Vec<u8>) -> Vec<u8> {
    let len = |from: usize| u16::try_from(frame.len() - from).unwrap().to_be_bytes();
    let (ip, udp) = (len(14), len(34));
    frame[16..18].copy_from_slice(&ip);
    frame[38..40].copy_from_slice(&udp);
    frame[24..26].fill(0);
    let sum = lockgate::wire::Sum::default().bytes(&frame[14..34]).finish();
    frame[24..26].copy_from_slice(&sum);
    // No outer UDP checksum, as GWLB sends it.
    frame[40..42].fill(0);
    frame
}

#[test]
fn a_port_that_another_program_has_is_named() {
    let Some(wire) = Wire::make(1500, 1) else { return skipped("no network namespaces") };
    let of = ("taken", Backend::AfPacket);
    let config = "workers: 1\ngateways: [10.99.0.1]";
    let one = Appliance::start(&wire.target, of, &rules(), config);
    let path = one.folder().join("appliance.yaml").display().to_string();
    let again = |change: &str| {
        let (from, to) = change.split_once(" to ").unwrap();
        must(&format!("sed -i s/{from}/{to}/ {path}"));
        let output =
            on(&wire.target, &format!("{} run --config {path}", env!("CARGO_BIN_EXE_lockgate")));
        assert!(!output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let said = again("workers to workers");
    assert!(said.contains("health: 0.0.0.0:8080 is in use by another program"), "{said}");
    fs::write(
        &path,
        fs::read_to_string(&path).unwrap() + "health: { listen: \"127.0.0.1:8081\" }\n",
    )
    .unwrap();
    let said = again("control.sock to other.sock");
    assert!(said.contains("UDP 10.99.0.2:6081 is in use by another program"), "{said}");
}
