//! Tests of the counts in a flow and beside it.

use super::*;
use crate::engine::entry::Flow;
use crate::engine::state::Stage;
use crate::model::{Action, FlowVerdict, Reason, RuleId};
use Direction::{Original, Reply};

#[test]
fn every_packet_is_counted_whatever_became_of_it() {
    let (mut flow, mut asides) = (Flow::default(), Asides::default());
    asides.count(0, &mut flow, Original, 100, true);
    asides.count(0, &mut flow, Original, 50, false);
    asides.count(0, &mut flow, Reply, 10, true);
    let [there, back] = asides.volume(0, &flow);
    assert_eq!((there.packets, there.bytes), (2, 150));
    assert_eq!((there.forwarded_packets, there.forwarded_bytes), (1, 100));
    assert_eq!((back.packets, back.forwarded_bytes), (1, 10));
    asides.release(0, &mut flow, Original, 50);
    let [there, _] = asides.volume(0, &flow);
    assert_eq!((there.packets, there.forwarded_packets, there.forwarded_bytes), (2, 2, 150));
    assert!(asides.0.is_empty(), "nothing is left beside the flow");
}

#[test]
fn a_flow_that_is_refused_keeps_what_it_forwarded_before() {
    let (mut flow, mut asides) = (Flow::default(), Asides::default());
    asides.count(3, &mut flow, Original, 40, true);
    flow.set_stage(Stage::Final);
    for _ in 0..5 {
        asides.count(3, &mut flow, Original, 60, false);
    }
    let [there, _] = asides.volume(3, &flow);
    assert_eq!((there.packets, there.bytes), (6, 340));
    assert_eq!((there.forwarded_packets, there.forwarded_bytes), (1, 40));
    asides.forget(3, &flow);
    assert!(asides.0.is_empty());
}

#[test]
fn a_new_decision_leaves_what_is_beside_a_flow() {
    let (mut flow, mut asides) = (Flow::default(), Asides::default());
    let verdicts = [Action::Allow, Action::Deny, Action::Reject];
    let verdicts =
        verdicts.map(|action| FlowVerdict { action, rule: Some(RuleId(9)), reason: Reason::Rule });
    for verdict in verdicts {
        flow.set_verdict(verdict);
        assert!(!flow.has_aside(), "{verdict:?}");
    }
    asides.count(0, &mut flow, Original, 100, true);
    asides.count(0, &mut flow, Original, 50, false);
    for verdict in verdicts {
        flow.set_verdict(verdict);
        assert_eq!(flow.verdict(), verdict);
        let [there, _] = asides.volume(0, &flow);
        assert_eq!((there.packets, there.forwarded_packets), (2, 1), "{verdict:?}");
    }
    asides.forget(0, &flow);
    assert!(asides.0.is_empty());
}

#[test]
fn a_flow_refused_from_the_start_needs_nothing_beside_it() {
    let (mut flow, mut asides) = (Flow::default(), Asides::default());
    flow.set_stage(Stage::Final);
    asides.count(0, &mut flow, Original, 60, false);
    assert!(asides.0.is_empty());
    assert_eq!(asides.volume(0, &flow)[0].packets, 1);
    assert_eq!(asides.volume(0, &flow)[0].forwarded_packets, 0);
}

#[test]
fn a_tally_is_carried_over_when_it_is_full() {
    let limit = Tally::PACKETS_MAX;
    for (packets, bytes) in
        [(limit - 1, 65_575), (limit, 65_575), (limit + 1, 65_575), (3, 1 << 17)]
    {
        let (mut flow, mut asides) = (Flow::default(), Asides::default());
        for _ in 0..packets {
            asides.count(0, &mut flow, Reply, bytes, true);
        }
        let [_, back] = asides.volume(0, &flow);
        assert_eq!((back.packets, back.bytes), (packets, packets * u64::from(bytes)));
        assert_eq!(asides.0.is_empty(), packets <= limit && bytes < Tally::BYTES_MAX);
    }
}

#[test]
fn what_rolls_by_is_counted_like_everything_else() {
    for bytes in [40, 1_500, 65_575, (1 << 17) - 1, 1 << 17] {
        for packets in [1_022, 1_023, 1_024, 1_025, Tally::PACKETS_MAX + 1_200] {
            let (mut flow, mut asides) = (Flow::default(), Asides::default());
            let mut beside = 0;
            for _ in 0..packets {
                if let Some(room) = flow.room(Reply, bytes) {
                    flow.roll(Reply, room);
                } else {
                    asides.count(0, &mut flow, Reply, bytes, true);
                    beside += 1;
                }
            }
            let [there, back] = asides.volume(0, &flow);
            assert_eq!((back.packets, back.bytes), (packets, packets * u64::from(bytes)));
            assert_eq!(there, Volume::default());
            assert!(bytes >= Tally::BYTES_MAX || beside <= 1, "{beside}");
            assert_eq!(flow.is(Mark::Rolling), bytes < Tally::BYTES_MAX);
        }
    }
}
