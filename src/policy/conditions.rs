//! The conditions of one rule that depend on facts, and how the rule stands against what is known.
//! Which rule of several decides is not known here.

use super::decision::{Bound, Condition, Needs, Query, Truth};
use super::names::NameSet;
use super::networks::AddrSet;
use super::spec::{
    Answer, AppMatch, CertificateSpec, DefaultsSpec, EncryptedClientHello, RuleSpec,
};
use crate::model::{
    Action, Addr, ApiId, App, Certificate, DomainName, Ech, Fact, Facts, FiveTuple, Ja4, PolicyId,
    Reason, Timestamp, TlsVersion,
};
use std::sync::Arc;

const TLS_1_3: TlsVersion = TlsVersion(0x0304);
const SECS_PER_DAY: u64 = 86_400;

/// What a rule is judged against.
pub(super) struct Case<'a> {
    pub(super) query: &'a Query<'a>,
    pub(super) facts: &'a Facts,
    pub(super) defaults: &'a DefaultsSpec,
    /// The DNS question being judged.
    pub(super) question: Seen<&'a DomainName>,
}

/// A fact as a rule sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen<T> {
    /// Known.
    Known(T),
    /// Known not to exist.
    Absent,
    /// Comes with what the client sends.
    FromClient,
    /// Comes with what the server answers.
    FromServer,
    /// Passed before anybody looked.
    Missed,
    /// Hidden by the protocol; the default leans this way.
    Hidden(Answer, Reason),
}

impl<T> Seen<T> {
    fn map<U>(self, f: impl FnOnce(T) -> U) -> Seen<U> {
        match self {
            Self::Known(value) => Seen::Known(f(value)),
            Self::Absent => Seen::Absent,
            Self::FromClient => Seen::FromClient,
            Self::FromServer => Seen::FromServer,
            Self::Missed => Seen::Missed,
            Self::Hidden(answer, reason) => Seen::Hidden(answer, reason),
        }
    }
}

/// How a rule stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Standing {
    pub(super) truth: Truth,
    /// The first condition that made it false or unknown.
    pub(super) condition: Option<Condition>,
    /// What an unknown rule waits for.
    pub(super) needs: Needs,
    /// A fact that cannot be seen, or a name that is not bound, made it false, or a deny rule true.
    pub(super) cause: Option<Reason>,
}

/// The conditions of a rule that are not in its five-tuple.
#[derive(Debug)]
pub(super) struct Conditions {
    action: Action,
    midstream: Answer,
    /// The first moment at which the rule no longer stands.
    pub(super) ends: Option<Timestamp>,
    /// Which of [`Condition::ON_FACTS`] are asked for: a bit each.
    asked: u16,
    /// How the rule stands, but for its end, while nothing is known.
    opening: Standing,
    app: Option<AppMatch>,
    domains: Option<Arc<NameSet>>,
    dns: Option<Arc<NameSet>>,
    answers: Option<AddrSet>,
    api_ids: Option<Box<[ApiId]>>,
    bind: bool,
    ja4: Option<Box<[Ja4]>>,
    min_version: Option<TlsVersion>,
    certificate: Option<Box<CertificateSpec>>,
}

/// How one condition stands.
enum Holds {
    Yes,
    No(Option<Reason>),
    Later(Needs),
    /// Cannot be seen; leans one way.
    Leans(Answer, Reason),
}

impl Conditions {
    pub(super) fn new(rule: &RuleSpec) -> Self {
        let tls = &rule.tls;
        let mut conditions = Self {
            action: rule.action,
            midstream: rule.midstream,
            ends: rule.expires.map(|day| Timestamp::from_secs((u64::from(day) + 1) * SECS_PER_DAY)),
            asked: 0,
            opening: Standing::HOLDS,
            app: rule.app,
            domains: rule.domains.clone(),
            dns: rule.dns.clone(),
            answers: rule.answers.as_deref().map(|nets| AddrSet::new(Some(nets))),
            api_ids: rule.api_ids.clone().map(Vec::into_boxed_slice),
            bind: rule.bind_dns,
            ja4: tls.ja4.as_ref().map(|list| list.clone().into_boxed_slice()),
            min_version: tls.min_version,
            certificate: tls.client_certificate.clone().map(Box::new),
        };
        conditions.see_opening();
        conditions
    }

    /// Notes what is asked for, and how the rule stands while nothing is known. Which five-tuple it is,
    /// and what the defaults are, makes no difference then.
    fn see_opening(&mut self) {
        let query = Query::new(PolicyId(0), FiveTuple::default(), Timestamp::ZERO);
        let (facts, defaults) = (Facts::default(), DefaultsSpec::default());
        let question = Case::no_question(&query, &facts);
        let case = Case { query: &query, facts: &facts, defaults: &defaults, question };
        for (condition, at) in Condition::ON_FACTS.into_iter().zip(0..) {
            self.asked |= u16::from(self.holds(condition, &case).is_some()) << at;
        }
        self.opening = self.stand_on(&case);
    }

    /// What the rule asks of DNS answers, as ranges of addresses.
    pub(super) fn answers(&self) -> Vec<(u128, u128)> {
        self.answers.as_ref().and_then(AddrSet::ranges).unwrap_or_default()
    }

    /// Whether the rule holds whatever is known and whenever.
    pub(super) const fn always_hold(&self) -> bool {
        self.ends.is_none() && self.asked == 0
    }

    /// How the rule stands, its five-tuple conditions being met.
    #[inline]
    pub(super) fn stand(&self, case: &Case<'_>) -> Standing {
        self.expired(case.query.now).unwrap_or_else(|| self.stand_on(case))
    }

    /// The same of a flow of which nothing is known and that was met at its start.
    #[inline]
    pub(super) fn stand_opening(&self, now: Timestamp) -> Standing {
        self.expired(now).unwrap_or(self.opening)
    }

    #[inline]
    fn expired(&self, now: Timestamp) -> Option<Standing> {
        let ends = self.ends?;
        (now >= ends).then_some(Standing::refused(Condition::Expires, None))
    }

    /// How its conditions on facts stand. The first that is false settles it; one that cannot be seen
    /// counts as true or false as it leans.
    fn stand_on(&self, case: &Case<'_>) -> Standing {
        let mut standing = Standing::HOLDS;
        let mut leaning: Option<(Condition, Reason)> = None;
        let mut left = self.asked;
        while left != 0 {
            let at = left.trailing_zeros() as usize;
            left &= left.wrapping_sub(1);
            let Some(&condition) = Condition::ON_FACTS.get(at) else { break };
            let Some(holds) = self.holds(condition, case) else { continue };
            match holds {
                Holds::Yes => {}
                Holds::No(cause) => {
                    let hint = cause.filter(|_| self.action == Action::Allow);
                    return Standing::refused(condition, hint);
                }
                Holds::Later(needs) => {
                    standing.truth = Truth::Unknown;
                    standing.condition = standing.condition.or(Some(condition));
                    standing.needs = standing.needs.or(needs);
                }
                Holds::Leans(answer, reason) => {
                    let holds = (answer == Answer::Allow) == (self.action == Action::Allow);
                    if !holds {
                        leaning = leaning.or(Some((condition, reason)));
                    } else if self.action != Action::Allow {
                        standing.cause = standing.cause.or(Some(reason));
                    }
                }
            }
        }
        match leaning {
            None => standing,
            Some((condition, reason)) => {
                let hint = (self.action == Action::Allow).then_some(reason);
                Standing::refused(condition, hint)
            }
        }
    }

    /// `None`: not asked for.
    fn holds(&self, condition: Condition, case: &Case<'_>) -> Option<Holds> {
        Some(match condition {
            Condition::App => {
                let app = self.app?;
                self.judge(case.app(), |seen| app.is(seen))
            }
            Condition::Domains => {
                let set = self.domains.as_deref()?;
                self.judge(case.domain(), |name| set.contains(name))
            }
            Condition::Dns => {
                let set = self.dns.as_deref()?;
                self.judge(case.question, |name| set.contains(name))
            }
            Condition::Answers => {
                let nets = self.answers.as_ref()?;
                match (case.answer(), self.judge(case.answer(), |addr| nets.contains(addr))) {
                    (Seen::Known(_), Holds::No(_)) => Holds::No(Some(Reason::AnswerNotAllowed)),
                    (_, holds) => holds,
                }
            }
            Condition::ApiId => {
                let list = self.api_ids.as_deref()?;
                self.judge(case.api_id(), |id| list.contains(id))
            }
            Condition::Bind if self.bind => {
                let bound = |name: &DomainName| {
                    let lookup = case.query.bound.map(|bound| bound(name, case.query.tuple.dst));
                    lookup == Some(Bound::Yes)
                };
                match (case.domain(), self.judge(case.domain(), bound)) {
                    (Seen::Known(_), Holds::No(_)) => Holds::No(Some(Reason::NameNotBound)),
                    (_, holds) => holds,
                }
            }
            Condition::Ja4 => {
                let list = self.ja4.as_deref()?;
                self.judge(case.ja4(), |ja4| list.contains(ja4))
            }
            Condition::MinVersion => {
                let least = self.min_version?;
                self.judge(case.version(least), |version| version >= least)
            }
            Condition::ClientCertificate => {
                self.certificate.as_deref()?;
                self.judge(case.certificate(), |_| true)
            }
            Condition::CertificateIssuer => {
                let issuers = self.certificate.as_deref()?.issuers.as_ref()?;
                self.judge(case.certificate(), |shown| issuers.contains(&shown.issuer))
            }
            Condition::CertificateSan => {
                let names = self.certificate.as_deref()?.names.as_ref()?;
                let named = |shown: &Certificate| {
                    names.iter().any(|name| shown.names.iter().any(|shown| name.matches(shown)))
                };
                self.judge(case.certificate(), named)
            }
            Condition::CertificateSha256 => {
                let sums = self.certificate.as_deref()?.sha256.as_ref()?;
                self.judge(case.certificate(), |shown| sums.contains(&shown.sha256))
            }
            Condition::CertificateInDate => {
                self.certificate.as_deref().filter(|wanted| wanted.in_date)?;
                let now = case.query.now.as_secs();
                match (case.certificate(), self.judge(case.certificate(), |c| c.is_in_date(now))) {
                    (Seen::Known(_), Holds::No(_)) => Holds::No(Some(Reason::CertificateNotInDate)),
                    (_, holds) => holds,
                }
            }
            _ => return None,
        })
    }

    fn judge<T>(&self, seen: Seen<T>, holds: impl FnOnce(T) -> bool) -> Holds {
        match seen {
            Seen::Known(value) => {
                if holds(value) {
                    Holds::Yes
                } else {
                    Holds::No(None)
                }
            }
            Seen::Absent => Holds::No(None),
            Seen::FromClient => Holds::Later(Needs { client: true, ..Needs::default() }),
            Seen::FromServer => Holds::Later(Needs { server: true, ..Needs::default() }),
            Seen::Missed => Holds::Leans(self.midstream, Reason::Midstream),
            Seen::Hidden(answer, reason) => Holds::Leans(answer, reason),
        }
    }
}

impl Condition {
    const ON_FACTS: [Self; 13] = [
        Self::App,
        Self::Domains,
        Self::Dns,
        Self::Answers,
        Self::ApiId,
        Self::Bind,
        Self::Ja4,
        Self::MinVersion,
        Self::ClientCertificate,
        Self::CertificateIssuer,
        Self::CertificateSan,
        Self::CertificateSha256,
        Self::CertificateInDate,
    ];
}

impl Standing {
    pub(super) const HOLDS: Self = Self {
        truth: Truth::True,
        condition: None,
        needs: Needs { client: false, server: false, may_allow: false },
        cause: None,
    };

    pub(super) const fn refused(condition: Condition, cause: Option<Reason>) -> Self {
        Self { truth: Truth::False, condition: Some(condition), cause, ..Self::HOLDS }
    }
}

/// Facts as rules see them. A protocol that cannot carry something settles it at once.
impl<'a> Case<'a> {
    /// What is not known yet comes with `later`; on a flow met in the middle it was missed.
    fn see<T>(&self, fact: &'a Fact<T>, later: Seen<&'a T>) -> Seen<&'a T> {
        match fact {
            Fact::Known(value) => Seen::Known(value),
            Fact::Absent => Seen::Absent,
            Fact::Missed => Seen::Missed,
            Fact::Unknown => match later {
                Seen::FromClient | Seen::FromServer if self.query.midstream => Seen::Missed,
                later => later,
            },
        }
    }

    fn app(&self) -> Seen<App> {
        self.see(&self.facts.app, Seen::FromClient).map(|app| *app)
    }

    fn domain(&self) -> Seen<&'a DomainName> {
        let facts = self.facts;
        let deny = self.defaults.encrypted_client_hello == EncryptedClientHello::Deny;
        if deny && facts.tls.ech != Ech::None {
            return Seen::Hidden(Answer::Deny, Reason::EncryptedClientHello);
        }
        let nameless = |app: &App| !matches!(app, App::Tls | App::Quic | App::Http);
        let absent = facts.app.known().is_some_and(nameless);
        let later = if absent { Seen::Absent } else { Seen::FromClient };
        self.see(&facts.domain, later).map(|name| &**name)
    }

    /// What the questions of a message are, where there is none to be judged by itself.
    pub(super) fn no_question(query: &Query<'_>, facts: &Facts) -> Seen<&'a DomainName> {
        let other = facts.app.known().is_some_and(|app| *app != App::Dns);
        match facts.questions {
            Fact::Missed => Seen::Missed,
            Fact::Unknown if other => Seen::Absent,
            Fact::Unknown if query.midstream => Seen::Missed,
            Fact::Unknown => Seen::FromClient,
            Fact::Known(_) | Fact::Absent => Seen::Absent,
        }
    }

    /// An address of the DNS answer. Until one comes its question is judged, which goes on as if all
    /// will be well: what comes back is judged again.
    fn answer(&self) -> Seen<Addr> {
        let facts = self.facts;
        let later = match facts.app {
            Fact::Known(App::Dns) => Seen::Hidden(Answer::Allow, Reason::Rule),
            Fact::Known(_) | Fact::Absent => Seen::Absent,
            Fact::Missed => Seen::Missed,
            Fact::Unknown => Seen::FromClient,
        };
        self.see(&facts.answer, later).map(|addr| *addr)
    }

    /// The API an HTTP request names. What a request named is not said of what follows it in a tunnel.
    fn api_id(&self) -> Seen<&'a ApiId> {
        match self.facts.app {
            Fact::Known(App::Http) | Fact::Unknown | Fact::Missed => {
                self.see(&self.facts.api_id, Seen::FromClient)
            }
            Fact::Known(_) | Fact::Absent => Seen::Absent,
        }
    }

    /// A fact of TLS that the client's hello tells.
    fn of_hello<T>(&self) -> Seen<&'a T> {
        match self.facts.app {
            Fact::Known(App::Tls | App::Quic) | Fact::Unknown | Fact::Missed => Seen::FromClient,
            Fact::Known(_) | Fact::Absent => Seen::Absent,
        }
    }

    fn ja4(&self) -> Seen<&'a Ja4> {
        self.see(&self.facts.tls.ja4, self.of_hello())
    }

    /// The version the server chose. What the client offers bounds it from above, QUIC from below
    /// (RFC 9001 section 4.2), so that a rule may be settled before the server has answered.
    fn version(&self, least: TlsVersion) -> Seen<TlsVersion> {
        let tls = &self.facts.tls;
        let later = match tls.offered {
            _ if self.facts.app == Fact::Known(App::Quic) && least <= TLS_1_3 => {
                Seen::Known(&TLS_1_3)
            }
            Fact::Known(ref offered) if *offered < least => Seen::Known(offered),
            Fact::Known(_) => Seen::FromServer,
            Fact::Absent => Seen::Absent,
            Fact::Missed => Seen::Missed,
            Fact::Unknown => self.of_hello(),
        };
        self.see(&tls.version, later).map(|version| *version)
    }

    const fn hidden<T>(&self) -> Seen<T> {
        let answer = self.defaults.client_certificate_not_visible;
        Seen::Hidden(answer, Reason::CertificateNotVisible)
    }

    /// The client's certificate, which TLS 1.3 and resumed sessions hide.
    fn certificate(&self) -> Seen<&'a Certificate> {
        let tls = &self.facts.tls;
        let later = match (&tls.version, &tls.offered) {
            _ if self.facts.app == Fact::Known(App::Quic) => self.hidden(),
            (Fact::Known(version), _) if *version >= TLS_1_3 => self.hidden(),
            (_, Fact::Known(_)) => Seen::FromServer,
            (_, Fact::Absent) => Seen::Absent,
            (_, Fact::Missed) => Seen::Missed,
            (_, Fact::Unknown) => self.of_hello(),
        };
        match self.see(&tls.client_certificate, later).map(|shown| &**shown) {
            Seen::Missed if tls.version.known().is_some() => self.hidden(),
            seen => seen,
        }
    }
}
