//! Bytes to headers and back: link layers, GENEVE with the GWLB options, VXLAN, inner IP and transport
//! headers, checksums, and the building of answers. No state, no policy.
//!
//! ```text
//! frame ─▶ link ─▶ outer (IPv4, UDP) ─▶ geneve | vxlan ─▶ ip ─▶ tcp | icmp | transport ─▶ Packet
//! ```
//!
//! [`parse`] never allocates and never panics, whatever the bytes are.

pub mod answer;
mod bytes;
mod checksum;
mod geneve;
mod icmp;
mod ip;
mod link;
pub mod near;
mod outer;
mod packet;
mod parse;
mod tcp;
mod transport;
mod usual;
mod vxlan;

#[cfg(any(test, fuzzing))]
pub mod invariants;
#[cfg(test)]
mod tests;

pub use checksum::{Sum, header_checksum_ok, reassembled_checksum_ok, transport_checksum_ok};
pub use geneve::{GENEVE_PORT, GWLB_OPTION_CLASS};
pub use icmp::Quoted;
pub use ip::IPV6_EXTENSION_LIMIT;
pub use link::{Link, VLAN_LIMIT};
pub use outer::{Outer, reflect};
pub use packet::{Body, Fragment, Packet};
pub use parse::{Checksums, Decapsulation, ENCAPSULATION_LIMIT, Settings, parse, read};
pub use tcp::{TcpFlags, TcpSegment, timestamp};
pub use usual::{
    Glimpse, TcpGlimpse, at_length, glimpse, payload_of_usual_datagram, reflect_usual,
    usual_datagram_is_intact, usual_segment_is_intact, wscale_of_usual,
};
pub use vxlan::VXLAN_PORT;
