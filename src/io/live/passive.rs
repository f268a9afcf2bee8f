//! Mirrored traffic, judged and never sent: VXLAN as VPC Traffic Mirroring sends it, by itself or
//! through a load balancer's endpoint. For trying a policy on real traffic; one worker, one system
//! call a frame.

use super::batch::{frame, unborrowed};
use super::clock::{Clock, Skew};
use super::interface::Interface;
use super::uplink::Uplink;
use super::{Exchanged, Judge, Losses, Port, PortError, filter, sys};
use crate::engine::{Frame, Output};
use crate::model::Protocol;
use crate::wire::{self, Checksums, GENEVE_PORT, Link, Settings, VXLAN_PORT};
use pnet::datalink::{self, Channel, DataLinkReceiver};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::cell::Cell;
use std::io;
use std::os::fd::{IntoRawFd, OwnedFd};
use std::time::Duration;

/// Frames of one batch.
const BATCH_FRAMES: usize = 64;
/// The longest frame read.
const FRAME_BYTES: usize = 16 << 10;
/// Bytes of frames that wait to be read; the kernel counts a small frame as about 1 KiB.
const RECEIVE_BUFFER_BYTES: i32 = 32 << 20;
const VXLAN_HEADER: usize = 8;
const CAPABILITY: &str = "CAP_NET_RAW";

/// How the encapsulation of a mirrored frame is read.
const OUTER: Settings =
    Settings { checksums: Checksums::Ignore, outer_udp: Checksums::Ignore, ..Settings::GWLB };

/// The UDP ports mirrored traffic comes to.
pub(super) const PORTS: [u16; 2] = [VXLAN_PORT, GENEVE_PORT];

/// Frames from an interface, copied.
struct PassivePort {
    uplink: Uplink,
    /// The same socket as the receiver's, for waiting and for its numbers.
    socket: OwnedFd,
    receiver: Box<dyn DataLinkReceiver>,
    clock: Clock,
    number: u64,
    overrun: Cell<u64>,
    out: Output,
    /// Frames of a batch; the buffers are kept.
    buffers: Vec<Vec<u8>>,
    room: Vec<Frame<'static>>,
    _taken: Vec<OwnedFd>,
}

/// Opens the port.
pub(super) fn open(
    interface: &Interface,
    taken: Vec<OwnedFd>,
) -> Result<Vec<Box<dyn Port>>, PortError> {
    let what = "opening a packet socket";
    let fault = |error| PortError::of_call(what, CAPABILITY, error);
    let reader = sys::packet_socket().map_err(fault)?;
    let program = filter::datagrams(interface.address, &PORTS);
    sys::set_program(&reader, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &program).map_err(fault)?;
    sys::set_option(&reader, libc::SOL_PACKET, libc::PACKET_IGNORE_OUTGOING, 1).map_err(fault)?;
    sys::set_option(&reader, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, RECEIVE_BUFFER_BYTES)
        .or_else(|_| {
            sys::set_option(&reader, libc::SOL_SOCKET, libc::SO_RCVBUF, RECEIVE_BUFFER_BYTES)
        })
        .map_err(fault)?;
    let socket = reader.try_clone().map_err(fault)?;
    let all = datalink::interfaces();
    let found = all.iter().find(|one| one.index == interface.index);
    let Some(found) = found else {
        return Err(interface.uplink.down());
    };
    let config = datalink::Config {
        read_buffer_size: FRAME_BYTES,
        read_timeout: Some(Duration::ZERO),
        promiscuous: false,
        // The channel owns it from here on, and closes it in any case.
        socket_fd: Some(reader.into_raw_fd()),
        ..datalink::Config::default()
    };
    let receiver = match datalink::channel(found, config).map_err(fault)? {
        Channel::Ethernet(_, receiver) => receiver,
        _ => return Err(PortError::Unsupported { what: "an interface without Ethernet frames" }),
    };
    let port = PassivePort {
        uplink: interface.uplink.clone(),
        socket,
        receiver,
        clock: Clock::start(),
        number: 0,
        overrun: Cell::new(0),
        out: Output::default(),
        buffers: vec![Vec::new(); BATCH_FRAMES],
        room: Vec::with_capacity(BATCH_FRAMES),
        _taken: taken,
    };
    Ok(vec![Box::new(port)])
}

impl PassivePort {
    fn sleep(&self, wait: Duration) -> Result<(), PortError> {
        let mut watched = [PollFd::new(&self.socket, PollFlags::IN)];
        let timeout = Timespec::try_from(wait).ok();
        match poll(&mut watched, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => {
                return Err(PortError::System { what: "waiting for frames", error: error.into() });
            }
        }
        let [socket] = watched;
        if socket.revents().intersects(PollFlags::ERR | PollFlags::HUP | PollFlags::NVAL) {
            return Err(self.uplink.fault(&self.socket));
        }
        Ok(())
    }

    /// Reads what is there into the buffers; gives the number of frames.
    fn receive(&mut self) -> Result<usize, PortError> {
        let mut count = 0;
        for buffer in &mut self.buffers {
            match self.receiver.next() {
                Ok(bytes) => {
                    buffer.clear();
                    buffer.extend_from_slice(bytes);
                    count += 1;
                }
                Err(error) => match error.kind() {
                    io::ErrorKind::TimedOut
                    | io::ErrorKind::WouldBlock
                    | io::ErrorKind::Interrupted => break,
                    _ if error.raw_os_error() == Some(libc::ENETDOWN) => {
                        return Err(self.uplink.down());
                    }
                    // The library has errors of its own for a socket at fault.
                    _ if error.raw_os_error().is_none() => {
                        return Err(self.uplink.fault(&self.socket));
                    }
                    _ => return Err(PortError::System { what: "receiving", error }),
                },
            }
        }
        Ok(count)
    }
}

impl Port for PassivePort {
    fn exchange(&mut self, wait: Duration, judge: Judge<'_>) -> Result<Exchanged, PortError> {
        self.sleep(wait)?;
        let count = self.receive()?;
        let now = self.clock.now();
        let mut frames: Vec<Frame<'_>> =
            std::mem::take(&mut self.room).into_iter().map(unborrowed).collect();
        for buffer in self.buffers.iter_mut().take(count) {
            frames.push(frame(now, &mut self.number, false, mirrored(buffer)));
        }
        judge(now, &mut frames, &mut self.out);
        frames.clear();
        self.room = frames.into_iter().map(unborrowed).collect();
        self.out.clear();
        Ok(Exchanged { received: count, ..Exchanged::default() })
    }

    fn link(&self) -> Result<(), PortError> {
        self.uplink.state()
    }

    fn skew(&self) -> Option<Skew> {
        self.clock.skew()
    }

    fn losses(&self) -> Losses {
        let level = libc::SOL_PACKET;
        if let Ok(counted) =
            sys::option::<libc::tpacket_stats>(&self.socket, level, libc::PACKET_STATISTICS)
        {
            self.overrun.set(self.overrun.get().saturating_add(u64::from(counted.tp_drops)));
        }
        Losses { overrun: self.overrun.get(), ..Losses::default() }
    }
}

/// What was mirrored, if a load balancer's endpoint delivered it: the Ethernet frame behind GENEVE and
/// VXLAN. Everything else as it came; the engine opens VXLAN itself.
fn mirrored(bytes: &mut [u8]) -> &mut [u8] {
    let start = wire::parse(bytes, Link::Ethernet, &OUTER).ok().and_then(|packet| {
        let mirror = packet.tuple.protocol == Protocol::UDP
            && packet.tuple.dst_port == VXLAN_PORT
            && !packet.is_fragment();
        let start = usize::from(packet.payload) + VXLAN_HEADER;
        (mirror && start < bytes.len()).then_some(start)
    });
    bytes.get_mut(start.unwrap_or(0)..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::EndpointId;
    use crate::synth::gwlb::Encapsulation;
    use crate::synth::packet;

    #[test]
    fn a_mirror_behind_a_load_balancer_is_taken_out_and_everything_else_left() {
        let (src, dst) = (("10.0.0.1".parse().unwrap(), 1), ("10.0.0.2".parse().unwrap(), 53));
        let tuple = packet::tuple(src, dst, Protocol::UDP);
        let frame = [&[0u8; 12][..], &[8, 0], &packet::udp(&tuple, b"question")].concat();
        let vxlan = [&[8u8, 0, 0, 0, 0, 0, 7, 0][..], &frame].concat();
        let around = |port| {
            let mirror = (("10.9.0.1".parse().unwrap(), 9), ("10.9.0.2".parse().unwrap(), port));
            packet::udp(&packet::tuple(mirror.0, mirror.1, Protocol::UDP), &vxlan)
        };
        let wrap = |inner: &[u8]| Encapsulation::of(EndpointId(5)).wrap(inner);
        assert_eq!(mirrored(&mut wrap(&around(VXLAN_PORT))), frame);
        for other in [wrap(&around(4790)), frame.clone(), Vec::new()] {
            assert_eq!(mirrored(&mut other.clone()), other);
        }
    }
}
