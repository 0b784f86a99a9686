use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;

use ring::digest::SHA256_OUTPUT_LEN;

/// A SHA-256.
pub(super) type Hash = [u8; SHA256_OUTPUT_LEN];

/// One line of a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// The name as it was written, for people.
    pub(super) name: String,
    /// Its parts below the directory; `None` if it leads out of it.
    pub(super) parts: Option<Vec<OsString>>,
    pub(super) hash: Hash,
}

/// A line that is none, counted from 1.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Malformed(pub(super) usize);

/// Reads what `sha256sum` writes: `HASH  NAME` of text, `HASH *NAME` of binary files, which is the same here; a line that
/// begins with a backslash has line ends and backslashes in its name escaped. Empty lines and comments say nothing.
pub(super) fn parse(text: &[u8]) -> Result<Vec<Entry>, Malformed> {
    let lines = text.split(|byte| *byte == b'\n').enumerate();
    let said = lines.map(|(at, line)| (at, line.strip_suffix(b"\r").unwrap_or(line)));
    let said = said.filter(|(_, line)| !line.is_empty() && line[0] != b'#');
    said.map(|(at, line)| entry(line).ok_or(Malformed(at + 1))).collect()
}

fn entry(line: &[u8]) -> Option<Entry> {
    let (escaped, line) = match line.strip_prefix(b"\\") {
        Some(rest) => (true, rest),
        None => (false, line),
    };
    let (digits, rest) = line.split_at_checked(2 * SHA256_OUTPUT_LEN)?;
    let mut hash = [0; SHA256_OUTPUT_LEN];
    for (byte, pair) in hash.iter_mut().zip(digits.chunks_exact(2)) {
        let digit = |digit: u8| char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    let name = rest.strip_prefix(b"  ").or_else(|| rest.strip_prefix(b" *"))?;
    let name = if escaped { unescape(name)? } else { name.to_vec() };
    if name.is_empty() || name.contains(&0) {
        return None;
    }
    Some(Entry { name: String::from_utf8_lossy(&name).into_owned(), parts: parts(&name), hash })
}

fn unescape(name: &[u8]) -> Option<Vec<u8>> {
    let mut plain = Vec::with_capacity(name.len());
    let mut bytes = name.iter();
    while let Some(byte) = bytes.next() {
        plain.push(match byte {
            b'\\' => match bytes.next()? {
                b'n' => b'\n',
                b'r' => b'\r',
                b'\\' => b'\\',
                _ => return None,
            },
            byte => *byte,
        });
    }
    Some(plain)
}

fn parts(name: &[u8]) -> Option<Vec<OsString>> {
    if name[0] == b'/' {
        return None;
    }
    let parts = name.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".");
    let parts: Vec<OsString> = parts.map(|part| OsString::from_vec(part.to_vec())).collect();
    (!parts.is_empty() && parts.iter().all(|part| part != "..")).then_some(parts)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Entry, Malformed, parse};

    const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn names(text: &str) -> Vec<(String, bool)> {
        let named = |entry: Entry| (entry.name, entry.parts.is_some());
        parse(text.as_bytes()).expect("a manifest").into_iter().map(named).collect()
    }

    #[test]
    fn what_sha256sum_writes_is_read() {
        let text = format!(
            "# made by hand\n{EMPTY}  a b.py\n{} *./sub//c.bin\r\n\n\\{EMPTY}  new\\nline\\\\\\r\n{EMPTY}   lead",
            EMPTY.to_uppercase()
        );
        let expected = ["a b.py", "./sub//c.bin", "new\nline\\\r", " lead"].map(|name| (name.to_owned(), true));
        assert_eq!(names(&text), expected);
        let entry = &parse(text.as_bytes()).expect("a manifest")[1];
        assert_eq!(entry.parts.as_deref(), Some(["sub".into(), "c.bin".into()].as_slice()));
        assert_eq!(entry.hash[..2], [0xe3, 0xb0]);
    }

    #[test]
    fn names_that_lead_elsewhere_are_told_apart() {
        for name in ["/etc/passwd", "../x", "a/../../x", "a/..", "./", "."] {
            assert_eq!(names(&format!("{EMPTY}  {name}")), [(name.to_owned(), false)]);
        }
        assert_eq!(names(&format!("{EMPTY}  ..a/...")), [("..a/...".to_owned(), true)]);
    }

    #[test]
    fn other_lines_are_malformed() {
        let short = &EMPTY[1..];
        let bad = [
            "nonsense".to_owned(),
            format!("{short}  a"),
            format!("{EMPTY} a"),
            format!("{EMPTY}  "),
            format!("{EMPTY}\ta"),
            format!("\\{EMPTY}  a\\x"),
            format!("\\{EMPTY}  a\\"),
            format!("{EMPTY}  a\0b"),
            format!("g{short}  a"),
        ];
        for line in bad {
            assert_eq!(parse(format!("{EMPTY}  fine\n{line}\n").as_bytes()), Err(Malformed(2)), "{line:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_strange(text in proptest::collection::vec(any::<u8>(), 0..400)) {
            for entry in parse(&text).unwrap_or_default() {
                let parts = entry.parts.unwrap_or_default();
                prop_assert!(parts.iter().all(|part| part != ".." && !part.to_string_lossy().contains('/')));
            }
        }
    }
}
