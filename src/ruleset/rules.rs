//! One rule: from its written form to its specification, and what is contradictory in it. Compares
//! no rules with each other.

use super::diagnostic::{Diagnostic, Findings};
use super::document::{RuleDoc, TlsDoc};
use super::quantity::Date;
use super::scalar::clip;
use super::sets::Sets;
use super::source::Place;
use super::term::{CertificateDoc, IcmpWord};
use crate::model::{Action, Protocol};
use crate::policy::names::TextPattern;
use crate::policy::spec::{AppMatch, CertificateSpec, IcmpMatch, RuleSpec, TlsSpec};

/// The specification of a rule. One without id or action, which has been reported, is checked all
/// the same; it is never compiled.
pub(super) fn rule(
    doc: &RuleDoc,
    sets: &Sets,
    today: Option<Date>,
    findings: &mut Findings,
) -> RuleSpec {
    let id = doc.id.as_ref().map_or("?", |id| &id.value.0);
    let about = format!("rule `{id}`");
    let mut spec = RuleSpec::new(id, doc.action.as_ref().map_or(Action::Deny, |a| a.value));
    spec.description = doc.description.as_ref().map(|d| d.value.0.clone());
    spec.ticket = doc.ticket.as_ref().map(|t| t.value.0.clone());
    spec.protocols = protocols(doc);
    spec.sources = doc.sources.as_ref().map(|l| sets.resolve(&about, l, findings));
    spec.destinations = doc.destinations.as_ref().map(|l| sets.resolve(&about, l, findings));
    spec.source_ports = doc.source_ports.as_ref().map(|l| sets.resolve(&about, l, findings));
    spec.ports = doc.ports.as_ref().map(|l| sets.resolve(&about, l, findings));
    spec.domains = doc.domains.as_ref().map(|l| sets.names(&about, l, findings));
    spec.dns = doc.dns.as_ref().map(|l| sets.names(&about, l, findings));
    spec.answers = doc.answers.as_ref().map(|l| sets.resolve(&about, l, findings));
    spec.api_ids =
        doc.api_id.as_ref().map(|list| list.items.iter().map(|i| i.value.clone()).collect());
    spec.app = doc.app.as_ref().map(|a| a.value);
    spec.bind_dns = doc.bind.is_some();
    spec.midstream = doc.midstream.as_ref().map(|m| m.value).unwrap_or_default();
    spec.log = doc.log.as_ref().map(|l| l.value).unwrap_or_default();
    spec.expires = doc.expires.as_ref().map(|e| e.value.days());
    spec.icmp = icmp(&about, doc, spec.protocols.as_deref(), findings);
    spec.tls = doc.tls.as_ref().map(|tls| tls_spec(&about, tls, findings)).unwrap_or_default();
    check_expiry(&about, doc, today, findings);
    check_protocols(&about, doc, &spec, findings);
    check_names(&about, doc, &spec, findings);
    spec
}

/// The protocols a rule names; none if it names none or `any`.
fn protocols(doc: &RuleDoc) -> Option<Vec<Protocol>> {
    let words = &doc.protocol.as_ref()?.items;
    let list: Vec<Protocol> = words.iter().filter_map(|word| word.value.0).collect();
    (list.len() == words.len()).then_some(list)
}

fn icmp(
    about: &str,
    doc: &RuleDoc,
    protocols: Option<&[Protocol]>,
    findings: &mut Findings,
) -> Option<Vec<IcmpMatch>> {
    let list = doc.icmp.as_ref()?;
    if list.is_empty {
        let text = format!("{about}: this list is empty and matches nothing");
        findings.push(Diagnostic::error("empty-list", text).at(list.place, "empty"));
    }
    let mut matches = Vec::new();
    for word in &list.items {
        let (name, v4, v6) = match word.value {
            IcmpWord::Number(number) => {
                matches.push(number);
                continue;
            }
            IcmpWord::Named { word, v4, v6 } => (word, v4, v6),
        };
        let kind = match protocols {
            Some([Protocol::ICMP]) => v4,
            Some([Protocol::ICMPV6]) => v6,
            _ => None,
        };
        match kind {
            Some(kind) => matches.push(IcmpMatch { kind, code: None }),
            None => findings.push(
                Diagnostic::error("icmp-name", format!("{about}: `{name}` has no number here"))
                    .at(word.place, "ICMP and ICMPv6 number their types differently")
                    .help("write `protocol: icmp` or `protocol: icmpv6`, and a type that it has"),
            ),
        }
    }
    Some(matches)
}

fn tls_spec(about: &str, doc: &TlsDoc, findings: &mut Findings) -> TlsSpec {
    let client_certificate = doc.client_certificate.as_ref().map(|certificate| match certificate {
        CertificateDoc::Required => CertificateSpec::default(),
        CertificateDoc::Like(fields) => {
            if fields.written == 0 {
                let text = format!("{about}: client_certificate asks for nothing");
                findings.push(
                    Diagnostic::error("empty-condition", text).at(fields.place, "no field").help(
                        "write `client_certificate: required`, or give issuer, san, sha256 or in_date",
                    ),
                );
            }
            if let Some(at) = fields.in_date.as_ref().filter(|at| !at.value) {
                findings.push(
                    Diagnostic::error("empty-condition", format!("{about}: `in_date: false`"))
                        .at(at.place, "asks for nothing")
                        .help("write `in_date: true`, or leave it out"),
                );
            }
            let names = fields.san.as_ref().map(|list| {
                let read = |text: &super::source::At<super::scalar::Text>| {
                    TextPattern::parse(&text.value.0)
                        .map_err(|fault| {
                            let text_ = clip(&text.value.0);
                            let message = format!("{about}: `{text_}` is no alternative name");
                            findings.push(
                                Diagnostic::error("bad-san", message)
                                    .at(text.place, fault.to_string()),
                            );
                        })
                        .ok()
                };
                list.items.iter().filter_map(read).collect()
            });
            CertificateSpec {
                issuers: fields
                    .issuer
                    .as_ref()
                    .map(|list| list.items.iter().map(|i| i.value.0.clone()).collect()),
                names,
                sha256: fields
                    .sha256
                    .as_ref()
                    .map(|list| list.items.iter().map(|sum| sum.value.0).collect()),
                in_date: fields.in_date.as_ref().is_some_and(|at| at.value),
            }
        }
    });
    TlsSpec {
        min_version: doc.min_version.as_ref().map(|v| v.value),
        client_certificate,
        ja4: doc.ja4.as_ref().map(|list| list.items.iter().map(|j| j.value).collect()),
    }
}

fn check_expiry(about: &str, doc: &RuleDoc, today: Option<Date>, findings: &mut Findings) {
    let (Some(expires), Some(action)) = (&doc.expires, &doc.action) else { return };
    if action.value != Action::Allow {
        let text = format!("{about}: a rule that denies cannot expire");
        findings.push(
            Diagnostic::error("expires-on-deny", text)
                .at(expires.place, "what it denies would open on the next day")
                .also(action.place, "not an allow")
                .help("remove `expires`"),
        );
    } else if today.is_some_and(|today| today > expires.value) {
        findings.push(
            Diagnostic::warning("expired", format!("{about} has expired"))
                .at(expires.place, "it matches nothing since the day after")
                .help("delete the rule, or have it renewed"),
        );
    }
}

/// What a rule asks for that its protocols cannot have.
fn check_protocols(about: &str, doc: &RuleDoc, spec: &RuleSpec, findings: &mut Findings) {
    let Some(protocols) = spec.protocols.as_deref() else { return };
    let at = doc.protocol.as_ref().map_or(doc.place, |p| p.place);
    let mut never = |place: Place, what: &str, help: &str| {
        let names: Vec<String> = protocols.iter().map(ToString::to_string).collect();
        let text = format!("{about}: {what} does not go with protocol {}", names.join(", "));
        findings.push(
            Diagnostic::error("protocol-mismatch", text)
                .at(place, "asked for here")
                .also(at, "the protocol")
                .help(help),
        );
    };
    let all = |want: &[Protocol]| protocols.iter().all(|p| want.contains(p));
    let some = |want: &[Protocol]| protocols.iter().any(|p| want.contains(p));
    for (ports, what) in [(&doc.ports, "`ports`"), (&doc.source_ports, "`source_ports`")] {
        if let Some(list) = ports.as_ref().filter(|_| !all(&[Protocol::TCP, Protocol::UDP])) {
            never(list.place, what, "only tcp and udp have ports");
        }
    }
    if let Some(list) = doc.icmp.as_ref().filter(|_| !all(&[Protocol::ICMP, Protocol::ICMPV6])) {
        never(list.place, "`icmp`", "only icmp and icmpv6 have types");
    }
    let streams = some(&[Protocol::TCP, Protocol::UDP]);
    for (place, what) in [
        (doc.domains.as_ref().map(|l| l.place), "`domains`"),
        (doc.dns.as_ref().map(|l| l.place), "`dns`"),
        (doc.tls.as_ref().map(|l| l.place), "`tls`"),
        (doc.api_id.as_ref().map(|l| l.place), "`api_id`"),
    ] {
        if let Some(place) = place.filter(|_| !streams) {
            never(place, what, "names and TLS are found in tcp and udp");
        }
    }
    if let Some(app) = &doc.app {
        let fits = match app.value {
            AppMatch::Tls | AppMatch::Http => some(&[Protocol::TCP]),
            AppMatch::Quic => some(&[Protocol::UDP]),
            AppMatch::Dns => streams,
        };
        if !fits {
            never(
                app.place,
                "this `app`",
                "tls and http run over tcp, quic over udp, dns over both",
            );
        }
    }
}

/// Conditions on names that can never be true together.
fn check_names(about: &str, doc: &RuleDoc, spec: &RuleSpec, findings: &mut Findings) {
    let mut clash = |place: Place, other: Place, what: &str, help: &str| {
        findings.push(
            Diagnostic::error("never-true", format!("{about}: {what}"))
                .at(place, "this")
                .also(other, "and this")
                .help(help),
        );
    };
    if let (Some(api), Some(dns)) = (&doc.api_id, &doc.dns) {
        let what = "`api_id` and `dns` are never both true: a DNS message is no request";
        clash(dns.place, api.place, what, "make two rules");
    }
    if let (Some(api), Some(tls)) = (&doc.api_id, &doc.tls) {
        let what =
            "`api_id` and `tls` are never both true: within TLS no field of a request is seen";
        clash(tls.place, api.place, what, "`api_id` is for HTTP in clear text");
    }
    if let (Some(domains), Some(dns)) = (&doc.domains, &doc.dns) {
        let what = "`domains` and `dns` are never both true: a DNS message asks for no server name";
        clash(dns.place, domains.place, what, "make two rules");
    }
    if let Some(app) = &doc.app {
        let is_dns = app.value == AppMatch::Dns;
        if let Some(domains) = doc.domains.as_ref().filter(|_| is_dns) {
            let what = "`domains` is never true for app dns";
            clash(domains.place, app.place, what, "names in DNS questions are `dns`");
        }
        if let Some(dns) = doc.dns.as_ref().filter(|_| !is_dns) {
            let what = "`dns` is true for app dns only";
            clash(dns.place, app.place, what, "names that clients ask servers for are `domains`");
        }
        if let Some(api) = doc.api_id.as_ref().filter(|_| app.value != AppMatch::Http) {
            let what = "`api_id` is true for app http only";
            clash(api.place, app.place, what, "write `app: http`");
        }
        let plain = matches!(app.value, AppMatch::Dns | AppMatch::Http);
        if let Some(tls) = doc.tls.as_ref().filter(|_| plain) {
            clash(tls.place, app.place, "`tls` is never true for this app", "write `app: tls`");
        }
    }
    if let Some(answers) = doc.answers.as_ref().filter(|_| doc.dns.is_none()) {
        findings.push(
            Diagnostic::error("answers-without-dns", format!("{about}: `answers` needs `dns`"))
                .at(answers.place, "answers to which questions?")
                .help(
                    "`answers` says where names asked for by `dns` may lead; `\"*\"` is any name",
                ),
        );
    }
    if let Some(bind) = doc.bind.as_ref().filter(|_| spec.domains.is_none()) {
        findings.push(
            Diagnostic::error("bind-without-domains", format!("{about}: `bind` needs `domains`"))
                .at(bind.place, "nothing to bind")
                .help("`bind: dns` ties the name a client asks for to an answer of DNS"),
        );
    }
}
