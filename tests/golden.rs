//! What the program prints, line by line: every command of `tests/golden/cases.list` is run, and its
//! output held against a file. `UPDATE_GOLDEN=1 cargo test --test golden` writes the files anew.

use std::fs;
use std::path::Path;
use std::process::Command;

#[test]
fn output_is_what_it_was() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = root.join("tests/golden");
    let cases = fs::read_to_string(folder.join("cases.list")).unwrap();
    let mut changed = Vec::new();
    let mut run = 0;
    for case in cases.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let mut words = case.split_whitespace();
        let (name, code) = (words.next().unwrap(), words.next().unwrap());
        let out = Command::new(env!("CARGO_BIN_EXE_lockgate"))
            .args(words)
            .current_dir(root)
            .output()
            .unwrap();
        let errors = String::from_utf8(out.stderr).unwrap();
        assert_eq!(out.status.code().unwrap().to_string(), code, "{name}: {errors}");
        let mut text = String::from_utf8(out.stdout).unwrap();
        if code != "0" {
            text.push_str(&errors);
        }
        let file = folder.join(name);
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&file, &text).unwrap();
        }
        if fs::read_to_string(&file).unwrap_or_default() != text {
            changed.push(format!("{name}: {case}\n{}", first_difference(&file, &text)));
        }
        run += 1;
    }
    assert!(run > 0, "no case");
    assert!(changed.is_empty(), "UPDATE_GOLDEN=1 takes the new output:\n{}", changed.join("\n"));
}

fn first_difference(file: &Path, text: &str) -> String {
    let expected = fs::read_to_string(file).unwrap_or_default();
    let mut lines = expected.lines().zip(text.lines()).enumerate();
    match lines.find(|(_, (expected, found))| expected != found) {
        Some((at, (expected, found))) => {
            format!("line {}:\n  expected {expected}\n  found    {found}", at + 1)
        }
        None => "one has more lines than the other".to_owned(),
    }
}
