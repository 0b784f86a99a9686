use super::short::Short;

/// Takes a stream of server-sent events apart (WHATWG HTML, section 9.2.6), in whatever pieces it comes.
#[derive(Debug, Default)]
pub(super) struct Lines {
    state: State,
    name: Short<8>,
    /// The line before ended in CR: an LF belongs to that end.
    after_cr: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// In a field's name, or before it.
    #[default]
    Name,
    /// Between the colon of a `data` field and its value.
    BeforeData,
    Data,
    Other,
}

/// A part of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part<'a> {
    Data(&'a [u8]),
    /// The end of a line of data.
    DataEnd,
    /// The end of the event.
    End,
}

impl Lines {
    pub(super) fn read<'a>(&mut self, mut bytes: &'a [u8], mut part: impl FnMut(Part<'a>)) {
        while let Some(first) = bytes.first() {
            if std::mem::take(&mut self.after_cr) && *first == b'\n' {
                bytes = &bytes[1..];
                continue;
            }
            match self.state {
                State::Name => bytes = self.read_name(bytes, &mut part),
                State::BeforeData => {
                    // One space belongs to the colon.
                    bytes = if *first == b' ' { &bytes[1..] } else { bytes };
                    self.state = State::Data;
                }
                State::Data | State::Other => {
                    let end = memchr::memchr2(b'\n', b'\r', bytes).unwrap_or(bytes.len());
                    let (line, rest) = bytes.split_at(end);
                    let is_data = self.state == State::Data;
                    if is_data && !line.is_empty() {
                        part(Part::Data(line));
                    }
                    if !rest.is_empty() {
                        if is_data {
                            part(Part::DataEnd);
                        }
                        self.end_line(rest[0]);
                    }
                    bytes = rest.get(1..).unwrap_or_default();
                }
            }
        }
    }

    fn read_name<'a>(&mut self, bytes: &'a [u8], part: &mut impl FnMut(Part<'a>)) -> &'a [u8] {
        for (at, byte) in bytes.iter().enumerate() {
            match byte {
                b'\n' | b'\r' => {
                    if self.name.is_empty() {
                        part(Part::End);
                    }
                    self.end_line(*byte);
                    return &bytes[at + 1..];
                }
                b':' => {
                    // A stream may begin with a byte order mark.
                    let is_data = matches!(self.name.whole(), b"data" | b"\xef\xbb\xbfdata");
                    self.state = if is_data { State::BeforeData } else { State::Other };
                    return &bytes[at + 1..];
                }
                _ => self.name.push(*byte),
            }
        }
        &[]
    }

    fn end_line(&mut self, byte: u8) {
        self.after_cr = byte == b'\r';
        self.state = State::Name;
        self.name.clear();
    }
}
