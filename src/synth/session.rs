//! A TCP conversation written down as inner packets: handshake, data both ways, close. The sequence
//! numbers are right; what goes wrong on the way is up to the test that uses it.

use super::packet::{self, Segment, flag};
use crate::model::FiveTuple;

/// One side's view of the conversation so far.
#[derive(Clone, Copy, Debug)]
pub struct Session {
    tuple: FiveTuple,
    client: u32,
    server: u32,
}

/// Who sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The side that opened the connection.
    Client,
    /// The other one.
    Server,
}

impl Session {
    /// A conversation that has not begun.
    #[must_use]
    pub const fn new(tuple: FiveTuple) -> Self {
        Self { tuple, client: 1000, server: 9000 }
    }

    /// SYN, SYN+ACK, ACK.
    pub fn handshake(&mut self) -> Vec<Vec<u8>> {
        let syn = self.raw(Side::Client, flag::SYN, &[]);
        self.client = self.client.wrapping_add(1);
        let answer = self.raw(Side::Server, flag::SYN | flag::ACK, &[]);
        self.server = self.server.wrapping_add(1);
        vec![syn, answer, self.raw(Side::Client, flag::ACK, &[])]
    }

    /// Data in one segment.
    pub fn send(&mut self, side: Side, payload: &[u8]) -> Vec<u8> {
        let segment = self.raw(side, flag::PSH | flag::ACK, payload);
        let len = u32::try_from(payload.len()).unwrap_or(0);
        match side {
            Side::Client => self.client = self.client.wrapping_add(len),
            Side::Server => self.server = self.server.wrapping_add(len),
        }
        segment
    }

    /// Data in segments of at most `size` bytes.
    pub fn send_split(&mut self, side: Side, payload: &[u8], size: usize) -> Vec<Vec<u8>> {
        payload.chunks(size.max(1)).map(|chunk| self.send(side, chunk)).collect()
    }

    /// A bare acknowledgement of everything the other side sent.
    #[must_use]
    pub fn ack(&self, side: Side) -> Vec<u8> {
        self.raw(side, flag::ACK, &[])
    }

    /// FIN of one side.
    pub fn fin(&mut self, side: Side) -> Vec<u8> {
        let segment = self.raw(side, flag::FIN | flag::ACK, &[]);
        match side {
            Side::Client => self.client = self.client.wrapping_add(1),
            Side::Server => self.server = self.server.wrapping_add(1),
        }
        segment
    }

    /// Any segment at the present position, which it does not move.
    #[must_use]
    pub fn raw(&self, side: Side, flags: u8, payload: &[u8]) -> Vec<u8> {
        let (tuple, seq, ack) = match side {
            Side::Client => (self.tuple, self.client, self.server),
            Side::Server => (self.tuple.reverse(), self.server, self.client),
        };
        let ack = if flags & flag::ACK == 0 { 0 } else { ack };
        packet::tcp(&tuple, &Segment { seq, ack, flags, payload })
    }

    /// The next sequence number of a side.
    #[must_use]
    pub const fn seq(&self, side: Side) -> u32 {
        match side {
            Side::Client => self.client,
            Side::Server => self.server,
        }
    }
}
