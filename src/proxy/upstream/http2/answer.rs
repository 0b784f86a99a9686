use bytes::Bytes;
use hyper::header::HeaderMap;
use hyper::{Response, StatusCode};

/// Writes the head of an answer as HTTP/1.1.
pub(super) fn head<T>(response: &Response<T>, chunked: bool) -> Vec<u8> {
    let status = response.status();
    let mut out = Vec::with_capacity(256);
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(status.as_str().as_bytes());
    out.push(b' ');
    // HTTP/2 has no reason; the usual one is what an HTTP/1.1 app would have sent.
    out.extend_from_slice(status.canonical_reason().unwrap_or_default().as_bytes());
    out.extend_from_slice(b"\r\n");
    fields(&mut out, response.headers());
    if chunked {
        out.extend_from_slice(b"transfer-encoding: chunked\r\n");
    }
    out.extend_from_slice(b"\r\n");
    out
}

/// The end of a chunked body.
pub(super) fn last_chunk(trailer: Option<&HeaderMap>) -> Bytes {
    let Some(trailer) = trailer else { return Bytes::from_static(LAST_CHUNK) };
    let mut out = b"0\r\n".to_vec();
    fields(&mut out, trailer);
    out.extend_from_slice(b"\r\n");
    Bytes::from(out)
}

/// The end of a chunked body without trailer.
pub(super) const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// Whether an answer with this code has no body, whatever its fields say.
pub(super) fn is_bodiless(status: StatusCode) -> bool {
    status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED
}

fn fields(out: &mut Vec<u8>, fields: &HeaderMap) {
    for (name, value) in fields {
        out.extend_from_slice(name.as_str().as_bytes());
        out.extend_from_slice(b": ");
        out.extend_from_slice(value.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
}
