/// What digits say, and nothing but digits: no sign, no list. More than fits is as much as fits.
pub(super) fn number(digits: &[u8]) -> Option<u64> {
    let number = digits.iter().try_fold(0_u64, |number, byte| {
        let digit = byte.wrapping_sub(b'0');
        (digit <= 9).then(|| number.saturating_mul(10).saturating_add(u64::from(digit)))
    });
    number.filter(|_| !digits.is_empty())
}

#[cfg(test)]
mod tests {
    use super::number;

    #[test]
    fn only_digits_are_a_number() {
        assert_eq!(number(b"0"), Some(0));
        assert_eq!(number(b"0042"), Some(42));
        assert_eq!(number(b"18446744073709551615"), Some(u64::MAX));
        assert_eq!(number(b"18446744073709551616"), Some(u64::MAX));
        for other in [&b""[..], b"+1", b"-1", b" 1", b"1 ", b"1,1", b"0x1", b"1e3", b"/", b":", b"\xb2"] {
            assert_eq!(number(other), None, "{other:?}");
        }
    }
}
