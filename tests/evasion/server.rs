//! What a server makes of the packets that reach it: two ways of putting a TCP stream together that
//! differ where receivers do, and the datagrams as they come. It judges nothing.

use std::collections::BTreeMap;

/// Hops a packet needs from the engine to the server.
const HOPS_NEEDED: u8 = 5;

/// The client's packets as a server reads them.
#[derive(Debug, Default)]
pub(crate) struct Server {
    /// Sequence number of the first byte.
    base: Option<u32>,
    /// Bytes by place, the first copy of each kept.
    first: BTreeMap<u32, u8>,
    /// The same with the last copy kept.
    last: BTreeMap<u32, u8>,
    /// The latest timestamp seen (RFC 7323 section 5.3).
    stamp: Option<u32>,
    datagrams: Vec<u8>,
    fragments: BTreeMap<u32, BTreeMap<usize, Vec<u8>>>,
    /// Payload bytes that reached it, whatever it makes of them.
    pub(crate) bytes: usize,
    /// Datagrams with payload that reached it.
    pub(crate) packets: usize,
}

impl Server {
    /// Takes an IP packet of the client.
    pub(crate) fn take(&mut self, packet: &[u8]) {
        let v4 = packet[0] >> 4 == 4;
        let hops = if v4 { packet[8] } else { packet[7] };
        if hops < HOPS_NEEDED {
            return;
        }
        let (protocol, part, body) = if v4 {
            let field = u16::from_be_bytes([packet[6], packet[7]]);
            let part = (field & 0x3fff != 0).then_some(usize::from(field & 0x1fff) * 8);
            (packet[9], part, &packet[20..])
        } else if packet[6] == 44 {
            let field = u16::from_be_bytes([packet[42], packet[43]]);
            (packet[40], Some(usize::from(field & !7)), &packet[48..])
        } else {
            (packet[6], None, &packet[40..])
        };
        match part {
            Some(offset) => {
                let id = u32::from(packet[if v4 { 5 } else { 47 }]);
                self.fragments.entry(id).or_default().insert(offset, body.to_vec());
                let whole = self.fragments[&id].values().flatten().copied().collect::<Vec<u8>>();
                // The corpus lets a packet's fragments arrive together or not at all.
                self.bytes += body.len();
                self.packets += 1;
                self.read(protocol, &whole);
            }
            None => {
                let header = if protocol == 17 { 8 } else { usize::from(body[12] >> 4) * 4 };
                self.bytes += body.len() - header;
                self.packets += usize::from(body.len() > header);
                self.read(protocol, body);
            }
        }
    }

    fn read(&mut self, protocol: u8, body: &[u8]) {
        if protocol == 17 {
            self.datagrams.extend(body.get(8..).unwrap_or_default());
            return;
        }
        let Some(header) = body.get(..20) else { return };
        let seq = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
        let payload = body.get(usize::from(header[12] >> 4) * 4..).unwrap_or_default();
        let syn = header[13] & 2 != 0;
        if syn {
            self.base.get_or_insert(seq.wrapping_add(1));
        }
        if header[12] >> 4 == 8 {
            let stamp = u32::from_be_bytes([body[24], body[25], body[26], body[27]]);
            if self.stamp.is_some_and(|latest| stamp < latest) {
                return;
            }
            self.stamp = Some(stamp);
        }
        let Some(base) = self.base else { return };
        let start = seq.wrapping_add(u32::from(syn)).wrapping_sub(base);
        for (at, byte) in (0_u32..).zip(payload) {
            let place = start.wrapping_add(at);
            if place < 1 << 31 {
                self.first.entry(place).or_insert(*byte);
                self.last.insert(place, *byte);
            }
        }
    }

    /// The streams and datagrams a server may have read.
    pub(crate) fn readings(&self) -> [Vec<u8>; 3] {
        let stream = |bytes: &BTreeMap<u32, u8>| {
            (0_u32..).map_while(|place| bytes.get(&place).copied()).collect()
        };
        [stream(&self.first), stream(&self.last), self.datagrams.clone()]
    }
}
