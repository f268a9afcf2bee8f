//! What an operator says of the ports. No behaviour but the check of its bounds.

use super::PortError;
use std::net::Ipv4Addr;
use std::time::Duration;

/// Workers of one instance.
pub const WORKERS_MAX: usize = 64;
/// The smallest and largest receive ring of one worker, in bytes.
pub const RING_BYTES: std::ops::RangeInclusive<usize> = (1 << 20)..=(1 << 30);

/// How frames come from the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// AF_XDP where the interface and the kernel can do it, else AF_PACKET.
    Auto,
    /// AF_PACKET rings: every Linux, every interface.
    AfPacket,
    /// AF_XDP sockets: one a queue.
    AfXdp,
}

/// What is done with frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// GENEVE from gateways (UDP 6081), judged and sent back.
    Inline,
    /// Mirrored traffic (VXLAN on UDP 4789, GENEVE on UDP 6081), judged; nothing is ever sent.
    Passive,
}

/// How ports are opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortSettings {
    /// The interface's name.
    pub interface: String,
    /// The address datagrams come to; the interface's first IPv4 address if none is given.
    pub address: Option<Ipv4Addr>,
    /// Workers, and ports; 1 to [`WORKERS_MAX`], and 1 for mirrored traffic.
    pub workers: usize,
    /// The back end.
    pub backend: Backend,
    /// What is done with frames.
    pub mode: Mode,
    /// Bytes of one worker's receive ring, within [`RING_BYTES`].
    pub ring_bytes: usize,
    /// How long a port without frames looks again before it sleeps; zero sleeps at once.
    pub spin: Duration,
    /// Keys the hash that spreads flows over workers; random live, chosen in tests.
    pub seed: u32,
}

impl PortSettings {
    /// Inline on an interface with one worker, everything else as usual.
    #[must_use]
    pub fn on(interface: &str) -> Self {
        Self {
            interface: interface.to_owned(),
            address: None,
            workers: 1,
            backend: Backend::Auto,
            mode: Mode::Inline,
            ring_bytes: 32 << 20,
            spin: Duration::ZERO,
            seed: 0,
        }
    }

    pub(super) fn check(&self) -> Result<(), PortError> {
        if !(1..=WORKERS_MAX).contains(&self.workers) {
            return Err(PortError::Workers { asked: self.workers });
        }
        if self.mode == Mode::Passive && self.workers > 1 {
            return Err(PortError::OneWorker { asked: self.workers });
        }
        if !RING_BYTES.contains(&self.ring_bytes) {
            return Err(PortError::RingBytes { asked: self.ring_bytes });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mirrored_traffic_has_one_worker() {
        for (workers, good) in [(1, true), (2, false)] {
            let settings = PortSettings { workers, mode: Mode::Passive, ..PortSettings::on("x") };
            assert_eq!(settings.check().is_ok(), good, "{workers}");
        }
    }

    #[test]
    fn workers_and_ring_bytes_are_bounded() {
        let with =
            |workers, ring_bytes| PortSettings { workers, ring_bytes, ..PortSettings::on("x") };
        for (workers, good) in [(0, false), (1, true), (WORKERS_MAX - 1, true), (WORKERS_MAX, true)]
        {
            assert_eq!(with(workers, 1 << 20).check().is_ok(), good, "{workers}");
        }
        assert!(with(WORKERS_MAX + 1, 1 << 20).check().is_err());
        for (bytes, good) in [
            (RING_BYTES.start() - 1, false),
            (*RING_BYTES.start(), true),
            (*RING_BYTES.end(), true),
            (RING_BYTES.end() + 1, false),
        ] {
            assert_eq!(with(1, bytes).check().is_ok(), good, "{bytes}");
        }
    }
}
