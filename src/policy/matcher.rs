//! The five-tuple part of one rule: the conditions that a flow's first packet answers for good.

use super::decision::Condition;
use super::networks::AddrSet;
use super::spec::{IcmpMatch, PortRange, RuleSpec};
use crate::model::{FiveTuple, Protocol};

/// What a packet shows before any payload is read.
#[derive(Clone, Copy)]
pub(super) struct Probe<'a> {
    pub(super) tuple: &'a FiveTuple,
    pub(super) icmp: Option<(u8, u8)>,
}

/// The static conditions of a rule.
#[derive(Clone, Debug)]
pub(super) struct Matcher {
    pub(super) protocols: Protocols,
    pub(super) ports: Ports,
    pub(super) source_ports: Ports,
    pub(super) destinations: AddrSet,
    pub(super) sources: AddrSet,
    pub(super) icmp: Option<Box<[IcmpMatch]>>,
}

impl Matcher {
    pub(super) fn new(rule: &RuleSpec) -> Self {
        Self {
            protocols: Protocols::new(rule.protocols.as_deref()),
            ports: Ports::new(rule.ports.as_deref()),
            source_ports: Ports::new(rule.source_ports.as_deref()),
            destinations: AddrSet::new(rule.destinations.as_deref()),
            sources: AddrSet::new(rule.sources.as_deref()),
            icmp: rule.icmp.as_ref().map(|list| list.clone().into_boxed_slice()),
        }
    }

    /// Whether every condition holds, the cheapest looked at first.
    pub(super) fn matches(&self, probe: Probe<'_>) -> bool {
        let tuple = probe.tuple;
        self.protocols.contains(tuple.protocol)
            && self.ports.holds(tuple.protocol, tuple.dst_port)
            && self.destinations.contains(tuple.dst)
            && self.sources.contains(tuple.src)
            && self.source_ports.holds(tuple.protocol, tuple.src_port)
            && self.icmp_holds(probe)
    }

    /// The first condition, in the order of the rule language, that does not hold.
    pub(super) fn failing(&self, probe: Probe<'_>) -> Option<Condition> {
        let tuple = probe.tuple;
        [
            (Condition::Protocol, self.protocols.contains(tuple.protocol)),
            (Condition::Sources, self.sources.contains(tuple.src)),
            (Condition::SourcePorts, self.source_ports.holds(tuple.protocol, tuple.src_port)),
            (Condition::Destinations, self.destinations.contains(tuple.dst)),
            (Condition::Ports, self.ports.holds(tuple.protocol, tuple.dst_port)),
            (Condition::Icmp, self.icmp_holds(probe)),
        ]
        .into_iter()
        .find_map(|(condition, holds)| (!holds).then_some(condition))
    }

    pub(super) fn icmp_holds(&self, probe: Probe<'_>) -> bool {
        let Some(list) = &self.icmp else { return true };
        let is_icmp = matches!(probe.tuple.protocol, Protocol::ICMP | Protocol::ICMPV6);
        let Some((kind, code)) = probe.icmp.filter(|_| is_icmp) else { return false };
        list.iter().any(|want| want.kind == kind && want.code.is_none_or(|want| want == code))
    }
}

/// A condition on the protocol.
#[derive(Clone, Debug)]
pub(super) enum Protocols {
    Any,
    One(Protocol),
    Many(Box<[Protocol]>),
}

impl Protocols {
    fn new(list: Option<&[Protocol]>) -> Self {
        match list {
            None => Self::Any,
            Some([one]) => Self::One(*one),
            Some(many) => Self::Many(many.into()),
        }
    }

    fn contains(&self, protocol: Protocol) -> bool {
        match self {
            Self::Any => true,
            Self::One(one) => *one == protocol,
            Self::Many(many) => many.contains(&protocol),
        }
    }
}

/// A condition on a port; protocols without ports never meet one.
#[derive(Clone, Debug)]
pub(super) enum Ports {
    Any,
    One(PortRange),
    /// Disjoint and ascending.
    Many(Box<[PortRange]>),
}

impl Ports {
    fn new(list: Option<&[PortRange]>) -> Self {
        let Some(list) = list else { return Self::Any };
        let merged = merged_ports(list);
        match merged.as_slice() {
            [one] => Self::One(*one),
            _ => Self::Many(merged.into_boxed_slice()),
        }
    }

    fn holds(&self, protocol: Protocol, port: u16) -> bool {
        match self {
            Self::Any => true,
            Self::One(range) => protocol.has_ports() && range.contains(port),
            Self::Many(ranges) => {
                let after = ranges.partition_point(|range| range.first <= port);
                let at = after.checked_sub(1).and_then(|at| ranges.get(at));
                protocol.has_ports() && at.is_some_and(|range| range.contains(port))
            }
        }
    }
}

/// Ranges in ascending order, those that touch made one, empty ones left out.
pub(super) fn merged_ports(list: &[PortRange]) -> Vec<PortRange> {
    let mut ranges: Vec<PortRange> = list.iter().copied().filter(|r| r.first <= r.last).collect();
    ranges.sort_unstable();
    let mut merged: Vec<PortRange> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match merged.last_mut() {
            Some(open) if range.first <= open.last.saturating_add(1) => {
                open.last = open.last.max(range.last);
            }
            _ => merged.push(range),
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Action, Addr};

    fn ports(texts: &str) -> Option<Vec<PortRange>> {
        let range = |text: &str| match text.split_once('-') {
            Some((first, last)) => {
                PortRange { first: first.parse().unwrap(), last: last.parse().unwrap() }
            }
            None => PortRange::one(text.parse().unwrap()),
        };
        Some(texts.split(',').filter(|t| !t.is_empty()).map(range).collect())
    }

    /// Fields separated by blanks: `p=` protocols, `s=` sources, `d=` destinations, `sp=` and
    /// `dp=` ports, `i=` ICMP types as `kind` or `kind/code`.
    fn rule(text: &str) -> Matcher {
        let mut rule = RuleSpec::new("r", Action::Allow);
        for field in text.split_whitespace() {
            let (key, value) = field.split_once('=').unwrap();
            let items = || value.split(',').filter(|v| !v.is_empty());
            match key {
                "p" => {
                    rule.protocols = Some(items().map(|v| Protocol(v.parse().unwrap())).collect())
                }
                "s" => rule.sources = Some(items().map(|v| v.parse().unwrap()).collect()),
                "d" => rule.destinations = Some(items().map(|v| v.parse().unwrap()).collect()),
                "sp" => rule.source_ports = ports(value),
                "dp" => rule.ports = ports(value),
                _ => {
                    let one = |v: &str| match v.split_once('/') {
                        Some((kind, code)) => IcmpMatch {
                            kind: kind.parse().unwrap(),
                            code: Some(code.parse().unwrap()),
                        },
                        None => IcmpMatch { kind: v.parse().unwrap(), code: None },
                    };
                    rule.icmp = Some(items().map(one).collect());
                }
            }
        }
        Matcher::new(&rule)
    }

    /// A flow `10.0.0.1:40000 -> 10.9.0.2:port/protocol`, with an ICMP type and code.
    fn probe(protocol: u8, port: u16, icmp: Option<(u8, u8)>, matcher: &Matcher) -> String {
        let tuple = FiveTuple {
            src: Addr::v4([10, 0, 0, 1]),
            dst: Addr::v4([10, 9, 0, 2]),
            src_port: 40_000,
            dst_port: port,
            protocol: Protocol(protocol),
        };
        let probe = Probe { tuple: &tuple, icmp };
        let failing = matcher.failing(probe);
        assert_eq!(matcher.matches(probe), failing.is_none());
        failing.map_or("matches", Condition::name).to_owned()
    }

    #[test]
    fn each_condition_is_met_or_named() {
        for (text, protocol, port, icmp, expected) in [
            ("", 6, 443, None, "matches"),
            ("p=6 dp=443 d=10.9.0.0/16 s=10.0.0.0/24", 6, 443, None, "matches"),
            ("p=6", 17, 443, None, "protocol"),
            ("p=6,17", 17, 443, None, "matches"),
            ("p=", 6, 443, None, "protocol"),
            ("s=10.0.1.0/24", 6, 443, None, "sources"),
            ("s=", 6, 443, None, "sources"),
            ("d=10.8.0.0/16,10.10.0.0/16", 6, 443, None, "destinations"),
            ("d=10.8.0.0/16,10.9.0.0/16", 6, 443, None, "matches"),
            ("sp=40000", 6, 443, None, "matches"),
            ("sp=1-39999,40001-65535", 6, 443, None, "source_ports"),
            ("dp=80,8000-8010", 6, 8010, None, "matches"),
            ("dp=80,8000-8010", 6, 8011, None, "ports"),
            ("dp=80,81-90,443", 6, 85, None, "matches"),
            ("dp=", 6, 443, None, "ports"),
            ("dp=0-65535", 1, 7, Some((8, 0)), "ports"),
            ("dp=0-65535", 132, 7, None, "ports"),
            ("i=8", 1, 0, Some((8, 0)), "matches"),
            ("i=8/1", 1, 0, Some((8, 0)), "icmp"),
            ("i=0,8/0", 58, 0, Some((8, 0)), "matches"),
            ("i=8", 1, 0, None, "icmp"),
            ("i=8", 6, 443, Some((8, 0)), "icmp"),
        ] {
            assert_eq!(
                probe(protocol, port, icmp, &rule(text)),
                expected,
                "{text} {protocol} {port}"
            );
        }
    }
}
