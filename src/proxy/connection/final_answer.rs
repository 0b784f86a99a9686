use bytes::Bytes;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};

use super::super::http1::{Field, RequestHead};

/// What passes here: every method but CONNECT, of those that are registered and common.
const METHODS: &str = "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT, TRACE";

/// The answer to OPTIONS or TRACE that may go no further: whoever is asked then answers in the app's place (RFC 9110
/// section 7.6.2).
pub(super) fn final_answer(head: &RequestHead<'_, '_>) -> Option<Response<Bytes>> {
    if head.max_forwards != Some(0) {
        return None;
    }
    let is_trace = head.method == "TRACE";
    let mut response = Response::new(if is_trace { Bytes::from(reflected(head)) } else { Bytes::new() });
    *response.status_mut() = StatusCode::OK;
    let (name, value) = if is_trace { (CONTENT_TYPE, "message/http") } else { (ALLOW, METHODS) };
    response.headers_mut().insert(name, HeaderValue::from_static(value));
    Some(response)
}

/// The request as it came, with the fields that a trace is about and none that may hold a secret (RFC 9110 section 9.3.8).
fn reflected(head: &RequestHead<'_, '_>) -> Vec<u8> {
    let version = if head.is_http10 { "1.0" } else { "1.1" };
    let mut message = format!("{} {} HTTP/{version}\r\n", head.method, head.target.path_and_query).into_bytes();
    for (kind, field) in head.fields.iter() {
        if matches!(kind, Field::Host | Field::Via | Field::MaxForwards) {
            message.extend_from_slice(field.name.as_bytes());
            message.extend_from_slice(b": ");
            message.extend_from_slice(field.value);
            message.extend_from_slice(b"\r\n");
        }
    }
    message.extend_from_slice(b"\r\n");
    message
}
