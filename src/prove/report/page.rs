//! The page: its head and its numbers, and the order of what follows.

use super::text::{bytes, counted, escaped, length, moment, number};
use super::{Outcome, Report, chart, denials, matrix, tables};
use crate::observe::page;
use crate::policy::Policy;
use std::fmt::Write;

/// What a report is about, for its head.
#[derive(Clone, Debug, Default)]
pub struct About {
    /// The ruleset, as the user named it.
    pub ruleset: String,
    /// Captures and flow logs, as the user named them.
    pub inputs: Vec<String>,
}

/// Inputs named one by one.
const INPUTS_NAMED: usize = 4;

/// The report as one HTML page.
#[must_use]
pub fn html(report: &Report, policy: &Policy, about: &About) -> String {
    let mut out = page::begin(&format!("Traffic report: {}", about.ruleset));
    head(&mut out, report, about);
    out.push_str("<main id=\"report\">\n");
    cards(&mut out, report, policy);
    if report.sums.total() == 0 {
        out.push_str("<p class=\"empty\">No flow was seen.</p>\n");
    }
    chart::section(&mut out, report);
    matrix::section(&mut out, report);
    denials::section(&mut out, report, policy);
    tables::names(&mut out, report);
    tables::rules(&mut out, report, policy);
    tables::drops(&mut out, report);
    out.push_str("</main>\n");
    page::end(&mut out, "Times are UTC, bytes those of the inner IP packets.");
    out
}

fn head(out: &mut String, report: &Report, about: &About) {
    let ruleset = escaped(&about.ruleset);
    let named: Vec<String> =
        about.inputs.iter().take(INPUTS_NAMED).map(|name| escaped(name)).collect();
    let more = about.inputs.len().saturating_sub(INPUTS_NAMED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let _ = write!(
        out,
        "<header>\n<h1>Traffic report</h1>\n<dl class=\"about\">\n\
         <div><dt>Ruleset</dt><dd>{ruleset}</dd></div>\n\
         <div><dt>From</dt><dd>{}{more}</dd></div>\n",
        named.join(", ")
    );
    if let Some(first) = report.first {
        let span = length(report.last.since(first));
        let (first, last) = (moment(first), moment(report.last));
        let _ = writeln!(
            out,
            "<div><dt>Seen</dt><dd><time>{first}</time> to <time>{last}</time> UTC ({span})</dd></div>"
        );
    }
    out.push_str("</dl>\n</header>\n");
}

/// The numbers everybody asks for first.
fn cards(out: &mut String, report: &Report, policy: &Policy) {
    let sums = &report.sums;
    out.push_str("<ul class=\"cards\" aria-label=\"Sums\">\n");
    let mut card = |class: &str, value: String, label: &str, below: String| {
        let _ = writeln!(
            out,
            "<li class=\"{class}\"><strong>{value}</strong><span>{label}</span><small>{below}</small></li>"
        );
    };
    let pairs = counted(report.pairs.len() as u64, "pair of segments", "pairs of segments");
    card("all", number(sums.total()), "flows", pairs);
    for outcome in Outcome::ALL {
        let flows = sums.of(outcome);
        let shown = flows > 0 || matches!(outcome, Outcome::Allowed | Outcome::Denied);
        if shown {
            card(outcome.class(), number(flows), outcome.name(), share(flows, sums.total()));
        }
    }
    card("all", bytes(sums.bytes), "carried", counted(sums.packets, "packet", "packets"));
    let unused = tables::unused(report, policy);
    let of = format!("of {}", counted(policy.rules().len() as u64, "rule", "rules"));
    card("all", number(unused), "rules never hit", of);
    out.push_str("</ul>\n");
    if report.crowded > 0 {
        let flows = counted(report.crowded, "flow", "flows");
        let _ = writeln!(
            out,
            "<p class=\"note\">{flows} are in the sums only: more different names, pairs or denials \
             were seen than are told apart.</p>"
        );
    }
}

/// `25 %`; what is little is not called nothing.
pub(super) fn share(part: u64, whole: u64) -> String {
    if whole == 0 {
        return "of none".into();
    }
    let tenths = u128::from(part).saturating_mul(1000) / u128::from(whole);
    match (part, tenths) {
        (0, _) => "0 %".into(),
        (_, 0) => "under 0.1 %".into(),
        (_, 1..100) => format!("{}.{} %", tenths / 10, tenths % 10),
        _ => format!("{} %", tenths / 10),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_round_down_and_little_is_not_nothing() {
        for (part, whole, text) in [
            (0, 0, "of none"),
            (0, 5, "0 %"),
            (1, 5000, "under 0.1 %"),
            (1, 30, "3.3 %"),
            (999, 1000, "99 %"),
            (u64::MAX, u64::MAX, "100 %"),
        ] {
            assert_eq!(share(part, whole), text);
        }
    }
}
