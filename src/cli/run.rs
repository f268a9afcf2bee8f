//! `lockgate run`: the live instance. No logic of its own.

use crate::appliance::config;
use crate::appliance::start::{self, StartError};
use crate::appliance::supervise::Left;
use crate::ruleset::{Refused, Style};
use clap::Args;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

/// Judge live traffic: behind a Gateway Load Balancer, or mirrored
///
/// Serves until SIGTERM, which begins a drain. SIGHUP reads the ruleset anew, SIGUSR1 opens the flow
/// log anew. `lockgate ctl` talks to it.
#[derive(Args, Debug)]
pub(super) struct RunArgs {
    /// The instance's configuration
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Only check the configuration
    #[arg(long)]
    check: bool,
}

/// Runs; 0 after a drain, 1 if it did not start or its ports failed.
#[must_use]
pub(super) fn run(args: &RunArgs) -> ExitCode {
    if args.check {
        return match config::load(&args.config) {
            Ok(_) => {
                eprintln!("{}: good", args.config.display());
                ExitCode::SUCCESS
            }
            Err(refused) => refuse(&refused),
        };
    }
    match start::run(&args.config) {
        Ok(Left::Asked) => ExitCode::SUCCESS,
        Ok(Left::Dead) => ExitCode::FAILURE,
        Err(StartError::Refused(refused)) => refuse(&refused),
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn refuse(refused: &Refused) -> ExitCode {
    let colour = std::io::stderr().is_terminal();
    eprintln!("{}", refused.render(Style { colour, ..Style::PLAIN }));
    ExitCode::FAILURE
}
