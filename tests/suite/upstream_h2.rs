//! An app that speaks HTTP/2: asked on few connections, with everything that HTTP/1.1 clients are used to.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::time::Duration;

use bytes::Bytes;
use h2::Reason;

use crate::support::{
    AppCertificates, CLOSED_PORT, Client, ClosedLoop, H2App, H2Exchange, H2Rules, HttpError, PATIENCE, Random,
    Settings, Sidecar, Upstream, Validity, eventually, send_all,
};

fn settings(app: &H2App) -> Settings {
    Sidecar::bare_for(app.port()).text("proxy.upstream", &app.url()).raw("proxy.threads", "1")
}

#[track_caller]
fn assert_own(answer: &crate::support::Response, status: u16, code: &str) {
    assert_eq!((answer.status, answer.json()["error"]["code"].as_str()), (status, Some(code)), "{answer:?}");
}

/// Nothing is in flight any more, and the connections are counted as what they are.
#[track_caller]
fn assert_quiet(sidecar: &Sidecar, idle: usize) {
    eventually(PATIENCE, "all streams have ended", || {
        sidecar.metric("pulsegate_upstream_connections", &["state=\"active\""]) == 0.0
            && sidecar.metric("pulsegate_requests_in_flight", &[]) == 0.0
    });
    sidecar.assert_metric("pulsegate_upstream_connections", &["state=\"idle\""], idle as f64);
}

#[test]
fn a_request_arrives_as_one_of_http2() {
    let app = H2App::start(|mut exchange| async move {
        let head = &exchange.head;
        let shown = format!("{} {} {:?} {:?}", head.method, head.uri, head.version, head.headers);
        exchange
            .answer(200, &[("content-length", &shown.len().to_string()), ("x-a", "1"), ("x-a", "2")], shown.as_bytes())
            .await;
    });
    let sidecar = Sidecar::start(&settings(&app));
    let fields =
        [("host", "app.example"), ("TE", "trailers, gzip"), ("Connection", "x-hop"), ("x-hop", "1"), ("X-Kept", "v")];
    let answer = sidecar.ask("GET", "/a?b=%2f", &fields, b"");
    let text = answer.text();
    assert!(text.starts_with("GET http://app.example/a?b=%2f HTTP/2.0"), "{text}");
    for there in ["\"te\": \"trailers\"", "\"x-kept\": \"v\"", "\"x-forwarded-for\": \"127.0.0.1\"", "\"via\": \"1.1 "]
    {
        assert!(text.contains(there), "{there} is missing: {text}");
    }
    for gone in ["x-hop", "connection", "\"host\""] {
        assert!(!text.contains(gone), "{gone} must go: {text}");
    }
    assert_eq!(answer.field("content-length"), Some(&*text.len().to_string()));
    assert_eq!(answer.fields.iter().filter(|(name, _)| name == "x-a").count(), 2);
    assert!(answer.field("via").is_some_and(|via| via.starts_with("2.0 ")), "{answer:?}");
    assert_quiet(&sidecar, 1);
}

#[test]
fn many_requests_share_a_connection_and_large_bodies_pass_both_ways() {
    let app = H2App::echo();
    let sidecar = Sidecar::start(&settings(&app));
    let body = Random(3).bytes(2_000_000);
    std::thread::scope(|scope| {
        for client in 0..20 {
            let (sidecar, body) = (&sidecar, &body);
            scope.spawn(move || {
                let mut connection = Client::connect(sidecar.traffic);
                for round in 0..3 {
                    let part = &body[client * 1000 + round..];
                    let answer = connection.ask("POST", "/", &[], part).expect("an answer");
                    assert!(answer.status == 200 && answer.body == part, "the body came back changed");
                }
            });
        }
    });
    assert_eq!((app.connections(), app.requests()), (1, 60));
    assert_quiet(&sidecar, 1);
}

#[test]
fn trailers_pass_both_ways() {
    let app = H2App::echo();
    let sidecar = Sidecar::start(&settings(&app));
    let mut client = Client::connect(sidecar.traffic);
    let request = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 7\r\n\r\n";
    client.send(request.as_bytes()).expect("sent");
    let head = client.read_head().expect("a head");
    assert_eq!(head.field("transfer-encoding"), Some("chunked"));
    let end = b"3\r\nabc\r\n0\r\nx-sum: 7\r\n\r\n";
    assert_eq!(client.read_exact(end.len()).expect("a body"), end);
}

/// gRPC's Trailers-Only: HEADERS with END_STREAM.
#[test]
fn an_answer_that_ends_with_its_head_is_complete_at_once() {
    let app = H2App::start(|mut exchange| async move {
        let code = if exchange.head.uri.path() == "/204" { 204 } else { 200 };
        exchange.begin(code, &[("grpc-status", "12")], true);
    });
    let sidecar = Sidecar::start(&settings(&app));
    let mut client = Client::connect(sidecar.traffic);
    for (method, target, status) in [("POST", "/", 200), ("GET", "/204", 204), ("HEAD", "/", 200), ("GET", "/", 200)] {
        let answer = client.ask(method, target, &[], b"").expect("an answer");
        assert_eq!((answer.status, answer.field("grpc-status"), answer.body.len()), (status, Some("12"), 0));
    }
    assert_quiet(&sidecar, 1);
}

#[test]
fn interim_answers_and_lengths_of_head_are_passed_on() {
    let app = H2App::start(|mut exchange| async move {
        let mut hints = hyper::Response::new(());
        *hints.status_mut() = hyper::StatusCode::EARLY_HINTS;
        hints.headers_mut().insert("link", "</a.css>".parse().expect("a value"));
        exchange.respond.send_informational(hints).expect("an interim answer");
        exchange.begin(200, &[("content-length", "5")], true);
    });
    let sidecar = Sidecar::start(&settings(&app));
    let mut client = Client::connect(sidecar.traffic);
    client.write("HEAD", "/", &[], b"").expect("sent");
    let hints = client.read_head().expect("an interim answer");
    assert_eq!((hints.status, hints.field("link")), (103, Some("</a.css>")));
    let answer = client.read().expect("an answer");
    assert_eq!((answer.status, answer.field("content-length")), (200, Some("5")));
}

#[test]
fn the_first_bytes_of_a_stream_do_not_wait_for_the_next() {
    let app = H2App::start(|mut exchange| async move {
        let mut send = exchange.begin(200, &[("content-type", "text/event-stream")], false);
        send.send_data(Bytes::from_static(b"data: 1\n\n"), false).expect("sent");
        // Until the client has seen it and says so.
        exchange.read().await;
        send.send_data(Bytes::from_static(b"data: 2\n\n"), true).expect("sent");
    });
    let sidecar = Sidecar::start(&settings(&app));
    let mut client = Client::connect(sidecar.traffic);
    client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n").expect("sent");
    let head = client.read_head().expect("a head");
    let mut pieces = client.pieces(&head).expect("a body");
    assert_eq!(pieces.next().expect("an event"), Some(b"data: 1\n\n".to_vec()));
    client.send(b"x").expect("sent");
    let rest = client.read_exact(b"9\r\ndata: 2\n\n\r\n0\r\n\r\n".len()).expect("the rest");
    assert_eq!(rest, b"9\r\ndata: 2\n\n\r\n0\r\n\r\n");
}

async fn refuse(mut exchange: H2Exchange) {
    exchange.respond.send_reset(Reason::REFUSED_STREAM);
}

#[test]
fn a_refused_stream_is_tried_again_whatever_it_asked() {
    let app = H2App::start(|mut exchange| async move {
        if exchange.number == 0 {
            return refuse(exchange).await;
        }
        let (body, _) = exchange.read().await;
        exchange.answer(200, &[], &body).await;
    });
    let sidecar = Sidecar::start(&settings(&app));
    let answer = sidecar.ask("POST", "/", &[], b"once");
    assert_eq!((answer.status, answer.text()), (200, "once"));
    assert_eq!(app.requests(), 2);

    let app = H2App::start(refuse);
    let sidecar = Sidecar::start(&settings(&app));
    let answer = sidecar.ask("POST", "/", &[], b"x");
    assert_own(&answer, 503, "upstream_stream_refused");
    assert_eq!(app.requests(), 2, "one attempt more, as proxy.retry says");
    assert_quiet(&sidecar, 1);
}

/// A client of HTTP/2 always sends its body after its head, and many of HTTP/1.1 do.
#[test]
fn a_body_that_comes_later_is_at_hand_for_a_second_stream() {
    let app = H2App::start(|mut exchange| async move {
        match (exchange.number, exchange.head.uri.path()) {
            // Before the body has come, and after it.
            (0, _) => refuse(exchange).await,
            (2, _) | (_, "/large") => {
                exchange.read().await;
                refuse(exchange).await;
            }
            _ => {
                let (body, _) = exchange.read().await;
                exchange.answer(200, &[], &body).await;
            }
        }
    });
    let sidecar = Sidecar::start(&settings(&app));
    let mut client = Client::connect(sidecar.traffic);
    for requests in [1, 3] {
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n").expect("sent");
        eventually(PATIENCE, "the app has the head", || app.requests() >= requests);
        client.send(b"5\r\nfirst\r\n").expect("sent");
        client.send(b"7\r\n second\r\n0\r\n\r\n").expect("sent");
        client.expect("POST");
        let answer = client.read().expect("an answer");
        assert_eq!((answer.status, answer.text()), (200, "first second"));
    }
    assert_eq!(app.requests(), 4);
    sidecar.assert_metric("pulsegate_errors_total", &[], 0.0);

    // What is kept has a bound.
    client.send(b"POST /large HTTP/1.1\r\nHost: a\r\nContent-Length: 40000\r\n\r\n").expect("sent");
    eventually(PATIENCE, "the app has the head", || app.requests() == 5);
    client.send(&vec![b'x'; 40_000]).expect("sent");
    client.expect("POST");
    assert_own(&client.read().expect("an answer"), 503, "upstream_stream_refused");
    assert_eq!(app.requests(), 5);
}

#[test]
fn connections_that_the_app_ends_in_an_orderly_way_cost_no_request() {
    let app = H2App::start_with(H2Rules { goaway_after: Some(20), ..H2Rules::default() }, |mut exchange| async move {
        let (body, _) = exchange.read().await;
        exchange.answer(200, &[], &body).await;
    });
    // A further attempt may meet a connection that the app ends just then, too: neither attempts nor budget are for that.
    let sidecar = Sidecar::start(&settings(&app).raw("proxy.retry.attempts", "0"));
    let clients = ClosedLoop::start(sidecar.traffic, 24, |client| client.ask("POST", "/", &[], b"not to be lost"));
    eventually(PATIENCE, "a few hundred answers", || clients.answered() >= 400);
    let failed = clients.end();
    assert!(failed.is_empty(), "{} failed: {:?}", failed.len(), failed.first());
    assert!(app.connections() > 10, "{} connections", app.connections());
}

#[test]
fn what_the_app_breaks_off_does_not_look_complete() {
    let app = H2App::start(|mut exchange| async move {
        match exchange.head.uri.path() {
            "/early" => exchange.respond.send_reset(Reason::INTERNAL_ERROR),
            path => {
                let fields: &[_] = if path == "/length" { &[("content-length", "10")] } else { &[] };
                let mut send = exchange.begin(200, fields, false);
                send_all(&mut send, b"half".to_vec(), false).await;
                // Once the client has seen it.
                exchange.read().await;
                send.send_reset(Reason::INTERNAL_ERROR);
            }
        }
    });
    let sidecar = Sidecar::start(&settings(&app));
    // It has begun with it: an idempotent one is not asked again, either.
    for method in ["POST", "PUT"] {
        assert_own(&sidecar.ask(method, "/early", &[], b"x"), 502, "upstream_stream_reset");
    }
    assert_eq!(app.requests(), 2);
    for path in ["/length", "/chunked"] {
        let mut client = Client::connect(sidecar.traffic);
        client.send(format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n").as_bytes()).expect("sent");
        let head = client.read_head().expect("a head");
        let mut pieces = client.pieces(&head).expect("a body");
        assert_eq!(pieces.next().expect("a piece"), Some(b"half".to_vec()));
        client.send(b"x").expect("sent");
        let rest = client.read_to_end();
        assert!(matches!(&rest, Err(HttpError::Truncated(_))) || rest.is_ok_and(|rest| rest.is_empty()), "{path}");
    }
    eventually(PATIENCE, "four resets", || {
        sidecar.metric("pulsegate_errors_total", &["type=\"upstream_reset\""]) == 4.0
    });
    assert_quiet(&sidecar, 1);
}

/// Some apps answer, and close at once, although more of the body is on its way: the kernel then resets the connection.
#[test]
fn an_app_that_refuses_a_body_and_closes_is_heard() {
    const SETTINGS: &[u8] = b"\0\0\0\x04\0\0\0\0\0";
    const REFUSED: &[u8] = b"\0\0\x05\x01\x05\0\0\0\x01\x08\x03413";
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("its address").port();
    let url = format!("h2c://127.0.0.1:{port}");
    let sidecar = Sidecar::start(&Sidecar::bare_for(port).text("proxy.upstream", &url).raw("proxy.threads", "1"));
    let app = std::thread::spawn(move || {
        for _ in 0..20 {
            let (mut connection, _) = listener.accept().expect("a connection");
            connection.set_read_timeout(Some(PATIENCE)).expect("a timeout");
            connection.write_all(SETTINGS).expect("greeted");
            // The greeting and the head are far smaller than this, the body far larger.
            connection.read_exact(&mut vec![0; 20_000]).expect("a part of the body");
            connection.write_all(REFUSED).expect("answered");
        }
    });
    let body = vec![b'x'; 4 << 20];
    for _ in 0..20 {
        let answer = Client::connect(sidecar.traffic).ask("POST", "/", &[], &body).expect("an answer");
        assert_eq!((answer.status, answer.text()), (413, ""));
    }
    app.join().expect("the app");
    sidecar.assert_metric("pulsegate_upstream_connections", &["state=\"active\""], 0.0);
}

#[test]
fn a_client_that_leaves_ends_the_apps_work() {
    let app = H2App::start(|mut exchange| async move { exchange.watch_reset().await });
    let sidecar = Sidecar::start(&settings(&app));
    let mut client = Client::connect(sidecar.traffic);
    client.write("GET", "/", &[], b"").expect("sent");
    eventually(PATIENCE, "the app is asked", || app.requests() == 1);
    drop(client);
    eventually(PATIENCE, "the stream is reset", || app.resets() == [Reason::CANCEL]);
    assert_quiet(&sidecar, 1);
}

#[test]
fn an_app_that_takes_nothing_holds_up_only_its_own_client() {
    let app = H2App::start_with(H2Rules { window: Some(65_535), ..H2Rules::default() }, |mut exchange| async move {
        if exchange.head.uri.path() == "/stuck" {
            return exchange.watch_reset().await;
        }
        exchange.answer(200, &[], &vec![7; 300_000]).await;
    });
    let sidecar = Sidecar::start(&settings(&app));
    // Clients that read nothing of an answer: their streams fill their windows.
    let mut slow: Vec<Client> = (0..3).map(|_| Client::connect(sidecar.traffic)).collect();
    for client in &mut slow {
        for _ in 0..40 {
            client.write("GET", "/", &[], b"").expect("sent");
        }
    }
    let answer = sidecar.get("/");
    assert_eq!(answer.body.len(), 300_000);
    drop(slow);
    assert_quiet(&sidecar, 1);

    // An app that does not read: the upload waits, and what waits is little.
    let mut client = Client::connect(sidecar.traffic);
    let before = sidecar.process.own_kib();
    client.send(b"POST /stuck HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n").expect("sent");
    client.stream().set_nonblocking(true).expect("a socket");
    let mut sent = 0;
    let mut stalled = 0;
    let chunk = vec![0; 65_536];
    eventually(PATIENCE, "the client is held up", || {
        match std::io::Write::write(&mut client.stream(), &chunk) {
            Ok(length) => (sent, stalled) = (sent + length, 0),
            Err(_) => stalled += 1,
        }
        stalled > 30
    });
    assert!(sent < 20_000_000, "{sent} bytes were taken in");
    let grown = sidecar.process.own_kib().saturating_sub(before);
    assert!(grown < 4096, "{grown} KiB more");
}

#[test]
fn an_app_that_does_not_speak_http2_is_told_apart_and_websocket_is_refused() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("h2c://{}", listener.local_addr().expect("an address"));
    let app = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").expect("an answer");
        // Until the sidecar has seen it.
        let _ = std::io::copy(&mut stream, &mut std::io::sink());
    });
    let sidecar = Sidecar::start(&Sidecar::bare_for(1).text("proxy.upstream", &url));
    assert_own(&sidecar.get("/"), 502, "upstream_not_http2");
    app.join().expect("the app");
    let fields = [("connection", "upgrade"), ("upgrade", "websocket"), ("sec-websocket-version", "13")];
    assert_own(&sidecar.ask("GET", "/", &fields, b""), 501, "websocket_not_possible");
    let refused = Sidecar::start(
        &Sidecar::bare_for(CLOSED_PORT).text("proxy.upstream", &format!("h2c://127.0.0.1:{CLOSED_PORT}")),
    );
    assert_own(&refused.get("/"), 502, "upstream_connect_refused");
}

#[test]
fn more_connections_are_made_when_the_app_allows_few_streams() {
    let app = H2App::start_with(H2Rules { most_streams: Some(2), ..H2Rules::default() }, |mut exchange| async move {
        // Answers end when all of them have begun.
        exchange.read().await;
        exchange.answer(200, &[], b"done").await;
    });
    let sidecar = Sidecar::start(&settings(&app));
    let mut clients: Vec<Client> = (0..5).map(|_| Client::connect(sidecar.traffic)).collect();
    for client in &mut clients {
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n").expect("sent");
    }
    eventually(PATIENCE, "all are asked", || app.requests() == 5);
    assert_eq!(app.connections(), 3);
    sidecar.assert_metric("pulsegate_upstream_connections", &["state=\"active\""], 3.0);
    for client in &mut clients {
        client.send(b"x").expect("sent");
        assert_eq!(client.read().expect("an answer").text(), "done");
    }
    assert_quiet(&sidecar, 3);
}

#[test]
fn by_tls_http2_is_spoken_if_it_is_offered_and_taken() {
    let authority = AppCertificates::new();
    let issued = authority.issue("localhost", Validity::Now);
    let app =
        H2App::start_with(H2Rules { tls: Some(issued.clone()), ..H2Rules::default() }, |mut exchange| async move {
            let scheme = exchange.head.uri.scheme_str().unwrap_or_default().to_owned();
            exchange.answer(200, &[], scheme.as_bytes()).await;
        });
    let tls = |port: u16| {
        Sidecar::bare_for(port)
            .text("proxy.upstream", &format!("https://localhost:{port}"))
            .text("proxy.upstream_tls.ca", &authority.file().display().to_string())
            .raw("proxy.upstream_tls.http2", "true")
    };
    let sidecar = Sidecar::start(&tls(app.port()).raw("proxy.threads", "1"));
    for _ in 0..3 {
        assert_eq!(sidecar.get("/").text(), "https");
    }
    assert_eq!(app.connections(), 1);
    assert_quiet(&sidecar, 1);
    let sidecar = Sidecar::start(&tls(app.port()).raw("proxy.upstream_tls.http2", "false"));
    assert_own(&sidecar.get("/"), 502, "upstream_tls_refused");

    // An app that does not know HTTP/2.
    let plain = Upstream::hello();
    let front = crate::support::TlsFront::start(plain.port(), &issued, None, &["http/1.1"]);
    let sidecar = Sidecar::start(&tls(front.port()).raw("proxy.threads", "1"));
    for _ in 0..3 {
        assert_eq!(sidecar.get("/").text(), "hello");
    }
    assert_eq!(front.handshakes(), 1);
    assert_quiet(&sidecar, 1);
}

#[test]
fn the_health_check_asks_in_http2() {
    let app = H2App::start(|mut exchange| async move { exchange.answer(200, &[], b"well").await });
    let settings = settings(&app).text("checks.app.http.path", "/health").text("checks.app.interval", "200ms");
    let sidecar = Sidecar::start(&settings.raw("checks.app.groups", "[\"readiness\"]")).ready();
    assert_eq!(sidecar.get("/").text(), "well");
}

#[test]
fn an_app_that_restarts_is_found_again() {
    let app = H2App::echo();
    let port = app.port();
    let sidecar = Sidecar::start(&settings(&app));
    assert_eq!(sidecar.ask("POST", "/", &[], b"1").text(), "1");
    drop(app);
    eventually(Duration::from_secs(10), "the connection's end is noticed", || {
        sidecar.metric("pulsegate_upstream_connections", &[]) == 0.0
    });
    assert_own(&sidecar.ask("POST", "/", &[], b"2"), 502, "upstream_connect_refused");
    let again = H2App::start_with(H2Rules { port, ..H2Rules::default() }, |mut exchange| async move {
        exchange.answer(200, &[], b"back").await;
    });
    assert_eq!(sidecar.ask("POST", "/", &[], b"3").text(), "back");
    assert_eq!(again.connections(), 1);
    assert_quiet(&sidecar, 1);
}
