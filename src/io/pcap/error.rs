//! What can be wrong with a capture: what stops the reading of it, and what is only told.

use super::{LinkType, PACKET_LIMIT_BYTES};
use std::fmt;
use std::io;

/// A capture that cannot be read, or not further.
#[derive(Debug)]
pub struct CaptureError {
    /// The file, as the user named it.
    pub file: String,
    /// Where in the (unpacked) file.
    pub offset: u64,
    /// What is wrong.
    pub fault: Fault,
}

/// What is wrong with a capture.
#[derive(Debug)]
pub enum Fault {
    /// It cannot be opened.
    Open(io::Error),
    /// It cannot be read.
    Read(io::Error),
    /// It holds nothing.
    Empty,
    /// It ends within the header of a capture, after so many bytes.
    Short(usize),
    /// It starts like no capture.
    NotACapture([u8; 4]),
    /// A record that contradicts itself or the format.
    Malformed(&'static str),
    /// A packet longer than is read.
    TooLong(u32),
}

impl fmt::Display for CaptureError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, offset, fault } = self;
        match fault {
            Fault::Open(error) if error.kind() == io::ErrorKind::NotFound => {
                write!(f, "{file}: no such file; expected {EXPECTED}")
            }
            Fault::Open(error) => {
                write!(f, "{file}: cannot be opened ({error}); expected {EXPECTED}")
            }
            Fault::Read(error) if error.kind() == io::ErrorKind::IsADirectory => {
                write!(f, "{file}: is a directory; expected {EXPECTED}")
            }
            Fault::Read(error) => {
                write!(f, "{file}: cannot be read beyond byte {offset} ({error})")
            }
            Fault::Empty => write!(f, "{file}: is empty; expected {EXPECTED}"),
            Fault::Short(bytes) => write!(
                f,
                "{file}: ends within the header of a capture, after {bytes} bytes; expected {EXPECTED}"
            ),
            Fault::NotACapture([a, b, c, d]) => {
                write!(
                    f,
                    "{file}: starts with {a:02x} {b:02x} {c:02x} {d:02x}; expected {EXPECTED}"
                )
            }
            Fault::Malformed(what) => {
                write!(f, "{file}: malformed record at byte {offset}: {what}")
            }
            Fault::TooLong(len) => write!(
                f,
                "{file}: malformed record at byte {offset}: a packet of {len} bytes, \
                 at most {PACKET_LIMIT_BYTES} are read"
            ),
        }
    }
}

const EXPECTED: &str = "a capture (pcap or pcapng, as it is or packed with gzip or zstd)";

impl std::error::Error for CaptureError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.fault {
            Fault::Open(error) | Fault::Read(error) => Some(error),
            _ => None,
        }
    }
}

/// Something about a capture that the user should know and that stops nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Warning {
    /// The file ends within a record; everything before it was read.
    Truncated {
        /// The file.
        file: String,
        /// Where the record starts that is cut.
        offset: u64,
    },
    /// Packets whose link layer cannot be read.
    UnsupportedLink {
        /// The file.
        file: String,
        /// Their link type.
        link: LinkType,
        /// How many there were.
        packets: u64,
    },
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated { file, offset } => write!(
                f,
                "{file}: ends within the record at byte {offset}; everything before it was read"
            ),
            Self::UnsupportedLink { file, link, packets } => {
                write!(f, "{file}: {packets} packets left out, link type {link} cannot be read")
            }
        }
    }
}
