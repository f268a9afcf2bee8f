//! Captures: pcap and pcapng, read as a stream and written. No packet is understood here, only
//! where it starts, when it came and what link layer it begins with.
//!
//! Read: pcap in micro- and nanoseconds and in its modified form, pcapng with several sections and interfaces, both byte
//! orders, gzip and zstd by their first bytes, standard input as `-`. Formats:
//! draft-ietf-opsawg-pcap, draft-ietf-opsawg-pcapng.

mod classic;
mod error;
mod link;
mod ng;
mod order;
mod reader;
mod unpack;
mod window;
mod writer;

#[cfg(test)]
mod tests;

pub use error::{CaptureError, Fault, Warning};
pub use link::{LinkType, Linked};
pub use ng::INTERFACES_MAX;
pub use reader::{CaptureReader, STANDARD_INPUT, reads_once};
pub use window::WINDOW_BYTES;
pub use writer::{CaptureWriter, Format, WriteError};

use crate::model::Timestamp;
use crate::wire::Link;

/// The longest packet of a capture, as large as libpcap's largest snapshot length.
pub const PACKET_LIMIT_BYTES: usize = 256 * 1024;

/// One packet of a capture, borrowed from its reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CapturedPacket<'a> {
    /// When it was captured. A pcapng simple packet has no time and takes that of the one before.
    pub at: Timestamp,
    /// What its bytes start with.
    pub link: Link,
    /// The captured bytes.
    pub bytes: &'a [u8],
    /// How long it was on the wire; more than is here if the capture cut it.
    pub original_len: u32,
}
