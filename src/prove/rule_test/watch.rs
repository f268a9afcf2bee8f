//! Which files a ruleset folder and its tests are read from, and whether one of them has changed.

use super::Outcome;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// As many files are looked at.
pub const WATCHED_MAX: usize = 100_000;
/// Folders within folders.
const DEPTH_MAX: usize = 8;

/// What files were like at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fingerprint {
    files: Vec<(PathBuf, u64, Option<SystemTime>)>,
}

impl Fingerprint {
    /// Every file of a ruleset folder, and the captures that its tests name.
    #[must_use]
    pub fn of(folder: &Path, outcome: Option<&Outcome>) -> Self {
        let mut found = Self::default();
        found.add(folder, 0);
        if let Some(Outcome::Ran(ran)) = outcome {
            for (capture, _) in ran.suite.files.iter().filter_map(|file| file.capture.as_ref()) {
                found.add(capture, DEPTH_MAX);
            }
        }
        found.files.sort();
        found
    }

    /// What the same files are like now, and those that are new in the folder.
    #[must_use]
    pub fn again(&self, folder: &Path) -> Self {
        let mut found = Self::of(folder, None);
        for (path, _, _) in &self.files {
            if !path.starts_with(folder) || !found.files.iter().any(|(known, ..)| known == path) {
                found.add(path, DEPTH_MAX);
            }
        }
        found.files.sort();
        found
    }

    fn add(&mut self, path: &Path, depth: usize) {
        if self.files.len() >= WATCHED_MAX {
            return;
        }
        let Ok(meta) = fs::metadata(path) else { return };
        if !meta.is_dir() {
            self.files.push((path.to_owned(), meta.len(), meta.modified().ok()));
            return;
        }
        if depth < DEPTH_MAX {
            for entry in fs::read_dir(path).into_iter().flatten().flatten() {
                self.add(&entry.path(), depth.saturating_add(1));
            }
        }
    }
}
