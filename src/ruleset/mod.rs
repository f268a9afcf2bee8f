//! Ruleset files to a checked model to a compiled policy, with diagnostics for people.

mod build;
mod check;
mod decode;
mod diagnostic;
mod document;
mod files;
mod merge;
mod names;
mod pairs;
mod quantity;
mod rules;
mod scalar;
mod sets;
mod source;
mod suggest;
mod term;
mod yaml;

pub use check::Capacity;
pub use diagnostic::{DIAGNOSTICS_LIMIT, Diagnostic, Label, Severity, Style};
pub use quantity::Date;
pub use source::{At, FileId, LineColumn, Place, Source, Sources};
