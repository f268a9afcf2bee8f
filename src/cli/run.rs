//! `lockgate run`: the live instance. No logic of its own.

use super::say::{Failed, fail, refuse, tell};
use super::terminal;
use crate::appliance::check::{Checked, check};
use crate::appliance::start::{self, StartError};
use crate::appliance::supervise::Left;
use clap::Args;
use std::path::PathBuf;
use std::process::ExitCode;

/// Judge live traffic: behind a Gateway Load Balancer, or mirrored.
///
/// Serves until SIGTERM, which begins a drain. SIGHUP reads the ruleset anew, SIGUSR1 opens the flow
/// log anew. `lockgate ctl` talks to it.
#[derive(Args, Debug)]
pub(super) struct RunArgs {
    /// The instance's configuration
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Only check the configuration, and the ruleset if it is on this machine
    #[arg(long)]
    check: bool,
}

/// Runs; 0 after a drain, 1 if it did not start or its ports failed.
#[must_use]
pub(super) fn run(args: &RunArgs) -> ExitCode {
    if args.check {
        return match check(&args.config) {
            Ok(checked) => {
                told(&checked);
                if checked.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
            }
            Err(refused) => failed(refuse(&refused)),
        };
    }
    match start::run(&args.config) {
        Ok(Left::Asked) => ExitCode::SUCCESS,
        Ok(Left::Dead) => ExitCode::FAILURE,
        Err(StartError::Refused(refused)) => failed(refuse(&refused)),
        Err(error) => failed(fail(&error)),
    }
}

fn told(checked: &Checked) {
    let findings = checked.findings(terminal::errors());
    if !findings.is_empty() {
        tell(&findings);
    }
    tell(&checked);
}

const fn failed(_: Failed) -> ExitCode {
    ExitCode::FAILURE
}
