/// A head as the plainest reader sees it: lines, and in each field line what is before and after the first colon.
#[derive(Debug)]
pub(super) struct Plain<'a> {
    pub(super) first: &'a [u8],
    pub(super) fields: Vec<(&'a [u8], &'a [u8])>,
}

impl<'a> Plain<'a> {
    /// Reads a head that a strict reader has accepted: panics where it has a form that two readers could take differently.
    #[track_caller]
    pub(super) fn read(head: &'a [u8]) -> Self {
        let lines = head.strip_suffix(b"\r\n\r\n").expect("a head ends in an empty line");
        let lines = lines_of(lines);
        for line in &lines {
            let harmless = |byte: &u8| *byte == b'\t' || (*byte >= b' ' && *byte != 0x7F);
            assert!(!line.is_empty() && line.iter().all(harmless), "a control character in {:?}", lossy(line));
        }
        let (first, fields) = lines.split_first().expect("a first line");
        let fields = fields.iter().map(|line| field(line)).collect();
        Self { first, fields }
    }

    /// Every value of a field, in any case of letters, in order.
    pub(super) fn all(&self, name: &str) -> Vec<&'a [u8]> {
        let named = self.fields.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name.as_bytes()));
        named.map(|(_, value)| *value).collect()
    }

    /// The names in a list such as `Connection`'s.
    pub(super) fn listed(&self, name: &str) -> Vec<Vec<u8>> {
        let parts = self.all(name).into_iter().flat_map(|value| value.split(|byte| *byte == b','));
        parts.map(|part| stripped(part).to_ascii_lowercase()).filter(|part| !part.is_empty()).collect()
    }
}

/// Splits at CRLF and nothing else: a lone CR or LF stays in its line, where it is found.
fn lines_of(text: &[u8]) -> Vec<&[u8]> {
    let mut lines = Vec::new();
    let mut rest = text;
    while let Some(end) = rest.windows(2).position(|pair| pair == b"\r\n") {
        lines.push(&rest[..end]);
        rest = &rest[end + 2..];
    }
    lines.push(rest);
    lines
}

#[track_caller]
fn field(line: &[u8]) -> (&[u8], &[u8]) {
    let colon = line.iter().position(|byte| *byte == b':').expect("a colon");
    let (name, value) = (&line[..colon], stripped(&line[colon + 1..]));
    let token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    assert!(!name.is_empty() && name.iter().all(token), "an impossible name in {:?}", lossy(line));
    (name, value)
}

/// Without spaces and tabs around it.
pub(super) fn stripped(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = value {
        value = rest;
    }
    while let [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

pub(super) fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The length of a body as the plainest reader sees it: asserts that there is one way to read it only.
#[track_caller]
pub(super) fn only_length(head: &Plain<'_>) -> Option<u64> {
    let lengths = head.all("content-length");
    assert!(lengths.len() <= 1, "two lengths");
    let length = lengths.first().map(|digits| {
        assert!(!digits.is_empty() && digits.iter().all(u8::is_ascii_digit), "{:?} is no length", lossy(digits));
        lossy(digits).parse().expect("a length that fits")
    });
    assert!(length.is_none() || head.all("transfer-encoding").is_empty(), "both a length and a coding");
    length
}
