//! The cryptography inspection needs: SHA-256 and HMAC-SHA-256 by sha2 and, for QUIC Initial packets,
//! AES-128-GCM and header protection by aws-lc-rs. No protocol is known here.

use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey, quic};
use sha2::block_api::compress256;
use sha2::{Digest, Sha256};

/// Bytes of an AES-128-GCM tag.
pub const TAG_BYTES: usize = 16;

/// SHA-256 of `bytes`.
#[must_use]
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// Bytes of a block of SHA-256, and of the length at the end of the last one (FIPS 180-4 section
/// 5.1.1).
const BLOCK_BYTES: usize = 64;
const LENGTH_BYTES: usize = 8;
/// What SHA-256 starts from (FIPS 180-4 section 5.3.3).
const START: [u32; 8] = [
    0x6a09_e667,
    0xbb67_ae85,
    0x3c6e_f372,
    0xa54f_f53a,
    0x510e_527f,
    0x9b05_688c,
    0x1f83_d9ab,
    0x5be0_cd19,
];

/// A key of HMAC-SHA-256 (RFC 2104): what SHA-256 makes of its inner and of its outer padding, from
/// where each message goes on.
#[derive(Clone, Copy)]
pub struct HmacKey {
    inner: [u32; 8],
    outer: [u32; 8],
}

impl HmacKey {
    /// Prepares `key`.
    #[must_use]
    pub fn new(key: &[u8]) -> Self {
        let mut padded = [0; BLOCK_BYTES];
        match padded.get_mut(..key.len()) {
            Some(room) => room.copy_from_slice(key),
            None => padded[..32].copy_from_slice(&sha256(key)),
        }
        let behind = |padding: u8| {
            let mut state = START;
            compress256(&mut state, &[padded.map(|byte| byte ^ padding)]);
            state
        };
        Self { inner: behind(0x36), outer: behind(0x5c) }
    }

    /// The code of `message`.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> [u8; 32] {
        finish(self.outer, &finish(self.inner, message))
    }
}

/// SHA-256 of one block, of which `state` is what is left, and `rest` behind it.
fn finish(mut state: [u32; 8], rest: &[u8]) -> [u8; 32] {
    let (blocks, tail) = rest.as_chunks::<BLOCK_BYTES>();
    compress256(&mut state, blocks);
    let mut last = [[0; BLOCK_BYTES]; 2];
    if let Some((text, [end, ..])) = last.as_flattened_mut().split_at_mut_checked(tail.len()) {
        text.copy_from_slice(tail);
        *end = 0x80;
    }
    let used = if tail.len() < BLOCK_BYTES - LENGTH_BYTES { 1 } else { 2 };
    let bits = ((rest.len() as u64).wrapping_add(BLOCK_BYTES as u64)).wrapping_mul(8);
    let used = last.get_mut(..used).unwrap_or_default();
    if let Some(length) = used.as_flattened_mut().last_chunk_mut() {
        *length = bits.to_be_bytes();
    }
    compress256(&mut state, used);
    let mut code = [0; 32];
    for (to, word) in code.as_chunks_mut().0.iter_mut().zip(state) {
        *to = word.to_be_bytes();
    }
    code
}

/// The header protection key of an Initial packet (RFC 9001 section 5.4.3).
pub struct HeaderKey(quic::HeaderProtectionKey);

impl HeaderKey {
    /// Prepares `key`; `None` if the library refuses.
    #[must_use]
    pub fn new(key: &[u8; 16]) -> Option<Self> {
        quic::HeaderProtectionKey::new(&quic::AES_128, key).ok().map(Self)
    }

    /// The mask a sample of 16 bytes gives.
    #[must_use]
    pub fn mask(&self, sample: &[u8]) -> Option<[u8; 5]> {
        self.0.new_mask(sample).ok()
    }
}

/// The packet protection key of an Initial packet (RFC 9001 section 5.3).
pub struct PacketKey(LessSafeKey);

impl PacketKey {
    /// Prepares `key`; `None` if the library refuses.
    #[must_use]
    pub fn new(key: &[u8; 16]) -> Option<Self> {
        UnboundKey::new(&AES_128_GCM, key).ok().map(|key| Self(LessSafeKey::new(key)))
    }

    /// Opens `sealed` (ciphertext and tag) into `plain`, which must be [`TAG_BYTES`] shorter.
    /// `None` if it was not sealed with this key, nonce and header; `plain` is then of no use.
    pub fn open(
        &self,
        nonce: [u8; 12],
        header: &[u8],
        sealed: &[u8],
        plain: &mut [u8],
    ) -> Option<()> {
        let (text, tag) = sealed.split_at_checked(sealed.len().checked_sub(TAG_BYTES)?)?;
        let nonce = Nonce::assume_unique_for_key(nonce);
        self.0.open_separate_gather(nonce, Aad::from(header), text, tag, plain).ok()
    }

    /// Seals `text` in place and appends its tag: what [`PacketKey::open`] opens.
    pub fn seal(&self, nonce: [u8; 12], header: &[u8], text: &mut Vec<u8>) -> Option<()> {
        let nonce = Nonce::assume_unique_for_key(nonce);
        self.0.seal_in_place_append_tag(nonce, Aad::from(header), text).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sha256_of_abc_is_that_of_fips_180() {
        assert_eq!(sha256(b"abc")[..4], [0xba, 0x78, 0x16, 0xbf]);
    }

    #[test]
    fn codes_of_every_length_are_those_of_the_definition() {
        let bytes: Vec<u8> = (0..=255).collect();
        for key_len in [0, 20, 32, 63, 64, 65, 200] {
            let mut key = bytes[..key_len].to_vec();
            let prepared = HmacKey::new(&key);
            if key_len > BLOCK_BYTES {
                key = sha256(&key).to_vec();
            }
            key.resize(BLOCK_BYTES, 0);
            let padded = |padding: u8| key.iter().map(move |byte| byte ^ padding);
            for len in 0..bytes.len() {
                let inner: Vec<u8> = padded(0x36).chain(bytes[..len].iter().copied()).collect();
                let outer: Vec<u8> = padded(0x5c).chain(sha256(&inner)).collect();
                assert_eq!(prepared.sign(&bytes[..len]), sha256(&outer), "{key_len} {len}");
            }
        }
    }

    #[test]
    fn a_code_is_that_of_rfc_4231() {
        let code = HmacKey::new(b"Jefe").sign(b"what do ya want for nothing?");
        assert_eq!(code[..4], [0x5b, 0xdc, 0xc1, 0x46]);
    }

    #[test]
    fn a_sealed_text_shorter_than_its_tag_is_refused() {
        let key = PacketKey::new(&[0; 16]).unwrap();
        for len in 0..=TAG_BYTES {
            assert!(key.open([0; 12], b"", &vec![0; len], &mut []).is_none());
        }
    }
}
