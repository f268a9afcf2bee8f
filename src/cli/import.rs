//! `lockgate import`: rules of AWS Network Firewall and Suricata into a ruleset. No logic of its own.

use super::output::{Inputs, Output, print};
use super::reading::once;
use super::say::{Failed, complain, fail, hint, refuse};
use crate::io::pcap::STANDARD_INPUT;
use crate::model::Action;
use crate::observe::plural;
use crate::prove::import::{
    Fidelity, INPUT_LIMIT_BYTES, Imported, Input, Options, Order, import, ruleset,
};
use crate::ruleset::{self as rulesets, Options as LoadOptions};
use clap::{Args, ValueEnum};
use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;
use std::process::ExitCode;

/// Import rules of AWS Network Firewall and Suricata.
///
/// Reads rule groups and firewall policies as `aws network-firewall describe-*` gives them, CloudFormation
/// in JSON, and Suricata rule files. Standard error says of every rule whether the result means the same.
#[derive(Args, Debug)]
pub(super) struct ImportArgs {
    /// Files: JSON, or Suricata rules; `-` is standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<String>,
    /// The ruleset to write; standard output if left out
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// How the report is written: text on standard error, or JSON on standard output (needs --output)
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// A variable, such as HOME_NET=10.0.0.0/8; before those of the files
    #[arg(long, value_name = "NAME=VALUE", value_parser = variable)]
    var: Vec<(String, String)>,
    /// The order of rules; what the files say, or `action`, if left out
    #[arg(long, value_enum)]
    order: Option<OrderChoice>,
    /// What becomes of what no rule is about; what the files say, or `allow`, if left out
    #[arg(long, value_enum)]
    otherwise: Option<OtherwiseChoice>,
    /// Import alerts as rules that deny, to see what they are about
    #[arg(long)]
    alerts: bool,
    /// Fail, and write nothing, if a rule was refused or is only approximated
    #[arg(long)]
    strict: bool,
}

/// How the report is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people.
    Text,
    /// One JSON object.
    Json,
}

/// The order of rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum OrderChoice {
    /// As they stand, groups by priority.
    Strict,
    /// Pass, drop, reject, alert.
    Action,
    /// Drop, pass, reject, alert.
    DropFirst,
}

/// What becomes of what no rule is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum OtherwiseChoice {
    Allow,
    Deny,
    Reject,
}

fn variable(text: &str) -> Result<(String, String), String> {
    let (name, value) =
        text.split_once('=').ok_or("write NAME=VALUE, such as HOME_NET=10.0.0.0/8")?;
    Ok((name.trim_start_matches(['$', '@']).to_owned(), value.to_owned()))
}

/// Imports; 0 is a ruleset written. 1 is none: a file cannot be read, not one rule was taken over, or,
/// with --strict, one was not.
#[must_use]
pub(super) fn run(args: &ImportArgs) -> ExitCode {
    match try_run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failed) => ExitCode::FAILURE,
    }
}

fn try_run(args: &ImportArgs) -> Result<(), Failed> {
    if args.format == Format::Json && args.output.is_none() {
        return Err(fail(
            &"--format json writes the report to standard output; name the ruleset with --output",
        ));
    }
    once(&args.files)?;
    let files = Inputs::default().rules(&args.files);
    let output = args.output.as_ref().map(|path| Output::new(path, &files)).transpose();
    let output = output.map_err(|why| fail(&why))?;
    let inputs =
        args.files.iter().map(|name| read(name)).collect::<Result<Vec<Input>, Failed>>()?;
    let options = Options {
        variables: args.var.iter().cloned().collect(),
        order: args.order.map(|order| match order {
            OrderChoice::Strict => Order::Strict,
            OrderChoice::Action => Order::Action,
            OrderChoice::DropFirst => Order::DropFirst,
        }),
        otherwise: args.otherwise.map(|otherwise| match otherwise {
            OtherwiseChoice::Allow => Action::Allow,
            OtherwiseChoice::Deny => Action::Deny,
            OtherwiseChoice::Reject => Action::Reject,
        }),
        alerts: args.alerts,
    };
    let imported = import(&inputs, &options).map_err(|faults| {
        faults.iter().for_each(|fault| complain(fault));
        Failed
    })?;
    let text = ruleset(&imported);
    rulesets::load_text("imported.yaml", &text, &LoadOptions::default())
        .map_err(|refused| refuse(&refused))?;
    report(args, &imported)?;
    let lossy = imported.count(Fidelity::Refused) + imported.count(Fidelity::Approximated);
    if imported.ordered.rules.is_empty() {
        return Err(fail(&nothing(args, &imported)));
    }
    if args.strict && lossy > 0 {
        let strict = "is refused or only approximated: with --strict nothing is written";
        return Err(fail(&format_args!("{} {strict}", plural(lossy as u64, "rule"))));
    }
    match &output {
        Some(output) => output.write(&text).map_err(|why| fail(&why)),
        None => print(&text).map_err(|why| fail(&why)),
    }
}

/// Why no rule was made: a ruleset without one would say nothing of what the files say.
fn nothing(args: &ImportArgs, imported: &Imported) -> String {
    let why = match imported.findings.len() {
        0 => "there is no rule in",
        refused if imported.count(Fidelity::Refused) == refused => {
            "not one rule can be taken over of"
        }
        _ => "not one rule decides anything of",
    };
    format!("{why} {}; nothing is written", args.files.join(", "))
}

/// What became of every rule.
fn report(args: &ImportArgs, imported: &Imported) -> Result<(), Failed> {
    match args.format {
        Format::Text => hint(&imported.text()),
        Format::Json => {
            print(&format!("{:#}\n", imported.json())).map_err(|why| fail(&why))?;
        }
    }
    Ok(())
}

fn read(name: &str) -> Result<Input, Failed> {
    let mut text = String::new();
    let opened: io::Result<Box<dyn Read>> = if name == STANDARD_INPUT {
        Ok(Box::new(io::stdin()))
    } else {
        File::open(name).map(|file| Box::new(file) as Box<dyn Read>)
    };
    let place = |error: io::Error| fail(&format_args!("{name}: {error}"));
    let limited = opened.map_err(place)?.take(INPUT_LIMIT_BYTES + 1).read_to_string(&mut text);
    let len = limited.map_err(place)?;
    if len as u64 > INPUT_LIMIT_BYTES {
        return Err(fail(&format_args!("{name}: longer than {INPUT_LIMIT_BYTES} bytes")));
    }
    Ok(Input { name: name.to_owned(), text })
}
