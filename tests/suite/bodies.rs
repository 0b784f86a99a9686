//! Bodies, interim answers and trailers (dataplane.md, point 4).

use crate::failures::assert_own;
use crate::framing::refused_with;
use crate::support::{Client, Next, PATIENCE, Sidecar, Upstream, eventually};

fn start(upstream: &Upstream) -> Sidecar {
    Sidecar::start(&Sidecar::bare(upstream))
}

#[test]
fn a_client_that_waits_for_leave_hears_of_a_refusal_without_sending() {
    let upstream = Upstream::start(|exchange| {
        // Without a look at the body.
        exchange.answer(401, &[("connection", "close")], b"no");
        Next::Close
    });
    let sidecar = start(&upstream);
    let mut client = Client::connect(sidecar.traffic);
    client.write("POST", "/", &[("expect", "100-continue"), ("content-length", "1000000")], b"").expect("a head");
    let answer = client.read().expect("an answer");
    assert_eq!((answer.status, answer.text(), answer.closes()), (401, "no", true));
    assert!(client.is_closed(), "whether a body comes cannot be known");
}

#[test]
fn an_app_that_never_gives_leave_is_sent_the_body_all_the_same() {
    let upstream =
        Upstream::start(|exchange| if exchange.read_body() { exchange.answer(200, &[], b"ok") } else { Next::Close });
    let sidecar = start(&upstream);
    let mut client = Client::connect(sidecar.traffic);
    for value in ["100-continue", "100-Continue"] {
        client.write("POST", "/", &[("expect", value), ("content-length", "4")], b"").expect("a head");
        eventually(PATIENCE, "the app is asked", || upstream.seen().last().is_some_and(|seen| seen.body.is_empty()));
        assert_eq!(
            upstream.seen().last().and_then(|seen| seen.field("expect").map(str::to_owned)).as_deref(),
            Some(value)
        );
        // RFC 9110 section 10.1.1: a client must not wait for ever.
        client.send(b"body").expect("a body");
        assert_eq!(client.read().expect("an answer").text(), "ok");
        assert_eq!(upstream.seen().pop().expect("a request").body, b"body");
    }
    // A request without a body, and one of HTTP/1.0, which knows no such thing.
    assert_eq!(client.ask("GET", "/", &[("expect", "100-continue")], b"").expect("an answer").status, 200);
    let mut old = Client::connect(sidecar.traffic);
    old.send(b"POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\nbody").expect("a request");
    assert_eq!(old.read().expect("an answer").status, 200);
    assert_eq!(upstream.seen().pop().expect("a request").field("expect"), None);
}

#[test]
fn nothing_but_leave_can_be_expected() {
    let with =
        |fields: &str| format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}Content-Length: 4\r\n\r\nbody").into_bytes();
    let cases = [
        "Expect: 200-ok\r\n",
        "Expect:\r\n",
        "Expect: 100-continue, 100-continue\r\n",
        "Expect: 100-continue\r\nExpect: 100-continue\r\n",
        "Expect: y 100-continue\r\n",
        "Expect: 100-continue y\r\n",
        "Expect: 100\u{a0}continue\r\n",
        "Expect: \"100-continue\"\r\n",
    ];
    refused_with(417, &cases.map(|fields| (with(fields), "expectation_failed")));
}

#[test]
fn a_body_that_will_not_be_taken_is_not_waited_for() {
    let upstream = Upstream::hello();
    let settings =
        Sidecar::full(&upstream).raw("proxy.limits.body_bytes", "1000").raw("proxy.reject_when_unready", "true");
    let sidecar = Sidecar::start(&settings).ready();
    let promise = |length: usize| {
        let mut client = Client::connect(sidecar.traffic);
        client.write("POST", "/", &[("content-length", &length.to_string())], b"").expect("a head");
        let answer = client.read().expect("an answer");
        assert!(answer.closes());
        answer
    };
    assert_own(&promise(1001), 413, "body_too_large", "http_request_denied");
    assert_own(&promise(usize::MAX / 2), 413, "body_too_large", "http_request_denied");
    upstream.set_probe(500);
    sidecar.await_code("/readyz", 503);
    eventually(PATIENCE, "the gate is closed", || sidecar.get("/").status == 503);
    assert_own(&promise(100), 503, "not_ready", "http_request_denied");
    assert!(upstream.seen().iter().all(|seen| seen.method == "GET"));
}

/// An app that answers with the interim answers and the chunks of the request's body.
fn parrot() -> Upstream {
    Upstream::start(|exchange| {
        exchange.read_body();
        let bytes = exchange.seen.body.clone();
        exchange.write(&bytes);
        Next::Keep
    })
}

#[test]
fn interim_answers_reach_who_knows_them() {
    let upstream = parrot();
    let sidecar = start(&upstream);
    let script = b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\nConnection: x\r\nX: 1\r\n\r\n\
                   HTTP/1.1 103 Early Hints\r\nLink: </b>\r\nContent-Length: 9\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    let mut client = Client::connect(sidecar.traffic);
    client.write("POST", "/", &[], script).expect("a request");
    assert_eq!(client.read_head().expect("a head").status, 102);
    for link in ["</a>", "</b>"] {
        let head = client.read_head().expect("a head");
        assert_eq!((head.status, head.field("link")), (103, Some(link)));
        for gone in ["x", "connection", "content-length", "transfer-encoding", "date"] {
            assert_eq!(head.field(gone), None, "{gone}");
        }
    }
    assert_eq!(client.read().expect("an answer").text(), "ok");
    let mut old = Client::connect(sidecar.traffic);
    old.send(format!("POST / HTTP/1.0\r\nContent-Length: {}\r\n\r\n", script.len()).as_bytes()).expect("a head");
    old.send(script).expect("a body");
    assert_eq!(old.read().expect("the only answer").status, 200, "RFC 9110 section 15.2");
}

#[test]
fn trailers_pass_both_ways() {
    let upstream = Upstream::start(|exchange| {
        // As it was framed: the trailer is what this is about.
        let mut framed = Vec::new();
        while !framed.ends_with(b"\r\n\r\n") {
            let Some(byte) = exchange.take(1) else { return Next::Close };
            framed.extend(byte);
        }
        exchange.write(
            b"HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\nConnection: keep-alive, X-Back\r\nTransfer-Encoding: chunked\r\n\r\n",
        );
        exchange.write(&framed);
        Next::Keep
    });
    let sidecar = start(&upstream);
    let mut client = Client::connect(sidecar.traffic);
    for size in [1000, 3, 1] {
        // What Connection names is of no trailer either, in the direction in which it is named.
        let request = b"POST / HTTP/1.1\r\nHost: a\r\nTrailer: X-Sum, Grpc-Status\r\nConnection: x-there\r\nTransfer-Encoding: chunked\r\n\r\n\
                        5;x=y\r\nhello\r\n0\r\nX-Sum: 1\r\ngrpc-status: 0\r\nVia: 1.1 x\r\nAuthorization: x\r\nConnection: y\r\nX-There: 1\r\nX-Back: 1\r\nx-SUM:  2 \r\n\r\n";
        for part in request.chunks(size) {
            client.send(part).expect("a part");
        }
        let head = client.read_head().expect("a head");
        assert_eq!(head.field("trailer"), Some("X-Sum"));
        let expected = b"5\r\nhello\r\n0\r\nX-Sum: 1\r\ngrpc-status: 0\r\nx-SUM: 2\r\n\r\n";
        assert_eq!(
            String::from_utf8_lossy(&client.read_exact(expected.len()).expect("a body")),
            String::from_utf8_lossy(expected)
        );
        let seen = upstream.seen().pop().expect("a request");
        assert_eq!(
            (seen.field("trailer"), seen.field("transfer-encoding")),
            (Some("X-Sum, Grpc-Status"), Some("chunked"))
        );
    }
    // HTTP/1.0 has no chunks, and so no trailer.
    let upstream = parrot();
    let sidecar = start(&upstream);
    let script =
        b"HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 1\r\n\r\n";
    let mut old = Client::connect(sidecar.traffic);
    old.send(format!("POST / HTTP/1.0\r\nContent-Length: {}\r\n\r\n", script.len()).as_bytes()).expect("a head");
    old.send(script).expect("a body");
    let answer = old.read().expect("an answer");
    assert_eq!((answer.text(), answer.field("trailer"), answer.closes()), ("ok", None, true));
}

#[test]
fn answers_that_have_no_body_say_what_they_would_have_and_nothing_follows() {
    let upstream = parrot();
    let sidecar = start(&upstream);
    let mut client = Client::connect(sidecar.traffic);
    for (method, script, status, length) in [
        ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n", 200, Some("1234")),
        ("HEAD", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", 200, None),
        ("HEAD", "HTTP/1.1 404 No\r\nContent-Length: 3\r\n\r\n", 404, Some("3")),
        ("POST", "HTTP/1.1 304 Not Modified\r\nContent-Length: 1234\r\nETag: \"x\"\r\n\r\n", 304, Some("1234")),
        ("POST", "HTTP/1.1 204 No Content\r\nContent-Length: 1234\r\n\r\n", 204, None),
        ("POST", "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n", 204, None),
        ("POST", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200, Some("0")),
    ] {
        let answer =
            client.ask(method, "/", &[], script.as_bytes()).unwrap_or_else(|error| panic!("{error:?}: {script:?}"));
        assert_eq!(
            (answer.status, answer.body.len(), answer.field("content-length")),
            (status, 0, length),
            "{script:?}"
        );
        assert_eq!(answer.field("transfer-encoding"), None, "{script:?}");
        assert!(!answer.closes(), "{script:?}");
    }
}
