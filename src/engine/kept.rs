//! Bytes of streams that are kept to be compared with what comes again: how many, and on whose account.
//! What each stream may keep whatever others do is not counted here; where bytes are kept is elsewhere.

use super::gate::Account;
use super::state::Inspection;

/// Bytes charged to one account.
pub(super) type Charge = (Account, usize);

/// What is kept in all. Each account may have as much as is still free, so that none can take it from
/// the others: the rule of [`Shares`](crate::flow::Shares).
#[derive(Debug, Default)]
pub(super) struct Kept {
    /// By account.
    own: Vec<usize>,
    total: usize,
}

impl Kept {
    /// A stream that was charged with `before` is with `now`.
    pub(super) fn count(&mut self, before: Charge, now: Charge) {
        if before == now || (before.1 == 0 && now.1 == 0) {
            return;
        }
        self.total = self.total.saturating_sub(before.1).saturating_add(now.1);
        if let Some(own) = self.own.get_mut(before.0.index()) {
            *own = own.saturating_sub(before.1);
        }
        if self.own.len() <= now.0.index() {
            self.own.resize(now.0.index().saturating_add(1), 0);
        }
        if let Some(own) = self.own.get_mut(now.0.index()) {
            *own = own.saturating_add(now.1);
        }
    }

    /// Whether an account may keep more, of `limit` bytes in all.
    pub(super) fn has_room(&self, account: Account, limit: usize) -> bool {
        self.of(account) < limit.saturating_sub(self.total)
    }

    /// Whether an account has more than is free of `limit` bytes.
    pub(super) fn is_over(&self, account: Account, limit: usize) -> bool {
        self.of(account) > limit.saturating_sub(self.total)
    }

    fn of(&self, account: Account) -> usize {
        self.own.get(account.index()).copied().unwrap_or(0)
    }

    /// Bytes on all accounts.
    #[cfg(test)]
    pub(super) const fn total(&self) -> usize {
        self.total
    }
}

impl Inspection {
    /// Bytes kept of its streams.
    pub(super) fn kept_bytes(&self) -> usize {
        self.lanes.iter().map(|lane| lane.head.held_bytes()).sum()
    }

    /// Charges what is kept of its streams to `account`: all of what is read for the record alone, and
    /// otherwise what is beyond what each may hold. What was charged before, and what is now.
    pub(super) fn charge(&mut self, account: Account) -> (Charge, Charge) {
        let bytes = match self.unasked {
            true => self.kept_bytes(),
            false => self.lanes.iter().map(|lane| lane.head.bytes_over_limit()).sum(),
        };
        let now = (account, bytes);
        (std::mem::replace(&mut self.charged, now), now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::SegmentId;

    /// Two accounts.
    fn accounts() -> [Account; 2] {
        use crate::policy::spec::{PolicySpec, SegmentKind, SegmentSpec};
        let segments = ["a", "b"].map(|name| SegmentSpec::new(name, SegmentKind::Workload));
        let spec = PolicySpec { segments: segments.into(), ..PolicySpec::default() };
        let policy = crate::policy::Policy::compile(&spec, None).unwrap();
        let gate = super::super::gate::Gate::new(&policy, &super::super::Limits::default());
        [SegmentId(0), SegmentId(1)].map(|segment| gate.account(segment))
    }

    #[test]
    fn an_account_may_keep_as_much_as_is_free_and_leaves_room_for_others() {
        let [one, other] = accounts();
        for (bytes, room, over) in [(49, true, false), (50, false, false), (51, false, true)] {
            let mut kept = Kept::default();
            kept.count((one, 0), (one, bytes));
            assert_eq!((kept.has_room(one, 100), kept.is_over(one, 100)), (room, over), "{bytes}");
            assert!(kept.has_room(other, 100));
            assert!(!kept.has_room(one, 0) && !kept.has_room(other, 0));
        }
    }

    #[test]
    fn what_is_kept_moves_with_its_flow_and_goes_with_it() {
        let [one, other] = accounts();
        let mut kept = Kept::default();
        kept.count((one, 0), (one, 60));
        kept.count((one, 60), (other, 70));
        assert_eq!((kept.of(one), kept.of(other), kept.total()), (0, 70, 70));
        kept.count((other, 70), (one, 0));
        assert_eq!((kept.of(one), kept.of(other), kept.total()), (0, 0, 0));
    }
}
