//! What was refused: one line for all flows refused for the same thing, which opens to why, rule by
//! rule, and to the flows themselves.

use super::explain::{Explanation, explain, service};
use super::text::{bytes, clock, counted, escaped, moment, number, prose};
use super::{Denial, DenialKey, Report};
use crate::model::Reason;
use crate::policy::{Policy, Truth};
use crate::prove::sighting::Sighting;
use std::collections::BTreeMap;
use std::fmt::Write;

/// Denials listed; what is behind is summed up by reason.
pub(super) const SHOWN: usize = 400;

/// The section.
pub(super) fn section(out: &mut String, report: &Report, policy: &Policy) {
    out.push_str(
        "<section aria-labelledby=\"denied\">\n<h2 id=\"denied\">What was refused, and why</h2>\n",
    );
    let mut order: Vec<(&DenialKey, &Denial)> = report.denials.iter().collect();
    order.sort_by_key(|(key, denial)| (std::cmp::Reverse(denial.flows), *key));
    if order.is_empty() {
        out.push_str("<p class=\"lead\">Nothing.</p>\n</section>\n");
        return;
    }
    let refused = counted(report.sums.refused(), "flow", "flows");
    let kinds = counted(order.len() as u64, "kind", "kinds");
    let _ = writeln!(
        out,
        "<p class=\"lead\">{refused} of {kinds}, most frequent first. Open one for the way to its \
         verdict, rule by rule, and for its flows.</p>"
    );
    reasons(out, &order);
    out.push_str("<div class=\"denials\">\n");
    for (key, denial) in order.iter().take(SHOWN) {
        entry(out, key, denial, policy);
    }
    out.push_str("</div>\n");
    let behind = order.get(SHOWN..).unwrap_or_default();
    if !behind.is_empty() {
        let flows = behind.iter().map(|(_, denial)| denial.flows).fold(0, u64::saturating_add);
        let _ = writeln!(
            out,
            "<p class=\"note\">{} of {} less frequent kinds are not listed; a flow log has them all.</p>",
            counted(flows, "flow", "flows"),
            number(behind.len() as u64)
        );
    }
    out.push_str("</section>\n");
}

/// The reasons, most frequent first.
fn reasons(out: &mut String, order: &[(&DenialKey, &Denial)]) {
    let mut sums: BTreeMap<Option<Reason>, u64> = BTreeMap::new();
    for (key, denial) in order {
        let sum = sums.entry(key.reason).or_default();
        *sum = sum.saturating_add(denial.flows);
    }
    let mut sums: Vec<_> = sums.into_iter().collect();
    sums.sort_by_key(|(reason, flows)| (std::cmp::Reverse(*flows), *reason));
    out.push_str("<ul class=\"reasons\">\n");
    for (reason, flows) in sums {
        let (name, why) = reason.map_or(("unknown", "Not told."), |r| (r.name(), r.explain()));
        let _ = writeln!(
            out,
            "<li><strong>{}</strong> <code>{name}</code> <span>{}</span></li>",
            number(flows),
            prose(why)
        );
    }
    out.push_str("</ul>\n");
}

fn entry(out: &mut String, key: &DenialKey, denial: &Denial, policy: &Policy) {
    let outcome = key.outcome;
    let name = match &key.name {
        Some(name) => format!("<span class=\"name\">{}</span>", escaped(name)),
        None => "<span class=\"name none\">no name</span>".to_owned(),
    };
    let why = match (&key.rule, key.reason) {
        (Some(rule), _) => format!("rule {}", escaped(rule)),
        (None, reason) => reason.map_or("", |reason| reason.name()).to_owned(),
    };
    let _ = write!(
        out,
        "<details>\n<summary><span class=\"count\">{}</span> <span class=\"pill {}\">{}</span> \
         <span class=\"pair\">{} <span class=\"to\" aria-label=\"to\">→</span> {}</span> \
         <span class=\"service\">{}</span> {name} <span class=\"why\">{why}</span></summary>\n<div class=\"body\">\n",
        number(denial.flows),
        outcome.class(),
        outcome.name(),
        escaped(&key.from),
        escaped(&key.to),
        escaped(&service(key.protocol, key.port)),
    );
    if let Some(first) = denial.first.first() {
        explanation(out, &explain(first, policy));
    }
    flows(out, denial);
    out.push_str("</div>\n</details>\n");
}

fn explanation(out: &mut String, explanation: &Explanation) {
    let _ = writeln!(out, "<p class=\"end\">{}</p>", escaped(&explanation.end));
    if let Some(policy) = &explanation.policy {
        let _ = writeln!(out, "<p class=\"where\">Policy at <code>{}</code></p>", escaped(policy));
    }
    if explanation.steps.is_empty() {
        return;
    }
    out.push_str("<div class=\"scroll\"><table class=\"trace\">\n<thead><tr><th scope=\"col\">rule, in order</th><th scope=\"col\">action</th><th scope=\"col\">stands</th><th scope=\"col\">because of</th></tr></thead>\n<tbody>\n");
    for step in &explanation.steps {
        let class = match step.truth {
            Truth::True => "true",
            Truth::False => "false",
            Truth::Unknown => "unknown",
        };
        let because = step.because.as_deref().unwrap_or(match step.truth {
            Truth::True => "everything it asks for",
            _ => "",
        });
        let _ = writeln!(
            out,
            "<tr><td>{}</td><td>{}</td><td class=\"{class}\">{}</td><td>{}</td></tr>",
            escaped(&step.rule),
            step.action.name(),
            step.truth.name(),
            escaped(because),
        );
    }
    if let Some(action) = explanation.otherwise {
        let _ = writeln!(
            out,
            "<tr class=\"last\"><td>otherwise</td><td>{}</td><td class=\"true\">decides</td><td>no rule is true</td></tr>",
            action.name()
        );
    }
    out.push_str("</tbody></table></div>\n");
    if explanation.left_out > 0 {
        let rules = counted(explanation.left_out as u64, "rule", "rules");
        let _ = writeln!(out, "<p class=\"note\">{rules} more that are false are not listed.</p>");
    }
}

fn flows(out: &mut String, denial: &Denial) {
    out.push_str("<div class=\"scroll\"><table class=\"flows\">\n<thead><tr><th scope=\"col\">began</th><th scope=\"col\">flow</th><th scope=\"col\">told</th><th scope=\"col\" class=\"n\">packets</th><th scope=\"col\" class=\"n\">bytes</th></tr></thead>\n<tbody>\n");
    for flow in &denial.first {
        let _ = writeln!(
            out,
            "<tr><td title=\"{}\">{}</td><td>{}</td><td>{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td></tr>",
            moment(flow.start),
            clock(flow.start),
            escaped(&flow.tuple.to_string()),
            escaped(&told(flow)),
            number(flow.packets()),
            bytes(flow.bytes()),
        );
    }
    out.push_str("</tbody></table></div>\n");
    let more = denial.flows.saturating_sub(denial.first.len() as u64);
    if more > 0 {
        let _ = writeln!(out, "<p class=\"note\">{} more.</p>", counted(more, "flow", "flows"));
    }
}

/// What was known of a flow besides its addresses.
fn told(flow: &Sighting) -> String {
    let mut told = Vec::new();
    told.extend(flow.app.as_deref().map(str::to_owned));
    told.extend(flow.tls_version.map(|version| format!("TLS {version}")));
    told.extend(flow.names.iter().chain(&flow.questions).map(|name| name.to_string()));
    if flow.midstream {
        told.push("met in the middle".into());
    }
    told.extend(flow.endpoint.map(|endpoint| endpoint.to_string()));
    told.join(" · ")
}
