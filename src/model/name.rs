//! Domain names as they are compared: lower-case A-labels without a trailing dot.

use super::Addr;
use std::fmt;

/// The longest name in its dotted form, in bytes (RFC 1035 section 2.3.4: 255 on the wire).
pub const NAME_LIMIT_BYTES: usize = 253;
const LABEL_LIMIT_BYTES: usize = 63;
/// Stands for a dot inside a label of a DNS question.
const DOT_IN_LABEL: u8 = 0xae;

/// A name, at most [`NAME_LIMIT_BYTES`] long, lower case, no trailing dot. Kept inline: making one
/// never allocates. Names from [`DomainName::from_host`] hold letters, digits, hyphens,
/// underscores and dots; names from [`DomainName::from_labels`] (DNS questions) may hold any byte.
#[derive(Clone, Copy)]
pub struct DomainName {
    /// What is behind `len` means nothing.
    bytes: [u8; NAME_LIMIT_BYTES],
    len: u8,
}

/// Why bytes are no name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameFault {
    /// No bytes, or a label without any.
    Empty,
    /// Longer than [`NAME_LIMIT_BYTES`].
    TooLong,
    /// A label longer than 63 bytes.
    LabelTooLong,
    /// A byte outside letters, digits, hyphen, underscore and dot.
    Byte(u8),
    /// An IP address, which is no name.
    Address,
}

impl DomainName {
    /// A name a client claims (SNI, Host without its port): one trailing dot is dropped, letters
    /// become lower case.
    ///
    /// # Errors
    /// The first [`NameFault`] found. An IPv4 or bracketed IPv6 literal is [`NameFault::Address`].
    pub fn from_host(host: &[u8]) -> Result<Self, NameFault> {
        let host = host.strip_suffix(b".").unwrap_or(host);
        if is_address(host) {
            return Err(NameFault::Address);
        }
        let mut name = Self::empty();
        // One pass: bytes are judged, labels counted and letters made small as they are copied.
        let mut room = name.bytes.iter_mut();
        let mut label = 0_usize;
        for &byte in host {
            let small = HOST_BYTES.get(usize::from(byte)).copied().unwrap_or(0);
            if small == 0 {
                return Err(NameFault::Byte(byte));
            }
            label = if byte == b'.' { end_label(label)? } else { label.wrapping_add(1) };
            *room.next().ok_or(NameFault::TooLong)? = small;
        }
        end_label(label)?;
        name.len = u8::try_from(host.len()).map_err(|_| NameFault::TooLong)?;
        Ok(name)
    }

    /// A name made of labels, as DNS carries it; any byte is taken, letters become lower case.
    /// No labels at all is the root, an empty name.
    ///
    /// # Errors
    /// [`NameFault::Empty`], [`NameFault::LabelTooLong`] or [`NameFault::TooLong`].
    pub fn from_labels<'a>(labels: impl IntoIterator<Item = &'a [u8]>) -> Result<Self, NameFault> {
        let mut name = Self::empty();
        for label in labels {
            name.push_label(label)?;
        }
        Ok(name)
    }

    /// A name from its uncompressed DNS form without the root label: every label behind a byte that
    /// holds its length. The caller has walked the labels: each length is 1 to 63 and they add up.
    /// Any byte is taken, letters become lower case.
    ///
    /// # Errors
    /// [`NameFault::TooLong`]; [`NameFault::Empty`] or [`NameFault::LabelTooLong`] where the lengths
    /// are not as promised.
    #[inline]
    pub fn from_wire(labels: &[u8]) -> Result<Self, NameFault> {
        let mut name = Self::empty();
        name.read_wire(labels)?;
        Ok(name)
    }

    /// As [`DomainName::from_wire`], in the place of a name there is.
    ///
    /// # Errors
    /// As there; the name is empty then.
    #[inline]
    pub fn read_wire(&mut self, labels: &[u8]) -> Result<(), NameFault> {
        self.len = 0;
        let Some((&first, text)) = labels.split_first() else { return Ok(()) };
        let room = self.bytes.get_mut(..text.len()).ok_or(NameFault::TooLong)?;
        copy_labels(text, room);
        let mut at = usize::from(first);
        while let (Some(&length), Some(dot)) = (text.get(at), room.get_mut(at)) {
            if length == 0 {
                return Err(NameFault::Empty);
            }
            *dot = b'.';
            // A position in the text, and little more.
            at = at.wrapping_add(1 + usize::from(length));
        }
        if at != text.len() || first == 0 {
            return Err(NameFault::LabelTooLong);
        }
        self.len = u8::try_from(text.len()).map_err(|_| NameFault::TooLong)?;
        Ok(())
    }

    /// Becomes another name: as an assignment, but that little is copied of one that is short.
    #[inline]
    pub fn copy_from(&mut self, other: &Self) {
        const SHORT: usize = 64;
        let places = (self.bytes.first_chunk_mut::<SHORT>(), other.bytes.first_chunk::<SHORT>());
        match places {
            (Some(room), Some(bytes)) if other.len() <= SHORT => *room = *bytes,
            _ => self.bytes = other.bytes,
        }
        self.len = other.len;
    }

    /// The name without labels: the DNS root.
    #[must_use]
    pub const fn empty() -> Self {
        Self { bytes: [0; NAME_LIMIT_BYTES], len: 0 }
    }

    /// Appends one label in lower case, with a dot before it if it is not the first.
    ///
    /// # Errors
    /// [`NameFault::Empty`], [`NameFault::LabelTooLong`] or [`NameFault::TooLong`].
    pub fn push_label(&mut self, label: &[u8]) -> Result<(), NameFault> {
        if label.is_empty() {
            return Err(NameFault::Empty);
        }
        if label.len() > LABEL_LIMIT_BYTES {
            return Err(NameFault::LabelTooLong);
        }
        let start = if self.len == 0 { 0 } else { usize::from(self.len) + 1 };
        let end = start + label.len();
        let room = self.bytes.get_mut(start..end).ok_or(NameFault::TooLong)?;
        copy_labels(label, room);
        if let Some(dot) = start.checked_sub(1).and_then(|at| self.bytes.get_mut(at)) {
            *dot = b'.';
        }
        self.len = u8::try_from(end).map_err(|_| NameFault::TooLong)?;
        Ok(())
    }

    /// The bytes of the name.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or_default()
    }

    /// The length in bytes.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len as usize
    }

    /// Whether this is the root.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl PartialEq for DomainName {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for DomainName {}

impl PartialOrd for DomainName {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for DomainName {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.as_bytes().cmp(other.as_bytes())
    }
}

impl std::hash::Hash for DomainName {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.as_bytes().hash(state);
    }
}

impl fmt::Display for DomainName {
    /// The name; bytes that do not print, and backslashes, as `\xhh`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for &b in self.as_bytes() {
            if b.is_ascii_graphic() && b != b'\\' {
                write!(f, "{}", char::from(b))?;
            } else {
                write!(f, "\\x{b:02x}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for DomainName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Copies what stands in labels to a place as long, letters in lower case. Whole blocks are copied, the
/// last of which may overlap the one before it: names are too short for a loop over bytes.
#[inline]
fn copy_labels(text: &[u8], room: &mut [u8]) {
    for (text, room) in text.as_chunks().0.iter().zip(room.as_chunks_mut().0) {
        copy_block(text, room);
    }
    if let (Some(text), Some(room)) = (text.last_chunk(), room.last_chunk_mut()) {
        return copy_block(text, room);
    }
    if let (Some(first), Some(last)) = (text.first_chunk(), text.last_chunk()) {
        if let Some(room) = room.first_chunk_mut() {
            *room = label_word(*first);
        }
        if let Some(room) = room.last_chunk_mut() {
            *room = label_word(*last);
        }
        return;
    }
    for (&byte, room) in text.iter().zip(room) {
        *room = label_byte(byte);
    }
}

#[inline(always)]
fn copy_block(text: &[u8; 16], room: &mut [u8; 16]) {
    *room = *text;
    for byte in room {
        *byte = label_byte(*byte);
    }
}

/// What a byte inside a label becomes: letters small. A dot there is no boundary. It becomes a byte that
/// no rule can hold, so that the label `a.example` below `com` never passes for a name below
/// `example.com`.
#[inline(always)]
const fn label_byte(byte: u8) -> u8 {
    const _: () = assert!(DOT_IN_LABEL == b'.' | 1 << 7);
    byte | (byte.is_ascii_uppercase() as u8) << 5 | ((byte == b'.') as u8) << 7
}

/// The same of eight bytes at once, which the compiler would take one by one.
#[inline(always)]
const fn label_word(bytes: [u8; 8]) -> [u8; 8] {
    const ONES: u64 = u64::MAX / 0xff;
    const LOW: u64 = ONES * 0x7f;
    let word = u64::from_ne_bytes(bytes);
    // The highest bit of each byte tells; as it is left out of what is added, no carry crosses a byte.
    let low = word & LOW;
    let from_a = low + ONES * (0x80 - b'A' as u64);
    let behind_z = low + ONES * (0x7f - b'Z' as u64);
    let no_dot = (low ^ (ONES * b'.' as u64)) + LOW;
    let capitals = from_a & !behind_z & !word & !LOW;
    let dots = !no_dot & !word & !LOW;
    (word | capitals >> 2 | dots).to_ne_bytes()
}

/// What the bytes of a host become: lower case for letters, digits, hyphen, underscore and dot; 0
/// for all others.
const HOST_BYTES: [u8; 256] = {
    let mut table = [0; 256];
    let mut byte = 0_u8;
    loop {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.') {
            table[byte as usize] = byte.to_ascii_lowercase();
        }
        if byte == u8::MAX {
            break table;
        }
        byte += 1;
    }
};

/// Judges a label of this length that ends; the length of the next one so far.
const fn end_label(len: usize) -> Result<usize, NameFault> {
    match len {
        0 => Err(NameFault::Empty),
        1..=LABEL_LIMIT_BYTES => Ok(0),
        _ => Err(NameFault::LabelTooLong),
    }
}

/// Whether a host is an IPv4 dotted quad or an IPv6 address, with or without brackets.
fn is_address(host: &[u8]) -> bool {
    // An address ends with a digit or holds a colon; nearly all names do neither.
    if !host.last().is_some_and(u8::is_ascii_digit) && !host.contains(&b':') {
        return false;
    }
    Addr::from_host(host).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_become_lower_case_without_a_trailing_dot() {
        let name = DomainName::from_host(b"API.Payments.Example.").expect("valid");
        assert_eq!(name.to_string(), "api.payments.example");
    }

    #[test]
    fn faults_are_told_apart() {
        for (host, fault) in [
            (&b""[..], NameFault::Empty),
            (b".", NameFault::Empty),
            (b"a..b", NameFault::Empty),
            (b"a\0.example", NameFault::Byte(0)),
            (b"b\xc3\xbccher.example", NameFault::Byte(0xc3)),
            (b"192.0.2.1", NameFault::Address),
            (b"[2001:db8::1]", NameFault::Address),
            (b"2001:db8::1", NameFault::Address),
        ] {
            assert_eq!(DomainName::from_host(host), Err(fault), "{host:?}");
        }
    }

    #[test]
    fn labels_and_names_end_at_their_limits() {
        for (len, fits) in [(62, true), (63, true), (64, false)] {
            let host = vec![b'a'; len];
            assert_eq!(DomainName::from_host(&host).is_ok(), fits, "label of {len}");
        }
        for (len, fits) in [(252, true), (253, true), (254, false)] {
            let host: Vec<u8> = (0..len).map(|i| if i % 64 == 63 { b'.' } else { b'a' }).collect();
            assert_eq!(DomainName::from_host(&host).is_ok(), fits, "name of {len}");
        }
    }

    #[test]
    fn the_wire_form_gives_the_same_name_as_its_labels() {
        let text: Vec<u8> = (0..=u8::MAX).collect();
        let labels_of = |len: usize| text.chunks(len).take(240 / (len + 1)).collect::<Vec<_>>();
        let many: Vec<_> = (1..=63).map(labels_of).collect();
        let short: Vec<_> = (1..=63).map(|len| vec![&text[b'.' as usize - 1..][..len]]).collect();
        let few = [vec![], vec![&b"A"[..]], vec![b"Api", b"x.y", b"\0\x80"], vec![&[b'Z'; 63]; 3]];
        for labels in few.iter().chain(&many).chain(&short) {
            let mut wire = Vec::new();
            for label in labels {
                wire.push(u8::try_from(label.len()).expect("short"));
                wire.extend_from_slice(label);
            }
            let named = DomainName::from_labels(labels.iter().copied());
            let small = |byte: &u8| match byte.to_ascii_lowercase() {
                b'.' => DOT_IN_LABEL,
                byte => byte,
            };
            let spelt: Vec<Vec<u8>> =
                labels.iter().map(|l| l.iter().map(small).collect()).collect();
            assert_eq!(named.expect("fits").as_bytes(), spelt.join(&b'.'));
            assert_eq!(DomainName::from_wire(&wire), named, "{labels:?}");
        }
        for wire in [&b"\x00"[..], b"\x02a", b"\x01a\x00", b"\x01a\x02b", b"\x00a"] {
            assert!(DomainName::from_wire(wire).is_err(), "{wire:?}");
        }
    }

    #[test]
    fn eight_bytes_at_once_become_what_each_becomes() {
        for byte in 0..=u8::MAX {
            for at in 0..8 {
                for around in [0, b'.', b'A', b'Z', b'z', 0x7f, 0x80, 0xae, 0xff] {
                    let mut bytes = [around; 8];
                    bytes[at] = byte;
                    assert_eq!(label_word(bytes), bytes.map(label_byte), "{bytes:?}");
                }
            }
        }
    }

    #[test]
    fn a_name_takes_the_place_of_a_longer_one_and_of_a_shorter_one() {
        let of_len = |len: usize| {
            let host: Vec<u8> = (0..len).map(|i| if i % 20 == 19 { b'.' } else { b'a' }).collect();
            DomainName::from_host(&host).expect("valid")
        };
        let names = [1, 19, 63, 64, 65, 66, 253].map(of_len);
        for name in names.iter().chain([&DomainName::empty()]) {
            for mut place in names {
                place.copy_from(name);
                assert_eq!(place, *name);
            }
        }
    }

    #[test]
    fn a_dot_inside_a_label_is_no_boundary() {
        let labels = [&b"a.example"[..], b"com"];
        let name = DomainName::from_labels(labels).expect("valid");
        assert!(!name.as_bytes().ends_with(b".example.com"));
        assert_eq!(DomainName::from_wire(b"\x09a.example\x03com"), Ok(name));
    }

    #[test]
    fn dns_names_hold_any_byte_and_print_safely() {
        let name = DomainName::from_labels([&b"a\0B"[..], b"example"]).expect("valid");
        assert_eq!(name.to_string(), "a\\x00b.example");
    }
}
