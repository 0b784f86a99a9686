//! HTTP/1.1 as bytes: heads, fields, body framing. No I/O, no clock, no allocation per field.
//!
//! Strict by RFC 9112: what two parsers could read differently is refused, never repaired, because whatever stands behind
//! us may read it the other way. Every refusal is a [`Malformed`] with a code of its own.

mod body;
mod chunked;
mod field;
mod fields;
mod host;
mod malformed;
mod number;
mod request;
mod response;

pub(super) use self::body::{BodyReader, Framing, Progress};
#[cfg(any(test, fuzzing))]
pub(super) use self::field::is_end_to_end;
pub(super) use self::field::{Field, trim};
pub(super) use self::fields::{Fields, Room};
pub use self::host::is_host;
pub use self::malformed::Malformed;
pub(super) use self::request::{Expects, RequestHead, parse_request};
pub(super) use self::response::{ResponseHead, parse_response};

/// At most so many fields in one head.
pub(super) const MOST_FIELDS: usize = 100;

/// The result of looking for a head in some bytes.
#[derive(Debug)]
pub(super) enum Parsed<T> {
    /// There it is, and so many bytes it takes.
    Complete(T, usize),
    /// More bytes are needed.
    Partial,
}

/// Whether every line ends in CRLF, and no CR stands alone (RFC 9112 section 2.2 lets a recipient accept a bare LF; what
/// stands behind us may not).
pub(super) fn has_bare_line_ends(head: &[u8]) -> bool {
    let pairs = head.iter().zip(head.iter().skip(1));
    // Without a way out at the first one, so that many bytes are looked at with each instruction.
    let bare = pairs.fold(false, |bare, (before, byte)| bare | ((*byte == b'\n') & (*before != b'\r')));
    bare || head.first() == Some(&b'\n')
}
