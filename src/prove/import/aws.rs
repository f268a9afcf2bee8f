//! AWS Network Firewall's rule groups and policies: the JSON of its API, of `aws network-firewall
//! describe-*` and `create-*`, and of CloudFormation. Everything becomes Suricata rules first, as the
//! service itself does it; shapes are those of its API model (2020-11-12).

mod made;

use super::order::Order;
use super::space::Variables;
use super::syntax::{Rule, lines};
use super::{Entry, Fidelity, Finding, Gathered, Origin};
use crate::model::Action;
use made::{standard, stateless_rules, target_rule};
use serde_json::Value;
use std::collections::BTreeMap;

/// Rule numbers of made rules begin here; users' own are smaller by custom.
const MADE_SID: u64 = 1;

/// A rule group as found.
struct Group {
    file: String,
    place: String,
    name: Option<String>,
    arn: Option<String>,
    body: Value,
}

/// Reads documents; a policy orders the groups it names.
pub(super) fn read(
    documents: Vec<(String, Value)>,
    into: &mut Gathered,
) -> Result<(), Vec<String>> {
    let (mut groups, mut policies, mut faults) = (Vec::new(), Vec::new(), Vec::new());
    for (file, value) in documents {
        if !find(&file, String::new(), &value, None, &mut groups, &mut policies) {
            faults.push(format!(
                "{file}: neither a rule group nor a firewall policy of AWS Network Firewall; expected \
                 RulesSource, RuleGroup, FirewallPolicy or CloudFormation resources"
            ));
        }
    }
    if policies.len() > 1 {
        faults.push("more than one firewall policy; import one at a time".into());
    }
    let policy = policies.first();
    let priorities = policy.map(|(_, policy)| priorities(policy)).unwrap_or_default();
    let mut variables = Variables::new();
    if let Some((file, policy)) = policy {
        read_policy(file, policy, into);
        let rules = policy.pointer("/PolicyVariables/RuleVariables");
        variables.extend(rules.into_iter().flat_map(sets));
    }
    groups.sort_by_key(|group| priority(group, &priorities));
    for (at, group) in groups.iter().enumerate() {
        if !priorities.is_empty() && priority(group, &priorities) == u64::MAX {
            let name = group.label();
            into.notes
                .push(format!("group {name} is not named by the firewall policy; it stands last"));
        }
        read_group(group, u32::try_from(at).unwrap_or(u32::MAX), &variables, into);
    }
    if faults.is_empty() { Ok(()) } else { Err(faults) }
}

impl Group {
    fn label(&self) -> String {
        self.name.clone().unwrap_or_else(|| self.file.clone())
    }
}

/// Finds groups and policies in whatever envelope they come.
fn find(
    file: &str,
    place: String,
    value: &Value,
    about: Option<&Value>,
    groups: &mut Vec<Group>,
    policies: &mut Vec<(String, Value)>,
) -> bool {
    let text = |value: Option<&Value>| value.and_then(Value::as_str).map(ToOwned::to_owned);
    if let Some(list) = value.as_array() {
        let mut any = false;
        for (at, item) in list.iter().enumerate() {
            any |= find(file, format!("{place}[{at}]"), item, about, groups, policies);
        }
        return any;
    }
    if let Some(resources) = value.get("Resources").and_then(Value::as_object) {
        let mut any = false;
        for (name, resource) in resources {
            let kind = resource.get("Type").and_then(Value::as_str).unwrap_or_default();
            if let Some(properties) =
                resource.get("Properties").filter(|_| kind.starts_with("AWS::NetworkFirewall::"))
            {
                let place = format!(".Resources.{name}");
                any |= find(file, place, properties, Some(properties), groups, policies);
            }
        }
        return any;
    }
    if let Some(policy) = value.get("FirewallPolicy") {
        policies.push((file.to_owned(), policy.clone()));
        return true;
    }
    if value.get("StatelessDefaultActions").is_some() {
        policies.push((file.to_owned(), value.clone()));
        return true;
    }
    let response = value.get("RuleGroupResponse").or(about).unwrap_or(value);
    let (name, arn) = (text(response.get("RuleGroupName")), text(response.get("RuleGroupArn")));
    if let Some(body) = value.get("RuleGroup") {
        groups.push(Group {
            file: file.to_owned(),
            place: format!("{place}.RuleGroup"),
            name,
            arn,
            body: body.clone(),
        });
        return true;
    }
    if let Some(rules) = value.get("Rules").and_then(Value::as_str) {
        let body = serde_json::json!({ "RulesSource": { "RulesString": rules } });
        groups.push(Group { file: file.to_owned(), place, name, arn, body });
        return true;
    }
    if value.get("RulesSource").is_some() {
        groups.push(Group { file: file.to_owned(), place, name, arn, body: value.clone() });
        return true;
    }
    false
}

/// The order of groups by the name at the end of their ARN.
fn priorities(policy: &Value) -> BTreeMap<String, u64> {
    let mut found = BTreeMap::new();
    let fields = [("StatelessRuleGroupReferences", 0), ("StatefulRuleGroupReferences", 1 << 32)];
    for (field, base) in fields {
        let references = policy.get(field).and_then(Value::as_array).into_iter().flatten();
        for (at, reference) in references.enumerate() {
            let arn = reference.get("ResourceArn").and_then(Value::as_str).unwrap_or_default();
            let place = reference.get("Priority").and_then(Value::as_u64).unwrap_or(at as u64);
            found.insert(last_part(arn).to_owned(), place.saturating_add(base));
        }
    }
    found
}

fn last_part(arn: &str) -> &str {
    arn.rsplit('/').next().unwrap_or(arn)
}

fn priority(group: &Group, priorities: &BTreeMap<String, u64>) -> u64 {
    let by_arn = group.arn.as_deref().map(last_part);
    let names = by_arn.into_iter().chain(group.name.as_deref());
    names
        .filter_map(|name| priorities.get(name))
        .next()
        .copied()
        .unwrap_or(if priorities.is_empty() { 0 } else { u64::MAX })
}

fn read_policy(file: &str, policy: &Value, into: &mut Gathered) {
    let order = policy.pointer("/StatefulEngineOptions/RuleOrder").and_then(Value::as_str);
    into.order = Some(if order == Some("STRICT_ORDER") { Order::Strict } else { Order::Action });
    let actions: Vec<&str> = policy
        .get("StatefulDefaultActions")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let drops = actions.iter().find(|action| action.starts_with("aws:drop"));
    into.otherwise = Some(if drops.is_some() { Action::Deny } else { Action::Allow });
    match drops {
        Some(action) => into.notes.push(format!(
            "{file}: default action {action} becomes `otherwise: deny`, which waits for the name and lets the handshake pass"
        )),
        None => into.notes.push(format!("{file}: no default action drops, so `otherwise: allow`")),
    }
    for (field, what) in [
        ("TLSInspectionConfigurationArn", "TLS inspection has no equal: nothing is decrypted here"),
        (
            "Route53ResolvedIPValidation",
            "validation of resolved addresses: `bind: dns` on a rule is the nearest",
        ),
    ] {
        if policy.get(field).is_some_and(|value| !value.is_null()) {
            into.notes.push(format!("{file}: {field}: {what}"));
        }
    }
    let stateless =
        policy.get("StatelessDefaultActions").and_then(Value::as_array).into_iter().flatten();
    for action in
        stateless.filter_map(Value::as_str).filter(|action| *action != "aws:forward_to_sfe")
    {
        into.notes.push(format!("{file}: stateless default action {action} is not imported: every packet goes to the rules"));
    }
}

/// `IPSets` and `PortSets`, or the flat form of a policy.
fn sets(variables: &Value) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let nested = ["IPSets", "PortSets"].iter().filter_map(|field| variables.get(field));
    for table in nested.chain([variables]).filter_map(Value::as_object) {
        for (name, set) in table {
            let Some(list) = set.get("Definition").and_then(Value::as_array) else { continue };
            let parts: Vec<&str> = list.iter().filter_map(Value::as_str).collect();
            found.push((name.clone(), format!("[{}]", parts.join(","))));
        }
    }
    found
}

fn read_group(group: &Group, number: u32, shared: &Variables, into: &mut Gathered) {
    let body = &group.body;
    let mut variables = shared.clone();
    variables.extend(body.get("RuleVariables").into_iter().flat_map(sets));
    let own_home = body.pointer("/RuleVariables/IPSets/HOME_NET").is_some();
    if own_home && !variables.contains_key("EXTERNAL_NET") {
        into.notes.push(format!(
            "group {}: $EXTERNAL_NET is everything but the group's $HOME_NET here; the service takes everything but \
             the firewall's own networks, which --var EXTERNAL_NET=... can say",
            group.label()
        ));
    }
    let order = body.pointer("/StatefulRuleOptions/RuleOrder").and_then(Value::as_str);
    let order =
        order.map(|word| if word == "STRICT_ORDER" { Order::Strict } else { Order::Action });
    if into.order.is_none() {
        into.order = order;
    }
    let strict = into.order == Some(Order::Strict);
    let mut maker = Maker { group, number, variables, order, list: None, into };
    let source = body.get("RulesSource").unwrap_or(&Value::Null);
    if let Some(text) = source.get("RulesString").and_then(Value::as_str) {
        maker.text(text);
    }
    if let Some(list) = source.get("RulesSourceList") {
        maker.names(list, strict);
    }
    if let Some(rules) = source.get("StatefulRules").and_then(Value::as_array) {
        for (at, rule) in rules.iter().enumerate() {
            let place = format!("{}.RulesSource.StatefulRules[{at}]", group.place);
            maker.push(place, standard(rule));
        }
    }
    if let Some(rules) = source.pointer("/StatelessRulesAndCustomActions/StatelessRules") {
        maker.stateless(rules);
    }
    for kind in ["FirewallRules", "IpsRules"] {
        if source.get(kind).is_some() {
            let place = format!("{}.RulesSource.{kind}", group.place);
            maker.refuse(place, "rules of a Next Generation policy are not imported".into());
        }
    }
}

struct Maker<'g> {
    group: &'g Group,
    number: u32,
    variables: Variables,
    order: Option<Order>,
    list: Option<u32>,
    into: &'g mut Gathered,
}

impl Maker<'_> {
    fn origin(&self, place: String) -> Origin {
        Origin { file: self.group.file.clone(), place, group: self.group.name.clone() }
    }

    fn push(&mut self, place: String, text: Result<String, String>) {
        let (rule, text) = match text {
            Ok(text) => (Rule::parse(&text), text),
            Err(why) => (Err(why), String::new()),
        };
        let entry = Entry {
            origin: self.origin(place),
            rule,
            text,
            group: self.number,
            variables: self.variables.clone(),
            order: self.order,
            list: self.list,
        };
        self.into.entries.push(entry);
    }

    fn refuse(&mut self, place: String, why: String) {
        let finding = Finding {
            origin: self.origin(place),
            sid: None,
            text: String::new(),
            fidelity: Fidelity::Refused,
            rules: Vec::new(),
            notes: vec![why],
            hints: Vec::new(),
        };
        self.into.findings.push(finding);
    }

    fn text(&mut self, text: &str) {
        for line in lines(text) {
            let place = format!("{}.RulesSource.RulesString:{}", self.group.place, line.number);
            let entry = Entry {
                origin: self.origin(place),
                rule: line.rule,
                text: line.text,
                group: self.number,
                variables: self.variables.clone(),
                order: self.order,
                list: None,
            };
            self.into.entries.push(entry);
        }
    }

    /// A domain list, as the service makes rules of it.
    fn names(&mut self, list: &Value, strict: bool) {
        let words = |field: &str| -> Vec<String> {
            let found = list.get(field).and_then(Value::as_array).into_iter().flatten();
            found.filter_map(Value::as_str).map(ToOwned::to_owned).collect()
        };
        let place =
            |at: usize| format!("{}.RulesSource.RulesSourceList.Targets[{at}]", self.group.place);
        let places: Vec<String> = (0..words("Targets").len()).map(place).collect();
        let kind = list.get("GeneratedRulesType").and_then(Value::as_str).unwrap_or_default();
        let action = match kind {
            "ALLOWLIST" => "pass",
            "DENYLIST" => "drop",
            "REJECTLIST" => "reject",
            "ALERTLIST" => "alert",
            other => {
                let place = format!("{}.RulesSource.RulesSourceList", self.group.place);
                return self.refuse(place, format!("GeneratedRulesType `{other}` is not known"));
            }
        };
        let types = words("TargetTypes");
        let mut sid = MADE_SID;
        for (kind, protocol, buffer, case) in
            [("HTTP_HOST", "http", "http.host", ""), ("TLS_SNI", "tls", "tls.sni", " nocase;")]
        {
            if !types.iter().any(|given| given == kind) {
                continue;
            }
            self.list =
                Some(self.number.saturating_mul(4).saturating_add(u32::from(kind == "TLS_SNI")));
            for (target, place) in words("Targets").iter().zip(&places) {
                let text = target_rule(action, protocol, buffer, case, target, sid);
                self.push(place.clone(), text);
                sid = sid.saturating_add(1);
            }
        }
        self.list = None;
        if kind == "ALLOWLIST" && !strict {
            for (kind, protocol) in [("HTTP_HOST", "http"), ("TLS_SNI", "tls")] {
                if types.iter().any(|given| given == kind) {
                    let place = format!("{}.RulesSource.RulesSourceList", self.group.place);
                    let text = format!(
                        "drop {protocol} $HOME_NET any -> $EXTERNAL_NET any (msg:\"not matching any {protocol} allowlisted name\"; \
                         priority:1; flow:to_server, established; sid:{sid};)"
                    );
                    self.push(place, Ok(text));
                    sid = sid.saturating_add(1);
                }
            }
        }
        if types.iter().any(|kind| kind == "AWS_ROUTE_53_RESOLVED_DOMAIN") {
            let place = format!("{}.RulesSource.RulesSourceList.TargetTypes", self.group.place);
            self.refuse(
                place,
                "AWS_ROUTE_53_RESOLVED_DOMAIN: `bind: dns` on a rule is the nearest".into(),
            );
        }
    }

    /// Drops are rules before all others; what is passed or forwarded goes on to them anyway.
    fn stateless(&mut self, rules: &Value) {
        let mut order: Vec<(usize, &Value)> =
            rules.as_array().into_iter().flatten().enumerate().collect();
        order.sort_by_key(|(_, rule)| {
            rule.get("Priority").and_then(Value::as_u64).unwrap_or(u64::MAX)
        });
        let mut let_through = false;
        for (at, rule) in order {
            let place = format!(
                "{}.RulesSource.StatelessRulesAndCustomActions.StatelessRules[{at}]",
                self.group.place
            );
            let actions = rule.pointer("/RuleDefinition/Actions").and_then(Value::as_array);
            let actions: Vec<&str> =
                actions.into_iter().flatten().filter_map(Value::as_str).collect();
            if !actions.contains(&"aws:drop") {
                let_through = true;
                self.refuse(place, "a stateless rule that does not drop: its packets are judged by the stateful rules here".into());
            } else if let_through {
                self.refuse(
                    place,
                    "a stateless drop behind a stateless rule that lets packets through".into(),
                );
            } else {
                let attributes =
                    rule.pointer("/RuleDefinition/MatchAttributes").unwrap_or(&Value::Null);
                for text in stateless_rules(attributes, at) {
                    self.push(place.clone(), text);
                }
            }
        }
    }
}
