//! JA3 of a ClientHello, with the MD5 it is defined by. An identifier that other tools still write;
//! MD5 protects nothing here.

use super::hello::{ClientHello, is_grease, words};
use super::ja4::nibble;

/// The fingerprint of `hello`, 32 hexadecimal characters.
#[must_use]
pub fn ja3(hello: &ClientHello<'_>) -> [u8; 32] {
    let mut text = Vec::with_capacity(512);
    decimal(&mut text, hello.version);
    text.push(b',');
    join(&mut text, words(hello.ciphers));
    text.push(b',');
    join(&mut text, hello.extension_types());
    text.push(b',');
    join(&mut text, words(hello.groups));
    text.push(b',');
    join(&mut text, hello.formats.iter().map(|&format| u16::from(format)));
    let mut digits = [0; 32];
    for (pair, byte) in digits.as_chunks_mut::<2>().0.iter_mut().zip(md5(&text)) {
        *pair = [nibble(byte >> 4), nibble(byte)];
    }
    digits
}

/// Decimal values without GREASE, joined by hyphens.
fn join(text: &mut Vec<u8>, values: impl Iterator<Item = u16>) {
    for (at, value) in values.filter(|&value| !is_grease(value)).enumerate() {
        if at > 0 {
            text.push(b'-');
        }
        decimal(text, value);
    }
}

fn decimal(text: &mut Vec<u8>, value: u16) {
    let digits = [10_000, 1000, 100, 10, 1].map(|unit| b'0' + (value / unit % 10) as u8);
    let leading = digits.iter().take(4).take_while(|&&digit| digit == b'0').count();
    text.extend_from_slice(digits.get(leading..).unwrap_or_default());
}

/// Integer part of 2^32 * |sin(i + 1)| (RFC 1321 section 3.4).
#[rustfmt::skip]
const SINES: [u32; 64] = [
    0xd76aa478, 0xe8c7b756, 0x242070db, 0xc1bdceee, 0xf57c0faf, 0x4787c62a, 0xa8304613, 0xfd469501,
    0x698098d8, 0x8b44f7af, 0xffff5bb1, 0x895cd7be, 0x6b901122, 0xfd987193, 0xa679438e, 0x49b40821,
    0xf61e2562, 0xc040b340, 0x265e5a51, 0xe9b6c7aa, 0xd62f105d, 0x02441453, 0xd8a1e681, 0xe7d3fbc8,
    0x21e1cde6, 0xc33707d6, 0xf4d50d87, 0x455a14ed, 0xa9e3e905, 0xfcefa3f8, 0x676f02d9, 0x8d2a4c8a,
    0xfffa3942, 0x8771f681, 0x6d9d6122, 0xfde5380c, 0xa4beea44, 0x4bdecfa9, 0xf6bb4b60, 0xbebfbc70,
    0x289b7ec6, 0xeaa127fa, 0xd4ef3085, 0x04881d05, 0xd9d4d039, 0xe6db99e5, 0x1fa27cf8, 0xc4ac5665,
    0xf4292244, 0x432aff97, 0xab9423a7, 0xfc93a039, 0x655b59c3, 0x8f0ccc92, 0xffeff47d, 0x85845dd1,
    0x6fa87e4f, 0xfe2ce6e0, 0xa3014314, 0x4e0811a1, 0xf7537e82, 0xbd3af235, 0x2ad7d2bb, 0xeb86d391,
];

/// MD5 (RFC 1321).
fn md5(message: &[u8]) -> [u8; 16] {
    let (blocks, tail) = message.as_chunks::<64>();
    let mut state = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];
    for block in blocks {
        compress(&mut state, block);
    }
    let bits = (message.len() as u64).wrapping_mul(8).to_le_bytes();
    let mut last = Vec::with_capacity(128);
    last.extend_from_slice(tail);
    last.push(0x80);
    last.resize(if last.len() > 56 { 120 } else { 56 }, 0);
    last.extend_from_slice(&bits);
    for block in last.as_chunks::<64>().0 {
        compress(&mut state, block);
    }
    let mut sum = [0; 16];
    for (bytes, word) in sum.as_chunks_mut::<4>().0.iter_mut().zip(state) {
        *bytes = word.to_le_bytes();
    }
    sum
}

fn compress(state: &mut [u32; 4], block: &[u8; 64]) {
    let mut words = [0_u32; 16];
    for (word, bytes) in words.iter_mut().zip(block.as_chunks::<4>().0) {
        *word = u32::from_le_bytes(*bytes);
    }
    let ([first, second, third, fourth], _) = SINES.as_chunks::<16>() else { return };
    // Rotations, first word and step to the next (RFC 1321 section 3.4).
    let now = *state;
    let now = round(now, &words, first, [7, 12, 17, 22], (0, 1), |b, c, d| (b & c) | (!b & d));
    let now = round(now, &words, second, [5, 9, 14, 20], (1, 5), |b, c, d| (d & b) | (!d & c));
    let now = round(now, &words, third, [4, 11, 16, 23], (5, 3), |b, c, d| b ^ c ^ d);
    let now = round(now, &words, fourth, [6, 10, 15, 21], (0, 7), |b, c, d| c ^ (b | !d));
    for (word, add) in state.iter_mut().zip(now) {
        *word = word.wrapping_add(add);
    }
}

/// One round: sixteen steps, written out by the compiler.
#[inline(always)]
fn round(
    [mut a, mut b, mut c, mut d]: [u32; 4],
    words: &[u32; 16],
    sines: &[u32; 16],
    shifts: [u32; 4],
    (start, stride): (usize, usize),
    mix: impl Fn(u32, u32, u32) -> u32,
) -> [u32; 4] {
    for (step, &sine) in sines.iter().enumerate() {
        let sum = a.wrapping_add(mix(b, c, d)).wrapping_add(sine);
        let sum = sum.wrapping_add(words[(start + stride * step) % 16]);
        (a, d, c, b) = (d, c, b, b.wrapping_add(sum.rotate_left(shifts[step % 4])));
    }
    [a, b, c, d]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn md5_sums_are_those_of_rfc_1321_appendix_a_5() {
        for (message, sum) in [
            ("", "d41d8cd98f00b204e9800998ecf8427e"),
            ("abc", "900150983cd24fb0d6963f7d28e17f72"),
            (
                "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789",
                "d174ab98d277d9f5a5611c2c9f419d9f",
            ),
            (
                "12345678901234567890123456789012345678901234567890123456789012345678901234567890",
                "57edf4a22be3c955ac49da2e2107b67a",
            ),
        ] {
            assert_eq!(hex(&md5(message.as_bytes())), sum, "{message}");
        }
    }

    #[test]
    fn grease_is_left_out_and_lists_are_decimal() {
        let hello = ClientHello {
            version: 769,
            ciphers: &[0x0a, 0x0a, 0, 47, 0, 53],
            ..ClientHello::default()
        };
        assert_eq!(ja3(&hello).to_vec(), hex(&md5(b"769,47-53,,,")).into_bytes());
    }
}
