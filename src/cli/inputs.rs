//! What suggestions and reports are made from: captures through the engine, or flow logs. Shared by
//! the commands that take either. No logic of its own.

use super::output;
use super::reading::{self, Reading};
use super::say::{Failed, fail, note};
use crate::io::pcap::STANDARD_INPUT;
use crate::pipeline::Replayed;
use crate::policy::Policy;
use crate::prove::flow_log::read_log;
use crate::prove::gather::gather;
use crate::prove::sighting::Sighting;
use crate::ruleset::Sources;
use clap::Args;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
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
    /// The files among them and those of the ruleset, none of which is written.
    pub(super) fn files(&self, ruleset: &Sources) -> output::Inputs {
        let flows = self.flows.iter().filter(|name| *name != STANDARD_INPUT);
        output::Inputs::default().captures(&self.captures).flows(flows).ruleset(ruleset)
    }

    /// Hands on every flow of every capture and log.
    pub(super) fn each(
        &self,
        policy: &Arc<Policy>,
        mut take: impl FnMut(Sighting) + Send,
    ) -> Result<Option<Replayed>, Failed> {
        reading::once(self.captures.iter().chain(&self.flows))?;
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
            reading::warn_of_log(name, totals);
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
