//! Where the engine's time goes: parts of its work done alone over the same frames. What is left of
//! the whole is judgement itself.

use super::clock;
use super::figures::{StageFigures, median};
use super::tape::Tape;
use crate::flow::{FlowKey, FlowTable, Near, Secret};
use crate::model::{ScopeId, Span, Timestamp};
use crate::wire::{self, Glimpse, Link, Packet, Settings, near};
use std::hint::black_box;

/// Frames between the request for a table line and its use.
const AHEAD: usize = 16;

/// Times the stages over a tape of which a frame takes `whole_ns` in all.
#[must_use]
pub fn measure(tape: &Tape, whole_ns: f64, rounds: usize) -> Vec<StageFigures> {
    let mut table: FlowTable<[u64; 10]> = FlowTable::new(tape.len().max(1), Secret::new(1, 2));
    let mut hashes = Vec::with_capacity(tape.len());
    for frame in tape.frames() {
        let Ok(packet) = wire::parse(frame, Link::Ethernet, &Settings::GWLB) else { continue };
        let (key, _) = FlowKey::new(ScopeId(0), &packet.tuple);
        let hash = table.hash(&key);
        if table.lookup(&key, hash).is_none() {
            let _ = table.insert(key, hash, [0; 10], Timestamp::ZERO, Span::from_secs(1));
        }
        hashes.push((key, hash));
    }
    let frames = tape.len().max(1) as f64;
    let mut timed = [const { Vec::new() }; 3];
    for _ in 0..rounds.max(3) {
        let parts: [&dyn Fn(); 3] =
            [&|| headers(tape), &|| keys(tape, &table), &|| look_up(&table, &hashes)];
        for (part, rounds) in parts.into_iter().zip(&mut timed) {
            let before = clock::thread_ns();
            part();
            rounds.push(clock::thread_ns().saturating_sub(before) as f64 / frames);
        }
    }
    let [headers, keyed, found] = timed.map(|rounds| median(&rounds));
    let keys = (keyed - headers).max(0.0);
    let rest = (whole_ns - headers - keys - found).max(0.0);
    [("headers", headers), ("key and hash", keys), ("flow table", found), ("judgement", rest)]
        .map(|(stage, ns)| StageFigures { stage, ns, share: ns / whole_ns.max(f64::MIN_POSITIVE) })
        .into()
}

/// Frames, those ahead asked for as the engine does.
fn frames(tape: &Tape) -> impl Iterator<Item = &[u8]> {
    tape.frames().zip(tape.frames().skip(2 * AHEAD).map(Some).chain(std::iter::repeat(None))).map(
        |(frame, ahead)| {
            ahead.into_iter().for_each(near::prefetch_headers);
            frame
        },
    )
}

/// As the engine reads a frame: at a glimpse, or at length where it is not of the usual form.
#[inline(always)]
fn read(frame: &[u8]) -> Option<Read> {
    let settings = black_box(&Settings::GWLB);
    match wire::glimpse(frame, Link::Ethernet, settings) {
        Some(glimpse) => Some(Read::Glimpse(glimpse)),
        None => wire::parse(frame, Link::Ethernet, settings).ok().map(Read::Packet),
    }
}

enum Read {
    Glimpse(Glimpse),
    Packet(Packet),
}

fn headers(tape: &Tape) {
    for frame in frames(tape) {
        match read(frame) {
            Some(Read::Glimpse(glimpse)) => {
                black_box(glimpse);
            }
            Some(Read::Packet(packet)) => {
                black_box(packet);
            }
            None => {}
        }
    }
}

fn keys(tape: &Tape, table: &FlowTable<[u64; 10]>) {
    for frame in frames(tape) {
        match read(frame) {
            Some(Read::Glimpse(glimpse)) => {
                let Glimpse { protocol, src, dst, .. } = black_box(glimpse);
                let (key, _) = Near::v4(ScopeId(0), protocol, src, dst);
                black_box(table.hash_near(&key));
            }
            Some(Read::Packet(packet)) => {
                let (key, _) = FlowKey::new(ScopeId(0), &black_box(packet).tuple);
                black_box(table.hash(&key));
            }
            None => {}
        }
    }
}

fn look_up(table: &FlowTable<[u64; 10]>, hashes: &[(FlowKey, crate::flow::FlowHash)]) {
    for (at, (key, hash)) in hashes.iter().enumerate() {
        if let Some((_, ahead)) = hashes.get(at.saturating_add(AHEAD)) {
            table.prefetch_bucket(*ahead);
        }
        if let Some((_, ahead)) = hashes.get(at.saturating_add(AHEAD / 2)) {
            black_box(table.likely(*ahead, false));
        }
        black_box(table.lookup(key, *hash));
    }
}
