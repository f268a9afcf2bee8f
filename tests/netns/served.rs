//! Servers that are programs of others, with a certificate, behind an appliance with two workers. What is
//! asked of them is each test's own.

use crate::binary::{Appliance, ENDPOINT, SEGMENTS};
use crate::lab::skipped;
use crate::network::Network;
use crate::web::gateway;
use lockgate::io::live::Backend;
use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader, Lines};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Mutex;

/// The one name that is allowed.
pub(crate) const NAME: &str = "shop.example";

/// Runs `work` with a network and an appliance of these rules, behind the usual segments.
pub(crate) fn behind_appliance(
    of: (&str, Backend),
    rules: &str,
    work: impl FnOnce(&Network, &Appliance<'_>),
) {
    let Some(network) = Network::make(1, 2) else {
        return skipped("no network namespaces, ethtool or curl");
    };
    let gwlb = gateway(ENDPOINT);
    network.run(&gwlb, || {
        let rules = format!("{SEGMENTS}{rules}");
        let config = "workers: 2\ngateways: [10.99.0.1]\nlimits: { flows: 4096 }";
        work(&network, &Appliance::start(&network.targets[0], of, &rules, config));
    });
}

/// Files with a certificate for [`NAME`] and its key, made in this folder.
pub(crate) fn certificate(folder: &Path) -> [PathBuf; 2] {
    let made = rcgen::generate_simple_self_signed([NAME.to_owned()]).unwrap();
    let files = ["certificate.pem", "key.pem"].map(|name| folder.join(name));
    let texts = [made.cert.pem(), made.signing_key.serialize_pem()];
    files.iter().zip(texts).for_each(|(file, text)| fs::write(file, text).unwrap());
    files
}

/// A program in the server's namespace, ended also when a test fails.
pub(crate) struct Served(Mutex<Child>);

impl Served {
    /// Starts it and waits until a line it writes contains `ready`; with what it writes from then on.
    pub(crate) fn start<A: AsRef<OsStr>>(
        network: &Network,
        words: &[A],
        ready: &str,
    ) -> (Self, Lines<BufReader<ChildStdout>>) {
        let mut child = Command::new("ip")
            .args(["netns", "exec", network.server.name()])
            .args(words)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let served = Self(Mutex::new(child));
        assert!(lines.any(|line| line.unwrap().contains(ready)), "it is ready");
        (served, lines)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let mut child = self.0.lock().unwrap();
        let _ = child.kill();
        let _ = child.wait();
    }
}
