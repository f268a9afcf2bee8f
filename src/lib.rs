//! lockgate: an inspection data-plane firewall engine.
//!
//! It stands between partners and workloads behind an AWS Gateway Load Balancer (GWLB): GENEVE in,
//! judged by segment, five-tuple and name, GENEVE out. The same engine replays captures, so that
//! rules are tested before they ship.
//!
//! ```text
//! bytes in ─▶ io ─▶ pipeline ─▶ ┌──────────── engine (pure) ────────────┐ ─▶ pipeline ─▶ io ─▶ bytes out
//!   live socket, pcap   shard   │ wire ─▶ flow ─▶ inspect ─▶ policy     │      the same frame, its outer
//!                       by flow │ headers  state  names       verdict   │      addresses swapped in place
//!                               └───────────────────────────────────────┘
//!                                    ▲ compiled Policy (Arc, swapped)      │ events, counters
//! ruleset files ─▶ ruleset ──────────┘                                     ▼
//!                  parse, merge, check, compile                         observe ─▶ records, reports
//! ```
//!
//! # Architecture invariants: what is absent
//!
//! - The engine has no I/O, no clock, no thread, no global, no logging. Each frame carries its time.
//! - A flow belongs to one worker. Workers share nothing but the immutable compiled policy.
//! - A verdict does not depend on batch size or on the number of workers (but for `limit-*` reasons).
//! - A packet of a decided flow costs no allocation, no lock, no formatting, no reference count.
//! - Nothing is unbounded: every table, buffer, queue and loop over input has a named limit.
//! - A drop is a value with a [`model::Reason`], never an error.
//!
//! # Rooms, and who may import whom
//!
//! [`model`] < [`wire`] < {[`flow`], [`inspect`], [`policy`]} < [`engine`] < [`ruleset`] <
//! [`io`] < [`pipeline`] < [`observe`] < [`synth`] < {[`prove`], [`mod@bench`], [`appliance`]} <
//! [`cli`].
//! `tests/layering.rs` holds this order against the code.

pub mod appliance;
pub mod bench;
pub mod cli;
pub mod engine;
pub mod flow;
pub mod inspect;
pub mod io;
pub mod model;
pub mod observe;
pub mod pipeline;
pub mod policy;
pub mod prove;
pub mod ruleset;
pub mod synth;
pub mod wire;
