//! Ruleset files to a checked model to a compiled policy, with diagnostics for people.

mod diagnostic;
mod decode;
mod document;
mod names;
mod scalar;
mod source;
mod suggest;
mod yaml;

pub use diagnostic::{DIAGNOSTICS_LIMIT, Diagnostic, Label, Severity, Style};
pub use scalar::Date;
pub use source::{At, FileId, LineColumn, Place, Source, Sources};
