//! Stamps as people read them: the engine's time, which never jumps, moved by what the system's time
//! was set since the start. Nothing is judged by them.

use super::command::Live;
use crate::engine::record::{Event, FlowRecord};
use crate::io::live::Skew;

/// Moves the stamps of everything that is told.
pub fn correct(skew: Skew, events: &mut [Event]) {
    if skew == Skew::NONE {
        return;
    }
    for event in events {
        match event {
            Event::FlowStart(record) | Event::FlowEnd(record) | Event::MessageDenied(record) => {
                correct_record(skew, record);
            }
            Event::PacketDropped(packet) => packet.at = skew.apply(packet.at),
        }
    }
}

/// Moves the stamps of a flow.
pub fn correct_record(skew: Skew, record: &mut FlowRecord) {
    record.start = skew.apply(record.start);
    record.end = skew.apply(record.end);
}

/// A live flow with its stamps moved; it is as old as it was.
#[must_use]
pub fn corrected(skew: Skew, mut live: Live) -> Live {
    correct_record(skew, &mut live.record);
    live.now = skew.apply(live.now);
    live
}
