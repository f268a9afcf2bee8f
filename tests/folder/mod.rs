//! A folder for what one test writes. It goes with the last who holds it, but stays, and is told of,
//! where the test has failed.

use std::fs;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

/// The folder; as many hold it as like to.
#[derive(Clone, Debug)]
pub(crate) struct Folder(Arc<Held>);

#[derive(Debug)]
struct Held(PathBuf);

impl Folder {
    /// An empty folder of this process.
    pub(crate) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("lockgate-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(Arc::new(Held(path)))
    }
}

impl Deref for Folder {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.0.0
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("kept: {}", self.0.display());
        } else {
            let _ = fs::remove_dir_all(&self.0);
        }
    }
}

#[test]
fn a_folder_goes_with_its_last_holder_and_stays_where_a_test_failed() {
    let folder = Folder::new("folder-good");
    let (path, other) = (folder.to_path_buf(), folder.clone());
    fs::write(folder.join("file"), "text").unwrap();
    drop(folder);
    assert!(path.exists());
    drop(other);
    assert!(!path.exists());
    let folder = Folder::new("folder-failed");
    let path = folder.to_path_buf();
    let failed = thread::spawn(move || {
        let _held = folder;
        std::panic::resume_unwind(Box::new(()));
    });
    assert!(failed.join().is_err() && path.exists());
    fs::remove_dir_all(path).unwrap();
}
