//! Leaving without losing a flow: what a drain means for health, and when it is over. Decides; ends
//! nothing itself.
//!
//! The load balancer's target group says what becomes of the flows of a target that goes
//! (`target_failover`). With `no_rebalance` they stay with it, however unhealthy: the sooner it is
//! known to be leaving, the sooner new flows go elsewhere. With `rebalance` they move to targets
//! that do not know them as soon as it is unhealthy: it must look healthy while it serves them.
//!
//! Either way the load balancer needs some probes to notice, and sends new flows until then: whoever is
//! unhealthy for leaving serves on for `at_least` so long, flows or none.

use super::config::{DrainConfig, Failover, NewFlows};
use super::health::DrainFacts;
use std::time::Duration;

/// A drain under way.
#[derive(Clone, Copy, Debug)]
pub struct Drain {
    config: DrainConfig,
    /// On the process's clock.
    since: Duration,
    /// Flows still served, once counted.
    left: Option<u64>,
    /// When none was left for the first time.
    empty_at: Option<Duration>,
}

/// Why a drain is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// No flow is left.
    Empty,
    /// Flows are left, but no time.
    Deadline,
}

impl Drain {
    /// A drain that begins now.
    #[must_use]
    pub const fn new(config: DrainConfig, now: Duration) -> Self {
        Self { config, since: now, left: None, empty_at: None }
    }

    /// Takes the number of flows still served.
    pub fn count(&mut self, left: u64, now: Duration) {
        self.left = Some(left);
        if left == 0 {
            self.empty_at.get_or_insert(now);
        }
    }

    /// Flows still served, once counted.
    #[must_use]
    pub const fn left(&self) -> Option<u64> {
        self.left
    }

    /// Time until the deadline.
    #[must_use]
    pub fn remaining(&self, now: Duration) -> Duration {
        self.since.saturating_add(self.config.deadline).saturating_sub(now)
    }

    /// Whether new flows are refused.
    #[must_use]
    pub fn refuses(&self) -> bool {
        self.config.new_flows == NewFlows::Refuse
    }

    /// Whether it is over.
    #[must_use]
    pub fn over(&self, now: Duration) -> Option<Over> {
        let known = self.told_at(now).is_some_and(|told| now - told >= self.config.at_least);
        match (self.left, self.remaining(now).is_zero()) {
            (Some(0), late) if known || late => Some(Over::Empty),
            (_, true) => Some(Over::Deadline),
            _ => None,
        }
    }

    /// Since when the load balancer is told to send new flows elsewhere. Under `rebalance` it takes the
    /// known ones away with that: when there are none, or when time is nearly over.
    fn told_at(&self, now: Duration) -> Option<Duration> {
        let DrainConfig { failover, deadline, at_least, .. } = self.config;
        let from = match failover {
            Failover::NoRebalance => self.since,
            Failover::Rebalance => {
                let latest = self.since.saturating_add(deadline.saturating_sub(at_least));
                self.empty_at.map_or(latest, |empty| empty.min(latest))
            }
        };
        (from <= now).then_some(from)
    }

    /// What it means for health.
    #[must_use]
    pub fn facts(&self, now: Duration) -> DrainFacts {
        DrainFacts { unhealthy: self.told_at(now).is_some(), left: self.left }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn drain(failover: Failover) -> Drain {
        let config = DrainConfig {
            failover,
            deadline: at(60),
            at_least: at(15),
            new_flows: NewFlows::Serve,
        };
        Drain::new(config, at(100))
    }

    #[test]
    fn it_is_over_without_flows_or_at_the_deadline() {
        let mut drain = drain(Failover::NoRebalance);
        assert_eq!(drain.over(at(100)), None, "nothing is counted yet");
        drain.count(2, at(100));
        for (now, over) in [(159, None), (160, Some(Over::Deadline)), (161, Some(Over::Deadline))] {
            assert_eq!(drain.over(at(now)), over, "{now}");
        }
        drain.count(0, at(160));
        assert_eq!(drain.over(at(160)), Some(Over::Empty), "late, but nothing is cut");
    }

    #[test]
    fn an_empty_one_stays_until_the_load_balancer_can_have_noticed() {
        // Unhealthy from the start, or from the moment when nothing was left.
        for (failover, told) in [(Failover::NoRebalance, 100), (Failover::Rebalance, 103)] {
            let mut drain = drain(failover);
            drain.count(0, at(103));
            for (after, over) in [(14, None), (15, Some(Over::Empty)), (16, Some(Over::Empty))] {
                assert_eq!(drain.over(at(told + after)), over, "{failover:?} after {after}");
            }
            // Somebody came meanwhile.
            drain.count(1, at(told + 15));
            assert!(drain.facts(at(told + 15)).unhealthy);
            assert_eq!(drain.over(at(told + 15)), None, "{failover:?}");
        }
    }

    #[test]
    fn the_deadline_is_above_the_least_time() {
        let mut drain = drain(Failover::NoRebalance);
        drain.config.deadline = at(5);
        drain.count(0, at(100));
        for (now, over) in [(104, None), (105, Some(Over::Empty))] {
            assert_eq!(drain.over(at(now)), over, "{now}");
        }
    }

    #[test]
    fn without_rebalancing_health_goes_at_once_and_with_it_before_the_deadline() {
        for (failover, now, unhealthy) in [
            (Failover::NoRebalance, 100, true),
            (Failover::NoRebalance, 160, true),
            (Failover::Rebalance, 100, false),
            (Failover::Rebalance, 144, false),
            (Failover::Rebalance, 145, true),
            (Failover::Rebalance, 160, true),
        ] {
            let facts = drain(failover).facts(at(now));
            assert_eq!(facts.unhealthy, unhealthy, "{failover:?} at {now}");
        }
    }
}
