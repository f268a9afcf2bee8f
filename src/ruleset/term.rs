//! Words of the language that have more than one form: a value or a set, a selector, an ICMP type,
//! `any` or a list, `required` or a mapping. Resolves no names.

use super::collection::List;
use super::decode::{Decode, Fault, Reading, Scalar};
use super::document::CertificateFields;
use super::scalar::{Name, clip};
use super::source::{At, Place};
use super::yaml::{Node, Value};
use crate::model::EndpointId;
use crate::policy::names::NamePattern;
use crate::policy::spec::{IcmpMatch, SegmentKind, Selector};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use std::borrow::Cow;

/// A value, or a set of them as `$name`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Term<T> {
    /// A set's name.
    Set(Name),
    /// A value.
    Value(T),
}

impl<T: Scalar> Scalar for Term<T> {
    const WHAT: &'static str = T::WHAT;

    fn parse(text: &str) -> Result<Self, Fault> {
        match text.strip_prefix('$') {
            Some(name) => Name::parse(name).map(Self::Set),
            None => T::parse(text).map(Self::Value),
        }
    }

    fn schema() -> Schema {
        json_schema!({ "anyOf": [
            { "type": "string", "pattern": "^\\$[A-Za-z0-9][A-Za-z0-9._-]*$" },
            T::schema(),
        ] })
    }
}

/// A name pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Domain(pub(super) NamePattern);

impl Scalar for Domain {
    const WHAT: &'static str = "name";

    fn parse(text: &str) -> Result<Self, Fault> {
        super::names::parse(text).map(Self)
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "minLength": 1 })
    }
}

impl Scalar for Selector {
    const WHAT: &'static str = "segment";

    fn parse(text: &str) -> Result<Self, Fault> {
        if text == "any" {
            return Ok(Self::Any);
        }
        match text.split_once(':') {
            Some(("kind", kind)) => SegmentKind::parse(kind).map(Self::Kind),
            Some((key, value)) => Ok(Self::Label(Name::parse(key)?.0, Name::parse(value)?.0)),
            None => Name::parse(text).map(|name| Self::Segment(name.0)),
        }
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]*(:[A-Za-z0-9][A-Za-z0-9._-]*)?$" })
    }
}

/// An ICMP message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum IcmpWord {
    /// A type, with or without code.
    Number(IcmpMatch),
    /// A name: the numbers in ICMP (RFC 792) and in ICMPv6 (RFC 4443).
    Named { word: &'static str, v4: Option<u8>, v6: Option<u8> },
}

const ICMP_NAMES: [(&str, Option<u8>, Option<u8>); 6] = [
    ("echo-reply", Some(0), Some(129)),
    ("echo-request", Some(8), Some(128)),
    ("destination-unreachable", Some(3), Some(1)),
    ("packet-too-big", None, Some(2)),
    ("time-exceeded", Some(11), Some(3)),
    ("parameter-problem", Some(12), Some(4)),
];

impl Scalar for IcmpWord {
    const WHAT: &'static str = "ICMP type";

    fn parse(text: &str) -> Result<Self, Fault> {
        if let Some(&(word, v4, v6)) = ICMP_NAMES.iter().find(|(word, ..)| *word == text) {
            return Ok(Self::Named { word, v4, v6 });
        }
        let byte = |s: &str| s.parse::<u8>().ok().filter(|_| s.bytes().all(|b| b.is_ascii_digit()));
        let read = match text.split_once('/') {
            None => byte(text).map(|kind| IcmpMatch { kind, code: None }),
            Some((kind, code)) => {
                byte(kind).zip(byte(code)).map(|(kind, code)| IcmpMatch { kind, code: Some(code) })
            }
        };
        let names = ICMP_NAMES.map(|(word, ..)| word);
        read.map(Self::Number).ok_or_else(|| Fault::word(Self::WHAT, text, &names))
    }

    fn schema() -> Schema {
        json_schema!({ "anyOf": [
            { "enum": ICMP_NAMES.map(|(word, ..)| word) },
            { "type": "integer", "minimum": 0, "maximum": 255 },
            { "type": "string", "pattern": "^[0-9]{1,3}/[0-9]{1,3}$" },
        ] })
    }
}

/// What a name is bound to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bind;
super::decode::words!("bind", Bind { "dns" => Self, });

/// What a guardrail's traffic does without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Without;
super::decode::words!("without", Without { "names" => Self, });

/// `any`, or a list of endpoints.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum CommonDoc {
    /// Every endpoint that no segment lists.
    Any(Place),
    /// These.
    List(List<At<EndpointId>>),
}

impl CommonDoc {
    pub(super) const fn place(&self) -> Place {
        match self {
            Self::Any(place) => *place,
            Self::List(list) => list.place,
        }
    }
}

impl Decode for CommonDoc {
    const WHAT: &'static str = "common_endpoints";

    fn decode(node: &Node, reading: &mut Reading) -> Option<Self> {
        match &node.value {
            Value::List(_) => List::decode(node, reading).map(Self::List),
            Value::Text(text) if text == "any" => Some(Self::Any(node.place)),
            _ => {
                let what = node
                    .text()
                    .map_or_else(|| node.kind().to_owned(), |t| format!("`{}`", clip(t)));
                let message =
                    format!("common_endpoints is `any` or a list of endpoint ids, not {what}");
                reading.error(
                    node.place,
                    Fault::new("wrong-kind", message)
                        .help("write `any` or a list, such as [vpce-0fedcba9876543210]"),
                );
                None
            }
        }
    }
}

impl JsonSchema for CommonDoc {
    fn schema_name() -> Cow<'static, str> {
        "common-endpoints".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [{ "const": "any" }, { "type": "array", "items": EndpointId::schema() }] })
    }
}

/// `required`, or what a certificate must be.
#[derive(Clone, Debug)]
pub(super) enum CertificateDoc {
    /// Any certificate.
    Required,
    /// One like this.
    Like(CertificateFields),
}

impl Decode for CertificateDoc {
    const WHAT: &'static str = "client_certificate";

    fn decode(node: &Node, reading: &mut Reading) -> Option<Self> {
        match node.text() {
            Some("required") => Some(Self::Required),
            Some(other) => {
                let fault = Fault::new(
                    "unknown-word",
                    format!("client_certificate is not `{}`", clip(other)),
                );
                let help = "write `required`, or a mapping with issuer, san, sha256 or in_date";
                reading.error(node.place, fault.help(help));
                None
            }
            None => CertificateFields::decode(node, reading).map(Self::Like),
        }
    }
}

impl JsonSchema for CertificateDoc {
    fn schema_name() -> Cow<'static, str> {
        "client-certificate-condition".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [{ "const": "required" }, generator.subschema_for::<CertificateFields>()] })
    }
}
