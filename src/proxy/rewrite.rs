use std::net::IpAddr;

use super::forwarded::Forwarded;
use super::http1::{Field, Framing, RequestHead, ResponseHead, trim};
use super::lines::{Lines, write_field};
use super::told::Told;
use super::trace::{TRACEPARENT, TraceId, Tracer};
use super::via::{Version, Via};

/// Writes a request's head for the app: the same method, target and fields in the same order, but for what concerns the
/// client's connection and what is told about the client. With a tracer, a request without a valid trace begins one, and
/// what it brings of an invalid one goes (W3C Trace Context, section 4.3). Tells who the client is, and the trace.
pub(super) fn write_request(
    out: &mut Vec<u8>,
    head: &RequestHead<'_, '_>,
    forwarded: &Forwarded,
    host: &str,
    via: &Via,
    tracer: Option<&Tracer>,
) -> (Option<IpAddr>, Option<TraceId>) {
    let host = head.target.host.filter(|host| !host.is_empty()).unwrap_or(host.as_bytes());
    let start_line = write_request_line(out, head);
    let mut told = Told::default();
    let (mut host_written, mut trailers) = (false, false);
    let mut trace = TraceId::of(head.fields);
    let tracer = tracer.filter(|_| trace.is_none());
    let mut lines = Lines::new(out, head.bytes, start_line);
    for (kind, field) in head.fields.iter() {
        match kind {
            Field::Host => {
                lines.replace(field, host);
                host_written = true;
            }
            Field::Connection
            | Field::Upgrade
            | Field::HopByHop
            | Field::Named
            | Field::Shadow
            | Field::FramingShadow => {}
            Field::Te => {
                // The one member that we keep to as well, since trailers are passed on (RFC 9110 section 10.1.4).
                trailers |=
                    field.value.split(|byte| *byte == b',').any(|part| trim(part).eq_ignore_ascii_case(b"trailers"));
            }
            Field::ContentLength => lines.replace(field, without_zeros(field.value)),
            // In no other case of letters than everybody knows it.
            Field::TransferEncoding => lines.replace(field, b"chunked"),
            Field::Trailer if head.framing != Framing::Chunked => {}
            // RFC 9110 section 10.1.1: of a client that would not know the answer to it.
            Field::Expect if head.is_http10 => {}
            Field::MaxForwards => match head.max_forwards {
                Some(left) => lines.write(field.name, left.saturating_sub(1).to_string().as_bytes()),
                None => lines.pass(field),
            },
            Field::ForwardedFor
            | Field::Forwarded
            | Field::ForwardedProto
            | Field::ForwardedHost
            | Field::ForwardedOther
            | Field::RealIp => {
                if forwarded.is_trusted() && told.take(kind, field.value) {
                    lines.pass(field);
                }
            }
            Field::TraceParent | Field::TraceState if tracer.is_some() => {}
            _ => lines.pass(field),
        }
    }
    let out = lines.end();
    if trailers {
        out.extend_from_slice(b"TE: trailers\r\n");
    }
    if !host_written {
        write_field(out, "Host", host);
    }
    let client = told.write(out, forwarded, host);
    via.write(out, if forwarded.arrival.http2 { Version::Http2 } else { Version::of_http1(head.is_http10) });
    if let Some(tracer) = tracer {
        let (begun, value) = tracer.begin();
        write_field(out, TRACEPARENT, &value);
        trace = Some(begun);
    }
    match (head.websocket, trailers) {
        (true, false) => out.extend_from_slice(b"Connection: upgrade\r\nUpgrade: websocket\r\n"),
        (true, true) => out.extend_from_slice(b"Connection: upgrade, TE\r\nUpgrade: websocket\r\n"),
        // What concerns one connection is named as such.
        (false, true) => out.extend_from_slice(b"Connection: TE\r\n"),
        (false, false) => {}
    }
    out.extend_from_slice(b"\r\n");
    (client, trace)
}

/// How an answer reaches the client.
#[derive(Clone, Copy, Debug)]
pub(super) struct Delivery {
    /// The connection ends with it.
    pub(super) close: bool,
    /// The client speaks HTTP/1.0.
    pub(super) to_http10: bool,
    /// The body goes out in chunks.
    pub(super) chunked: bool,
}

/// Writes an answer's head for the client. `came`: the version that the app speaks.
pub(super) fn write_response(
    out: &mut Vec<u8>,
    head: &ResponseHead<'_, '_>,
    delivery: Delivery,
    date: &str,
    via: &Via,
    came: Version,
) {
    let start_line = write_status_line(out, head);
    let bodiless = head.code < 200 || head.code == 204;
    let mut dated = bodiless && head.code < 200;
    let mut lines = Lines::new(out, head.bytes, start_line);
    for (kind, field) in head.fields.iter() {
        match kind {
            Field::Connection
            | Field::HopByHop
            | Field::Named
            | Field::Upgrade
            | Field::TransferEncoding
            | Field::FramingShadow => {}
            Field::Trailer if !delivery.chunked => {}
            // RFC 9110 section 8.6: not in an answer that cannot have a body.
            Field::ContentLength if bodiless => {}
            Field::ContentLength => lines.replace(field, without_zeros(field.value)),
            Field::Date => {
                dated = true;
                lines.pass(field);
            }
            _ => lines.pass(field),
        }
    }
    let out = lines.end();
    if !dated {
        write_field(out, "Date", date.as_bytes());
    }
    if delivery.chunked {
        out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
    }
    // An interim answer is no more than a hint: it stays as it is.
    if head.code == 101 || head.code >= 200 {
        via.write(out, came);
    }
    if head.code == 101 {
        out.extend_from_slice(b"Connection: upgrade\r\nUpgrade: websocket\r\n");
    } else if head.code >= 200 {
        write_persistence(out, delivery.close, delivery.to_http10);
    }
    out.extend_from_slice(b"\r\n");
}

/// Writes an answer of our own, whole.
pub(super) fn write_own(
    out: &mut Vec<u8>,
    response: &hyper::Response<bytes::Bytes>,
    to_head: bool,
    delivery: Delivery,
    date: &str,
) {
    write_own_fields(out, response, date);
    // RFC 9110 section 8.6: not with 204.
    if response.status() != hyper::StatusCode::NO_CONTENT {
        write_field(out, "content-length", response.body().len().to_string().as_bytes());
    }
    write_persistence(out, delivery.close, delivery.to_http10);
    out.extend_from_slice(b"\r\n");
    if !to_head {
        out.extend_from_slice(response.body());
    }
}

/// Writes the head of an answer of our own whose body comes bit by bit.
pub(super) fn write_own_head<B>(out: &mut Vec<u8>, response: &hyper::Response<B>, delivery: Delivery, date: &str) {
    write_own_fields(out, response, date);
    if delivery.chunked {
        out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
    }
    write_persistence(out, delivery.close, delivery.to_http10);
    out.extend_from_slice(b"\r\n");
}

fn write_own_fields<B>(out: &mut Vec<u8>, response: &hyper::Response<B>, date: &str) {
    let status = response.status();
    write_status(out, status.as_u16(), status.canonical_reason().unwrap_or_default());
    for (name, value) in response.headers() {
        write_field(out, name.as_str(), value.as_bytes());
    }
    write_field(out, "date", date.as_bytes());
}

/// How a body is framed for the client, and whether its end can only be told by closing.
pub(super) fn delivery_of(framing: Framing, to_http10: bool, close: bool) -> Delivery {
    let unknown = matches!(framing, Framing::Chunked | Framing::UntilClose);
    Delivery { close: close || (unknown && to_http10), to_http10, chunked: unknown && !to_http10 }
}

/// Writes the request line, unless it is to reach the app just as it came: then tells how long it is.
fn write_request_line(out: &mut Vec<u8>, head: &RequestHead<'_, '_>) -> Option<usize> {
    const VERSION: &[u8] = b" HTTP/1.1\r\n";
    let target = head.target.path_and_query.as_bytes();
    let (start, end) = (head.method.len() + 1, head.method.len() + 1 + target.len());
    let is_here = head.bytes.get(start..end).is_some_and(|old| std::ptr::eq(old, target));
    if is_here && head.bytes[end..].starts_with(VERSION) {
        return Some(end + VERSION.len());
    }
    for part in [head.method.as_bytes(), b" ", target, VERSION] {
        out.extend_from_slice(part);
    }
    None
}

/// The same of an answer's status line.
fn write_status_line(out: &mut Vec<u8>, head: &ResponseHead<'_, '_>) -> Option<usize> {
    const BEFORE_REASON: usize = b"HTTP/1.1 200 ".len();
    let (reason, end) = (head.reason.as_bytes(), BEFORE_REASON + head.reason.len());
    let is_here = head.bytes.get(BEFORE_REASON..end).is_some_and(|old| std::ptr::eq(old, reason));
    if is_here && head.bytes.starts_with(b"HTTP/1.1 ") && head.bytes[end..].starts_with(b"\r\n") {
        return Some(end + 2);
    }
    write_status(out, head.code, head.reason);
    None
}

fn write_status(out: &mut Vec<u8>, code: u16, reason: &str) {
    let digits = [b'0' + (code / 100 % 10) as u8, b'0' + (code / 10 % 10) as u8, b'0' + (code % 10) as u8];
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(&digits);
    out.push(b' ');
    out.extend_from_slice(reason.as_bytes());
    out.extend_from_slice(b"\r\n");
}

fn write_persistence(out: &mut Vec<u8>, close: bool, to_http10: bool) {
    match (close, to_http10) {
        (true, _) => out.extend_from_slice(b"Connection: close\r\n"),
        (false, true) => out.extend_from_slice(b"Connection: keep-alive\r\n"),
        (false, false) => {}
    }
}

/// A length as everybody reads it; some take a leading zero for another base.
fn without_zeros(length: &[u8]) -> &[u8] {
    let zeros = length.iter().take_while(|byte| **byte == b'0').count();
    &length[zeros.min(length.len().saturating_sub(1))..]
}

#[cfg(test)]
mod tests {
    use super::super::arrival::Arrival;
    use super::super::http1::{Parsed, Room, parse_request};
    use super::{Forwarded, Via, write_request};

    fn rewritten(peer: &str, fields: &str) -> String {
        let head = format!("GET /p?q HTTP/1.1\r\nHost: a.example\r\n{fields}\r\n");
        let mut parsed = Room::new();
        let Ok(Parsed::Complete(head, _)) = parse_request(head.as_bytes(), &mut parsed) else { panic!("valid") };
        let arrival = Arrival { peer: peer.parse().ok(), ..Arrival::default() };
        let forwarded = Forwarded::new(arrival, &["127.0.0.0/8".parse().expect("a network")]);
        let mut out = Vec::new();
        write_request(&mut out, &head, &forwarded, "app:8080", &Via::new("us"), None);
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn what_a_stranger_tells_about_itself_is_replaced() {
        let told = "X-Forwarded-For: 10.1.2.3\r\nX-Forwarded-Proto: https\r\nForwarded: for=10.1.2.3\r\nX_Forwarded_For: 6\r\n";
        assert_eq!(
            rewritten("192.0.2.7", told),
            "GET /p?q HTTP/1.1\r\nHost: a.example\r\nX-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: http\r\n\
             Forwarded: for=192.0.2.7;proto=http\r\nX-Forwarded-Host: a.example\r\nVia: 1.1 us\r\n\r\n"
        );
        assert!(rewritten("2001:db8::1", "").contains("Forwarded: for=\"[2001:db8::1]\";proto=http\r\n"));
    }

    #[test]
    fn what_a_trusted_peer_tells_is_told_on() {
        let told = "X-Forwarded-For: 10.1.2.3\r\nA: 1\r\nX-Forwarded-Proto: https\r\nForwarded: for=10.1.2.3\r\n";
        assert_eq!(
            rewritten("127.0.0.1", told),
            "GET /p?q HTTP/1.1\r\nHost: a.example\r\nA: 1\r\nX-Forwarded-Proto: https\r\n\
             X-Forwarded-For: 10.1.2.3, 127.0.0.1\r\nForwarded: for=10.1.2.3, for=127.0.0.1;proto=http\r\n\
             X-Forwarded-Host: a.example\r\nVia: 1.1 us\r\n\r\n"
        );
    }

    #[test]
    fn fields_of_the_connection_end_here_and_the_others_keep_their_case_and_order() {
        let fields = "b: 2\r\nConnection: keep-alive, X-Private\r\nX-Private: 1\r\nKeep-Alive: timeout=5\r\n\
                      Upgrade: h2c\r\nProxy-Authorization: Basic eA==\r\nTE: gzip, trailers\r\nA-Field:  v \r\n";
        let out = rewritten("192.0.2.7", fields);
        let kept: Vec<&str> = out.lines().skip(2).take(3).collect();
        assert_eq!(kept, ["b: 2", "A-Field: v", "TE: trailers"]);
        for gone in ["X-Private", "Keep-Alive", "h2c", "Proxy-Authorization"] {
            assert!(!out.contains(gone), "{gone} must go: {out}");
        }
        assert!(out.ends_with("\r\nConnection: TE\r\n\r\n"), "{out}");
    }
}
