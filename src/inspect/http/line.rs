//! Lines of a head, of a chunk header and of trailers: where one ends, and whether its bytes may be
//! there at all. It does not know what a line says.

/// How a line ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// CR LF, as RFC 9112 section 2.2 asks for.
    Crlf,
    /// A bare LF, which a recipient may take for a line end (same section) and many do not.
    Lf,
}

/// Where a line ends and the next one starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// Behind the last byte of the line's text.
    pub(super) end: usize,
    /// The first byte of the next line.
    pub(super) next: usize,
    /// How the line ended.
    pub(super) ending: Ending,
}

/// The bytes hold what no line may: a control character other than HTAB, a CR without its LF.
/// Recipients read such lines differently (RFC 9110 section 5.5, RFC 9112 section 2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ambiguous;

/// The end of the line in which `seen` lies; none yet if the line is not complete. `seen` moves to
/// the first byte that must be looked at again.
#[inline(always)]
pub(super) fn find(bytes: &[u8], seen: &mut usize) -> Result<Option<Line>, Ambiguous> {
    let mut at = *seen;
    loop {
        at = at.saturating_add(controls_after(bytes.get(at..).unwrap_or_default()));
        let (width, ending) = match bytes.get(at..) {
            Some([b'\r', b'\n', ..]) => (2, Ending::Crlf),
            Some([b'\n', ..]) => (1, Ending::Lf),
            Some([b'\t', ..]) => {
                at = at.saturating_add(1);
                continue;
            }
            None | Some([] | [b'\r']) => {
                *seen = at;
                return Ok(None);
            }
            _ => return Err(Ambiguous),
        };
        return Ok(Some(Line { end: at, next: at.saturating_add(width), ending }));
    }
}

/// How many bytes come before the first control character (0x00-0x1f, 0x7f); all, if there is none.
/// Most lines end in the first block; long ones go on by blocks the compiler makes vector
/// instructions of.
#[inline]
fn controls_after(bytes: &[u8]) -> usize {
    const BLOCK: usize = 32;
    let first = words_after(bytes.get(..BLOCK).unwrap_or(bytes));
    if first < BLOCK {
        return first;
    }
    let control = |found, &byte: &u8| found | (byte < 0x20) | (byte == 0x7f);
    let (blocks, _) = bytes.as_chunks::<BLOCK>();
    let clean = blocks.iter().skip(1).take_while(|block| !block.iter().fold(false, control));
    let at = clean.count().saturating_add(1).saturating_mul(BLOCK);
    at.saturating_add(words_after(bytes.get(at..).unwrap_or_default()))
}

/// The same by words of eight bytes.
#[inline]
fn words_after(bytes: &[u8]) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let (words, rest) = bytes.as_chunks::<8>();
    let mut at = 0_usize;
    for word in words {
        let word = u64::from_le_bytes(*word);
        // Exact for the lowest byte found; a borrow can only raise flags above it.
        let low = word.wrapping_sub(0x20 * ONES) & !word;
        let del = word ^ (0x7f * ONES);
        let found = (low | (del.wrapping_sub(ONES) & !del)) & HIGH;
        if found != 0 {
            return at.saturating_add((found.trailing_zeros() / 8) as usize);
        }
        at = at.saturating_add(8);
    }
    at.saturating_add(rest.iter().position(u8::is_ascii_control).unwrap_or(rest.len()))
}

/// A byte of a token (RFC 9110 section 5.6.2).
#[inline]
pub(in crate::inspect) const fn is_token(byte: u8) -> bool {
    // An array of 256 and an index of one byte: never out of bounds.
    TOKEN[byte as usize]
}

const TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0_u8;
    loop {
        table[byte as usize] = byte.is_ascii_alphanumeric()
            || matches!(
                byte,
                b'!' | b'#'
                    | b'$'
                    | b'%'
                    | b'&'
                    | b'\''
                    | b'*'
                    | b'+'
                    | b'-'
                    | b'.'
                    | b'^'
                    | b'_'
                    | b'`'
                    | b'|'
                    | b'~'
            );
        if byte == u8::MAX {
            break;
        }
        byte += 1;
    }
    table
};

/// A field line cut at its colon: the name, a token with nothing before or behind it, and what
/// stands behind the colon (RFC 9112 section 5).
#[inline]
pub(super) fn field(line: &[u8]) -> Result<(&[u8], &[u8]), Ambiguous> {
    let colon = line.iter().position(|&b| !is_token(b)).ok_or(Ambiguous)?;
    match line.split_at_checked(colon) {
        Some((name, [b':', value @ ..])) if colon > 0 => Ok((name, value)),
        _ => Err(Ambiguous),
    }
}

/// Without spaces and tabs at both ends (OWS, RFC 9110 section 5.6.3).
#[inline]
pub(super) fn trim(mut text: &[u8]) -> &[u8] {
    while let Some((b' ' | b'\t', rest)) = text.split_first() {
        text = rest;
    }
    while let Some((b' ' | b'\t', rest)) = text.split_last() {
        text = rest;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(bytes: &[u8]) -> Result<Option<Line>, Ambiguous> {
        find(bytes, &mut 0)
    }

    #[test]
    fn a_control_character_is_found_at_every_place_of_a_word() {
        for len in 0..110 {
            let clean: Vec<u8> = (0..len).map(|i| [b'a', 0x80, 0xff, b' ', b'~'][i % 5]).collect();
            assert_eq!(controls_after(&clean), len);
            for at in 0..len {
                for control in (0..0x20).chain([0x7f]) {
                    let mut bytes = clean.clone();
                    bytes[at] = control;
                    assert_eq!(controls_after(&bytes), at, "{control} at {at} of {len}");
                }
            }
        }
    }

    #[test]
    fn lines_end_with_crlf_or_lf_and_hold_tabs() {
        assert_eq!(found(b"a\tb\r\nc"), Ok(Some(Line { end: 3, next: 5, ending: Ending::Crlf })));
        assert_eq!(found(b"ab\nc"), Ok(Some(Line { end: 2, next: 3, ending: Ending::Lf })));
        assert_eq!(found(b"ab\r"), Ok(None));
        assert_eq!(found(b"ab"), Ok(None));
    }

    #[test]
    fn a_lone_cr_and_a_nul_are_ambiguous() {
        for bytes in [&b"a\rb\r\n"[..], b"a\0b\r\n", b"a\x0bb\r\n", b"a\x7f\r\n"] {
            assert_eq!(found(bytes), Err(Ambiguous));
        }
    }

    #[test]
    fn a_search_goes_on_where_it_stopped() {
        let bytes = b"0123456789\r\n";
        let mut seen = 0;
        for shown in 0..bytes.len() {
            assert_eq!(find(&bytes[..shown], &mut seen), Ok(None));
            assert!(seen <= shown && seen + 1 >= shown);
        }
        assert!(find(bytes, &mut seen).unwrap().is_some());
    }

    #[test]
    fn a_name_is_a_token_right_before_its_colon() {
        assert_eq!(field(b"Host: \ta \t"), Ok((&b"Host"[..], &b" \ta \t"[..])));
        assert_eq!(trim(b" \ta \t"), b"a");
        assert_eq!(field(b"X:"), Ok((&b"X"[..], &b""[..])));
        for line in [&b"Host : a"[..], b" Host: a", b"\tHost: a", b"Host", b": a", b"Ho(st: a"] {
            assert_eq!(field(line), Err(Ambiguous));
        }
    }
}
