//! One worker's sockets at work: frames received, handed over, judged where they lie, sent.

use super::super::batch::{frame, span, unborrowed};
use super::super::bpf::Counter;
use super::super::clock::{Clock, Skew};
use super::super::gather::Gather;
use super::super::mailbox::{Mailbox, Post};
use super::super::spread::{Place, Spread};
use super::super::transmit::{self, Leaving, SizeGate};
use super::super::uplink::Uplink;
use super::super::{Exchanged, Judge, Losses, Port, PortError};
use super::socket::{Packet, Socket};
use super::store::Store;
use crate::engine::{Frame, Output};
use crate::model::Timestamp;
use crate::wire::near;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

/// Frames of one batch from each socket, and from other workers.
const BATCH_FRAMES: usize = 64;
/// Chunks kept from the fill rings for frames the engine makes or gives back.
pub(super) const RESERVE_CHUNKS: usize = 64;

/// A frame of this batch.
#[derive(Debug)]
struct Received {
    packet: Packet,
    /// The socket it leaves by.
    socket: usize,
    /// All of its bytes if they lie in several buffers, else nothing.
    joined: Vec<u8>,
}

/// A worker's ways to the others.
#[derive(Debug)]
pub(super) struct Others {
    pub(super) spread: Spread,
    pub(super) worker: usize,
    pub(super) post: Post<Packet>,
    pub(super) mailbox: Mailbox<Packet>,
    pub(super) gather: Gather,
}

/// One worker's sockets and chunks.
pub(super) struct XdpPort {
    uplink: Uplink,
    // Before the memory they were given.
    sockets: Vec<Socket>,
    /// Chunks that may wait in one socket's fill ring.
    share: u32,
    store: Store,
    others: Option<Others>,
    clock: Clock,
    spin: Duration,
    sizes: SizeGate,
    number: u64,
    losses: Losses,
    out: Output,
    /// Room for a batch, kept between exchanges; always empty.
    room: Vec<Frame<'static>>,
    batch: Vec<Received>,
    plan: Vec<Leaving>,
    /// Frames behind a VLAN tag; none where another worker tells of them.
    tagged: Option<Counter>,
    /// The program on the interface, and the UDP port that keeps the kernel from answering.
    _held: Arc<[OwnedFd]>,
}

/// What a port is made of.
pub(super) struct Parts {
    pub(super) uplink: Uplink,
    pub(super) mtu: u32,
    pub(super) sockets: Vec<Socket>,
    pub(super) share: u32,
    pub(super) store: Store,
    pub(super) others: Option<Others>,
    pub(super) clock: Clock,
    pub(super) spin: Duration,
    pub(super) tagged: Option<Counter>,
    pub(super) held: Arc<[OwnedFd]>,
}

impl XdpPort {
    pub(super) fn new(parts: Parts) -> Self {
        let Parts { uplink, mtu, sockets, share, store, others, clock, spin, tagged, held } = parts;
        Self {
            uplink,
            sockets,
            share,
            store,
            others,
            clock,
            spin,
            sizes: SizeGate::new(mtu),
            number: 0,
            losses: Losses::default(),
            out: Output::default(),
            room: Vec::new(),
            batch: Vec::new(),
            plan: Vec::new(),
            tagged,
            _held: held,
        }
    }

    /// Takes back what was sent and what came home.
    fn recover(&mut self) {
        let Self { sockets, store, .. } = self;
        for socket in sockets.iter_mut() {
            socket.sent(store);
        }
        store.collect();
    }

    /// Fills the rings the driver takes from, before frames are judged: more come meanwhile.
    fn restock(&mut self) {
        let Self { sockets, share, store, .. } = self;
        for socket in sockets.iter_mut() {
            socket.refill(&mut store.free, RESERVE_CHUNKS, *share);
            if socket.wants_call() {
                let mut watched = [PollFd::new(socket, PollFlags::IN)];
                // Only for the call itself; what it finds is looked for by the caller.
                let _ = poll(&mut watched, Some(&Timespec::default()));
            }
        }
    }

    /// Takes what is there into the batch; whether that is anything.
    fn collect(&mut self, now: Timestamp, done: &mut Exchanged) -> bool {
        self.recover();
        self.receive(now, done);
        self.restock();
        let Self { store, others, batch, .. } = self;
        let Some(others) = others else { return !batch.is_empty() };
        for _ in 0..BATCH_FRAMES {
            let Some(mut packet) = others.mailbox.take() else { break };
            let joined = store.join(&mut packet);
            batch.push(Received { packet, socket: 0, joined });
        }
        !batch.is_empty() || !others.gather.late.is_empty()
    }

    /// Takes what came in by our own sockets.
    fn receive(&mut self, now: Timestamp, done: &mut Exchanged) {
        let Self { sockets, store, others, batch, losses, .. } = self;
        if let Some(others) = others {
            others.gather.begin(now, BATCH_FRAMES, done, losses);
        }
        for (number, socket) in sockets.iter_mut().enumerate() {
            if socket.look() == 0 {
                continue;
            }
            for _ in 0..BATCH_FRAMES {
                let Some(mut packet) = socket.receive(store) else { break };
                let joined = store.join(&mut packet);
                if joined.is_empty() {
                    // Another processor wrote them; by the time the batch is judged they are here.
                    near::prefetch_headers(store.umem.bytes(&mut packet.head));
                }
                let kept = match others {
                    Some(others) => others.sort(now, packet, &joined, store, done, losses),
                    None => Some(packet),
                };
                match kept {
                    Some(packet) => batch.push(Received { packet, socket: number, joined }),
                    None => store.reuse(joined),
                }
            }
            socket.received();
        }
    }

    /// Waits for frames and takes them; gives the time.
    fn wait(&mut self, wait: Duration, done: &mut Exchanged) -> Result<Timestamp, PortError> {
        let mut now = self.clock.now();
        if self.collect(now, done) || wait.is_zero() {
            return Ok(now);
        }
        let until = now + span(self.spin.min(wait));
        while now < until {
            std::hint::spin_loop();
            now = self.clock.now();
            if self.collect(now, done) {
                return Ok(now);
            }
        }
        self.sleep(wait)?;
        now = self.clock.now();
        self.collect(now, done);
        Ok(now)
    }

    fn sleep(&self, wait: Duration) -> Result<(), PortError> {
        let bells = self.others.as_ref().map(Others::bells);
        let mut watched: Vec<PollFd<'_>> = Vec::with_capacity(self.sockets.len() + 2);
        watched.extend(self.sockets.iter().map(|socket| PollFd::new(socket, PollFlags::IN)));
        watched.extend(bells.iter().flatten().map(|bell| PollFd::new(bell, PollFlags::IN)));
        if self.others.as_ref().is_some_and(|others| !others.doze()) {
            return Ok(());
        }
        let timeout = Timespec::try_from(wait).ok();
        let polled = poll(&mut watched, timeout.as_ref());
        if let Some(others) = &self.others {
            others.awake();
        }
        match polled {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => {
                return Err(PortError::System { what: "waiting for frames", error: error.into() });
            }
        }
        let gone = PollFlags::ERR | PollFlags::HUP | PollFlags::NVAL;
        if watched.iter().take(self.sockets.len()).any(|fd| fd.revents().intersects(gone)) {
            return Err(self.uplink.down());
        }
        Ok(())
    }

    /// Has the batch judged; afterwards the plan says what leaves. Gives the number of frames.
    fn judge(&mut self, now: Timestamp, judge: Judge<'_>) -> usize {
        let Self { store, batch, out, losses, number, others, .. } = self;
        let mut frames: Vec<Frame<'_>> =
            std::mem::take(&mut self.room).into_iter().map(unborrowed).collect();
        for received in batch.iter_mut() {
            let bytes = if received.joined.is_empty() {
                store.umem.bytes(&mut received.packet.head)
            } else {
                &mut received.joined
            };
            frames.push(frame(now, number, false, bytes));
        }
        for passed in others.iter_mut().flat_map(|others| &mut others.gather.late) {
            frames.push(frame(now, number, passed.vouched, &mut passed.bytes));
        }
        let judged = frames.len();
        judge(now, &mut frames, out);
        self.sizes.apply(now, &mut frames, &mut out.extras, losses);
        self.plan.extend(transmit::in_order(&frames, &out.extras));
        frames.clear();
        self.room = frames.into_iter().map(unborrowed).collect();
        judged
    }

    /// Sends what the plan says; the chunks of everything else are free again.
    fn send(&mut self) -> usize {
        let mut sent = 0;
        let (mut batch, mut plan) =
            (std::mem::take(&mut self.batch), std::mem::take(&mut self.plan));
        let own = batch.len();
        let mut frames = batch.drain(..).enumerate();
        for leaving in plan.drain(..) {
            let copied = match leaving {
                Leaving::Frame(at) if at < own => {
                    for (position, received) in frames.by_ref() {
                        if position == at {
                            sent += self.send_received(received);
                            break;
                        }
                        self.discard(received);
                    }
                    continue;
                }
                Leaving::Frame(at) => {
                    let late = self.others.as_ref().and_then(|o| o.gather.late.get(at - own));
                    late.map(|passed| passed.bytes.as_slice())
                }
                Leaving::Extra(at) => self.out.extras.get(at).map(|extra| extra.bytes.as_slice()),
            };
            match copied.and_then(|bytes| self.store.copy_of(bytes)) {
                Some(packet) => sent += self.send_by(0, packet),
                None => self.losses.unsent = self.losses.unsent.saturating_add(1),
            }
        }
        for (_, received) in frames {
            self.discard(received);
        }
        (self.batch, self.plan) = (batch, plan);
        for socket in &mut self.sockets {
            socket.kick();
        }
        sent
    }

    fn send_received(&mut self, received: Received) -> usize {
        let Received { mut packet, socket, joined } = received;
        if !joined.is_empty() {
            self.store.part(&mut packet, &joined);
        }
        self.store.reuse(joined);
        self.send_by(socket, packet)
    }

    fn discard(&mut self, received: Received) {
        self.store.reuse(received.joined);
        self.store.discard(received.packet);
    }

    /// Sends a frame; where the ring is full, after the kernel has had a chance to empty it.
    fn send_by(&mut self, socket: usize, packet: Packet) -> usize {
        let Self { sockets, store, losses, .. } = self;
        let Some(socket) = sockets.get_mut(socket) else {
            store.discard(packet);
            return 0;
        };
        let refused = socket.send(packet).or_else(|packet| {
            socket.kick();
            socket.sent(store);
            socket.send(packet)
        });
        match refused {
            Ok(()) => 1,
            Err(packet) => {
                losses.unsent = losses.unsent.saturating_add(1);
                store.discard(packet);
                0
            }
        }
    }
}

impl Port for XdpPort {
    fn exchange(&mut self, wait: Duration, judge: Judge<'_>) -> Result<Exchanged, PortError> {
        let mut done = Exchanged::default();
        let now = self.wait(wait, &mut done)?;
        done.received = self.judge(now, judge);
        done.sent = self.send();
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
        let overrun = self.sockets.iter().map(Socket::overruns).sum();
        let tagged = self.tagged.as_ref().map_or(0, Counter::value);
        Losses { overrun, tagged, ..self.losses }
    }
}

impl Others {
    /// Gives a frame to the worker it belongs to; gives it back if that is this one.
    fn sort(
        &mut self,
        now: Timestamp,
        mut packet: Packet,
        joined: &[u8],
        store: &mut Store,
        done: &mut Exchanged,
        losses: &mut Losses,
    ) -> Option<Packet> {
        let bytes: &[u8] =
            if joined.is_empty() { store.umem.bytes(&mut packet.head) } else { joined };
        match self.spread.place(bytes) {
            Place::Worker(owner) if owner != self.worker => {
                match self.post.put(owner, packet) {
                    Ok(()) => done.handed_over += 1,
                    Err(packet) => {
                        losses.handover = losses.handover.saturating_add(1);
                        store.discard(packet);
                    }
                }
                return None;
            }
            Place::Collector(worker) if worker != self.worker => {
                self.gather.forward(worker, bytes, done, losses);
            }
            Place::Collector(_) if !self.gather.sort(now, false, bytes, done, losses) => {}
            _ => return Some(packet),
        }
        store.discard(packet);
        None
    }

    fn bells(&self) -> [std::os::fd::BorrowedFd<'_>; 2] {
        [self.mailbox.bell(), self.gather.mailbox.bell()]
    }

    /// Says that this worker is about to sleep; false if there is something for it already.
    fn doze(&self) -> bool {
        if !self.mailbox.doze() {
            return false;
        }
        let dozing = self.gather.mailbox.doze();
        if !dozing {
            self.mailbox.awake();
        }
        dozing
    }

    fn awake(&self) {
        self.mailbox.awake();
        self.gather.mailbox.awake();
    }
}
