//! A change as one HTML page that needs nothing else.

use super::json::effect;
use super::text::{edit_word, field_text, flows_headline, headline, kind_word, rows};
use super::{Change, Diff, Edit, FlowDiff, Kind, Written};
use crate::observe::page::{self, escaped};
use std::fmt::Write;

/// Flows that are listed.
const FLOWS_LIMIT: usize = 2000;

/// The whole change; `old` and `new` are the rulesets as the user named them.
#[must_use]
pub fn html(diff: &Diff, old: &str, new: &str) -> String {
    let (opens, closes) = diff.directions();
    let rules = diff.written.iter().filter(|w| w.kind == Kind::Rule).count();
    let mut out = page::begin("Ruleset change");
    let _ = write!(
        out,
        "<header>\n<h1>Ruleset change</h1>\n<p class=\"lead\">{}</p>\n\
         <p class=\"where\"><code>{}</code> → <code>{}</code></p>\n</header>\n<main>\n\
         <ul class=\"cards\" aria-label=\"Sums\">\n\
         <li class=\"opens\"><strong>{opens}</strong><span>open</span></li>\n\
         <li class=\"closes\"><strong>{closes}</strong><span>close</span></li>\n\
         <li><strong>{rules}</strong><span>rules differ</span></li>\n</ul>\n",
        escaped(&headline(diff)),
        escaped(old),
        escaped(new)
    );
    for (partner, changes) in diff.by_partner() {
        let _ = writeln!(
            out,
            "<section>\n<h2>{}</h2>",
            escaped(partner.unwrap_or("No single partner"))
        );
        for change in changes {
            of_change(&mut out, change, old, new);
        }
        let _ = writeln!(out, "</section>");
    }
    for what in &diff.not_proved {
        let _ = writeln!(out, "<p class=\"note\">not proved: {}</p>", escaped(what));
    }
    if let Some(flows) = &diff.flows {
        of_flows(&mut out, flows);
    }
    of_written(&mut out, &diff.written);
    out.push_str("</main>\n");
    page::end(&mut out, "");
    out
}

fn of_change(out: &mut String, change: &Change, old: &str, new: &str) {
    let effect = effect(change);
    let _ = writeln!(
        out,
        "<article class=\"{effect}\">\n<h3><span class=\"pill\">{effect}</span> {} <span class=\"arrow\">→</span> {}</h3>\n<dl class=\"fields\">",
        escaped(&change.old.to_string()),
        escaped(&change.new.to_string())
    );
    for (field, value) in rows(change) {
        let _ = writeln!(out, "<div><dt>{field}</dt><dd>{}</dd></div>", escaped(&value));
    }
    let _ = writeln!(out, "</dl>");
    for (label, command) in Diff::examples(change, old, new) {
        let _ = writeln!(
            out,
            "<details><summary>{label}</summary><pre>{}</pre></details>",
            escaped(&command)
        );
    }
    let _ = writeln!(out, "</article>");
}

fn of_flows(out: &mut String, flows: &FlowDiff) {
    let _ = writeln!(
        out,
        "<section>\n<h2>Real flows</h2>\n<p class=\"lead\">{}</p>",
        escaped(&flows_headline(flows))
    );
    if !flows.changed.is_empty() {
        let _ = writeln!(
            out,
            "<div class=\"scroll\"><table class=\"changed\">\n<thead><tr><th>start</th><th>flow</th><th>segments</th><th>names</th><th>before</th><th>after</th></tr></thead>\n<tbody>"
        );
        for flow in flows.changed.iter().take(FLOWS_LIMIT) {
            let class = match (flow.old.allows(), flow.new.allows()) {
                (false, true) => "opens",
                (true, false) => "closes",
                _ => "changes",
            };
            let _ = writeln!(
                out,
                "<tr class=\"{class}\"><td>{}</td><td><code>{}</code></td><td>{} → {}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
                escaped(&flow.start),
                escaped(&flow.flow),
                escaped(&flow.from),
                escaped(&flow.to),
                escaped(&flow.names.join(" ")),
                escaped(&flow.old.to_string()),
                escaped(&flow.new.to_string())
            );
        }
        let _ = writeln!(out, "</tbody></table></div>");
        let more = flows.changed.len().saturating_sub(FLOWS_LIMIT);
        if more > 0 {
            let _ = writeln!(out, "<p class=\"note\">and {more} more</p>");
        }
    }
    let _ = writeln!(out, "</section>");
}

fn of_written(out: &mut String, all: &[Written]) {
    if all.is_empty() {
        return;
    }
    let _ = writeln!(out, "<section>\n<h2>Written differently</h2>");
    for written in all {
        let name = if written.kind == Kind::Defaults { "" } else { written.name.as_str() };
        let _ = writeln!(
            out,
            "<article class=\"written\">\n<h3><span class=\"pill\">{}</span> {} <code>{}</code></h3>",
            edit_word(written.edit),
            kind_word(written.kind),
            escaped(name)
        );
        if written.edit != Edit::Removed && !written.fields.is_empty() {
            let _ = writeln!(out, "<dl class=\"fields\">");
            for field in &written.fields {
                let text = escaped(&field_text(field));
                let _ = writeln!(out, "<div><dt>{}</dt><dd>{text}</dd></div>", field.name);
            }
            let _ = writeln!(out, "</dl>");
        }
        let _ = writeln!(out, "</article>");
    }
    let _ = writeln!(out, "</section>");
}
