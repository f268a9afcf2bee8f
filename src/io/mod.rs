//! Packet sources and sinks: captures read and written. Frames are bytes here; what they mean is
//! for the engine.

pub mod merge;
pub mod pcap;
