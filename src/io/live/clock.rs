//! The one clock of live traffic: read once a batch. It never runs backwards, whatever is done to
//! the system's time; of that it knows only what it was at the start.

use crate::model::{Span, Timestamp};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// A clock that was started.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    at_start: Timestamp,
    start: Instant,
}

impl Clock {
    /// Starts at the system's time.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the io clock: where live time enters")]
    pub fn start() -> Self {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let nanos = u64::try_from(since_epoch.as_nanos()).unwrap_or(u64::MAX);
        Self { at_start: Timestamp::from_nanos(nanos), start: Instant::now() }
    }

    /// The time now.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the io clock: where live time enters")]
    pub fn now(&self) -> Timestamp {
        let passed = Instant::now().saturating_duration_since(self.start).as_nanos();
        self.at_start + Span::from_nanos(u64::try_from(passed).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
