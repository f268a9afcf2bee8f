//! Tests of the hot state of a flow.

use super::*;
use Direction::Original;

#[test]
fn the_state_of_a_flow_takes_eighty_bytes() {
    assert_eq!(size_of::<Flow>(), 80);
}

#[test]
fn marks_actions_and_endings_do_not_touch_each_other() {
    let mut flow = Flow::default();
    assert!(flow.is(Mark::Fresh) && flow.is(Mark::Forwards) && !flow.is(Mark::Reversed));
    assert_eq!(flow.verdict(), UNDECIDED);
    for ended in ENDINGS {
        for action in [Action::Allow, Action::Deny, Action::Reject] {
            let verdict = FlowVerdict { action, rule: Some(RuleId(7)), reason: Reason::Rule };
            flow.set_verdict(verdict);
            flow.set_ended(ended);
            flow.set(Mark::Nameless, true);
            assert_eq!((flow.verdict(), flow.ended()), (verdict, Some(ended)));
            assert!(flow.is(Mark::Nameless) && flow.is(Mark::Fresh));
            flow.set(Mark::Nameless, false);
            assert!(!flow.is(Mark::Nameless) && flow.is(Mark::Forwards));
        }
    }
    flow.set_icmp(Some((3, 1)));
    assert_eq!(flow.icmp(), Some((3, 1)));
    flow.set_icmp(None);
    assert_eq!(flow.icmp(), None);
}

#[test]
fn an_epoch_is_told_by_its_low_half() {
    let mut flow = Flow::default();
    for (set, now) in [(1, 1), (1, 65_536), (65_535, 65_537), (70_000, 135_535)] {
        flow.set_epoch(set);
        assert_eq!(flow.epoch(now), set, "{set} {now}");
    }
}

#[test]
fn a_rolling_flow_tells_its_last_packet_by_its_deadline() {
    let (mut flow, idle) = (Flow::default(), Span::from_secs(120));
    let at = Timestamp::from_secs(1_000);
    flow.set_last(at);
    assert_eq!(flow.last(at + Span::from_secs(7), idle), at);
    let room = flow.room(Original, 40).unwrap();
    flow.roll(Original, room);
    assert_eq!(flow.last(at + Span::from_secs(130), idle), at + Span::from_secs(10));
    flow.set_last(at);
    assert_eq!(flow.last(at + Span::from_secs(130), idle), at);
}

#[test]
fn packets_pass_where_they_are_allowed_or_nothing_is_enforced() {
    let mut flow = Flow::default();
    for (action, monitored) in [
        (Action::Allow, false),
        (Action::Deny, false),
        (Action::Deny, true),
        (Action::Reject, true),
        (Action::Reject, false),
        (Action::Allow, true),
    ] {
        let verdict = FlowVerdict { action, rule: None, reason: Reason::Rule };
        let passes = monitored || action == Action::Allow;
        flow.set_verdict(verdict);
        flow.set(Mark::Monitored, monitored);
        assert_eq!(flow.passes(), passes);
        flow.set(Mark::Monitored, !monitored);
        flow.set(Mark::Monitored, monitored);
        flow.set_verdict(verdict);
        assert_eq!(flow.passes(), passes);
    }
}

#[test]
fn an_endpoint_has_its_number_as_long_as_it_has_flows() {
    let mut endpoints = Endpoints::default();
    let one = endpoints.enter(Some(EndpointId(1))).unwrap();
    assert_eq!(endpoints.enter(Some(EndpointId(1))), Some(one));
    assert_eq!(endpoints.enter(None), Some(EndpointRef::NONE));
    assert_eq!(endpoints.get(one), Some(EndpointId(1)));
    assert_eq!(endpoints.get(EndpointRef::NONE), None);
    endpoints.leave(one);
    endpoints.leave(one);
    assert_eq!(endpoints.enter(Some(EndpointId(2))), Some(one));
    assert_eq!(endpoints.get(one), Some(EndpointId(2)));
}

#[test]
fn one_endpoint_too_many_finds_no_room() {
    let mut endpoints = Endpoints::default();
    for number in 0..ENDPOINTS_MAX as u64 {
        assert!(endpoints.enter(Some(EndpointId(number))).is_some(), "{number}");
    }
    assert_eq!(endpoints.enter(Some(EndpointId(u64::MAX))), None);
    assert!(endpoints.enter(Some(EndpointId(5))).is_some());
}
