//! YAML text to a tree in which every key and value knows its place. The only file that knows the
//! YAML library. Interprets nothing: what a field means is for `decode` and `document`.

use super::diagnostic::Diagnostic;
use super::source::{FileId, Place, byte_of};
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::options::{DuplicateKeyPolicy, MergeKeyPolicy};
use serde_saphyr::{Location, Spanned};
use std::fmt;

/// Nodes of one document: about 250 000 rules.
const NODES_LIMIT: usize = 4_000_000;
/// Nesting; the language itself needs eight levels.
const DEPTH_LIMIT: usize = 32;
/// Nodes that aliases may repeat: enough for a port list used everywhere, no room for a bomb.
const REPLAY_LIMIT: usize = 100_000;
/// How many unquoted stars are looked for behind the first one.
const REPAIRS_LIMIT: usize = 32;

/// A value and its place.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Node {
    /// The value.
    pub(crate) value: Value,
    /// Where it was written (where its anchor stands, if an alias named it).
    pub(crate) place: Place,
}

/// What was written.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    /// Nothing, `~` or `null`.
    Null,
    /// A number or truth value as it was written.
    Literal(String),
    /// Text.
    Text(String),
    /// A sequence.
    List(Vec<Node>),
    /// A mapping in its order; a key may be there twice.
    Map(Vec<(Node, Node)>),
}

impl Node {
    /// Text of a scalar.
    pub(crate) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Literal(text) | Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The value under a key, if this is a mapping that has it.
    pub(crate) fn get(&self, key: &str) -> Option<&Self> {
        let Value::Map(entries) = &self.value else { return None };
        entries.iter().find(|(k, _)| k.text() == Some(key)).map(|(_, v)| v)
    }

    /// How many entries a mapping or sequence has.
    pub(crate) fn len(&self) -> usize {
        match &self.value {
            Value::List(items) => items.len(),
            Value::Map(entries) => entries.len(),
            _ => 0,
        }
    }

    /// What kind of thing this is, for messages.
    pub(crate) fn kind(&self) -> &'static str {
        match self.value {
            Value::Null => "nothing",
            Value::Literal(_) => "a number or truth value",
            Value::Text(_) => "text",
            Value::List(_) => "a list",
            Value::Map(_) => "a mapping",
        }
    }
}

/// Reads one document. An unquoted `*` is reported and the reading goes on behind it, so that what
/// else is wrong in the file is seen in the same run.
pub(crate) fn parse(file: FileId, text: &str, findings: &mut Vec<Diagnostic>) -> Option<Node> {
    let mut patched = text.to_owned();
    for _ in 0..REPAIRS_LIMIT {
        let error = match parse_once(&patched) {
            Ok(raw) => return Some(raw.into_node(file, text)),
            Err(error) => error,
        };
        let (finding, repair) = explain(file, &patched, &error);
        findings.push(finding);
        let range = repair?;
        let blank = "x".repeat(range.len());
        patched.replace_range(range, &blank);
    }
    None
}

fn parse_once(text: &str) -> Result<Raw, serde_saphyr::Error> {
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_nodes: NODES_LIMIT,
            max_events: NODES_LIMIT * 2,
            max_depth: DEPTH_LIMIT,
            max_documents: 1,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: REPLAY_LIMIT,
            max_replay_stack_depth: 8,
        },
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        merge_keys: MergeKeyPolicy::AsOrdinary,
        with_snippet: false,
    };
    serde_saphyr::from_str_with_options::<Spanned<RawValue>>(text, options).map(Raw)
}

/// A finding for what the YAML library says, and which bytes to blank to read on.
fn explain(
    file: FileId,
    text: &str,
    error: &serde_saphyr::Error,
) -> (Diagnostic, Option<std::ops::Range<usize>>) {
    let error = error.without_snippet();
    let at = error.location().map_or(0, |l| {
        byte_of(
            text,
            usize::try_from(l.line()).unwrap_or(1),
            usize::try_from(l.column()).unwrap_or(1),
        )
    });
    if let Some(range) = star_near(text, at) {
        let word = text.get(range.clone()).unwrap_or_default();
        let finding = Diagnostic::error(
            "unquoted-star",
            format!("a name that starts with `*` must be quoted: `{word}`"),
        )
        .at(place(file, range.start, range.end), "YAML takes this for an alias")
        .help(format!("write \"{word}\""));
        return (finding, Some(range));
    }
    let line_start = text.get(..at).and_then(|t| t.rfind('\n')).map_or(0, |n| n.saturating_add(1));
    let line_end =
        text.get(at..).and_then(|t| t.find('\n')).map_or(text.len(), |n| at.saturating_add(n));
    let line = text.get(line_start..line_end).unwrap_or_default();
    let indent = line.len().saturating_sub(line.trim_start().len());
    if let Some(tab) = line.get(..indent).and_then(|t| t.find('\t')) {
        let start = line_start.saturating_add(tab);
        let finding = Diagnostic::error("tab", "a tab cannot indent YAML")
            .at(place(file, start, start.saturating_add(1)), "this is a tab")
            .help("indent with spaces");
        return (finding, None);
    }
    let end = text
        .get(at..)
        .and_then(|t| t.chars().next())
        .map_or(at, |c| at.saturating_add(c.len_utf8()));
    let said = error.to_string();
    let reason = said.split(" at line ").next().unwrap_or_default();
    let finding = Diagnostic::error("yaml", format!("this is no YAML: {reason}"))
        .at(place(file, at, end), "the reader stopped here");
    (finding, None)
}

/// The unquoted `*word` at which an alias error points: it starts at the place itself or on its
/// line shortly before.
fn star_near(text: &str, at: usize) -> Option<std::ops::Range<usize>> {
    let ends = |c: char| c.is_whitespace() || matches!(c, ',' | ']' | '}' | '#');
    let line_start = text.get(..at)?.rfind('\n').map_or(0, |n| n.saturating_add(1));
    let before = text.get(line_start..at)?;
    let start = if text.get(at..)?.starts_with('*') {
        at
    } else {
        let star = before.rfind('*')?;
        let opens = before
            .get(..star)?
            .chars()
            .next_back()
            .is_none_or(|c| c.is_whitespace() || matches!(c, '[' | ',' | '{'));
        if !opens || before.get(star..)?.contains(ends) {
            return None;
        }
        line_start.saturating_add(star)
    };
    let rest = text.get(start..)?;
    let len = rest.find(ends).unwrap_or(rest.len());
    let anchor = format!("&{}", rest.get(1..len).unwrap_or_default());
    if anchor.len() > 1 && text.contains(&anchor) {
        return None;
    }
    Some(start..start.saturating_add(len))
}

fn place(file: FileId, start: usize, end: usize) -> Place {
    let clip = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    Place { file, start: clip(start), end: clip(end) }
}

struct Raw(Spanned<RawValue>);

enum RawValue {
    Null,
    Literal,
    Text(String),
    List(Vec<Raw>),
    Map(Vec<(Raw, Raw)>),
}

impl Raw {
    fn into_node(self, file: FileId, text: &str) -> Node {
        let place = locate(file, text, &self.0.defined);
        let value = match self.0.value {
            RawValue::Null => Value::Null,
            RawValue::Literal => Value::Literal(
                text.get(place.start as usize..place.end as usize).unwrap_or_default().to_owned(),
            ),
            RawValue::Text(s) => Value::Text(s),
            RawValue::List(items) => {
                Value::List(items.into_iter().map(|n| n.into_node(file, text)).collect())
            }
            RawValue::Map(entries) => Value::Map(
                entries
                    .into_iter()
                    .map(|(k, v)| (k.into_node(file, text), v.into_node(file, text)))
                    .collect(),
            ),
        };
        Node { value, place }
    }
}

/// The bytes of a location, without white space at its end.
fn locate(file: FileId, text: &str, at: &Location) -> Place {
    let span = at.span();
    let start = span.byte_offset().and_then(|n| usize::try_from(n).ok());
    let len = span.byte_len().and_then(|n| usize::try_from(n).ok());
    let (Some(start), Some(len)) = (start, len) else { return place(file, 0, 0) };
    let written = text.get(start..start.saturating_add(len)).unwrap_or_default();
    place(file, start, start.saturating_add(written.trim_end().len()))
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Spanned::<RawValue>::deserialize(deserializer).map(Raw)
    }
}

impl<'de> Deserialize<'de> for RawValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = RawValue;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<RawValue, E> {
        Ok(RawValue::Null)
    }

    fn visit_none<E>(self) -> Result<RawValue, E> {
        Ok(RawValue::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<RawValue, D::Error> {
        RawValue::deserialize(deserializer)
    }

    fn visit_bool<E>(self, _: bool) -> Result<RawValue, E> {
        Ok(RawValue::Literal)
    }

    fn visit_i64<E>(self, _: i64) -> Result<RawValue, E> {
        Ok(RawValue::Literal)
    }

    fn visit_u64<E>(self, _: u64) -> Result<RawValue, E> {
        Ok(RawValue::Literal)
    }

    fn visit_i128<E>(self, _: i128) -> Result<RawValue, E> {
        Ok(RawValue::Literal)
    }

    fn visit_u128<E>(self, _: u128) -> Result<RawValue, E> {
        Ok(RawValue::Literal)
    }

    fn visit_f64<E>(self, _: f64) -> Result<RawValue, E> {
        Ok(RawValue::Literal)
    }

    fn visit_str<E>(self, text: &str) -> Result<RawValue, E> {
        Ok(RawValue::Text(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<RawValue, E> {
        Ok(RawValue::Text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<RawValue, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(RawValue::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawValue, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(RawValue::Map(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Option<Node>, Vec<Diagnostic>) {
        let mut findings = Vec::new();
        let node = parse(FileId(0), text, &mut findings);
        (node, findings)
    }

    fn written<'a>(text: &'a str, node: &Node) -> &'a str {
        text.get(node.place.start as usize..node.place.end as usize).unwrap()
    }

    #[test]
    fn keys_and_values_know_their_places() {
        let text = "# ä\nports: [443, 8000-8010, \"22\"]\nver: 1.20\nname: no\nkey: {a: ~, b: |\n    x\n  }\n";
        let text = text.replace(", b: |\n    x\n  ", "");
        let (node, findings) = read(&text);
        assert_eq!(findings, vec![]);
        let node = node.unwrap();
        let Value::Map(entries) = &node.value else { panic!("{node:?}") };
        let keys: Vec<_> = entries.iter().map(|(k, _)| written(&text, k)).collect();
        assert_eq!(keys, ["ports", "ver", "name", "key"]);
        let Value::List(ports) = &node.get("ports").unwrap().value else { panic!("{node:?}") };
        let ports: Vec<_> = ports.iter().map(|p| (p.text().unwrap(), written(&text, p))).collect();
        assert_eq!(ports, [("443", "443"), ("8000-8010", "8000-8010"), ("22", "\"22\"")]);
        assert_eq!(node.get("ver").unwrap().text(), Some("1.20"));
        assert_eq!(node.get("name").unwrap().text(), Some("no"));
        assert_eq!(node.get("key").unwrap().get("a").unwrap().value, Value::Null);
    }

    #[test]
    fn a_key_that_is_there_twice_is_kept_twice() {
        let (node, findings) = read("a: 1\na: 2\n<<: {b: 3}\n");
        assert_eq!(findings, vec![]);
        let Value::Map(entries) = node.unwrap().value else { panic!("no map") };
        assert_eq!(entries.len(), 3);
    }

    #[test]
    fn every_unquoted_star_is_reported_and_reading_goes_on() {
        let (node, findings) = read("domains: [*.example.com, a.example, *pay*]\nx: *\ny: 1\n");
        let messages: Vec<_> = findings.iter().map(|d| d.message.as_str()).collect();
        assert!(node.is_some(), "{findings:?}");
        assert_eq!(messages.len(), 3, "{messages:?}");
        assert!(messages.iter().all(|m| m.contains("must be quoted")), "{messages:?}");
    }

    #[test]
    fn tabs_and_broken_syntax_are_explained() {
        let (_, findings) = read("a:\n\tb: 1\n");
        assert_eq!(findings.first().map(|d| d.code), Some("tab"), "{findings:?}");
        let (_, findings) = read("a: [1, 2\nb: 3\n");
        assert_eq!(findings.first().map(|d| d.code), Some("yaml"), "{findings:?}");
    }

    #[test]
    fn aliases_cannot_grow_without_bound() {
        let mut text = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
        for n in 1..12 {
            let inner = vec![format!("*a{}", n - 1); 10].join(",");
            text.push_str(&format!("a{n}: &a{n} [{inner}]\n"));
        }
        let (node, findings) = read(&text);
        assert!(node.is_none());
        assert_eq!(findings.len(), 1, "{findings:?}");
    }

    #[test]
    fn damaged_texts_never_panic() {
        let seed =
            "segments:\n  acme: {kind: partner, networks: [10.0.0.0/8, \"::/0\"]}\nx: \"*a\" # ü\n";
        let mut state = 1u64;
        for _ in 0..400 {
            let mut bytes = seed.as_bytes().to_vec();
            for _ in 0..4 {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let at = (state >> 33) as usize % bytes.len();
                bytes[at] = b"*&[]{}:-,\t\n\"' |>!%@\0\xc3x"[(state >> 17) as usize % 22];
            }
            let _ = read(&String::from_utf8_lossy(&bytes));
        }
    }
}
