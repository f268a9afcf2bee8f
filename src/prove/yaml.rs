//! Writes YAML that means what it says: texts quoted where they must be, lists in one line, ranges
//! of ports. Reads nothing.

use std::fmt::Display;

/// Words a YAML 1.1 reader takes for something else than text.
const WORDS: &[&str] = &["true", "false", "null", "yes", "no", "on", "off", "y", "n", "~"];

/// A text as a scalar: as it is where that is safe inside and outside of `{}`, else in quotes.
#[must_use]
pub fn plain(text: &str) -> String {
    let starts = text.starts_with(|c: char| c.is_ascii_alphabetic());
    let inside = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '@' | '/');
    let word = WORDS.iter().any(|word| text.eq_ignore_ascii_case(word));
    let address = text.parse::<std::net::Ipv4Addr>().is_ok();
    let network = text.parse::<ipnet::Ipv4Net>().is_ok();
    if (starts && text.chars().all(inside) && !word) || address || network {
        text.to_owned()
    } else {
        quoted(text)
    }
}

/// A text in double quotes, everything that does not print escaped.
#[must_use]
pub fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            ' '..='~' => out.push(c),
            _ => out.push_str(&format!("\\U{:08x}", u32::from(c))),
        }
    }
    out.push('"');
    out
}

/// Values in one line: `[a, b]`.
#[must_use]
pub fn list<T: Display>(values: impl IntoIterator<Item = T>) -> String {
    let texts: Vec<String> = values.into_iter().map(|value| plain(&value.to_string())).collect();
    format!("[{}]", texts.join(", "))
}

/// Ports in order, neighbours as ranges: `22, 8000-8010`.
#[must_use]
pub fn ports(ports: &[u16]) -> String {
    let mut ranges: Vec<(u16, u16)> = Vec::new();
    for &port in ports {
        match ranges.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(port) => *last = port,
            _ => ranges.push((port, port)),
        }
    }
    let texts: Vec<String> = ranges
        .iter()
        .map(
            |(first, last)| {
                if first == last { first.to_string() } else { format!("{first}-{last}") }
            },
        )
        .collect();
    texts.join(", ")
}

/// A text in lines of at most so many characters, broken at spaces; what does not print is left
/// out, so that it is fit for a comment.
#[must_use]
pub fn wrapped(text: &str, columns: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let word: String = word.chars().filter(|c| !c.is_control()).collect();
        let Some(line) = lines.last_mut() else { break };
        let len = line.chars().count().saturating_add(word.chars().count());
        if line.is_empty() {
            line.push_str(&word);
        } else if len < columns {
            line.push(' ');
            line.push_str(&word);
        } else {
            lines.push(word);
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_quoted_where_yaml_would_read_something_else() {
        for (text, want) in [
            ("acme", "acme"),
            ("api.example.com", "api.example.com"),
            ("10.20.1.5", "10.20.1.5"),
            ("10.20.0.0/16", "10.20.0.0/16"),
            ("no", "\"no\""),
            ("1.5", "\"1.5\""),
            ("2001:db8::/32", "\"2001:db8::/32\""),
            ("a: b", "\"a: b\""),
            ("a\"\\\n\u{7f}é", "\"a\\\"\\\\\\n\\U0000007f\\U000000e9\""),
            ("*", "\"*\""),
            ("", "\"\""),
        ] {
            assert_eq!(plain(text), want);
        }
    }

    #[test]
    fn neighbouring_ports_are_a_range() {
        assert_eq!(ports(&[22, 80, 81, 82, 443, 65534, 65535]), "22, 80-82, 443, 65534-65535");
        assert_eq!(ports(&[]), "");
    }

    #[test]
    fn comments_are_broken_at_spaces_and_hold_no_control() {
        assert_eq!(wrapped("one two\nthree", 8), ["one two", "three"]);
        assert_eq!(wrapped("a\u{1b}[0m", 8), ["a[0m"]);
    }
}
