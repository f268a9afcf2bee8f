//! Leaving without losing a flow: what a drain means for health, and when it is over. Decides; ends
//! nothing itself.
//!
//! The load balancer's target group says what becomes of the flows of a target that goes
//! (`target_failover`). With `no_rebalance` they stay with it, however unhealthy: the sooner it is
//! known to be leaving, the sooner new flows go elsewhere. With `rebalance` they move to targets
//! that do not know them as soon as it is unhealthy: it must look healthy while it serves them.

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
        Self { config, since: now, left: None }
    }

    /// Takes the number of flows still served.
    pub const fn count(&mut self, left: u64) {
        self.left = Some(left);
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
        match self.left {
            Some(0) => Some(Over::Empty),
            _ if self.remaining(now).is_zero() => Some(Over::Deadline),
            _ => None,
        }
    }

    /// What it means for health.
    #[must_use]
    pub fn facts(&self, now: Duration) -> DrainFacts {
        let unhealthy = match self.config.failover {
            Failover::NoRebalance => true,
            Failover::Rebalance => self.remaining(now).is_zero(),
        };
        DrainFacts { unhealthy, left: self.left }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn drain(failover: Failover) -> Drain {
        let config = DrainConfig { failover, deadline: at(60), new_flows: NewFlows::Serve };
        Drain::new(config, at(100))
    }

    #[test]
    fn it_is_over_without_flows_or_at_the_deadline() {
        let mut drain = drain(Failover::NoRebalance);
        assert_eq!(drain.over(at(100)), None, "nothing is counted yet");
        drain.count(2);
        for (now, over) in [(159, None), (160, Some(Over::Deadline)), (161, Some(Over::Deadline))] {
            assert_eq!(drain.over(at(now)), over, "{now}");
        }
        drain.count(0);
        assert_eq!(drain.over(at(101)), Some(Over::Empty));
    }

    #[test]
    fn without_rebalancing_health_goes_at_once_and_with_it_at_the_deadline() {
        for (failover, now, unhealthy) in [
            (Failover::NoRebalance, 100, true),
            (Failover::NoRebalance, 160, true),
            (Failover::Rebalance, 100, false),
            (Failover::Rebalance, 159, false),
            (Failover::Rebalance, 160, true),
        ] {
            let facts = drain(failover).facts(at(now));
            assert_eq!(facts.unhealthy, unhealthy, "{failover:?} at {now}");
        }
    }
}
