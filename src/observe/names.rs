//! What segments and rules are called, for everything that is written about them.

use crate::model::{RuleId, SegmentId};
use crate::policy::Policy;

/// Gives names to the ids of a compiled policy.
pub trait Names {
    /// A segment's name.
    fn segment(&self, id: SegmentId) -> Option<&str>;
    /// A rule's id as it stands in the ruleset.
    fn rule(&self, id: RuleId) -> Option<&str>;
}

impl Names for Policy {
    fn segment(&self, id: SegmentId) -> Option<&str> {
        Self::segment(self, id).map(|segment| &*segment.name)
    }

    fn rule(&self, id: RuleId) -> Option<&str> {
        Self::rule(self, id).map(|rule| &*rule.name)
    }
}

/// A segment's name, or `unknown`.
pub(super) fn segment_or_unknown(names: &impl Names, id: Option<SegmentId>) -> &str {
    id.and_then(|id| names.segment(id)).unwrap_or("unknown")
}
