//! Reads the packets of one capture in order, whatever its format. It keeps one window of the file
//! and copies nothing.

use super::classic::{Classic, FILE_HEADER_BYTES};
use super::ng::{SECTION, SECTION_LEAST_BYTES, Section};
use super::order::Order;
use super::unpack::unpack;
use super::window::Window;
use super::{CaptureError, CapturedPacket, Fault, LinkType, Linked, Warning};
use crate::model::Timestamp;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The file name that means standard input.
pub const STANDARD_INPUT: &str = "-";

/// Whether a capture of this name can be read once only: standard input, a pipe. What is not there can
/// be read as often as anybody likes.
#[must_use]
pub fn reads_once(name: &str) -> bool {
    name == STANDARD_INPUT
        || fs::metadata(name).is_ok_and(|found| !found.is_file() && !found.is_dir())
}

/// A capture being read.
pub struct CaptureReader {
    file: String,
    window: Window,
    format: Records,
    consumed: Arc<AtomicU64>,
    /// The record being looked at; passed over when the next one is asked for.
    pending: Option<Pending>,
    current: Option<Current>,
    /// Time of the packet before, for those that have none.
    last: Timestamp,
    ended: bool,
    cut_at: Option<u64>,
    unsupported: BTreeMap<LinkType, u64>,
}

enum Records {
    Classic(Classic),
    Ng(Section),
}

/// What was found at the current place of the file.
pub(super) enum Step {
    Packet(Located),
    /// A pcapng block that is no packet.
    Block(Trailer),
    End,
    /// The file ends within a record.
    Cut,
}

/// Where a packet lies in its record.
#[derive(Clone, Copy)]
pub(super) struct Located {
    pub(super) at: Option<Timestamp>,
    pub(super) link: LinkType,
    pub(super) start: usize,
    pub(super) len: usize,
    pub(super) original_len: u32,
    /// Bytes of the whole record.
    pub(super) record: u64,
    pub(super) trailer: Option<Trailer>,
}

/// A pcapng block says its length at both ends.
#[derive(Clone, Copy)]
pub(super) struct Trailer {
    pub(super) order: Order,
    pub(super) len: u32,
}

#[derive(Clone, Copy)]
struct Pending {
    record: u64,
    trailer: Option<Trailer>,
}

#[derive(Clone, Copy)]
struct Current {
    at: Timestamp,
    linked: Linked,
    start: usize,
    len: usize,
    original_len: u32,
}

impl CaptureReader {
    /// Opens a file, or standard input if its name is [`STANDARD_INPUT`].
    ///
    /// # Errors
    /// If it cannot be opened or is no capture.
    pub fn open(name: &str) -> Result<Self, CaptureError> {
        if name == STANDARD_INPUT {
            return Self::new("standard input", Box::new(io::stdin()));
        }
        let fault = |fault| CaptureError { file: name.to_owned(), offset: 0, fault };
        let file = File::open(name).map_err(|error| fault(Fault::Open(error)))?;
        Self::new(name, Box::new(file))
    }

    /// Reads a capture from any stream; `name` is what it is called in messages.
    ///
    /// # Errors
    /// If it cannot be read or is no capture.
    pub fn new(name: &str, source: Box<dyn Read + Send>) -> Result<Self, CaptureError> {
        let fault = |fault| CaptureError { file: name.to_owned(), offset: 0, fault };
        let consumed = Arc::new(AtomicU64::new(0));
        let metered = Box::new(Metered { source, consumed: Arc::clone(&consumed) });
        let source = unpack(metered).map_err(|error| fault(Fault::Read(error)))?;
        let mut window = Window::new(source);
        let format = recognise(&mut window).map_err(fault)?;
        Ok(Self {
            file: name.to_owned(),
            window,
            format,
            consumed,
            pending: None,
            current: None,
            last: Timestamp::ZERO,
            ended: false,
            cut_at: None,
            unsupported: BTreeMap::new(),
        })
    }

    /// Goes to the next packet whose link layer can be read; false at the end.
    ///
    /// # Errors
    /// If the file cannot be read, or a record is malformed; the capture ends there.
    pub fn advance(&mut self) -> Result<bool, CaptureError> {
        self.current = None;
        while !self.ended {
            match self.step() {
                Ok(Some(located)) if self.take(located) => return Ok(true),
                Ok(_) => {}
                Err(Fault::Read(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    self.cut();
                }
                Err(fault) => {
                    self.ended = true;
                    let (file, offset) = (self.file.clone(), self.window.offset());
                    return Err(CaptureError { file, offset, fault });
                }
            }
        }
        Ok(false)
    }

    /// The packet gone to last.
    #[must_use]
    pub fn packet(&self) -> Option<CapturedPacket<'_>> {
        let Current { at, linked, start, len, original_len } = self.current?;
        let bytes = self.window.bytes(start, len);
        Some(CapturedPacket { at, link: linked.link, bytes, original_len })
    }

    /// Goes to the next packet and gives it; none at the end.
    ///
    /// # Errors
    /// As [`Self::advance`].
    pub fn next_packet(&mut self) -> Result<Option<CapturedPacket<'_>>, CaptureError> {
        Ok(if self.advance()? { self.packet() } else { None })
    }

    /// Bytes read of the file as it is, packed or not.
    #[must_use]
    pub fn consumed(&self) -> u64 {
        self.consumed.load(Ordering::Relaxed)
    }

    /// What the user should know, so far.
    #[must_use]
    pub fn warnings(&self) -> Vec<Warning> {
        let file = || self.file.clone();
        let cut = self.cut_at.map(|offset| Warning::Truncated { file: file(), offset });
        let unsupported = self
            .unsupported
            .iter()
            .map(|(&link, &packets)| Warning::UnsupportedLink { file: file(), link, packets });
        cut.into_iter().chain(unsupported).collect()
    }

    /// Packets left out because their link layer cannot be read.
    #[must_use]
    pub fn unsupported(&self) -> u64 {
        self.unsupported.values().sum()
    }

    /// Passes the last record, and finds the packet of the next if it has one.
    fn step(&mut self) -> Result<Option<Located>, Fault> {
        if let Some(pending) = self.pending.take()
            && !pass(&mut self.window, pending)?
        {
            self.cut();
            return Ok(None);
        }
        let step = match &mut self.format {
            Records::Classic(classic) => classic.step(&mut self.window)?,
            Records::Ng(section) => section.step(&mut self.window)?,
        };
        match step {
            Step::Packet(located) => {
                self.pending = Some(Pending { record: located.record, trailer: located.trailer });
                return Ok(Some(located));
            }
            Step::Block(trailer) => {
                let record = u64::from(trailer.len);
                self.pending = Some(Pending { record, trailer: Some(trailer) });
            }
            Step::End => self.ended = true,
            Step::Cut => self.cut(),
        }
        Ok(None)
    }

    /// Makes a packet the current one, if its link layer can be read.
    fn take(&mut self, located: Located) -> bool {
        let at = located.at.unwrap_or(self.last);
        self.last = at;
        let bytes = self.window.bytes(located.start, located.len);
        let Some(linked) = located.link.resolve(bytes) else {
            let count = self.unsupported.entry(located.link).or_default();
            *count = count.saturating_add(1);
            return false;
        };
        let original_len =
            located.original_len.saturating_sub(u32::try_from(linked.skip).unwrap_or(u32::MAX));
        let start = located.start.saturating_add(linked.skip);
        let len = located.len.saturating_sub(linked.skip);
        self.current = Some(Current { at, linked, start, len, original_len });
        true
    }

    fn cut(&mut self) {
        self.ended = true;
        self.cut_at = Some(self.window.offset());
    }
}

/// Counts what is read, for progress: of a packed file nobody knows how long it is unpacked.
struct Metered {
    source: Box<dyn Read + Send>,
    consumed: Arc<AtomicU64>,
}

impl Read for Metered {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.source.read(into)?;
        self.consumed.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

/// Tells the format from the first bytes. A header that is not whole says nothing of packets.
fn recognise(window: &mut Window) -> Result<Records, Fault> {
    let head = head(window, FILE_HEADER_BYTES)?;
    let Some(&magic) = head.first_chunk::<4>() else {
        return Err(if head.is_empty() { Fault::Empty } else { Fault::Short(head.len()) });
    };
    if u32::from_le_bytes(magic) == SECTION {
        let len = self::head(window, SECTION_LEAST_BYTES)?.len();
        let whole = len >= SECTION_LEAST_BYTES;
        return if whole { Ok(Records::Ng(Section::none())) } else { Err(Fault::Short(len)) };
    }
    let kind = Classic::recognise(magic).ok_or(Fault::NotACapture(magic))?;
    let classic = Classic::new(kind, head).ok_or(Fault::Short(head.len()))?;
    window.skip(FILE_HEADER_BYTES as u64).map_err(Fault::Read)?;
    Ok(Records::Classic(classic))
}

/// The first bytes, or as many as there are: a packed file may be cut before them.
fn head(window: &mut Window, len: usize) -> Result<&[u8], Fault> {
    match window.need(len).map(|_| ()) {
        Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => Err(Fault::Read(error)),
        Err(_) if window.bytes(0, 1).is_empty() => Err(Fault::Short(0)),
        _ => Ok(window.bytes(0, len)),
    }
}

/// Goes behind a record; false if the file ends within it.
fn pass(window: &mut Window, pending: Pending) -> Result<bool, Fault> {
    let Some(Trailer { order, len }) = pending.trailer else {
        return window.skip(pending.record).map_err(Fault::Read);
    };
    if !window.skip(pending.record.saturating_sub(4)).map_err(Fault::Read)? {
        return Ok(false);
    }
    let last = window.need(4).map_err(Fault::Read)?;
    match order.u32_at(last, 0) {
        None => Ok(false),
        Some(again) if again == len => window.skip(4).map_err(Fault::Read),
        Some(_) => Err(Fault::Malformed("the two lengths of a block differ")),
    }
}
