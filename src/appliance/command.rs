//! What a worker can be asked between two batches. Values; the worker carries them out.

use super::denied::Kept;
use super::filter::Filter;
use super::totals::Snapshot;
use crate::engine::Explanation;
use crate::engine::record::FlowRecord;
use crate::model::{FiveTuple, FlowVerdict, ScopeId, Timestamp};
use crate::policy::Policy;
use crossbeam_channel::Sender;
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
    /// How the flow of this five-tuple came to its verdict, and when that was told.
    Explain(ScopeId, FiveTuple, Sender<Option<Box<(Explanation, Timestamp)>>>),
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
    /// Flows listed at most; the others are only counted.
    pub room: usize,
    /// The next place of the table.
    pub at: usize,
    /// What was found so far.
    pub found: Found,
    /// Who is told at the end.
    pub reply: Sender<Found>,
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
    /// Some of them, each with the ruleset it was decided under.
    pub flows: Vec<(Live, Arc<Policy>)>,
    /// Verdicts that would change.
    pub changes: Vec<(Live, FlowVerdict)>,
    /// How many would change.
    pub changed: u64,
    /// How many of these are allowed now and would not be.
    pub cut: u64,
}

impl Found {
    /// Adds what another worker found.
    pub fn merge(&mut self, other: Self) {
        self.matched = self.matched.saturating_add(other.matched);
        self.changed = self.changed.saturating_add(other.changed);
        self.cut = self.cut.saturating_add(other.cut);
        self.flows.extend(other.flows);
        self.changes.extend(other.changes);
    }
}

impl Walk {
    /// A walk from the first place on.
    #[must_use]
    pub fn new(task: Task, filter: Filter, room: usize, reply: Sender<Found>) -> Self {
        Self { task, filter, room, at: 0, found: Found::default(), reply }
    }
}
