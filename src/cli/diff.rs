//! `lockgate diff`: what a change of a ruleset does. No logic of its own.

use super::clock::{self, date};
use super::output::{Inputs, Output, print};
use super::reading::{Reading, load, warn, warn_of_log};
use super::say::{Failed, complain, fail, note};
use crate::io::pcap::reads_once;
use crate::model::Timestamp;
use crate::policy::Policy;
use crate::prove::diff::{self, Diff, FlowDiff, FlowFault};
use crate::ruleset::{Date, Options};
use clap::{Args, ValueEnum};
use std::fs::File;
use std::io::BufReader;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

/// Something changes.
const CHANGED: u8 = 3;
const SECS_PER_DAY: u64 = 86_400;

/// Say what a change of a ruleset does: which flows change their verdict.
///
/// Every region of flows comes with a flow that shows it, as `lockgate explain` takes it. With
/// captures or flow logs it also says which real flows would be judged differently.
/// Exit code: 0 if nothing changes, 3 if something does, 1 if something cannot be read, 2 if the
/// arguments are wrong.
#[derive(Args, Debug)]
pub(super) struct DiffArgs {
    /// The ruleset as it is
    old: PathBuf,
    /// The ruleset as it shall be
    new: PathBuf,
    /// Captures to replay under both
    #[arg(long, value_name = "CAPTURE", num_args = 1..)]
    capture: Vec<String>,
    /// Flow logs to judge under both: JSON lines as `lockgate replay --format json` writes them
    #[arg(long, value_name = "FILE", num_args = 1..)]
    flows: Vec<PathBuf>,
    /// How the change is written
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Where it is written; standard output if left out
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// The day (UTC) from which on flows are looked at, such as 2027-06-30; today if left out
    #[arg(long, value_name = "DATE", value_parser = date)]
    at: Option<Date>,
    #[command(flatten)]
    reading: Reading,
}

/// How the change is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people.
    Text,
    /// One JSON object.
    Json,
    /// For a comment on a pull request.
    Markdown,
    /// One page that needs nothing else.
    Html,
}

/// Compares; 0 is no change, 3 a change, 1 a failure.
#[must_use]
pub(super) fn run(args: &DiffArgs) -> ExitCode {
    match try_run(args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(CHANGED),
        Err(Failed) => ExitCode::FAILURE,
    }
}

fn try_run(args: &DiffArgs) -> Result<bool, Failed> {
    let today = args.at.unwrap_or_else(clock::today);
    let options = Options { today: Some(today), ..Options::default() };
    let (old, new) = (load(&args.old, &options), load(&args.new, &options));
    let (old, new) = (old?, new?);
    let inputs = Inputs::default().ruleset(&old.sources).ruleset(&new.sources);
    let inputs = inputs.captures(&args.capture).flows(&args.flows);
    let output = args.output.as_ref().map(|path| Output::new(path, &inputs)).transpose();
    let output = output.map_err(|why| fail(&why))?;
    let mut diff = diff::diff(&old, &new, today);
    diff.flows = flows(args, Arc::new(old.policy), Arc::new(new.policy), today)?;
    let (before, after) = (args.old.display().to_string(), args.new.display().to_string());
    let written = match args.format {
        Format::Text => diff::text(&diff, &before, &after),
        Format::Json => format!("{:#}\n", diff::json(&diff)),
        Format::Markdown => diff::markdown(&diff, &before, &after),
        Format::Html => diff::html(&diff, &before, &after),
    };
    write(output.as_ref(), &written)?;
    Ok(Diff::is_empty(&diff))
}

/// What becomes of real flows, if any were given.
fn flows(
    args: &DiffArgs,
    old: Arc<Policy>,
    new: Arc<Policy>,
    today: Date,
) -> Result<Option<FlowDiff>, Failed> {
    let mut all: Option<FlowDiff> = None;
    if let Some(name) = args.capture.iter().find(|name| reads_once(name)) {
        let why = "can be read once only, and captures are judged by each ruleset: name a file";
        return Err(fail(&format_args!("{name}: {why}")));
    }
    if !args.capture.is_empty() {
        let options = args.reading.options(&args.capture, |sample| {
            if sample.suspected() {
                note(sample);
            }
        });
        let found = diff::replayed(&old, &new, &args.capture, &options);
        let (found, warnings) = found.map_err(|FlowFault::Captures(errors)| {
            errors.iter().for_each(|error| complain(error));
            Failed
        })?;
        warn(&warnings);
        all = Some(found);
    }
    let now = Timestamp::from_secs(u64::from(today.days()).saturating_mul(SECS_PER_DAY));
    for path in &args.flows {
        let name = path.display().to_string();
        let file = File::open(path).map_err(|error| fail(&format_args!("{name}: {error}")))?;
        let log = (name.as_str(), BufReader::new(file));
        let found = diff::of_log(&old, &new, log, now);
        let (found, totals) = found.map_err(|fault| fail(&fault))?;
        warn_of_log(&name, totals);
        all.get_or_insert_default().merge(found);
    }
    Ok(all)
}

fn write(output: Option<&Output>, text: &str) -> Result<(), Failed> {
    let written = output.map_or_else(|| print(text), |output| output.write(text));
    written.map_err(|why| fail(&why))
}
