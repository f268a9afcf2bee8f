//! What commands do with inputs that are broken or cut short, with outputs that are inputs too, and
//! where nobody listens: the same for each of them. What they make of good inputs is not told here.

mod folder;

use folder::Folder;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

const RULESET: &str = "rulesets/partner-dmz";
const CAPTURE: &str = "pcaps/partner-dmz.pcap";

fn lockgate(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_lockgate")).args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What a command said on standard error, which must have ended with this code.
fn told(arguments: &[&str], code: i32) -> String {
    let out = lockgate(arguments);
    let said = text(&out.stderr);
    assert_eq!(out.status.code(), Some(code), "{arguments:?}\n{said}");
    said
}

fn write(folder: &Path, name: &str, bytes: impl AsRef<[u8]>) -> String {
    let path = folder.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, bytes).unwrap();
    path.to_str().unwrap().to_owned()
}

/// Where each record of a capture starts.
fn records(bytes: &[u8]) -> Vec<usize> {
    let mut starts = vec![24];
    while let Some(len) = bytes.get(starts[starts.len() - 1] + 8..).and_then(|b| b.first_chunk()) {
        starts.push(starts[starts.len() - 1] + 16 + u32::from_le_bytes(*len) as usize);
    }
    starts
}

/// The shipped capture with a record that says it is as long as no packet can be.
fn malformed(folder: &Path) -> (String, usize) {
    let mut bytes = fs::read(CAPTURE).unwrap();
    let at = records(&bytes)[3];
    bytes[at + 8..at + 12].copy_from_slice(&0x7fff_ffff_u32.to_le_bytes());
    (write(folder, "malformed.pcap", bytes), at)
}

/// The shipped capture, its last record a byte short.
fn cut(folder: &Path) -> (String, usize) {
    let bytes = fs::read(CAPTURE).unwrap();
    let starts = records(&bytes);
    (write(folder, "cut.pcap", &bytes[..bytes.len() - 1]), starts[starts.len() - 2])
}

#[test]
fn a_change_is_not_said_to_be_none_by_a_capture_that_ends_in_a_malformed_record() {
    let folder = Folder::new("inputs-malformed");
    let (capture, at) = malformed(&folder);
    let out = lockgate(&["diff", RULESET, RULESET, "--capture", &capture]);
    assert_eq!((out.status.code(), text(&out.stdout).as_str()), (Some(1), ""));
    let expected = format!("error: {capture}: malformed record at byte {at}: ");
    assert!(text(&out.stderr).starts_with(&expected), "{}", text(&out.stderr));
}

#[test]
fn a_change_over_a_capture_that_is_cut_says_so() {
    let folder = Folder::new("inputs-cut");
    let (capture, at) = cut(&folder);
    let said = told(&["diff", RULESET, RULESET, "--capture", &capture], 0);
    let expected = format!("note: {capture}: ends within the record at byte {at}; ");
    assert!(said.contains(&expected), "{said}");
}
