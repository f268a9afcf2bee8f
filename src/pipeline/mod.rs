//! Threads: captured packets are sharded by flow, judged by workers that share nothing, and their
//! results are put back into the order of the capture. No packet is understood here beyond which
//! worker it belongs to.
//!
//! ```text
//!              ┌─▶ worker ─┐
//! Captures ─▶ Sharder ─▶ worker ─▶ Reorder ─▶ Sink
//!              └─▶ worker ─┘           │
//!   ▲          empty batches           │
//!   └──────────────────────────────────┘
//! ```
//!
//! What reaches the sink does not depend on the number of workers nor on how batches were cut, as
//! long as [`REORDER_LIMIT_BYTES`] is not reached.

mod batch;
mod offload;
mod reorder;
mod replay;
mod run;
mod shard;

#[cfg(test)]
mod tests;

pub use batch::{BATCH_BYTES, BATCH_FRAMES, Batch};
pub use offload::{Offload, SAMPLE_PACKETS, offload};
pub use reorder::{Fate, REORDER_LIMIT_BYTES, Settled};
pub use replay::{ReplayOptions, Replayed, WORKERS_MAX, replay};
pub use run::{Finished, Progress, QUEUE_BATCHES, Sink, Worker, run};
pub use shard::Sharder;
