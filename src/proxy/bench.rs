//! The codec as `benches/codec.rs` measures it. Compiled only for that, so that no module is public for its sake.

use super::arrival::Arrival;
use super::forwarded::Forwarded;
use super::http1::{BodyReader, Framing, Parsed, Room, parse_request, parse_response};
use super::rewrite::{delivery_of, write_request, write_response};
use super::via::{Version, Via};

/// What one worker keeps from message to message.
#[derive(Debug)]
pub struct Codec {
    forwarded: Forwarded,
    via: Via,
    out: Vec<u8>,
}

/// Us, in `Via`.
const VIA: &str = "pulsegate-0123456789";

const DATE: &str = "Tue, 15 Nov 1994 08:12:31 GMT";

impl Default for Codec {
    fn default() -> Self {
        let arrival = Arrival { peer: Some([192, 0, 2, 7].into()), ..Arrival::default() };
        Self { forwarded: Forwarded::new(arrival, &[]), via: Via::new(VIA), out: Vec::with_capacity(4096) }
    }
}

impl Codec {
    /// Reads a request's head and tells how many fields it has.
    #[must_use]
    pub fn read_request(&self, bytes: &[u8]) -> Option<usize> {
        let mut room = Room::new();
        let Ok(Parsed::Complete(head, _)) = parse_request(bytes, &mut room) else { return None };
        Some(head.fields.all.len())
    }

    /// Reads a request's head and writes it for the app.
    pub fn rewrite_request(&mut self, bytes: &[u8]) -> Option<&[u8]> {
        let mut room = Room::new();
        let Ok(Parsed::Complete(head, _)) = parse_request(bytes, &mut room) else { return None };
        self.out.clear();
        write_request(&mut self.out, &head, &self.forwarded, "app:8080", &self.via, None);
        Some(&self.out)
    }

    /// Reads an answer's head and writes it for the client.
    pub fn rewrite_response(&mut self, bytes: &[u8]) -> Option<&[u8]> {
        let mut room = Room::new();
        let Ok(Parsed::Complete(head, _)) = parse_response(bytes, &mut room, false) else { return None };
        self.out.clear();
        write_response(&mut self.out, &head, delivery_of(head.framing, false, false), DATE, &self.via, Version::Http11);
        Some(&self.out)
    }

    /// Follows a body in chunks through these bytes, and tells how many of them are passed on.
    pub fn chunks(&mut self, bytes: &mut [u8]) -> Option<usize> {
        let mut reader = BodyReader::new(Framing::Chunked, true);
        let progress = reader.advance(bytes, |_| {}).ok()?;
        reader.is_done().then_some(progress.passed)
    }
}
