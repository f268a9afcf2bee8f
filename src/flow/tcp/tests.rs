//! Tests of the TCP tracker, as conversations. The client's initial sequence number is 1000, the
//! server's 5000.

use super::flag::{ACK, FIN, PSH, RST, SYN};
use super::*;
use crate::model::Direction::{Original as C, Reply as S};
use TcpEvent::{Accepted, CandidateSyn, Closed, Closing, DoubtfulReset, Established, Reopen};

const WINDOW: u16 = 1000;

pub(super) fn seg(flags: u8, seq: u32, ack: u32, payload_len: u32) -> Segment {
    Segment { seq, ack, flags, window: WINDOW, wscale: None, payload_len }
}

fn scaled(segment: Segment, wscale: u8) -> Segment {
    Segment { wscale: Some(wscale), ..segment }
}

type Step = (Direction, Segment, Result<TcpEvent, Reason>);

#[track_caller]
fn converse(tracker: &mut TcpTracker, steps: &[Step]) {
    for (n, (direction, segment, expected)) in steps.iter().enumerate() {
        let before = *tracker;
        let event = tracker.observe(*direction, segment);
        assert_eq!(event, *expected, "step {n}: {segment:?} in {:?}", before.state());
        assert!(event.is_ok() || before == *tracker, "step {n}: an error changed the tracker");
    }
}

/// After the handshake; both sides offer 1000 bytes, unscaled.
fn established() -> TcpTracker {
    let mut tracker = TcpTracker::open(&seg(SYN, 1000, 0, 0));
    converse(
        &mut tracker,
        &[
            (S, seg(SYN | ACK, 5000, 1001, 0), Ok(Accepted)),
            (C, seg(ACK, 1001, 5001, 0), Ok(Established)),
        ],
    );
    assert_eq!(tracker.state(), TcpState::Established);
    tracker
}

const WINDOW_ERROR: Result<TcpEvent, Reason> = Err(Reason::TcpWindow);
const STATE_ERROR: Result<TcpEvent, Reason> = Err(Reason::TcpState);
const CLOSED_ERROR: Result<TcpEvent, Reason> = Err(Reason::TcpClosed);

#[test]
fn a_tracker_is_24_bytes_and_optional_at_no_cost() {
    assert_eq!(size_of::<TcpTracker>(), 24);
    assert_eq!(size_of::<Option<TcpTracker>>(), 24);
    assert_eq!(TcpTracker::default().state(), TcpState::Closed);
}

#[test]
fn state_and_side_bits_do_not_touch_each_other() {
    use TcpState::*;
    let states = [
        SynSent,
        SimultaneousOpen,
        SynReceived,
        TcpState::Established,
        FinWait,
        CloseWait,
        LastAck,
        TimeWait,
        TcpState::Closed,
        TcpState::Reset,
    ];
    for state in states {
        let mut tracker = TcpTracker::default();
        tracker.set_bit(UNSEEN, S, true);
        tracker.set_bit(super::FIN, C, true);
        tracker.set_state(state);
        assert_eq!(tracker.state(), state);
        assert!(tracker.bit(UNSEEN, S) && !tracker.bit(UNSEEN, C));
        assert!(tracker.bit(super::FIN, C) && !tracker.bit(super::FIN, S));
        tracker.set_bit(UNSEEN, S, false);
        assert_eq!((tracker.state(), tracker.bit(UNSEEN, S)), (state, false));
    }
}

#[test]
fn a_connection_opens_talks_and_closes() {
    let mut tracker = established();
    converse(
        &mut tracker,
        &[
            (C, seg(ACK | PSH, 1001, 5001, 500), Ok(Accepted)),
            (S, seg(ACK, 5001, 1501, 1000), Ok(Accepted)),
            (C, seg(ACK, 1501, 6001, 0), Ok(Accepted)),
            (C, seg(ACK | FIN, 1501, 6001, 0), Ok(Closing)),
            (S, seg(ACK, 6001, 1502, 0), Ok(Accepted)),
        ],
    );
    assert_eq!(tracker.state(), TcpState::CloseWait);
    converse(
        &mut tracker,
        &[
            (S, seg(ACK | FIN, 6001, 1502, 0), Ok(Accepted)),
            (C, seg(ACK, 1502, 6002, 0), Ok(Closed)),
            (C, seg(ACK, 1502, 6002, 0), Ok(Accepted)),
            (S, seg(ACK | FIN, 6001, 1502, 0), Ok(Accepted)),
        ],
    );
    assert_eq!(tracker.state(), TcpState::TimeWait);
    assert!(tracker.is_over());
}

#[test]
fn after_a_half_close_data_goes_the_other_way_only() {
    let mut tracker = established();
    converse(
        &mut tracker,
        &[
            (C, seg(ACK | FIN, 1001, 5001, 10), Ok(Closing)),
            (S, seg(ACK, 5001, 1012, 300), Ok(Accepted)),
            (C, seg(ACK, 1012, 5301, 0), Ok(Accepted)),
            (S, seg(ACK, 5301, 1012, 1000), Ok(Accepted)),
            // What came before the FIN may come again; nothing may come behind it.
            (C, seg(ACK | FIN, 1001, 5301, 10), Ok(Accepted)),
            (C, seg(ACK, 1012, 5301, 1), STATE_ERROR),
            (S, seg(ACK | FIN, 6301, 1012, 0), Ok(Accepted)),
            (C, seg(ACK, 1012, 6302, 0), Ok(Closed)),
        ],
    );
}

#[test]
fn fins_that_cross_close_once_both_are_acknowledged() {
    let mut tracker = established();
    converse(
        &mut tracker,
        &[
            (C, seg(ACK | FIN, 1001, 5001, 0), Ok(Closing)),
            (S, seg(ACK | FIN, 5001, 1001, 0), Ok(Accepted)),
            (C, seg(ACK, 1002, 5002, 0), Ok(Accepted)),
            (C, seg(ACK, 1002, 5002, 0), Ok(Accepted)),
            (S, seg(ACK, 5002, 1002, 0), Ok(Closed)),
        ],
    );
}

#[test]
fn a_fin_that_acknowledges_a_fin_leaves_one_to_acknowledge() {
    for (first, second, ours, theirs) in [(C, S, 1001, 5001), (S, C, 5001, 1001)] {
        let mut tracker = established();
        converse(
            &mut tracker,
            &[
                (first, seg(ACK | FIN, ours, theirs, 0), Ok(Closing)),
                (second, seg(ACK | FIN, theirs, ours + 1, 0), Ok(Accepted)),
                (second, seg(ACK | FIN, theirs, ours + 1, 0), Ok(Accepted)),
            ],
        );
        assert_eq!(tracker.state(), TcpState::LastAck);
        converse(&mut tracker, &[(first, seg(ACK, ours + 1, theirs + 1, 0), Ok(Closed))]);
    }
}

#[test]
fn data_outside_the_window_is_refused_and_at_its_edges_is_not() {
    let mut tracker = established();
    converse(
        &mut tracker,
        &[
            (C, seg(ACK, 2001, 5001, 100), Ok(Accepted)),
            (C, seg(ACK, 2102, 5001, 1), WINDOW_ERROR),
            (C, seg(ACK, 1001 + 100_000, 5001, 1), WINDOW_ERROR),
            (C, seg(ACK, 1001_u32.wrapping_sub(100_000), 5001, 1), WINDOW_ERROR),
            (S, seg(ACK, 6002, 1001, 1), WINDOW_ERROR),
            (S, seg(ACK, 6001, 1001, 0), Ok(Accepted)),
        ],
    );
    let mut tracker = established();
    converse(
        &mut tracker,
        &[
            (C, seg(ACK, 1001, 5001, 1000), Ok(Accepted)),
            (S, seg(ACK, 5001, 2001, 0), Ok(Accepted)),
            (C, seg(ACK, 2001, 5001, 1000), Ok(Accepted)),
            // The window behind 3001 is 1000 bytes; a segment must end in it.
            (C, seg(ACK, 1991, 5001, 10), Ok(Accepted)),
            (C, seg(ACK, 1990, 5001, 10), WINDOW_ERROR),
        ],
    );
}

#[test]
fn an_acknowledgement_of_what_was_not_sent_or_of_long_ago_is_refused() {
    let mut tracker = established();
    converse(
        &mut tracker,
        &[
            (C, seg(ACK, 1001, 5002, 0), WINDOW_ERROR),
            (C, seg(ACK, 1001, 5001, 0), Ok(Accepted)),
            (C, seg(ACK, 1001, 5001_u32.wrapping_sub(ACK_WINDOW_MIN), 0), Ok(Accepted)),
            (C, seg(ACK, 1001, 5000_u32.wrapping_sub(ACK_WINDOW_MIN), 0), WINDOW_ERROR),
            (S, seg(ACK, 5001, 1002, 10), WINDOW_ERROR),
        ],
    );
}

#[test]
fn keep_alives_and_probes_of_a_closed_window_pass() {
    let mut tracker = established();
    let closed = Segment { window: 0, ..seg(ACK, 5001, 2001, 0) };
    converse(
        &mut tracker,
        &[
            (C, seg(ACK, 1000, 5001, 0), Ok(Accepted)),
            (C, seg(ACK, 1000, 5001, 1), Ok(Accepted)),
            (S, seg(ACK, 5000, 1001, 0), Ok(Accepted)),
            (C, seg(ACK, 1001, 5001, 1000), Ok(Accepted)),
            (S, closed, Ok(Accepted)),
            (C, seg(ACK, 2001, 5001, 1), Ok(Accepted)),
            (C, seg(ACK, 2003, 5001, 1), WINDOW_ERROR),
            (S, closed, Ok(Accepted)),
            (S, seg(ACK, 5001, 2002, 0), Ok(Accepted)),
            (C, seg(ACK, 2002, 5001, 1000), Ok(Accepted)),
        ],
    );
    let mut tracker = established();
    converse(
        &mut tracker,
        &[
            (S, Segment { window: 0, ..seg(ACK, 5001, 1001, 0) }, Ok(Accepted)),
            (C, seg(ACK, 1001, 5001, 1000), Ok(Accepted)),
            (S, Segment { window: 0, ..seg(ACK, 5001, 2001, 0) }, Ok(Accepted)),
            (C, seg(ACK, 2001, 5001, 1), Ok(Accepted)),
            (C, seg(RST, 2002, 0, 0), Ok(TcpEvent::Reset)),
        ],
    );
}

#[test]
fn nobody_walks_out_of_the_window_segment_by_segment() {
    let mut tracker = established();
    converse(
        &mut tracker,
        &[
            (C, seg(ACK, 1001, 5001, 1400), Ok(Accepted)),
            (C, seg(ACK, 2401, 5001, 1400), WINDOW_ERROR),
            // What was too much for the window comes again.
            (C, seg(ACK, 1001, 5001, 400), Ok(Accepted)),
            (S, seg(ACK, 5001, 2001, 0), Ok(Accepted)),
            (C, seg(ACK, 2001, 5001, 1000), Ok(Accepted)),
        ],
    );
}

#[test]
fn windows_scale_only_if_both_sides_offered_it() {
    for (server, reach) in [(Some(9), 1000u32 << 9), (None, 1000)] {
        let mut tracker = TcpTracker::open(&scaled(seg(SYN, 1000, 0, 0), 7));
        let syn_ack = Segment { wscale: server, ..seg(SYN | ACK, 5000, 1001, 0) };
        converse(
            &mut tracker,
            &[
                (S, syn_ack, Ok(Accepted)),
                (C, seg(ACK, 1001, 5001, 0), Ok(Established)),
                // The window of a SYN is never scaled (RFC 7323 section 2.2).
                (C, seg(ACK, 1001 + 1001, 5001, 1), WINDOW_ERROR),
                (S, seg(ACK, 5001, 1001, 0), Ok(Accepted)),
                (C, seg(ACK, 1001 + reach + 1, 5001, 1), WINDOW_ERROR),
                (C, seg(ACK, 1001 + reach, 5001, 0), Ok(Accepted)),
            ],
        );
    }
}

#[test]
fn a_scale_above_fourteen_counts_as_fourteen() {
    let mut tracker = TcpTracker::open(&scaled(seg(SYN, 1000, 0, 0), 255));
    let syn_ack = scaled(seg(SYN | ACK, 5000, 1001, 0), 14);
    converse(&mut tracker, &[(S, syn_ack, Ok(Accepted))]);
    assert_eq!((tracker.scale(C), tracker.scale(S)), (14, 14));
}

#[test]
fn sequence_numbers_may_pass_zero() {
    let (client, server) = (u32::MAX - 5, u32::MAX);
    let mut tracker = TcpTracker::open(&seg(SYN, client, 0, 0));
    converse(
        &mut tracker,
        &[
            (S, seg(SYN | ACK, server, client + 1, 0), Ok(Accepted)),
            (C, seg(ACK, client + 1, 0, 0), Ok(Established)),
            (C, seg(ACK, client + 1, 0, 900), Ok(Accepted)),
            (S, seg(ACK, 0, 895, 900), Ok(Accepted)),
            (C, seg(ACK, client + 1, 900, 900), Ok(Accepted)),
            (C, seg(ACK | FIN, 895, 900, 0), Ok(Closing)),
        ],
    );
}

#[test]
fn the_handshake_may_be_repeated_part_by_part() {
    let mut tracker = TcpTracker::open(&seg(SYN, 1000, 0, 0));
    converse(
        &mut tracker,
        &[
            (C, seg(SYN, 1000, 0, 0), Ok(Accepted)),
            (S, seg(SYN | ACK, 5000, 1001, 0), Ok(Accepted)),
            (C, seg(SYN, 1000, 0, 0), Ok(Accepted)),
            (S, seg(SYN | ACK, 5000, 1001, 0), Ok(Accepted)),
            (C, seg(ACK, 1001, 5001, 0), Ok(Established)),
            (S, seg(SYN | ACK, 5000, 1001, 0), Ok(Accepted)),
            (C, seg(ACK, 1001, 5001, 10), Ok(Accepted)),
        ],
    );
}

#[test]
fn an_answer_to_another_syn_is_refused() {
    let mut tracker = TcpTracker::open(&seg(SYN, 1000, 0, 0));
    converse(
        &mut tracker,
        &[
            (S, seg(SYN | ACK, 5000, 1000, 0), WINDOW_ERROR),
            (S, seg(SYN | ACK, 5000, 1002, 0), WINDOW_ERROR),
            (S, seg(RST | ACK, 0, 1002, 0), WINDOW_ERROR),
            (S, seg(RST, 0, 1001, 0), WINDOW_ERROR),
            (C, seg(SYN | ACK, 1000, 0, 0), STATE_ERROR),
            (C, seg(ACK, 1001, 5001, 0), STATE_ERROR),
            (S, seg(ACK, 5001, 1001, 10), STATE_ERROR),
            (S, seg(0, 5001, 1001, 10), STATE_ERROR),
            (S, seg(RST | ACK, 0, 1001, 0), Ok(TcpEvent::Reset)),
            (S, seg(SYN | ACK, 5000, 1001, 0), CLOSED_ERROR),
        ],
    );
}

#[test]
fn a_server_with_an_older_connection_may_ask_and_is_reset() {
    let mut tracker = TcpTracker::open(&seg(SYN, 1000, 0, 0));
    converse(
        &mut tracker,
        &[
            (S, seg(ACK, 77, 99_999, 0), Ok(Accepted)),
            (C, seg(RST, 99_999, 0, 0), Ok(DoubtfulReset)),
            (C, seg(SYN, 1000, 0, 0), Ok(Accepted)),
            (S, seg(SYN | ACK, 5000, 1001, 0), Ok(Accepted)),
        ],
    );
}

#[test]
fn both_sides_may_open_at_once() {
    for answer in [SYN | ACK, ACK] {
        let mut tracker = TcpTracker::open(&seg(SYN, 1000, 0, 0));
        let own = u32::from(answer == ACK);
        converse(
            &mut tracker,
            &[
                (S, seg(SYN, 5000, 0, 0), Ok(Accepted)),
                (S, seg(SYN, 5000, 0, 0), Ok(Accepted)),
                (C, seg(SYN, 1000, 0, 0), Ok(Accepted)),
                (C, seg(SYN | ACK, 1000, 5002, 0), WINDOW_ERROR),
            ],
        );
        assert_eq!(tracker.state(), TcpState::SimultaneousOpen);
        let first = if answer == ACK { Established } else { Accepted };
        let second = if answer == ACK { Accepted } else { Established };
        converse(
            &mut tracker,
            &[
                (S, seg(answer, 5000 + own, 1001, 0), Ok(first)),
                (C, seg(answer, 1000 + own, 5001, 0), Ok(second)),
                (C, seg(ACK, 1001, 5001, 100), Ok(Accepted)),
                (S, seg(ACK, 5001, 1101, 100), Ok(Accepted)),
            ],
        );
    }
}

#[test]
fn fast_open_data_may_be_taken_left_or_sent_without() {
    for taken in [1001, 1050, 1101] {
        let mut tracker = TcpTracker::open(&seg(SYN, 1000, 0, 100));
        converse(
            &mut tracker,
            &[
                (C, seg(SYN, 1000, 0, 100), Ok(Accepted)),
                (C, seg(SYN, 1000, 0, 0), Ok(Accepted)),
                (S, seg(SYN | ACK, 5000, 1000, 0), WINDOW_ERROR),
                (S, seg(SYN | ACK, 5000, 1102, 0), WINDOW_ERROR),
                (S, seg(SYN | ACK, 5000, taken, 0), Ok(Accepted)),
                (S, seg(ACK, 5001, taken, 200), Ok(Accepted)),
                (C, seg(ACK, taken, 5001, 1101 - taken), Ok(Established)),
                (S, seg(ACK, 5201, 1101, 0), Ok(Accepted)),
            ],
        );
    }
    let mut tracker = TcpTracker::open(&seg(SYN, 1000, 0, 0));
    converse(
        &mut tracker,
        &[
            (C, seg(SYN, 1000, 0, 100), Ok(Accepted)),
            (S, seg(SYN | ACK, 5000, 1101, 0), Ok(Accepted)),
        ],
    );
}

#[path = "endings.rs"]
mod endings;
#[path = "properties.rs"]
mod properties;

#[test]
fn what_may_have_been_sent_of_late_is_known_of_a_side_that_was_seen() {
    let adopted = TcpTracker::adopt(C, &seg(ACK, 70_000, 5_000, 10));
    assert!(adopted.may_have_sent(C, 70_010) && adopted.may_have_sent(C, 4_010));
    assert!(!adopted.may_have_sent(C, 70_011) && !adopted.may_have_sent(C, 4_009));
    assert!(adopted.may_have_sent(S, 12_345), "nothing is known of the server");
    assert!(TcpTracker::open(&seg(SYN, 1_000, 0, 0)).may_have_sent(C, 1_000));
}
