//! One Suricata rule into rules of this language, or why not. Order among rules is not known here.

use super::draft::{Draft, Side};
use super::names::{Buffer, Patterns};
use super::space::{Variables, networks, ports};
use super::syntax::{Rule, RuleAction, RuleOption};
use super::words::{NOCASE_ON_HOST, ip_protocol, is_buffer, number_only, protocol, refusal};
use crate::model::{Action, Protocol};
use ipnet::IpNet;

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
