//! `lockgate bench`: how fast the engine is on this machine, beside the least that could be done
//! (the [`floor`]), measured turn by turn in one process. The one room besides the appliance that
//! reads clocks; nothing of the engine knows that it is measured.
//!
//! ```text
//! mix, captures ─▶ tape ─▶ subject ─▶ figures ─▶ report (text, JSON, HTML)
//!                    └───▶ floor ──────┘
//! ```

pub mod allocations;
pub mod captures;
pub mod clock;
pub mod dice;
pub mod figures;
pub mod floor;
pub mod load;
pub mod mix;
pub mod plan;
pub mod report;
pub mod rules;
pub mod shards;
pub mod stages;
pub mod subject;
pub mod tape;
