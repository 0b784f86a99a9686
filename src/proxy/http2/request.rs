use hyper::header::{CONTENT_LENGTH, COOKIE, HOST, HeaderMap};
use hyper::http::request::Parts;

use super::super::http1::trim;

/// How a request's body is carried in HTTP/1.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Carried {
    /// There is none.
    Empty,
    /// As many bytes as Content-Length says; the library holds the client to it.
    Length,
    /// In chunks.
    Chunks,
}

impl Carried {
    pub(super) fn of(fields: &HeaderMap, is_over: bool) -> Self {
        match (is_over, fields.contains_key(CONTENT_LENGTH)) {
            (true, _) => Self::Empty,
            (false, true) => Self::Length,
            (false, false) => Self::Chunks,
        }
    }
}

/// A target that the parser refuses, in place of one that HTTP/1.1 would read as something else.
const NO_TARGET: &str = "#";

/// A value that the parser refuses, in place of one from which HTTP/1.1 would take white space away in silence.
const NO_VALUE: &[u8] = b"\0";

/// Writes a request's head as HTTP/1.1 says it. Nothing is repaired: what contradicts itself is written so that the parser
/// sees the contradiction, and refuses it.
pub(super) fn write_head(out: &mut Vec<u8>, request: &Parts, carried: Carried) {
    let authority = request.uri.authority().map(hyper::http::uri::Authority::as_str);
    let path = request.uri.path_and_query().map_or("", hyper::http::uri::PathAndQuery::as_str);
    let target = match (request.method.as_str(), authority) {
        ("CONNECT", Some(authority)) => authority,
        // An absolute form in `:path` would name another host than `:authority` does.
        _ if request.uri.scheme_str().is_none_or(is_scheme) && (path.starts_with('/') || path == "*") => path,
        _ => NO_TARGET,
    };
    for part in [request.method.as_str(), " ", target, " HTTP/1.1\r\n"] {
        out.extend_from_slice(part.as_bytes());
    }
    if let Some(authority) = authority {
        write_field(out, "host", authority.as_bytes());
    }
    for (name, value) in &request.headers {
        // RFC 9113 section 8.3.1: a Host that says the same as `:authority` says nothing; one that says something else
        // makes two hosts, which is refused.
        let repeats = |authority: &str| value.as_bytes().eq_ignore_ascii_case(authority.as_bytes());
        if *name == COOKIE || (*name == HOST && authority.is_some_and(repeats)) {
            continue;
        }
        write_field(out, name.as_str(), value.as_bytes());
    }
    write_cookies(out, &request.headers);
    if carried == Carried::Chunks {
        write_field(out, "transfer-encoding", b"chunked");
    }
    out.extend_from_slice(b"\r\n");
}

/// RFC 9113 section 8.2.3: a Cookie field may come in crumbs, and goes on as one.
fn write_cookies(out: &mut Vec<u8>, fields: &HeaderMap) {
    for (index, crumb) in fields.get_all(COOKIE).iter().enumerate() {
        out.extend_from_slice(if index == 0 { b"cookie: " } else { b"; " });
        out.extend_from_slice(plain(crumb.as_bytes()));
    }
    if fields.contains_key(COOKIE) {
        out.extend_from_slice(b"\r\n");
    }
}

/// Writes the fields after a body in chunks, with the chunk that ends it.
pub(super) fn write_trailer(out: &mut Vec<u8>, trailer: Option<&HeaderMap>) {
    out.extend_from_slice(b"0\r\n");
    for (name, value) in trailer.into_iter().flatten() {
        write_field(out, name.as_str(), value.as_bytes());
    }
    out.extend_from_slice(b"\r\n");
}

fn write_field(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(plain(value));
    out.extend_from_slice(b"\r\n");
}

/// RFC 9113 section 8.2.1: a value neither begins nor ends with white space.
fn plain(value: &[u8]) -> &[u8] {
    if trim(value).len() == value.len() { value } else { NO_VALUE }
}

/// RFC 3986 section 3.1. The library takes nothing for a scheme, too, and some that begin with a number.
fn is_scheme(scheme: &str) -> bool {
    let is_other = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
    scheme
        .as_bytes()
        .split_first()
        .is_some_and(|(first, rest)| first.is_ascii_alphabetic() && rest.iter().all(is_other))
}

#[cfg(test)]
mod tests {
    use hyper::Request;
    use hyper::http::request::Builder;

    use super::super::super::http1::{Framing, Malformed, Parsed, Room, parse_request};
    use super::{Carried, write_head};

    fn written(builder: Builder, carried: Carried) -> String {
        let (parts, ()) = builder.body(()).expect("a request").into_parts();
        let mut out = Vec::new();
        write_head(&mut out, &parts, carried);
        String::from_utf8(out).expect("text")
    }

    fn parsed(head: &str) -> Result<Framing, Malformed> {
        let mut fields = Room::new();
        match parse_request(head.as_bytes(), &mut fields)? {
            Parsed::Complete(head, _) => Ok(head.framing),
            Parsed::Partial => panic!("partial: {head:?}"),
        }
    }

    #[test]
    fn a_request_is_written_as_http_1_says_it() {
        let request = Request::post("https://a.example:1/p?q")
            .header("cookie", "a=1")
            .header("x-one", "1")
            .header("cookie", "b=2")
            .header("host", "A.example:1");
        let head = written(request, Carried::Chunks);
        assert_eq!(
            head,
            "POST /p?q HTTP/1.1\r\nhost: a.example:1\r\nx-one: 1\r\ncookie: a=1; b=2\r\ntransfer-encoding: chunked\r\n\r\n"
        );
        assert_eq!(parsed(&head), Ok(Framing::Chunked));
        let head = written(Request::get("http://a/").header("content-length", "7"), Carried::Length);
        assert_eq!(parsed(&head), Ok(Framing::Length(7)));
        assert_eq!(parsed(&written(Request::options("*").header("host", "a"), Carried::Empty)), Ok(Framing::Empty));
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        let two = Request::get("http://a/").header("host", "b");
        assert_eq!(parsed(&written(two, Carried::Empty)), Err(Malformed::Host));
        let none = Request::get("/");
        assert_eq!(parsed(&written(none, Carried::Empty)), Err(Malformed::Host));
        let user = Request::get("http://user@a/");
        assert_eq!(parsed(&written(user, Carried::Empty)), Err(Malformed::Host));
        let lengths = Request::get("http://a/").header("content-length", "7").header("content-length", "7");
        assert_eq!(parsed(&written(lengths, Carried::Length)), Err(Malformed::ContentLength));
        for value in [" a", "a ", "\ta", "a\t", " ", "\t"] {
            let padded = Request::get("http://a/").header("x-padded", value);
            assert_eq!(parsed(&written(padded, Carried::Empty)), Err(Malformed::FieldValue), "{value:?}");
            let crumb = Request::get("http://a/").header("cookie", "a=1").header("cookie", value);
            assert_eq!(parsed(&written(crumb, Carried::Empty)), Err(Malformed::FieldValue), "{value:?}");
        }
        for scheme in ["1http", "-", "a~", "+a"] {
            let scheme = Request::get(format!("{scheme}://a/"));
            assert_eq!(parsed(&written(scheme, Carried::Empty)), Err(Malformed::Target));
        }
        let scheme = Request::get("a+-.1://a/");
        assert_eq!(parsed(&written(scheme, Carried::Empty)), Ok(Framing::Empty));
        let elsewhere = Request::get("*").header("host", "a");
        assert_eq!(parsed(&written(elsewhere, Carried::Empty)), Err(Malformed::Target));
    }
}
