//! One document of any schema in one file, with the errors of a ruleset. Knows no schema.

use super::decode::{Decode, Reading};
use super::diagnostic::Findings;
use super::files::Files;
use super::source::Sources;
use super::yaml;
use std::path::Path;

/// Reads the document in `path`. `None`: it could not be read; `findings` say why.
pub(crate) fn read<T: Decode>(path: &Path, findings: &mut Findings) -> (Option<T>, Sources) {
    let files = Files::read_file(path, findings);
    let mut document = None;
    for (file, _) in &files.documents {
        let Some(source) = files.sources.get(*file) else { continue };
        let mut reading = Reading::default();
        let node = yaml::parse(*file, &source.text, &mut reading.findings);
        document = node.and_then(|node| T::decode(&node, &mut reading));
        for finding in reading.findings {
            findings.push(finding);
        }
    }
    (document, files.sources)
}
