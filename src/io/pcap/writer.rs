//! Writes captures with nanoseconds, in the byte order of least surprise (little endian): pcap, or
//! pcapng where packets of several link layers come together.

use super::classic::MAGIC_NANOSECONDS;
use super::ng::{ENHANCED_PACKET, FRAME_BYTES, INTERFACE, ORDER_MAGIC, SECTION};
use super::{CapturedPacket, LinkType, PACKET_LIMIT_BYTES};
use crate::model::Timestamp;
use crate::wire::Link;
use std::fmt;
use std::io::{self, Write};
use std::path::Path;

/// The format a capture is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// pcap: one link layer for all packets.
    Pcap,
    /// pcapng.
    Pcapng,
}

impl Format {
    /// pcapng for names that end in `.pcapng`, else pcap.
    #[must_use]
    pub fn for_name(name: &str) -> Self {
        let ends = Path::new(name).extension().is_some_and(|e| e.eq_ignore_ascii_case("pcapng"));
        if ends { Self::Pcapng } else { Self::Pcap }
    }
}

/// Why a packet was not written.
#[derive(Debug)]
pub enum WriteError {
    /// The file took no more.
    Io(io::Error),
    /// A second link layer in a pcap.
    MixedLinks(Link, Link),
}

impl fmt::Display for WriteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => error.fmt(f),
            Self::MixedLinks(first, second) => write!(
                f,
                "packets of two link layers ({first:?}, {second:?}) do not fit one pcap; \
                 name the file *.pcapng"
            ),
        }
    }
}

impl std::error::Error for WriteError {}

impl From<io::Error> for WriteError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// A capture being written. A file without a packet has the header for Ethernet.
#[derive(Debug)]
pub struct CaptureWriter<W: Write> {
    sink: W,
    format: Format,
    /// Link layers in the order their interfaces were described.
    links: Vec<Link>,
}

impl<W: Write> CaptureWriter<W> {
    /// A capture into `sink`, which should be buffered.
    pub const fn new(sink: W, format: Format) -> Self {
        Self { sink, format, links: Vec::new() }
    }

    /// Appends a packet.
    ///
    /// # Errors
    /// If the sink fails, or a pcap gets packets of a second link layer.
    pub fn write(&mut self, packet: &CapturedPacket<'_>) -> Result<(), WriteError> {
        match self.format {
            Format::Pcap => self.write_pcap(packet),
            Format::Pcapng => self.write_pcapng(packet),
        }
    }

    /// Writes what is left, and gives the sink back.
    ///
    /// # Errors
    /// If the sink fails.
    pub fn finish(mut self) -> Result<W, WriteError> {
        if self.links.is_empty() {
            match self.format {
                Format::Pcap => self.file_header(Link::Ethernet)?,
                Format::Pcapng => self.section_header()?,
            }
        }
        self.sink.flush()?;
        Ok(self.sink)
    }

    fn write_pcap(&mut self, packet: &CapturedPacket<'_>) -> Result<(), WriteError> {
        match self.links.first() {
            None => {
                self.file_header(packet.link)?;
                self.links.push(packet.link);
            }
            Some(&first) if first != packet.link => {
                return Err(WriteError::MixedLinks(first, packet.link));
            }
            Some(_) => {}
        }
        // The format's seconds end in 2106; later times stay there.
        let secs = u32::try_from(packet.at.as_secs()).unwrap_or(u32::MAX);
        let nanos = packet.at.since(Timestamp::from_secs(packet.at.as_secs())).as_nanos();
        self.u32s(&[
            secs,
            u32::try_from(nanos).unwrap_or(0),
            length(packet.bytes),
            packet.original_len,
        ])?;
        Ok(self.sink.write_all(packet.bytes)?)
    }

    fn file_header(&mut self, link: Link) -> io::Result<()> {
        const VERSION_2_4: u32 = 2 | 4 << 16;
        let snap = u32::try_from(PACKET_LIMIT_BYTES).unwrap_or(u32::MAX);
        let link = u32::from(LinkType::of(link).0);
        self.u32s(&[MAGIC_NANOSECONDS, VERSION_2_4, 0, 0, snap, link])
    }

    fn write_pcapng(&mut self, packet: &CapturedPacket<'_>) -> Result<(), WriteError> {
        let interface = self.interface(packet.link)?;
        let len = length(packet.bytes);
        let padded = len.next_multiple_of(4);
        let block = FRAME_BYTES.saturating_add(20).saturating_add(padded);
        let nanos = packet.at.as_nanos();
        let high = u32::try_from(nanos >> 32).unwrap_or(u32::MAX);
        let low = u32::try_from(nanos & 0xffff_ffff).unwrap_or(u32::MAX);
        self.u32s(&[ENHANCED_PACKET, block, interface, high, low, len, packet.original_len])?;
        self.sink.write_all(packet.bytes)?;
        let padding = [0; 3];
        let missing = padded.saturating_sub(len) as usize;
        self.sink.write_all(padding.get(..missing).unwrap_or_default())?;
        Ok(self.u32s(&[block])?)
    }

    /// The number of a link layer's interface, described when it is first needed.
    fn interface(&mut self, link: Link) -> io::Result<u32> {
        let known = self.links.iter().position(|&l| l == link);
        let number = u32::try_from(known.unwrap_or(self.links.len())).unwrap_or(u32::MAX);
        if known.is_some() {
            return Ok(number);
        }
        if self.links.is_empty() {
            self.section_header()?;
        }
        self.links.push(link);
        let snap = u32::try_from(PACKET_LIMIT_BYTES).unwrap_or(u32::MAX);
        // if_tsresol (9), one byte: nanoseconds; then the end of options.
        const RESOLUTION: [u32; 3] = [9 | 1 << 16, 9, 0];
        let [code, value, end] = RESOLUTION;
        let link = u32::from(LinkType::of(link).0);
        self.u32s(&[INTERFACE, 32, link, snap, code, value, end, 32])?;
        Ok(number)
    }

    fn section_header(&mut self) -> io::Result<()> {
        const VERSION_1_0: u32 = 1;
        const LENGTH_UNKNOWN: u32 = u32::MAX;
        self.u32s(&[SECTION, 28, ORDER_MAGIC, VERSION_1_0, LENGTH_UNKNOWN, LENGTH_UNKNOWN, 28])
    }

    fn u32s(&mut self, values: &[u32]) -> io::Result<()> {
        values.iter().try_for_each(|value| self.sink.write_all(&value.to_le_bytes()))
    }
}

fn length(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX)
}
