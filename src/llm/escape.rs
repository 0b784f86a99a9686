/// How far an escape in a text of JSON has come (RFC 8259, section 7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Escape {
    /// There is none.
    None,
    /// Its backslash was there.
    Begun,
    /// So many digits of a `\\u` are to come; what those before say.
    Unit(u8, u16),
}

impl Escape {
    /// Takes one more byte, gives the bytes that come of it to `push`, and says how far an escape has come then.
    pub(super) fn take(self, byte: u8, mut push: impl FnMut(u8)) -> Self {
        match (self, byte) {
            (Self::None, b'\\') => return Self::Begun,
            (Self::Begun, b'u') => return Self::Unit(4, 0),
            (Self::Begun, b'n') => push(b'\n'),
            (Self::Begun, b't') => push(b'\t'),
            (Self::Begun, b'r') => push(b'\r'),
            (Self::Begun, b'b') => push(0x08),
            (Self::Begun, b'f') => push(0x0c),
            (Self::None | Self::Begun, _) => push(byte),
            (Self::Unit(left, before), _) => {
                let Some(digit) = char::from(byte).to_digit(16) else {
                    // No JSON: the escape counts for nothing.
                    return Self::None.take(byte, push);
                };
                let unit = before << 4 | digit as u16;
                if left > 1 {
                    return Self::Unit(left - 1, unit);
                }
                match char::from_u32(unit.into()) {
                    Some(character) => character.encode_utf8(&mut [0; 4]).bytes().for_each(push),
                    // Half of a character of four bytes; nobody asks which.
                    None => [b'?'; 2].into_iter().for_each(push),
                }
            }
        }
        Self::None
    }
}
