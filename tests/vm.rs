//! What only a whole machine can show: the package under a real systemd, the back ends on drivers of
//! network cards. The machine is virtual (tests/vm/); booting it takes minutes, so it is asked for:
//! `LOCKGATE_VM=1`. Needs root, mmdebstrap, qemu-system-x86_64 8.0 and Debian's archive; no KVM.

mod shipped;

use shipped::{package, root, said, told, wrap};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

/// One machine at a time.
static TURN: Mutex<()> = Mutex::new(());

/// The folder of the machine's disk, kept between runs; none where no machine is asked for.
fn machine() -> Option<PathBuf> {
    if std::env::var_os("LOCKGATE_VM").is_none() {
        eprintln!("SKIPPED: LOCKGATE_VM=1 boots virtual machines, for minutes");
        return None;
    }
    let folder = root().join("target/vm");
    let made = Command::new("bash").arg(root().join("tests/vm/image.sh")).arg(&folder).output();
    let made = made.unwrap();
    assert!(made.status.success(), "{}", said(&made));
    Some(folder)
}

/// Boots the machine with these options for a script and its arguments; gives what it said.
fn boot(folder: &Path, script: &str, options: &str) -> (bool, String) {
    let out = Command::new("bash")
        .arg(root().join("tests/vm/boot.sh"))
        .arg(folder)
        .args(["1200", script])
        .args(options.split_whitespace())
        .output()
        .unwrap();
    (out.status.success(), said(&out))
}

#[test]
fn the_package_runs_reloads_restarts_and_leaves_under_systemd() {
    let _turn = TURN.lock();
    let Some(folder) = machine() else { return };
    if package(&folder).is_none() {
        return;
    }
    wrap(&folder);
    let script = "tests/vm/unit.sh,target/vm/lockgate.deb,target/vm/wrapped.pcap";
    let (well, all) = boot(&folder, script, "");
    assert!(well, "{all}");
    let expected = fs::read_to_string(root().join("tests/vm/unit.expected")).unwrap();
    assert_eq!(told(&all), expected.lines().collect::<Vec<_>>(), "{all}");
}

/// The machine's cards, by their drivers: what qemu is told.
const CARDS: [(&str, &str); 2] = [
    (
        "virtio-net",
        "-device virtio-net-pci,netdev=b,host_mtu=9001,iommu_platform=on,disable-legacy=on",
    ),
    ("igb", "-device pcie-root-port,id=rp,chassis=1 -device igb,netdev=b,bus=rp"),
];

#[test]
fn ports_on_the_drivers_of_cards_do_what_they_do_between_namespaces() {
    let _turn = TURN.lock();
    let Some(folder) = machine() else { return };
    // The tests of the ports, as cargo made them last, and the binary they start.
    let built = Command::new(env!("CARGO"))
        .args(["test", "--locked", "--test", "netns", "--no-run", "--message-format=json"])
        .current_dir(root())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&built.stdout).into_owned();
    let messages = text.lines().filter_map(|line| line.split_once("\"executable\":\""));
    let binary = messages.filter_map(|(_, rest)| rest.split_once('"')).map(|(path, _)| path);
    let mut binary = binary.filter(|path| path.contains("/netns-"));
    let binary = binary.next_back().expect("it is built");
    fs::copy(binary, folder.join("netns")).unwrap();
    for (name, card) in CARDS {
        let cable = "-netdev hubport,id=a,hubid=1 -netdev hubport,id=b,hubid=1";
        let gateway = "-device virtio-net-pci,netdev=a,host_mtu=9001,mac=02:00:00:00:0a:01";
        let options = format!("{cable} {gateway} {card},mac=02:00:00:00:0a:02");
        let script = "tests/vm/cards.sh,target/vm/netns,ports::,appliance::the_binary_serves";
        let (well, all) = boot(&folder, script, &options);
        assert!(well, "{name}: {all}");
        assert!(all.contains("in the driver, zero-copy"), "{name}: {all}");
    }
}
