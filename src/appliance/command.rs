//! What a worker can be asked between two batches. Values; the worker carries them out.

use super::denied::Kept;
use super::filter::Filter;
use super::totals::Snapshot;
use crate::engine::Explanation;
use crate::engine::record::FlowRecord;
use crate::model::{FiveTuple, FlowVerdict, ScopeId, Timestamp};
use crate::policy::Policy;
use crossbeam_channel::Sender;
use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::sync::Arc;

/// Commands that may wait for one worker.
pub const COMMANDS_MAX: usize = 64;
/// DNS answers of other workers, by batches, that may wait for one worker.
pub const LESSONS_MAX: usize = 1024;
/// Places of the flow table a worker looks at between two batches.
pub const PIECE: usize = 512;
/// Flows that one answer lists, over all workers.
pub const LISTED_MAX: usize = 10_000;

/// A command.
#[derive(Debug)]
pub enum Command {
    /// Judge by this policy from now on; the answer is its number.
    Install(Arc<Policy>, Sender<u32>),
    /// Tell all sums.
    Snapshot(Sender<Box<Snapshot>>),
    /// Walk over all flows, a piece between two batches.
    Walk(Box<Walk>),
    /// How the flow of this five-tuple came to its verdict.
    Explain(ScopeId, FiveTuple, Sender<Option<Box<Explained>>>),
    /// Refuse new flows, or take them again.
    Refuse(bool),
    /// Tell the kept packets of denied flows.
    Denied(Sender<Vec<Kept>>),
    /// End every flow and go.
    Stop,
}

/// A walk over all flows of a worker.
#[derive(Debug)]
pub struct Walk {
    /// What is done on the way.
    pub task: Task,
    /// Which flows are meant.
    pub filter: Filter,
    /// The next place of the table.
    pub at: usize,
    /// What was found so far, but for what is listed.
    pub found: Found,
    /// The oldest of the flows meant.
    pub flows: Oldest<Arc<Policy>>,
    /// The oldest whose verdict would change.
    pub changes: Oldest<Change>,
    /// Who is told at the end.
    pub reply: Sender<Found>,
}

/// How a live flow came to its verdict.
#[derive(Debug)]
pub struct Explained {
    /// The flow, and what is said of it now.
    pub found: Explanation,
    /// The ruleset that gives its record names.
    pub under: Arc<Policy>,
    /// When the worker looked.
    pub now: Timestamp,
}

/// A verdict that would change.
#[derive(Debug)]
pub struct Change {
    /// The ruleset that gives the flow's record names.
    pub under: Arc<Policy>,
    /// What would be said of the flow.
    pub next: FlowVerdict,
}

/// What a walk does with the flows meant.
#[derive(Clone, Debug)]
pub enum Task {
    /// Lists them.
    List,
    /// Counts those that packets still pass for.
    CountServed,
    /// Ends them.
    Flush,
    /// Lists those whose verdict this policy would change.
    Preview(Arc<Policy>),
}

/// A live flow as its worker saw it.
#[derive(Clone, Debug)]
pub struct Live {
    /// The flow.
    pub record: FlowRecord,
    /// When the worker looked: its age and silence are told from here, by which filters choose too.
    pub now: Timestamp,
}

/// What a walk found.
#[derive(Debug, Default)]
pub struct Found {
    /// Flows meant.
    pub matched: u64,
    /// How many of them stand as an earlier ruleset decided.
    pub earlier: u64,
    /// The oldest of them, each with the ruleset it was decided under.
    pub flows: Vec<(Live, Arc<Policy>)>,
    /// Verdicts that would change, of the oldest flows.
    pub changes: Vec<(Live, Change)>,
    /// How many would change.
    pub changed: u64,
    /// How many of these are allowed now and would not be.
    pub cut: u64,
    /// Records of flows it ended for which the flow log had no room.
    pub lost_records: u64,
}

impl Found {
    /// Adds what another worker found.
    pub fn merge(&mut self, other: Self) {
        self.matched = self.matched.saturating_add(other.matched);
        self.earlier = self.earlier.saturating_add(other.earlier);
        self.changed = self.changed.saturating_add(other.changed);
        self.cut = self.cut.saturating_add(other.cut);
        self.lost_records = self.lost_records.saturating_add(other.lost_records);
        self.flows.extend(other.flows);
        self.changes.extend(other.changes);
    }
}

impl Walk {
    /// A walk from the first place on, which lists so many flows at most, the oldest; the others are only
    /// counted.
    #[must_use]
    pub fn new(task: Task, filter: Filter, room: usize, reply: Sender<Found>) -> Self {
        let (flows, changes) = (Oldest::new(room), Oldest::new(room));
        Self { task, filter, at: 0, found: Found::default(), flows, changes, reply }
    }

    /// Tells what was found.
    pub fn end(mut self) {
        self.found.flows = self.flows.into_vec();
        self.found.changes = self.changes.into_vec();
        let _ = self.reply.send(self.found);
    }
}

/// The oldest of many flows, each with something about it. It costs a walk little more than a look at each:
/// nothing is sorted between two batches.
#[derive(Debug)]
pub struct Oldest<T> {
    room: usize,
    heap: BinaryHeap<Aged<T>>,
}

impl<T> Oldest<T> {
    /// So many of them.
    #[must_use]
    pub const fn new(room: usize) -> Self {
        Self { room, heap: BinaryHeap::new() }
    }

    /// Takes a flow in, if it is among the oldest so far.
    pub fn offer(&mut self, live: Live, about: T) {
        let aged = Aged(live, about);
        if self.heap.len() < self.room {
            self.heap.push(aged);
        } else if let Some(mut youngest) = self.heap.peek_mut()
            && aged < *youngest
        {
            *youngest = aged;
        }
    }

    /// They, in no order.
    #[must_use]
    pub fn into_vec(self) -> Vec<(Live, T)> {
        self.heap.into_iter().map(|Aged(live, about)| (live, about)).collect()
    }
}

/// A flow that is less than those that began behind it.
#[derive(Debug)]
struct Aged<T>(Live, T);

impl<T> Ord for Aged<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.age_order().cmp(&other.0.age_order())
    }
}

impl<T> PartialOrd for Aged<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> PartialEq for Aged<T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<T> Eq for Aged<T> {}

impl Live {
    /// What flows are listed by: the oldest first.
    #[must_use]
    pub const fn age_order(&self) -> (Timestamp, FiveTuple) {
        (self.record.start, self.record.tuple)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Addr, Protocol};

    #[test]
    fn the_oldest_are_kept_up_to_their_number_in_whatever_order_they_come() {
        let tuple = FiveTuple {
            src: Addr::v4([10, 0, 0, 1]),
            dst: Addr::v4([10, 0, 0, 2]),
            src_port: 1,
            dst_port: 2,
            protocol: Protocol::TCP,
        };
        let starts = [5, 3, 9, 1, 7];
        for (room, kept) in [
            (0, &[][..]),
            (1, &[1]),
            (4, &[1, 3, 5, 7]),
            (5, &[1, 3, 5, 7, 9]),
            (6, &[1, 3, 5, 7, 9]),
        ] {
            let mut oldest = Oldest::new(room);
            for start in starts {
                let start = Timestamp::from_secs(start);
                let record = FlowRecord::new(ScopeId::default(), tuple, start);
                oldest.offer(Live { record, now: start }, ());
            }
            let mut found: Vec<u64> =
                oldest.into_vec().iter().map(|(live, ())| live.record.start.as_secs()).collect();
            found.sort_unstable();
            assert_eq!(found, kept, "{room}");
        }
    }
}
