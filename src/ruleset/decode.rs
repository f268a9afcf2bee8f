//! From a tree of nodes to typed records, collecting every error on the way instead of stopping at
//! the first. One macro makes a record's struct, its reader and its JSON Schema from one
//! definition, so that they cannot differ. Knows no field of the language.

use super::diagnostic::Diagnostic;
use super::source::{At, Place};
use super::suggest::nearest;
use super::yaml::{Node, Value};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use std::borrow::Cow;

/// What the readers share: the findings so far and what is being read.
#[derive(Debug, Default)]
pub(crate) struct Reading {
    pub(crate) findings: Vec<Diagnostic>,
    subjects: Vec<String>,
}

impl Reading {
    /// Adds an error about what is being read; `help` may be empty.
    pub(crate) fn error(&mut self, place: Place, fault: Fault) {
        let subject = self.subjects.last().map(String::as_str);
        self.findings.push(fault.into_diagnostic(subject, place));
    }

    /// Reads something inside a rule, a segment or the like, which errors will name.
    pub(crate) fn within<T>(
        &mut self,
        subject: Option<String>,
        read: impl FnOnce(&mut Self) -> T,
    ) -> T {
        let depth = self.subjects.len();
        self.subjects.extend(subject);
        let value = read(self);
        self.subjects.truncate(depth);
        value
    }

    /// The entries of a mapping whose keys are all known, each once; errors for the others.
    pub(crate) fn fields<'n>(
        &mut self,
        node: &'n Node,
        what: &str,
        known: &[Field],
    ) -> Option<Vec<(&'static str, &'n Node)>> {
        let Value::Map(entries) = &node.value else {
            self.error(node.place, Fault::kind(what, "a mapping", node));
            return None;
        };
        let mut fields: Vec<(&'static str, Place, &'n Node)> = Vec::new();
        for (key, value) in entries {
            let name = key.text().unwrap_or_default();
            match known.iter().find(|(k, _)| *k == name) {
                None => self.unknown_field(key, name, what, known),
                Some((name, _)) => match fields.iter().find(|(k, _, _)| k == name) {
                    Some((_, first, _)) => self.twice(key.place, *first, name),
                    None => fields.push((name, key.place, value)),
                },
            }
        }
        let spot = entries.first().map_or(node.place, |(key, _)| key.place);
        for (name, about) in known.iter().filter_map(|(name, need)| Some((name, (*need)?))) {
            if !fields.iter().any(|(k, _, _)| k == name) {
                let help = format!("`{name}`: {}", description(about).trim_end_matches('.'));
                let fault = Fault::new("missing-field", format!("{what} needs `{name}`"));
                self.error(spot, fault.label(format!("`{name}` is missing here")).help(help));
            }
        }
        Some(fields.into_iter().map(|(name, _, value)| (name, value)).collect())
    }

    fn unknown_field(&mut self, key: &Node, name: &str, what: &str, known: &[Field]) {
        let near = nearest(name, known.iter().map(|(k, _)| *k));
        let help = match near {
            Some(near) => format!("did you mean `{near}`?"),
            None => {
                let list: Vec<_> = known.iter().map(|(k, _)| *k).collect();
                format!("{what} has the fields {}", list.join(", "))
            }
        };
        let fault = Fault::new("unknown-field", format!("unknown field `{name}`"));
        self.error(key.place, fault.label(format!("{what} has no such field")).help(help));
    }

    fn twice(&mut self, again: Place, first: Place, name: &str) {
        self.error(
            again,
            Fault::new("duplicate-field", format!("`{name}` is given twice")).label("again here"),
        );
        if let Some(last) = self.findings.pop() {
            self.findings.push(last.also(first, "first here").help("keep one of them"));
        }
    }
}

/// What is wrong with one value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    code: &'static str,
    message: String,
    label: String,
    help: Option<String>,
}

impl Fault {
    pub(crate) fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), label: "here".into(), help: None }
    }

    pub(crate) fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// The finding, about a rule or the like.
    pub(crate) fn into_diagnostic(self, subject: Option<&str>, place: Place) -> Diagnostic {
        let message = match subject {
            Some(subject) => format!("{subject}: {}", self.message),
            None => self.message,
        };
        let finding = Diagnostic::error(self.code, message).at(place, self.label);
        match self.help {
            Some(help) => finding.help(help),
            None => finding,
        }
    }

    /// A value of the wrong kind of YAML.
    pub(crate) fn kind(what: &str, expected: &str, found: &Node) -> Self {
        Self::new("wrong-kind", format!("{what} is {expected}, not {}", found.kind()))
            .label(format!("this is {}", found.kind()))
    }

    /// A word that is none of those known.
    pub(crate) fn word(what: &str, word: &str, known: &[&str]) -> Self {
        let list = known.join(", ");
        let fault = Self::new("unknown-word", format!("`{word}` is no {what}")).label("unknown");
        match nearest(word, known.iter().copied()) {
            Some(near) => fault.help(format!("did you mean `{near}`? {what} is one of: {list}")),
            None => fault.help(format!("{what} is one of: {list}")),
        }
    }
}

/// What can be read from a node. `None`: it could not, and the reading holds the error.
pub(crate) trait Decode: Sized {
    /// What it is, for messages: `rule`, `segment`.
    const WHAT: &'static str;

    fn decode(node: &Node, reading: &mut Reading) -> Option<Self>;
}

/// What is written as one word.
pub(crate) trait Scalar: Sized {
    /// What it is, for messages.
    const WHAT: &'static str;

    /// # Errors
    /// What is wrong, and what would be right.
    fn parse(text: &str) -> Result<Self, Fault>;

    fn schema() -> Schema;
}

impl<T: Scalar> Decode for At<T> {
    const WHAT: &'static str = T::WHAT;

    fn decode(node: &Node, reading: &mut Reading) -> Option<Self> {
        let Some(text) = node.text() else {
            reading.error(node.place, Fault::kind(T::WHAT, "written as one word", node));
            return None;
        };
        match T::parse(text) {
            Ok(value) => Some(Self { value, place: node.place }),
            Err(fault) => {
                reading.error(node.place, fault);
                None
            }
        }
    }
}

impl<T: Scalar> JsonSchema for At<T> {
    fn schema_name() -> Cow<'static, str> {
        T::WHAT.replace(' ', "-").into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        T::schema()
    }
}

/// The key of a field; where it must be there, what it is.
pub(crate) type Field = (&'static str, Option<&'static [&'static str]>);

/// Joins doc comment lines to one description.
pub(crate) fn description(lines: &[&str]) -> String {
    lines.iter().map(|l| l.trim()).collect::<Vec<_>>().join(" ")
}

/// Defines a mapping with fixed fields: the struct, its reader, its schema. Every field is an
/// `Option`; `required` ones that are missing have been reported by the reader. In brackets: what
/// it is, and the field whose value names it in messages. A key that is no Rust name stands behind
/// `as`.
macro_rules! record {
    (
        $(#[doc = $doc:literal])+
        $name:ident ($what:literal, $id:literal) {
            $($(#[doc = $field_doc:literal])+ $need:ident $field:ident $(as $key:literal)?: $type:ty,)+
        }
    ) => {
        $(#[doc = $doc])+
        #[derive(Clone, Debug, Default)]
        pub(super) struct $name {
            #[allow(dead_code, reason = "not every record is pointed at as a whole")]
            pub(super) place: $crate::ruleset::source::Place,
            /// How many fields were written, known or not.
            #[allow(dead_code, reason = "not every record may be empty")]
            pub(super) written: usize,
            $($(#[doc = $field_doc])+ pub(super) $field: Option<$type>,)+
        }

        impl $crate::ruleset::decode::Decode for $name {
            const WHAT: &'static str = $what;

            fn decode(
                node: &$crate::ruleset::yaml::Node,
                reading: &mut $crate::ruleset::decode::Reading,
            ) -> Option<Self> {
                const KNOWN: &[$crate::ruleset::decode::Field] = &[$((
                    $crate::ruleset::decode::key!($field $($key)?),
                    if $crate::ruleset::decode::is_required(stringify!($need)) {
                        Some(&[$($field_doc),+])
                    } else {
                        None
                    },
                )),+];
                let subject = node.get($id).and_then(|n| n.text()).map(|id| format!("{} `{id}`", $what));
                reading.within(subject, |reading| {
                    let mut record = Self { place: node.place, written: node.len(), ..Self::default() };
                    for (name, value) in reading.fields(node, $what, KNOWN)? {
                        match name {
                            $($crate::ruleset::decode::key!($field $($key)?) => {
                                record.$field = $crate::ruleset::decode::Decode::decode(value, reading);
                            })+
                            _ => {}
                        }
                    }
                    Some(record)
                })
            }
        }

        impl schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                $what.replace(' ', "-").into()
            }

            fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
                let mut properties = serde_json::Map::new();
                let mut required: Vec<&str> = Vec::new();
                $({
                    let mut schema = generator.subschema_for::<$type>();
                    schema.insert(
                        "description".to_owned(),
                        $crate::ruleset::decode::description(&[$($field_doc),+]).into(),
                    );
                    let key = $crate::ruleset::decode::key!($field $($key)?);
                    properties.insert(key.to_owned(), schema.into());
                    if $crate::ruleset::decode::is_required(stringify!($need)) {
                        required.push(key);
                    }
                })+
                let mut schema = schemars::json_schema!({
                    "type": "object",
                    "description": $crate::ruleset::decode::description(&[$($doc),+]),
                    "properties": properties,
                    "additionalProperties": false,
                });
                if !required.is_empty() {
                    schema.insert("required".to_owned(), required.into());
                }
                schema
            }
        }
    };
}
pub(crate) use record;

/// The key of a record's field.
macro_rules! key {
    ($field:ident) => {
        stringify!($field)
    };
    ($field:ident $key:literal) => {
        $key
    };
}
pub(crate) use key;

/// Whether a record's field marker is `required`.
pub(crate) const fn is_required(marker: &str) -> bool {
    matches!(marker.as_bytes(), b"required")
}

/// Makes an enum readable from words: `words!("kind of segment", SegmentKind { "partner" => Partner, .. })`.
macro_rules! words {
    ($what:literal, $type:ty { $($word:literal => $value:expr,)+ }) => {
        impl $crate::ruleset::decode::Scalar for $type {
            const WHAT: &'static str = $what;

            fn parse(text: &str) -> Result<Self, $crate::ruleset::decode::Fault> {
                match text {
                    $($word => Ok($value),)+
                    _ => Err($crate::ruleset::decode::Fault::word($what, text, &[$($word),+])),
                }
            }

            fn schema() -> schemars::Schema {
                schemars::json_schema!({ "enum": [$($word),+] })
            }
        }
    };
}
pub(crate) use words;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ruleset::collection::OneOrMany;
    use crate::ruleset::source::FileId;

    #[derive(Clone, Copy, Debug, PartialEq)]
    pub(in crate::ruleset) enum Colour {
        Red,
        Green,
    }
    words!("colour", Colour { "red" => Colour::Red, "green" => Colour::Green, });
    record! {
        /// A thing.
        Thing("thing", "name") {
            /// Its name.
            required name: At<Colour>,
            /// More
            /// colours.
            optional more: OneOrMany<At<Colour>>,
        }
    }

    fn read(text: &str) -> (Option<Thing>, Vec<String>) {
        let mut reading = Reading::default();
        let node = super::super::yaml::parse(FileId(0), text, &mut reading.findings).unwrap();
        let thing = Thing::decode(&node, &mut reading);
        (
            thing,
            reading.findings.into_iter().map(|d| d.message + " / " + &d.help.join(" ")).collect(),
        )
    }

    #[test]
    fn every_error_of_a_record_is_reported_in_one_run() {
        let (thing, findings) = read("{mroe: red, more: [blue, gren, red], more: red}");
        assert_eq!(
            findings,
            [
                "unknown field `mroe` / did you mean `more`?",
                "`more` is given twice / keep one of them",
                "thing needs `name` / `name`: Its name",
                "`blue` is no colour / colour is one of: red, green",
                "`gren` is no colour / did you mean `green`? colour is one of: red, green",
            ]
        );
        assert_eq!(thing.unwrap().more.unwrap().items.len(), 1);
    }

    #[test]
    fn wrong_kinds_say_what_was_found() {
        assert_eq!(read("[1]").1, ["thing is a mapping, not a list / "]);
        assert_eq!(read("{name: [red]}").1, ["colour is written as one word, not a list / "]);
        assert_eq!(read("{name: red, more: }").1.len(), 1);
    }

    #[test]
    fn the_schema_names_fields_and_what_is_required() {
        let schema = schemars::schema_for!(Thing).to_value();
        assert_eq!(schema["required"], serde_json::json!(["name"]));
        assert_eq!(schema["properties"]["more"]["description"], "More colours.");
    }
}
