use hyper::header::{HOST, HeaderValue};
use hyper::{Request, Version};

use crate::proxy::is_host;

/// Whether a request of HTTP/1 says for which host it is, as it must: once, and so that it can be one. HTTP/1.0 may leave
/// it out (RFC 9112 section 3.2). The library does not look, and HTTP/2 has rules of its own.
pub(super) fn is_addressed<B>(request: &Request<B>) -> bool {
    let is_http10 = match request.version() {
        Version::HTTP_10 => true,
        Version::HTTP_11 => false,
        _ => return true,
    };
    let mut hosts = request.headers().get_all(HOST).iter().map(HeaderValue::as_bytes);
    match (hosts.next(), hosts.next()) {
        (_, Some(_)) => false,
        (None | Some(b""), None) => is_http10,
        (Some(host), None) => is_host(host),
    }
}
