//! Ruleset files to a checked model to a compiled policy, with diagnostics for people.
//!
//! The way of a ruleset, one file each:
//!
//! ```text
//! files ─▶ yaml ─▶ decode(document, scalar, quantity, term, names) ─▶ merge ─▶ sets
//!   texts    nodes    typed records                                   one model   lists
//!        ─▶ build(rules) ─▶ check ─▶ Policy ─▶ guardrail, summary
//!           specification    what does not fit
//! ```
//!
//! Every stage goes on behind an error, so that one run reports all of them; a ruleset with one
//! error is refused whole.

mod build;
mod check;
pub(crate) mod collection;
pub(crate) mod decode;
mod diagnostic;
mod document;
mod files;
mod guardrail;
mod lists;
mod merge;
mod nameless;
mod names;
mod places;
pub(crate) mod quantity;
pub mod region;
mod rules;
pub(crate) mod scalar;
mod schema;
mod sets;
mod shipped;
pub(crate) mod single;
pub(crate) mod source;
mod suggest;
mod summary;
mod term;
mod test_document;
mod test_file;
mod test_reader;
pub(crate) mod yaml;

pub use crate::policy::SEGMENTS_LIMIT;
pub use build::selects;
pub use check::Capacity;
pub use diagnostic::{DIAGNOSTICS_LIMIT, Diagnostic, Findings, Label, Severity, Style};
pub use files::{DOCUMENT_LIMIT_BYTES, FILES_LIMIT, LIST_LIMIT_BYTES, TOTAL_LIMIT_BYTES};
pub use places::{
    NameTerm, Places, PolicyPlaces, RulePlaces, SegmentPlaces, SetPlaces, WrittenName,
};
pub use quantity::Date;
pub use schema::{SCHEMA_PATH, TEST_SCHEMA_PATH, schema, test_schema};
pub use shipped::{SHIPPED, Shipped};
pub use source::{At, FileId, LineColumn, Place, Source, Sources};
pub use summary::{EXPIRING_DAYS, Expiring, SetCount, Summary};
pub use test_file::{
    Chosen, Expectation, Expected, FlowPattern, FlowSelector, InlineFlow, Named, Outcome,
    Presented, Side, TestFile, TestSuite,
};
pub use test_reader::{SOURCE_PORT, tests, tests_text};

use crate::policy::Policy;
use crate::policy::spec::PolicySpec;
use files::Files;
use std::path::Path;

/// What loading is told besides the files.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options<'a> {
    /// The day on which expiry is judged; none looks at no expiry.
    pub today: Option<Date>,
    /// What the instance can carry.
    pub capacity: Capacity,
    /// The policy that is to be replaced: scopes keep their ids.
    pub previous: Option<&'a Policy>,
    /// Whether guardrails are proved.
    pub guardrails: Guardrails,
}

/// Whether guardrails are proved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Guardrails {
    /// They are, and a ruleset in which one does not hold is refused.
    #[default]
    Proved,
    /// They are not: to look at what a ruleset does that is refused for them, never to judge by it.
    Unproved,
}

/// A ruleset that was read, checked and compiled.
#[derive(Debug)]
pub struct Loaded {
    /// The compiled policy.
    pub policy: Policy,
    /// What it was compiled from.
    pub spec: PolicySpec,
    /// What it holds.
    pub summary: Summary,
    /// What somebody should look at.
    pub warnings: Vec<Diagnostic>,
    /// Where policies and rules were written.
    pub places: Places,
    /// The texts that warnings and places point into.
    pub sources: Sources,
}

/// A ruleset that was refused.
#[derive(Debug)]
pub struct Refused {
    /// Every error, in the order of the files.
    pub errors: Vec<Diagnostic>,
    /// What somebody should look at besides.
    pub warnings: Vec<Diagnostic>,
    /// The texts they point into.
    pub sources: Sources,
}

impl Refused {
    /// All errors and warnings as text.
    #[must_use]
    pub fn render(&self, style: Style) -> String {
        render(self.errors.iter().chain(&self.warnings), &self.sources, style)
    }
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.render(Style::PLAIN))
    }
}

impl std::error::Error for Refused {}

/// Findings as text, an empty line between two.
#[must_use]
pub fn render<'a>(
    findings: impl IntoIterator<Item = &'a Diagnostic>,
    sources: &Sources,
    style: Style,
) -> String {
    let texts: Vec<String> =
        findings.into_iter().map(|finding| finding.render(sources, style) + "\n").collect();
    texts.join("\n")
}

/// Reads a ruleset: a folder, or a single file.
///
/// # Errors
/// Everything that is wrong with it.
pub fn load(path: &Path, options: &Options<'_>) -> Result<Loaded, Box<Refused>> {
    let mut findings = Findings::default();
    let files = Files::read(path, &mut findings);
    compile(files, findings, options)
}

/// Reads a ruleset of one document that is already in memory; it can name no list files.
///
/// # Errors
/// Everything that is wrong with it.
pub fn load_text(name: &str, text: &str, options: &Options<'_>) -> Result<Loaded, Box<Refused>> {
    compile(Files::of_text(name, text), Findings::default(), options)
}

fn compile(
    mut files: Files,
    mut findings: Findings,
    options: &Options<'_>,
) -> Result<Loaded, Box<Refused>> {
    let mut merged = merge::merge(&files, &mut findings);
    if merged.is_partial || files.documents.is_empty() {
        // What the missing document defines would be reported as unknown all over the others.
        let (errors, warnings) = findings.finish();
        return Err(Box::new(Refused { errors, warnings, sources: files.sources }));
    }
    lists::endpoints(&mut merged, &mut files, &mut findings);
    let sets = sets::Sets::read(&merged.sets, &mut files, &mut findings);
    let built = build::build(&merged, &sets, &files.sources, options.today, &mut findings);
    let spec = &built.spec;
    check::check_pairs(spec, &built.places, &mut findings);
    check::check(&merged, spec, &sets, options.capacity, &mut findings);
    let policy = Policy::compile(spec, options.previous)
        .map_err(|fault| findings.push(Diagnostic::error("limit-policy", fault.to_string())))
        .ok();
    // What is wrong with a rule would be found again as what it then lets through.
    let proves = options.guardrails == Guardrails::Proved && !findings.has_errors();
    if let Some(policy) = policy.as_ref().filter(|_| proves) {
        guardrail::prove(&merged.guardrails, &built, policy, &sets, &mut findings);
    }
    let guardrails = merged.guardrails.len();
    let summary = Summary::new(spec, &sets, files.documents.len(), guardrails, options.today);
    let policy = policy.filter(|_| !findings.has_errors());
    let (errors, warnings) = findings.finish();
    let sources = files.sources;
    match policy {
        Some(policy) => {
            let places = built.places.complete(&merged, &sets);
            Ok(Loaded { policy, spec: built.spec, summary, warnings, places, sources })
        }
        None => Err(Box::new(Refused { errors, warnings, sources })),
    }
}
