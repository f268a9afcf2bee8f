//! What is to be judged: the packets of every capture and every written flow, read and made once.

use super::{Settings, inline};
use crate::policy::Policy;
use crate::prove::observed::{Flow, Packets};
use crate::prove::parallel;
use crate::ruleset::{Date, Diagnostic, Findings, Loaded, TestSuite};
use std::sync::Arc;

/// Everything that is to be judged.
#[derive(Debug)]
pub struct Plan<'a> {
    pub(super) ruleset: &'a Loaded,
    pub(super) policy: Arc<Policy>,
    pub(super) suite: &'a TestSuite,
    /// In the order of the files; within a file the capture first.
    pub units: Vec<Unit>,
    pub(super) workers: usize,
}

/// Packets that are judged together.
#[derive(Debug)]
pub struct Unit {
    /// Position of its test file.
    pub file: usize,
    /// What it is.
    pub subject: Subject,
    /// Its packets.
    pub packets: Packets,
    /// The day its packets are moved to.
    pub day: Option<Date>,
}

/// What a unit is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// The capture of its file.
    Capture,
    /// The written flow of this position.
    Written(usize),
}

impl Unit {
    /// What becomes of its flows under a policy.
    #[must_use]
    pub fn judge(&self, policy: &Arc<Policy>) -> Vec<Flow> {
        self.packets.judge(policy, self.day)
    }
}

impl<'a> Plan<'a> {
    /// Reads captures and makes the packets of written flows.
    ///
    /// # Errors
    /// Captures that cannot be read, flows that cannot be made; also if the ruleset does not compile
    /// a second time.
    pub fn new(
        ruleset: &'a Loaded,
        suite: &'a TestSuite,
        settings: &Settings,
    ) -> Result<Self, Vec<Diagnostic>> {
        let mut wanted = Vec::new();
        for (file, number) in suite.files.iter().zip(0..) {
            wanted.extend(file.capture.is_some().then_some((number, Subject::Capture)));
            wanted.extend((0..file.flows.len()).map(|flow| (number, Subject::Written(flow))));
        }
        let made = parallel::each(wanted.len(), settings.workers, |number| {
            let &(file, subject) = wanted.get(number)?;
            Some(unit(ruleset, suite, settings, file, subject))
        });
        let mut findings = Findings::default();
        let mut units = Vec::with_capacity(wanted.len());
        for made in made.into_iter().flatten() {
            match made {
                Ok(unit) => units.extend(unit),
                Err(finding) => findings.push(*finding),
            }
        }
        let policy = Policy::compile(&ruleset.spec, None)
            .map_err(|fault| findings.push(Diagnostic::error("limit-policy", fault.to_string())));
        match policy {
            Ok(policy) if !findings.has_errors() => {
                let policy = Arc::new(policy);
                Ok(Self { ruleset, policy, suite, units, workers: settings.workers })
            }
            _ => Err(findings.finish().0),
        }
    }

    /// The policy the tests are for.
    #[must_use]
    pub const fn policy(&self) -> &Arc<Policy> {
        &self.policy
    }
}

fn unit(
    ruleset: &Loaded,
    suite: &TestSuite,
    settings: &Settings,
    number: usize,
    subject: Subject,
) -> Result<Option<Unit>, Box<Diagnostic>> {
    let Some(file) = suite.files.get(number) else { return Ok(None) };
    let unit = |packets, day| Ok(Some(Unit { file: number, subject, packets, day }));
    match (subject, &file.capture) {
        (Subject::Capture, Some((path, place))) => {
            let packets = Packets::read(path, file.endpoint).map_err(|why| {
                Box::new(Diagnostic::error("bad-capture", why).at(*place, "cannot be read"))
            })?;
            unit(packets, file.at.or(settings.at))
        }
        (Subject::Written(position), _) => {
            let Some(flow) = file.flows.get(position) else { return Ok(None) };
            let day = flow.at.or(file.at).or(settings.at).unwrap_or(settings.today);
            unit(inline::packets(flow, ruleset, day)?, None)
        }
        (Subject::Capture, None) => Ok(None),
    }
}
