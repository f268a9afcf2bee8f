//! Flow records as text: one aligned line for each flow, or two where the screen is narrow.

use super::Names;
use super::names::segment_or_unknown;
use crate::engine::record::FlowRecord;
use crate::model::{Addr, FiveTuple};
use std::fmt::{Display, Write};

/// Screens with fewer columns get two lines for each flow.
pub const NARROW_BELOW: usize = 120;

/// How wide text may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// No screen: one line, nothing is shortened.
    Unbounded,
    /// A screen with so many columns; what does not fit is shortened in the middle.
    Columns(usize),
}

/// The parts of one flow's text.
struct Row {
    verdict: String,
    pair: String,
    tuple: String,
    name: String,
    cause: String,
    volume: String,
}

/// The text of records, each ending in a newline; columns are aligned over all of them.
#[must_use]
pub fn text_lines<'r>(
    records: impl IntoIterator<Item = &'r FlowRecord>,
    names: &impl Names,
    layout: Layout,
) -> String {
    let rows: Vec<Row> = records.into_iter().map(|record| row(record, names)).collect();
    let mut out = String::new();
    match layout {
        Layout::Columns(columns) if columns < NARROW_BELOW => {
            rows.iter().for_each(|row| narrow(&mut out, row, columns));
        }
        Layout::Columns(columns) => table(&mut out, &rows, &widths(&rows, columns)),
        Layout::Unbounded => table(&mut out, &rows, &widths(&rows, usize::MAX)),
    }
    out
}

/// Widths of verdict, pair, tuple, name and cause.
type Widths = [usize; 5];

/// As wide as the widest, unless that is too much for the screen: then the pair, the name and the
/// cause share what verdict, tuple and volume leave.
fn widths(rows: &[Row], columns: usize) -> Widths {
    let widest = |part: fn(&Row) -> &str| rows.iter().map(|row| len(part(row))).max().unwrap_or(0);
    let verdict = widest(|row| &row.verdict);
    let pair = widest(|row| &row.pair);
    let tuple = widest(|row| &row.tuple);
    let name = widest(|row| &row.name);
    let cause = widest(|row| &row.cause);
    let volume = widest(|row| &row.volume);
    if columns == usize::MAX {
        return [verdict, pair, tuple, name, cause];
    }
    let tuple = tuple.min(columns / 2);
    // Five columns of two spaces lie between the six parts.
    let fixed = verdict.saturating_add(tuple).saturating_add(volume).saturating_add(10);
    let mut left = columns.saturating_sub(fixed);
    let mut shares = [0; 3];
    let wanted = [pair, name, cause];
    for (turn, (share, wanted)) in shares.iter_mut().zip(wanted).enumerate() {
        let others: usize = wanted_after(&[pair, name, cause], turn);
        let fair = left / 3_usize.saturating_sub(turn).max(1);
        *share = wanted.min(fair.max(left.saturating_sub(others)));
        left = left.saturating_sub(*share);
    }
    let [pair, name, cause] = shares;
    [verdict, pair, tuple, name, cause]
}

fn wanted_after(wanted: &[usize], turn: usize) -> usize {
    wanted.iter().skip(turn.saturating_add(1)).sum()
}

fn table(out: &mut String, rows: &[Row], widths: &Widths) {
    for row in rows {
        let parts = [&row.verdict, &row.pair, &row.tuple, &row.name, &row.cause];
        for (part, width) in parts.into_iter().zip(*widths) {
            let _ = write!(out, "{:width$}  ", shorten(part, width));
        }
        let _ = writeln!(out, "{}", row.volume);
    }
}

/// Verdict, pair and five-tuple; below them name, cause and volume.
fn narrow(out: &mut String, row: &Row, columns: usize) {
    const VERDICT: usize = 8;
    let rest = columns.saturating_sub(VERDICT);
    let tuple_len = len(&row.tuple).min(rest);
    let pair = shorten(&row.pair, rest.saturating_sub(tuple_len).saturating_sub(2).max(12));
    let tuple_room = rest.saturating_sub(len(&pair)).saturating_sub(2);
    let tuple = shorten(&row.tuple, tuple_room);
    let _ = writeln!(out, "{:<VERDICT$}{pair}  {tuple}", shorten(&row.verdict, 7));
    let room = rest.saturating_sub(len(&row.volume)).saturating_sub(4);
    let cause = shorten(&row.cause, room.saturating_sub(len(&row.name).min(room / 2)));
    let name = shorten(&row.name, room.saturating_sub(len(&cause)));
    let gap = if name.is_empty() { "" } else { "  " };
    let _ = writeln!(out, "{:VERDICT$}{name}{gap}{cause}  {}", "", row.volume);
}

fn row(record: &FlowRecord, names: &impl Names) -> Row {
    let verdict = match record.verdict {
        None => "pending".to_owned(),
        Some(verdict) if record.enforced => verdict.action.name().to_owned(),
        // Monitor mode: what enforcing would have done.
        Some(verdict) => format!("({})", verdict.action.name()),
    };
    let from = segment_or_unknown(names, record.from);
    let to = segment_or_unknown(names, record.to);
    let [there, back] = record.volume;
    Row {
        verdict,
        pair: format!("{from} > {to}"),
        tuple: tuple(&record.tuple, record.icmp),
        name: name(record),
        cause: cause(record, names),
        volume: format!(
            "{}/{} pkts  {}/{}",
            there.packets,
            back.packets,
            quantity(there.bytes),
            quantity(back.bytes)
        ),
    }
}

fn tuple(tuple: &FiveTuple, icmp: Option<(u8, u8)>) -> String {
    let side = |addr: Addr, port: u16| match (tuple.protocol.has_ports(), addr.is_v4()) {
        (false, _) => addr.to_string(),
        (true, true) => format!("{addr}:{port}"),
        (true, false) => format!("[{addr}]:{port}"),
    };
    let (src, dst) = (side(tuple.src, tuple.src_port), side(tuple.dst, tuple.dst_port));
    match icmp {
        Some((kind, code)) => format!("{src} > {dst}/{} {kind}.{code}", tuple.protocol),
        None => format!("{src} > {dst}/{}", tuple.protocol),
    }
}

/// The first name, with the number of further ones.
fn name(record: &FlowRecord) -> String {
    let questions = || record.found.questions.all().iter().map(ToString::to_string).collect();
    let hosts: Vec<String> = record.found.hosts().collect();
    let names = if hosts.is_empty() { questions() } else { hosts };
    let further = names.len().saturating_sub(1);
    match (names.first(), record.found.app) {
        (Some(first), _) if further > 0 => format!("{first} +{further}"),
        (Some(first), _) => first.clone(),
        (None, Some(app)) => format!("({})", app.name()),
        (None, None) => "-".to_owned(),
    }
}

/// The rule if one decided, and the reason if that says more.
fn cause(record: &FlowRecord, names: &impl Names) -> String {
    let Some(verdict) = record.verdict else { return "-".to_owned() };
    let rule = verdict.rule.and_then(|rule| names.rule(rule));
    match rule {
        Some(rule) if verdict.reason == crate::model::Reason::Rule => rule.to_owned(),
        Some(rule) => format!("{rule} ({})", verdict.reason.name()),
        None => verdict.reason.name().to_owned(),
    }
}

/// `1 flow`, `2 flows`: a count of things that have a regular plural.
#[must_use]
pub fn plural<N: Copy + Display + PartialEq + From<u8>>(count: N, what: &str) -> String {
    if count == N::from(1) { format!("1 {what}") } else { format!("{count} {what}s") }
}

/// A number in at most four characters: `999`, `1.2K`, `34K`, `5.6M`.
#[must_use]
pub fn quantity(value: u64) -> String {
    const UNITS: [&str; 6] = ["K", "M", "G", "T", "P", "E"];
    if value < 1000 {
        return value.to_string();
    }
    let mut whole = u128::from(value);
    for unit in UNITS {
        let tenths = whole / 100;
        whole /= 1000;
        if tenths < 100 {
            return format!("{}.{}{unit}", tenths / 10, tenths % 10);
        }
        if whole < 1000 {
            return format!("{whole}{unit}");
        }
    }
    value.to_string()
}

fn len(text: &str) -> usize {
    text.chars().count()
}

/// At most `room` characters; what is too long loses its middle, as both ends of a name tell most.
fn shorten(text: &str, room: usize) -> String {
    let length = len(text);
    if length <= room {
        return text.to_owned();
    }
    let kept = room.saturating_sub(1);
    let front = kept.saturating_sub(kept / 2);
    let back = length.saturating_sub(kept / 2);
    let mut short: String = text.chars().take(front).collect();
    if room > 0 {
        short.push('…');
    }
    short.extend(text.chars().skip(back).take(kept / 2));
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_fit_four_characters() {
        for (value, text) in [
            (0, "0"),
            (999, "999"),
            (1000, "1.0K"),
            (9_999, "9.9K"),
            (10_000, "10K"),
            (999_999, "999K"),
            (1_000_000, "1.0M"),
            (u64::MAX, "18E"),
        ] {
            assert_eq!(quantity(value), text);
        }
    }

    #[test]
    fn what_is_shortened_keeps_both_ends() {
        for (room, text) in
            [(9, "abcdefghi"), (8, "abcd…ghi"), (3, "a…i"), (2, "a…"), (1, "…"), (0, "")]
        {
            assert_eq!(shorten("abcdefghi", room), text);
        }
    }
}
