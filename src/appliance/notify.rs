//! What systemd is told (sd_notify(3)): ready, reloading, stopping, alive. Silent where nobody asks.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// The way to systemd. Opened before the sandbox is entered: it is a socket.
#[derive(Debug, Default)]
pub struct Notify {
    socket: Option<UnixDatagram>,
    watchdog: Option<Duration>,
}

impl Notify {
    /// From the environment that systemd gives.
    #[must_use]
    pub fn from_environment() -> Self {
        let socket = std::env::var("NOTIFY_SOCKET").ok().and_then(|path| connect(&path));
        let micros = std::env::var("WATCHDOG_USEC").ok().and_then(|text| text.parse().ok());
        Self { socket, watchdog: micros.map(Duration::from_micros) }
    }

    /// How often to say that it is alive: twice as often as systemd asks.
    #[must_use]
    pub fn watchdog(&self) -> Option<Duration> {
        self.watchdog.map(|every| every / 2)
    }

    /// It serves.
    pub fn ready(&self, status: &str) {
        self.say(&format!("READY=1\nSTATUS={status}"));
    }

    /// What it does now.
    pub fn status(&self, status: &str) {
        self.say(&format!("STATUS={status}"));
    }

    /// It leaves.
    pub fn stopping(&self) {
        self.say("STOPPING=1");
    }

    /// Every worker came round.
    pub fn alive(&self) {
        self.say("WATCHDOG=1");
    }

    fn say(&self, text: &str) {
        if let Some(socket) = &self.socket {
            // systemd going away is no reason to stop.
            let _ = socket.send(text.as_bytes());
        }
    }
}

fn connect(path: &str) -> Option<UnixDatagram> {
    let socket = UnixDatagram::unbound().ok()?;
    let address = match path.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name).ok()?,
        None => SocketAddr::from_pathname(path).ok()?,
    };
    socket.connect_addr(&address).ok()?;
    socket.set_nonblocking(true).ok()?;
    Some(socket)
}
