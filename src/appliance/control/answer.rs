//! Requests carried out on the instance, and the lines they are answered with.

use super::super::clock::Clock;
use super::super::command::{Change, Explained, Found, LISTED_MAX, Live, Task};
use super::super::config::NewFlows;
use super::super::filter::Filter;
use super::super::instance::{Instance, Silent};
use super::super::reload::{Preview, ReloadError};
use super::{ExplainRequest, Request};
use crate::engine::Counters;
use crate::model::{Addr, Facts, FiveTuple, FlowVerdict, Protocol, Reason, ScopeId, SegmentId};
use crate::observe::flow_json;
use crate::policy::{Decision, Located, Policy, Query, RecordedTrace};
use crate::wire::Link;
use serde_json::{Value, json};
use std::io::{self, Write};
use std::time::Duration;

/// Answers one request; the last line has `ok`.
pub(super) fn answer(
    request: &Request,
    instance: &Instance,
    out: &mut dyn Write,
) -> io::Result<()> {
    let last = match request {
        Request::Status => status(instance),
        Request::Flows { filter, limit } => {
            let room = (*limit).min(LISTED_MAX);
            match chosen(instance, &Task::List, filter, room) {
                Err(error) => error,
                Ok((found, gone)) => {
                    for (live, policy) in found.flows.iter().take(room) {
                        writeln!(out, "{}", live_json(live, policy))?;
                    }
                    let (matched, listed) = (found.matched, found.flows.len().min(room));
                    let earlier = found.earlier;
                    json!({
                        "ok": true, "matched": matched, "listed": listed, "earlier": earlier, "gone": gone,
                    })
                }
            }
        }
        Request::Flush { filter, all } if filter.is_everything() && !all => {
            json!({ "ok": false, "error": "this would end every flow; say which, or say all" })
        }
        Request::Flush { filter, .. } => match chosen(instance, &Task::Flush, filter, 0) {
            Err(error) => error,
            Ok((found, _)) => {
                let (flows, lost_records) = (found.matched, found.lost_records);
                tracing::info!(flows, lost_records, ?filter, "flows ended by command");
                json!({ "ok": true, "ended": flows, "lost_records": lost_records })
            }
        },
        Request::Reload { dry_run: true, limit } => return preview(instance, *limit, out),
        Request::Reload { .. } => match instance.reload() {
            Ok(installed) => json!({
                "ok": true,
                "epoch": installed.epoch,
                "summary": installed.summary,
                "warnings": installed.warnings,
            }),
            Err(error) => refused(&error),
        },
        Request::Drain { cancel: true, .. } => {
            if instance.stay() {
                json!({ "ok": true, "draining": false })
            } else {
                json!({ "ok": false, "error": "there is no drain to call off" })
            }
        }
        Request::Drain { deadline_seconds, refuse_new, .. } => {
            drain(instance, *deadline_seconds, *refuse_new)
        }
        Request::Explain(asked) => explain(instance, asked),
        Request::Denied => return denied(instance, out),
    };
    writeln!(out, "{last}")
}

/// The flows that are meant, and what the filter names that the ruleset has no more. That nobody ever
/// had is an error.
fn chosen(
    instance: &Instance,
    task: &Task,
    filter: &Filter,
    room: usize,
) -> Result<(Found, Option<String>), Value> {
    let wrong = |error: String| json!({ "ok": false, "error": error });
    filter.check().map_err(wrong)?;
    let found = instance.walk(task, filter, room).map_err(|silent| failed(&silent))?;
    match filter.unknown(&instance.policy()) {
        Some(unknown) if found.matched == 0 => {
            Err(wrong(format!("there is no {unknown}, and no live flow of an earlier one")))
        }
        gone => Ok((found, gone)),
    }
}

fn failed(silent: &Silent) -> Value {
    json!({ "ok": false, "error": silent.to_string() })
}

fn refused(error: &ReloadError) -> Value {
    let report = match error {
        ReloadError::Refused(refusal) => Some(&refusal.report),
        ReloadError::Silent(_) => None,
    };
    json!({ "ok": false, "error": error.to_string(), "report": report })
}

fn status(instance: &Instance) -> Value {
    let health = instance.health();
    let totals = instance.totals();
    let now = Clock::wall();
    let (installed, refusal) = {
        let state = instance.state();
        (state.installed, state.refusal.clone())
    };
    let workers: Vec<Value> = instance
        .worker_facts()
        .iter()
        .map(|worker| json!({ "silent_ms": worker.silent.as_millis() as u64, "open": worker.open }))
        .collect();
    let sums = totals.as_ref().ok().map(|totals| {
        let counters = &totals.counters;
        json!({
            "received": counters.received,
            "received_bytes": counters.received_bytes,
            "forwarded": counters.forwarded,
            "dropped": counters.dropped_total(),
            "dropped_by_reason": dropped(counters),
            "answers": counters.answers,
            "flows": totals.flows,
            "flows_limit": totals.flows_limit,
            "flows_opened": counters.flows,
            "held_bytes": totals.held_bytes,
            "lost": totals.losses.total(),
        })
    });
    let drain = instance.draining().map(|(drain, remaining)| {
        json!({ "left": drain.left(), "remaining_seconds": remaining.as_secs() })
    });
    let log = instance.log_stats().map(|stats| {
        use std::sync::atomic::Ordering::Relaxed;
        json!({
            "written": stats.written.load(Relaxed),
            "lost": stats.lost.load(Relaxed),
            "waiting": stats.waiting.load(Relaxed),
        })
    });
    json!({
        "ok": true,
        "version": env!("CARGO_PKG_VERSION"),
        "healthy": health.is_healthy(),
        "reasons": health.reasons,
        "notes": health.notes,
        "uptime_seconds": now.since(instance.started).as_secs(),
        "interface": instance.config.port.interface,
        "backend": instance.backend,
        "ruleset": instance.config.ruleset.display().to_string(),
        "epoch": totals.as_ref().ok().map(|totals| totals.epoch),
        "installed": installed.to_string(),
        "installed_seconds_ago": now.since(installed).as_secs(),
        "refused": refusal.map(|refusal| json!({
            "at": refusal.at.to_string(), "errors": refusal.errors, "report": refusal.report,
        })),
        "drain": drain,
        "workers": workers,
        "sums": sums,
        "flow_log": log,
    })
}

/// Dropped frames of each reason there were some of.
fn dropped(counters: &Counters) -> Value {
    let all = Reason::ALL.iter().map(|reason| (reason.name(), counters.dropped(*reason)));
    all.filter(|(_, count)| *count > 0)
        .map(|(name, count)| (name.to_owned(), json!(count)))
        .collect()
}

fn drain(instance: &Instance, deadline: Option<u64>, refuse_new: Option<bool>) -> Value {
    let mut config = instance.config.drain;
    if let Some(seconds) = deadline {
        config.deadline = Duration::from_secs(seconds);
    }
    if let Some(refuse) = refuse_new {
        config.new_flows = if refuse { NewFlows::Refuse } else { NewFlows::Serve };
    }
    instance.drain(config);
    let left = instance.walk(&Task::CountServed, &Default::default(), 0).map(|f| f.matched).ok();
    json!({
        "ok": true,
        "draining": true,
        "left": left,
        "deadline_seconds": config.deadline.as_secs(),
        "new_flows": if config.new_flows == NewFlows::Refuse { "refuse" } else { "serve" },
    })
}

fn preview(instance: &Instance, limit: usize, out: &mut dyn Write) -> io::Result<()> {
    let room = limit.min(LISTED_MAX);
    let Preview { policy, summary, found } = match instance.preview(room) {
        Ok(preview) => preview,
        Err(error) => return writeln!(out, "{}", refused(&error)),
    };
    for (live, Change { under, next }) in found.changes.iter().take(room) {
        let (flow, next) = (live_json(live, under), verdict_json(*next, &policy));
        writeln!(out, "{}", json!({ "flow": flow, "would_be": next }))?;
    }
    let last = json!({
        "ok": true,
        "summary": summary,
        "flows": found.matched,
        "changed": found.changed,
        "cut": found.cut,
        "listed": found.changes.len().min(room),
    });
    writeln!(out, "{last}")
}

/// A live flow as its record will be. But for a flow that goes on, `age` ends now and not with its
/// last packet, and `idle` is the time since that; whole seconds both.
fn live_json(live: &Live, policy: &Policy) -> Value {
    let record = &live.record;
    let mut flow: Value = serde_json::from_str(&flow_json(record, policy)).unwrap_or(Value::Null);
    for (part, name, from) in [("flow", "age", record.start), ("lockgate", "idle", record.end)] {
        if let Some(fields) = flow.get_mut(part).and_then(Value::as_object_mut) {
            fields.insert(name.to_owned(), json!(live.now.since(from).as_secs()));
        }
    }
    flow
}

fn verdict_json(verdict: FlowVerdict, policy: &Policy) -> Value {
    json!({
        "verdict": verdict.action.name(),
        "reason": verdict.reason.name(),
        "rule": verdict.rule.and_then(|id| policy.rule(id)).map(|rule| &*rule.name),
    })
}

fn explain(instance: &Instance, asked: &ExplainRequest) -> Value {
    let policy = instance.policy();
    let (scope, tuple) = match question(asked, &policy) {
        Ok(question) => question,
        Err(error) => return json!({ "ok": false, "error": error }),
    };
    match instance.explain(scope, tuple) {
        Err(silent) => failed(&silent),
        Ok(Some(told)) => {
            let Explained { found, under, now } = *told;
            let block = found.policy.and_then(|id| policy.policy(id));
            json!({
                "ok": true,
                "live": true,
                "flow": live_json(&Live { record: found.record, now }, &under),
                "policy": block.map(|block| &*block.name),
                "location": block.map(|block| &*block.location),
                "decision": decision_json(found.decision, &policy),
                "trace": trace_json(&found.trace, &policy),
            })
        }
        Ok(None) => {
            let mut trace = RecordedTrace::default();
            let (pair, decision) = ask(&policy, scope, tuple, &mut trace);
            let name = |id| policy.segment(id).map(|segment| &*segment.name);
            let block = pair.and_then(|(from, to)| policy.block(from, to));
            let block = block.and_then(|id| policy.policy(id));
            json!({
                "ok": true,
                "live": false,
                "segments": pair.map(|(from, to)| json!({ "from": name(from), "to": name(to) })),
                "policy": block.map(|block| &*block.name),
                "location": block.map(|block| &*block.location),
                "decision": decision_json(decision, &policy),
                "trace": trace_json(&trace, &policy),
            })
        }
    }
}

/// The scope and five-tuple that are asked about.
fn question(asked: &ExplainRequest, policy: &Policy) -> Result<(ScopeId, FiveTuple), String> {
    let scope = match &asked.segment {
        Some(name) => {
            let mut all = policy.segments().iter();
            let segment = all.find(|segment| *segment.name == **name);
            let segment = segment.ok_or_else(|| format!("there is no segment `{name}`"))?;
            segment.scope.ok_or_else(|| format!("segment `{name}` has no endpoints"))?
        }
        None => policy.scope(asked.endpoint).ok_or_else(|| match asked.endpoint {
            Some(endpoint) => format!("endpoint {endpoint} is listed nowhere"),
            None => "say which: an endpoint, or a segment that has one".to_owned(),
        })?,
    };
    let protocol = match asked.protocol.as_str() {
        "tcp" => Protocol::TCP,
        "udp" => Protocol::UDP,
        "icmp" => Protocol::ICMP,
        "icmpv6" => Protocol::ICMPV6,
        other => Protocol(other.parse().map_err(|_| format!("`{other}` is no protocol"))?),
    };
    let tuple = FiveTuple {
        src: Addr::from(asked.source),
        dst: Addr::from(asked.destination),
        src_port: asked.source_port,
        dst_port: asked.port,
        protocol,
    };
    Ok((scope, tuple))
}

/// What the headers alone say of a flow nobody has seen.
fn ask(
    policy: &Policy,
    scope: ScopeId,
    tuple: FiveTuple,
    trace: &mut RecordedTrace,
) -> (Option<(SegmentId, SegmentId)>, Decision) {
    let Located::Pair { from, to, .. } = policy.locate(scope, tuple.src, tuple.dst) else {
        return (None, Decision::Final(policy.unknown_segment()));
    };
    let Some(block) = policy.block(from, to) else {
        return (Some((from, to)), Decision::Final(Policy::NO_POLICY));
    };
    let query = Query::new(block, tuple, Clock::wall());
    (Some((from, to)), policy.decide(&query, &Facts::default(), trace))
}

fn decision_json(decision: Decision, policy: &Policy) -> Value {
    match decision {
        Decision::Final(verdict) => verdict_json(verdict, policy),
        Decision::Pending { needs } => json!({
            "verdict": "pending",
            "needs_client": needs.client,
            "needs_server": needs.server,
            "may_allow": needs.may_allow,
        }),
    }
}

fn trace_json(trace: &RecordedTrace, policy: &Policy) -> Value {
    let steps = trace.steps.iter().map(|step| {
        json!({
            "rule": policy.rule(step.rule).map(|rule| &*rule.name),
            "action": policy.rule(step.rule).map(|rule| rule.action.name()),
            "stands": step.truth.name(),
            "condition": step.condition.map(|condition| condition.name()),
        })
    });
    Value::Array(steps.collect())
}

fn denied(instance: &Instance, out: &mut dyn Write) -> io::Result<()> {
    if instance.config.denied_packets == 0 {
        let error = "no packets of denied flows are kept; `denied_packets` turns it on";
        return writeln!(out, "{}", json!({ "ok": false, "error": error }));
    }
    let kept = match instance.denied() {
        Ok(kept) => kept,
        Err(silent) => return writeln!(out, "{}", failed(&silent)),
    };
    for packet in &kept {
        let hex: String = packet.bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let link = if packet.link == Link::Ethernet { "ethernet" } else { "ip" };
        let item = json!({
            "at_ns": packet.at.as_nanos(),
            "link": link,
            "reason": packet.reason.name(),
            "len": packet.original_len,
            "bytes": hex,
        });
        writeln!(out, "{item}")?;
    }
    writeln!(out, "{}", json!({ "ok": true, "packets": kept.len() }))
}
