//! Client Initial packets made to order, for synthetic traffic, tests and benches. Nothing of what
//! is inspected comes this way.

use super::keys::Keys;
use super::version;

/// What a client Initial packet is made of.
#[derive(Clone, Copy, Debug, Default)]
pub struct Initial<'a> {
    /// Version, one of those that can be read.
    pub version: u32,
    /// Destination connection id in the header.
    pub destination: &'a [u8],
    /// The connection id the keys come from, if it is another than `destination`.
    pub keyed_by: Option<&'a [u8]>,
    /// The version whose keys they are, if it is another than `version`.
    pub keyed_in: Option<u32>,
    /// Source connection id.
    pub source: &'a [u8],
    /// Token of a Retry.
    pub token: &'a [u8],
    /// Packet number.
    pub number: u32,
    /// How many of its bytes are written, from one to four; 0 is all four.
    pub number_bytes: usize,
    /// Pads the packet to this length.
    pub padded_to: usize,
}

impl Initial<'_> {
    /// The packet that holds these frames; `None` for a version that cannot be read or a length
    /// that no header holds.
    #[must_use]
    pub fn seal(&self, frames: &[u8]) -> Option<Vec<u8>> {
        let dialect = version::dialect(self.version)?;
        let keyed_in = version::dialect(self.keyed_in.unwrap_or(self.version))?;
        let keys = Keys::client(keyed_in, self.keyed_by.unwrap_or(self.destination))?;
        let number = self.number.to_be_bytes();
        let number_bytes = if self.number_bytes == 0 { number.len() } else { self.number_bytes };
        let number = number.get(number.len().checked_sub(number_bytes)?..)?;
        let first = if dialect.second { 0xd0 } else { 0xc0 };
        let mut header = vec![first | u8::try_from(number_bytes.checked_sub(1)?).ok()?];
        header.extend(self.version.to_be_bytes());
        for id in [self.destination, self.source] {
            header.push(u8::try_from(id.len()).ok()?);
            header.extend_from_slice(id);
        }
        header.extend(length(self.token.len())?);
        header.extend_from_slice(self.token);
        // To come: two bytes of length, the packet number, and the tag.
        let overhead = header.len().checked_add(2 + 16)?.checked_add(number_bytes)?;
        let mut payload = frames.to_vec();
        payload.resize(payload.len().max(self.padded_to.saturating_sub(overhead)), 0);
        header.extend(wide_length(payload.len().checked_add(16)?.checked_add(number_bytes)?)?);
        header.extend_from_slice(number);
        keys.seal(u64::from(self.number), &header, payload)
    }
}

/// A CRYPTO frame.
#[must_use]
pub fn crypto_frame(offset: usize, bytes: &[u8]) -> Option<Vec<u8>> {
    let mut frame = vec![0x06];
    frame.extend(length(offset)?);
    frame.extend(length(bytes.len())?);
    frame.extend_from_slice(bytes);
    Some(frame)
}

/// The shortest variable-length integer (RFC 9000 section 16), up to four bytes.
fn length(value: usize) -> Option<Vec<u8>> {
    match u8::try_from(value) {
        Ok(value) if value < 0x40 => Some(vec![value]),
        _ => wide_length(value),
    }
}

/// One of two bytes, or of four where two are too few.
fn wide_length(value: usize) -> Option<Vec<u8>> {
    let value = u32::try_from(value).ok()?;
    match u16::try_from(value) {
        Ok(value) if value < 0x4000 => Some((value | 0x4000).to_be_bytes().to_vec()),
        _ if value < 0x4000_0000 => Some((value | 0x8000_0000).to_be_bytes().to_vec()),
        _ => None,
    }
}
