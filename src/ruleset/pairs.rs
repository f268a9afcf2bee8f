//! Which policy decides for which ordered pair of segments, and where two would. Reads no rule.

use super::diagnostic::{Diagnostic, Findings};
use super::source::Place;
use crate::policy::spec::{BlockSpec, SegmentSpec, Selector};
use std::collections::HashSet;

/// Segments of one ruleset; the table of pairs is its square.
pub const SEGMENTS_LIMIT: usize = 4096;

/// Ambiguities reported of one ruleset.
const AMBIGUITIES_LIMIT: usize = 100;

/// For every ordered pair of segments, the policy that decides.
#[derive(Debug, Default)]
pub(super) struct Pairs {
    segments: usize,
    /// Specificity and position of the policy.
    table: Vec<Option<(u8, u32)>>,
}

impl Pairs {
    /// Finds the deciding policies; reports pairs for which two are equally specific.
    pub(super) fn new(
        segments: &[SegmentSpec],
        policies: &[BlockSpec],
        places: &[Place],
        findings: &mut Findings,
    ) -> Self {
        let count = segments.len().min(SEGMENTS_LIMIT);
        let mut pairs = Self { segments: count, table: vec![None; count.saturating_mul(count)] };
        let mut reported: HashSet<(u32, u32)> = HashSet::new();
        for (number, policy) in (0u32..).zip(policies) {
            let from = ranks(segments, &policy.from);
            let to = ranks(segments, &policy.to);
            for &(f, from_rank) in &from {
                for &(t, to_rank) in &to {
                    let rank = from_rank.saturating_mul(4).saturating_add(to_rank);
                    let at = f.saturating_mul(count).saturating_add(t);
                    let Some(slot) = pairs.table.get_mut(at) else { continue };
                    match *slot {
                        Some((best, _)) if best < rank => {}
                        Some((best, first)) if best == rank => {
                            if reported.len() < AMBIGUITIES_LIMIT
                                && reported.insert((first, number))
                            {
                                let names = [f, t].map(|n| segments.get(n).map_or("", |s| &s.name));
                                let here = [first, number]
                                    .map(|n| places.get(n as usize).copied().unwrap_or_default());
                                findings.push(ambiguous(names, here));
                            }
                        }
                        _ => *slot = Some((rank, number)),
                    }
                }
            }
        }
        pairs
    }

    /// The position of the policy that decides from one segment to another.
    pub(super) fn get(&self, from: usize, to: usize) -> Option<usize> {
        if to >= self.segments {
            return None;
        }
        let at = from.checked_mul(self.segments)?.checked_add(to)?;
        self.table.get(at).copied().flatten().map(|(_, policy)| policy as usize)
    }
}

fn ambiguous([from, to]: [&str; 2], [first, second]: [Place; 2]) -> Diagnostic {
    let text = format!("two equally specific policies decide from `{from}` to `{to}`");
    Diagnostic::error("ambiguous-policy", text)
        .at(second, "this one")
        .also(first, "and this one")
        .help("merge them, or make one more specific: a name before a label before a kind before any, `from` first")
}

/// The segments a side stands for, each with the rank of its most specific selector.
fn ranks(segments: &[SegmentSpec], side: &[Selector]) -> Vec<(usize, u8)> {
    segments
        .iter()
        .take(SEGMENTS_LIMIT)
        .enumerate()
        .filter_map(|(n, segment)| {
            let best = side.iter().filter(|s| selects(s, segment)).map(rank).min()?;
            Some((n, best))
        })
        .collect()
}

/// Whether a selector stands for a segment.
pub(super) fn selects(selector: &Selector, segment: &SegmentSpec) -> bool {
    match selector {
        Selector::Segment(name) => segment.name == *name,
        Selector::Label(key, value) => segment.labels.iter().any(|(k, v)| k == key && v == value),
        Selector::Kind(kind) => segment.kind == *kind,
        Selector::Any => true,
    }
}

const fn rank(selector: &Selector) -> u8 {
    match selector {
        Selector::Segment(_) => 0,
        Selector::Label(..) => 1,
        Selector::Kind(_) => 2,
        Selector::Any => 3,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Action;
    use crate::policy::spec::{Mode, SegmentKind};

    fn block(from: Selector, to: Selector) -> BlockSpec {
        BlockSpec {
            location: String::new(),
            from: vec![from],
            to: vec![to],
            mode: Mode::Enforce,
            rules: Vec::new(),
            otherwise: Action::Deny,
        }
    }

    fn segments() -> Vec<SegmentSpec> {
        let mut acme = SegmentSpec::new("acme", SegmentKind::Partner);
        acme.labels.push(("lane".into(), "prod".into()));
        vec![acme, SegmentSpec::new("pay", SegmentKind::Workload)]
    }

    #[test]
    fn a_name_comes_before_a_label_before_a_kind_before_any() {
        let acme = || Selector::Segment("acme".into());
        let lane = || Selector::Label("lane".into(), "prod".into());
        let kind = || Selector::Kind(SegmentKind::Partner);
        let order = [
            (acme(), Selector::Any),
            (lane(), Selector::Segment("pay".into())),
            (kind(), Selector::Segment("pay".into())),
            (Selector::Any, Selector::Segment("pay".into())),
            (Selector::Any, Selector::Any),
        ];
        for skip in 0..order.len() {
            let left = order.iter().skip(skip).rev();
            let policies: Vec<_> = left.map(|(f, t)| block(f.clone(), t.clone())).collect();
            let mut findings = Findings::default();
            let pairs = Pairs::new(&segments(), &policies, &[], &mut findings);
            assert!(!findings.has_errors());
            assert_eq!(pairs.get(0, 1), Some(policies.len() - 1), "{skip}");
            assert_eq!(pairs.get(0, 2), None);
        }
    }

    #[test]
    fn equally_specific_policies_are_reported_once() {
        let policies = [block(Selector::Any, Selector::Any), block(Selector::Any, Selector::Any)];
        let mut findings = Findings::default();
        Pairs::new(&segments(), &policies, &[Place::default(); 2], &mut findings);
        assert_eq!(findings.finish().0.len(), 1);
    }
}
