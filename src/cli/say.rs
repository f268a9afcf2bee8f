//! What commands tell on standard error. Results are not its business.

use super::terminal;
use crate::ruleset::Refused;
use std::fmt::Display;

/// Something on the way failed and was told.
pub(super) struct Failed;

/// Tells what failed.
pub(super) fn fail(what: &dyn Display) -> Failed {
    complain(what);
    Failed
}

/// Tells what is wrong, where other things go on.
pub(super) fn complain(what: &dyn Display) {
    eprintln!("error: {what}");
}

/// Tells what somebody may want to know.
pub(super) fn note(what: &dyn Display) {
    eprintln!("note: {what}");
}

/// Tells why a ruleset, a test file or a configuration is refused.
pub(super) fn refuse(refused: &Refused) -> Failed {
    eprintln!("{}", refused.render(terminal::errors()));
    Failed
}
