//! The pipeline with a worker that is no engine: order, sharding and the end of a run.

use super::*;
use crate::engine::record::{Event, PacketDrop};
use crate::engine::{Extra, Frame, Origin, Output};
use crate::flow::Secret;
use crate::io::merge::Captures;
use crate::io::pcap::{CaptureReader, CaptureWriter, CapturedPacket, Format};
use crate::model::{Reason, Timestamp, Verdict};
use crate::wire::{Checksums, Decapsulation, Link, Settings};
use std::collections::HashMap;
use std::io::Cursor;

/// Judges by port: drops, holds the first of a flow until its third, forwards.
#[derive(Default)]
struct Toy {
    seen: u64,
    held: HashMap<[u8; 3], (u64, Vec<u8>, u8)>,
    finished: bool,
}

impl Worker for Toy {
    fn process(&mut self, frames: &mut [Frame<'_>], out: &mut Output) {
        for (position, frame) in frames.iter_mut().enumerate() {
            self.seen += 1;
            let port = u16::from_be_bytes([frame.bytes[20], frame.bytes[21]]);
            let flow = [frame.bytes[15], frame.bytes[20], frame.bytes[21]];
            frame.verdict = match port % 3 {
                0 => Verdict::Drop(Reason::NotIp),
                1 if !self.held.contains_key(&flow) => {
                    self.held.insert(flow, (frame.number, frame.bytes.to_vec(), 0));
                    Verdict::Hold
                }
                _ => Verdict::Forward,
            };
            if let Some((number, bytes, count)) = self.held.get_mut(&flow) {
                *count += 1;
                if *count == 3 {
                    let (origin, bytes) = (Origin::Held(*number), std::mem::take(bytes));
                    out.extras.push(Extra { before: position, origin, link: frame.link, bytes });
                }
            }
        }
    }

    fn finish(&mut self, now: Timestamp, out: &mut Output) {
        self.finished = true;
        let drop = PacketDrop {
            at: now,
            endpoint: None,
            tuple: None,
            bytes: 0,
            reason: Reason::NotIp,
            held_back: 0,
        };
        out.events.push(Event::PacketDropped(drop));
    }
}

#[derive(Default)]
struct Log {
    frames: Vec<(u64, Fate, Vec<u8>)>,
    events: usize,
    fail_at: Option<usize>,
}

impl Sink for Log {
    type Error = usize;

    fn wants_frames(&self) -> bool {
        true
    }

    fn frame(&mut self, frame: Settled<'_>) -> Result<(), usize> {
        if self.fail_at == Some(self.frames.len()) {
            return Err(self.frames.len());
        }
        self.frames.push((frame.number, frame.fate, frame.packet.bytes.to_vec()));
        Ok(())
    }

    fn event(&mut self, _: Event) -> Result<(), usize> {
        self.events += 1;
        Ok(())
    }
}

/// An IPv4 UDP packet; `fragment` is the flags-and-offset field.
fn udp(host: u8, port: u16, id: u16, fragment: u16, payload: u8) -> Vec<u8> {
    let mut bytes = vec![0x45, 0, 0, 44, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, host, 10, 0, 0, 99];
    bytes[4..6].copy_from_slice(&id.to_be_bytes());
    bytes[6..8].copy_from_slice(&fragment.to_be_bytes());
    bytes.extend(port.to_be_bytes());
    bytes.extend([0, 53, 0, 24, 0, 0]);
    bytes.resize(44, payload);
    bytes
}

fn captures(packets: &[Vec<u8>]) -> Captures {
    let mut writer = CaptureWriter::new(Vec::new(), Format::Pcap);
    for (number, bytes) in packets.iter().enumerate() {
        let at = Timestamp::from_nanos(number as u64);
        let original_len = bytes.len() as u32;
        writer.write(&CapturedPacket { at, link: Link::RawIp, bytes, original_len }).unwrap();
    }
    let file = writer.finish().unwrap();
    Captures::new(vec![CaptureReader::new("test", Box::new(Cursor::new(file))).unwrap()])
}

fn sharder(workers: usize) -> Sharder {
    let settings = Settings {
        decapsulation: Decapsulation::Capture,
        checksums: Checksums::Ignore,
        outer_udp: Checksums::Ignore,
    };
    Sharder::new(settings, Secret::new(1, 2), workers)
}

fn run_toy(packets: &[Vec<u8>], workers: usize) -> (Log, Finished<Toy>) {
    let mut log = Log::default();
    let toys = (0..workers).map(|_| Toy::default()).collect();
    let finished =
        run(&mut captures(packets), &mut sharder(workers), toys, &mut log, &mut |_| {}).unwrap();
    (log, finished)
}

fn many() -> Vec<Vec<u8>> {
    (0..20_000_u32).map(|n| udp((n % 7) as u8, (n * 31 % 97) as u16, 0, 0, n as u8)).collect()
}

#[test]
fn the_number_of_workers_does_not_show() {
    let packets = many();
    let (one, _) = run_toy(&packets, 1);
    assert_eq!(one.frames.len(), packets.len());
    assert!(one.frames.iter().enumerate().all(|(at, frame)| frame.0 == at as u64));
    for workers in [2, 3, 8] {
        let (log, finished) = run_toy(&packets, workers);
        assert!(log.frames == one.frames, "{workers}");
        assert!(finished.workers.iter().all(|toy| toy.finished && toy.seen > 0));
        assert_eq!(finished.workers.iter().map(|toy| toy.seen).sum::<u64>(), packets.len() as u64);
        assert_eq!((log.events, finished.late), (workers, 0));
    }
}

#[test]
fn both_directions_of_a_flow_meet() {
    let mut sharder = sharder(4);
    let mut used = [0; 4];
    for port in 1..200_u16 {
        let there = udp(1, port, 0, 0, 0);
        let mut back = there.clone();
        back[12..20].rotate_left(4);
        back[20..24].rotate_left(2);
        let mut places = Vec::new();
        for bytes in [&there, &back] {
            let packet =
                CapturedPacket { at: Timestamp::ZERO, link: Link::RawIp, bytes, original_len: 44 };
            sharder.place(0, &packet, &mut |worker, _, _| places.push(worker));
        }
        assert_eq!(places[0], places[1]);
        used[places[0]] += 1;
    }
    assert!(used.iter().all(|&count| count > 20), "{used:?}");
}

#[test]
fn fragments_follow_their_first_one_in_any_order() {
    for workers in [1, 2, 5] {
        let mut sharder = sharder(workers);
        let mut got = Vec::new();
        let mut first = udp(1, 4000, 7, 0x2000, 1);
        first[25] = 72;
        let (second, third) = (udp(1, 0, 7, 0x2003, 2), udp(1, 0, 7, 0x0006, 3));
        let lost = udp(1, 0, 8, 0x0006, 4);
        for (number, bytes) in [third, first, lost, second].iter().enumerate() {
            let at = Timestamp::from_secs(number as u64);
            let packet = CapturedPacket { at, link: Link::RawIp, bytes, original_len: 44 };
            sharder
                .place(number as u64, &packet, &mut |worker, number, _| got.push((worker, number)));
        }
        let home = got[0].0;
        assert_eq!(got, [(home, 1), (home, 0), (home, 3)]);
        sharder.give_up(None, &mut |worker, number, _| got.push((worker, number)));
        assert_eq!(got.last().map(|g| g.1), Some(2), "what never finds its first is handed on");
        assert_eq!(got.len(), 4);
    }
}

#[test]
fn a_sink_that_fails_ends_the_run() {
    let packets = many();
    for fail_at in [0, 1, 5_000] {
        let mut log = Log { fail_at: Some(fail_at), ..Log::default() };
        let toys = (0..3).map(|_| Toy::default()).collect();
        let result = run(&mut captures(&packets), &mut sharder(3), toys, &mut log, &mut |_| {});
        assert_eq!(result.err(), Some(fail_at));
    }
}

#[test]
fn progress_ends_with_everything_read() {
    let packets = many();
    let mut last = Progress { packets: 0, bytes: 0 };
    let toys = vec![Toy::default()];
    let mut log = Log::default();
    run(&mut captures(&packets), &mut sharder(1), toys, &mut log, &mut |p| last = p).unwrap();
    let bytes = 24 + packets.iter().map(|p| p.len() as u64 + 16).sum::<u64>();
    assert_eq!(last, Progress { packets: packets.len() as u64, bytes });
}
