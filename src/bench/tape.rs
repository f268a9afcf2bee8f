//! Frames lying ready in memory, as a network card leaves them: each starts at a cache line. They
//! are what GWLB sends (Ethernet, IPv4, UDP, GENEVE with three options), so the inner packet always
//! starts at [`INNER`].

use super::dice::Dice;
use crate::model::EndpointId;
use crate::synth::gwlb::Encapsulation;
use crate::wire::near::ask_for_large_pages;

/// Offset of the inner packet.
pub const INNER: usize = 82;
/// Frames start at multiples of this.
const LINE: usize = 64;
/// Offset of the endpoint's id in the GENEVE options.
const ENDPOINT: usize = 54;
/// Loops after which client addresses come round again; what they meet should have expired.
const ROUND: u64 = 64;

/// The least room for frames, a large page.
const ROOM_BYTES: usize = 2 << 20;

/// Where one frame lies and what may be varied in it.
#[derive(Clone, Copy, Debug)]
pub struct Mark {
    start: u32,
    /// In units of a cache line.
    lines: u16,
    len: u16,
    /// The sender is the client.
    from_client: bool,
}

/// Frames in the order they come.
#[derive(Debug, Default)]
pub struct Tape {
    room: Room,
    marks: Vec<Mark>,
    frame_bytes: u64,
    turned: u64,
}

/// Where frames lie.
#[derive(Debug, Default)]
struct Room {
    bytes: Vec<u8>,
    /// Bytes in front of the first frame, so that it starts at a cache line.
    unused: usize,
}

impl Tape {
    /// Appends an inner packet, wrapped for an endpoint. What is too long, or comes when 256 GiB
    /// are full, is left out.
    pub fn push(&mut self, inner: &[u8], from_client: bool, around: &Encapsulation) {
        let frame = around.wrap(inner);
        self.add(&frame, from_client);
    }

    fn add(&mut self, frame: &[u8], from_client: bool) {
        let (Ok(start), Ok(len)) =
            (u32::try_from(self.room.bytes().len() / LINE), u16::try_from(frame.len()))
        else {
            return;
        };
        let lines = frame.len().div_ceil(LINE);
        self.room.add(frame, lines * LINE);
        let lines = u16::try_from(lines).unwrap_or(u16::MAX);
        self.marks.push(Mark { start, lines, len, from_client });
        self.frame_bytes = self.frame_bytes.saturating_add(u64::from(len));
    }

    /// Forgets all frames, keeping the room.
    pub fn clear(&mut self) {
        self.room.clear();
        self.marks.clear();
        self.frame_bytes = 0;
    }

    /// Frames.
    #[must_use]
    pub fn len(&self) -> usize {
        self.marks.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.marks.is_empty()
    }

    /// Bytes of all frames, without what lies between them.
    #[must_use]
    pub const fn frame_bytes(&self) -> u64 {
        self.frame_bytes
    }

    /// All bytes, and each frame's start and length in them.
    pub fn parts(&mut self) -> (&mut [u8], &[Mark]) {
        (self.room.bytes_mut(), &self.marks)
    }

    /// The frames as they are now.
    pub fn frames(&self) -> impl Iterator<Item = &[u8]> {
        self.marks.iter().map(|mark| {
            let (start, len) = mark.place();
            self.room.bytes().get(start..start.saturating_add(len)).unwrap_or_default()
        })
    }

    /// Turns every flow into one not seen before: client addresses move on, checksums with them.
    /// After 64 turns the first flows come again, with other ports.
    pub fn turn(&mut self) {
        self.turned = self.turned.wrapping_add(1);
        let round = self.turned.is_multiple_of(ROUND);
        let bytes = self.room.bytes_mut();
        for mark in &self.marks {
            let (start, len) = mark.place();
            let end = start.saturating_add(len);
            let Some(inner) = bytes.get_mut(start.saturating_add(INNER)..end) else {
                continue;
            };
            vary(inner, mark.from_client, round);
        }
    }

    /// Gives the frames of each of several tapes to one of them, by `owner`.
    #[must_use]
    pub fn split(&self, count: usize, owner: impl Fn(&[u8]) -> usize) -> Vec<Self> {
        let mut tapes: Vec<Self> = (0..count).map(|_| Self::default()).collect();
        for (frame, mark) in self.frames().zip(&self.marks) {
            if let Some(tape) = tapes.get_mut(owner(frame)) {
                tape.add(frame, mark.from_client);
            }
        }
        tapes
    }
}

impl Room {
    fn bytes(&self) -> &[u8] {
        self.bytes.get(self.unused..).unwrap_or_default()
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        self.bytes.get_mut(self.unused..).unwrap_or_default()
    }

    /// Appends a frame, and what is missing to `stride` bytes.
    fn add(&mut self, frame: &[u8], stride: usize) {
        if self.bytes.capacity() - self.bytes.len() < stride {
            self.grow(stride);
        }
        let end = self.bytes.len() + stride;
        self.bytes.extend_from_slice(frame);
        self.bytes.resize(end, 0);
    }

    /// Moves to twice the room at least, on large pages as the rings of a port are: the frames of a long
    /// tape lie on more small ones than a processor remembers the places of.
    fn grow(&mut self, more: usize) {
        let needed = (2 * self.bytes.len()).max(self.bytes.len() + more).max(ROOM_BYTES) + LINE;
        let mut bytes = Vec::<u8>::with_capacity(needed);
        // Before anything is written: pages are given at the first write.
        ask_for_large_pages(bytes.as_ptr(), bytes.capacity());
        let unused = bytes.as_ptr().align_offset(LINE).min(LINE);
        bytes.resize(unused, 0);
        bytes.extend_from_slice(self.bytes());
        *self = Self { bytes, unused };
    }

    fn clear(&mut self) {
        self.bytes.truncate(self.unused);
    }
}

impl Mark {
    /// Start and length in the tape's bytes.
    #[must_use]
    pub const fn place(&self) -> (usize, usize) {
        (self.start as usize * LINE, self.len as usize)
    }

    /// Bytes from this frame's start to the next one's.
    #[must_use]
    pub const fn stride(&self) -> usize {
        self.lines as usize * LINE
    }
}

/// Adds to the last 24 bits of the client's address (and, once a round, to its port); the sums of
/// IPv4 and of the transport follow (RFC 1624).
fn vary(inner: &mut [u8], from_client: bool, round: bool) {
    let is_v4 = inner.first().is_some_and(|first| first >> 4 == 4);
    let (protocol, transport) = if is_v4 { (byte(inner, 9), 20) } else { (byte(inner, 6), 40) };
    let addr = match (is_v4, from_client) {
        (true, true) => 12,
        (true, false) => 16,
        (false, true) => 20,
        (false, false) => 36,
    };
    let sum = match protocol {
        6 => Some(transport + 16),
        17 => Some(transport + 6),
        58 => Some(transport + 2),
        _ => None,
    };
    let (high, low) = (word(inner, addr), word(inner, addr + 2));
    let host = u32::from(high & 0xff) << 16 | u32::from(low);
    // A quarter of a million addresses further on: 64 turns before one comes again.
    let host = host.wrapping_add((1 << 24) / ROUND as u32) & 0x00ff_ffff;
    let new_high = high & 0xff00 | (host >> 16) as u16;
    change(inner, addr, new_high, is_v4.then_some(10), sum);
    change(inner, addr + 2, host as u16, is_v4.then_some(10), sum);
    if round && matches!(protocol, 6 | 17) {
        let port = if from_client { transport } else { transport + 2 };
        let moved = word(inner, port).wrapping_add(1).max(1024);
        change(inner, port, moved, None, sum);
    }
}

/// Writes a word and mends the sums that cover it.
fn change(bytes: &mut [u8], at: usize, new: u16, header_sum: Option<usize>, sum: Option<usize>) {
    let old = word(bytes, at);
    put(bytes, at, new);
    for place in [header_sum, sum].into_iter().flatten() {
        let before = word(bytes, place);
        // A UDP sum of zero says that there is none.
        if header_sum != Some(place) && before == 0 {
            continue;
        }
        let mut total = u32::from(!before) + u32::from(!old) + u32::from(new);
        total = (total & 0xffff) + (total >> 16);
        total = (total & 0xffff) + (total >> 16);
        let after = !(total as u16);
        put(bytes, place, if after == 0 && header_sum != Some(place) { 0xffff } else { after });
    }
}

fn byte(bytes: &[u8], at: usize) -> u8 {
    bytes.get(at).copied().unwrap_or(0)
}

fn word(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([byte(bytes, at), byte(bytes, at + 1)])
}

fn put(bytes: &mut [u8], at: usize, value: u16) {
    if let Some(place) = bytes.get_mut(at..at + 2) {
        place.copy_from_slice(&value.to_be_bytes());
    }
}

/// The endpoint of a frame.
#[must_use]
pub fn endpoint(frame: &[u8]) -> EndpointId {
    let bytes = frame.get(ENDPOINT..).and_then(<[u8]>::first_chunk).copied();
    EndpointId(bytes.map_or(0, u64::from_be_bytes))
}

/// Takes frames from scripts (a script is a flow's packets in order, with whether the client sends
/// each) as many flows at once would send them: the next packet is that of a flow drawn from
/// `at_once` running ones.
pub fn interleave<I: Iterator<Item = (Vec<u8>, bool)>>(
    tape: &mut Tape,
    mut scripts: impl Iterator<Item = (I, Encapsulation)>,
    at_once: usize,
    dice: &mut Dice,
) {
    let mut running: Vec<(I, Encapsulation)> = scripts.by_ref().take(at_once).collect();
    while !running.is_empty() {
        let at = dice.below(running.len());
        let Some((script, around)) = running.get_mut(at) else { return };
        if let Some((inner, from_client)) = script.next() {
            tape.push(&inner, from_client, around);
        } else {
            match scripts.next() {
                Some(next) => {
                    if let Some(place) = running.get_mut(at) {
                        *place = next;
                    }
                }
                None => drop(running.swap_remove(at)),
            }
        }
    }
}
