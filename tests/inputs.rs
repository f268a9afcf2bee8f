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

/// Commands that print a result, each with the code it ends with.
fn printers(suricata: &str) -> Vec<(Vec<&str>, i32)> {
    let witness = ["--source", "10.20.1.5", "--destination", "10.100.4.7", "--protocol", "41"];
    vec![
        (vec!["suggest", RULESET, CAPTURE], 0),
        (vec!["import", suricata], 0),
        (vec!["replay", RULESET, CAPTURE], 0),
        (vec!["replay", RULESET, CAPTURE, "--format", "json"], 0),
        (vec!["diff", RULESET, "rulesets/capture-survey"], 3),
        (vec!["check", RULESET], 0),
        (vec!["check", RULESET, "--format", "json"], 0),
        (vec!["check", RULESET, "--format", "sarif"], 0),
        ([&["explain", RULESET][..], &witness].concat(), 0),
        (vec!["test", RULESET], 0),
        (vec!["test", RULESET, "--record", CAPTURE], 0),
        (vec!["init", "--list"], 0),
        (vec!["bench", "--list"], 0),
    ]
}

#[test]
fn a_result_that_nobody_reads_to_its_end_is_no_fault_and_one_that_cannot_be_written_is() {
    let folder = Folder::new("inputs-unread");
    let suricata = write(&folder, "a.rules", "drop tcp any any -> any 23 (sid:1;)\n");
    let run = |arguments: &[&str], to: std::process::Stdio| {
        let out = Command::new(env!("CARGO_BIN_EXE_lockgate"))
            .args(arguments)
            .stdout(to)
            .output()
            .unwrap();
        (out.status.code(), String::from_utf8(out.stderr).unwrap())
    };
    for (arguments, code) in printers(&suricata) {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let (unread, said) = run(&arguments, writer.into());
        assert_eq!(unread, Some(code), "{arguments:?} into a pipe that is closed: {said}");
        assert!(!said.contains("error"), "{arguments:?}: {said}");
        // A disk that is full.
        let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let (code, said) = run(&arguments, full.into());
        let failed = if arguments[0] == "test" { 2 } else { 1 };
        assert_eq!(code, Some(failed), "{arguments:?} on a full disk: {said}");
        assert!(said.contains("No space left on device"), "{arguments:?}: {said}");
    }
}

/// The commands that read a capture, each with the code it ends with where that is read to its end.
fn readers<'a>(capture: &'a str, to: &'a [String; 3]) -> Vec<(Vec<&'a str>, i32)> {
    let [page, wrapped, suggested] = to;
    let flow = "10.20.1.5 -> 10.100.4.7";
    vec![
        (vec!["replay", RULESET, capture], 0),
        (vec!["report", RULESET, capture, "-o", page], 0),
        (vec!["suggest", RULESET, capture, "--force", "-o", suggested], 0),
        (vec!["diff", RULESET, RULESET, "--capture", capture], 0),
        (vec!["explain", RULESET, "--capture", capture, "--flow", flow], 0),
        (vec!["test", RULESET, "--record", capture], 0),
        (vec!["test", RULESET, "--record", capture, "--as-flows"], 0),
        (vec!["wrap", capture, wrapped, "--endpoint", "vpce-00000000000000001"], 0),
        (vec!["bench", capture, "--rounds", "1", "--flows", "100", "--rules", "10"], 0),
    ]
}

fn outputs(folder: &Path) -> [String; 3] {
    ["page.html", "wrapped.pcap", "suggested"].map(|n| folder.join(n).to_str().unwrap().to_owned())
}

#[test]
fn every_command_says_that_a_capture_is_cut() {
    let folder = Folder::new("inputs-every-cut");
    let ((capture, at), to) = (cut(&folder), outputs(&folder));
    let expected = format!(
        "note: {capture}: ends within the record at byte {at}; everything before it was read\n"
    );
    for (arguments, code) in readers(&capture, &to) {
        let said = told(&arguments, code);
        assert_eq!(said.matches(&expected).count(), 1, "{arguments:?}\n{said}");
    }
}

#[test]
fn a_test_that_names_a_cut_capture_says_so() {
    let folder = Folder::new("inputs-test-cut");
    let (capture, _) = cut(&folder);
    let rules = folder.join("rules").to_str().unwrap().to_owned();
    for name in ["lockgate.yaml", "partners/acme.yaml", "partners/globex.yaml", "lists/card.txt"] {
        write(&folder, &format!("rules/{name}"), fs::read(Path::new(RULESET).join(name)).unwrap());
    }
    let inside = write(&folder, "rules/tests/cut.pcap", fs::read(capture).unwrap());
    let recorded = folder.join("rules/tests/recorded.yaml");
    told(&["test", &rules, "--record", &inside, "-o", recorded.to_str().unwrap()], 0);
    let said = told(&["test", &rules], 0);
    assert!(said.contains("cut.pcap: ends within the record at byte "), "{said}");
}

#[test]
fn every_command_fails_on_a_malformed_capture_and_says_where_it_is() {
    let folder = Folder::new("inputs-every-malformed");
    let ((capture, at), to) = (malformed(&folder), outputs(&folder));
    let expected = format!("error: {capture}: malformed record at byte {at}: ");
    for (arguments, _) in readers(&capture, &to) {
        let code = if arguments[0] == "test" { 2 } else { 1 };
        let said = told(&arguments, code);
        assert_eq!(said.matches(&expected).count(), 1, "{arguments:?}\n{said}");
    }
    assert!(!Path::new(&to[0]).exists() && !Path::new(&to[2]).exists());
}

#[test]
fn a_capture_without_a_whole_header_is_said_to_be_that() {
    let folder = Folder::new("inputs-short");
    let whole = fs::read(CAPTURE).unwrap();
    let to = outputs(&folder);
    for (bytes, expected) in [
        (&whole[..0], "is empty; expected a capture"),
        (&whole[..10], "ends within the header of a capture, after 10 bytes; expected a capture"),
        (&whole[..23], "ends within the header of a capture, after 23 bytes; expected a capture"),
    ] {
        let capture = write(&folder, "short.pcap", bytes);
        for (arguments, _) in readers(&capture, &to) {
            let code = if arguments[0] == "test" { 2 } else { 1 };
            let said = told(&arguments, code);
            assert!(
                said.contains(&format!("error: {capture}: {expected}")),
                "{arguments:?}\n{said}"
            );
        }
    }
    let headed = write(&folder, "headed.pcap", &whole[..24]);
    let said = told(&["replay", RULESET, &headed], 0);
    assert!(said.contains("note: checksums are verified: no packet "), "{said}");
}

#[test]
fn a_flow_log_that_is_cut_is_read_up_to_there() {
    let folder = Folder::new("inputs-log");
    let log = lockgate(&["replay", RULESET, CAPTURE, "--format", "json"]).stdout;
    let lines: Vec<&[u8]> = log.split_inclusive(|byte| *byte == b'\n').collect();
    let cut = [lines[..4].concat(), lines[4][..lines[4].len() / 2].to_vec()].concat();
    let cut = write(&folder, "cut.jsonl", cut);
    let [page, _, suggested] = outputs(&folder);
    let note =
        format!("note: {cut}:5: the log ends within this line; everything before it was read\n");
    for (arguments, flows) in [
        (["report", RULESET, "--flows", &cut, "-o", &page].as_slice(), "4 flows"),
        (&["suggest", RULESET, "--flows", &cut, "--denied", "-o", &suggested], "of 4 flows"),
        (&["diff", RULESET, RULESET, "--flows", &cut], "of 4 real flows"),
    ] {
        let out = lockgate(arguments);
        let said = format!("{}{}", text(&out.stdout), text(&out.stderr));
        assert_eq!(out.status.code(), Some(0), "{arguments:?}\n{said}");
        assert!(said.contains(&note) && said.contains(flows), "{arguments:?}\n{said}");
    }
    let torn = [lines[0], &lines[1][..40], b"\n", lines[2], b"{\n"].concat();
    let torn = write(&folder, "torn.jsonl", torn);
    let said = told(&["report", RULESET, "--flows", &torn, "-o", &page], 0);
    let note =
        "2 lines, of which this is the first, break off and are left out; all others were read";
    assert!(said.starts_with(&format!("note: {torn}:2: {note}\n")), "{said}");
    let alone = write(&folder, "alone.jsonl", [&lines[1][..40], b"\n"].concat());
    let said = told(&["report", RULESET, "--flows", &alone, "-o", &page], 1);
    assert!(said.starts_with(&format!("error: {alone}:1: no flow record")), "{said}");
    let broken = [lines[0], b"{\"event_type\":}\n", lines[1]].concat();
    let broken = write(&folder, "broken.jsonl", broken);
    let said = told(&["report", RULESET, "--flows", &broken, "-o", &page], 1);
    assert!(said.starts_with(&format!("error: {broken}:2: no flow record")), "{said}");
}

#[test]
fn what_came_before_a_malformed_record_is_wrapped() {
    let folder = Folder::new("inputs-wrap");
    let (capture, _) = malformed(&folder);
    let wrapped = folder.join("wrapped.pcap").to_str().unwrap().to_owned();
    told(&["wrap", &capture, &wrapped, "--endpoint", "vpce-00000000000000001"], 1);
    // Three records, and where a fourth would start.
    assert_eq!(records(&fs::read(wrapped).unwrap()).len(), 4);
}

#[test]
fn standard_input_is_not_read_twice() {
    let folder = Folder::new("inputs-twice");
    let page = folder.join("page.html").to_str().unwrap().to_owned();
    for (arguments, code) in [
        (["replay", RULESET, "-", "-"].as_slice(), 1),
        (&["report", RULESET, "-", "--flows", "-", "-o", &page], 1),
        (&["suggest", RULESET, "--flows", "-", "--flows", "-"], 1),
        (&["import", "-", "-"], 1),
        (&["diff", RULESET, RULESET, "--capture", "-"], 1),
        (&["explain", RULESET, "--capture", "-", "--flow", "any->any"], 1),
        (&["test", RULESET, "--record", "-"], 2),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lockgate"));
        let capture = fs::File::open(CAPTURE).unwrap();
        let out = command.args(arguments).stdin(capture).output().unwrap();
        let said = text(&out.stderr);
        assert_eq!(out.status.code(), Some(code), "{arguments:?}\n{said}");
        assert!(said.contains("can be read once only"), "{arguments:?}\n{said}");
        assert!(said.contains(": name "), "{arguments:?}\n{said}");
    }
}

/// As a shell hands over what a command in parentheses writes: `lockgate replay RULESET <(zcat ...)`.
#[test]
fn a_pipe_is_read_whole_and_not_sampled_before() {
    let folder = Folder::new("inputs-pipe");
    let pipe = folder.join("pipe").to_str().unwrap().to_owned();
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    // More than a reader takes at once, so that whoever reads beside it would take something away.
    let whole = fs::read(CAPTURE).unwrap();
    let mut bytes = whole.clone();
    while bytes.len() < 2 << 20 {
        bytes.extend(&whole[24..]);
    }
    let regular = write(&folder, "regular.pcap", &bytes);
    let (expected, writer) = (lockgate(&["replay", RULESET, &regular, "--checksums", "verify"]), {
        let pipe = pipe.clone();
        std::thread::spawn(move || fs::write(pipe, bytes).unwrap())
    });
    let out = lockgate(&["replay", RULESET, &pipe]);
    writer.join().unwrap();
    let note = format!("note: checksums are verified: {pipe} cannot be looked at beforehand\n");
    assert!(text(&out.stderr).contains(&note), "{}", text(&out.stderr));
    assert!(out.status.success() && out.stdout == expected.stdout);
}
