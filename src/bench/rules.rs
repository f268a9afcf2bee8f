//! The ruleset benchmarks are judged by: many partners, one workload, as many five-tuple rules as
//! asked for in shapes that are met in practice, and behind them rules that ask for names.

use super::dice::Dice;
use crate::model::{Action, Addr, EndpointId, FiveTuple, Protocol};
use crate::policy::names::{NamePattern, NameSet};
use crate::policy::spec::{
    BlockSpec, CommonEndpoints, DefaultsSpec, LimitsSpec, Midstream, Mode, PolicySpec, PortRange,
    RuleSpec, SegmentKind, SegmentSpec, Selector,
};
use crate::policy::{CompileFault, Policy};
use ipnet::{IpNet, Ipv4Net};
use std::sync::Arc;

/// Partners, each with one endpoint.
pub const PARTNERS: usize = 64;
/// Names the rules allow.
pub const NAMES: usize = 10_000;
/// Flows the last partner may have at once; the flood comes from there.
pub const FLOOD_FLOWS: u64 = 1000;

/// Destination prefix lengths and ports as firewalls have them: single hosts most of all.
const PREFIX_LENS: [u8; 7] = [32, 32, 28, 24, 24, 20, 16];
const PORTS: [u16; 6] = [443, 80, 8443, 5432, 53, 22];
/// Hosts of the five-tuple rules: 11.0.0.0/8.
const RULE_HOSTS: u32 = 0x0b00_0000;
const RULE_HOST_BITS: usize = 24;

/// Rules and the flows that meet them.
#[derive(Debug)]
pub struct Rules {
    five_tuples: Vec<RuleSpec>,
}

impl Rules {
    /// So many five-tuple rules.
    #[must_use]
    pub fn new(count: usize) -> Self {
        let mut dice = Dice::new(7);
        let rule = |number| {
            let mut rule = RuleSpec::new(&format!("r{number}"), Action::Allow);
            let host = RULE_HOSTS | u32::try_from(dice.below(1 << RULE_HOST_BITS)).unwrap_or(0);
            let len = PREFIX_LENS.get(dice.below(PREFIX_LENS.len())).copied().unwrap_or(32);
            let net = Ipv4Net::new(host.into(), len).map(|net| net.trunc()).unwrap_or_default();
            rule.destinations = Some(vec![net.into()]);
            if dice.percent(55) {
                let port = PORTS.get(dice.below(PORTS.len())).copied().unwrap_or(443);
                rule.ports = Some(vec![PortRange::one(port)]);
            }
            let protocol = if dice.percent(50) { Protocol::TCP } else { Protocol::UDP };
            rule.protocols = Some(vec![protocol]);
            rule
        };
        Self { five_tuples: (0..count.max(2)).map(rule).collect() }
    }

    /// The compiled ruleset.
    ///
    /// # Errors
    /// More rules than can be numbered.
    pub fn compile(&self) -> Result<Policy, CompileFault> {
        let mut rules = self.five_tuples.clone();
        rules.extend(name_rules());
        let mut segments: Vec<SegmentSpec> = (0..PARTNERS).map(partner).collect();
        let mut workload = SegmentSpec::new("workload", SegmentKind::Workload);
        workload.networks = networks(["11.0.0.0/8", "172.24.0.0/13", "fd10::/16"]);
        segments.push(workload);
        let block = BlockSpec {
            location: String::new(),
            from: vec![Selector::Kind(SegmentKind::Partner)],
            to: vec![Selector::Kind(SegmentKind::Workload)],
            mode: Mode::Enforce,
            rules,
            otherwise: Action::Deny,
        };
        let spec = PolicySpec {
            segments,
            common: CommonEndpoints::None,
            policies: vec![block],
            ..PolicySpec::default()
        };
        Policy::compile(&spec, None)
    }

    /// The same rules where nobody's addresses are known beforehand, as for captures: everything is
    /// one segment, what the rules do not allow is asked for its name, and ten thousand names are
    /// denied.
    ///
    /// # Errors
    /// More rules than can be numbered.
    pub fn compile_anywhere(&self) -> Result<Policy, CompileFault> {
        let mut rules = self.five_tuples.clone();
        for mut rule in name_rules() {
            if rule.domains.is_some() || rule.dns.is_some() {
                rule.action = Action::Deny;
                rule.ports = None;
                rules.push(rule);
            }
        }
        let mut everywhere = SegmentSpec::new("everywhere", SegmentKind::Shared);
        everywhere.networks = networks(["0.0.0.0/0", "::/0"]);
        let block = BlockSpec {
            location: String::new(),
            from: vec![Selector::Any],
            to: vec![Selector::Any],
            mode: Mode::Enforce,
            rules,
            otherwise: Action::Allow,
        };
        let defaults = DefaultsSpec { midstream: Midstream::Allow, ..DefaultsSpec::default() };
        let spec = PolicySpec {
            segments: vec![everywhere],
            common: CommonEndpoints::Any,
            policies: vec![block],
            defaults,
        };
        Policy::compile(&spec, None)
    }

    /// The far side of a flow that one of the five-tuple rules of this protocol allows.
    #[must_use]
    pub fn destination(&self, protocol: Protocol, dice: &mut Dice) -> (Addr, u16) {
        for _ in 0..64 {
            let Some(rule) = self.five_tuples.get(dice.below(self.five_tuples.len())) else {
                break;
            };
            if rule.protocols.as_deref() != Some(&[protocol]) {
                continue;
            }
            let net = rule.destinations.as_deref().and_then(<[IpNet]>::first);
            let port = rule.ports.as_deref().and_then(<[PortRange]>::first);
            if let Some(net) = net {
                return (Addr::from(net.addr()), port.map_or(8080, |port| port.first));
            }
        }
        (Addr::v4([11, 0, 0, 1]), 8080)
    }

    /// The client's side of flow number `number`; different numbers, different flows.
    #[must_use]
    pub fn client(number: usize) -> (Addr, u16) {
        let [_, _, high, low] = u32::try_from(number & 0xffff).unwrap_or(0).to_be_bytes();
        let more = u8::try_from(number >> 16 & 3).unwrap_or(0);
        let port = u16::try_from(number >> 18).unwrap_or(0).wrapping_add(20_000);
        (Addr::v4([10, more, high, low]), port)
    }

    /// A flow that a five-tuple rule allows.
    #[must_use]
    pub fn flow(&self, number: usize, protocol: Protocol, dice: &mut Dice) -> FiveTuple {
        let (src, src_port) = Self::client(number);
        let (dst, dst_port) = self.destination(protocol, dice);
        FiveTuple { src, dst, src_port, dst_port, protocol }
    }
}

/// The endpoint of a partner.
#[must_use]
pub const fn endpoint(partner: usize) -> EndpointId {
    EndpointId(0x0a00_0000_0000_0000 | partner as u64)
}

/// A name the rules allow.
#[must_use]
pub fn name(number: usize) -> String {
    format!("api{}.payments{}.example", number % 10, number % NAMES)
}

/// A name they do not.
#[must_use]
pub fn other_name(number: usize) -> String {
    format!("api{number}.tracker.example")
}

fn networks<const N: usize>(texts: [&str; N]) -> Vec<IpNet> {
    texts.into_iter().filter_map(|text| text.parse().ok()).collect()
}

fn partner(number: usize) -> SegmentSpec {
    let mut segment = SegmentSpec::new(&format!("partner{number}"), SegmentKind::Partner);
    segment.endpoints = vec![endpoint(number)];
    if number == PARTNERS - 1 {
        segment.limits = LimitsSpec { flows: Some(FLOOD_FLOWS), ..LimitsSpec::default() };
    }
    segment
}

fn name_rules() -> Vec<RuleSpec> {
    let pattern = |number| NamePattern::parse(&format!(".payments{number}.example")).ok();
    let names = NameSet::build((0..NAMES).filter_map(pattern)).unwrap_or_default();
    let names = Arc::new(names);
    let rule = |id: &str, protocol, port| {
        let mut rule = RuleSpec::new(id, Action::Allow);
        rule.protocols = Some(vec![protocol]);
        rule.ports = Some(vec![PortRange::one(port)]);
        rule
    };
    let web = |id: &str, protocol, port| {
        let mut rule = rule(id, protocol, port);
        rule.domains = Some(Arc::clone(&names));
        rule
    };
    let mut questions = rule("dns", Protocol::UDP, 53);
    questions.dns = Some(Arc::clone(&names));
    let plain = rule("other", Protocol::TCP, 2222);
    vec![
        web("https", Protocol::TCP, 443),
        web("quic", Protocol::UDP, 443),
        web("http", Protocol::TCP, 80),
        questions,
        plain,
    ]
}
