//! The Huffman code of HPACK (RFC 7541 section 5.2 and appendix B), from its code lengths alone:
//! within one length the codes count up with the symbols, so lengths say everything.

/// The length in bits of every symbol's code, 256 bytes and the end of string.
const LENGTHS: [u8; SYMBOLS] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, // 0x00
    28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28, // 0x10
    6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, // 0x20
    5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10, // 0x30
    13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, // 0x40
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, // 0x50
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, // 0x60
    6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, // 0x70
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, // 0x80
    24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, // 0x90
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, // 0xa0
    21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23, // 0xb0
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, // 0xc0
    19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, // 0xd0
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, // 0xe0
    26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26, // 0xf0
    30, // end of string
];

const SYMBOLS: usize = 257;
const END_OF_STRING: u16 = 256;
const LONGEST: usize = 30;

/// The codes of one length.
#[derive(Clone, Copy)]
struct Row {
    /// Behind the last code of this length, as the upper bits of 32.
    end: u64,
    /// The first code of this length.
    first: u32,
    /// Where the symbols of this length start in `Code::symbols`.
    at: u16,
}

struct Code {
    rows: [Row; LONGEST + 1],
    /// The symbols in the order of their codes.
    symbols: [u16; SYMBOLS],
}

const CODE: Code = {
    let mut rows = [Row { end: 0, first: 0, at: 0 }; LONGEST + 1];
    let mut symbols = [0_u16; SYMBOLS];
    let (mut len, mut code, mut at) = (1, 0_u32, 0);
    while len <= LONGEST {
        code <<= 1;
        rows[len].first = code;
        rows[len].at = at as u16;
        let mut symbol = 0;
        while symbol < SYMBOLS {
            if LENGTHS[symbol] as usize == len {
                symbols[at] = symbol as u16;
                at += 1;
                code += 1;
            }
            symbol += 1;
        }
        rows[len].end = (code as u64) << (32 - len);
        len += 1;
    }
    Code { rows, symbols }
};

/// What the next eight bits say where the code is not longer: symbol and length; length 0 else.
const SHORT: [(u8, u8); 256] = {
    let mut table = [(0, 0); 256];
    let mut bits = 0;
    while bits < 256 {
        let mut len = 5;
        while len <= 8 {
            let row = CODE.rows[len];
            if ((bits as u64) << 24) < row.end {
                let offset = (bits as u32 >> (8 - len)) - row.first;
                table[bits] = (CODE.symbols[row.at as usize + offset as usize] as u8, len as u8);
                break;
            }
            len += 1;
        }
        bits += 1;
    }
    table
};

/// The bytes are no Huffman-coded string: the end of string is in it, or the padding is not up to
/// seven ones (RFC 7541 section 5.2); or they are longer than allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HuffmanFault {
    /// No such string.
    Code,
    /// Longer than allowed.
    TooLong,
}

/// Appends the decoded bytes of `coded`, `limit` at most.
pub(super) fn decode(coded: &[u8], into: &mut Vec<u8>, limit: usize) -> Result<(), HuffmanFault> {
    let (mut window, mut held) = (0_u64, 0_u32);
    let mut bytes = coded.iter();
    let mut room = limit;
    loop {
        while held <= 56 {
            let Some(&byte) = bytes.next() else { break };
            window |= u64::from(byte) << 56_u32.saturating_sub(held);
            held = held.saturating_add(8);
        }
        // Bits that are not there are read as ones: padding then looks like the start of the
        // end of string, and nothing else does.
        let filled = window | u64::MAX.checked_shr(held).unwrap_or(0);
        let (symbol, len) = next(filled).ok_or(HuffmanFault::Code)?;
        if len > held {
            let padding = held < 8 && filled == u64::MAX;
            return if padding { Ok(()) } else { Err(HuffmanFault::Code) };
        }
        let symbol = u8::try_from(symbol).map_err(|_| HuffmanFault::Code)?;
        room = room.checked_sub(1).ok_or(HuffmanFault::TooLong)?;
        into.push(symbol);
        window = window.checked_shl(len).unwrap_or(0);
        held = held.saturating_sub(len);
    }
}

/// The symbol the upper bits start with, and the length of its code.
#[inline]
fn next(bits: u64) -> Option<(u16, u32)> {
    let [first, ..] = bits.to_be_bytes();
    // An array of 256 and an index of one byte: never out of bounds.
    let (symbol, len) = SHORT[usize::from(first)];
    if len != 0 {
        return Some((u16::from(symbol), u32::from(len)));
    }
    let upper = bits >> 32;
    let (len, row) = CODE.rows.iter().enumerate().skip(9).find(|(_, row)| upper < row.end)?;
    let code = u32::try_from(upper >> 32_usize.checked_sub(len)?).ok()?;
    let at = usize::from(row.at).checked_add(code.checked_sub(row.first)? as usize)?;
    let symbol = *CODE.symbols.get(at)?;
    (symbol <= END_OF_STRING).then_some((symbol, u32::try_from(len).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The naive twin of the decoder.
    fn encode(text: &[u8]) -> Vec<u8> {
        let mut bits = Vec::new();
        for &byte in text {
            let len = usize::from(LENGTHS[usize::from(byte)]);
            let row = CODE.rows[len];
            let place = CODE.symbols.iter().position(|&s| s == u16::from(byte)).unwrap();
            let code = row.first + (place - usize::from(row.at)) as u32;
            bits.extend((0..len).rev().map(|bit| code >> bit & 1 == 1));
        }
        while bits.len() % 8 != 0 {
            bits.push(true);
        }
        bits.chunks(8).map(|c| c.iter().fold(0, |byte, &bit| byte << 1 | u8::from(bit))).collect()
    }

    fn decoded(coded: &[u8]) -> Result<Vec<u8>, HuffmanFault> {
        let mut into = Vec::new();
        decode(coded, &mut into, 1 << 16).map(|()| into)
    }

    #[test]
    fn the_code_is_complete() {
        let sum: u64 = LENGTHS.iter().map(|&len| 1_u64 << (32 - len)).sum();
        assert_eq!(sum, 1 << 32);
        assert_eq!(CODE.rows[LONGEST].end, 1 << 32);
        assert_eq!(CODE.symbols[SYMBOLS - 1], END_OF_STRING);
    }

    #[test]
    fn strings_of_rfc_7541_appendix_c_decode() {
        for (coded, text) in [
            (
                &[0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff][..],
                "www.example.com",
            ),
            (&[0xa8, 0xeb, 0x10, 0x64, 0x9c, 0xbf], "no-cache"),
            (&[0x25, 0xa8, 0x49, 0xe9, 0x5b, 0xa9, 0x7d, 0x7f], "custom-key"),
            (&[0x25, 0xa8, 0x49, 0xe9, 0x5b, 0xb8, 0xe8, 0xb4, 0xbf], "custom-value"),
            (&[0x64, 0x02], "302"),
            (&[0xae, 0xc3, 0x77, 0x1a, 0x4b], "private"),
        ] {
            assert_eq!(decoded(coded).unwrap(), text.as_bytes());
            assert_eq!(encode(text.as_bytes()), coded);
        }
    }

    #[test]
    fn every_byte_comes_back() {
        let all: Vec<u8> = (0..=255).chain((0..=255).rev()).collect();
        assert_eq!(decoded(&encode(&all)).unwrap(), all);
        for byte in 0..=255_u8 {
            assert_eq!(decoded(&encode(&[byte, b'a'])).unwrap(), [byte, b'a']);
        }
    }

    #[test]
    fn padding_is_at_most_seven_ones() {
        assert_eq!(decoded(b""), Ok(vec![]));
        assert_eq!(decoded(&[0x1f]), Ok(b"a".to_vec()));
        for coded in [&[0x18_u8][..], &[0x1e], &[0x1f, 0xff], &[0xff], &[0xff; 4], &[0xff; 9]] {
            assert_eq!(decoded(coded), Err(HuffmanFault::Code), "{coded:?}");
        }
    }

    #[test]
    fn a_string_ends_at_its_limit() {
        for (limit, fits) in [(4, false), (5, true), (6, true)] {
            let mut into = Vec::new();
            let result = decode(&encode(b"aaaaa"), &mut into, limit);
            assert_eq!(result, if fits { Ok(()) } else { Err(HuffmanFault::TooLong) });
        }
    }
}
