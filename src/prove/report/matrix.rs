//! Who talks to whom: a heat map of segments, senders down, receivers across.

use super::text::{bytes, escaped, number};
use super::{Outcome, Report, Sums};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

/// Segments on one side; those with fewer flows are put together.
const SEGMENTS_SHOWN: usize = 24;
const OTHERS: &str = "others";

type Cells<'r> = BTreeMap<(&'r str, &'r str), Sums>;

/// The section.
pub(super) fn section(out: &mut String, report: &Report) {
    if report.pairs.is_empty() {
        return;
    }
    let senders = sides(report, |(from, _)| from);
    let receivers = sides(report, |(_, to)| to);
    let cells = cells(report, &senders, &receivers);
    let highest = cells.values().map(Sums::total).max().unwrap_or(1);
    out.push_str(
        "<section aria-labelledby=\"matrix\">\n<h2 id=\"matrix\">Who talks to whom</h2>\n\
         <p class=\"lead\">Flows from the segment on the left to the one above. The stronger the colour, the more \
         flows; the line below a number shows how many of them were allowed and refused.</p>\n\
         <div class=\"scroll\"><table class=\"matrix\">\n<thead><tr><th scope=\"col\" class=\"corner\">from \\ to</th>",
    );
    let (rows, columns) = (shown(&senders, &cells, |k| k.0), shown(&receivers, &cells, |k| k.1));
    for to in &columns {
        let _ = write!(out, "<th scope=\"col\">{}</th>", escaped(to));
    }
    out.push_str("</tr></thead>\n<tbody>\n");
    for from in &rows {
        let _ = write!(out, "<tr><th scope=\"row\">{}</th>", escaped(from));
        for to in &columns {
            match cells.get(&(*from, *to)) {
                Some(sums) => cell(out, from, to, sums, highest),
                None => out.push_str("<td class=\"none\"><span aria-label=\"none\">·</span></td>"),
            }
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</tbody></table></div>\n</section>\n");
}

/// The segments of one side that are shown by themselves.
fn sides<'r>(
    report: &'r Report,
    side: impl Fn(&'r (Box<str>, Box<str>)) -> &'r str,
) -> BTreeSet<&'r str> {
    let mut flows: BTreeMap<&str, u64> = BTreeMap::new();
    for (pair, sums) in &report.pairs {
        let sum = flows.entry(side(pair)).or_default();
        *sum = sum.saturating_add(sums.total());
    }
    let mut order: Vec<(&str, u64)> = flows.into_iter().collect();
    order.sort_by_key(|(name, flows)| (std::cmp::Reverse(*flows), *name));
    order.into_iter().take(SEGMENTS_SHOWN).map(|(name, _)| name).collect()
}

fn cells<'r>(
    report: &'r Report,
    senders: &BTreeSet<&'r str>,
    receivers: &BTreeSet<&'r str>,
) -> Cells<'r> {
    let mut cells = Cells::new();
    for ((from, to), sums) in &report.pairs {
        let from = if senders.contains(&**from) { &**from } else { OTHERS };
        let to = if receivers.contains(&**to) { &**to } else { OTHERS };
        let cell = cells.entry((from, to)).or_default();
        for (sum, more) in cell.flows.iter_mut().zip(sums.flows) {
            *sum = sum.saturating_add(more);
        }
        cell.packets = cell.packets.saturating_add(sums.packets);
        cell.bytes = cell.bytes.saturating_add(sums.bytes);
    }
    cells
}

/// Those shown, and the others behind them if there are any.
fn shown<'r>(
    names: &BTreeSet<&'r str>,
    cells: &Cells<'r>,
    side: impl Fn((&'r str, &'r str)) -> &'r str,
) -> Vec<&'r str> {
    let mut shown: Vec<&str> = names.iter().copied().collect();
    if !names.contains(OTHERS) && cells.keys().any(|key| side(*key) == OTHERS) {
        shown.push(OTHERS);
    }
    shown
}

fn cell(out: &mut String, from: &str, to: &str, sums: &Sums, highest: u64) {
    let parts: Vec<String> = Outcome::ALL
        .into_iter()
        .filter(|outcome| sums.of(*outcome) > 0)
        .map(|outcome| format!("{} {}", number(sums.of(outcome)), outcome.name()))
        .collect();
    let what = format!("{}; {}", parts.join(", "), bytes(sums.bytes));
    let (from, to) = (escaped(from), escaped(to));
    let _ = write!(
        out,
        "<td style=\"--heat:{}%\" title=\"{from} to {to}: {what}\"><b>{}</b><span class=\"split\" aria-hidden=\"true\">",
        heat(sums.total(), highest),
        number(sums.total())
    );
    for outcome in Outcome::ALL {
        let flows = sums.of(outcome);
        if flows > 0 {
            let _ =
                write!(out, "<i class=\"{}\" style=\"flex-grow:{flows}\"></i>", outcome.class());
        }
    }
    let _ = write!(out, "</span><span class=\"hidden\">: {what}</span></td>");
}

/// How dark a cell is, 12 to 100: by the number of binary digits, so that few flows are seen beside
/// many.
fn heat(flows: u64, highest: u64) -> u32 {
    let digits = |count: u64| 64 - count.leading_zeros();
    let (own, most) = (digits(flows), digits(highest).max(1));
    12 + 88 * own.min(most) / most
}
