//! The rulesets of one worker, by epoch: a flow's record has the names of the ruleset it was decided
//! under, whatever was installed since. Nothing is decided here.

use crate::model::Epoch;
use crate::policy::Policy;
use std::collections::VecDeque;
use std::sync::Arc;

/// Rulesets kept. A flow that outlives so many without a packet of its own takes the names of the
/// oldest one that is kept.
pub const RULESETS_KEPT: usize = 64;

/// The present ruleset and those before it, oldest first, each with the epoch it began with.
#[derive(Debug)]
pub struct Rulesets {
    present: (Epoch, Arc<Policy>),
    before: VecDeque<(Epoch, Arc<Policy>)>,
}

impl Rulesets {
    /// The ruleset a worker starts with.
    #[must_use]
    pub const fn new(epoch: Epoch, policy: Arc<Policy>) -> Self {
        Self { present: (epoch, policy), before: VecDeque::new() }
    }

    /// Takes note of a ruleset that was installed.
    pub fn install(&mut self, epoch: Epoch, policy: Arc<Policy>) {
        if self.before.len().saturating_add(1) >= RULESETS_KEPT {
            self.before.pop_front();
        }
        self.before.push_back(std::mem::replace(&mut self.present, (epoch, policy)));
    }

    /// The present ruleset.
    #[must_use]
    pub const fn present(&self) -> &Arc<Policy> {
        &self.present.1
    }

    /// The ruleset that was in force in an epoch.
    #[must_use]
    pub fn of(&self, epoch: Epoch) -> &Arc<Policy> {
        if epoch.0 >= self.present.0.0 {
            return &self.present.1;
        }
        let older = self.before.iter().rev().find(|(began, _)| began.0 <= epoch.0);
        older.or_else(|| self.before.front()).map_or(&self.present.1, |(_, policy)| policy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::spec::PolicySpec;

    fn policy() -> Arc<Policy> {
        Arc::new(Policy::compile(&PolicySpec::default(), None).unwrap())
    }

    #[test]
    fn an_epoch_belongs_to_the_ruleset_that_began_last_before_it() {
        let all = [policy(), policy(), policy()];
        let mut rulesets = Rulesets::new(Epoch(1), Arc::clone(&all[0]));
        // Epoch 2 is a rule of the first ruleset that expired.
        rulesets.install(Epoch(3), Arc::clone(&all[1]));
        rulesets.install(Epoch(4), Arc::clone(&all[2]));
        for (epoch, which) in [(1, 0), (2, 0), (3, 1), (4, 2), (5, 2)] {
            assert!(Arc::ptr_eq(rulesets.of(Epoch(epoch)), &all[which]), "epoch {epoch}");
        }
        assert!(Arc::ptr_eq(rulesets.present(), &all[2]));
    }

    #[test]
    fn as_many_rulesets_are_kept_as_there_is_room_for() {
        let kept = u32::try_from(RULESETS_KEPT).unwrap();
        for (installed, first_is_kept) in [(kept - 1, true), (kept, true), (kept + 1, false)] {
            let first = policy();
            let mut rulesets = Rulesets::new(Epoch(1), Arc::clone(&first));
            (2..=installed).for_each(|epoch| rulesets.install(Epoch(epoch), policy()));
            assert_eq!(Arc::ptr_eq(rulesets.of(Epoch(1)), &first), first_is_kept, "{installed}");
            assert_eq!(rulesets.before.len() + 1, RULESETS_KEPT.min(installed as usize));
        }
    }
}
