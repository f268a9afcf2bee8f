//! What tests of that which is shipped share: the package, frames for it, and what scripts tell.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

pub(crate) fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// All that a program said.
pub(crate) fn said(out: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!("{}{}", text(&out.stdout), text(&out.stderr))
}

/// What a script tells with `== ` before it, line by line.
pub(crate) fn told(all: &str) -> Vec<&str> {
    all.lines().filter_map(|line| line.strip_prefix("== ")).collect()
}

/// The package in this folder, made of the binary under test; none where a program is missing.
pub(crate) fn package(folder: &Path) -> Option<PathBuf> {
    let has = |program: &str| Command::new(program).arg("--version").output();
    if !has("cargo-deb").is_ok_and(|out| out.status.success()) || has("dpkg-deb").is_err() {
        eprintln!("SKIPPED: no cargo-deb (cargo install cargo-deb) or no dpkg-deb");
        return None;
    }
    let target = folder.join("target");
    fs::create_dir_all(target.join("release")).unwrap();
    fs::copy(env!("CARGO_BIN_EXE_lockgate"), target.join("release/lockgate")).unwrap();
    let package = folder.join("lockgate.deb");
    let out = Command::new("cargo-deb")
        .args(["deb", "--no-build", "--no-strip", "--fast", "--output"])
        .arg(&package)
        .env("CARGO_TARGET_DIR", &target)
        .current_dir(root())
        .output()
        .unwrap();
    assert!(out.status.success(), "{}", said(&out));
    Some(package)
}

/// Puts `wrapped.pcap` into a folder: a shipped capture as GWLB sends its packets.
pub(crate) fn wrap(folder: &Path) {
    let wrapped = Command::new(env!("CARGO_BIN_EXE_lockgate"))
        .args(["wrap", "--endpoint", "vpce-0a1b2c3d4e5f60718"])
        .args([root().join("pcaps/partner-dmz.pcap"), folder.join("wrapped.pcap")])
        .output()
        .unwrap();
    assert!(wrapped.status.success(), "{}", said(&wrapped));
}
