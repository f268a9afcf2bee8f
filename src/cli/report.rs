//! `lockgate report`: one HTML page over captures or flow logs. No logic of its own.

use super::inputs::Inputs;
use super::output::Output;
use super::reading::load;
use super::say::{Failed, fail, tell};
use crate::observe::plural;
use crate::prove::report::{About, Report, html};
use crate::ruleset::Options;
use clap::Args;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

/// Write a page about what was seen: who talked to whom, what was refused and why, which rules were hit.
///
/// One HTML file that fetches nothing and runs no script.
#[derive(Args, Debug)]
pub(super) struct ReportArgs {
    /// The ruleset: a folder with lockgate.yaml, or a single file
    ruleset: PathBuf,
    #[command(flatten)]
    inputs: Inputs,
    /// The page to write
    #[arg(short, long, value_name = "FILE", default_value = "report.html")]
    output: PathBuf,
}

/// Writes the page; 0 if everything was read and written, 1 if something was not.
#[must_use]
pub(super) fn run(args: &ReportArgs) -> ExitCode {
    match try_run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failed) => ExitCode::FAILURE,
    }
}

fn try_run(args: &ReportArgs) -> Result<(), Failed> {
    let loaded = load(&args.ruleset, &Options::default())?;
    let output = Output::new(&args.output, &args.inputs.files(&loaded.sources));
    let output = output.map_err(|why| fail(&why))?;
    let policy = Arc::new(loaded.policy);
    let mut report = Report::default();
    let replayed = args.inputs.each(&policy, |sighting| report.add(&sighting))?;
    report.counters = replayed.map(|replayed| replayed.counters);
    let inputs = args.inputs.captures.iter().chain(&args.inputs.flows).cloned().collect();
    let about = About { ruleset: args.ruleset.display().to_string(), inputs };
    output.write(&html(&report, &policy, &about)).map_err(|why| fail(&why))?;
    let refused = report.sums.refused();
    let flows = plural(report.sums.total(), "flow");
    tell(&format_args!("wrote {}: {flows}, {refused} refused", args.output.display()));
    Ok(())
}
