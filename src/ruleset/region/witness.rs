//! A concrete flow as a ruleset has it: the witness of a finding, as the arguments of `lockgate
//! explain` and as JSON. Judges nothing.

use super::flow::{Flow, Shown};
use super::grounds::{unlisted_endpoint, usual_endpoint};
use crate::model::{ApiId, App, EndpointId, SegmentId};
use crate::policy::Policy;
use crate::policy::spec::PolicySpec;
use crate::ruleset::Date;

/// A day on which certificates that are out of date ended.
const LONG_AGO: &str = "1970-01-01";

/// A flow and where it is met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Witness {
    /// The flow.
    pub flow: Flow,
    /// The segment that sends its first packet; none where its addresses belong to no two that meet.
    pub from: Option<String>,
    /// The segment that receives it, likewise.
    pub to: Option<String>,
    /// The GWLB endpoint it comes through; none where any will do.
    pub endpoint: Option<EndpointId>,
    /// That endpoint, where the segments alone do not lead to it.
    pub stated_endpoint: Option<EndpointId>,
    /// The trusted proxy that speaks for `from`.
    pub proxy: Option<String>,
    /// The PrivateLink endpoint its PROXY header names, where no segment is known by it.
    pub proxy_endpoint: Option<EndpointId>,
    /// The day on which it is judged, where a rule of the ruleset expires.
    pub day: Option<Date>,
}

/// The segments of a witness as one ruleset has them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sides {
    /// Who sends and who receives; none where the addresses belong to no two segments that meet.
    pub pair: Option<(SegmentId, SegmentId)>,
    /// The trusted proxy that speaks for the sender.
    pub proxy: Option<SegmentId>,
    /// The PrivateLink endpoint that its PROXY header names, where that leads to no segment.
    pub proxy_endpoint: Option<EndpointId>,
}

impl Witness {
    /// A flow through an endpoint, as one ruleset has it.
    #[must_use]
    pub fn new(
        flow: Flow,
        (spec, policy): (&PolicySpec, &Policy),
        endpoint: Option<EndpointId>,
        sides: Sides,
    ) -> Self {
        let segment = |id: SegmentId| spec.segments.get(usize::from(id.0));
        let name = |id| segment(id).map(|segment| segment.name.clone());
        let (from, to) = sides.pair.unzip();
        let named = [from, to].map(|side| side.and_then(segment));
        let named = if sides.proxy.is_some() { [None, None] } else { named };
        // What belongs to nobody is best shown by where it comes from.
        let shown = from.is_some() || endpoint.is_none();
        let leads = shown && policy.scope(usual_endpoint(spec, named)) == policy.scope(endpoint);
        let stated = || endpoint.or_else(|| unlisted_endpoint(spec));
        let expires = spec.policies.iter().flat_map(|block| &block.rules);
        let expires = expires.into_iter().any(|rule| rule.expires.is_some());
        let day = expires.then(|| Date::from_days(flow.day.into()));
        Self {
            flow,
            from: from.and_then(name),
            to: to.and_then(name),
            endpoint,
            stated_endpoint: if leads { None } else { stated() },
            proxy: sides.proxy.and_then(name),
            proxy_endpoint: sides.proxy_endpoint,
            day,
        }
    }

    /// As arguments of `lockgate explain`, behind the ruleset.
    #[must_use]
    pub fn arguments(&self) -> Vec<String> {
        let flow = &self.flow;
        let mut words = self.place();
        let mut put = |flag: &str, value: String| words.extend([format!("--{flag}"), value]);
        if let Some((kind, code)) = flow.icmp {
            put("icmp", format!("{kind}/{code}"));
        }
        match &flow.domain {
            Shown::Name(name) => put("domain", name.clone()),
            Shown::Hidden => put("ech", "present".to_owned()),
            Shown::Nothing => {}
        }
        if let Shown::Name(name) = &flow.question {
            put("dns", name.clone());
        }
        if let Some(answer) = flow.answer {
            put("answer", answer.to_string());
        }
        if let Some(api_id) = &flow.api_id {
            put("api-id", api_id.to_string());
        }
        match flow.app {
            // A name tells the application: TLS over a stream, QUIC over UDP.
            Some(App::Tls) if matches!(flow.domain, Shown::Name(_)) => {}
            Some(App::Dns) if matches!(flow.question, Shown::Name(_)) => {}
            Some(app) if flow.tuple.protocol.has_ports() => put("app", app.name().to_owned()),
            _ => {}
        }
        if let Some(version) = flow.version.filter(|v| v.0 != 0x0304) {
            put("tls-version", version.to_string());
        }
        if let Some(ja4) = flow.ja4.filter(|ja4| !ja4.0.starts_with(b"t13d0000h0")) {
            put("ja4", ja4.to_string());
        }
        if flow.hides_certificate && flow.version.is_some_and(|v| v.0 < 0x0304) {
            put("client-certificate", "hidden".to_owned());
        }
        if let Some(certificate) = &flow.certificate {
            put("certificate-issuer", certificate.issuer.clone());
            for name in &certificate.names {
                put("certificate-san", name.clone());
            }
            put("certificate-sha256", certificate.sha256.clone());
            if !certificate.in_date {
                put("certificate-until", LONG_AGO.to_owned());
            }
        }
        if let Some(proxy) = &self.proxy {
            put("proxy", proxy.clone());
        }
        if let Some(endpoint) = self.proxy_endpoint {
            put("proxy-endpoint", endpoint.to_string());
        }
        if flow.bound {
            words.push("--bound".to_owned());
        }
        if flow.app.is_none() {
            words.push("--midstream".to_owned());
        }
        words
    }

    /// The arguments that say where it is met: day, endpoint, segments, five-tuple.
    fn place(&self) -> Vec<String> {
        let tuple = &self.flow.tuple;
        let mut words = Vec::new();
        let mut put = |flag: &str, value: String| words.extend([format!("--{flag}"), value]);
        if let Some(day) = self.day {
            put("at", day.to_string());
        }
        if let Some(endpoint) = self.stated_endpoint {
            put("endpoint", endpoint.to_string());
        }
        if let Some(from) = &self.from {
            put("from", from.clone());
        }
        if let Some(to) = &self.to {
            put("to", to.clone());
        }
        put("source", tuple.src.to_string());
        put("destination", tuple.dst.to_string());
        put("protocol", tuple.protocol.to_string());
        if tuple.protocol.has_ports() {
            if tuple.src_port != 40_000 {
                put("source-port", tuple.src_port.to_string());
            }
            put("port", tuple.dst_port.to_string());
        }
        words
    }

    /// The whole command that explains it, as a shell takes it; `ruleset` as the user named it.
    #[must_use]
    pub fn command(&self, ruleset: &str) -> String {
        let words = self.arguments();
        let words: Vec<String> = words.iter().map(|word| shell(word)).collect();
        format!("lockgate explain {} {}", shell(ruleset), words.join(" "))
    }

    /// As one JSON object.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        let flow = &self.flow;
        let name = |shown: &Shown| match shown {
            Shown::Name(name) => Some(name.clone()),
            Shown::Nothing | Shown::Hidden => None,
        };
        let ports = flow.tuple.protocol.has_ports();
        let mut value = serde_json::json!({
            "from": self.from,
            "to": self.to,
            "source": flow.tuple.src.to_string(),
            "source_port": ports.then_some(flow.tuple.src_port),
            "destination": flow.tuple.dst.to_string(),
            "port": ports.then_some(flow.tuple.dst_port),
            "protocol": flow.tuple.protocol.to_string(),
            "icmp": flow.icmp.map(|(kind, code)| format!("{kind}/{code}")),
            "app": flow.app.filter(|_| ports).map(App::name),
            "domain": name(&flow.domain),
            "dns": name(&flow.question),
            "answer": flow.answer.map(|answer| answer.to_string()),
            "api_id": flow.api_id.as_ref().map(ApiId::as_str),
            "tls_version": flow.version.map(|version| version.to_string()),
            "certificate": flow.certificate,
            "midstream": flow.app.is_none().then_some(true),
            "bound": flow.bound.then_some(true),
            "endpoint": self.endpoint.map(|endpoint| endpoint.to_string()),
            "proxy": self.proxy,
            "proxy_endpoint": self.proxy_endpoint.map(|endpoint| endpoint.to_string()),
            "day": self.day.map(|day| day.to_string()),
            "explain": self.arguments(),
        });
        if let Some(fields) = value.as_object_mut() {
            fields.retain(|_, value| !value.is_null());
        }
        value
    }
}

/// A word as a shell takes it.
fn shell(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.:/=,@".contains(c);
    if word.chars().all(plain) && !word.is_empty() {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_where_a_shell_would_read_something_else() {
        for (word, quoted) in [
            ("rules/acme.yaml", "rules/acme.yaml"),
            ("my rules", "'my rules'"),
            ("*.example", "'*.example'"),
            ("it's", r"'it'\''s'"),
            ("$HOME", "'$HOME'"),
            ("", "''"),
        ] {
            assert_eq!(shell(word), quoted);
        }
    }
}
