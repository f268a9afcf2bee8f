//! A port without a network: what its peer puts in comes out judged. For tests of what stands on a
//! port, with times the test chooses.

use super::{Exchanged, Judge, Losses, Port, PortError, Skew};
use crate::engine::{Frame, Output};
use crate::model::{Timestamp, Verdict};
use crate::wire::Link;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

/// Frames that may wait in either direction; more are lost and counted.
pub const WAITING_MAX: usize = 4096;
/// Frames of one batch.
pub const BATCH_FRAMES: usize = 64;

/// The two ends: a port, and what stands for the network behind it.
#[must_use]
pub fn pair() -> (MemoryPort, Peer) {
    let (to_port, received) = bounded(WAITING_MAX);
    let (sent, from_port) = bounded(WAITING_MAX);
    let skew = Arc::new(AtomicI64::new(0));
    let port = MemoryPort {
        skew: Arc::clone(&skew),
        received,
        sent,
        next: None,
        alone: false,
        now: Timestamp::ZERO,
        number: 0,
        losses: Losses::default(),
        out: Output::default(),
    };
    (port, Peer { to_port, from_port, skew })
}

/// A port whose frames come from a [`Peer`].
#[derive(Debug)]
pub struct MemoryPort {
    received: Receiver<(Timestamp, Vec<u8>)>,
    sent: Sender<Vec<u8>>,
    /// Taken already, but of a later time than the batch it was taken with.
    next: Option<(Timestamp, Vec<u8>)>,
    /// Whether its network is gone.
    alone: bool,
    now: Timestamp,
    number: u64,
    losses: Losses,
    out: Output,
    skew: Arc<AtomicI64>,
}

/// The network of a [`MemoryPort`].
#[derive(Clone, Debug)]
pub struct Peer {
    to_port: Sender<(Timestamp, Vec<u8>)>,
    from_port: Receiver<Vec<u8>>,
    skew: Arc<AtomicI64>,
}

impl Peer {
    /// Sends an Ethernet frame that arrives at `at`; whether there was room for it.
    pub fn send(&self, at: Timestamp, frame: Vec<u8>) -> bool {
        self.to_port.try_send((at, frame)).is_ok()
    }

    /// Sets the system's time, so that it is so far from that of the batches.
    pub fn set_system_time(&self, skew: Skew) {
        self.skew.store(skew.as_nanos(), Ordering::Relaxed);
    }

    /// The next frame the port sent, waiting up to `wait` for it.
    #[must_use]
    pub fn receive(&self, wait: Duration) -> Option<Vec<u8>> {
        self.from_port.recv_timeout(wait).ok()
    }
}

impl MemoryPort {
    /// Frames of one time: what a batch is judged at is when all of it came.
    fn batch(&mut self, wait: Duration) -> Result<Vec<(Timestamp, Vec<u8>)>, PortError> {
        let first = match self.next.take() {
            Some(first) => first,
            None => match self.received.recv_timeout(wait) {
                Ok(first) => first,
                Err(RecvTimeoutError::Timeout) => return Ok(Vec::new()),
                Err(RecvTimeoutError::Disconnected) => {
                    self.alone = true;
                    return self.link().map(|()| Vec::new());
                }
            },
        };
        let at = first.0;
        let mut batch = vec![first];
        while batch.len() < BATCH_FRAMES {
            match self.received.try_recv() {
                Ok(frame) if frame.0 == at => batch.push(frame),
                Ok(later) => {
                    self.next = Some(later);
                    break;
                }
                Err(_) => break,
            }
        }
        Ok(batch)
    }

    fn send(&mut self, bytes: Vec<u8>) -> usize {
        let sent = self.sent.try_send(bytes).is_ok();
        self.losses.unsent += u64::from(!sent);
        usize::from(sent)
    }
}

impl Port for MemoryPort {
    /// A batch's frames are of one time; without frames time stands still, and it never runs back.
    fn exchange(&mut self, wait: Duration, judge: Judge<'_>) -> Result<Exchanged, PortError> {
        let mut received = self.batch(wait)?;
        for (at, _) in &received {
            self.now = self.now.max(*at);
        }
        let mut frames = Vec::with_capacity(received.len());
        for (_, bytes) in &mut received {
            frames.push(Frame::new(self.now, Link::Ethernet, self.number, bytes));
            self.number += 1;
        }
        let mut out = std::mem::take(&mut self.out);
        judge(self.now, &mut frames, &mut out);
        let forwarded: Vec<bool> =
            frames.iter().map(|frame| frame.verdict == Verdict::Forward).collect();
        let mut done = Exchanged { received: received.len(), ..Exchanged::default() };
        let mut extras = out.extras.drain(..).peekable();
        for (position, ((_, bytes), forward)) in received.into_iter().zip(forwarded).enumerate() {
            while let Some(extra) = extras.next_if(|extra| extra.before <= position) {
                done.sent += self.send(extra.bytes);
            }
            if forward {
                done.sent += self.send(bytes);
            }
        }
        for extra in extras {
            done.sent += self.send(extra.bytes);
        }
        out.clear();
        self.out = out;
        Ok(done)
    }

    fn link(&self) -> Result<(), PortError> {
        if self.alone { Err(PortError::Down { name: "memory".to_owned() }) } else { Ok(()) }
    }

    fn losses(&self) -> Losses {
        self.losses
    }

    fn skew(&self) -> Option<Skew> {
        Some(Skew::from_nanos(self.skew.load(Ordering::Relaxed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{Extra, Origin};
    use crate::model::Reason;

    const NO_WAIT: Duration = Duration::ZERO;

    fn sent(peer: &Peer) -> Vec<Vec<u8>> {
        std::iter::from_fn(|| peer.receive(NO_WAIT)).collect()
    }

    #[test]
    fn forwarded_frames_and_extras_leave_in_order_and_dropped_ones_do_not() {
        let (mut port, peer) = pair();
        for byte in [1, 2, 3] {
            assert!(peer.send(Timestamp::from_secs(3), vec![byte]));
        }
        let done = port
            .exchange(NO_WAIT, &mut |now, frames, out| {
                assert_eq!(now, Timestamp::from_secs(3));
                for frame in frames.iter_mut() {
                    frame.verdict = Verdict::Forward;
                }
                frames[1].verdict = Verdict::Drop(Reason::Rule);
                for (before, byte) in [(0, 10), (2, 20), (3, 30)] {
                    let (origin, link) = (Origin::Answer, Link::Ethernet);
                    out.extras.push(Extra { before, origin, link, bytes: vec![byte] });
                }
            })
            .unwrap();
        assert_eq!(sent(&peer), [[10], [1], [20], [3], [30]]);
        assert_eq!((done.received, done.sent), (3, 5));
    }

    #[test]
    fn frames_of_another_time_are_another_batch() {
        let (mut port, peer) = pair();
        for seconds in [1, 1, 2, 1] {
            assert!(peer.send(Timestamp::from_secs(seconds), vec![0]));
        }
        let mut batches = Vec::new();
        for _ in 0..4 {
            port.exchange(NO_WAIT, &mut |now, frames, _| {
                batches.push((now.as_secs(), frames.len()));
            })
            .unwrap();
        }
        assert_eq!(batches, [(1, 2), (2, 1), (2, 1), (2, 0)]);
    }

    #[test]
    fn time_passes_without_frames_and_the_end_of_the_peer_is_told() {
        let (mut port, peer) = pair();
        let mut called = 0;
        port.exchange(NO_WAIT, &mut |_, frames, _| called += 1 + frames.len()).unwrap();
        assert_eq!(called, 1);
        drop(peer);
        assert!(port.exchange(NO_WAIT, &mut |_, _, _| {}).is_err());
    }

    #[test]
    fn what_finds_no_room_is_counted() {
        for (count, lost) in [(WAITING_MAX - 1, 0), (WAITING_MAX, 0), (WAITING_MAX + 1, 1)] {
            let (mut port, peer) = pair();
            let mut left = count;
            while left > 0 {
                let now = left.min(BATCH_FRAMES);
                left -= now;
                for _ in 0..now {
                    peer.send(Timestamp::ZERO, vec![0]);
                }
                port.exchange(NO_WAIT, &mut |_, frames, _| {
                    frames.iter_mut().for_each(|frame| frame.verdict = Verdict::Forward);
                })
                .unwrap();
            }
            assert_eq!(port.losses().unsent, lost, "{count}");
        }
    }
}
