//! Days: the one look at the clock of commands that judge dates, and how a day is written as an argument.

use crate::ruleset::Date;
use std::time::{SystemTime, UNIX_EPOCH};

const SECS_PER_DAY: u64 = 86_400;

/// Today in UTC; the first day of the epoch where the clock stands before it.
#[expect(clippy::disallowed_methods, reason = "the edge at which a command reads the clock")]
pub(super) fn today() -> Date {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Date::from_days(since.as_secs() / SECS_PER_DAY)
}

/// Reads a day.
pub(super) fn date(text: &str) -> Result<Date, String> {
    Date::parse_day(text).ok_or_else(|| format!("`{text}` is no date; write 2027-06-30"))
}
