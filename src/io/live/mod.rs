//! Live traffic: a worker's way to the network. A [`Port`] receives frames, has them judged as one
//! batch where they lie, and sends those that pass from the same buffers. No verdict is made here.
//!
//! ```text
//! NIC ─▶ ring ─▶ Port::exchange ─▶ judge(now, frames, output) ─▶ sent from the ring ─▶ NIC
//!                     │  frames of another worker's flows          ▲
//!                     └─▶ handed over to its port                  │ extras: answers, released frames
//! ```

mod assembler;
mod batch;
mod bpf;
mod clock;
mod error;
mod filter;
mod gather;
mod interface;
mod mailbox;
pub mod memory;
mod packet;
mod passive;
mod program;
mod settings;
mod spread;
mod sys;
mod transmit;
mod uplink;
mod xdp;

pub use clock::{Clock, Skew};
pub use error::PortError;
pub use settings::{Backend, Mode, PortSettings, RING_BYTES, WORKERS_MAX};

use crate::engine::{Frame, Output};
use crate::model::Timestamp;
use crate::wire::GENEVE_PORT;
use interface::Interface;
use rustix::net::{AddressFamily, SocketAddrV4, SocketFlags, SocketType};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

/// Judges a batch that was received at one time. The frames may be none: time passes all the same.
///
/// The port sends every frame whose verdict is [`Forward`](crate::model::Verdict::Forward) and every
/// extra of the output, in the order [`Extra::before`](crate::engine::Extra::before) gives. Events and
/// discards are the judge's: it takes them out, or they are forgotten with the batch. A frame may be
/// changed within its outer headers; of changes behind them it is not said that they are sent.
pub type Judge<'j> = &'j mut dyn FnMut(Timestamp, &mut [Frame<'_>], &mut Output);

/// One worker's way to the network.
pub trait Port: Send {
    /// Waits up to `wait` for frames, gives them to `judge` as one batch, then sends what is to be
    /// sent. Calls `judge` exactly once, with no frames if none came.
    ///
    /// # Errors
    /// `Down` if the interface went down: it may be called again, and flows are kept. All others are
    /// for good: the interface is gone, or the system refuses the socket.
    fn exchange(&mut self, wait: Duration, judge: Judge<'_>) -> Result<Exchanged, PortError>;

    /// Whether frames can come and go, as the interface says itself. An exchange without frames says
    /// nothing of that.
    ///
    /// # Errors
    /// `Down` until it is up again, `Gone` for good.
    fn link(&self) -> Result<(), PortError>;

    /// What was lost here since the port was opened.
    fn losses(&self) -> Losses;

    /// How far the system's time was set since the port was opened; none where that cannot be told now.
    /// The time of its batches does not follow.
    fn skew(&self) -> Option<Skew> {
        None
    }
}

/// What one exchange did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exchanged {
    /// Frames judged.
    pub received: usize,
    /// Frames sent: those of the batch that were forwarded, and extras.
    pub sent: usize,
    /// Frames given to the port of the worker they belong to.
    pub handed_over: usize,
}

/// Frames lost on the way to the engine or behind it; never denials. Sums since opening.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Losses {
    /// Dropped by the kernel because the ring was full, or there was no buffer for them.
    pub overrun: u64,
    /// Meant for another worker whose queue was full.
    pub handover: u64,
    /// Cut by the kernel: longer than a buffer.
    pub cut: u64,
    /// Forwarded, but larger than the interface sends; told to their senders.
    pub too_big: u64,
    /// To be sent, but refused by the kernel or the driver.
    pub unsent: u64,
    /// Behind a VLAN tag that the back end does not read: left to the kernel, which has no use for them.
    pub tagged: u64,
}

impl Losses {
    /// Each cause by its name in metrics and logs.
    #[must_use]
    pub const fn causes(&self) -> [(&'static str, u64); 6] {
        [
            ("overrun", self.overrun),
            ("handover", self.handover),
            ("cut", self.cut),
            ("too_big", self.too_big),
            ("unsent", self.unsent),
            ("tagged", self.tagged),
        ]
    }

    /// All of them.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.overrun
            .saturating_add(self.handover)
            .saturating_add(self.cut)
            .saturating_add(self.too_big)
            .saturating_add(self.unsent)
            .saturating_add(self.tagged)
    }

    /// Adds those of another port.
    pub const fn add(&mut self, other: &Self) {
        self.overrun = self.overrun.saturating_add(other.overrun);
        self.handover = self.handover.saturating_add(other.handover);
        self.cut = self.cut.saturating_add(other.cut);
        self.too_big = self.too_big.saturating_add(other.too_big);
        self.unsent = self.unsent.saturating_add(other.unsent);
        self.tagged = self.tagged.saturating_add(other.tagged);
    }
}

/// What [`open`] opened.
pub struct Opened {
    /// One port a worker, in the order of the workers.
    pub ports: Vec<Box<dyn Port>>,
    /// The back end in use.
    pub backend: Backend,
    /// Why it is not the one that would have been faster; none if nothing was refused.
    pub fallback: Option<PortError>,
    /// What an operator should know of it, in a few words ("zero-copy", "copy mode", ...).
    pub detail: String,
    /// Sentences about what the card or its driver does not do as it could.
    pub notes: Vec<String>,
    /// The largest IP packet the interface sends, in bytes.
    pub mtu: u32,
}

/// Opens a port for each worker, on the interface and back end asked for.
///
/// # Errors
/// What is missing, and how it is given.
pub fn open(settings: &PortSettings) -> Result<Opened, PortError> {
    settings.check()?;
    let socket = udp_socket()?;
    let interface = Interface::find(settings, &socket)?;
    if settings.mode == Mode::Passive {
        return open_passive(&interface);
    }
    take_port(&socket, &interface, GENEVE_PORT)?;
    let mtu = interface.mtu;
    let (taken, fallback) = match settings.backend {
        Backend::AfPacket => (socket, None),
        Backend::Auto | Backend::AfXdp => match xdp::open(settings, &interface, socket) {
            Ok(xdp::Opening { ports, detail, notes }) => {
                let backend = Backend::AfXdp;
                return Ok(Opened { ports, backend, fallback: None, detail, notes, mtu });
            }
            Err((error, _)) if settings.backend == Backend::AfXdp => return Err(error),
            Err((error, socket)) => (socket, Some(error)),
        },
    };
    let mut held = vec![taken];
    held.extend(keep_from_kernel(&interface));
    let detail = match held.len() {
        1 => "packet rings",
        _ => "packet rings, datagrams dropped behind them",
    };
    let ports = packet::open(settings, &interface, &Arc::from(held))?;
    let (backend, detail) = (Backend::AfPacket, detail.to_owned());
    Ok(Opened { ports, backend, fallback, detail, notes: Vec::new(), mtu })
}

/// Has the kernel drop datagrams as soon as packet sockets have them, so that it does not take them
/// through all of IP and UDP to be dropped there. None where it is too old or not permitted: the cost
/// is time alone.
fn keep_from_kernel(interface: &Interface) -> Option<OwnedFd> {
    let code = program::drop(interface.address, GENEVE_PORT);
    let program = bpf::load(&code, bpf::Kind::Ingress).ok()?;
    bpf::link(&program, interface.index, bpf::Place::Ingress).ok()
}

fn open_passive(interface: &Interface) -> Result<Opened, PortError> {
    let mut taken = Vec::new();
    for port in passive::PORTS {
        let socket = udp_socket()?;
        take_port(&socket, interface, port)?;
        taken.push(socket);
    }
    let ports = passive::open(interface, taken)?;
    let detail = "passive: mirrored traffic is judged, nothing is sent".to_owned();
    let (backend, mtu) = (Backend::AfPacket, interface.mtu);
    Ok(Opened { ports, backend, fallback: None, detail, notes: Vec::new(), mtu })
}

fn udp_socket() -> Result<OwnedFd, PortError> {
    rustix::net::socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)
        .map_err(|error| PortError::System { what: "opening a UDP socket", error: error.into() })
}

/// Takes a UDP port with a socket that receives nothing: without one the kernel answers every datagram
/// with "port unreachable".
fn take_port(socket: &OwnedFd, interface: &Interface, port: u16) -> Result<(), PortError> {
    let fault = |error| PortError::System { what: "attaching a socket filter", error };
    let nothing = filter::nothing();
    sys::set_program(socket, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &nothing).map_err(fault)?;
    let address = interface.address;
    rustix::net::bind(socket, &SocketAddrV4::new(address, port)).map_err(|error| match error {
        rustix::io::Errno::ADDRINUSE => PortError::PortInUse { address, port },
        error => PortError::System { what: "binding a UDP port", error: error.into() },
    })
}
