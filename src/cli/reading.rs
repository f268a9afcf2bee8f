//! How commands read rulesets and captures: the same flags, notes and errors for each of them. What is
//! done with the packets is theirs.

use super::say::{Failed, complain, fail, note, refuse};
use super::terminal::Bar;
use crate::io::merge::Captures;
use crate::io::pcap::{STANDARD_INPUT, Warning, reads_once};
use crate::model::EndpointId;
use crate::pipeline::{Offload, ReplayOptions, WORKERS_MAX, offload};
use crate::prove::flow_log::LogTotals;
use crate::ruleset::{self, Loaded, Options};
use crate::wire::{Checksums, Settings};
use clap::{Args, ValueEnum};
use std::fs;
use std::path::Path;

/// How captures are judged.
#[derive(Args, Debug)]
pub(super) struct Reading {
    /// Worker threads; as many as processors if left out
    ///
    /// Verdicts, reasons, what is forwarded and every order are the same with any number of them. Two things
    /// may differ: what meets a limit (`limit-*`), as limits are divided among the workers, and when a
    /// flow is seen to have waited too long. With 1, limits are whole.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=WORKERS_MAX as i64))]
    workers: Option<u16>,
    /// Whether wrong checksums drop packets; `auto` looks for signs of checksum offload first
    #[arg(long, value_enum, default_value_t = ChecksumChoice::Auto)]
    checksums: ChecksumChoice,
    /// Take frames without GWLB encapsulation as from this GWLB endpoint
    #[arg(long, value_name = "VPCE")]
    pub(super) endpoint: Option<EndpointId>,
}

/// Whether wrong checksums drop packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ChecksumChoice {
    /// They do.
    Verify,
    /// They do not.
    Ignore,
    /// They do unless a sample shows checksum offload.
    Auto,
}

/// Reads a ruleset; errors go to standard error.
pub(super) fn load(path: &Path, options: &Options) -> Result<Loaded, Failed> {
    ruleset::load(path, options).map_err(|refused| refuse(&refused))
}

/// Tells of standard input that is named more often than it can be read.
pub(super) fn once<'n>(names: impl IntoIterator<Item = &'n String>) -> Result<(), Failed> {
    match names.into_iter().filter(|name| *name == STANDARD_INPUT).count() {
        0 | 1 => Ok(()),
        _ => Err(fail(&"`-` is given twice, and standard input can be read once only: name files")),
    }
}

/// Opens captures; tells of every one that cannot be read.
pub(super) fn open(names: &[String]) -> Result<Captures, Failed> {
    once(names)?;
    Captures::open(names).map_err(|errors| {
        errors.iter().for_each(|error| complain(error));
        Failed
    })
}

/// Tells what somebody should know about captures.
pub(super) fn warn(warnings: &[Warning]) {
    warnings.iter().for_each(|warning| note(warning));
}

/// Tells what somebody should know about a flow log.
pub(super) fn warn_of_log(name: &str, totals: LogTotals) {
    if let Some(line) = totals.cut {
        note(&format_args!(
            "{name}:{line}: the log ends within this line; everything before it was read"
        ));
    }
    if let Some(line) = totals.first_torn {
        let left_out = match totals.torn {
            1 => "this line breaks off and is left out".to_owned(),
            more => format!("{more} lines, of which this is the first, break off and are left out"),
        };
        note(&format_args!("{name}:{line}: {left_out}; all others were read"));
    }
    if totals.flows == 0 {
        note(&format_args!("{name}: no flow in it"));
    }
}

/// Tells what became of captures that have been read.
pub(super) fn close(captures: &Captures) -> Result<(), Failed> {
    warn(&captures.warnings());
    captures.faults().iter().for_each(|fault| complain(fault));
    if captures.faults().is_empty() { Ok(()) } else { Err(Failed) }
}

/// Progress over captures.
pub(super) fn bar(names: &[String]) -> Bar {
    let size = |name: &String| fs::metadata(name).ok().filter(fs::Metadata::is_file);
    // None if one of them is no plain file.
    Bar::new(names.iter().map(|name| size(name).map(|found| found.len())).sum())
}

impl Reading {
    /// What a replay of these captures needs to know. `tell` hears the sample that was taken for
    /// `--checksums auto`.
    pub(super) fn options(&self, names: &[String], tell: impl FnOnce(&Offload)) -> ReplayOptions {
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        let checksums = self.checksums(names, tell);
        ReplayOptions {
            endpoint: self.endpoint,
            workers: self.workers.map_or_else(cores, usize::from).min(WORKERS_MAX),
            settings: Settings { checksums, outer_udp: checksums, ..Settings::CAPTURE },
            ..ReplayOptions::default()
        }
    }

    fn checksums(&self, names: &[String], tell: impl FnOnce(&Offload)) -> Checksums {
        match self.checksums {
            ChecksumChoice::Verify => Checksums::Verify,
            ChecksumChoice::Ignore => Checksums::Ignore,
            ChecksumChoice::Auto => {
                if let Some(name) = names.iter().find(|name| reads_once(name)) {
                    let name = if name == STANDARD_INPUT { "standard input" } else { name };
                    note(&format_args!(
                        "checksums are verified: {name} cannot be looked at beforehand"
                    ));
                    return Checksums::Verify;
                }
                let relaxed = Settings { checksums: Checksums::Ignore, ..Settings::CAPTURE };
                let sample = Captures::open(names)
                    .map(|mut captures| offload(&mut captures, &relaxed))
                    .unwrap_or_default();
                tell(&sample);
                if sample.suspected() { Checksums::Ignore } else { Checksums::Verify }
            }
        }
    }
}
