//! `lockgate bench`: how fast the engine is here. No logic of its own.

use crate::bench::clock;
use crate::bench::figures::Figures;
use crate::bench::mix::Mix;
use crate::bench::plan::{self, Plan};
use crate::bench::report;
use clap::{Args, ValueEnum};
use std::fs;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

/// Measure the engine on this machine, beside the least that a stateful forwarder must do.
///
/// Frames lie ready in memory. Engine and that least (the floor) take turns over the same frames, in
/// this process, so that the ratio of the two holds even where the machine is shared.
#[derive(Args, Debug)]
pub(super) struct BenchArgs {
    /// Only these mixes; `lockgate bench --list` names them
    #[arg(long, value_delimiter = ',', value_name = "MIX", value_parser = mix)]
    mix: Vec<Mix>,
    /// Name the mixes and stop
    #[arg(long)]
    list: bool,
    /// Rounds of each mix; figures are their medians
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u16).range(1..=1000))]
    rounds: u16,
    /// Five-tuple rules in force
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(2..=1_000_000))]
    rules: u32,
    /// Workers, at most; as many as there are cores if left out
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    workers: Option<u16>,
    /// A small part of everything, in a few seconds: for trying out, not for figures
    #[arg(long)]
    quick: bool,
    /// How the figures are written
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Write a page with plots
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

/// How figures are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people.
    Text,
    /// One JSON object.
    Json,
}

fn mix(word: &str) -> Result<Mix, String> {
    Mix::named(word).ok_or_else(|| {
        let words: Vec<String> = Mix::ALL.into_iter().map(Mix::word).collect();
        format!("there is no mix `{word}`; there are {}", words.join(", "))
    })
}

/// Measures; 1 if something could not be written.
#[must_use]
pub(super) fn run(args: &BenchArgs) -> ExitCode {
    if args.list {
        return list();
    }
    let plan = plan_of(args);
    let screen = io::stderr().is_terminal();
    let mut tell = |what: &str| {
        if screen {
            eprint!("\r\x1b[Kmeasuring {what}");
        }
    };
    let figures = match plan::run(&plan, &mut tell) {
        Ok(figures) => figures,
        Err(fault) => return failed(&fault),
    };
    if screen {
        eprint!("\r\x1b[K");
    }
    match write(args, &figures) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => failed(&error),
    }
}

fn plan_of(args: &BenchArgs) -> Plan {
    let mixes = match (args.mix.is_empty(), args.quick) {
        (false, _) => args.mix.clone(),
        (true, false) => Mix::ALL.to_vec(),
        (true, true) => Mix::ALL.into_iter().filter(|mix| mix.flows() <= 200_000).collect(),
    };
    Plan {
        mixes,
        rounds: if args.quick { 3 } else { usize::from(args.rounds) },
        rules: args.rules as usize,
        workers: args.workers.map_or_else(clock::cores, usize::from),
        frames: if args.quick { 20_000 } else { 0 },
        curves: args.mix.is_empty(),
    }
}

fn list() -> ExitCode {
    for mix in Mix::ALL {
        println!("{:<11} {}", mix, mix.about());
    }
    ExitCode::SUCCESS
}

fn write(args: &BenchArgs, figures: &Figures) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match args.format {
        Format::Text => write!(out, "{}", report::text(figures))?,
        Format::Json => writeln!(out, "{}", report::json(figures))?,
    }
    out.flush()?;
    if let Some(path) = &args.html {
        fs::write(path, report::page(figures)).map_err(|error| {
            io::Error::new(error.kind(), format!("{}: {error}", path.display()))
        })?;
    }
    Ok(())
}

fn failed(what: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("error: {what}");
    ExitCode::FAILURE
}
