//! What deploy/ holds for provisioning is good, offline: templates by their validators, the
//! configuration they write by the appliance's own reader, scripts by running them against stand-ins.
//! Says SKIPPED where a validator is not installed; .ci/run installs them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const LOCKGATE: &str = env!("CARGO_BIN_EXE_lockgate");

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// An empty folder.
fn fresh(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("deploy").join(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    folder
}

/// A program of the environment that `LOCKGATE_VALIDATORS` names, or of the path.
fn validator(name: &str) -> String {
    match std::env::var("LOCKGATE_VALIDATORS") {
        Ok(folder) => format!("{folder}/bin/{name}"),
        Err(_) => name.to_owned(),
    }
}

fn said(out: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!("{}{}", text(&out.stdout), text(&out.stderr))
}

fn script(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn cloudformation_templates_are_valid() {
    let templates =
        ["gwlb.yaml", "partner.yaml"].map(|n| root().join("deploy/cloudformation").join(n));
    let Ok(out) = Command::new(validator("cfn-lint")).args(&templates).output() else {
        eprintln!("SKIPPED: cfn-lint is not installed (pip install cfn-lint)");
        return;
    };
    assert!(out.status.success(), "{}", said(&out));
}

#[test]
fn terraform_modules_are_whole() {
    let modules = ["gwlb", "partner", "example"].map(|n| root().join("deploy/terraform").join(n));
    let python = validator("python3");
    let has = Command::new(&python).args(["-c", "import hcl2"]).output();
    if !has.is_ok_and(|out| out.status.success()) {
        eprintln!("SKIPPED: python-hcl2 is not installed (pip install python-hcl2)");
    } else {
        let check = root().join("deploy/validate.py");
        let out = Command::new(&python).arg(check).args(&modules).output().unwrap();
        assert!(out.status.success(), "{}", said(&out));
    }
    let format = ["fmt", "-check", "-recursive", "-diff"];
    match Command::new("terraform").args(format).arg(root().join("deploy/terraform")).output() {
        Ok(out) => assert!(out.status.success(), "{}", said(&out)),
        Err(_) => eprintln!("SKIPPED: there is no terraform to look at the format"),
    }
}

/// The configuration between the markers of user data.
fn configuration(user_data: &str) -> String {
    let inside = user_data.split("appliance.yaml <<CONFIG\n").nth(1).unwrap();
    let inside = inside.split("CONFIG\n").next().unwrap();
    let indent = inside.len() - inside.trim_start().len();
    inside.lines().map(|line| format!("{}\n", line.get(indent..).unwrap_or_default())).collect()
}

#[test]
fn instances_get_a_configuration_that_the_appliance_takes() {
    let folder = fresh("configuration");
    let terraform =
        fs::read_to_string(root().join("deploy/terraform/gwlb/user-data.sh.tftpl")).unwrap();
    let stack = fs::read_to_string(root().join("deploy/cloudformation/gwlb.yaml")).unwrap();
    for (name, text) in [("terraform", terraform), ("cloudformation", stack)] {
        let mut filled = configuration(&text);
        for (variable, value) in [
            ("${gateways}", "10.99.0.0/28, 10.99.0.16/28"),
            ("${GatewayNetwork}", "10.99.0.0/27"),
            ("${target_failover}", "no_rebalance"),
            ("${TargetFailover}", "rebalance"),
            ("${drain_seconds}", "300"),
            ("${DrainSeconds}", "300"),
            ("${metrics_listen}", "127.0.0.1:9464"),
            ("$interface", "eth0"),
            ("/etc/lockgate/ruleset", &root().join("rulesets/inline-dmz").display().to_string()),
            ("user: lockgate", "user: root"),
        ] {
            filled = filled.replace(variable, value);
        }
        assert!(!filled.contains('$'), "{name}: {filled}");
        let file = folder.join(format!("{name}.yaml"));
        fs::write(&file, filled).unwrap();
        let out = Command::new(LOCKGATE).args(["run", "--check", "--config"]).arg(&file).output();
        let out = out.unwrap();
        assert!(out.status.success(), "{name}: {}", said(&out));
        assert!(said(&out).contains("inline-dmz: good"), "{name}: {}", said(&out));
    }
}

#[test]
fn what_provisioning_writes_is_what_a_segment_reads() {
    let folder = fresh("endpoints");
    fs::create_dir_all(folder.join("lists/endpoints")).unwrap();
    let ids = ["vpce-0a1b2c3d4e5f60718", "vpce-0ffeeddccbbaa9988"].join("\n");
    let written = format!("# GWLB endpoints of acme, written by Terraform.\n{ids}\n");
    fs::write(folder.join("lists/endpoints/acme.txt"), written).unwrap();
    let page = fs::read_to_string(root().join("docs/provisioning.md")).unwrap();
    let segment = page.split("```yaml\n").nth(1).unwrap().split("```").next().unwrap();
    fs::write(folder.join("lockgate.yaml"), format!("lockgate: 1\n{segment}")).unwrap();
    let out = Command::new(LOCKGATE).arg("check").arg(&folder).output().unwrap();
    assert!(out.status.success() && said(&out).contains("2 of partners"), "{}", said(&out));
}

#[test]
fn an_instance_that_is_to_go_drains_before_the_hook_is_completed() {
    let folder = fresh("drain");
    let log = folder.join("log");
    // IMDS says `InService` twice, then `Terminated`.
    script(
        &folder.join("curl"),
        &format!(
            "#!/bin/bash\ncase \"$*\" in\n*api/token*) echo token ;;\n*instance-id*) echo i-0abc ;;\n\
             *placement/region*) echo eu-west-1 ;;\n*lifecycle-state*) echo x >>{0}/asked\n\
             [ \"$(wc -l <{0}/asked)\" -gt 2 ] && echo Terminated || echo InService ;;\nesac\n",
            folder.display()
        ),
    );
    for program in ["systemctl", "aws"] {
        let text = format!("#!/bin/bash\necho \"{program} $*\" >>{}\n", log.display());
        script(&folder.join(program), &text);
    }
    let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap_or_default());
    let out = Command::new("bash")
        .arg(root().join("deploy/drain/lockgate-drain"))
        .env("PATH", path)
        .env("LOCKGATE_GROUP", "lockgate-instances")
        .env("LOCKGATE_DRAIN_POLL", "0.01")
        .output()
        .unwrap();
    assert!(out.status.success(), "{}", said(&out));
    let log = fs::read_to_string(log).unwrap();
    let lines: Vec<&str> = log.lines().collect();
    assert_eq!(lines.first(), Some(&"systemctl stop lockgate.service"));
    assert_eq!(lines.len(), 2, "{log}");
    for part in ["complete-lifecycle-action", "drain", "lockgate-instances", "i-0abc", "eu-west-1"]
    {
        assert!(lines[1].contains(part), "{part}: {log}");
    }
}

#[test]
fn a_commit_that_breaks_a_ruleset_is_refused_as_it_is_staged() {
    let folder = fresh("hook");
    let git = |arguments: &[&str]| {
        let out = Command::new("git")
            .args(["-c", "user.name=t", "-c", "user.email=t@example.org"])
            .args(arguments)
            .current_dir(&folder)
            .env_remove("GIT_DIR")
            .env_remove("GIT_INDEX_FILE")
            .output();
        out.unwrap()
    };
    assert!(git(&["init", "-q"]).status.success());
    let policy = folder.join("policy/dmz");
    let made = Command::new(LOCKGATE).args(["init", "inline-dmz"]).arg(policy).output().unwrap();
    assert!(made.status.success(), "{}", said(&made));
    assert!(git(&["add", "."]).status.success());
    let hook = || {
        let out = Command::new("bash")
            .arg(root().join("deploy/github/pre-commit"))
            .env("LOCKGATE", LOCKGATE)
            .env_remove("GIT_DIR")
            .env_remove("GIT_INDEX_FILE")
            .current_dir(&folder)
            .output();
        out.unwrap()
    };
    let good = hook();
    assert!(good.status.success(), "{}", said(&good));
    assert!(said(&good).contains("passed: "), "{}", said(&good));
    let partner = folder.join("policy/dmz/partners/acme.yaml");
    let text = fs::read_to_string(&partner).unwrap();
    fs::write(&partner, text.replace("ports: [443]", "ports: [444]")).unwrap();
    assert!(hook().status.success(), "what is not staged is not judged");
    assert!(git(&["add", "."]).status.success());
    let bad = hook();
    assert!(!bad.status.success() && said(&bad).contains("FAIL"), "{}", said(&bad));
}

#[test]
fn a_fleet_takes_a_ruleset_that_is_good_whole_and_no_other() {
    let folder = fresh("ruleset");
    let (bin, bucket) = (folder.join("bin"), folder.join("bucket"));
    let calls = folder.join("calls");
    fs::create_dir_all(&bin).unwrap();
    copy(&root().join("rulesets/inline-dmz"), &bucket);
    // A bucket that is a folder, and an instance that runs.
    let stub = |name: &str, text: &str| {
        fs::write(bin.join(name), format!("#!/bin/bash\nset -e\n{text}\n")).unwrap();
        Command::new("chmod").arg("755").arg(bin.join(name)).status().unwrap();
    };
    stub("aws", r#"[ "$1 $2" = "s3 sync" ]; rm -rf "${@: -1}"; cp -R "${@: -2:1}" "${@: -1}""#);
    stub("systemctl", &format!(r#"echo "$@" >>{}"#, calls.display()));
    stub("lockgate", &format!(r#"exec {LOCKGATE} "$@""#));
    let taken = folder.join("etc/ruleset");
    fs::create_dir_all(folder.join("etc")).unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let fetch = || {
        let _ = fs::remove_file(&calls);
        let out = Command::new(root().join("deploy/ruleset/lockgate-ruleset"))
            .env("PATH", &path)
            .env("LOCKGATE_RULESET", &bucket)
            .env("LOCKGATE_RULESET_FOLDER", &taken)
            .output()
            .unwrap();
        let reloads = fs::read_to_string(&calls).unwrap_or_default().contains("reload lockgate");
        (out.status.success(), reloads, said(&out))
    };
    let same = || {
        let out = Command::new("diff").arg("-rq").arg(&bucket).arg(&taken).output().unwrap();
        out.status.success()
    };
    let (good, reloads, text) = fetch();
    assert!(good && reloads && same(), "{text}");
    let (good, reloads, text) = fetch();
    assert!(good && !reloads, "nothing has changed: {text}");
    // A partner more, and another list less.
    let partner = fs::read_to_string(bucket.join("lockgate.yaml")).unwrap();
    fs::write(bucket.join("lockgate.yaml"), format!("{partner}\n# changed\n")).unwrap();
    fs::write(taken.join("left-behind.txt"), "old").unwrap();
    let (good, reloads, text) = fetch();
    assert!(good && reloads && same(), "{text}");
    fs::write(bucket.join("lockgate.yaml"), "lockgate: 1\nsegmnts: {}\n").unwrap();
    let (good, reloads, text) = fetch();
    assert!(!good && !reloads && !same(), "{text}");
    assert!(text.contains("segmnts"), "it says what is wrong: {text}");
    assert!(fs::read_to_string(taken.join("lockgate.yaml")).unwrap().contains("# changed"));
}

/// A folder and all that is in it.
fn copy(from: &Path, to: &Path) {
    let out = Command::new("cp").arg("-R").args([from, to]).output().unwrap();
    assert!(out.status.success(), "{}", said(&out));
}

#[test]
fn the_workflow_runs_what_there_is() {
    let text = fs::read_to_string(root().join("deploy/github/lockgate.yml")).unwrap();
    for command in ["lockgate check ", "lockgate test ", "lockgate diff "] {
        assert!(text.contains(command), "{command}");
    }
    for script in [
        "deploy/github/pre-commit",
        "deploy/drain/lockgate-drain",
        "deploy/ruleset/lockgate-ruleset",
    ] {
        let out = Command::new("bash").arg("-n").arg(root().join(script)).output().unwrap();
        assert!(out.status.success(), "{script}: {}", said(&out));
    }
    let hooks = fs::read_to_string(root().join(".pre-commit-hooks.yaml")).unwrap();
    assert!(hooks.contains("entry: deploy/github/pre-commit"));
}

/// The steps of the workflow that run something: name, script, and whether it runs after a failure.
fn steps(workflow: &str) -> Vec<(String, String, bool)> {
    let mut steps = Vec::new();
    for step in workflow.split("\n      - ").skip(1) {
        let Some((head, run)) = step.split_once("        run: ") else { continue };
        let name = head.lines().next().unwrap().trim_start_matches("name: ").to_owned();
        let script = match run.strip_prefix("|\n") {
            Some(block) => {
                let inside =
                    block.lines().take_while(|l| l.is_empty() || l.starts_with("          "));
                inside.map(|l| format!("{}\n", l.get(10..).unwrap_or_default())).collect()
            }
            None => run.lines().next().unwrap().to_owned(),
        };
        steps.push((name, script, head.contains("if: ")));
    }
    steps
}

/// A repository of rulesets in a runner, and what becomes of a pull request.
struct Runner {
    folder: PathBuf,
}

/// What a run came to: its steps that failed, and the comment it left.
struct Ran {
    failed: Vec<String>,
    comment: String,
    said: String,
}

impl Runner {
    fn new(name: &str) -> Self {
        let folder = fresh(name);
        for inside in ["repository", "bin"] {
            fs::create_dir_all(folder.join(inside)).unwrap();
        }
        std::os::unix::fs::symlink(LOCKGATE, folder.join("bin/lockgate")).unwrap();
        // What is posted; there is no comment yet that could be edited.
        let posted = folder.join("posted.md");
        let gh = format!(
            "#!/bin/bash\ncase \"$*\" in *--edit-last*) exit 1 ;; esac\ncp \"${{@: -1}}\" {}\n",
            posted.display()
        );
        script(&folder.join("bin/gh"), &gh);
        let runner = Self { folder };
        runner.git(&["init", "-q"]);
        runner.write("README.md", "rulesets\n");
        runner
    }

    fn git(&self, arguments: &[&str]) -> String {
        let out = Command::new("git")
            .args(["-c", "user.name=t", "-c", "user.email=t@example.org"])
            .args(arguments)
            .current_dir(self.folder.join("repository"))
            .env_remove("GIT_DIR")
            .env_remove("GIT_INDEX_FILE")
            .output()
            .unwrap();
        assert!(out.status.success(), "{arguments:?}: {}", said(&out));
        said(&out)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.folder.join("repository").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// A ruleset that allows one port, and a test of it.
    fn ruleset(&self, name: &str, port: u16) {
        let rules = format!(
            "lockgate: 1\ncommon_endpoints: any\nsegments:\n  a: {{ kind: workload, networks: [10.0.0.0/16] }}\n  \
             b: {{ kind: workload, networks: [10.1.0.0/16] }}\npolicies:\n  - from: a\n    to: b\n    rules:\n      \
             - {{ id: web, action: allow, protocol: tcp, ports: [{port}] }}\n"
        );
        self.write(&format!("rulesets/{name}/lockgate.yaml"), &rules);
        let flow = |port, protocol, verdict| {
            format!(
                "  - {{ from: a, to: b, source: 10.0.0.1, destination: 10.1.0.1, protocol: {protocol}, \
                 port: {port}, verdict: {verdict} }}\n"
            )
        };
        let (good, other, udp) =
            (flow(port, "tcp", "allow"), flow(port + 1, "tcp", "deny"), flow(port, "udp", "deny"));
        let flows = format!("lockgate-test: 1\nflows:\n{good}{other}{udp}");
        self.write(&format!("rulesets/{name}/tests/web.yaml"), &flows);
    }

    fn commit(&self) -> String {
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "--allow-empty", "-m", "change"]);
        self.git(&["rev-parse", "HEAD"]).trim().to_owned()
    }

    /// Runs the workflow as a runner does, every script by `bash -e`.
    fn run(&self, base: &str) -> Ran {
        self.commit();
        let (temp, summary) = (self.folder.join("temp"), self.folder.join("summary.md"));
        let _ = fs::remove_dir_all(&temp);
        let _ = fs::remove_file(&summary);
        fs::create_dir_all(&temp).unwrap();
        let workflow = fs::read_to_string(root().join("deploy/github/lockgate.yml")).unwrap();
        let rulesets = workflow.split("RULESETS: ").nth(1).unwrap().lines().next().unwrap();
        let bin = self.folder.join("bin").display().to_string();
        let path = format!("{bin}:{}", std::env::var("PATH").unwrap_or_default());
        let repository = self.folder.join("repository");
        let (mut failed, mut all) = (Vec::new(), String::new());
        for (name, run, always) in steps(&workflow) {
            if !failed.is_empty() && !always {
                continue;
            }
            fs::write(temp.join("step.sh"), run).unwrap();
            let mut bash = Command::new("bash");
            let bash = bash.arg("-e").arg(temp.join("step.sh")).current_dir(&repository);
            let bash = bash.envs([("RULESETS", rulesets), ("BASE", base), ("PULL_REQUEST", "7")]);
            let bash = bash.env("PATH", &path).env("RUNNER_TEMP", &temp);
            let bash =
                bash.env("GITHUB_WORKSPACE", &repository).env("GITHUB_STEP_SUMMARY", &summary);
            let out = bash.env_remove("GIT_DIR").env_remove("GIT_INDEX_FILE").output().unwrap();
            all.push_str(&format!("== {name}: {}\n{}", out.status, said(&out)));
            if !out.status.success() {
                failed.push(name);
            }
        }
        let comment = fs::read_to_string(self.folder.join("posted.md")).unwrap_or_default();
        Ran { failed, comment, said: all }
    }
}

#[test]
fn a_pull_request_is_told_of_added_changed_and_removed_rulesets() {
    let runner = Runner::new("workflow");
    let empty = runner.commit();
    runner.ruleset("one", 443);
    let first = runner.run(&empty);
    assert!(first.failed.is_empty(), "{}", first.said);
    let expected = "# rulesets/one/\n\nAdded:\n\n```text\ndocuments   1\n";
    assert!(first.comment.starts_with(expected), "{}", first.comment);
    assert_eq!(
        fs::read_to_string(runner.folder.join("summary.md")).unwrap(),
        first.comment,
        "the summary of the run says the same"
    );

    runner.ruleset("two", 80);
    let both = runner.commit();
    runner.ruleset("one", 8443);
    let changed = runner.run(&both);
    assert!(changed.failed.is_empty(), "{}", changed.said);
    let (one, two) = changed.comment.split_once("# rulesets/two/").unwrap();
    assert!(one.starts_with("# rulesets/one/\n\n## Ruleset change: "), "{one}");
    assert!(one.contains("**opens**") && two.contains("no change"), "{}", changed.comment);

    fs::remove_dir_all(runner.folder.join("repository/rulesets/two")).unwrap();
    let removed = runner.run(&both);
    assert!(removed.failed.is_empty(), "{}", removed.said);
    assert!(removed.comment.ends_with("# rulesets/two/\n\nRemoved.\n\n"), "{}", removed.comment);

    fs::remove_dir_all(runner.folder.join("repository/rulesets")).unwrap();
    let last = runner.run(&both);
    assert!(last.failed.is_empty(), "{}", last.said);
    assert_eq!(last.comment, "# rulesets/one/\n\nRemoved.\n\n# rulesets/two/\n\nRemoved.\n\n");

    runner.ruleset("other", 443);
    let replaced = runner.run(&first_of(&runner, &both, "one"));
    assert!(replaced.failed.is_empty(), "{}", replaced.said);
    assert!(
        replaced.comment.starts_with("# rulesets/one/\n\nRemoved.\n\n# rulesets/other/\n\nAdded:")
    );

    fs::remove_dir_all(runner.folder.join("repository/rulesets")).unwrap();
    let nothing = runner.run(&empty);
    assert!(nothing.failed.is_empty(), "{}", nothing.said);
    assert_eq!(nothing.comment, "No ruleset, neither before nor now.\n");
}

/// The commit before a given one: there the first ruleset stood alone.
fn first_of(runner: &Runner, commit: &str, name: &str) -> String {
    let before = runner.git(&["rev-parse", &format!("{commit}^")]).trim().to_owned();
    assert!(runner.git(&["ls-tree", "-r", "--name-only", &before]).contains(name));
    before
}

#[test]
fn a_refused_ruleset_is_told_in_the_comment_and_the_others_are_compared_all_the_same() {
    let runner = Runner::new("workflow-refused");
    for name in ["first", "second", "third"] {
        runner.ruleset(name, 443);
    }
    let good = runner.commit();
    for name in ["first", "third"] {
        runner.ruleset(name, 444);
    }
    runner.write("rulesets/second/partners/acme.yaml", "polices: []\n");
    let ran = runner.run(&good);
    assert_eq!(ran.failed, ["check", "test", "what the change does"], "{}", ran.said);
    let parts: Vec<&str> = ran.comment.split("# rulesets/").collect();
    let [_, first, second, third] = parts.as_slice() else { panic!("{}", ran.comment) };
    assert!(first.contains("**opens**") && third.contains("**opens**"), "{}", ran.comment);
    assert!(second.starts_with("second/\n\nRefused:\n\n```text\nerror["), "{second}");
    assert!(second.contains("polices"), "{second}");
    for name in ["rulesets/first", "rulesets/third"] {
        assert!(ran.said.contains(name), "tested all the same: {}", ran.said);
    }

    // Who mends it is not refused for what was there before.
    let broken = runner.commit();
    fs::remove_dir_all(runner.folder.join("repository/rulesets/second/partners")).unwrap();
    let mended = runner.run(&broken);
    assert!(mended.failed.is_empty(), "{}", mended.said);
    assert!(mended.comment.contains("It was refused before this change"), "{}", mended.comment);

    // A finding that stops nothing is told as well.
    let (before, rules) = (runner.commit(), "rulesets/first/lockgate.yaml");
    let text = fs::read_to_string(runner.folder.join("repository").join(rules)).unwrap();
    runner.write(rules, &format!("{text}sets:\n  spare: {{ ports: [1] }}\n"));
    let warned = runner.run(&before);
    assert!(warned.failed.is_empty(), "{}", warned.said);
    assert!(warned.comment.contains("warning[unused-set]"), "{}", warned.comment);
}
