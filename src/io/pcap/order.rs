//! Byte order of a capture file: that of the machine that wrote it. Numbers are read at offsets
//! that may lie outside; nothing here can panic.

/// Which end of a number comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Little,
    Big,
}

impl Order {
    pub(super) fn u16_at(self, bytes: &[u8], at: usize) -> Option<u16> {
        let field = array_at(bytes, at)?;
        Some(match self {
            Self::Little => u16::from_le_bytes(field),
            Self::Big => u16::from_be_bytes(field),
        })
    }

    pub(super) fn u32_at(self, bytes: &[u8], at: usize) -> Option<u32> {
        let field = array_at(bytes, at)?;
        Some(match self {
            Self::Little => u32::from_le_bytes(field),
            Self::Big => u32::from_be_bytes(field),
        })
    }

    pub(super) fn u64_at(self, bytes: &[u8], at: usize) -> Option<u64> {
        let field = array_at(bytes, at)?;
        Some(match self {
            Self::Little => u64::from_le_bytes(field),
            Self::Big => u64::from_be_bytes(field),
        })
    }
}

fn array_at<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_in_both_orders_and_never_beyond_the_end() {
        let bytes = [1, 2, 3, 4, 5, 6, 7, 8];
        assert_eq!(Order::Little.u16_at(&bytes, 6), Some(0x0807));
        assert_eq!(Order::Big.u16_at(&bytes, 6), Some(0x0708));
        assert_eq!(Order::Big.u16_at(&bytes, 7), None);
        assert_eq!(Order::Little.u32_at(&bytes, 0), Some(0x0403_0201));
        assert_eq!(Order::Big.u32_at(&bytes, usize::MAX), None);
        assert_eq!(Order::Big.u64_at(&bytes, 0), Some(0x0102_0304_0506_0708));
        assert_eq!(Order::Big.u64_at(&bytes, 1), None);
    }
}
