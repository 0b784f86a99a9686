use std::cell::RefCell;
use std::convert::Infallible;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use http_body_util::{BodyExt as _, Empty};
use hyper::body::{Body as _, Incoming};
use hyper::{Request, Response};

use super::super::http1::{BodyReader, Framing, Parsed, Room, parse_request, trim};
use super::bytes::Bytes;
use super::generate::{Input, requests};
use super::{Documented, Reading, Seen, compare};

/// Each of these is meant. `docs/conformance.md` repeats them for people.
const DOCUMENTED: &Documented = &[
    ("stricter: bare_line_end", "hyper takes a bare LF for a line's end; RFC 9112 section 2.2 allows both"),
    ("stricter: bad_host", "hyper leaves Host to the app; RFC 9112 section 3.2 demands 400 for none, two or a bad one"),
    ("stricter: bad_target", "hyper takes `*` for any method, a user in the authority, and drops a fragment"),
    ("stricter: bad_content_length", "hyper ignores a length beside a coding, and takes the same length twice"),
    (
        "stricter: bad_transfer_encoding",
        "hyper takes any coding that ends in `chunked`; an app that does not know it could not",
    ),
    ("stricter: two_lengths", "hyper lets the coding win; RFC 9112 section 6.1 calls that a smuggling attempt"),
    ("stricter in a body: bad_chunk_size", "hyper takes spaces and tabs after a size; RFC 9112 section 7.1 has none"),
    ("stricter in a body: bad_trailer", "hyper takes a bare LF in a trailer"),
    ("stricter in a body: chunk_extensions", "hyper takes control characters in an extension"),
    (
        "OPTIONS for the whole server",
        "the absolute form without a path becomes `*` (RFC 9112 section 3.2.4); hyper makes it `/`",
    ),
    (
        "laxer: invalid URI",
        "a target of visible ASCII reaches the app byte for byte; hyper's type for targets knows fewer bytes",
    ),
    ("unseen by hyper", "`keep-alive` beside an option that is not ASCII: hyper ignores the whole field"),
    ("unseen by us", "`close` beside an option that is not ASCII: hyper ignores the whole field"),
];

#[test]
fn requests_are_read_as_hyper_reads_them_or_more_strictly() {
    compare(60_000, DOCUMENTED, requests, ours, theirs);
}

/// As a connection does: heads and bodies, one after the other.
fn ours(input: &Input) -> Reading {
    let mut reading = Reading::default();
    let mut bytes = input.bytes.clone();
    loop {
        while bytes.starts_with(b"\r\n") {
            bytes.drain(..2);
        }
        let mut fields = Room::new();
        let (seen, framing, keep, length) = match parse_request(&bytes, &mut fields) {
            Ok(Parsed::Complete(head, length)) => {
                if head.method == "CONNECT" {
                    reading.refused = Some("connect_refused".to_owned());
                    return reading;
                }
                let version = if head.is_http10 { "HTTP/1.0" } else { "HTTP/1.1" };
                let mut fields: Vec<(String, Vec<u8>)> = head
                    .fields
                    .all
                    .iter()
                    .map(|field| (field.name.to_lowercase(), trim(field.value).to_vec()))
                    .collect();
                fields.sort_by(|a, b| a.0.cmp(&b.0));
                let seen = Seen {
                    line: format!("{} {} {version}", head.method, head.target.path_and_query),
                    fields,
                    framing: match head.framing {
                        Framing::Length(length) => length.to_string(),
                        other => format!("{other:?}").to_lowercase(),
                    },
                    body: None,
                    keep: true,
                };
                (seen, head.framing, head.keep_alive, length)
            }
            Ok(Parsed::Partial) => return reading,
            Err(malformed) => {
                reading.refused = Some(malformed.code().to_owned());
                return reading;
            }
        };
        reading.seen.push(seen);
        let last = reading.seen.last_mut().expect("what was pushed");
        let mut rest = bytes.split_off(length);
        let (mut reader, mut data) = (BodyReader::new(framing, true), Vec::new());
        match reader.advance(&mut rest, |part| data.extend_from_slice(part)) {
            Ok(progress) if reader.is_done() => {
                last.body = Some(data);
                if !keep {
                    return reading;
                }
                bytes = input.bytes[input.bytes.len() - (rest.len() - progress.consumed)..].to_vec();
            }
            Ok(_) => return reading,
            Err(malformed) => {
                reading.refused = Some(malformed.code().to_owned());
                return reading;
            }
        }
    }
}

/// More turns than any input needs.
const TURNS: usize = 100;

/// A server of hyper's over the same bytes.
fn theirs(input: &Input) -> Reading {
    let reading = Rc::new(RefCell::new(Reading::default()));
    let noted = reading.clone();
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        let noted = noted.clone();
        async move {
            let (head, body) = request.into_parts();
            let framing = match body.size_hint().exact() {
                Some(0) => "empty".to_owned(),
                Some(length) => length.to_string(),
                None => "chunked".to_owned(),
            };
            let target = head.uri.path_and_query().map_or_else(|| head.uri.to_string(), ToString::to_string);
            let mut fields: Vec<(String, Vec<u8>)> = head
                .headers
                .iter()
                .map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec()))
                .collect();
            fields.sort_by(|a, b| a.0.cmp(&b.0));
            noted.borrow_mut().seen.push(Seen {
                line: format!("{} {target} {:?}", head.method, head.version),
                fields,
                framing,
                body: None,
                keep: true,
            });
            let body = body.collect().await.ok().map(|body| body.to_bytes().to_vec());
            noted.borrow_mut().seen.last_mut().expect("what was pushed").body = body;
            Ok::<_, Infallible>(Response::new(Empty::<hyper::body::Bytes>::new()))
        }
    });
    let bytes = Bytes { input: input.bytes.clone(), ..Bytes::default() };
    bytes.ends.set(true);
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder.half_close(true).auto_date_header(false);
    let mut connection = pin!(builder.serve_connection(bytes, service));
    let mut cx = Context::from_waker(Waker::noop());
    // It gives way to others now and then; there is nothing that it would really wait for.
    let ended = (0..TURNS).find_map(|_| match connection.as_mut().poll(&mut cx) {
        Poll::Ready(ended) => Some(ended),
        Poll::Pending => None,
    });
    let ended = ended.expect("an end, after so many turns");
    let mut reading = reading.take();
    if let Err(error) = ended {
        let source = std::error::Error::source(&error).map(|source| format!(": {source}")).unwrap_or_default();
        reading.refused = Some(format!("{error}{source}"));
    }
    reading
}
