//! Rules that ask for names, or for an application, where the protocol or the port carries none.

use super::Lint;
use crate::policy::spec::{PortRange, RuleSpec};
use crate::prove::space::Stage;
use crate::ruleset::Diagnostic;
use crate::ruleset::region::{Asks, Dimension, Flow, NameDimension, Ranges, Room, Witness};

/// Ports whose protocols never carry a server name in the clear, by their assignment (IANA "Service
/// Name and Transport Protocol Port Number Registry").
const NAMELESS: [(u16, &str); 10] = [
    (22, "SSH"),
    (23, "Telnet"),
    (53, "DNS"),
    (69, "TFTP"),
    (123, "NTP"),
    (161, "SNMP"),
    (162, "SNMP"),
    (445, "SMB"),
    (500, "IKE"),
    (514, "syslog"),
];

pub(super) fn check(lint: &mut Lint<'_>) {
    for (id, block) in lint.space.policies() {
        let mut stage = None;
        for (at, rule) in block.rules.iter().enumerate() {
            let asks_facts = rule.domains.is_some() || rule.dns.is_some() || rule.app.is_some();
            let several = rule.protocols.as_ref().is_some_and(|list| list.len() > 1);
            if asks_facts && several {
                let stage = stage.get_or_insert_with(|| lint.space.stage(id));
                dead_protocols(lint, stage, at, rule);
            }
            if let (Some(ports), true) = (&rule.ports, rule.domains.is_some()) {
                let stage = stage.get_or_insert_with(|| lint.space.stage(id));
                nameless_ports(lint, stage, at, rule, ports);
            }
        }
    }
}

/// Protocols of a list for which the rule can never be true.
fn dead_protocols(lint: &mut Lint<'_>, stage: &Stage, at: usize, rule: &RuleSpec) {
    let Some(asks) = lint.space.asks_of(stage.id).get(at).cloned() else { return };
    if stage.room(&asks, &mut lint.values) != Room::Some {
        return;
    }
    for protocol in rule.protocols.iter().flatten() {
        let mut narrowed = asks.clone();
        narrowed.set(Dimension::Protocol, Some(Ranges::one(protocol.0.into())));
        if stage.room(&narrowed, &mut lint.values) != Room::None {
            continue;
        }
        let witness = without_facts(lint, stage, narrowed);
        let places = lint.rule_places(stage.id.0 as usize, at);
        let field = ["domains", "dns", "app"].into_iter().find(|f| places.field(f) != places.id);
        let text = format!("rule `{}` never matches {protocol}", rule.id);
        lint.findings.push(
            Diagnostic::warning("nameless-protocol", text)
                .at(
                    places.field("protocol"),
                    format!("{protocol} carries nothing of what is asked for"),
                )
                .also(places.field(field.unwrap_or_default()), "asked for here")
                .help(format!("leave {protocol} out, or give it a rule of its own"))
                .shown_by(witness),
        );
    }
}

/// All ports belong to protocols without names.
fn nameless_ports(
    lint: &mut Lint<'_>,
    stage: &Stage,
    at: usize,
    rule: &RuleSpec,
    ports: &[PortRange],
) {
    let service = |range: &PortRange| {
        let one = range.first == range.last;
        NAMELESS.iter().find(|(port, _)| one && *port == range.first).map(|(_, name)| *name)
    };
    let services: Option<Vec<&str>> = ports.iter().map(service).collect();
    let Some(services) = services.filter(|services| !services.is_empty()) else { return };
    let Some(asks) = lint.space.asks_of(stage.id).get(at).cloned() else { return };
    let witness = without_facts(lint, stage, asks);
    let places = lint.rule_places(stage.id.0 as usize, at);
    let services = services.join(", ");
    let text = format!("rule `{}` asks for a name where {services} has none", rule.id);
    let help = if services.contains("DNS") {
        "names in DNS questions are `dns`"
    } else {
        "leave `domains` out and narrow `destinations` instead"
    };
    lint.findings.push(
        Diagnostic::warning("nameless-port", text)
            .at(places.field("domains"), "never true for this service")
            .also(places.field("ports"), services)
            .help(help)
            .shown_by(witness),
    );
}

/// A flow of the rule's five-tuple that shows nothing of what the rule asks.
pub(super) fn without_facts(lint: &mut Lint<'_>, stage: &Stage, mut asks: Asks) -> Option<Witness> {
    for dimension in Dimension::OF_FACTS {
        asks.set(dimension, None);
    }
    for dimension in NameDimension::ALL {
        asks.set_name(dimension, None);
    }
    let flow = stage.meeting(&asks).find_map(|area| Flow::of(&area, &mut lint.values))?;
    lint.space.witness(stage.id, flow)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_in_order() {
        assert!(NAMELESS.is_sorted());
    }
}
