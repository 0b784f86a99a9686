use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::http::uri::{Authority, Parts, PathAndQuery, Scheme};
use hyper::{Method, Request, Uri, Version};

use super::super::super::http1::{Field, Framing, MOST_FIELDS, Malformed};
use super::super::super::rejection::Rejection;

/// A request as it was written for the app, read again for HTTP/2.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) request: Request<()>,
    pub(super) framing: Framing,
    /// How many bytes the head takes.
    pub(super) length: usize,
}

/// Fields that we add.
const OUR_FIELDS: usize = 28;

/// A URI longer than this cannot be said to the library.
const LONGEST_TARGET: usize = u16::MAX as usize - 1;

/// Reads a head of ours; `None` when it is not complete. What was valid for HTTP/1.1 and cannot be said in HTTP/2 is
/// refused.
pub(super) fn read(bytes: &[u8], is_https: bool) -> Result<Option<Asked>, Rejection> {
    let malformed = |what| Rejection::Malformed(what);
    let Some(end) = memchr::memmem::find(bytes, b"\r\n\r\n") else { return Ok(None) };
    let (head, length) = (&bytes[..end + 4], end + 4);
    let line_end = memchr::memmem::find(head, b"\r\n").unwrap_or(end);
    let mut line = head[..line_end].splitn(2, |byte| *byte == b' ');
    let method = line.next().unwrap_or_default();
    let target = line.next().and_then(|rest| rest.strip_suffix(b" HTTP/1.1")).unwrap_or_default();
    let mut fields = [httparse::EMPTY_HEADER; MOST_FIELDS + OUR_FIELDS];
    let Ok(httparse::Status::Complete((_, fields))) = httparse::parse_headers(&head[line_end + 2..], &mut fields)
    else {
        return Err(malformed(Malformed::FieldValue));
    };
    let mut headers = HeaderMap::with_capacity(fields.len());
    let mut host: &[u8] = b"";
    let mut framing = Framing::Empty;
    for field in fields {
        match Field::of(field.name) {
            Field::Host => host = field.value,
            Field::TransferEncoding => framing = Framing::Chunked,
            Field::Connection | Field::Upgrade => {}
            known => {
                if known == Field::ContentLength {
                    framing = content_length(field.value).ok_or(malformed(Malformed::ContentLength))?;
                }
                let name = HeaderName::from_bytes(field.name.as_bytes());
                let value = HeaderValue::from_bytes(field.value);
                headers.append(
                    name.map_err(|_| malformed(Malformed::FieldName))?,
                    value.map_err(|_| malformed(Malformed::FieldValue))?,
                );
            }
        }
    }
    let mut request = Request::new(());
    *request.version_mut() = Version::HTTP_2;
    *request.method_mut() = Method::from_bytes(method).map_err(|_| malformed(Malformed::RequestLine))?;
    *request.uri_mut() = uri(target, host, is_https)?;
    *request.headers_mut() = headers;
    Ok(Some(Asked { request, framing, length }))
}

fn content_length(value: &[u8]) -> Option<Framing> {
    let length = std::str::from_utf8(value).ok()?.parse().ok()?;
    Some(if length == 0 { Framing::Empty } else { Framing::Length(length) })
}

fn uri(target: &[u8], host: &[u8], is_https: bool) -> Result<Uri, Rejection> {
    if target.len() > LONGEST_TARGET {
        return Err(Rejection::TargetTooLong);
    }
    let path = PathAndQuery::try_from(target).ok();
    // The library would leave out what it takes for a fragment.
    let path = path.filter(|path| path.as_str().as_bytes() == target).ok_or(Rejection::Malformed(Malformed::Target))?;
    let mut parts = Parts::default();
    parts.scheme = Some(if is_https { Scheme::HTTPS } else { Scheme::HTTP });
    parts.authority = Some(Authority::try_from(host).map_err(|_| Rejection::Malformed(Malformed::Host))?);
    parts.path_and_query = Some(path);
    Uri::from_parts(parts).map_err(|_| Rejection::Malformed(Malformed::Target))
}

/// The trailer of a chunked body, as fields.
pub(super) fn trailer(bytes: &[u8]) -> Option<HeaderMap> {
    let mut fields = [httparse::EMPTY_HEADER; MOST_FIELDS];
    let Ok(httparse::Status::Complete((_, fields))) = httparse::parse_headers(bytes, &mut fields) else { return None };
    let mut map = HeaderMap::with_capacity(fields.len());
    for field in fields {
        map.append(HeaderName::from_bytes(field.name.as_bytes()).ok()?, HeaderValue::from_bytes(field.value).ok()?);
    }
    Some(map).filter(|map| !map.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_becomes_pseudo_fields_and_fields() {
        let head = b"POST /a?b=%20 HTTP/1.1\r\nHost: app.example:81\r\nX-A: 1\r\nx-a: 2\r\nTE: trailers\r\n\
                     Transfer-Encoding: chunked\r\nVia: 1.1 us\r\n\r\n5\r\n";
        let asked = read(head, true).expect("valid").expect("complete");
        assert_eq!(asked.request.uri().to_string(), "https://app.example:81/a?b=%20");
        assert_eq!((asked.request.method(), asked.framing), (&Method::POST, Framing::Chunked));
        assert_eq!(&head[asked.length..], b"5\r\n");
        let names: Vec<&str> = asked.request.headers().keys().map(HeaderName::as_str).collect();
        assert_eq!(names, ["x-a", "te", "via"]);
        assert_eq!(asked.request.headers().get_all("x-a").iter().count(), 2);
        assert!(read(&head[..40], true).expect("valid so far").is_none());
    }

    #[test]
    fn the_length_is_kept_and_what_cannot_be_said_is_refused() {
        let ask = |target: &str, fields: &str| {
            read(format!("OPTIONS {target} HTTP/1.1\r\nHost: a\r\n{fields}\r\n").as_bytes(), false)
        };
        let asked = ask("*", "Content-Length: 3\r\n").expect("valid").expect("complete");
        assert_eq!((asked.framing, asked.request.uri().path()), (Framing::Length(3), "*"));
        assert_eq!(asked.request.headers()["content-length"], "3");
        assert_eq!(ask("/", "").expect("valid").expect("complete").framing, Framing::Empty);
        assert_eq!(ask("/a#b", "").expect_err("a fragment"), Rejection::Malformed(Malformed::Target));
        assert_eq!(ask(&"/a".repeat(40_000), "").expect_err("too long"), Rejection::TargetTooLong);
    }
}
