//! `lockgate suggest`: the smallest policy that allows what was seen. No logic of its own.

use super::inputs::Inputs;
use super::output::{Output, print};
use super::reading::load;
use super::say::{Failed, fail, note, refuse, tell};
use crate::observe::plural;
use crate::policy::Policy;
use crate::policy::spec::Mode;
use crate::prove::suggest::tally::{Ask, Tallies, Wanted};
use crate::prove::suggest::{Suggestion, documents, single, suggest, verify, watching};
use crate::ruleset::{self, Options};
use clap::Args;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

/// Suggest the smallest policy that allows what was seen.
///
/// From captures or flow logs, most usefully of a partner whose policy is in `mode: monitor`. The
/// result is a ruleset by itself: printed as one document, or written as a folder with rule tests.
#[derive(Args, Debug)]
pub(super) struct SuggestArgs {
    /// The ruleset: a folder with lockgate.yaml, or a single file
    ruleset: PathBuf,
    #[command(flatten)]
    inputs: Inputs,
    /// Only flows from or to this segment (may be given again); all if left out
    #[arg(long, value_name = "SEGMENT")]
    partner: Vec<String>,
    /// Also for flows that are denied: captures are judged as if nothing were enforced
    #[arg(long)]
    denied: bool,
    /// Also for TCP connections that nobody answered
    #[arg(long)]
    unanswered: bool,
    /// Suggest policies in `mode: monitor`
    #[arg(long)]
    monitor: bool,
    /// Write a ruleset folder with tests instead of one document on standard output
    #[arg(short, long, value_name = "FOLDER")]
    output: Option<PathBuf>,
    /// Write into a folder that is there already
    #[arg(long, requires = "output")]
    force: bool,
}

/// Suggests; 0 is a suggestion, 1 none or something that could not be read.
#[must_use]
pub(super) fn run(args: &SuggestArgs) -> ExitCode {
    match try_run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failed) => ExitCode::FAILURE,
    }
}

fn try_run(args: &SuggestArgs) -> Result<(), Failed> {
    let loaded = load(&args.ruleset, &Options::default())?;
    for name in &args.partner {
        if !loaded.spec.segments.iter().any(|segment| segment.name == *name) {
            return Err(fail(&format_args!("the ruleset has no segment `{name}`")));
        }
    }
    if let Some(folder) = args.output.as_ref().filter(|folder| folder.exists() && !args.force) {
        let folder = folder.display();
        return Err(fail(&format_args!("{folder} is there already; --force writes into it")));
    }
    let files = args.inputs.files(&loaded.sources);
    let policy = if args.denied {
        let watching = Policy::compile(&watching(&loaded.spec), None);
        watching.map_err(|fault| fail(&fault))?
    } else {
        loaded.policy
    };
    let policy = Arc::new(policy);
    let mut tallies = Tallies::new(Wanted {
        segments: args.partner.clone(),
        denied: args.denied,
        unanswered: args.unanswered,
    });
    args.inputs.each(&policy, |sighting| tallies.add_judged(sighting, &policy))?;
    let suggestion = suggest(&tallies, &loaded.spec);
    if suggestion.policies.is_empty() {
        suggestion.warnings.iter().for_each(|warning| note(warning));
        let flows = suggestion.flows;
        return Err(fail(&format_args!("nothing to suggest: none of {flows} flows makes a rule")));
    }
    let mode = if args.monitor { Mode::Monitor } else { Mode::Enforce };
    let text = single(&suggestion, &loaded.spec, mode);
    about(&suggestion, &tallies, &text)?;
    match &args.output {
        None => print(&text).map_err(|why| fail(&why))?,
        Some(folder) => {
            let outputs = documents(&suggestion, &loaded.spec, mode).into_iter().map(|document| {
                Output::below(folder, &document.path, &files).map(|output| (output, document.text))
            });
            // All are looked at before one is written.
            let outputs: Result<Vec<_>, String> = outputs.collect();
            for (output, text) in outputs.map_err(|why| fail(&why))? {
                output.write(&text).map_err(|why| fail(&why))?;
                tell(&format_args!("wrote {}", output.path().display()));
            }
        }
    }
    Ok(())
}

/// What was seen, what somebody should look at, and whether the suggestion does what it says.
fn about(suggestion: &Suggestion, tallies: &Tallies, text: &str) -> Result<(), Failed> {
    let rules: usize = suggestion.policies.iter().map(|draft| draft.rules.len()).sum();
    let policies = match suggestion.policies.len() {
        1 => "1 policy".to_owned(),
        count => format!("{count} policies"),
    };
    let rules = plural(rules as u64, "rule");
    let (allowed, flows) = (suggestion.allowed, suggestion.flows);
    tell(&format_args!("{allowed} of {flows} flows: {policies}, {rules}"));
    suggestion.warnings.iter().for_each(|warning| note(warning));
    let compiled = ruleset::load_text("suggestion.yaml", text, &Options::default());
    let loaded = compiled.map_err(|refused| refuse(&refused))?;
    check(tallies, &loaded.policy);
    Ok(())
}

fn check(tallies: &Tallies, policy: &Policy) {
    let verified = verify(tallies, policy);
    let line = |ask: &Ask| {
        let names: Vec<&str> = ask.names.iter().chain(&ask.questions).map(AsRef::as_ref).collect();
        let (port, protocol) = (ask.port, ask.protocol);
        format!(
            "{} > {} {}:{port}/{protocol} {}",
            ask.from,
            ask.to,
            ask.destination,
            names.join(" ")
        )
    };
    for ask in &verified.missing {
        note(&format_args!("seen, and not allowed by the suggestion: {}", line(ask)));
    }
    for ask in &verified.opened {
        note(&format_args!("left out, and allowed by the suggestion all the same: {}", line(ask)));
    }
}
