//! Keys of a client's Initial packets (RFC 9001 section 5.2) and how such a packet is opened and
//! sealed. They follow from bytes everybody sees and protect nothing from us.

use super::packet::Packet;
use super::version::Dialect;
use crate::inspect::primitives::{HeaderKey, HmacKey, PacketKey, TAG_BYTES};

/// Bytes of a header protection sample (RFC 9001 section 5.4.2).
const SAMPLE_BYTES: usize = 16;
/// The longest packet number.
const NUMBER_LIMIT_BYTES: usize = 4;
/// Headers up to this length are unprotected on the stack; longer ones carry long tokens.
const HEADER_USUAL_BYTES: usize = 128;

/// The longest payload that is opened on the stack: of a datagram that goes by Ethernet.
const PLAIN_USUAL_BYTES: usize = 1536;

/// What the keys of one direction's Initial packets are made of.
#[derive(Clone, Copy, Default)]
pub struct Secrets {
    key: [u8; 16],
    nonce: [u8; 12],
    header: [u8; 16],
}

/// The header of a packet without its protection.
struct Header {
    usual: [u8; HEADER_USUAL_BYTES],
    /// One that is longer.
    long: Vec<u8>,
    len: usize,
    number_at: usize,
}

/// The keys of one direction's Initial packets.
pub struct Keys {
    packet: PacketKey,
    header: HeaderKey,
    nonce: [u8; 12],
}

/// What an opened packet says.
pub struct Plain {
    usual: [u8; PLAIN_USUAL_BYTES],
    /// What is longer.
    long: Vec<u8>,
    len: usize,
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secrets")
    }
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keys")
    }
}

impl Default for Plain {
    fn default() -> Self {
        Self { usual: [0; PLAIN_USUAL_BYTES], long: Vec::new(), len: 0 }
    }
}

impl Plain {
    /// What was opened last.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.usual.get(..self.len).unwrap_or(&self.long)
    }

    /// Room for so many bytes.
    fn room(&mut self, len: usize) -> &mut [u8] {
        self.len = len;
        if len > PLAIN_USUAL_BYTES {
            self.long.resize(len, 0);
            return &mut self.long;
        }
        self.usual.get_mut(..len).unwrap_or_default()
    }
}

impl Secrets {
    /// The client's for the Destination Connection ID of its first Initial.
    #[must_use]
    pub fn client(dialect: Dialect, destination: &[u8]) -> Self {
        let initial = HmacKey::new(dialect.salt).sign(destination);
        // HKDF-Expand-Label (RFC 8446 section 7.1): length, "tls13 " and the label, no context, and
        // the counter of HKDF-Expand's only block.
        let secret = HmacKey::new(&initial).sign(b"\x00\x20\x0ftls13 client in\x00\x01");
        let expand = HmacKey::new(&secret);
        let [key, nonce, header]: [&[u8]; 3] = if dialect.second {
            [
                b"\x00\x10\x10tls13 quicv2 key\x00\x01",
                b"\x00\x0c\x0ftls13 quicv2 iv\x00\x01",
                b"\x00\x10\x0ftls13 quicv2 hp\x00\x01",
            ]
        } else {
            [
                b"\x00\x10\x0etls13 quic key\x00\x01",
                b"\x00\x0c\x0dtls13 quic iv\x00\x01",
                b"\x00\x10\x0dtls13 quic hp\x00\x01",
            ]
        };
        Self {
            key: first(expand.sign(key)),
            nonce: first(expand.sign(nonce)),
            header: first(expand.sign(header)),
        }
    }

    /// The keys they make; `None` if the library refuses.
    #[must_use]
    pub fn keys(&self) -> Option<Keys> {
        Some(Keys {
            packet: PacketKey::new(&self.key)?,
            header: HeaderKey::new(&self.header)?,
            nonce: self.nonce,
        })
    }
}

/// The first bytes of a block of HKDF-Expand.
fn first<const N: usize>(block: [u8; 32]) -> [u8; N] {
    block.first_chunk().copied().unwrap_or([0; N])
}

impl Keys {
    /// The client's keys for the Destination Connection ID of its first Initial.
    #[must_use]
    pub fn client(dialect: Dialect, destination: &[u8]) -> Option<Self> {
        Secrets::client(dialect, destination).keys()
    }

    /// Opens an Initial packet into `plain` and gives its number; the packet stays as it came. `largest`
    /// is the largest number seen of its connection, if it is not the first. `None` if it was not sealed
    /// with these keys. No ciphertext opens under two numbers: its tag would have to be the sum of the
    /// same hash and two blocks that differ (NIST SP 800-38D section 7.1).
    pub fn open(
        &self,
        packet: &Packet<'_>,
        largest: Option<u32>,
        plain: &mut Plain,
    ) -> Option<u32> {
        let header = self.unprotect(packet)?;
        let written = header.number();
        let said = written.iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
        let number = match largest {
            Some(largest) => whole_number(said, written.len(), u64::from(largest))?,
            None => said,
        };
        let sealed = packet.bytes.get(header.len..)?;
        let room = plain.room(sealed.len().checked_sub(TAG_BYTES)?);
        self.packet.open(self.nonce(number), header.bytes(), sealed, room)?;
        u32::try_from(number).ok()
    }

    /// Takes the protection off the header of a packet.
    fn unprotect(&self, packet: &Packet<'_>) -> Option<Header> {
        let number_end = packet.number_at.checked_add(NUMBER_LIMIT_BYTES)?;
        let sample = packet.bytes.get(number_end..number_end.checked_add(SAMPLE_BYTES)?)?;
        let mask = self.header.mask(sample)?;
        let mut header = Header {
            usual: [0; HEADER_USUAL_BYTES],
            long: Vec::new(),
            len: number_end,
            number_at: packet.number_at,
        };
        let room = header.room();
        room.copy_from_slice(packet.bytes.get(..number_end)?);
        let number_len = mask_header(room, packet.number_at, mask)?;
        header.len = packet.number_at.checked_add(number_len)?;
        Some(header)
    }

    /// Seals the packet of this number: `header` ends with as much of it as its first byte says.
    pub fn seal(&self, number: u64, header: &[u8], mut payload: Vec<u8>) -> Option<Vec<u8>> {
        let number_len = usize::from(header.first()? & 3).checked_add(1)?;
        let number_at = header.len().checked_sub(number_len)?;
        self.packet.seal(self.nonce(number), header, &mut payload)?;
        let sample_at = NUMBER_LIMIT_BYTES.checked_sub(number_len)?;
        let sample = payload.get(sample_at..sample_at.checked_add(SAMPLE_BYTES)?)?;
        let mask = self.header.mask(sample)?;
        let mut sealed = header.to_vec();
        let [first_mask, number_mask @ ..] = mask;
        *sealed.first_mut()? ^= first_mask & 0x0f;
        for (byte, mask) in sealed.get_mut(number_at..)?.iter_mut().zip(number_mask) {
            *byte ^= mask;
        }
        sealed.append(&mut payload);
        Some(sealed)
    }

    /// The nonce of a packet number (RFC 9001 section 5.3).
    fn nonce(&self, number: u64) -> [u8; 12] {
        let mut nonce = self.nonce;
        for (byte, number) in nonce.iter_mut().rev().zip(number.to_le_bytes()) {
            *byte ^= number;
        }
        nonce
    }
}

impl Header {
    /// Where its bytes are.
    fn room(&mut self) -> &mut [u8] {
        if self.len > HEADER_USUAL_BYTES {
            self.long.resize(self.len, 0);
            return &mut self.long;
        }
        self.usual.get_mut(..self.len).unwrap_or_default()
    }

    /// The header up to the end of the packet number.
    fn bytes(&self) -> &[u8] {
        let all = if self.long.is_empty() { &self.usual[..] } else { &self.long };
        all.get(..self.len).unwrap_or_default()
    }

    /// As much of the packet number as is written.
    fn number(&self) -> &[u8] {
        self.bytes().get(self.number_at..).unwrap_or_default()
    }
}

/// The packet number whose last `len` bytes are `said`, next to that behind the largest seen (RFC 9000
/// appendix A.3).
fn whole_number(said: u64, len: usize, largest: u64) -> Option<u64> {
    let window = 1_u64.checked_shl(u32::try_from(len.checked_mul(8)?).ok()?)?;
    let (half, expected) = (window / 2, largest.checked_add(1)?);
    let here = expected & !window.checked_sub(1)? | said;
    let above = here.checked_add(window)?;
    if here.checked_add(half)? <= expected {
        return Some(above);
    }
    let below = here.checked_sub(window).filter(|_| here > expected.saturating_add(half));
    Some(below.unwrap_or(here))
}

/// Takes the protection off a header (RFC 9001 section 5.4.1) and gives the packet number's length.
fn mask_header(header: &mut [u8], number_at: usize, mask: [u8; 5]) -> Option<usize> {
    let [first_mask, number_mask @ ..] = mask;
    let first = header.first_mut()?;
    *first ^= first_mask & 0x0f;
    let number_len = usize::from(*first & 3).checked_add(1)?;
    let number = header.get_mut(number_at..)?.iter_mut().take(number_len);
    for (byte, mask) in number.zip(number_mask) {
        *byte ^= mask;
    }
    Some(number_len)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_packet_number_of_rfc_9000_appendix_a_3_is_decoded() {
        assert_eq!(whole_number(0x9b32, 2, 0xa82f_30ea), Some(0xa82f_9b32));
    }

    #[test]
    fn every_number_within_half_a_window_of_the_next_one_is_decoded() {
        for largest in [0_u64, 1, 0x7e, 0x7f, 0x80, 0xff, 0x100, 0xffff, 0x1_0000] {
            for (len, window) in [(1, 0x100), (2, 0x1_0000)] {
                let next = largest + 1;
                for number in (next + 1).saturating_sub(window / 2)..=next + window / 2 {
                    assert_eq!(whole_number(number % window, len, largest), Some(number));
                }
            }
        }
    }
}
