//! Names as they are written in rules: `api.example.com`, `.example.com`, `"*.example.com"`,
//! patterns and `"*"`. Brings them to the form in which they are compared. Matches nothing.

use super::decode::Fault;
use super::scalar::clip;
use crate::model::{DomainName, NAME_LIMIT_BYTES, NameFault};

/// The written name in lower-case A-labels without a trailing dot; stars and a leading dot stay.
///
/// # Errors
/// What is wrong with it.
pub(super) fn normal_form(text: &str) -> Result<String, Fault> {
    let bad = |why: String| Fault::new("bad-domain", format!("`{}` is no name", clip(text))).label(why);
    if text == "*" {
        return Ok(text.to_owned());
    }
    if text.len() > NAME_LIMIT_BYTES.saturating_mul(4) {
        return Err(bad(format!("it is longer than {NAME_LIMIT_BYTES} bytes")));
    }
    if text.contains("://") || text.contains('/') {
        return Err(bad("this is a URL".into()).help("write the host name alone"));
    }
    if text.parse::<std::net::IpAddr>().is_ok() {
        return Err(bad("this is an address".into())
            .help("an address is no name; use `destinations`"));
    }
    if let Some((host, port)) = text.rsplit_once(':') {
        let help = format!("write `{host}` here and the port under `ports`");
        let fault = bad("a name has no port".into());
        return Err(if port.bytes().all(|b| b.is_ascii_digit()) { fault.help(help) } else { fault });
    }
    let (prefix, rest) = match text.strip_prefix("*.").map(|r| ("*.", r)) {
        Some(split) => split,
        None => text.strip_prefix('.').map_or(("", text), |rest| (".", rest)),
    };
    let rest = rest.strip_suffix('.').unwrap_or(rest);
    let rest = a_labels(rest).map_err(bad)?;
    if rest.contains('*') {
        return pattern(prefix, &rest).map_err(bad);
    }
    let name = DomainName::from_host(rest.as_bytes()).map_err(|fault| bad(explain(fault)))?;
    Ok(format!("{prefix}{name}"))
}

/// A pattern: letters, digits, `-`, `_`, `.` and stars.
fn pattern(prefix: &str, rest: &str) -> Result<String, String> {
    let all = format!("{prefix}{rest}").to_ascii_lowercase();
    if all.starts_with('.') {
        return Err("a pattern does not start with a dot".into());
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '*');
    if let Some(bad) = all.chars().find(|&c| !plain(c)) {
        return Err(format!("`{bad}` does not occur in names"));
    }
    if all.contains("..") {
        return Err("a label is empty".into());
    }
    if all.len() > NAME_LIMIT_BYTES {
        return Err(format!("it is longer than {NAME_LIMIT_BYTES} bytes"));
    }
    let mut squeezed = all;
    while squeezed.contains("**") {
        squeezed = squeezed.replace("**", "*");
    }
    Ok(squeezed)
}

/// A-labels of an internationalised name (UTS #46); ASCII goes through in lower case, so that
/// underscores and stars stay.
fn a_labels(text: &str) -> Result<String, String> {
    if text.is_ascii() {
        return Ok(text.to_ascii_lowercase());
    }
    let mut labels = Vec::new();
    for label in text.split(['.', '\u{3002}', '\u{ff0e}', '\u{ff61}']) {
        if label.is_ascii() {
            labels.push(label.to_ascii_lowercase());
        } else if label.contains('*') {
            return Err("a star cannot stand in a label beyond ASCII".into());
        } else {
            let ascii = idna::domain_to_ascii_strict(label)
                .map_err(|_| format!("`{label}` is no internationalised label"))?;
            labels.push(ascii);
        }
    }
    Ok(labels.join("."))
}

fn explain(fault: NameFault) -> String {
    match fault {
        NameFault::Empty => "a label is empty".into(),
        NameFault::TooLong => format!("it is longer than {NAME_LIMIT_BYTES} bytes"),
        NameFault::LabelTooLong => "a label is longer than 63 bytes".into(),
        NameFault::Byte(b) => format!("`{}` does not occur in names", char::from(b).escape_default()),
        NameFault::Address => "this is an address".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_of_the_table_has_its_normal_form() {
        for (written, normal) in [
            ("API.example.com", "api.example.com"),
            ("api.example.com.", "api.example.com"),
            (".Example.com", ".example.com"),
            ("*.example.com", "*.example.com"),
            ("*payments*", "*payments*"),
            ("api-*.Example.com", "api-*.example.com"),
            ("a**b", "a*b"),
            ("*", "*"),
            ("bücher.example", "xn--bcher-kva.example"),
            (".BÜCHER.example", ".xn--bcher-kva.example"),
            ("_dmarc.example", "_dmarc.example"),
        ] {
            assert_eq!(normal_form(written).as_deref(), Ok(normal), "{written}");
        }
    }

    #[test]
    fn what_is_no_name_is_refused() {
        let long = "a".repeat(64);
        for bad in [
            "", ".", "..", "a..b", "https://a.example/", "a.example:443", "10.0.0.1", "2001:db8::1",
            "a b", "a\0b", &long, ".a*b", "*..a", "ü*.example", "*.", "a.example/x",
        ] {
            assert!(normal_form(bad).is_err(), "{bad}");
        }
    }
}
