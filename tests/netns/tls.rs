//! Real TLS: curl and `openssl s_server` through the appliance. A name that is allowed is served; of one
//! that is denied the server never sees the hello.

use crate::binary::{Appliance, backends};
use crate::lab::{run, skipped};
use crate::network::{Network, on};
use crate::served::{self, Served};
use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;

const RULES: &str = "
policies:
  - from: acme
    to: shop
    rules:
      - { id: shop, action: allow, protocol: tcp, ports: [443], app: tls, domains: [shop.example] }
    otherwise: reject
";

#[test]
fn tls_is_served_by_name_and_a_denied_hello_reaches_nobody() {
    if !run("openssl version") {
        return skipped("no openssl");
    }
    for backend in backends() {
        served::behind_appliance(("tls", *backend), RULES, by_name);
    }
}

fn by_name(network: &Network, one: &Appliance<'_>) {
    let [certificate, key] = served::certificate(one.folder()).map(PathBuf::into_os_string);
    let said = one.folder().join("server");
    let line = "openssl s_server -www -msg -accept 443";
    let mut words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
    for (option, file) in [("-key", key), ("-cert", certificate), ("-msgfile", said.clone().into())]
    {
        words.extend([option.into(), file]);
    }
    let _server = Served::start(network, &words, "ACCEPT");
    let hellos = || fs::read_to_string(&said).unwrap_or_default().matches("ClientHello").count();
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
}
