//! A capture of bare packets, wrapped as GWLB would have delivered it: what was captured between
//! real programs becomes what the instance receives. One encapsulation for every packet of a flow.

use super::gwlb::Encapsulation;
use crate::flow::{Secret, symmetric_hash};
use crate::model::{EndpointId, FlowCookie};
use crate::wire::{self, Checksums, Decapsulation, Link, Packet, Settings};

/// How bare frames are read.
const BARE: Settings = Settings {
    decapsulation: Decapsulation::Capture,
    checksums: Checksums::Ignore,
    outer_udp: Checksums::Ignore,
};
/// The first of the ports GWLB chooses outer source ports from, as far as seen.
const SOURCE_PORTS: u16 = 49_152;

/// Wraps frames for one endpoint.
#[derive(Clone, Debug)]
pub struct Wrapper {
    endpoint: EndpointId,
    secret: Secret,
}

impl Wrapper {
    /// Everything wrapped comes from `endpoint`.
    #[must_use]
    pub fn new(endpoint: EndpointId) -> Self {
        Self { endpoint, secret: Secret::new(0x6c6f_636b, 0x6761_7465) }
    }

    /// The Ethernet frame GWLB would have sent for this one; none for what is no IP. Outer source
    /// port and flow cookie are the flow's own, the same both ways.
    #[must_use]
    pub fn wrap(&self, frame: &[u8], link: Link) -> Option<Vec<u8>> {
        let packet: Packet = wire::parse(frame, link, &BARE).ok()?;
        let hash = symmetric_hash(&packet.tuple, &self.secret);
        let mut around = Encapsulation::of(self.endpoint);
        around.source_port = SOURCE_PORTS | u16::try_from(hash & 0x3fff).unwrap_or(0);
        around.cookie = FlowCookie(u32::try_from(hash >> 32).unwrap_or(1));
        Some(around.wrap(packet.inner(frame)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Protocol;
    use crate::synth::packet;

    #[test]
    fn a_wrapped_packet_is_what_gwlb_delivers_and_both_directions_share_their_encapsulation() {
        let endpoint = EndpointId(0x0a1b_2c3d_4e5f_6071);
        let tuple = packet::tuple(
            ("10.20.1.5".parse().unwrap(), 40_000),
            ("10.100.4.7".parse().unwrap(), 53),
            Protocol::UDP,
        );
        let wrapper = Wrapper::new(endpoint);
        let there = wrapper.wrap(&packet::udp(&tuple, b"q"), Link::RawIp).unwrap();
        let back = wrapper.wrap(&packet::udp(&tuple.reverse(), b"a"), Link::RawIp).unwrap();
        let read = |frame: &[u8]| wire::parse(frame, Link::Ethernet, &Settings::GWLB).unwrap();
        let (there, back) = (read(&there), read(&back));
        assert_eq!(there.tuple, tuple);
        let outer = there.outer.unwrap();
        assert_eq!(outer.endpoint, endpoint);
        assert_eq!(outer.cookie, back.outer.unwrap().cookie);
    }

    #[test]
    fn what_is_no_ip_is_not_wrapped() {
        let arp = [0xffu8; 60];
        assert!(Wrapper::new(EndpointId(1)).wrap(&arp, Link::Ethernet).is_none());
    }
}
