//! The one clock of live traffic: read once a batch. It never runs backwards, whatever is done to
//! the system's time: flows would expire at once or never. How far that was set since is told apart,
//! for stamps that people read.

use crate::model::{Span, Timestamp};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// The least by which the system's time is taken to have been set: 10 ms. Adjusting its speed (as NTP
/// does) moves both clocks alike.
const SET_NANOS: u64 = 10_000_000;
/// Two readings this close tell a difference.
const READ_TOGETHER: Span = Span::from_millis(1);

/// A clock that was started.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    at_start: Timestamp,
    start: Instant,
}

/// How far the system's time was set since a clock started; the clock does not follow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Skew {
    /// Nanoseconds by which it is ahead; negative, if it was set back.
    nanos: i64,
}

impl Skew {
    /// Both agree.
    pub const NONE: Self = Self { nanos: 0 };

    /// The difference between the system's time and a clock's at one moment.
    #[must_use]
    pub fn between(clock: Timestamp, system: Timestamp) -> Self {
        let signed = |at: Timestamp| i128::from(at.as_nanos());
        let ahead = signed(system).saturating_sub(signed(clock));
        let bound = if ahead < 0 { i64::MIN } else { i64::MAX };
        Self { nanos: i64::try_from(ahead).unwrap_or(bound) }
    }

    /// From nanoseconds by which the system's time is ahead.
    #[must_use]
    pub const fn from_nanos(nanos: i64) -> Self {
        Self { nanos }
    }

    /// Nanoseconds by which the system's time is ahead.
    #[must_use]
    pub const fn as_nanos(self) -> i64 {
        self.nanos
    }

    /// Whether it differs from another by at least so much that the system's time was set: reading two
    /// clocks one behind the other takes less.
    #[must_use]
    pub const fn differs(self, other: Self) -> bool {
        self.nanos.abs_diff(other.nanos) >= SET_NANOS
    }

    /// The system's time when the clock said `at`.
    #[must_use]
    pub const fn apply(self, at: Timestamp) -> Timestamp {
        Timestamp::from_nanos(at.as_nanos().saturating_add_signed(self.nanos))
    }
}

impl Clock {
    /// Starts at the system's time.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the io clock: where live time enters")]
    pub fn start() -> Self {
        Self { at_start: system(), start: Instant::now() }
    }

    /// How far the system's time was set since; none if the two were not read close enough to each
    /// other to tell.
    #[must_use]
    pub fn skew(&self) -> Option<Skew> {
        let (before, system, after) = (self.now(), system(), self.now());
        (after.since(before) < READ_TOGETHER).then(|| Skew::between(before, system))
    }

    /// The time now.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the io clock: where live time enters")]
    pub fn now(&self) -> Timestamp {
        let passed = Instant::now().saturating_duration_since(self.start).as_nanos();
        self.at_start + Span::from_nanos(u64::try_from(passed).unwrap_or(u64::MAX))
    }
}

#[expect(clippy::disallowed_methods, reason = "the io clock: where live time enters")]
fn system() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_nanos(u64::try_from(since_epoch.as_nanos()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_skew_moves_a_stamp_by_what_the_system_was_set_and_ends_at_the_bounds_of_time() {
        let at = Timestamp::from_secs;
        for (clock, system, stamp, moved) in [
            (100, 100, 50, 50),
            (100, 3_700, 50, 3_650),
            (3_700, 100, 5_000, 1_400),
            (3_700, 100, 50, 0),
        ] {
            let skew = Skew::between(at(clock), at(system));
            assert_eq!(skew.apply(at(stamp)), at(moved), "{skew:?}");
        }
        let most = Skew::between(Timestamp::ZERO, Timestamp::MAX);
        assert_eq!(most.as_nanos(), i64::MAX);
        assert_eq!(most.apply(Timestamp::MAX), Timestamp::MAX);
        assert_eq!(Skew::between(Timestamp::MAX, Timestamp::ZERO).as_nanos(), i64::MIN);
    }

    #[test]
    fn only_what_was_set_is_a_difference() {
        let bound = i64::try_from(SET_NANOS).unwrap();
        for (nanos, differs) in [(bound - 1, false), (bound, true), (bound + 1, true)] {
            assert_eq!(Skew::from_nanos(nanos).differs(Skew::NONE), differs);
            assert_eq!(Skew::from_nanos(-nanos).differs(Skew::NONE), differs);
        }
        assert!(Skew::from_nanos(i64::MAX).differs(Skew::from_nanos(i64::MIN)));
    }

    #[test]
    fn a_clock_that_has_just_started_agrees_with_the_system() {
        let clock = Clock::start();
        let skew = (0..100).find_map(|_| clock.skew());
        assert!(skew.is_none_or(|skew| !skew.differs(Skew::NONE)), "{skew:?}");
    }

    #[test]
    fn time_never_runs_backwards() {
        let clock = Clock::start();
        let mut last = Timestamp::ZERO;
        for _ in 0..1000 {
            let now = clock.now();
            assert!(now >= last);
            last = now;
        }
        assert!(last > Timestamp::from_secs(1_700_000_000), "it is the time of the epoch");
    }
}
