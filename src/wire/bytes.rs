//! Big-endian numbers at an offset of a slice; nothing where the slice ends before them.

/// The byte at `at`.
#[inline(always)]
pub(super) fn u8_at(bytes: &[u8], at: usize) -> Option<u8> {
    bytes.get(at).copied()
}

/// `N` bytes at `at`.
#[inline(always)]
pub(super) fn array_at<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

/// The 16-bit number at `at`.
#[inline(always)]
pub(super) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    array_at(bytes, at).map(u16::from_be_bytes)
}

/// The 32-bit number at `at`.
#[inline(always)]
pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    array_at(bytes, at).map(u32::from_be_bytes)
}

/// Writes `value` at `at`; nothing is written where the slice ends before it.
#[inline(always)]
pub(super) fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    let place = at.checked_add(value.len()).and_then(|end| bytes.get_mut(at..end));
    if let Some(place) = place {
        place.copy_from_slice(value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_does_not_fit_is_none() {
        let bytes = [1, 2, 3, 4];
        assert_eq!(u8_at(&bytes, 3), Some(4));
        assert_eq!(u8_at(&bytes, 4), None);
        assert_eq!(u16_at(&bytes, 2), Some(0x0304));
        assert_eq!(u16_at(&bytes, 3), None);
        assert_eq!(u32_at(&bytes, 0), Some(0x0102_0304));
        assert_eq!(u32_at(&bytes, 1), None);
        assert_eq!(u32_at(&bytes, usize::MAX), None);
    }

    #[test]
    fn a_write_that_does_not_fit_is_left_out() {
        let mut bytes = [0; 4];
        put(&mut bytes, 3, &[1, 2]);
        put(&mut bytes, usize::MAX, &[1]);
        assert_eq!(bytes, [0; 4]);
        put(&mut bytes, 2, &[1, 2]);
        assert_eq!(bytes, [0, 0, 1, 2]);
    }
}
