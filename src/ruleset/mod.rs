//! Ruleset files to a checked model to a compiled policy, with diagnostics for people.

mod decode;
mod diagnostic;
mod document;
mod files;
mod merge;
mod names;
mod quantity;
mod scalar;
mod sets;
mod source;
mod suggest;
mod term;
mod yaml;

pub use diagnostic::{DIAGNOSTICS_LIMIT, Diagnostic, Label, Severity, Style};
pub use quantity::Date;
pub use source::{At, FileId, LineColumn, Place, Source, Sources};
