//! Text files of one kind of thing, one entry a line, that documents name by a path: members of sets,
//! endpoints of segments.

use super::collection::List;
use super::decode::{Fault, Scalar};
use super::diagnostic::{Diagnostic, Findings};
use super::files::Files;
use super::merge::Merged;
use super::scalar::Text;
use super::source::{At, FileId, Place};
use crate::model::EndpointId;

/// Errors reported of one list file; a wrong file would otherwise bury everything else.
const LIST_ERRORS_LIMIT: usize = 20;

/// The entries of a file; `#` starts a comment.
pub(super) fn read<T: Scalar>(
    about: &str,
    path: &At<Text>,
    files: &mut Files,
    findings: &mut Findings,
) -> Vec<At<T>> {
    match files.list(&path.value.0) {
        Ok(id) => entries(about, path.place, id, files, findings),
        Err(mut finding) => {
            finding.message = format!("{about}: {}", finding.message);
            let named = Diagnostic { help: Vec::new(), ..finding.as_ref().clone() };
            let help = "the path is relative to the ruleset folder";
            findings.push(match finding.label {
                Some(_) => named.also(path.place, "named here"),
                None => named.at(path.place, "named here").help(help),
            });
            Vec::new()
        }
    }
}

fn entries<T: Scalar>(
    about: &str,
    named: Place,
    file: FileId,
    files: &Files,
    findings: &mut Findings,
) -> Vec<At<T>> {
    let text = files.sources.get(file).map_or("", |s| s.text.as_str());
    let mut values = Vec::new();
    let (mut at, mut errors) = (0usize, 0usize);
    for line in text.split('\n') {
        let start = at;
        at = at.saturating_add(line.len()).saturating_add(1);
        let bare = line.split('#').next().unwrap_or_default();
        let entry = bare.trim();
        if entry.is_empty() {
            continue;
        }
        let indent = bare.len().saturating_sub(bare.trim_start().len());
        let start = start.saturating_add(indent);
        let clip = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let place =
            Place { file, start: clip(start), end: clip(start.saturating_add(entry.len())) };
        match T::parse(entry) {
            Ok(value) => values.push(At { value, place }),
            Err(_) if errors >= LIST_ERRORS_LIMIT => return values,
            Err(fault) => {
                errors = errors.saturating_add(1);
                findings.push(list_error(about, fault, place, named));
            }
        }
    }
    if values.is_empty() && errors == 0 {
        findings.push(
            Diagnostic::error("empty-set", format!("{about}: its file lists nothing"))
                .at(named, "this file has no entry"),
        );
    }
    values
}

fn list_error(about: &str, fault: Fault, place: Place, named: Place) -> Diagnostic {
    fault.into_diagnostic(Some(about), place).also(named, "the file is named here")
}

/// Gives every segment the endpoints that its files list, behind those it lists itself.
pub(super) fn endpoints(merged: &mut Merged, files: &mut Files, findings: &mut Findings) {
    for (name, segment) in &mut merged.segments {
        let about = format!("segment `{}`", name.value.0);
        for (list, file) in [
            (&mut segment.endpoints, &segment.endpoints_file),
            (&mut segment.proxy_endpoints, &segment.proxy_endpoints_file),
        ] {
            let Some(path) = file else { continue };
            let listed: Vec<At<EndpointId>> = read(&about, path, files, findings);
            let list =
                list.get_or_insert(List { items: Vec::new(), is_empty: true, place: path.place });
            // A file that could not be read has its own finding.
            list.is_empty = false;
            list.items.extend(listed);
        }
    }
}
