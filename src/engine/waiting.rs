//! What decided flows hold beside what was decided, and how long it waits. How undecided flows end is
//! not said here.

use super::entry::Flow;
use super::state::{Inspection, Stage};
use super::{Engine, Output, Parcel};
use crate::flow::FlowId;
use crate::model::{Protocol, Reason};

impl Engine {
    /// Whether what a decided flow holds is no part of a message of its own: datagrams that stand beside
    /// those decided, or segments behind a gap, whose sender repeats them.
    pub(super) fn outlives_waiting(&self, protocol: Protocol, flow: &Flow) -> bool {
        let case = self.cases.get(flow.case);
        let waiting = case.and_then(|case| case.inspection.as_deref());
        flow.stage() == Stage::Following
            && waiting.filter(|open| !open.held.is_empty()).is_some_and(|open| {
                let unread = || open.lanes.iter().any(|lane| !lane.head.bytes().is_empty());
                protocol != Protocol::TCP || !unread()
            })
    }

    /// Drops what a flow has held for as long as one may; it goes on as it was decided, and ends when it
    /// would have without. False: that is over too.
    pub(super) fn stop_waiting(&mut self, id: FlowId, out: &mut Output) -> bool {
        self.discard_held(id, Reason::HeldDiscarded, out);
        let Some((key, due, flow)) = self.table.entry(id) else { return false };
        let (protocol, last) = (key.protocol(), self.last_packet(key.protocol(), due, flow));
        let idle = self.idle(&flow.tcp, protocol);
        self.table.touch(id, last, idle);
        last + idle > self.now
    }

    /// Lets go what is cleared. What a flow still holds of the messages behind those that were allowed
    /// has its own time from now on.
    pub(super) fn release_decided(
        &mut self,
        id: FlowId,
        inspection: &mut Inspection,
        parcel: &Parcel<'_>,
        out: &mut Output,
    ) {
        let held = inspection.held.len();
        self.release(id, inspection, parcel, out);
        let follows = self.table.get(id).is_some_and(|flow| flow.stage() == Stage::Following);
        if follows && inspection.held.len() < held {
            inspection.deadline = self.now + self.policy.defaults().pending_timeout;
        }
    }
}
