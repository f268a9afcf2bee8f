//! What waiting for fragments costs, and who pays for it. How fragments are judged is in
//! tests/evasion.

use super::tests::{Bench, ENDPOINT, OTHER, spec};
use super::{Limits, Output};
use crate::model::{EndpointId, Protocol, Reason, Verdict};
use crate::policy::spec::PolicySpec;

/// A fragment of eight bytes of a UDP packet from 10.20.1.5 to 10.100.4.7.
fn fragment(id: u16, offset: u16, more: bool) -> Vec<u8> {
    fragment_from([10, 20, 1, 5], id, offset, more)
}

fn fragment_from(source: [u8; 4], id: u16, offset: u16, more: bool) -> Vec<u8> {
    let mut packet = vec![0x45, 0, 0, 28];
    packet.extend_from_slice(&id.to_be_bytes());
    packet.extend_from_slice(&((offset / 8) | (u16::from(more) << 13)).to_be_bytes());
    packet.extend_from_slice(&[64, Protocol::UDP.0, 0, 0]);
    packet.extend_from_slice(&source);
    packet.extend_from_slice(&[10, 100, 4, 7]);
    let sum =
        packet.chunks(2).map(|word| (u32::from(word[0]) << 8) | u32::from(word[1])).sum::<u32>();
    let folded = (sum & 0xffff) + (sum >> 16);
    let sum = !((folded & 0xffff) + (folded >> 16)) as u16;
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    // Ports 514, length 16 of two fragments together, no checksum.
    packet.extend_from_slice(&[2, 2, 2, 2, 0, 16, 0, 0]);
    packet
}

fn bench(limits: Limits) -> Bench {
    Bench::with(&spec(), Limits { flows: 1000, ..limits })
}

fn first(bench: &mut Bench, endpoint: EndpointId, id: u16) -> Verdict {
    bench.give_from(endpoint, &fragment(id, 0, true))
}

fn waiting(bench: &mut Bench, endpoint: EndpointId, most: u16) -> usize {
    (0..most).take_while(|&id| first(bench, endpoint, id) == Verdict::Hold).count()
}

#[test]
fn a_segment_waits_for_as_many_packets_as_are_free_and_another_finds_room() {
    for (limit, share, other) in [(3, 2, 1), (4, 2, 1), (5, 3, 1), (8, 4, 2)] {
        let mut bench = bench(Limits { fragmented: limit, ..Limits::default() });
        assert_eq!(waiting(&mut bench, ENDPOINT, 100), share, "{limit}");
        assert_eq!(first(&mut bench, ENDPOINT, 99), Verdict::Drop(Reason::LimitFragments));
        assert_eq!(waiting(&mut bench, OTHER, 100), other, "{limit}");
        for id in 0..2 {
            let rest = bench.give(&fragment(id, 8, false));
            assert_eq!(rest, Verdict::Forward, "a packet that is waited for goes on");
        }
        assert_eq!(first(&mut bench, ENDPOINT, 200), Verdict::Hold, "and makes room");
    }
}

#[test]
fn fragments_are_charged_to_the_held_bytes_of_their_segment_until_they_leave() {
    let frame = 110;
    for (held_bytes, fits) in [(2 * frame - 1, 1), (2 * frame, 2), (2 * frame + 1, 2)] {
        let mut spec: PolicySpec = spec();
        spec.segments[0].limits.held_bytes = Some(held_bytes);
        let mut bench = Bench::new(&spec);
        assert_eq!(waiting(&mut bench, ENDPOINT, 9), fits, "{held_bytes}");
        assert_eq!(first(&mut bench, ENDPOINT, 99), Verdict::Drop(Reason::LimitHeld));
        assert_eq!(bench.engine.held_bytes(), fits * frame as usize);
        assert_eq!(first(&mut bench, OTHER, 1), Verdict::Hold, "another partner has its own");
        bench.pass(31);
        let mut out = Output::default();
        bench.engine.tick(bench.now(), &mut out);
        assert_eq!(bench.engine.held_bytes(), 0);
        assert_eq!(waiting(&mut bench, ENDPOINT, 9), fits, "what ran out of time makes room");
    }
}

#[test]
fn a_packet_that_is_whole_or_broken_holds_nothing_any_more() {
    let mut bench = bench(Limits::default());
    assert_eq!(first(&mut bench, ENDPOINT, 1), Verdict::Hold);
    assert_eq!(bench.give(&fragment(1, 8, false)), Verdict::Forward);
    assert_eq!(bench.engine.held_bytes(), 0);
    assert_eq!(bench.give(&fragment(2, 16, false)), Verdict::Hold);
    let behind = bench.give(&fragment(2, 24, true));
    assert_eq!(behind, Verdict::Drop(Reason::FragmentOverlap), "it goes on behind its end");
    assert_eq!(bench.engine.held_bytes(), 0);
    assert_eq!(bench.give(&fragment(2, 8, true)), Verdict::Drop(Reason::FragmentOverlap));
    bench.pass(31);
    let mut out = Output::default();
    bench.engine.tick(bench.now(), &mut out);
    assert_eq!(bench.engine.held_bytes(), 0);
}

#[test]
fn nothing_of_a_stranger_is_waited_for() {
    let mut bench = bench(Limits::default());
    let verdict = bench.give(&fragment_from([99, 20, 1, 5], 1, 0, true));
    assert_eq!(verdict, Verdict::Drop(Reason::UnknownSegment));
    assert!(!bench.engine.has_fragments());
}
