//! The other end of the control socket: asks, and gives the answer's lines.

use super::super::privileges::is_root;
use super::Request;
use rustix::thread::{Gid, Uid, set_thread_gid, set_thread_uid};
use serde_json::Value;
use std::fmt;
use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Longer than a walk over all flows may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// Why there is no answer.
#[derive(Debug)]
pub enum AskError {
    /// Nobody listens, or the socket may not be opened.
    Connect(PathBuf, std::io::Error),
    /// The connection broke.
    Broken(std::io::Error),
    /// The answer is none.
    Garbled(serde_json::Error),
    /// The answer has no end.
    Unfinished,
}

impl fmt::Display for AskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect(path, error) => {
                write!(f, "{}: {error}", path.display())?;
                match error.kind() {
                    std::io::ErrorKind::PermissionDenied => {
                        f.write_str("; run as root, or as the user of the instance")
                    }
                    std::io::ErrorKind::NotFound | std::io::ErrorKind::ConnectionRefused => {
                        f.write_str("; no instance listens there (`control` in its configuration)")
                    }
                    _ => Ok(()),
                }
            }
            Self::Broken(error) => write!(f, "the instance hung up: {error}"),
            Self::Garbled(error) => write!(f, "the answer makes no sense: {error}"),
            Self::Unfinished => f.write_str("the answer has no end"),
        }
    }
}

impl std::error::Error for AskError {}

/// What an instance answered.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer {
    /// Lines before the last.
    pub items: Vec<Value>,
    /// The last line.
    pub last: Value,
}

impl Answer {
    /// Whether it worked.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.last.get("ok").and_then(Value::as_bool) == Some(true)
    }
}

/// Asks the instance that listens on `socket`.
///
/// # Errors
/// If there is none, or it does not answer.
pub fn ask(socket: &Path, request: &Request) -> Result<Answer, AskError> {
    let stream = connect(socket).map_err(|error| AskError::Connect(socket.into(), error))?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(AskError::Broken)?;
    let line = serde_json::to_string(request).map_err(AskError::Garbled)?;
    (&stream).write_all(format!("{line}\n").as_bytes()).map_err(AskError::Broken)?;
    let mut answer = Answer::default();
    for line in BufReader::new(&stream).lines() {
        let line = line.map_err(AskError::Broken)?;
        let value: Value = serde_json::from_str(&line).map_err(AskError::Garbled)?;
        if value.get("ok").is_some() {
            answer.last = value;
            return Ok(answer);
        }
        answer.items.push(value);
    }
    Err(AskError::Unfinished)
}

/// Connects; a root that is not above permissions, as in a container or a systemd unit, does so as the
/// socket's owner.
fn connect(socket: &Path) -> io::Result<UnixStream> {
    let refused = match UnixStream::connect(socket) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied && is_root() => error,
        connected => return connected,
    };
    let Ok(about) = fs::metadata(socket) else { return Err(refused) };
    let path = socket.to_owned();
    // A thread of its own: only that one becomes somebody else, and it ends at once.
    let connected = std::thread::spawn(move || {
        set_thread_gid(Gid::from_raw(about.gid())).ok()?;
        set_thread_uid(Uid::from_raw(about.uid())).ok()?;
        UnixStream::connect(path).ok()
    });
    connected.join().ok().flatten().ok_or(refused)
}
