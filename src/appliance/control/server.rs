//! Takes connections on the control socket and answers their lines.

use super::super::instance::Instance;
use super::Request;
use super::answer::answer;
use std::fs;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::PermissionsExt;
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

/// Binds the socket, mode 0600. A socket that nobody listens on any more is replaced.
///
/// # Errors
/// If another instance listens there, or the folder cannot be written.
pub fn bind(path: &Path) -> io::Result<UnixListener> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        fs::create_dir_all(folder)?;
    }
    if path.exists() {
        if UnixStream::connect(path).is_ok() {
            return Err(io::Error::new(
                io::ErrorKind::AddrInUse,
                "another instance listens on it; `lockgate ctl --socket ... status` asks which",
            ));
        }
        fs::remove_file(path)?;
    }
    // Under its name it never stands with the rights that the umask leaves.
    let unready = path.with_extension("new");
    let _ = fs::remove_file(&unready);
    let listener = UnixListener::bind(&unready)?;
    fs::set_permissions(&unready, fs::Permissions::from_mode(0o600))?;
    fs::rename(&unready, path)?;
    Ok(listener)
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
