//! The floor: the least a stateful forwarder can do with a frame, single-threaded. It uses no code of
//! the engine, so that engine / floor compares two things that share nothing but the frames.
//!
//! Outer, GENEVE and inner headers are parsed, the key is hashed, one look-up is made in a prefilled
//! table of as many flows, counters, time and TCP flags are written, outer addresses are swapped in
//! place. Packets overlap: headers are asked for `HEADER_AHEAD` frames before they are judged, the
//! table's control word `CONTROL_AHEAD`, the entry `ENTRY_AHEAD`. No checksum, window, timer,
//! fragment, name or rule.
#![expect(unsafe_code, reason = "prefetch and madvise have no safe wrapper; proofs below")]

/// Frames ahead of judgement at which a header is asked for.
const HEADER_AHEAD: usize = 32;
/// Frames ahead at which a frame is parsed and its control word asked for.
const CONTROL_AHEAD: usize = 16;
/// Frames ahead at which the entry is asked for.
const ENTRY_AHEAD: usize = 8;
/// Entries that share a control word.
const GROUP: usize = 8;

const BYTE_LOWS: u64 = 0x0101_0101_0101_0101;
const BYTE_HIGHS: u64 = 0x8080_8080_8080_8080;

/// One flow in one cache line.
#[derive(Clone, Copy, Debug, Default)]
#[repr(align(64))]
struct Entry {
    key: [u64; 2],
    bytes: [u64; 2],
    packets: [u32; 2],
    seen: u32,
    sequence: [u32; 2],
    flags: [u8; 2],
}

/// The bare table and its counters.
#[derive(Debug)]
pub struct Floor {
    /// Seven bits of the hash and a used bit for each of eight entries.
    control: Vec<u64>,
    entries: Vec<Entry>,
    mask: usize,
    seed: [u64; 2],
    /// Frames that met their flow.
    pub hits: u64,
    /// Frames that did not, or that were not understood.
    pub misses: u64,
}

/// What is kept of a frame between parsing and judging it.
#[derive(Clone, Copy, Debug, Default)]
struct Parsed {
    key: [u64; 2],
    hash: u64,
    sequence: u32,
    len: u16,
    flags: u8,
    swapped: bool,
    known: bool,
}

impl Floor {
    /// A table for so many flows, at most half full.
    #[must_use]
    pub fn new(flows: usize) -> Self {
        let groups = flows.saturating_mul(2).div_ceil(GROUP).next_power_of_two();
        let mut entries: Vec<Entry> = Vec::with_capacity(groups.saturating_mul(GROUP));
        ask_for_large_pages(entries.as_ptr(), entries.capacity() * size_of::<Entry>());
        entries.resize(groups.saturating_mul(GROUP), Entry::default());
        Self {
            control: vec![0; groups],
            entries,
            mask: groups.wrapping_sub(1),
            seed: [0x9e37_79b9_7f4a_7c15, 0xbf58_476d_1ce4_e5b9],
            hits: 0,
            misses: 0,
        }
    }

    /// Forgets all flows.
    pub fn clear(&mut self) {
        self.control.fill(0);
    }

    /// Enters the flow of a frame, if it is not there.
    pub fn admit(&mut self, frame: &[u8]) {
        let parsed = self.parse(frame);
        if !parsed.known || self.find(&parsed).is_some() {
            return;
        }
        let mut group = self.home(parsed.hash);
        for _ in 0..=self.mask {
            let Some(word) = self.control.get_mut(group) else { return };
            let free = !*word & BYTE_HIGHS;
            if free != 0 {
                let lane = (free.trailing_zeros() / 8) as usize;
                *word |= (tag(parsed.hash)) << (lane * 8);
                let at = group.wrapping_mul(GROUP).wrapping_add(lane);
                if let Some(entry) = self.entries.get_mut(at) {
                    *entry = Entry { key: parsed.key, ..Entry::default() };
                }
                return;
            }
            group = group.wrapping_add(1) & self.mask;
        }
    }

    /// Forwards frames that lie in `bytes`, each from its start on for its length; `now` is written
    /// into their flows.
    pub fn forward(&mut self, bytes: &mut [u8], places: &[(usize, usize)], now: u32) {
        let mut ring = [Parsed::default(); CONTROL_AHEAD * 2];
        for step in 0..places.len().saturating_add(CONTROL_AHEAD) {
            if let Some(frame) = places.get(step.saturating_add(HEADER_AHEAD - CONTROL_AHEAD))
                && let Some(header) = bytes.get(frame.0..)
            {
                ask_for(header, 0);
                ask_for(header, 64);
            }
            if let Some(&(start, len)) = places.get(step) {
                let frame = bytes.get(start..start.wrapping_add(len)).unwrap_or_default();
                let parsed = self.parse(frame);
                if let Some(word) = self.control.get(self.home(parsed.hash)..) {
                    ask_for(word, 0);
                }
                if let Some(slot) = ring.get_mut(step % (CONTROL_AHEAD * 2)) {
                    *slot = parsed;
                }
            }
            if let Some(near) = step.checked_sub(CONTROL_AHEAD - ENTRY_AHEAD)
                && let Some(parsed) = ring.get(near % (CONTROL_AHEAD * 2))
            {
                self.ask_for_entry(parsed.hash);
            }
            let Some(judged) = step.checked_sub(CONTROL_AHEAD) else { continue };
            let (Some(&parsed), Some(&(start, len))) =
                (ring.get(judged % (CONTROL_AHEAD * 2)), places.get(judged))
            else {
                continue;
            };
            self.act(&parsed, now);
            if let Some(frame) = bytes.get_mut(start..start.wrapping_add(len)) {
                swap_outer(frame);
            }
        }
    }

    #[inline(always)]
    fn act(&mut self, parsed: &Parsed, now: u32) {
        let side = usize::from(parsed.swapped);
        let Some(entry) = self.find(parsed).and_then(|at| self.entries.get_mut(at)) else {
            self.misses = self.misses.wrapping_add(1);
            return;
        };
        entry.seen = now;
        if let (Some(packets), Some(bytes), Some(sequence), Some(flags)) = (
            entry.packets.get_mut(side),
            entry.bytes.get_mut(side),
            entry.sequence.get_mut(side),
            entry.flags.get_mut(side),
        ) {
            *packets = packets.wrapping_add(1);
            *bytes = bytes.wrapping_add(u64::from(parsed.len));
            *sequence = parsed.sequence;
            *flags |= parsed.flags;
        }
        self.hits = self.hits.wrapping_add(1);
    }

    #[inline(always)]
    fn home(&self, hash: u64) -> usize {
        (hash as usize) & self.mask
    }

    #[inline(always)]
    fn find(&self, parsed: &Parsed) -> Option<usize> {
        let wanted = tag(parsed.hash).wrapping_mul(BYTE_LOWS);
        let mut group = self.home(parsed.hash);
        for _ in 0..=self.mask {
            let word = *self.control.get(group)?;
            let mut fits = zero_bytes(word ^ wanted);
            while fits != 0 {
                let lane = (fits.trailing_zeros() / 8) as usize;
                let at = group.wrapping_mul(GROUP).wrapping_add(lane);
                if self.entries.get(at)?.key == parsed.key {
                    return Some(at);
                }
                fits &= fits.wrapping_sub(1);
            }
            if word & BYTE_HIGHS != BYTE_HIGHS {
                return None;
            }
            group = group.wrapping_add(1) & self.mask;
        }
        None
    }

    #[inline(always)]
    fn ask_for_entry(&self, hash: u64) {
        let group = self.home(hash);
        let Some(word) = self.control.get(group) else { return };
        let fits = zero_bytes(word ^ tag(hash).wrapping_mul(BYTE_LOWS));
        let lane = (fits.trailing_zeros() / 8) as usize;
        if let Some(entry) = self.entries.get(group.wrapping_mul(GROUP).wrapping_add(lane)..) {
            ask_for(entry, 0);
        }
    }

    #[inline(always)]
    fn parse(&self, frame: &[u8]) -> Parsed {
        let Some(mut parsed) = parse(frame) else { return Parsed::default() };
        let [first, second] = parsed.key;
        let [one, two] = self.seed;
        let product = u128::from(first ^ one).wrapping_mul(u128::from(second ^ two));
        parsed.hash = (product as u64) ^ ((product >> 64) as u64);
        parsed
    }
}

/// Ethernet, IPv4, UDP, GENEVE with its options, then the inner five-tuple.
#[inline(always)]
fn parse(frame: &[u8]) -> Option<Parsed> {
    let outer = frame.get(14..34)?;
    if outer.first()? >> 4 != 4 || *outer.get(9)? != 17 {
        return None;
    }
    let udp = 14_usize.wrapping_add(usize::from(outer.first()? & 0xf).wrapping_mul(4));
    let tunnel = frame.get(udp..)?;
    if number16(tunnel, 2)? != 6081 {
        return None;
    }
    let options_len = usize::from(tunnel.get(8)? & 0x3f).wrapping_mul(4);
    let mut options = tunnel.get(16..16_usize.wrapping_add(options_len))?;
    let mut endpoint = 0;
    while let Some(head) = options.first_chunk::<4>() {
        let [_, _, kind, len] = *head;
        if kind == 1 {
            endpoint = number64(options, 4)?;
        }
        options = options.get(4_usize.wrapping_add(usize::from(len & 0x1f).wrapping_mul(4))..)?;
    }
    inner(tunnel.get(16_usize.wrapping_add(options_len)..)?, endpoint)
}

#[inline(always)]
fn inner(ip: &[u8], endpoint: u64) -> Option<Parsed> {
    let first = *ip.first()?;
    let (src, dst, protocol, header, len) = if first >> 4 == 4 {
        let header = usize::from(first & 0xf).wrapping_mul(4);
        (number32(ip, 12)?, number32(ip, 16)?, *ip.get(9)?, header, number16(ip, 2)?)
    } else {
        let fold = |at: usize| {
            let high = number64(ip, at)?;
            let low = number64(ip, at.wrapping_add(8))?;
            Some((high.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(low) >> 16) as u32)
        };
        (fold(8)?, fold(24)?, *ip.get(6)?, 40, number16(ip, 4)?.wrapping_add(40))
    };
    let transport = ip.get(header..)?;
    let side = |addr: u32, at| Some(u64::from(addr) << 16 | u64::from(number16(transport, at)?));
    let (one, two) = (side(src, 0)?, side(dst, 2)?);
    let swapped = two < one;
    let crossed = (one ^ two) & u64::from(swapped).wrapping_neg();
    let scope = endpoint ^ endpoint >> 32;
    let key = [
        one ^ crossed | u64::from(protocol) << 48 | 1 << 56,
        two ^ crossed | u64::from(scope as u16) << 48,
    ];
    let (sequence, flags) =
        if protocol == 6 { (number32(transport, 4)?, *transport.get(13)?) } else { (0, 0) };
    Some(Parsed { key, hash: 0, sequence, len, flags, swapped, known: true })
}

#[inline(always)]
fn swap_outer(frame: &mut [u8]) {
    if let Some((one, two)) = frame.get_mut(..12).and_then(|macs| macs.split_at_mut_checked(6)) {
        one.swap_with_slice(two);
    }
    if let Some((one, two)) = frame.get_mut(26..34).and_then(|ips| ips.split_at_mut_checked(4)) {
        one.swap_with_slice(two);
    }
}

#[inline(always)]
const fn tag(hash: u64) -> u64 {
    hash >> 57 | 0x80
}

/// The high bit of each byte that is zero (and, rarely, of one above such a byte).
#[inline(always)]
const fn zero_bytes(word: u64) -> u64 {
    word.wrapping_sub(BYTE_LOWS) & !word & BYTE_HIGHS
}

#[inline(always)]
fn number16(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().copied().map(u16::from_be_bytes)
}

#[inline(always)]
fn number32(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().copied().map(u32::from_be_bytes)
}

#[inline(always)]
fn number64(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().copied().map(u64::from_be_bytes)
}

/// Asks for large pages behind a table, as the engine does for its own.
fn ask_for_large_pages<T>(place: *const T, bytes: usize) {
    #[cfg(target_os = "linux")]
    {
        let page = rustix::param::page_size();
        let skipped = place.addr().next_multiple_of(page).saturating_sub(place.addr());
        let whole = bytes.saturating_sub(skipped) / page * page;
        let address = place.cast_mut().cast::<u8>().wrapping_add(skipped).cast();
        // SAFETY: MADV_HUGEPAGE changes how pages are backed, never what is in them (madvise(2)).
        let _ = unsafe { rustix::mm::madvise(address, whole, rustix::mm::Advice::LinuxHugepage) };
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (place, bytes);
}

/// Brings the cache line near that lies `offset` bytes behind the start of `place`.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn ask_for<T>(place: &[T], offset: usize) {
    use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
    let address = place.as_ptr().cast::<i8>().wrapping_add(offset);
    // SAFETY: PREFETCHT0 is a hint: it reads no value, changes no architectural state and faults
    // on no address whatsoever (Intel SDM volume 2, "PREFETCHh"). Its target feature, SSE, is
    // part of x86-64.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(address) }
}

#[cfg(not(target_arch = "x86_64"))]
#[inline(always)]
fn ask_for<T>(_place: &[T], _offset: usize) {}
