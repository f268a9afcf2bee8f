//! Where the captures are that nobody here made, with what other engines say of them beside them.

use std::path::PathBuf;

/// The folder, if it has `file`: the one that `LOCKGATE_CAPTURES` names, else `../shared/captures`.
pub(crate) fn captures(file: &str) -> Option<PathBuf> {
    let beside = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/captures");
    let folder = std::env::var_os("LOCKGATE_CAPTURES").map_or_else(beside, PathBuf::from);
    if folder.join(file).is_file() {
        return Some(folder);
    }
    eprintln!("SKIPPED: no {file} in {} (LOCKGATE_CAPTURES names a folder)", folder.display());
    None
}
