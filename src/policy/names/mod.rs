//! Names that rules ask for: how they are written, and sets of them. What is matched is always a
//! [`crate::model::DomainName`] or its bytes; where names come from is not known here.

mod globs;
mod pattern;
mod set;
mod text;

pub use pattern::{NamePattern, PatternFault};
pub use set::{GLOBS_LIMIT, NameSet, SET_LIMIT_BYTES, SetFault};
pub use text::TextPattern;
