//! The lines of the table: medians over rounds, and how a subject stands to the bare one of its kind.

use super::{Figures, Subject};
use lockgate::io::live::Backend;

/// The table's first two lines, as Markdown.
pub(crate) const HEAD: &str = "\
| subject | in flight | bytes | frames/s | Gbit/s | CPU us | p50 us | p99.9 us | CPU | p50 | p99.9 |
| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |";

/// The bare reflector that a subject is measured against.
pub(crate) fn beside(subject: Subject) -> Option<Subject> {
    match subject {
        Subject::Kernel | Subject::Bare(_) => None,
        Subject::Port(kind) | Subject::Engine(kind) => Some(Subject::Bare(kind)),
    }
}

/// What a subject is called in the table.
pub(crate) fn name(subject: Subject) -> String {
    let kind = |kind| if kind == Backend::AfXdp { "af-xdp" } else { "af-packet" };
    match subject {
        Subject::Kernel => "kernel, routing".to_owned(),
        Subject::Bare(Backend::AfXdp) => "bare AF_XDP".to_owned(),
        Subject::Bare(_) => "bare ring (TPACKET_V3)".to_owned(),
        Subject::Port(of) => format!("{}, reflecting", kind(of)),
        Subject::Engine(of) => format!("{}, engine", kind(of)),
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// One line: what was measured, and the median of the ratios of each round.
pub(crate) fn row(
    subject: Subject,
    (in_flight, bytes): (u16, usize),
    figures: &[Figures],
    bare: Option<&Vec<Figures>>,
) -> String {
    let of = |value: fn(&Figures) -> f64| median(figures.iter().map(value));
    let beside = |value: fn(&Figures) -> f64| {
        let pairs = figures.iter().zip(bare.into_iter().flatten());
        median(pairs.map(|(own, bare)| value(own) / value(bare)))
    };
    let written = |value: f64, digits: usize| match value.is_finite() {
        true => format!("{value:.digits$}"),
        false => "-".to_owned(),
    };
    let rate = of(|one| one.frames_per_second);
    format!(
        "| {} | {in_flight} | {bytes} | {rate:.0} | {:.2} | {} | {} | {} | {} | {} | {} |",
        name(subject),
        rate * bytes as f64 * 8.0 / 1e9,
        written(of(|one| one.cpu_us), 2),
        written(of(|one| one.p50_us), 1),
        written(of(|one| one.p999_us), 1),
        written(beside(|one| one.cpu_us), 2),
        written(beside(|one| one.p50_us), 2),
        written(beside(|one| one.p999_us), 2),
    )
}
