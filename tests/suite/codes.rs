//! Every code that a refusal can have is documented, and every code of a malformed request is that of a real one.

use std::collections::BTreeSet;

use pulsegate::proxy::{Malformed, Rejection};

use crate::support::{Client, Next, Sidecar, Upstream};

#[test]
fn every_code_is_documented() {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/operations.md")).expect("the page");
    for rejection in Rejection::ALL.into_iter().filter(|rejection| !matches!(rejection, Rejection::Malformed(_))) {
        let row = format!("| {} | `{}` |", rejection.status(), rejection.code());
        assert!(text.contains(&row), "no row that begins with {row}");
    }
    // An answer's alone, and one that has another name towards clients.
    let inward = [Malformed::StatusLine, Malformed::TooManyFields];
    for malformed in Malformed::ALL.into_iter().filter(|malformed| !inward.contains(malformed)) {
        let code = format!("`{}`", malformed.code());
        let listed = text.lines().any(|line| line.starts_with("| `") && line.contains(&code));
        assert!(listed, "{code} is not in the list of malformed requests");
    }
    let codes: BTreeSet<_> = Rejection::ALL
        .iter()
        .map(|rejection| rejection.code())
        .chain(Malformed::ALL.iter().map(|malformed| malformed.code()))
        .collect();
    assert_eq!(codes.len(), Rejection::ALL.len() - 1 + Malformed::ALL.len(), "each has a code of its own");
}

/// A request for each way to be malformed.
fn example(malformed: Malformed) -> Option<Vec<u8>> {
    let head = |line: &str, fields: &str| Some(format!("{line}\r\nHost: a\r\n{fields}\r\n").into_bytes());
    let post =
        |fields: &str, body: &str| Some(format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n{body}").into_bytes());
    let chunked = |body: &str| post("Transfer-Encoding: chunked\r\n", body);
    match malformed {
        Malformed::BareLineEnd => head("GET / HTTP/1.1", "A: b\n"),
        Malformed::RequestLine => head("GET", ""),
        Malformed::Version => head("GET / HTTP/1.2", ""),
        Malformed::FieldName => head("GET / HTTP/1.1", "A : b\r\n"),
        Malformed::FieldValue => head("GET / HTTP/1.1", "A: \0\r\n"),
        Malformed::Target => head("GET x HTTP/1.1", ""),
        Malformed::Host => head("GET / HTTP/1.1", "Host: b\r\n"),
        Malformed::ContentLength => post("Content-Length: x\r\n", ""),
        Malformed::TransferEncoding => post("Transfer-Encoding: x\r\n", ""),
        Malformed::TwoLengths => post("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
        Malformed::ChunkedHttp10 => head("POST / HTTP/1.0", "Transfer-Encoding: chunked\r\n"),
        Malformed::ChunkSize => chunked("x\r\n"),
        Malformed::ChunkEnd => chunked("1\r\nxx"),
        Malformed::ChunkExtension => chunked("1;\0\r\n"),
        Malformed::Trailer => chunked("0\r\nx\r\n\r\n"),
        Malformed::MaxForwards => head("OPTIONS * HTTP/1.1", "Max-Forwards: x\r\n"),
        Malformed::TraceBody => Some(b"TRACE / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx".to_vec()),
        // Of answers; told as `head_too_large`; and of HTTP/2 alone.
        Malformed::StatusLine | Malformed::TooManyFields | Malformed::Stream => None,
    }
}

#[test]
fn every_way_to_be_malformed_has_its_code() {
    let upstream =
        Upstream::start(|exchange| if exchange.read_body() { exchange.answer(200, &[], b"ok") } else { Next::Close });
    let sidecar = Sidecar::start(&Sidecar::bare(&upstream));
    let mut walked = 0;
    for malformed in Malformed::ALL {
        let Some(bytes) = example(malformed) else { continue };
        let mut client = Client::connect(sidecar.traffic);
        client.send(&bytes).expect("bytes");
        let answer = client.read().unwrap_or_else(|error| panic!("{error:?} for {malformed:?}"));
        assert_eq!((answer.status, answer.json()["error"]["code"].as_str()), (400, Some(malformed.code())));
        assert_eq!(answer.json()["error"]["message"], malformed.sentence());
        assert!(answer.closes() && client.is_closed());
        walked += 1;
    }
    assert_eq!(walked, Malformed::ALL.len() - 3);
    assert!(upstream.seen().is_empty());
    sidecar.assert_metric("pulsegate_errors_total", &["type=\"invalid_request\""], walked as f64);
}

#[test]
fn every_test_of_the_checklist_exists() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(root.join("docs/conformance.md")).expect("the page");
    let section =
        page.split("## The checklist").nth(1).and_then(|rest| rest.split("\n## ").next()).expect("the section");
    let names: Vec<&str> = section.split('`').filter(|word| word.contains("::") && !word.contains(' ')).collect();
    assert!(names.len() > 60, "{}", names.len());
    for name in names {
        let (topic, test) = name.split_once("::").expect("a topic and a test");
        let text = std::fs::read_to_string(root.join("tests/suite").join(topic).with_extension("rs"));
        let text = text.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(text.contains(&format!("\nfn {test}() {{")), "{name} is no test");
    }
}
