//! Real TLS: curl and `openssl s_server` through the appliance. A name that is allowed is served; of one
//! that is denied the server never sees the hello.

use crate::binary::{Appliance, ENDPOINT, SEGMENTS, backends};
use crate::lab::{run, skipped};
use crate::network::{Network, on};
use crate::web::gateway;
use lockgate::io::live::Backend;
use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

const RULES: &str = "
policies:
  - from: acme
    to: shop
    rules:
      - { id: shop, action: allow, protocol: tcp, ports: [443], app: tls, domains: [shop.example] }
    otherwise: reject
";

struct Ends(Child);

impl Drop for Ends {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn tls_is_served_by_name_and_a_denied_hello_reaches_nobody() {
    if !run("openssl version") {
        return skipped("no openssl");
    }
    backends().iter().for_each(|backend| by_name(*backend));
}

fn by_name(backend: Backend) {
    let Some(network) = Network::make(1, 2) else {
        return skipped("no network namespaces, ethtool or curl");
    };
    let gwlb = gateway(ENDPOINT);
    network.run(&gwlb, || {
        let rules = format!("{SEGMENTS}{RULES}");
        let config = "workers: 2\ngateways: [10.99.0.1]\nlimits: { flows: 4096 }";
        let one = Appliance::start(&network.targets[0], ("tls", backend), &rules, config);
        let made = rcgen::generate_simple_self_signed(["shop.example".to_owned()]).unwrap();
        let (certificate, key) = (one.folder().join("cert.pem"), one.folder().join("key.pem"));
        fs::write(&certificate, made.cert.pem()).unwrap();
        fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        let said = one.folder().join("server");
        let mut child = Command::new("ip")
            .args(["netns", "exec", network.server.name(), "openssl", "s_server", "-www"])
            .args(["-msg", "-accept", "443", "-key"])
            .arg(key)
            .arg("-cert")
            .arg(certificate)
            .arg("-msgfile")
            .arg(&said)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap().contains("ACCEPT")), "it is ready");
        let _server = Ends(child);
        let hellos =
            || fs::read_to_string(&said).unwrap_or_default().matches("ClientHello").count();
        let fetch = |name: &str, version: &str| {
            let line = format!(
                "curl -sk -o /dev/null -w %{{http_code}} --max-time 60 {version} \
                 --resolve {name}:443:10.2.0.20 https://{name}/"
            );
            let output = on(&network.client, &line);
            (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
        };
        for version in ["--tlsv1.3", "--tls-max 1.2"] {
            assert_eq!(fetch("shop.example", version), (0, "200".to_owned()), "{version}");
            let before = hellos();
            assert!(before > 0);
            // 35: the handshake was cut off.
            assert_eq!(fetch("evil.example", version), (35, "000".to_owned()), "{version}");
            assert_eq!(hellos(), before, "{version}");
        }
        let flows = one.ctl("flows");
        assert!(flows.contains("shop.example") && flows.contains("evil.example"), "{flows}");
    });
}
