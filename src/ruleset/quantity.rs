//! Quantities of the language: dates, durations, sizes.

use super::decode::{Fault, Scalar};
use super::scalar::clip;
use crate::model::Span;
use schemars::{Schema, json_schema};

/// A day, counted from 1970-01-01.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Date(pub(crate) u32);

impl Date {
    /// Days since 1970-01-01.
    #[must_use]
    pub const fn days(self) -> u32 {
        self.0
    }

    /// So many days after 1970-01-01.
    #[must_use]
    pub fn from_days(days: u64) -> Self {
        Self(u32::try_from(days).unwrap_or(u32::MAX))
    }

    /// Reads `2027-06-30`.
    #[must_use]
    pub fn parse_day(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let (year, month, day) = (parts.next()?, parts.next()?, parts.next()?);
        let digits = |s: &str, n: usize| s.len() == n && s.bytes().all(|b| b.is_ascii_digit());
        if parts.next().is_some() || !digits(year, 4) || !digits(month, 2) || !digits(day, 2) {
            return None;
        }
        let (year, month, day) = (year.parse().ok()?, month.parse().ok()?, day.parse().ok()?);
        days(year, month, day).map(Self)
    }
}

/// Days from 1970-01-01 to a date of the Gregorian calendar; none if there is no such date.
fn days(year: u32, month: u32, day: u32) -> Option<u32> {
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let length = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        _ => return None,
    };
    if !(1970..=2553).contains(&year) || !(1..=length).contains(&day) {
        return None;
    }
    // Counted in years that start in March, so that the leap day is the last of its year.
    let shifted_year = if month <= 2 { year.checked_sub(1)? } else { year };
    let shifted_month = if month > 2 { month.checked_sub(3)? } else { month.checked_add(9)? };
    let leaps =
        (shifted_year / 4).checked_sub(shifted_year / 100)?.checked_add(shifted_year / 400)?;
    let day_of_year = shifted_month.checked_mul(153)?.checked_add(2)? / 5;
    let day_of_year = day_of_year.checked_add(day)?.checked_sub(1)?;
    shifted_year
        .checked_mul(365)?
        .checked_add(leaps)?
        .checked_add(day_of_year)?
        .checked_sub(719_468)
}

impl std::fmt::Display for Date {
    /// As rulesets have it: `2027-06-30`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let day = crate::model::Timestamp::from_secs(u64::from(self.0).saturating_mul(86_400));
        let text = day.to_string();
        f.write_str(text.split('T').next().unwrap_or_default())
    }
}

impl Scalar for Date {
    const WHAT: &'static str = "date";

    fn parse(text: &str) -> Result<Self, Fault> {
        Self::parse_day(text).ok_or_else(|| {
            Fault::new("bad-date", format!("`{}` is no date", clip(text)))
                .label("no such day")
                .help("write year, month and day, such as 2027-06-30")
        })
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "format": "date", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}$" })
    }
}

impl Scalar for Span {
    const WHAT: &'static str = "duration";

    fn parse(text: &str) -> Result<Self, Fault> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let per_ms: Option<u64> = match unit {
            "ms" => Some(1),
            "s" => Some(1_000),
            "m" => Some(60_000),
            "h" => Some(3_600_000),
            _ => None,
        };
        let ms = number.parse::<u64>().ok().zip(per_ms).and_then(|(n, per)| n.checked_mul(per));
        match ms.filter(|&ms| ms <= 86_400_000) {
            Some(ms) => Ok(Self::from_millis(ms)),
            None => Err(Fault::new("bad-duration", format!("`{}` is no duration", clip(text)))
                .label(if unit.is_empty() { "a unit is missing" } else { "not understood" })
                .help("write a number with ms, s, m or h, such as 350s; at most 24h")),
        }
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "pattern": "^[0-9]+(ms|s|m|h)$" })
    }
}

/// A number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size(pub(crate) u64);

impl Scalar for Size {
    const WHAT: &'static str = "size";

    fn parse(text: &str) -> Result<Self, Fault> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let factor: Option<u64> = match unit {
            "" | "B" => Some(1),
            "KiB" => Some(1 << 10),
            "MiB" => Some(1 << 20),
            "GiB" => Some(1 << 30),
            _ => None,
        };
        number
            .parse::<u64>()
            .ok()
            .zip(factor)
            .and_then(|(n, by)| n.checked_mul(by))
            .map(Self)
            .ok_or_else(|| {
                Fault::new("bad-size", format!("`{}` is no size", clip(text)))
                    .label("not understood")
                    .help("write a number with B, KiB, MiB or GiB, such as 8MiB")
            })
    }

    fn schema() -> Schema {
        json_schema!({ "anyOf": [
            { "type": "integer", "minimum": 0 },
            { "type": "string", "pattern": "^[0-9]+(B|KiB|MiB|GiB)?$" },
        ] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Timestamp;

    #[test]
    fn dates_are_days_of_the_calendar() {
        for (text, day) in [
            ("1970-01-01", Some(0)),
            ("1970-03-01", Some(59)),
            ("2000-02-29", Some(11_016)),
            ("2026-11-21", Some(20_778)),
            ("2027-02-29", None),
            ("2027-06-31", None),
            ("2027-00-10", None),
            ("1969-12-31", None),
            ("2027-6-30", None),
            ("+027-06-30", None),
            ("2027-06-30-1", None),
        ] {
            assert_eq!(Date::parse_day(text).map(Date::days), day, "{text}");
        }
        for day in [0u32, 58, 59, 365, 789, 11_016, 20_778, 100_000] {
            let text = Timestamp::from_secs(u64::from(day) * 86_400).to_string();
            assert_eq!(Date::parse_day(&text[..10]), Some(Date(day)), "{text}");
        }
    }

    #[test]
    fn durations_and_sizes_end_at_their_limits() {
        for (text, ms) in [
            ("350s", Some(350_000)),
            ("5ms", Some(5)),
            ("24h", Some(86_400_000)),
            ("25h", None),
            ("5", None),
            ("s", None),
            ("", None),
            ("5 s", None),
        ] {
            assert_eq!(Span::parse(text).ok().map(Span::as_millis), ms, "{text}");
        }
        for (text, bytes) in [
            ("96KiB", Some(98_304)),
            ("8MiB", Some(8 << 20)),
            ("17179869183GiB", Some(17_179_869_183 << 30)),
            ("17179869184GiB", None),
            ("8MB", None),
            ("7", Some(7)),
        ] {
            assert_eq!(Size::parse(text).ok().map(|s| s.0), bytes, "{text}");
        }
    }
}
