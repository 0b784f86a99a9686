//! The app is held to the rules as strictly as the client (dataplane.md, points 1 and 6): what is no answer is a 502, and
//! what one exchange leaves behind never becomes the answer of another.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::support::{Client, HttpError, Next, PATIENCE, Sidecar, Upstream, eventually};

/// An app that answers each request with the bytes that its body holds, and keeps the connection if the target says so.
fn parrot() -> Upstream {
    Upstream::start(|exchange| {
        exchange.read_body();
        let bytes = exchange.seen.body.clone();
        let written = exchange.write(&bytes);
        if written && exchange.seen.target == "/keep" { Next::Keep } else { Next::Close }
    })
}

/// What the client gets when the app answers with these bytes.
fn answered(client: &mut Client, target: &str, bytes: &[u8]) -> Result<crate::support::Response, HttpError> {
    client.ask("POST", target, &[], bytes)
}

const INVALID: [&str; 53] = [
    // The status line.
    "HTTP/1.1 099 X\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 000 X\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 600 X\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 999 X\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 1000 X\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 20 X\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 +200 X\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 2OO OK\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 \r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1200 OK\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1  200 OK\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1\t200 OK\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.2 200 OK\r\nContent-Length: 0\r\n\r\n",
    "HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n",
    "HTTP/2 200 OK\r\nContent-Length: 0\r\n\r\n",
    "http/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    "ICY 200 OK\r\nContent-Length: 0\r\n\r\n",
    " HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    "\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    "\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 200 O\0K\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 200 O\rK\r\nContent-Length: 0\r\n\r\n",
    "<html>it works</html>",
    "\u{1}\u{2}\u{3}\r\n\r\n",
    // Lengths.
    "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
    "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nxx",
    "HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nxx",
    "HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nxx",
    "HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nxx",
    "HTTP/1.1 200 OK\r\nContent-Length: 0x2\r\n\r\nxx",
    "HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\nxx",
    "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\nxx",
    "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding:\r\n\r\n0\r\n\r\n",
    "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
    // Fields.
    "HTTP/1.1 200 OK\nContent-Length: 0\n\n",
    "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\n",
    "HTTP/1.1 200 OK\r\nA: 1\r\n folded\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 200 OK\r\n A: 1\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nA : 1\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nA: \0\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nA: x\rB: y\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 200 OK\r\n: 1\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nno colon\r\nContent-Length: 0\r\n\r\n",
    // Nobody asked for another protocol.
    "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
    "HTTP/1.1 101 Switching Protocols\r\nContent-Length: 5\r\n\r\nhello",
];

#[test]
fn what_is_no_answer_is_a_502_and_ends_the_apps_connection() {
    let upstream = parrot();
    let sidecar = Sidecar::start(&Sidecar::bare(&upstream));
    let mut client = Client::connect(sidecar.traffic);
    for bytes in INVALID {
        let answer =
            answered(&mut client, "/keep", bytes.as_bytes()).unwrap_or_else(|error| panic!("{error:?}: {bytes:?}"));
        assert_eq!(answer.status, 502, "{bytes:?}");
        assert_eq!(answer.json()["error"]["code"], "upstream_invalid_response", "{bytes:?}");
        assert!(answer.field("proxy-status").is_some_and(|status| status.contains("error=http_protocol_error")));
        assert!(!answer.closes(), "the client has done nothing wrong: {bytes:?}");
    }
    assert_eq!(upstream.accepted(), INVALID.len(), "such a connection is never used again");
    let protocol = || sidecar.metric("pulsegate_errors_total", &["type=\"upstream_protocol\""]);
    eventually(PATIENCE, "each is counted", || protocol() == INVALID.len() as f64);

    let large = format!("HTTP/1.1 200 OK\r\nA: {}\r\n\r\n", "x".repeat(300 * 1024));
    assert_eq!(answered(&mut client, "/keep", large.as_bytes()).expect("an answer").status, 502);
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "A: 1\r\n".repeat(101));
    assert_eq!(answered(&mut client, "/keep", many.as_bytes()).expect("an answer").status, 502);
    let endless = "HTTP/1.1 102 Processing\r\n\r\n".repeat(300);
    let mut flooded = Client::connect(sidecar.traffic);
    flooded.write("POST", "/keep", &[], endless.as_bytes()).expect("a request");
    let last =
        std::iter::repeat_with(|| flooded.read_head().expect("a head").status).take(301).find(|code| *code != 102);
    assert_eq!(last, Some(502), "a flood of interim answers is none");
}

#[test]
fn unusual_answers_that_everybody_reads_alike_pass() {
    let upstream = parrot();
    let sidecar = Sidecar::start(&Sidecar::bare(&upstream));
    let mut client = Client::connect(sidecar.traffic);
    for (bytes, status, body) in [
        ("HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok", 200, "ok"),
        ("HTTP/1.1 200 \r\nContent-Length: 2\r\n\r\nok", 200, "ok"),
        ("HTTP/1.1 299 Odd\tbut fine\r\ncontent-length:2\r\n\r\nok", 299, "ok"),
        ("HTTP/1.1 599 X\r\nContent-Length: 002\r\n\r\nok", 599, "ok"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: CHUNKED\r\n\r\n2;x=\"y\"\r\nok\r\n00\r\n\r\n", 200, "ok"),
        ("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", 200, "ok"),
        ("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok", 200, "ok"),
        ("HTTP/1.1 205 Reset\r\nContent-Length: 0\r\n\r\n", 205, ""),
        ("HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", 204, ""),
        ("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 200, "ok"),
    ] {
        client.write("POST", "/keep", &[], bytes.as_bytes()).expect("a request");
        if bytes.contains(" 103 ") {
            let hint = client.read_head().expect("a head");
            assert_eq!((hint.status, hint.field("link")), (103, Some("</a>")));
        }
        let answer = client.read().unwrap_or_else(|error| panic!("{error:?}: {bytes:?}"));
        assert_eq!((answer.status, answer.text()), (status, body), "{bytes:?}");
        if let Some(length) = answer.field("content-length") {
            assert_eq!(length, body.len().to_string(), "{bytes:?}");
        }
    }
}

/// What an app may do wrong with the end of an answer, which then is neither the client's nor the next client's.
const OVERLONG: [&str; 9] = [
    "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok+",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n+",
    "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n+",
    "HTTP/1.1 204 No Content\r\n\r\n+",
    "HTTP/1.1 204 No Content\r\nContent-Length: 47\r\n\r\n+",
    "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n+",
    "HTTP/1.1 304 Not Modified\r\n\r\n+",
    "HTTP/1.1 304 Not Modified\r\nContent-Length: 47\r\n\r\n+",
    "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok+",
];

const POISON: &str = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison";

#[test]
fn what_an_app_sends_beyond_its_answer_reaches_nobody() {
    let upstream = parrot();
    let sidecar = Sidecar::start(&Sidecar::bare(&upstream).raw("proxy.threads", "1"));
    for overlong in OVERLONG {
        for method in ["POST", "HEAD"] {
            let before = upstream.accepted();
            let mut client = Client::connect(sidecar.traffic);
            let bytes = overlong.replace('+', POISON);
            let first = client
                .ask(method, "/keep", &[], bytes.as_bytes())
                .unwrap_or_else(|error| panic!("{error:?}: {bytes:?}"));
            assert_ne!(first.body, b"poison");
            let mut next = Client::connect(sidecar.traffic);
            let clean = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nclean";
            assert_eq!(answered(&mut next, "/x", clean).expect("an answer").text(), "clean", "{method} {overlong:?}");
            assert_eq!(upstream.accepted(), before + 2, "its connection is given up: {method} {overlong:?}");
        }
    }
}

#[test]
fn no_client_ever_gets_the_answer_of_another() {
    // An app that often does something wrong with the end of an answer, at once or a little later, while many clients ask
    // over few kept connections. Each answer names the request that it belongs to.
    const CLIENTS: usize = 8;
    const REQUESTS: usize = 150;
    let turn = AtomicUsize::new(0);
    let upstream = Upstream::start(move |exchange| {
        exchange.read_body();
        let id = exchange.seen.target.clone();
        let poison = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison";
        let turn = turn.fetch_add(1, SeqCst);
        let (now, later) = match turn % 6 {
            0 => (format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{id}{poison}", id.len()), ""),
            1 => (
                format!(
                    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{id}\r\n0\r\n\r\n{poison}",
                    id.len()
                ),
                "",
            ),
            2 => (format!("HTTP/1.1 304 Not Modified\r\nX-Id: {id}\r\nContent-Length: 6\r\n\r\n"), poison),
            3 => (format!("HTTP/1.1 204 No Content\r\nX-Id: {id}\r\nTransfer-Encoding: chunked\r\n\r\n"), poison),
            _ => (format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{id}", id.len()), ""),
        };
        exchange.write(now.as_bytes());
        if !later.is_empty() {
            std::thread::yield_now();
            exchange.write(later.as_bytes());
        }
        Next::Keep
    });
    let sidecar = Sidecar::start(&Sidecar::bare(&upstream));
    let wrong: Arc<Mutex<BTreeSet<String>>> = Arc::default();
    std::thread::scope(|scope| {
        for number in 0..CLIENTS {
            let (wrong, address) = (wrong.clone(), sidecar.traffic);
            scope.spawn(move || {
                let mut client = Client::connect(address);
                for request in 0..REQUESTS {
                    let id = format!("/{number}-{request}");
                    // Bodies that look like requests, for an app that would read them as such.
                    let inner = format!("GET /smuggled-{id} HTTP/1.1\r\nhost: a\r\n\r\n");
                    let (method, body) = if request % 3 == 0 { ("POST", inner.as_bytes()) } else { ("GET", &b""[..]) };
                    let said = match client.ask(method, &id, &[], body) {
                        Ok(answer) if answer.status == 200 => answer.text().to_owned(),
                        Ok(answer) => answer.field("x-id").map_or_else(|| format!("{answer:?}"), str::to_owned),
                        Err(error) => format!("{error:?}"),
                    };
                    if said != id {
                        wrong.lock().expect("the list").insert(format!("{id} was answered with {said}"));
                        client = Client::connect(address);
                    }
                }
            });
        }
    });
    let wrong = wrong.lock().expect("the list");
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(upstream.seen().iter().all(|seen| !seen.target.contains("smuggled")));
}

#[test]
fn an_answer_that_comes_before_its_request_is_whole_ends_both_connections() {
    let upstream = Upstream::start(|exchange| {
        // Without reading the body.
        let fields = if exchange.seen.target == "/next" { &[("connection", "close")][..] } else { &[] };
        exchange.answer(200, fields, b"early");
        std::thread::park_timeout(Duration::from_millis(50));
        Next::Keep
    });
    let sidecar = Sidecar::start(&Sidecar::bare(&upstream).raw("proxy.threads", "1"));
    for framing in ["Content-Length: 100", "Transfer-Encoding: chunked"] {
        let before = upstream.accepted();
        let mut client = Client::connect(sidecar.traffic);
        client.send(format!("POST /early HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n").as_bytes()).expect("a head");
        client.expect("POST");
        let answer = client.read().expect("an answer");
        assert_eq!((answer.text(), answer.closes()), ("early", true), "{framing}");
        let _ = client.send(b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n");
        assert!(client.is_closed(), "the rest is no request");
        assert_eq!(sidecar.get("/next").text(), "early");
        assert_eq!(upstream.accepted(), before + 2);
    }
    assert!(upstream.seen().iter().all(|seen| seen.target != "/smuggled"));
}

#[test]
fn a_reason_cannot_split_an_answer() {
    let upstream = parrot();
    let sidecar = Sidecar::start(&Sidecar::bare(&upstream));
    for reason in ["OK\r\nSet-Cookie: a=1", "OK\rSet-Cookie: a=1", "OK\nSet-Cookie: a=1", "\u{560a}Set-Cookie: a=1"] {
        let bytes = format!("HTTP/1.1 200 {reason}\r\nContent-Length: 2\r\n\r\nok");
        let mut client = Client::connect(sidecar.traffic);
        // The app keeps its connections: a POST may meet the end of one otherwise, and is not sent again.
        let answer = answered(&mut client, "/keep", bytes.as_bytes()).expect("an answer");
        // With a proper line end it is a field like any other, and everybody agrees on that.
        let is_field = reason.contains("\r\n");
        assert_eq!(answer.field("set-cookie").is_some(), is_field, "{reason:?}");
        assert_eq!(answer.status, if reason.contains(['\r', '\n']) && !is_field { 502 } else { 200 }, "{reason:?}");
    }
}

/// What an app sends a little later, behind an answer that has no body whatever it says.
#[test]
fn a_body_that_must_not_be_and_comes_late_is_nobodys_answer() {
    let upstream = Upstream::start(|exchange| {
        let head = match exchange.seen.target.as_str() {
            "/head" => "HTTP/1.1 200 OK\r\nContent-Length: 44\r\n\r\n",
            "/204" => "HTTP/1.1 204 No Content\r\n\r\n",
            "/304" => "HTTP/1.1 304 Not Modified\r\n\r\n",
            _ => return exchange.answer(200, &[], b"clean"),
        };
        exchange.write(head.as_bytes());
        std::thread::park_timeout(Duration::from_millis(2));
        exchange.write(POISON.as_bytes());
        Next::Keep
    });
    let sidecar = Sidecar::start(&Sidecar::bare(&upstream).raw("proxy.threads", "1"));
    let mut client = Client::connect(sidecar.traffic);
    for (method, target) in [("HEAD", "/head"), ("GET", "/204"), ("GET", "/304")] {
        for round in 0..10 {
            client.ask(method, target, &[], b"").expect("an answer");
            let next = client.ask("GET", "/", &[], b"").expect("an answer");
            assert_eq!(next.text(), "clean", "{target}, round {round}");
        }
    }
}

/// The other side of that: an app that does nothing wrong keeps its connections.
#[test]
fn a_connection_that_has_rested_is_used_again() {
    let upstream = Upstream::start(|exchange| {
        exchange.write(b"HTTP/1.1 204 No Content\r\n\r\n");
        Next::Keep
    });
    let sidecar = Sidecar::start(&Sidecar::bare(&upstream).raw("proxy.threads", "1"));
    for _ in 0..5 {
        assert_eq!(sidecar.get("/").status, 204);
        std::thread::park_timeout(Duration::from_millis(30));
    }
    assert_eq!(upstream.accepted(), 1);
}
