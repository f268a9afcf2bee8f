//! The pcap format: one header for the file, one for each packet (draft-ietf-opsawg-pcap). Also its
//! "modified" form, of old Linux systems, whose records have more in their headers.

use super::order::Order;
use super::reader::{Located, Step};
use super::window::Window;
use super::{Fault, LinkType, PACKET_LIMIT_BYTES};
use crate::model::Timestamp;

pub(super) const FILE_HEADER_BYTES: usize = 24;
pub(super) const RECORD_HEADER_BYTES: usize = 16;
/// Of the modified form: behind the usual fields an interface, a protocol, a packet type and a byte of
/// nothing (libpcap, sf-pcap.c, `pcap_sf_patched_pkthdr`).
const MODIFIED_HEADER_BYTES: usize = 24;
pub(super) const MAGIC_MICROSECONDS: u32 = 0xa1b2_c3d4;
pub(super) const MAGIC_NANOSECONDS: u32 = 0xa1b2_3c4d;
/// Kuznetsov's changes to libpcap; its times are in microseconds.
const MAGIC_MODIFIED: u32 = 0xa1b2_cd34;

/// What the first bytes of a file say.
#[derive(Clone, Copy)]
pub(super) struct Kind {
    order: Order,
    /// Nanoseconds of one unit of a record's fraction of a second.
    unit_ns: u64,
    /// Bytes before a packet's own.
    header: usize,
}

/// What the header of a file says about its records.
pub(super) struct Classic {
    kind: Kind,
    link: LinkType,
}

impl Classic {
    /// Whether a file that starts like this is a pcap, and of which kind.
    pub(super) fn recognise(magic: [u8; 4]) -> Option<Kind> {
        [Order::Little, Order::Big].into_iter().find_map(|order| {
            let (unit_ns, header) = match order.u32_at(&magic, 0)? {
                MAGIC_MICROSECONDS => (1000, RECORD_HEADER_BYTES),
                MAGIC_NANOSECONDS => (1, RECORD_HEADER_BYTES),
                MAGIC_MODIFIED => (1000, MODIFIED_HEADER_BYTES),
                _ => return None,
            };
            Some(Kind { order, unit_ns, header })
        })
    }

    /// Reads the file's header, which is [`FILE_HEADER_BYTES`] long. The upper half of the link
    /// type field tells about frame check sequences (section 4 of the draft) and is no part of it.
    pub(super) fn new(kind: Kind, header: &[u8]) -> Option<Self> {
        let link = kind.order.u32_at(header, 20)? & 0xffff;
        Some(Self { kind, link: LinkType(u16::try_from(link).ok()?) })
    }

    /// Finds the next packet.
    pub(super) fn step(&self, window: &mut Window) -> Result<Step, Fault> {
        let Kind { order, unit_ns, header: header_bytes } = self.kind;
        let header = window.need(header_bytes).map_err(Fault::Read)?;
        if header.is_empty() {
            return Ok(Step::End);
        }
        let field = |at| order.u32_at(header, at);
        let (Some(secs), Some(fraction), Some(captured), Some(original_len)) =
            (field(0), field(4), field(8), field(12))
        else {
            return Ok(Step::Cut);
        };
        let len = usize::try_from(captured).unwrap_or(usize::MAX);
        if len > PACKET_LIMIT_BYTES {
            return Err(Fault::TooLong(captured));
        }
        let record = header_bytes.saturating_add(len);
        if window.need(record).map_err(Fault::Read)?.len() < record {
            return Ok(Step::Cut);
        }
        let nanos = u64::from(fraction).saturating_mul(unit_ns);
        let at = Timestamp::from_nanos(
            Timestamp::from_secs(u64::from(secs)).as_nanos().saturating_add(nanos),
        );
        Ok(Step::Packet(Located {
            at: Some(at),
            link: self.link,
            start: header_bytes,
            len,
            original_len,
            record: record as u64,
            trailer: None,
        }))
    }
}
