//! What suggestions and reports are made from: captures through the engine, or flow logs. Shared by
//! the commands that take either. No logic of its own.

use super::terminal::Bar;
use crate::io::merge::Captures;
use crate::io::pcap::STANDARD_INPUT;
use crate::model::EndpointId;
use crate::pipeline::{ReplayOptions, Replayed, WORKERS_MAX, offload};
use crate::policy::Policy;
use crate::prove::flow_log::read_log;
use crate::prove::gather::gather;
use crate::prove::sighting::Sighting;
use crate::ruleset::{self, Loaded, Options};
use crate::wire::{Checksums, Settings};
use clap::{Args, ValueEnum};
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Captures and flow logs.
#[derive(Args, Debug)]
pub(super) struct Inputs {
    /// Captures, judged by the ruleset; `-` is standard input
    #[arg(value_name = "CAPTURE", required_unless_present = "flows")]
    pub(super) captures: Vec<String>,
    /// Flow logs (`lockgate replay --format json`); `-` is standard input
    #[arg(long, value_name = "LOG")]
    pub(super) flows: Vec<String>,
    /// Worker threads; the result does not depend on it
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=WORKERS_MAX as i64))]
    workers: Option<u16>,
    /// Whether wrong checksums drop packets; `auto` looks for signs of checksum offload first
    #[arg(long, value_enum, default_value_t = ChecksumChoice::Auto)]
    checksums: ChecksumChoice,
    /// Take frames without GWLB encapsulation as from this GWLB endpoint
    #[arg(long, value_name = "VPCE")]
    endpoint: Option<EndpointId>,
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

/// Something on the way failed and was told.
pub(super) struct Failed;

/// Reads a ruleset; errors go to standard error.
pub(super) fn load(path: &Path) -> Result<Loaded, Failed> {
    ruleset::load(path, &Options::default()).map_err(|refused| {
        eprintln!("{refused}");
        Failed
    })
}

impl Inputs {
    /// Hands on every flow of every capture and log.
    pub(super) fn each(
        &self,
        policy: &Arc<Policy>,
        mut take: impl FnMut(Sighting) + Send,
    ) -> Result<Option<Replayed>, Failed> {
        let replayed =
            if self.captures.is_empty() { None } else { Some(self.replay(policy, &mut take)?) };
        for name in &self.flows {
            let open = || -> io::Result<Box<dyn BufRead>> {
                if name == STANDARD_INPUT {
                    return Ok(Box::new(BufReader::new(io::stdin())));
                }
                Ok(Box::new(BufReader::new(File::open(name)?)))
            };
            let input = open().map_err(|error| fail(&format_args!("{name}: {error}")))?;
            let totals = read_log(name, input, &mut take).map_err(|fault| fail(&fault))?;
            if totals.flows == 0 {
                note(&format_args!("{name}: no flow in it"));
            }
        }
        Ok(replayed)
    }

    fn replay(
        &self,
        policy: &Arc<Policy>,
        take: impl FnMut(Sighting) + Send,
    ) -> Result<Replayed, Failed> {
        let mut captures = Captures::open(&self.captures).map_err(|errors| {
            errors.iter().for_each(|error| complain(error));
            Failed
        })?;
        let options = ReplayOptions {
            endpoint: self.endpoint,
            workers: self.workers.map_or_else(cores, usize::from),
            settings: self.settings(),
            ..ReplayOptions::default()
        };
        let bar = Bar::new(self.total_bytes());
        let replayed =
            gather(policy, &mut captures, &options, take, &mut |progress| bar.show(progress));
        bar.clear();
        captures.warnings().iter().for_each(|warning| note(warning));
        captures.faults().iter().for_each(|fault| complain(fault));
        if captures.faults().is_empty() { Ok(replayed) } else { Err(Failed) }
    }

    fn settings(&self) -> Settings {
        let checksums = match self.checksums {
            ChecksumChoice::Verify => Checksums::Verify,
            ChecksumChoice::Ignore => Checksums::Ignore,
            ChecksumChoice::Auto if self.captures.iter().any(|name| name == STANDARD_INPUT) => {
                note(&"checksums are verified: standard input cannot be looked at beforehand");
                Checksums::Verify
            }
            ChecksumChoice::Auto => {
                let relaxed = Settings { checksums: Checksums::Ignore, ..Settings::CAPTURE };
                let sample = Captures::open(&self.captures)
                    .map(|mut captures| offload(&mut captures, &relaxed))
                    .unwrap_or_default();
                if sample.suspected() {
                    note(&sample);
                    Checksums::Ignore
                } else {
                    Checksums::Verify
                }
            }
        };
        Settings { checksums, outer_udp: checksums, ..Settings::CAPTURE }
    }

    /// Bytes of all captures; none if one of them is no plain file.
    fn total_bytes(&self) -> Option<u64> {
        let size =
            |name: &String| fs::metadata(name).ok().filter(fs::Metadata::is_file).map(|m| m.len());
        self.captures.iter().map(size).sum()
    }
}

/// Writes a file; its folder is made if it is missing.
pub(super) fn write(path: &PathBuf, text: &str) -> Result<(), Failed> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let made = folder.map_or(Ok(()), fs::create_dir_all);
    let place = |error| fail(&format_args!("{}: cannot be written ({error})", path.display()));
    made.and_then(|()| fs::write(path, text)).map_err(place)
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from).min(WORKERS_MAX)
}

/// Tells what failed.
pub(super) fn fail(what: &dyn std::fmt::Display) -> Failed {
    complain(what);
    Failed
}

fn complain(what: &dyn std::fmt::Display) {
    eprintln!("error: {what}");
}

/// Tells what somebody may want to know.
pub(super) fn note(what: &dyn std::fmt::Display) {
    eprintln!("note: {what}");
}
