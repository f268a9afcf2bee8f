//! A rule of this language in the making: what it asks for, and whether it and another meet. Knows
//! nothing of what it was made from.

use crate::model::{Action, Protocol};
use crate::policy::spec::PortRange;
use ipnet::IpNet;

/// A rule of this language in the making.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    /// What it asks for.
    pub action: Action,
    /// Any of these; none is every one.
    pub protocols: Option<Vec<Protocol>>,
    /// Source addresses.
    pub source: Side<IpNet>,
    /// Source ports.
    pub source_port: Side<PortRange>,
    /// Destination addresses.
    pub destination: Side<IpNet>,
    /// Destination ports.
    pub destination_port: Side<PortRange>,
    /// ICMP types as the language writes them.
    pub icmp: Vec<String>,
    /// Application protocol.
    pub app: Option<&'static str>,
    /// Names asked for.
    pub domains: Vec<String>,
    /// Names in DNS questions.
    pub dns: Vec<String>,
    /// Fingerprints.
    pub ja4: Vec<String>,
}

/// One expression of the header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Side<T> {
    /// The variable it is, without `$`, if it is nothing else.
    pub variable: Option<String>,
    /// What it stands for; none is everything.
    pub values: Option<Vec<T>>,
}

impl Draft {
    /// Whether it can be decided by a flow's first packet.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.app.is_none() && self.domains.is_empty() && self.dns.is_empty() && self.ja4.is_empty()
    }

    /// Refuses what can never be true, as the rule language does.
    pub(super) fn consistent(&mut self) -> Result<(), String> {
        const ICMP: &[Protocol] = &[Protocol::ICMP, Protocol::ICMPV6];
        const PORTS: &[Protocol] = &[Protocol::TCP, Protocol::UDP];
        if !self.icmp.is_empty() && self.protocols.is_none() {
            self.protocols = Some(ICMP.to_vec());
        }
        let Some(protocols) = &self.protocols else { return Ok(()) };
        let all = |of: &[Protocol]| protocols.iter().all(|protocol| of.contains(protocol));
        let some = |of: &[Protocol]| protocols.iter().any(|protocol| of.contains(protocol));
        let has_ports = self.source_port.values.is_some() || self.destination_port.values.is_some();
        let app = match self.app {
            Some("tls" | "http") => some(&[Protocol::TCP]),
            Some("quic") => some(&[Protocol::UDP]),
            _ => self.is_plain() || some(PORTS),
        };
        match () {
            () if !self.icmp.is_empty() && !all(ICMP) => Err("`itype` goes with icmp only".into()),
            () if has_ports && !all(PORTS) => Err("ports go with tcp and udp only".into()),
            () if !app => Err("its IP protocol never carries what it asks for".into()),
            () => Ok(()),
        }
    }

    /// The same for flows opened the other way.
    pub(super) fn mirrored(&self) -> Self {
        Self {
            source: self.destination.clone(),
            source_port: self.destination_port.clone(),
            destination: self.source.clone(),
            destination_port: self.source_port.clone(),
            ..self.clone()
        }
    }

    /// Whether some flow's headers meet both.
    #[must_use]
    pub fn meets(&self, other: &Self) -> bool {
        let protocols = match (&self.protocols, &other.protocols) {
            (Some(own), Some(theirs)) => own.iter().any(|protocol| theirs.contains(protocol)),
            _ => true,
        };
        let nets = |own: &Side<IpNet>, theirs: &Side<IpNet>| match (&own.values, &theirs.values) {
            (Some(own), Some(theirs)) => own
                .iter()
                .any(|net| theirs.iter().any(|other| net.contains(other) || other.contains(net))),
            _ => true,
        };
        let ports =
            |own: &Side<PortRange>, theirs: &Side<PortRange>| match (&own.values, &theirs.values) {
                (Some(own), Some(theirs)) => own.iter().any(|range| {
                    theirs
                        .iter()
                        .any(|other| range.first <= other.last && other.first <= range.last)
                }),
                _ => true,
            };
        protocols
            && nets(&self.source, &other.source)
            && nets(&self.destination, &other.destination)
            && ports(&self.source_port, &other.source_port)
            && ports(&self.destination_port, &other.destination_port)
    }
}
