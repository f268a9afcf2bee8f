//! The pcap format: one header for the file, one for each packet (draft-ietf-opsawg-pcap).

use super::order::Order;
use super::reader::{Located, Step};
use super::window::Window;
use super::{Fault, LinkType, PACKET_LIMIT_BYTES};
use crate::model::Timestamp;

pub(super) const FILE_HEADER_BYTES: usize = 24;
pub(super) const RECORD_HEADER_BYTES: usize = 16;
pub(super) const MAGIC_MICROSECONDS: u32 = 0xa1b2_c3d4;
pub(super) const MAGIC_NANOSECONDS: u32 = 0xa1b2_3c4d;

/// What the header of a file says about its records.
pub(super) struct Classic {
    order: Order,
    /// Nanoseconds of one unit of a record's fraction of a second.
    unit_ns: u64,
    link: LinkType,
}

impl Classic {
    /// Whether a file that starts like this is a pcap, and in which order and unit.
    pub(super) fn recognise(magic: [u8; 4]) -> Option<(Order, u64)> {
        [Order::Little, Order::Big].into_iter().find_map(|order| match order.u32_at(&magic, 0)? {
            MAGIC_MICROSECONDS => Some((order, 1000)),
            MAGIC_NANOSECONDS => Some((order, 1)),
            _ => None,
        })
    }

    /// Reads the file's header, which is [`FILE_HEADER_BYTES`] long. The upper half of the link
    /// type field tells about frame check sequences (section 4 of the draft) and is no part of it.
    pub(super) fn new((order, unit_ns): (Order, u64), header: &[u8]) -> Option<Self> {
        let link = order.u32_at(header, 20)? & 0xffff;
        Some(Self { order, unit_ns, link: LinkType(u16::try_from(link).ok()?) })
    }

    /// Finds the next packet.
    pub(super) fn step(&self, window: &mut Window) -> Result<Step, Fault> {
        let header = window.need(RECORD_HEADER_BYTES).map_err(Fault::Read)?;
        if header.is_empty() {
            return Ok(Step::End);
        }
        let field = |at| self.order.u32_at(header, at);
        let (Some(secs), Some(fraction), Some(captured), Some(original_len)) =
            (field(0), field(4), field(8), field(12))
        else {
            return Ok(Step::Cut);
        };
        let len = usize::try_from(captured).unwrap_or(usize::MAX);
        if len > PACKET_LIMIT_BYTES {
            return Err(Fault::TooLong(captured));
        }
        let record = RECORD_HEADER_BYTES.saturating_add(len);
        if window.need(record).map_err(Fault::Read)?.len() < record {
            return Ok(Step::Cut);
        }
        let nanos = u64::from(fraction).saturating_mul(self.unit_ns);
        let at = Timestamp::from_nanos(
            Timestamp::from_secs(u64::from(secs)).as_nanos().saturating_add(nanos),
        );
        Ok(Step::Packet(Located {
            at: Some(at),
            link: self.link,
            start: RECORD_HEADER_BYTES,
            len,
            original_len,
            record: record as u64,
            trailer: None,
        }))
    }
}
