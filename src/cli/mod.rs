//! Arguments and commands. No logic.

use std::process::ExitCode;

/// Runs the command the arguments ask for.
#[must_use]
pub fn main() -> ExitCode {
    ExitCode::SUCCESS
}
