//! What Prometheus reads: every number of the instance under its name. Gathered when asked for;
//! nothing is counted here. `docs/metrics.md` describes each.

use super::clock::Clock;
use super::config::Pairs;
use super::exposition::{Exposition, Kind};
use super::instance::Instance;
use super::latency::BOUNDS_NS;
use super::totals::{Hits, PairSums, Side, Totals};
use crate::engine::record::Ended;
use crate::model::Reason;
use crate::policy::spec::SegmentKind;
use std::collections::BTreeMap;
use std::iter;
use std::sync::atomic::Ordering;

/// All metrics as text. Sums are left out while a worker does not answer; the rest is there.
#[must_use]
pub fn text(instance: &Instance) -> String {
    let mut out = Exposition::default();
    let totals = instance.totals();
    state(instance, totals.is_ok(), &mut out);
    if let Ok(totals) = totals {
        let pairs = by_pair(&totals, instance.config.pairs);
        packets(&totals, &pairs, &mut out);
        rules(&totals, &mut out);
        flows(&totals, &pairs, &mut out);
        losses(&totals, &mut out);
        latency(&totals, &mut out);
    }
    flow_log(instance, &mut out);
    out.finish()
}

fn state(instance: &Instance, answered: bool, out: &mut Exposition) {
    use Kind::{Counter, Gauge};
    out.family("lockgate_build_info", Gauge, "The program's version; always 1.")
        .sample(&[("version", env!("CARGO_PKG_VERSION")), ("backend", &instance.backend)], 1);
    out.one(
        "lockgate_start_time_seconds",
        Gauge,
        "When the process started, seconds since 1970.",
        instance.started.as_secs(),
    );
    let health = instance.health();
    out.one(
        "lockgate_healthy",
        Gauge,
        "Whether the health endpoint says so (1) or not (0).",
        u8::from(health.is_healthy()),
    );
    out.one(
        "lockgate_workers_answering",
        Gauge,
        "Whether every worker answered for this text (1); without, sums are left out (0).",
        u8::from(answered),
    );
    let mut silent =
        out.family("lockgate_worker_silent_seconds", Gauge, "Time since a worker last came round.");
    for (number, worker) in instance.worker_facts().iter().enumerate() {
        silent.sample(&[("worker", &number.to_string())], worker.silent.as_secs_f64());
    }
    let drain = instance.draining();
    out.one("lockgate_draining", Gauge, "Whether it drains.", u8::from(drain.is_some()));
    out.one(
        "lockgate_drain_flows_left",
        Gauge,
        "Flows a drain waits for; 0 without a drain.",
        drain.and_then(|(drain, _)| drain.left()).unwrap_or(0),
    );
    let (installed, refused) = {
        let state = instance.state();
        (state.installed, state.refusal.is_some())
    };
    out.one(
        "lockgate_policy_installed_seconds",
        Gauge,
        "When the policy in force was installed, seconds since 1970.",
        installed.as_secs(),
    );
    out.one(
        "lockgate_policy_age_seconds",
        Gauge,
        "Time since the policy in force was installed.",
        Clock::wall().since(installed).as_secs(),
    );
    out.one(
        "lockgate_reload_refused",
        Gauge,
        "Whether the last ruleset was refused, so that an older one is in force.",
        u8::from(refused),
    );
    let (installed, refused) = instance.reload_counts();
    let mut reloads = out.family("lockgate_reloads_total", Counter, "Rulesets read, by result.");
    reloads.sample(&[("result", "installed")], installed);
    reloads.sample(&[("result", "refused")], refused);
}

/// Sums of pairs by what is told apart of their segments.
type ByPair = BTreeMap<(String, String), PairSums>;

/// What is told apart of a segment; where it is not the name, as a ruleset selects all of them.
fn told(side: &Side, pairs: Pairs) -> String {
    match (pairs, side.kind) {
        (Pairs::None, _) => "any".to_owned(),
        (Pairs::Partners, Some(kind)) if kind != SegmentKind::Partner => {
            format!("kind:{}", kind.name())
        }
        (Pairs::Segments | Pairs::Partners, _) => side.name.to_string(),
    }
}

fn by_pair(totals: &Totals, pairs: Pairs) -> ByPair {
    let mut all = ByPair::new();
    for ((from, to), sums) in &totals.named.pairs {
        all.entry((told(from, pairs), told(to, pairs))).or_default().merge(sums);
    }
    all
}

/// Frames and bytes by pair, verdict and reason, without what was never seen; those of no pair under `unknown`, so that the sum
/// over all is everything that was settled.
fn packets(totals: &Totals, pairs: &ByPair, out: &mut Exposition) {
    use Kind::Counter;
    let counters = &totals.counters;
    let received = "Frames received and judged.";
    out.one("lockgate_received_packets_total", Counter, received, counters.received);
    let bytes = "Bytes of received frames, encapsulation included.";
    out.one("lockgate_received_bytes_total", Counter, bytes, counters.received_bytes);
    type Row<'t> = (&'t str, &'t str, &'static str, &'static str, u64, Option<u64>);
    let mut rows: Vec<Row<'_>> = Vec::new();
    for ((from, to), sums) in pairs {
        let dropped = sums.dropped.iter().map(|(reason, load)| ("drop", reason.name(), load));
        let all = iter::once(("forward", "", &sums.forwarded)).chain(dropped);
        let all = all.chain([("hold", "", &sums.held)]);
        for (verdict, reason, load) in all.filter(|(.., load)| load.packets > 0) {
            rows.push((from, to, verdict, reason, load.packets, Some(load.bytes)));
        }
    }
    for reason in Reason::ALL {
        let alone = totals.dropped_alone(*reason);
        if alone > 0 {
            rows.push(("unknown", "unknown", "drop", reason.name(), alone, None));
        }
    }
    let help = "Frames by segment pair, verdict and reason. `hold` is what was held when it came; it \
                is counted again as `forward` or `drop` when it leaves.";
    let mut family = out.family("lockgate_packets_total", Counter, help);
    for (from, to, verdict, reason, packets, _) in &rows {
        let labels = [("from", *from), ("to", *to), ("verdict", *verdict), ("reason", *reason)];
        family.sample(&labels, packets);
    }
    let help = "Frames dropped, by reason; every reason from the start.";
    let mut family = out.family("lockgate_drops_total", Counter, help);
    for reason in Reason::ALL {
        family.sample(&[("reason", reason.name())], counters.dropped(*reason));
    }
    let help = "Frames of no segment without a record of their own in the flow log.";
    let held_back = counters.strangers_held_back;
    out.one("lockgate_drop_records_held_back_total", Counter, help, held_back);
    let help = "Bytes of the frames of lockgate_packets_total that belong to a pair of segments.";
    let mut family = out.family("lockgate_bytes_total", Counter, help);
    for (from, to, verdict, reason, _, bytes) in &rows {
        if let Some(bytes) = bytes {
            let labels = [("from", *from), ("to", *to), ("verdict", *verdict), ("reason", *reason)];
            family.sample(&labels, bytes);
        }
    }
    let help = "Which policy, counted from one; reaching a rule's last day counts too.";
    out.one("lockgate_policy_epoch", Kind::Gauge, help, totals.epoch);
    let help = "Answers made: RST, ICMP, DNS REFUSED.";
    out.one("lockgate_answers_total", Counter, help, counters.answers);
}

fn rules(totals: &Totals, out: &mut Exposition) {
    let help =
        "Flows a rule decided, and single DNS questions; `otherwise` is the last word of `policy`.";
    let mut family = out.family("lockgate_rule_hits_total", Kind::Counter, help);
    let mut write = |all: &Hits, otherwise: bool| {
        for ((name, action), hits) in all {
            let (rule, policy) = if otherwise { ("otherwise", &**name) } else { (&**name, "") };
            let labels = [("rule", rule), ("policy", policy), ("action", action.name())];
            family.sample(&labels, hits);
        }
    };
    write(&totals.named.rules, false);
    write(&totals.named.otherwise, true);
}

fn flows(totals: &Totals, pairs: &ByPair, out: &mut Exposition) {
    use Kind::{Counter, Gauge};
    out.one("lockgate_flows", Gauge, "Flows known now.", totals.flows);
    out.one("lockgate_flows_limit", Gauge, "The most flows there can be.", totals.flows_limit);
    let help = "Memory of the flow tables.";
    out.one("lockgate_flow_table_bytes", Gauge, help, totals.table_bytes);
    out.one("lockgate_held_bytes", Gauge, "Bytes of frames held now.", totals.held_bytes);
    let counters = &totals.counters;
    let help = "Frames held that left later.";
    out.one("lockgate_held_released_packets_total", Counter, help, counters.released);
    let help = "Flows opened, by segment pair.";
    let mut family = out.family("lockgate_flows_opened_total", Counter, help);
    for ((from, to), sums) in pairs {
        family.sample(&[("from", from), ("to", to)], sums.flows);
    }
    let help = "Flows that ended, by how. No flow is ever thrown out to make room.";
    let mut family = out.family("lockgate_flows_ended_total", Counter, help);
    for how in Ended::ALL.iter().filter(|how| **how != Ended::EndOfCapture) {
        family.sample(&[("how", how.name())], counters.ended(*how));
    }
    let help = "Flows that ended, by their last verdict; `policy` where no rule of it was true.";
    let mut family = out.family("lockgate_flow_verdicts_total", Counter, help);
    for (verdict, flows) in totals.verdicts.iter() {
        let (action, reason) = verdict
            .decided
            .map_or(("pending", ""), |(action, reason)| (action.name(), reason.name()));
        let enforced = if verdict.enforced { "true" } else { "false" };
        let policy = verdict.policy.as_deref().unwrap_or_default();
        let labels =
            [("verdict", action), ("reason", reason), ("policy", policy), ("enforced", enforced)];
        family.sample(&labels, flows);
    }
    let mut family = out.family("lockgate_segment_flows", Gauge, "Flows a segment has open.");
    for (segment, (flows, _)) in &totals.segments {
        family.sample(&[("segment", segment)], flows);
    }
    let help = "Bytes held for a segment's flows.";
    let mut family = out.family("lockgate_segment_held_bytes", Gauge, help);
    for (segment, (_, held)) in &totals.segments {
        family.sample(&[("segment", segment)], held);
    }
}

fn losses(totals: &Totals, out: &mut Exposition) {
    let help = "Frames the back end lost, by cause; never denials.";
    let mut family = out.family("lockgate_backend_lost_packets_total", Kind::Counter, help);
    for (cause, count) in totals.losses.causes() {
        family.sample(&[("cause", cause)], count);
    }
}

fn latency(totals: &Totals, out: &mut Exposition) {
    let help = "How long packets were in the engine, their whole batch included.";
    let mut family = out.family("lockgate_judge_seconds", Kind::Histogram, help);
    let counts = totals.latency.cumulative();
    for (bound, count) in BOUNDS_NS.iter().zip(counts) {
        family.part("_bucket", &[("le", &seconds(*bound))], count);
    }
    let all = counts.last().copied().unwrap_or(0);
    family.part("_bucket", &[("le", "+Inf")], all);
    family.part("_sum", &[], seconds(totals.latency.sum_ns()));
    family.part("_count", &[], all);
}

fn flow_log(instance: &Instance, out: &mut Exposition) {
    use Kind::{Counter, Gauge};
    let help = "DNS answers one worker heard and another had no room for (`bind: dns`).";
    out.one("lockgate_dns_answers_untold_total", Counter, help, instance.untold());
    let Some(stats) = instance.log_stats() else { return };
    let load = |of: &std::sync::atomic::AtomicU64| of.load(Ordering::Relaxed);
    let mut family = out.family("lockgate_flow_log_records_total", Counter, "Flow log records.");
    family.sample(&[("result", "written")], load(&stats.written));
    family.sample(&[("result", "lost")], load(&stats.lost));
    let waiting = stats.waiting.load(Ordering::Relaxed);
    out.one("lockgate_flow_log_waiting", Gauge, "Records that wait to be written.", waiting);
}

/// Nanoseconds as seconds, without an exponent and without zeros at the end.
fn seconds(ns: u64) -> String {
    let (whole, rest) = (ns / 1_000_000_000, ns % 1_000_000_000);
    let text = format!("{whole}.{rest:09}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{Load, PAIRS_MAX};

    #[test]
    fn bounds_are_written_in_seconds() {
        for (ns, text) in [(1_000, "0.000001"), (1_000_000_000, "1"), (1_500_000_000, "1.5")] {
            assert_eq!(seconds(ns), text);
        }
    }

    /// Frames between so many partners and workloads, all of which met, in one direction: forwarded,
    /// and dropped for two reasons.
    fn met(partners: usize, workloads: usize) -> Totals {
        let side = |name: String, kind| Side { name: name.as_str().into(), kind: Some(kind) };
        let load = Load { packets: 1, bytes: 100 };
        let dropped = [(Reason::Otherwise, load), (Reason::Undecided, load)].into();
        let sums = PairSums { forwarded: load, held: Load::default(), dropped, flows: 1 };
        let mut totals = Totals::default();
        for (p, w) in (0..partners).flat_map(|p| (0..workloads).map(move |w| (p, w))) {
            let from = side(format!("partner-{p}"), SegmentKind::Partner);
            let to = side(format!("workload-{w}"), SegmentKind::Workload);
            totals.named.pairs.insert((from, to), sums.clone());
        }
        totals
    }

    fn series(totals: &Totals, pairs: Pairs) -> Vec<String> {
        let mut out = Exposition::default();
        let pairs = by_pair(totals, pairs);
        packets(totals, &pairs, &mut out);
        flows(totals, &pairs, &mut out);
        let text = out.finish();
        text.lines().filter(|line| line.contains("from=")).map(ToOwned::to_owned).collect()
    }

    /// The formula of `docs/metrics.md`: of each pair that met two series for each verdict and reason
    /// that was seen, and one for its flows.
    #[test]
    fn series_of_pairs_are_as_many_as_the_page_says() {
        for (partners, workloads) in [(0, 0), (1, 1), (1, 20), (500, 20), (PAIRS_MAX / 64, 64)] {
            let totals = met(partners, workloads);
            let of_one = 2 * 3 + 1;
            let all = partners * workloads;
            assert_eq!(series(&totals, Pairs::Segments).len(), all * of_one);
            let told = if workloads == 0 { 0 } else { partners };
            assert_eq!(series(&totals, Pairs::Partners).len(), told * of_one);
            assert_eq!(series(&totals, Pairs::None).len(), told.min(1) * of_one);
        }
    }

    #[test]
    fn what_is_not_told_apart_is_summed() {
        let totals = met(2, 3);
        let partner = series(&totals, Pairs::Partners);
        let line = r#"lockgate_packets_total{from="partner-1",to="kind:workload",verdict="drop",reason="undecided"} 3"#;
        assert!(partner.iter().any(|series| series == line), "{partner:#?}");
        let line = r#"lockgate_bytes_total{from="any",to="any",verdict="forward",reason=""} 600"#;
        let none = series(&totals, Pairs::None);
        assert!(none.iter().any(|series| series == line), "{none:#?}");
        assert!(!none.iter().any(|series| series.contains("hold")), "nothing was held: {none:#?}");
    }
}
