//! Live ports between network namespaces: what goes in comes back as the gateway expects it, on
//! either back end. Needs root; skips loudly without.

mod appliance;
mod binary;
mod cards;
mod end_to_end;
#[path = "../folder/mod.rs"]
mod folder;
mod gwlb;
mod lab;
mod links;
mod load;
mod mirror;
mod network;
mod overload;
mod ports;
mod quic;
mod rights;
mod served;
mod tls;
mod told;
mod web;
