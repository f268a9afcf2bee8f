//! `lockgate check`: reads a ruleset, proves and checks it, says what it holds. No logic of its own.

use super::clock::{self, date};
use super::output::print;
use super::say::{complain, tell};
use super::terminal;
use crate::observe::plural;
use crate::prove::lint::{LintOptions, lint};
use crate::prove::sarif::sarif;
use crate::ruleset::{self, Date, Diagnostic, EXPIRING_DAYS, Options, Sources};
use clap::{Args, ValueEnum};
use std::path::PathBuf;
use std::process::ExitCode;

/// Read a ruleset, prove its guardrails, look for mistakes, and say what it holds.
///
/// Every finding has a code, a place, and a flow that shows it, as `lockgate explain` takes it.
/// Exit code: 0 if the ruleset is good, 1 if it is refused or its warnings are denied, 2 if the
/// arguments are wrong.
#[derive(Args, Debug)]
pub(super) struct CheckArgs {
    /// The ruleset: a folder with lockgate.yaml, or a single file
    ruleset: PathBuf,
    /// How the result is written
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// The day (UTC) from which on flows are looked at, such as 2027-06-30; today if left out
    #[arg(long, value_name = "DATE", value_parser = date)]
    at: Option<Date>,
    /// Report rules that expire within so many days
    #[arg(long, value_name = "DAYS", default_value_t = EXPIRING_DAYS)]
    expires_within: u32,
    /// What makes the check fail besides errors
    #[arg(long, value_enum, value_name = "WHAT")]
    deny: Option<Deny>,
    /// Findings to leave out, by code
    #[arg(long, value_name = "CODE", value_delimiter = ',')]
    allow: Vec<String>,
}

/// How the result is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people.
    Text,
    /// One JSON object.
    Json,
    /// SARIF 2.1.0, for code hosts.
    Sarif,
}

/// What makes the check fail besides errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Deny {
    /// Every warning that is not allowed.
    Warnings,
}

/// Checks; 0 is a good ruleset, 1 a refused one, or one with denied warnings.
#[must_use]
pub(super) fn run(args: &CheckArgs) -> ExitCode {
    let today = args.at.unwrap_or_else(clock::today);
    let result =
        ruleset::load(&args.ruleset, &Options { today: Some(today), ..Options::default() });
    let mut warnings = match &result {
        Ok(loaded) => lint(loaded, LintOptions { today, soon_days: args.expires_within }),
        Err(refused) => refused.warnings.clone(),
    };
    warnings.retain(|finding| !args.allow.iter().any(|code| code == finding.code));
    let written = match args.format {
        Format::Text => text(&result, &warnings),
        Format::Json => json(&result, &warnings),
        Format::Sarif => sarif_log(&result, &warnings),
    };
    let denied = args.deny == Some(Deny::Warnings) && !warnings.is_empty();
    if let Err(why) = &written {
        complain(why);
    }
    match (written, result) {
        (Ok(()), Ok(_)) if !denied => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

type Outcome = Result<ruleset::Loaded, Box<ruleset::Refused>>;

fn text(result: &Outcome, warnings: &[Diagnostic]) -> Result<(), String> {
    let (errors, sources) = parts(result);
    let findings = ruleset::render(errors.iter().chain(warnings), sources, terminal::errors());
    if !findings.is_empty() {
        tell(&findings);
    }
    let counted = plural(warnings.len() as u64, "warning");
    match result {
        Ok(loaded) => {
            print(&loaded.summary.to_string())?;
            if !warnings.is_empty() {
                tell(&counted);
            }
        }
        Err(_) => {
            let errors = plural(errors.len() as u64, "error");
            tell(&format_args!("refused: {errors}, {counted}"));
        }
    }
    Ok(())
}

fn parts(result: &Outcome) -> (&[Diagnostic], &Sources) {
    match result {
        Ok(loaded) => (&[], &loaded.sources),
        Err(refused) => (&refused.errors, &refused.sources),
    }
}

fn json(result: &Outcome, warnings: &[Diagnostic]) -> Result<(), String> {
    let (errors, sources) = parts(result);
    let list = |findings: &[Diagnostic]| -> Vec<serde_json::Value> {
        findings.iter().map(|finding| finding.to_json(sources)).collect()
    };
    let value = serde_json::json!({
        "ok": result.is_ok(),
        "summary": result.as_ref().ok().map(|loaded| &loaded.summary),
        "errors": list(errors),
        "warnings": list(warnings),
    });
    print(&format!("{value:#}\n"))
}

fn sarif_log(result: &Outcome, warnings: &[Diagnostic]) -> Result<(), String> {
    let (errors, sources) = parts(result);
    print(&format!("{:#}\n", sarif(errors.iter().chain(warnings), sources)))
}
