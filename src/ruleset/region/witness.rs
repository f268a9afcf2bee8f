//! A concrete flow as a ruleset has it: the witness of a finding, as the arguments of `lockgate
//! explain` and as JSON. Judges nothing.

use super::flow::{Flow, Shown};
use super::grounds::{unlisted_endpoint, usual_endpoint};
use crate::model::{ApiId, App, EndpointId, SegmentId, TlsVersion};
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

    /// As arguments of `lockgate explain`, behind the ruleset. What no command line can hold is left out.
    #[must_use]
    pub fn arguments(&self) -> Vec<String> {
        let sayable = self.options().into_iter().filter(|(_, value)| !is_unsayable(value));
        let mut words: Vec<String> =
            sayable.flat_map(|(flag, value)| option(flag, value)).collect();
        if self.flow.bound {
            words.push("--bound".to_owned());
        }
        if self.flow.app.is_none() {
            words.push("--midstream".to_owned());
        }
        words
    }

    /// The options whose values no command line can hold, or none that can be read.
    fn left_out(&self) -> Vec<String> {
        let options = self.options().into_iter().filter(|(_, value)| is_unsayable(value));
        let mut flags: Vec<String> = options.map(|(flag, _)| format!("--{flag}")).collect();
        flags.dedup();
        flags
    }

    /// Every option that has a value.
    fn options(&self) -> Vec<(&'static str, String)> {
        let flow = &self.flow;
        let mut options = self.place();
        let mut put = |flag: &'static str, value: String| options.push((flag, value));
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
        match (flow.version, flow.app) {
            (Some(TlsVersion(0x0304)), _) => {}
            (Some(version), _) => put("tls-version", version.to_string()),
            // Without it, what has TLS has a version.
            (None, Some(App::Tls | App::Quic)) => put("tls-version", "none".to_owned()),
            (None, _) => {}
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
        options
    }

    /// The options that say where it is met: day, endpoint, segments, five-tuple.
    fn place(&self) -> Vec<(&'static str, String)> {
        let tuple = &self.flow.tuple;
        let mut options = Vec::new();
        let mut put = |flag: &'static str, value: String| options.push((flag, value));
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
        options
    }

    /// The whole command that explains it, as a shell takes it; `ruleset` as the user named it.
    #[must_use]
    pub fn command(&self, ruleset: &str) -> String {
        let words = self.arguments();
        let words: Vec<String> = words.iter().map(|word| shell(word)).collect();
        let path =
            if ruleset.starts_with('-') { format!("./{ruleset}") } else { ruleset.to_owned() };
        let command = format!("lockgate explain {} {}", shell(&path), words.join(" "));
        match self.left_out().join(", ") {
            none if none.is_empty() => command,
            flags => format!("{command} # without {flags}: control characters"),
        }
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
            "explain_without": Some(self.left_out()).filter(|flags| !flags.is_empty()),
        });
        if let Some(fields) = value.as_object_mut() {
            fields.retain(|_, value| !value.is_null());
        }
        value
    }
}

/// Whether a value cannot be typed: a command line has no NUL, and a terminal obeys the others.
fn is_unsayable(value: &str) -> bool {
    value.chars().any(char::is_control)
}

/// An option as one word if its value begins with a dash, which would be read as an option itself.
fn option(flag: &str, value: String) -> Vec<String> {
    if value.starts_with('-') {
        return vec![format!("--{flag}={value}")];
    }
    vec![format!("--{flag}"), value]
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
    use super::super::tests::spec;
    use super::super::{Asks, Ranges, Values, boxes, grounds, left, scopes};
    use super::*;
    use crate::model::Action;
    use crate::policy::spec::{CertificateSpec, RuleSpec};

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

    #[test]
    fn a_value_that_begins_with_a_dash_is_one_word_with_its_option() {
        assert_eq!(option("dns", "-a.example".to_owned()), ["--dns=-a.example"]);
        assert_eq!(option("dns", "a-b.example".to_owned()), ["--dns", "a-b.example"]);
    }

    #[test]
    fn what_cannot_be_typed_is_left_out_and_told() {
        let mut rule = RuleSpec::new("r", Action::Allow);
        rule.tls.client_certificate = Some(CertificateSpec {
            issuers: Some(vec!["O=a\0b".to_owned()]),
            names: None,
            sha256: None,
            in_date: false,
        });
        let spec = spec(vec![rule], Action::Deny, 0);
        let policy = Policy::compile(&spec, None).unwrap();
        let mut values = Values::default();
        let asks = Asks::new(&spec.policies[0].rules[0], &spec.defaults, &mut values);
        let grounds = grounds(&spec, &scopes(&spec, &policy));
        let ground = grounds.iter().find(|ground| ground.from < ground.to).unwrap();
        let ech = spec.defaults.encrypted_client_hello;
        let all = boxes(&ground.sources, &ground.destinations, &Ranges::one(0), ech);
        let flow = left(all.iter().filter_map(|area| area.and(&asks)), &[], &mut values).flow();
        let witness = Witness::new(flow.unwrap(), (&spec, &policy), None, ground.sides());
        let told = "# without --certificate-issuer: control characters";
        let command = witness.command("-r.yaml");
        assert!(command.starts_with("lockgate explain ./-r.yaml ") && command.ends_with(told));
        assert!(!command.contains("issuer "), "{command}");
        let json = witness.to_json();
        assert_eq!(json["explain_without"], serde_json::json!(["--certificate-issuer"]));
    }
}
