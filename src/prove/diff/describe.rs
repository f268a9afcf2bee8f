//! Regions in words: what is left of each dimension over all boxes of a region. A word stands for a
//! dimension only if something is asked of it.

use crate::model::{Addr, Protocol, TlsVersion};
use crate::ruleset::Date;
use crate::ruleset::region::{
    ABSENT, APP_DNS, APP_HTTP, APP_OTHER, APP_QUIC, APP_TLS, Area, Dimension, HIDDEN, MISSED,
    NO_PORT, NameDimension, Ranges, SetId, UNLISTED, Values, Word, ipv4,
};
use ipnet::{Ipv4Subnets, Ipv6Subnets};

/// Items of one list that are shown; the rest is counted.
const SHOWN_LIMIT: usize = 8;
/// Entries of a set that are looked at for what is left of them.
const ENTRIES_LIMIT: usize = 20_000;

/// A field and what the flows of a region have there.
///
/// Addresses are left out where they are `held`: all that the two segments hold.
pub(super) fn describe(
    parts: &[Area],
    whole: bool,
    held: Option<(&Ranges, &Ranges)>,
    values: &mut Values,
) -> Vec<(&'static str, String)> {
    let all = |dimension| {
        Ranges::of(parts.iter().flat_map(|area| area.number(dimension).iter().collect::<Vec<_>>()))
    };
    let mut words = Vec::new();
    let protocols = all(Dimension::Protocol);
    words.push(("protocol", protocols_text(&protocols)));
    let port = |ranges: Ranges| {
        let ports = ranges.without(&Ranges::one(NO_PORT));
        let asked = !ports.is_empty() && ports != Ranges::span(0, 0xffff);
        asked.then(|| list(ports.iter().map(|(a, b)| span(a, b))))
    };
    words.extend(port(all(Dimension::Port)).map(|text| ("ports", text)));
    words.extend(port(all(Dimension::SourcePort)).map(|text| ("source ports", text)));
    let (sources, destinations) = (all(Dimension::Source), all(Dimension::Destination));
    if held.is_none_or(|(all, _)| *all != sources) {
        words.push(("sources", networks(&sources)));
    }
    if held.is_none_or(|(_, all)| *all != destinations) {
        words.push(("destinations", networks(&destinations)));
    }
    let icmp = all(Dimension::Icmp).without(&Ranges::one(NO_PORT));
    if !icmp.is_empty() && icmp != Ranges::span(0, 0xffff) {
        words.push(("icmp", list(icmp.iter().map(|(a, b)| icmp_text(a, b)))));
    }
    let apps = all(Dimension::App);
    if apps != possible(&protocols) && protocols.meets(&Ranges::of([(6, 6), (17, 17)])) {
        words.push(("seen as", apps_text(&apps)));
    }
    for (field, dimension) in
        [("names", NameDimension::Domain), ("dns names", NameDimension::Question)]
    {
        words.extend(names(parts, dimension, values).map(|text| (field, text)));
    }
    let addresses = Ranges::span(0, u128::MAX).without(&Ranges::span(ABSENT, UNLISTED));
    let answers = all(Dimension::Answer).and(&addresses);
    if !answers.is_empty() && answers != addresses {
        let others = addresses.without(&answers);
        let text = match others.iter().count() < answers.iter().count() {
            true => format!("any but {}", networks(&others)),
            false => networks(&answers),
        };
        words.push(("dns answers", text));
    }
    words.extend(apis(&all(Dimension::ApiId), values).map(|text| ("apis", text)));
    let shown = Ranges::span(0x0300, 0x0304);
    let versions = all(Dimension::Version);
    if versions == Ranges::one(ABSENT) && (apps.contains(APP_TLS) || apps.contains(APP_QUIC)) {
        words.push(("tls", "none".to_owned()));
    }
    let versions = versions.and(&shown);
    if !versions.is_empty() && versions != shown && versions != Ranges::one(0x0304) {
        words.push(("tls", list(versions.iter().map(|(a, b)| version(a, b)))));
    }
    let issuers = all(Dimension::Issuer);
    if ![ABSENT, HIDDEN, MISSED].iter().any(|mark| issuers.contains(*mark)) {
        let dates = all(Dimension::InDate);
        let text = match (dates.contains(1), dates.contains(0)) {
            (true, false) => "shown, in date",
            (false, true) => "shown, out of date",
            _ => "shown",
        };
        words.push(("client certificate", text.to_owned()));
    }
    let days = all(Dimension::Day);
    if let Some(last) =
        days.last().and_then(|day| u32::try_from(day).ok()).filter(|day| *day != u32::MAX)
    {
        words.push(("until", Date::from_days(last.into()).to_string()));
    }
    if !whole {
        words.push(("and", "more than is shown here".to_owned()));
    }
    words
}

/// The APIs that requests name; none where they may name any, or none.
fn apis(ids: &Ranges, values: &Values) -> Option<String> {
    if ids.contains(UNLISTED) || *ids == Ranges::one(ABSENT) || *ids == Ranges::one(MISSED) {
        return None;
    }
    let listed = ids.iter().flat_map(|(first, last)| first..=last.min(ABSENT));
    let names = listed.filter_map(|number| values.listed(number));
    Some(list(names.map(|name| String::from_utf8_lossy(name).into_owned())))
        .filter(|text| !text.is_empty())
}

/// The applications that some protocols can carry.
fn possible(protocols: &Ranges) -> Ranges {
    let mut apps = vec![APP_OTHER];
    if protocols.contains(6) {
        apps.extend([APP_TLS, APP_HTTP, APP_DNS, MISSED]);
    }
    if protocols.contains(17) {
        apps.extend([APP_QUIC, APP_DNS, MISSED]);
    }
    Ranges::of(apps.into_iter().map(|app| (app, app)))
}

fn list(items: impl Iterator<Item = String>) -> String {
    let all: Vec<String> = items.collect();
    let shown = all.iter().take(SHOWN_LIMIT).cloned().collect::<Vec<_>>().join(", ");
    match all.len().saturating_sub(SHOWN_LIMIT) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

fn span(first: u128, last: u128) -> String {
    if first == last { first.to_string() } else { format!("{first}-{last}") }
}

fn protocols_text(protocols: &Ranges) -> String {
    if *protocols == Ranges::span(0, 255) {
        return "any".to_owned();
    }
    let few: u128 = protocols.iter().map(|(a, b)| b.saturating_sub(a).saturating_add(1)).sum();
    if few > 16 {
        let missing = Ranges::span(0, 255).without(protocols);
        return format!("any but {}", list(missing.iter().map(|(a, b)| protocol(a, b))));
    }
    list(protocols.iter().flat_map(|(a, b)| (a..=b).map(|n| protocol(n, n))))
}

fn protocol(first: u128, last: u128) -> String {
    let name =
        |n: u128| u8::try_from(n).map_or_else(|_| n.to_string(), |n| Protocol(n).to_string());
    if first == last { name(first) } else { format!("{}-{}", name(first), name(last)) }
}

fn icmp_text(first: u128, last: u128) -> String {
    if first & 0xff == 0 && last & 0xff == 0xff {
        return span(first >> 8, last >> 8);
    }
    let one = |n: u128| format!("{}/{}", n >> 8, n & 0xff);
    if first == last { one(first) } else { format!("{} to {}", one(first), one(last)) }
}

fn apps_text(apps: &Ranges) -> String {
    let words = [
        (APP_TLS, "tls"),
        (APP_QUIC, "quic"),
        (APP_HTTP, "http"),
        (APP_DNS, "dns"),
        (APP_OTHER, "no name at all"),
        (MISSED, "met in the middle"),
    ];
    list(words.into_iter().filter(|(n, _)| apps.contains(*n)).map(|(_, word)| word.to_owned()))
}

fn version(first: u128, last: u128) -> String {
    let one =
        |n: u128| u16::try_from(n).map_or_else(|_| String::new(), |n| TlsVersion(n).to_string());
    if first == last { one(first) } else { format!("{} to {}", one(first), one(last)) }
}

/// Addresses as networks.
fn networks(ranges: &Ranges) -> String {
    let v4 = ranges.and(&ipv4());
    let v6 = ranges.without(&ipv4());
    let ip = |n: u128| Addr::v6(n.to_be_bytes()).to_ip();
    let mut nets: Vec<String> = Vec::new();
    for (first, last) in v4.iter().chain(v6.iter()).take(4 * SHOWN_LIMIT) {
        match (ip(first), ip(last)) {
            (std::net::IpAddr::V4(a), std::net::IpAddr::V4(b)) => {
                nets.extend(
                    Ipv4Subnets::new(a, b, 0)
                        .take(64)
                        .map(|net| host_or_net(net.to_string(), "/32")),
                );
            }
            (std::net::IpAddr::V6(_), std::net::IpAddr::V6(_)) => {
                let (a, b) = (first.to_be_bytes().into(), last.to_be_bytes().into());
                nets.extend(
                    Ipv6Subnets::new(a, b, 0)
                        .take(64)
                        .map(|net| host_or_net(net.to_string(), "/128")),
                );
            }
            _ => {}
        }
    }
    list(nets.into_iter())
}

fn host_or_net(text: String, host: &str) -> String {
    text.strip_suffix(host).map_or_else(|| text.clone(), str::to_owned)
}

/// The names of a region, if any are asked for or taken out.
fn names(parts: &[Area], dimension: NameDimension, values: &mut Values) -> Option<String> {
    let mut entries: Vec<String> = Vec::new();
    let mut without: Vec<SetId> = Vec::new();
    let (mut any, mut nameless, mut cut) = (false, false, false);
    for part in parts {
        let symbol = part.name(dimension);
        nameless |= symbol.absent || symbol.missed || symbol.hidden;
        if !symbol.named {
            continue;
        }
        cut |= !symbol.unwanted.is_empty();
        let smallest =
            symbol.wanted.iter().copied().min_by_key(|id| values.languages.entries(*id).len());
        let Some(smallest) = smallest else {
            any = true;
            without.extend(&symbol.unwanted);
            continue;
        };
        for entry in values.languages.entries(smallest).iter().take(ENTRIES_LIMIT) {
            let set =
                crate::policy::names::NameSet::build([entry.clone()]).map(std::sync::Arc::new);
            let Ok(set) = set else { continue };
            let one = values.languages.names(&set);
            let mut wanted = symbol.wanted.clone();
            wanted.push(one);
            let word = values.languages.word(dimension.alphabet(), &wanted, &symbol.unwanted);
            let text = entry.to_string();
            if word != Word::Nowhere && !entries.contains(&text) {
                entries.push(text);
            }
        }
    }
    if any && !nameless && without.is_empty() {
        return Some("any name, but a name there is".to_owned());
    }
    if any {
        if !cut {
            return None;
        }
        without.sort_unstable();
        without.dedup();
        let mut out: Vec<String> = Vec::new();
        for id in without {
            let entries = values.languages.entries(id);
            out.extend(entries.iter().take(ENTRIES_LIMIT).map(ToString::to_string));
        }
        let tail = if nameless { ", or none" } else { "" };
        return Some(format!("any but {}{tail}", list(out.into_iter())));
    }
    if entries.is_empty() {
        return None;
    }
    let tail = if nameless { ", or none" } else { "" };
    Some(format!("{}{tail}", list(entries.into_iter())))
}
