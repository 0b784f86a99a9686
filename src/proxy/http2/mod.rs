//! HTTP/2 (RFC 9113) towards clients, on the `h2` crate.
//!
//! Each stream becomes a byte stream of its own that speaks HTTP/1.1 to the one engine: its request is written out as an
//! HTTP/1.1 request and parsed by the same strict parser, the engine's answer is taken apart again into frames. So every
//! rule, limit and count exists once, whatever a client speaks.

mod answer;
mod chunks;
mod departures;
mod frames;
mod in_hand;
mod leftovers;
mod limits;
mod linger;
mod request;
mod session;
mod shared;
mod stream;

pub(super) use self::in_hand::InHand;
pub(super) use self::session::Session;

/// What an HTTP/2 connection begins with (RFC 9113 section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What first bytes that are no HTTP/1.1 request are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Beginning {
    /// An HTTP/2 connection.
    Http2,
    /// Too few to know.
    Perhaps,
    /// Something else.
    Other,
}

impl Beginning {
    pub(super) fn of(bytes: &[u8]) -> Self {
        if bytes.starts_with(PREFACE) {
            Self::Http2
        } else if PREFACE.starts_with(bytes) {
            Self::Perhaps
        } else {
            Self::Other
        }
    }
}
