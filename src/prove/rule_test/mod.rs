//! Rule tests: the flows of captures and flows that are written down, judged by the production
//! engine and compared with what is expected.
//!
//! ```text
//! TestSuite ─▶ Plan ─▶ flows of each unit ─▶ Report ─▶ text, json, junit, sarif
//!  (ruleset)   packets,   (observed)          cases,
//!              read once                      coverage
//! ```
//!
//! A plan is made once; [`Plan::mutate`] judges it again under every changed ruleset.

mod complete;
mod coverage;
mod inline;
mod json;
mod judge;
mod junit;
mod mutants;
mod outcome;
mod plan;
mod record;
mod sarif;
mod select;
mod text;
mod watch;

pub use coverage::Coverage;
pub use json::json;
pub use judge::{Case, FAILURES_MAX, Failure};
pub use mutants::{Change, Mutant, Mutation, Survivor};
pub use outcome::{Ending, Format, Outcome, Ran, written};
pub use plan::{Plan, Subject, Unit};
pub use record::{Recorded, Recording};
pub use select::{fits_pattern, outcome, rule};
pub use text::{mutation_text, spot, text};
pub use watch::{Fingerprint, WATCHED_MAX};

use super::observed::Flow;
use super::parallel;
use crate::ruleset::{Date, FileId};

/// How tests are run.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// The day on which everything without a day of its own is judged; captures else keep their
    /// own time.
    pub at: Option<Date>,
    /// The day on which written flows are judged where nothing else is said.
    pub today: Date,
    /// Threads.
    pub workers: usize,
}

/// What the tests of a ruleset came to.
#[derive(Debug)]
pub struct Report {
    /// One for each test file.
    pub files: Vec<FileReport>,
    /// What no test reached.
    pub coverage: Coverage,
}

/// What one test file came to.
#[derive(Debug)]
pub struct FileReport {
    /// The file.
    pub file: FileId,
    /// Its expectations, in order: those of the capture, then the written flows.
    pub cases: Vec<Case>,
    /// Packets that were judged for it.
    pub packets: usize,
    /// Flows they made.
    pub flows: usize,
}

impl Report {
    /// How many expectations there are.
    #[must_use]
    pub fn cases(&self) -> usize {
        self.files.iter().map(|file| file.cases.len()).sum()
    }

    /// How many of them failed.
    #[must_use]
    pub fn failed(&self) -> usize {
        self.files.iter().flat_map(|file| &file.cases).filter(|case| !case.passed()).count()
    }

    /// Whether all of them were met.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.failed() == 0
    }
}

impl Plan<'_> {
    /// Runs all tests under the ruleset itself.
    #[must_use]
    pub fn run(&self) -> Report {
        let policy = self.policy();
        let flows: Vec<Vec<Flow>> = parallel::each(self.units.len(), self.workers, |number| {
            self.units.get(number).map(|unit| unit.judge(policy)).unwrap_or_default()
        });
        let mut files: Vec<FileReport> = self
            .suite
            .files
            .iter()
            .map(|file| FileReport { file: file.file, cases: Vec::new(), packets: 0, flows: 0 })
            .collect();
        for (unit, flows) in self.units.iter().zip(&flows) {
            let Some(report) = files.get_mut(unit.file) else { continue };
            report.packets = report.packets.saturating_add(unit.packets.len());
            report.flows = report.flows.saturating_add(flows.len());
            report.cases.extend(self.cases(unit, flows, policy));
        }
        Report { files, coverage: Coverage::new(flows.iter().flatten(), policy) }
    }
}
