//! Sequences, one-or-many and mappings of things that can be read, each with its schema. Says
//! nothing about what is in them.

use super::decode::{Decode, Fault, Reading, Scalar};
use super::source::{At, Place};
use super::yaml::{Node, Value};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use std::borrow::Cow;

/// A sequence.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct List<T> {
    pub(crate) items: Vec<T>,
    /// Whether nothing was written; items that could not be read are left out of `items`.
    pub(crate) is_empty: bool,
    pub(crate) place: Place,
}

impl<T: Decode> Decode for List<T> {
    const WHAT: &'static str = T::WHAT;

    fn decode(node: &Node, reading: &mut Reading) -> Option<Self> {
        let Value::List(nodes) = &node.value else {
            let text = format!("expected a list (each item a {}), found {}", T::WHAT, node.kind());
            let fault = Fault::new("wrong-kind", text);
            let fault = fault.label(format!("this is {}", node.kind()));
            reading.error(
                node.place,
                match node.text() {
                    Some(text) => fault.help(format!("write [{text}]")),
                    None => fault,
                },
            );
            return None;
        };
        let items = nodes.iter().filter_map(|n| T::decode(n, reading)).collect();
        Some(Self { items, is_empty: nodes.is_empty(), place: node.place })
    }
}

impl<T: Decode + JsonSchema> JsonSchema for List<T> {
    fn schema_name() -> Cow<'static, str> {
        format!("list-of-{}", T::schema_name()).into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "array", "items": generator.subschema_for::<T>() })
    }
}

/// One thing or a sequence of them.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct OneOrMany<T> {
    pub(crate) items: Vec<T>,
    /// Whether an empty sequence was written.
    pub(crate) is_empty: bool,
    pub(crate) place: Place,
}

impl<T: Decode> Decode for OneOrMany<T> {
    const WHAT: &'static str = T::WHAT;

    fn decode(node: &Node, reading: &mut Reading) -> Option<Self> {
        if matches!(node.value, Value::List(_)) {
            let List { items, is_empty, place } = List::decode(node, reading)?;
            return Some(Self { items, is_empty, place });
        }
        let items = vec![T::decode(node, reading)?];
        Some(Self { items, is_empty: false, place: node.place })
    }
}

impl<T: Decode + JsonSchema> JsonSchema for OneOrMany<T> {
    fn schema_name() -> Cow<'static, str> {
        format!("one-or-many-{}", T::schema_name()).into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let one = generator.subschema_for::<T>();
        json_schema!({ "anyOf": [one, { "type": "array", "items": one, "minItems": 1 }] })
    }
}

/// A mapping from names that the writer chooses.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Table<K, T> {
    pub(crate) entries: Vec<(At<K>, T)>,
}

impl<K: Scalar, T: Decode> Decode for Table<K, T> {
    const WHAT: &'static str = T::WHAT;

    fn decode(node: &Node, reading: &mut Reading) -> Option<Self> {
        let nodes = match &node.value {
            Value::Map(nodes) => nodes.as_slice(),
            Value::Null => &[],
            _ => {
                reading.error(node.place, Fault::kind(T::WHAT, "an entry of a mapping", node));
                return None;
            }
        };
        let mut entries = Vec::new();
        for (key, value) in nodes {
            let Some(name) = At::<K>::decode(key, reading) else { continue };
            let subject = key.text().map(|text| format!("{} `{text}`", T::WHAT));
            let value = reading.within(subject, |reading| T::decode(value, reading));
            entries.extend(value.map(|value| (name, value)));
        }
        Some(Self { entries })
    }
}

impl<K: Scalar, T: Decode + JsonSchema> JsonSchema for Table<K, T> {
    fn schema_name() -> Cow<'static, str> {
        format!("table-of-{}", T::schema_name()).into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "object",
            "propertyNames": K::schema(),
            "additionalProperties": generator.subschema_for::<T>(),
        })
    }
}
