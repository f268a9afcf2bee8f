//! The compiled policy: segments, five-tuple classifier, name sets, and the one three-valued decision
//! function. Immutable; knows no files and no flows.

mod coarse;
mod compiled;
mod conditions;
mod decide;
mod decision;
mod entries;
mod filter;
mod flat;
mod info;
mod lanes;
mod listed;
mod matcher;
pub mod names;
mod networks;
mod pairs;
mod segments;
pub mod spec;
mod tuple_space;

pub use compiled::{CompileFault, Policy, RULES_LIMIT};
pub use decision::{
    Approach, BindingLookup, Bound, Condition, Decision, Message, Needs, NoTrace, Opening, Query,
    RecordedTrace, Toward, Trace, TraceStep, Truth,
};
pub use info::{BlockInfo, RuleInfo, SegmentInfo};
pub use pairs::{AMBIGUITIES_LIMIT, Ambiguity, SEGMENTS_LIMIT, ambiguities};
pub use segments::{COMMON_SCOPE, Located};
pub use tuple_space::Shortlist;
