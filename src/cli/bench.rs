//! `lockgate bench`: how fast the engine is here. No logic of its own.

use super::output::{Inputs, Output, print};
use super::reading;
use super::say::{complain, hint, note};
use crate::bench::figures::Figures;
use crate::bench::load::Load;
use crate::bench::mix::Mix;
use crate::bench::plan::{self, Plan};
use crate::bench::rules::Rules;
use crate::bench::{captures, clock, report, subject};
use crate::io::merge::Captures;
use crate::ruleset::{self, Options};
use clap::{Args, ValueEnum};
use std::io::{self, BufWriter, IsTerminal};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Arc;

/// Measure the engine on this machine, beside the least that a stateful forwarder must do.
///
/// Frames lie ready in memory. Engine and that least (the floor) take turns over the same frames, in
/// this process, so that the ratio of the two holds even where the machine is shared. With captures,
/// they are run in a loop, each time with other addresses and ports.
#[derive(Args, Debug)]
pub(super) struct BenchArgs {
    /// Captures to measure by, in place of mixes; `-` is standard input
    #[arg(value_name = "CAPTURE", conflicts_with = "mix")]
    captures: Vec<String>,
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
    /// Judge captures by this ruleset, in place of the one that is made for measuring
    #[arg(long, requires = "captures")]
    ruleset: Option<PathBuf>,
    /// Flows that captures should come to at one time
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..=100_000_000))]
    flows: u32,
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
    /// Write the frames of the one mix to a capture, for others to measure by, and stop
    #[arg(long, value_name = "FILE", requires = "mix")]
    write_capture: Option<PathBuf>,
    /// Frames of a mix; as many as it has by itself if left out
    #[arg(long, value_name = "N")]
    frames: Option<u32>,
    /// Print the bytes of memory a flow of the one mix takes, and stop
    #[arg(long, hide = true, requires = "mix")]
    weigh: bool,
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

/// Measures; 1 if something could not be read or written.
#[must_use]
pub(super) fn run(args: &BenchArgs) -> ExitCode {
    match try_run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            complain(&problem);
            ExitCode::FAILURE
        }
    }
}

fn try_run(args: &BenchArgs) -> Result<(), String> {
    let told = |error: &dyn std::fmt::Display| error.to_string();
    if args.list {
        return list();
    }
    if let Some(path) = &args.write_capture {
        return write_capture(args, path);
    }
    let page = args.html.as_ref().map(|path| page(args, path)).transpose()?;
    let rules = Rules::new(args.rules as usize);
    if args.weigh {
        let policy = Arc::new(rules.compile().map_err(|fault| told(&fault))?);
        for mix in &args.mix {
            let weight = subject::weigh(*mix, &rules, &policy);
            print(&format!("{weight}\n"))?;
        }
        return Ok(());
    }
    let figures = if args.captures.is_empty() {
        let screen = io::stderr().is_terminal();
        let mut tell = |what: &str| {
            if screen {
                hint(&format_args!("\r\x1b[Kmeasuring {what}"));
            }
        };
        let rules = args.rules.to_string();
        let figures = plan::run(&plan_of(args), &|mix| weigh(mix, &rules), &mut tell);
        if screen {
            hint(&"\r\x1b[K");
        }
        figures.map_err(|fault| told(&fault))?
    } else {
        by_captures(args, &rules)?
    };
    print(&match args.format {
        Format::Text => report::text(&figures),
        Format::Json => format!("{}\n", report::json(&figures)),
    })?;
    page.map_or(Ok(()), |page| page.write(&report::page(&figures)))
}

fn by_captures(args: &BenchArgs, rules: &Rules) -> Result<Figures, String> {
    let policy = match &args.ruleset {
        Some(path) => ruleset::load(path, &Options::default())
            .map(|loaded| loaded.policy)
            .map_err(|refused| refused.to_string())?,
        None => rules.compile_anywhere().map_err(|fault| fault.to_string())?,
    };
    let mut captures = Captures::open(&args.captures).map_err(|errors| {
        errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\nerror: ")
    })?;
    let loaded = captures::load(&mut captures);
    reading::warn(&captures.warnings());
    if let [first, ..] = captures.faults() {
        return Err(first.to_string());
    }
    if loaded.tape.is_empty() {
        return Err("no packet of the captures can be used".to_owned());
    }
    let (frames, flows, left_out) = (loaded.tape.len(), loaded.flows, loaded.left_out);
    note(&format_args!("{frames} packets of {flows} flows; {left_out} cannot be varied, left out"));
    let load = Load::of_captures(loaded, args.flows as usize);
    let (rounds, rules) = (usize::from(args.rounds), policy.rules().len());
    Ok(plan::run_captures(load, rounds, rules, &Arc::new(policy)))
}

fn plan_of(args: &BenchArgs) -> Plan {
    let mixes = match (args.mix.is_empty(), args.quick) {
        (false, _) => args.mix.clone(),
        (true, false) => Mix::ALL.to_vec(),
        (true, true) => Mix::ALL.into_iter().filter(|mix| mix.flows() <= 200_000).collect(),
    };
    let quick = if args.quick { 20_000 } else { 0 };
    Plan {
        mixes,
        rounds: if args.quick { 3 } else { usize::from(args.rounds) },
        rules: args.rules as usize,
        workers: args.workers.map_or_else(clock::cores, usize::from),
        frames: args.frames.map_or(quick, |frames| frames as usize),
        curves: args.mix.is_empty() && !args.quick,
    }
}

/// Asks a process of its own, whose memory holds nothing else.
fn weigh(mix: Mix, rules: &str) -> Option<f64> {
    let word = mix.word();
    let output = Command::new(std::env::current_exe().ok()?)
        .args(["bench", "--weigh", "--mix", &word, "--rules", rules])
        .output()
        .ok()?;
    String::from_utf8(output.stdout).ok()?.trim().parse().ok()
}

fn write_capture(args: &BenchArgs, path: &Path) -> Result<(), String> {
    let [mix] = args.mix.as_slice() else {
        return Err("--write-capture writes one mix; name it with --mix".to_owned());
    };
    let file = Output::new(path, &Inputs::default())?.create()?;
    let frames = args.frames.map_or(0, |frames| frames as usize);
    let rules = Rules::new(args.rules as usize);
    let written = captures::write_mix(*mix, &rules, frames, BufWriter::new(file));
    written.map(drop).map_err(|error| format!("{}: {error}", path.display()))
}

/// Where the page goes; looked at before anything is measured.
fn page(args: &BenchArgs, path: &Path) -> Result<Output, String> {
    let inputs = Inputs::default().captures(&args.captures);
    let Some(ruleset) = &args.ruleset else { return Output::new(path, &inputs) };
    let loaded = ruleset::load(ruleset, &Options::default());
    let loaded = loaded.map_err(|refused| refused.to_string())?;
    Output::new(path, &inputs.ruleset(&loaded.sources))
}

fn list() -> Result<(), String> {
    print(&Mix::ALL.iter().map(|mix| format!("{:<11} {}\n", mix, mix.about())).collect::<String>())
}
