//! Network namespaces joined by veth pairs, made for one test and gone with it.

use crate::cards::{End, join, wait_for_link};
use std::fs::File;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// MAC addresses of the two ends: the gateway's and the target's.
pub(crate) const MACS: [[u8; 6]; 2] = [[2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]];

static COUNT: AtomicU32 = AtomicU32::new(0);

/// A namespace, by its name.
#[derive(Debug)]
pub(crate) struct Namespace(String);

/// Runs a program with the words of `line`; whether it succeeded.
pub(crate) fn run(line: &str) -> bool {
    let mut words = line.split_whitespace();
    let Some(program) = words.next() else { return false };
    let output = Command::new(program).args(words).output();
    match output {
        Ok(output) if output.status.success() => true,
        Ok(output) => {
            eprintln!("{line}: {}", String::from_utf8_lossy(&output.stderr).trim());
            false
        }
        Err(error) => {
            eprintln!("{line}: {error}");
            false
        }
    }
}

/// Runs a program that has to succeed.
pub(crate) fn must(line: &str) {
    assert!(run(line), "failed: {line}");
}

impl Namespace {
    /// A new namespace with its loopback interface up; none where this process may not make one.
    pub(crate) fn make() -> Option<Self> {
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("lockgate-{}-{count}", std::process::id());
        run(&format!("ip netns add {name}")).then(|| {
            must(&format!("ip -n {name} link set lo up"));
            Self(name)
        })
    }

    /// Its name, for `ip -n` and `ip netns exec`.
    pub(crate) fn name(&self) -> &str {
        &self.0
    }

    /// Moves the calling thread into it.
    pub(crate) fn enter(&self) {
        let path = format!("/var/run/netns/{}", self.0);
        let file = File::open(path).expect("the namespace is there");
        rustix::thread::move_into_link_name_space(
            std::os::fd::AsFd::as_fd(&file),
            Some(rustix::thread::LinkNameSpaceType::Network),
        )
        .expect("entering it");
    }

    /// Runs something inside, in a thread of its own.
    pub(crate) fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                self.enter();
                work()
            });
            thread.join().expect("it did not panic")
        })
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        run(&format!("ip netns del {}", self.0));
    }
}

/// A gateway and a target that see each other: interfaces `gw0` (10.99.0.1) and `fw0` (10.99.0.2).
#[derive(Debug)]
pub(crate) struct Wire {
    pub(crate) gateway: Namespace,
    pub(crate) target: Namespace,
}

impl Wire {
    /// Makes it with this MTU and so many queues; none where that is not possible.
    pub(crate) fn make(mtu: u32, queues: usize) -> Option<Self> {
        let (gateway, target) = (Namespace::make()?, Namespace::make()?);
        let (gw, fw) = (gateway.name(), target.name());
        let [mac, targets_mac] = MACS;
        let end = End { namespace: &gateway, name: "gw0", mac };
        let other = End { namespace: &target, name: "fw0", mac: targets_mac };
        if !join(end, other, queues) {
            return None;
        }
        for (namespace, interface, address) in
            [(gw, "gw0", "10.99.0.1/24"), (fw, "fw0", "10.99.0.2/24")]
        {
            must(&format!("ip -n {namespace} addr add {address} dev {interface}"));
            must(&format!("ip -n {namespace} link set {interface} mtu {mtu} up"));
        }
        wait_for_link(&gateway, "gw0");
        wait_for_link(&target, "fw0");
        Some(Self { gateway, target })
    }
}

/// Sets a flag when it goes out of scope, also when a test fails: what waits for it must end.
pub(crate) struct StopAtEnd<'s>(pub(crate) &'s AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Says that a test cannot run here.
pub(crate) fn skipped(why: &str) {
    eprintln!("SKIPPED: {why}");
}
