//! A ruleset folder tested from its files to its results, and the results of several written
//! together in one format.

use super::junit::{HEAD, TAIL, junit, junit_refused};
use super::mutants::Mutation;
use super::sarif::{sarif, sarif_refused, sarif_results};
use super::{Plan, Report, Settings, json, mutation_text, text};
use crate::io::pcap::Warning;
use crate::observe::Layout;
use crate::ruleset::{self, Diagnostic, Loaded, Options, Refused, TestSuite};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// What came of one ruleset folder.
#[derive(Debug)]
pub enum Outcome {
    /// Nothing was tested, and why.
    NotRun(Box<Refused>),
    /// Its tests ran.
    Ran(Box<Ran>),
}

/// What ran and what came of it.
#[derive(Debug)]
pub struct Ran {
    /// The ruleset.
    pub ruleset: Loaded,
    /// Its tests.
    pub suite: TestSuite,
    /// What the user should know about the captures they name.
    pub warnings: Vec<Warning>,
    /// What they came to.
    pub report: Report,
    /// What became of mutants, if they were asked for and the tests passed.
    pub mutation: Option<Mutation>,
}

/// How results are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Text(Layout),
    /// One JSON object.
    Json,
    /// JUnit XML.
    Junit,
    /// SARIF 2.1.0.
    Sarif,
}

/// How a run ended; the greater is the worse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ending {
    /// Everything as expected.
    Passed,
    /// A test failed or a mutant survived.
    Failed,
    /// Something could not be run.
    NotRun,
}

impl Outcome {
    /// Tests a ruleset folder; with `mutate` its mutants too, if the tests pass.
    #[must_use]
    pub fn of(folder: &Path, settings: &Settings, mutate: bool) -> Self {
        match Self::try_of(folder, settings, mutate) {
            Ok(ran) => Self::Ran(Box::new(ran)),
            Err(refused) => Self::NotRun(refused),
        }
    }

    fn try_of(folder: &Path, settings: &Settings, mutate: bool) -> Result<Ran, Box<Refused>> {
        let ruleset = ruleset::load(folder, &Options::default())?;
        let suite = ruleset::tests(folder, &ruleset)?;
        if suite.files.is_empty() {
            let text = format!("{} has no tests: there is no tests/*.yaml in it", folder.display());
            let finding = Diagnostic::error("no-tests", text);
            let finding =
                finding.help("`lockgate test RULESET --record CAPTURE` makes a first one");
            return Err(refused(vec![finding], TestSuite::default()));
        }
        let plan = match Plan::new(&ruleset, &suite, settings) {
            Ok(plan) => plan,
            Err(errors) => return Err(refused(errors, suite)),
        };
        let warnings =
            plan.units.iter().flat_map(|unit| unit.packets.warnings()).cloned().collect();
        let report = plan.run();
        let mutation = (mutate && report.passed()).then(|| plan.mutate());
        Ok(Ran { ruleset, suite, warnings, report, mutation })
    }

    /// How it ended.
    #[must_use]
    pub fn ending(&self) -> Ending {
        match self {
            Self::NotRun(_) => Ending::NotRun,
            Self::Ran(ran) => {
                let survived = ran.mutation.as_ref().is_some_and(|m| !m.survivors.is_empty());
                if ran.report.passed() && !survived { Ending::Passed } else { Ending::Failed }
            }
        }
    }
}

fn refused(errors: Vec<Diagnostic>, suite: TestSuite) -> Box<Refused> {
    Box::new(Refused { errors, warnings: Vec::new(), sources: suite.sources })
}

/// The results of all rulesets. As text those that were not run are left out: they are findings.
#[must_use]
pub fn written(outcomes: &[(PathBuf, Outcome)], format: Format) -> String {
    match format {
        Format::Text(layout) => outcomes.iter().map(|(_, o)| as_text(o, layout)).collect(),
        Format::Json => {
            let all: Vec<Value> = outcomes.iter().map(|(path, o)| as_json(path, o)).collect();
            format!("{:#}\n", json!({ "rulesets": all }))
        }
        Format::Junit => {
            let suites: String = outcomes.iter().map(|(path, o)| as_junit(path, o)).collect();
            format!("{HEAD}{suites}{TAIL}")
        }
        Format::Sarif => {
            let results = outcomes.iter().flat_map(|(_, o)| match o {
                Outcome::NotRun(refused) => sarif_refused(refused),
                Outcome::Ran(ran) => {
                    sarif_results(&ran.report, ran.mutation.as_ref(), &ran.suite, &ran.ruleset)
                }
            });
            format!("{:#}\n", sarif(results.collect()))
        }
    }
}

fn as_text(outcome: &Outcome, layout: Layout) -> String {
    let Outcome::Ran(ran) = outcome else { return String::new() };
    let mut out = text(&ran.report, &ran.suite, &ran.ruleset, layout);
    if let Some(mutation) = &ran.mutation {
        out.push_str(&mutation_text(mutation, &ran.ruleset));
    }
    out
}

fn as_json(path: &Path, outcome: &Outcome) -> Value {
    let mut value = match outcome {
        Outcome::Ran(ran) => json(&ran.report, ran.mutation.as_ref(), &ran.suite, &ran.ruleset),
        Outcome::NotRun(refused) => {
            let errors = refused.errors.iter().map(|error| error.to_json(&refused.sources));
            json!({ "ok": false, "errors": errors.collect::<Vec<_>>() })
        }
    };
    if let Some(object) = value.as_object_mut() {
        object.insert("ruleset".to_owned(), path.display().to_string().into());
    }
    value
}

fn as_junit(path: &Path, outcome: &Outcome) -> String {
    match outcome {
        Outcome::Ran(ran) => junit(&ran.report, ran.mutation.as_ref(), &ran.suite, &ran.ruleset),
        Outcome::NotRun(refused) => junit_refused(&path.display().to_string(), refused),
    }
}
