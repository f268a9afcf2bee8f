//! One concrete flow out of a box, judged by the production decision function. How it is shown to
//! people is said elsewhere.

use super::area::{Area, Symbol};
use super::asks::{
    ABSENT, APP_DNS, APP_HTTP, APP_QUIC, APP_TLS, Asks, Dimension, HIDDEN, MISSED, NO_PORT,
    NUMBERS, NameAsk, NameDimension, UNLISTED, Values, ipv4,
};
use super::ranges::Ranges;
use super::words::{Alphabet, Word};
use crate::model::{
    Addr, ApiId, App, Certificate, DomainName, Ech, Fact, Facts, FiveTuple, FlowVerdict, Ja4,
    PolicyId, Protocol, Timestamp, TlsVersion,
};
use crate::policy::{Bound, Decision, NoTrace, Policy, Query};
use serde::Serialize;
use std::sync::Arc;

const SECS_PER_DAY: u64 = 86_400;
/// What is shown if nothing else is asked for.
const PROTOCOLS: [u128; 4] = [6, 17, 1, 58];
const PORTS: [u128; 8] = [443, 80, 53, 22, 8443, 8080, 3389, 1024];
const SOURCE_PORTS: [u128; 2] = [40_000, 1024];

/// What a flow shows of a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Shown {
    /// This one.
    Name(String),
    /// That there is none.
    Nothing,
    /// That one is hidden.
    Hidden,
}

/// The client's certificate of a witness.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ShownCertificate {
    /// Issuer in RFC 4514 form.
    pub issuer: String,
    /// Alternative names.
    pub names: Vec<String>,
    /// SHA-256 in hex.
    pub sha256: String,
    /// Whether it is valid, by its dates, when it is shown.
    #[serde(skip_serializing_if = "holds")]
    pub in_date: bool,
    #[serde(skip)]
    pub(super) sum: [u8; 32],
}

/// What goes without saying is not written.
const fn holds(value: &bool) -> bool {
    *value
}

/// A concrete flow with settled facts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flow {
    /// The five-tuple.
    pub tuple: FiveTuple,
    /// ICMP type and code.
    pub icmp: Option<(u8, u8)>,
    /// The day on which it is judged, in days since 1970-01-01.
    pub day: u32,
    /// The application; none if its bytes passed unseen.
    pub app: Option<App>,
    /// The name the client asks for.
    pub domain: Shown,
    /// The name of its DNS question.
    pub question: Shown,
    /// The TLS version the server chose.
    pub version: Option<TlsVersion>,
    /// The fingerprint of the hello.
    pub ja4: Option<Ja4>,
    /// The client's certificate, where it is shown.
    pub certificate: Option<ShownCertificate>,
    /// Whether a certificate is hidden by the protocol.
    pub hides_certificate: bool,
    /// Whether the destination was answered for the name.
    pub bound: bool,
    /// The API its request names.
    pub api_id: Option<ApiId>,
    /// The address its DNS answer leads to; none while only the question is there.
    pub answer: Option<Addr>,
    /// Where it lies in every dimension that is a number.
    pub(super) numbers: [u128; NUMBERS],
}

impl Flow {
    /// A flow of a box. None where names are not proved, or where nothing is in the box.
    #[must_use]
    pub fn of(area: &Area, values: &mut Values) -> Option<Self> {
        let numbers = point(area)?;
        let number = |dimension: Dimension| numbers.get(dimension as usize).copied();
        let protocol = Protocol(u8::try_from(number(Dimension::Protocol)?).ok()?);
        let address = |dimension| Some(Addr::v6(number(dimension)?.to_be_bytes()));
        let port = |dimension| match number(dimension)? {
            NO_PORT => Some(0),
            port => u16::try_from(port).ok(),
        };
        let icmp = match number(Dimension::Icmp)? {
            NO_PORT => None,
            icmp => Some((u8::try_from(icmp >> 8).ok()?, u8::try_from(icmp & 0xff).ok()?)),
        };
        let tuple = FiveTuple {
            src: address(Dimension::Source)?,
            dst: address(Dimension::Destination)?,
            src_port: port(Dimension::SourcePort)?,
            dst_port: port(Dimension::Port)?,
            protocol,
        };
        let ja4 = number(Dimension::Ja4)?;
        Some(Self {
            tuple,
            icmp,
            day: u32::try_from(number(Dimension::Day)?).ok()?,
            app: match number(Dimension::App)? {
                MISSED => None,
                APP_TLS => Some(App::Tls),
                APP_QUIC => Some(App::Quic),
                APP_HTTP => Some(App::Http),
                APP_DNS => Some(App::Dns),
                _ => Some(App::Other),
            },
            domain: shown(area.name(NameDimension::Domain), NameDimension::Domain, values)?,
            question: shown(area.name(NameDimension::Question), NameDimension::Question, values)?,
            version: u16::try_from(number(Dimension::Version)?).ok().map(TlsVersion),
            ja4: (!(ABSENT..=MISSED).contains(&ja4)).then(|| fingerprint(ja4, values)),
            hides_certificate: number(Dimension::Issuer)? == HIDDEN,
            certificate: certificate(area, &numbers, values)?,
            bound: number(Dimension::Bound)? == 1,
            api_id: api_id(number(Dimension::ApiId)?, values),
            answer: match number(Dimension::Answer)? {
                ABSENT..=UNLISTED => None,
                address => Some(Addr::v6(address.to_be_bytes())),
            },
            numbers,
        })
    }

    /// Whether a rule is true of it, by the algebra.
    #[must_use]
    pub fn meets(&self, asks: &Asks, values: &Values) -> bool {
        let mut numbers = asks.numbers().iter().zip(self.numbers);
        if !numbers.all(|(wanted, own)| wanted.as_ref().is_none_or(|wanted| wanted.contains(own))) {
            return false;
        }
        let shown = |shown: &Shown, ask: &NameAsk| match shown {
            Shown::Name(name) => values.languages.contains(ask.set, name),
            Shown::Hidden => ask.hidden,
            Shown::Nothing => self.app.is_none() && ask.missed,
        };
        NameDimension::ALL.into_iter().all(|dimension| {
            asks.name(dimension).is_none_or(|ask| match (dimension, &self.certificate) {
                (NameDimension::Domain, _) => shown(&self.domain, ask),
                (NameDimension::Question, _) => shown(&self.question, ask),
                (NameDimension::San, Some(certificate)) => {
                    certificate.names.iter().any(|name| values.languages.contains(ask.set, name))
                }
                (NameDimension::San, None) if self.hides_certificate => ask.hidden,
                (NameDimension::San, None) => self.app.is_none() && ask.missed,
            })
        })
    }

    /// What the engine would know of it in the end.
    #[must_use]
    pub fn facts(&self) -> Facts {
        let Some(app) = self.app else { return Facts::missed() };
        let mut facts = Facts::default();
        facts.settle_without_names(app);
        if let Shown::Name(name) = &self.domain
            && let Ok(name) = DomainName::from_host(name.as_bytes())
        {
            facts.domain = Fact::Known(Arc::new(name));
        }
        if let Shown::Name(name) = &self.question
            && let Ok(name) = DomainName::from_labels(name.split('.').map(str::as_bytes))
        {
            facts.questions = Fact::Known(vec![name]);
        }
        if let Some(answer) = self.answer {
            facts.answer = Fact::Known(answer);
        }
        if let Some(api_id) = &self.api_id {
            facts.api_id = Fact::Known(api_id.clone());
        }
        if self.domain == Shown::Hidden {
            facts.tls.ech = Ech::Present;
        }
        if let Some(version) = self.version {
            facts.tls.offered = Fact::Known(version);
            facts.tls.version = Fact::Known(version);
        }
        if let Some(ja4) = self.ja4 {
            facts.tls.ja4 = Fact::Known(ja4);
        }
        if self.hides_certificate {
            facts.tls.client_certificate = Fact::Missed;
        }
        if let Some(shown) = &self.certificate {
            facts.tls.client_certificate = Fact::Known(Arc::new(Certificate {
                subject: String::new(),
                issuer: shown.issuer.clone(),
                names: shown.names.clone(),
                sha256: shown.sum,
                validity: (0, if shown.in_date { i64::MAX } else { -1 }),
            }));
        }
        facts
    }

    /// What a policy decides, by the production function. None if it is left pending, which
    /// settled facts never are.
    #[must_use]
    pub fn decide(&self, policy: &Policy, block: PolicyId) -> Option<FlowVerdict> {
        let bound = |_: &DomainName, _: Addr| if self.bound { Bound::Yes } else { Bound::No };
        let now = Timestamp::from_secs(u64::from(self.day).saturating_mul(SECS_PER_DAY));
        let query = Query {
            icmp: self.icmp,
            midstream: self.app.is_none(),
            bound: Some(&bound),
            ..Query::new(block, self.tuple, now)
        };
        match policy.decide(&query, &self.facts(), &mut NoTrace) {
            Decision::Final(verdict) => Some(verdict),
            Decision::Pending { .. } => None,
        }
    }
}

/// One number of every dimension: what people expect to see, if that is inside.
fn point(area: &Area) -> Option<[u128; NUMBERS]> {
    use Dimension::{
        Answer, ApiId, App, Bound, Day, Destination, Icmp, InDate, Issuer, Ja4, Port, Protocol,
        Sha256, Source, SourcePort, Version,
    };
    let host = |dimension| {
        let first = area.number(dimension).first()?;
        area.number(dimension).pick(&[first | 1])
    };
    let pick = |dimension, wanted: &[u128]| area.number(dimension).pick(wanted);
    // Listed values of all kinds share one row of numbers: the lowest may be of another kind.
    let value = |dimension| pick(dimension, &[UNLISTED]);
    let versions = [0x0304, 0x0303, 0x0302, 0x0301, 0x0300];
    Some([
        pick(Day, &[])?,
        pick(Protocol, &PROTOCOLS)?,
        host(Destination)?,
        pick(Port, &PORTS)?,
        host(Source)?,
        pick(SourcePort, &SOURCE_PORTS)?,
        pick(Icmp, &[8 << 8, 128 << 8])?,
        pick(App, &[])?,
        pick(Version, &versions)?,
        value(Ja4)?,
        value(Issuer)?,
        value(Sha256)?,
        pick(Bound, &[])?,
        pick(InDate, &[1])?,
        pick(ApiId, &[ABSENT, UNLISTED])?,
        answer(area.number(Answer))?,
    ])
}

/// No answer if there may be none; else an address, of IPv4 if there is one.
fn answer(ranges: &Ranges) -> Option<u128> {
    if ranges.contains(HIDDEN) || ranges.contains(ABSENT) {
        return ranges.pick(&[HIDDEN, ABSENT]);
    }
    let v4 = ranges.and(&ipv4());
    let ranges = if v4.is_empty() { ranges } else { &v4 };
    ranges.pick(&[ranges.first()? | 1])
}

fn shown(symbol: &Symbol, dimension: NameDimension, values: &mut Values) -> Option<Shown> {
    if symbol.named {
        let word = values.languages.word(dimension.alphabet(), &symbol.wanted, &symbol.unwanted);
        if let Word::Found(name) = word {
            return Some(Shown::Name(name));
        }
    }
    if symbol.absent || symbol.missed {
        return Some(Shown::Nothing);
    }
    symbol.hidden.then_some(Shown::Hidden)
}

/// The outer `None`: names are not proved.
fn certificate(
    area: &Area,
    numbers: &[u128; NUMBERS],
    values: &mut Values,
) -> Option<Option<ShownCertificate>> {
    let number = |dimension: Dimension| numbers.get(dimension as usize).copied();
    let issuer = number(Dimension::Issuer)?;
    if (ABSENT..=MISSED).contains(&issuer) {
        return Some(None);
    }
    let symbol = area.name(NameDimension::San);
    let mut names = Vec::new();
    for set in &symbol.wanted {
        match values.languages.word(Alphabet::Text, &[*set], &symbol.unwanted) {
            Word::Found(name) => names.push(name),
            Word::Nowhere | Word::NotProved => return None,
        }
    }
    let issuer = values.listed(issuer).map_or_else(
        || unlisted(values, |n| format!("CN=some issuer {n}").into_bytes()),
        <[u8]>::to_vec,
    );
    let sum = number(Dimension::Sha256)?;
    let sum: [u8; 32] = values
        .listed(sum)
        .and_then(|sum| sum.try_into().ok())
        .unwrap_or_else(|| unlisted(values, |n| [n; 32]));
    let sha256 = sum.iter().map(|byte| format!("{byte:02x}")).collect();
    let issuer = String::from_utf8_lossy(&issuer).into_owned();
    let in_date = number(Dimension::InDate) == Some(1);
    Some(Some(ShownCertificate { issuer, names, sha256, in_date, sum }))
}

fn api_id(number: u128, values: &Values) -> Option<ApiId> {
    if (ABSENT..=MISSED).contains(&number) {
        return None;
    }
    let listed = values.listed(number).and_then(ApiId::parse);
    let other = || ApiId::parse(&unlisted(values, |n| format!("0ther-{n}").into_bytes()));
    listed.or_else(other)
}

fn fingerprint(number: u128, values: &Values) -> Ja4 {
    let listed = values.listed(number).and_then(|ja4| ja4.try_into().ok());
    Ja4(listed.unwrap_or_else(|| {
        unlisted(values, |n| {
            let mut ja4 = *b"t13d0000h0_000000000000_000000000000";
            ja4[35] = n;
            ja4
        })
    }))
}

/// The first value of a row that no rule lists; rules would have to list all 256 of them.
fn unlisted<T: AsRef<[u8]>>(values: &Values, row: impl Fn(u8) -> T) -> T {
    let free = (b'0'..=u8::MAX).find(|n| !values.lists(row(*n).as_ref()));
    row(free.unwrap_or_default())
}
