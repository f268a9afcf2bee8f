//! `lockgate ctl`: asks a running instance. No logic of its own.

use super::output::print;
use super::say::{self, tell};
use super::terminal;
use crate::appliance::addresses::Addresses;
use crate::appliance::config::CONTROL_SOCKET;
use crate::appliance::control::{ExplainRequest, Request, client, text};
use crate::appliance::filter::Filter;
use crate::model::EndpointId;
use crate::observe::plural;
use clap::{Args, Subcommand, ValueEnum};
use std::path::PathBuf;
use std::process::ExitCode;

/// Ask a running instance: how it is, what it knows, to reload, to leave.
#[derive(Args, Debug)]
pub(super) struct CtlArgs {
    /// The instance's control socket
    #[arg(long, global = true, value_name = "PATH", default_value = CONTROL_SOCKET)]
    socket: PathBuf,
    /// How the answer is written
    #[arg(long, global = true, value_enum, default_value_t = Format::Text)]
    format: Format,
    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people.
    Text,
    /// The answer's lines as they come.
    Json,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// How the instance is
    Status,
    /// Live flows, oldest first
    Flows {
        #[command(flatten)]
        filter: FilterArgs,
        /// How many are listed; all that match are counted
        #[arg(long, value_name = "N", default_value_t = 100)]
        limit: usize,
    },
    /// End live flows; what comes of them later is met in the middle
    Flush {
        #[command(flatten)]
        filter: FilterArgs,
        /// End every flow
        #[arg(long)]
        all: bool,
    },
    /// Read the ruleset anew; a wrong one is refused and changes nothing
    Reload {
        /// Only tell which live flows would change verdict
        #[arg(long)]
        dry_run: bool,
        /// How many of them are listed
        #[arg(long, value_name = "N", default_value_t = 100)]
        limit: usize,
    },
    /// Leave: serve known flows until none is left, or until the deadline
    Drain {
        /// Seconds until it goes with whatever is left; the configuration's if left out
        #[arg(long, value_name = "SECONDS")]
        deadline: Option<u64>,
        /// Refuse new flows meanwhile
        #[arg(long, conflicts_with = "serve_new")]
        refuse_new: bool,
        /// Serve new flows meanwhile
        #[arg(long)]
        serve_new: bool,
        /// Stay after all
        #[arg(long)]
        cancel: bool,
    },
    /// How a live flow came to its verdict; of a flow nobody has seen, what its headers say
    Explain {
        /// The GWLB endpoint it comes through
        #[arg(long, value_name = "VPCE")]
        endpoint: Option<EndpointId>,
        /// Or the segment with endpoints that it comes from
        #[arg(long)]
        segment: Option<String>,
        /// The flow, such as "10.20.1.5:40000 -> 10.100.4.7:443/tcp"
        flow: String,
    },
    /// The kept packets of denied flows, as a capture
    Denied {
        /// The capture to write; pcapng where the name says so, else pcap
        #[arg(long, value_name = "FILE")]
        write: PathBuf,
    },
}

/// Which flows; every condition must hold.
#[derive(Args, Debug)]
struct FilterArgs {
    /// Either side is this segment
    #[arg(long)]
    segment: Option<String>,
    /// A name the client asked for; `.example.com` is everything below too
    #[arg(long)]
    name: Option<String>,
    /// The rule that decided
    #[arg(long)]
    rule: Option<String>,
    /// allow, deny, reject or pending
    #[arg(long)]
    verdict: Option<String>,
    /// Either address is this one, or one of this network
    #[arg(long, value_name = "ADDRESS|NETWORK")]
    address: Option<Addresses>,
    /// At least so many seconds old
    #[arg(long, value_name = "SECONDS")]
    older: Option<u64>,
    /// At most so many seconds old
    #[arg(long, value_name = "SECONDS")]
    younger: Option<u64>,
}

impl FilterArgs {
    fn filter(&self) -> Filter {
        Filter {
            segment: self.segment.clone(),
            name: self.name.clone(),
            rule: self.rule.clone(),
            verdict: self.verdict.clone(),
            address: self.address,
            older_than_seconds: self.older,
            younger_than_seconds: self.younger,
        }
    }
}

/// Asks; 0 if it worked, 1 if not.
#[must_use]
pub(super) fn run(args: &CtlArgs) -> ExitCode {
    let request = match request(&args.command) {
        Ok(request) => request,
        Err(error) => return complain(&error),
    };
    let answer = match client::ask(&args.socket, &request) {
        Ok(answer) => answer,
        Err(error) => return complain(&error.to_string()),
    };
    if let (Command::Denied { write }, true) = (&args.command, answer.is_ok()) {
        return match text::write_capture(&answer, write) {
            Ok(count) => {
                let count = plural(count as u64, "packet");
                tell(&format_args!("{count} written to {}", write.display()));
                ExitCode::SUCCESS
            }
            Err(error) => complain(&error),
        };
    }
    let mut shown = String::new();
    match args.format {
        Format::Json => {
            for line in answer.items.iter().chain([&answer.last]) {
                shown.push_str(&format!("{line}\n"));
            }
        }
        Format::Text if answer.is_ok() => {
            shown = text::show(&request, &answer, terminal::columns());
        }
        Format::Text => return complain(&text::failure(&answer)),
    }
    if let Err(why) = print(&shown) {
        return complain(&why);
    }
    if answer.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn request(command: &Command) -> Result<Request, String> {
    Ok(match command {
        Command::Status => Request::Status,
        Command::Flows { filter, limit } => {
            Request::Flows { filter: filter.filter(), limit: *limit }
        }
        Command::Flush { filter, all } => Request::Flush { filter: filter.filter(), all: *all },
        Command::Reload { dry_run, limit } => Request::Reload { dry_run: *dry_run, limit: *limit },
        Command::Drain { deadline, refuse_new, serve_new, cancel } => Request::Drain {
            deadline_seconds: *deadline,
            refuse_new: (*refuse_new || *serve_new).then_some(*refuse_new),
            cancel: *cancel,
        },
        Command::Explain { endpoint, segment, flow } => Request::Explain(ExplainRequest {
            endpoint: *endpoint,
            segment: segment.clone(),
            ..text::flow(flow)?
        }),
        Command::Denied { .. } => Request::Denied,
    })
}

fn complain(what: &str) -> ExitCode {
    say::complain(&what);
    ExitCode::FAILURE
}
