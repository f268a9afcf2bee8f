//! The traffic that is measured: what each mix is made of, and how it becomes a [`Tape`]. What is
//! sent in a conversation stands in `talk`.

mod talk;
#[cfg(test)]
mod tests;

use super::dice::Dice;
use super::rules::{self, Rules};
use super::tape::{Tape, interleave};
use crate::flow::{Secret, symmetric_hash};
use crate::model::{FiveTuple, FlowCookie, Protocol, Span};
use crate::synth::gwlb::Encapsulation;
use crate::synth::packet::{self, Segment, flag};
use std::fmt;

/// Inner length of a small packet: 20 bytes IPv4, 8 UDP, 36 payload.
const SMALL: usize = 64;
/// Inner lengths of IMIX and how often each comes, out of twelve.
const IMIX: [(usize, usize); 3] = [(7, 64), (4, 576), (1, 1500)];
/// Datagrams after which the engine is through with a flow of no known protocol.
const OPENING: usize = 5;
/// Frames of a tape: far more bytes than any cache holds.
const FRAMES: usize = 1 << 20;

/// One kind of traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mix {
    /// 64-byte packets over so many known UDP flows.
    Small(usize),
    /// Six bytes of payload at a time over so many established TCP connections.
    Segments(usize),
    /// Packets of 64, 576 and 1500 bytes, 7 to 4 to 1, over 100 000 known UDP flows.
    Imix,
    /// TLS, DNS, QUIC, HTTP and others by name, as an enterprise has them.
    Enterprise,
    /// Every packet opens a TCP connection that a rule allows and that is never answered.
    Storm,
    /// The same from a partner that has all the flows it may have.
    Flood,
    /// A question and its answer, then the next flow.
    Dns,
    /// QUIC connections of 24 packets.
    Quic,
}

impl Mix {
    /// All, in the order they are measured.
    pub const ALL: [Self; 12] = [
        Self::Small(1_000),
        Self::Small(100_000),
        Self::Small(1_000_000),
        Self::Small(10_000_000),
        Self::Segments(100_000),
        Self::Segments(1_000_000),
        Self::Imix,
        Self::Enterprise,
        Self::Storm,
        Self::Flood,
        Self::Dns,
        Self::Quic,
    ];

    /// The word it is chosen by.
    #[must_use]
    pub fn word(self) -> String {
        let count = |flows: usize| match flows {
            0..1_000 => flows.to_string(),
            1_000..1_000_000 => format!("{}k", flows / 1_000),
            _ => format!("{}m", flows / 1_000_000),
        };
        match self {
            Self::Small(flows) => format!("udp64-{}", count(flows)),
            Self::Segments(flows) => format!("tcp64-{}", count(flows)),
            Self::Imix => "imix".to_owned(),
            Self::Enterprise => "enterprise".to_owned(),
            Self::Storm => "storm".to_owned(),
            Self::Flood => "flood".to_owned(),
            Self::Dns => "dns".to_owned(),
            Self::Quic => "quic".to_owned(),
        }
    }

    /// What it is, in a line.
    #[must_use]
    pub const fn about(self) -> &'static str {
        match self {
            Self::Small(_) => "64-byte UDP packets of known flows, drawn at random",
            Self::Segments(_) => "six bytes at a time over established TCP connections",
            Self::Imix => "64, 576 and 1500 bytes, 7 to 4 to 1, over 100000 known UDP flows",
            Self::Enterprise => {
                "45 % TLS, 30 % DNS, 12 % QUIC, 8 % HTTP by flow; 10 % IPv6; by name"
            }
            Self::Storm => "every packet opens a TCP connection that is never answered",
            Self::Flood => "the same from a partner that has all the flows it may have",
            Self::Dns => "a question and its answer, then the next flow",
            Self::Quic => "connections of 24 packets, 40 % with a hello in two Initial packets",
        }
    }

    /// The mix of this word.
    #[must_use]
    pub fn named(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mix| mix.word() == word)
    }

    /// Whether its flows are there before it is measured; else every loop brings new ones.
    #[must_use]
    pub const fn known(self) -> bool {
        matches!(self, Self::Small(_) | Self::Segments(_) | Self::Imix)
    }

    /// Flows the table should have room for.
    #[must_use]
    pub const fn flows(self) -> usize {
        match self {
            Self::Small(flows) | Self::Segments(flows) => flows,
            Self::Imix | Self::Quic => 100_000,
            Self::Enterprise => 200_000,
            Self::Storm | Self::Dns => 1_000_000,
            Self::Flood => rules::FLOOD_FLOWS as usize,
        }
    }

    /// Time between two frames. Where flows come new, it is such that about [`Mix::flows`] are
    /// there at one time when the first ones expire.
    #[must_use]
    pub const fn gap(self) -> Span {
        match self {
            // A half-open connection lasts 30 s, a UDP flow 120 s.
            Self::Storm => Span::from_nanos(30_000),
            Self::Dns => Span::from_nanos(60_000),
            Self::Quic => Span::from_nanos(50_000),
            Self::Enterprise => Span::from_nanos(20_000),
            _ => Span::from_nanos(100),
        }
    }

    /// How long it must run until as many flows end as begin.
    #[must_use]
    pub const fn settling(self) -> Span {
        match self {
            Self::Storm => Span::from_secs(36),
            Self::Dns | Self::Quic | Self::Enterprise => Span::from_secs(132),
            _ => Span::ZERO,
        }
    }

    /// The packets before measuring that open flow `number`.
    #[must_use]
    pub fn opening(self, number: usize, rules: &Rules) -> Vec<(Vec<u8>, bool)> {
        let tuple = self.tuple(number, rules);
        match self {
            Self::Small(_) | Self::Imix => vec![(small(&tuple, SMALL), true); OPENING],
            Self::Segments(_) => talk::opening(tuple),
            _ => Vec::new(),
        }
    }

    /// Lays out `frames` frames (0: as many as the mix has by itself).
    #[must_use]
    pub fn tape(self, rules: &Rules, frames: usize) -> Tape {
        let mut tape = Tape::default();
        let mut dice = Dice::new(42);
        let wanted = |usual: usize| if frames == 0 { usual } else { frames };
        match self {
            Self::Small(flows) => {
                let count = wanted(FRAMES.max(flows.min(4 * FRAMES)));
                self.scatter(&mut tape, rules, flows, count, |_, _| SMALL);
            }
            Self::Imix => {
                let len = |dice: &mut Dice, _: usize| imix_len(dice);
                self.scatter(&mut tape, rules, 100_000, wanted(FRAMES / 2), len);
            }
            Self::Segments(flows) => self.segments(&mut tape, rules, flows, wanted(FRAMES)),
            Self::Storm | Self::Flood => {
                for number in 0..wanted(FRAMES / 4) {
                    let tuple = self.tuple(number, rules);
                    let seq = dice.bits() as u32;
                    let syn = packet::tcp(&tuple, &Segment { seq, flags: flag::SYN, ..EMPTY });
                    tape.push(&syn, true, &self.around(&tuple, number));
                }
            }
            Self::Dns => self.talks(&mut tape, wanted(FRAMES / 4) / 2, 64, talk::dns),
            Self::Quic => {
                self.talks(&mut tape, wanted(FRAMES / 5) / talk::QUIC_PACKETS, 2000, talk::quic)
            }
            Self::Enterprise => {
                self.talks(
                    &mut tape,
                    wanted(FRAMES / 4) / talk::ENTERPRISE_PACKETS,
                    1000,
                    talk::enterprise,
                );
            }
        }
        tape
    }

    /// Packets of known flows, each of a flow drawn anew.
    fn scatter(
        self,
        tape: &mut Tape,
        rules: &Rules,
        flows: usize,
        count: usize,
        len: impl Fn(&mut Dice, usize) -> usize,
    ) {
        let mut dice = Dice::new(43);
        for _ in 0..count {
            let number = dice.below(flows);
            let tuple = self.tuple(number, rules);
            tape.push(&small(&tuple, len(&mut dice, number)), true, &self.around(&tuple, number));
        }
    }

    /// Segments of known connections. Each connection's are in order; a tape that is run again
    /// repeats them, which a tracker takes for retransmissions.
    fn segments(self, tape: &mut Tape, rules: &Rules, flows: usize, count: usize) {
        let mut dice = Dice::new(44);
        for _ in 0..count {
            let number = dice.below(flows);
            let tuple = self.tuple(number, rules);
            let from_client = dice.percent(50);
            tape.push(
                &talk::segment(tuple, from_client),
                from_client,
                &self.around(&tuple, number),
            );
        }
    }

    fn talks(
        self,
        tape: &mut Tape,
        count: usize,
        at_once: usize,
        talk: impl Fn(FiveTuple, usize, &mut Dice) -> Vec<(Vec<u8>, bool)>,
    ) {
        let mut dice = Dice::new(45);
        let mut order = Dice::new(46);
        let scripts = (0..count.max(1)).map(|number| {
            let (src, src_port) = Rules::client(number);
            let tuple = FiveTuple { src, src_port, ..FiveTuple::default() };
            (talk(tuple, number, &mut dice).into_iter(), self.around(&tuple, number))
        });
        interleave(tape, scripts, at_once, &mut order);
    }

    /// The five-tuple of flow `number`.
    #[must_use]
    pub fn tuple(self, number: usize, rules: &Rules) -> FiveTuple {
        let protocol = match self {
            Self::Small(_) | Self::Imix => Protocol::UDP,
            _ => Protocol::TCP,
        };
        rules.flow(number, protocol, &mut Dice::new(number as u64))
    }

    /// What GWLB puts around a flow: its own source port and cookie, the endpoint of its partner.
    #[must_use]
    pub fn around(self, tuple: &FiveTuple, number: usize) -> Encapsulation {
        let partner = match self {
            Self::Flood => rules::PARTNERS - 1,
            _ => number % (rules::PARTNERS - 1),
        };
        let hash = symmetric_hash(tuple, &Secret::new(1, 2));
        let mut around = Encapsulation::of(rules::endpoint(partner));
        around.source_port = 49_152 | (hash & 0x3fff) as u16;
        around.cookie = FlowCookie((hash >> 32) as u32);
        around
    }
}

impl fmt::Display for Mix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.word())
    }
}

const EMPTY: Segment<'static> = Segment { seq: 0, ack: 0, flags: 0, payload: &[] };

/// A UDP packet of this inner length, its payload neither DNS nor QUIC.
fn small(tuple: &FiveTuple, len: usize) -> Vec<u8> {
    packet::udp(tuple, [0x17; 1500].split_at(len.saturating_sub(28).min(1472)).0)
}

fn imix_len(dice: &mut Dice) -> usize {
    let mut draw = dice.below(12);
    for (share, len) in IMIX {
        if draw < share {
            return len;
        }
        draw -= share;
    }
    SMALL
}
