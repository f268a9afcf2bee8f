//! One run over captures: this thread reads and shards, each worker has a thread, and one more puts
//! results in order for the sink. Every queue is bounded; a slow sink slows the reader down.

use super::batch::{BATCH_FRAMES, Batch};
use super::reorder::{REORDER_LIMIT_BYTES, Reorder, Settled};
use super::shard::Sharder;
use crate::engine::record::Event;
use crate::engine::{Frame, Output};
use crate::io::merge::Captures;
use crate::io::pcap::CapturedPacket;
use crate::model::Timestamp;
use crossbeam_channel::{Receiver, Sender, bounded};
use std::thread;

/// Batches that may wait for one worker.
pub const QUEUE_BATCHES: usize = 8;

/// Packets between two calls for progress.
const PROGRESS_PACKETS: u64 = 4096;

/// Judges frames: an engine.
pub trait Worker: Send {
    /// Judges a batch, in order.
    fn process(&mut self, frames: &mut [Frame<'_>], out: &mut Output);
    /// The captures have ended, the last packet of all came at `now`: ends every flow.
    fn finish(&mut self, now: Timestamp, out: &mut Output);
}

/// Takes the results.
pub trait Sink: Send {
    /// Why it can take no more.
    type Error: Send;
    /// Whether [`Sink::frame`] is to be called at all.
    fn wants_frames(&self) -> bool;
    /// Takes a frame whose fate is known; they come in the order of the captures.
    ///
    /// # Errors
    /// If it can take no more; the run ends.
    fn frame(&mut self, frame: Settled<'_>) -> Result<(), Self::Error>;
    /// Takes an event. Those of one flow are in order, those of different flows are not.
    ///
    /// # Errors
    /// If it can take no more; the run ends.
    fn event(&mut self, event: Event) -> Result<(), Self::Error>;
}

/// How far a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Packets read.
    pub packets: u64,
    /// Bytes read of the files as they are, packed or not.
    pub bytes: u64,
}

/// What a run leaves.
#[derive(Debug)]
pub struct Finished<W> {
    /// The workers, with their counters.
    pub workers: Vec<W>,
    /// Packets read.
    pub packets: u64,
    /// Frames that came to the sink out of order (see [`super::REORDER_LIMIT_BYTES`]).
    pub late: u64,
    /// Time of the latest packet.
    pub last: Timestamp,
}

enum Job {
    Batch(Batch),
    Finish(Timestamp),
}

/// The reader's end of all queues.
struct Reader {
    queues: Vec<Sender<Job>>,
    filling: Vec<Batch>,
    empty: Receiver<Batch>,
    /// Time of the latest packet. Engines are told this one: a capture may be out of order, and what
    /// expires must not depend on which packets a worker happens to see.
    now: Timestamp,
    /// Whether a worker has gone, which it does only after the sink failed.
    broken: bool,
}

/// Runs captures through workers into a sink.
///
/// # Errors
/// The sink's.
pub fn run<W: Worker, S: Sink>(
    captures: &mut Captures,
    sharder: &mut Sharder,
    workers: Vec<W>,
    sink: &mut S,
    progress: &mut dyn FnMut(Progress),
) -> Result<Finished<W>, S::Error> {
    let count = workers.len();
    let rounds = count.saturating_mul(QUEUE_BATCHES).max(1);
    let (done_in, done) = bounded(rounds);
    let (empty_in, empty) = bounded(rounds.saturating_mul(2));
    thread::scope(|scope| {
        let mut queues = Vec::with_capacity(count);
        let mut running = Vec::with_capacity(count);
        for mut worker in workers {
            let (queue, jobs) = bounded(QUEUE_BATCHES);
            let done = done_in.clone();
            queues.push(queue);
            running.push(scope.spawn(move || {
                work(&mut worker, &jobs, &done);
                worker
            }));
        }
        drop(done_in);
        let collector = scope.spawn(move || collect(&done, &empty_in, sink));
        let filling = (0..count).map(|_| Batch::default()).collect();
        let (packets, last) =
            Reader { queues, filling, empty, now: Timestamp::ZERO, broken: false }
                .read(captures, sharder, progress);
        let workers = running.into_iter().map(rejoin).collect();
        let late = rejoin(collector)?;
        Ok(Finished { workers, packets, late, last })
    })
}

/// A panic of a thread goes on in this one.
fn rejoin<T>(handle: thread::ScopedJoinHandle<'_, T>) -> T {
    handle.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

impl Reader {
    fn read(
        mut self,
        captures: &mut Captures,
        sharder: &mut Sharder,
        progress: &mut dyn FnMut(Progress),
    ) -> (u64, Timestamp) {
        let round = (BATCH_FRAMES as u64).saturating_mul(self.queues.len() as u64).max(1);
        let mut packets = 0_u64;
        while let Some(packet) = captures.next_packet() {
            self.now = self.now.max(packet.at);
            sharder.place(packets, &packet, &mut |worker, number, packet| {
                self.deliver(worker, number, packet);
            });
            packets = packets.saturating_add(1);
            // No worker's few frames keep those of the others waiting in the reorder buffer.
            if packets.is_multiple_of(round) {
                self.send_all();
            }
            if packets.is_multiple_of(PROGRESS_PACKETS) {
                progress(Progress { packets, bytes: captures.consumed() });
            }
            if self.broken {
                break;
            }
        }
        sharder.give_up(None, &mut |worker, number, packet| self.deliver(worker, number, packet));
        self.send_all();
        for queue in &self.queues {
            self.broken |= queue.send(Job::Finish(self.now)).is_err();
        }
        progress(Progress { packets, bytes: captures.consumed() });
        (packets, self.now)
    }

    fn deliver(&mut self, worker: usize, number: u64, packet: &CapturedPacket<'_>) {
        let Some(batch) = self.filling.get_mut(worker) else { return };
        batch.push(number, self.now, packet);
        if batch.is_full() {
            self.send(worker);
        }
    }

    fn send_all(&mut self) {
        (0..self.queues.len()).for_each(|worker| self.send(worker));
    }

    fn send(&mut self, worker: usize) {
        let (Some(queue), Some(batch)) = (self.queues.get(worker), self.filling.get_mut(worker))
        else {
            return;
        };
        if !batch.is_empty() {
            let full = std::mem::replace(batch, self.empty.try_recv().unwrap_or_default());
            self.broken |= queue.send(Job::Batch(full)).is_err();
        }
    }
}

/// A worker's thread: judges until the end of the captures, or until nobody takes its results.
fn work<W: Worker>(worker: &mut W, jobs: &Receiver<Job>, done: &Sender<Batch>) {
    for job in jobs {
        let batch = match job {
            Job::Batch(mut batch) => {
                batch.judge(|frames, out| worker.process(frames, out));
                batch
            }
            Job::Finish(now) => {
                let mut batch = Batch::default();
                worker.finish(now, &mut batch.out);
                batch
            }
        };
        if done.send(batch).is_err() {
            return;
        }
    }
}

/// The collector's thread: gives results to the sink and batches back to the reader.
fn collect<S: Sink>(
    done: &Receiver<Batch>,
    empty: &Sender<Batch>,
    sink: &mut S,
) -> Result<u64, S::Error> {
    let wants_frames = sink.wants_frames();
    let mut reorder = Reorder::new(REORDER_LIMIT_BYTES);
    for mut batch in done {
        for event in batch.out.events.drain(..) {
            sink.event(event)?;
        }
        if wants_frames {
            reorder.take(&mut batch, &mut |frame| sink.frame(frame))?;
        }
        batch.clear();
        // A full queue of empty batches has enough of them; this one is freed.
        let _ = empty.try_send(batch);
    }
    reorder.finish(&mut |frame| sink.frame(frame))
}
