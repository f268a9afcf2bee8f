//! Arguments and commands. No logic.

mod bench;
mod check;
mod clock;
mod ctl;
mod diff;
mod explain;
mod import;
mod init;
mod inputs;
mod output;
mod reading;
mod replay;
mod report;
mod run;
mod say;
mod suggest;
mod terminal;
mod test;
mod wrap;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// An inspection firewall for partner connectivity behind an AWS Gateway Load Balancer.
#[derive(Parser, Debug)]
#[command(version, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    Bench(bench::BenchArgs),
    Init(init::InitArgs),
    Check(check::CheckArgs),
    Diff(diff::DiffArgs),
    Explain(Box<explain::ExplainArgs>),
    Wrap(wrap::WrapArgs),
    Replay(replay::ReplayArgs),
    Suggest(Box<suggest::SuggestArgs>),
    Test(test::TestArgs),
    Run(run::RunArgs),
    Ctl(ctl::CtlArgs),
    Report(Box<report::ReportArgs>),
    Import(import::ImportArgs),
}

/// Runs the command the arguments ask for.
#[must_use]
pub fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Bench(args) => bench::run(&args),
        Command::Init(args) => init::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Diff(args) => diff::run(&args),
        Command::Explain(args) => explain::run(&args),
        Command::Wrap(args) => wrap::run(&args),
        Command::Replay(args) => replay::run(&args),
        Command::Suggest(args) => suggest::run(&args),
        Command::Test(args) => test::run(&args),
        Command::Run(args) => run::run(&args),
        Command::Ctl(args) => ctl::run(&args),
        Command::Report(args) => report::run(&args),
        Command::Import(args) => import::run(&args),
    }
}
