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

/// Every file below a folder with what it holds.
fn contents(folder: &Path, found: &mut Vec<(std::path::PathBuf, Vec<u8>)>) {
    let mut entries: Vec<_> = fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            contents(&path, found);
        } else {
            found.push((path.clone(), fs::read(path).unwrap()));
        }
    }
}

#[test]
fn no_command_writes_over_a_file_that_it_reads() {
    let folder = Folder::new("inputs-outputs");
    let path = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    let rules = path("rules");
    for name in ["lockgate.yaml", "partners/acme.yaml", "partners/globex.yaml", "lists/card.txt"] {
        let text = fs::read(Path::new(RULESET).join(name)).unwrap();
        write(&folder, &format!("rules/{name}"), text);
    }
    let (document, list) = (path("rules/lockgate.yaml"), path("rules/lists/card.txt"));
    let capture = write(&folder, "a.pcap", fs::read(CAPTURE).unwrap());
    let log = write(
        &folder,
        "a.jsonl",
        lockgate(&["replay", RULESET, CAPTURE, "--format", "json"]).stdout,
    );
    let suricata = write(&folder, "a.rules", "drop tcp any any -> any 23 (sid:1;)\n");
    let (link, hard) = (path("link.pcap"), path("hard.pcap"));
    std::os::unix::fs::symlink(&capture, &link).unwrap();
    fs::hard_link(&capture, &hard).unwrap();
    let partner = path("rules/partners/acme.yaml");
    let mut before = Vec::new();
    contents(&folder, &mut before);
    let endpoint = ["--endpoint", "vpce-00000000000000001"];
    let cases: &[(&[&str], &str, &str)] = &[
        (&["report", RULESET, &capture, "-o", &capture], &capture, "as a capture"),
        (&["report", RULESET, &capture, "-o", &link], &link, "as a capture"),
        (&["report", RULESET, &capture, "-o", &hard], &hard, "as a capture"),
        (&["report", RULESET, "--flows", &log, "-o", &log], &log, "as a flow log"),
        (&["report", &rules, &capture, "-o", &document], &document, "as part of the ruleset"),
        (&["report", &rules, &capture, "-o", &list], &list, "as part of the ruleset"),
        (&["diff", &rules, RULESET, "-o", &partner], &partner, "as part of the ruleset"),
        (&["diff", RULESET, &rules, "-o", &partner], &partner, "as part of the ruleset"),
        (
            &["diff", &rules, &rules, "--capture", &capture, "-o", &capture],
            &capture,
            "as a capture",
        ),
        (&["diff", &rules, &rules, "--flows", &log, "-o", &log], &log, "as a flow log"),
        (
            &["suggest", &rules, CAPTURE, "--force", "-o", &rules],
            &document,
            "as part of the ruleset",
        ),
        (&["import", &suricata, "-o", &suricata], &suricata, "as rules to import"),
        (
            &["replay", &rules, &capture, "--write-dropped", &document],
            &document,
            "as part of the ruleset",
        ),
        (&["replay", &rules, &capture, "--write-forwarded", &link], &link, "as a capture"),
        (&["bench", &capture, "--quick", "--html", &capture], &capture, "as a capture"),
        (&["wrap", &capture, &link, endpoint[0], endpoint[1]], &link, "as a capture"),
    ];
    for (arguments, output, what) in cases {
        let said = told(arguments, 1);
        let expected = format!("error: {output}: is read {what} and cannot be written\n");
        assert!(said.ends_with(&expected), "{arguments:?}\n{said}");
    }
    let mut after = Vec::new();
    contents(&folder, &mut after);
    let changed: Vec<_> =
        after.iter().filter(|file| !before.contains(file)).map(|f| &f.0).collect();
    assert!(changed.is_empty() && before.len() == after.len(), "{changed:?}");
}

#[test]
fn a_folder_that_is_not_there_is_told_before_anything_is_read_and_not_made() {
    let folder = Folder::new("inputs-folder");
    let suricata = write(&folder, "a.rules", "drop tcp any any -> any 23 (sid:1;)\n");
    let missing = folder.join("missing");
    let output = missing.join("x").to_str().unwrap().to_owned();
    for arguments in [
        ["report", RULESET, CAPTURE, "-o", &output].as_slice(),
        &["diff", RULESET, RULESET, "-o", &output],
        &["import", &suricata, "-o", &output],
        &["replay", RULESET, CAPTURE, "--write-dropped", &output],
    ] {
        let said = told(arguments, 1);
        let folder = missing.display();
        let expected = format!("{output}: cannot be written: there is no folder {folder}");
        assert!(said.contains(&expected), "{said}");
    }
    assert!(!missing.exists());
    // A folder to write is another thing.
    told(&["suggest", RULESET, CAPTURE, "-o", missing.to_str().unwrap()], 0);
    assert!(missing.join("lockgate.yaml").exists());
}

#[test]
fn a_command_does_its_work_where_nobody_listens_to_its_errors() {
    let folder = Folder::new("inputs-deaf");
    let path = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    let (suggested, page, imported) = (path("suggested"), path("page.html"), path("imported.yaml"));
    let (wrapped, broken) = (path("wrapped.pcap"), write(&folder, "broken.yaml", "lockgate: 2\n"));
    let suricata = write(&folder, "a.rules", "drop tcp any any -> any 23 (sid:1;)\n");
    let (cut, _) = cut(&folder);
    let endpoint = "vpce-00000000000000001";
    let cases: &[(&[&str], i32, Option<&str>)] = &[
        (&["suggest", RULESET, &cut, "-o", &suggested], 0, Some(&suggested)),
        (&["report", RULESET, &cut, "-o", &page], 0, Some(&page)),
        (&["import", &suricata, "-o", &imported], 0, Some(&imported)),
        (&["wrap", CAPTURE, &wrapped, "--endpoint", endpoint], 0, Some(&wrapped)),
        (&["replay", RULESET, &cut, "--format", "csv"], 0, None),
        (&["diff", RULESET, RULESET, "--capture", &cut], 0, None),
        (&["check", RULESET], 0, None),
        (&["check", &broken], 1, None),
        (&["replay", &broken, CAPTURE], 1, None),
        (
            &[
                "explain",
                &broken,
                "--source",
                "10.0.0.1",
                "--destination",
                "10.0.0.2",
                "--protocol",
                "41",
            ],
            1,
            None,
        ),
        (&["test", &broken], 2, None),
        (&["test", RULESET, "--record", "no/such.pcap"], 2, None),
        (&["run", "--check", "--config", &broken], 1, None),
        (&["ctl", "--socket", "no/such.sock", "status"], 1, None),
        (&["bench", "no/such.pcap"], 1, None),
        (&["init", "inline-dmz", RULESET], 1, None),
    ];
    for (arguments, code, written) in cases {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = Command::new(env!("CARGO_BIN_EXE_lockgate"));
        let out = command.args(*arguments).stderr(writer).output().unwrap();
        assert_eq!(out.status.code(), Some(*code), "{arguments:?}");
        assert!(written.is_none_or(|path| Path::new(path).exists()), "{arguments:?}");
    }
}
