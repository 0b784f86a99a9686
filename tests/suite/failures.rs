//! What goes wrong on the way, and how clients and metrics are told: stable codes, and no broken answer that looks whole.

use std::net::Shutdown;
use std::time::{Duration, Instant};

use crate::support::{
    CLOSED_PORT, Client, HttpError, Next, PATIENCE, Response, Settings, Sidecar, Upstream, eventually,
};

fn start(settings: &Settings) -> Sidecar {
    Sidecar::start(settings)
}

/// An answer of our own: code, stable name, and for whom it concerns `Proxy-Status`.
#[track_caller]
pub(crate) fn assert_own(answer: &Response, status: u16, code: &str, proxy_status: &str) {
    assert_eq!(answer.status, status, "{answer:?}");
    assert_eq!(answer.field("content-type"), Some("application/json"));
    let body = answer.json();
    assert_eq!(body["error"]["code"], code);
    assert!(body["error"]["message"].as_str().is_some_and(|text| !text.is_empty()));
    let status_field = answer.field("proxy-status").expect("Proxy-Status");
    assert!(status_field.starts_with("pulsegate;"), "{status_field}");
    assert!(status_field.contains(&format!("error={proxy_status}")), "{status_field}");
}

#[track_caller]
pub(crate) fn await_error(sidecar: &Sidecar, kind: &str, count: f64) {
    let label = format!("type=\"{kind}\"");
    eventually(PATIENCE, kind, || sidecar.metric("pulsegate_errors_total", &[&label]) == count);
}

#[test]
fn an_app_that_is_not_there_is_a_502() {
    let sidecar = start(&Sidecar::bare_for(CLOSED_PORT));
    let answer = sidecar.get("/");
    assert_own(&answer, 502, "upstream_connect_refused", "connection_refused");
    await_error(&sidecar, "upstream_connect", 1.0);
    sidecar.assert_metric("pulsegate_requests_total", &["code=\"502\""], 1.0);
}

#[test]
fn an_app_that_does_not_accept_is_a_504() {
    // A listener whose queue is full: the kernel drops what knocks.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    socket.bind(&crate::support::local(0).into()).expect("a port");
    socket.listen(0).expect("listening");
    let address = socket.local_addr().expect("an address").as_socket().expect("TCP");
    let mut knocking = Vec::new();
    eventually(PATIENCE, "the queue is full", || {
        let knock = std::net::TcpStream::connect_timeout(&address, Duration::from_millis(200));
        let full = knock.is_err();
        knocking.extend(knock);
        full
    });
    let settings = Sidecar::bare_for(address.port()).text("proxy.timeouts.connect", "300ms");
    let sidecar = start(&settings);
    let begun = Instant::now();
    let answer = sidecar.get("/");
    assert_own(&answer, 504, "upstream_connect_timeout", "connection_timeout");
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    await_error(&sidecar, "upstream_timeout", 1.0);
}

#[test]
fn an_app_that_does_not_answer_is_a_504_if_so_wished() {
    let upstream = Upstream::start(|exchange| {
        exchange.read_body();
        exchange.wait_until_gone();
        Next::Close
    });
    let sidecar = start(&Sidecar::bare(&upstream).text("proxy.timeouts.response_header", "300ms"));
    assert_own(&sidecar.get("/"), 504, "upstream_response_timeout", "http_response_timeout");
    assert_own(&sidecar.ask("POST", "/", &[], b"x"), 504, "upstream_response_timeout", "http_response_timeout");
    await_error(&sidecar, "upstream_timeout", 2.0);
    assert_eq!(upstream.seen().len(), 2, "not sent a second time");
}

#[test]
fn an_app_that_closes_before_its_answer_is_a_502() {
    for next in [Next::Close, Next::Reset] {
        for part in [&b""[..], b"HTTP/1.1 200 OK\r\ncontent-le"] {
            let upstream = Upstream::start(move |exchange| {
                exchange.read_body();
                exchange.write(part);
                next
            });
            let sidecar = start(&Sidecar::bare(&upstream));
            let answer = sidecar.ask("POST", "/", &[], b"once");
            assert_eq!(answer.status, 502, "{next:?} after {:?}", String::from_utf8_lossy(part));
            let code = answer.json()["error"]["code"].as_str().map(str::to_owned);
            assert!(matches!(code.as_deref(), Some("upstream_closed" | "upstream_invalid_response")), "{code:?}");
            assert!(answer.field("proxy-status").is_some());
            assert_eq!(upstream.seen().len(), 1, "what may have had an effect is not sent again");
        }
    }
}

#[test]
fn an_app_that_does_not_speak_http_is_a_502() {
    for bytes in [
        &b"SSH-2.0-OpenSSH_9.9\r\n"[..],
        b"\x15\x03\x01\x00\x02\x02\x0a",
        b"HTTP/1.1 99 Odd\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nxx",
        b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nbad name: x\r\n\r\n",
    ] {
        let upstream = Upstream::start(move |exchange| {
            exchange.read_body();
            exchange.write(bytes);
            Next::Close
        });
        let sidecar = start(&Sidecar::bare(&upstream));
        let answer = sidecar.get("/");
        let text = String::from_utf8_lossy(bytes);
        assert_own(&answer, 502, "upstream_invalid_response", "http_protocol_error");
        await_error(&sidecar, "upstream_protocol", 1.0);
        assert_eq!(sidecar.get("/livez").status, 200, "{text}");
    }
}

#[test]
fn an_answer_that_breaks_off_never_looks_whole() {
    let heads = [
        ("content-length", "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nonly this"),
        ("chunked", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n9\r\nonly this\r\n"),
        ("in a chunk", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nff\r\nonly this"),
        ("a bad chunk", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n9\r\nonly this\r\nzz\r\n"),
    ];
    for next in [Next::Close, Next::Reset] {
        for (what, head) in heads {
            let upstream = Upstream::start(move |exchange| {
                exchange.read_body();
                exchange.write(head.as_bytes());
                // A reset may overtake what was written: the other side takes it first.
                std::thread::park_timeout(Duration::from_millis(100));
                next
            });
            let sidecar = start(&Sidecar::bare(&upstream));
            let mut client = Client::connect(sidecar.traffic);
            client.write("GET", "/", &[], b"").expect("a request");
            let head = client.read_head().unwrap_or_else(|error| panic!("{what}, {next:?}: no head: {error}"));
            if what == "a bad chunk" && head.status == 502 {
                continue; // Seen before anything was passed on: that says even more.
            }
            assert_eq!(head.status, 200);
            let mut got = Vec::new();
            let mut pieces = client.pieces(&head).expect("a body");
            let end = loop {
                match pieces.next() {
                    Ok(Some(piece)) => got.extend(piece),
                    Ok(None) => break None,
                    Err(error) => break Some(error),
                }
            };
            assert!(matches!(end, Some(HttpError::Truncated(_))), "{what}, {next:?}: {end:?} after {got:?}");
            assert!(b"only this".starts_with(&got[..]), "{what}");
            eventually(PATIENCE, "counted once, as the app's fault, with the code that was sent", || {
                let faults = ["upstream_reset", "upstream_protocol"]
                    .map(|kind| sidecar.metric("pulsegate_errors_total", &[&format!("type=\"{kind}\"")]));
                faults.iter().sum::<f64>() == 1.0
                    && sidecar.metric("pulsegate_requests_total", &["code=\"200\""]) == 1.0
            });
            sidecar.assert_metric("pulsegate_errors_total", &[], 1.0);
        }
    }
}

#[test]
fn an_answer_ended_by_a_reset_is_an_error_too() {
    let upstream = Upstream::start(|exchange| {
        exchange.read_body();
        exchange.write(b"HTTP/1.1 200 OK\r\n\r\nuntil the end, which never came");
        std::thread::park_timeout(Duration::from_millis(100));
        Next::Reset
    });
    let sidecar = start(&Sidecar::bare(&upstream));
    let answer = Client::connect(sidecar.traffic).ask("GET", "/", &[], b"");
    assert!(matches!(answer, Err(HttpError::Truncated(_))), "{answer:?}");
}

#[test]
fn a_client_that_leaves_is_noticed_by_the_app_and_counted() {
    let upstream = Upstream::start(|exchange| {
        exchange.read_body();
        if exchange.seen.target == "/streaming" {
            exchange.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n");
        }
        exchange.wait_until_gone();
        exchange.seen.body = b"gone".to_vec();
        Next::Close
    });
    let sidecar = start(&Sidecar::bare(&upstream));
    for (index, target) in ["/waiting", "/streaming"].into_iter().enumerate() {
        let mut client = Client::connect(sidecar.traffic);
        client.write("GET", target, &[], b"").expect("a request");
        if target == "/streaming" {
            let head = client.read_head().expect("a head");
            assert!(client.pieces(&head).expect("a body").next().expect("a piece").is_some());
        } else {
            eventually(PATIENCE, "the app is asked", || upstream.seen().len() == index + 1);
        }
        drop(client);
        eventually(PATIENCE, "the app notices", || upstream.seen().iter().all(|seen| seen.body == b"gone"));
        await_error(&sidecar, "client_closed", (index + 1) as f64);
    }
    eventually(PATIENCE, "nothing is in flight", || sidecar.metric("pulsegate_requests_in_flight", &[]) == 0.0);
    sidecar.assert_metric("pulsegate_requests_total", &["code=\"499\""], 2.0);
    sidecar.assert_metric("pulsegate_upstream_connections", &["state=\"active\""], 0.0);
}

#[test]
fn an_upload_that_breaks_off_never_looks_whole_to_the_app() {
    let upstream = Upstream::start(|exchange| {
        let whole = exchange.read_body();
        exchange.seen.body = if whole { b"whole".to_vec() } else { b"broken".to_vec() };
        exchange.answer(200, &[], b"ok")
    });
    let sidecar = start(&Sidecar::bare(&upstream));
    let host = sidecar.traffic;
    for (index, framing) in
        ["content-length: 100\r\n\r\npart", "transfer-encoding: chunked\r\n\r\n4\r\npart\r\n"].into_iter().enumerate()
    {
        let mut client = Client::connect(sidecar.traffic);
        client.send(format!("POST / HTTP/1.1\r\nhost: {host}\r\n{framing}").as_bytes()).expect("a part");
        eventually(PATIENCE, "the app is asked", || upstream.seen().len() == index + 1);
        client.shut_down(Shutdown::Both);
        eventually(PATIENCE, "the app sees an error", || upstream.seen()[index].body == b"broken");
    }
}

#[test]
fn a_body_that_is_not_framed_as_promised_is_a_400() {
    let upstream =
        Upstream::start(|exchange| if exchange.read_body() { exchange.answer(200, &[], b"ok") } else { Next::Close });
    let sidecar = start(&Sidecar::bare(&upstream));
    let host = sidecar.traffic;
    for body in ["zz\r\nx\r\n0\r\n\r\n", "5\r\nhelloX\r\n0\r\n\r\n", "-1\r\n\r\n", "fffffffffffffffff\r\nx"] {
        let request = format!("POST / HTTP/1.1\r\nhost: {host}\r\ntransfer-encoding: chunked\r\n\r\n{body}");
        let answer = crate::forwarding::raw(&sidecar, request.as_bytes());
        let code = answer.json()["error"]["code"].as_str().expect("a code").to_owned();
        assert_own(&answer, 400, &code, "http_request_error");
    }
    await_error(&sidecar, "invalid_request", 4.0);
}

#[test]
fn a_stale_connection_is_replaced_and_nobody_notices() {
    let upstream = Upstream::start(|exchange| {
        exchange.read_body();
        // Says nothing of closing, and closes: as a server does whose own idle time is over.
        exchange.answer(200, &[], b"hello");
        Next::Close
    });
    let sidecar = start(&Sidecar::bare(&upstream));
    let mut client = Client::connect(sidecar.traffic);
    for _ in 0..20 {
        assert_eq!(client.ask("GET", "/", &[], b"").expect("an answer").text(), "hello");
    }
    sidecar.assert_metric("pulsegate_errors_total", &[], 0.0);
    sidecar.assert_metric("pulsegate_requests_total", &["code=\"200\""], 20.0);
}

#[test]
fn an_app_that_comes_back_serves_again() {
    let upstream = Upstream::hello();
    let port = upstream.port();
    let sidecar = start(&Sidecar::bare(&upstream));
    let mut client = Client::connect(sidecar.traffic);
    assert_eq!(client.ask("GET", "/", &[], b"").expect("an answer").status, 200);
    drop(upstream);
    assert_eq!(client.ask("GET", "/", &[], b"").expect("an answer").status, 502);
    let _again = Upstream::start_at(port, |exchange| exchange.answer(200, &[], b"back"));
    assert_eq!(client.ask("GET", "/", &[], b"").expect("an answer").text(), "back");
}

/// An app that answers a request for `/hold` only when `/release` has been asked for.
pub(crate) fn holding() -> Upstream {
    let released = std::sync::Arc::new((std::sync::Mutex::new(false), std::sync::Condvar::new()));
    Upstream::start(move |exchange| {
        exchange.read_body();
        let (released, changed) = &*released;
        if exchange.seen.target == "/hold" {
            let free = released.lock().expect("the switch");
            drop(changed.wait_timeout_while(free, 2 * PATIENCE, |free| !*free).expect("the switch"));
        }
        if exchange.seen.target == "/release" {
            *released.lock().expect("the switch") = true;
            changed.notify_all();
        }
        exchange.answer(200, &[], b"done")
    })
}

#[test]
fn beyond_the_limit_requests_queue_and_beyond_the_queue_they_are_refused() {
    let upstream = holding();
    let settings = Sidecar::bare(&upstream)
        .raw("proxy.limits.in_flight", "2")
        .raw("proxy.limits.queue", "1")
        .text("proxy.limits.queue_timeout", "20s");
    let sidecar = start(&settings);
    let hold = || {
        let mut client = Client::connect(sidecar.traffic);
        client.write("GET", "/hold", &[], b"").expect("a request");
        client
    };
    let mut held = vec![hold(), hold()];
    eventually(PATIENCE, "two are at the app", || upstream.seen().len() == 2);
    held.push(hold());
    eventually(PATIENCE, "the third waits", || sidecar.metric("pulsegate_requests_in_flight", &[]) == 3.0);
    let refused = sidecar.get("/one-too-many");
    assert_own(&refused, 503, "overloaded", "http_request_denied");
    sidecar.assert_metric("pulsegate_requests_queued", &[], 1.0);
    assert!(refused.field("retry-after").is_some_and(|after| after.parse::<u32>().is_ok()));
    assert_eq!(sidecar.get("/livez").status, 200, "endpoints are no traffic");
    assert_eq!(upstream.seen().len(), 2);

    // From outside, as the sidecar's places are taken.
    assert_eq!(crate::support::get(crate::support::local(upstream.port()), "/release").status, 200);
    for client in &mut held {
        assert_eq!(client.read().expect("an answer").text(), "done", "who waited is served");
    }
    assert_eq!(sidecar.get("/free-again").status, 200);
    await_error(&sidecar, "rejected_overload", 1.0);
    sidecar.assert_metric("pulsegate_requests_queued", &[], 0.0);
    sidecar.assert_metric("pulsegate_queued_total", &[], 1.0); // who is refused has not waited
}

#[test]
fn who_waits_too_long_in_the_queue_is_told() {
    let upstream = holding();
    let settings =
        Sidecar::bare(&upstream).raw("proxy.limits.in_flight", "1").text("proxy.limits.queue_timeout", "300ms");
    let sidecar = start(&settings);
    let mut client = Client::connect(sidecar.traffic);
    client.write("GET", "/hold", &[], b"").expect("a request");
    eventually(PATIENCE, "it is at the app", || upstream.seen().len() == 1);
    let answer = sidecar.get("/waits");
    assert_own(&answer, 503, "queue_timeout", "http_request_denied");
    assert!(answer.field("retry-after").is_some());
    assert_eq!(crate::support::get(crate::support::local(upstream.port()), "/release").status, 200);
    assert_eq!(client.read().expect("an answer").status, 200);
}

#[test]
fn a_body_over_the_limit_is_a_413() {
    let upstream =
        Upstream::start(|exchange| if exchange.read_body() { exchange.answer(200, &[], b"ok") } else { Next::Close });
    let sidecar = start(&Sidecar::bare(&upstream).raw("proxy.limits.body_bytes", "1000"));
    assert_eq!(sidecar.ask("POST", "/", &[], &[b'x'; 1000]).status, 200);
    // By its length it is refused before a byte of it has come.
    let host = sidecar.traffic;
    let answer = crate::forwarding::raw(
        &sidecar,
        format!("POST / HTTP/1.1\r\nhost: {host}\r\ncontent-length: 1001\r\n\r\n").as_bytes(),
    );
    assert_own(&answer, 413, "body_too_large", "http_request_denied");
    assert_eq!(upstream.seen().len(), 1);
    // Without a length as soon as it is over.
    let mut request = format!("POST / HTTP/1.1\r\nhost: {host}\r\ntransfer-encoding: chunked\r\n\r\n").into_bytes();
    for _ in 0..3 {
        request.extend(b"190\r\n");
        request.extend([b'x'; 400]);
        request.extend(b"\r\n");
    }
    // Also when all of it comes at once, and whether or not it ends there.
    assert_own(
        &crate::forwarding::raw(&sidecar, &[&request[..], b"0\r\n\r\n"].concat()),
        413,
        "body_too_large",
        "http_request_denied",
    );
    assert_own(&crate::forwarding::raw(&sidecar, &request), 413, "body_too_large", "http_request_denied");
    await_error(&sidecar, "rejected_limit", 3.0);
    let whole = upstream.seen().into_iter().filter(|seen| seen.body.len() > 1000).count();
    assert_eq!(whole, 0, "the app never sees more than the limit");
}

#[test]
fn a_client_over_its_rate_is_a_429() {
    let upstream = Upstream::hello();
    let sidecar = start(&Sidecar::bare(&upstream).text("proxy.limits.rate_per_client", "10/s"));
    let mut client = Client::connect(sidecar.traffic);
    let answers: Vec<Response> = (0..100).map(|_| client.ask("GET", "/", &[], b"").expect("an answer")).collect();
    let refused: Vec<&Response> = answers.iter().filter(|answer| answer.status == 429).collect();
    assert!(answers[..5].iter().all(|answer| answer.status == 200));
    assert!(!refused.is_empty());
    for answer in &refused {
        assert_own(answer, 429, "rate_limited", "http_request_denied");
        assert!(answer.field("retry-after").is_some());
    }
    // Another client has a rate of its own.
    assert_eq!(sidecar.ask("GET", "/", &[("x-forwarded-for", "10.0.0.7")], b"").status, 200);
    eventually(PATIENCE, "its time comes again", || client.ask("GET", "/", &[], b"").expect("an answer").status == 200);
    assert_eq!(sidecar.get("/livez").status, 200, "endpoints are no traffic");
    assert!(sidecar.metric("pulsegate_errors_total", &["type=\"rejected_limit\""]) >= refused.len() as f64);
    sidecar.assert_metric("pulsegate_errors_total", &["type=\"rate_limited\""], 0.0); // that is the app's own
}

#[test]
fn a_head_that_comes_too_slowly_is_a_408() {
    let upstream = Upstream::hello();
    let sidecar = start(&Sidecar::bare(&upstream).text("proxy.timeouts.request_header", "500ms"));
    let mut client = Client::connect(sidecar.traffic);
    client.send(b"GET / HTTP/1.1\r\nhost: a").expect("a part");
    let answer = client.read().expect("an answer");
    assert_eq!(answer.status, 408);
    assert_eq!(answer.json()["error"]["code"], "request_header_timeout");
    assert!(client.is_closed());
    await_error(&sidecar, "rejected_limit", 1.0);
    assert!(upstream.seen().is_empty());
}

#[test]
fn a_head_that_is_too_large_is_a_431() {
    let upstream = Upstream::hello();
    let sidecar = start(&Sidecar::bare(&upstream).text("proxy.limits.header_bytes", "8KiB"));
    let answer = sidecar.ask("GET", "/", &[("x-large", &"x".repeat(6000))], b"");
    assert_eq!(answer.status, 200);
    let mut client = Client::connect(sidecar.traffic);
    let written = client.write("GET", "/", &[("x-large", &"x".repeat(20_000))], b"");
    if written.is_ok() {
        let answer = client.read();
        // The rest of the head may be answered with a reset, which overtakes the answer.
        assert!(matches!(&answer, Ok(answer) if answer.status == 431) || answer.is_err(), "{answer:?}");
    }
    await_error(&sidecar, "rejected_limit", 1.0);
    assert_eq!(upstream.seen().len(), 1);
}

#[test]
fn a_body_that_comes_too_slowly_is_a_408() {
    let upstream =
        Upstream::start(|exchange| if exchange.read_body() { exchange.answer(200, &[], b"ok") } else { Next::Close });
    let sidecar = start(&Sidecar::bare(&upstream).text("proxy.timeouts.stream_idle", "400ms"));
    let host = sidecar.traffic;
    let request = format!("POST / HTTP/1.1\r\nhost: {host}\r\ncontent-length: 10\r\n\r\nhalf");
    let answer = crate::forwarding::raw(&sidecar, request.as_bytes());
    assert_own(&answer, 408, "request_body_timeout", "http_request_denied");
}

#[test]
fn an_app_that_falls_silent_in_its_answer_is_given_up() {
    let upstream = Upstream::start(|exchange| {
        exchange.read_body();
        exchange.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n");
        exchange.wait_until_gone();
        Next::Close
    });
    let sidecar = start(&Sidecar::bare(&upstream).text("proxy.timeouts.stream_idle", "400ms"));
    let answer = Client::connect(sidecar.traffic).ask("GET", "/", &[], b"");
    assert!(matches!(answer, Err(HttpError::Truncated(_))), "{answer:?}");
    await_error(&sidecar, "upstream_timeout", 1.0);
}

#[test]
fn an_idle_connection_is_closed() {
    let upstream = Upstream::hello();
    let sidecar = start(&Sidecar::bare(&upstream).text("proxy.timeouts.idle", "300ms"));
    let mut fresh = Client::connect(sidecar.traffic);
    let mut used = Client::connect(sidecar.traffic);
    assert_eq!(used.ask("GET", "/", &[], b"").expect("an answer").status, 200);
    assert!(used.is_closed() && fresh.is_closed());
    eventually(PATIENCE, "none is open", || sidecar.metric("pulsegate_connections", &[]) == 0.0);
    sidecar.assert_metric("pulsegate_errors_total", &[], 0.0); // nothing went wrong
}

#[test]
fn unready_traffic_is_refused_if_so_wished() {
    let upstream = Upstream::hello();
    let settings = Sidecar::full(&upstream).raw("proxy.reject_when_unready", "true");
    let sidecar = start(&settings).ready();
    assert_eq!(sidecar.get("/").status, 200);
    upstream.set_probe(500);
    sidecar.await_code("/readyz", 503);
    eventually(PATIENCE, "traffic is refused", || sidecar.get("/").status == 503);
    let answer = sidecar.get("/");
    assert_own(&answer, 503, "not_ready", "http_request_denied");
    assert!(answer.field("retry-after").is_some());
    assert_eq!(sidecar.get("/health").json()["status"], "unhealthy", "endpoints answer all the same");
    upstream.set_probe(200);
    eventually(PATIENCE, "traffic passes again", || sidecar.get("/").status == 200);
}

#[test]
fn more_connections_than_allowed_wait_their_turn() {
    let upstream = Upstream::hello();
    let sidecar = start(&Sidecar::bare(&upstream).raw("proxy.limits.connections", "2"));
    let mut first = Client::connect(sidecar.traffic);
    let second = Client::connect(sidecar.traffic);
    assert_eq!(first.ask("GET", "/", &[], b"").expect("an answer").status, 200);
    eventually(PATIENCE, "both are taken", || sidecar.metric("pulsegate_connections", &[]) == 2.0);
    let mut third = Client::connect(sidecar.traffic);
    third.write("GET", "/third", &[], b"").expect("a request");
    assert_eq!(sidecar.admin("/readyz").status, 200, "the management port has places of its own");
    drop(second);
    assert_eq!(third.read().expect("an answer").status, 200);
}
