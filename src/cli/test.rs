//! `lockgate test`: the tests of a ruleset, and its mutants. No logic of its own.

use super::terminal;
use crate::observe::Layout;
use crate::prove::rule_test::{Plan, Settings, mutation_text, text};
use crate::ruleset::{self, Date, Loaded, Options, Refused, Style, TestSuite};
use clap::Args;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

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
    /// Worker threads; the result does not depend on it
    #[arg(long, value_name = "N")]
    workers: Option<usize>,
}

fn date(text: &str) -> Result<Date, String> {
    Date::parse_day(text).ok_or_else(|| format!("`{text}` is no date; write 2027-06-30"))
}

/// What a run came to; the worst of all rulesets is the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Came {
    Passed = 0,
    Failed = 1,
    NotRun = 2,
}

/// Tests; see [`TestArgs`] for the exit codes.
#[must_use]
pub(super) fn run(args: &TestArgs) -> ExitCode {
    let worst = args.rulesets.iter().map(|path| one(args, path)).max();
    ExitCode::from(worst.unwrap_or(Came::NotRun) as u8)
}

fn one(args: &TestArgs, path: &Path) -> Came {
    let loaded = match ruleset::load(path, &Options::default()) {
        Ok(loaded) => loaded,
        Err(refused) => return refuse(&refused),
    };
    let suite = match ruleset::tests(path, &loaded) {
        Ok(suite) => suite,
        Err(refused) => return refuse(&refused),
    };
    if suite.files.is_empty() {
        eprintln!("error: {} has no tests: nothing in tests/*.yaml", path.display());
        return Came::NotRun;
    }
    judge(args, &loaded, &suite)
}

fn judge(args: &TestArgs, loaded: &Loaded, suite: &TestSuite) -> Came {
    let settings = Settings { at: args.at, today: today(), workers: workers(args) };
    let plan = match Plan::new(loaded, suite, &settings) {
        Ok(plan) => plan,
        Err(errors) => {
            eprintln!("{}", ruleset::render(&errors, &suite.sources, style()));
            return Came::NotRun;
        }
    };
    let report = plan.run();
    let layout =
        terminal::columns().map_or(Layout::Unbounded, |columns| Layout::Columns(columns.into()));
    say(&text(&report, suite, loaded, layout));
    if !report.passed() {
        return Came::Failed;
    }
    if !args.mutate {
        return Came::Passed;
    }
    let mutation = plan.mutate();
    say(&mutation_text(&mutation, loaded));
    if mutation.survivors.is_empty() { Came::Passed } else { Came::Failed }
}

fn refuse(refused: &Refused) -> Came {
    eprintln!("{}", refused.render(style()));
    Came::NotRun
}

fn say(text: &str) {
    // Nobody reads on (`| head`): the exit code still counts.
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
}

fn style() -> Style {
    let width = terminal::columns().map_or(Style::PLAIN.width, usize::from);
    Style { width, colour: std::io::stderr().is_terminal() }
}

fn workers(args: &TestArgs) -> usize {
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    args.workers.unwrap_or_else(cores).max(1)
}

/// The present day (UTC).
#[expect(clippy::disallowed_methods, reason = "the edge: written flows are judged as of today")]
fn today() -> Date {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Date::from_days(since.as_secs() / 86_400)
}
