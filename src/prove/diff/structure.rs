//! What is written differently: rules, policies, segments and defaults, by name and field. Whether it
//! changes any verdict is not said here.

use super::order::common;
use crate::policy::names::{NamePattern, NameSet};
use crate::policy::spec::{
    BlockSpec, DefaultsSpec, PolicySpec, PortRange, RuleSpec, SegmentKind, SegmentSpec,
};
use crate::ruleset::{Date, Loaded};
use serde::Serialize;
use std::collections::{BTreeMap, HashSet};
use std::fmt::Debug;

/// Items of one field that are kept on each side; the rest is counted.
const ITEMS_LIMIT: usize = 12;

/// What kind of thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A segment.
    Segment,
    /// A policy, named by whom it is for.
    Policy,
    /// A rule.
    Rule,
    /// The defaults.
    Defaults,
}

/// What happened to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Edit {
    /// It is new.
    Added,
    /// It is gone.
    Removed,
    /// Some fields are different.
    Changed,
    /// It stands elsewhere among the rules of its policy.
    Moved,
}

/// One field that is different.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Field {
    /// Its name in the rule language.
    pub name: &'static str,
    /// What it no longer says.
    pub removed: Vec<String>,
    /// What it says now.
    pub added: Vec<String>,
}

/// One thing that is written differently.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Written {
    /// What kind of thing it is.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// What happened to it.
    pub edit: Edit,
    /// The fields that are different; those of a new thing that are not at their default.
    pub fields: Vec<Field>,
}

/// Everything that is written differently.
pub(super) fn written(old: &Loaded, new: &Loaded) -> Vec<Written> {
    let (old, new) = (&old.spec, &new.spec);
    let mut all = Vec::new();
    compare(
        Kind::Segment,
        old.segments.iter().map(|s| (s.name.clone(), s)),
        new.segments.iter().map(|s| (s.name.clone(), s)),
        segment_fields,
        &mut all,
    );
    let blocks = |spec: &PolicySpec| -> Vec<(String, BlockSpec)> {
        spec.policies.iter().map(|block| (block.name(), block.clone())).collect()
    };
    let (before, after) = (blocks(old), blocks(new));
    compare(
        Kind::Policy,
        before.iter().map(|(name, block)| (name.clone(), block)),
        after.iter().map(|(name, block)| (name.clone(), block)),
        policy_fields,
        &mut all,
    );
    compare(
        Kind::Rule,
        old.policies.iter().flat_map(|p| p.rules.iter().map(move |r| (r.id.clone(), (p, r)))),
        new.policies.iter().flat_map(|p| p.rules.iter().map(move |r| (r.id.clone(), (p, r)))),
        rule_fields,
        &mut all,
    );
    moved(&before, &after, &mut all);
    let fields = defaults_fields(&old.defaults, Some(&new.defaults));
    if !fields.is_empty() {
        all.push(Written {
            kind: Kind::Defaults,
            name: "defaults".to_owned(),
            edit: Edit::Changed,
            fields,
        });
    }
    all
}

/// Things of one kind by name. `fields` compares a thing with another, or says what one is.
fn compare<T: Copy>(
    kind: Kind,
    old: impl Iterator<Item = (String, T)>,
    new: impl Iterator<Item = (String, T)>,
    fields: impl Fn(T, Option<T>) -> Vec<Field>,
    all: &mut Vec<Written>,
) {
    let before: BTreeMap<String, T> = old.collect();
    let after: BTreeMap<String, T> = new.collect();
    let mut push = |name: &String, edit, fields| {
        all.push(Written { kind, name: name.clone(), edit, fields });
    };
    for (name, thing) in &after {
        match before.get(name) {
            None => {
                let said = fields(*thing, None);
                let said =
                    said.into_iter().map(|f| Field { added: f.removed, removed: f.added, ..f });
                push(name, Edit::Added, said.collect());
            }
            Some(known) => {
                let changed = fields(*known, Some(*thing));
                if !changed.is_empty() {
                    push(name, Edit::Changed, changed);
                }
            }
        }
    }
    for (name, thing) in before.iter().filter(|(name, _)| !after.contains_key(*name)) {
        push(name, Edit::Removed, fields(*thing, None));
    }
}

/// Rules that stand elsewhere among those of their policy that both rulesets have.
fn moved(old: &[(String, BlockSpec)], new: &[(String, BlockSpec)], all: &mut Vec<Written>) {
    for (name, block) in new {
        let Some((_, before)) = old.iter().find(|(known, _)| known == name) else { continue };
        let ids = |block: &'_ BlockSpec, other: &BlockSpec| -> Vec<String> {
            let known: HashSet<&str> = other.rules.iter().map(|rule| rule.id.as_str()).collect();
            let both = block.rules.iter().filter(|rule| known.contains(rule.id.as_str()));
            both.map(|rule| rule.id.clone()).collect()
        };
        let (first, second) = (ids(before, block), ids(block, before));
        let (_, kept) = common(&first, &second);
        for (id, _) in second.iter().zip(kept).filter(|(_, kept)| !kept) {
            let position = |block: &BlockSpec| {
                let at = block.rules.iter().position(|rule| rule.id == *id);
                vec![at.map_or(0, |at| at.saturating_add(1)).to_string()]
            };
            let (removed, added) = (position(before), position(block));
            let field = Field { name: "position", removed, added };
            match all.iter_mut().find(|w| w.kind == Kind::Rule && w.name == *id) {
                Some(changed) => changed.fields.push(field),
                None => all.push(Written {
                    kind: Kind::Rule,
                    name: id.clone(),
                    edit: Edit::Moved,
                    fields: vec![field],
                }),
            }
        }
    }
}

/// Compares one field; `None` for the other side says what is there.
struct Comparer<'f> {
    fields: &'f mut Vec<Field>,
}

impl Comparer<'_> {
    fn list(&mut self, name: &'static str, old: Vec<String>, new: Option<Vec<String>>) {
        let new = new.unwrap_or_default();
        let (before, after): (HashSet<&String>, HashSet<&String>) =
            (old.iter().collect(), new.iter().collect());
        let minus = |list: &[String], other: &HashSet<&String>| -> Vec<String> {
            let all: Vec<&String> = list.iter().filter(|item| !other.contains(item)).collect();
            let mut shown: Vec<String> =
                all.iter().take(ITEMS_LIMIT).map(|s| (*s).clone()).collect();
            let more = all.len().saturating_sub(ITEMS_LIMIT);
            if more > 0 {
                shown.push(format!("{more} more"));
            }
            shown
        };
        let (removed, added) = (minus(&old, &after), minus(&new, &before));
        if !removed.is_empty() || !added.is_empty() {
            self.fields.push(Field { name, removed, added });
        }
    }

    /// A single value; `blank` is what stands where nothing is written.
    fn one<T: Text + PartialEq>(
        &mut self,
        name: &'static str,
        old: &T,
        new: Option<&T>,
        blank: &T,
    ) {
        let text = |value: &T| if value == blank { Vec::new() } else { vec![value.text()] };
        match new {
            Some(new) if old != new => {
                self.fields.push(Field { name, removed: text(old), added: text(new) });
            }
            None if old != blank => {
                self.fields.push(Field { name, removed: text(old), added: Vec::new() })
            }
            _ => {}
        }
    }
}

/// A value as the rule language has it.
trait Text {
    fn text(&self) -> String;
}

impl<T: Debug> Text for T {
    /// `OuterName` is `outer-name`; the value of an option is that of what is in it.
    fn text(&self) -> String {
        let text = format!("{self:?}");
        let text = text.strip_prefix("Some(").and_then(|t| t.strip_suffix(')')).unwrap_or(&text);
        let text = text.trim_matches('"');
        if !text.chars().all(|c| c.is_ascii_alphanumeric()) {
            return text.to_owned();
        }
        let mut out = String::new();
        for c in text.chars() {
            if c.is_ascii_uppercase() && !out.is_empty() {
                out.push('-');
            }
            out.push(c.to_ascii_lowercase());
        }
        out
    }
}

fn texts<T: ToString>(list: Option<&Vec<T>>) -> Vec<String> {
    list.map_or_else(Vec::new, |list| list.iter().map(ToString::to_string).collect())
}

fn ports(list: Option<&Vec<PortRange>>) -> Vec<String> {
    let one = |range: &PortRange| match range.first == range.last {
        true => range.first.to_string(),
        false => format!("{}-{}", range.first, range.last),
    };
    list.map_or_else(Vec::new, |list| list.iter().map(one).collect())
}

fn segment_fields(old: &SegmentSpec, new: Option<&SegmentSpec>) -> Vec<Field> {
    let mut fields = Vec::new();
    let mut compare = Comparer { fields: &mut fields };
    let kinds = |s: &SegmentSpec| vec![s.kind.name().to_owned()];
    compare.list("kind", kinds(old), new.map(kinds));
    let labels = |s: &SegmentSpec| s.labels.iter().map(|(k, v)| format!("{k}:{v}")).collect();
    compare.list("labels", labels(old), new.map(labels));
    let endpoints = |s: &SegmentSpec| texts(Some(&s.endpoints));
    compare.list("endpoints", endpoints(old), new.map(endpoints));
    let networks = |s: &SegmentSpec| texts(Some(&s.networks));
    compare.list("networks", networks(old), new.map(networks));
    let proxies = |s: &SegmentSpec| texts(Some(&s.proxy_endpoints));
    compare.list("proxy_endpoints", proxies(old), new.map(proxies));
    compare.one("trusted_proxy", &old.trusted_proxy, new.map(|n| &n.trusted_proxy), &false);
    let blank = SegmentSpec::new("", SegmentKind::Partner);
    let limits = [
        ("limits.flows", (|s: &SegmentSpec| s.limits.flows) as fn(&SegmentSpec) -> Option<u64>),
        ("limits.new_flows_per_second", |s| s.limits.new_flows_per_second),
        ("limits.held_bytes", |s| s.limits.held_bytes),
    ];
    for (name, of) in limits {
        compare.one(name, &of(old), new.map(of).as_ref(), &None);
    }
    compare.one("midstream", &old.midstream, new.map(|n| &n.midstream), &blank.midstream);
    compare.one("owner", &old.owner, new.map(|n| &n.owner), &blank.owner);
    fields
}

fn policy_fields(old: &BlockSpec, new: Option<&BlockSpec>) -> Vec<Field> {
    let mut fields = Vec::new();
    let mut compare = Comparer { fields: &mut fields };
    compare.one("mode", &old.mode, new.map(|n| &n.mode), &crate::policy::spec::Mode::Enforce);
    compare.one(
        "otherwise",
        &old.otherwise,
        new.map(|n| &n.otherwise),
        &crate::model::Action::Deny,
    );
    fields
}

type RuleIn<'s> = (&'s BlockSpec, &'s RuleSpec);

fn rule_fields(old: RuleIn<'_>, new: Option<RuleIn<'_>>) -> Vec<Field> {
    let mut fields = Vec::new();
    let mut compare = Comparer { fields: &mut fields };
    let policy = |(block, _): RuleIn<'_>| vec![block.name()];
    compare.list("policy", policy(old), new.map(policy));
    fields.extend(fields_of_rule(old.1, new.map(|(_, rule)| rule)));
    fields
}

fn fields_of_rule(old: &RuleSpec, new: Option<&RuleSpec>) -> Vec<Field> {
    let mut fields = Vec::new();
    let mut compare = Comparer { fields: &mut fields };
    let action = |r: &RuleSpec| vec![r.action.name().to_owned()];
    compare.list("action", action(old), new.map(action));
    type List = fn(&RuleSpec) -> Vec<String>;
    let lists: [(&'static str, List); 10] = [
        ("protocol", |r| texts(r.protocols.as_ref())),
        ("sources", |r| texts(r.sources.as_ref())),
        ("source_ports", |r| ports(r.source_ports.as_ref())),
        ("destinations", |r| texts(r.destinations.as_ref())),
        ("ports", |r| ports(r.ports.as_ref())),
        ("icmp", |r| {
            let one = |m: &crate::policy::spec::IcmpMatch| match m.code {
                Some(code) => format!("{}/{code}", m.kind),
                None => m.kind.to_string(),
            };
            r.icmp.as_ref().map_or_else(Vec::new, |list| list.iter().map(one).collect())
        }),
        ("answers", |r| texts(r.answers.as_ref())),
        ("api_id", |r| texts(r.api_ids.as_ref())),
        ("tls.ja4", |r| texts(r.tls.ja4.as_ref())),
        ("expires", |r| {
            r.expires.map(|day| Date::from_days(day.into()).to_string()).into_iter().collect()
        }),
    ];
    for (name, of) in lists {
        compare.list(name, of(old), new.map(of));
    }
    compare.one("app", &old.app, new.map(|n| &n.app), &None);
    names("domains", old.domains.as_deref(), new.map(|n| n.domains.as_deref()), &mut compare);
    names("dns", old.dns.as_deref(), new.map(|n| n.dns.as_deref()), &mut compare);
    compare.one("bind", &old.bind_dns, new.map(|n| &n.bind_dns), &false);
    let version = |r: &RuleSpec| r.tls.min_version.map(|v| v.to_string()).into_iter().collect();
    compare.list("tls.min_version", version(old), new.map(version));
    let certificate = |r: &RuleSpec| -> Vec<String> {
        let Some(wanted) = &r.tls.client_certificate else { return Vec::new() };
        let mut all = vec!["required".to_owned()];
        all.extend(wanted.issuers.iter().flatten().map(|i| format!("issuer {i}")));
        all.extend(wanted.names.iter().flatten().map(|n| format!("san {n}")));
        let hex = |sum: &[u8; 32]| sum.iter().map(|b| format!("{b:02x}")).collect::<String>();
        all.extend(wanted.in_date.then(|| "in_date".to_owned()));
        all.extend(wanted.sha256.iter().flatten().map(|s| format!("sha256 {}", hex(s))));
        all
    };
    compare.list("tls.client_certificate", certificate(old), new.map(certificate));
    let blank = RuleSpec::new("", old.action);
    compare.one("midstream", &old.midstream, new.map(|n| &n.midstream), &blank.midstream);
    compare.one("log", &old.log, new.map(|n| &n.log), &blank.log);
    compare.one("ticket", &old.ticket, new.map(|n| &n.ticket), &None);
    compare.one("description", &old.description, new.map(|n| &n.description), &None);
    fields
}

/// Names are compared as sets: a million of them that are the same are not written out.
fn names(
    name: &'static str,
    old: Option<&NameSet>,
    new: Option<Option<&NameSet>>,
    compare: &mut Comparer<'_>,
) {
    let all = |set: Option<&NameSet>| -> Vec<NamePattern> {
        set.map_or_else(Vec::new, |s| s.iter().collect())
    };
    let other = new.flatten();
    if let (Some(a), Some(b)) = (old, other)
        && a.same_as(b)
    {
        return;
    }
    let (before, after) = (all(old), all(other));
    let known: HashSet<&NamePattern> = before.iter().collect();
    let kept: HashSet<&NamePattern> = after.iter().filter(|p| known.contains(p)).collect();
    let left = |list: &[NamePattern]| -> Vec<String> {
        list.iter().filter(|p| !kept.contains(p)).map(ToString::to_string).collect()
    };
    compare.list(name, left(&before), Some(left(&after)));
}

fn defaults_fields(old: &DefaultsSpec, new: Option<&DefaultsSpec>) -> Vec<Field> {
    let mut fields = Vec::new();
    let mut compare = Comparer { fields: &mut fields };
    type Of = fn(&DefaultsSpec) -> String;
    let all: [(&'static str, Of); 9] = [
        ("unknown_segment", |d| d.unknown_segment.text()),
        ("fragments", |d| d.fragments.text()),
        ("midstream", |d| d.midstream.text()),
        ("encrypted_client_hello", |d| d.encrypted_client_hello.text()),
        ("client_certificate_not_visible", |d| d.client_certificate_not_visible.text()),
        ("pending_timeout", |d| format!("{} ms", d.pending_timeout.as_millis())),
        ("held_bytes_per_flow", |d| d.held_bytes_per_flow.to_string()),
        ("timeouts.tcp_idle", |d| format!("{} s", d.timeouts.tcp_idle.as_secs())),
        ("timeouts.udp", |d| format!("{} s", d.timeouts.udp.as_secs())),
    ];
    for (name, of) in all {
        compare.list(name, vec![of(old)], new.map(|new| vec![of(new)]));
    }
    fields
}
