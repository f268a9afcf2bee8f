//! Identifiers: those of the wire (endpoint, attachment, flow cookie) and those of a compiled
//! policy (segment, scope, policy, rule, epoch).

use std::fmt;
use std::str::FromStr;

/// A GWLB endpoint, GENEVE option class 0x0108 type 1. Written `vpce-0` and 16 hex digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EndpointId(pub u64);

impl fmt::Display for EndpointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "vpce-0{:016x}", self.0)
    }
}

/// Why a text is no endpoint id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdError;

impl fmt::Display for IdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an endpoint id is `vpce-0` and 16 lower-case hex digits")
    }
}

impl std::error::Error for IdError {}

impl FromStr for EndpointId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let digits = text.strip_prefix("vpce-0").ok_or(IdError)?;
        let lower_hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if digits.len() != 16 || !digits.bytes().all(lower_hex) {
            return Err(IdError);
        }
        u64::from_str_radix(digits, 16).map(Self).map_err(|_| IdError)
    }
}

/// A GWLB attachment, GENEVE option class 0x0108 type 2. Opaque.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AttachmentId(pub u64);

/// A GWLB flow cookie, GENEVE option class 0x0108 type 3. Opaque, never part of a flow key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FlowCookie(pub u32);

/// Position of a segment in a compiled policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentId(pub u16);

/// What separates flow state of overlapping networks: a partner's segment, or the common scope.
/// Scope ids survive reloads (see the policy's scope registry), so that flows keep their key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ScopeId(pub u16);

/// Position of a policy (one `from`/`to` block) in a compiled ruleset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PolicyId(pub u32);

/// Position of a rule in a compiled ruleset, over all policies in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RuleId(pub u32);

/// Counts rulesets installed in an engine; a flow decided under an older epoch is decided again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u32);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoint_ids_print_as_they_parse() {
        let id: EndpointId = "vpce-0123456789abcdef0".parse().expect("valid");
        assert_eq!(id, EndpointId(0x1234_5678_9abc_def0));
        assert_eq!(id.to_string(), "vpce-0123456789abcdef0");
    }

    #[test]
    fn only_seventeen_digits_that_start_with_zero_are_an_endpoint() {
        for bad in [
            "",
            "vpce-",
            "vpce-1123456789abcdef0",
            "vpce-0123456789abcdef",
            "vpce-0123456789abcdef01",
            "vpce-0123456789ABCDEF0",
            "vpc-00123456789abcdef0",
            "vpce-0+23456789abcdef0",
        ] {
            assert_eq!(bad.parse::<EndpointId>(), Err(IdError), "{bad}");
        }
    }
}
