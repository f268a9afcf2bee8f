//! `lockgate replay`: captures through the engine, a line for each flow. No logic of its own.

use super::output::{Inputs, Output};
use super::reading::{self, Reading};
use super::say::{Failed, fail, note, tell};
use super::terminal;
use crate::io::merge::Captures;
use crate::io::pcap::{CaptureWriter, Format as CaptureFormat};
use crate::model::{Action, Reason};
use crate::observe::{Layout, Out, Recorder, RecorderError, Style, Summary, plural, summary_json};
use crate::pipeline::{ReplayOptions, Replayed, replay};
use crate::policy::Policy;
use crate::ruleset::{Options, Sources};
use clap::{Args, ValueEnum};
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

/// Judge captures by a ruleset: a line for each flow, and what it comes to.
///
/// Captures are pcap or pcapng, as they are or packed with gzip or zstd; several are read as one, by
/// time. Frames are taken out of GENEVE and VXLAN. Time is that of the captures.
#[derive(Args, Debug)]
pub(super) struct ReplayArgs {
    /// The ruleset: a folder with lockgate.yaml, or a single file
    ruleset: PathBuf,
    /// Captures; `-` is standard input
    #[arg(required = true, value_name = "CAPTURE")]
    captures: Vec<String>,
    /// How flows are written
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Write forwarded frames, as they are sent, to a capture (.pcap or .pcapng)
    #[arg(long, value_name = "FILE")]
    write_forwarded: Option<PathBuf>,
    /// Write dropped frames, as they came, to a capture (.pcap or .pcapng)
    #[arg(long, value_name = "FILE")]
    write_dropped: Option<PathBuf>,
    #[command(flatten)]
    reading: Reading,
    /// List only flows of these verdicts (the summary counts all)
    #[arg(long, value_enum, value_delimiter = ',', value_name = "VERDICT")]
    only: Vec<Only>,
    /// Lay lines out for so many columns; without it, for the terminal, or as wide as they are
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(40..))]
    columns: Option<u16>,
    /// List no flows
    #[arg(long)]
    summary_only: bool,
}

/// How flows are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people.
    Text,
    /// JSON lines.
    Json,
    /// CSV; the summary goes to standard error.
    Csv,
}

/// A verdict of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Only {
    Allow,
    Deny,
    Reject,
    Pending,
}

/// Replays; 0 if everything was read and written, 1 if something was not.
#[must_use]
pub(super) fn run(args: &ReplayArgs) -> ExitCode {
    match try_run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failed) => ExitCode::FAILURE,
    }
}

fn try_run(args: &ReplayArgs) -> Result<(), Failed> {
    let loaded = load(args);
    let captures = reading::open(&args.captures);
    let ((policy, sources), mut captures) = (loaded?, captures?);
    let [forwarded, dropped] = outputs(args, &sources)?;
    let options = args.reading.options(&args.captures, |sample| note(sample));
    let recorder = Recorder::new(&*policy, style(args), Box::new(BufWriter::new(io::stdout())))
        .only((!args.only.is_empty()).then(|| args.only.iter().map(|only| only.action()).collect()))
        .forwarded(writer(forwarded.as_ref())?)
        .dropped(writer(dropped.as_ref())?);
    match judge(args, &policy, &mut captures, &options, recorder) {
        Ok(()) => {}
        Err(error) if error.is_broken_pipe() => return Ok(()),
        Err(error) => return Err(fail(&error)),
    }
    reading::close(&captures)
}

/// The run itself, and its summary.
fn judge(
    args: &ReplayArgs,
    policy: &Arc<Policy>,
    captures: &mut Captures,
    options: &ReplayOptions,
    mut recorder: Recorder<'_, Policy>,
) -> Result<(), RecorderError> {
    let bar = reading::bar(&args.captures);
    let replayed =
        replay(policy, captures, options, &mut recorder, &mut |progress| bar.show(progress));
    bar.clear();
    let replayed = replayed?;
    let (mut summary, mut lines) = recorder.finish()?;
    summary.totals.counters = replayed.counters.clone();
    summary.totals.unsupported = captures.unsupported();
    write_summary(args, policy, &summary, &mut lines).map_err(RecorderError::Lines)?;
    hints(args, policy, &summary, &replayed);
    Ok(())
}

fn load(args: &ReplayArgs) -> Result<(Arc<Policy>, Sources), Failed> {
    let loaded = reading::load(&args.ruleset, &Options::default())?;
    if !loaded.warnings.is_empty() {
        let warnings = plural(loaded.warnings.len() as u64, "warning");
        note(&format_args!("{warnings} about the ruleset; `lockgate check` tells which"));
    }
    Ok((Arc::new(loaded.policy), loaded.sources))
}

/// Columns that text is laid out for; none: as wide as it is.
fn columns(args: &ReplayArgs) -> Option<u16> {
    args.columns.or_else(terminal::columns)
}

fn style(args: &ReplayArgs) -> Style {
    match args.format {
        _ if args.summary_only => Style::Silent,
        Format::Json => Style::Json,
        Format::Csv => Style::Csv,
        Format::Text => Style::Text(
            columns(args)
                .map_or(Layout::Unbounded, |columns| Layout::Columns(usize::from(columns))),
        ),
    }
}

fn write_summary(
    args: &ReplayArgs,
    policy: &Policy,
    summary: &Summary,
    lines: &mut Out<'_>,
) -> io::Result<()> {
    match args.format {
        Format::Json => writeln!(lines, "{}", summary_json(summary, policy))?,
        Format::Csv => tell(&summary.text(policy, None)),
        Format::Text => {
            let gap = if args.summary_only || summary.flows() == 0 { "" } else { "\n" };
            write!(lines, "{gap}{}", summary.text(policy, columns(args)))?;
        }
    }
    lines.flush()
}

/// What is likely not what the user meant.
fn hints(args: &ReplayArgs, policy: &Policy, summary: &Summary, replayed: &Replayed) {
    let unknown = summary.totals.dropped(Reason::UnknownSegment);
    if unknown > 0 && args.reading.endpoint.is_none() && policy.scope(None).is_none() {
        note(&format_args!(
            "packets of no segment: {unknown}; captures without GWLB encapsulation need \
             --endpoint, or a ruleset with `common_endpoints: any`"
        ));
    }
    if replayed.late > 0 {
        let late = plural(replayed.late, "frame");
        note(&format_args!("{late} written later than their place in the captures"));
    }
}

/// The captures to write: none of the files that are read, and not one file twice.
fn outputs(args: &ReplayArgs, ruleset: &Sources) -> Result<[Option<Output>; 2], Failed> {
    let inputs = Inputs::default().captures(&args.captures).ruleset(ruleset);
    let output = |path: &Option<PathBuf>| {
        let output = path.as_ref().map(|path| Output::new(path, &inputs)).transpose();
        output.map_err(|why| fail(&why))
    };
    let outputs = [output(&args.write_forwarded)?, output(&args.write_dropped)?];
    match &outputs {
        [Some(first), Some(second)] if first.is(second) => {
            Err(fail(&"--write-forwarded and --write-dropped name the same file"))
        }
        _ => Ok(outputs),
    }
}

fn writer(output: Option<&Output>) -> Result<Option<CaptureWriter<Out<'static>>>, Failed> {
    let Some(output) = output else { return Ok(None) };
    let file = output.create().map_err(|why| fail(&why))?;
    let format = CaptureFormat::for_name(&output.path().to_string_lossy());
    Ok(Some(CaptureWriter::new(Box::new(BufWriter::new(file)), format)))
}

impl Only {
    const fn action(self) -> Option<Action> {
        match self {
            Self::Allow => Some(Action::Allow),
            Self::Deny => Some(Action::Deny),
            Self::Reject => Some(Action::Reject),
            Self::Pending => None,
        }
    }
}
