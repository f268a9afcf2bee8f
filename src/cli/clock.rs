//! The one look at the clock of commands that judge dates.

use crate::ruleset::Date;
use std::time::{SystemTime, UNIX_EPOCH};

const SECS_PER_DAY: u64 = 86_400;

/// Today in UTC; the first day of the epoch where the clock stands before it.
#[expect(clippy::disallowed_methods, reason = "the edge at which a command reads the clock")]
pub(super) fn today() -> Date {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Date::from_days(since.as_secs() / SECS_PER_DAY)
}
