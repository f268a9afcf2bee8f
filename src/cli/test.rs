//! `lockgate test`: the tests of rulesets, and their mutants. No logic of its own.

use super::clock::{date, today};
use super::output::print;
use super::reading::warn;
use super::say::{complain, note, refuse};
use super::terminal;
use crate::model::EndpointId;
use crate::observe::Layout;
use crate::pipeline::WORKERS_MAX;
use crate::prove::rule_test::{Ending, Fingerprint, Format, Outcome, Recording, Settings, written};
use crate::ruleset::{self, Date, Options};
use clap::{Args, ValueEnum};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

/// Time between two looks at the files with --watch.
const LOOK: Duration = Duration::from_millis(300);

/// Run the tests of rulesets: tests/*.yaml of each ruleset folder.
///
/// Captures and written flows are judged by the engine that judges live traffic, and compared with
/// what is expected. Exit codes: 0 everything as expected, 1 a test failed or a mutant survived,
/// 2 something could not be run: a ruleset that is refused, a test file with a mistake, no tests.
#[derive(Args, Debug)]
pub(super) struct TestArgs {
    /// Rulesets: folders with lockgate.yaml and tests/
    #[arg(required = true, value_name = "RULESET")]
    rulesets: Vec<PathBuf>,
    /// Judge everything without a day of its own as on this day (UTC), such as 2027-06-30
    #[arg(long, value_name = "DATE", value_parser = date)]
    at: Option<Date>,
    /// Change the ruleset in every small way and name the changes no test notices
    #[arg(long)]
    mutate: bool,
    /// How results are written
    #[arg(long, value_enum, default_value_t = FormatChoice::Text)]
    format: FormatChoice,
    /// Run again whenever a file changes, until interrupted
    #[arg(long)]
    watch: bool,
    /// Make a test file of this capture: what happens now is what is expected from now on
    #[arg(long, value_name = "CAPTURE", conflicts_with_all = ["mutate", "watch", "at", "format"])]
    record: Option<PathBuf>,
    /// With --record: the GWLB endpoint of a capture without encapsulation
    #[arg(long = "as", value_name = "VPCE", requires = "record")]
    taken_as: Option<EndpointId>,
    /// With --record: write the flows down instead of naming the capture
    #[arg(long, requires = "record")]
    as_flows: bool,
    /// With --record: the file to write; standard output without it
    #[arg(long, short, value_name = "FILE", requires = "record")]
    output: Option<PathBuf>,
    /// Worker threads; the result does not depend on it
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=WORKERS_MAX as i64))]
    workers: Option<u16>,
    /// Lay text out for so many columns; without it, for the terminal, or as wide as it is
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(40..))]
    columns: Option<u16>,
}

/// How results are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum FormatChoice {
    /// For people.
    Text,
    /// One JSON object.
    Json,
    /// JUnit XML, for CI servers.
    Junit,
    /// SARIF 2.1.0, for code hosts.
    Sarif,
}

/// Tests; see [`TestArgs`] for the exit codes.
#[must_use]
pub(super) fn run(args: &TestArgs) -> ExitCode {
    if let Some(capture) = &args.record {
        return match record(args, capture) {
            Ok(()) => ExitCode::SUCCESS,
            Err(why) => not_run(&why),
        };
    }
    loop {
        let outcomes = match once(args) {
            Ok(outcomes) => outcomes,
            Err(why) => return not_run(&why),
        };
        if !args.watch {
            let worst = outcomes.iter().map(|(_, outcome)| outcome.ending()).max();
            return match worst {
                Some(Ending::Passed) => ExitCode::SUCCESS,
                Some(Ending::Failed) => ExitCode::FAILURE,
                Some(Ending::NotRun) | None => ExitCode::from(2),
            };
        }
        wait(&outcomes);
    }
}

fn not_run(why: &str) -> ExitCode {
    complain(&why);
    ExitCode::from(2)
}

fn record(args: &TestArgs, capture: &Path) -> Result<(), String> {
    let [folder] = args.rulesets.as_slice() else {
        return Err("--record is about one ruleset".to_owned());
    };
    let loaded =
        ruleset::load(folder, &Options::default()).map_err(|refused| refused.to_string())?;
    let recording = Recording {
        folder,
        capture,
        endpoint: args.taken_as,
        as_flows: args.as_flows,
        day: today(),
    };
    let recorded = recording.record(&loaded)?;
    warn(&recorded.warnings);
    if recorded.midstream > 0 && !args.as_flows {
        note(&format_args!(
            "{} of {} flows begin in the middle, as in captures of dropped packets; \
             --as-flows judges them from their start",
            recorded.midstream, recorded.flows
        ));
    }
    if recorded.left_out > 0 {
        note(&format_args!(
            "{} of {} flows left out: written down they would be judged otherwise",
            recorded.left_out, recorded.flows
        ));
    }
    match &args.output {
        None => print(&recorded.text),
        Some(path) if path.exists() => Err(format!("{}: is there already", path.display())),
        Some(path) => fs::write(path, recorded.text)
            .map_err(|error| format!("{}: cannot be written ({error})", path.display())),
    }
}

fn once(args: &TestArgs) -> Result<Vec<(PathBuf, Outcome)>, String> {
    let settings = Settings { at: args.at, today: today(), workers: workers(args) };
    let outcomes: Vec<(PathBuf, Outcome)> = args
        .rulesets
        .iter()
        .map(|path| (path.clone(), Outcome::of(path, &settings, args.mutate)))
        .collect();
    let columns = args.columns.or_else(terminal::columns);
    let format = match args.format {
        FormatChoice::Text => {
            Format::Text(columns.map_or(Layout::Unbounded, |n| Layout::Columns(n.into())))
        }
        FormatChoice::Json => Format::Json,
        FormatChoice::Junit => Format::Junit,
        FormatChoice::Sarif => Format::Sarif,
    };
    let printed = print(&written(&outcomes, format));
    for (_, outcome) in &outcomes {
        match outcome {
            Outcome::NotRun(refused) => drop(refuse(refused)),
            Outcome::Ran(ran) => warn(&ran.warnings),
        }
    }
    printed.map(|()| outcomes)
}

/// Waits until a file of the rulesets or of their tests has changed.
fn wait(outcomes: &[(PathBuf, Outcome)]) {
    let before: Vec<Fingerprint> =
        outcomes.iter().map(|(path, outcome)| Fingerprint::of(path, Some(outcome))).collect();
    note(&"waiting for a change");
    loop {
        thread::sleep(LOOK);
        let same = outcomes.iter().zip(&before).all(|((path, _), old)| old.again(path) == *old);
        if !same {
            return;
        }
    }
}

fn workers(args: &TestArgs) -> usize {
    let cores = || thread::available_parallelism().map_or(1, usize::from);
    args.workers.map_or_else(cores, usize::from)
}
