//! What is shipped beside the binary fits it and each other: unit, configuration, package, container. The
//! package is made by cargo-deb and installed for real, in a copy of this system that is gone
//! afterwards; that needs root, and says SKIPPED where it or a program is missing.

mod shipped;

use lockgate::appliance::config;
use shipped::{package, root, said, told, wrap};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap()
}

/// An empty folder.
fn fresh(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("packaging").join(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    folder
}

/// The settings of a unit; of one that is there twice, the last.
fn unit(path: &str) -> BTreeMap<String, String> {
    let lines = read(path);
    let settings = lines.lines().filter_map(|line| line.split_once('='));
    settings.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// What the unit lets it begin with, and what the container is to be given.
fn capabilities() -> [Vec<String>; 2] {
    let unit = unit("deploy/lockgate.service");
    let bounding = unit["CapabilityBoundingSet"].split(' ');
    let container = read("deploy/Dockerfile");
    let words: Vec<&str> = container.split_whitespace().collect();
    let added = words.windows(2).filter(|pair| pair[0] == "--cap-add").map(|pair| pair[1]);
    let small = |name: &str| name.trim_start_matches("CAP_").to_lowercase();
    let mut both = [bounding.map(small).collect::<Vec<_>>(), added.map(small).collect()];
    both.iter_mut().for_each(|names| names.sort());
    both
}

#[test]
fn the_unit_leaves_a_drain_its_time_and_fits_the_configuration() {
    let unit = unit("deploy/lockgate.service");
    let config = config::load(&root().join("deploy/appliance.yaml")).unwrap();
    let seconds = |name: &str| Duration::from_secs(unit[name].parse().unwrap());
    // Behind the deadline, records that wait are written: ten seconds at most.
    let needed = config.drain.deadline + Duration::from_secs(10);
    assert!(seconds("TimeoutStopSec") > needed, "a drain would be cut short by SIGKILL");
    assert!(seconds("WatchdogSec") >= Duration::from_secs(2), "a worker is silent after one");
    let below = |place: &str, name: &str| format!("{place}/{}", unit[name]);
    assert_eq!(config.control.parent(), Some(Path::new(&below("/run", "RuntimeDirectory"))));
    let log = config.flow_log.unwrap().file.unwrap();
    assert_eq!(log.parent(), Some(Path::new(&below("/var/log", "LogsDirectory"))));
    assert!(read("deploy/logrotate").starts_with(&log.display().to_string()));
    let folder = below("/etc", "ConfigurationDirectory");
    assert!(unit["ExecStart"].ends_with(&format!("--config {folder}/appliance.yaml")));
    assert_eq!(config.ruleset, Path::new(&folder).join("ruleset"));
    let user = config.user.unwrap();
    for file in ["deploy/debian/postinst", "deploy/Dockerfile", "deploy/logrotate"] {
        assert!(read(file).contains(&user), "{file} knows no {user}");
    }
}

#[test]
fn what_it_may_begin_with_is_what_the_page_explains() {
    let page = read("docs/appliance.md");
    let [unit, container] = capabilities();
    for name in unit.iter().chain(&container) {
        assert!(page.contains(&format!("CAP_{}", name.to_uppercase())), "{name}");
    }
    // The container has no port below 1024.
    let beyond: Vec<_> = unit.iter().filter(|name| !container.contains(name)).collect();
    assert_eq!(beyond, ["net_bind_service"]);
}

#[test]
fn systemd_takes_the_units() {
    let folder = fresh("units");
    // What a unit runs has to be there; the programs it names are not installed here.
    let program = folder.join("program");
    fs::write(&program, "#!/bin/sh\n").unwrap();
    Command::new("chmod").arg("755").arg(&program).status().unwrap();
    let mut units = Vec::new();
    for name in [
        "lockgate.service",
        "drain/lockgate-drain.service",
        "ruleset/lockgate-ruleset.service",
        "ruleset/lockgate-ruleset.timer",
    ] {
        let text = read(&format!("deploy/{name}"));
        let here = program.display().to_string();
        let text = text
            .replace("/usr/bin/lockgate", &here)
            .replace("/usr/lib/lockgate/lockgate-drain", &here)
            .replace("/usr/lib/lockgate/lockgate-ruleset", &here);
        units.push(folder.join(Path::new(name).file_name().unwrap()));
        fs::write(units.last().unwrap(), text).unwrap();
    }
    let Ok(out) = Command::new("systemd-analyze").arg("verify").args(&units).output() else {
        return eprintln!("SKIPPED: no systemd-analyze");
    };
    let complaints: Vec<String> = said(&out)
        .lines()
        .filter(|line| line.contains("lockgate") && !line.contains("PIDFile"))
        .map(str::to_owned)
        .collect();
    assert_eq!(complaints, Vec::<String>::new());
}

#[test]
fn the_container_file_copies_what_is_there_and_builds_as_the_project_does() {
    let text = read("deploy/Dockerfile");
    let stages: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("FROM ")).collect();
    assert_eq!(stages.len(), 2, "{stages:?}");
    let name = stages[0].split(" AS ").nth(1).unwrap();
    assert_eq!(stages[1], "scratch", "nothing but the binary");
    let copied: Vec<&str> = text.lines().filter(|line| line.starts_with("COPY ")).collect();
    assert_eq!(copied, ["COPY . .".to_owned(), format!("COPY --from={name} /image /")]);
    assert!(text.contains("cargo build --release --locked --bin lockgate"));
    // What the build is given is there.
    let ignored = read(".dockerignore");
    for kept in ignored.lines().filter_map(|line| line.strip_prefix('!')) {
        assert!(root().join(kept).exists(), "{kept}");
    }
    // The compiler is new enough for the project.
    let version = |text: &str| -> Vec<u32> {
        text.split(['.', '-']).map_while(|part| part.parse().ok()).collect()
    };
    let manifest = read("Cargo.toml");
    let asked = manifest.lines().find_map(|line| line.strip_prefix("rust-version = ")).unwrap();
    assert!(version(stages[0].split(':').nth(1).unwrap()) >= version(asked.trim_matches('"')));
    assert!(root().join("Cargo.lock").exists(), "--locked");
}

#[test]
fn the_package_holds_what_it_should() {
    let folder = fresh("contents");
    let Some(package) = package(&folder) else { return };
    let of = |what: &str| Command::new("dpkg-deb").arg(what).arg(&package).output().unwrap();
    let listed = said(&of("--contents"));
    let mut lines: Vec<String> = listed
        .lines()
        .filter(|line| !line.ends_with('/'))
        .map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            format!("{} {} {}", words[0], words[1], words[words.len() - 1])
        })
        .collect();
    lines.sort_by_key(|line| line.rsplit(' ').next().map(str::to_owned));
    let control = folder.join("control");
    let taken = Command::new("dpkg-deb").arg("-e").arg(&package).arg(&control).status();
    assert!(taken.unwrap().success());
    let conffiles = fs::read_to_string(control.join("conffiles")).unwrap();
    lines.extend(conffiles.lines().map(|line| format!("conffile {line}")));
    let path = root().join("tests/packaging/contents.txt");
    let found = lines.join("\n") + "\n";
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, &found).unwrap();
    }
    assert_eq!(found, fs::read_to_string(path).unwrap(), "UPDATE_GOLDEN=1 takes it over");
    let scripts = ["postinst", "prerm", "postrm"]
        .map(|name| fs::read_to_string(control.join(name)).unwrap_or_default());
    assert!(scripts[1].contains("systemctl stop"), "what is removed runs on");
    // An upgrade would drain, for minutes, in the middle of dpkg.
    assert!(!scripts.concat().contains("restart lockgate"), "an upgrade leaves it running");
}

#[test]
fn an_installed_package_serves_with_the_capabilities_it_names_and_leaves_nothing() {
    let folder = fresh("installed");
    let Some(package) = package(&folder) else { return };
    let copy = folder.join("copy");
    fs::create_dir_all(&copy).unwrap();
    let may =
        Command::new("unshare").args(["--mount", "--net", "--pid", "--fork", "true"]).status();
    if !may.is_ok_and(|status| status.success()) {
        return eprintln!("SKIPPED: no new namespaces (root)");
    }
    let sets = capabilities()
        .map(|names| names.iter().fold("-all".to_owned(), |all, name| format!("{all},+{name}")));
    let out = Command::new("unshare")
        .args(["--mount", "--net", "--pid", "--fork", "bash"])
        .arg(root().join("tests/packaging/installed.sh"))
        .arg(&package)
        .arg(&copy)
        .args(&sets)
        .output()
        .unwrap();
    let all = said(&out);
    assert!(out.status.success(), "{all}");
    let once = [
        "serves, lockgate, capabilities 0000000000000000",
        "reloads, asked by a root without rights",
        "follows its log, lockgate:lockgate 640",
        "left",
    ];
    let expected = [
        &["installed, user lockgate, log folder root:lockgate 770"][..],
        &once,
        &once,
        &["removed, its configuration is kept", "purged"],
    ]
    .concat();
    assert_eq!(told(&all), expected, "{all}");
}

#[test]
fn the_image_is_built_and_serves_as_its_head_says() {
    if std::env::var_os("LOCKGATE_IMAGE").is_none() {
        return eprintln!("SKIPPED: LOCKGATE_IMAGE=1 builds the image, for minutes");
    }
    // Kept between runs: what it is made from does not change often.
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("image");
    fs::create_dir_all(&folder).unwrap();
    let script = |name: &str| root().join("tests/packaging").join(name);
    let built = Command::new("bash").arg(script("image.sh")).arg(&folder).status().unwrap();
    assert!(built.success());
    wrap(&folder);
    let out = Command::new("unshare")
        .args(["--mount", "--net", "bash"])
        .arg(script("container.sh"))
        .arg("localhost/lockgate")
        .arg(&folder)
        .args(["podman", "--cgroup-manager", "cgroupfs", "--root"])
        .arg(folder.join("storage"))
        .arg("--runroot")
        .arg(folder.join("run"))
        .env("STORAGE_DRIVER", "overlay")
        .output()
        .unwrap();
    let all = said(&out);
    assert!(out.status.success(), "{all}");
    let expected = [
        concat!("lockgate ", env!("CARGO_PKG_VERSION")),
        "replays: 136 packets (33380 bytes), 11 flows: 55 packets forwarded, 81 dropped, 20 answers sent",
        "healthy: 200",
        "a frame comes back",
        "user 65532, capabilities 0000000000000000, at most 0000000000000000",
        "asked: healthy",
        "reload: installed",
        "left",
    ];
    assert_eq!(told(&all), expected, "{all}");
}
