//! Why a port cannot be opened or can work no more, and what would help.

use super::settings::{RING_BYTES, WORKERS_MAX};
use std::fmt;
use std::io;
use std::net::Ipv4Addr;

/// A fault of the machine or of its settings; never of a packet.
#[derive(Debug)]
pub enum PortError {
    /// There is no such interface.
    NoInterface {
        /// The name asked for.
        name: String,
        /// Those there are.
        known: Vec<String>,
    },
    /// The interface is down, or nothing is at the other end.
    Down {
        /// Its name.
        name: String,
    },
    /// The interface ports were opened on is no more, whatever has its name now.
    Gone {
        /// Its name.
        name: String,
    },
    /// The interface has no IPv4 address, or not this one.
    NoAddress {
        /// The interface.
        name: String,
        /// The address asked for.
        address: Option<Ipv4Addr>,
    },
    /// The process may not do this.
    NotPermitted {
        /// What it was about to do.
        what: &'static str,
        /// The capability that allows it.
        capability: &'static str,
    },
    /// Another program has the UDP port.
    PortInUse {
        /// The address.
        address: Ipv4Addr,
        /// The port.
        port: u16,
    },
    /// More workers than may be, or none.
    Workers {
        /// How many were asked for.
        asked: usize,
    },
    /// A ring too small or too large.
    RingBytes {
        /// How many bytes were asked for.
        asked: usize,
    },
    /// Frames of this interface do not fit the back end's buffers.
    Mtu {
        /// The interface's MTU.
        mtu: u32,
        /// The largest one that fits.
        limit: u32,
    },
    /// Mirrored traffic is judged by one worker.
    OneWorker {
        /// How many were asked for.
        asked: usize,
    },
    /// AF_XDP has a queue for each worker at least.
    Queues {
        /// The interface.
        name: String,
        /// Its queues.
        queues: u32,
        /// The workers asked for.
        workers: usize,
    },
    /// Another program's AF_XDP socket has the queue.
    QueueInUse {
        /// The queue.
        queue: u32,
    },
    /// The kernel, the driver or this build cannot do it.
    Unsupported {
        /// What it cannot do.
        what: &'static str,
    },
    /// A call failed.
    System {
        /// What it was to do.
        what: &'static str,
        /// Why it failed.
        error: io::Error,
    },
}

impl PortError {
    /// The error of a call that failed, which needs `capability` if the process lacks it.
    pub(super) fn of_call(what: &'static str, capability: &'static str, error: io::Error) -> Self {
        match error.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => Self::NotPermitted { what, capability },
            Some(libc::EOPNOTSUPP | libc::ENOSYS | libc::ENOPROTOOPT | libc::EAFNOSUPPORT) => {
                Self::Unsupported { what }
            }
            _ => Self::System { what, error },
        }
    }
}

impl fmt::Display for PortError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoInterface { name, known } => {
                write!(f, "there is no interface {name:?}; there are: {}", known.join(", "))
            }
            Self::Down { name } => {
                write!(f, "interface {name:?} is down; `ip link set {name} up` starts it")
            }
            Self::Gone { name } => {
                write!(f, "interface {name:?} is gone: it was removed, or made anew")
            }
            Self::NoAddress { name, address: None } => {
                write!(f, "interface {name:?} has no IPv4 address, and gateways send to one")
            }
            Self::NoAddress { name, address: Some(address) } => {
                write!(f, "interface {name:?} does not have the address {address}")
            }
            Self::NotPermitted { what, capability } => {
                write!(f, "not permitted: {what}; it needs {capability} (root has it)")
            }
            Self::PortInUse { address, port } => {
                write!(f, "UDP {address}:{port} is in use by another program; ")?;
                write!(f, "`ss -lunp sport = :{port}` tells which")
            }
            Self::Workers { asked } => {
                write!(f, "{asked} workers are asked for; 1 to {WORKERS_MAX} can be")
            }
            Self::RingBytes { asked } => {
                let (from, to) = (RING_BYTES.start() >> 20, RING_BYTES.end() >> 20);
                write!(f, "a ring of {asked} bytes is asked for; {from} MiB to {to} MiB can be")
            }
            Self::Mtu { mtu, limit } => {
                write!(f, "the interface's MTU is {mtu}, AF_XDP's buffers take {limit}")
            }
            Self::OneWorker { asked } => {
                write!(f, "{asked} workers are asked for; mirrored traffic is judged by one")
            }
            Self::Queues { name, queues, workers } => write!(
                f,
                "interface {name:?} has {queues} receive queue{} for {workers} workers, AF_XDP needs \
                 one for each: `ethtool -L {name} combined {workers}` makes more if the card has them, \
                 `workers: {queues}` asks for fewer",
                if *queues == 1 { "" } else { "s" }
            ),
            Self::QueueInUse { queue } => {
                write!(f, "receive queue {queue} has another program's AF_XDP socket")
            }
            Self::Unsupported { what } => write!(f, "not supported here: {what}"),
            Self::System { what, error } => write!(f, "{what}: {error}"),
        }
    }
}

impl std::error::Error for PortError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::System { error, .. } => Some(error),
            _ => None,
        }
    }
}
