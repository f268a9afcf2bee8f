//! What commands write: results on standard output, and files. A file that the same command reads is never written, however it is
//! named; that is told before anything is read. What is written is not its business.

use crate::io::pcap::STANDARD_INPUT;
use crate::ruleset::Sources;
use std::fs::{self, File, Metadata};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Writes a result to standard output. Nobody may read on (`| head`): that is no fault.
///
/// # Errors
/// If it cannot be written, as on a full disk; as text.
pub(super) fn print(text: &str) -> Result<(), String> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(format!("standard output: cannot be written ({error})"))
        }
        _ => Ok(()),
    }
}

/// Files that a command reads, each with what it is read as.
#[derive(Default)]
pub(super) struct Inputs(Vec<(PathBuf, &'static str)>);

impl Inputs {
    /// Adds captures.
    pub(super) fn captures(self, names: &[String]) -> Self {
        self.add(names.iter().filter(|name| *name != STANDARD_INPUT), "as a capture")
    }

    /// Adds flow logs.
    pub(super) fn flows(self, names: impl IntoIterator<Item = impl AsRef<Path>>) -> Self {
        self.add(names, "as a flow log")
    }

    /// Adds rules of other firewalls.
    pub(super) fn rules(self, names: &[String]) -> Self {
        self.add(names.iter().filter(|name| *name != STANDARD_INPUT), "as rules to import")
    }

    /// Adds every file of a ruleset: documents, and lists that they name.
    pub(super) fn ruleset(self, sources: &Sources) -> Self {
        self.add(sources.names(), "as part of the ruleset")
    }

    fn add(
        mut self,
        paths: impl IntoIterator<Item = impl AsRef<Path>>,
        what: &'static str,
    ) -> Self {
        self.0.extend(paths.into_iter().map(|path| (path.as_ref().to_owned(), what)));
        self
    }
}

/// A file to write, none of those that are read.
#[derive(Debug)]
pub(super) struct Output {
    path: PathBuf,
    /// Whether folders on the way to it are made.
    makes_folders: bool,
}

impl Output {
    /// A file in a folder that is there.
    ///
    /// # Errors
    /// If it is read, or its folder is missing; as text.
    pub(super) fn new(path: &Path, inputs: &Inputs) -> Result<Self, String> {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        if let Some(folder) = folder.filter(|folder| !folder.is_dir()) {
            let (path, folder) = (path.display(), folder.display());
            return Err(format!("{path}: cannot be written: there is no folder {folder}"));
        }
        spare(path, inputs)?;
        Ok(Self { path: path.to_owned(), makes_folders: false })
    }

    /// A file of a folder that is made, with folders in it, where it is missing.
    ///
    /// # Errors
    /// If it is read; as text.
    pub(super) fn below(folder: &Path, name: &str, inputs: &Inputs) -> Result<Self, String> {
        let path = folder.join(name);
        spare(&path, inputs)?;
        Ok(Self { path, makes_folders: true })
    }

    /// Writes all of it.
    ///
    /// # Errors
    /// If it cannot be written; as text.
    pub(super) fn write(&self, text: &str) -> Result<(), String> {
        let made = match self.path.parent() {
            Some(folder) if self.makes_folders => fs::create_dir_all(folder),
            _ => Ok(()),
        };
        made.and_then(|()| fs::write(&self.path, text)).map_err(|error| self.fault(&error))
    }

    /// Opens it empty, to be written piece by piece.
    ///
    /// # Errors
    /// If it cannot be written; as text.
    pub(super) fn create(&self) -> Result<File, String> {
        File::create(&self.path).map_err(|error| self.fault(&error))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether both are one file, or will be.
    pub(super) fn is(&self, other: &Self) -> bool {
        self.path == other.path
            || identity(&self.path).is_some_and(|id| identity(&other.path) == Some(id))
    }

    fn fault(&self, error: &std::io::Error) -> String {
        format!("{}: cannot be written ({error})", self.path.display())
    }
}

fn spare(path: &Path, inputs: &Inputs) -> Result<(), String> {
    let Some(output) = identity(path) else { return Ok(()) };
    let read = inputs.0.iter().find(|(input, _)| identity(input) == Some(output));
    read.map_or(Ok(()), |(_, what)| {
        Err(format!("{}: is read {what} and cannot be written", path.display()))
    })
}

/// What a regular file is, whatever links lead to it: its device and number.
fn identity(path: &Path) -> Option<(u64, u64)> {
    let found = fs::metadata(path).ok().filter(Metadata::is_file)?;
    Some((found.dev(), found.ino()))
}
