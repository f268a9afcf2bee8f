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
fn the_workflow_runs_what_there_is() {
    let text = fs::read_to_string(root().join("deploy/github/lockgate.yml")).unwrap();
    for command in ["lockgate check ", "lockgate test ", "lockgate diff "] {
        assert!(text.contains(command), "{command}");
    }
    for script in ["deploy/github/pre-commit", "deploy/drain/lockgate-drain"] {
        let out = Command::new("bash").arg("-n").arg(root().join(script)).output().unwrap();
        assert!(out.status.success(), "{script}: {}", said(&out));
    }
    let hooks = fs::read_to_string(root().join(".pre-commit-hooks.yaml")).unwrap();
    assert!(hooks.contains("entry: deploy/github/pre-commit"));
}
