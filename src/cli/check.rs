//! `lockgate check`: reads a ruleset, checks it, says what it holds. No logic of its own.

use crate::ruleset::{self, Date, Diagnostic, Options, Sources, Style};
use clap::{Args, ValueEnum};
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

/// Read a ruleset, check it, and say what it holds.
#[derive(Args, Debug)]
pub(super) struct CheckArgs {
    /// The ruleset: a folder with lockgate.yaml, or a single file
    ruleset: PathBuf,
    /// How the result is written
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// The day (UTC) on which expiry is judged, such as 2027-06-30; expiry is not judged without it
    #[arg(long, value_name = "DATE", value_parser = date)]
    at: Option<Date>,
}

/// How the result is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people.
    Text,
    /// One JSON object.
    Json,
}

fn date(text: &str) -> Result<Date, String> {
    Date::parse_day(text).ok_or_else(|| format!("`{text}` is no date; write 2027-06-30"))
}

/// Checks; 0 is a good ruleset, 1 a refused one.
#[must_use]
pub(super) fn run(args: &CheckArgs) -> ExitCode {
    let options = Options { today: args.at, ..Options::default() };
    let result = ruleset::load(&args.ruleset, &options);
    let written = match args.format {
        Format::Text => text(&result),
        Format::Json => json(&result),
    };
    match (written, result) {
        (Ok(()), Ok(_)) => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

type Outcome = Result<ruleset::Loaded, Box<ruleset::Refused>>;

fn text(result: &Outcome) -> std::io::Result<()> {
    let style = Style { width: terminal_width(), colour: std::io::stderr().is_terminal() };
    let mut errors = std::io::stderr().lock();
    match result {
        Ok(loaded) => {
            let warnings = ruleset::render(&loaded.warnings, &loaded.sources, style);
            if !warnings.is_empty() {
                writeln!(errors, "{warnings}")?;
            }
            write!(std::io::stdout().lock(), "{}", loaded.summary)
        }
        Err(refused) => {
            writeln!(errors, "{}", refused.render(style))?;
            let count = refused.errors.len();
            let plural = if count == 1 { "error" } else { "errors" };
            writeln!(errors, "refused: {count} {plural}")
        }
    }
}

fn json(result: &Outcome) -> std::io::Result<()> {
    let list = |findings: &[Diagnostic], sources: &Sources| -> Vec<serde_json::Value> {
        findings.iter().map(|finding| finding.to_json(sources)).collect()
    };
    let value = match result {
        Ok(loaded) => serde_json::json!({
            "ok": true,
            "summary": loaded.summary,
            "errors": [],
            "warnings": list(&loaded.warnings, &loaded.sources),
        }),
        Err(refused) => serde_json::json!({
            "ok": false,
            "summary": null,
            "errors": list(&refused.errors, &refused.sources),
            "warnings": list(&refused.warnings, &refused.sources),
        }),
    };
    writeln!(std::io::stdout().lock(), "{value:#}")
}

/// Columns of the terminal that errors go to; 100 where there is none.
fn terminal_width() -> usize {
    std::env::var("COLUMNS").ok().and_then(|text| text.parse().ok()).unwrap_or(100)
}
