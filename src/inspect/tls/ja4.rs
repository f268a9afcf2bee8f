//! JA4 of a ClientHello: the TLS client part of FoxIO's JA4, which is the BSD-licensed one. An
//! identifier of client software, not a protection.

use super::hello::{ALPN, ClientHello, SERVER_NAME, Transport, is_grease, words};
use crate::inspect::primitives::sha256;
use crate::model::Ja4;

/// What stands for a list without members.
const NOTHING: [u8; 12] = *b"000000000000";

/// The fingerprint of `hello`.
#[must_use]
pub fn ja4(hello: &ClientHello<'_>, transport: Transport) -> Ja4 {
    let mut ciphers = listed(hello.ciphers.len() / 2, words(hello.ciphers));
    // An extension takes four bytes at least.
    let mut extensions = listed(hello.extensions.len() / 4, hello.extension_types());
    let kind = match transport {
        Transport::Tcp => b't',
        Transport::Quic => b'q',
    };
    let [v, w] = *version(hello);
    let named = if hello.has_server_name { b'd' } else { b'i' };
    let ([c, d], [e, f]) = (count(ciphers.len()), count(extensions.len()));
    let [p, q] = protocol(hello);
    ciphers.sort_unstable();
    extensions.retain(|&kind| kind != SERVER_NAME && kind != ALPN);
    extensions.sort_unstable();
    let signatures = listed(hello.signatures.len() / 2, words(hello.signatures));
    let mut text = [b'_'; 36];
    let (first, rest) = text.split_at_mut(10);
    first.copy_from_slice(&[kind, v, w, named, c, d, e, f, p, q]);
    let (second, third) = rest.split_at_mut(13);
    second[1..].copy_from_slice(&hash(&ciphers, &[]));
    third[1..].copy_from_slice(&hash(&extensions, &signatures));
    Ja4(text)
}

/// Values without GREASE, of which there are so many at most.
fn listed(room: usize, values: impl Iterator<Item = u16>) -> Vec<u16> {
    let mut list = Vec::with_capacity(room);
    list.extend(values.filter(|&value| !is_grease(value)));
    list
}

fn version(hello: &ClientHello<'_>) -> &'static [u8; 2] {
    match hello.offered().0 {
        0x0304 => b"13",
        0x0303 => b"12",
        0x0302 => b"11",
        0x0301 => b"10",
        0x0300 => b"s3",
        0x0002 => b"s2",
        0xfeff => b"d1",
        0xfefd => b"d2",
        0xfefc => b"d3",
        _ => b"00",
    }
}

/// Two digits, 99 for anything above.
fn count(count: usize) -> [u8; 2] {
    let count = count.min(99) as u8;
    [b'0' + count / 10, b'0' + count % 10]
}

/// First and last character of the first ALPN protocol; of its hexadecimal form if either of them
/// is no ASCII letter or digit.
pub(super) fn protocol(hello: &ClientHello<'_>) -> [u8; 2] {
    let Some(protocol) = hello.protocol() else { return *b"00" };
    let (Some(&first), Some(&last)) = (protocol.first(), protocol.last()) else { return *b"00" };
    if first.is_ascii_alphanumeric() && last.is_ascii_alphanumeric() {
        [first, last]
    } else {
        [nibble(first >> 4), nibble(last)]
    }
}

/// The first twelve hexadecimal digits of the SHA-256 of a list, and behind `_` another, in hex.
fn hash(list: &[u16], behind: &[u16]) -> [u8; 12] {
    if list.is_empty() {
        return NOTHING;
    }
    let mut text = Vec::with_capacity(5 * (list.len() + behind.len()));
    join(&mut text, list);
    if !behind.is_empty() {
        text.push(b'_');
        join(&mut text, behind);
    }
    let mut digits = NOTHING;
    for (pair, byte) in digits.as_chunks_mut::<2>().0.iter_mut().zip(sha256(&text)) {
        *pair = [nibble(byte >> 4), nibble(byte)];
    }
    digits
}

fn join(text: &mut Vec<u8>, list: &[u16]) {
    for (at, &value) in list.iter().enumerate() {
        if at > 0 {
            text.push(b',');
        }
        text.extend_from_slice(&[12, 8, 4, 0].map(|shift| nibble((value >> shift) as u8)));
    }
}

/// The lower-case hexadecimal digit of the low four bits.
pub(super) const fn nibble(value: u8) -> u8 {
    let value = value & 0x0f;
    if value < 10 { b'0' + value } else { b'a' + value - 10 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_protocol(protocol: &[u8]) -> String {
        let len = u8::try_from(protocol.len()).unwrap();
        let protocols = [&[len], protocol].concat();
        let hello = ClientHello { protocols: &protocols, ..ClientHello::default() };
        String::from_utf8(super::protocol(&hello).to_vec()).unwrap()
    }

    #[test]
    fn alpn_gives_its_first_and_last_character_or_those_of_its_hex_form() {
        for (alpn, letters) in [
            (&b"h2"[..], "h2"),
            (b"http/1.1", "h1"),
            (b"h", "hh"),
            (&[0xab], "ab"),
            (&[0xab, 0xcd], "ad"),
            (&[0x30, 0xab], "3b"),
            (&[0x30, 0x31, 0xab, 0xcd], "3d"),
            (&[0x30, 0xab, 0xcd, 0x31], "01"),
        ] {
            assert_eq!(with_protocol(alpn), letters, "{alpn:?}");
        }
        assert_eq!(super::protocol(&ClientHello::default()), *b"00");
    }

    #[test]
    fn hashes_are_those_of_the_published_example() {
        // FoxIO JA4 technical details: t13d1516h2_8daaf6152771_e5627efa2ab1.
        let ciphers = [
            0x002f, 0x0035, 0x009c, 0x009d, 0x1301, 0x1302, 0x1303, 0xc013, 0xc014, 0xc02b, 0xc02c,
            0xc02f, 0xc030, 0xcca8, 0xcca9,
        ];
        assert_eq!(hash(&ciphers, &[]), *b"8daaf6152771");
        let extensions = [
            0x0005, 0x000a, 0x000b, 0x000d, 0x0012, 0x0015, 0x0017, 0x001b, 0x0023, 0x002b, 0x002d,
            0x0033, 0x4469, 0xff01,
        ];
        let signatures = [0x0403, 0x0804, 0x0401, 0x0503, 0x0805, 0x0501, 0x0806, 0x0601];
        assert_eq!(hash(&extensions, &signatures), *b"e5627efa2ab1");
        assert_eq!(hash(&[], &[]), NOTHING);
    }
}
