//! The compiled policy: segments, five-tuple classifier, name sets, and the one three-valued decision
//! function. Immutable; knows no files and no flows.

mod compiled;
mod decision;
mod info;
pub mod names;
pub mod spec;

pub use compiled::{CompileFault, Located, Policy};
pub use decision::{
    BindingLookup, Bound, Condition, Decision, Needs, NoTrace, Query, RecordedTrace, Trace,
    TraceStep, Truth,
};
pub use info::{BlockInfo, RuleInfo, SegmentInfo};
