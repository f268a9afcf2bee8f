//! Fragments: those of one packet come to one worker, which here waits for the first one, the only one
//! with ports, and passes all on to the worker of the flow.

use super::mailbox::{Mailbox, Post, mailboxes};
use super::spread::{SORTING, Spread, inner_at};
use super::{Exchanged, Losses, PortError};
use crate::io::trains::{Place, TrainKey, Trains};
use crate::model::Timestamp;
use crate::wire::{self, Fragment, Link, Packet};

/// Fragments that may wait in a worker's mailbox.
pub(super) const MAILBOX_FRAMES: usize = 1024;

/// A frame that left the ring it came in.
#[derive(Debug)]
pub(super) struct Passed {
    pub(super) vouched: bool,
    /// Its worker is known to be the one it was passed to; else that one gathers it.
    sorted: bool,
    pub(super) bytes: Vec<u8>,
}

/// One worker's part.
#[derive(Debug)]
pub(super) struct Gather {
    worker: usize,
    spread: Spread,
    trains: Trains<Passed>,
    post: Post<Passed>,
    pub(super) mailbox: Mailbox<Passed>,
    /// Frames to be judged here that are in no ring slot of this batch.
    pub(super) late: Vec<Passed>,
}

impl Gather {
    /// The parts of all workers.
    pub(super) fn of_all(spread: Spread, workers: usize) -> Result<Vec<Self>, PortError> {
        let (post, boxes) = mailboxes(workers, MAILBOX_FRAMES)?;
        let part = |(worker, mailbox)| Self {
            worker,
            spread,
            trains: Trains::default(),
            post: post.clone(),
            mailbox,
            late: Vec::new(),
        };
        Ok(boxes.into_iter().enumerate().map(part).collect())
    }

    /// Takes what other workers passed on, and gives up on packets whose first fragment did not
    /// come: they are judged here, as incomplete.
    pub(super) fn begin(
        &mut self,
        now: Timestamp,
        limit: usize,
        done: &mut Exchanged,
        losses: &mut Losses,
    ) {
        self.late.clear();
        while let Some((_, waiting)) = self.trains.overdue(Some(now)) {
            self.late.extend(waiting);
        }
        for _ in 0..limit {
            let Some(passed) = self.mailbox.take() else { break };
            if passed.sorted || self.sort(now, passed.vouched, &passed.bytes, done, losses) {
                self.late.push(passed);
            }
        }
    }

    /// Passes a copy of a fragment to the worker that gathers its packet.
    pub(super) fn forward(
        &self,
        collector: usize,
        bytes: &[u8],
        done: &mut Exchanged,
        losses: &mut Losses,
    ) {
        let passed = Passed { vouched: false, sorted: false, bytes: bytes.to_vec() };
        self.post(collector, passed, done, losses);
    }

    /// Whether a frame is to be judged here, now. A fragment may have to wait or to go elsewhere; it
    /// is copied then.
    #[inline]
    pub(super) fn stays(
        &mut self,
        now: Timestamp,
        vouched: bool,
        bytes: &[u8],
        done: &mut Exchanged,
        losses: &mut Losses,
    ) -> bool {
        !suspect(bytes) || self.sort(now, vouched, bytes, done, losses)
    }

    /// The same for a frame that may be a fragment.
    #[cold]
    pub(super) fn sort(
        &mut self,
        now: Timestamp,
        vouched: bool,
        bytes: &[u8],
        done: &mut Exchanged,
        losses: &mut Losses,
    ) -> bool {
        let Ok(packet) = wire::parse(bytes, Link::Ethernet, &SORTING) else { return true };
        let Some(train) = TrainKey::of(&packet) else { return true };
        let copy = || Passed { vouched, sorted: true, bytes: bytes.to_vec() };
        let owner = match self.place(train, &packet, now, copy) {
            Some((owner, waited)) => {
                for passed in waited {
                    self.pass(owner, passed, done, losses);
                }
                owner
            }
            None => return false,
        };
        if owner == self.worker {
            return true;
        }
        self.pass(owner, copy(), done, losses);
        false
    }

    /// Who owns a fragment's flow, with the fragments that waited to know; none if it waits too.
    fn place(
        &mut self,
        train: TrainKey,
        packet: &Packet,
        now: Timestamp,
        copy: impl FnOnce() -> Passed,
    ) -> Option<(usize, Vec<Passed>)> {
        if matches!(packet.fragment, Fragment::First { .. }) {
            let owner = self.spread.owner(packet);
            return Some((owner, self.trains.first(train, owner, now)));
        }
        match self.trains.later(train, now, copy) {
            Place::With(owner) => Some((owner, Vec::new())),
            Place::Waits => None,
        }
    }

    fn pass(&mut self, owner: usize, passed: Passed, done: &mut Exchanged, losses: &mut Losses) {
        if owner == self.worker {
            self.late.push(passed);
        } else {
            self.post(owner, passed, done, losses);
        }
    }

    fn post(&self, worker: usize, passed: Passed, done: &mut Exchanged, losses: &mut Losses) {
        if self.post.put(worker, passed).is_ok() {
            done.handed_over += 1;
        } else {
            losses.handover = losses.handover.saturating_add(1);
        }
    }
}

/// Whether a frame may hold an inner fragment; in doubt it may. Reads a few bytes only.
#[inline]
fn suspect(frame: &[u8]) -> bool {
    let Some(inner) = inner_at(frame) else { return true };
    let Some(head) = frame.get(inner..inner + 8) else { return true };
    match *head {
        [first, .., high, low] if first >> 4 == 4 => high & 0x3f != 0 || low != 0,
        [first, .., next, _] if first >> 4 == 6 => matches!(next, 0 | 43 | 44 | 51 | 60),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{EndpointId, FiveTuple, Protocol};
    use crate::synth::gwlb::Encapsulation;
    use crate::synth::packet;

    fn tuple(port: u16) -> FiveTuple {
        let (src, dst) = (("10.0.0.1".parse().unwrap(), port), ("10.0.0.2".parse().unwrap(), 53));
        packet::tuple(src, dst, Protocol::UDP)
    }

    /// The first 32 bytes, or the rest, of a datagram in two fragments.
    fn piece(port: u16, first: bool) -> Vec<u8> {
        piece_of(5, 0x1234, port, first)
    }

    /// The same behind another endpoint, with another identification.
    fn piece_of(endpoint: u64, id: u16, port: u16, first: bool) -> Vec<u8> {
        let whole = packet::udp(&tuple(port), &[7; 40]);
        let (payload, field) =
            if first { (&whole[20..52], [0x20, 0]) } else { (&whole[52..], [0, 4]) };
        let mut piece = [&whole[..20], payload].concat();
        let len = u16::try_from(piece.len()).unwrap().to_be_bytes();
        piece[2..4].copy_from_slice(&len);
        piece[4..6].copy_from_slice(&id.to_be_bytes());
        piece[6..8].copy_from_slice(&field);
        Encapsulation::of(EndpointId(endpoint)).wrap(&piece)
    }

    fn at(secs: u64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    /// Sorts a piece at worker 0 of two.
    fn sort(all: &mut [Gather], now: u64, bytes: &[u8]) -> (bool, usize) {
        let (mut done, mut losses) = (Exchanged::default(), Losses::default());
        let stays = all[0].stays(at(now), false, bytes, &mut done, &mut losses);
        assert_eq!(losses, Losses::default());
        (stays, done.handed_over)
    }

    fn two() -> Vec<Gather> {
        Gather::of_all(Spread::new(1, 2), 2).unwrap()
    }

    /// A source port whose flow belongs to this worker.
    fn port_of(worker: usize) -> u16 {
        (1..).find(|port| Spread::new(1, 2).flow(&tuple(*port)) == worker).unwrap()
    }

    #[test]
    fn fragments_of_a_flow_elsewhere_are_passed_on_in_either_order() {
        let port = port_of(1);
        for order in [[true, false], [false, true]] {
            let mut all = two();
            let mut passed = 0;
            for first in order {
                let (stays, handed_over) = sort(&mut all, 1, &piece(port, first));
                assert!(!stays);
                passed += handed_over;
            }
            assert_eq!(passed, 2, "{order:?}");
            all[1].begin(at(1), 64, &mut Exchanged::default(), &mut Losses::default());
            assert_eq!(all[1].late.len(), 2);
        }
    }

    #[test]
    fn fragments_of_a_flow_of_this_worker_stay_once_the_first_is_there() {
        let port = port_of(0);
        let mut all = two();
        assert_eq!(sort(&mut all, 1, &piece(port, false)), (false, 0));
        assert_eq!(sort(&mut all, 1, &piece(port, true)), (true, 0));
        assert_eq!(all[0].late.len(), 1, "the one that waited is judged behind it");
        assert_eq!(sort(&mut all, 1, &piece(port, false)), (true, 0));
    }

    #[test]
    fn a_packet_without_its_first_fragment_is_given_up() {
        let mut all = two();
        assert_eq!(sort(&mut all, 1, &piece(1, false)), (false, 0));
        let (mut done, mut losses) = (Exchanged::default(), Losses::default());
        all[0].begin(at(31), 64, &mut done, &mut losses);
        assert!(all[0].late.is_empty());
        all[0].begin(at(32), 64, &mut done, &mut losses);
        assert_eq!(all[0].late.len(), 1);
    }

    #[test]
    fn a_fragment_that_came_to_any_worker_is_gathered_by_one() {
        let port = port_of(1);
        let mut all = two();
        let (mut done, mut losses) = (Exchanged::default(), Losses::default());
        for first in [false, true] {
            all[1].forward(0, &piece(port, first), &mut done, &mut losses);
        }
        all[0].begin(at(1), 64, &mut done, &mut losses);
        assert!(all[0].late.is_empty());
        all[1].begin(at(1), 64, &mut done, &mut losses);
        assert_eq!((all[1].late.len(), done.handed_over, losses.total()), (2, 4, 0));
    }

    #[test]
    fn a_flood_behind_one_endpoint_does_not_part_the_fragments_of_another() {
        let port = port_of(0);
        let mut all = two();
        assert_eq!(sort(&mut all, 1, &piece(port, false)), (false, 0), "it waits");
        assert_eq!(sort(&mut all, 1, &piece_of(5, 9, port, true)), (true, 0));
        for id in 0..u16::MAX {
            sort(&mut all, 1, &piece_of(6, id, 1, false));
            all[0].begin(at(1), 64, &mut Exchanged::default(), &mut Losses::default());
            let lost = all[0].late.iter().any(|passed| passed.bytes == piece(port, false));
            assert!(!lost, "{id}");
        }
        assert_eq!(all[0].late.len(), 1, "the flood gives up its own");
        assert_eq!(sort(&mut all, 1, &piece(port, true)), (true, 0));
        assert_eq!(all[0].late.len(), 2, "what waited is judged behind its first fragment");
        assert_eq!(sort(&mut all, 1, &piece_of(5, 9, port, false)), (true, 0));
    }

    #[test]
    fn whole_packets_are_not_suspected_and_fragments_are() {
        let wrap = |inner: &[u8]| Encapsulation::of(EndpointId(5)).wrap(inner);
        assert!(!suspect(&wrap(&packet::udp(&tuple(1), b"x"))));
        assert!(suspect(&piece(1, true)) && suspect(&piece(1, false)));
        let (src, dst) = (("2001:db8::1".parse().unwrap(), 1), ("2001:db8::2".parse().unwrap(), 2));
        let mut v6 = packet::udp(&packet::tuple(src, dst, Protocol::UDP), b"x");
        assert!(!suspect(&wrap(&v6)));
        v6[6] = 44;
        assert!(suspect(&wrap(&v6)));
        let mut tagged = wrap(&v6);
        tagged[12] = 0x81;
        assert!(suspect(&tagged), "in doubt");
        assert!(suspect(&[]));
    }

    #[test]
    fn a_full_mailbox_loses_and_counts() {
        let mut all = two();
        let bytes = piece(port_of(1), true);
        for (count, lost) in [(MAILBOX_FRAMES - 1, 0), (1, 0), (1, 1)] {
            let (mut done, mut losses) = (Exchanged::default(), Losses::default());
            for _ in 0..count {
                all[0].stays(at(1), false, &bytes, &mut done, &mut losses);
            }
            assert_eq!((losses.handover, done.handed_over), (lost, count - lost as usize));
        }
    }
}
