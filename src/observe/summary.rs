//! What a run comes to: flows by segment pair, by verdict and reason, and packets by the reason they
//! were dropped for.

use super::Names;
use super::names::segment_or_unknown;
use crate::engine::Counters;
use crate::engine::record::{FlowRecord, PacketDrop};
use crate::model::{Action, EndpointId, FiveTuple, PolicyId, Reason, RuleId, SegmentId};
use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use std::collections::BTreeMap;
use std::fmt::Write;

/// Packets of a run.
#[derive(Clone, Debug, Default)]
pub struct Totals {
    /// What the engines counted, merged.
    pub counters: Counters,
    /// Packets of link layers that cannot be read; no engine saw them.
    pub unsupported: u64,
}

impl Totals {
    /// Packets dropped for a reason.
    #[must_use]
    pub fn dropped(&self, reason: Reason) -> u64 {
        self.counters.dropped(reason)
    }
}

/// Flows of one ordered pair of segments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PairTotals {
    /// Flows allowed.
    pub allow: u64,
    /// Flows denied.
    pub deny: u64,
    /// Flows rejected.
    pub reject: u64,
    /// Flows not decided.
    pub pending: u64,
    /// Packets of both directions.
    pub packets: u64,
    /// Bytes of both directions.
    pub bytes: u64,
}

/// Flows of one verdict, reason, rule and policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReasonTotals {
    /// What was done.
    pub action: Action,
    /// Why.
    pub reason: Reason,
    /// The rule that decided.
    pub rule: Option<String>,
    /// The policy that decided.
    pub policy: Option<String>,
    /// Whether it was carried out.
    pub enforced: bool,
    /// How many flows.
    pub flows: u64,
}

/// Verdict, reason, rule, policy and whether it was carried out.
type Judged = (Action, Reason, Option<RuleId>, Option<PolicyId>, bool);

/// The sums of a run. It is as large as there are pairs, rules and policies.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Packets.
    pub totals: Totals,
    pairs: BTreeMap<(Option<SegmentId>, Option<SegmentId>), PairTotals>,
    verdicts: BTreeMap<Judged, u64>,
    strangers: BTreeMap<Option<EndpointId>, Strangers>,
    /// Packets of endpoints for which there was no room.
    more_strangers: u64,
}

/// Endpoints whose packets belonged to no segment, listed one by one.
pub(super) const STRANGERS_MAX: usize = 64;

/// Packets of one endpoint that belonged to no segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Strangers {
    /// How many.
    pub packets: u64,
    /// The first of them.
    pub first: Option<FiveTuple>,
}

impl Summary {
    /// Adds a flow that ended.
    pub fn add(&mut self, record: &FlowRecord, names: &impl Names) {
        let pair = self.pairs.entry((record.from, record.to)).or_default();
        let count = match record.verdict.map(|verdict| verdict.action) {
            Some(Action::Allow) => &mut pair.allow,
            Some(Action::Deny) => &mut pair.deny,
            Some(Action::Reject) => &mut pair.reject,
            None => &mut pair.pending,
        };
        *count = count.saturating_add(1);
        pair.packets = pair.packets.saturating_add(record.packets());
        pair.bytes = pair.bytes.saturating_add(record.bytes());
        if let Some(verdict) = record.verdict {
            let policy = names.policy_of(record);
            let key = (verdict.action, verdict.reason, verdict.rule, policy, record.enforced);
            let flows = self.verdicts.entry(key).or_default();
            *flows = flows.saturating_add(1);
        }
    }

    /// Adds a packet that belonged to no segment.
    pub fn add_stranger(&mut self, packet: &PacketDrop) {
        let room = self.strangers.len() < STRANGERS_MAX;
        if !room && !self.strangers.contains_key(&packet.endpoint) {
            self.more_strangers = self.more_strangers.saturating_add(1);
            return;
        }
        let seen = Strangers { packets: 0, first: packet.tuple };
        let strangers = self.strangers.entry(packet.endpoint).or_insert(seen);
        strangers.packets = strangers.packets.saturating_add(1);
    }

    /// Packets that belonged to no segment, by endpoint; none is a capture without encapsulation.
    #[must_use]
    pub const fn strangers(&self) -> &BTreeMap<Option<EndpointId>, Strangers> {
        &self.strangers
    }

    /// Flows added.
    #[must_use]
    pub fn flows(&self) -> u64 {
        self.pairs.values().map(|p| p.allow + p.deny + p.reject + p.pending).sum()
    }

    /// Totals by names of pairs, in the order of names.
    #[must_use]
    pub fn pairs(&self, names: &impl Names) -> BTreeMap<(String, String), PairTotals> {
        let name = |id| segment_or_unknown(names, id).to_owned();
        self.pairs.iter().map(|((from, to), totals)| ((name(*from), name(*to)), *totals)).collect()
    }

    /// Totals by verdict, reason, rule and policy.
    #[must_use]
    pub fn verdicts(&self, names: &impl Names) -> Vec<ReasonTotals> {
        self.verdicts
            .iter()
            .map(|(&(action, reason, rule, policy, enforced), &flows)| ReasonTotals {
                action,
                reason,
                rule: rule.and_then(|rule| names.rule(rule)).map(ToOwned::to_owned),
                policy: policy.and_then(|id| names.policy(id)).map(ToOwned::to_owned),
                enforced,
                flows,
            })
            .collect()
    }

    /// All of it as tables; `columns` is the width of the screen if there is one.
    #[must_use]
    pub fn text(&self, names: &impl Names, columns: Option<u16>) -> String {
        let counters = &self.totals.counters;
        let mut out = format!(
            "{} packets ({} bytes), {} flows: {} packets forwarded, {} dropped, {} answers sent\n",
            counters.received,
            counters.received_bytes,
            self.flows(),
            counters.forwarded,
            counters.dropped_total(),
            counters.answers,
        );
        if self.totals.unsupported > 0 {
            let _ = writeln!(
                out,
                "{} more packets were left out: their link layer cannot be read",
                self.totals.unsupported
            );
        }
        let tables = [
            self.pair_table(names),
            self.verdict_table(names),
            self.drop_table(),
            self.stranger_table(),
        ];
        for table in tables {
            let Some(mut table) = table else { continue };
            if let Some(columns) = columns {
                table.set_content_arrangement(ContentArrangement::Dynamic).set_width(columns);
            }
            let _ = write!(out, "\n{}\n", table.trim_fmt());
        }
        out
    }

    fn pair_table(&self, names: &impl Names) -> Option<Table> {
        let rows = self.pairs(names).into_iter().map(|((from, to), totals)| {
            let PairTotals { allow, deny, reject, pending, packets, bytes } = totals;
            let numbers = [allow, deny, reject, pending, packets, bytes].map(|n| n.to_string());
            [from, to].into_iter().chain(numbers).collect()
        });
        table(
            &["from", "to", "allow", "deny", "reject", "pending", "packets", "bytes"],
            2..8,
            rows.collect(),
        )
    }

    fn verdict_table(&self, names: &impl Names) -> Option<Table> {
        let rows = self.verdicts(names).into_iter().map(|row| {
            let action = row.action.name();
            let verdict = if row.enforced { action.to_owned() } else { format!("({action})") };
            let [rule, policy] =
                [row.rule, row.policy].map(|name| name.unwrap_or_else(|| "-".to_owned()));
            vec![verdict, row.reason.name().to_owned(), rule, policy, row.flows.to_string()]
        });
        table(&["verdict", "reason", "rule", "policy", "flows"], 4..5, rows.collect())
    }

    fn drop_table(&self) -> Option<Table> {
        let rows = Reason::ALL.iter().filter(|reason| self.totals.dropped(**reason) > 0).map(|r| {
            let packets = self.totals.dropped(*r).to_string();
            vec![r.name().to_owned(), packets, r.explain().to_owned()]
        });
        table(&["dropped for", "packets", "which means"], 1..2, rows.collect())
    }

    fn stranger_table(&self) -> Option<Table> {
        let mut rows: Vec<Vec<String>> = Vec::new();
        for (&endpoint, strangers) in &self.strangers {
            let first = strangers.first.map_or_else(|| "-".to_owned(), |tuple| tuple.to_string());
            rows.push(vec![endpoint_or_none(endpoint), strangers.packets.to_string(), first]);
        }
        if self.more_strangers > 0 {
            rows.push(vec!["others".to_owned(), self.more_strangers.to_string(), "-".to_owned()]);
        }
        table(&["endpoint of no segment", "packets", "the first of them"], 1..2, rows)
    }
}

fn endpoint_or_none(endpoint: Option<EndpointId>) -> String {
    endpoint.map_or_else(|| "-".to_owned(), |endpoint| endpoint.to_string())
}

/// A table with numbers to the right; none without rows.
fn table(head: &[&str], numbers: std::ops::Range<usize>, rows: Vec<Vec<String>>) -> Option<Table> {
    if rows.is_empty() {
        return None;
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(head.iter().copied()).add_rows(rows);
    for number in numbers {
        if let Some(column) = table.column_mut(number) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    Some(table)
}
