use httparse::Header;

use super::field::{is_spelled, options};
use super::fields::{look, withdraw};
use super::host::is_host;
use super::number::number;
use super::{Field, Fields, Framing, Malformed, Parsed, Room, has_bare_line_ends, trim};

/// A request's head that keeps to the rules. Borrows from the bytes that it was read from.
#[derive(Debug)]
pub(in crate::proxy) struct RequestHead<'h, 'b> {
    pub(in crate::proxy) method: &'b str,
    pub(in crate::proxy) target: Target<'b>,
    pub(in crate::proxy) is_http10: bool,
    /// All of it, as it was sent.
    pub(in crate::proxy) bytes: &'b [u8],
    pub(in crate::proxy) fields: Fields<'h, 'b>,
    pub(in crate::proxy) framing: Framing,
    /// What the client wants of the connection: kept, unless it says otherwise.
    pub(in crate::proxy) keep_alive: bool,
    /// Whether a WebSocket is asked for (RFC 6455 section 4.1).
    pub(in crate::proxy) websocket: bool,
    /// Whether `Connection` names fields that concern this connection only.
    pub(in crate::proxy) names_fields: bool,
    /// Whether leave to send the body is waited for, or something is expected that nobody knows.
    pub(in crate::proxy) expects: Expects,
    /// How many more proxies OPTIONS and TRACE may pass (RFC 9110 section 7.6.2); `None` for other methods.
    pub(in crate::proxy) max_forwards: Option<u64>,
}

/// What a client expects (RFC 9110 section 10.1.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::proxy) enum Expects {
    #[default]
    Nothing,
    Continue,
    /// Not exactly `100-continue`, once.
    Other,
}

/// A request's target, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::proxy) struct Target<'b> {
    /// The host, where the target or the Host field names one.
    pub(in crate::proxy) host: Option<&'b [u8]>,
    /// Path and query, as they are to reach the app.
    pub(in crate::proxy) path_and_query: &'b str,
}

impl Target<'_> {
    /// The path without the query.
    pub(in crate::proxy) fn path(&self) -> &str {
        let end = memchr::memchr(b'?', self.path_and_query.as_bytes());
        &self.path_and_query[..end.unwrap_or(self.path_and_query.len())]
    }
}

/// Reads a request's head from the beginning of some bytes.
pub(in crate::proxy) fn parse_request<'h, 'b>(
    bytes: &'b [u8],
    room: &'h mut Room<'b>,
) -> Result<Parsed<RequestHead<'h, 'b>>, Malformed> {
    let mut request = httparse::Request::new(&mut []);
    let length = match request.parse_with_uninit_headers(bytes, &mut room.fields) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(Parsed::Partial),
        Err(error) => return Err(malformed(error)),
    };
    if has_bare_line_ends(&bytes[..length]) {
        return Err(Malformed::BareLineEnd);
    }
    let (Some(method), Some(target), Some(version)) = (request.method, request.path, request.version) else {
        return Err(Malformed::RequestLine);
    };
    let is_http10 = version == 0;
    let mut seen = Seen::default();
    let present = look(request.headers, &mut room.kinds, |kind, field| seen.see(kind, field))?;
    if seen.names_fields {
        withdraw(request.headers, &mut room.kinds)?;
    }
    let fields = Fields::of_kinds(request.headers, &room.kinds, present);
    let framing = seen.framing(is_http10)?;
    let target = target_of(method, target, seen.host, is_http10)?;
    let head = RequestHead {
        method,
        target,
        is_http10,
        bytes: &bytes[..length],
        fields,
        framing,
        keep_alive: if is_http10 { seen.keep_alive && !seen.close } else { !seen.close },
        websocket: seen.websocket && seen.upgrade && !is_http10 && method == "GET" && framing == Framing::Empty,
        names_fields: seen.names_fields,
        expects: if is_http10 { Expects::Nothing } else { seen.expects },
        max_forwards: seen.max_forwards(method)?,
    };
    if method == "TRACE" && framing != Framing::Empty {
        return Err(Malformed::TraceBody);
    }
    Ok(Parsed::Complete(head, length))
}

pub(super) fn malformed(error: httparse::Error) -> Malformed {
    match error {
        httparse::Error::HeaderName => Malformed::FieldName,
        httparse::Error::TooManyHeaders => Malformed::TooManyFields,
        httparse::Error::HeaderValue => Malformed::FieldValue,
        httparse::Error::NewLine => Malformed::BareLineEnd,
        httparse::Error::Version => Malformed::Version,
        httparse::Error::Status | httparse::Error::Token => Malformed::RequestLine,
    }
}

/// What the fields of a request say to a proxy.
#[derive(Default)]
struct Seen<'b> {
    host: Option<&'b [u8]>,
    length: Option<u64>,
    chunked: bool,
    close: bool,
    keep_alive: bool,
    upgrade: bool,
    websocket: bool,
    names_fields: bool,
    expects: Expects,
    max_forwards: Option<&'b [u8]>,
    several_max_forwards: bool,
}

impl<'b> Seen<'b> {
    #[inline]
    fn see(&mut self, kind: Field, field: &Header<'b>) -> Result<(), Malformed> {
        match kind {
            Field::Host if self.host.replace(trim(field.value)).is_some() => return Err(Malformed::Host),
            Field::ContentLength if self.length.replace(content_length(field.value)?).is_some() => {
                return Err(Malformed::ContentLength);
            }
            Field::TransferEncoding => {
                if self.chunked || !is_spelled(trim(field.value), b"chunked") {
                    return Err(Malformed::TransferEncoding);
                }
                self.chunked = true;
            }
            Field::Connection => self.connection(field.value),
            Field::FramingShadow => return Err(Malformed::TransferEncoding),
            Field::Expect => {
                let known = is_spelled(trim(field.value), b"100-continue");
                let first = self.expects == Expects::Nothing;
                self.expects = if known && first { Expects::Continue } else { Expects::Other };
            }
            Field::MaxForwards => {
                self.several_max_forwards |= self.max_forwards.replace(field.value).is_some();
            }
            Field::Upgrade => self.websocket = is_spelled(trim(field.value), b"websocket"),
            _ => {}
        }
        Ok(())
    }

    fn connection(&mut self, value: &[u8]) {
        for token in options(value) {
            if is_spelled(token, b"close") {
                self.close = true;
            } else if is_spelled(token, b"keep-alive") {
                self.keep_alive = true;
            } else if is_spelled(token, b"upgrade") {
                self.upgrade = true;
            } else {
                self.names_fields = true;
            }
        }
    }

    /// RFC 9110 section 7.6.2: of OPTIONS and TRACE only.
    fn max_forwards(&self, method: &str) -> Result<Option<u64>, Malformed> {
        match self.max_forwards {
            Some(value) if matches!(method, "OPTIONS" | "TRACE") => {
                let several = self.several_max_forwards;
                let left = number(trim(value)).filter(|_| !several).ok_or(Malformed::MaxForwards)?;
                Ok(Some(left))
            }
            _ => Ok(None),
        }
    }

    fn framing(&self, is_http10: bool) -> Result<Framing, Malformed> {
        match (self.length, self.chunked) {
            (Some(_), true) => Err(Malformed::TwoLengths),
            (None, true) if is_http10 => Err(Malformed::ChunkedHttp10),
            (None, true) => Ok(Framing::Chunked),
            (Some(0) | None, false) => Ok(Framing::Empty),
            (Some(length), false) => Ok(Framing::Length(length)),
        }
    }
}

/// More digits are no length that anybody means; whoever reads a length into 63 bits reads these as we do.
const MOST_DIGITS: usize = 19;

/// One number of digits (RFC 9110 section 8.6): no sign, no list, nothing that overflows 63 bits.
pub(super) fn content_length(value: &[u8]) -> Result<u64, Malformed> {
    let digits = trim(value);
    let length = if digits.len() <= MOST_DIGITS { number(digits) } else { None };
    length.filter(|length| i64::try_from(*length).is_ok()).ok_or(Malformed::ContentLength)
}

/// Origin form, absolute form, or `*` for OPTIONS (RFC 9112 section 3.2). CONNECT's form is for the caller to refuse.
fn target_of<'b>(
    method: &str,
    target: &'b str,
    host: Option<&'b [u8]>,
    is_http10: bool,
) -> Result<Target<'b>, Malformed> {
    if !target.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#') {
        return Err(Malformed::Target);
    }
    match host {
        // HTTP/1.0 knows no Host; an empty one says no less than none.
        Some(b"") if is_http10 => {}
        Some(host) if !is_host(host) => return Err(Malformed::Host),
        None if !is_http10 => return Err(Malformed::Host),
        _ => {}
    }
    if target.starts_with('/') || (target == "*" && method == "OPTIONS") || method == "CONNECT" {
        return Ok(Target { host, path_and_query: target });
    }
    let (scheme, rest) = target.split_once("://").ok_or(Malformed::Target)?;
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        return Err(Malformed::Target);
    }
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    if !is_host(authority.as_bytes()) || path.starts_with('?') {
        return Err(Malformed::Target);
    }
    // RFC 9112 section 3.2.4: the whole server is what OPTIONS without a path asks.
    let root = if method == "OPTIONS" { "*" } else { "/" };
    Ok(Target { host: Some(authority.as_bytes()), path_and_query: if path.is_empty() { root } else { path } })
}

#[cfg(test)]
mod tests {
    use super::{Framing, Malformed, Parsed, parse_request};

    fn parse(head: &str) -> Result<(Framing, bool), Malformed> {
        let mut fields = super::Room::new();
        match parse_request(head.as_bytes(), &mut fields)? {
            Parsed::Complete(head, _) => Ok((head.framing, head.keep_alive)),
            Parsed::Partial => panic!("partial: {head:?}"),
        }
    }

    fn with(fields: &str) -> Result<(Framing, bool), Malformed> {
        parse(&format!("POST /a HTTP/1.1\r\nHost: a\r\n{fields}\r\n"))
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        let refused = [
            ("Content-Length: 1\r\nTransfer-Encoding: chunked\r\n", Malformed::TwoLengths),
            ("Content-Length: 1\r\nContent-Length: 1\r\n", Malformed::ContentLength),
            ("Content-Length: +1\r\n", Malformed::ContentLength),
            ("Content-Length: 1, 1\r\n", Malformed::ContentLength),
            ("Content-Length: 1 1\r\n", Malformed::ContentLength),
            ("Content-Length:\r\n", Malformed::ContentLength),
            ("Content-Length: 99999999999999999999\r\n", Malformed::ContentLength),
            ("Content-Length: 0x1\r\n", Malformed::ContentLength),
            ("Content-Length: 00000000000000000001\r\n", Malformed::ContentLength),
            ("Content-Length: 9223372036854775808\r\n", Malformed::ContentLength),
            ("Content_Length: 1\r\n", Malformed::TransferEncoding),
            ("Transfer_Encoding: chunked\r\n", Malformed::TransferEncoding),
            ("Transfer-Encoding: gzip, chunked\r\n", Malformed::TransferEncoding),
            ("Transfer-Encoding: chunked, chunked\r\n", Malformed::TransferEncoding),
            ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", Malformed::TransferEncoding),
            ("Transfer-Encoding: xchunked\r\n", Malformed::TransferEncoding),
            ("Transfer-Encoding: \"chunked\"\r\n", Malformed::TransferEncoding),
            ("Transfer-Encoding:\r\n", Malformed::TransferEncoding),
            ("Transfer-Encoding : chunked\r\n", Malformed::FieldName),
            (" folded: 1\r\n", Malformed::FieldName),
            ("A: 1\r\n folded\r\n", Malformed::FieldName),
            ("A: 1\nB: 2\r\n", Malformed::BareLineEnd),
            ("A: 1\rB: 2\r\n", Malformed::FieldValue),
            ("A: \u{0}\r\n", Malformed::FieldValue),
            (": 1\r\n", Malformed::FieldName),
            ("Host: b\r\n", Malformed::Host),
        ];
        for (fields, expected) in refused {
            assert_eq!(with(fields), Err(expected), "{fields:?}");
        }
        assert_eq!(parse("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"), Err(Malformed::ChunkedHttp10));
        assert_eq!(parse("GET / HTTP/1.1\r\n\r\n"), Err(Malformed::Host));
        assert_eq!(parse("GET / HTTP/2.0\r\nHost: a\r\n\r\n"), Err(Malformed::Version));
        assert_eq!(parse("GET  / HTTP/1.1\r\nHost: a\r\n\r\n"), Err(Malformed::RequestLine));
        for host in ["user@a", "a/b", "a b", "a?b", "a#b", "a\\b"] {
            assert_eq!(parse(&format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")), Err(Malformed::Host), "{host}");
        }
        for target in ["a", "*", "http://", "http://u@h/", "ftp://h/", "http:/h", "/a#b", "//h\u{e9}"] {
            let found = parse(&format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n"));
            assert!(found.is_err(), "{target} must be refused");
        }
    }

    #[test]
    fn lengths_and_persistence_are_read() {
        assert_eq!(with(""), Ok((Framing::Empty, true)));
        assert_eq!(with("content-length:  7 \r\n"), Ok((Framing::Length(7), true)));
        assert_eq!(with("TRANSFER-ENCODING: Chunked\r\nConnection: x, Close\r\n"), Ok((Framing::Chunked, false)));
        assert_eq!(parse("GET / HTTP/1.0\r\n\r\n"), Ok((Framing::Empty, false)));
        assert_eq!(parse("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n"), Ok((Framing::Empty, true)));
    }

    #[test]
    fn the_absolute_form_names_the_host() {
        let head = "GET http://h:1/p?q HTTP/1.1\r\nHost: other\r\n\r\n";
        let mut fields = super::Room::new();
        let Ok(Parsed::Complete(head, _)) = parse_request(head.as_bytes(), &mut fields) else { panic!("valid") };
        assert_eq!(
            (head.target.host, head.target.path_and_query, head.target.path()),
            (Some(&b"h:1"[..]), "/p?q", "/p")
        );
    }
}
