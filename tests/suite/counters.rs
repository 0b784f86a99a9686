//! Requests sent = sum of what was counted, exactly, aborts and refusals included (contract, section 6).

use crate::support::{Client, Next, PATIENCE, Sidecar, Upstream, eventually};

/// An app that answers by the path: a code, an answer that breaks off, or none.
fn app() -> Upstream {
    Upstream::start(|exchange| {
        exchange.read_body();
        match exchange.seen.target.trim_start_matches('/') {
            "cut" => {
                exchange.write(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf");
                Next::Close
            }
            "hang" => {
                exchange.wait_until_gone();
                Next::Close
            }
            "503-overloaded" => exchange.answer(503, &[], br#"{"error":{"type":"overloaded_error"}}"#),
            code => {
                let code = code.parse().unwrap_or(200);
                exchange.answer(code, &[], b"")
            }
        }
    })
}

#[test]
#[expect(clippy::too_many_lines, reason = "one mix and its one account")]
fn requests_sent_are_the_sum_of_the_requests_counted() {
    let upstream = app();
    let sidecar = Sidecar::start(&Sidecar::full(&upstream).raw("proxy.limits.body_bytes", "1000")).ready();
    let host = sidecar.traffic;
    let mut sent = 0;
    let mut kept = Client::connect(host);
    for (method, target, code, times) in [
        ("GET", "/200", 200, 30),
        ("POST", "/201", 201, 20),
        ("HEAD", "/200", 200, 10),
        ("DELETE", "/204", 204, 5),
        ("GET", "/404", 404, 5),
        ("GET", "/429", 429, 4),
        ("GET", "/529", 529, 3),
        ("GET", "/500", 500, 2),
        ("GET", "/503", 503, 2),
        ("BREW", "/200", 200, 6),
        ("get", "/200", 200, 1),
    ] {
        for _ in 0..times {
            assert_eq!(kept.ask(method, target, &[], b"").expect("an answer").status, code, "{method} {target}");
            sent += 1;
        }
    }
    // Malformed ones: each ends its connection.
    for bytes in [&b"NOT HTTP\r\n\r\n"[..], b"GET / HTTP/1.1\r\nhost: a b\r\n\r\n", b"\0\0\0\0\r\n\r\n"] {
        let mut client = Client::connect(host);
        client.send(bytes).expect("bytes");
        assert_eq!(client.read().expect("an answer").status, 400);
        sent += 1;
    }
    for _ in 0..2 {
        assert_eq!(sidecar.ask("POST", "/200", &[], &[b'x'; 1001]).status, 413);
        sent += 1;
    }
    // Answers that the app breaks off.
    for _ in 0..3 {
        assert!(Client::connect(host).ask("GET", "/cut", &[], b"").is_err());
        sent += 1;
    }
    // Clients that leave: waiting for the answer, and in the middle of the head.
    for number in 1..=8 {
        let mut client = Client::connect(host);
        client.write("GET", "/hang", &[], b"").expect("a request");
        eventually(PATIENCE, "the app is asked", || {
            upstream.seen().iter().filter(|seen| seen.target == "/hang").count() == number
        });
        sent += 1;
    }
    for _ in 0..2 {
        Client::connect(host).send(b"GET /half HTT").expect("bytes");
        sent += 1;
    }
    // Connections without a request are none, and neither is management.
    drop(Client::connect(host));
    for path in ["/health", "/health/detailed", "/metrics", "/livez", "/readyz", "/startupz"] {
        assert_eq!(sidecar.get(path).status, 200);
        assert_eq!(sidecar.ask("POST", path, &[], b"").status, 405);
    }

    let metric = |name: &str, labels: &[&str]| sidecar.metric(&format!("claude_proxy_{name}"), labels);
    eventually(PATIENCE, "all are counted", || {
        metric("requests_total", &[]) >= f64::from(sent) && metric("requests_in_flight", &[]) == 0.0
    });
    assert_eq!(metric("requests_total", &[]), f64::from(sent));
    assert_eq!(metric("request_duration_seconds_count", &[]), f64::from(sent));
    for (labels, count) in [
        (&["method=\"GET\"", "code=\"200\""][..], 33.0),
        (&["method=\"HEAD\""], 10.0),
        (&["method=\"POST\"", "code=\"201\""], 20.0),
        (&["method=\"POST\"", "code=\"413\""], 2.0),
        (&["method=\"other\"", "code=\"200\""], 7.0),
        (&["code=\"400\""], 3.0),
        (&["code=\"429\""], 4.0),
        (&["code=\"499\""], 10.0),
        (&["code=\"502\""], 0.0),
        (&["code=\"529\""], 3.0),
    ] {
        assert_eq!(metric("requests_total", labels), count, "{labels:?}");
    }
    for (kind, count) in [
        ("http_4xx", 5.0),
        ("http_5xx", 4.0),
        ("rate_limited", 4.0),
        ("overloaded", 3.0),
        ("invalid_request", 3.0),
        ("rejected_limit", 2.0),
        ("client_closed", 10.0),
        ("upstream_connect", 0.0),
        ("upstream_timeout", 0.0),
    ] {
        assert_eq!(metric("errors_total", &[&format!("type=\"{kind}\"")]), count, "{kind}");
    }
    let broken =
        ["upstream_reset", "upstream_protocol"].map(|kind| metric("errors_total", &[&format!("type=\"{kind}\"")]));
    assert_eq!(broken.iter().sum::<f64>(), 3.0);

    let methods: std::collections::BTreeSet<String> = sidecar
        .admin("/metrics")
        .text()
        .lines()
        .filter_map(|line| {
            line.strip_prefix("claude_proxy_requests_total{")?
                .split("method=\"")
                .nth(1)?
                .split('"')
                .next()
                .map(str::to_owned)
        })
        .collect();
    assert_eq!(Vec::from_iter(&methods), ["DELETE", "GET", "HEAD", "POST", "other"]);

    let server = sidecar.await_detailed("the body says the same", |body| {
        body["components"]["api_server"]["requests_processed"] == sent
    });
    assert_eq!(server["components"]["api_server"]["errors"], 34);
}

#[test]
fn an_overloaded_error_in_a_503_counts_as_overloaded() {
    let upstream = app();
    let sidecar = Sidecar::start(&Sidecar::bare(&upstream));
    assert_eq!(sidecar.get("/503-overloaded").status, 503);
    eventually(PATIENCE, "it is counted", || sidecar.metric("pulsegate_requests_total", &["code=\"503\""]) == 1.0);
    sidecar.assert_metric("pulsegate_errors_total", &["type=\"overloaded\""], 1.0);
    sidecar.assert_metric("pulsegate_errors_total", &["type=\"http_5xx\""], 0.0);
}

#[test]
fn every_known_series_is_there_from_the_start() {
    let upstream = app();
    let sidecar = Sidecar::start(&Sidecar::bare(&upstream));
    let text = sidecar.admin("/metrics").text().to_owned();
    for kind in [
        "upstream_connect",
        "upstream_timeout",
        "upstream_reset",
        "upstream_protocol",
        "client_closed",
        "rejected_overload",
        "rejected_limit",
        "invalid_request",
        "http_4xx",
        "http_5xx",
        "rate_limited",
        "overloaded",
    ] {
        assert!(text.contains(&format!("pulsegate_errors_total{{type=\"{kind}\"}} 0\n")), "{kind} in\n{text}");
    }
    for direction in ["received", "sent"] {
        assert!(text.contains(&format!("pulsegate_bytes_total{{direction=\"{direction}\"}} 0\n")), "{text}");
    }
    assert!(text.contains("pulsegate_request_duration_seconds_count 0\n"));
}

#[test]
fn invented_methods_and_paths_grow_nothing() {
    let upstream = app();
    let sidecar = Sidecar::start(&Sidecar::bare(&upstream));
    let lines = || sidecar.admin("/metrics").text().lines().count();
    let mut client = Client::connect(sidecar.traffic);
    assert_eq!(client.ask("FIRST", "/200", &[], b"").expect("an answer").status, 200);
    eventually(PATIENCE, "it is counted", || sidecar.metric("pulsegate_requests_total", &["method=\"other\""]) == 1.0);
    let before = lines();
    for number in 0..100 {
        let answer = client.ask(&format!("METHOD{number}"), &format!("/200?{number}"), &[], b"").expect("an answer");
        assert_eq!(answer.status, 200);
    }
    eventually(PATIENCE, "all are counted", || {
        sidecar.metric("pulsegate_requests_total", &["method=\"other\"", "code=\"200\""]) == 101.0
    });
    assert_eq!(lines(), before);
}
