//! Several captures as one timeline, as if they had been taken together: rotated files in any
//! order, or the two sides of a link. Within one capture its own order is kept.

use super::pcap::{CaptureError, CaptureReader, CapturedPacket, Warning};
use crate::model::Timestamp;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Captures read side by side, the earliest packet first; at equal times the capture named first.
pub struct Captures {
    readers: Vec<CaptureReader>,
    /// Captures that have a packet, by its time.
    heads: BinaryHeap<Reverse<(Timestamp, usize)>>,
    current: Option<usize>,
    started: bool,
    faults: Vec<CaptureError>,
}

impl Captures {
    /// Opens all of them.
    ///
    /// # Errors
    /// Every one that cannot be read.
    pub fn open(names: &[String]) -> Result<Self, Vec<CaptureError>> {
        let mut readers = Vec::new();
        let mut errors = Vec::new();
        for name in names {
            match CaptureReader::open(name) {
                Ok(reader) => readers.push(reader),
                Err(error) => errors.push(error),
            }
        }
        if errors.is_empty() { Ok(Self::new(readers)) } else { Err(errors) }
    }

    /// Reads captures that are open already.
    #[must_use]
    pub fn new(readers: Vec<CaptureReader>) -> Self {
        Self {
            readers,
            heads: BinaryHeap::new(),
            current: None,
            started: false,
            faults: Vec::new(),
        }
    }

    /// The next packet of all; none at the end. A capture with a malformed record ends there, the
    /// others go on; see [`Self::faults`].
    pub fn next_packet(&mut self) -> Option<CapturedPacket<'_>> {
        if self.started {
            if let Some(number) = self.current.take() {
                self.advance(number);
            }
        } else {
            self.started = true;
            (0..self.readers.len()).for_each(|number| self.advance(number));
        }
        let Reverse((_, number)) = self.heads.pop()?;
        self.current = Some(number);
        self.readers.get(number)?.packet()
    }

    /// Captures that could not be read to their end.
    #[must_use]
    pub fn faults(&self) -> &[CaptureError] {
        &self.faults
    }

    /// The same, for who is done with them.
    #[must_use]
    pub fn into_faults(self) -> Vec<CaptureError> {
        self.faults
    }

    /// What the user should know about the captures, so far.
    #[must_use]
    pub fn warnings(&self) -> Vec<Warning> {
        self.readers.iter().flat_map(CaptureReader::warnings).collect()
    }

    /// Packets left out because their link layer cannot be read.
    #[must_use]
    pub fn unsupported(&self) -> u64 {
        self.readers.iter().map(CaptureReader::unsupported).sum()
    }

    /// Bytes read of all files as they are, packed or not.
    #[must_use]
    pub fn consumed(&self) -> u64 {
        self.readers.iter().map(CaptureReader::consumed).sum()
    }

    fn advance(&mut self, number: usize) {
        let Some(reader) = self.readers.get_mut(number) else { return };
        match reader.advance() {
            Ok(false) => {}
            Ok(true) => {
                if let Some(packet) = reader.packet() {
                    self.heads.push(Reverse((packet.at, number)));
                }
            }
            Err(error) => self.faults.push(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::pcap::{CaptureWriter, Format};
    use super::*;
    use crate::wire::Link;
    use std::io::Cursor;

    fn capture(name: &str, packets: &[(u64, u8)]) -> Vec<u8> {
        let mut writer = CaptureWriter::new(Vec::new(), Format::for_name(name));
        for &(at, mark) in packets {
            let at = Timestamp::from_nanos(at);
            let packet =
                CapturedPacket { at, link: Link::RawIp, bytes: &[mark; 20], original_len: 20 };
            writer.write(&packet).unwrap();
        }
        writer.finish().unwrap()
    }

    fn marks(captures: Vec<Vec<u8>>) -> (Vec<u8>, Captures) {
        let readers = captures
            .into_iter()
            .map(|bytes| CaptureReader::new("test", Box::new(Cursor::new(bytes))).unwrap())
            .collect();
        let mut merged = Captures::new(readers);
        let mut marks = Vec::new();
        while let Some(packet) = merged.next_packet() {
            marks.push(packet.bytes[0]);
        }
        (marks, merged)
    }

    #[test]
    fn packets_of_several_captures_come_in_the_order_of_time() {
        let first = capture("a.pcap", &[(10, 1), (40, 4), (50, 5)]);
        let second = capture("b.pcapng", &[(20, 2), (30, 3), (50, 6)]);
        assert_eq!(marks(vec![first, second, capture("c.pcap", &[])]).0, [1, 2, 3, 4, 5, 6]);
    }

    #[test]
    fn one_capture_keeps_its_own_order() {
        assert_eq!(marks(vec![capture("a.pcap", &[(30, 3), (10, 1), (20, 2)])]).0, [3, 1, 2]);
    }

    #[test]
    fn a_malformed_capture_ends_and_the_others_go_on() {
        let mut broken = capture("a.pcap", &[(10, 1), (30, 3)]);
        broken[24 + 36 + 8..][..4].fill(0xff);
        let (marks, merged) = marks(vec![broken, capture("b.pcap", &[(20, 2), (40, 4)])]);
        assert_eq!(marks, [1, 2, 4]);
        assert_eq!(merged.faults().len(), 1);
        assert_eq!(merged.faults()[0].offset, 60);
    }
}
