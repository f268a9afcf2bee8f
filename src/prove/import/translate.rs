//! One Suricata rule into rules of this language, or why not. Order among rules is not known here.

use super::names::{Buffer, Patterns};
use super::space::{Variables, networks, ports};
use super::syntax::{Rule, RuleAction, RuleOption};
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
    fn consistent(&mut self) -> Result<(), String> {
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

/// What became of a rule.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Translated {
    /// In order; none where the rule decides nothing.
    pub drafts: Vec<Draft>,
    /// Where they mean something else.
    pub notes: Vec<String>,
    /// What somebody should know although they mean the same.
    pub hints: Vec<String>,
}

/// Why there is no rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Left {
    /// Nothing here says the same.
    Refused(String),
    /// It decides nothing.
    NoVerdict(String),
}

/// Translates.
///
/// # Errors
/// Why there is no rule.
pub fn translate(rule: &Rule, variables: &Variables, alerts: bool) -> Result<Translated, Left> {
    let action = match rule.action {
        RuleAction::Pass => Action::Allow,
        RuleAction::Drop => Action::Deny,
        RuleAction::Reject => Action::Reject,
        RuleAction::Alert if alerts => Action::Deny,
        RuleAction::Alert => {
            check(rule).map_err(Left::Refused)?;
            return Err(Left::NoVerdict(
                "an alert decides nothing; flows are recorded anyway".into(),
            ));
        }
    };
    if rule.sid().is_none() {
        return Err(Left::Refused("the rule has no sid".into()));
    }
    let mut work = Work::new(rule, action, variables).map_err(Left::Refused)?;
    for option in &rule.options {
        work.take(option).map_err(Left::Refused)?;
    }
    work.finish()
}

/// Reads a rule that is not translated for what Suricata itself would refuse.
fn check(rule: &Rule) -> Result<(), String> {
    let mut buffer = Buffer::default();
    let mut host = false;
    for option in &rule.options {
        host = match option.name.as_str() {
            "http.host" => true,
            name if is_buffer(name) => false,
            _ => host,
        };
        if is_buffer(&option.name) {
            buffer = Buffer::default();
        }
        if host && option.name == "nocase" {
            return Err(NOCASE_ON_HOST.into());
        }
        if matches!(option.name.as_str(), "content" | "offset" | "depth" | "distance" | "within") {
            buffer.take(option)?;
        }
    }
    Ok(())
}

const NOCASE_ON_HOST: &str = "Suricata refuses `nocase` on http.host, which is lower case anyway";

fn is_buffer(name: &str) -> bool {
    name.contains('.') && !name.starts_with("app-layer") && name != "tls.version"
}

/// Which way packets must travel for the rule.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Either,
    ToServer,
    ToClient,
}

struct Work<'r> {
    rule: &'r Rule,
    draft: Draft,
    way: Way,
    not_established: bool,
    buffer: Option<(&'static str, Buffer)>,
    icmp_type: Option<String>,
    icmp_code: Option<String>,
    out: Translated,
}

impl<'r> Work<'r> {
    fn new(rule: &'r Rule, action: Action, variables: &Variables) -> Result<Self, String> {
        let (protocols, app) = protocol(&rule.protocol)?;
        let draft = Draft {
            action,
            protocols,
            source: side(&rule.source, networks(&rule.source, variables)?),
            source_port: side(&rule.source_port, ports(&rule.source_port, variables)?),
            destination: side(&rule.destination, networks(&rule.destination, variables)?),
            destination_port: side(
                &rule.destination_port,
                ports(&rule.destination_port, variables)?,
            ),
            icmp: Vec::new(),
            app,
            domains: Vec::new(),
            dns: Vec::new(),
            ja4: Vec::new(),
        };
        let mut work = Self {
            rule,
            draft,
            way: Way::Either,
            not_established: false,
            buffer: None,
            icmp_type: None,
            icmp_code: None,
            out: Translated::default(),
        };
        work.version_of_header()?;
        Ok(work)
    }

    /// `ipv4` and `ipv6` as protocols.
    fn version_of_header(&mut self) -> Result<(), String> {
        let all: IpNet = match self.rule.protocol.as_str() {
            "ipv4" | "ip4" => "0.0.0.0/0".parse().map_err(|_| "no network")?,
            "ipv6" | "ip6" => "::/0".parse().map_err(|_| "no network")?,
            _ => return Ok(()),
        };
        if self.draft.source.values.is_none() && self.draft.destination.values.is_none() {
            self.draft.source = Side { variable: None, values: Some(vec![all]) };
        }
        Ok(())
    }

    fn take(&mut self, option: &RuleOption) -> Result<(), String> {
        let value = option.value.as_deref().unwrap_or_default();
        match option.name.as_str() {
            "sid" | "msg" | "rev" | "metadata" | "classtype" | "reference" | "priority" | "gid"
            | "target" | "alert" | "noalert" | "prefilter" => Ok(()),
            "threshold" | "detection_filter" if self.rule.action == RuleAction::Alert => Ok(()),
            "threshold" => {
                self.out.hints.push("`threshold` limits alerts only".into());
                Ok(())
            }
            "flow" => self.flow(value),
            "ssl_state" if value == "client_hello" => Ok(()),
            "tls.sni" | "tls_sni" => self.open("tls"),
            "http.host" => self.open("http"),
            "dns.query" | "dns_query" => self.open("dns"),
            "quic.sni" => self.open("quic"),
            "ja4.hash" => self.open("ja4"),
            "app-layer-protocol" => self.app_layer(value),
            "ip_proto" => self.ip_proto(value),
            "itype" => number_only(value, "itype").map(|text| self.icmp_type = Some(text)),
            "icode" => number_only(value, "icode").map(|text| self.icmp_code = Some(text)),
            name => self.modifier(name, option),
        }
    }

    /// What stands behind a buffer and belongs to it.
    fn modifier(&mut self, name: &str, option: &RuleOption) -> Result<(), String> {
        let Some((kind, buffer)) = &mut self.buffer else { return Err(refusal(name)) };
        if *kind == "http" && name == "nocase" {
            return Err(NOCASE_ON_HOST.into());
        }
        if buffer.take(option)? { Ok(()) } else { Err(refusal(name)) }
    }

    fn flow(&mut self, value: &str) -> Result<(), String> {
        for word in value.split(',').map(str::trim) {
            match word {
                "to_server" | "from_client" => self.way = Way::ToServer,
                "to_client" | "from_server" => self.way = Way::ToClient,
                "established" | "stateless" => {}
                "not_established" => self.not_established = true,
                other => return Err(format!("`flow:{other}` has no equal")),
            }
        }
        Ok(())
    }

    /// Begins a name buffer.
    fn open(&mut self, kind: &'static str) -> Result<(), String> {
        if self.buffer.is_some() {
            return Err("two buffers in one rule; a rule here asks for one name".into());
        }
        let fits = match (kind, self.draft.app) {
            (_, None) | ("ja4", Some("tls" | "quic")) => true,
            (kind, Some(app)) => kind == app,
        };
        if !fits {
            return Err(format!("protocol `{}` has no such buffer", self.rule.protocol));
        }
        match kind {
            "dns" => self.draft.app = None,
            "ja4" => {}
            _ => self.draft.app = Some(kind),
        }
        let keeps_case = matches!(kind, "tls" | "quic" | "dns");
        self.buffer = Some((kind, Buffer::new(keeps_case)));
        Ok(())
    }

    fn app_layer(&mut self, value: &str) -> Result<(), String> {
        if value.starts_with('!') {
            return Err(
                "every protocol but one cannot be asked for; write a rule for that one before it"
                    .into(),
            );
        }
        match protocol(value.split(',').next().unwrap_or_default())? {
            (_, Some(app)) if self.draft.app.is_none_or(|known| known == app) => {
                self.draft.app = Some(app);
                Ok(())
            }
            _ => Err(format!("`app-layer-protocol:{value}` has no equal")),
        }
    }

    fn ip_proto(&mut self, value: &str) -> Result<(), String> {
        let (negated, word) = match value.strip_prefix('!') {
            Some(word) => (true, word.trim()),
            None => (false, value),
        };
        let number = ip_protocol(word).ok_or_else(|| format!("`{word}` is no IP protocol"))?;
        let known = self.draft.protocols.take();
        let all = || (0..=255).map(Protocol).collect::<Vec<_>>();
        let mut list = known.unwrap_or_else(all);
        list.retain(|protocol| (*protocol == number) != negated);
        if list.is_empty() {
            return Err("no protocol is left".into());
        }
        self.draft.protocols = Some(list);
        Ok(())
    }

    fn finish(mut self) -> Result<Translated, Left> {
        self.names().map_err(Left::Refused)?;
        if let Some(kind) = &self.icmp_type {
            let code = self.icmp_code.as_ref().map_or_else(String::new, |code| format!("/{code}"));
            self.draft.icmp = vec![format!("{kind}{code}")];
        } else if self.icmp_code.is_some() {
            return Err(Left::Refused("`icode` without `itype` has no equal".into()));
        }
        self.draft.consistent().map_err(Left::Refused)?;
        if self.not_established {
            return Err(match self.draft.action {
                Action::Allow => Left::NoVerdict(
                    "the handshake passes here while a flow is undecided; no rule is needed".into(),
                ),
                _ => {
                    Left::Refused("`flow:not_established` of a rule that drops has no equal".into())
                }
            });
        }
        let (rule, draft) = (self.rule, &self.draft);
        let mirrored = draft.mirrored();
        let symmetric = mirrored == *draft;
        let asks_client =
            !(draft.domains.is_empty() && draft.dns.is_empty() && draft.ja4.is_empty());
        self.out.drafts = match self.way {
            _ if symmetric => vec![draft.clone()],
            _ if rule.both_ways => vec![draft.clone(), mirrored],
            Way::ToServer => vec![draft.clone()],
            Way::ToClient if asks_client => {
                return Err(Left::Refused(
                    "names travel to the server, never to the client".into(),
                ));
            }
            Way::ToClient => vec![mirrored],
            Way::Either if asks_client || draft.action == Action::Allow => vec![draft.clone()],
            Way::Either => {
                self.out.hints.push(
                    "without `flow` it drops replies that match too, so flows opened the other way \
                     are denied by a second rule"
                        .into(),
                );
                vec![draft.clone(), mirrored]
            }
        };
        Ok(self.out)
    }

    fn names(&mut self) -> Result<(), String> {
        let Some((kind, buffer)) = self.buffer.take() else { return Ok(()) };
        let Patterns { patterns, notes, hints } = if kind == "ja4" {
            let hash = buffer.only_content().filter(|hash| hash.len() == 36);
            let hash = hash.ok_or("only a whole JA4 fingerprint can be asked for")?;
            self.draft.ja4 = vec![hash.to_owned()];
            return Ok(());
        } else {
            buffer.patterns()?
        };
        if patterns.is_empty() {
            return Err("a buffer without `content` has no equal".into());
        }
        self.out.notes.extend(notes);
        self.out.hints.extend(hints);
        if kind == "dns" {
            self.draft.dns = patterns;
        } else {
            self.draft.domains = patterns;
        }
        Ok(())
    }
}

fn side<T>(text: &str, values: Option<Vec<T>>) -> Side<T> {
    let plain = |name: &&str| {
        name.starts_with(|c: char| c.is_ascii_alphanumeric())
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
    };
    let variable = text.strip_prefix('$').filter(plain).map(ToOwned::to_owned);
    Side { variable: variable.filter(|_| values.is_some()), values }
}

fn number_only(value: &str, name: &str) -> Result<String, String> {
    match value.parse::<u8>() {
        Ok(number) => Ok(number.to_string()),
        Err(_) => Err(format!("`{name}:{value}` has no equal; only a number has")),
    }
}

type Header = (Option<Vec<Protocol>>, Option<&'static str>);

/// IP protocols and the application protocol of a header's word.
fn protocol(word: &str) -> Result<Header, String> {
    let tcp = || Some(vec![Protocol::TCP]);
    Ok(match word {
        "ip" | "any" | "ipv4" | "ip4" | "ipv6" | "ip6" => (None, None),
        "tcp" | "tcp-stream" | "tcp-pkt" => (tcp(), None),
        "udp" => (Some(vec![Protocol::UDP]), None),
        "icmp" => (Some(vec![Protocol::ICMP, Protocol::ICMPV6]), None),
        "icmpv4" => (Some(vec![Protocol::ICMP]), None),
        "icmpv6" => (Some(vec![Protocol::ICMPV6]), None),
        "sctp" => (Some(vec![Protocol(132)]), None),
        "tls" | "ssl" => (tcp(), Some("tls")),
        "http" | "http1" => (tcp(), Some("http")),
        "quic" => (Some(vec![Protocol::UDP]), Some("quic")),
        "dns" => (Some(vec![Protocol::TCP, Protocol::UDP]), Some("dns")),
        "http2" => return Err("HTTP/2 cannot be told from HTTP/1 by a rule here".into()),
        other => {
            return Err(format!(
                "protocol `{other}`: a rule here can ask for tls, http, quic and dns; write its ports"
            ));
        }
    })
}

fn ip_protocol(word: &str) -> Option<Protocol> {
    Some(Protocol(match word.to_ascii_lowercase().as_str() {
        "icmp" => 1,
        "igmp" => 2,
        "tcp" => 6,
        "udp" => 17,
        "gre" => 47,
        "esp" => 50,
        "ah" => 51,
        "ipv6-icmp" | "icmpv6" => 58,
        "sctp" => 132,
        number => number.parse().ok()?,
    }))
}

/// What is said of a keyword that has no equal.
fn refusal(name: &str) -> String {
    let why = match name {
        "content" | "pcre" | "dsize" | "depth" | "offset" | "distance" | "within" | "nocase"
        | "startswith" | "endswith" | "isdataat" | "byte_test" | "byte_jump" | "uricontent"
        | "fast_pattern" | "bsize" => {
            "a detection rule: it looks into payload, which a policy here does not"
        }
        "xbits" | "hostbits" => "state over flows; `bind: dns` ties a name to its DNS answers",
        "flowbits" | "flowint" => "state within a flow; rules here are tried in order instead",
        "geoip" => "no data of countries; write the networks",
        "aws_domain_category" | "aws_url_category" => "no data of categories; write the names",
        "iprep" | "dataset" | "datarep" => "no data of its own; write a set",
        "ja3.hash" | "ja3s.hash" => "fingerprints are asked for as JA4 here",
        "ssl_version" | "tls.version" => {
            "only a lowest version can be asked for (`tls.min_version`)"
        }
        "ssl_state" => "only `client_hello` has an equal",
        "tls.cert_issuer"
        | "tls.cert_subject"
        | "tls.subject"
        | "tls.issuerdn"
        | "tls.cert_fingerprint"
        | "tls.fingerprint" => "the server's certificate is not asked for here",
        "flags" | "seq" | "ack" | "window" | "ttl" | "tos" | "fragbits" | "stream_size" => {
            "a single packet's header; verdicts here are of flows"
        }
        name if name.starts_with("http") || name.starts_with("file") => {
            "what is inside a request is not asked for here, but for its host"
        }
        _ => "it has no equal",
    };
    format!("`{name}`: {why}")
}
