//! Rules of AWS Network Firewall and Suricata into a ruleset of this language, and for every one of
//! them whether the result means the same.
//!
//! ```text
//! JSON ─▶ aws ─┐
//!              ├─▶ syntax ─▶ translate (space, names, words) ─▶ order ─▶ write ─▶ ruleset YAML
//! .rules ──────┘    rules      drafts                            one list   report: findings
//! ```
//!
//! *Exact* means: every flow that opens, asks for one name and is seen whole gets the verdict that
//! Suricata gives it.

mod aws;
pub mod draft;
mod names;
mod order;
pub mod space;
pub mod syntax;
pub mod translate;
mod words;
mod write;

pub use order::{Order, Ordered};
pub use write::ruleset;

use crate::model::Action;
use crate::policy::spec::PortRange;
use draft::{Draft, Side};
use ipnet::IpNet;
use space::Variables;
use std::collections::BTreeMap;
use std::fmt;
use syntax::{Rule, lines};
use translate::{Left, translate};

/// Rules of one import.
pub const RULES_MAX: usize = 200_000;
/// The longest input.
pub const INPUT_LIMIT_BYTES: u64 = 64 << 20;

/// A file to import.
#[derive(Clone, Debug)]
pub struct Input {
    /// What the user calls it.
    pub name: String,
    /// Its text.
    pub text: String,
}

/// What the files do not say.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Variables; they come before those of the files.
    pub variables: Variables,
    /// The order of rules; what the files say, or action order, if left out.
    pub order: Option<Order>,
    /// What becomes of what no rule is about; what the files say, or allow, if left out.
    pub otherwise: Option<Action>,
    /// Import alerts as rules that deny, to see what they are about.
    pub alerts: bool,
}

/// How well a rule was taken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fidelity {
    /// It means the same.
    Exact,
    /// It means nearly the same; notes say where not.
    Approximated,
    /// Nothing here says the same; there is no rule.
    Refused,
    /// It decides nothing there, so there is no rule here.
    NoVerdict,
}

impl Fidelity {
    /// Every one, best first.
    pub const ALL: [Self; 4] = [Self::Exact, Self::Approximated, Self::Refused, Self::NoVerdict];

    /// The word in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Approximated => "approximated",
            Self::Refused => "refused",
            Self::NoVerdict => "no-verdict",
        }
    }
}

impl fmt::Display for Fidelity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Where a rule was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// The file.
    pub file: String,
    /// A line's number, or a place inside JSON.
    pub place: String,
    /// The rule group, if the file has groups.
    pub group: Option<String>,
}

/// What became of one rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Where it was found.
    pub origin: Origin,
    /// Its number.
    pub sid: Option<u64>,
    /// What it is, in one line.
    pub text: String,
    /// How well it was taken over.
    pub fidelity: Fidelity,
    /// The rules made of it.
    pub rules: Vec<String>,
    /// Why it is not exact.
    pub notes: Vec<String>,
    /// What somebody should know all the same.
    pub hints: Vec<String>,
}

/// What was imported.
#[derive(Clone, Debug)]
pub struct Imported {
    /// One for each rule, in the order of the files.
    pub findings: Vec<Finding>,
    /// Rules in the order in which they are tried, and what is behind them.
    pub ordered: Ordered,
    /// What concerns everything.
    pub notes: Vec<String>,
    /// Variables of addresses that rules name.
    pub networks: BTreeMap<String, Vec<IpNet>>,
    /// Variables of ports that rules name.
    pub ports: BTreeMap<String, Vec<PortRange>>,
}

/// A rule on its way, with all that decides about its place.
#[derive(Clone, Debug)]
struct Entry {
    origin: Origin,
    rule: Result<Rule, String>,
    text: String,
    /// Its group's position; rules of a stateless group stand before all others.
    group: u32,
    variables: Variables,
    order: Option<Order>,
    /// Rules with the same number are one list of names.
    list: Option<u32>,
}

/// Everything the files say.
#[derive(Clone, Debug, Default)]
struct Gathered {
    entries: Vec<Entry>,
    /// Findings about what is no rule.
    findings: Vec<Finding>,
    notes: Vec<String>,
    order: Option<Order>,
    otherwise: Option<Action>,
}

/// Imports.
///
/// # Errors
/// What is wrong with a file as a whole.
pub fn import(inputs: &[Input], options: &Options) -> Result<Imported, Vec<String>> {
    let gathered = gather(inputs)?;
    let order = options.order.or(gathered.order).unwrap_or(Order::Action);
    let otherwise = options.otherwise.or(gathered.otherwise).unwrap_or(Action::Allow);
    let mut notes = gathered.notes;
    let mut findings = gathered.findings;
    let mut placed = Vec::new();
    let mut shared = Shared::default();
    for entry in gathered.entries {
        let mut variables = entry.variables.clone();
        variables.extend(options.variables.clone());
        let outside = variables.contains_key("EXTERNAL_NET");
        if !outside && variables.contains_key("HOME_NET") {
            variables.insert("EXTERNAL_NET".into(), "!$HOME_NET".into());
        }
        let mut finding = Finding {
            origin: entry.origin.clone(),
            sid: None,
            text: entry.text.clone(),
            fidelity: Fidelity::Refused,
            rules: Vec::new(),
            notes: Vec::new(),
            hints: Vec::new(),
        };
        match &entry.rule {
            Err(why) => finding.notes.push(why.clone()),
            Ok(rule) => {
                finding.sid = rule.sid();
                finding.text = rule.to_string();
                match translate(rule, &variables, options.alerts) {
                    Ok(mut found) => {
                        found.drafts.iter_mut().for_each(|draft| shared.take(draft));
                        let exact = found.notes.is_empty();
                        finding.fidelity =
                            if exact { Fidelity::Exact } else { Fidelity::Approximated };
                        finding.notes = found.notes;
                        finding.hints = found.hints;
                        placed.push(order::Placed::new(findings.len(), &entry, rule, found.drafts));
                    }
                    Err(Left::Refused(why)) => finding.notes.push(why),
                    Err(Left::NoVerdict(why)) => {
                        finding.fidelity = Fidelity::NoVerdict;
                        finding.notes.push(why);
                    }
                }
            }
        }
        findings.push(finding);
    }
    let mixed = placed.iter().any(|rule| rule.order.is_some_and(|own| own != order));
    if mixed {
        notes.push(format!(
            "some groups ask for another order than {}; --order decides",
            order.name()
        ));
    }
    let ordered = Ordered::new(placed, order, otherwise, &mut findings);
    let Shared { networks, ports } = shared;
    Ok(Imported { findings, ordered, notes, networks, ports })
}

/// Variables that become sets. Groups may have different ones of one name: the first keeps it, rules
/// of others list what theirs stands for.
#[derive(Default)]
struct Shared {
    networks: BTreeMap<String, Vec<IpNet>>,
    ports: BTreeMap<String, Vec<PortRange>>,
}

impl Shared {
    fn take(&mut self, draft: &mut Draft) {
        for side in [&mut draft.source, &mut draft.destination] {
            share(&mut self.networks, side, &self.ports);
        }
        for side in [&mut draft.source_port, &mut draft.destination_port] {
            share(&mut self.ports, side, &self.networks);
        }
    }
}

fn share<T: Clone + PartialEq, U>(
    sets: &mut BTreeMap<String, Vec<T>>,
    side: &mut Side<T>,
    others: &BTreeMap<String, Vec<U>>,
) {
    let (Some(name), Some(values)) = (&side.variable, &side.values) else { return };
    let own = sets.get(name).is_none_or(|known| known == values);
    if own && !others.contains_key(name) {
        sets.insert(name.clone(), values.clone());
    } else {
        side.variable = None;
    }
}

/// Reads the files: JSON by what is in it, everything else as Suricata rules.
fn gather(inputs: &[Input]) -> Result<Gathered, Vec<String>> {
    let mut gathered = Gathered::default();
    let (mut documents, mut faults) = (Vec::new(), Vec::new());
    for input in inputs {
        if input.text.trim_start().starts_with(['{', '[']) {
            match serde_json::from_str(&input.text) {
                Ok(value) => documents.push((input.name.clone(), value)),
                Err(error) => faults.push(format!("{}: no JSON: {error}", input.name)),
            }
            continue;
        }
        let group = u32::try_from(gathered.entries.len()).unwrap_or(u32::MAX);
        for line in lines(&input.text) {
            let place = line.number.to_string();
            gathered.entries.push(Entry {
                origin: Origin { file: input.name.clone(), place, group: None },
                rule: line.rule,
                text: line.text,
                group,
                variables: Variables::new(),
                order: None,
                list: None,
            });
        }
    }
    faults.extend(aws::read(documents, &mut gathered).err().into_iter().flatten());
    if gathered.entries.len() > RULES_MAX {
        faults.push(format!("more than {RULES_MAX} rules"));
    }
    if faults.is_empty() { Ok(gathered) } else { Err(faults) }
}
