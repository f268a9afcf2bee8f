//! A small HTTP/1.1 server for reads: health and metrics. Every connection is bounded in bytes and
//! in time, and their number is bounded; the oldest makes room for the newest, so that nobody who
//! stays connected can keep the load balancer's probes out. Changes nothing: see `control`.

use super::instance::Instance;
use super::metrics;
use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// Connections served at one time.
pub const CONNECTIONS_MAX: usize = 64;
/// Bytes of a request's head.
pub const HEAD_BYTES: usize = 8 << 10;
/// Headers of a request.
pub const HEADERS_MAX: usize = 64;
/// How long a connection may be silent.
const SILENCE: Duration = Duration::from_secs(5);
/// Requests on one connection.
const REQUESTS_MAX: usize = 100;

/// What a listener answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pages {
    /// `/health`.
    pub health: bool,
    /// `/metrics`.
    pub metrics: bool,
}

/// Serves until the process ends.
pub fn serve(listener: &TcpListener, pages: Pages, instance: &Arc<Instance>) {
    let open: Arc<Mutex<VecDeque<(u64, TcpStream)>>> = Arc::default();
    for number in 0_u64.. {
        let stream = match listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of descriptors, most likely: others must end first.
                tracing::warn!(%error, "a connection cannot be taken");
                thread::sleep(Duration::from_millis(100));
                continue;
            }
        };
        let Ok(handle) = stream.try_clone() else { continue };
        {
            let mut open = open.lock().unwrap_or_else(PoisonError::into_inner);
            while open.len() >= CONNECTIONS_MAX {
                if let Some((_, oldest)) = open.pop_front() {
                    let _ = oldest.shutdown(Shutdown::Both);
                }
            }
            open.push_back((number, handle));
        }
        let (instance, done) = (Arc::clone(instance), Arc::clone(&open));
        let spawned = thread::Builder::new().name("http".to_owned()).spawn(move || {
            let _ = converse(&stream, pages, &instance);
            let mut open = done.lock().unwrap_or_else(PoisonError::into_inner);
            open.retain(|(other, _)| *other != number);
        });
        if spawned.is_err() {
            let mut open = open.lock().unwrap_or_else(PoisonError::into_inner);
            open.retain(|(other, _)| *other != number);
        }
    }
}

/// Answers the requests of one connection.
fn converse(mut stream: &TcpStream, pages: Pages, instance: &Instance) -> io::Result<()> {
    stream.set_read_timeout(Some(SILENCE))?;
    stream.set_write_timeout(Some(SILENCE))?;
    let mut head = Vec::new();
    for _ in 0..REQUESTS_MAX {
        let asked = loop {
            match read_head(&head) {
                Head::Whole(asked) => break asked,
                Head::Partial if head.len() < HEAD_BYTES => {}
                Head::Partial => break Asked::refused(431, "head too long"),
            }
            let mut piece = [0; 2048];
            let read = stream.read(&mut piece)?;
            if read == 0 {
                return Ok(());
            }
            head.extend_from_slice(piece.get(..read).unwrap_or_default());
        };
        head.drain(..asked.len.min(head.len()));
        let reply = answer(&asked, pages, instance);
        stream.write_all(reply.bytes(&asked).as_bytes())?;
        if !asked.keep {
            return stream.shutdown(Shutdown::Write);
        }
    }
    Ok(())
}

/// A request as far as it matters.
struct Asked {
    path: String,
    head_only: bool,
    keep: bool,
    /// Bytes of the head.
    len: usize,
    /// What is wrong with it: a status and its text.
    fault: Option<(u16, &'static str)>,
}

enum Head {
    Whole(Asked),
    Partial,
}

impl Asked {
    const fn refused(status: u16, why: &'static str) -> Self {
        let fault = Some((status, why));
        Self { path: String::new(), head_only: false, keep: false, len: usize::MAX, fault }
    }
}

fn read_head(bytes: &[u8]) -> Head {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    let len = match request.parse(bytes) {
        Ok(httparse::Status::Complete(len)) => len,
        Ok(httparse::Status::Partial) => return Head::Partial,
        Err(httparse::Error::TooManyHeaders) => {
            return Head::Whole(Asked::refused(431, "too many headers"));
        }
        Err(_) => return Head::Whole(Asked::refused(400, "bad request")),
    };
    let has = |name: &str, value: &str| {
        request.headers.iter().any(|header| {
            header.name.eq_ignore_ascii_case(name)
                && header
                    .value
                    .to_ascii_lowercase()
                    .windows(value.len())
                    .any(|w| w == value.as_bytes())
        })
    };
    let body = request.headers.iter().any(|header| {
        header.name.eq_ignore_ascii_case("transfer-encoding")
            || (header.name.eq_ignore_ascii_case("content-length") && header.value != b"0")
    });
    if body {
        return Head::Whole(Asked::refused(400, "a read has no body"));
    }
    let path = request.path.unwrap_or_default().split('?').next().unwrap_or_default().to_owned();
    let keep = request.version == Some(1) && !has("connection", "close");
    let (head_only, fault) = match request.method {
        Some("GET") => (false, None),
        Some("HEAD") => (true, None),
        _ => (false, Some((405, "only GET and HEAD"))),
    };
    Head::Whole(Asked { path, head_only, keep, len, fault })
}

struct Reply {
    status: u16,
    kind: &'static str,
    body: String,
}

fn answer(asked: &Asked, pages: Pages, instance: &Instance) -> Reply {
    let plain = |status, body: String| Reply { status, kind: "text/plain; charset=utf-8", body };
    if let Some((status, why)) = asked.fault {
        return plain(status, format!("{why}\n"));
    }
    match asked.path.as_str() {
        "/health" if pages.health => {
            let health = instance.health();
            let status = if health.is_healthy() { 200 } else { 503 };
            Reply { status, kind: "application/json", body: health.json() }
        }
        "/metrics" if pages.metrics => {
            let kind = "text/plain; version=0.0.4; charset=utf-8";
            Reply { status: 200, kind, body: metrics::text(instance) }
        }
        "/" => {
            let list = [("/health\n", pages.health), ("/metrics\n", pages.metrics)];
            plain(200, list.iter().filter(|page| page.1).map(|page| page.0).collect())
        }
        _ => plain(404, "there is /health and /metrics\n".to_owned()),
    }
}

impl Reply {
    fn bytes(&self, asked: &Asked) -> String {
        let reason = match self.status {
            200 => "OK",
            400 => "Bad Request",
            404 => "Not Found",
            405 => "Method Not Allowed",
            431 => "Request Header Fields Too Large",
            _ => "Service Unavailable",
        };
        let connection = if asked.keep { "keep-alive" } else { "close" };
        let allow = if self.status == 405 { "Allow: GET, HEAD\r\n" } else { "" };
        let body = if asked.head_only { "" } else { &self.body };
        format!(
            "HTTP/1.1 {} {reason}\r\nContent-Type: {}\r\nContent-Length: {}\r\n{allow}\
             Cache-Control: no-store\r\nConnection: {connection}\r\n\r\n{body}",
            self.status,
            self.kind,
            self.body.len(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> Option<(String, bool, Option<u16>)> {
        match read_head(text.as_bytes()) {
            Head::Whole(asked) => Some((asked.path, asked.keep, asked.fault.map(|fault| fault.0))),
            Head::Partial => None,
        }
    }

    #[test]
    fn heads_are_read_as_far_as_they_matter() {
        let of = |path: &str, keep, fault| Some((path.to_owned(), keep, fault));
        for (text, expected) in [
            ("GET /health HTTP/1.1\r\n\r\n", of("/health", true, None)),
            ("GET /health HTTP/1.0\r\n\r\n", of("/health", false, None)),
            ("GET /a?b=c HTTP/1.1\r\nConnection: Close\r\n\r\n", of("/a", false, None)),
            ("DELETE / HTTP/1.1\r\n\r\n", of("/", true, Some(405))),
            ("GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", of("", false, Some(400))),
            ("GET / HTTP/1.1\r\nContent-Length: 0\r\n\r\n", of("/", true, None)),
            ("GET / HTTP/1.1\r\n", None),
            ("\0", of("", false, Some(400))),
        ] {
            assert_eq!(path(text), expected, "{text}");
        }
    }

    #[test]
    fn headers_end_at_their_limit() {
        for (count, fault) in
            [(HEADERS_MAX - 1, None), (HEADERS_MAX, None), (HEADERS_MAX + 1, Some(431))]
        {
            let text = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(count));
            assert_eq!(path(&text).unwrap().2, fault, "{count}");
        }
    }

    #[test]
    fn damaged_heads_never_panic() {
        let seed = b"GET /health?x=1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
        let mut state = 1_u64;
        for _ in 0..5_000 {
            let mut bytes = seed.to_vec();
            for _ in 0..3 {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let at = (state >> 33) as usize % bytes.len();
                bytes[at] = (state >> 17) as u8;
            }
            let _ = read_head(&bytes);
        }
    }
}
