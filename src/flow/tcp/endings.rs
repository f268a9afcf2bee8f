//! Tests of the TCP tracker where a connection ends, starts anew or is met in the middle.

use super::*;

#[test]
fn a_reset_counts_at_the_edge_is_doubtful_inside_and_refused_outside() {
    let talk =
        [(C, seg(ACK, 1001, 5001, 500), Ok(Accepted)), (S, seg(ACK, 5001, 1501, 0), Ok(Accepted))];
    let mut tracker = established();
    converse(&mut tracker, &talk);
    converse(
        &mut tracker,
        &[
            (C, seg(RST, 2502, 0, 0), WINDOW_ERROR),
            (C, seg(RST, 500, 0, 0), WINDOW_ERROR),
            (S, seg(RST, 5001 + 5000, 0, 0), WINDOW_ERROR),
            (C, seg(RST, 1500, 0, 0), Ok(DoubtfulReset)),
            (C, seg(RST, 2501, 0, 0), Ok(DoubtfulReset)),
            (C, seg(ACK, 1501, 5001, 10), Ok(Accepted)),
            (C, seg(RST | ACK, 1511, 5001, 0), Ok(TcpEvent::Reset)),
            (S, seg(RST, 5001, 0, 0), Ok(Accepted)),
            (S, seg(ACK, 5001, 1511, 10), CLOSED_ERROR),
            (C, seg(ACK, 1511, 5001, 10), CLOSED_ERROR),
            (C, seg(RST, 100_000, 5001, 0), WINDOW_ERROR),
        ],
    );
    assert_eq!(tracker.state(), TcpState::Reset);
}

#[test]
fn a_syn_on_a_connection_that_is_over_opens_anew() {
    let mut tracker = established();
    tracker.reset();
    converse(
        &mut tracker,
        &[
            (C, seg(SYN, 1000, 0, 0), Ok(Reopen)),
            (S, seg(SYN, 9000, 0, 0), Ok(Reopen)),
            (S, seg(SYN | ACK, 9000, 1001, 0), CLOSED_ERROR),
        ],
    );
    let mut nothing = TcpTracker::default();
    converse(
        &mut nothing,
        &[(C, seg(SYN, 1, 0, 0), Ok(Reopen)), (C, seg(RST, 1, 0, 0), CLOSED_ERROR)],
    );
}

#[test]
fn a_new_syn_on_a_live_connection_is_a_candidate_until_its_answer() {
    let mut tracker = established();
    let syn = seg(SYN, 70_000, 0, 0);
    converse(&mut tracker, &[(C, syn, Ok(CandidateSyn { seq: 70_000 }))]);
    let mut candidate = Candidate::new(C, &syn);
    assert!(!candidate.confirm(S, &seg(SYN | ACK, 5000, 1001, 0)), "the old flow's own");
    assert!(!candidate.confirm(C, &seg(SYN | ACK, 9000, 70_001, 0)), "the wrong way");
    assert!(!candidate.confirm(S, &seg(ACK, 5001, 1001, 0)), "a challenge");
    assert!(!candidate.confirm(S, &seg(SYN | ACK | RST, 9000, 70_001, 0)));
    converse(&mut tracker, &[(C, seg(ACK, 1001, 5001, 10), Ok(Accepted))]);
    let answer = seg(SYN | ACK, 9000, 70_001, 0);
    converse(&mut tracker, &[(S, answer, WINDOW_ERROR)]);
    assert!(candidate.confirm(S, &answer));
    converse(&mut candidate.tracker, &[(C, seg(ACK, 70_001, 9001, 0), Ok(Established))]);
}

#[test]
fn a_syn_is_an_old_one_only_while_the_handshake_goes_on() {
    let mut tracker = established();
    let far = 1000 + (1 << 16);
    converse(
        &mut tracker,
        &[
            (C, seg(SYN, 1000, 0, 0), Ok(CandidateSyn { seq: 1000 })),
            (C, seg(SYN, 1001, 0, 0), Ok(CandidateSyn { seq: 1001 })),
            (C, seg(SYN, far, 0, 0), Ok(CandidateSyn { seq: far })),
            (S, seg(SYN, 5000, 0, 0), Ok(CandidateSyn { seq: 5000 })),
        ],
    );
    let mut opening = TcpTracker::open(&seg(SYN, 1000, 0, 0));
    let past = 1000_u32.wrapping_sub(1 << 16);
    converse(&mut opening, &[(C, seg(SYN, past, 0, 0), Ok(CandidateSyn { seq: past }))]);
}

#[test]
fn an_adopted_connection_is_loose_until_both_sides_were_seen() {
    for first in [C, S] {
        let second = first.flip();
        let segment = seg(ACK, 1000, 5000, 100);
        let mut tracker = TcpTracker::adopt(first, &segment);
        assert_eq!(tracker.state(), TcpState::Established);
        converse(
            &mut tracker,
            &[
                (first, seg(ACK, 5100, 5000, 100), Ok(Accepted)),
                (first, seg(ACK, 900, 5600, 100), Ok(Accepted)),
                (second, seg(ACK, 5700, 6000, 50), Ok(Accepted)),
                // From here on everything is known but the scale.
                (first, seg(ACK, 5200, 5751, 0), WINDOW_ERROR),
                (second, seg(ACK, 5750, 6001, 0), WINDOW_ERROR),
                (first, seg(ACK, 6000 + (1000 << 14) + 1, 5750, 1), WINDOW_ERROR),
                (first, seg(ACK, 6000, 5750, 1000), Ok(Accepted)),
                (second, seg(ACK | FIN, 5750, 7000, 0), Ok(Closing)),
            ],
        );
    }
}

#[test]
fn a_connection_adopted_at_its_fin_closes() {
    let mut tracker = TcpTracker::adopt(S, &seg(ACK | FIN, 5000, 1000, 0));
    assert_eq!(tracker.state(), TcpState::FinWait);
    converse(
        &mut tracker,
        &[
            (C, seg(ACK | FIN, 1000, 5001, 0), Ok(Accepted)),
            (S, seg(ACK, 5001, 1001, 0), Ok(Closed)),
        ],
    );
}

#[test]
fn each_state_has_its_timeout() {
    let timeouts = Timeouts::default();
    let mut tracker = TcpTracker::open(&seg(SYN, 1000, 0, 0));
    assert_eq!(tracker.timeout(&timeouts), timeouts.tcp_half_open);
    tracker = established();
    assert_eq!(tracker.timeout(&timeouts), timeouts.tcp_idle);
    converse(&mut tracker, &[(C, seg(ACK | FIN, 1001, 5001, 0), Ok(Closing))]);
    assert_eq!(tracker.timeout(&timeouts), timeouts.tcp_closing);
    converse(&mut tracker, &[(S, seg(ACK, 5001, 1002, 0), Ok(Accepted))]);
    assert_eq!(tracker.timeout(&timeouts), timeouts.tcp_closing, "half closed");
    converse(&mut tracker, &[(S, seg(ACK | FIN, 5001, 1002, 0), Ok(Accepted))]);
    assert_eq!(tracker.timeout(&timeouts), timeouts.tcp_last_ack);
    converse(&mut tracker, &[(C, seg(ACK, 1002, 5002, 0), Ok(Closed))]);
    assert_eq!(tracker.timeout(&timeouts), timeouts.tcp_closed);
    tracker = established();
    tracker.reset();
    assert_eq!(tracker.timeout(&timeouts), timeouts.tcp_closed);
}

#[test]
fn an_answer_that_was_not_seen_is_assumed_only_behind_the_syn() {
    let open = TcpTracker::open(&seg(SYN, 1000, 0, 0));
    for (at, direction, fits) in
        [(1000, C, false), (1001, C, true), (1002, C, false), (1001, S, false)]
    {
        let mut tracker = open;
        assert_eq!(tracker.assume_answer(direction, &seg(ACK, at, 5001, 10)), fits, "{at}");
        assert_eq!(tracker == open, !fits, "a refusal changes nothing");
    }
    let mut tracker = open;
    assert!(tracker.assume_answer(C, &seg(ACK, 1001, 5001, 0)));
    converse(
        &mut tracker,
        &[
            (C, seg(ACK, 1001, 5001, 100), Ok(Accepted)),
            (C, seg(ACK, 1101, 7000, 100), Ok(Accepted)),
            (S, seg(ACK, 7000, 1201, 50), Ok(Accepted)),
            (C, seg(ACK | FIN, 1201, 7050, 0), Ok(Closing)),
        ],
    );
}

#[test]
fn an_acknowledgement_of_unseen_bytes_is_forgiven_only_where_all_else_fits() {
    let ahead = seg(ACK, 1001, 9000, 10);
    let mut tracker = established();
    converse(&mut tracker, &[(C, ahead, WINDOW_ERROR)]);
    assert!(
        !tracker.forgive_unseen(C, &seg(ACK, 1001 + (1 << 20), 9000, 10)),
        "outside the window"
    );
    assert!(!tracker.forgive_unseen(C, &seg(RST | ACK, 1001, 9000, 0)), "a reset");
    assert!(!tracker.forgive_unseen(C, &seg(ACK, 1001, 5001, 10)), "nothing unseen");
    assert!(tracker.forgive_unseen(C, &ahead));
    converse(
        &mut tracker,
        &[(C, seg(ACK, 1011, 9000, 10), Ok(Accepted)), (S, seg(ACK, 9000, 1021, 10), Ok(Accepted))],
    );
}
