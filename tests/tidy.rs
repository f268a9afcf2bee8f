//! House style held by a test: every file says what it is, stays readable, leaves nothing undone.

use std::fs;
use std::path::{Path, PathBuf};

/// Lines a source file may have; its tests stand beside it where it would grow longer.
const FILE_LINES_MAX: usize = 600;
/// Lines a function may have.
const FUNCTION_LINES_MAX: usize = 80;
/// Files that may hold `unsafe`, each block with its proof.
const UNSAFE_FILES: &[&str] = &[
    "benches/live/bare.rs",
    "benches/live/bare_xdp.rs",
    "src/appliance/privileges/user.rs",
    "src/bench/allocations.rs",
    "src/bench/floor.rs",
    "src/flow/lanes.rs",
    "src/io/live/bpf.rs",
    "src/io/live/packet/ring.rs",
    "src/io/live/sys.rs",
    "src/io/live/xdp/ring.rs",
    "src/io/live/xdp/socket.rs",
    "src/io/live/xdp/umem.rs",
    "src/policy/lanes.rs",
    "src/wire/near.rs",
];

fn sources() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    for folder in ["src", "tests", "benches"] {
        collect(&root.join(folder), &mut found);
    }
    found.sort();
    found
        .into_iter()
        .map(|path| {
            let text = fs::read_to_string(&path).expect("readable");
            (path.strip_prefix(root).expect("below the root").to_owned(), text)
        })
        .collect()
}

fn collect(folder: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        if path.is_dir() && !path.ends_with("target") {
            collect(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn every_file_says_what_it_is() {
    let silent: Vec<_> = sources()
        .into_iter()
        .filter(|(_, text)| !text.starts_with("//!") && !text.starts_with("#!["))
        .map(|(path, _)| path)
        .collect();
    assert!(silent.is_empty(), "files without a `//!` at their head: {silent:?}");
}

#[test]
fn files_and_functions_stay_readable() {
    let mut long = Vec::new();
    for (path, text) in sources() {
        let lines = text.lines().count();
        if lines > FILE_LINES_MAX {
            long.push(format!("{}: {lines} lines", path.display()));
        }
        let mut open: Option<(usize, usize, String)> = None;
        for (number, line) in text.lines().enumerate() {
            let indent = line.len() - line.trim_start().len();
            let bare = line.trim_start();
            let head = bare.split('(').next().unwrap_or_default();
            let starts = open.is_none()
                && (head.starts_with("fn ") || head.contains(" fn "))
                && !bare.starts_with("//")
                && !bare.ends_with(';');
            if starts {
                open = Some((indent, number, head.to_owned()));
            } else if let Some((at, from, name)) = &open
                && indent == *at
                && bare.starts_with('}')
            {
                if number - from >= FUNCTION_LINES_MAX {
                    let lines = number - from + 1;
                    long.push(format!("{}:{}: {name}: {lines} lines", path.display(), from + 1));
                }
                open = None;
            }
        }
    }
    assert!(long.is_empty(), "too long to read:\n{}", long.join("\n"));
}

#[test]
fn nothing_is_left_undone() {
    let marks = ["TO\u{44}O", "FIX\u{4d}E", "dbg\u{21}(", "unimplemented\u{21}("];
    let mut found = Vec::new();
    for (path, text) in sources() {
        for (number, line) in text.lines().enumerate() {
            if marks.iter().any(|mark| line.contains(mark)) {
                found.push(format!("{}:{}: {}", path.display(), number + 1, line.trim()));
            }
        }
    }
    assert!(found.is_empty(), "left undone:\n{}", found.join("\n"));
}

/// The macros stop the program where nobody reads on (`2>&1 | head`), and its work is lost.
#[test]
fn commands_write_to_streams_without_stopping_where_nobody_reads() {
    let macros = ["eprintln!(", "eprint!(", "println!(", "print!("];
    let mut found = Vec::new();
    for (path, text) in sources().into_iter().filter(|(path, _)| path.starts_with("src/cli")) {
        for (number, line) in text.lines().enumerate() {
            if macros.iter().any(|name| line.contains(name)) {
                found.push(format!("{}:{}: {}", path.display(), number + 1, line.trim()));
            }
        }
    }
    assert!(
        found.is_empty(),
        "src/cli/say.rs tells what goes to standard error:\n{}",
        found.join("\n")
    );
}

#[test]
fn unsafe_stays_in_its_files() {
    let mut found = Vec::new();
    for (path, text) in sources() {
        let allowed = UNSAFE_FILES.iter().any(|file| path == Path::new(file));
        let opens = text
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"))
            .any(|line| line.contains(concat!("unsafe", " {")));
        if opens && !allowed {
            found.push(path);
        }
    }
    assert!(found.is_empty(), "unsafe outside its named files: {found:?}");
}
