use super::super::http1::{BodyReader, Framing, Malformed};
use super::plain::{Plain, lossy};
use super::{choice, pieces};

/// What was made of a body.
#[derive(Debug, PartialEq, Eq)]
struct Reading {
    passed: Vec<u8>,
    data: Vec<u8>,
    consumed: usize,
    done: bool,
}

/// Reads a body in pieces. What comes after its end is not looked at.
fn read(framing: Framing, keep: bool, bytes: &[u8], mut piece: impl FnMut() -> usize) -> Result<Reading, Malformed> {
    let mut reader = BodyReader::new(framing, keep);
    let mut reading = Reading { passed: Vec::new(), data: Vec::new(), consumed: 0, done: reader.is_done() };
    let mut rest = bytes;
    while !rest.is_empty() && !reader.is_done() {
        let (part, after) = rest.split_at(piece().min(rest.len()));
        let mut buffer = part.to_vec();
        let data = &mut reading.data;
        let progress = reader.advance(&mut buffer, |bytes| data.extend_from_slice(bytes))?;
        assert!(progress.passed <= progress.consumed && progress.consumed <= part.len());
        assert!(progress.consumed == part.len() || reader.is_done(), "bytes of the body were left");
        reading.passed.extend_from_slice(&buffer[..progress.passed]);
        reading.passed.extend_from_slice(&progress.trailer);
        reading.consumed += progress.consumed;
        rest = after;
    }
    reading.done = reader.is_done();
    Ok(reading)
}

/// A body in any framing: the same in any pieces, and read again it is the same.
pub fn body(data: &[u8]) {
    let (kind, data) = choice(data);
    let (seed, bytes) = choice(data);
    let keep = kind & 4 == 4;
    let framing = match kind & 3 {
        0 => Framing::Length(u64::from(kind >> 3) + 1),
        1 => Framing::UntilClose,
        _ => Framing::Chunked,
    };
    let whole = read(framing, keep, bytes, || usize::MAX);
    let pieced = read(framing, keep, bytes, pieces(u64::from(seed)));
    assert_eq!(whole, pieced, "how a body arrives changes what it is");
    assert_eq!(read(framing, keep, bytes, || 1), pieced, "how a body arrives changes what it is");
    let Ok(reading) = whole else { return };
    assert!(reading.data.len() <= reading.consumed);
    let (false, true, Framing::Chunked) = (bytes.is_empty(), keep, framing) else {
        if framing != Framing::Chunked || !keep {
            assert_eq!(reading.passed, reading.data, "more than data was passed on");
        }
        return;
    };
    // What leaves us: the same data to whoever reads it next, and nothing left to drop or to refuse.
    let again = read(framing, keep, &reading.passed, || usize::MAX).expect("what was passed on is well formed");
    assert_eq!((&again.passed, &again.data, again.done), (&reading.passed, &reading.data, reading.done));
    assert_eq!(again.consumed, reading.passed.len(), "more was passed on than the body");
    if reading.done {
        assert_eq!(plainly(&reading.passed), reading.data, "a plain reader sees another body");
    }
}

/// The data of a complete chunked body as the plainest reader sees it: no extensions, no liberties.
fn plainly(mut bytes: &[u8]) -> Vec<u8> {
    let mut data = Vec::new();
    loop {
        let end = bytes.windows(2).position(|pair| pair == b"\r\n").expect("a line");
        let digits = &bytes[..end];
        assert!(!digits.is_empty() && digits.iter().all(u8::is_ascii_hexdigit), "{:?} is no size", lossy(digits));
        let size = u64::from_str_radix(&lossy(digits), 16).expect("a size") as usize;
        bytes = &bytes[end + 2..];
        if size == 0 {
            if bytes != b"\r\n" {
                trailer(bytes);
            }
            return data;
        }
        data.extend_from_slice(&bytes[..size]);
        assert_eq!(&bytes[size..size + 2], b"\r\n");
        bytes = &bytes[size + 2..];
    }
}

/// A trailer says nothing about how a message is read (RFC 9110 section 6.5.1).
fn trailer(bytes: &[u8]) {
    let text = [b"trailer\r\n", bytes].concat();
    let plain = Plain::read(&text);
    for name in ["content-length", "transfer-encoding", "host", "connection", "te", "upgrade", "content-encoding"] {
        assert!(plain.all(name).is_empty(), "{name} in a trailer");
    }
}
