//! `lockgate init`: starts a ruleset from a shipped pattern. No logic of its own.

use super::output::print;
use super::say::complain;
use crate::ruleset::{SHIPPED, Shipped};
use clap::Args;
use clap::builder::PossibleValuesParser;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Start a ruleset from a connectivity pattern, with its captures and tests.
#[derive(Args, Debug)]
pub(super) struct InitArgs {
    /// The pattern; docs/patterns.md says which one fits
    #[arg(required_unless_present = "list", value_parser = patterns())]
    pattern: Option<String>,
    /// The folder to make; it must not hold anything yet
    #[arg(required_unless_present = "list")]
    folder: Option<PathBuf>,
    /// Name the patterns
    #[arg(long)]
    list: bool,
}

fn patterns() -> PossibleValuesParser {
    PossibleValuesParser::new(SHIPPED.iter().map(|shipped| shipped.name))
}

/// Writes; 0 is done, 1 a folder that could not be written.
#[must_use]
pub(super) fn run(args: &InitArgs) -> ExitCode {
    let done = match (args.list, &args.pattern, &args.folder) {
        (false, Some(pattern), Some(folder)) => init(pattern, folder),
        _ => list(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error);
            ExitCode::FAILURE
        }
    }
}

fn list() -> Result<(), String> {
    let width = SHIPPED.iter().map(|shipped| shipped.name.len()).max().unwrap_or(0);
    let line = |shipped: &Shipped| format!("{:width$}  {}\n", shipped.name, shipped.about());
    print(&SHIPPED.iter().map(line).collect::<String>())
}

fn init(pattern: &str, folder: &Path) -> Result<(), String> {
    let shipped =
        Shipped::find(pattern).ok_or_else(|| format!("there is no pattern `{pattern}`"))?;
    let shown = folder.display();
    match fs::read_dir(folder).map(|mut entries| entries.next().is_some()) {
        Ok(true) => return Err(format!("{shown} holds something already; name a new folder")),
        Ok(false) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(format!("{shown}: {error}")),
    }
    let mut count = 0;
    for (path, bytes) in shipped.files() {
        let at = folder.join(path);
        put(&at, &bytes).map_err(|error| format!("{}: {error}", at.display()))?;
        count += 1;
    }
    print(&format!(
        "{shown}: {count} files of {pattern}\n\nnext:\n  lockgate check {shown}\n  lockgate test {shown}\n\
         then put your own endpoints and names where partners/ has acme's.\n"
    ))
}

/// Writes a file that is not there yet.
fn put(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    OpenOptions::new().write(true).create_new(true).open(path)?.write_all(bytes)
}
