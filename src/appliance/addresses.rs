//! Addresses of live flows that somebody means: one, or all of a network. Chooses nothing itself.

use crate::model::Addr;
use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// An address, or a network: written `10.20.1.5`, `10.20.0.0/16` or `2001:db8::/48`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses(IpNet);

impl Addresses {
    /// Whether an address is one of them.
    #[must_use]
    pub fn hold(self, addr: Addr) -> bool {
        self.0.contains(&addr.to_ip())
    }
}

impl FromStr for Addresses {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!("`{text}` is neither an address nor a network; write 10.20.1.5 or 10.20.0.0/16")
        };
        let net = match text.parse::<IpAddr>() {
            // IPv4-mapped: the addresses of packets are never written so.
            Ok(addr) => IpNet::from(addr.to_canonical()),
            Err(_) => text.parse::<IpNet>().map_err(|_| wrong())?,
        };
        if net.trunc() != net {
            return Err(format!(
                "`{text}` has bits behind its prefix; write {} for the network, {} for the address",
                net.trunc(),
                net.addr()
            ));
        }
        Ok(Self(net))
    }
}

impl fmt::Display for Addresses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.prefix_len() == self.0.max_prefix_len() {
            true => write!(f, "{}", self.0.addr()),
            false => write!(f, "{}", self.0),
        }
    }
}

impl Serialize for Addresses {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Addresses {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_itself_alone_and_a_network_all_of_it() {
        for (written, addr, held) in [
            ("10.20.1.5", "10.20.1.5", true),
            ("10.20.1.5", "10.20.1.6", false),
            ("::ffff:10.20.1.5", "10.20.1.5", true),
            ("10.20.1.4/31", "10.20.1.3", false),
            ("10.20.1.4/31", "10.20.1.4", true),
            ("10.20.1.4/31", "10.20.1.5", true),
            ("10.20.1.4/31", "10.20.1.6", false),
            ("0.0.0.0/0", "10.20.1.6", true),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("::/0", "2001:db8::1", true),
            ("::/0", "10.20.1.6", false),
            ("2001:db8::/32", "2001:db8:ffff::", true),
            ("2001:db8::/32", "2001:db9::", false),
        ] {
            let addresses: Addresses = written.parse().unwrap();
            let addr = Addr::from(addr.parse::<IpAddr>().unwrap());
            assert_eq!(addresses.hold(addr), held, "{written} {addr}");
        }
    }

    #[test]
    fn what_is_written_comes_back_and_what_is_wrong_is_told_with_what_is_right() {
        for written in ["10.20.1.5", "10.20.0.0/16", "2001:db8::1", "2001:db8::/48"] {
            let addresses: Addresses = written.parse().unwrap();
            let json = serde_json::to_string(&addresses).unwrap();
            assert_eq!(json, format!("\"{written}\""));
            assert_eq!(serde_json::from_str::<Addresses>(&json).unwrap(), addresses);
        }
        for (wrong, right) in [
            ("10.20.1.5/16", "write 10.20.0.0/16 for the network, 10.20.1.5 for the address"),
            ("10.20.0.0/33", "write 10.20.1.5 or 10.20.0.0/16"),
            ("acme", "write 10.20.1.5 or 10.20.0.0/16"),
            ("", "write 10.20.1.5 or 10.20.0.0/16"),
        ] {
            let told = wrong.parse::<Addresses>().unwrap_err();
            assert!(told.starts_with(&format!("`{wrong}` ")) && told.ends_with(right), "{told}");
        }
    }
}
