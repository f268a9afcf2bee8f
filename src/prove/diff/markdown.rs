//! A change as Markdown, for a comment on a pull request.

use super::json::effect;
use super::text::{edit_word, field_text, flows_headline, headline, kind_word, rows};
use super::{Change, Diff, FlowDiff, Kind};
use std::fmt::Write;

/// The longest comment that code hosts take, with some room.
pub const COMMENT_LIMIT_BYTES: usize = 60_000;
/// Flows that are listed.
const FLOWS_LIMIT: usize = 20;

/// The whole change; `old` and `new` are the rulesets as the user named them. What does not fit a comment is
/// counted.
#[must_use]
pub fn markdown(diff: &Diff, old: &str, new: &str) -> String {
    let mut out = format!("## Ruleset change: {}\n", headline(diff));
    let mut left_out = 0usize;
    for (partner, changes) in diff.by_partner() {
        let mut section =
            format!("\n### {}\n", partner.map_or("No single partner".to_owned(), code));
        let mut count = 0usize;
        for change in changes {
            let text = of_change(change, old, new);
            if out.len().saturating_add(section.len()).saturating_add(text.len())
                > COMMENT_LIMIT_BYTES
            {
                left_out = left_out.saturating_add(1);
                continue;
            }
            section.push_str(&text);
            count = count.saturating_add(1);
        }
        if count > 0 {
            out.push_str(&section);
        }
    }
    if left_out > 0 {
        let _ =
            writeln!(out, "\n{left_out} more regions do not fit here; `lockgate diff` lists them.");
    }
    for what in &diff.not_proved {
        let _ = writeln!(out, "\n:warning: not proved: {}", escape(what));
    }
    if let Some(flows) = &diff.flows {
        of_flows(&mut out, flows);
    }
    of_written(&mut out, diff);
    out
}

fn of_change(change: &Change, old: &str, new: &str) -> String {
    let mark = match effect(change) {
        "opens" => ":warning: **opens**",
        "closes" => ":no_entry: **closes**",
        _ => "**changes**",
    };
    let mut out = format!(
        "\n{mark}: {} → {}\n\n",
        escape(&change.old.to_string()),
        escape(&change.new.to_string())
    );
    let _ = writeln!(out, "| | |\n| --- | --- |");
    for (field, value) in rows(change) {
        let _ = writeln!(out, "| {field} | {} |", escape(&value));
    }
    for (label, command) in Diff::examples(change, old, new) {
        let _ = writeln!(
            out,
            "\n<details><summary>{label}</summary>\n\n```\n{command}\n```\n\n</details>"
        );
    }
    out
}

fn of_flows(out: &mut String, flows: &FlowDiff) {
    let _ = writeln!(out, "\n### Real flows\n\n{}\n", flows_headline(flows));
    if flows.changed.is_empty() {
        return;
    }
    let _ = writeln!(
        out,
        "| flow | segments | names | before | after |\n| --- | --- | --- | --- | --- |"
    );
    for flow in flows.changed.iter().take(FLOWS_LIMIT) {
        let _ = writeln!(
            out,
            "| {} | {} → {} | {} | {} | {} |",
            code(&flow.flow),
            escape(&flow.from),
            escape(&flow.to),
            escape(&flow.names.join(" ")),
            escape(&flow.old.to_string()),
            escape(&flow.new.to_string())
        );
    }
    let more = flows.changed.len().saturating_sub(FLOWS_LIMIT);
    if more > 0 {
        let _ = writeln!(out, "\nand {more} more");
    }
}

fn of_written(out: &mut String, diff: &Diff) {
    if diff.written.is_empty() {
        return;
    }
    let _ = writeln!(
        out,
        "\n<details><summary>written differently ({})</summary>\n",
        diff.written.len()
    );
    let _ = writeln!(out, "| what | | fields |\n| --- | --- | --- |");
    for written in &diff.written {
        let fields: Vec<String> =
            written.fields.iter().map(|f| format!("{} {}", f.name, field_text(f))).collect();
        let name = if written.kind == Kind::Defaults { String::new() } else { code(&written.name) };
        let row = format!(
            "| {} {name} | {} | {} |",
            kind_word(written.kind),
            edit_word(written.edit),
            escape(&fields.join("; "))
        );
        if out.len().saturating_add(row.len()) > COMMENT_LIMIT_BYTES {
            let _ = writeln!(out, "| | | more than fits here |");
            break;
        }
        let _ = writeln!(out, "{row}");
    }
    let _ = writeln!(out, "\n</details>");
}

/// As inline code; names hold no backtick, but what comes out of logs may.
fn code(text: &str) -> String {
    format!("`{}`", text.replace('`', "'").replace('|', "\\|"))
}

/// What Markdown and HTML would take for their own.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '|' | '*' | '_' | '`' | '[' | ']' | '#' | '\\' => {
                out.push('\\');
                out.push(c);
            }
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '\n' | '\r' => out.push(' '),
            c => out.push(c),
        }
    }
    out
}
