//! What `lockgate ctl` shows people, at the widths terminals have. `UPDATE_GOLDEN=1` writes the
//! files anew.

use lockgate::appliance::control::client::Answer;
use lockgate::appliance::control::{Request, text};
use lockgate::appliance::filter::Filter;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

fn flow(verdict: &str, port: u16, name: &str, rule: Option<&str>) -> Value {
    json!({
        "src_ip": "10.20.1.5", "src_port": 40_000 + port % 1000, "dest_ip": "2001:db8:100::4:7",
        "dest_port": port, "proto": "TCP", "tls": { "sni": name },
        "flow": { "age": 312, "pkts_toserver": 1204, "pkts_toclient": 98_231 },
        "lockgate": {
            "from": "acme", "to": "payments", "verdict": verdict, "rule": rule,
            "reason": if rule.is_some() { "rule" } else { "otherwise" },
            "enforced": verdict != "deny", "idle": 14,
        },
    })
}

fn status() -> Value {
    json!({
        "ok": true, "version": "0.1.0", "healthy": false,
        "reasons": ["worker 1: no progress for 2041 ms"],
        "notes": ["the ruleset was refused at 2026-11-21T17:25:43Z, 2 errors; the one before stays in force"],
        "uptime_seconds": 93_784, "interface": "eth0", "backend": "af-xdp, zero-copy",
        "ruleset": "/etc/lockgate/ruleset", "epoch": 7, "installed_seconds_ago": 3_725,
        "drain": { "left": 12, "remaining_seconds": 211 },
        "workers": [{ "silent_ms": 3, "open": true }, { "silent_ms": 2041, "open": true }],
        "sums": {
            "received": 1_204_332_110_u64, "forwarded": 1_204_100_000_u64, "dropped": 232_110,
            "dropped_by_reason": {
                "bad-checksum": 7, "flow-denied": 32_000, "midstream": 102, "otherwise": 200_000, "truncated": 1,
            },
            "answers": 1_204, "flows": 210_332, "flows_limit": 1_048_576, "flows_opened": 9_332_110,
            "held_bytes": 65_332, "lost": 17,
        },
        "flow_log": { "written": 9_121_778, "lost": 0, "waiting": 12 },
    })
}

fn cases() -> Vec<(&'static str, Request, Answer)> {
    let long = "very-long-name-of-a-service.europe-west.api.payments.example";
    let flows =
        vec![flow("allow", 443, long, Some("acme-payments-api")), flow("deny", 8443, "", None)];
    let changes = flows
        .iter()
        .map(|flow| {
            let next = json!({ "verdict": "deny", "reason": "otherwise", "rule": null });
            json!({ "flow": flow, "would_be": next })
        })
        .collect();
    let explained = json!({
        "ok": true, "live": true, "flow": flow("allow", 443, long, Some("acme-payments-api")),
        "policy": "acme -> payments", "location": "partners/acme.yaml:14",
        "decision": { "verdict": "allow", "reason": "rule", "rule": "acme-payments-api" },
        "trace": [
            { "rule": "acme-ssh", "action": "reject", "stands": "false", "condition": "ports" },
            { "rule": "acme-payments-api", "action": "allow", "stands": "true", "condition": null },
        ],
    });
    let asked = text::flow("10.20.1.5:1 -> 10.100.4.7:443/tcp").unwrap();
    let list = Request::Flows { filter: Filter::default(), limit: 2 };
    let foresee = Request::Reload { dry_run: true, limit: 2 };
    let all = |items, last| Answer { items, last };
    let told = json!({ "ok": true, "flows": 210, "changed": 9, "cut": 8 });
    vec![
        ("status", Request::Status, all(vec![], status())),
        (
            "flows",
            list,
            all(flows, json!({ "ok": true, "matched": 5_332, "listed": 2, "earlier": 1 })),
        ),
        ("reload-dry-run", foresee, all(changes, told)),
        ("explain", Request::Explain(asked), all(vec![], explained)),
    ]
}

#[test]
fn answers_read_well_at_every_width() {
    for (name, request, answer) in cases() {
        for (width, columns) in [("", None), ("-80", Some(80)), ("-140", Some(140))] {
            let said = text::show(&request, &answer, columns);
            let path = format!("tests/appliance/text/{name}{width}.txt");
            let path = Path::new(&path);
            if std::env::var_os("UPDATE_GOLDEN").is_some() {
                fs::create_dir_all("tests/appliance/text").unwrap();
                fs::write(path, &said).unwrap();
            }
            let expected = fs::read_to_string(path).unwrap_or_default();
            assert!(said == expected, "UPDATE_GOLDEN=1 takes this over as {name}{width}:\n{said}");
        }
    }
}
