//! The plain tables: names, rules, dropped packets.

use super::page::share;
use super::text::{bytes, counted, escaped, moment, number, prose};
use super::{Outcome, Report, Sums};
use crate::model::Reason;
use crate::policy::Policy;
use crate::policy::spec::Mode;
use std::collections::BTreeMap;
use std::fmt::Write;

/// Names listed of each kind.
const NAMES_SHOWN: usize = 50;
/// Rules listed.
const RULES_SHOWN: usize = 1000;

/// Names asked for, most frequent first.
pub(super) fn names(out: &mut String, report: &Report) {
    if report.names.is_empty() && report.questions.is_empty() {
        return;
    }
    out.push_str("<section aria-labelledby=\"names\">\n<h2 id=\"names\">Names</h2>\n<div class=\"beside\">\n");
    name_table(out, "Asked of servers", "TLS and QUIC server names, HTTP hosts", &report.names);
    name_table(out, "Asked of resolvers", "Names in DNS questions", &report.questions);
    out.push_str("</div>\n</section>\n");
}

fn name_table(out: &mut String, title: &str, what: &str, names: &BTreeMap<Box<str>, Sums>) {
    if names.is_empty() {
        return;
    }
    let mut order: Vec<(&str, &Sums)> = names.iter().map(|(name, sums)| (&**name, sums)).collect();
    order.sort_by_key(|(name, sums)| (std::cmp::Reverse(sums.total()), *name));
    let _ = write!(
        out,
        "<div>\n<h3>{title}</h3>\n<p class=\"lead\">{what}; {}.</p>\n<div class=\"scroll\"><table>\n\
         <thead><tr><th scope=\"col\">name</th><th scope=\"col\" class=\"n\">flows</th><th scope=\"col\">outcome</th>\
         <th scope=\"col\" class=\"n\">bytes</th></tr></thead>\n<tbody>\n",
        counted(names.len() as u64, "name", "names")
    );
    for (name, sums) in order.iter().take(NAMES_SHOWN) {
        let _ = write!(
            out,
            "<tr><td class=\"name\">{}</td><td class=\"n\">{}</td><td>",
            escaped(name),
            number(sums.total()),
        );
        split(out, sums);
        let _ = writeln!(out, "</td><td class=\"n\">{}</td></tr>", bytes(sums.bytes));
    }
    out.push_str("</tbody></table></div>\n");
    let more = order.len().saturating_sub(NAMES_SHOWN);
    if more > 0 {
        let _ = writeln!(
            out,
            "<p class=\"note\">{} less frequent.</p>",
            counted(more as u64, "name", "names")
        );
    }
    out.push_str("</div>\n");
}

/// Outcomes as a line of colours, and in words.
fn split(out: &mut String, sums: &Sums) {
    let parts: Vec<String> = Outcome::ALL
        .into_iter()
        .filter(|outcome| sums.of(*outcome) > 0)
        .map(|outcome| format!("{} {}", number(sums.of(outcome)), outcome.name()))
        .collect();
    let _ =
        write!(out, "<span class=\"split\" title=\"{}\" aria-hidden=\"true\">", parts.join(", "));
    for outcome in Outcome::ALL {
        let flows = sums.of(outcome);
        if flows > 0 {
            let _ =
                write!(out, "<i class=\"{}\" style=\"flex-grow:{flows}\"></i>", outcome.class());
        }
    }
    let _ = write!(out, "</span><span class=\"small\">{}</span>", parts.join(", "));
}

/// Rules of the ruleset that decided nothing.
pub(super) fn unused(report: &Report, policy: &Policy) -> u64 {
    policy.rules().iter().filter(|rule| !report.rules.contains_key(&*rule.name)).count() as u64
}

/// Every rule with what it did.
pub(super) fn rules(out: &mut String, report: &Report, policy: &Policy) {
    let total = report.sums.total();
    let _ = write!(
        out,
        "<section aria-labelledby=\"rules\">\n<h2 id=\"rules\">Rules</h2>\n<p class=\"lead\">{} never decided a flow.</p>\n\
         <div class=\"scroll\"><table class=\"rules\">\n<thead><tr><th scope=\"col\">rule</th><th scope=\"col\">action</th>\
         <th scope=\"col\">policy at</th><th scope=\"col\" class=\"n\">flows</th><th scope=\"col\" class=\"n\">share</th>\
         <th scope=\"col\" class=\"n\">bytes</th><th scope=\"col\">last</th></tr></thead>\n<tbody>\n",
        counted(unused(report, policy), "rule", "rules")
    );
    for rule in policy.rules().iter().take(RULES_SHOWN) {
        let block = policy.policy(rule.policy);
        let place = block.map_or("", |block| &*block.location);
        let watching = block.is_some_and(|block| block.mode == Mode::Monitor);
        let monitor = if watching { " <span class=\"pill watch\">monitor</span>" } else { "" };
        let hits = report.rules.get(&*rule.name);
        let class = if hits.is_some() { "" } else { " class=\"unused\"" };
        let _ = write!(
            out,
            "<tr{class}><td>{}</td><td>{}{monitor}</td><td><code>{}</code></td>",
            escaped(&rule.name),
            rule.action.name(),
            escaped(place)
        );
        let _ = match hits {
            Some(hits) => writeln!(
                out,
                "<td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td>{}</td></tr>",
                number(hits.flows),
                share(hits.flows, total),
                bytes(hits.bytes),
                moment(hits.last)
            ),
            None => writeln!(
                out,
                "<td class=\"n\">0</td><td class=\"n\"></td><td class=\"n\"></td><td>never hit</td></tr>"
            ),
        };
    }
    out.push_str("</tbody></table></div>\n");
    let more = policy.rules().len().saturating_sub(RULES_SHOWN);
    if more > 0 {
        let _ =
            writeln!(out, "<p class=\"note\">{} more.</p>", counted(more as u64, "rule", "rules"));
    }
    out.push_str("</section>\n");
}

/// Packets dropped, by reason, if captures were replayed.
pub(super) fn drops(out: &mut String, report: &Report) {
    let Some(counters) = &report.counters else { return };
    let _ = write!(
        out,
        "<section aria-labelledby=\"packets\">\n<h2 id=\"packets\">Packets</h2>\n<p class=\"lead\">{} read: {} forwarded, {} dropped, \
         {} sent by the engine itself.</p>\n",
        counted(counters.received, "packet", "packets"),
        number(counters.forwarded),
        number(counters.dropped_total()),
        counted(counters.answers, "answer", "answers"),
    );
    let dropped: Vec<Reason> =
        Reason::ALL.iter().copied().filter(|reason| counters.dropped(*reason) > 0).collect();
    if !dropped.is_empty() {
        out.push_str("<div class=\"scroll\"><table>\n<thead><tr><th scope=\"col\">dropped for</th><th scope=\"col\" class=\"n\">packets</th><th scope=\"col\">which means</th></tr></thead>\n<tbody>\n");
        for reason in dropped {
            let _ = writeln!(
                out,
                "<tr><td><code>{}</code></td><td class=\"n\">{}</td><td>{}</td></tr>",
                reason.name(),
                number(counters.dropped(reason)),
                prose(reason.explain())
            );
        }
        out.push_str("</tbody></table></div>\n");
    }
    out.push_str("</section>\n");
}
