//! Takes connections on the control socket and answers their lines.

use super::super::instance::Instance;
use super::Request;
use super::answer::answer;
use std::fs;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

/// Connections served at one time.
pub const CONNECTIONS_MAX: usize = 16;
/// Bytes of one request.
pub const REQUEST_BYTES: u64 = 64 << 10;
/// How long a connection may be silent.
const SILENCE: Duration = Duration::from_secs(60);

/// Binds the socket, mode 0600. A socket that nobody listens on any more is replaced; a file that is no
/// socket never.
///
/// # Errors
/// If another instance listens there, if something else is there, or if the folder cannot be written.
pub fn bind(path: &Path) -> io::Result<UnixListener> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        fs::create_dir_all(folder)?;
    }
    if is_socket(path)? && UnixStream::connect(path).is_ok() {
        return Err(io::Error::new(
            io::ErrorKind::AddrInUse,
            "another instance listens on it; `lockgate ctl --socket ... status` asks which",
        ));
    }
    // Under its name it never stands with the rights that the umask leaves. A start that was cut short
    // leaves such a socket behind.
    let unready = path.with_extension("new");
    if is_socket(&unready)? {
        fs::remove_file(&unready)?;
    }
    let listener = UnixListener::bind(&unready)?;
    fs::set_permissions(&unready, fs::Permissions::from_mode(0o600))?;
    // Takes the place of a dead socket too.
    fs::rename(&unready, path)?;
    Ok(listener)
}

/// Whether a socket has this name; nothing else may, for this process may be one that could remove it.
fn is_socket(path: &Path) -> io::Result<bool> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => Ok(true),
        Ok(found) => Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            format!(
                "{} is a {}, no socket, and stays as it is; name another, or move it away",
                path.file_name().unwrap_or_default().display(),
                match found.file_type() {
                    kind if kind.is_dir() => "folder",
                    kind if kind.is_symlink() => "link",
                    _ => "file",
                }
            ),
        )),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Serves until the process ends.
pub fn serve(listener: &UnixListener, instance: &Arc<Instance>) {
    let open = Arc::new(AtomicUsize::new(0));
    loop {
        let Ok((stream, _)) = listener.accept() else {
            thread::sleep(Duration::from_millis(100));
            continue;
        };
        if open.load(Ordering::Relaxed) >= CONNECTIONS_MAX {
            let _ = (&stream).write_all(b"{\"ok\":false,\"error\":\"too many connections\"}\n");
            continue;
        }
        open.fetch_add(1, Ordering::Relaxed);
        let (instance, count) = (Arc::clone(instance), Arc::clone(&open));
        let spawned = thread::Builder::new().name("control".to_owned()).spawn(move || {
            let _ = converse(&stream, &instance);
            count.fetch_sub(1, Ordering::Relaxed);
        });
        if spawned.is_err() {
            open.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

fn converse(stream: &UnixStream, instance: &Instance) -> io::Result<()> {
    stream.set_read_timeout(Some(SILENCE))?;
    stream.set_write_timeout(Some(SILENCE))?;
    let mut reader = BufReader::new(stream);
    let mut writer = BufWriter::new(stream);
    loop {
        let mut line = Vec::new();
        let read = reader.by_ref().take(REQUEST_BYTES).read_until(b'\n', &mut line)?;
        if read == 0 {
            return Ok(());
        }
        if !line.ends_with(b"\n") && read as u64 >= REQUEST_BYTES {
            writer.write_all(b"{\"ok\":false,\"error\":\"request too long\"}\n")?;
            return writer.flush();
        }
        match serde_json::from_slice::<Request>(&line) {
            Ok(request) => answer(&request, instance, &mut writer)?,
            Err(error) => {
                let value = serde_json::json!({ "ok": false, "error": error.to_string() });
                writeln!(writer, "{value}")?;
            }
        }
        writer.flush()?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_dead_socket_is_replaced() {
        let folder = std::env::temp_dir().join(format!("lockgate-control-{}", std::process::id()));
        fs::create_dir_all(folder.join("folder")).unwrap();
        fs::write(folder.join("notes.txt"), "mine").unwrap();
        fs::write(folder.join("beside.new"), "mine").unwrap();
        std::os::unix::fs::symlink("notes.txt", folder.join("link")).unwrap();
        for (name, says) in [
            ("notes.txt", "notes.txt is a file, no socket"),
            ("beside.sock", "beside.new is a file, no socket"),
            ("folder", "folder is a folder, no socket"),
            ("link", "link is a link, no socket"),
        ] {
            let error = bind(&folder.join(name)).unwrap_err().to_string();
            assert!(error.contains(says), "{name}: {error}");
        }
        for kept in ["notes.txt", "beside.new"] {
            assert_eq!(fs::read_to_string(folder.join(kept)).unwrap(), "mine", "{kept}");
        }
        let path = folder.join("control.sock");
        let first = bind(&path).unwrap();
        assert_eq!(bind(&path).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(first);
        // Dead, and so is one that a start cut short has left.
        drop(UnixListener::bind(folder.join("control.new")).unwrap());
        let second = bind(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(UnixStream::connect(&path).is_ok());
        drop(second);
        fs::remove_dir_all(&folder).unwrap();
    }
}
