//! Answers of the control socket for people, and a flow as people write it. Asks nothing.

use super::client::Answer;
use super::{ExplainRequest, Request};
use crate::io::pcap::{CaptureWriter, CapturedPacket, Format};
use crate::model::Timestamp;
use crate::observe::plural;
use crate::wire::Link;
use comfy_table::{CellAlignment, Table, presets};
use serde_json::Value;
use std::cmp::Reverse;
use std::fmt::Write;
use std::fs::File;
use std::io::BufWriter;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

/// An answer that worked; `columns` is the width of the screen if there is one.
#[must_use]
pub fn show(request: &Request, answer: &Answer, columns: Option<u16>) -> String {
    let last = &answer.last;
    match request {
        Request::Status => status(last),
        Request::Flows { .. } => {
            let mut out = flows(&answer.items, columns);
            let (matched, listed) = (number(last, "matched"), number(last, "listed"));
            let _ = match listed {
                _ if listed == matched => writeln!(out, "{}", plural(matched, "flow")),
                _ => writeln!(out, "{} match; {listed} are listed", plural(matched, "flow")),
            };
            out.push_str(&earlier(last));
            out
        }
        Request::Flush { .. } => {
            let mut out = format!("{} ended\n", plural(number(last, "ended"), "flow"));
            let lost = number(last, "lost_records");
            if lost > 0 {
                let lost = plural(lost, "record");
                let _ = writeln!(out, "{lost} lost: the queue of the flow log was full");
            }
            out
        }
        Request::Reload { dry_run: true, .. } => preview(answer, columns),
        Request::Reload { .. } => {
            let mut out = format!("installed, epoch {}", number(last, "epoch"));
            let warnings = number(last, "warnings");
            if warnings > 0 {
                let _ = write!(out, ", {}", plural(warnings, "warning"));
            }
            format!("{out}\n\n{}", text(last, "summary"))
        }
        Request::Drain { cancel: true, .. } => "the drain is called off\n".to_owned(),
        Request::Drain { .. } => format!(
            "draining: {} left, {} s until it goes all the same, new flows: {}\n",
            plural(number(last, "left"), "flow"),
            number(last, "deadline_seconds"),
            text(last, "new_flows"),
        ),
        Request::Explain(_) => explain(last),
        Request::Denied => format!("{}\n", plural(number(last, "packets"), "packet")),
    }
}

/// Why a request did not work.
#[must_use]
pub fn failure(answer: &Answer) -> String {
    let mut out = text(&answer.last, "error").to_owned();
    if let Some(report) = answer.last.get("report").and_then(Value::as_str) {
        let _ = write!(out, "\n\n{report}");
    }
    out
}

/// Writes the packets of an answer to a capture; gives how many.
///
/// # Errors
/// If the capture cannot be written.
pub fn write_capture(answer: &Answer, path: &Path) -> Result<usize, String> {
    let place = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let file = File::create(path).map_err(|error| place(&error))?;
    let format = Format::for_name(&path.to_string_lossy());
    let mut writer = CaptureWriter::new(BufWriter::new(file), format);
    for item in &answer.items {
        let bytes = unhex(text(item, "bytes")).ok_or("the instance sent half a byte")?;
        let packet = CapturedPacket {
            at: Timestamp::from_nanos(number(item, "at_ns")),
            link: if text(item, "link") == "ethernet" { Link::Ethernet } else { Link::RawIp },
            bytes: &bytes,
            original_len: u32::try_from(number(item, "len")).unwrap_or(u32::MAX),
        };
        writer.write(&packet).map_err(|error| place(&error))?;
    }
    writer.finish().map_err(|error| place(&error))?;
    Ok(answer.items.len())
}

/// Reads `10.20.1.5:40000 -> 10.100.4.7:443/tcp`; ports may be left out for protocols without.
///
/// # Errors
/// What is wrong with it.
pub fn flow(written: &str) -> Result<ExplainRequest, String> {
    let wrong = || {
        format!(
            "`{written}` is no flow; write \"10.20.1.5:40000 -> 10.100.4.7:443/tcp\" \
             (IPv6 with a port in brackets)"
        )
    };
    let (source, rest) = written.split_once("->").ok_or_else(wrong)?;
    let (destination, protocol) = rest.rsplit_once('/').ok_or_else(wrong)?;
    let (source, source_port) = side(source.trim()).ok_or_else(wrong)?;
    let (destination, port) = side(destination.trim()).ok_or_else(wrong)?;
    Ok(ExplainRequest {
        endpoint: None,
        segment: None,
        source,
        source_port,
        destination,
        port,
        protocol: protocol.trim().to_owned(),
    })
}

fn side(text: &str) -> Option<(IpAddr, u16)> {
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Some((address.ip(), address.port()));
    }
    text.parse().ok().map(|address| (address, 0))
}

fn status(last: &Value) -> String {
    let mut out = String::new();
    let word = if last["healthy"] == true { "healthy" } else { "unhealthy" };
    let (version, uptime) = (text(last, "version"), duration(number(last, "uptime_seconds")));
    let _ = writeln!(out, "{word}, lockgate {version}, up {uptime}");
    for (list, mark) in [("reasons", "!"), ("notes", "-")] {
        for line in last[list].as_array().into_iter().flatten().filter_map(Value::as_str) {
            let _ = writeln!(out, "  {mark} {line}");
        }
    }
    let mut row = |name: &str, value: String| {
        let _ = writeln!(out, "{name:<10} {value}");
    };
    row("interface", format!("{} ({})", text(last, "interface"), text(last, "backend")));
    let since = duration(number(last, "installed_seconds_ago"));
    let epoch = number(last, "epoch");
    row("ruleset", format!("{}, epoch {epoch}, installed {since} ago", text(last, "ruleset")));
    let sums = &last["sums"];
    if sums.is_object() {
        let of = |name| grouped(number(sums, name));
        row(
            "flows",
            format!("{} of {}, {} opened", of("flows"), of("flows_limit"), of("flows_opened")),
        );
        let (received, forwarded) = (of("received"), of("forwarded"));
        let dropped = of("dropped");
        row("packets", format!("{received} received, {forwarded} forwarded, {dropped} dropped"));
        let (answers, held, lost) = (of("answers"), of("held_bytes"), of("lost"));
        row("", format!("{answers} answers, {held} bytes held, {lost} lost by the back end"));
        if let Some(reasons) = drop_reasons(&sums["dropped_by_reason"]) {
            row("dropped", reasons);
        }
    } else {
        row("flows", "unknown: a worker does not answer".to_owned());
    }
    let workers = last["workers"].as_array().map_or(&[][..], Vec::as_slice);
    let silent = workers.iter().map(|worker| number(worker, "silent_ms")).max().unwrap_or(0);
    let open = workers.iter().filter(|worker| worker["open"] == true).count();
    row("workers", format!("{open} of {} run, silent for {silent} ms at most", workers.len()));
    let log = &last["flow_log"];
    if log.is_object() {
        let of = |name| grouped(number(log, name));
        let (written, lost, waiting) = (of("written"), of("lost"), of("waiting"));
        row("flow log", format!("{written} written, {lost} lost, {waiting} waiting"));
    }
    if last["drain"].is_object() {
        let seconds = number(&last["drain"], "remaining_seconds");
        row("drain", format!("{} s until it goes all the same", seconds));
    }
    out
}

/// The most frequent reasons of drops, and what the others come to.
fn drop_reasons(counts: &Value) -> Option<String> {
    const NAMED: usize = 3;
    let counts =
        counts.as_object()?.iter().filter_map(|(name, count)| Some((name, count.as_u64()?)));
    let mut counts: Vec<(&String, u64)> = counts.collect();
    counts.sort_by_key(|(name, count)| (Reverse(*count), *name));
    let (named, others) = counts.split_at(counts.len().min(NAMED));
    let mut parts: Vec<String> =
        named.iter().map(|(name, count)| format!("{} {name}", grouped(*count))).collect();
    if !others.is_empty() {
        let sum = others.iter().fold(0_u64, |sum, (_, count)| sum.saturating_add(*count));
        parts.push(format!("{} for {}", grouped(sum), plural(others.len() as u64, "other reason")));
    }
    (!parts.is_empty()).then(|| parts.join(", "))
}

/// What is to be known of flows that an earlier ruleset decided.
fn earlier(last: &Value) -> String {
    let count = number(last, "earlier");
    if count == 0 {
        return String::new();
    }
    let count = match count == number(last, "matched") {
        true => "all".to_owned(),
        false => count.to_string(),
    };
    let gone = last["gone"].as_str();
    let gone =
        gone.map_or_else(String::new, |gone| format!("the ruleset has no {gone} any more; "));
    format!(
        "{gone}{count} decided by an earlier ruleset: anew at the next packet, else gone at the timeout\n"
    )
}

fn flows(items: &[Value], columns: Option<u16>) -> String {
    let rows = items.iter().map(|flow| {
        let (decision, counts) = (&flow["lockgate"], &flow["flow"]);
        vec![
            verdict(decision),
            text(decision, "from").to_owned(),
            text(decision, "to").to_owned(),
            tuple(flow),
            name(flow),
            decided(decision),
            number(counts, "age").to_string(),
            number(decision, "idle").to_string(),
            number(counts, "pkts_toserver").to_string(),
            number(counts, "pkts_toclient").to_string(),
        ]
    });
    let head = ["verdict", "from", "to", "flow", "name", "rule", "age s", "idle s", "pkts", "back"];
    table(&head, 6..10, rows.collect(), columns).unwrap_or_else(|| {
        let narrow = items.iter().map(|flow| {
            let (decision, counts) = (&flow["lockgate"], &flow["flow"]);
            let pair = format!("{} -> {}", text(decision, "from"), text(decision, "to"));
            let (age, there) = (number(counts, "age"), number(counts, "pkts_toserver"));
            let (idle, back) = (number(decision, "idle"), number(counts, "pkts_toclient"));
            let counts = format!("{age} s old, idle for {idle} s, {there} + {back} packets");
            let head = format!("{:<8} {pair}, {}", verdict(decision), decided(decision));
            lines(&head, &[tuple(flow), counts, name(flow)])
        });
        narrow.collect()
    })
}

fn preview(answer: &Answer, columns: Option<u16>) -> String {
    let last = &answer.last;
    let stands = |decision: &Value| format!("{} ({})", verdict(decision), decided(decision));
    let rows = answer.items.iter().map(|item| {
        let (flow, now) = (&item["flow"], &item["flow"]["lockgate"]);
        vec![
            stands(now),
            stands(&item["would_be"]),
            text(now, "from").to_owned(),
            text(now, "to").to_owned(),
            tuple(flow),
            name(flow),
        ]
    });
    let head = ["now", "would be", "from", "to", "flow", "name"];
    let mut out = table(&head, 0..0, rows.collect(), columns).unwrap_or_else(|| {
        let narrow = answer.items.iter().map(|item| {
            let (flow, now) = (&item["flow"], &item["flow"]["lockgate"]);
            let pair = format!("{} -> {}", text(now, "from"), text(now, "to"));
            let head = format!("{pair}: {}, would be {}", stands(now), stands(&item["would_be"]));
            lines(&head, &[tuple(flow), name(flow)])
        });
        narrow.collect()
    });
    let (changed, cut, all) = (number(last, "changed"), number(last, "cut"), number(last, "flows"));
    let _ = writeln!(
        out,
        "{changed} of {} would change verdict, {cut} would be cut; nothing was installed",
        plural(all, "live flow"),
    );
    out
}

/// What belongs to one flow where a table is too wide: a line, and more under it.
fn lines(head: &str, more: &[String]) -> String {
    let mut out = format!("{head}\n");
    for line in more.iter().filter(|line| !line.is_empty()) {
        let _ = writeln!(out, "    {line}");
    }
    out + "\n"
}

fn explain(last: &Value) -> String {
    let mut out = String::new();
    let decision = &last["decision"];
    if last["live"] == true {
        let (flow, stands) = (&last["flow"], &last["flow"]["lockgate"]);
        let (from, to) = (text(stands, "from"), text(stands, "to"));
        let _ = writeln!(out, "live: {} from {from} to {to}", tuple(flow));
        if !name(flow).is_empty() {
            let _ = writeln!(out, "name: {}", name(flow));
        }
        let _ = writeln!(out, "stands: {} ({})", text(stands, "verdict"), decided(stands));
    } else {
        let segments = &last["segments"];
        let _ = match segments.is_object() {
            true => writeln!(
                out,
                "no live flow; by its headers alone, from {} to {}",
                text(segments, "from"),
                text(segments, "to")
            ),
            false => writeln!(out, "no live flow; its addresses belong to no pair of segments"),
        };
    }
    if let (Some(policy), Some(location)) = (last["policy"].as_str(), last["location"].as_str()) {
        let _ = writeln!(out, "policy: {policy}, at {location}");
    }
    for step in last["trace"].as_array().into_iter().flatten() {
        let (rule, stands) = (text(step, "rule"), text(step, "stands"));
        let _ = match step["condition"].as_str() {
            Some(condition) => writeln!(out, "  {rule}: {stands}, by {condition}"),
            None => writeln!(out, "  {rule}: {stands}, {}", text(step, "action")),
        };
    }
    let _ = match text(decision, "verdict") {
        "pending" => writeln!(out, "=> pending: it depends on what the two sides send"),
        verdict => writeln!(out, "=> {verdict} ({})", decided(decision)),
    };
    out
}

/// The rule that decided, or the reason.
fn decided(decision: &Value) -> String {
    match (decision["rule"].as_str(), decision["reason"].as_str()) {
        (Some(rule), _) => rule.to_owned(),
        (None, Some(reason)) => reason.to_owned(),
        (None, None) => String::new(),
    }
}

fn tuple(flow: &Value) -> String {
    let end = |address: &str, port: &str| {
        let (address, port) = (text(flow, address), flow[port].as_u64());
        match port {
            Some(port) if address.contains(':') => format!("[{address}]:{port}"),
            Some(port) => format!("{address}:{port}"),
            None => address.to_owned(),
        }
    };
    let protocol = text(flow, "proto").to_lowercase();
    format!("{} -> {}/{protocol}", end("src_ip", "src_port"), end("dest_ip", "dest_port"))
}

/// The first name asked for.
fn name(flow: &Value) -> String {
    let first = [
        flow["tls"]["sni"].as_str(),
        flow["http"]["hostname"].as_str(),
        flow["dns"]["rrnames"][0].as_str(),
    ];
    first.into_iter().flatten().next().unwrap_or_default().to_owned()
}

/// A table; none if the screen is too narrow for it.
fn table(
    head: &[&str],
    numbers: std::ops::Range<usize>,
    rows: Vec<Vec<String>>,
    columns: Option<u16>,
) -> Option<String> {
    if rows.is_empty() {
        return Some(String::new());
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(head.iter().copied()).add_rows(rows);
    for number in numbers {
        if let Some(column) = table.column_mut(number) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let text = format!("{}\n\n", table.trim_fmt());
    let width = text.lines().map(|line| line.chars().count()).max().unwrap_or(0);
    columns.is_none_or(|columns| width <= usize::from(columns)).then_some(text)
}

/// The verdict, in brackets where it is not carried out.
fn verdict(decision: &Value) -> String {
    let verdict = text(decision, "verdict");
    if decision["enforced"] == false { format!("({verdict})") } else { verdict.to_owned() }
}

fn text<'v>(value: &'v Value, field: &str) -> &'v str {
    value.get(field).and_then(Value::as_str).unwrap_or_default()
}

fn number(value: &Value, field: &str) -> u64 {
    value.get(field).and_then(Value::as_u64).unwrap_or(0)
}

/// Digits in groups of three.
fn grouped(value: u64) -> String {
    let digits = value.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && digits.len().saturating_sub(at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

fn duration(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min {} s", seconds % 60),
        (0, _, _) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> =
        text.chars().map(|c| c.to_digit(16).and_then(|d| u8::try_from(d).ok())).collect();
    digits?
        .chunks(2)
        .map(|pair| match pair {
            [high, low] => Some(high << 4 | low),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flows_are_read_as_people_write_them() {
        let asked = flow("10.20.1.5:40000 -> 10.100.4.7:443/tcp").unwrap();
        assert_eq!((asked.source_port, asked.port), (40_000, 443));
        let asked = flow("[2001:db8::1]:1 -> 2001:db8::2/icmpv6").unwrap();
        assert_eq!((asked.source_port, asked.port, &*asked.protocol), (1, 0, "icmpv6"));
        for bad in ["", "10.20.1.5", "10.20.1.5 -> 10.100.4.7", "a -> b/tcp", "1.2.3.4:x -> ::/6"] {
            assert!(flow(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn times_are_told_in_their_two_largest_parts() {
        for (seconds, text) in
            [(0, "0 s"), (61, "1 min 1 s"), (7_260, "2 h 1 min"), (90_000, "1 d 1 h")]
        {
            assert_eq!(duration(seconds), text);
        }
    }

    #[test]
    fn digits_are_grouped_by_three() {
        for (value, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(value), text);
        }
    }

    #[test]
    fn hex_is_read_back() {
        assert_eq!(unhex("00ff7A"), Some(vec![0, 255, 0x7a]));
        assert_eq!(unhex("0"), None);
        assert_eq!(unhex("zz"), None);
    }
}
