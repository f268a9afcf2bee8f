//! Opening the AF_XDP back end: memory, sockets, program, in the order in which each of them needs the
//! one before. What cannot be done here is told, so that the other back end can be taken instead.

use super::super::bpf::{self, Counter, Kind, Place};
use super::super::clock::Clock;
use super::super::gather::Gather;
use super::super::interface::Interface;
use super::super::mailbox::mailboxes;
use super::super::settings::PortSettings;
use super::super::spread::Spread;
use super::super::{Port, PortError, program, sys};
use super::port::{Others, Parts, RESERVE_CHUNKS, XdpPort};
use super::socket::{Binding, RING_ENTRIES, Socket};
use super::store::Store;
use super::umem::{CHUNK_BYTES, Chunk, Umem};
use crate::wire::GENEVE_PORT;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

/// Frames that may wait to be handed over to one worker.
const HANDOVER_FRAMES: usize = 2048;
/// What the kernel keeps free before a frame in its chunk (`XDP_PACKET_HEADROOM`).
const HEADROOM: usize = 256;
/// Ethernet header and a VLAN tag.
const LINK_HEADER: usize = 18;
/// The kernel takes the sockets of a process that has ended off their queues a little later: who starts
/// again at once finds them in use. How often it is looked again, and when.
const LEAVING_LOOKS: u32 = 20;
const LEAVING_LOOK: Duration = Duration::from_millis(50);
const CAPABILITY: &str = "CAP_NET_ADMIN, CAP_NET_RAW and CAP_BPF";

/// What was opened.
pub(crate) struct Opening {
    pub(crate) ports: Vec<Box<dyn Port>>,
    /// How it works here, in a few words.
    pub(crate) detail: String,
    /// What card and driver do not do as they could.
    pub(crate) notes: Vec<String>,
}

/// Opens a port for each worker. `taken` is the socket that holds the UDP port.
pub(crate) fn open(
    settings: &PortSettings,
    interface: &Interface,
    taken: OwnedFd,
) -> Result<Opening, (PortError, OwnedFd)> {
    match Opener::new(settings, interface, &taken).and_then(Opener::sockets) {
        Ok(opener) => opener.finish(taken),
        Err(error) => Err((error, taken)),
    }
}

/// Puts the program into the driver, or behind it with a note why.
fn attach(
    program: &OwnedFd,
    interface: &Interface,
    (any_socket, queues): (&OwnedFd, u32),
    notes: &mut Vec<String>,
) -> Result<(OwnedFd, Place), PortError> {
    let name = &interface.name;
    if sys::takes_tags_off(any_socket, name) {
        notes.push(format!(
            "{name} takes VLAN tags off before AF_XDP sees a frame: GENEVE that came with a tag would go \
             back without; `ethtool -K {name} rx-vlan-offload off` keeps them"
        ));
    }
    match bpf::link(program, interface.index, Place::Driver) {
        Ok(link) => {
            // virtio-net receives on further queues then, on which sockets would not send; and Linux
            // (7.3) crashes when such a queue goes before its socket.
            let now = sys::receive_queues(any_socket, name);
            if now == queues {
                return Ok((link, Place::Driver));
            }
            notes.push(format!(
                "with an XDP program the driver of {name} would receive on {now} queues, not {queues}, so \
                 the kernel runs it behind the driver; with all queues of the card in use \
                 (`ethtool -L {name} combined ...`) there are none to be added"
            ));
        }
        Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {
            return Err(fault("putting the XDP program on an interface that has one")(error));
        }
        Err(error) => notes.push(format!(
            "the driver of {name} takes no XDP program at an MTU of {}, so the kernel runs it behind the \
             driver: {error}",
            interface.mtu
        )),
    }
    let link = bpf::link(program, interface.index, Place::Generic)
        .map_err(fault("putting the XDP program on the interface"))?;
    Ok((link, Place::Generic))
}

struct Opener<'s> {
    settings: &'s PortSettings,
    interface: &'s Interface,
    queues: u32,
    frags: bool,
    umem: Arc<Umem>,
    chunks: Vec<Chunk>,
    each: u32,
    map: OwnedFd,
    tagged: Counter,
    link: OwnedFd,
    place: Place,
    sockets: Vec<Socket>,
    notes: Vec<String>,
}

fn fault(what: &'static str) -> impl Fn(io::Error) -> PortError {
    move |error| PortError::of_call(what, CAPABILITY, error)
}

impl<'s> Opener<'s> {
    fn new(
        settings: &'s PortSettings,
        interface: &'s Interface,
        any_socket: &OwnedFd,
    ) -> Result<Self, PortError> {
        let queues = sys::receive_queues(any_socket, &interface.name);
        if settings.workers > queues as usize {
            let (name, workers) = (interface.name.clone(), settings.workers);
            return Err(PortError::Queues { name, queues, workers });
        }
        let limit = CHUNK_BYTES - HEADROOM - LINK_HEADER;
        let frags = interface.mtu as usize > limit;
        let map = bpf::socket_map(queues).map_err(fault("making a map of AF_XDP sockets"))?;
        let tagged = Counter::make().map_err(fault("making a counter for the XDP program"))?;
        let [sockets, counter] = [map.as_fd(), tagged.as_fd()].map(|fd| fd.as_raw_fd());
        let code = program::redirect(interface.address, GENEVE_PORT, sockets, counter);
        let program =
            bpf::load(&code, Kind::Xdp { frags }).map_err(|error| match error.raw_os_error() {
                // A kernel that does not know frames in several buffers.
                Some(libc::EINVAL) if frags => {
                    PortError::Mtu { mtu: interface.mtu, limit: u32::try_from(limit).unwrap_or(0) }
                }
                _ => fault("loading the XDP program")(error),
            })?;
        let mut notes = Vec::new();
        let (link, place) = attach(&program, interface, (any_socket, queues), &mut notes)?;
        let each = u32::try_from(settings.ring_bytes / CHUNK_BYTES).unwrap_or(u32::MAX);
        let workers = u32::try_from(settings.workers).unwrap_or(u32::MAX);
        let (umem, chunks) = Umem::make(each.saturating_mul(workers))
            .map_err(fault("making room for frames (`ring` asks for its size)"))?;
        let (umem, chunks, sockets) = (Arc::new(umem), chunks.collect(), Vec::new());
        let new = Self {
            settings,
            interface,
            queues,
            frags,
            umem,
            chunks,
            each,
            map,
            tagged,
            link,
            place,
            sockets,
            notes,
        };
        Ok(new)
    }

    /// A socket for every queue.
    fn sockets(mut self) -> Result<Self, PortError> {
        for queue in 0..self.queues {
            let mut looks = 0..LEAVING_LOOKS;
            let opened = loop {
                match self.socket(queue) {
                    Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {
                        if looks.next().is_none() {
                            break Err(error);
                        }
                        thread::sleep(LEAVING_LOOK);
                    }
                    opened => break opened,
                }
            };
            let socket = opened.map_err(|error| match error.raw_os_error() {
                Some(libc::EBUSY) => PortError::QueueInUse { queue },
                _ => fault("opening an AF_XDP socket")(error),
            })?;
            self.sockets.push(socket);
        }
        Ok(self)
    }

    /// The socket of a queue: zero-copy if the driver can, else with copies and a note.
    fn socket(&mut self, queue: u32) -> io::Result<Socket> {
        let Self { interface, frags, ref umem, .. } = *self;
        let first = self.sockets.first().map(AsFd::as_fd);
        let open = |zero_copy| {
            let binding = Binding { interface: interface.index, queue, frags, first, zero_copy };
            Socket::open(umem, binding)
        };
        // Behind the driver there is nothing but copies.
        if first.is_some() || self.place == Place::Generic {
            return open(false);
        }
        open(true).or_else(|error| {
            if error.raw_os_error() == Some(libc::EBUSY) {
                return Err(error);
            }
            let socket = open(false)?;
            self.notes.push(format!(
                "the driver of {} does no zero-copy{}, so frames are copied: {error}",
                interface.name,
                if frags { " of frames in several buffers" } else { "" },
            ));
            Ok(socket)
        })
    }

    /// The ports: queues and chunks of each worker. A socket receives as soon as it is in the map, so
    /// it is filled before.
    fn finish(self, taken: OwnedFd) -> Result<Opening, (PortError, OwnedFd)> {
        let Self { settings, interface, umem, each, map, link, place, .. } = self;
        let (mut sockets, mut tagged) = (self.sockets, Some(self.tagged));
        let workers = settings.workers;
        let mut chunks = self.chunks.into_iter();
        let mut stocks: Vec<Vec<Chunk>> =
            (0..workers).map(|_| chunks.by_ref().take(each as usize).collect()).collect();
        let share = share(each, sockets.len().div_ceil(workers));
        for (queue, socket) in sockets.iter_mut().enumerate() {
            if let Some(stock) = stocks.get_mut(queue % workers) {
                socket.refill(stock, RESERVE_CHUNKS, share);
            }
        }
        let connected = match connections(settings, each) {
            Ok(connected) => connected,
            Err(error) => return Err((error, taken)),
        };
        let zero_copy = sockets.first().is_some_and(Socket::is_zero_copy);
        for (queue, socket) in (0u32..).zip(&sockets) {
            if let Err(error) = bpf::set_socket(&map, queue, socket) {
                return Err((fault("giving the XDP program its sockets")(error), taken));
            }
        }
        let held: Arc<[OwnedFd]> = Arc::from([map, link, taken]);
        let mut shares: Vec<Vec<Socket>> = (0..workers).map(|_| Vec::new()).collect();
        for (queue, socket) in sockets.into_iter().enumerate() {
            if let Some(share) = shares.get_mut(queue % workers) {
                share.push(socket);
            }
        }
        let clock = Clock::start();
        let mut ports: Vec<Box<dyn Port>> = Vec::with_capacity(workers);
        let owned = shares.into_iter().zip(stocks).zip(connected).enumerate();
        for (worker, ((sockets, stock), connected)) in owned {
            let mut store = Store::new(Arc::clone(&umem), worker, stock, each);
            let others = connected.map(|connected| {
                store.connect(connected.home, connected.coming_home);
                connected.others
            });
            ports.push(Box::new(XdpPort::new(Parts {
                uplink: interface.uplink.clone(),
                mtu: interface.mtu,
                sockets,
                share,
                store,
                others,
                clock,
                spin: settings.spin,
                // One for all; the first worker tells it.
                tagged: tagged.take(),
                held: Arc::clone(&held),
            })));
        }
        let detail = format!(
            "{}, {}, {} {}{}",
            if place == Place::Driver { "in the driver" } else { "generic" },
            if zero_copy { "zero-copy" } else { "copy mode" },
            self.queues,
            if self.queues == 1 { "queue" } else { "queues" },
            if self.frags { ", frames in several buffers" } else { "" },
        );
        Ok(Opening { ports, detail, notes: self.notes })
    }
}

/// How many of a worker's chunks may wait in one of its fill rings: of several sockets none takes all,
/// also where their drivers have as many again in rings of their own.
fn share(each: u32, sockets: usize) -> u32 {
    match u32::try_from(sockets).unwrap_or(u32::MAX) {
        0 | 1 => RING_ENTRIES,
        several => (each / several.saturating_mul(2)).clamp(1, RING_ENTRIES),
    }
}

/// One worker's ends of the ways between workers.
struct Connected {
    others: Others,
    home: super::super::mailbox::Post<Chunk>,
    coming_home: super::super::mailbox::Mailbox<Chunk>,
}

/// The ways between workers; none for a single one.
fn connections(settings: &PortSettings, each: u32) -> Result<Vec<Option<Connected>>, PortError> {
    let workers = settings.workers;
    if workers == 1 {
        return Ok(vec![None]);
    }
    let spread = Spread::new(settings.seed, workers);
    let (post, boxes) = mailboxes(workers, HANDOVER_FRAMES)?;
    let (home, homes) = mailboxes(workers, each as usize)?;
    let gathers = Gather::of_all(spread, workers)?;
    let connected = boxes.into_iter().zip(homes).zip(gathers).enumerate().map(
        |(worker, ((mailbox, coming_home), gather))| {
            let post = post.clone();
            let others = Others { spread, worker, post, mailbox, gather };
            Some(Connected { others, home: home.clone(), coming_home })
        },
    );
    Ok(connected.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_sockets_leave_each_other_chunks() {
        for (each, sockets, expected) in [
            (8192, 1, RING_ENTRIES),
            (8192, 2, RING_ENTRIES),
            (8192, 4, 1024),
            (u32::MAX, 2, RING_ENTRIES),
            (256, 64, 2),
            (1, 64, 1),
        ] {
            assert_eq!(share(each, sockets), expected, "{each} {sockets}");
        }
    }
}
