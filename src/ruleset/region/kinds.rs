//! The kinds of flows there are: which facts go together. TLS 1.3 hides certificates, QUIC is UDP, a
//! protocol without ports has no application. Each kind is a box in which every combination is
//! possible.

use super::area::{Area, Symbol};
use super::asks::{
    ABSENT, APP_DNS, APP_HTTP, APP_OTHER, APP_QUIC, APP_TLS, HIDDEN, MISSED, NO_PORT, NUMBERS,
    UNLISTED, any_value, ipv4, ipv6,
};
use super::ranges::Ranges;
use crate::policy::spec::EncryptedClientHello;

/// All flows between some addresses, as boxes in which every combination of numbers is possible: one
/// for each family of addresses and each kind of flow. Flows whose facts are settled, and flows of
/// which nothing was seen.
#[must_use]
pub fn boxes(
    sources: &Ranges,
    destinations: &Ranges,
    days: &Ranges,
    ech: EncryptedClientHello,
) -> Vec<Area> {
    let mut boxes = Vec::new();
    for family in [ipv4(), ipv6()] {
        let (src, dst) = (sources.and(&family), destinations.and(&family));
        if src.is_empty() || dst.is_empty() {
            continue;
        }
        for kind in KINDS {
            if ech == EncryptedClientHello::Deny || !kind.hides_name() {
                boxes.push(kind.area(&src, &dst, days));
            }
        }
    }
    boxes
}

/// A kind of flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// No name is there: a protocol with ports.
    Other,
    /// TLS whose client certificate cannot be seen.
    Tls,
    /// HTTP in clear text.
    Http,
    /// QUIC.
    Quic,
    /// DNS.
    Dns,
    /// ICMP of either family.
    Icmp,
    /// Protocols without ports.
    Plain,
    /// TLS 1.2 and older with a certificate of the client.
    TlsShown,
    /// TLS 1.2 and older, or no answer of the server, without one.
    TlsBare,
    /// QUIC in a version that cannot be read, or has no TLS: its name may be there.
    QuicUnread,
    /// Nothing was seen.
    Missed,
    /// As `Tls`, the name hidden.
    TlsHidden,
    /// As `TlsShown`, the name hidden.
    TlsShownHidden,
    /// As `TlsBare`, the name hidden.
    TlsBareHidden,
    /// As `Quic`, the name hidden.
    QuicHidden,
}

use Kind::{
    Dns, Http, Icmp, Missed, Other, Plain, Quic, QuicHidden, QuicUnread, Tls, TlsBare,
    TlsBareHidden, TlsHidden, TlsShown, TlsShownHidden,
};

/// The plainest first: witnesses are taken from the first that has any.
const KINDS: [Kind; 15] = [
    Other,
    Tls,
    Http,
    Quic,
    Dns,
    Icmp,
    Plain,
    TlsShown,
    TlsBare,
    QuicUnread,
    Missed,
    TlsHidden,
    TlsShownHidden,
    TlsBareHidden,
    QuicHidden,
];

impl Kind {
    const fn hides_name(self) -> bool {
        matches!(self, TlsHidden | TlsShownHidden | TlsBareHidden | QuicHidden)
    }

    const fn has_name(self) -> bool {
        matches!(self, Tls | TlsShown | TlsBare | Quic | QuicUnread | Http)
    }

    const fn shows_certificate(self) -> bool {
        matches!(self, TlsShown | TlsShownHidden)
    }

    const fn hides_certificate(self) -> bool {
        matches!(self, Tls | TlsHidden | Quic | QuicHidden)
    }

    fn protocols(self) -> Ranges {
        match self {
            Tls | TlsShown | TlsBare | TlsHidden | TlsShownHidden | TlsBareHidden | Http => {
                Ranges::one(6)
            }
            Quic | QuicUnread | QuicHidden => Ranges::one(17),
            Other | Dns | Missed => Ranges::of([(6, 6), (17, 17)]),
            Icmp => Ranges::of([(1, 1), (58, 58)]),
            Plain => {
                let others = Ranges::of([(1, 1), (6, 6), (17, 17), (58, 58)]);
                Ranges::span(0, 255).without(&others)
            }
        }
    }

    const fn app(self) -> u128 {
        match self {
            Tls | TlsShown | TlsBare | TlsHidden | TlsShownHidden | TlsBareHidden => APP_TLS,
            Quic | QuicUnread | QuicHidden => APP_QUIC,
            Http => APP_HTTP,
            Dns => APP_DNS,
            Other | Icmp | Plain => APP_OTHER,
            Missed => MISSED,
        }
    }

    fn versions(self) -> Ranges {
        let older = Ranges::span(0x0300, 0x0303);
        match self {
            Tls | TlsHidden => Ranges::span(0x0300, 0x0304),
            TlsShown | TlsShownHidden => older,
            TlsBare | TlsBareHidden => older.or(&Ranges::one(ABSENT)),
            // RFC 9001 section 4.2: QUIC has TLS 1.3 or newer, in the versions that have TLS.
            Quic | QuicHidden => Ranges::one(0x0304),
            Missed => Ranges::one(MISSED),
            QuicUnread | Http | Dns | Other | Icmp | Plain => Ranges::one(ABSENT),
        }
    }

    fn fingerprints(self) -> Ranges {
        match self {
            Missed => Ranges::one(MISSED),
            QuicUnread => Ranges::one(ABSENT),
            _ if matches!(self.app(), APP_TLS | APP_QUIC) => any_value(),
            _ => Ranges::one(ABSENT),
        }
    }

    fn certificates(self) -> Ranges {
        match self {
            Missed => Ranges::one(MISSED),
            _ if self.shows_certificate() => any_value(),
            _ if self.hides_certificate() => Ranges::one(HIDDEN),
            _ => Ranges::one(ABSENT),
        }
    }

    /// Whether the certificate is in date.
    fn dates(self) -> Ranges {
        if self.shows_certificate() { Ranges::span(0, 1) } else { self.certificates() }
    }

    fn apis(self) -> Ranges {
        match self {
            Missed => Ranges::one(MISSED),
            Http => any_value().or(&Ranges::one(ABSENT)),
            _ => Ranges::one(ABSENT),
        }
    }

    fn answers(self) -> Ranges {
        match self {
            Missed => Ranges::one(MISSED),
            Dns => {
                let marks = Ranges::span(ABSENT, UNLISTED);
                Ranges::span(0, u128::MAX).without(&marks).or(&Ranges::one(HIDDEN))
            }
            _ => Ranges::one(ABSENT),
        }
    }

    fn bound(self) -> Ranges {
        match self {
            Missed => Ranges::one(MISSED),
            _ if self.hides_name() => Ranges::one(HIDDEN),
            _ if self.has_name() => Ranges::span(0, 1),
            _ => Ranges::one(0),
        }
    }

    /// Alternative names of the certificate, the name of a question, the name asked for.
    fn names(self) -> [Symbol; 3] {
        let missed = self == Missed;
        let (shown, hides) = (self.shows_certificate(), self.hides_certificate());
        let none = Symbol { missed, absent: !missed, ..Symbol::default() };
        let absent = !(shown || hides || missed);
        let san = Symbol { named: shown, absent, hidden: hides, ..none.clone() };
        let question = Symbol { named: self == Dns, ..none.clone() };
        let hidden = self.hides_name();
        let absent = !(hidden || missed);
        let domain = Symbol { named: self.has_name(), hidden, absent, ..none };
        [san, question, domain]
    }

    fn area(self, src: &Ranges, dst: &Ranges, days: &Ranges) -> Area {
        let all = Ranges::span(0, 0xffff);
        let none = Ranges::one(NO_PORT);
        let port = if matches!(self, Icmp | Plain) { &none } else { &all };
        let icmp = if self == Icmp { &all } else { &none };
        let numbers: [Ranges; NUMBERS] = [
            days.clone(),
            self.protocols(),
            dst.clone(),
            port.clone(),
            src.clone(),
            port.clone(),
            icmp.clone(),
            Ranges::one(self.app()),
            self.versions(),
            self.fingerprints(),
            self.certificates(),
            self.certificates(),
            self.bound(),
            self.dates(),
            self.apis(),
            self.answers(),
        ];
        Area::new(numbers, self.names())
    }
}
