//! The fields of the appliance's configuration as they are written. Says nothing about whether they
//! make sense together.

use super::scalar::{DocumentVersion, Failover, LogFormat, LogLevel, NewFlows, Pairs, Percent};
use crate::io::live::{Backend, Mode};
use crate::model::{EndpointId, Span};
use crate::ruleset::At;
use crate::ruleset::collection::List;
use crate::ruleset::decode::record;
use crate::ruleset::quantity::Size;
use crate::ruleset::scalar::Text;
use ipnet::Ipv4Net;
use std::net::{Ipv4Addr, SocketAddr};

record! {
    /// Configuration of one lockgate instance.
    Document("configuration", "") {
        /// Version of this schema; 1.
        required appliance: At<DocumentVersion>,
        /// The ruleset: a folder or a file, relative to this file.
        required ruleset: At<Text>,
        /// The network interface that GWLB sends to.
        required interface: At<Text>,
        /// The address GWLB sends to; the interface's first IPv4 address if left out.
        optional address: At<Ipv4Addr>,
        /// GWLB node addresses or their networks; packets from others are dropped (`unknown-gateway`).
        optional gateways: List<At<Ipv4Net>>,
        /// inline: judge and send back; passive: judge mirrored traffic, send nothing.
        optional mode: At<Mode>,
        /// auto, af-packet or af-xdp.
        optional backend: At<Backend>,
        /// Worker threads; as many as processors if left out.
        optional workers: At<u64>,
        /// Bytes of one worker's receive ring.
        optional ring: At<Size>,
        /// How long a worker without packets looks again before it sleeps.
        optional spin: At<Span>,
        /// Passive mode: packets without GENEVE count as from this endpoint.
        optional endpoint: At<EndpointId>,
        /// The user the process becomes once its sockets are open.
        optional user: At<Text>,
        /// What the instance can carry, over all workers.
        optional limits: LimitsDoc,
        /// The health endpoint.
        optional health: HealthDoc,
        /// The metrics endpoint.
        optional metrics: MetricsDoc,
        /// The socket `lockgate ctl` talks to.
        optional control: At<Text>,
        /// What is written down.
        optional logs: LogsDoc,
        /// When the ruleset is read again.
        optional reload: ReloadDoc,
        /// How the instance leaves.
        optional drain: DrainDoc,
        /// The first packets of denied flows, kept to be looked at.
        optional denied_packets: DeniedDoc,
    }
}

record! {
    /// What the instance can carry, over all workers.
    LimitsDoc("appliance limits", "") {
        /// Flows at one time.
        optional flows: At<u64>,
        /// New flows in one second that segments may reserve.
        optional new_flows_per_second: At<u64>,
        /// Bytes of held packets.
        optional held_bytes: At<Size>,
        /// Flows under inspection at one time.
        optional inspections: At<u64>,
        /// Fragmented packets waited for at one time.
        optional fragmented: At<u64>,
        /// Answers (RST, ICMP, DNS REFUSED) in one second.
        optional answers_per_second: At<u64>,
    }
}

record! {
    /// The health endpoint.
    HealthDoc("health", "") {
        /// Address and port it listens on.
        optional listen: At<SocketAddr>,
        /// Unhealthy while the back end loses at least this share of packets.
        optional max_loss: At<Percent>,
    }
}

record! {
    /// The metrics endpoint.
    MetricsDoc("metrics", "") {
        /// Address and port it listens on; that of health if left out.
        optional listen: At<SocketAddr>,
        /// What is told apart of the two segments of a flow: segments, partners or none.
        optional pairs: At<Pairs>,
    }
}

record! {
    /// What is written down.
    LogsDoc("logs", "") {
        /// Flow and event records, JSON lines.
        optional flows: FlowLogDoc,
        /// The process log, on standard error.
        optional process: ProcessLogDoc,
    }
}

record! {
    /// Flow and event records, JSON lines.
    FlowLogDoc("flow log", "") {
        /// The file; `-` is standard output.
        required file: At<Text>,
        /// Records that may wait for the disk; more are lost and counted.
        optional queue: At<u64>,
    }
}

record! {
    /// The process log, on standard error.
    ProcessLogDoc("process log", "") {
        /// text or json.
        optional format: At<LogFormat>,
        /// error, warn, info, debug or trace.
        optional level: At<LogLevel>,
    }
}

record! {
    /// When the ruleset is read again, besides SIGHUP and `lockgate ctl reload`.
    ReloadDoc("reload", "") {
        /// Whether a change of its files is enough.
        optional watch: At<bool>,
    }
}

record! {
    /// How the instance leaves.
    DrainDoc("drain", "") {
        /// The target group's setting for targets that go: no_rebalance or rebalance.
        optional target_failover: At<Failover>,
        /// How long known flows are served at most.
        optional deadline: At<Span>,
        /// How long it is unhealthy before it goes, flows or none: what the health check takes to notice.
        optional at_least: At<Span>,
        /// serve or refuse new flows meanwhile.
        optional new_flows: At<NewFlows>,
    }
}

record! {
    /// The first packets of denied flows, kept to be looked at.
    DeniedDoc("denied packets", "") {
        /// Packets kept, over all workers; 0 keeps none.
        required packets: At<u64>,
        /// Bytes kept of each.
        optional bytes: At<Size>,
    }
}
