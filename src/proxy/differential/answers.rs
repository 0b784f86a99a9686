use std::pin::pin;
use std::task::{Context, Poll, Waker};

use http_body_util::{BodyExt as _, Empty};
use hyper::Request;
use hyper::body::Body as _;

use super::super::http1::{BodyReader, Framing, Parsed, Room, parse_response, trim};
use super::bytes::Bytes;
use super::generate::{Input, answers};
use super::{Documented, Reading, Seen, compare};

/// Each of these is meant. `docs/conformance.md` repeats them for people.
const DOCUMENTED: &Documented = &[
    ("stricter: bare_line_end", "hyper takes a bare LF for a line's end"),
    (
        "stricter: bad_content_length",
        "hyper looks at no length where there is no body, and takes the same length twice",
    ),
    ("stricter: bad_transfer_encoding", "hyper takes an unknown coding for a body up to the close"),
    ("stricter: bad_status_line", "hyper skips empty lines before an answer; they are left over from another one"),
    ("stricter: chunked_http10", "hyper looks at no coding where there is no body"),
    ("stricter: two_lengths", "hyper lets the coding win"),
    ("stricter in a body: bad_chunk_size", "hyper takes spaces and tabs after a size"),
    ("stricter in a body: bad_trailer", "hyper takes a bare LF in a trailer"),
    ("stricter in a body: chunk_extensions", "hyper takes control characters in an extension"),
    (
        "closes sooner",
        "after a 204 or 304 with a length, whose body may come after all; and `close` beside an odd option",
    ),
];

#[test]
fn answers_are_read_as_hyper_reads_them_or_more_strictly() {
    compare(40_000, DOCUMENTED, answers, ours, theirs);
}

/// As the relay does: interim answers, then the answer and its body to the end.
fn ours(input: &Input) -> Reading {
    let mut reading = Reading::default();
    let mut rest = &input.bytes[..];
    let refused = |reading: Reading, code: &str| Reading { refused: Some(code.to_owned()), ..reading };
    loop {
        let mut fields = Room::new();
        let (head, length) = match parse_response(rest, &mut fields, input.to_head) {
            Ok(Parsed::Complete(head, length)) => (head, length),
            Ok(Parsed::Partial) => return refused(reading, "incomplete"),
            Err(malformed) => return refused(reading, malformed.code()),
        };
        rest = &rest[length..];
        match head.code {
            101 => return refused(reading, "unasked 101"),
            ..=199 => continue,
            _ => {}
        }
        let mut fields: Vec<(String, Vec<u8>)> =
            head.fields.all.iter().map(|field| (field.name.to_lowercase(), trim(field.value).to_vec())).collect();
        fields.sort_by(|a, b| a.0.cmp(&b.0));
        let mut body = rest.to_vec();
        let (mut reader, mut data) = (BodyReader::new(head.framing, true), Vec::new());
        let progress = reader.advance(&mut body, |part| data.extend_from_slice(part));
        let complete = progress.is_ok() && reader.close();
        reading.seen.push(Seen {
            line: head.code.to_string(),
            fields,
            framing: match head.framing {
                Framing::Length(length) => length.to_string(),
                Framing::Empty => "empty".to_owned(),
                Framing::Chunked | Framing::UntilClose => "unknown".to_owned(),
            },
            body: complete.then_some(data),
            keep: complete
                && head.keep_alive
                && progress.as_ref().is_ok_and(|progress| progress.consumed == rest.len()),
        });
        if let Err(malformed) = progress {
            reading.refused = Some(malformed.code().to_owned());
        }
        return reading;
    }
}

/// More turns than any input needs.
const TURNS: usize = 400;

/// Turns after which the end of the bytes is the end of the connection: nothing moves any more.
const QUIET: usize = 200;

/// A client of hyper's over the same bytes.
fn theirs(input: &Input) -> Reading {
    let mut cx = Context::from_waker(Waker::noop());
    let mut reading = Reading::default();
    let bytes = Bytes { input: input.bytes.clone(), after_write: true, ..Bytes::default() };
    let ends = bytes.ends.clone();
    let mut shake = pin!(hyper::client::conn::http1::handshake::<_, Empty<hyper::body::Bytes>>(bytes));
    let Poll::Ready(Ok((mut sender, connection))) = shake.as_mut().poll(&mut cx) else { panic!("no I/O is needed") };
    let mut connection = pin!(connection);
    let mut ended = false;
    let mut turn = |cx: &mut Context<'_>| ended = ended || connection.as_mut().poll(cx).is_ready();
    let method = if input.to_head { "HEAD" } else { "GET" };
    let request = Request::builder().method(method).uri("/").body(Empty::new()).expect("a request");
    let mut answer = pin!(sender.send_request(request));
    let mut found = None;
    for number in 0..TURNS {
        ends.set(number > QUIET);
        turn(&mut cx);
        if let Poll::Ready(answer) = answer.as_mut().poll(&mut cx) {
            found = Some(answer);
            break;
        }
    }
    let response = match found.expect("an answer or an error") {
        Ok(response) => response,
        Err(error) => {
            let source = std::error::Error::source(&error).map(|source| format!(": {source}")).unwrap_or_default();
            reading.refused = Some(format!("{error}{source}"));
            return reading;
        }
    };
    let (head, body) = response.into_parts();
    let framing = match body.size_hint().exact() {
        Some(0) => "empty".to_owned(),
        Some(length) => length.to_string(),
        None => "unknown".to_owned(),
    };
    let mut fields: Vec<(String, Vec<u8>)> =
        head.headers.iter().map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec())).collect();
    fields.sort_by(|a, b| a.0.cmp(&b.0));
    let mut collected = pin!(body.collect());
    let mut body = None;
    let mut keep = false;
    for number in 0..TURNS {
        if number > QUIET {
            ends.set(true);
        }
        if let Poll::Ready(result) = collected.as_mut().poll(&mut cx) {
            body = result.ok().map(|body| body.to_bytes().to_vec());
            for _ in 0..10 {
                turn(&mut cx);
            }
            keep = body.is_some() && !ends.get() && sender.is_ready();
            break;
        }
        turn(&mut cx);
    }
    reading.seen.push(Seen { line: head.status.as_str().to_owned(), fields, framing, body, keep });
    reading
}
