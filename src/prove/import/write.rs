//! What was imported as a ruleset of one document, and the report about it as text or JSON.

use super::draft::Side;
use super::order::Named;
use super::{Fidelity, Finding, Imported};
use crate::observe::plural;
use crate::policy::spec::PortRange;
use crate::prove::yaml::{list, plain, quoted, wrapped};
use ipnet::IpNet;
use serde_json::{Value, json};
use std::fmt::Write;

/// Columns of comments.
const WIDTH: usize = 98;
/// Names in one line at most.
const NAMES_IN_LINE: usize = 4;

/// The ruleset: one segment for every address, one policy with all rules in order.
#[must_use]
pub fn ruleset(imported: &Imported) -> String {
    let ordered = &imported.ordered;
    let mut out = String::from(
        "# Imported by `lockgate import`; what was not taken over stands at the end.\n",
    );
    out.push_str("lockgate: 1\n\n");
    out.push_str(
        "# Every address is in one segment, so that the rules alone say who may talk to whom. Give\n\
         # partners and workloads segments of their own, and move their rules into policies between them.\n\
         common_endpoints: any\n\nsegments:\n  anywhere: { kind: shared, networks: [0.0.0.0/0, \"::/0\"] }\n",
    );
    sets(&mut out, imported);
    let _ = writeln!(
        out,
        "\npolicies:\n  # Rules of {}.\n  - from: anywhere\n    to: anywhere",
        ordered.order.name()
    );
    if ordered.rules.is_empty() {
        out.push_str("    rules: []\n");
    } else {
        out.push_str("    rules:\n");
        ordered.rules.iter().for_each(|named| rule(&mut out, named));
    }
    let _ = writeln!(out, "    otherwise: {}", ordered.otherwise.name());
    left_out(&mut out, imported);
    out
}

/// Variables that rules use by name.
fn sets(out: &mut String, imported: &Imported) {
    if imported.networks.is_empty() && imported.ports.is_empty() {
        return;
    }
    out.push_str("\nsets:\n");
    for (name, values) in &imported.networks {
        let _ = writeln!(out, "  {}: {{ networks: {} }}", plain(name), list(values.iter()));
    }
    for (name, values) in &imported.ports {
        let _ = writeln!(out, "  {}: {{ ports: [{}] }}", plain(name), ranges(values));
    }
}

fn rule(out: &mut String, named: &Named) {
    let draft = &named.draft;
    let _ = writeln!(out, "      - id: {}", plain(&named.id));
    if let Some(text) = &named.description {
        let text: String = text.chars().take(500).collect();
        let _ = writeln!(out, "        description: {}", quoted(&text));
    }
    let _ = writeln!(out, "        action: {}", draft.action.name());
    if let Some(protocols) = &draft.protocols {
        let words: Vec<String> = protocols.iter().map(ToString::to_string).collect();
        match words.as_slice() {
            [one] => drop(writeln!(out, "        protocol: {one}")),
            many => {
                let text = format!("[{}]", many.join(", "));
                for (at, line) in wrapped(&text, WIDTH - 12).iter().enumerate() {
                    let head = if at == 0 { "        protocol: " } else { "          " };
                    let _ = writeln!(out, "{head}{line}");
                }
            }
        }
    }
    side(out, "sources", &draft.source, |nets: &[IpNet]| list(nets.iter()));
    side(out, "source_ports", &draft.source_port, |list| format!("[{}]", ranges(list)));
    side(out, "destinations", &draft.destination, |nets: &[IpNet]| list(nets.iter()));
    side(out, "ports", &draft.destination_port, |list| format!("[{}]", ranges(list)));
    if !draft.icmp.is_empty() {
        let types: Vec<String> = draft.icmp.iter().map(|text| plain(text)).collect();
        let _ = writeln!(out, "        icmp: [{}]", types.join(", "));
    }
    if let Some(app) = draft.app {
        let _ = writeln!(out, "        app: {app}");
    }
    names(out, "domains", &draft.domains);
    names(out, "dns", &draft.dns);
    if let [ja4] = draft.ja4.as_slice() {
        let _ = writeln!(out, "        tls: {{ ja4: {} }}", plain(ja4));
    }
}

fn side<T>(out: &mut String, field: &str, side: &Side<T>, text: impl Fn(&[T]) -> String) {
    let _ = match (&side.variable, &side.values) {
        (_, None) => return,
        (Some(name), _) => writeln!(out, "        {field}: [${name}]"),
        (None, Some(values)) => writeln!(out, "        {field}: {}", text(values)),
    };
}

fn ranges(list: &[PortRange]) -> String {
    let texts: Vec<String> = list
        .iter()
        .map(|range| match (range.first, range.last) {
            (first, last) if first == last => first.to_string(),
            (first, last) => format!("{first}-{last}"),
        })
        .collect();
    texts.join(", ")
}

fn names(out: &mut String, field: &str, names: &[String]) {
    let texts: Vec<String> = names.iter().map(|name| plain(name)).collect();
    let _ = match texts.len() {
        0 => return,
        1..=NAMES_IN_LINE => writeln!(out, "        {field}: [{}]", texts.join(", ")),
        _ => writeln!(out, "        {field}:\n          - {}", texts.join("\n          - ")),
    };
}

/// Rules that are not here, for whoever reads the file without the report.
fn left_out(out: &mut String, imported: &Imported) {
    let refused: Vec<&Finding> =
        imported.findings.iter().filter(|finding| finding.fidelity == Fidelity::Refused).collect();
    if refused.is_empty() {
        return;
    }
    out.push_str("\n# Not taken over:\n");
    for finding in refused {
        let line = format!("{} {}: {}", place(finding), finding.text, finding.notes.join("; "));
        for (at, part) in wrapped(&line, WIDTH - 6).iter().enumerate() {
            let indent = if at == 0 { "-" } else { " " };
            let _ = writeln!(out, "# {indent} {part}");
        }
    }
}

fn place(finding: &Finding) -> String {
    let origin = &finding.origin;
    let sid = finding.sid.map_or_else(String::new, |sid| format!(" sid {sid}"));
    let colon = if origin.place.starts_with(['.', '[']) { "" } else { ":" };
    format!("{}{colon}{}{sid}", origin.file, origin.place)
}

impl Imported {
    /// Rules with this fidelity.
    #[must_use]
    pub fn count(&self, fidelity: Fidelity) -> usize {
        self.findings.iter().filter(|finding| finding.fidelity == fidelity).count()
    }

    /// The report for people: a line for each rule, then sums.
    #[must_use]
    pub fn text(&self) -> String {
        let mut out = String::new();
        for finding in &self.findings {
            let rules = match finding.rules.as_slice() {
                [] => String::new(),
                rules => format!("  [{}]", rules.join(", ")),
            };
            let text = printable(&finding.text);
            let _ = writeln!(out, "{:<12}  {}  {text}{rules}", finding.fidelity, place(finding));
            for note in &finding.notes {
                let _ = writeln!(out, "{:<12}  {}", "", printable(note));
            }
            for hint in &finding.hints {
                let _ = writeln!(out, "{:<12}  hint: {}", "", printable(hint));
            }
        }
        for note in &self.notes {
            let _ = writeln!(out, "note: {}", printable(note));
        }
        let sums: Vec<String> = Fidelity::ALL
            .iter()
            .map(|fidelity| format!("{} {fidelity}", self.count(*fidelity)))
            .collect();
        let _ = writeln!(
            out,
            "{}: {}; {} written in {}, otherwise {}",
            plural(self.findings.len(), "rule"),
            sums.join(", "),
            plural(self.ordered.rules.len(), "rule"),
            self.ordered.order.name(),
            self.ordered.otherwise.name()
        );
        out
    }

    /// The report for programs.
    #[must_use]
    pub fn json(&self) -> Value {
        let findings: Vec<Value> = self
            .findings
            .iter()
            .map(|finding| {
                json!({
                    "file": finding.origin.file,
                    "place": finding.origin.place,
                    "group": finding.origin.group,
                    "sid": finding.sid,
                    "text": finding.text,
                    "fidelity": finding.fidelity.name(),
                    "rules": finding.rules,
                    "notes": finding.notes,
                    "hints": finding.hints,
                })
            })
            .collect();
        let sums: serde_json::Map<String, Value> = Fidelity::ALL
            .iter()
            .map(|fidelity| (fidelity.name().to_owned(), json!(self.count(*fidelity))))
            .collect();
        json!({
            "findings": findings,
            "notes": self.notes,
            "sums": sums,
            "rules": self.ordered.rules.len(),
            "order": self.ordered.order.name(),
            "otherwise": self.ordered.otherwise.name(),
        })
    }
}

/// Without what a terminal would act on.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}
