//! What a rule asks of a flow, dimension by dimension: a rule is a box in the space of all flows
//! whose facts are settled. The dimensions and their numbers are defined here.

use super::languages::{Languages, Mark, SetId};
use super::ranges::Ranges;
use crate::model::{Action, Addr};
use crate::policy::spec::{Answer, AppMatch, DefaultsSpec, PortRange, RuleSpec};
use ipnet::IpNet;
use std::collections::HashMap;

/// The dimensions that are numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Dimension {
    /// Days since 1970-01-01.
    Day,
    /// IP protocol number.
    Protocol,
    /// Destination address, IPv4 in its mapped form.
    Destination,
    /// Destination port, or [`NO_PORT`].
    Port,
    /// Source address.
    Source,
    /// Source port, or [`NO_PORT`].
    SourcePort,
    /// ICMP type and code as one number, or [`NO_PORT`].
    Icmp,
    /// One of the `APP_` numbers, or [`MISSED`].
    App,
    /// TLS version as on the wire, [`ABSENT`] or [`MISSED`].
    Version,
    /// Number of a fingerprint, or a mark.
    Ja4,
    /// Number of the client certificate's issuer, or a mark.
    Issuer,
    /// Number of the client certificate's sum, or a mark.
    Sha256,
    /// 1 if the destination was answered for the name, 0 if not, or a mark.
    Bound,
    /// 1 if the client's certificate is in date, 0 if not, or a mark.
    InDate,
    /// Number of the API an HTTP request names, or a mark.
    ApiId,
    /// The address a DNS answer leads to; [`HIDDEN`] while only the question is there.
    Answer,
}

impl Dimension {
    /// Those that facts have, names left out.
    pub const OF_FACTS: [Self; 9] = [
        Self::App,
        Self::Version,
        Self::Ja4,
        Self::Issuer,
        Self::Sha256,
        Self::Bound,
        Self::InDate,
        Self::ApiId,
        Self::Answer,
    ];
}

/// How many dimensions are numbers.
pub(super) const NUMBERS: usize = 16;

/// The dimensions that are names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NameDimension {
    /// Alternative names of the client's certificate.
    San,
    /// The name of a DNS question.
    Question,
    /// The name the client asks for.
    Domain,
}

impl NameDimension {
    /// All of them, in the order in which they are looked at.
    pub const ALL: [Self; 3] = [Self::San, Self::Question, Self::Domain];
}

/// The port of protocols without ports, the ICMP type of others.
pub const NO_PORT: u128 = 65_536;
/// TLS over a stream.
pub const APP_TLS: u128 = 0;
/// QUIC.
pub const APP_QUIC: u128 = 1;
/// HTTP in clear text.
pub const APP_HTTP: u128 = 2;
/// DNS.
pub const APP_DNS: u128 = 3;
/// A protocol without names.
pub const APP_OTHER: u128 = 4;
/// A fact known not to exist.
pub const ABSENT: u128 = 1 << 40;
/// A fact the protocol hides.
pub const HIDDEN: u128 = ABSENT + 1;
/// A fact whose bytes passed unseen.
pub const MISSED: u128 = ABSENT + 2;
/// A value that no rule lists.
pub const UNLISTED: u128 = ABSENT + 3;
/// Listed values have numbers below this.
const LISTED_LIMIT: u128 = 1 << 32;

/// Every value of a kind, listed by some rule or not.
pub(super) fn any_value() -> Ranges {
    Ranges::of([(0, LISTED_LIMIT - 1), (UNLISTED, UNLISTED)])
}

/// Every address of IPv4, in the mapped form.
#[must_use]
pub fn ipv4() -> Ranges {
    Ranges::span(0xffff_0000_0000, 0xffff_ffff_ffff)
}

/// Every address of IPv6.
#[must_use]
pub fn ipv6() -> Ranges {
    Ranges::span(0, u128::MAX).without(&ipv4())
}

/// The addresses of networks; an IPv6 network never holds an IPv4 address.
#[must_use]
pub fn addresses<'a>(nets: impl IntoIterator<Item = &'a IpNet>) -> Ranges {
    let (mut v4, mut v6) = (Vec::new(), Vec::new());
    for net in nets {
        let ends = (Addr::from(net.network()).bits(), Addr::from(net.broadcast()).bits());
        match net {
            IpNet::V4(_) => v4.push(ends),
            IpNet::V6(_) => v6.push(ends),
        }
    }
    let v4 = Ranges::of(v4);
    if v6.is_empty() { v4 } else { v4.or(&Ranges::of(v6).and(&ipv6())) }
}

/// The addresses a DNS answer may lead to. The marks stand for a few addresses that no host has
/// (RFC 4291 section 2.5: within `::/8`), which are left out.
#[must_use]
pub(super) fn answers<'a>(nets: impl IntoIterator<Item = &'a IpNet>) -> Ranges {
    addresses(nets).without(&Ranges::span(ABSENT, UNLISTED))
}

/// Port ranges as numbers.
#[must_use]
pub fn ports(list: &[PortRange]) -> Ranges {
    Ranges::of(list.iter().map(|range| (range.first.into(), range.last.into())))
}

/// Everything rules ask for by value: sets of names and listed texts, each with its number.
#[derive(Debug, Default)]
pub struct Values {
    /// Sets of names.
    pub languages: Languages,
    numbers: HashMap<Vec<u8>, u128>,
    listed: Vec<Vec<u8>>,
}

impl Values {
    /// The number of a listed value.
    fn number(&mut self, value: &[u8]) -> u128 {
        if let Some(&number) = self.numbers.get(value) {
            return number;
        }
        let number = self.listed.len() as u128;
        self.listed.push(value.to_vec());
        self.numbers.insert(value.to_vec(), number);
        number
    }

    /// Whether some rule lists a value.
    #[must_use]
    pub(super) fn lists(&self, value: &[u8]) -> bool {
        self.numbers.contains_key(value)
    }

    /// A listed value by its number.
    #[must_use]
    pub fn listed(&self, number: u128) -> Option<&[u8]> {
        self.listed.get(usize::try_from(number).ok()?).map(Vec::as_slice)
    }
}

/// What a rule asks of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NameAsk {
    /// It must be in this set.
    pub set: SetId,
    /// Met by a name that is hidden.
    pub hidden: bool,
    /// Met by a name that was missed.
    pub missed: bool,
    mark: Mark,
}

impl NameAsk {
    fn new(set: SetId, hidden: bool, missed: bool, languages: &Languages) -> Self {
        Self { set, hidden, missed, mark: languages.mark(set) }
    }

    /// The same, of another set.
    #[must_use]
    pub fn within(self, set: SetId, languages: &Languages) -> Self {
        Self::new(set, self.hidden, self.missed, languages)
    }

    /// Whether what is known of both sets leaves a name, or none, that meets both.
    const fn may_meet(&self, other: &Self) -> bool {
        let unseen = self.hidden && other.hidden || self.missed && other.missed;
        unseen || self.mark.meets(other.mark)
    }
}

/// What a rule asks; a dimension left out is met by everything.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Asks {
    numbers: [Option<Ranges>; NUMBERS],
    names: [Option<NameAsk>; 3],
}

impl Asks {
    /// Those of a rule under the defaults of its ruleset.
    #[must_use]
    pub fn new(rule: &RuleSpec, defaults: &DefaultsSpec, values: &mut Values) -> Self {
        let mut asks = Self::default();
        asks.set(Dimension::Day, rule.expires.map(|day| Ranges::span(0, day.into())));
        asks.set(
            Dimension::Protocol,
            rule.protocols
                .as_ref()
                .map(|list| Ranges::of(list.iter().map(|p| (u128::from(p.0), u128::from(p.0))))),
        );
        asks.set(Dimension::Destination, rule.destinations.as_ref().map(addresses));
        asks.set(Dimension::Source, rule.sources.as_ref().map(addresses));
        asks.set(Dimension::Port, rule.ports.as_deref().map(ports));
        asks.set(Dimension::SourcePort, rule.source_ports.as_deref().map(ports));
        asks.set(
            Dimension::Icmp,
            rule.icmp.as_ref().map(|list| {
                Ranges::of(list.iter().map(|want| {
                    let kind = u128::from(want.kind) << 8;
                    want.code.map_or((kind, kind | 0xff), |code| {
                        (kind | u128::from(code), kind | u128::from(code))
                    })
                }))
            }),
        );
        asks.facts(rule, defaults, values);
        asks
    }

    fn facts(&mut self, rule: &RuleSpec, defaults: &DefaultsSpec, values: &mut Values) {
        let leans = |answer: Answer| (answer == Answer::Allow) == (rule.action == Action::Allow);
        let missed = leans(rule.midstream);
        // Names hidden by Encrypted ClientHello lean towards denial.
        let hidden_name = leans(Answer::Deny);
        let hidden_certificate = leans(defaults.client_certificate_not_visible);
        let or_missed =
            |ranges: Ranges| if missed { ranges.or(&Ranges::one(MISSED)) } else { ranges };
        let app = rule.app.map(|app| {
            Ranges::one(match app {
                AppMatch::Tls => APP_TLS,
                AppMatch::Quic => APP_QUIC,
                AppMatch::Http => APP_HTTP,
                AppMatch::Dns => APP_DNS,
            })
        });
        self.set(Dimension::App, app.map(or_missed));
        let version = rule.tls.min_version.map(|least| Ranges::span(least.0.into(), 0xffff));
        self.set(Dimension::Version, version.map(or_missed));
        let mut numbers = |list: &mut dyn Iterator<Item = &[u8]>| {
            let numbers: Vec<u128> = list.map(|value| values.number(value)).collect();
            Ranges::of(numbers.into_iter().map(|n| (n, n)))
        };
        let ja4 = rule.tls.ja4.as_ref().map(|list| numbers(&mut list.iter().map(|ja4| &ja4.0[..])));
        self.set(Dimension::Ja4, ja4.map(or_missed));
        let apis = rule.api_ids.as_ref();
        let apis = apis.map(|list| numbers(&mut list.iter().map(|id| id.as_str().as_bytes())));
        self.set(Dimension::ApiId, apis.map(or_missed));
        let answered = rule.answers.as_ref().map(|nets| {
            let within = or_missed(answers(nets));
            // A question is judged as if its answer will be well.
            if leans(Answer::Allow) { within.or(&Ranges::one(HIDDEN)) } else { within }
        });
        self.set(Dimension::Answer, answered);
        if let Some(wanted) = &rule.tls.client_certificate {
            let shown = any_value();
            let seen = |ranges: Ranges| {
                let hidden = Ranges::one(HIDDEN);
                or_missed(if hidden_certificate { ranges.or(&hidden) } else { ranges })
            };
            let issuers =
                wanted.issuers.as_ref().map(|list| numbers(&mut list.iter().map(String::as_bytes)));
            let sums = wanted.sha256.as_ref().map(|list| numbers(&mut list.iter().map(|s| &s[..])));
            self.set(Dimension::Issuer, Some(seen(issuers.unwrap_or_else(|| shown.clone()))));
            self.set(Dimension::Sha256, Some(seen(sums.unwrap_or(shown))));
            let in_date = wanted.in_date.then(|| seen(Ranges::one(1)));
            self.set(Dimension::InDate, in_date);
            self.names[NameDimension::San as usize] = wanted.names.as_ref().map(|list| {
                let set = values.languages.texts(list);
                NameAsk::new(set, hidden_certificate, missed, &values.languages)
            });
        }
        let bound = rule.bind_dns.then(|| {
            let bound = or_missed(Ranges::one(1));
            if hidden_name { bound.or(&Ranges::one(HIDDEN)) } else { bound }
        });
        self.set(Dimension::Bound, bound);
        let mut names = |set, hidden| {
            let set = values.languages.names(set);
            NameAsk::new(set, hidden, missed, &values.languages)
        };
        self.names[NameDimension::Question as usize] =
            rule.dns.as_ref().map(|set| names(set, false));
        self.names[NameDimension::Domain as usize] =
            rule.domains.as_ref().map(|set| names(set, hidden_name));
    }

    /// What is asked of a number.
    #[must_use]
    pub fn number(&self, dimension: Dimension) -> Option<&Ranges> {
        self.numbers.get(dimension as usize).and_then(Option::as_ref)
    }

    /// Asks for something else of a number, or no longer for anything.
    pub fn set(&mut self, dimension: Dimension, ranges: Option<Ranges>) {
        if let Some(slot) = self.numbers.get_mut(dimension as usize) {
            *slot = ranges;
        }
    }

    /// What is asked of a name.
    #[must_use]
    pub fn name(&self, dimension: NameDimension) -> Option<&NameAsk> {
        self.names.get(dimension as usize).and_then(Option::as_ref)
    }

    /// Asks for something else of a name.
    pub fn set_name(&mut self, dimension: NameDimension, ask: Option<NameAsk>) {
        if let Some(slot) = self.names.get_mut(dimension as usize) {
            *slot = ask;
        }
    }

    /// Whether numbers, and marks of names, leave flows that meet both rules.
    #[must_use]
    pub fn may_meet(&self, other: &Self) -> bool {
        let names = self.names.iter().zip(&other.names).all(|pair| match pair {
            (Some(own), Some(other)) => own.may_meet(other),
            _ => true,
        });
        names
            && self.numbers.iter().zip(&other.numbers).all(|pair| match pair {
                (Some(own), Some(other)) => own.meets(other),
                _ => true,
            })
    }

    /// Everything that is asked of numbers.
    pub(super) fn numbers(&self) -> &[Option<Ranges>; NUMBERS] {
        &self.numbers
    }

    /// Whether only the five-tuple and the ICMP type are asked for.
    #[must_use]
    pub fn is_static(&self) -> bool {
        let mut facts = Dimension::OF_FACTS.iter().chain(&[Dimension::Day]);
        facts.all(|d| self.number(*d).is_none()) && self.names.iter().all(Option::is_none)
    }
}
