//! Real network cards in place of a veth pair, the same tests on both: `LOCKGATE_CARDS` names two by
//! their places on the PCI bus, the gateway's and the target's, joined by a cable and used by nothing
//! else (`0000:00:05.0,0000:00:06.0`). One test at a time then. tests/vm/cards.sh is such a machine.

use crate::lab::{Namespace, must, run};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

/// How often a card is looked for: it comes back to the machine some time after its namespace is gone.
const LOOKS: usize = 300;

/// One end of a cable: an interface that is to be in a namespace.
#[derive(Clone, Copy, Debug)]
pub(crate) struct End<'e> {
    pub(crate) namespace: &'e Namespace,
    pub(crate) name: &'e str,
    pub(crate) mac: [u8; 6],
}

/// Waits until an interface that is up has a link: cards agree on a speed first.
pub(crate) fn wait_for_link(namespace: &Namespace, name: &str) {
    let file = format!("/sys/class/net/{name}/carrier");
    let carried = || {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", namespace.name(), "cat", &file]);
        command.output().is_ok_and(|out| out.stdout.starts_with(b"1"))
    };
    let found = (0..LOOKS).any(|_| {
        carried() || {
            thread::sleep(Duration::from_millis(100));
            false
        }
    });
    assert!(found, "{name} has no link");
}

/// Whether there are cards.
pub(crate) fn present() -> bool {
    places().is_some()
}

fn places() -> Option<[String; 2]> {
    let both = std::env::var("LOCKGATE_CARDS").ok()?;
    let (gateway, target) = both.split_once(',')?;
    Some([gateway.to_owned(), target.to_owned()])
}

/// Joins two namespaces with so many queues at the target's end: by the cards if there are some, else by
/// a veth pair. Both ends are down. Whether that was possible.
pub(crate) fn join(gateway: End<'_>, target: End<'_>, queues: usize) -> bool {
    let Some(places) = places() else { return join_by_veth(gateway, target, queues) };
    let ends = [(gateway, 1), (target, queues)];
    ends.into_iter().zip(&places).all(|((end, queues), place)| put(place, end, queues))
}

fn join_by_veth(gateway: End<'_>, target: End<'_>, queues: usize) -> bool {
    let queues = format!("numrxqueues {queues} numtxqueues {queues}");
    run(&format!(
        "ip -n {} link add {} {queues} address {} type veth peer name {} netns {} {queues} address {}",
        gateway.namespace.name(),
        gateway.name,
        written(gateway.mac),
        target.name,
        target.namespace.name(),
        written(target.mac),
    ))
}

fn written(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

/// Moves a card into its namespace.
fn put(place: &str, end: End<'_>, queues: usize) -> bool {
    let found = (0..LOOKS).find_map(|_| {
        interface(place).or_else(|| {
            thread::sleep(Duration::from_millis(100));
            None
        })
    });
    let card = found.expect("the card is back");
    let (namespace, name) = (end.namespace.name(), end.name);
    must(&format!("ip link set {card} down"));
    must(&format!("ip link set {card} netns {namespace} name {name}"));
    must(&format!("ip -n {namespace} link set {name} address {}", written(end.mac)));
    let inside = format!("ip netns exec {namespace} ethtool");
    // A card that filters keeps tags from us that a veth pair lets through.
    let try_to = |line: String| {
        let mut words = line.split_whitespace();
        let program = words.next().unwrap_or_default();
        Command::new(program).args(words).output().is_ok_and(|out| out.status.success())
    };
    try_to(format!("{inside} -K {name} rx-vlan-filter off"));
    if queues > 1 && !try_to(format!("{inside} -L {name} combined {queues}")) {
        eprintln!("SKIPPED: {name} has no {queues} queues");
        return false;
    }
    if queues == 1 {
        try_to(format!("{inside} -L {name} combined 1"));
    }
    true
}

/// The interface of a card, if it is in the namespace of the machine.
fn interface(place: &str) -> Option<String> {
    let device = Path::new("/sys/bus/pci/devices").join(place);
    let names = |folder: PathBuf| fs::read_dir(folder).into_iter().flatten().flatten();
    let below = names(device.clone()).map(|entry| entry.path());
    let folders = [device.join("net")].into_iter().chain(below.map(|path| path.join("net")));
    let mut found = folders.flat_map(names).map(|entry| entry.file_name());
    found.next().map(|name| name.to_string_lossy().into_owned())
}
