//! A worker: one port, one engine, one thread. Frames, commands and time go in; nothing of it is
//! shared but the immutable policy and a few numbers that others may read.

use super::clock::Clock;
use super::command::{Change, Command, Explained, Found, Live, Oldest, PIECE, Task, Walk};
use super::denied::Ring;
use super::flow_log::FlowLog;
use super::latency::Latency;
use super::rulesets::Rulesets;
use super::stamps;
use super::totals::{Named, Snapshot};
use super::verdicts::Verdicts;
use crate::engine::bindings::Answered;
use crate::engine::record::FlowRecord;
use crate::engine::{Engine, Frame, Output};
use crate::io::live::{Losses, Port, PortError, Skew};
use crate::model::{Action, Reason, Timestamp, Verdict};
use crossbeam_channel::{Receiver, Sender, TryRecvError};
use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// How long a worker without packets waits before it looks for commands and lets time pass.
const WAIT: Duration = Duration::from_millis(20);
/// How long it waits, while nothing comes, for room in the flow log for the records of flows it ends by
/// command.
const ROOM_WAIT: Duration = Duration::from_millis(1);
/// When nothing was written for so long it ends flows whatever becomes of their records: a disk that
/// stands still must not keep them alive.
const PATIENCE_MS: u64 = 5_000;
/// How often the port is asked for its link and its losses.
const LOOK_MS: u64 = 100;

/// What others may read of a worker while it runs. Written by the worker alone.
#[derive(Debug)]
pub struct Pulse {
    /// Milliseconds on the process's clock when it last came round.
    pub beat_ms: AtomicU64,
    /// Frames received.
    pub received: AtomicU64,
    /// Frames dropped because `gateways` does not name their sender.
    pub strangers: AtomicU64,
    /// The IPv4 address of one such sender; 0 if there was none.
    pub stranger: AtomicU32,
    /// What its port had lost when it last looked.
    pub losses: Mutex<Losses>,
    /// DNS answers that found no room at another worker.
    pub untold: AtomicU64,
    /// Whether its port works.
    pub open: AtomicBool,
    /// Whether it has ended.
    pub gone: AtomicBool,
    /// Nanoseconds by which the system's time was set since the start.
    pub skew: AtomicI64,
}

impl Pulse {
    /// Of a worker that starts now.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        Self {
            beat_ms: AtomicU64::new(clock.elapsed_ms()),
            received: AtomicU64::new(0),
            strangers: AtomicU64::new(0),
            stranger: AtomicU32::new(0),
            losses: Mutex::default(),
            untold: AtomicU64::new(0),
            skew: AtomicI64::new(0),
            open: AtomicBool::new(true),
            gone: AtomicBool::new(false),
        }
    }
}

/// One worker before its thread starts.
pub struct Worker {
    /// Its way to the network.
    pub port: Box<dyn Port>,
    /// Its flows.
    pub engine: Engine,
    /// What it is asked.
    pub commands: Receiver<Command>,
    /// What others may read.
    pub pulse: Arc<Pulse>,
    /// The process's clock.
    pub clock: Clock,
    /// Where events go.
    pub log: Option<FlowLog>,
    /// Packets of denied flows.
    pub denied: Ring,
    /// Where the other workers learn of DNS answers that came here.
    pub others: Vec<Sender<Lesson>>,
    /// What the other workers tell.
    pub taught: Receiver<Lesson>,
}

/// DNS answers let through by one worker, for rules that bind names to them.
pub type Lesson = Arc<[Answered]>;

/// A worker while it runs.
struct Running {
    engine: Engine,
    pulse: Arc<Pulse>,
    clock: Clock,
    log: Option<FlowLog>,
    denied: Ring,
    others: Vec<Sender<Lesson>>,
    taught: Receiver<Lesson>,
    walks: VecDeque<Box<Walk>>,
    /// How many records the flow log was through with when a walk last looked for room, and when it
    /// found room or that number had changed.
    log_moved: (u64, u64),
    latency: Latency,
    rulesets: Rulesets,
    past: Arc<Named>,
    verdicts: Verdicts,
    looked_at_ms: u64,
    /// The time of the last batch.
    now: Timestamp,
    /// How far the system's time was set since.
    skew: Skew,
}

impl Worker {
    /// Judges until it is told to stop.
    ///
    /// # Errors
    /// The port's, if it can work no more.
    pub fn run(self) -> Result<(), PortError> {
        let Self { mut port, engine, commands, pulse, clock, log, denied, others, taught } = self;
        let rulesets = Rulesets::new(engine.epoch(), Arc::clone(engine.policy()));
        let mut running = Running {
            engine,
            rulesets,
            pulse,
            clock,
            log,
            denied,
            others,
            taught,
            walks: VecDeque::new(),
            log_moved: (0, 0),
            latency: Latency::default(),
            past: Arc::default(),
            verdicts: Verdicts::default(),
            looked_at_ms: 0,
            now: Timestamp::ZERO,
            skew: Skew::NONE,
        };
        let result = running.serve(&mut *port, &commands);
        running.pulse.open.store(false, Ordering::Relaxed);
        running.pulse.gone.store(true, Ordering::Relaxed);
        running.stop();
        result
    }
}

impl Running {
    fn serve(
        &mut self,
        port: &mut dyn Port,
        commands: &Receiver<Command>,
    ) -> Result<(), PortError> {
        loop {
            match self.obey(port, commands) {
                Asked::GoOn => {}
                Asked::Stop => return Ok(()),
            }
            let stepped = self.step_walk();
            self.beat(port)?;
            let wait = match stepped {
                Stepped::NoWalk => WAIT,
                Stepped::Further => Duration::ZERO,
                Stepped::NoRoom => ROOM_WAIT,
            };
            let exchanged = port.exchange(wait, &mut |now, frames, out| {
                let from = self.clock.elapsed();
                self.now = now;
                self.learn();
                self.engine.process(frames, out);
                self.engine.tick(now, out);
                self.denied.note(frames, self.skew);
                self.note_strangers(frames);
                let packets = frames.len() as u64;
                if packets > 0 {
                    self.pulse.received.fetch_add(packets, Ordering::Relaxed);
                    self.latency.record(self.clock.elapsed().saturating_sub(from), packets);
                }
                self.teach(&mut out.answers);
                self.tell(out);
            });
            match exchanged {
                // That no frame came says nothing of the link: see `beat`.
                Ok(_) => {}
                // A link that comes back is used again, and its flows are still known.
                Err(PortError::Down { .. }) => {
                    self.link(false);
                    thread::sleep(WAIT);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Notes whether the port works, and tells of a change.
    fn link(&mut self, open: bool) {
        if open == self.pulse.open.load(Ordering::Relaxed) {
            return;
        }
        self.pulse.open.store(open, Ordering::Relaxed);
        if open {
            tracing::info!("the interface is up again");
        } else {
            tracing::error!("the interface is down");
        }
    }

    fn obey(&mut self, port: &dyn Port, commands: &Receiver<Command>) -> Asked {
        loop {
            let command = match commands.try_recv() {
                Ok(command) => command,
                Err(TryRecvError::Empty) => return Asked::GoOn,
                Err(TryRecvError::Disconnected) => return Asked::Stop,
            };
            // Whoever asked may have given up waiting; then nobody misses the answer.
            match command {
                Command::Install(policy, done) => {
                    let mut past = Named::clone(&self.past);
                    past.add(self.engine.tallied(), self.engine.policy());
                    past.forget_silent();
                    self.past = Arc::new(past);
                    self.engine.install(Arc::clone(&policy));
                    self.rulesets.install(self.engine.epoch(), policy);
                    let _ = done.send(self.engine.epoch().0);
                }
                Command::Snapshot(reply) => drop(reply.send(Box::new(self.snapshot(port)))),
                Command::Walk(walk) => self.walks.push_back(walk),
                Command::Explain(scope, tuple, reply) => {
                    let explained = self.engine.explain(scope, &tuple).map(|mut found| {
                        let under = Arc::clone(self.rulesets.of(found.record.epoch));
                        stamps::correct_record(self.skew, &mut found.record);
                        let now = self.skew.apply(self.now);
                        Box::new(Explained { found, under, now })
                    });
                    drop(reply.send(explained));
                }
                Command::Refuse(refuse) => self.engine.drain(refuse),
                Command::Denied(reply) => drop(reply.send(self.denied.kept())),
                Command::Stop => return Asked::Stop,
            }
        }
    }

    /// Takes over what the other workers heard, before a batch is judged: they tell of an answer before
    /// they send it on, so no client can follow it here earlier.
    fn learn(&mut self) {
        for lesson in self.taught.try_iter() {
            for answer in lesson.iter() {
                self.engine.learn(answer);
            }
        }
    }

    /// Notes how many frames came from senders that `gateways` does not name, and one of these.
    fn note_strangers(&self, frames: &[Frame<'_>]) {
        let count = self.engine.counters().dropped(Reason::UnknownGateway);
        if count == self.pulse.strangers.load(Ordering::Relaxed) {
            return;
        }
        self.pulse.strangers.store(count, Ordering::Relaxed);
        let strange = |frame: &&Frame<'_>| frame.verdict == Verdict::Drop(Reason::UnknownGateway);
        if let Some(sender) = frames.iter().rev().find(strange).and_then(sender) {
            self.pulse.stranger.store(sender.to_bits(), Ordering::Relaxed);
        }
    }

    fn teach(&self, answers: &mut Vec<Answered>) {
        if answers.is_empty() {
            return;
        }
        let lesson: Lesson = answers.drain(..).collect();
        for other in &self.others {
            // A worker that has no room is far behind with everything else too.
            if other.try_send(Arc::clone(&lesson)).is_err() {
                self.pulse.untold.fetch_add(lesson.len() as u64, Ordering::Relaxed);
            }
        }
    }

    fn beat(&mut self, port: &dyn Port) -> Result<(), PortError> {
        let now = self.clock.elapsed_ms();
        self.pulse.beat_ms.store(now, Ordering::Relaxed);
        if now.saturating_sub(self.looked_at_ms) < LOOK_MS {
            return Ok(());
        }
        self.looked_at_ms = now;
        *self.pulse.losses.lock().unwrap_or_else(PoisonError::into_inner) = port.losses();
        if let Some(skew) = port.skew().filter(|skew| skew.differs(self.skew)) {
            self.skew = skew;
            self.pulse.skew.store(skew.as_nanos(), Ordering::Relaxed);
        }
        match port.link() {
            Ok(()) => self.link(true),
            Err(PortError::Down { .. }) => self.link(false),
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Takes one walk a piece further; several take turns.
    fn step_walk(&mut self) -> Stepped {
        let Some(mut walk) = self.walks.pop_front() else { return Stepped::NoWalk };
        let ends = matches!(walk.task, Task::Flush);
        let piece = if ends { self.piece_with_room() } else { PIECE };
        if piece == 0 {
            self.walks.push_back(walk);
            return Stepped::NoRoom;
        }
        let mut out = Output::default();
        let at = (self.now, self.skew);
        walk_piece(&mut walk, piece, &mut self.engine, &self.rulesets, at, &mut out);
        walk.found.lost_records = walk.found.lost_records.saturating_add(self.tell(&mut out));
        walk.at = walk.at.saturating_add(piece);
        if walk.at < self.engine.places() {
            self.walks.push_back(walk);
        } else {
            walk.end();
        }
        Stepped::Further
    }

    /// A piece all of whose flows may end now, and be recorded; none while the flow log is full.
    fn piece_with_room(&mut self) -> usize {
        let Some(log) = &self.log else { return PIECE };
        let (now, settled) = (self.clock.elapsed_ms(), log.stats().settled());
        if self.log_moved.0 != settled {
            self.log_moved = (settled, now);
        }
        match log.spare_room() {
            0 if now.saturating_sub(self.log_moved.1) < PATIENCE_MS => 0,
            0 => PIECE,
            room => {
                self.log_moved.1 = now;
                room.min(PIECE)
            }
        }
    }

    /// Counts what ended and sends events to the flow log; gives how many of them were lost.
    fn tell(&mut self, out: &mut Output) -> u64 {
        self.verdicts.note(&out.events, &self.rulesets);
        stamps::correct(self.skew, &mut out.events);
        match &self.log {
            Some(log) if !out.events.is_empty() => log.send(&self.rulesets, &mut out.events),
            _ => {
                out.events.clear();
                0
            }
        }
    }

    fn snapshot(&self, port: &dyn Port) -> Snapshot {
        let engine = &self.engine;
        Snapshot {
            counters: engine.counters().clone(),
            tally: engine.tallied().clone(),
            policy: Arc::clone(engine.policy()),
            past: Arc::clone(&self.past),
            verdicts: self.verdicts.clone(),
            flows: engine.flows(),
            flows_limit: engine.flows_limit(),
            table_bytes: engine.table_bytes(),
            held_bytes: engine.held_bytes(),
            segments: engine.segments_used().collect(),
            losses: port.losses(),
            latency: self.latency.clone(),
            epoch: engine.epoch().0,
        }
    }

    /// Ends every flow, so that each has its record.
    fn stop(mut self) {
        let mut out = Output::default();
        self.engine.stop(&mut out);
        stamps::correct(self.skew, &mut out.events);
        if let Some(log) = &self.log {
            log.send_at_stop(&self.rulesets, out.events);
        }
    }
}

/// The outer IPv4 source of an Ethernet frame, behind VLAN tags if there are some.
fn sender(frame: &Frame<'_>) -> Option<Ipv4Addr> {
    const ADDRESSES: usize = 12;
    const BEFORE_SOURCE: usize = 12;
    let (mut kind, mut packet) = frame.bytes.get(ADDRESSES..)?.split_first_chunk::<2>()?;
    while matches!(kind, [0x81, 0x00] | [0x88, 0xa8]) {
        (kind, packet) = packet.get(2..)?.split_first_chunk()?;
    }
    let source = packet.get(BEFORE_SOURCE..)?.first_chunk::<4>()?;
    Some(Ipv4Addr::from(*source))
}

enum Asked {
    GoOn,
    Stop,
}

/// What became of the walks.
enum Stepped {
    NoWalk,
    Further,
    /// One waits for room in the flow log.
    NoRoom,
}

fn walk_piece(
    walk: &mut Walk,
    piece: usize,
    engine: &mut Engine,
    rulesets: &Rulesets,
    (now, skew): (Timestamp, Skew),
    out: &mut Output,
) {
    let (filter, found) = (&walk.filter, &mut walk.found);
    match &walk.task {
        Task::List => {
            for record in engine.records_at(walk.at, piece) {
                let policy = rulesets.of(record.epoch);
                if filter.matches(&record, policy, now) {
                    found.matched = found.matched.saturating_add(1);
                    let earlier = !Arc::ptr_eq(policy, rulesets.present());
                    found.earlier = found.earlier.saturating_add(earlier.into());
                    let live = stamps::corrected(skew, Live { record, now });
                    walk.flows.offer(live, Arc::clone(policy));
                }
            }
        }
        Task::CountServed => {
            let served = engine.served_at(walk.at, piece);
            found.matched = found.matched.saturating_add(served as u64);
        }
        Task::Flush => {
            let chosen =
                |record: &FlowRecord| filter.matches(record, rulesets.of(record.epoch), now);
            let ended = engine.flush_at(walk.at, piece, chosen, out);
            found.matched = found.matched.saturating_add(ended as u64);
        }
        Task::Preview(next) => {
            let (changes, at) = (&mut walk.changes, (walk.at, now, skew));
            preview_piece(engine, next, rulesets, at, changes, found);
        }
    }
}

fn preview_piece(
    engine: &Engine,
    next: &crate::policy::Policy,
    rulesets: &Rulesets,
    (at, now, skew): (usize, Timestamp, Skew),
    changes: &mut Oldest<Change>,
    found: &mut Found,
) {
    for (record, verdict) in engine.preview_at(next, at, PIECE) {
        found.matched = found.matched.saturating_add(1);
        let Some(was) = record.verdict else { continue };
        if was.action == verdict.action {
            continue;
        }
        found.changed = found.changed.saturating_add(1);
        if was.action == Action::Allow {
            found.cut = found.cut.saturating_add(1);
        }
        let under = Arc::clone(rulesets.of(record.epoch));
        let live = stamps::corrected(skew, Live { record, now });
        changes.offer(live, Change { under, next: verdict });
    }
}
