//! A web server that can be stopped in the middle of its answers, and curl.

use crate::binary::ENDPOINT;
use crate::gwlb::Gwlb;
use crate::lab::{Namespace, StopAtEnd, skipped};
use crate::network::{Network, SERVER, Seen, on};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

/// What is served: `body` in `pieces` pieces, with `pause` called before each with its number; a pause
/// that says no ends the answer.
pub(crate) struct Answer<'a> {
    pub(crate) body: &'a [u8],
    pub(crate) pieces: usize,
    pub(crate) pause: &'a (dyn Fn(usize) -> bool + Sync),
}

impl<'a> Answer<'a> {
    /// All at once.
    pub(crate) fn whole(body: &'a [u8]) -> Self {
        Self { body, pieces: 1, pause: &|_| true }
    }

    fn give(&self, mut stream: TcpStream) {
        let _ = self.try_to_give(&mut stream);
        // Others may hold it too, so dropping it would not close it.
        let _ = stream.shutdown(Shutdown::Both);
    }

    fn try_to_give(&self, stream: &mut TcpStream) -> Option<()> {
        stream.set_nonblocking(false).ok()?;
        let mut request = Vec::new();
        let mut room = [0; 4096];
        while !request.ends_with(b"\r\n\r\n") {
            let len = stream.read(&mut room).ok().filter(|len| *len > 0)?;
            request.extend_from_slice(room.get(..len)?);
        }
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", self.body.len());
        stream.write_all(head.as_bytes()).ok()?;
        for (number, piece) in self.body.chunks(self.body.len().div_ceil(self.pieces)).enumerate() {
            if !(self.pause)(number) {
                return None;
            }
            stream.write_all(piece).ok()?;
        }
        Some(())
    }
}

/// A body that differs everywhere, so that a lost or doubled piece is seen.
pub(crate) fn body(len: usize) -> Vec<u8> {
    (0..len as u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

/// Listens on a server's port.
pub(crate) fn listen(server: &Namespace, port: u16) -> TcpListener {
    server.run(|| TcpListener::bind((Ipv4Addr::from(SERVER), port))).unwrap()
}

/// Answers every request until it is told to stop.
pub(crate) fn serve(listener: &TcpListener, answer: &Answer<'_>, stop: &AtomicBool) {
    listener.set_nonblocking(true).unwrap();
    thread::scope(|scope| {
        let mut open = Vec::new();
        while !stop.load(Ordering::Relaxed) {
            let Ok((stream, _)) = listener.accept() else {
                thread::sleep(Duration::from_millis(5));
                continue;
            };
            open.extend(stream.try_clone());
            scope.spawn(move || answer.give(stream));
        }
        // A client that was cut off is told nothing, and neither are we.
        open.iter().for_each(|stream| drop(stream.shutdown(Shutdown::Both)));
    });
}

/// A gateway for the first partner. Both sides are told of a rejection: the second reset passes while
/// the flow lingers.
pub(crate) fn gateway(endpoint: u64) -> Mutex<Gwlb> {
    let mut gwlb = Gwlb::new(endpoint, &[[10, 99, 0, 2]]);
    gwlb.linger = Duration::from_millis(100);
    Mutex::new(gwlb)
}

/// The network with a gateway and a web server at work, while `work` runs.
pub(crate) fn with_server<T>(
    port: u16,
    answer: &Answer<'_>,
    work: impl FnOnce(&Network) -> T,
) -> Option<(T, Seen)> {
    let Some(network) = Network::make(1, 2) else {
        skipped("no network namespaces, ethtool or curl");
        return None;
    };
    let gwlb = gateway(ENDPOINT);
    let listener = listen(&network.server, port);
    let stop = AtomicBool::new(false);
    let result = network.run(&gwlb, || {
        thread::scope(|scope| {
            scope.spawn(|| serve(&listener, answer, &stop));
            let _stop = StopAtEnd(&stop);
            work(&network)
        })
    });
    Some(result)
}

/// Exit code and body.
pub(crate) fn curl(network: &Network, port: u16, host: &str, seconds: u64) -> (i32, Vec<u8>) {
    curl_in(&network.client, port, host, seconds)
}

/// The same from any client.
pub(crate) fn curl_in(client: &Namespace, port: u16, host: &str, seconds: u64) -> (i32, Vec<u8>) {
    let line = format!(
        "curl -sS -o /dev/stdout --max-time {seconds} -H Host:{host} http://10.2.0.20:{port}/"
    );
    let output = on(client, &line);
    (output.status.code().unwrap_or(-1), output.stdout)
}
