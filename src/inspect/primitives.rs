//! The cryptography inspection needs, all of it from aws-lc-rs: SHA-256, HMAC-SHA-256 and, for QUIC
//! Initial packets, AES-128-GCM and header protection. No protocol is known here.

use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey, quic};
use aws_lc_rs::{digest, hmac};

/// Bytes of an AES-128-GCM tag.
pub const TAG_BYTES: usize = 16;

/// SHA-256 of `bytes`.
#[must_use]
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    digest::digest(&digest::SHA256, bytes).as_ref().try_into().unwrap_or_default()
}

/// A key of HMAC-SHA-256.
pub struct HmacKey(hmac::Key);

impl HmacKey {
    /// Prepares `key`.
    #[must_use]
    pub fn new(key: &[u8]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, key))
    }

    /// The code of `message`.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> [u8; 32] {
        hmac::sign(&self.0, message).as_ref().try_into().unwrap_or_default()
    }
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
    fn a_sealed_text_shorter_than_its_tag_is_refused() {
        let key = PacketKey::new(&[0; 16]).unwrap();
        for len in 0..=TAG_BYTES {
            assert!(key.open([0; 12], b"", &vec![0; len], &mut []).is_none());
        }
    }
}
