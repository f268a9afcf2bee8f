//! Whether the files of a ruleset changed: a look at names, times and sizes, every second where
//! asked for. Looking survives what notifications lose: renamed folders, swapped links, network
//! file systems.

use foldhash::fast::FixedState;
use std::fs;
use std::hash::{BuildHasher, Hash, Hasher};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Files looked at; a ruleset has no more.
const FILES_MAX: usize = crate::ruleset::FILES_LIMIT * 2;
/// Folders within folders.
const DEPTH_MAX: usize = 16;

/// What files looked like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp(u64);

/// Watches one ruleset.
#[derive(Clone, Copy, Debug)]
pub struct Watch {
    installed: Stamp,
    last: Stamp,
}

impl Watch {
    /// The ruleset as it is now is installed.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        let now = stamp(path);
        Self { installed: now, last: now }
    }

    /// Looks. True once, when the files differ from what was installed and stopped changing: whoever
    /// copies a ruleset file by file is not met in the middle.
    pub fn changed(&mut self, path: &Path) -> bool {
        let now = stamp(path);
        let quiet = now == std::mem::replace(&mut self.last, now);
        let changed = quiet && now != self.installed;
        if changed {
            self.installed = now;
        }
        changed
    }
}

fn stamp(path: &Path) -> Stamp {
    let mut hasher = FixedState::default().build_hasher();
    let mut left = FILES_MAX;
    add(path, 0, &mut left, &mut hasher);
    Stamp(hasher.finish())
}

fn add(path: &Path, depth: usize, left: &mut usize, hasher: &mut impl Hasher) {
    let Ok(meta) = fs::metadata(path) else { return };
    path.hash(hasher);
    (meta.ino(), meta.size(), meta.mtime(), meta.mtime_nsec()).hash(hasher);
    if !meta.is_dir() || depth >= DEPTH_MAX {
        return;
    }
    let Ok(entries) = fs::read_dir(path) else { return };
    let mut inside: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    inside.sort();
    for path in inside {
        let Some(fewer) = left.checked_sub(1) else { return };
        *left = fewer;
        add(&path, depth.saturating_add(1), left, hasher);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_seen_once_and_only_when_it_is_over() {
        let folder = std::env::temp_dir().join(format!("lockgate-watch-{}", std::process::id()));
        fs::create_dir_all(folder.join("partners")).unwrap();
        fs::write(folder.join("lockgate.yaml"), "a").unwrap();
        let mut watch = Watch::new(&folder);
        assert!(!watch.changed(&folder));
        fs::write(folder.join("partners/acme.yaml"), "b").unwrap();
        assert!(!watch.changed(&folder), "it may still be changing");
        fs::write(folder.join("partners/acme.yaml"), "bc").unwrap();
        assert!(!watch.changed(&folder), "it was still changing");
        assert!(watch.changed(&folder));
        assert!(!watch.changed(&folder));
        fs::remove_dir_all(&folder).unwrap();
        assert!(!watch.changed(&folder));
        assert!(watch.changed(&folder), "a ruleset that went away is a change");
    }
}
