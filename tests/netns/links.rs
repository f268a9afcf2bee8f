//! What becomes of an instance whose interface goes away: health, the process log, the way out. Frames
//! themselves are of `ports`.

use crate::binary::{Appliance, SEGMENTS, backends};
use crate::cards;
use crate::lab::{Wire, must, skipped};
use lockgate::io::live::Backend;
use std::thread;
use std::time::Duration;

/// The ways to receive: the lines of the configuration that choose one, and its workers.
const INLINE: (&str, usize) = ("workers: 2\ngateways: [10.99.0.1]", 2);
const PASSIVE: (&str, usize) = ("mode: passive", 1);

fn each_way(test: impl Fn(Backend, (&str, usize))) {
    if cards::present() {
        return skipped("the cable of two cards stays where it is");
    }
    for backend in backends() {
        test(*backend, INLINE);
    }
    test(Backend::AfPacket, PASSIVE);
}

/// Health over more than a second, so that a second look of anything is among them.
fn stays(one: &Appliance<'_>, status: u16) {
    for look in 0..15 {
        assert_eq!(one.health().unwrap().0, status, "look {look}\n{}", one.log());
        thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn an_instance_is_unhealthy_until_its_link_is_really_back() {
    each_way(|backend, (lines, workers)| {
        let Some(wire) = Wire::make(1500, 2) else { return skipped("no network namespaces") };
        let (gateway, target) = (wire.gateway.name(), wire.target.name());
        let one = Appliance::start(&wire.target, ("links", backend), SEGMENTS, lines);
        let times = |words: &str| one.log().matches(words).count();
        for (round, (namespace, link)) in [(target, "fw0"), (gateway, "gw0")].iter().enumerate() {
            assert_eq!(times("INFO the interface is up again"), round * workers, "{}", one.log());
            must(&format!("ip -n {namespace} link set {link} down"));
            one.until("it is unhealthy", |one| one.health().unwrap().0 == 503);
            stays(&one, 503);
            assert_eq!(
                times("ERROR the interface is down"),
                (round + 1) * workers,
                "{}",
                one.log()
            );
            must(&format!("ip -n {namespace} link set {link} up"));
            one.until("it is healthy again", |one| one.health().unwrap().0 == 200);
            stays(&one, 200);
        }
    });
}

#[test]
fn an_interface_that_was_made_anew_ends_the_process_so_that_it_is_started_again() {
    each_way(|backend, (lines, _)| {
        let Some(wire) = Wire::make(1500, 2) else { return skipped("no network namespaces") };
        let (gateway, target) = (wire.gateway.name(), wire.target.name());
        let one = Appliance::start(&wire.target, ("gone", backend), SEGMENTS, lines);
        must(&format!("ip -n {target} link del fw0"));
        must(&format!("ip -n {gateway} link add gw0 type veth peer name fw0 netns {target}"));
        must(&format!("ip -n {target} addr add 10.99.0.2/24 dev fw0"));
        must(&format!("ip -n {target} link set fw0 up"));
        let mut looks = 0..400;
        while !one.log().contains("stopped") {
            assert!(looks.next().is_some(), "it lives on\n{}", one.log());
            thread::sleep(Duration::from_millis(50));
        }
        let (well, log) = one.wait();
        assert!(!well, "{log}");
        let told = "interface \"fw0\" is gone: it was removed, or made anew";
        assert!(log.contains(told) && log.contains("no port works any more"), "{log}");
    });
}
