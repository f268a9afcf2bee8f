//! The single words of the configuration that the rule language does not have.

use crate::io::live::{Backend, Mode};
use crate::ruleset::decode::{Fault, Scalar, words};
use crate::ruleset::scalar::clip;
use ipnet::Ipv4Net;
use schemars::{Schema, json_schema};
use std::net::{Ipv4Addr, SocketAddr};

words!("back end", Backend {
    "auto" => Self::Auto, "af-packet" => Self::AfPacket, "af-xdp" => Self::AfXdp,
});
words!("mode", Mode { "inline" => Self::Inline, "passive" => Self::Passive, });

/// What the target group does with flows of a target that goes
/// (`target_failover.on_deregistration`, `target_failover.on_unhealthy`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failover {
    /// They stay with it.
    NoRebalance,
    /// They move to others once it is unhealthy.
    Rebalance,
}
words!("target failover", Failover {
    "no_rebalance" => Self::NoRebalance, "rebalance" => Self::Rebalance,
});

/// What becomes of new flows during a drain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NewFlows {
    /// They are judged like any other.
    Serve,
    /// They are dropped, reason `draining`.
    Refuse,
}
words!("choice for new flows", NewFlows { "serve" => Self::Serve, "refuse" => Self::Refuse, });

/// How the process log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// JSON lines.
    Json,
}
words!("log format", LogFormat { "text" => Self::Text, "json" => Self::Json, });

/// What metrics tell apart of the two segments of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pairs {
    /// Both.
    Segments,
    /// The partner; of other segments the kind.
    Partners,
    /// Nothing.
    None,
}
words!("choice of pairs", Pairs {
    "segments" => Self::Segments, "partners" => Self::Partners, "none" => Self::None,
});

/// From which level on the process log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    /// What stops the instance or part of it.
    Error,
    /// What somebody should look at.
    Warn,
    /// What the instance does.
    Info,
    /// What it does in detail.
    Debug,
    /// Everything.
    Trace,
}
words!("log level", LogLevel {
    "error" => Self::Error, "warn" => Self::Warn, "info" => Self::Info, "debug" => Self::Debug,
    "trace" => Self::Trace,
});

/// The version of the configuration's schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DocumentVersion;

impl Scalar for DocumentVersion {
    const WHAT: &'static str = "schema version";

    fn parse(text: &str) -> Result<Self, Fault> {
        if text == "1" {
            return Ok(Self);
        }
        Err(Fault::new("schema-version", format!("schema version `{}` is not known", clip(text)))
            .help("write `appliance: 1`"))
    }

    fn schema() -> Schema {
        json_schema!({ "const": 1 })
    }
}

impl Scalar for SocketAddr {
    const WHAT: &'static str = "address and port";

    fn parse(text: &str) -> Result<Self, Fault> {
        text.parse().map_err(|_| {
            Fault::new("bad-listen", format!("`{}` is no address and port", clip(text)))
                .help("write an IP address and a port, such as 0.0.0.0:8080 or \"[::]:8080\"")
        })
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string" })
    }
}

impl Scalar for Ipv4Addr {
    const WHAT: &'static str = "IPv4 address";

    fn parse(text: &str) -> Result<Self, Fault> {
        text.parse().map_err(|_| {
            Fault::new("bad-address", format!("`{}` is no IPv4 address", clip(text)))
                .help("GWLB sends to an IPv4 address, such as 10.0.1.5")
        })
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "format": "ipv4" })
    }
}

impl Scalar for Ipv4Net {
    const WHAT: &'static str = "gateway";

    fn parse(text: &str) -> Result<Self, Fault> {
        let net = text.parse().ok().or_else(|| Self::new(text.parse().ok()?, 32).ok());
        net.filter(|net| net.addr() == net.network()).ok_or_else(|| {
            let fault = Fault::new("bad-gateway", format!("`{}` is no gateway", clip(text)));
            match net {
                Some(net) => fault
                    .label("the address has bits behind the prefix")
                    .help(format!("did you mean {}?", net.trunc())),
                None => fault.help("write an IPv4 address or network, such as 10.99.0.0/28; GWLB's outer header is always IPv4"),
            }
        })
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string" })
    }
}

/// A share in thousandths of a percent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Percent(u32);

impl Percent {
    /// Parts in one whole.
    const WHOLE: u32 = 100_000;

    /// From whole percents, at most a hundred.
    #[must_use]
    pub const fn whole(percents: u32) -> Self {
        Self(if percents > 100 { Self::WHOLE } else { percents.saturating_mul(1000) })
    }

    /// Half of it.
    #[must_use]
    pub const fn half(self) -> Self {
        Self(self.0 / 2)
    }

    /// Whether `part` is at least this share of `all`; nothing is no share of nothing.
    #[must_use]
    pub fn reached(self, part: u64, all: u64) -> bool {
        let (part, all) = (u128::from(part), u128::from(all));
        part > 0 && part.saturating_mul(Self::WHOLE.into()) >= all.saturating_mul(self.0.into())
    }
}

impl std::fmt::Display for Percent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}%", f64::from(self.0) / 1000.0)
    }
}

impl Scalar for Percent {
    const WHAT: &'static str = "share";

    fn parse(text: &str) -> Result<Self, Fault> {
        let digits = text.strip_suffix('%').unwrap_or_default();
        let (whole, parts) = digits.split_once('.').unwrap_or((digits, "0"));
        let number =
            |s: &str| s.parse::<u32>().ok().filter(|_| s.bytes().all(|b| b.is_ascii_digit()));
        let value = number(whole).zip(number(parts)).filter(|_| parts.len() <= 3).and_then(
            |(whole, parts_value)| {
                let unit =
                    10_u32.checked_pow(3_u32.checked_sub(u32::try_from(parts.len()).ok()?)?)?;
                whole.checked_mul(1000)?.checked_add(parts_value.checked_mul(unit)?)
            },
        );
        match value.filter(|value| (1..=Self::WHOLE).contains(value)) {
            Some(value) => Ok(Self(value)),
            None => Err(Fault::new("bad-share", format!("`{}` is no share", clip(text)))
                .help("write a percentage above 0, such as 1% or 0.1%")),
        }
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "pattern": "^[0-9]+(\\.[0-9]{1,3})?%$" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_percentages_above_zero() {
        for (text, thousandths) in [
            ("1%", Some(1000)),
            ("0.1%", Some(100)),
            ("0.001%", Some(1)),
            ("0.0001%", None),
            ("0%", None),
            ("100%", Some(100_000)),
            ("100.001%", None),
            ("1", None),
            ("%", None),
            ("-1%", None),
            ("1.%", None),
        ] {
            assert_eq!(Percent::parse(text).ok().map(|p| p.0), thousandths, "{text}");
        }
    }

    #[test]
    fn a_share_is_reached_at_its_bound() {
        let one = Percent::whole(1);
        for (part, all, reached) in
            [(0, 0, false), (0, 100, false), (1, 101, false), (1, 100, true), (1, 99, true)]
        {
            assert_eq!(one.reached(part, all), reached, "{part} of {all}");
        }
        assert!(one.half().reached(1, 200));
    }

    #[test]
    fn gateways_are_ipv4_addresses_or_networks() {
        for good in ["10.99.0.1", "10.99.0.0/28", "10.99.0.1/32"] {
            assert!(Ipv4Net::parse(good).is_ok(), "{good}");
        }
        for bad in ["10.99.0.1/28", "::1", "vpce-0", "10.99.0.0/33", ""] {
            assert!(Ipv4Net::parse(bad).is_err(), "{bad}");
        }
    }
}
