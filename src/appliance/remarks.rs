//! What the process log is told of health and of lost frames: one line at each change, never one a
//! frame. Decides what is worth a line; [`super::health`] judges.

use super::health::Health;
use crate::io::live::Losses;
use std::time::Duration;

/// An episode of losses is over after so long without one.
pub const QUIET: Duration = Duration::from_secs(30);
/// While an episode lasts, it is told of no more often than this.
pub const EVERY: Duration = Duration::from_secs(60);

/// Health as the log knows it.
#[derive(Clone, Copy, Debug, Default)]
pub struct HealthRemarks {
    /// Since when it is unhealthy.
    since: Option<Duration>,
    /// Whether the log knows that only unknown gateways send.
    strangers: bool,
}

/// A change of health.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Turned {
    /// From now on, for these reasons.
    Unhealthy(String),
    /// After so long.
    Healthy(Duration),
}

impl HealthRemarks {
    /// Takes the judgement of this moment; what is to be told.
    pub fn take(&mut self, now: Duration, health: &Health) -> Option<Turned> {
        match (self.since, health.is_healthy()) {
            (None, false) => {
                self.since = Some(now);
                Some(Turned::Unhealthy(health.reasons.join("; ")))
            }
            (Some(since), true) => {
                self.since = None;
                Some(Turned::Healthy(now.saturating_sub(since)))
            }
            _ => None,
        }
    }

    /// Takes the note about unknown gateways; whether it is new (`true`), or over (`false`).
    pub const fn strangers(&mut self, noted: bool) -> Option<bool> {
        if noted == self.strangers {
            return None;
        }
        self.strangers = noted;
        Some(noted)
    }
}

/// The losses of one port as the log knows them.
#[derive(Clone, Copy, Debug, Default)]
pub struct LossRemarks {
    /// Frames lost when last looked.
    seen: u64,
    /// Sums at the last line.
    told: Losses,
    episode: Option<Episode>,
}

/// Losses without a pause of [`QUIET`].
#[derive(Clone, Copy, Debug)]
struct Episode {
    since: Duration,
    /// When the last loss was seen.
    last: Duration,
    told_at: Duration,
    /// Frames lost before it.
    before: u64,
}

/// What is to be told of losses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lost {
    /// So many frames since the last line, by cause.
    More(u64, String),
    /// The episode is over: so many frames within this time.
    Over(u64, Duration),
}

impl LossRemarks {
    /// Takes the sums of a port, once a second; what is to be told.
    pub fn take(&mut self, now: Duration, sums: &Losses) -> Option<Lost> {
        let total = sums.total();
        let more = total > self.seen;
        self.seen = total;
        let Some(episode) = &mut self.episode else {
            let before = self.told.total();
            self.episode = more.then_some(Episode { since: now, last: now, told_at: now, before });
            return more.then(|| self.tell(sums));
        };
        if more {
            episode.last = now;
        }
        if now.saturating_sub(episode.last) >= QUIET {
            let lost = total.saturating_sub(episode.before);
            let over = Lost::Over(lost, episode.last.saturating_sub(episode.since));
            (self.episode, self.told) = (None, *sums);
            return Some(over);
        }
        let due = now.saturating_sub(episode.told_at) >= EVERY && total > self.told.total();
        if !due {
            return None;
        }
        episode.told_at = now;
        Some(self.tell(sums))
    }

    fn tell(&mut self, sums: &Losses) -> Lost {
        let before = std::mem::replace(&mut self.told, *sums);
        let causes = sums.causes().into_iter().zip(before.causes()).filter_map(|(now, before)| {
            let more = now.1.saturating_sub(before.1);
            (more > 0).then(|| format!("{} {more}", now.0))
        });
        let causes = causes.collect::<Vec<_>>().join(", ");
        Lost::More(sums.total().saturating_sub(before.total()), causes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn health_is_told_at_its_changes_alone() {
        let mut remarks = HealthRemarks::default();
        let good = Health::default();
        let bad = Health { reasons: vec!["one".into(), "two".into()], notes: Vec::new() };
        let turns: Vec<_> = [(0, &good), (1, &bad), (2, &bad), (5, &good), (6, &good)]
            .into_iter()
            .filter_map(|(now, health)| remarks.take(at(now), health))
            .collect();
        assert_eq!(turns, [Turned::Unhealthy("one; two".into()), Turned::Healthy(at(4))]);
        let strangers = [false, true, true, false].map(|noted| remarks.strangers(noted));
        assert_eq!(strangers, [None, Some(true), None, Some(false)]);
    }

    #[test]
    fn an_episode_of_losses_is_told_at_its_start_every_minute_and_at_its_end() {
        let mut remarks = LossRemarks::default();
        let told: Vec<_> = (0..=140)
            .filter_map(|now| {
                // Lost are ten frames a second from second 5 to 70, and one more by another cause.
                let overrun = (now + 1_u64).clamp(5, 71).saturating_sub(5) * 10;
                let sums = Losses { overrun, unsent: u64::from(now >= 60), ..Losses::default() };
                remarks.take(at(now), &sums).map(|lost| (now, lost))
            })
            .collect();
        let more = |lost, causes: &str| Lost::More(lost, causes.to_owned());
        assert_eq!(
            told,
            [
                (5, more(10, "overrun 10")),
                (65, more(601, "overrun 600, unsent 1")),
                (100, Lost::Over(661, at(65))),
            ]
        );
        let next = Losses { overrun: 661, unsent: 1, ..Losses::default() };
        assert_eq!(remarks.take(at(200), &next), Some(more(1, "overrun 1")));
    }

    #[test]
    fn a_pause_ends_an_episode_once_it_is_long_enough() {
        let sums = Losses { cut: 1, ..Losses::default() };
        for (pause, over) in [(29, false), (30, true), (31, true)] {
            let mut remarks = LossRemarks::default();
            assert!(remarks.take(at(7), &sums).is_some());
            let told = remarks.take(at(7 + pause), &sums);
            assert_eq!(told == Some(Lost::Over(1, at(0))), over, "{pause}");
        }
    }
}
