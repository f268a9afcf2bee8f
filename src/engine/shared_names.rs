//! Names that several flows have in common, kept once. It is no cache of decisions: nothing is asked
//! here but "is this name there already".

use crate::model::DomainName;
use hashbrown::HashSet;
use std::sync::Arc;

/// Names kept for sharing. Beyond, those that no flow has any more are forgotten; while all are in use,
/// a further name is each flow's own.
pub(super) const SHARED_NAMES_MAX: usize = 1 << 16;

/// Names, each once.
#[derive(Debug, Default)]
pub(super) struct SharedNames {
    known: HashSet<Arc<DomainName>>,
    /// Names that found no room since the last look for unused ones.
    crowded: usize,
}

impl SharedNames {
    /// The shared copy of a name.
    pub(super) fn share(&mut self, name: &DomainName) -> Arc<DomainName> {
        if let Some(known) = self.known.get(name) {
            return Arc::clone(known);
        }
        self.keep(Arc::new(*name))
    }

    /// The shared copy of a name, which is this one if there was none.
    pub(super) fn share_again(&mut self, name: &Arc<DomainName>) -> Arc<DomainName> {
        if let Some(known) = self.known.get(&**name) {
            return Arc::clone(known);
        }
        self.keep(Arc::clone(name))
    }

    fn keep(&mut self, name: Arc<DomainName>) -> Arc<DomainName> {
        if self.known.len() >= SHARED_NAMES_MAX {
            // Looking through all of them costs as much as that many new names.
            if self.crowded == 0 {
                self.known.retain(|name| Arc::strong_count(name) > 1);
            }
            self.crowded = (self.crowded + 1) % SHARED_NAMES_MAX;
        }
        if self.known.len() < SHARED_NAMES_MAX {
            self.crowded = 0;
            self.known.insert(Arc::clone(&name));
        }
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(number: usize) -> DomainName {
        DomainName::from_host(format!("n{number}.example").as_bytes()).unwrap()
    }

    #[test]
    fn a_name_is_kept_once() {
        let mut names = SharedNames::default();
        let first = names.share(&name(1));
        assert!(Arc::ptr_eq(&first, &names.share(&name(1))));
        assert!(Arc::ptr_eq(&first, &names.share_again(&Arc::new(name(1)))));
        let own = Arc::new(name(2));
        assert!(Arc::ptr_eq(&own, &names.share_again(&own)));
    }

    #[test]
    fn beyond_the_limit_names_in_use_stay_and_unused_ones_make_room() {
        for (count, shares) in
            [(SHARED_NAMES_MAX - 1, true), (SHARED_NAMES_MAX, true), (SHARED_NAMES_MAX + 1, false)]
        {
            let mut names = SharedNames::default();
            let in_use: Vec<_> = (0..count).map(|number| names.share(&name(number))).collect();
            let last = names.share(&name(count - 1));
            assert_eq!(Arc::ptr_eq(&last, &in_use[count - 1]), shares, "{count}");
            assert!(names.known.len() <= SHARED_NAMES_MAX);
        }
        let mut names = SharedNames::default();
        (0..2 * SHARED_NAMES_MAX + 2).for_each(|number| drop(names.share(&name(number))));
        let last = names.share(&name(0));
        assert!(Arc::ptr_eq(&last, &names.share(&name(0))));
    }
}
