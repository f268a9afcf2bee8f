//! What is left of its rights once it serves, and that it can still do its work with that: pass
//! packets, read its ruleset, follow its log where it is moved.

use crate::binary::{Appliance, PATIENCE, SEGMENTS, backends};
use crate::folder::Folder;
use crate::lab::{Wire, must, run, skipped};
use crate::web::{Answer, curl, with_server};
use lockgate::io::live::Backend;
use std::collections::HashSet;
use std::fs;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;
use std::process::Command;

const RULES: &str = "
policies:
  - from: acme
    to: shop
    rules: [{ id: shop, action: allow, protocol: tcp, ports: [8080], domains: [shop.example] }]
";
const NOBODY: u32 = 65_534;

#[test]
fn it_serves_reloads_and_follows_its_log_as_an_unprivileged_user() {
    if !run("getent passwd nobody") {
        return skipped("no user nobody");
    }
    backends().iter().for_each(|backend| unprivileged(*backend));
}

fn unprivileged(backend: Backend) {
    with_server(8080, &Answer::whole(b"x"), |network| {
        let rules = format!("{SEGMENTS}{RULES}");
        // The log has a folder of its own, which is its user's, as a package makes it.
        let logs = Folder::new("logs");
        must(&format!("chown {NOBODY} {}", logs.display()));
        let file = logs.join("flows.json");
        let config = format!(
            "workers: 2\ngateways: [10.99.0.1]\nlimits: {{ flows: 4096 }}\nuser: nobody\n\
             logs: {{ flows: {{ file: {} }} }}",
            file.display()
        );
        let of = ("rights", backend);
        let one = Appliance::start_with(&network.targets[0], of, &rules, &config);
        has_nothing_left(&one);
        let shop = |count: usize| {
            assert_eq!(curl(network, 8080, "shop.example", 60), (0, b"x".to_vec()));
            one.ctl("flush --all");
            one.until("its record is there", |_| lines(&file) == count);
        };
        shop(1);
        // As logrotate does without `create`, and with it: then the file is there, the user's.
        rotate(&one, &file, &logs.join("flows.json.1"), false);
        shop(1);
        rotate(&one, &file, &logs.join("flows.json.2"), true);
        shop(1);
        for old in ["flows.json.1", "flows.json.2"] {
            assert_eq!(lines(&logs.join(old)), 1, "nothing came after it was moved");
        }
        assert!(one.ctl("reload").starts_with("installed"));
        shop(2);
        assert_eq!(one.metric(&["lockgate_flow_log_records_total{result=\"lost\"}"]), 0.0);
    });
}

fn lines(file: &Path) -> usize {
    fs::read_to_string(file).unwrap_or_default().lines().count()
}

/// Moves the file and tells the instance; gives it time to follow.
fn rotate(one: &Appliance<'_>, file: &Path, to: &Path, create: bool) {
    let said = |one: &Appliance<'_>| one.log().matches("flow log opened again").count();
    let before = said(one);
    fs::rename(file, to).unwrap();
    if create {
        fs::write(file, "").unwrap();
        must(&format!("chown {NOBODY} {}", file.display()));
        must(&format!("chmod 640 {}", file.display()));
    }
    one.signal("USR1");
    one.until("it follows", |one| said(one) > before);
    assert_eq!(fs::metadata(file).unwrap().uid(), NOBODY);
}

#[test]
fn systemd_is_told_that_it_is_ready_alive_and_stopping_from_within_the_sandbox() {
    let Some(wire) = Wire::make(9001, 1) else { return skipped("no network namespaces") };
    let config = "workers: 1\ngateways: [10.99.0.1]\nuser: nobody";
    let rules = format!("{SEGMENTS}{RULES}");
    let of = ("systemd", Backend::AfPacket);
    let one = Appliance::start(&wire.target, of, &rules, config);
    let folder = one.folder().to_owned();
    drop(one);
    for kind in ["path", "abstract"] {
        let (socket, address) = if kind == "path" {
            let path = folder.join("notify");
            (UnixDatagram::bind(&path).unwrap(), path.display().to_string())
        } else {
            let name = format!("lockgate-notify-{}", std::process::id());
            let address = SocketAddr::from_abstract_name(&name).unwrap();
            // Such names are of a network namespace.
            let socket = wire.target.run(|| UnixDatagram::bind_addr(&address).unwrap());
            (socket, format!("@{name}"))
        };
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let next = || {
            let mut room = [0; 200];
            let len = socket.recv(&mut room).expect("it says something");
            String::from_utf8(room[..len].to_vec()).unwrap()
        };
        let socket = format!("NOTIFY_SOCKET={address}");
        // `env` becomes the binary.
        let within = ["env", &socket, "WATCHDOG_USEC=200000"];
        let one = Appliance::under(&wire.target, folder.clone(), &within);
        assert_eq!(next(), "READY=1\nSTATUS=serving, 1 worker");
        assert_eq!([next(), next(), next()], ["WATCHDOG=1"; 3], "{kind}");
        one.signal("TERM");
        while next() != "STOPPING=1" {}
        assert!(one.wait().0);
    }
}

#[test]
fn a_ruleset_that_moved_out_of_the_sandbox_is_refused_with_what_may_be_read() {
    let Some(wire) = Wire::make(9001, 1) else { return skipped("no network namespaces") };
    let rules = format!("{SEGMENTS}{RULES}");
    let config = "workers: 1\ngateways: [10.99.0.1]";
    let one = Appliance::start(&wire.target, ("moved", Backend::AfPacket), &rules, config);
    if one.log().contains("Landlock") {
        return skipped("this kernel has no Landlock");
    }
    let elsewhere = Folder::new("elsewhere");
    let (here, there) = (one.folder().join("rules.yaml"), elsewhere.join("rules.yaml"));
    fs::rename(&here, &there).unwrap();
    std::os::unix::fs::symlink(&there, &here).unwrap();
    let said = one.ctl("reload");
    for words in ["permission denied", "a running instance may read only the folders that"] {
        assert!(said.contains(words), "{said}");
    }
    assert!(one.log().contains("or restart the instance"), "{}", one.log());
    let beside = one.folder().join("beside.yaml");
    fs::rename(&there, &beside).unwrap();
    fs::remove_file(&here).unwrap();
    std::os::unix::fs::symlink(&beside, &here).unwrap();
    assert!(one.ctl("reload").starts_with("installed"), "beside it");
}

/// Whoever read the log is gone (`2>&1 | head`, a journal that was killed): traffic goes on.
#[test]
fn it_serves_on_where_nobody_reads_its_log_any_more() {
    let Some(wire) = Wire::make(9001, 1) else { return skipped("no network namespaces") };
    let config = "workers: 1\ngateways: [10.99.0.1]";
    let rules = format!("{SEGMENTS}{RULES}");
    let one = Appliance::start(&wire.target, ("deaf", Backend::AfPacket), &rules, config);
    let folder = one.folder().to_owned();
    drop(one);
    let closed = ["bash", "-c", "exec \"$@\" 2> >(exec true)", "bash"];
    let one = Appliance::under(&wire.target, folder, &closed);
    // Every reload is logged.
    for _ in 0..3 {
        assert!(one.ctl("reload").starts_with("installed"));
    }
    assert!(one.health().is_some_and(|(status, _)| status == 200));
    one.signal("TERM");
    assert!(one.wait().0);
}

#[test]
fn the_unit_permits_every_system_call_that_is_made() {
    let groups = Command::new("systemd-analyze").arg("syscall-filter").output();
    let (Ok(groups), true) = (groups, run("strace --version")) else {
        return skipped("no systemd-analyze or no strace");
    };
    let groups = String::from_utf8(groups.stdout).unwrap();
    let unit = fs::read_to_string("deploy/lockgate.service").unwrap();
    let filter = unit.lines().find_map(|line| line.strip_prefix("SystemCallFilter=")).unwrap();
    let mut permitted = HashSet::new();
    filter.split(' ').for_each(|name| permit(name, &groups, &mut permitted));
    assert!(permitted.contains("sendmmsg") && !permitted.contains("reboot"), "{permitted:?}");
    for backend in backends() {
        for name in calls(*backend) {
            assert!(permitted.contains(name.as_str()), "{name} is made and not permitted");
        }
    }
}

/// A system call, or all of a group.
fn permit(name: &str, groups: &str, permitted: &mut HashSet<String>) {
    if !name.starts_with('@') {
        permitted.insert(name.to_owned());
        return;
    }
    let from =
        groups.lines().skip_while(|line| line.trim() != name || line.starts_with(' ')).skip(1);
    let group = from.take_while(|line| line.starts_with(' ')).map(str::trim);
    group.filter(|line| !line.starts_with('#')).for_each(|line| permit(line, groups, permitted));
}

/// The system calls an instance makes that starts, serves, reads its ruleset and leaves.
fn calls(backend: Backend) -> HashSet<String> {
    let Some(wire) = Wire::make(9001, 2) else {
        skipped("no network namespaces");
        return HashSet::new();
    };
    let config = "workers: 2\ngateways: [10.99.0.1]\nuser: nobody";
    let rules = format!("{SEGMENTS}{RULES}");
    let one = Appliance::start(&wire.target, ("calls", backend), &rules, config);
    let folder = one.folder().to_owned();
    drop(one);
    let trace = folder.join("trace").display().to_string();
    let watch = ["strace", "-f", "-qq", "-e", "signal=none", "-o", &trace];
    let one = Appliance::under(&wire.target, folder.clone(), &watch);
    // What its own filter refuses would be seen too: the process would have been told.
    assert!(one.ctl("reload").starts_with("installed"));
    one.ctl("flows");
    one.ctl("drain --deadline 0");
    let (well, log) = one.wait();
    assert!(well, "{log}");
    // `12345 name(arguments) = result`, or `12345 <... name resumed>`.
    let text = fs::read_to_string(trace).unwrap();
    let names = text.lines().filter_map(|line| {
        let call = line.split_once(' ')?.1.trim_start();
        Some(call.split_once('(')?.0.to_owned())
    });
    let names = names.filter(|name| name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'));
    let names: HashSet<String> = names.collect();
    assert!(names.contains("setresuid") || names.contains("setuid"), "{names:?}");
    names
}

/// Another user, no capability, no way to gain one, a filter for system calls; in every thread.
fn has_nothing_left(one: &Appliance<'_>) {
    let tasks = format!("/proc/{}/task", one.process());
    let mut threads = 0;
    for task in fs::read_dir(tasks).unwrap().flatten() {
        let status = fs::read_to_string(task.path().join("status")).unwrap();
        let of = |field: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(field));
            line.map(|rest| rest.trim_start_matches(':').trim().to_owned()).unwrap()
        };
        assert_eq!(of("Uid"), ["65534"; 4].join("\t"));
        assert_eq!(of("Groups").replace("65534", ""), "", "no group of root's is left");
        for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            assert_eq!(of(set), "0000000000000000", "{set}");
        }
        assert_eq!((of("NoNewPrivs").as_str(), of("Seccomp").as_str()), ("1", "2"), "{status}");
        threads += 1;
    }
    assert!(threads >= 4, "main, two workers, the log's: {threads}");
}
