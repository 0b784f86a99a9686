use std::ops::Range;

use httparse::Header;

/// Writes the fields of a head. Those that stand in the old one as they are to stand in the new one, one after the other,
/// are copied as one piece: most heads are few pieces.
pub(super) struct Lines<'o, 'b> {
    out: &'o mut Vec<u8>,
    /// The head that is written anew.
    old: &'b [u8],
    /// A piece of it that is still to be copied.
    piece: Range<usize>,
}

impl<'o, 'b> Lines<'o, 'b> {
    /// `start_line`: how much of the old head is the first line, if that is to stand as it is.
    pub(super) fn new(out: &'o mut Vec<u8>, old: &'b [u8], start_line: Option<usize>) -> Self {
        Self { out, old, piece: 0..start_line.unwrap_or(0) }
    }

    /// A field of the old head, as it is but for white space around its value.
    pub(super) fn pass(&mut self, field: &Header<'_>) {
        match line(self.old, field) {
            Some(line) if line.start == self.piece.end => self.piece.end = line.end,
            Some(line) => {
                self.copy();
                self.piece = line;
            }
            None => self.write(field.name, field.value),
        }
    }

    /// Another field.
    pub(super) fn write(&mut self, name: &str, value: &[u8]) {
        self.copy();
        write_field(self.out, name, value);
    }

    /// The same field with a value that may be another.
    pub(super) fn replace(&mut self, field: &Header<'_>, value: &[u8]) {
        if field.value == value {
            self.pass(field);
        } else {
            self.write(field.name, value);
        }
    }

    /// All of them are written: what follows goes straight into the buffer.
    pub(super) fn end(mut self) -> &'o mut Vec<u8> {
        self.copy();
        self.out
    }

    fn copy(&mut self) {
        self.out.extend_from_slice(&self.old[std::mem::take(&mut self.piece)]);
    }
}

pub(super) fn write_field(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Where the field's line is in the head that it borrows from, if it is there exactly as [`write_field`] would write it.
fn line(head: &[u8], field: &Header<'_>) -> Option<Range<usize>> {
    let at = |part: &[u8]| part.as_ptr().addr().wrapping_sub(head.as_ptr().addr());
    let start = at(field.name.as_bytes());
    let value = start.checked_add(field.name.len() + 2)?;
    let end = value.checked_add(field.value.len() + 2)?;
    let line = head.get(start..end)?;
    let is_plain = at(field.value) == value && line[field.name.len()..].starts_with(b": ") && line.ends_with(b"\r\n");
    is_plain.then_some(start..end)
}

#[cfg(test)]
mod tests {
    use super::Lines;

    #[test]
    fn a_start_line_that_stays_is_one_piece_with_the_fields_after_it() {
        for (fields, expected) in
            [(&b"A: 1\r\nB: 2\r\n"[..], &b"A: 1\r\n"[..]), (b"B: 2\r\nA: 1\r\n", b"A: 1\r\n"), (b"B: 2\r\n", b"")]
        {
            let head = [b"GET / HTTP/1.1\r\n", fields, b"\r\n"].concat();
            let mut room = [httparse::EMPTY_HEADER; 2];
            let mut request = httparse::Request::new(&mut room);
            assert!(request.parse(&head).expect("valid").is_complete());
            let mut out = Vec::new();
            let mut lines = Lines::new(&mut out, &head, Some(16));
            request.headers.iter().filter(|field| field.name == "A").for_each(|field| lines.pass(field));
            lines.end();
            assert_eq!(out, [b"GET / HTTP/1.1\r\n", expected].concat());
        }
    }

    #[test]
    fn what_stands_as_it_is_written_is_copied_and_the_rest_is_written() {
        let head = b"GET / HTTP/1.1\r\nA: 1\r\nB:2\r\nC:  3\r\nD: 4 \r\nE:\r\nF: 6\r\nG: 7\r\nH: 8\n\r\n";
        let mut fields = [httparse::EMPTY_HEADER; 8];
        let mut request = httparse::Request::new(&mut fields);
        assert!(request.parse(head).expect("valid").is_complete());
        let mut out = Vec::new();
        let mut lines = Lines::new(&mut out, head, None);
        for field in request.headers.iter() {
            match field.name {
                "F" => lines.replace(field, b"66"),
                _ => lines.pass(field),
            }
        }
        // One that borrows from elsewhere.
        lines.pass(&httparse::Header { name: "I", value: b"9" });
        lines.end().extend_from_slice(b"\r\n");
        let expected = "A: 1\r\nB: 2\r\nC: 3\r\nD: 4\r\nE: \r\nF: 66\r\nG: 7\r\nH: 8\r\nI: 9\r\n\r\n";
        assert_eq!(String::from_utf8_lossy(&out), expected);
    }
}
