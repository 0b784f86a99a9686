use std::io;

use hyper::header::{HeaderMap, HeaderName, HeaderValue};

use super::super::http1::MOST_FIELDS;

/// Takes the chunked coding of our own answers apart again. What the engine writes was checked when it came from the app;
/// anything else here is an error all the same.
#[derive(Debug)]
pub(super) struct Chunks {
    state: State,
    trailer: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Size(u64),
    Data(u64),
    DataEnd,
    Trailer,
}

/// What the next bytes are.
#[derive(Debug)]
pub(super) enum Piece {
    /// So many say only where chunks begin and end.
    Framing(usize),
    /// So many are data, if they are taken.
    Data(usize),
    /// After so many everything is there; the fields after the body.
    End(usize, Option<HeaderMap>),
}

impl Chunks {
    pub(super) fn new() -> Self {
        Self { state: State::Size(0), trailer: Vec::new() }
    }

    /// Looks at the next bytes, of which there is at least one.
    pub(super) fn next(&mut self, bytes: &[u8]) -> io::Result<Piece> {
        if let State::Data(left) = self.state {
            return Ok(Piece::Data(usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len())));
        }
        for (at, byte) in bytes.iter().enumerate() {
            match (self.state, byte) {
                (State::Size(0), b'\n') => self.state = State::Trailer,
                (State::Size(left), b'\n') => {
                    self.state = State::Data(left);
                    return Ok(Piece::Framing(at + 1));
                }
                (State::Size(_) | State::DataEnd, b'\r') => {}
                (State::Size(value), digit) => {
                    let digit = char::from(*digit).to_digit(16).ok_or(io::ErrorKind::InvalidData)?;
                    let value = value.checked_mul(16).and_then(|value| value.checked_add(digit.into()));
                    self.state = State::Size(value.ok_or(io::ErrorKind::InvalidData)?);
                }
                (State::DataEnd, b'\n') => self.state = State::Size(0),
                (State::Trailer, byte) => {
                    self.trailer.push(*byte);
                    if self.trailer == b"\r\n" || self.trailer.ends_with(b"\r\n\r\n") {
                        return Ok(Piece::End(at + 1, self.fields()?));
                    }
                }
                (State::DataEnd | State::Data(_), _) => return Err(io::ErrorKind::InvalidData.into()),
            }
        }
        Ok(Piece::Framing(bytes.len()))
    }

    /// So many bytes of data were taken.
    pub(super) fn took(&mut self, length: usize) {
        if let State::Data(left) = self.state {
            let left = left.saturating_sub(length as u64);
            self.state = if left == 0 { State::DataEnd } else { State::Data(left) };
        }
    }

    fn fields(&self) -> io::Result<Option<HeaderMap>> {
        let mut fields = [httparse::EMPTY_HEADER; MOST_FIELDS];
        let Ok(httparse::Status::Complete((_, fields))) = httparse::parse_headers(&self.trailer, &mut fields) else {
            return Err(io::ErrorKind::InvalidData.into());
        };
        let mut map = HeaderMap::with_capacity(fields.len());
        for field in fields {
            let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(io::Error::other)?;
            map.append(name, HeaderValue::from_bytes(field.value).map_err(io::Error::other)?);
        }
        Ok((!map.is_empty()).then_some(map))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Chunks, Piece};

    /// Reads a body in pieces: its data, its trailer, and what was left over.
    fn read(body: &[u8], piece: usize) -> Option<(Vec<u8>, String, Vec<u8>)> {
        let (mut chunks, mut data, mut at) = (Chunks::new(), Vec::new(), 0);
        while at < body.len() {
            let bytes = &body[at..body.len().min(at + piece)];
            match chunks.next(bytes).ok()? {
                Piece::Framing(length) => at += length,
                Piece::Data(length) => {
                    // Not all of it at once: the window may be small.
                    let length = length.div_ceil(2);
                    data.extend_from_slice(&bytes[..length]);
                    chunks.took(length);
                    at += length;
                }
                Piece::End(length, trailer) => {
                    return Some((data, format!("{trailer:?}"), body[at + length..].to_vec()));
                }
            }
        }
        None
    }

    #[test]
    fn data_and_trailer_are_found_in_any_pieces() {
        let body = b"5\r\nhello\r\n1\r\n \r\nb\r\nto \"0\\r\\n\"!\r\n0\r\nX-Sum: 1\r\n\r\nNEXT";
        for piece in 1..=body.len() {
            let (data, trailer, left) = read(body, piece).expect("a whole body");
            assert_eq!(data, b"hello to \"0\\r\\n\"!");
            assert_eq!((trailer.as_str(), &*left), ("Some({\"x-sum\": \"1\"})", &b"NEXT"[..]), "pieces of {piece}");
        }
        assert_eq!(read(b"0\r\n\r\n", 1).map(|read| read.1), Some("None".into()));
        assert_eq!(read(b"5\r\nhelloX\n", 100), None);
        assert_eq!(read(b"11111111111111111\r\n", 100), None);
    }

    proptest! {
        #[test]
        fn any_chunking_is_the_same_body(
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..300), 0..8),
            piece in 1_usize..400,
        ) {
            let mut body = Vec::new();
            for chunk in &chunks {
                body.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                body.extend_from_slice(chunk);
                body.extend_from_slice(b"\r\n");
            }
            body.extend_from_slice(b"0\r\n\r\n");
            let (data, _, left) = read(&body, piece).expect("a whole body");
            prop_assert_eq!(data, chunks.concat());
            prop_assert!(left.is_empty());
        }
    }
}
