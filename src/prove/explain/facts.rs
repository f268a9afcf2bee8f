//! Which of the facts that somebody writes down of a flow can be of one application, and which the
//! transport carries; what would be right where they cannot. Where a flow belongs is found elsewhere.

use super::{Certificate, Probe};
use crate::model::{App, Ech, Protocol, TlsVersion};

const TLS_1_3: TlsVersion = TlsVersion(0x0304);

/// What is given, and the applications of which it can be.
struct Given {
    flag: String,
    of: &'static [App],
}

/// Everything given that says something of the application, but for the application itself.
fn given(probe: &Probe) -> Vec<Given> {
    let certificate = probe.certificate.is_some();
    let named = matches!(probe.domain, Some(Some(_)));
    let tls: &[App] = &[App::Tls, App::Quic];
    let all: [(bool, &str, &'static [App]); 7] = [
        (named, "--domain", &[App::Tls, App::Quic, App::Http]),
        (!probe.dns.is_empty(), "--dns", &[App::Dns]),
        (probe.api_id.is_some(), "--api-id", &[App::Http]),
        (probe.tls_version.is_some(), "--tls-version", tls),
        (certificate, "a client certificate", tls),
        (probe.ja4.is_some(), "--ja4", tls),
        (probe.ech != Ech::None, "--ech", tls),
    ];
    let given = all.into_iter().filter(|(given, ..)| *given);
    given.map(|(_, flag, of)| Given { flag: flag.to_owned(), of }).collect()
}

/// What cannot be of one flow.
pub(super) fn wrong(probe: &Probe) -> Vec<String> {
    let protocol = probe.tuple.protocol;
    let given = given(probe);
    let asked = probe.app.filter(|app| *app != App::Other);
    if !protocol.has_ports() {
        let mut flags: Vec<&str> = given.iter().map(|given| given.flag.as_str()).collect();
        flags.extend(asked.map(|_| "--app"));
        let wrong = format!(
            "a flow of protocol {protocol} carries no name, only tcp and udp do: leave out {}",
            words(&flags, "and")
        );
        return if flags.is_empty() { Vec::new() } else { vec![wrong] };
    }
    if let Some(app) = probe.app.filter(|app| !app.carried_by(protocol)) {
        let other = if protocol == Protocol::UDP { Protocol::TCP } else { Protocol::UDP };
        let apps = words(&over(protocol), "or");
        return vec![format!(
            "{} is carried by {other}, not by {protocol}: write `--protocol {other}`, or an `--app` that \
             {protocol} carries ({apps})",
            app.name()
        )];
    }
    let mut wrong: Vec<String> = Vec::new();
    for (at, one) in given.iter().enumerate() {
        wrong.extend(alone(one, probe));
        let others = given.iter().skip(at.saturating_add(1));
        let others = others.filter(|other| !one.of.iter().any(|app| other.of.contains(app)));
        wrong.extend(others.map(|other| {
            let (flag, apps) = (&one.flag, names(one.of));
            format!(
                "{flag} is of {apps}, {} of {}: explain {flag} and {} apart",
                other.flag,
                names(other.of),
                other.flag
            )
        }));
    }
    wrong.extend(certificate(probe));
    wrong
}

/// What is given of an application that is not the flow's, or that its transport does not carry.
fn alone(given: &Given, probe: &Probe) -> Option<String> {
    let (flag, protocol) = (&given.flag, probe.tuple.protocol);
    let apps = names(given.of);
    match probe.app {
        Some(app) if !given.of.contains(&app) => {
            let word = app.name();
            let right: Vec<String> =
                of(given, protocol).map(|app| format!("`--app {}`", app.name())).collect();
            let right = match right.join(" or ") {
                none if none.is_empty() => "leave one of them out".to_owned(),
                right => format!("write {right}, or leave {flag} out"),
            };
            Some(format!("{flag} is of {apps}, not of {word}: {right}"))
        }
        None if of(given, protocol).next().is_none() => Some(format!(
            "{flag} is of {apps}, which {protocol} does not carry: write `--protocol tcp`, or leave \
             {flag} out"
        )),
        _ => None,
    }
}

/// A certificate that the version of TLS hides (RFC 8446 section 4.4.2: it travels encrypted), and a
/// version that QUIC does not have.
fn certificate(probe: &Probe) -> Option<String> {
    let quic = probe.application() == Some(App::Quic);
    if quic && probe.tls_version == Some(None) {
        let hello = probe.certificate.is_some() || probe.ja4.is_some() || probe.ech != Ech::None;
        let wrong = "QUIC without TLS has neither a client certificate nor --ja4 and --ech: leave them out, or \
                     leave out --tls-version";
        return hello.then(|| wrong.to_owned());
    }
    let version = probe.tls_version.unwrap_or(quic.then_some(TLS_1_3))?;
    if quic && version < TLS_1_3 {
        return Some(format!(
            "QUIC has TLS 1.3 (RFC 9001 section 4.2), not {version}: leave out --tls-version, or write \
             `--protocol tcp`"
        ));
    }
    let seen = matches!(probe.certificate, Some(Certificate::Shown(_) | Certificate::None));
    let older = if quic { "`--protocol tcp --tls-version 1.2`" } else { "`--tls-version 1.2`" };
    (seen && version >= TLS_1_3).then(|| {
        format!(
            "TLS 1.3 hides whether the client shows a certificate, and which: write \
             `--client-certificate hidden`, or {older}"
        )
    })
}

/// The applications of what is given that a protocol carries.
fn of(given: &Given, protocol: Protocol) -> impl Iterator<Item = App> {
    given.of.iter().copied().filter(move |app| app.carried_by(protocol))
}

/// What a protocol carries, as `--app` has it.
fn over(protocol: Protocol) -> Vec<&'static str> {
    let all = [App::Tls, App::Quic, App::Http, App::Dns, App::Other];
    all.into_iter().filter(|app| app.carried_by(protocol)).map(App::name).collect()
}

fn names(apps: &[App]) -> String {
    words(&apps.iter().map(|app| app.name()).collect::<Vec<_>>(), "or")
}

/// A list as people write it.
fn words(all: &[&str], between: &str) -> String {
    match all {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [first @ .., last] => format!("{} {between} {last}", first.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Addr, FiveTuple, Timestamp};

    fn probe(protocol: Protocol) -> Probe {
        let addr = Addr::v4([10, 0, 0, 1]);
        let tuple = FiveTuple { src: addr, dst: addr, src_port: 40_000, dst_port: 443, protocol };
        Probe::new(tuple, Timestamp::default())
    }

    #[test]
    fn an_application_is_refused_exactly_over_what_does_not_carry_it() {
        let table = [
            (App::Tls, true, false),
            (App::Quic, false, true),
            (App::Http, true, false),
            (App::Dns, true, true),
            (App::Other, true, true),
        ];
        for (app, tcp, udp) in table {
            for (protocol, carried) in [(Protocol::TCP, tcp), (Protocol::UDP, udp)] {
                let probe = Probe { app: Some(app), ..probe(protocol) };
                let wrong = wrong(&probe);
                assert_eq!(wrong.is_empty(), carried, "{app:?} over {protocol}: {wrong:?}");
            }
            let nameless = wrong(&Probe { app: Some(app), ..probe(Protocol::ICMP) });
            assert_eq!(nameless.is_empty(), app == App::Other, "{nameless:?}");
        }
    }

    #[test]
    fn every_fact_is_refused_of_the_applications_that_do_not_have_it() {
        type Give = fn(&mut Probe);
        let facts: [(Give, &[App]); 5] = [
            (|p| p.tls_version = Some(Some(TLS_1_3)), &[App::Tls]),
            (|p| p.ech = Ech::Present, &[App::Tls]),
            (|p| p.api_id = crate::model::ApiId::parse(b"a1"), &[App::Http]),
            (|p| p.certificate = Some(Certificate::Hidden), &[App::Tls]),
            (|p| p.domain = Some(None), &[App::Tls, App::Http, App::Dns, App::Other]),
        ];
        for (give, of) in facts {
            for app in [App::Tls, App::Http, App::Dns, App::Other] {
                let mut probe = Probe { app: Some(app), ..probe(Protocol::TCP) };
                give(&mut probe);
                assert_eq!(wrong(&probe).is_empty(), of.contains(&app), "{app:?} {probe:?}");
            }
            let mut alone = probe(Protocol::TCP);
            give(&mut alone);
            assert_eq!(wrong(&alone), Vec::<String>::new());
        }
    }

    #[test]
    fn a_version_of_tls_and_a_certificate_go_together_as_tls_has_it() {
        let older = TlsVersion(0x0303);
        for (version, certificate, protocol, right) in [
            (Some(older), Certificate::None, Protocol::TCP, true),
            (Some(older), Certificate::Hidden, Protocol::TCP, true),
            (Some(TLS_1_3), Certificate::Hidden, Protocol::TCP, true),
            (Some(TLS_1_3), Certificate::None, Protocol::TCP, false),
            (None, Certificate::None, Protocol::TCP, true),
            (None, Certificate::None, Protocol::UDP, false),
            (Some(older), Certificate::Hidden, Protocol::UDP, false),
            (Some(TLS_1_3), Certificate::Hidden, Protocol::UDP, true),
        ] {
            let certificate = Some(certificate);
            let probe = Probe { tls_version: version.map(Some), certificate, ..probe(protocol) };
            assert_eq!(wrong(&probe).is_empty(), right, "{probe:?}");
        }
        let none = |protocol| Probe { tls_version: Some(None), ..probe(protocol) };
        assert_eq!(wrong(&none(Protocol::UDP)), Vec::<String>::new());
        let hidden = Some(Certificate::Hidden);
        assert_eq!(wrong(&Probe { certificate: hidden, ..none(Protocol::UDP) }).len(), 1);
    }
}
