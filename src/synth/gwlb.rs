//! GENEVE as a Gateway Load Balancer sends it: Ethernet, IPv4, UDP 6081, GENEVE with the three
//! options (class 0x0108), the inner packet. For tests, benches and wrapped captures.

use crate::model::{AttachmentId, EndpointId, FlowCookie};
use etherparse::PacketBuilder;

/// What stands around an inner packet.
#[derive(Clone, Copy, Debug)]
pub struct Encapsulation {
    /// The GWLB node.
    pub gateway: [u8; 4],
    /// The target: the instance itself.
    pub target: [u8; 4],
    /// Outer UDP source port; GWLB chooses one per flow.
    pub source_port: u16,
    /// Option type 1.
    pub endpoint: EndpointId,
    /// Option type 2.
    pub attachment: AttachmentId,
    /// Option type 3.
    pub cookie: FlowCookie,
}

impl Encapsulation {
    /// Traffic of one endpoint, everything else fixed.
    #[must_use]
    pub const fn of(endpoint: EndpointId) -> Self {
        Self {
            gateway: [10, 99, 0, 1],
            target: [10, 99, 0, 2],
            source_port: 51_234,
            endpoint,
            attachment: AttachmentId(0x0a1b_2c3d_4e5f_6071),
            cookie: FlowCookie(0xc0ff_ee01),
        }
    }

    /// The GENEVE header with its options (40 bytes) for an inner packet of this IP version.
    #[must_use]
    pub fn header(&self, ipv6: bool) -> [u8; 40] {
        let protocol: u16 = if ipv6 { 0x86dd } else { 0x0800 };
        let mut header = [0; 40];
        let mut at = 0;
        let mut put = |bytes: &[u8]| {
            if let Some(room) = header.get_mut(at..at + bytes.len()) {
                room.copy_from_slice(bytes);
            }
            at += bytes.len();
        };
        put(&[8, 0]);
        put(&protocol.to_be_bytes());
        put(&[0; 4]);
        put(&[0x01, 0x08, 0x01, 0x02]);
        put(&self.endpoint.0.to_be_bytes());
        put(&[0x01, 0x08, 0x02, 0x02]);
        put(&self.attachment.0.to_be_bytes());
        put(&[0x01, 0x08, 0x03, 0x01]);
        put(&self.cookie.0.to_be_bytes());
        header
    }

    /// The whole Ethernet frame around an inner IP packet; the outer UDP checksum is zero.
    #[must_use]
    pub fn wrap(&self, inner: &[u8]) -> Vec<u8> {
        let ipv6 = inner.first().is_some_and(|first| first >> 4 == 6);
        let mut payload = Vec::with_capacity(40 + inner.len());
        payload.extend_from_slice(&self.header(ipv6));
        payload.extend_from_slice(inner);
        let step = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2])
            .ipv4(self.gateway, self.target, 255)
            .udp(self.source_port, 6081);
        let mut frame = Vec::with_capacity(step.size(payload.len()));
        if step.write(&mut frame, &payload).is_err() {
            frame.clear();
        }
        if let Some(checksum) = frame.get_mut(40..42) {
            checksum.fill(0);
        }
        frame
    }
}
