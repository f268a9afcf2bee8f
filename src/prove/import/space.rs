//! Address and port expressions of Suricata: lists, ranges, negation, variables. Each becomes the
//! exact set it stands for, as networks and ranges of this language.

use crate::policy::spec::PortRange;
use ipnet::{IpNet, Ipv4Subnets, Ipv6Subnets};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Variables by name, without `$`.
pub type Variables = BTreeMap<String, String>;

/// Lists within lists and variables within variables.
const DEPTH_MAX: usize = 16;
/// Parts of all lists of one expression.
const PARTS_MAX: usize = 65_536;
/// Networks one expression may come to.
const NETWORKS_MAX: usize = 16_384;

/// IPv4 addresses stand before all IPv6 ones in one line of numbers of 129 bits, kept as a flag and
/// a number.
type Point = (bool, u128);
const V4_LAST: u128 = 0xffff_ffff;

/// Addresses: none is every one.
///
/// # Errors
/// What is wrong with the expression.
pub fn networks(text: &str, variables: &Variables) -> Result<Option<Vec<IpNet>>, String> {
    let mut parts = PARTS_MAX;
    let ranges = Reader { variables, parts: &mut parts, read: &address, all: &ALL_ADDRESSES }
        .expression(text, 0)?;
    if ranges == ALL_ADDRESSES {
        return Ok(None);
    }
    let mut networks = Vec::new();
    for ((v6, first), (_, last)) in ranges {
        if v6 {
            let subnets = Ipv6Subnets::new(Ipv6Addr::from(first), Ipv6Addr::from(last), 0);
            networks.extend(subnets.map(IpNet::V6));
        } else {
            let addr = |bits: u128| Ipv4Addr::from(u32::try_from(bits).unwrap_or(u32::MAX));
            networks.extend(Ipv4Subnets::new(addr(first), addr(last), 0).map(IpNet::V4));
        }
        if networks.len() > NETWORKS_MAX {
            return Err(format!("`{text}` comes to more than {NETWORKS_MAX} networks"));
        }
    }
    if networks.is_empty() {
        Err(format!("`{text}` stands for no address"))
    } else {
        Ok(Some(networks))
    }
}

/// Ports: none is every one.
///
/// # Errors
/// What is wrong with the expression.
pub fn ports(text: &str, variables: &Variables) -> Result<Option<Vec<PortRange>>, String> {
    let mut parts = PARTS_MAX;
    let ranges = Reader { variables, parts: &mut parts, read: &port, all: &ALL_PORTS }
        .expression(text, 0)?;
    if ranges == ALL_PORTS {
        return Ok(None);
    }
    let number = |(_, bits): Point| u16::try_from(bits).unwrap_or(u16::MAX);
    let ports: Vec<PortRange> = ranges
        .into_iter()
        .map(|(first, last)| PortRange { first: number(first), last: number(last) })
        .collect();
    if ports.is_empty() { Err(format!("`{text}` stands for no port")) } else { Ok(Some(ports)) }
}

type Ranges = Vec<(Point, Point)>;
const ALL_ADDRESSES: [(Point, Point); 2] =
    [((false, 0), (false, V4_LAST)), ((true, 0), (true, u128::MAX))];
const ALL_PORTS: [(Point, Point); 1] = [((false, 0), (false, 65_535))];

type ReadRange = dyn Fn(&str) -> Result<(Point, Point), String>;

struct Reader<'a> {
    variables: &'a Variables,
    /// How many parts may still come.
    parts: &'a mut usize,
    read: &'a ReadRange,
    all: &'a [(Point, Point)],
}

impl Reader<'_> {
    fn expression(&mut self, text: &str, depth: usize) -> Result<Ranges, String> {
        let text = text.trim();
        *self.parts = self.parts.checked_sub(1).ok_or("the list is too long")?;
        if depth > DEPTH_MAX {
            return Err(format!("`{text}` is nested deeper than {DEPTH_MAX}"));
        }
        let deeper = depth.saturating_add(1);
        if let Some(rest) = text.strip_prefix('!') {
            let ranges = self.expression(rest, deeper)?;
            return Ok(minus(self.all_like(&ranges), &ranges));
        }
        if let Some(name) = text.strip_prefix(['$', '@']) {
            let found = self.variables.get(name).cloned();
            let value = found.ok_or_else(|| {
                format!("`{text}` is not known; give it with --var {name}=10.0.0.0/8")
            })?;
            return self.expression(&value, deeper);
        }
        if let Some(rest) = text.strip_prefix('[') {
            let inside = rest.strip_suffix(']').ok_or_else(|| format!("`{text}` has no `]`"))?;
            return self.list(inside, deeper);
        }
        match text {
            "" => Err("a part of a list is empty".into()),
            "any" | "ANY" | "Any" => Ok(self.all.to_vec()),
            _ if text.contains(',') => self.list(text, deeper),
            _ => (self.read)(text).map(|range| vec![range]),
        }
    }

    /// All there is of the families of addresses in `ranges`: Suricata takes `!10.0.0.0/8` for all other
    /// IPv4 addresses, and for no IPv6 address.
    fn all_like(&self, ranges: &Ranges) -> Ranges {
        let named = |v6: bool| ranges.iter().any(|((family, _), _)| *family == v6);
        self.all.iter().copied().filter(|((v6, _), _)| named(*v6)).collect()
    }

    /// What is in the list, without what is negated in it. Only negated parts mean all but those.
    fn list(&mut self, text: &str, depth: usize) -> Result<Ranges, String> {
        let (mut with, mut without) = (Vec::new(), Vec::new());
        let mut positive = false;
        for part in split(text)? {
            match part.trim().strip_prefix('!') {
                Some(rest) => without.extend(self.expression(rest, depth)?),
                None => {
                    positive = true;
                    with.extend(self.expression(&part, depth)?);
                }
            }
        }
        let with = if positive { joined(with) } else { self.all_like(&without) };
        Ok(minus(with, &joined(without)))
    }
}

/// Parts between commas that are in no bracket.
fn split(text: &str) -> Result<Vec<String>, String> {
    let mut parts = vec![String::new()];
    let mut depth = 0_usize;
    for c in text.chars() {
        match c {
            '[' => depth = depth.saturating_add(1),
            ']' => depth = depth.checked_sub(1).ok_or("a `]` too many")?,
            ',' if depth == 0 => {
                parts.push(String::new());
                continue;
            }
            _ => {}
        }
        if let Some(part) = parts.last_mut() {
            part.push(c);
        }
    }
    if depth == 0 { Ok(parts) } else { Err("a `]` is missing".into()) }
}

/// In order, overlapping and touching ranges made one.
fn joined(mut ranges: Ranges) -> Ranges {
    ranges.sort_unstable();
    let mut out: Ranges = Vec::new();
    for (first, last) in ranges {
        match out.last_mut() {
            Some((_, end)) if end.0 == first.0 && first.1 <= end.1.saturating_add(1) => {
                *end = (*end).max(last);
            }
            _ => out.push((first, last)),
        }
    }
    out
}

/// What is in `ranges` and not in `holes`, both in order.
fn minus(ranges: Ranges, holes: &Ranges) -> Ranges {
    let mut out = Ranges::new();
    for (first, last) in ranges {
        let mut at = Some(first);
        for &(from, to) in holes.iter().filter(|(from, to)| *from <= last && *to >= first) {
            let Some(start) = at else { break };
            if from > start
                && let Some(before) = from.1.checked_sub(1)
            {
                out.push((start, (from.0, before)));
            }
            at = (to < last).then(|| (to.0, to.1.saturating_add(1))).map(|next| next.max(start));
        }
        if let Some(start) = at {
            out.push((start, last));
        }
    }
    out
}

fn address(text: &str) -> Result<(Point, Point), String> {
    let point = |addr: IpAddr| match addr {
        IpAddr::V4(v4) => (false, u128::from(u32::from(v4))),
        IpAddr::V6(v6) => (true, u128::from(v6)),
    };
    if let Ok(addr) = text.parse::<IpAddr>() {
        return Ok((point(addr), point(addr)));
    }
    if let Ok(net) = text.parse::<IpNet>() {
        return Ok((point(net.network()), point(net.broadcast())));
    }
    let range = text.split_once('-').and_then(|(first, last)| {
        let ends = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        Some((point(ends.0), point(ends.1)))
    });
    match range {
        Some((first, last)) if first.0 == last.0 && first <= last => Ok((first, last)),
        _ => Err(format!("`{text}` is no address, network or range of addresses")),
    }
}

fn port(text: &str) -> Result<(Point, Point), String> {
    let bad = || format!("`{text}` is no port; a range is written 1024:65535");
    let one = |text: &str, missing: u16| match text.trim() {
        "" => Ok(missing),
        digits => digits.parse().map_err(|_| bad()),
    };
    let (first, last) = match text.split_once(':') {
        Some((first, last)) => (one(first, 0)?, one(last, u16::MAX)?),
        None => {
            let port = text.trim().parse().map_err(|_| bad())?;
            (port, port)
        }
    };
    let point = |port: u16| (false, u128::from(port));
    if first <= last { Ok((point(first), point(last))) } else { Err(bad()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nets(text: &str) -> Result<String, String> {
        let variables = [("HOME_NET", "[10.0.0.0/8]"), ("EXTERNAL_NET", "!$HOME_NET")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()));
        let found = networks(text, &Variables::from(variables))?;
        let texts = |nets: Vec<IpNet>| nets.iter().map(ToString::to_string).collect::<Vec<_>>();
        Ok(found.map_or_else(|| "any".into(), |nets| texts(nets).join(" ")))
    }

    #[test]
    fn address_expressions_become_exact_networks() {
        for (text, want) in [
            ("any", "any"),
            ("10.1.2.3", "10.1.2.3/32"),
            ("[10.0.0.0/16, 10.1.0.0/16]", "10.0.0.0/15"),
            ("$HOME_NET", "10.0.0.0/8"),
            ("[$HOME_NET,!10.128.0.0/9]", "10.0.0.0/9"),
            ("10.0.0.0-10.0.0.2", "10.0.0.0/31 10.0.0.2/32"),
            ("!10.0.0.0/1", "128.0.0.0/1"),
            ("![10.0.0.0/1,8000::/1]", "128.0.0.0/1 ::/1"),
            ("[!10.0.0.0/1]", "128.0.0.0/1"),
            ("[any,!10.0.0.0/1]", "128.0.0.0/1 ::/0"),
            ("[!0.0.0.0/1,!::/0]", "128.0.0.0/1"),
            ("[any,!::/0]", "0.0.0.0/0"),
            ("[[10.0.0.0/8,11.0.0.0/8],!11.0.0.0/8]", "10.0.0.0/8"),
        ] {
            assert_eq!(nets(text).as_deref(), Ok(want), "{text}");
        }
        let outside = nets("$EXTERNAL_NET").unwrap();
        assert!(outside.starts_with("0.0.0.0/5 8.0.0.0/7 11.0.0.0/8"), "{outside}");
        assert!(outside.ends_with("128.0.0.0/1"), "of IPv6 there is no word: {outside}");
        for bad in [
            "$NOBODY",
            "[10.0.0.0/8",
            "10.0.0.0/33",
            "[]",
            "!any",
            "![0.0.0.0/0]",
            "",
            "10.0.0.5-10.0.0.1",
        ] {
            assert!(nets(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn port_expressions_become_exact_ranges() {
        let range = |first, last| PortRange { first, last };
        let none = Variables::new();
        for (text, want) in [
            ("any", None),
            ("443", Some(vec![range(443, 443)])),
            ("[80,81,8000:8010]", Some(vec![range(80, 81), range(8000, 8010)])),
            ("!443", Some(vec![range(0, 442), range(444, 65_535)])),
            ("[1024:,!2000:3000]", Some(vec![range(1024, 1999), range(3001, 65_535)])),
        ] {
            assert_eq!(ports(text, &none), Ok(want), "{text}");
        }
        for bad in ["x", "65536", "5:1", "!any"] {
            assert!(ports(bad, &none).is_err(), "{bad}");
        }
    }

    #[test]
    fn nesting_ends_at_its_limit() {
        let mut variables = Variables::new();
        variables.insert("A".into(), "$B".into());
        variables.insert("B".into(), "$A".into());
        assert!(networks("$A", &variables).unwrap_err().contains("nested deeper"));
    }
}
