//! From what was seen to rules: asks that differ in one thing become one rule with a list. A rule
//! is always a product (ports by destinations by names) of which every combination was seen, unless
//! a note on it says otherwise. Writes no text.

use super::tally::{APIS_MAX, Ask, Tally};
use crate::model::{Action, Addr, Protocol, TlsVersion};
use crate::policy::spec::{AppMatch, SegmentKind};
use crate::prove::yaml::list;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// Beyond so many networks the destinations of a rule with names are left to the segment.
pub const NAMED_NETWORKS_MAX: usize = 32;
/// Beyond so many rules that differ in destinations only, destinations are left to the segment.
pub const NAMED_RULES_MAX: usize = 32;
/// Beyond so many networks a rule without names takes the whole segment.
pub const PLAIN_NETWORKS_MAX: usize = 1024;
/// Beyond so many rules without names of one protocol they are made one.
pub const PLAIN_RULES_MAX: usize = 128;

/// A rule asks for no lower version than this: lower ones are no protection worth asking for.
const TLS_1_2: TlsVersion = TlsVersion(0x0303);
const TLS_1_3: TlsVersion = TlsVersion(0x0304);

/// A policy.
#[derive(Clone, Debug)]
pub struct Draft {
    /// The segment that asks.
    pub from: String,
    /// The segment that is asked.
    pub to: String,
    /// In order.
    pub rules: Vec<DraftRule>,
}

/// A rule.
#[derive(Clone, Debug)]
pub struct DraftRule {
    /// Unique over the suggestion.
    pub id: String,
    /// Allow; deny for the rule that keeps names out of a rule without names.
    pub action: Action,
    /// One of these.
    pub protocols: Vec<Protocol>,
    /// One of these; none where the protocol has no ports.
    pub ports: Vec<u16>,
    /// One of these; none is the whole segment.
    pub destinations: Option<Vec<IpNet>>,
    /// One of these types and codes; none where the protocol is not ICMP.
    pub icmp: Vec<(u8, u8)>,
    /// The application protocol.
    pub app: Option<AppMatch>,
    /// The lowest TLS version that was seen, where it was in every flow.
    pub min_version: Option<TlsVersion>,
    /// Which names it asks for.
    pub names: RuleNames,
    /// How often its flows were seen; none for the rule that denies.
    pub tally: Option<Tally>,
    /// What somebody should know.
    pub notes: Vec<String>,
}

/// The names a rule asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RuleNames {
    /// None.
    No,
    /// Any name at all.
    Any,
    /// The names clients ask servers for.
    Domains(Vec<(Box<str>, Tally)>),
    /// Names in DNS questions.
    Questions(Vec<(Box<str>, Tally)>),
}

type Seen<'a> = (&'a Ask, &'a Tally);
type Hosts = (BTreeSet<Addr>, Option<Tally>);
type PortSum = (BTreeSet<u16>, Option<Tally>);
type Messages = BTreeSet<(u8, u8)>;

/// The rules for one ordered pair of segments.
#[must_use]
pub fn rules(asks: &[Seen<'_>], to: SegmentKind) -> Vec<DraftRule> {
    let mut rules = named(asks, to);
    let plain = plain(asks, &rules);
    for rule in plain {
        rules.extend(guards(&rule, &rules));
        rules.push(rule);
    }
    rules.extend(icmp(asks));
    rules.extend(others(asks));
    rules
}

/// What a name was asked for as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Kind {
    question: bool,
    app: Option<AppMatch>,
    protocol: Protocol,
}

/// Where a name was asked for: these ports of these hosts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    kind: Kind,
    hosts: Option<BTreeSet<Addr>>,
    ports: BTreeSet<u16>,
}

fn named(asks: &[Seen<'_>], to: SegmentKind) -> Vec<DraftRule> {
    let mut labels: BTreeMap<(Kind, &str), Ports> = BTreeMap::new();
    for (ask, tally) in asks {
        let kind = |question| Kind { question, app: app_of(ask, question), protocol: ask.protocol };
        let domains = ask.names.iter().map(|name| (kind(false), name));
        for (kind, name) in domains.chain(ask.questions.iter().map(|name| (kind(true), name))) {
            let ports = labels.entry((kind, name)).or_default();
            ports.note(ask, tally);
        }
    }
    put_together(&mut labels);
    // Only one's own machines are known by their addresses; elsewhere they change under a name.
    let by_host = to == SegmentKind::Workload;
    let mut places = places(&labels, by_host);
    if places.len() > NAMED_RULES_MAX {
        places = self::places(&labels, false);
    }
    merge_protocols(places)
        .into_iter()
        .map(|(protocols, place, names)| named_rule(protocols, &place, names, by_host))
        .collect()
}

/// A name that must be allowed whatever the protocol needs no rule for one protocol besides.
fn put_together(labels: &mut BTreeMap<(Kind, &str), Ports>) {
    let narrow: Vec<(Kind, &str)> = labels
        .keys()
        .filter(|(kind, name)| {
            kind.app.is_some() && labels.contains_key(&(Kind { app: None, ..*kind }, *name))
        })
        .copied()
        .collect();
    for (kind, name) in narrow {
        let Some(ports) = labels.remove(&(kind, name)) else { continue };
        let Some(wide) = labels.get_mut(&(Kind { app: None, ..kind }, name)) else { continue };
        for (port, (hosts, tally)) in ports.0 {
            let (all, sum) = wide.0.entry(port).or_default();
            all.extend(hosts);
            *sum = plus(sum.take(), tally.as_ref());
        }
    }
}

/// Where one name was asked for: hosts and tally by port.
#[derive(Default)]
struct Ports(BTreeMap<u16, Hosts>);

impl Ports {
    fn note(&mut self, ask: &Ask, tally: &Tally) {
        let (hosts, sum) = self.0.entry(ask.port).or_default();
        hosts.insert(ask.destination);
        *sum = Some(sum.as_ref().map_or_else(|| tally.clone(), |sum| sum.with(tally)));
    }
}

type Names = Vec<(Box<str>, Tally)>;

/// Names by place; a name that was asked for on different hosts by port has several places.
fn places(labels: &BTreeMap<(Kind, &str), Ports>, by_host: bool) -> BTreeMap<Place, Names> {
    let mut places: BTreeMap<Place, Names> = BTreeMap::new();
    for ((kind, name), ports) in labels {
        let mut by_hosts: BTreeMap<Option<&BTreeSet<Addr>>, PortSum> = BTreeMap::new();
        for (port, (hosts, tally)) in &ports.0 {
            let (ports, sum) = by_hosts.entry(by_host.then_some(hosts)).or_default();
            ports.insert(*port);
            *sum = plus(sum.take(), tally.as_ref());
        }
        for (hosts, (ports, tally)) in by_hosts {
            let Some(tally) = tally else { continue };
            let place = Place { kind: *kind, hosts: hosts.cloned(), ports };
            places.entry(place).or_default().push(((*name).into(), tally));
        }
    }
    places
}

fn plus(sum: Option<Tally>, more: Option<&Tally>) -> Option<Tally> {
    match (sum, more) {
        (Some(sum), Some(more)) => Some(sum.with(more)),
        (sum, more) => sum.or_else(|| more.cloned()),
    }
}

/// DNS over UDP and over TCP for the same names is one rule.
fn merge_protocols(places: BTreeMap<Place, Names>) -> Vec<(Vec<Protocol>, Place, Names)> {
    let mut merged: Vec<(Vec<Protocol>, Place, Names)> = Vec::new();
    for (place, names) in places {
        let same = |(_, other, theirs): &&mut (Vec<Protocol>, Place, Names)| {
            place.kind.question
                && other.kind.question
                && other.ports == place.ports
                && other.hosts == place.hosts
                && theirs.iter().map(|(name, _)| name).eq(names.iter().map(|(name, _)| name))
        };
        if let Some((protocols, _, theirs)) = merged.iter_mut().find(same) {
            protocols.push(place.kind.protocol);
            for ((_, tally), (_, more)) in theirs.iter_mut().zip(&names) {
                *tally = tally.with(more);
            }
        } else {
            merged.push((vec![place.kind.protocol], place, names));
        }
    }
    merged
}

fn named_rule(protocols: Vec<Protocol>, place: &Place, names: Names, by_host: bool) -> DraftRule {
    let mut notes = Vec::new();
    let destinations = place.hosts.as_ref().map(networks);
    let destinations = destinations.filter(|list| list.len() <= NAMED_NETWORKS_MAX);
    if by_host && destinations.is_none() {
        notes.push("many destinations were seen; the name alone decides".to_owned());
    }
    let tally = names.iter().fold(None, |sum, (_, tally)| plus(sum, Some(tally)));
    notes.extend(
        tally.iter().flat_map(|tally| [certificate_note(tally), api_note(tally)]).flatten(),
    );
    let known = tally.as_ref().and_then(|t| t.versions.filter(|(flows, _)| *flows == t.flows));
    // Drafts of TLS 1.3 have numbers of their own, which no rule can ask for.
    let min_version = known.map(|(_, version)| version).filter(|version| {
        place.kind.app == Some(AppMatch::Tls) && (TLS_1_2..=TLS_1_3).contains(version)
    });
    DraftRule {
        id: String::new(),
        action: Action::Allow,
        protocols,
        ports: place.ports.iter().copied().collect(),
        destinations,
        icmp: Vec::new(),
        app: place.kind.app,
        min_version,
        names: if place.kind.question {
            RuleNames::Questions(names)
        } else {
            RuleNames::Domains(names)
        },
        tally,
        notes,
    }
}

/// What all flows have in common besides their names, and how a rule would ask for it. Whether it is
/// meant or happened so is for somebody to say.
fn certificate_note(tally: &Tally) -> Option<String> {
    let flows = tally.flows;
    if tally.certificates == 0 || tally.certificates != flows {
        return None;
    }
    let (valid, asks) = if tally.in_date == flows {
        (" that was in date", "{ in_date: true }")
    } else {
        ("", "required")
    };
    Some(format!(
        "the client showed a certificate{valid} in all {flows} flows; `tls: {{ client_certificate: \
         {asks} }}` would ask for it"
    ))
}

fn api_note(tally: &Tally) -> Option<String> {
    let flows = tally.flows;
    if tally.named_apis == 0 || tally.named_apis != flows || tally.apis.len() > APIS_MAX {
        return None;
    }
    let apis = list(&tally.apis);
    Some(format!("requests named an API in all {flows} flows; `api_id: {apis}` would ask for it"))
}

/// The protocol a rule may ask for besides the name; DNS questions need none.
fn app_of(ask: &Ask, question: bool) -> Option<AppMatch> {
    let app = match ask.app.as_deref() {
        Some("tls") if ask.protocol == Protocol::TCP => AppMatch::Tls,
        Some("http") if ask.protocol == Protocol::TCP => AppMatch::Http,
        Some("quic") if ask.protocol == Protocol::UDP => AppMatch::Quic,
        _ => return None,
    };
    (!question).then_some(app)
}

/// Rules for flows that asked for no name.
fn plain(asks: &[Seen<'_>], named: &[DraftRule]) -> Vec<DraftRule> {
    let mut rules = Vec::new();
    let mut groups: BTreeMap<(Protocol, Option<AppMatch>), Vec<Seen<'_>>> = BTreeMap::new();
    for &(ask, tally) in asks {
        let nameless = ask.behind || (ask.names.is_empty() && ask.questions.is_empty());
        if nameless && ask.protocol.has_ports() && !is_silent(ask, tally, named) {
            let group = (ask.protocol, app_of(ask, false));
            groups.entry(group).or_default().push((ask, tally));
        }
    }
    for ((protocol, app), seen) in groups {
        let mut by_host: BTreeMap<Addr, PortSum> = BTreeMap::new();
        for (ask, tally) in &seen {
            let (ports, sum) = by_host.entry(ask.destination).or_default();
            ports.insert(ask.port);
            *sum = plus(sum.take(), Some(tally));
        }
        let mut by_ports: BTreeMap<BTreeSet<u16>, Hosts> = BTreeMap::new();
        for (host, (ports, tally)) in by_host {
            let (hosts, sum) = by_ports.entry(ports).or_default();
            hosts.insert(host);
            *sum = plus(sum.take(), tally.as_ref());
        }
        rules.extend(plain_rules(protocol, app, by_ports));
    }
    rules
}

fn plain_rules(
    protocol: Protocol,
    app: Option<AppMatch>,
    mut by_ports: BTreeMap<BTreeSet<u16>, Hosts>,
) -> Vec<DraftRule> {
    let mut notes = Vec::new();
    if by_ports.len() > PLAIN_RULES_MAX {
        notes.push("too varied for rules of their own: wider than what was seen".to_owned());
        let (mut ports, mut hosts, mut sum) = (BTreeSet::new(), BTreeSet::new(), None);
        for (some_ports, (some_hosts, tally)) in std::mem::take(&mut by_ports) {
            ports.extend(some_ports);
            hosts.extend(some_hosts);
            sum = plus(sum, tally.as_ref());
        }
        by_ports.insert(ports, (hosts, sum));
    }
    if matches!(app, Some(AppMatch::Tls | AppMatch::Quic | AppMatch::Http)) {
        notes.push("no name was asked for: nothing says which service it is".to_owned());
    }
    let rule = |(ports, (hosts, tally)): (BTreeSet<u16>, Hosts)| {
        let mut notes = notes.clone();
        let destinations = Some(networks(&hosts)).filter(|list| list.len() <= PLAIN_NETWORKS_MAX);
        if destinations.is_none() {
            notes.push("too many destinations to list: wider than what was seen".to_owned());
        }
        DraftRule {
            id: String::new(),
            action: Action::Allow,
            protocols: vec![protocol],
            ports: ports.into_iter().collect(),
            destinations,
            icmp: Vec::new(),
            app,
            min_version: None,
            names: RuleNames::No,
            tally,
            notes,
        }
    };
    by_ports.into_iter().map(rule).collect()
}

/// Whether a connection brought no data, so that a rule with names for its place lets it pass: it
/// is never decided. A packet without data has at most 60 bytes, with IPv6 80: headers and the
/// options of a SYN.
fn is_silent(ask: &Ask, tally: &Tally, named: &[DraftRule]) -> bool {
    let bare = if ask.destination.is_v4() { 60 } else { 80 };
    ask.protocol == Protocol::TCP
        && ask.app.is_none()
        && !ask.behind
        && tally.bytes <= tally.packets.saturating_mul(bare)
        && named.iter().any(|rule| covers(rule, ask.protocol, ask.destination, ask.port))
}

fn covers(rule: &DraftRule, protocol: Protocol, host: Addr, port: u16) -> bool {
    let here = |nets: &Vec<IpNet>| nets.iter().any(|net| net.contains(&host.to_ip()));
    rule.protocols.contains(&protocol)
        && rule.ports.contains(&port)
        && rule.destinations.as_ref().is_none_or(here)
}

/// What must stand before a rule without names, so that it does not let every name pass.
fn guards(rule: &DraftRule, before: &[DraftRule]) -> Vec<DraftRule> {
    let meets = |other: &&DraftRule| {
        let ports = other.ports.iter().any(|port| rule.ports.contains(port));
        let protocol = other.protocols.iter().any(|p| rule.protocols.contains(p));
        let hosts = match (&other.destinations, &rule.destinations) {
            (Some(theirs), Some(ours)) => theirs
                .iter()
                .any(|net| ours.iter().any(|own| own.contains(net) || net.contains(own))),
            _ => true,
        };
        ports && protocol && hosts
    };
    let with_names = matches!(rule.app, Some(AppMatch::Tls | AppMatch::Quic | AppMatch::Http))
        || before.iter().filter(meets).any(|r| matches!(r.names, RuleNames::Domains(_)));
    let with_questions =
        before.iter().filter(meets).any(|r| matches!(r.names, RuleNames::Questions(_)));
    let guard = |names, app, note: &str| DraftRule {
        action: Action::Deny,
        names,
        app,
        min_version: None,
        tally: None,
        notes: vec![note.to_owned()],
        ..rule.clone()
    };
    let mut guards = Vec::new();
    if with_names {
        guards.push(guard(RuleNames::Any, None, "every name that is not listed above"));
    }
    if with_questions {
        let note = "every DNS question that is not listed above";
        guards.push(guard(RuleNames::No, Some(AppMatch::Dns), note));
    }
    guards
}

fn icmp(asks: &[Seen<'_>]) -> Vec<DraftRule> {
    let mut by_host: BTreeMap<(Protocol, Addr), (Messages, Option<Tally>)> = BTreeMap::new();
    for (ask, tally) in asks {
        let Some(message) = ask.icmp else { continue };
        let (types, sum) = by_host.entry((ask.protocol, ask.destination)).or_default();
        types.insert(message);
        *sum = plus(sum.take(), Some(tally));
    }
    let mut by_types: BTreeMap<(Protocol, Messages), Hosts> = BTreeMap::new();
    for ((protocol, host), (types, tally)) in by_host {
        let (hosts, sum) = by_types.entry((protocol, types)).or_default();
        hosts.insert(host);
        *sum = plus(sum.take(), tally.as_ref());
    }
    let rule = |((protocol, types), (hosts, tally)): ((Protocol, Messages), Hosts)| {
        bare(protocol, types.into_iter().collect(), &hosts, tally)
    };
    by_types.into_iter().map(rule).collect()
}

/// Protocols without ports and types.
fn others(asks: &[Seen<'_>]) -> Vec<DraftRule> {
    let mut by_protocol: BTreeMap<Protocol, Hosts> = BTreeMap::new();
    for (ask, tally) in asks {
        if ask.protocol.has_ports() || ask.icmp.is_some() {
            continue;
        }
        let (hosts, sum) = by_protocol.entry(ask.protocol).or_default();
        hosts.insert(ask.destination);
        *sum = plus(sum.take(), Some(tally));
    }
    let rule =
        |(protocol, (hosts, tally)): (Protocol, Hosts)| bare(protocol, Vec::new(), &hosts, tally);
    by_protocol.into_iter().map(rule).collect()
}

fn bare(
    protocol: Protocol,
    icmp: Vec<(u8, u8)>,
    hosts: &BTreeSet<Addr>,
    tally: Option<Tally>,
) -> DraftRule {
    let destinations = Some(networks(hosts)).filter(|list| list.len() <= PLAIN_NETWORKS_MAX);
    let wide = destinations.is_none();
    let note = "too many destinations to list: wider than what was seen".to_owned();
    DraftRule {
        id: String::new(),
        action: Action::Allow,
        protocols: vec![protocol],
        ports: Vec::new(),
        destinations,
        icmp,
        app: None,
        min_version: None,
        names: RuleNames::No,
        tally,
        notes: if wide { vec![note] } else { Vec::new() },
    }
}

/// Exactly these hosts as networks, neighbours put together.
fn networks(hosts: &BTreeSet<Addr>) -> Vec<IpNet> {
    let (mut v4, mut v6) = (Vec::new(), Vec::new());
    for host in hosts {
        match host.to_ip() {
            IpAddr::V4(addr) => v4.push(Ipv4Net::from(addr)),
            IpAddr::V6(addr) => v6.push(Ipv6Net::from(addr)),
        }
    }
    let v4 = Ipv4Net::aggregate(&v4).into_iter().map(IpNet::V4);
    v4.chain(Ipv6Net::aggregate(&v6).into_iter().map(IpNet::V6)).collect()
}
