//! State per flow: the flow table, TCP tracking, timers. Knows no rules and no names.
//!
//! - [`FlowKey`], [`Secret`]: who a packet belongs to, and the keyed hash of it.
//! - [`FlowTable`]: bounded storage with exact deadlines.
//! - [`TcpTracker`]: is this segment possible now, and what became of its connection.
//! - [`TokenBucket`]: how fast something may happen.
//! - [`Shares`]: who has how many of what there is only so much of.

mod bucket;
mod index;
mod key;
mod lanes;
mod share;
mod table;
mod tcp;
mod timeouts;
mod wheel;

pub use bucket::TokenBucket;
pub use key::{FlowHash, FlowKey, Near, Secret, symmetric_hash};
pub use share::Shares;
pub use table::{Expired, FLOWS_MAX, Fate, FlowId, FlowTable, Found, Full, Likely};
pub use tcp::{Candidate, Segment, TcpEvent, TcpState, TcpTracker, flag};
pub use timeouts::Timeouts;
