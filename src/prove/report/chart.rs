//! Flows over time as bars of HTML, so that its text stays readable on any screen, and the same as
//! a table for who cannot see bars.

use super::text::{clock, counted, length, moment, number};
use super::timeline::Bin;
use super::{Outcome, Report};
use crate::model::Timestamp;
use std::fmt::Write;

/// The section.
pub(super) fn section(out: &mut String, report: &Report) {
    let bins = report.timeline.bins();
    let Some((first, last)) = bins.first().zip(bins.last()) else { return };
    let highest = bins.iter().map(total).max().unwrap_or(1).max(1);
    let width = length(report.timeline.width());
    let fine = report.timeline.width().as_secs() == 0;
    let shown: Vec<Outcome> =
        Outcome::ALL.into_iter().filter(|outcome| report.sums.of(*outcome) > 0).collect();
    let _ = write!(
        out,
        "<section aria-labelledby=\"time\">\n<h2 id=\"time\">Flows over time</h2>\n\
         <p class=\"lead\">When flows began; a bar is {width}.</p>\n<div class=\"chart\">\n<ul class=\"legend\">\n"
    );
    for outcome in &shown {
        let _ = writeln!(out, "<li class=\"{}\">{}</li>", outcome.class(), outcome.name());
    }
    let _ = writeln!(
        out,
        "</ul>\n<div class=\"plot\" role=\"img\" aria-label=\"{} in bars of {width}; the same is in the table below\">",
        counted(report.sums.total(), "flow", "flows")
    );
    let _ = writeln!(out, "<span class=\"top\">{}</span>", number(highest));
    out.push_str("<div class=\"bars\">");
    for bin in &bins {
        bar(out, bin, highest, fine);
    }
    let _ = write!(
        out,
        "</div>\n<div class=\"axis\"><span>{}</span><span>{}</span></div>\n</div>\n",
        instant(first.start, fine),
        instant(last.start + report.timeline.width(), fine),
    );
    table(out, &bins, &shown, fine);
    out.push_str("</div>\n</section>\n");
}

/// A time as exact as the bins are.
fn instant(time: Timestamp, fine: bool) -> String {
    if fine { clock(time) } else { moment(time) }
}

fn total(bin: &Bin) -> u64 {
    bin.flows.iter().copied().fold(0, u64::saturating_add)
}

fn count(bin: &Bin, outcome: Outcome) -> u64 {
    bin.flows.get(outcome.index()).copied().unwrap_or(0)
}

fn bar(out: &mut String, bin: &Bin, highest: u64, fine: bool) {
    let parts: Vec<String> = Outcome::ALL
        .into_iter()
        .filter(|outcome| count(bin, *outcome) > 0)
        .map(|outcome| format!("{} {}", number(count(bin, outcome)), outcome.name()))
        .collect();
    if parts.is_empty() {
        out.push_str("<span></span>");
        return;
    }
    let title = format!("{}: {}", instant(bin.start, fine), parts.join(", "));
    let height = percent(total(bin), highest);
    let _ = write!(out, "<span title=\"{title}\"><b style=\"height:{height}%\">");
    for outcome in Outcome::ALL {
        let flows = count(bin, outcome);
        if flows > 0 {
            let _ =
                write!(out, "<i class=\"{}\" style=\"flex-grow:{flows}\"></i>", outcome.class());
        }
    }
    out.push_str("</b></span>");
}

/// With one digit behind the point, at least 1, so that the lowest bar is seen.
fn percent(part: u64, whole: u64) -> String {
    let tenths = (u128::from(part).saturating_mul(1000) / u128::from(whole.max(1))).max(10);
    format!("{}.{}", tenths / 10, tenths % 10)
}

fn table(out: &mut String, bins: &[Bin], shown: &[Outcome], fine: bool) {
    out.push_str("<details class=\"data\"><summary>As a table</summary>\n<div class=\"scroll\"><table>\n<thead><tr><th scope=\"col\">from</th>");
    for outcome in shown {
        let _ = write!(out, "<th scope=\"col\" class=\"n\">{}</th>", outcome.name());
    }
    out.push_str("</tr></thead>\n<tbody>\n");
    for bin in bins.iter().filter(|bin| total(bin) > 0) {
        let _ = write!(out, "<tr><td>{}</td>", instant(bin.start, fine));
        for outcome in shown {
            let _ = write!(out, "<td class=\"n\">{}</td>", number(count(bin, *outcome)));
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</tbody></table></div></details>\n");
}
