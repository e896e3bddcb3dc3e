//! Integers with a prefix (RFC 7541, section 5.1).

use super::Undecodable;

/// Bytes after the prefix that are read: 28 bits, more than any length or index here can be.
const MORE: u32 = 4;

/// Writes `value` after the bits of `first` that are left of the `prefix`.
pub fn write(out: &mut Vec<u8>, first: u8, prefix: u32, value: usize) {
    let limit = (1_usize << prefix) - 1;
    if value < limit {
        // Less than the prefix holds.
        return out.push(first | value as u8);
    }
    out.push(first | limit as u8);
    let mut rest = value - limit;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// Reads what follows in `bytes`; their first byte has the prefix.
///
/// # Errors
/// When the integer is not whole, or has more bits than anything needs.
pub fn read(bytes: &mut &[u8], prefix: u32) -> Result<usize, Undecodable> {
    let (first, mut rest) = bytes.split_first().ok_or(Undecodable)?;
    let limit = (1_usize << prefix) - 1;
    let mut value = usize::from(*first) & limit;
    if value == limit {
        for shift in (0..7 * MORE).step_by(7) {
            let (byte, after) = rest.split_first().ok_or(Undecodable)?;
            rest = after;
            value += usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                *bytes = rest;
                return Ok(value);
            }
        }
        return Err(Undecodable);
    }
    *bytes = rest;
    Ok(value)
}

#[cfg(test)]
mod tests {
    use proptest::{prop_assert_eq, proptest};

    use super::*;

    /// RFC 7541, C.1.
    #[test]
    fn the_examples_of_the_rfc() {
        for (value, prefix, bytes) in [
            (10, 5, &[10][..]),
            (1337, 5, &[0x1f, 0x9a, 0x0a]),
            (42, 8, &[42]),
        ] {
            let mut out = Vec::new();
            write(&mut out, 0, prefix, value);
            assert_eq!(out, bytes);
            assert_eq!(read(&mut &bytes[..], prefix), Ok(value));
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(value in 0_usize..1 << 28, prefix in 4_u32..8, after: u8) {
            let mut out = Vec::new();
            write(&mut out, 0, prefix, value);
            out.push(after);
            let mut rest = &out[..];
            prop_assert_eq!(read(&mut rest, prefix), Ok(value));
            prop_assert_eq!(rest, &[after]);
        }
    }

    #[test]
    fn an_integer_without_an_end_is_refused() {
        for bytes in [
            &[][..],
            &[0x7f],
            &[0x7f, 0x80],
            &[0x7f, 0xff, 0xff, 0xff, 0xff, 0],
        ] {
            assert_eq!(read(&mut &bytes[..], 7), Err(Undecodable), "{bytes:?}");
        }
    }
}
