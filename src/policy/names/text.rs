//! Patterns over text that is not always a domain name: the subject alternative names of
//! certificates (DNS, e-mail, URI, IP).

use super::pattern::{NamePattern, PatternFault, glob_matches};
use std::fmt;

/// What a subject alternative name must be. What can be read as a name pattern is one
/// (`.acme.example`, `*.acme.example`) and matches no mailbox or URI that ends alike; everything else (`spiffe://acme/*`, an address) is
/// compared as text without regard to ASCII case, `*` standing for any run of characters.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TextPattern(Kind);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Kind {
    Name(NamePattern),
    Text(Box<str>),
}

impl TextPattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// [`PatternFault::Empty`] for no text at all.
    pub fn parse(text: &str) -> Result<Self, PatternFault> {
        if text.is_empty() {
            return Err(PatternFault::Empty);
        }
        Ok(Self(
            NamePattern::parse(text).map_or_else(
                |_| Kind::Text(text.to_ascii_lowercase().into_boxed_str()),
                Kind::Name,
            ),
        ))
    }

    /// The name pattern it is, if it can be read as one.
    #[must_use]
    pub const fn as_name(&self) -> Option<&NamePattern> {
        match &self.0 {
            Kind::Name(pattern) => Some(pattern),
            Kind::Text(_) => None,
        }
    }

    /// Whether a text matches.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        let text = text.to_ascii_lowercase();
        match &self.0 {
            Kind::Name(pattern) => {
                !text.contains([':', '/', '@']) && pattern.matches(text.as_bytes())
            }
            Kind::Text(pattern) => glob_matches(pattern.as_bytes(), text.as_bytes()),
        }
    }
}

impl fmt::Display for TextPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Name(pattern) => pattern.fmt(f),
            Kind::Text(text) => f.write_str(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alternative_names_match_as_names_or_as_text() {
        for (pattern, text, expected) in [
            (".acme.example", "gw.acme.example", true),
            (".acme.example", "acme.example", true),
            ("*.acme.example", "acme.example", false),
            ("gw.acme.example", "GW.acme.example", true),
            (".acme.example", "ops@gw.acme.example", false),
            (".acme.example", "https://gw.acme.example", false),
            ("spiffe://acme/*", "spiffe://acme/payments", true),
            ("spiffe://acme/*", "spiffe://other/payments", false),
            ("ops@acme.example", "Ops@acme.example", true),
            ("10.0.0.1", "10.0.0.1", true),
            ("10.0.0.1", "10.0.0.11", false),
            ("*", "anything at all", true),
        ] {
            let parsed = TextPattern::parse(pattern).unwrap();
            assert_eq!(parsed.matches(text), expected, "{pattern} {text}");
        }
        assert_eq!(TextPattern::parse(""), Err(PatternFault::Empty));
    }
}
