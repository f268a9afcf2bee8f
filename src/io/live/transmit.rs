//! What leaves after a batch was judged: forwarded frames and extras in their order, and an answer
//! for each frame that is too large for the interface. How they are sent is the back end's.

use super::Losses;
use crate::engine::{Extra, Frame};
use crate::flow::TokenBucket;
use crate::model::{Timestamp, Verdict};
use crate::wire::{self, Checksums, Settings, answer};

/// Answers to frames that are too large, a second.
const TOO_BIG_ANSWERS_PER_SECOND: u32 = 100;

/// How frames that were judged are read again.
const JUDGED: Settings =
    Settings { checksums: Checksums::Ignore, outer_udp: Checksums::Ignore, ..Settings::GWLB };

const MAC_ADDRESSES: usize = 12;
const ETHERNET_HEADER: usize = 14;
const VLAN_TAG: usize = 4;

/// What leaves next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leaving {
    /// The frame at this position of the batch.
    Frame(usize),
    /// The extra at this position.
    Extra(usize),
}

/// Forwarded frames and extras, in the order they leave in.
pub(super) fn in_order<'a>(
    frames: &'a [Frame<'_>],
    extras: &'a [Extra],
) -> impl Iterator<Item = Leaving> + use<'a> {
    let mut extras = extras.iter().enumerate().peekable();
    let forwarded = |(_, frame): &(usize, &Frame<'_>)| frame.verdict == Verdict::Forward;
    let mut frames = frames.iter().enumerate().filter(forwarded).peekable();
    std::iter::from_fn(move || {
        let position = frames.peek().map_or(usize::MAX, |(position, _)| *position);
        let extra = extras.next_if(|(_, extra)| extra.before <= position);
        extra
            .map(|(at, _)| Leaving::Extra(at))
            .or_else(|| frames.next().map(|(at, _)| Leaving::Frame(at)))
    })
}

/// Takes out what the interface would not send, and answers it.
#[derive(Debug)]
pub(super) struct SizeGate {
    mtu: u32,
    answers: TokenBucket,
}

impl SizeGate {
    pub(super) fn new(mtu: u32) -> Self {
        Self { mtu, answers: TokenBucket::new(TOO_BIG_ANSWERS_PER_SECOND) }
    }

    /// Whether an Ethernet frame fits the interface.
    fn fits(&self, frame: &[u8]) -> bool {
        let tagged =
            matches!(frame.get(MAC_ADDRESSES..ETHERNET_HEADER), Some([0x81 | 0x88, 0 | 0xa8]));
        let header = ETHERNET_HEADER + if tagged { VLAN_TAG } else { 0 };
        frame.len().saturating_sub(header) <= self.mtu as usize
    }

    /// Drops the forwarded frames that are too large; their senders are told in the flow's own
    /// encapsulation (RFC 1191, RFC 8201), by extras behind them.
    pub(super) fn apply(
        &mut self,
        now: Timestamp,
        frames: &mut [Frame<'_>],
        extras: &mut Vec<Extra>,
        losses: &mut Losses,
    ) {
        for (position, frame) in frames.iter_mut().enumerate() {
            if frame.verdict != Verdict::Forward || self.fits(frame.bytes) {
                continue;
            }
            frame.verdict = Verdict::Hold;
            losses.too_big = losses.too_big.saturating_add(1);
            if let Some(extra) = self.answer(now, frame, position) {
                let at = extras.partition_point(|other| other.before <= position);
                extras.insert(at, extra);
            }
        }
        extras.retain(|extra| {
            let fits = self.fits(&extra.bytes);
            losses.too_big = losses.too_big.saturating_add(u64::from(!fits));
            fits
        });
    }

    #[cold]
    fn answer(&mut self, now: Timestamp, frame: &mut Frame<'_>, position: usize) -> Option<Extra> {
        let packet = wire::parse(frame.bytes, frame.link, &JUDGED).ok()?;
        // It was turned back to its gateway already; turned again it is as it came.
        wire::reflect(frame.bytes, &packet);
        if !answer::is_answerable(&packet) || !self.answers.take(now) {
            return None;
        }
        let around = packet.ip.saturating_sub(packet.network);
        let passes = self.mtu.saturating_sub(u32::from(around)).min(u32::from(u16::MAX));
        let bytes = answer::too_big(frame.bytes, &packet, u16::try_from(passes).ok()?)?;
        let origin = crate::engine::Origin::Answer;
        Some(Extra { before: position.saturating_add(1), origin, link: frame.link, bytes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Origin;
    use crate::model::{EndpointId, Protocol, Reason};
    use crate::synth::gwlb::Encapsulation;
    use crate::synth::packet;
    use crate::wire::{Body, Link};

    fn extra(before: usize, byte: u8) -> Extra {
        Extra { before, origin: Origin::Answer, link: Link::Ethernet, bytes: vec![byte] }
    }

    fn datagram(payload: usize, destination: &str) -> Vec<u8> {
        let (src, dst) = (("10.0.0.1".parse().unwrap(), 1), (destination.parse().unwrap(), 2));
        let inner = packet::udp(&packet::tuple(src, dst, Protocol::UDP), &vec![7; payload]);
        Encapsulation::of(EndpointId(5)).wrap(&inner)
    }

    /// The batch as the engine leaves it: forwarded, turned back.
    fn forwarded(bytes: &mut [u8]) -> Frame<'_> {
        let packet = wire::parse(bytes, Link::Ethernet, &JUDGED).unwrap();
        wire::reflect(bytes, &packet);
        let mut frame = Frame::new(Timestamp::ZERO, Link::Ethernet, 0, bytes);
        frame.verdict = Verdict::Forward;
        frame
    }

    #[test]
    fn extras_stand_where_they_belong_among_forwarded_frames() {
        let mut bytes = [[1u8], [2], [3]];
        let mut frames: Vec<Frame<'_>> =
            bytes.iter_mut().map(|b| Frame::new(Timestamp::ZERO, Link::Ethernet, 0, b)).collect();
        frames[0].verdict = Verdict::Forward;
        frames[1].verdict = Verdict::Drop(Reason::Rule);
        frames[2].verdict = Verdict::Forward;
        let extras = [extra(0, 10), extra(2, 20), extra(2, 21), extra(3, 30)];
        let order: Vec<Leaving> = in_order(&frames, &extras).collect();
        let (own, extra) = (Leaving::Frame, Leaving::Extra);
        assert_eq!(order, [extra(0), own(0), extra(1), extra(2), own(2), extra(3)]);
        assert_eq!(in_order(&[], &extras).count(), 4);
    }

    #[test]
    fn what_is_too_large_by_one_byte_is_answered_in_its_own_encapsulation() {
        // Outer headers 68, inner headers 28.
        for (payload, lost) in [(1403, 0), (1404, 0), (1405, 1)] {
            let mut bytes = datagram(payload, "10.0.0.2");
            let came = bytes.clone();
            let mut frames = [forwarded(&mut bytes)];
            let (mut extras, mut losses) = (vec![extra(1, 9)], Losses::default());
            SizeGate::new(1500).apply(Timestamp::ZERO, &mut frames, &mut extras, &mut losses);
            assert_eq!(losses.too_big, lost, "{payload}");
            if lost == 0 {
                assert_eq!((extras.len(), in_order(&frames, &extras).count()), (1, 2));
                continue;
            }
            assert_eq!(extras.len(), 2);
            let answer = extras.iter().find(|extra| extra.bytes.len() > 1).unwrap();
            let parsed = wire::parse(&answer.bytes, Link::Ethernet, &Settings::GWLB).unwrap();
            assert!(matches!(parsed.body, Body::IcmpError { kind: 3, code: 4, .. }));
            let mtu = &answer.bytes[usize::from(parsed.transport) + 6..][..2];
            assert_eq!(mtu, 1432u16.to_be_bytes());
            assert_eq!(answer.bytes[42..82], came[42..82], "GENEVE header as it came");
            assert_eq!(
                (&answer.bytes[26..30], &answer.bytes[30..34]),
                (&came[30..34], &came[26..30])
            );
        }
    }

    #[test]
    fn answers_to_large_frames_are_bounded_and_groups_get_none() {
        let mut gate = SizeGate::new(1500);
        let mut answered = |destination: &str| {
            let mut bytes = datagram(1500, destination);
            let mut frames = [forwarded(&mut bytes)];
            let (mut extras, mut losses) = (Vec::new(), Losses::default());
            gate.apply(Timestamp::from_secs(1), &mut frames, &mut extras, &mut losses);
            assert_eq!(losses.too_big, 1);
            extras.len()
        };
        assert_eq!(answered("224.0.0.1"), 0);
        let told: usize = (0..=TOO_BIG_ANSWERS_PER_SECOND).map(|_| answered("10.0.0.2")).sum();
        assert_eq!(told, TOO_BIG_ANSWERS_PER_SECOND as usize);
    }

    #[test]
    fn a_vlan_tag_does_not_count() {
        let gate = SizeGate::new(1500);
        let mut frame = vec![0; 1514];
        assert!(gate.fits(&frame));
        frame.push(0);
        assert!(!gate.fits(&frame));
        frame.resize(1518, 0);
        frame[12..14].copy_from_slice(&[0x81, 0x00]);
        assert!(gate.fits(&frame));
        frame.push(0);
        assert!(!gate.fits(&frame));
    }
}
