//! What commands tell on standard error. Results are not its business.

use super::terminal;
use crate::ruleset::Refused;
use std::fmt::Display;
use std::io::{self, Write};

/// Something on the way failed and was told.
pub(super) struct Failed;

/// Writes a line. Where nobody listens any more (`2>&1 | head`) the work goes on all the same.
pub(super) fn tell(what: &dyn Display) {
    hint(&format_args!("{what}\n"));
}

/// Writes what ends no line, such as progress.
pub(super) fn hint(what: &dyn Display) {
    let _ = write!(io::stderr().lock(), "{what}");
}

/// Tells what failed.
pub(super) fn fail(what: &dyn Display) -> Failed {
    complain(what);
    Failed
}

/// Tells what is wrong, where other things go on.
pub(super) fn complain(what: &dyn Display) {
    tell(&format_args!("error: {what}"));
}

/// Tells what somebody may want to know.
pub(super) fn note(what: &dyn Display) {
    tell(&format_args!("note: {what}"));
}

/// Tells why a ruleset, a test file or a configuration is refused.
pub(super) fn refuse(refused: &Refused) -> Failed {
    tell(&refused.render(terminal::errors()));
    Failed
}
