//! SYNs seen on live flows, while it is not known whether a server takes them. What becomes of them is
//! decided elsewhere.

use super::gate::Account;
use crate::flow::{Candidate, FlowId, Shares};
use std::collections::HashMap;

/// SYNs on live flows whose answers are waited for at once, of one segment as many as are still free;
/// beyond, they do not travel, as their answers could not be told from those of the flow.
pub(super) const CANDIDATES_MAX: usize = 4096;

/// The last SYN on each flow that has seen one, and who pays for it.
#[derive(Debug)]
pub(super) struct Candidates {
    waiting: HashMap<FlowId, (Account, Candidate)>,
    shares: Shares<Account>,
}

impl Default for Candidates {
    fn default() -> Self {
        Self { waiting: HashMap::new(), shares: Shares::new(CANDIDATES_MAX) }
    }
}

impl Candidates {
    /// Puts a SYN in the place of the one before it on this flow. False: there is no room for one more.
    pub(super) fn note(&mut self, id: FlowId, account: Account, candidate: Candidate) -> bool {
        if let Some((_, known)) = self.waiting.get_mut(&id) {
            *known = candidate;
            return true;
        }
        let room = self.shares.has_room(account);
        if room {
            self.shares.enter(account);
            self.waiting.insert(id, (account, candidate));
        }
        room
    }

    /// The SYN on a flow.
    pub(super) fn get_mut(&mut self, id: FlowId) -> Option<&mut Candidate> {
        self.waiting.get_mut(&id).map(|(_, candidate)| candidate)
    }

    /// The flow is over.
    #[inline]
    pub(super) fn forget(&mut self, id: FlowId) {
        if self.waiting.is_empty() {
            return;
        }
        if let Some((account, _)) = self.waiting.remove(&id) {
            self.shares.leave(account);
        }
    }
}
