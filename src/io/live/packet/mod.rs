//! The AF_PACKET back end: a receive ring for each worker, in one fanout group whose program puts both
//! directions of a flow into one ring; frames are sent from their ring slots. Works on every Linux and
//! every Ethernet interface.

mod ring;

use super::batch::{frame, span, unborrowed};
use super::clock::{Clock, Skew};
use super::gather::Gather;
use super::interface::Interface;
use super::settings::PortSettings;
use super::spread::Spread;
use super::transmit::{self, Leaving, SizeGate};
use super::uplink::Uplink;
use super::{Exchanged, Judge, Losses, Port, PortError, filter, sys};
use crate::engine::{Frame, Output};
use crate::model::Timestamp;
use crate::wire::GENEVE_PORT;
use ring::Ring;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::cell::Cell;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

/// Frames of one batch.
pub(super) const BATCH_FRAMES: usize = sys::SEND_MAX;

/// Bytes that may be on their way out of one port; the kernel counts a small frame as about 1 KiB.
const SEND_BUFFER_BYTES: i32 = 16 << 20;

/// How long a full send buffer is waited for before what does not fit is lost.
const SEND_WAIT: Duration = Duration::from_millis(1);

const CAPABILITY: &str = "CAP_NET_RAW";

/// Opens a port for each worker.
pub(super) fn open(
    settings: &PortSettings,
    interface: &Interface,
    held: &Arc<[OwnedFd]>,
) -> Result<Vec<Box<dyn Port>>, PortError> {
    let clock = Clock::start();
    let mut ports: Vec<PacketPort> = Vec::with_capacity(settings.workers);
    for _ in 0..settings.workers {
        ports.push(PacketPort::open(settings, interface, clock, held)?);
    }
    if settings.workers > 1 {
        let spread = Spread::new(settings.seed, settings.workers);
        let sockets: Vec<&OwnedFd> = ports.iter().map(|port| &port.receive).collect();
        join(&sockets, &spread)
            .map_err(|error| PortError::of_call("joining a fanout group", CAPABILITY, error))?;
        for (port, gather) in ports.iter_mut().zip(Gather::of_all(spread, settings.workers)?) {
            port.gather = Some(gather);
        }
    }
    // Until here every socket took nothing, so that none got frames of another worker.
    let program = filter::datagrams(interface.address, &[GENEVE_PORT]);
    for port in &ports {
        sys::set_program(&port.receive, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &program)
            .map_err(|error| PortError::System { what: "attaching a socket filter", error })?;
    }
    Ok(ports.into_iter().map(|port| Box::new(port) as Box<dyn Port>).collect())
}

/// Makes one fanout group of the sockets, in the order of the workers.
fn join(sockets: &[&OwnedFd], spread: &Spread) -> io::Result<()> {
    let kind = libc::PACKET_FANOUT_CBPF | libc::PACKET_FANOUT_FLAG_IGNORE_OUTGOING;
    let mut group = None;
    for socket in sockets {
        let argument = match group {
            None => (kind | libc::PACKET_FANOUT_FLAG_UNIQUEID) << 16,
            Some(id) => kind << 16 | id,
        };
        sys::set_option(socket, libc::SOL_PACKET, libc::PACKET_FANOUT, argument)?;
        if group.is_none() {
            let made: u32 = sys::option(socket, libc::SOL_PACKET, libc::PACKET_FANOUT)?;
            group = Some(made & 0xffff);
        }
    }
    let program = filter::workers(spread);
    let first = sockets.first().ok_or_else(|| io::Error::other("no socket"))?;
    sys::set_program(first, libc::SOL_PACKET, libc::PACKET_FANOUT_DATA, &program)
}

/// One worker's ring, and the socket its frames leave by.
struct PacketPort {
    uplink: Uplink,
    receive: OwnedFd,
    transmit: OwnedFd,
    ring: Ring,
    clock: Clock,
    spin: Duration,
    sizes: SizeGate,
    /// Sorts fragments; none for a single worker.
    gather: Option<Gather>,
    /// Frames numbered so far.
    number: u64,
    losses: Losses,
    /// Dropped by the kernel, as far as it was asked: it forgets with every answer.
    overrun: Cell<u64>,
    out: Output,
    /// Room for a batch, kept between exchanges; always empty.
    room: Vec<Frame<'static>>,
    /// The UDP port, so that the kernel does not answer for us, and what else ends with the ports.
    _held: Arc<[OwnedFd]>,
}

impl PacketPort {
    fn open(
        settings: &PortSettings,
        interface: &Interface,
        clock: Clock,
        held: &Arc<[OwnedFd]>,
    ) -> Result<Self, PortError> {
        let what = "opening a packet socket";
        let fault = |error| PortError::of_call(what, CAPABILITY, error);
        let receive = sys::packet_socket().map_err(fault)?;
        let nothing = filter::nothing();
        sys::set_program(&receive, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &nothing)
            .map_err(fault)?;
        let ring = Ring::open(&receive, settings.ring_bytes, interface.mtu).map_err(|error| {
            PortError::of_call("making a packet ring (`ring` asks for its size)", CAPABILITY, error)
        })?;
        sys::set_option(&receive, libc::SOL_PACKET, libc::PACKET_IGNORE_OUTGOING, 1)
            .map_err(fault)?;
        sys::bind_packet(&receive, interface.index, true).map_err(fault)?;
        let transmit = sys::packet_socket().map_err(fault)?;
        sys::bind_packet(&transmit, interface.index, false).map_err(fault)?;
        sys::set_option(&transmit, libc::SOL_PACKET, libc::PACKET_QDISC_BYPASS, 1)
            .map_err(fault)?;
        // Beyond the system's limit where that is allowed, else up to it.
        sys::set_option(&transmit, libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, SEND_BUFFER_BYTES)
            .or_else(|_| {
                sys::set_option(&transmit, libc::SOL_SOCKET, libc::SO_SNDBUF, SEND_BUFFER_BYTES)
            })
            .map_err(fault)?;
        Ok(Self {
            uplink: interface.uplink.clone(),
            receive,
            transmit,
            ring,
            clock,
            spin: settings.spin,
            sizes: SizeGate::new(interface.mtu),
            gather: None,
            number: 0,
            losses: Losses::default(),
            overrun: Cell::new(0),
            out: Output::default(),
            room: Vec::with_capacity(BATCH_FRAMES),
            _held: Arc::clone(held),
        })
    }

    /// Waits for frames; gives their number, and the time.
    fn wait(&mut self, wait: Duration) -> Result<(usize, Timestamp), PortError> {
        let ready = self.ring.ready(BATCH_FRAMES);
        let mut now = self.clock.now();
        if ready > 0 || wait.is_zero() {
            return Ok((ready, now));
        }
        let until = now + span(self.spin.min(wait));
        while now < until {
            let ready = self.ring.ready(BATCH_FRAMES);
            if ready > 0 {
                return Ok((ready, now));
            }
            std::hint::spin_loop();
            now = self.clock.now();
        }
        self.sleep(wait)?;
        Ok((self.ring.ready(BATCH_FRAMES), self.clock.now()))
    }

    fn sleep(&self, wait: Duration) -> Result<(), PortError> {
        let mailbox = self.gather.as_ref().map(|gather| &gather.mailbox);
        if mailbox.is_some_and(|mailbox| !mailbox.doze()) {
            return Ok(());
        }
        let bell = mailbox.map_or(self.receive.as_fd(), |mailbox| mailbox.bell());
        let mut watched =
            [PollFd::new(&self.receive, PollFlags::IN), PollFd::new(&bell, PollFlags::IN)];
        let timeout = Timespec::try_from(wait).ok();
        let polled = poll(&mut watched, timeout.as_ref());
        if let Some(mailbox) = mailbox {
            mailbox.awake();
        }
        match polled {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => {
                return Err(PortError::System { what: "waiting for frames", error: error.into() });
            }
        }
        let [socket, _] = watched;
        if socket.revents().intersects(PollFlags::ERR | PollFlags::HUP | PollFlags::NVAL) {
            return Err(self.uplink.fault(&self.receive));
        }
        Ok(())
    }
}

impl Port for PacketPort {
    fn exchange(&mut self, wait: Duration, judge: Judge<'_>) -> Result<Exchanged, PortError> {
        let (count, now) = self.wait(wait)?;
        let mut done = Exchanged::default();
        // An empty vector can be one of any lifetime; its room is kept.
        let mut frames: Vec<Frame<'_>> =
            std::mem::take(&mut self.room).into_iter().map(unborrowed).collect();
        let losses = &mut self.losses;
        if let Some(gather) = &mut self.gather {
            gather.begin(now, BATCH_FRAMES, &mut done, losses);
        }
        for (about, bytes) in self.ring.frames(count) {
            losses.cut = losses.cut.saturating_add(u64::from(about.cut));
            if about.checksum_missing {
                no_checksum(bytes);
            }
            let vouched = about.checksum_valid;
            if let Some(gather) = &mut self.gather
                && !gather.stays(now, vouched, bytes, &mut done, losses)
            {
                continue;
            }
            frames.push(frame(now, &mut self.number, vouched, bytes));
        }
        for passed in self.gather.iter_mut().flat_map(|gather| &mut gather.late) {
            frames.push(frame(now, &mut self.number, passed.vouched, &mut passed.bytes));
        }
        done.received = frames.len();
        judge(now, &mut frames, &mut self.out);
        self.sizes.apply(now, &mut frames, &mut self.out.extras, losses);
        let leaving =
            transmit::in_order(&frames, &self.out.extras).filter_map(|leaving| match leaving {
                Leaving::Frame(at) => frames.get(at).map(|frame| &*frame.bytes),
                Leaving::Extra(at) => self.out.extras.get(at).map(|extra| &*extra.bytes),
            });
        done.sent = send(&self.transmit, leaving, losses);
        frames.clear();
        self.room = frames.into_iter().map(unborrowed).collect();
        self.ring.release(count);
        self.out.clear();
        Ok(done)
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
            sys::option::<libc::tpacket_stats>(&self.receive, level, libc::PACKET_STATISTICS)
        {
            self.overrun.set(self.overrun.get().saturating_add(u64::from(counted.tp_drops)));
        }
        Losses { overrun: self.overrun.get(), ..self.losses }
    }
}

/// A datagram from a neighbour on this very machine whose checksum was left to a network card that it
/// never met: it goes on without one (RFC 768 allows that over IPv4).
#[cold]
fn no_checksum(frame: &mut [u8]) {
    const ETHERNET_HEADER: usize = 14;
    const CHECKSUM: usize = 6;
    let Some(first) = frame.get(ETHERNET_HEADER) else { return };
    let at = ETHERNET_HEADER + usize::from(first & 0x0f) * 4 + CHECKSUM;
    if let Some(checksum) = frame.get_mut(at..at + 2) {
        checksum.fill(0);
    }
}

/// Sends frames in order; gives how many left.
fn send<'f>(
    socket: &OwnedFd,
    leaving: impl Iterator<Item = &'f [u8]>,
    losses: &mut Losses,
) -> usize {
    let mut sent = 0;
    let mut slices = [IoSlice::new(&[]); BATCH_FRAMES];
    let mut filled = 0;
    for frame in leaving {
        if let Some(slot) = slices.get_mut(filled) {
            *slot = IoSlice::new(frame);
            filled += 1;
        }
        if filled == slices.len() {
            sent += flush(socket, &slices, losses);
            filled = 0;
        }
    }
    sent + flush(socket, slices.get(..filled).unwrap_or_default(), losses)
}

fn flush(socket: &OwnedFd, frames: &[IoSlice<'_>], losses: &mut Losses) -> usize {
    let mut rest = frames;
    let (mut sent, mut patient) = (0, true);
    while !rest.is_empty() {
        let taken = match sys::send_frames(socket, rest) {
            Ok(taken) => {
                sent += taken;
                taken.max(1)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && patient => {
                patient = drained(socket);
                0
            }
            Err(error) => {
                let lost = match error.raw_os_error() {
                    Some(libc::EMSGSIZE) => &mut losses.too_big,
                    _ => &mut losses.unsent,
                };
                *lost = lost.saturating_add(1);
                1
            }
        };
        rest = rest.get(taken..).unwrap_or_default();
    }
    sent
}

/// Waits until the socket takes frames again; whether it does in time.
#[cold]
fn drained(socket: impl AsFd) -> bool {
    let mut watched = [PollFd::new(&socket, PollFlags::OUT)];
    let timeout = Timespec::try_from(SEND_WAIT).ok();
    matches!(poll(&mut watched, timeout.as_ref()), Ok(ready) if ready > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checksum_that_was_never_made_is_taken_off() {
        let mut frame = [0xffu8; 60];
        frame[14] = 0x46;
        no_checksum(&mut frame);
        assert_eq!(frame[44..46], [0, 0]);
        assert_eq!(frame.iter().filter(|byte| **byte == 0).count(), 2);
        no_checksum(&mut []);
        no_checksum(&mut [0x45; 30]);
    }
}
