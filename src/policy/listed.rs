//! A rule as it stands in the tables of the classifier: its number, what it does, and what its place
//! leaves open of ports and protocol. What it asks beyond that is the matcher's business.

use super::matcher::{Matcher, Probe};
use super::spec::PortRange;
use crate::model::{Action, FiveTuple, Protocol};

/// What is looked at of every rule that matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) action: Action,
    /// It asks for nothing but its five-tuple.
    pub(super) plain: bool,
}

/// A rule under a key, with what the key leaves open. Twelve bytes, so that it lies in half a cache line
/// with its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Listed {
    pub(super) rule: u32,
    first_port: u16,
    last_port: u16,
    protocol: Protocol,
    /// Which of [`PORTS`], [`PROTOCOL`] and [`MORE`] are asked for.
    asks: u8,
    pub(super) head: Head,
}

/// A destination port out of those noted.
const PORTS: u8 = 1;
/// The protocol noted.
const PROTOCOL: u8 = 2;
/// There is more to it than key, ports and protocol.
const MORE: u8 = 4;

impl Listed {
    /// Stands in a free place.
    pub(super) const NONE: Self = Self {
        rule: u32::MAX,
        first_port: 0,
        last_port: 0,
        protocol: Protocol(0),
        asks: 0,
        head: Head { action: Action::Deny, plain: false },
    };

    pub(super) const fn new(
        rule: u32,
        head: Head,
        ports: Option<PortRange>,
        protocol: Option<Protocol>,
        more: bool,
    ) -> Self {
        let mut listed = Self { rule, head, ..Self::NONE };
        if let Some(range) = ports {
            (listed.first_port, listed.last_port) = (range.first, range.last);
            listed.asks |= PORTS;
        }
        if let Some(protocol) = protocol {
            listed.protocol = protocol;
            listed.asks |= PROTOCOL;
        }
        if more {
            listed.asks |= MORE;
        }
        listed
    }

    /// The order in which rules stand under a key; those of one rule are told apart too.
    pub(super) const fn order(&self) -> (u32, u16, u16, u8, u8) {
        (self.rule, self.first_port, self.last_port, self.protocol.0, self.asks)
    }

    /// Whether it matches a probe that meets its key.
    #[inline]
    pub(super) fn matches(&self, matchers: &[Matcher], probe: Probe<'_>) -> bool {
        self.may_match(probe.tuple) && (!self.asks_more() || self.matches_more(matchers, probe))
    }

    /// Whether there is more to it than key, ports and protocol.
    #[inline(always)]
    pub(super) const fn asks_more(&self) -> bool {
        self.asks & MORE != 0
    }

    /// Whether all that it asks for is met.
    pub(super) fn matches_more(&self, matchers: &[Matcher], probe: Probe<'_>) -> bool {
        matchers.get(self.rule as usize).is_some_and(|rule| rule.matches(probe))
    }

    /// Whether ports and protocol are met. Without branches: what it asks for is as good as random.
    #[inline(always)]
    pub(super) const fn may_match(&self, tuple: &FiveTuple) -> bool {
        let (port, asked) = (tuple.dst_port, tuple.protocol.0);
        let has_ports = (asked == Protocol::TCP.0) | (asked == Protocol::UDP.0);
        let inside = (self.first_port <= port) & (port <= self.last_port);
        let ports = (self.asks & PORTS == 0) | (has_ports & inside);
        let protocol = (self.asks & PROTOCOL == 0) | (asked == self.protocol.0);
        ports & protocol
    }
}
