//! Names as people write them in rules, with advice for the usual slips. What the forms mean is
//! the policy's [`NamePattern`].

use super::decode::Fault;
use super::scalar::clip;
use crate::policy::names::NamePattern;

/// Reads a name.
///
/// # Errors
/// What is wrong with it, and what would be right.
pub(super) fn parse(text: &str) -> Result<NamePattern, Fault> {
    NamePattern::parse(text).map_err(|fault| {
        let report = Fault::new("bad-domain", format!("`{}` is no name", clip(text)));
        let report = report.label(fault.to_string());
        match advice(text) {
            Some(help) => report.help(help),
            None => report,
        }
    })
}

/// What was probably meant.
fn advice(text: &str) -> Option<String> {
    if let Some((_, rest)) = text.split_once("://") {
        let host = rest.split(['/', ':', '?', '#']).next().unwrap_or_default();
        return Some(format!("a URL is no name; write `{host}`"));
    }
    if text.parse::<std::net::IpAddr>().is_ok() || text.parse::<ipnet::IpNet>().is_ok() {
        return Some("put addresses and networks under `destinations`".into());
    }
    let (host, port) = text.rsplit_once(':')?;
    let is_port = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
    is_port.then(|| format!("write `{host}` here and the port under `ports`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_slips_get_advice() {
        for (text, advice_has) in [
            ("https://api.example/v1", "write `api.example`"),
            ("api.example:443", "under `ports`"),
            ("10.0.0.1", "under `destinations`"),
            ("2001:db8::1", "under `destinations`"),
            ("10.0.0.0/8", "under `destinations`"),
        ] {
            assert!(parse(text).is_err(), "{text}");
            assert!(advice(text).is_some_and(|a| a.contains(advice_has)), "{text}");
        }
        assert!(parse("bücher.example").is_ok());
        assert_eq!(advice("a..b"), None);
    }
}
