//! Requests that two programs could read differently: refused with a 400 and the end of the connection, and never
//! forwarded (dataplane.md, point 1). Each comes with a request behind it that must never be answered.

use crate::support::{Client, HttpError, Next, PATIENCE, Sidecar, Upstream, eventually};

/// An app that reads each request whole and answers with its target.
fn app() -> Upstream {
    Upstream::start(|exchange| {
        if !exchange.read_body() {
            return Next::Close;
        }
        let target = exchange.seen.target.clone();
        exchange.answer(200, &[], target.as_bytes())
    })
}

/// What a smuggler would like to be read as a request.
const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n";

/// Sends each case; it must be answered with the code, and the connection must end with that one answer.
#[track_caller]
pub(crate) fn refused_with(status: u16, cases: &[(Vec<u8>, &str)]) {
    let upstream = app();
    let sidecar = Sidecar::start(&Sidecar::bare(&upstream).text("proxy.timeouts.request_header", "2s"));
    for (bytes, code) in cases {
        let text = String::from_utf8_lossy(&bytes[..bytes.len().min(300)]).into_owned();
        let mut client = Client::connect(sidecar.traffic);
        client.send(&[bytes, SMUGGLED.as_bytes()].concat()).expect("bytes");
        let answer = client.read().unwrap_or_else(|error| panic!("{error:?} for {text:?}"));
        assert_eq!(answer.status, status, "{text:?}");
        assert_eq!(answer.json()["error"]["code"], *code, "{text:?}");
        assert!(answer.closes(), "{text:?}");
        let rest = client.read_to_end().unwrap_or_default();
        assert!(rest.is_empty(), "{text:?} was followed by {:?}", String::from_utf8_lossy(&rest));
    }
    assert!(upstream.seen().is_empty(), "{:?}", upstream.seen());
    let count = cases.len() as f64;
    eventually(PATIENCE, "each is counted once, by its code", || {
        sidecar.metric("pulsegate_requests_total", &[&format!("code=\"{status}\"")]) == count
    });
    sidecar.assert_metric("pulsegate_requests_total", &[], count); // and nothing else
    sidecar.assert_metric("pulsegate_requests_in_flight", &[], 0.0);
}

/// A POST with these fields and this body.
fn post(fields: &str, body: &str) -> Vec<u8> {
    format!("POST /x HTTP/1.1\r\nHost: a\r\n{fields}\r\n{body}").into_bytes()
}

/// Cases of fields, with the body that a lenient reader would take in.
fn fields(code: &'static str, body: &str, list: &[&str]) -> Vec<(Vec<u8>, &'static str)> {
    list.iter().map(|fields| (post(fields, body), code)).collect()
}

#[test]
fn a_length_beside_a_transfer_coding_is_refused() {
    refused_with(
        400,
        &fields(
            "two_lengths",
            "0\r\n\r\n",
            &[
                "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
                "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
                "content-length: 5\r\nTRANSFER-ENCODING: CHUNKED\r\n",
                "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n",
                "Transfer-Encoding: chunked\r\nA: b\r\nContent-Length: 5\r\n",
            ],
        ),
    );
}

#[test]
fn a_length_that_is_not_one_number_is_refused() {
    let list = [
        "Content-Length: 1\r\nContent-Length: 2\r\n",
        // RFC 9112 section 6.3 lets a recipient take equal ones for one; the app may not.
        "Content-Length: 5\r\nContent-Length: 5\r\n",
        "Content-Length: 5\r\ncontent-length: 5\r\n",
        "Content-Length: 5, 5\r\n",
        "Content-Length: 5,\r\n",
        "Content-Length: ,5\r\n",
        "Content-Length: 5;5\r\n",
        "Content-Length: +5\r\n",
        "Content-Length: -5\r\n",
        "Content-Length: -0\r\n",
        "Content-Length: 0x5\r\n",
        "Content-Length: 5.0\r\n",
        "Content-Length: 5e0\r\n",
        "Content-Length: 5_0\r\n",
        "Content-Length: 1 1\r\n",
        "Content-Length: 1\t1\r\n",
        "Content-Length: \"5\"\r\n",
        "Content-Length:\r\n",
        "Content-Length: \t \r\n",
        "Content-Length: five\r\n",
        "Content-Length: 5a\r\n",
        "Content-Length: \u{ff15}\r\n",
        "Content-Length: 9223372036854775808\r\n",
        "Content-Length: 18446744073709551615\r\n",
        "Content-Length: 18446744073709551621\r\n",
        "Content-Length: 99999999999999999999999999\r\n",
        "Content-Length: 00000000000000000005\r\n",
    ];
    refused_with(400, &fields("bad_content_length", "hello", &list));
}

#[test]
fn a_transfer_coding_that_is_not_exactly_chunked_is_refused() {
    let list = [
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding: chunkedx\r\n",
        "Transfer-Encoding: chunked, identity\r\n",
        "Transfer-Encoding: identity, chunked\r\n",
        "Transfer-Encoding: identity\r\n",
        "Transfer-Encoding: chunked, chunked\r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding: chunked, gzip\r\n",
        "Transfer-Encoding: gzip\r\n",
        "Transfer-Encoding: chunked,\r\n",
        "Transfer-Encoding: ,chunked\r\n",
        "Transfer-Encoding: chunked;\r\n",
        "Transfer-Encoding: chunked;q=1\r\n",
        "Transfer-Encoding: chunked chunked\r\n",
        "Transfer-Encoding: chunk\r\n",
        "Transfer-Encoding: \"chunked\"\r\n",
        "Transfer-Encoding: 'chunked'\r\n",
        "Transfer-Encoding: chunked\u{a0}\r\n",
        "Transfer-Encoding: \u{ff43}hunked\r\n",
        "Transfer-Encoding:\r\n",
        "Transfer-Encoding: \t\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
        "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding:\r\n",
        "Transfer-Encoding:\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\ntransfer-encoding: x\r\n",
        "Content-Length: 5\r\nTransfer-Encoding: xchunked\r\n",
        // A gateway interface would make the real one of these.
        "Transfer_Encoding: chunked\r\n",
        "Transfer.Encoding: chunked\r\n",
        "Content-Length: 5\r\nTransfer_Encoding: chunked\r\n",
        "Content_Length: 5\r\n",
    ];
    refused_with(400, &fields("bad_transfer_encoding", "0\r\n\r\n", &list));
    let old = |fields: &str| format!("POST / HTTP/1.0\r\nHost: a\r\n{fields}\r\n0\r\n\r\n").into_bytes();
    refused_with(
        400,
        &[
            (old("Transfer-Encoding: chunked\r\n"), "chunked_http10"),
            (old("Connection: keep-alive\r\nTransfer-Encoding: chunked\r\n"), "chunked_http10"),
            (old("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n"), "two_lengths"),
        ],
    );
}

#[test]
fn a_field_that_is_not_one_line_with_a_name_is_refused() {
    let names = [
        "Transfer-Encoding : chunked\r\n",
        "Transfer-Encoding\t: chunked\r\n",
        "Content-Length : 5\r\n",
        "Transfer Encoding: chunked\r\n",
        "Transfer-Encoding\u{b}: chunked\r\n",
        "Transfer-Encoding\0: chunked\r\n",
        "Transfer-Encod\u{ef}ng: chunked\r\n",
        "X-Invalid[]: 1\r\n",
        "X(y): 1\r\n",
        "\"X\": 1\r\n",
        "X@y: 1\r\n",
        "X/y: 1\r\n",
        "{X}: 1\r\n",
        "X\u{7f}: 1\r\n",
        ": 1\r\n",
        " : 1\r\n",
        "no colon\r\n",
        "nocolon\r\n",
        // Folded, or folded into nothing.
        "A: 1\r\n folded\r\n",
        "A: 1\r\n\tfolded\r\n",
        "A: 1\r\n \r\n",
        "Transfer-Encoding:\r\n chunked\r\n",
        "Transfer-Encoding: chunked\r\n , identity\r\n",
        "A: 1\r\n Transfer-Encoding: chunked\r\n",
    ];
    let mut cases = fields("bad_field_name", "0\r\n\r\n", &names);
    for first in [" Host: a", "\tHost: a", " folded", "Host: a\r\n :"] {
        cases.push((format!("GET / HTTP/1.1\r\n{first}\r\n\r\n").into_bytes(), "bad_field_name"));
    }
    refused_with(400, &cases);
}

#[test]
fn control_characters_and_bare_line_ends_are_refused() {
    let mut cases = Vec::new();
    for byte in (0..0x20).chain([0x7f]).filter(|byte| !matches!(byte, b'\t' | b'\n' | b'\r')) {
        cases.push((post(&format!("A: x{}y\r\n", char::from(byte)), ""), "bad_field_value"));
    }
    for value in ["chunked\u{b}", "\u{b}chunked", "\u{c}chunked", "chunked\0", "\u{1f}chunked", "\u{7f}chunked"] {
        cases.push((post(&format!("Transfer-Encoding: {value}\r\n"), "0\r\n\r\n"), "bad_field_value"));
    }
    for fields in ["A: 1\rB: 2\r\n", "A: 1\r\r\n", "A: \rTransfer-Encoding: chunked\r\n"] {
        cases.push((post(fields, ""), "bad_field_value"));
    }
    for bytes in [
        "GET / HTTP/1.1\nHost: a\n\n",
        "GET / HTTP/1.1\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n\n",
        "GET / HTTP/1.1\r\nHost: a\nTransfer-Encoding: chunked\r\n\r\n",
        "\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "\r\n\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\rHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n\rA: b\r\n\r\n",
        "\rGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        // A line that will never be whole is not waited for.
        "GET / HTTP/1.1\nHost: a\r\nA: b",
    ] {
        cases.push((bytes.as_bytes().to_vec(), "bare_line_end"));
    }
    // The last one must not be made whole by what comes after it.
    cases.pop();
    refused_with(400, &cases);
}

#[test]
fn a_bare_line_feed_is_not_waited_for() {
    let upstream = app();
    let sidecar = Sidecar::start(&Sidecar::bare(&upstream).text("proxy.timeouts.request_header", "20s"));
    let mut client = Client::connect(sidecar.traffic);
    client.send(b"GET / HTTP/1.1\nHost: a\r\nA: b").expect("a part");
    assert_eq!(client.read().expect("an answer").status, 400);
}

#[test]
fn a_request_line_that_is_not_three_words_is_refused() {
    let line = |line: &str| format!("{line}\r\nHost: a\r\n\r\n").into_bytes();
    let mut cases: Vec<(Vec<u8>, &str)> = [
        "GET  / HTTP/1.1",
        "GET\t/ HTTP/1.1",
        "GET /\tHTTP/1.1",
        " GET / HTTP/1.1",
        "\tGET / HTTP/1.1",
        "GET",
        "GET /",
        "/ HTTP/1.1",
        "G(T / HTTP/1.1",
        "G\u{c9}T / HTTP/1.1",
        "\"GET\" / HTTP/1.1",
        "GET: / HTTP/1.1",
        "G\0T / HTTP/1.1",
        "GET /\0 HTTP/1.1",
        "GET /\u{7f} HTTP/1.1",
        "GET /\u{b} HTTP/1.1",
        "GET \r / HTTP/1.1",
    ]
    .iter()
    .map(|text| (line(text), "bad_request_line"))
    .collect();
    for version in [
        "GET /  HTTP/1.1",
        "Extra lineGET / HTTP/1.1",
        "GET / x HTTP/1.1",
        "GET / HTTP/0.9",
        "GET / HTTP/1.2",
        "GET / HTTP/2.0",
        "GET / HTTP/3.0",
        "GET / HTTP/9.9",
        "GET / ",
        "GET / HTTP/1.",
        "GET / HTTP/11",
        "GET / http/1.1",
        "GET / Http/1.1",
        "GET / HTTP /1.1",
        "GET / HTTP/ 1.1",
        "GET / HTTP/+1.1",
        "GET / ICAP/1.0",
    ] {
        cases.push((line(version), "bad_version"));
    }
    for ending in ["GET / HTTP/1.1 ", "GET / HTTP/1.1\t", "GET / HTTP/1.10", "GET / HTTP/1.1 x", "GET / HTTP/1.1\u{b}"]
    {
        cases.push((line(ending), "bare_line_end"));
    }
    refused_with(400, &cases);
}

/// A POST with a body that is said to be chunked.
fn chunked(body: &str) -> Vec<u8> {
    post("Transfer-Encoding: chunked\r\n", body)
}

#[test]
fn a_chunk_size_that_is_no_plain_number_is_refused_before_anything_is_forwarded() {
    let mut cases = Vec::new();
    for size in [
        "\r\n",
        " 5\r\nhello\r\n",
        "5 \r\nhello\r\n",
        "\t5\r\nhello\r\n",
        "5\t\r\nhello\r\n",
        "+5\r\nhello\r\n",
        "-5\r\nhello\r\n",
        "0x5\r\nhello\r\n",
        "0X5\r\nhello\r\n",
        "5h\r\nhello\r\n",
        "5_0\r\nhello\r\n",
        "5,\r\nhello\r\n",
        "\"5\"\r\nhello\r\n",
        "g\r\nhello\r\n",
        ";a=b\r\nhello\r\n",
        "5\nhello\r\n",
        "5\rhello\r\n",
        "5\r\rhello\r\n",
        "5\u{b}\r\nhello\r\n",
        "5\0\r\nhello\r\n",
        "0000000000000005\r\nhello\r\n",
        "1000000000000000\r\nhello\r\n",
        "ffffffffffffffff\r\nhello\r\n",
        "10000000000000005\r\nhello\r\n",
        "fffffffffffffffffffffffffffffff5\r\nhello\r\n",
        "\n5\r\nhello\r\n",
        "-0\r\n\r\n",
        "00x\r\n\r\n",
        "5\r\nhello\r\n\r\n",
        "5\r\nhello\r\n 0\r\n\r\n",
        "5;a=b\rhello\r\n",
    ] {
        cases.push((chunked(&format!("{size}0\r\n\r\n")), "bad_chunk_size"));
    }
    refused_with(400, &cases);
}

#[test]
fn a_chunk_that_does_not_end_where_its_size_says_is_refused() {
    let mut cases = Vec::new();
    for end in [
        "5\r\nhelloX\r\n0\r\n\r\n",
        "5\r\nhello!",
        "4\r\nhello\r\n0\r\n\r\n",
        "5\r\nhello\n0\r\n\r\n",
        "5\r\nhello\r0\r\n\r\n",
        "5\r\nhello0\r\n\r\n",
    ] {
        cases.push((chunked(end), "bad_chunk_end"));
    }
    for extension in [
        "5;a\nhello\r\n0\r\n\r\n",
        "5;a=\"b\n\"\r\nhello\r\n",
        "5;\0\r\nhello\r\n",
        "5;a\u{7f}\r\nhello\r\n",
        "0;a\n\r\n",
    ] {
        cases.push((chunked(extension), "chunk_extensions"));
    }
    cases.push((chunked("5;a=\"b\r\n\"\r\nhello\r\n0\r\n\r\n"), "bad_chunk_end"));
    cases.push((chunked(&format!("5;{}\r\nhello\r\n0\r\n\r\n", "x".repeat(17_000))), "chunk_extensions"));
    cases.push((chunked(&"1;0123456789\r\nx\r\n".repeat(3_000)), "chunk_extensions"));
    refused_with(400, &cases);
}

#[test]
fn a_trailer_that_is_not_one_is_refused() {
    let mut cases = Vec::new();
    for trailer in [
        "A : 1\r\n\r\n",
        " A: 1\r\n\r\n",
        "A: 1\r\n b\r\n\r\n",
        "A\r\n\r\n",
        "A: 1\n\r\n",
        "\n",
        "A: 1\r\n\n",
        "A: \0\r\n\r\n",
        ": 1\r\n\r\n",
        "Content-Length: 5\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\n",
        "transfer_encoding: chunked\r\n\r\n",
        "Host: b\r\n\r\n",
        "\r\r\n\r\n",
        "A: 1\r\r\n\r\n",
        "\rA: 1\r\n\r\n",
    ] {
        cases.push((chunked(&format!("5\r\nhello\r\n0\r\n{trailer}")), "bad_trailer"));
    }
    cases.push((chunked(&format!("0\r\nA: {}\r\n\r\n", "x".repeat(20_000))), "bad_trailer"));
    cases.push((chunked(&format!("0\r\n{}\r\n", "A: 1\r\n".repeat(101))), "bad_trailer"));
    refused_with(400, &cases);
}

#[test]
fn a_chunked_body_that_goes_wrong_later_never_looks_whole_to_the_app() {
    let upstream = Upstream::start(|exchange| {
        let whole = exchange.read_body();
        exchange.seen.body = if whole { b"whole".to_vec() } else { b"broken".to_vec() };
        exchange.answer(200, &[], b"ok")
    });
    let sidecar = Sidecar::start(&Sidecar::bare(&upstream));
    for (index, bad) in
        ["zz\r\n", "5\r\nhelloX", "0\r\nA : 1\r\n\r\n", "0\r\nContent-Length: 1\r\n\r\n", "0\n\n", "-1\r\n"]
            .iter()
            .enumerate()
    {
        let mut client = Client::connect(sidecar.traffic);
        client.send(&post("Transfer-Encoding: chunked\r\n", "4\r\ngood\r\n")).expect("a part");
        eventually(PATIENCE, "the app is asked", || upstream.seen().len() == index + 1);
        client.send(&[bad.as_bytes(), SMUGGLED.as_bytes()].concat()).expect("the rest");
        client.expect("POST");
        let answer = client.read().unwrap_or_else(|error| panic!("{bad:?}: {error:?}"));
        assert_eq!((answer.status, answer.closes()), (400, true), "{bad:?}");
        assert!(client.is_closed(), "{bad:?}");
        eventually(PATIENCE, "the app sees an error", || upstream.seen()[index].body == b"broken");
    }
    assert!(upstream.seen().iter().all(|seen| seen.target == "/x"));
}

#[test]
fn what_follows_a_refused_request_is_never_read_as_one() {
    let upstream = app();
    let sidecar = Sidecar::start(&Sidecar::bare(&upstream));
    let mut client = Client::connect(sidecar.traffic);
    let good = |target: &str| format!("GET {target} HTTP/1.1\r\nhost: a\r\n\r\n");
    client.send(format!("{}{}BAD\r\n\r\n{}", good("/1"), good("/2"), good("/3")).as_bytes()).expect("all at once");
    for target in ["/1", "/2"] {
        assert_eq!(client.read().expect("an answer").text(), target, "what came before is answered, in order");
    }
    assert_eq!(client.read().expect("an answer").status, 400);
    assert!(matches!(client.read(), Err(HttpError::Closed | HttpError::Truncated(_))));
    assert_eq!(upstream.seen().len(), 2);

    // A body is never read as a request, whatever it looks like and however it is framed.
    let inner = "GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n";
    let mut client = Client::connect(sidecar.traffic);
    for framed in [
        format!("Content-Length: {}\r\n\r\n{inner}", inner.len()),
        format!("Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{inner}\r\n0\r\n\r\n", inner.len()),
        format!("Content-Length: {}\r\nConnection: Content-Length\r\n\r\n{inner}", inner.len()),
        format!("Content-Length: 000{}\r\n\r\n{inner}", inner.len()),
    ] {
        for method in ["GET", "POST", "DELETE", "OPTIONS", "get"] {
            client.send(format!("{method} /outer HTTP/1.1\r\nhost: a\r\n{framed}").as_bytes()).expect("a request");
            client.expect(method);
            assert_eq!(client.read().expect("an answer").text(), "/outer", "{method} {framed:?}");
        }
    }
    assert!(upstream.seen().iter().all(|seen| seen.target != "/smuggled"));
}
