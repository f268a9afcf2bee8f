//! The single words of the language: names, networks, ports, dates, durations, sizes and the like,
//! each with its own message for what is wrong. Resolves no names.

use super::decode::{Fault, Scalar, words};
use crate::model::{Action, ApiId, Certificate, EndpointId, Ja4, Protocol, TlsVersion};
use crate::policy::spec::{
    Answer, AppMatch, EncryptedClientHello, FlowLog, FragmentMode, Midstream, Mode, PortRange,
    SegmentKind,
};
use ipnet::IpNet;
use schemars::{Schema, json_schema};
use std::net::IpAddr;

/// The longest name of a segment, set or rule.
const NAME_LIMIT: usize = 128;
/// The longest free text.
const TEXT_LIMIT: usize = 4096;

words!("action", Action { "allow" => Self::Allow, "deny" => Self::Deny, "reject" => Self::Reject, });
words!("kind of segment", SegmentKind {
    "partner" => Self::Partner, "workload" => Self::Workload, "shared" => Self::Shared,
});
words!("value of `mode`", Mode { "enforce" => Self::Enforce, "monitor" => Self::Monitor, });
words!("value of `midstream`", Midstream {
    "deny" => Self::Deny, "reject" => Self::Reject, "allow" => Self::Allow, "adopt" => Self::Adopt,
});
words!("value here", Answer { "deny" => Self::Deny, "allow" => Self::Allow, });
words!("value of `fragments`", FragmentMode { "track" => Self::Track, "deny" => Self::Deny, });
words!("value of `encrypted_client_hello`", EncryptedClientHello {
    "outer-name" => Self::OuterName, "deny" => Self::Deny,
});
words!("value of `log`", FlowLog {
    "none" => Self::None, "start" => Self::Start, "end" => Self::End, "both" => Self::Both,
});
words!("value of `app`", AppMatch {
    "tls" => Self::Tls, "quic" => Self::Quic, "http" => Self::Http, "dns" => Self::Dns,
});
words!("value of `min_version`", TlsVersion {
    "1.0" => Self(0x0301), "1.1" => Self(0x0302), "1.2" => Self(0x0303), "1.3" => Self(0x0304),
});

impl Scalar for bool {
    const WHAT: &'static str = "truth value";

    fn parse(text: &str) -> Result<Self, Fault> {
        match text {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err(Fault::word("truth value", text, &["true", "false"])),
        }
    }

    fn schema() -> Schema {
        json_schema!({ "type": "boolean" })
    }
}

/// The name of a segment, a set, a label or a rule.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Name(pub(crate) String);

impl Scalar for Name {
    const WHAT: &'static str = "name";

    fn parse(text: &str) -> Result<Self, Fault> {
        let help = format!(
            "a name starts with a letter or digit and has at most {NAME_LIMIT} letters, digits, `-`, `_` and `.`"
        );
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        let starts = text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
        if !starts || text.len() > NAME_LIMIT || !text.bytes().all(plain) {
            return Err(Fault::new("bad-name", format!("`{}` is no name", clip(text))).help(help));
        }
        if text == "any" {
            return Err(Fault::new("bad-name", "`any` cannot be a name")
                .help("`any` stands for every segment"));
        }
        Ok(Self(text.to_owned()))
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]*$", "maxLength": NAME_LIMIT })
    }
}

/// Free text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Text(pub(crate) String);

impl Scalar for Text {
    const WHAT: &'static str = "text";

    fn parse(text: &str) -> Result<Self, Fault> {
        if text.len() > TEXT_LIMIT {
            return Err(Fault::new("too-long", format!("text of {} bytes", text.len()))
                .help(format!("at most {TEXT_LIMIT} bytes")));
        }
        Ok(Self(text.to_owned()))
    }

    fn schema() -> Schema {
        json_schema!({ "type": ["string", "number", "boolean"] })
    }
}

/// The version of the language.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SchemaVersion;

impl Scalar for SchemaVersion {
    const WHAT: &'static str = "schema version";

    fn parse(text: &str) -> Result<Self, Fault> {
        if text == "1" {
            return Ok(Self);
        }
        Err(Fault::new("schema-version", format!("schema version `{}` is not known", clip(text)))
            .help("write `lockgate: 1`"))
    }

    fn schema() -> Schema {
        json_schema!({ "const": 1 })
    }
}

impl Scalar for EndpointId {
    const WHAT: &'static str = "endpoint id";

    fn parse(text: &str) -> Result<Self, Fault> {
        text.parse().map_err(|_| {
            let why = endpoint_fault(text);
            Fault::new("bad-endpoint", format!("`{}` is no endpoint id", clip(text)))
                .label(why)
                .help("an endpoint id is `vpce-0` and 16 lower-case hex digits; GWLB carries these 64 bits in GENEVE option type 1")
        })
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "pattern": "^vpce-0[0-9a-f]{16}$" })
    }
}

/// What is wrong with an endpoint id.
fn endpoint_fault(text: &str) -> String {
    let Some(digits) = text.strip_prefix("vpce-") else {
        return "it does not start with `vpce-`".into();
    };
    let lower = |c: &char| c.is_ascii_digit() || ('a'..='f').contains(c);
    if let Some(bad) = digits.chars().find(|c| !lower(c)) {
        return format!("`{bad}` is no lower-case hex digit");
    }
    match digits.len() {
        17 => "its first digit is not 0".into(),
        count => format!("it has {count} digits behind `vpce-`, not 17"),
    }
}

impl Scalar for IpNet {
    const WHAT: &'static str = "network";

    fn parse(text: &str) -> Result<Self, Fault> {
        let bad = |why: &str| {
            Fault::new("bad-network", format!("`{}` is no network", clip(text))).label(why)
        };
        let example =
            "write an address and a prefix length, such as 10.20.0.0/16 or \"2001:db8::/48\"";
        let Some((addr, len)) = text.split_once('/') else {
            return match text.parse::<IpAddr>() {
                Ok(addr) => plain_family(IpNet::from(addr), text),
                Err(_) => Err(bad("neither an address nor a network").help(example)),
            };
        };
        let Ok(addr) = addr.parse::<IpAddr>() else {
            return Err(bad("the part before `/` is no address").help(example));
        };
        let most = if addr.is_ipv4() { 32 } else { 128 };
        let plain = !len.is_empty() && len.len() <= 3 && len.bytes().all(|b| b.is_ascii_digit());
        let len = len.parse::<u8>().ok().filter(|&n| n <= most && plain);
        let Some(net) = len.and_then(|len| IpNet::new(addr, len).ok()) else {
            return Err(
                bad("the prefix length is wrong").help(format!("it is a number from 0 to {most}"))
            );
        };
        if net.trunc() != net {
            return Err(bad("bits are set behind the prefix")
                .help(format!("did you mean {}?", net.trunc())));
        }
        plain_family(net, text)
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "pattern": "^[0-9A-Fa-f:.]+(/[0-9]{1,3})?$" })
    }
}

/// Refuses IPv4-mapped IPv6 networks: no packet has such an address.
fn plain_family(net: IpNet, text: &str) -> Result<IpNet, Fault> {
    let mapped = match net {
        IpNet::V6(v6) if v6.prefix_len() >= 96 => v6.network().to_ipv4_mapped(),
        _ => None,
    };
    match mapped {
        Some(v4) => Err(Fault::new("bad-network", format!("`{text}` is an IPv4-mapped network"))
            .help(format!("write it as IPv4: {v4}/{}", net.prefix_len().saturating_sub(96)))),
        None => Ok(net),
    }
}

impl Scalar for PortRange {
    const WHAT: &'static str = "port";

    fn parse(text: &str) -> Result<Self, Fault> {
        let bad = |why: String| {
            Fault::new("bad-port", format!("`{}` is no port", clip(text)))
                .label(why)
                .help("a port is a number from 0 to 65535, a range is written 8000-8010")
        };
        let one = |digits: &str| {
            let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
            digits.parse::<u16>().ok().filter(|_| plain)
        };
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        match (one(first.trim()), one(last.trim())) {
            (Some(first), Some(last)) if first <= last => Ok(Self { first, last }),
            (Some(_), Some(_)) => Err(bad("the range ends before it starts".into())),
            _ => Err(bad("neither a number below 65536 nor a range of two".into())),
        }
    }

    fn schema() -> Schema {
        json_schema!({ "anyOf": [
            { "type": "integer", "minimum": 0, "maximum": 65535 },
            { "type": "string", "pattern": "^[0-9]{1,5}(-[0-9]{1,5})?$" },
        ] })
    }
}

/// A protocol, or every one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ProtocolWord(pub(crate) Option<Protocol>);

impl Scalar for ProtocolWord {
    const WHAT: &'static str = "protocol";

    fn parse(text: &str) -> Result<Self, Fault> {
        let number =
            || text.parse::<u8>().ok().filter(|_| text.bytes().all(|b| b.is_ascii_digit()));
        match text {
            "tcp" => Ok(Self(Some(Protocol::TCP))),
            "udp" => Ok(Self(Some(Protocol::UDP))),
            "icmp" => Ok(Self(Some(Protocol::ICMP))),
            "icmpv6" => Ok(Self(Some(Protocol::ICMPV6))),
            "any" => Ok(Self(None)),
            _ => match number() {
                Some(number) => Ok(Self(Some(Protocol(number)))),
                None => Err(Fault::word(
                    "protocol",
                    text,
                    &["tcp", "udp", "icmp", "icmpv6", "any", "a number from 0 to 255"],
                )),
            },
        }
    }

    fn schema() -> Schema {
        json_schema!({ "anyOf": [
            { "enum": ["tcp", "udp", "icmp", "icmpv6", "any"] },
            { "type": "integer", "minimum": 0, "maximum": 255 },
        ] })
    }
}

impl Scalar for u64 {
    const WHAT: &'static str = "number";

    fn parse(text: &str) -> Result<Self, Fault> {
        let plain = text.bytes().all(|b| b.is_ascii_digit());
        text.parse().ok().filter(|_| plain).ok_or_else(|| {
            Fault::new("bad-number", format!("`{}` is no whole number", clip(text)))
                .help("write digits alone, such as 200000")
        })
    }

    fn schema() -> Schema {
        json_schema!({ "type": "integer", "minimum": 0 })
    }
}

impl Scalar for Ja4 {
    const WHAT: &'static str = "JA4 fingerprint";

    fn parse(text: &str) -> Result<Self, Fault> {
        let ok = |b: &[u8; 36]| {
            b.iter().enumerate().all(|(n, c)| match n {
                10 | 23 => *c == b'_',
                _ => c.is_ascii_digit() || c.is_ascii_lowercase(),
            })
        };
        text.as_bytes().try_into().ok().filter(ok).map(Self).ok_or_else(|| {
            Fault::new("bad-ja4", format!("`{}` is no JA4 fingerprint", clip(text)))
                .help("it has 36 characters, such as t13d1516h2_8daaf6152771_02713d6af862")
        })
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "pattern": "^[a-z0-9]{10}_[a-z0-9]{12}_[a-z0-9]{12}$" })
    }
}

impl Scalar for ApiId {
    const WHAT: &'static str = "API id";

    fn parse(text: &str) -> Result<Self, Fault> {
        Self::parse(text.as_bytes()).ok_or_else(|| {
            Fault::new("bad-api-id", format!("`{}` is no API id", clip(text)))
                .help("it has letters, digits and hyphens, such as p4ym3nts01")
        })
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "pattern": "^[A-Za-z0-9-]{1,64}$" })
    }
}

/// The SHA-256 of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sha256(pub(crate) [u8; 32]);

impl Scalar for Sha256 {
    const WHAT: &'static str = "SHA-256";

    fn parse(text: &str) -> Result<Self, Fault> {
        Certificate::parse_sha256(text).map(Self).ok_or_else(|| {
            Fault::new("bad-sha256", format!("`{}` is no SHA-256", clip(text)))
                .help("write 64 hex digits, with or without colons")
        })
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "pattern": "^([0-9A-Fa-f]{2}:?){32}$" })
    }
}

/// The beginning of a text, for messages.
pub(crate) fn clip(text: &str) -> String {
    const SHOWN: usize = 80;
    if text.chars().count() <= SHOWN {
        return text.to_owned();
    }
    text.chars().take(SHOWN).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_exact() {
        for good in ["10.20.0.0/16", "2001:db8:20::/48", "0.0.0.0/0", "::/0", "10.0.0.1", "::1"] {
            assert!(IpNet::parse(good).is_ok(), "{good}");
        }
        for bad in [
            "10.20.0.0/33",
            "10.20.0.1/16",
            "10.20.0.0/",
            "10.20.0/16",
            "10.20.0.0/+8",
            "::ffff:10.0.0.0/104",
            "::ffff:1.2.3.4",
            "x",
            "10.0.0.0/016.0",
        ] {
            assert!(IpNet::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn ports_end_at_their_limits() {
        let range = |first, last| Some(PortRange { first, last });
        for (text, want) in [
            ("0", range(0, 0)),
            ("65535", range(65535, 65535)),
            ("65536", None),
            ("8000-8010", range(8000, 8010)),
            ("2-1", None),
            ("-1", None),
            ("+1", None),
            ("1-", None),
        ] {
            assert_eq!(PortRange::parse(text).ok(), want, "{text}");
        }
    }

    #[test]
    fn what_is_wrong_with_an_endpoint_id_is_said() {
        for (text, why) in [
            ("vpc-0a1b2c3d4e5f60718", "it does not start with `vpce-`"),
            ("vpce-1a1b2c3d4e5f60718", "its first digit is not 0"),
            ("vpce-0a1b2c3d4e5f6071", "it has 16 digits behind `vpce-`, not 17"),
            ("vpce-0A1b2c3d4e5f60718", "`A` is no lower-case hex digit"),
        ] {
            assert_eq!(endpoint_fault(text), why);
            assert!(EndpointId::parse(text).is_err());
        }
    }

    #[test]
    fn fingerprints_have_their_form() {
        assert!(Ja4::parse("t13d1516h2_8daaf6152771_02713d6af862").is_ok());
        assert!(Ja4::parse("t13d1516h2-8daaf6152771_02713d6af862").is_err());
        assert!(Sha256::parse(&"ab".repeat(32)).is_ok());
        assert!(Sha256::parse(&"ab".repeat(31)).is_err());
        assert!(Sha256::parse(&"ax".repeat(32)).is_err());
    }
}
