//! The pcapng format: blocks in sections, each with its byte order and interfaces
//! (draft-ietf-opsawg-pcapng). Names, statistics, secrets and other blocks are passed over.

use super::order::Order;
use super::reader::{Located, Step, Trailer};
use super::window::Window;
use super::{Fault, LinkType, PACKET_LIMIT_BYTES};
use crate::model::Timestamp;

/// As many interfaces may one section describe.
pub const INTERFACES_MAX: usize = 65_536;

/// Block types (section 11.1 of the draft); the section header's reads the same in both orders.
pub(super) const SECTION: u32 = 0x0a0d_0d0a;
pub(super) const INTERFACE: u32 = 1;
const OBSOLETE_PACKET: u32 = 2;
const SIMPLE_PACKET: u32 = 3;
pub(super) const ENHANCED_PACKET: u32 = 6;

pub(super) const ORDER_MAGIC: u32 = 0x1a2b_3c4d;
/// Type and length before, length after.
pub(super) const FRAME_BYTES: u32 = 12;
/// Type, length and a section's byte-order magic.
const LOOK_BYTES: usize = 12;
/// An interface description is read whole; none has use for options longer than this.
const INTERFACE_LIMIT_BYTES: u32 = 64 * 1024;
const INTERFACE_LEAST_BYTES: u32 = 20;

/// A section header without options (section 4.1 of the draft).
pub(super) const SECTION_LEAST_BYTES: usize = 28;

const OPTION_END: u16 = 0;
const OPTION_RESOLUTION: u16 = 9;
const OPTION_OFFSET: u16 = 14;

/// A section: its order, and what is known of its interfaces.
pub(super) struct Section {
    order: Order,
    interfaces: Vec<Interface>,
}

#[derive(Clone, Copy)]
struct Interface {
    link: LinkType,
    snap_len: u32,
    resolution: Resolution,
    offset_secs: i64,
}

/// `if_tsresol`: a negative power of ten, or of two if the highest bit is set.
#[derive(Clone, Copy)]
struct Resolution(u8);

impl Section {
    /// Before the first section header there is none.
    pub(super) const fn none() -> Self {
        Self { order: Order::Little, interfaces: Vec::new() }
    }

    /// Finds the next packet, or passes over one block.
    pub(super) fn step(&mut self, window: &mut Window) -> Result<Step, Fault> {
        let head = window.need(LOOK_BYTES).map_err(Fault::Read)?;
        if head.is_empty() {
            return Ok(Step::End);
        }
        if head.len() < LOOK_BYTES {
            return Ok(Step::Cut);
        }
        if Order::Little.u32_at(head, 0) == Some(SECTION) {
            self.order = section_order(head).ok_or(Fault::Malformed("no byte-order magic"))?;
            self.interfaces.clear();
        }
        let (Some(kind), Some(len)) = (self.order.u32_at(head, 0), self.order.u32_at(head, 4))
        else {
            return Ok(Step::Cut);
        };
        if len < FRAME_BYTES || len % 4 != 0 {
            return Err(Fault::Malformed("a block length that is too small or no multiple of 4"));
        }
        let trailer = Trailer { order: self.order, len };
        let located = match kind {
            INTERFACE => return self.describe(window, trailer),
            ENHANCED_PACKET | OBSOLETE_PACKET => self.packet(window, kind, trailer)?,
            SIMPLE_PACKET => self.simple(window, trailer)?,
            _ => return Ok(Step::Block(trailer)),
        };
        Ok(located.map_or(Step::Cut, Step::Packet))
    }

    /// An interface description block (section 4.2).
    fn describe(&mut self, window: &mut Window, trailer: Trailer) -> Result<Step, Fault> {
        if trailer.len < INTERFACE_LEAST_BYTES {
            return Err(Fault::Malformed("an interface description without its fields"));
        }
        if trailer.len > INTERFACE_LIMIT_BYTES {
            return Err(Fault::Malformed("an interface description of more than 64 KiB"));
        }
        if self.interfaces.len() >= INTERFACES_MAX {
            return Err(Fault::Malformed("more than 65536 interfaces in one section"));
        }
        let len = trailer.len as usize;
        let block = window.need(len).map_err(Fault::Read)?;
        if block.len() < len {
            return Ok(Step::Cut);
        }
        let (Some(link), Some(snap_len)) =
            (self.order.u16_at(block, 8), self.order.u32_at(block, 12))
        else {
            return Ok(Step::Cut);
        };
        let mut interface = Interface {
            link: LinkType(link),
            snap_len,
            resolution: Resolution::MICROSECONDS,
            offset_secs: 0,
        };
        let options = block.get(16..len.saturating_sub(4)).unwrap_or_default();
        interface.read_options(self.order, options);
        self.interfaces.push(interface);
        Ok(Step::Block(trailer))
    }

    /// An enhanced packet block (section 4.3), or the packet block it replaced (appendix A), which
    /// has a 16-bit interface and a drop count where the other has 32 bits of interface.
    fn packet(
        &self,
        window: &mut Window,
        kind: u32,
        trailer: Trailer,
    ) -> Result<Option<Located>, Fault> {
        const HEADER_BYTES: usize = 28;
        let head = window.need(HEADER_BYTES).map_err(Fault::Read)?;
        let field = |at| self.order.u32_at(head, at);
        let (Some(high), Some(low), Some(captured), Some(original_len)) =
            (field(12), field(16), field(20), field(24))
        else {
            return Ok(None);
        };
        let number = match kind {
            OBSOLETE_PACKET => self.order.u16_at(head, 8).map(u32::from),
            _ => field(8),
        };
        let interface = self.interface(number.unwrap_or(u32::MAX))?;
        let at = interface.time(u64::from(high) << 32 | u64::from(low));
        let located = Located {
            at: Some(at),
            link: interface.link,
            start: HEADER_BYTES,
            len: packet_len(captured, HEADER_BYTES, trailer)?,
            original_len,
            record: u64::from(trailer.len),
            trailer: Some(trailer),
        };
        whole(window, located)
    }

    /// A simple packet block (section 4.4): the first interface, no time.
    fn simple(&self, window: &mut Window, trailer: Trailer) -> Result<Option<Located>, Fault> {
        const HEADER_BYTES: usize = 12;
        let head = window.need(HEADER_BYTES).map_err(Fault::Read)?;
        let Some(original_len) = self.order.u32_at(head, 8) else { return Ok(None) };
        let interface = self.interface(0)?;
        let snap = if interface.snap_len == 0 { u32::MAX } else { interface.snap_len };
        let located = Located {
            at: None,
            link: interface.link,
            start: HEADER_BYTES,
            len: packet_len(original_len.min(snap), HEADER_BYTES, trailer)?,
            original_len,
            record: u64::from(trailer.len),
            trailer: Some(trailer),
        };
        whole(window, located)
    }

    fn interface(&self, number: u32) -> Result<&Interface, Fault> {
        usize::try_from(number)
            .ok()
            .and_then(|number| self.interfaces.get(number))
            .ok_or(Fault::Malformed("a packet of an interface that is not described"))
    }
}

/// The length of a packet, if its block holds it and it may be read.
fn packet_len(captured: u32, header: usize, trailer: Trailer) -> Result<usize, Fault> {
    let len = usize::try_from(captured).unwrap_or(usize::MAX);
    let needed = header.saturating_add(len).saturating_add(4);
    if needed > usize::try_from(trailer.len).unwrap_or(usize::MAX) {
        return Err(Fault::Malformed("a packet longer than its block"));
    }
    if len > PACKET_LIMIT_BYTES {
        return Err(Fault::TooLong(captured));
    }
    Ok(len)
}

/// The packet, unless the stream ends within it.
fn whole(window: &mut Window, located: Located) -> Result<Option<Located>, Fault> {
    let needed = located.start.saturating_add(located.len);
    let there = window.need(needed).map_err(Fault::Read)?.len();
    Ok((there >= needed).then_some(located))
}

fn section_order(head: &[u8]) -> Option<Order> {
    [Order::Little, Order::Big].into_iter().find(|o| o.u32_at(head, 8) == Some(ORDER_MAGIC))
}

impl Interface {
    /// Options that change times; those cut short or unknown are passed over.
    fn read_options(&mut self, order: Order, mut options: &[u8]) {
        while let (Some(code), Some(len)) = (order.u16_at(options, 0), order.u16_at(options, 2)) {
            match code {
                OPTION_END => return,
                OPTION_RESOLUTION if len >= 1 => {
                    if let Some(&value) = options.get(4) {
                        self.resolution = Resolution(value);
                    }
                }
                OPTION_OFFSET if len >= 8 => {
                    if let Some(value) = order.u64_at(options, 4) {
                        self.offset_secs = value.cast_signed();
                    }
                }
                _ => {}
            }
            let next = usize::from(len).next_multiple_of(4).saturating_add(4);
            options = options.get(next..).unwrap_or_default();
        }
    }

    fn time(&self, ticks: u64) -> Timestamp {
        let nanos = self.resolution.nanos(ticks);
        let offset = self.offset_secs.unsigned_abs().saturating_mul(1_000_000_000);
        Timestamp::from_nanos(if self.offset_secs < 0 {
            nanos.saturating_sub(offset)
        } else {
            nanos.saturating_add(offset)
        })
    }
}

impl Resolution {
    /// What holds where a file says nothing.
    const MICROSECONDS: Self = Self(6);

    /// Ticks as nanoseconds, rounded down; times beyond the year 2554 stay there.
    fn nanos(self, ticks: u64) -> u64 {
        let ticks = u128::from(ticks);
        let exponent = u32::from(self.0 & 0x7f);
        let nanos = if self.0 & 0x80 != 0 {
            // At most 2^64 * 10^9 < 2^94, and the shift is at most 127.
            ticks.saturating_mul(1_000_000_000) >> exponent
        } else if exponent <= 9 {
            ticks.saturating_mul(10_u128.pow(9 - exponent))
        } else {
            10_u128.checked_pow(exponent - 9).map_or(0, |divisor| ticks / divisor)
        };
        u64::try_from(nanos).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolutions_of_both_bases_become_nanoseconds() {
        for (resolution, ticks, nanos) in [
            (6, 1_500_000, 1_500_000_000),
            (9, 7, 7),
            (0, 2, 2_000_000_000),
            (3, 2, 2_000_000),
            (12, 1_999, 1),
            (127, u64::MAX, 0),
            (0x80, 3, 3_000_000_000),
            (0x80 | 10, 1024, 1_000_000_000),
            (0x80 | 20, 1 << 19, 500_000_000),
            (0x80 | 127, u64::MAX, 0),
            (0, u64::MAX, u64::MAX),
        ] {
            assert_eq!(Resolution(resolution).nanos(ticks), nanos, "{resolution:#x} {ticks}");
        }
    }

    #[test]
    fn an_offset_moves_times_both_ways_and_stops_at_the_ends() {
        let mut interface = Interface {
            link: LinkType(1),
            snap_len: 0,
            resolution: Resolution(9),
            offset_secs: -1,
        };
        assert_eq!(interface.time(3_000_000_000), Timestamp::from_secs(2));
        assert_eq!(interface.time(5), Timestamp::ZERO);
        interface.offset_secs = i64::MAX;
        assert_eq!(interface.time(5), Timestamp::from_nanos(u64::MAX));
    }
}
