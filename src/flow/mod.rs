//! State per flow: the flow table, TCP tracking, fragments, timers. Knows no rules and no names.
//!
//! - [`FlowKey`], [`Secret`]: who a packet belongs to, and the keyed hash of it.
//! - [`FlowTable`]: bounded storage with exact deadlines, for flows and for fragment trains.
//! - [`TcpTracker`]: is this segment possible now, and what became of its connection.
//! - [`Fragments`]: the first fragment's verdict governs the later ones.
//! - [`TokenBucket`], [`SegmentFlows`]: how many flows, and how fast.

mod fragment;
mod index;
mod key;
mod lanes;
mod limits;
mod table;
mod tcp;
mod timeouts;
mod wheel;

pub use fragment::{Admission, FragmentKey, FragmentLimits, Fragments, Piece, Refused};
pub use key::{FlowHash, FlowKey, Near, Secret, symmetric_hash};
pub use limits::{SegmentFlows, SegmentLimit, TokenBucket};
pub use table::{Expired, FLOWS_MAX, Fate, FlowId, FlowTable, Found, Full, Likely};
pub use tcp::{Candidate, Segment, TcpEvent, TcpState, TcpTracker, flag};
pub use timeouts::Timeouts;
