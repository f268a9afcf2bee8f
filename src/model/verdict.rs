//! What is done with a flow and with a packet.

use super::{Reason, RuleId};

/// What a rule asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// Forward.
    Allow,
    /// Drop silently.
    Deny,
    /// Drop and answer.
    Reject,
}

impl Action {
    /// The word used in rules, logs and tests.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
            Self::Reject => "reject",
        }
    }
}

/// A final decision about a flow or one of its messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowVerdict {
    /// What is done.
    pub action: Action,
    /// The rule that decided; none where `otherwise`, a default or a limit did.
    pub rule: Option<RuleId>,
    /// Why.
    pub reason: Reason,
}

/// What happens to one packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Sent back to the gateway as it came, outer addresses swapped.
    Forward,
    /// Not sent, for this reason.
    Drop(Reason),
    /// Kept in the engine until its flow is decided.
    Hold,
}
