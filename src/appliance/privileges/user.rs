//! From root to an unprivileged user without capabilities. Only local users are known: a firewall
//! must start before any directory service can be reached.

use caps::{CapSet, Capability};
use std::fmt;
use std::fs;
use std::io;

/// A user of `/etc/passwd`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// The name.
    pub name: String,
    /// The user's number.
    pub uid: u32,
    /// The number of the user's group.
    pub gid: u32,
}

/// Why the process stays who it is.
#[derive(Debug)]
pub enum UserError {
    /// There is no such user.
    Unknown(String),
    /// The list of users cannot be read.
    Unreadable(io::Error),
    /// The system refuses.
    Refused(&'static str, io::Error),
    /// Capabilities stay.
    Capabilities(caps::errors::CapsError),
}

impl fmt::Display for UserError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(name) => write!(
                f,
                "user: there is no `{name}` in /etc/passwd; \
                 `useradd --system --shell /usr/sbin/nologin {name}` makes one"
            ),
            Self::Unreadable(error) => write!(f, "user: /etc/passwd: {error}"),
            Self::Refused(what, error) => {
                write!(
                    f,
                    "user: {what}: {error}; it needs CAP_SETUID and CAP_SETGID (root has them)"
                )
            }
            Self::Capabilities(error) => write!(f, "capabilities cannot be given away: {error}"),
        }
    }
}

impl std::error::Error for UserError {}

impl User {
    /// Finds a user by name.
    ///
    /// # Errors
    /// If there is none.
    pub fn find(name: &str) -> Result<Self, UserError> {
        let text = fs::read_to_string("/etc/passwd").map_err(UserError::Unreadable)?;
        Self::of(&text, name).ok_or_else(|| UserError::Unknown(name.to_owned()))
    }

    /// Finds a user in a text of passwd(5) lines.
    fn of(text: &str, name: &str) -> Option<Self> {
        text.lines().find_map(|line| {
            let mut fields = line.split(':');
            let found = fields.next().filter(|found| *found == name)?;
            let (uid, gid) = (fields.nth(1)?, fields.next()?);
            Some(Self { name: found.to_owned(), uid: uid.parse().ok()?, gid: gid.parse().ok()? })
        })
    }
}

/// Whether the process runs as root.
#[must_use]
#[expect(unsafe_code, reason = "a system call without arguments")]
pub fn is_root() -> bool {
    // SAFETY: geteuid has no arguments, touches no memory and cannot fail.
    unsafe { libc::geteuid() == 0 }
}

/// Becomes `user`, if one is given, and gives every capability away for good.
///
/// # Errors
/// If the system refuses; the process must not go on then.
pub fn become_user(user: Option<&User>) -> Result<(), UserError> {
    // The bounding set first: that needs CAP_SETPCAP, and a process without it has no use for it.
    if caps::has_cap(None, CapSet::Effective, Capability::CAP_SETPCAP).unwrap_or(false) {
        for capability in caps::all() {
            // Some are not known to older kernels, which is no fault.
            let _ = caps::drop(None, CapSet::Bounding, capability);
        }
    }
    if let Some(user) = user {
        change(user)?;
    }
    for set in [CapSet::Ambient, CapSet::Inheritable, CapSet::Effective, CapSet::Permitted] {
        caps::clear(None, set).map_err(UserError::Capabilities)?;
    }
    Ok(())
}

#[expect(unsafe_code, reason = "three system calls that std does not offer")]
fn change(user: &User) -> Result<(), UserError> {
    let check = |what, result: libc::c_int| match result {
        0 => Ok(()),
        _ => Err(UserError::Refused(what, io::Error::last_os_error())),
    };
    // SAFETY: with a count of zero no list is read.
    check("setgroups", unsafe { libc::setgroups(0, std::ptr::null()) })?;
    // SAFETY: numbers alone; no memory is touched. Groups before the user, who could not change
    // them any more.
    check("setresgid", unsafe { libc::setresgid(user.gid, user.gid, user.gid) })?;
    // SAFETY: numbers alone; no memory is touched.
    check("setresuid", unsafe { libc::setresuid(user.uid, user.uid, user.uid) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_found_by_their_whole_name() {
        let text = "root:x:0:0:root:/root:/bin/sh\nlockgate:x:997:996::/:/usr/sbin/nologin\nx:y\n";
        let user = User { name: "lockgate".to_owned(), uid: 997, gid: 996 };
        assert_eq!(User::of(text, "lockgate"), Some(user));
        for name in ["lock", "x", "", "nobody"] {
            assert_eq!(User::of(text, name), None, "{name}");
        }
    }
}
