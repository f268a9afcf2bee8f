//! Frames on their way from the port that received them to the port of the worker they belong to.
//! A worker that sleeps for frames of its own is woken.

use super::PortError;
use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use rustix::event::{EventfdFlags, eventfd};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Puts frames into the mailboxes of all workers; cloned for each.
#[derive(Debug)]
pub(super) struct Post<T> {
    boxes: Arc<[(Sender<T>, Bell)]>,
}

impl<T> Clone for Post<T> {
    fn clone(&self) -> Self {
        Self { boxes: Arc::clone(&self.boxes) }
    }
}

/// Where frames for one worker arrive.
#[derive(Debug)]
pub(super) struct Mailbox<T> {
    frames: Receiver<T>,
    bell: Bell,
}

/// Wakes a sleeper, if there is one.
#[derive(Clone, Debug)]
struct Bell {
    event: Arc<OwnedFd>,
    sleeping: Arc<AtomicBool>,
}

/// A mailbox for each of so many workers, each of which holds at most `limit` frames.
pub(super) fn mailboxes<T>(
    workers: usize,
    limit: usize,
) -> Result<(Post<T>, Vec<Mailbox<T>>), PortError> {
    let (mut boxes, mut mailboxes) = (Vec::new(), Vec::new());
    for _ in 0..workers {
        let (sender, frames) = bounded(limit);
        let event =
            eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).map_err(|error| {
                PortError::System { what: "making an eventfd", error: error.into() }
            })?;
        let bell = Bell { event: Arc::new(event), sleeping: Arc::default() };
        boxes.push((sender, bell.clone()));
        mailboxes.push(Mailbox { frames, bell });
    }
    Ok((Post { boxes: boxes.into() }, mailboxes))
}

impl<T> Post<T> {
    /// Puts a frame into a worker's mailbox; gives it back where there is no room.
    pub(super) fn put(&self, worker: usize, frame: T) -> Result<(), T> {
        let Some((sender, bell)) = self.boxes.get(worker) else { return Err(frame) };
        sender.try_send(frame).map_err(|error| match error {
            TrySendError::Full(frame) | TrySendError::Disconnected(frame) => frame,
        })?;
        bell.ring();
        Ok(())
    }
}

impl Bell {
    fn ring(&self) {
        // Both sides: the frame is in the channel before the flag is read, the flag is set before
        // the sleeper looks into the channel for the last time. One of the two sees the other.
        std::sync::atomic::fence(Ordering::SeqCst);
        if self.sleeping.swap(false, Ordering::SeqCst) {
            // A counter that is full has woken the sleeper already.
            let _ = rustix::io::write(&*self.event, &1u64.to_ne_bytes());
        }
    }
}

impl<T> Mailbox<T> {
    /// The next frame, if there is one.
    pub(super) fn take(&self) -> Option<T> {
        self.frames.try_recv().ok()
    }

    /// Says that the worker is about to sleep; false if a frame is there already.
    pub(super) fn doze(&self) -> bool {
        self.bell.sleeping.store(true, Ordering::SeqCst);
        std::sync::atomic::fence(Ordering::SeqCst);
        if self.frames.is_empty() {
            return true;
        }
        self.awake();
        false
    }

    /// Says that the worker sleeps no more.
    pub(super) fn awake(&self) {
        if !self.bell.sleeping.swap(false, Ordering::SeqCst) {
            let _ = rustix::io::read(&*self.bell.event, &mut [0u8; 8]);
        }
    }

    /// What becomes readable when a frame arrives while the worker sleeps.
    pub(super) fn bell(&self) -> BorrowedFd<'_> {
        self.bell.event.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    fn rings(mailbox: &Mailbox<u32>) -> bool {
        let bell = mailbox.bell();
        let mut watched = [PollFd::new(&bell, PollFlags::IN)];
        poll(&mut watched, Some(&Timespec::default())).unwrap() > 0
    }

    #[test]
    fn a_mailbox_holds_so_many_frames_and_gives_the_next_one_back() {
        let (post, mailboxes) = mailboxes(2, 3).unwrap();
        for (count, room) in [(0, Ok(())), (1, Ok(())), (2, Ok(())), (3, Err(3))] {
            assert_eq!(post.put(1, count), room);
        }
        assert_eq!(post.put(2, 9), Err(9), "there is no such worker");
        assert!(mailboxes[0].take().is_none());
        let taken: Vec<u32> = std::iter::from_fn(|| mailboxes[1].take()).collect();
        assert_eq!(taken, [0, 1, 2]);
    }

    #[test]
    fn only_a_sleeper_is_woken_and_it_can_sleep_again() {
        let (post, mailboxes) = mailboxes(1, 8).unwrap();
        let mailbox = &mailboxes[0];
        post.put(0, 1).unwrap();
        assert!(!rings(mailbox) && !mailbox.doze(), "there is one already");
        assert_eq!(mailbox.take(), Some(1));
        for round in 0..3 {
            assert!(mailbox.doze());
            assert!(!rings(mailbox));
            post.put(0, round).unwrap();
            assert!(rings(mailbox));
            mailbox.awake();
            assert!(!rings(mailbox));
            assert_eq!(mailbox.take(), Some(round));
        }
        assert!(mailbox.doze());
        mailbox.awake();
        assert!(!rings(mailbox), "woken by frames of its own");
    }
}
