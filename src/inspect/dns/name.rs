//! A name as a DNS message carries it (RFC 1035 section 4.1.4), compression followed within a bound.

use crate::model::{DomainName, NameFault};

/// Compression pointers followed in one name. Real names need one or two; a chain must step back
/// with every pointer, so this only shortens hostile ones.
pub const POINTER_LIMIT: usize = 16;

/// Most labels of a name, the root not counted (RFC 1035 section 2.3.4).
const LABELS_MAX: usize = 127;

/// Why bytes of a message are no name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameError {
    /// The message ends within the name.
    Truncated,
    /// A label type other than plain or pointer, a pointer that does not step back, or a name
    /// longer than a name may be.
    Malformed,
    /// More than [`POINTER_LIMIT`] pointers.
    Pointers,
}

/// The name that starts at `at`, lower case, and the position behind it.
///
/// # Errors
/// The first [`NameError`] found.
#[inline]
pub fn name_at(message: &[u8], at: usize) -> Result<(DomainName, usize), NameError> {
    let mut name = DomainName::empty();
    let behind = read_name(message, at, &mut name)?;
    Ok((name, behind))
}

/// As [`name_at`], in the place of a name there is.
///
/// # Errors
/// As there.
#[inline]
pub fn read_name(message: &[u8], at: usize, name: &mut DomainName) -> Result<usize, NameError> {
    let run = Run::at(message, at)?;
    if let End::Root(after) = run.end {
        name.read_wire(run.labels).map_err(malformed)?;
        return Ok(after);
    }
    let behind;
    (*name, behind) = compressed_name_at(message, at)?;
    Ok(behind)
}

/// The position behind the name that starts at `at`, without reading the name itself.
///
/// # Errors
/// As [`name_at`], but what a pointer points at is not looked at.
pub fn skip_name(message: &[u8], at: usize) -> Result<usize, NameError> {
    match Run::at(message, at)?.end {
        End::Root(after) => Ok(after),
        End::Pointer { after, .. } => Ok(after),
    }
}

/// A byte of a host's name, and the underscore of services.
#[inline]
pub(super) const fn is_host_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')
}

/// Whether the labels of the name that starts at `at` are those of a host, pointers followed in
/// either direction, as some resolvers do. More pointers than are followed may lead to anything.
///
/// # Errors
/// As [`name_at`], but for pointers.
pub(super) fn is_lenient_host(message: &[u8], at: usize) -> Result<bool, NameError> {
    let mut from = at;
    let mut bytes = 0_usize;
    for _ in 0..=POINTER_LIMIT {
        let run = Run::at(message, from)?;
        for label in run.labels() {
            if !label.iter().all(|byte| is_host_byte(*byte)) {
                return Ok(false);
            }
            bytes = bytes.saturating_add(label.len());
        }
        match run.end {
            End::Root(_) => return Ok(bytes > 0),
            End::Pointer { target, .. } => from = target,
        }
    }
    Ok(true)
}

/// A name with at least one pointer, label by label.
fn compressed_name_at(message: &[u8], at: usize) -> Result<(DomainName, usize), NameError> {
    let mut name = DomainName::empty();
    let mut from = at;
    let mut behind = None;
    for _ in 0..=POINTER_LIMIT {
        let run = Run::at(message, from)?;
        for label in run.labels() {
            name.push_label(label).map_err(malformed)?;
        }
        match run.end {
            End::Root(after) => return Ok((name, behind.unwrap_or(after))),
            End::Pointer { target, after } => {
                // RFC 1035 section 4.1.4: a prior occurrence. Each step back makes loops impossible.
                if target >= from {
                    return Err(NameError::Malformed);
                }
                behind = behind.or(Some(after));
                from = target;
            }
        }
    }
    Err(NameError::Pointers)
}

/// Labels up to the root or to a pointer.
struct Run<'a> {
    /// Length-prefixed labels, without the root or the pointer.
    labels: &'a [u8],
    end: End,
}

enum End {
    /// The root label; what follows it starts here.
    Root(usize),
    Pointer {
        target: usize,
        after: usize,
    },
}

impl<'a> Run<'a> {
    #[inline]
    fn at(message: &'a [u8], start: usize) -> Result<Self, NameError> {
        let mut at = start;
        for _ in 0..LABELS_MAX + 1 {
            let &len = message.get(at).ok_or(NameError::Truncated)?;
            // What is behind a byte of a message is far from the last number.
            let next = at.wrapping_add(1);
            match len {
                0 => return Self::ending(message, start, at, End::Root(next)),
                1..=63 => at = next.wrapping_add(usize::from(len)),
                0xc0..=0xff => {
                    let &low = message.get(next).ok_or(NameError::Truncated)?;
                    let target = usize::from(u16::from_be_bytes([len & 0x3f, low]));
                    let end = End::Pointer { target, after: next.saturating_add(1) };
                    return Self::ending(message, start, at, end);
                }
                // Extended label types are obsolete (RFC 6891 section 5).
                _ => return Err(NameError::Malformed),
            }
        }
        Err(NameError::Malformed)
    }

    /// Each label; their lengths were followed when the run was found, so that they fit.
    fn labels(&self) -> impl Iterator<Item = &'a [u8]> {
        let mut rest = self.labels;
        std::iter::from_fn(move || {
            let (&len, behind) = rest.split_first()?;
            let (label, behind) = behind.split_at_checked(usize::from(len))?;
            rest = behind;
            Some(label)
        })
    }

    fn ending(message: &'a [u8], start: usize, at: usize, end: End) -> Result<Self, NameError> {
        let labels = message.get(start..at).ok_or(NameError::Truncated)?;
        Ok(Self { labels, end })
    }
}

const fn malformed(_: NameFault) -> NameError {
    NameError::Malformed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wire(labels: &[&[u8]]) -> Vec<u8> {
        let mut out = Vec::new();
        for label in labels {
            out.push(u8::try_from(label.len()).unwrap());
            out.extend_from_slice(label);
        }
        out.push(0);
        out
    }

    #[test]
    fn plain_names_are_lower_cased() {
        let bytes = wire(&[b"API", b"Payments", b"example"]);
        let (name, after) = name_at(&bytes, 0).unwrap();
        assert_eq!(name.to_string(), "api.payments.example");
        assert_eq!(after, bytes.len());
    }

    #[test]
    fn the_root_is_an_empty_name() {
        assert_eq!(name_at(&[0], 0), Ok((DomainName::empty(), 1)));
    }

    #[test]
    fn any_byte_may_stand_in_a_label() {
        let (name, _) = name_at(&wire(&[b"a.B\0\x80[", b"x"]), 0).unwrap();
        assert_eq!(name.as_bytes(), b"a\xaeb\0\x80[.x");
    }

    #[test]
    fn pointers_are_followed_backwards_only() {
        let mut bytes = wire(&[b"example", b"net"]);
        let at = bytes.len();
        bytes.extend_from_slice(&[3, b'w', b'W', b'w', 0xc0, 0]);
        let (name, after) = name_at(&bytes, at).unwrap();
        assert_eq!(name.to_string(), "www.example.net");
        assert_eq!(after, bytes.len());
        assert_eq!(skip_name(&bytes, at), Ok(bytes.len()));
        for forward in [[0xc0, 0], [0xc0, 2], [0xff, 0xff]] {
            assert_eq!(name_at(&forward, 0), Err(NameError::Malformed));
        }
        assert_eq!(name_at(&[1, b'a', 0xc0, 0], 0), Err(NameError::Malformed), "into itself");
    }

    #[test]
    fn pointers_end_at_their_limit() {
        // A root at 0, then a chain in which each pointer points at the one before.
        for (pointers, result) in [
            (POINTER_LIMIT - 1, Ok(())),
            (POINTER_LIMIT, Ok(())),
            (POINTER_LIMIT + 1, Err(NameError::Pointers)),
        ] {
            let mut bytes = vec![0];
            let mut target = 0_u16;
            for _ in 0..pointers {
                let at = u16::try_from(bytes.len()).unwrap();
                bytes.extend_from_slice(&(0xc000 | target).to_be_bytes());
                target = at;
            }
            let last = bytes.len() - 2;
            assert_eq!(name_at(&bytes, last).map(|_| ()), result, "{pointers} pointers");
        }
    }

    #[test]
    fn names_end_at_255_bytes_on_the_wire() {
        for (last, fits) in [(60, true), (61, true), (62, false)] {
            let long = [b'a'; 63];
            let labels: [&[u8]; 4] = [&long, &long, &long, &long[..last]];
            let plain = wire(&labels);
            assert_eq!(name_at(&plain, 0).is_ok(), fits, "{} bytes", plain.len());
            let mut pointed = wire(&labels[1..]);
            let at = pointed.len();
            pointed.push(63);
            pointed.extend_from_slice(&long);
            pointed.extend_from_slice(&[0xc0, 0]);
            assert_eq!(name_at(&pointed, at).is_ok(), fits, "{last} with a pointer");
        }
    }

    #[test]
    fn every_cut_is_truncated_and_odd_label_types_are_malformed() {
        let bytes = wire(&[b"www", b"example"]);
        for cut in 0..bytes.len() {
            assert_eq!(name_at(&bytes[..cut], 0), Err(NameError::Truncated), "cut at {cut}");
        }
        for kind in [0x40, 0x41, 0x80, 0xbf] {
            assert_eq!(name_at(&[kind, 0, 0], 0), Err(NameError::Malformed));
        }
    }
}
