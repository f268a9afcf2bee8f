//! Every command of the README and of the pages in docs/ that runs lockgate is run, from the
//! project's folder; a page whose commands fail is wrong. `CAPTURE` stands for a shipped capture and
//! `RULESET` for a shipped ruleset.
//!
//! Not run: commands of other programs, and lines marked `# not run: why`.

use lockgate::model::Reason;
use lockgate::ruleset::{self, Options};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const CAPTURE: &str = "pcaps/partner-dmz.pcap";
const RULESET: &str = "rulesets/partner-dmz";

fn pages(root: &Path) -> Vec<PathBuf> {
    let mut pages = vec![root.join("README.md")];
    let docs = fs::read_dir(root.join("docs")).unwrap().map(|entry| entry.unwrap().path());
    pages.extend(docs.filter(|path| path.extension().is_some_and(|ending| ending == "md")));
    pages.sort();
    pages
}

/// Commands of a page: lines of indented or fenced code, and code within text.
fn commands(page: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut fenced = false;
    for line in page.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
            continue;
        }
        let pieces: Vec<&str> = if fenced || line.starts_with("    ") {
            vec![line.trim().trim_start_matches("$ ")]
        } else {
            line.split('`').skip(1).step_by(2).collect()
        };
        found.extend(pieces.into_iter().filter_map(arguments));
    }
    found
}

/// The arguments of lockgate, if that is what is run.
fn arguments(command: &str) -> Option<String> {
    if command.contains("# not run:") {
        return None;
    }
    let rest = command.strip_prefix("cargo run -- ").or_else(|| {
        command
            .strip_prefix("cargo run --release -- ")
            .or_else(|| command.strip_prefix("lockgate "))
    })?;
    // A command named in passing has no arguments to run it with.
    rest.contains(' ').then(|| rest.to_owned())
}

#[test]
fn every_command_of_the_pages_works() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let scratch = Path::new(env!("CARGO_TARGET_TMPDIR")).join("readme");
    // Commands that make something new find nothing in their way.
    let _ = fs::remove_dir_all(&scratch);
    fs::create_dir_all(&scratch).unwrap();
    let mut failed = Vec::new();
    let mut run = 0;
    for page in pages(root) {
        for command in commands(&fs::read_to_string(&page).unwrap()) {
            let filled = command
                .replace("CAPTURE", CAPTURE)
                .replace("RULESET", RULESET)
                .replace("/tmp/", &format!("{}/", scratch.display()));
            let line = format!("{} {filled}", env!("CARGO_BIN_EXE_lockgate"));
            let out = Command::new("sh").args(["-c", &line]).current_dir(root).output().unwrap();
            run += 1;
            if !out.status.success() {
                let errors = String::from_utf8_lossy(&out.stderr).into_owned();
                failed.push(format!("{}: {command}\n{errors}", page.display()));
            }
        }
    }
    assert!(run >= 4, "only {run} commands were found");
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

/// Blocks of YAML that are whole documents compile.
#[test]
fn every_ruleset_on_the_pages_compiles() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut compiled = 0;
    for page in pages(root) {
        let text = fs::read_to_string(&page).unwrap();
        let blocks = text.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next());
        for block in blocks.filter(|block| block.starts_with("lockgate: 1")) {
            let loaded = ruleset::load_text("page.yaml", block, &Options::default());
            loaded.unwrap_or_else(|refused| panic!("{}:\n{refused}", page.display()));
            compiled += 1;
        }
    }
    assert!(compiled > 0);
}

#[test]
fn every_link_between_the_pages_leads_somewhere() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut links = 0;
    for page in pages(root) {
        let text = fs::read_to_string(&page).unwrap();
        let targets = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        for target in targets.filter(|target| !target.contains("://")) {
            let file = target.split('#').next().unwrap();
            assert!(page.parent().unwrap().join(file).exists(), "{}: {target}", page.display());
            links += 1;
        }
    }
    assert!(links > 10, "only {links} links were found");
}

/// docs/reasons.md is written from the reasons themselves.
#[test]
fn the_page_of_reasons_has_every_reason() {
    let mut page = String::from(
        "# Reasons\n\nWhy a packet was dropped or a flow decided: one name each, the same in records, \
         metrics, tests and\nsummaries. `UPDATE_GOLDEN=1 cargo test --test readme` writes this page.\n\n\
         | reason | means |\n|---|---|\n",
    );
    for reason in Reason::ALL {
        page.push_str(&format!("| `{}` | {} |\n", reason.name(), reason.explain()));
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reasons.md");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, &page).unwrap();
    }
    assert_eq!(fs::read_to_string(&path).unwrap_or_default(), page);
}

#[test]
fn commands_are_found_where_pages_have_them() {
    let page = "text `lockgate check RULESET` and `lockgate check`\n\n    cargo run -- replay a b\n\
                ```\n$ lockgate wrap x y\nls\nlockgate run --config x # not run: needs root\n```\n";
    assert_eq!(commands(page), ["check RULESET", "replay a b", "wrap x y"]);
}
