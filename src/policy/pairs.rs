//! Which policy decides for an ordered pair of segments: worked out once for every pair. The
//! policies themselves are not looked into.

use super::spec::{PolicySpec, SegmentKind, SegmentSpec, Selector};
use crate::model::{PolicyId, SegmentId};
use hashbrown::HashMap;

/// Most ambiguous pairs of policies that are reported.
pub const AMBIGUITIES_LIMIT: usize = 64;

/// Most segments of a ruleset: the policy of every ordered pair is kept, 64 MiB at this limit.
pub const SEGMENTS_LIMIT: usize = 4096;

/// Two policies that are equally specific for a pair of segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ambiguity {
    /// The sending segment of one such pair.
    pub from: SegmentId,
    /// The receiving segment.
    pub to: SegmentId,
    /// The policy that stands first.
    pub first: PolicyId,
    /// The other one.
    pub second: PolicyId,
}

/// The pairs of policies that nothing tells apart, each once, at most [`AMBIGUITIES_LIMIT`].
#[must_use]
pub fn ambiguities(spec: &PolicySpec) -> Vec<Ambiguity> {
    let selectors = Selectors::new(spec);
    let mut found: Vec<Ambiguity> = Vec::new();
    let classes = &selectors.examples;
    for (from, &from_segment) in classes.iter().enumerate() {
        for (to, &to_segment) in classes.iter().enumerate() {
            let Some(Choice { first, second: Some(second) }) = selectors.resolve(from, to) else {
                continue;
            };
            if found.len() < AMBIGUITIES_LIMIT
                && !found.iter().any(|known| (known.first, known.second) == (first, second))
            {
                found.push(Ambiguity { from: from_segment, to: to_segment, first, second });
            }
        }
    }
    found
}

/// The policy of every pair. Segments that no selector tells apart share a class.
#[derive(Clone, Debug)]
pub(super) struct Pairs {
    class_of: Vec<u16>,
    classes: usize,
    matrix: Vec<Option<PolicyId>>,
}

impl Pairs {
    pub(super) fn build(spec: &PolicySpec) -> Self {
        let selectors = Selectors::new(spec);
        let classes = selectors.examples.len();
        let mut matrix = Vec::with_capacity(classes * classes);
        for from in 0..classes {
            let decides = |to| selectors.resolve(from, to).map(|choice| choice.first);
            matrix.extend((0..classes).map(decides));
        }
        Self { class_of: selectors.class_of, classes, matrix }
    }

    pub(super) fn block(&self, from: SegmentId, to: SegmentId) -> Option<PolicyId> {
        let class = |segment: SegmentId| self.class_of.get(usize::from(segment.0)).copied();
        let at = usize::from(class(from)?) * self.classes + usize::from(class(to)?);
        *self.matrix.get(at)?
    }
}

/// How specific a selector is, most specific first.
const LEVELS: usize = 4;

/// A selector by number.
type SelectorId = u32;

/// For each level the used selectors that select a segment.
type Class = [Vec<SelectorId>; LEVELS];

struct Selectors {
    /// What each policy's first and second selector lists hold, by sender.
    rows: HashMap<SelectorId, HashMap<SelectorId, Vec<PolicyId>>>,
    classes: Vec<Class>,
    class_of: Vec<u16>,
    /// One segment of each class.
    examples: Vec<SegmentId>,
}

struct Choice {
    first: PolicyId,
    second: Option<PolicyId>,
}

impl Selectors {
    fn new(spec: &PolicySpec) -> Self {
        let mut ids: HashMap<&Selector, SelectorId> = HashMap::new();
        let mut rows: HashMap<SelectorId, HashMap<SelectorId, Vec<PolicyId>>> = HashMap::new();
        for (block, number) in spec.policies.iter().zip(0..) {
            for from in &block.from {
                let from = intern(&mut ids, from);
                for to in &block.to {
                    let to = intern(&mut ids, to);
                    let cell = rows.entry(from).or_default().entry(to).or_default();
                    if cell.last() != Some(&PolicyId(number)) {
                        cell.push(PolicyId(number));
                    }
                }
            }
        }
        let (mut classes, mut class_of, mut examples) = (Vec::new(), Vec::new(), Vec::new());
        let mut known: HashMap<Class, u16> = HashMap::new();
        for (segment, number) in spec.segments.iter().take(SEGMENTS_LIMIT).zip(0..) {
            let class = classify(&ids, segment);
            let next = u16::try_from(classes.len()).unwrap_or(u16::MAX);
            let id = *known.entry(class.clone()).or_insert(next);
            if id == next && classes.len() == usize::from(next) {
                classes.push(class);
                examples.push(SegmentId(number));
            }
            class_of.push(id);
        }
        Self { rows, classes, class_of, examples }
    }

    /// The policy for a pair of classes, and a second one that is as specific.
    fn resolve(&self, from: usize, to: usize) -> Option<Choice> {
        let (from, to) = (self.classes.get(from)?, self.classes.get(to)?);
        for senders in from {
            for receivers in to {
                let rows = senders.iter().filter_map(|sender| self.rows.get(sender));
                let cells = rows.flat_map(|row| receivers.iter().filter_map(|to| row.get(to)));
                let mut choice: Option<(PolicyId, PolicyId)> = None;
                for &policy in cells.flatten() {
                    let (low, high) = choice.unwrap_or((policy, policy));
                    choice = Some((low.min(policy), high.max(policy)));
                }
                if let Some((first, last)) = choice {
                    return Some(Choice { first, second: (first != last).then_some(last) });
                }
            }
        }
        None
    }
}

fn intern<'a>(ids: &mut HashMap<&'a Selector, SelectorId>, selector: &'a Selector) -> SelectorId {
    let next = SelectorId::try_from(ids.len()).unwrap_or(SelectorId::MAX);
    *ids.entry(selector).or_insert(next)
}

fn classify(ids: &HashMap<&Selector, SelectorId>, segment: &SegmentSpec) -> Class {
    let of = |selector: Selector| ids.get(&selector).copied();
    let kind = |kind: SegmentKind| of(Selector::Kind(kind)).into_iter().collect();
    let label = |(key, value): &(String, String)| of(Selector::Label(key.clone(), value.clone()));
    let mut labels: Vec<SelectorId> = segment.labels.iter().filter_map(label).collect();
    labels.sort_unstable();
    labels.dedup();
    [
        of(Selector::Segment(segment.name.clone())).into_iter().collect(),
        labels,
        kind(segment.kind),
        of(Selector::Any).into_iter().collect(),
    ]
}

#[cfg(test)]
mod tests {
    use super::super::spec::{BlockSpec, Mode};
    use super::*;
    use crate::model::Action;
    use proptest::prelude::*;

    fn selector(text: &str) -> Selector {
        match text {
            "any" => Selector::Any,
            "kind:partner" => Selector::Kind(SegmentKind::Partner),
            "kind:workload" => Selector::Kind(SegmentKind::Workload),
            text => match text.split_once(':') {
                Some((key, value)) => Selector::Label(key.into(), value.into()),
                None => Selector::Segment(text.into()),
            },
        }
    }

    /// Policies as `from>to`, lists separated by commas.
    fn spec(policies: &[&str]) -> PolicySpec {
        let list = |text: &str| text.split(',').map(selector).collect();
        let block = |text: &&str| {
            let (from, to) = text.split_once('>').unwrap();
            BlockSpec {
                location: (*text).to_owned(),
                from: list(from),
                to: list(to),
                mode: Mode::Enforce,
                rules: Vec::new(),
                otherwise: Action::Deny,
            }
        };
        let segment = |name: &str, kind, labels: &[(&str, &str)]| SegmentSpec {
            labels: labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
            ..SegmentSpec::new(name, kind)
        };
        PolicySpec {
            segments: vec![
                segment("acme", SegmentKind::Partner, &[("lane", "prod"), ("trust", "low")]),
                segment("globex", SegmentKind::Partner, &[("lane", "test")]),
                segment("initech", SegmentKind::Partner, &[]),
                segment("payments", SegmentKind::Workload, &[("lane", "prod")]),
                segment("ledger", SegmentKind::Workload, &[]),
            ],
            policies: policies.iter().map(block).collect(),
            ..PolicySpec::default()
        }
    }

    fn decides(policies: &[&str], from: u16, to: u16) -> Option<u32> {
        Pairs::build(&spec(policies)).block(SegmentId(from), SegmentId(to)).map(|id| id.0)
    }

    #[test]
    fn a_name_stands_before_a_label_before_a_kind_before_any() {
        let all = ["any>any", "kind:partner>any", "lane:prod>any", "acme>any"];
        for count in 1..=4 {
            assert_eq!(decides(&all[..count], 0, 3), Some(count as u32 - 1));
        }
        assert_eq!(decides(&all, 1, 3), Some(1));
        assert_eq!(decides(&all, 4, 3), Some(0));
    }

    #[test]
    fn the_sender_is_compared_before_the_receiver() {
        assert_eq!(decides(&["kind:partner>payments", "acme>any"], 0, 3), Some(1));
        assert_eq!(decides(&["acme>any", "acme>payments"], 0, 3), Some(1));
        assert_eq!(decides(&["acme>ledger", "any>payments"], 0, 3), Some(1));
    }

    #[test]
    fn no_policy_is_none_and_pairs_are_ordered() {
        assert_eq!(decides(&["acme>payments"], 3, 0), None);
        assert_eq!(decides(&[], 0, 0), None);
        assert_eq!(decides(&["any>any"], 9, 0), None);
    }

    #[test]
    fn equally_specific_policies_are_ambiguous_where_nothing_beats_them() {
        let found = |policies: &[&str]| {
            let pairs = ambiguities(&spec(policies));
            pairs.iter().map(|a| (a.first.0, a.second.0)).collect::<Vec<_>>()
        };
        assert_eq!(found(&["acme>payments", "acme>payments"]), [(0, 1)]);
        assert_eq!(found(&["lane:prod>any", "trust:low>any"]), [(0, 1)]);
        assert_eq!(found(&["acme,globex>any", "globex>any"]), [(0, 1)]);
        assert_eq!(found(&["lane:prod>any", "trust:low>any", "acme>any"]), []);
        assert_eq!(found(&["acme,acme>any", "lane:test>any"]), []);
        assert_eq!(found(&["acme>any", "any>payments"]), []);
        assert_eq!(found(&["nobody>any", "nobody>any"]), []);
    }

    #[test]
    fn ambiguities_end_at_their_limit() {
        let report = |count: usize| ambiguities(&spec(&vec!["any>any"; count])).len();
        assert_eq!(report(3), 1);
        let labelled: Vec<String> = (0..70).map(|i| format!("s{i}>any")).collect();
        let doubled: Vec<&str> = labelled.iter().flat_map(|p| [p.as_str(), p.as_str()]).collect();
        for (count, reported) in [(63, 63), (64, 64), (65, 64)] {
            let mut spec = spec(&doubled[..count * 2]);
            for number in 0..count {
                let name = format!("s{number}");
                spec.segments.push(SegmentSpec::new(&name, SegmentKind::Partner));
            }
            assert_eq!(ambiguities(&spec).len(), reported);
        }
    }

    proptest! {
        #[test]
        fn the_matrix_agrees_with_a_search_over_all_policies(
            picks in prop::collection::vec((0_usize..8, 0_usize..8), 0..12),
        ) {
            let words =
                ["any", "kind:partner", "kind:workload", "lane:prod", "lane:test", "acme", "payments", "globex"];
            let texts: Vec<String> =
                picks.iter().map(|(f, t)| format!("{}>{}", words[*f], words[*t])).collect();
            let spec = spec(&texts.iter().map(String::as_str).collect::<Vec<_>>());
            let pairs = Pairs::build(&spec);
            let rank = |selectors: &[Selector], segment: &SegmentSpec| {
                selectors.iter().filter_map(|selector| match selector {
                    Selector::Segment(name) => (*name == segment.name).then_some(3),
                    Selector::Label(k, v) => segment.labels.contains(&(k.clone(), v.clone())).then_some(2),
                    Selector::Kind(kind) => (*kind == segment.kind).then_some(1),
                    Selector::Any => Some(0),
                }).max()
            };
            for (from, f) in spec.segments.iter().zip(0..) {
                for (to, t) in spec.segments.iter().zip(0..) {
                    let ranked = spec.policies.iter().zip(0_u32..).filter_map(|(block, id)| {
                        Some((rank(&block.from, from)?, rank(&block.to, to)?, std::cmp::Reverse(id)))
                    });
                    let naive = ranked.max().map(|(_, _, id)| PolicyId(id.0));
                    prop_assert_eq!(pairs.block(SegmentId(f), SegmentId(t)), naive);
                }
            }
        }
    }
}
