//! Captures as frames to measure by, and frames as captures for others to measure by.

use super::mix::Mix;
use super::rules::{self, Rules};
use super::tape::Tape;
use crate::flow::{FlowKey, Secret, symmetric_hash};
use crate::io::merge::Captures;
use crate::io::pcap::{CaptureWriter, CapturedPacket, Format, WriteError};
use crate::model::{FlowCookie, Protocol, ScopeId, Timestamp};
use crate::synth::gwlb::Encapsulation;
use crate::wire::{self, Body, Checksums, Link, Settings};
use std::collections::HashMap;
use std::io::Write;

/// When written captures begin.
const START: Timestamp = Timestamp::from_secs(1_750_000_000);
/// How captures are read: whatever they are wrapped in, whatever their sums.
const ANY: Settings =
    Settings { checksums: Checksums::Ignore, outer_udp: Checksums::Ignore, ..Settings::CAPTURE };
/// Packets of captures that are kept; beyond, captures are measured by their beginning.
pub const PACKETS_MAX: usize = 8 << 20;

/// Captures laid out in memory.
#[derive(Debug, Default)]
pub struct Loaded {
    /// Their frames, wrapped as GWLB delivers them.
    pub tape: Tape,
    /// Flows among them.
    pub flows: usize,
    /// Packets that cannot be turned into those of another flow: fragments, ICMP errors, IP headers
    /// with options, and what could not be read.
    pub left_out: u64,
}

/// Reads captures. A flow keeps one endpoint, source port and cookie; its client is who sent its
/// first packet.
#[must_use]
pub fn load(captures: &mut Captures) -> Loaded {
    let mut loaded = Loaded::default();
    let mut flows: HashMap<FlowKey, (bool, usize)> = HashMap::new();
    while loaded.tape.len() < PACKETS_MAX
        && let Some(captured) = captures.next_packet()
    {
        let packet = match wire::parse(captured.bytes, captured.link, &ANY) {
            Ok(packet) if is_simple(&packet) => packet,
            _ => {
                loaded.left_out = loaded.left_out.saturating_add(1);
                continue;
            }
        };
        let (key, reversed) = FlowKey::new(ScopeId(0), &packet.tuple);
        let next = flows.len();
        let (opened, number) = *flows.entry(key).or_insert((reversed, next));
        let hash = symmetric_hash(&packet.tuple, &Secret::new(1, 2));
        let mut around = Encapsulation::of(rules::endpoint(number % (rules::PARTNERS - 1)));
        around.source_port = 49_152 | (hash & 0x3fff) as u16;
        around.cookie = FlowCookie((hash >> 32) as u32);
        loaded.tape.push(packet.inner(captured.bytes), opened == reversed, &around);
    }
    loaded.flows = flows.len();
    loaded
}

/// Whether addresses and ports stand where they can be changed.
fn is_simple(packet: &wire::Packet) -> bool {
    let header = usize::from(packet.transport).saturating_sub(usize::from(packet.ip));
    let plain = if packet.tuple.src.is_v4() { 20 } else { 40 };
    !packet.is_fragment()
        && !matches!(packet.body, Body::IcmpError { .. })
        && header == plain
        && packet.tuple.protocol != Protocol(0)
}

/// Writes a mix as a capture: what opens its flows, then its frames.
///
/// # Errors
/// The writer's, or a frame that no capture holds.
pub fn write_mix<W: Write>(
    mix: Mix,
    rules: &Rules,
    frames: usize,
    output: W,
) -> Result<W, WriteError> {
    let mut opening = Tape::default();
    if mix.known() {
        for number in 0..mix.flows() {
            for (inner, from_client) in mix.opening(number, rules) {
                opening.push(&inner, from_client, &mix.around(&mix.tuple(number, rules), number));
            }
        }
    }
    let tape = mix.tape(rules, frames);
    let mut at = START;
    let mut writer = CaptureWriter::new(output, Format::Pcap);
    for frame in opening.frames().chain(tape.frames()) {
        writer.write(&captured(frame, at))?;
        at = at + mix.gap();
    }
    writer.finish()
}

/// Writes frames as a capture, a microsecond apart.
///
/// # Errors
/// The writer's, or a frame that no capture holds.
pub fn write_tape<W: Write>(tape: &Tape, output: W) -> Result<W, WriteError> {
    let mut writer = CaptureWriter::new(output, Format::Pcap);
    for (frame, number) in tape.frames().zip(0_u64..) {
        let at = START.as_nanos().saturating_add(number.saturating_mul(1000));
        writer.write(&captured(frame, Timestamp::from_nanos(at)))?;
    }
    writer.finish()
}

fn captured(frame: &[u8], at: Timestamp) -> CapturedPacket<'_> {
    let original_len = u32::try_from(frame.len()).unwrap_or(u32::MAX);
    CapturedPacket { at, link: Link::Ethernet, bytes: frame, original_len }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::pcap::CaptureReader;
    use std::io::Cursor;

    #[test]
    fn a_mix_that_was_written_is_read_back_with_all_its_flows() {
        let rules = Rules::new(10);
        let written = write_mix(Mix::Dns, &rules, 400, Vec::new()).unwrap();
        let reader = CaptureReader::new("dns", Box::new(Cursor::new(written))).unwrap();
        let loaded = load(&mut Captures::new(vec![reader]));
        assert_eq!((loaded.tape.len(), loaded.flows, loaded.left_out), (400, 200, 0));
    }
}
