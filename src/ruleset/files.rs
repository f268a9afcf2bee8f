//! Which files make a ruleset, and their texts. The only file of this room that touches the file
//! system. Interprets nothing.

use super::diagnostic::{Diagnostic, Findings};
use super::source::{FileId, Place, Sources};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Documents of one ruleset.
pub const FILES_LIMIT: usize = 10_000;
/// Bytes of one document.
pub const DOCUMENT_LIMIT_BYTES: u64 = 32 << 20;
/// Bytes of one list of names or networks: some ten million names.
pub const LIST_LIMIT_BYTES: u64 = 256 << 20;
/// Bytes of all texts together; places in texts are 32 bits.
pub const TOTAL_LIMIT_BYTES: u64 = 1 << 30;
/// Folders within folders.
const DEPTH_LIMIT: usize = 8;

/// What a document's place in the folder says about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Role {
    /// Stands for itself or for the whole ruleset.
    Common,
    /// Under `partners/`: one partner's segment and the policies from or to it.
    Partner,
}

/// The files of a ruleset.
#[derive(Debug, Default)]
pub(crate) struct Files {
    /// What was read.
    pub(crate) sources: Sources,
    /// The documents among it.
    pub(crate) documents: Vec<(FileId, Role)>,
    /// Where lists are looked for; none for a text in memory.
    root: Option<PathBuf>,
    read_bytes: u64,
}

impl Files {
    /// Reads a folder, or a single file.
    pub(crate) fn read(path: &Path, findings: &mut Findings) -> Self {
        let mut files = Self::default();
        files.sources.set_root(path);
        match std::fs::metadata(path) {
            Err(error) => findings.push(unreadable(path, &error)),
            Ok(meta) if meta.is_dir() => {
                files.root = Some(path.to_path_buf());
                files.read_folder(path, findings);
            }
            Ok(_) => {
                files.root = Some(path.parent().map(Path::to_path_buf).unwrap_or_default());
                files.read_document(path, Role::Common, findings);
            }
        }
        files
    }

    /// Reads a single file.
    pub(crate) fn read_file(path: &Path, findings: &mut Findings) -> Self {
        let mut files = Self::default();
        files.read_document(path, Role::Common, findings);
        files
    }

    /// One document that is in memory.
    pub(crate) fn of_text(name: &str, text: &str) -> Self {
        let mut files = Self::default();
        let id = files.sources.add(name, text);
        files.documents.push((id, Role::Common));
        files
    }

    fn read_folder(&mut self, root: &Path, findings: &mut Findings) {
        let mut found = Vec::new();
        list_folder(root, root, 0, &mut found, findings);
        found.sort_by_key(|(path, _)| (path.as_path() != root.join("lockgate.yaml"), path.clone()));
        if found.is_empty() && !findings.has_errors() {
            let text = format!("no ruleset in {}: it has no *.yaml file", root.display());
            findings.push(
                Diagnostic::error("no-documents", text)
                    .help("a ruleset is a folder with lockgate.yaml, or a single YAML file"),
            );
        }
        if found.len() > FILES_LIMIT {
            let text = format!("{} documents are more than {FILES_LIMIT}", found.len());
            findings.push(Diagnostic::error("limit-files", text));
            return;
        }
        for (path, role) in found {
            self.read_document(&path, role, findings);
        }
    }

    /// Reads the test files of a ruleset folder; a single file has none.
    pub(super) fn read_tests(path: &Path, findings: &mut Findings) -> Self {
        let mut files = Self { root: Some(path.to_path_buf()), ..Self::default() };
        let folder = path.join("tests");
        if !folder.is_dir() {
            return files;
        }
        let mut found = Vec::new();
        list_folder(path, &folder, 1, &mut found, findings);
        found.sort();
        if found.len() > FILES_LIMIT {
            let text = format!("{} test files are more than {FILES_LIMIT}", found.len());
            findings.push(Diagnostic::error("limit-files", text));
            return files;
        }
        for (path, _) in found {
            files.read_document(&path, Role::Common, findings);
        }
        files
    }

    fn read_document(&mut self, path: &Path, role: Role, findings: &mut Findings) {
        let id = match self.text(path, DOCUMENT_LIMIT_BYTES) {
            Ok(text) => self.sources.add(path.display().to_string(), &text),
            Err(finding) => return findings.push(*finding),
        };
        self.documents.push((id, role));
    }

    /// Reads a list that a document names. The path is relative to the ruleset folder and stays
    /// inside it.
    ///
    /// # Errors
    /// The finding, without its place.
    pub(crate) fn list(&mut self, written: &str) -> Result<FileId, Box<Diagnostic>> {
        let wrong =
            |why: String, help: &str| Err(Box::new(Diagnostic::error("list-file", why).help(help)));
        let relative = Path::new(written);
        let inside = relative.components().all(|c| matches!(c, std::path::Component::Normal(_)));
        if written.is_empty() || !inside {
            let why = format!("`{written}` is no path inside the ruleset folder");
            return wrong(why, "write a path relative to the ruleset folder, without `..`");
        }
        let Some(root) = &self.root else {
            return wrong("a ruleset in memory has no list files".into(), "list the members");
        };
        let path = root.join(relative);
        if leaves(root, &path) {
            let why = format!("`{written}` is a link that leads out of the ruleset folder");
            return wrong(why, "put the file itself into the ruleset folder");
        }
        let text = self.text(&path, LIST_LIMIT_BYTES)?;
        Ok(self.sources.add(path.display().to_string(), &text))
    }

    /// The text of a regular file, bounded.
    fn text(&mut self, path: &Path, limit: u64) -> Result<String, Box<Diagnostic>> {
        let too_large = |limit: u64| {
            let text = format!("{} is larger than {} MiB", path.display(), limit >> 20);
            Box::new(Diagnostic::error("limit-bytes", text))
        };
        let wrap = |error: io::Error| Box::new(unreadable(path, &error));
        let file = File::open(path).map_err(wrap)?;
        if !file.metadata().map_err(wrap)?.is_file() {
            return Err(wrap(io::Error::other("not a regular file")));
        }
        let mut bytes = Vec::new();
        let read = file.take(limit.saturating_add(1)).read_to_end(&mut bytes).map_err(wrap)?;
        let read = u64::try_from(read).unwrap_or(u64::MAX);
        self.read_bytes = self.read_bytes.saturating_add(read);
        if read > limit {
            return Err(too_large(limit));
        }
        if self.read_bytes > TOTAL_LIMIT_BYTES {
            return Err(too_large(TOTAL_LIMIT_BYTES));
        }
        String::from_utf8(bytes).map_err(|error| {
            let valid = error.utf8_error().valid_up_to();
            let good = error.as_bytes().get(..valid).unwrap_or_default();
            let shown = String::from_utf8_lossy(good).into_owned();
            let file = self.sources.add(path.display().to_string(), &shown);
            let end = u32::try_from(shown.len()).unwrap_or(u32::MAX);
            let finding =
                Diagnostic::error("not-utf-8", format!("{} is not UTF-8", path.display()));
            Box::new(finding.at(Place { file, start: end, end }, "the first bad byte is here"))
        })
    }
}

/// Collects the documents below a folder; hidden ones and `tests/` are left out.
fn list_folder(
    root: &Path,
    folder: &Path,
    depth: usize,
    found: &mut Vec<(PathBuf, Role)>,
    findings: &mut Findings,
) {
    if depth > DEPTH_LIMIT {
        let text = format!("{} is more than {DEPTH_LIMIT} folders deep", folder.display());
        return findings.push(Diagnostic::error("limit-depth", text));
    }
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) => return findings.push(unreadable(folder, &error)),
    };
    for entry in entries {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) => return findings.push(unreadable(folder, &error)),
        };
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with('.') || (depth == 0 && name == "tests") {
            continue;
        }
        let link = entry.file_type().is_ok_and(|kind| kind.is_symlink());
        if path.is_dir() {
            if link {
                let text = format!("{} is a link to a folder; it is not followed", path.display());
                findings.push(Diagnostic::error("link", text).help("put the folder itself here"));
                continue;
            }
            list_folder(root, &path, depth.saturating_add(1), found, findings);
        } else if name.ends_with(".yaml") {
            if link && leaves(root, &path) {
                let text = format!("{} is a link that leads out of the ruleset", path.display());
                findings.push(Diagnostic::error("link", text).help("put the file itself here"));
                continue;
            }
            let partner = path.strip_prefix(root).is_ok_and(|p| p.starts_with("partners"));
            found.push((path, if partner { Role::Partner } else { Role::Common }));
        } else if name.ends_with(".yml") {
            let text = format!("{} is not read: its name does not end in .yaml", path.display());
            findings.push(Diagnostic::error("file-name", text).help("rename it to *.yaml"));
        }
    }
}

/// Whether a path leads, through links, out of a folder.
fn leaves(root: &Path, path: &Path) -> bool {
    let root = if root.as_os_str().is_empty() { Path::new(".") } else { root };
    match (root.canonicalize(), path.canonicalize()) {
        (Ok(root), Ok(path)) => !path.starts_with(root),
        _ => false,
    }
}

fn unreadable(path: &Path, error: &io::Error) -> Diagnostic {
    let what = match error.kind() {
        io::ErrorKind::NotFound => "there is no such file".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => error.to_string(),
    };
    Diagnostic::error("unreadable", format!("cannot read {}: {what}", path.display()))
        .help("a ruleset is a folder with lockgate.yaml, or a single YAML file")
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("lockgate-{}-{name}", std::process::id()));
            let _ = std::fs::remove_dir_all(&path);
            std::fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        fn put(&self, name: &str, text: &[u8]) {
            let path = self.0.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }

        fn read(&self) -> (Files, Vec<Diagnostic>) {
            let mut findings = Findings::default();
            let files = Files::read(&self.0, &mut findings);
            (files, findings.finish().0)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn every_yaml_but_tests_is_a_document_and_lockgate_comes_first() {
        let folder = Folder::new("merge");
        for name in [
            "a.yaml",
            "lockgate.yaml",
            "partners/x.yaml",
            "tests/t.yaml",
            ".git/h.yaml",
            "lists/a.txt",
        ] {
            folder.put(name, b"lockgate: 1\n");
        }
        let (files, errors) = folder.read();
        assert_eq!(errors, vec![]);
        let names: Vec<_> = files
            .documents
            .iter()
            .map(|(id, role)| {
                (files.sources.name(*id).rsplit('/').next().unwrap().to_owned(), *role)
            })
            .collect();
        assert_eq!(
            names,
            [
                ("lockgate.yaml".to_owned(), Role::Common),
                ("a.yaml".to_owned(), Role::Common),
                ("x.yaml".to_owned(), Role::Partner),
            ]
        );
    }

    #[test]
    fn lists_stay_inside_the_folder() {
        let folder = Folder::new("lists");
        folder.put("lockgate.yaml", b"");
        folder.put("lists/a.txt", b"a.example\n");
        std::os::unix::fs::symlink("/etc/hostname", folder.0.join("lists/out.txt")).unwrap();
        std::os::unix::fs::symlink("a.txt", folder.0.join("lists/in.txt")).unwrap();
        let (mut files, _) = folder.read();
        for (path, good) in [
            ("lists/a.txt", true),
            ("lists/in.txt", true),
            ("lists/out.txt", false),
            ("../x", false),
            ("/etc/hostname", false),
            ("lists", false),
            ("nowhere.txt", false),
            ("", false),
        ] {
            assert_eq!(files.list(path).is_ok(), good, "{path}");
        }
    }

    #[test]
    fn unreadable_and_strange_files_are_named() {
        let folder = Folder::new("strange");
        folder.put("bad.yaml", b"lockgate: 1\n# \xff\n");
        folder.put("old.yml", b"");
        let codes: Vec<_> = folder.read().1.into_iter().map(|d| d.code).collect();
        assert_eq!(codes, ["file-name", "not-utf-8"]);
        let mut findings = Findings::default();
        Files::read(Path::new("/nowhere/at/all"), &mut findings);
        assert_eq!(findings.finish().0.first().map(|d| d.code), Some("unreadable"));
    }

    #[test]
    fn documents_end_at_their_limit() {
        let folder = Folder::new("limit");
        for (len, good) in [(99, true), (100, true), (101, false)] {
            folder.put("x.yaml", &vec![b'#'; len]);
            assert_eq!(Files::default().text(&folder.0.join("x.yaml"), 100).is_ok(), good, "{len}");
        }
    }
}
