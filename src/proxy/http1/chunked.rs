use super::field::{is_end_to_end, options};
use super::{Field, MOST_FIELDS, Malformed, Progress};

/// Follows the chunked coding (RFC 9112 section 7.1) through the bytes that carry it, in place: what is passed on is moved
/// over what is not. Extensions are dropped, trailers are kept.
#[derive(Debug)]
pub(in crate::proxy) struct Chunked {
    state: State,
    /// Whether sizes and line ends are passed on, or the data alone.
    keep_chunks: bool,
    /// Bytes of extensions so far, beyond what the data pays for.
    extensions: usize,
    trailer: Vec<u8>,
    /// What `Connection` names.
    named: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Size { value: u64, digits: u8 },
    Extension { value: u64 },
    SizeLf { value: u64 },
    Data { left: u64 },
    DataCr,
    DataLf,
    Trailer,
    Done,
}

/// More bytes of extensions than this, and than half of the data, are an attack. A signature for each chunk is none.
const MOST_EXTENSIONS: usize = 16 * 1024;

/// A trailer larger than this is an attack.
const LARGEST_TRAILER: usize = 16 * 1024;

/// Whoever reads a size into 63 bits reads so many hexadecimal digits as we do.
const MOST_DIGITS: u8 = 15;

impl Chunked {
    pub(super) fn new(keep_chunks: bool) -> Self {
        let state = State::Size { value: 0, digits: 0 };
        Self { state, keep_chunks, extensions: 0, trailer: Vec::new(), named: Vec::new() }
    }

    /// Fields that a value of `Connection` names are not passed on.
    pub(super) fn leave_out(&mut self, connection: Vec<u8>) {
        self.named = connection;
    }

    pub(super) fn is_done(&self) -> bool {
        self.state == State::Done
    }

    pub(super) fn advance(&mut self, bytes: &mut [u8], mut on_data: impl FnMut(&[u8])) -> Result<Progress, Malformed> {
        let mut progress = Progress::default();
        while progress.consumed < bytes.len() && !self.is_done() {
            if let State::Data { left } = self.state {
                let available = bytes.len() - progress.consumed;
                let length = usize::try_from(left).unwrap_or(usize::MAX).min(available);
                pass(bytes, &mut progress, length);
                on_data(&bytes[progress.passed - length..progress.passed]);
                let left = left - length as u64;
                self.state = if left == 0 { State::DataCr } else { State::Data { left } };
                continue;
            }
            let byte = bytes[progress.consumed];
            let is_trailer = self.state == State::Trailer;
            let keep = self.take(byte)?;
            if keep && self.keep_chunks {
                pass(bytes, &mut progress, 1);
            } else {
                progress.consumed += 1;
            }
            if is_trailer && self.is_done() && self.keep_chunks {
                progress.trailer = self.finished_trailer()?;
            }
        }
        Ok(progress)
    }

    /// Takes in one byte that is not data; tells whether it is passed on.
    fn take(&mut self, byte: u8) -> Result<bool, Malformed> {
        match self.state {
            State::Size { value, digits } => match (char::from(byte).to_digit(16), byte) {
                (Some(_), _) if digits == MOST_DIGITS => return Err(Malformed::ChunkSize),
                (Some(digit), _) => {
                    self.state = State::Size { value: value << 4 | u64::from(digit), digits: digits + 1 };
                }
                (None, b'\r') if digits > 0 => self.state = State::SizeLf { value },
                (None, b';') if digits > 0 => {
                    self.state = State::Extension { value };
                    return Ok(false);
                }
                _ => return Err(Malformed::ChunkSize),
            },
            State::Extension { value } => {
                self.extensions += 1;
                match byte {
                    b'\r' => self.state = State::SizeLf { value },
                    _ if self.extensions > MOST_EXTENSIONS => return Err(Malformed::ChunkExtension),
                    b'\t' | b' '..=b'~' | 0x80.. => return Ok(false),
                    _ => return Err(Malformed::ChunkExtension),
                }
            }
            State::SizeLf { value } => match (byte, value) {
                (b'\n', 0) => self.state = State::Trailer,
                (b'\n', left) => {
                    let paid = usize::try_from(left / 2).unwrap_or(usize::MAX);
                    self.extensions = self.extensions.saturating_sub(paid);
                    self.state = State::Data { left };
                }
                _ => return Err(Malformed::ChunkSize),
            },
            State::DataCr if byte == b'\r' => self.state = State::DataLf,
            State::DataLf if byte == b'\n' => self.state = State::Size { value: 0, digits: 0 },
            State::DataCr | State::DataLf => return Err(Malformed::ChunkEnd),
            State::Trailer => return self.take_trailer(byte),
            State::Data { .. } | State::Done => {}
        }
        Ok(true)
    }

    /// Collects the trailer, which is passed on once it is complete and was looked at.
    fn take_trailer(&mut self, byte: u8) -> Result<bool, Malformed> {
        self.trailer.push(byte);
        if self.trailer.len() > LARGEST_TRAILER {
            return Err(Malformed::Trailer);
        }
        match self.trailer.as_slice() {
            b"\r\n" => self.state = State::Done,
            [.., b'\r', b'\n', b'\r', b'\n'] => self.state = State::Done,
            // Only the CR of a line's end may stand before an LF.
            [b'\n'] => return Err(Malformed::Trailer),
            [.., before, b'\n'] if *before != b'\r' => return Err(Malformed::Trailer),
            _ => {}
        }
        Ok(false)
    }

    /// The trailer as it is passed on: without fields that would change how the message is read (RFC 9110 section 6.5.1),
    /// should the app add them to those of the head.
    fn finished_trailer(&mut self) -> Result<Vec<u8>, Malformed> {
        let trailer = std::mem::take(&mut self.trailer);
        if trailer == b"\r\n" {
            return Ok(trailer);
        }
        let mut fields = [httparse::EMPTY_HEADER; MOST_FIELDS];
        let parsed = httparse::parse_headers(&trailer, &mut fields).map_err(|_| Malformed::Trailer)?;
        let httparse::Status::Complete((_, fields)) = parsed else { return Err(Malformed::Trailer) };
        let mut kept = Vec::with_capacity(trailer.len());
        let framing = [Field::Host, Field::ContentLength, Field::TransferEncoding, Field::FramingShadow];
        if fields.iter().any(|field| framing.contains(&Field::of(field.name))) {
            return Err(Malformed::Trailer);
        }
        let named: Vec<&[u8]> = options(&self.named).collect();
        let is_named = |name: &[u8]| named.iter().any(|named| named.eq_ignore_ascii_case(name));
        let passes = |name: &str| {
            Field::of(name) == Field::Other && !is_end_to_end(name.as_bytes()) && !is_named(name.as_bytes())
        };
        for field in fields.iter().filter(|field| passes(field.name)) {
            kept.extend_from_slice(field.name.as_bytes());
            kept.extend_from_slice(b": ");
            kept.extend_from_slice(field.value);
            kept.extend_from_slice(b"\r\n");
        }
        kept.extend_from_slice(b"\r\n");
        Ok(kept)
    }
}

/// Passes on the next bytes, over those that were dropped before them.
fn pass(bytes: &mut [u8], progress: &mut Progress, length: usize) {
    if progress.passed != progress.consumed {
        bytes.copy_within(progress.consumed..progress.consumed + length, progress.passed);
    }
    progress.consumed += length;
    progress.passed += length;
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{BodyReader, Framing, Malformed};

    /// What was passed on, the data, what was left over, and whether the end was found.
    type Reading = (Vec<u8>, Vec<u8>, Vec<u8>, bool);

    /// Reads a body in pieces.
    fn read(body: &[u8], piece: usize, keep: bool) -> Result<Reading, Malformed> {
        let mut reader = BodyReader::new(Framing::Chunked, keep);
        let (mut passed, mut data, mut left) = (Vec::new(), Vec::new(), Vec::new());
        for part in body.chunks(piece.max(1)) {
            let mut part = part.to_vec();
            let end = part.clone();
            let progress = reader.advance(&mut part, |bytes| data.extend_from_slice(bytes))?;
            passed.extend_from_slice(&part[..progress.passed]);
            passed.extend_from_slice(&progress.trailer);
            left.extend_from_slice(&end[progress.consumed..]);
        }
        Ok((passed, data, left, reader.is_done()))
    }

    #[test]
    fn extensions_go_and_trailers_stay() {
        let body = b"5;a=\"b\"\r\nhello\r\n0;x\r\nX-Sum: 1\r\nVia: 1.1 a\r\nCookie: a=1\r\n\r\nNEXT";
        for piece in 1..=body.len() {
            let (passed, data, left, done) = read(body, piece, true).expect("valid");
            assert_eq!(passed, b"5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n", "pieces of {piece}");
            assert_eq!((data.as_slice(), left.as_slice(), done), (&b"hello"[..], &b"NEXT"[..], true));
            assert_eq!(read(body, piece, false).expect("valid").0, b"hello");
        }
    }

    #[test]
    fn sizes_are_hexadecimal_digits_and_nothing_else() {
        for (body, expected) in [
            ("\r\n", Malformed::ChunkSize),
            ("+5\r\nhello\r\n", Malformed::ChunkSize),
            ("-5\r\n", Malformed::ChunkSize),
            (" 5\r\n", Malformed::ChunkSize),
            ("5 \r\n", Malformed::ChunkSize),
            ("0x5\r\n", Malformed::ChunkSize),
            ("g\r\n", Malformed::ChunkSize),
            ("1000000000000000\r\n", Malformed::ChunkSize),
            ("0000000000000005\r\nhello\r\n", Malformed::ChunkSize),
            ("5\nhello\r\n", Malformed::ChunkSize),
            ("5\rhello", Malformed::ChunkSize),
            (";a\r\n", Malformed::ChunkSize),
            ("5\r\nhelloX", Malformed::ChunkEnd),
            ("5\r\nhello\n", Malformed::ChunkEnd),
            ("5;a\u{0}\r\n", Malformed::ChunkExtension),
            ("5;a\n\r\n", Malformed::ChunkExtension),
            ("0\r\nA\r\n\r\n", Malformed::Trailer),
            ("0\r\nA : 1\r\n\r\n", Malformed::Trailer),
            ("0\r\nA: 1\n\r\n", Malformed::Trailer),
            ("0\r\n\n", Malformed::Trailer),
            ("0\r\nContent-Length: 1\r\n\r\n", Malformed::Trailer),
            ("0\r\ntransfer_encoding: chunked\r\n\r\n", Malformed::Trailer),
            ("0\r\nHost: a\r\n\r\n", Malformed::Trailer),
        ] {
            assert_eq!(read(body.as_bytes(), 3, true).map(|_| ()), Err(expected), "{body:?}");
        }
        let flood = format!("1;{}\r\n", "x".repeat(20_000));
        assert_eq!(read(flood.as_bytes(), 999, true).map(|_| ()), Err(Malformed::ChunkExtension));
        let flood = "1;0123456789\r\nx\r\n".repeat(2_000);
        assert_eq!(read(flood.as_bytes(), 999, true).map(|_| ()), Err(Malformed::ChunkExtension));
        let signed = format!("100;chunk-signature={}\r\n{}\r\n", "5".repeat(64), "x".repeat(256)).repeat(2_000);
        assert!(read(signed.as_bytes(), 999, true).is_ok(), "a signature in each chunk is no flood");
        let flood = format!("0\r\n{}", "A: 1\r\n".repeat(5_000));
        assert_eq!(read(flood.as_bytes(), 999, true).map(|_| ()), Err(Malformed::Trailer));
    }

    proptest! {
        #[test]
        fn any_chunking_in_any_pieces_is_the_same_body(
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..300), 0..8),
            piece in 1_usize..400,
        ) {
            let mut body = Vec::new();
            for chunk in &chunks {
                body.extend_from_slice(format!("{:X}\r\n", chunk.len()).as_bytes());
                body.extend_from_slice(chunk);
                body.extend_from_slice(b"\r\n");
            }
            body.extend_from_slice(b"0\r\n\r\n");
            let (passed, data, left, done) = read(&body, piece, true).expect("valid");
            prop_assert_eq!(passed, body);
            prop_assert_eq!(data, chunks.concat());
            prop_assert!(left.is_empty() && done);
        }

        #[test]
        fn random_bytes_never_panic(body in prop::collection::vec(any::<u8>(), 0..200), piece in 1_usize..64) {
            let _ = read(&body, piece, true);
        }
    }
}
