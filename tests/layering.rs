//! Holds the import table of the architecture against the code: a room imports only from the rooms
//! below it, and rooms of one layer do not know each other.

use std::fs;
use std::path::{Path, PathBuf};

/// Each room with its layer; a room may import from lower layers only.
const LAYERS: &[(&str, u8)] = &[
    ("model", 0),
    ("wire", 1),
    ("flow", 2),
    ("inspect", 2),
    ("policy", 2),
    ("engine", 3),
    ("ruleset", 4),
    ("io", 5),
    ("pipeline", 6),
    ("observe", 7),
    ("synth", 8),
    ("prove", 9),
    ("appliance", 9),
    ("bench", 9),
    ("cli", 10),
];

/// Test code may build frames with `synth`, which stands above what it tests.
const TEST_HELPERS: &[&str] = &["synth"];

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("readable").flatten() {
        let path = entry.path();
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push(path);
        }
    }
}

fn layer(room: &str) -> Option<u8> {
    LAYERS.iter().find(|(name, _)| *name == room).map(|(_, layer)| *layer)
}

fn is_test(path: &Path) -> bool {
    let text = path.to_string_lossy();
    text.ends_with("tests.rs") || text.contains("/tests/")
}

#[test]
fn rooms_import_downward_only() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut all = Vec::new();
    files(&src, &mut all);
    let mut offences = Vec::new();
    for path in all {
        let inside = path.strip_prefix(&src).expect("below src");
        let Some(room) = inside.components().next().and_then(|part| part.as_os_str().to_str())
        else {
            continue;
        };
        let Some(own) = layer(room) else { continue };
        let text = fs::read_to_string(&path).expect("readable");
        let mut testing = is_test(&path);
        for (number, line) in text.lines().enumerate() {
            testing |= line.trim_start().starts_with("#[cfg(test)]");
            if line.trim_start().starts_with("//") {
                continue;
            }
            for (at, _) in line.match_indices("crate::") {
                let rest = &line[at + "crate::".len()..];
                let named: String =
                    rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                let Some(other) = layer(&named) else { continue };
                let helper = testing && TEST_HELPERS.contains(&named.as_str());
                if named != room && other >= own && !helper {
                    offences.push(format!("{}:{}: {}", inside.display(), number + 1, line.trim()));
                }
            }
        }
    }
    assert!(offences.is_empty(), "imports against the layers:\n{}", offences.join("\n"));
}

#[test]
fn every_room_has_a_layer() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for entry in fs::read_dir(&src).expect("readable").flatten() {
        if entry.path().is_dir() {
            let name = entry.file_name().to_string_lossy().into_owned();
            assert!(layer(&name).is_some(), "src/{name} stands in no layer");
        }
    }
}
