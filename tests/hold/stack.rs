//! A TCP as small as can be that still sends everything until it is acknowledged, in segments of any
//! size, and puts together what it receives. It knows no engine and no network.

use lockgate::model::FiveTuple;
use lockgate::synth::packet::{self, Segment, flag};
use std::collections::BTreeMap;

/// How long it waits for an acknowledgement, in milliseconds.
const RETRANSMIT_MS: u64 = 120;
/// Segments on their way at once.
const FLIGHT: usize = 24;

/// Numbers that look like chance and are the same each time.
#[derive(Clone, Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// Below `bound`.
    pub(crate) fn roll(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % bound.max(1)
    }

    /// Whether something of this percentage happens.
    pub(crate) fn percent(&mut self, chance: u64) -> bool {
        self.roll(100) < chance
    }
}

/// What a segment says, as read from an inner packet.
#[derive(Clone, Debug)]
pub(crate) struct Heard {
    pub(crate) seq: u32,
    pub(crate) ack: u32,
    pub(crate) flags: u8,
    pub(crate) payload: Vec<u8>,
}

impl Heard {
    /// From an IPv4 packet with TCP, without options.
    pub(crate) fn read(inner: &[u8]) -> Self {
        let word = |at: usize| u32::from_be_bytes(inner[at..at + 4].try_into().unwrap());
        let start = 20 + usize::from(inner[32] >> 4) * 4;
        Self { seq: word(24), ack: word(28), flags: inner[33], payload: inner[start..].to_vec() }
    }

    pub(crate) const fn has(&self, bit: u8) -> bool {
        self.flags & bit != 0
    }
}

/// One end of a connection.
#[derive(Debug)]
pub(crate) struct Stack {
    tuple: FiveTuple,
    opens: bool,
    /// What it sends, once it may.
    stream: Vec<u8>,
    /// It sends nothing before it has received so many bytes.
    after: usize,
    /// The largest segment; sizes are rolled up to it.
    segment: usize,
    first: u32,
    sent: usize,
    acked: usize,
    syn_acked: bool,
    fin_sent: bool,
    fin_acked: bool,
    peer: Option<u32>,
    pub(crate) received: Vec<u8>,
    ahead: BTreeMap<usize, Vec<u8>>,
    peer_fin: Option<usize>,
    pub(crate) reset: bool,
    timer: u64,
    dice: Dice,
}

impl Stack {
    pub(crate) fn new(
        tuple: FiveTuple,
        opens: bool,
        stream: &[u8],
        segment: usize,
        dice: Dice,
    ) -> Self {
        let first = if opens { 1000 } else { 0xffff_ff00 };
        Self {
            tuple,
            opens,
            stream: stream.to_vec(),
            after: 0,
            segment,
            first,
            sent: 0,
            acked: 0,
            syn_acked: false,
            fin_sent: false,
            fin_acked: false,
            peer: None,
            received: Vec::new(),
            ahead: BTreeMap::new(),
            peer_fin: None,
            reset: false,
            timer: 0,
            dice,
        }
    }

    /// Waits for so many bytes before it sends.
    pub(crate) fn answering(mut self, after: usize) -> Self {
        self.after = after;
        self
    }

    /// Whether everything was sent and acknowledged, and everything received.
    pub(crate) fn is_through(&self) -> bool {
        self.reset || (self.fin_acked && self.peer_fin == Some(self.received.len()))
    }

    /// What it sends at this time.
    pub(crate) fn speak(&mut self, now: u64) -> Vec<Vec<u8>> {
        let mut out = Vec::new();
        if self.reset || (!self.opens && self.peer.is_none()) {
            return out;
        }
        let due = now >= self.timer;
        if !self.syn_acked {
            if due {
                let flags = if self.opens { flag::SYN } else { flag::SYN | flag::ACK };
                out.push(self.make(0, flags, &[]));
                self.timer = now + RETRANSMIT_MS;
            }
            return out;
        }
        if self.received.len() < self.after {
            return out;
        }
        if due && self.sent > self.acked {
            // Sent again from the first byte that is missing, cut anew.
            self.sent = self.acked;
        }
        while self.sent < self.stream.len() && out.len() < FLIGHT {
            let size = 1 + self.dice.roll(self.segment as u64) as usize;
            let end = self.stream.len().min(self.sent + size);
            out.push(self.data(self.sent, end));
            self.sent = end;
            self.timer = now + RETRANSMIT_MS;
        }
        if self.sent == self.stream.len() && (due || !self.fin_sent) && !self.is_through() {
            out.push(self.make(1 + self.stream.len(), flag::FIN | flag::ACK, &[]));
            self.fin_sent = true;
            self.timer = now + RETRANSMIT_MS;
        }
        out
    }

    /// What it answers at once.
    pub(crate) fn hear(&mut self, heard: &Heard) -> Option<Vec<u8>> {
        if heard.has(flag::RST) {
            self.reset = true;
            return None;
        }
        if self.reset {
            return None;
        }
        if heard.has(flag::SYN) {
            self.peer.get_or_insert(heard.seq.wrapping_add(1));
        }
        let peer = self.peer?;
        if heard.has(flag::ACK) {
            let place = heard.ack.wrapping_sub(self.first) as usize;
            if (1..=self.stream.len() + 2).contains(&place) {
                self.syn_acked = true;
                self.acked = self.acked.max((place - 1).min(self.stream.len()));
                self.sent = self.sent.max(self.acked);
                self.fin_acked |= place == self.stream.len() + 2;
            }
        }
        if !self.opens && heard.has(flag::SYN) {
            return None;
        }
        let place = heard.seq.wrapping_sub(peer);
        let news = !heard.payload.is_empty() || heard.flags & (flag::FIN | flag::SYN) != 0;
        if place < 1 << 31 {
            let place = place as usize;
            if heard.has(flag::FIN) {
                self.peer_fin = Some(place + heard.payload.len());
            }
            self.take(place, &heard.payload);
        }
        news.then(|| self.make(1 + self.sent, flag::ACK, &[]))
    }

    fn take(&mut self, place: usize, payload: &[u8]) {
        if !payload.is_empty() {
            self.ahead.entry(place).or_insert_with(|| payload.to_vec());
        }
        while let Some((&place, _)) = self.ahead.first_key_value()
            && place <= self.received.len()
        {
            let part = self.ahead.remove(&place).unwrap();
            let known = self.received.len() - place;
            self.received.extend(part.get(known..).unwrap_or_default());
        }
    }

    fn data(&self, start: usize, end: usize) -> Vec<u8> {
        self.make(1 + start, flag::PSH | flag::ACK, &self.stream[start..end])
    }

    fn make(&self, place: usize, flags: u8, payload: &[u8]) -> Vec<u8> {
        let seq = self.first.wrapping_add(u32::try_from(place).unwrap());
        let fin = u32::from(self.peer_fin == Some(self.received.len()));
        let received = u32::try_from(self.received.len()).unwrap() + fin;
        let ack = self.peer.map_or(0, |peer| peer.wrapping_add(received));
        packet::tcp(&self.tuple, &Segment { seq, ack, flags, payload })
    }
}
