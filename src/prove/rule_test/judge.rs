//! Expectations compared with what became of flows.

use super::plan::{Plan, Subject, Unit};
use super::select::{expected_text, happened_text, is_chosen, meets};
use crate::policy::Policy;
use crate::prove::observed::Flow;
use crate::ruleset::{Chosen, Expectation, InlineFlow, Place, TestFile};

/// As many failures of one expectation are kept; the rest is counted.
pub const FAILURES_MAX: usize = 10;

/// One expectation, and how it stood.
#[derive(Debug)]
pub struct Case {
    /// Where it is written.
    pub place: Place,
    /// What it is about.
    pub title: String,
    /// For people.
    pub description: Option<String>,
    /// How many flows it is about.
    pub selected: usize,
    /// What is not as expected, at most [`FAILURES_MAX`].
    pub failures: Vec<Failure>,
    /// Failures that were not kept.
    pub more: usize,
}

/// Something that is not as expected.
#[derive(Debug)]
pub struct Failure {
    /// What was expected.
    pub expected: String,
    /// What happened.
    pub happened: String,
    /// What may help.
    pub help: Option<&'static str>,
    /// The flow it is about.
    pub flow: Option<Box<Flow>>,
}

impl Case {
    /// Whether everything is as expected.
    #[must_use]
    pub const fn passed(&self) -> bool {
        self.failures.is_empty()
    }

    fn new(place: Place, title: String, description: Option<&String>) -> Self {
        let description = description.cloned();
        Self { place, title, description, selected: 0, failures: Vec::new(), more: 0 }
    }

    fn fail(&mut self, failure: Failure) {
        if self.failures.len() < FAILURES_MAX {
            self.failures.push(failure);
        } else {
            self.more = self.more.saturating_add(1);
        }
    }
}

impl Plan<'_> {
    /// How the expectations about a unit stand.
    pub(super) fn cases(&self, unit: &Unit, flows: &[Flow], policy: &Policy) -> Vec<Case> {
        let Some(file) = self.suite.files.get(unit.file) else { return Vec::new() };
        match unit.subject {
            Subject::Capture => captured(file, flows, policy),
            Subject::Written(position) => file
                .flows
                .get(position)
                .map(|flow| written(flow, flows, policy))
                .into_iter()
                .collect(),
        }
    }
}

fn captured(file: &TestFile, flows: &[Flow], policy: &Policy) -> Vec<Case> {
    let mut taken = vec![false; flows.len()];
    for expectation in &file.expect {
        for (flow, taken) in flows.iter().zip(&mut taken) {
            *taken |= is_chosen(&expectation.chosen, flow, policy);
        }
    }
    file.expect
        .iter()
        .map(|expectation| {
            let is_selected = |(flow, taken): &(&Flow, &bool)| match expectation.chosen {
                Chosen::Rest => !**taken,
                _ => is_chosen(&expectation.chosen, flow, policy),
            };
            let selected: Vec<&Flow> =
                flows.iter().zip(&taken).filter(is_selected).map(|(flow, _)| flow).collect();
            expect(expectation, &selected, policy)
        })
        .collect()
}

fn expect(expectation: &Expectation, selected: &[&Flow], policy: &Policy) -> Case {
    let title = match &expectation.chosen {
        Chosen::Flow(pattern) => pattern.to_string(),
        Chosen::Flows(selector) => selector.text.clone(),
        Chosen::Rest => "rest".to_owned(),
    };
    let mut case = Case::new(expectation.place, title, expectation.description.as_ref());
    case.selected = selected.len();
    let count = u64::try_from(selected.len()).unwrap_or(u64::MAX);
    let flows =
        |count: u64| if count == 1 { "1 flow".to_owned() } else { format!("{count} flows") };
    let rest = matches!(expectation.chosen, Chosen::Rest);
    match expectation.count {
        Some(expected) if expected != count => case.fail(Failure {
            expected: flows(expected),
            happened: flows(count),
            help: None,
            flow: None,
        }),
        None if selected.is_empty() && !rest => case.fail(Failure {
            expected: "at least one flow".to_owned(),
            happened: "no flow is selected".to_owned(),
            help: Some("`lockgate replay` lists the flows of a capture; `count: 0` expects none"),
            flow: None,
        }),
        _ => {}
    }
    let several = selected.len() > 1 && expectation.expected.domain.is_some();
    let help =
        "every selected flow must be as expected; select by name with `flows: { domain: .. }`";
    for flow in selected {
        if !meets(&expectation.expected, &flow.record, policy) {
            case.fail(Failure {
                expected: expected_text(&expectation.expected),
                happened: happened_text(&flow.record, policy),
                help: several.then_some(help),
                flow: Some(Box::new((*flow).clone())),
            });
        }
    }
    case
}

fn written(flow: &InlineFlow, flows: &[Flow], policy: &Policy) -> Case {
    let name = flow.domain.as_ref().or(flow.dns.as_ref());
    let title = match (&flow.from, name) {
        (Some(from), Some(name)) => format!("{from}: {} {name}", flow.tuple),
        (Some(from), None) => format!("{from}: {}", flow.tuple),
        (None, Some(name)) => format!("{} {name}", flow.tuple),
        (None, None) => flow.tuple.to_string(),
    };
    let mut case = Case::new(flow.place, title, flow.description.as_ref());
    let own = |found: &&Flow| found.record.tuple == flow.tuple;
    let Some(found) = flows.iter().find(own).or_else(|| flows.first()) else {
        case.fail(Failure {
            expected: expected_text(&flow.expected),
            happened: "no flow came of it".to_owned(),
            help: None,
            flow: None,
        });
        return case;
    };
    case.selected = 1;
    if !meets(&flow.expected, &found.record, policy) {
        case.fail(Failure {
            expected: expected_text(&flow.expected),
            happened: happened_text(&found.record, policy),
            help: None,
            flow: Some(Box::new(found.clone())),
        });
    }
    let sides = [("from", &flow.from, found.record.from), ("to", &flow.to, found.record.to)];
    for (side, wanted, segment) in sides {
        let name = segment.and_then(|id| policy.segment(id)).map(|segment| &*segment.name);
        if let (Some(wanted), false) = (wanted, found.loose)
            && name != Some(wanted)
        {
            case.fail(Failure {
                expected: format!("{side} {wanted}"),
                happened: format!("{side} {}", name.unwrap_or("an unknown segment")),
                help: Some("segments are told by endpoint and address"),
                flow: Some(Box::new(found.clone())),
            });
        }
    }
    case
}

/// Whether everything that is expected of a unit is met.
pub(super) fn passes(plan: &Plan<'_>, unit: &Unit, flows: &[Flow], policy: &Policy) -> bool {
    plan.cases(unit, flows, policy).iter().all(Case::passed)
}
