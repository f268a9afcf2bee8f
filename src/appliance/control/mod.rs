//! The control socket: a Unix socket that only its owner may open. One request a line, as JSON;
//! items of an answer a line each, the last line says whether it worked. `docs/appliance.md`
//! describes it for other programs.

mod answer;
pub mod client;
mod server;
pub mod text;

pub use server::{CONNECTIONS_MAX, REQUEST_BYTES, bind, serve};

use super::filter::Filter;
use crate::model::EndpointId;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// What can be asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// How the instance is.
    Status,
    /// Live flows.
    Flows {
        /// Which.
        #[serde(default)]
        filter: Filter,
        /// How many are listed; all that are meant are counted.
        #[serde(default = "listed")]
        limit: usize,
    },
    /// End live flows.
    Flush {
        /// Which.
        #[serde(default)]
        filter: Filter,
        /// Must be set to end every flow.
        #[serde(default)]
        all: bool,
    },
    /// Read the ruleset anew.
    Reload {
        /// Only tell what would change.
        #[serde(default)]
        dry_run: bool,
        /// How many flows that would change are listed.
        #[serde(default = "listed")]
        limit: usize,
    },
    /// Leave.
    Drain {
        /// How long known flows are served at most; that of the configuration if left out.
        #[serde(default)]
        deadline_seconds: Option<u64>,
        /// Refuse new flows; as the configuration says if left out.
        #[serde(default)]
        refuse_new: Option<bool>,
        /// Stay after all.
        #[serde(default)]
        cancel: bool,
    },
    /// How a flow came to its verdict, or would.
    Explain(ExplainRequest),
    /// The kept packets of denied flows.
    Denied,
}

/// A flow to be explained.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExplainRequest {
    /// Its GWLB endpoint; the common scope if left out.
    #[serde(default, with = "endpoint", skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<EndpointId>,
    /// Or the segment that has endpoints.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub segment: Option<String>,
    /// Who opened it.
    pub source: IpAddr,
    /// From which port.
    #[serde(default)]
    pub source_port: u16,
    /// To whom.
    pub destination: IpAddr,
    /// To which port.
    #[serde(default)]
    pub port: u16,
    /// `tcp`, `udp`, `icmp`, `icmpv6` or a number.
    pub protocol: String,
}

const fn listed() -> usize {
    100
}

mod endpoint {
    //! Endpoint ids as text.

    use crate::model::EndpointId;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(
        id: &Option<EndpointId>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match id {
            Some(id) => serializer.collect_str(id),
            None => serializer.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<EndpointId>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        text.map(|text| text.parse().map_err(D::Error::custom)).transpose()
    }
}
