//! One flow as it was seen, whether by an engine just now or in a flow log written earlier: what
//! suggestions and reports are made of. Nothing is decided here.

use crate::engine::record::{FlowRecord, Names as RecordNames, RECORD_NAMES_MAX, Volume};
use crate::model::{
    Action, Addr, ApiId, App, Certificate, DomainName, Ech, EndpointId, Fact, Facts, FiveTuple,
    Ja4, Reason, Timestamp, TlsVersion,
};
use crate::observe::Names;
use std::sync::Arc;

/// What stands for a segment that is not known.
pub const UNKNOWN: &str = "unknown";

const TLS_1_3: TlsVersion = TlsVersion(0x0304);

/// One flow, both directions, as far as its record tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// The segment of the side that sent the first packet; [`UNKNOWN`] if it is not known.
    pub from: Box<str>,
    /// The other side's segment; [`UNKNOWN`] if it is not known.
    pub to: Box<str>,
    /// The GWLB endpoint of its first packet.
    pub endpoint: Option<EndpointId>,
    /// As the first packet had it.
    pub tuple: FiveTuple,
    /// ICMP type and code of the first packet.
    pub icmp: Option<(u8, u8)>,
    /// Time of the first packet.
    pub start: Timestamp,
    /// Time of the last packet.
    pub end: Timestamp,
    /// By [`crate::model::Direction::index`].
    pub volume: [Volume; 2],
    /// The decision; none for a flow that ended undecided.
    pub verdict: Option<Action>,
    /// Why, if it was decided.
    pub reason: Option<Reason>,
    /// The rule that decided.
    pub rule: Option<Box<str>>,
    /// Whether the verdict was carried out.
    pub enforced: bool,
    /// Met in the middle.
    pub midstream: bool,
    /// The application protocol, if it was recognised, as records write it.
    pub app: Option<Box<str>>,
    /// Names the client asked for, as records write them, at most [`RECORD_NAMES_MAX`].
    pub names: Vec<Box<str>>,
    /// Names in DNS questions, likewise.
    pub questions: Vec<Box<str>>,
    /// The address for which the last DNS answer was denied.
    pub denied_answer: Option<Addr>,
    /// The API the last HTTP request named.
    pub api_id: Option<ApiId>,
    /// Sightings of names that found no room in the record.
    pub names_left_out: u64,
    /// The TLS version the server chose.
    pub tls_version: Option<TlsVersion>,
    /// Fingerprint of the ClientHello.
    pub ja4: Option<Ja4>,
    /// The client's certificate, where it could be seen.
    pub certificate: Option<Arc<Certificate>>,
    /// Encrypted ClientHello.
    pub ech: Ech,
}

impl Sighting {
    /// What a record tells.
    #[must_use]
    pub fn of(record: &FlowRecord, names: &impl Names) -> Self {
        let segment = |id| Option::and_then(id, |id| names.segment(id)).unwrap_or(UNKNOWN).into();
        let verdict = record.verdict;
        let left_out =
            u64::from(record.found.names.left_out()) + u64::from(record.found.questions.left_out());
        Self {
            from: segment(record.from),
            to: segment(record.to),
            endpoint: record.endpoint,
            tuple: record.tuple,
            icmp: record.icmp,
            start: record.start,
            end: record.end,
            volume: record.volume,
            verdict: verdict.map(|verdict| verdict.action),
            reason: verdict.map(|verdict| verdict.reason),
            rule: verdict.and_then(|v| v.rule).and_then(|id| names.rule(id)).map(Box::from),
            enforced: record.enforced,
            midstream: record.midstream,
            app: record.found.app.map(|app| app.name().into()),
            names: texts(&record.found.names),
            questions: texts(&record.found.questions),
            names_left_out: left_out,
            denied_answer: record.found.denied_answer,
            api_id: record.found.api_id.clone(),
            tls_version: record.found.tls_version,
            ja4: record.found.ja4,
            certificate: record.found.certificate.clone(),
            ech: record.found.ech,
        }
    }

    /// Packets of both directions.
    #[must_use]
    pub fn packets(&self) -> u64 {
        self.volume.iter().map(|volume| volume.packets).fold(0, u64::saturating_add)
    }

    /// Bytes of both directions.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.volume.iter().map(|volume| volume.bytes).fold(0, u64::saturating_add)
    }

    /// Whether packets passed: the flow was allowed, or nobody enforced the verdict.
    #[must_use]
    pub fn passed(&self) -> bool {
        !self.enforced || self.verdict == Some(Action::Allow)
    }

    /// The facts of the flow's last message, which is the one a denied flow ended with. What the
    /// record does not tell is taken to be absent: nothing more will come.
    #[must_use]
    pub fn facts(&self) -> Facts {
        self.facts_of(self.names.last().map(AsRef::as_ref), &self.questions)
    }

    /// The facts of one message of the flow.
    #[must_use]
    pub fn facts_of(&self, name: Option<&str>, questions: &[Box<str>]) -> Facts {
        let mut facts = Facts::default();
        facts.settle_without_names(self.app.as_deref().map_or(App::Other, app));
        if let Some(name) = name.and_then(domain_name) {
            facts.domain = Fact::Known(Arc::new(name));
        }
        let questions: Vec<DomainName> = questions.iter().filter_map(|q| domain_name(q)).collect();
        if !questions.is_empty() {
            facts.questions = Fact::Known(questions);
        }
        if let Some(address) = self.denied_answer {
            facts.answer = Fact::Known(address);
        }
        if let Some(id) = &self.api_id {
            facts.api_id = Fact::Known(id.clone());
        }
        if let Some(version) = self.tls_version {
            facts.tls.version = Fact::Known(version);
            if version >= TLS_1_3 {
                facts.tls.client_certificate = Fact::Missed;
            }
        }
        if let Some(ja4) = self.ja4 {
            facts.tls.ja4 = Fact::Known(ja4);
        }
        if let Some(certificate) = &self.certificate {
            facts.tls.client_certificate = Fact::Known(Arc::clone(certificate));
        }
        facts.tls.ech = self.ech;
        facts
    }
}

fn texts(names: &RecordNames) -> Vec<Box<str>> {
    names.all().iter().take(RECORD_NAMES_MAX).map(|name| name.to_string().into()).collect()
}

/// The protocol a record's word stands for. Which greeting it was makes no difference to a rule.
fn app(word: &str) -> App {
    match word {
        "tls" => App::Tls,
        "quic" => App::Quic,
        "http" => App::Http,
        "dns" => App::Dns,
        "unknown" => App::Other,
        _ => App::Greeting("greeting"),
    }
}

/// The name a record's text stands for: `\xhh` is the byte of that number.
#[must_use]
pub fn domain_name(text: &str) -> Option<DomainName> {
    let mut name = DomainName::empty();
    for label in text.split('.') {
        name.push_label(&unescaped(label)?).ok()?;
    }
    Some(name)
}

fn unescaped(label: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(label.len());
    let mut rest = label;
    while let Some((before, after)) = rest.split_once("\\x") {
        bytes.extend_from_slice(before.as_bytes());
        let (digits, behind) = after.split_at_checked(2)?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        rest = behind;
    }
    bytes.extend_from_slice(rest.as_bytes());
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_records_are_read_as_they_print() {
        for labels in [&[&b"api"[..], b"example"][..], &[b"a b\\", b"\xff", b"com"], &[b"x.y"]] {
            let name = DomainName::from_labels(labels.iter().copied()).unwrap();
            assert_eq!(domain_name(&name.to_string()), Some(name), "{name}");
        }
        for bad in ["", "a..b", "a\\x", "a\\x4", "a\\xzz"] {
            assert_eq!(domain_name(bad), None, "{bad}");
        }
    }
}
