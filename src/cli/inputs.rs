//! What suggestions and reports are made from: captures through the engine, or flow logs. Shared by
//! the commands that take either. No logic of its own.

use super::reading::{self, Reading};
use super::say::{Failed, fail, note};
use crate::io::pcap::STANDARD_INPUT;
use crate::pipeline::Replayed;
use crate::policy::Policy;
use crate::prove::flow_log::read_log;
use crate::prove::gather::gather;
use crate::prove::sighting::Sighting;
use clap::Args;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader};
use std::path::PathBuf;
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
    #[command(flatten)]
    reading: Reading,
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
        let mut captures = reading::open(&self.captures)?;
        let options = self.reading.options(&self.captures, |sample| {
            if sample.suspected() {
                note(sample);
            }
        });
        let bar = reading::bar(&self.captures);
        let replayed =
            gather(policy, &mut captures, &options, take, &mut |progress| bar.show(progress));
        bar.clear();
        reading::close(&captures).map(|()| replayed)
    }
}

/// Writes a file; its folder is made if it is missing.
pub(super) fn write(path: &PathBuf, text: &str) -> Result<(), Failed> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let made = folder.map_or(Ok(()), fs::create_dir_all);
    let place = |error| fail(&format_args!("{}: cannot be written ({error})", path.display()));
    made.and_then(|()| fs::write(path, text)).map_err(place)
}
