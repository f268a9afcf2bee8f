//! Landlock and seccomp: which files can still be opened, which system calls can still be made. What
//! a kernel does not have is told, not insisted on.

use landlock::{
    ABI, Access, AccessFs, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetStatus,
};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// What stays open.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sandbox {
    /// Folders whose files may be read.
    pub read: Vec<PathBuf>,
    /// Folders whose files may be made, written and removed.
    pub write: Vec<PathBuf>,
}

/// What a running instance has no use for: starting programs, new sockets (a hijacked process
/// cannot call home), other processes, mounts, the kernel itself.
const REFUSED: &[libc::c_long] = &[
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_socket,
    libc::SYS_socketpair,
    libc::SYS_connect,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_pidfd_getfd,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_open_by_handle_at,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_personality,
    libc::SYS_quotactl,
    libc::SYS_acct,
];

/// Enters the sandbox: this thread and every one it starts from now on. Gives a sentence for each
/// part that the kernel does not have.
#[must_use]
pub fn enter(sandbox: &Sandbox) -> Vec<String> {
    let mut missing = Vec::new();
    match restrict_files(sandbox) {
        Ok(RulesetStatus::FullyEnforced) => {}
        Ok(RulesetStatus::PartiallyEnforced) => {
            missing.push("Landlock of this kernel knows only part of what is asked".to_owned());
        }
        Ok(RulesetStatus::NotEnforced) => missing.push("this kernel has no Landlock".to_owned()),
        Err(error) => missing.push(format!("Landlock: {error}")),
    }
    if let Err(error) = restrict_calls() {
        missing.push(format!("seccomp: {error}"));
    }
    missing
}

fn restrict_files(sandbox: &Sandbox) -> Result<RulesetStatus, landlock::RulesetError> {
    // Files only: ABI 3 has all that a file can be asked for; the network is seccomp's.
    let abi = ABI::V3;
    let mut ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(abi))?
        .create()?;
    let rights = [
        (&sandbox.read, AccessFs::ReadFile | AccessFs::ReadDir),
        (&sandbox.write, AccessFs::from_all(abi) & !AccessFs::Execute),
    ];
    for (folders, rights) in rights {
        for folder in folders {
            // A folder that is not there cannot be read either.
            let Ok(handle) = PathFd::new(folder) else { continue };
            ruleset = ruleset.add_rule(PathBeneath::new(handle, rights))?;
        }
    }
    Ok(ruleset.restrict_self()?.ruleset)
}

fn restrict_calls() -> Result<(), String> {
    let calls: BTreeMap<i64, Vec<_>> = REFUSED.iter().map(|call| (*call, Vec::new())).collect();
    let arch = std::env::consts::ARCH
        .try_into()
        .map_err(|_| format!("not known for {}", std::env::consts::ARCH))?;
    let refuse = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    let filter = SeccompFilter::new(calls, SeccompAction::Allow, refuse, arch)
        .map_err(|error| error.to_string())?;
    let program: BpfProgram =
        filter.try_into().map_err(|error: seccompiler::BackendError| error.to_string())?;
    seccompiler::apply_filter(&program).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, thread};

    #[test]
    fn what_is_not_listed_cannot_be_read_and_no_socket_can_be_opened() {
        let folder = std::env::temp_dir().join(format!("lockgate-sandbox-{}", std::process::id()));
        for name in ["open", "closed"] {
            fs::create_dir_all(folder.join(name)).unwrap();
            fs::write(folder.join(name).join("file"), "text").unwrap();
        }
        let inside = folder.clone();
        // The sandbox is for the thread that enters it: the other tests go on outside.
        let (missing, open, write, closed, socket) = thread::spawn(move || {
            let sandbox = Sandbox { read: vec![inside.join("open")], write: Vec::new() };
            let missing = enter(&sandbox);
            (
                missing,
                fs::read_to_string(inside.join("open/file")).is_ok(),
                fs::write(inside.join("open/file"), "other").is_ok(),
                fs::read_to_string(inside.join("closed/file")).is_ok(),
                std::net::UdpSocket::bind("127.0.0.1:0").is_ok(),
            )
        })
        .join()
        .unwrap();
        fs::remove_dir_all(&folder).unwrap();
        if !missing.is_empty() {
            eprintln!("SKIPPED: this kernel lacks {missing:?}");
            return;
        }
        assert_eq!((open, write, closed, socket), (true, false, false, false));
    }
}
