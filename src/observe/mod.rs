//! Flow records, summaries and counters made readable: text for people, JSON lines and CSV for
//! programs, the frame of HTML pages. Nothing is decided or counted twice here.
//!
//! The fields of JSON and CSV are described in `docs/records.md`.

mod csv;
mod json;
mod names;
pub mod page;
mod recorder;
mod summary;
mod text;

pub use csv::{CSV_HEADER, csv_line};
pub use json::{event_json, flow_json, summary_json};
pub use names::Names;
pub use recorder::{Only, Out, RECORDS_MAX, Recorder, RecorderError, Style};
pub use summary::{PairTotals, ReasonTotals, Summary, Totals};
pub use text::{Layout, NARROW_BELOW, plural, quantity, text_lines};

#[cfg(test)]
pub(crate) mod tests;
