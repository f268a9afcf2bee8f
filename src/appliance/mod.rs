//! The live process: configuration, workers, health, reload, drain, control, records, privileges.
//! Packets are judged by `engine` and moved by `io::live`; here is what an operator sees of it.
//!
//! ```text
//! config ─▶ start ─▶ worker ─┬─▶ port ⇄ engine     one thread each; between two batches it obeys
//!                            ◀── command           commands: install, snapshot, walk, explain, stop
//!   supervise (signals, files, expiry, drain) ─┐
//!   http (health, metrics) ────────────────────┼─▶ instance ─▶ commands of all workers
//!   control (ctl) ─────────────────────────────┘
//!                  worker ─▶ flow_log ─▶ file      bounded; what finds no room is lost and counted
//! ```
//!
//! Nothing here is on a packet's way but [`worker`]; nothing there waits for any of the others.

pub mod addresses;
pub mod check;
pub mod clock;
pub mod command;
pub mod config;
pub mod control;
pub mod denied;
pub mod drain;
pub mod exposition;
pub mod filter;
pub mod flow_log;
pub mod health;
pub mod http;
pub mod instance;
pub mod latency;
pub mod metrics;
pub mod notify;
pub mod privileges;
pub mod process_log;
pub mod reload;
pub mod remarks;
pub mod rulesets;
pub mod sink;
pub mod stamps;
pub mod start;
pub mod supervise;
pub mod totals;
pub mod verdicts;
pub mod watch;
pub mod worker;
