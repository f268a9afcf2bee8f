//! Packet sources and sinks: captures read and written, live traffic in and out. Frames are bytes
//! here; what they mean is for the engine.

pub mod live;
pub mod merge;
pub mod pcap;
pub mod trains;
