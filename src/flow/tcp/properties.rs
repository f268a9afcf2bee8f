//! Properties of the TCP tracker: arbitrary segments, and honest peers on a bad path.

use super::super::flag::{ACK, SYN};
use super::super::*;
use super::seg;
use crate::model::Direction::{Original as C, Reply as S};
use TcpEvent::Accepted;
use proptest::prelude::*;

fn any_segment() -> impl Strategy<Value = Segment> {
    let near = prop_oneof![Just(0u32), Just(1000), Just(5000), Just(u32::MAX)];
    let number = (near, 0u32..3000).prop_map(|(base, more)| base.wrapping_add(more));
    (number.clone(), number, 0u8..64, any::<u16>(), any::<Option<u8>>(), 0u32..70_000).prop_map(
        |(seq, ack, flags, window, wscale, payload_len)| Segment {
            seq,
            ack,
            flags,
            window,
            wscale,
            payload_len,
        },
    )
}

/// A sender that obeys the receiver's window, over a path that loses, repeats and reorders
/// on the far side of the tracker.
struct Peer {
    una: u32,
    next: u32,
    offered_to: u32,
    received: u32,
}

proptest! {
    #[test]
    fn no_sequence_of_segments_panics_and_errors_change_nothing(
        adopt: bool,
        first in any_segment(),
        rest in prop::collection::vec((any::<bool>(), any_segment()), 0..60),
    ) {
        let mut tracker =
            if adopt { TcpTracker::adopt(C, &first) } else { TcpTracker::open(&first) };
        for (reply, segment) in rest {
            let direction = if reply { S } else { C };
            let before = tracker;
            if tracker.observe(direction, &segment).is_err() {
                prop_assert_eq!(before, tracker);
            }
        }
    }

    /// Whatever honest peers do within each other's windows is accepted.
    #[test]
    fn honest_peers_are_never_refused(
        isn: [u32; 2],
        scales in prop::array::uniform2(0u8..15),
        windows in prop::array::uniform2(1u16..),
        moves in prop::collection::vec((any::<bool>(), 0u8..4, any::<u32>(), any::<u16>()), 1..200),
    ) {
        let both = scales;
        let syn = Segment { window: windows[0], wscale: Some(both[0]), ..seg(SYN, isn[0], 0, 0) };
        let syn_ack = Segment {
            window: windows[1],
            wscale: Some(both[1]),
            ..seg(SYN | ACK, isn[1], isn[0].wrapping_add(1), 0)
        };
        let mut tracker = TcpTracker::open(&syn);
        prop_assert_eq!(tracker.observe(S, &syn_ack), Ok(Accepted));
        let start = [isn[0].wrapping_add(1), isn[1].wrapping_add(1)];
        let mut peers = [0, 1].map(|n| Peer {
            una: start[n],
            next: start[n],
            offered_to: start[n].wrapping_add(u32::from(windows[1 - n])),
            received: start[1 - n],
        });
        let first = seg(ACK, start[0], start[1], 0);
        let completed = tracker.observe(C, &Segment { window: 0, ..first });
        prop_assert!(completed.is_ok());
        for (reply, what, amount, window) in moves {
            let (me, you) = (usize::from(reply), usize::from(!reply));
            let direction = if reply { S } else { C };
            let Peer { una, next, offered_to, received } = peers[me];
            let flight = next.wrapping_sub(una);
            let room = offered_to.wrapping_sub(next);
            let (seq, len) = match what {
                0 => (next, if room == 0 { 0 } else { amount % room.min(65_000) }),
                1 if flight > 0 => {
                    let back = amount % flight + 1;
                    (next.wrapping_sub(back), back.min(1460))
                }
                2 => (next.wrapping_sub(1), amount % 2),
                _ => (next, 0),
            };
            // An offer is never taken back.
            let offer = received.wrapping_add(u32::from(window) << both[me]);
            let ahead = offer.wrapping_sub(peers[you].offered_to);
            let window = if ahead < 1 << 31 { window } else {
                let rest = peers[you].offered_to.wrapping_sub(received);
                u16::try_from(rest.div_ceil(1 << both[me])).unwrap_or(u16::MAX)
            };
            let segment = Segment { window, ..seg(ACK, seq, received, len) };
            let event = tracker.observe(direction, &segment);
            prop_assert!(event.is_ok(), "{:?} {:?}", event, segment);
            if what == 0 {
                peers[me].next = next.wrapping_add(len);
            }
            // Half of the segments arrive.
            if amount & 1 << 20 == 0 {
                let granted = received.wrapping_add(u32::from(window) << both[me]);
                peers[you].offered_to = granted;
                peers[you].una = received;
                let end = seq.wrapping_add(len);
                let overlap = peers[you].received.wrapping_sub(seq);
                let new = end.wrapping_sub(peers[you].received);
                if overlap < 1 << 31 && new < 1 << 31 {
                    peers[you].received = end;
                }
            }
        }
    }
}
