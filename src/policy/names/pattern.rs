//! One name as a rule writes it, and what it matches by itself. Sets of them, and speed, are next
//! door in `set`.

use crate::model::{DomainName, NAME_LIMIT_BYTES, NameFault};
use std::fmt;

const LABEL_LIMIT_BYTES: usize = 63;
/// The longest text that is read as a name: what an internationalised name of the limit may take.
const TEXT_LIMIT_BYTES: usize = 4 * NAME_LIMIT_BYTES;

/// A name as rules write it, in lower-case A-labels without a trailing dot. Made by
/// [`NamePattern::parse`]; the texts inside are what that function leaves.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum NamePattern {
    /// `*`: any name.
    Any,
    /// `api.example.com`: that name alone.
    Exact(Box<str>),
    /// `.example.com`: the name and everything below it. Kept without the dot.
    Suffix(Box<str>),
    /// `*.example.com`: everything below the name. Kept without `*.`.
    Below(Box<str>),
    /// `api-*.example.com`: `*` is any run of characters, also none, also dots.
    Glob(Box<str>),
}

/// Why a text is no name pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatternFault {
    /// Nothing is there.
    Empty,
    /// Two dots in a row, or a dot at the wrong place.
    EmptyLabel,
    /// A label longer than 63 bytes.
    LabelTooLong,
    /// A name longer than 253 bytes.
    TooLong,
    /// A character outside letters, digits, hyphen and underscore.
    Character(char),
    /// An IP address, which no client can ask for as a name.
    Address,
    /// An internationalised name that IDNA (UTS 46) does not allow.
    Internationalised,
    /// `*` after a leading dot: `.example.com` already is everything below.
    WildcardInSuffix,
    /// `*` inside a label that is not ASCII: its A-label cannot be known.
    WildcardInInternationalised,
}

impl fmt::Display for PatternFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("a name is missing"),
            Self::EmptyLabel => f.write_str("a label between two dots is empty"),
            Self::LabelTooLong => f.write_str("a label is longer than 63 bytes"),
            Self::TooLong => f.write_str("the name is longer than 253 bytes"),
            Self::Character(c) => {
                write!(f, "{c:?} is no letter, digit, hyphen, underscore, dot or `*`")
            }
            Self::Address => f.write_str("an IP address is no name; use `destinations`"),
            Self::Internationalised => f.write_str("the name is not valid under IDNA (UTS 46)"),
            Self::WildcardInSuffix => f.write_str(
                "a leading dot and `*` do not go together; write `*` in front of the dot",
            ),
            Self::WildcardInInternationalised => {
                f.write_str("`*` cannot stand in a label with characters outside ASCII")
            }
        }
    }
}

impl std::error::Error for PatternFault {}

impl NamePattern {
    /// Reads a name as rules write it. Upper case, a trailing dot, repeated `*` and
    /// internationalised labels are brought to the one form that is compared.
    ///
    /// # Errors
    /// The first [`PatternFault`] found.
    pub fn parse(text: &str) -> Result<Self, PatternFault> {
        if text.is_empty() || text == "." {
            return Err(PatternFault::Empty);
        }
        if text.len() > TEXT_LIMIT_BYTES {
            return Err(PatternFault::TooLong);
        }
        let text = text.strip_suffix('.').unwrap_or(text);
        if let Some(name) = text.strip_prefix('.') {
            if name.contains('*') {
                return Err(PatternFault::WildcardInSuffix);
            }
            return plain(name).map(Self::Suffix);
        }
        if !text.contains('*') {
            return plain(text).map(Self::Exact);
        }
        let glob = globbed(text)?;
        if glob == "*" {
            return Ok(Self::Any);
        }
        match glob.strip_prefix("*.") {
            Some(name) if !name.contains('*') => plain(name).map(Self::Below),
            _ => Ok(Self::Glob(glob.into_boxed_str())),
        }
    }

    /// Whether a name matches. This is the meaning; [`super::NameSet`] is the same, faster.
    #[must_use]
    pub fn matches(&self, name: &[u8]) -> bool {
        let below = |suffix: &str| {
            name.strip_suffix(suffix.as_bytes())
                .and_then(|rest| rest.strip_suffix(b"."))
                .is_some_and(|rest| !rest.is_empty())
        };
        match self {
            Self::Any => true,
            Self::Exact(exact) => name == exact.as_bytes(),
            Self::Suffix(suffix) => name == suffix.as_bytes() || below(suffix),
            Self::Below(suffix) => below(suffix),
            Self::Glob(glob) => glob_matches(glob.as_bytes(), name),
        }
    }
}

impl fmt::Display for NamePattern {
    /// As rules write it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Exact(name) | Self::Glob(name) => f.write_str(name),
            Self::Suffix(name) => write!(f, ".{name}"),
            Self::Below(name) => write!(f, "*.{name}"),
        }
    }
}

/// Whether `glob`, in which `*` stands for any run of bytes, matches all of `text`. Goes back to
/// the last `*` only: an earlier one can never do better, having matched as little as possible.
pub(super) fn glob_matches(glob: &[u8], text: &[u8]) -> bool {
    let (mut at, mut read) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while let Some(&byte) = text.get(read) {
        match glob.get(at) {
            Some(b'*') => {
                star = Some((at + 1, read));
                at += 1;
            }
            Some(&wanted) if wanted == byte => {
                at += 1;
                read += 1;
            }
            _ => {
                let Some((after, taken)) = star else { return false };
                star = Some((after, taken + 1));
                (at, read) = (after, taken + 1);
            }
        }
    }
    glob.get(at..).is_some_and(|rest| rest.iter().all(|&b| b == b'*'))
}

/// A name without `*` in the form that is compared.
fn plain(name: &str) -> Result<Box<str>, PatternFault> {
    let ascii;
    let name = if name.is_ascii() {
        name
    } else {
        ascii = idna::domain_to_ascii(name).map_err(|_| PatternFault::Internationalised)?;
        &ascii
    };
    if name.ends_with('.') {
        return Err(PatternFault::EmptyLabel);
    }
    let name = DomainName::from_host(name.as_bytes()).map_err(fault)?;
    Ok(name.to_string().into_boxed_str())
}

/// A name with `*` in the form that is compared: each label by itself, runs of `*` made one.
fn globbed(text: &str) -> Result<String, PatternFault> {
    let mut glob = String::with_capacity(text.len());
    for (number, label) in text.split('.').enumerate() {
        if number > 0 {
            glob.push('.');
        }
        if label.is_empty() {
            return Err(PatternFault::EmptyLabel);
        }
        if label.contains('*') {
            push_wild_label(&mut glob, label)?;
        } else if label.is_ascii() {
            checked_label(label)?;
            glob.extend(label.chars().map(|c| c.to_ascii_lowercase()));
        } else {
            let ascii =
                idna::domain_to_ascii(label).map_err(|_| PatternFault::Internationalised)?;
            if ascii.is_empty() || ascii.contains('.') {
                return Err(PatternFault::Internationalised);
            }
            checked_label(&ascii)?;
            glob.push_str(&ascii);
        }
    }
    if glob.bytes().filter(|&b| b != b'*').count() > NAME_LIMIT_BYTES {
        return Err(PatternFault::TooLong);
    }
    Ok(glob)
}

fn push_wild_label(glob: &mut String, label: &str) -> Result<(), PatternFault> {
    if !label.is_ascii() {
        return Err(PatternFault::WildcardInInternationalised);
    }
    for run in label.split('*') {
        checked_label(run)?;
    }
    for c in label.chars() {
        if c != '*' || !glob.ends_with('*') {
            glob.push(c.to_ascii_lowercase());
        }
    }
    Ok(())
}

fn checked_label(label: &str) -> Result<(), PatternFault> {
    let wrong = |c: &char| !(c.is_ascii_alphanumeric() || *c == '-' || *c == '_');
    if let Some(bad) = label.chars().find(wrong) {
        return Err(PatternFault::Character(bad));
    }
    if label.len() > LABEL_LIMIT_BYTES { Err(PatternFault::LabelTooLong) } else { Ok(()) }
}

fn fault(fault: NameFault) -> PatternFault {
    match fault {
        NameFault::Empty => PatternFault::EmptyLabel,
        NameFault::TooLong => PatternFault::TooLong,
        NameFault::LabelTooLong => PatternFault::LabelTooLong,
        NameFault::Byte(byte) => PatternFault::Character(char::from(byte)),
        NameFault::Address => PatternFault::Address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<String, PatternFault> {
        NamePattern::parse(text).map(|p| format!("{p:?}"))
    }

    #[test]
    fn every_written_form_is_told_apart() {
        for (text, form) in [
            ("api.example.com", "Exact(\"api.example.com\")"),
            ("API.Example.COM.", "Exact(\"api.example.com\")"),
            (".example.com", "Suffix(\"example.com\")"),
            (".com", "Suffix(\"com\")"),
            ("*.example.com", "Below(\"example.com\")"),
            ("**.example.com", "Below(\"example.com\")"),
            ("*payments*", "Glob(\"*payments*\")"),
            ("api-**.Example.com", "Glob(\"api-*.example.com\")"),
            ("*.*.example.com", "Glob(\"*.*.example.com\")"),
            ("*", "Any"),
            ("***", "Any"),
            ("bücher.example", "Exact(\"xn--bcher-kva.example\")"),
            (".Bücher.example", "Suffix(\"xn--bcher-kva.example\")"),
            ("*.bücher.example", "Below(\"xn--bcher-kva.example\")"),
            ("a*.bücher.example", "Glob(\"a*.xn--bcher-kva.example\")"),
            ("_dmarc.example", "Exact(\"_dmarc.example\")"),
        ] {
            assert_eq!(parsed(text).as_deref(), Ok(form), "{text}");
        }
    }

    #[test]
    fn every_fault_is_told_apart() {
        use PatternFault as Fault;
        let label = "a".repeat(64);
        for (text, fault) in [
            ("", Fault::Empty),
            (".", Fault::Empty),
            ("..", Fault::EmptyLabel),
            ("a..b", Fault::EmptyLabel),
            ("a*..b", Fault::EmptyLabel),
            ("*..", Fault::EmptyLabel),
            ("a.b..", Fault::EmptyLabel),
            ("..example.com", Fault::EmptyLabel),
            ("a b.example", Fault::Character(' ')),
            ("a/b*.example", Fault::Character('/')),
            ("10.0.0.1", Fault::Address),
            (".10.0.0.1", Fault::Address),
            (".*.example.com", Fault::WildcardInSuffix),
            ("büch*.example", Fault::WildcardInInternationalised),
            ("\u{200d}\u{fffd}.example", Fault::Internationalised),
            (&label, Fault::LabelTooLong),
            (&format!("*{label}*"), Fault::LabelTooLong),
        ] {
            assert_eq!(NamePattern::parse(text), Err(fault), "{text}");
        }
    }

    #[test]
    fn names_end_at_their_limit() {
        let of = |len: usize| -> String {
            (0..len).map(|i| if i % 64 == 63 { '.' } else { 'a' }).collect()
        };
        for (len, fits) in [(252, true), (253, true), (254, false)] {
            assert_eq!(NamePattern::parse(&of(len)).is_ok(), fits, "{len}");
            assert_eq!(NamePattern::parse(&format!("*{}", of(len))).is_ok(), fits, "*{len}");
        }
    }

    #[test]
    fn patterns_match_as_the_table_says() {
        for (pattern, name, expected) in [
            ("api.example.com", "api.example.com", true),
            ("api.example.com", "x.api.example.com", false),
            (".example.com", "example.com", true),
            (".example.com", "a.b.example.com", true),
            (".example.com", "badexample.com", false),
            ("*.example.com", "example.com", false),
            ("*.example.com", "a.example.com", true),
            ("*.example.com", "a.b.example.com", true),
            ("*payments*", "payments", true),
            ("*payments*", "my.payments.example", true),
            ("*payments*", "pay.ments.example", false),
            ("api-*.example.com", "api-.example.com", true),
            ("api-*.example.com", "api-1.eu.example.com", true),
            ("api-*.example.com", "api-1.example.com.evil", false),
            ("*", "a", true),
        ] {
            let parsed = NamePattern::parse(pattern).unwrap();
            assert_eq!(parsed.matches(name.as_bytes()), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn patterns_parse_as_they_print() {
        for text in ["a.b", ".a.b", "*.a.b", "*a*", "*", "a*.b"] {
            let pattern = NamePattern::parse(text).unwrap();
            assert_eq!(pattern.to_string(), text);
        }
    }

    #[test]
    fn no_text_is_too_strange_to_be_refused() {
        let mut state = 0x9e37_79b9_u32;
        let alphabet: Vec<char> = "a.*-_Bü。\0 \u{ad}ß1\u{202e}".chars().collect();
        for _ in 0..20_000 {
            let mut text = String::new();
            for _ in 0..state % 12 {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                text.push(alphabet[state as usize / 7 % alphabet.len()]);
            }
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            if let Ok(pattern) = NamePattern::parse(&text) {
                let printed = pattern.to_string();
                assert_eq!(NamePattern::parse(&printed), Ok(pattern), "{text:?} {printed}");
            }
        }
    }
}
