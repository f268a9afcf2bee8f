//! A change as one HTML page that needs nothing else: no script, no font, no network. Reads in light
//! and dark, narrow and wide.

use super::json::effect;
use super::text::{edit_word, field_text, flows_headline, headline, kind_word, rows};
use super::{Change, Diff, Edit, FlowDiff, Kind, Written};
use std::fmt::Write;

const STYLE: &str = include_str!("page.css");
/// Flows that are listed.
const FLOWS_LIMIT: usize = 2000;

/// The whole change; `old` and `new` are the rulesets as the user named them.
#[must_use]
pub fn html(diff: &Diff, old: &str, new: &str) -> String {
    let (opens, closes) = diff.directions();
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <title>Ruleset change</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<header>\n\
         <h1>Ruleset change</h1>\n<p>{}</p>\n<p class=\"from\"><code>{}</code> → <code>{}</code></p>\n",
        escape(&headline(diff)),
        escape(old),
        escape(new)
    );
    let rules = diff.written.iter().filter(|w| w.kind == Kind::Rule).count();
    let _ = writeln!(
        out,
        "<ul class=\"counts\"><li class=\"opens\"><b>{opens}</b> open</li>\
         <li class=\"closes\"><b>{closes}</b> close</li><li><b>{rules}</b> rules differ</li></ul>\n</header>\n<main>"
    );
    for (partner, changes) in diff.by_partner() {
        let _ =
            writeln!(out, "<section>\n<h2>{}</h2>", escape(partner.unwrap_or("No single partner")));
        for change in changes {
            of_change(&mut out, change, new);
        }
        let _ = writeln!(out, "</section>");
    }
    for what in &diff.not_proved {
        let _ = writeln!(out, "<p class=\"note\">not proved: {}</p>", escape(what));
    }
    if let Some(flows) = &diff.flows {
        of_flows(&mut out, flows);
    }
    of_written(&mut out, &diff.written);
    out.push_str("</main>\n</body>\n</html>\n");
    out
}

fn of_change(out: &mut String, change: &Change, new: &str) {
    let effect = effect(change);
    let _ = writeln!(
        out,
        "<article class=\"{effect}\">\n<h3><span class=\"tag\">{effect}</span> {} <span class=\"arrow\">→</span> {}</h3>\n<dl>",
        escape(&change.old.to_string()),
        escape(&change.new.to_string())
    );
    for (field, value) in rows(change) {
        let _ = writeln!(out, "<div><dt>{field}</dt><dd>{}</dd></div>", escape(&value));
    }
    let _ = writeln!(
        out,
        "</dl>\n<details><summary>for example</summary><pre>lockgate explain {} {}</pre></details>\n</article>",
        escape(new),
        escape(&change.witness.to_string())
    );
}

fn of_flows(out: &mut String, flows: &FlowDiff) {
    let _ =
        writeln!(out, "<section>\n<h2>Real flows</h2>\n<p>{}</p>", escape(&flows_headline(flows)));
    if !flows.changed.is_empty() {
        let _ = writeln!(
            out,
            "<div class=\"scroll\"><table>\n<thead><tr><th>start</th><th>flow</th><th>segments</th><th>names</th><th>before</th><th>after</th></tr></thead>\n<tbody>"
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
                escape(&flow.start),
                escape(&flow.flow),
                escape(&flow.from),
                escape(&flow.to),
                escape(&flow.names.join(" ")),
                escape(&flow.old.to_string()),
                escape(&flow.new.to_string())
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
            "<article class=\"written\">\n<h3><span class=\"tag\">{}</span> {} <code>{}</code></h3>",
            edit_word(written.edit),
            kind_word(written.kind),
            escape(name)
        );
        if written.edit != Edit::Removed && !written.fields.is_empty() {
            let _ = writeln!(out, "<dl>");
            for field in &written.fields {
                let text = escape(&field_text(field));
                let _ = writeln!(out, "<div><dt>{}</dt><dd>{text}</dd></div>", field.name);
            }
            let _ = writeln!(out, "</dl>");
        }
        let _ = writeln!(out, "</article>");
    }
    let _ = writeln!(out, "</section>");
}

/// What HTML would take for its own.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}
