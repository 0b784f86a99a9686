//! Traffic through the sidecar, byte by byte: what passes, what is changed, what is refused (dataplane.md).

use crate::support::{Client, Next, PATIENCE, Response, Sidecar, Upstream, eventually};

/// An app that sends back what it got.
fn echo() -> Upstream {
    Upstream::start(|exchange| {
        if !exchange.read_body() {
            return Next::Close;
        }
        let body = exchange.seen.body.clone();
        exchange.answer(200, &[("content-type", "application/octet-stream"), ("x-app", "echo")], &body)
    })
}

/// An app that answers each request with the same bytes.
fn answering(bytes: impl Into<Vec<u8>>, next: Next) -> Upstream {
    let bytes = bytes.into();
    Upstream::start(move |exchange| {
        exchange.read_body();
        if exchange.write(&bytes) { next } else { Next::Close }
    })
}

fn start(upstream: &Upstream) -> Sidecar {
    Sidecar::start(&Sidecar::bare(upstream))
}

#[test]
fn requests_and_answers_pass() {
    let upstream = echo();
    let sidecar = start(&upstream);
    for (method, target, body) in [
        ("GET", "/", &b""[..]),
        ("POST", "/v1/messages?beta=true&x=%2F", b"{\"hello\":1}"),
        ("PUT", "/a/../b//c/%41;d?e=f", b"x"),
        ("DELETE", "/x", b""),
        ("PATCH", "/x", b"\x00\xff\r\n\r\n"),
        ("OPTIONS", "/x", b""),
        ("BREW", "/pot", b"coffee"),
    ] {
        let answer = sidecar.ask(method, target, &[("x-one", "1"), ("x-two", "a, b"), ("x-two", "c")], body);
        assert_eq!((answer.status, &*answer.body), (200, body), "{method} {target}");
        assert_eq!(answer.field("x-app"), Some("echo"));
        // The app notes the body when its script is done, which may be after its answer is here.
        eventually(PATIENCE, "the app has noted the body", || {
            upstream.seen().last().is_some_and(|seen| &*seen.body == body)
        });
        let seen = upstream.seen().pop().expect("a request");
        assert_eq!((&*seen.method, &*seen.target), (method, target));
        assert_eq!(seen.field("x-one"), Some("1"));
        assert_eq!(seen.all("x-two"), ["a, b", "c"], "not merged");
        assert_eq!(seen.field("host"), Some(&*sidecar.traffic.to_string()), "the client's own");
    }
}

#[test]
fn answers_without_a_body_stay_without() {
    for (method, answer, status) in [
        ("HEAD", &b"HTTP/1.1 200 OK\r\ncontent-length: 1234\r\netag: \"x\"\r\n\r\n"[..], 200),
        ("GET", b"HTTP/1.1 204 No Content\r\n\r\n", 204),
        ("GET", b"HTTP/1.1 304 Not Modified\r\netag: \"x\"\r\n\r\n", 304),
        ("GET", b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", 200),
    ] {
        let upstream = answering(answer, Next::Keep);
        let sidecar = start(&upstream);
        let mut client = Client::connect(sidecar.traffic);
        for _ in 0..3 {
            let answer = client.ask(method, "/", &[], b"").expect("an answer");
            assert_eq!((answer.status, answer.body.len()), (status, 0), "{method} {status}");
            if method == "HEAD" {
                assert_eq!(answer.field("content-length"), Some("1234"), "what GET would have");
            }
        }
        // Where nothing but a rule ends the answer, the next request comes too soon for the connection that it came on.
        let most = if method == "GET" && status == 200 { 1 } else { 3 };
        assert!(upstream.accepted() <= most, "connections are kept on both sides: {method} {status}");
    }
}

#[test]
fn chunked_bodies_pass_both_ways() {
    let upstream = Upstream::start(|exchange| {
        exchange.read_body();
        let body = exchange.seen.body.clone();
        let mut answer = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
        for part in body.chunks(7) {
            answer.extend(format!("{:x};note=\"dropped\"\r\n", part.len()).as_bytes());
            answer.extend(part);
            answer.extend(b"\r\n");
        }
        answer.extend(b"0\r\n\r\n");
        if exchange.write(&answer) { Next::Keep } else { Next::Close }
    });
    let sidecar = start(&upstream);
    let mut client = Client::connect(sidecar.traffic);
    for _ in 0..2 {
        let head = format!("POST /c HTTP/1.1\r\nhost: {}\r\ntransfer-encoding: chunked\r\n\r\n", sidecar.traffic);
        client.send(head.as_bytes()).expect("a head");
        client.expect("POST");
        // In every piece that TCP may make of it.
        for part in b"5\r\nhello\r\n1;x=y\r\n \r\nA\r\n0123456789\r\n0\r\n\r\n".chunks(3) {
            client.send(part).expect("a part");
        }
        let answer = client.read().expect("an answer");
        assert_eq!(answer.body, b"hello 0123456789");
        assert_eq!(upstream.seen().pop().expect("a request").body, b"hello 0123456789");
    }
}

#[test]
fn an_answer_that_ends_with_the_connection_is_passed_on_whole() {
    let upstream = answering("HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n\r\nuntil the end", Next::Close);
    let sidecar = start(&upstream);
    let mut client = Client::connect(sidecar.traffic);
    for _ in 0..2 {
        let answer = client.ask("GET", "/", &[], b"").expect("an answer");
        assert_eq!(answer.text(), "until the end");
        if answer.closes() {
            client = Client::connect(sidecar.traffic);
        }
    }
}

#[test]
fn large_bodies_pass_both_ways_in_little_memory() {
    const SIZE: usize = 64 << 20;
    let upstream = Upstream::start(|exchange| {
        if exchange.seen.method == "POST" {
            let Some(count) = exchange.count_body() else { return Next::Close };
            return exchange.answer(200, &[], count.to_string().as_bytes());
        }
        exchange.write(format!("HTTP/1.1 200 OK\r\ncontent-length: {SIZE}\r\n\r\n").as_bytes());
        let part = vec![b'd'; 1 << 16];
        if (0..SIZE >> 16).all(|_| exchange.write(&part)) { Next::Keep } else { Next::Close }
    });
    let sidecar = start(&upstream);
    assert_eq!(sidecar.get("/metrics").status, 200);
    let before = sidecar.process.own_kib();

    let mut client = Client::connect(sidecar.traffic);
    client.write("POST", "/up", &[("content-length", &SIZE.to_string())], b"").expect("a head");
    let part = vec![b'u'; 1 << 16];
    for _ in 0..SIZE >> 16 {
        client.send(&part).expect("a part");
    }
    let during = sidecar.process.own_kib();
    assert_eq!(client.read().expect("an answer").text(), SIZE.to_string());

    client.write("GET", "/down", &[], b"").expect("a request");
    let head = client.read_head().expect("a head");
    assert_eq!(head.field("content-length"), Some(&*SIZE.to_string()));
    let mut pieces = client.pieces(&head).expect("a body");
    let (mut length, mut most) = (0, during);
    while let Some(piece) = pieces.next().expect("a piece") {
        assert!(piece.iter().all(|byte| *byte == b'd'));
        // A client that is slower than the app, now and then.
        if length >> 23 != (length + piece.len()) >> 23 {
            most = most.max(sidecar.process.own_kib());
        }
        length += piece.len();
    }
    assert_eq!(length, SIZE);
    assert!(most < before + 16 * 1024, "{before} KiB before, {most} KiB at most");
    let sent = sidecar.metric("pulsegate_bytes_total", &["direction=\"sent\""]);
    assert!(sent >= SIZE as f64, "{sent}");
}

#[test]
fn connections_are_kept_on_both_sides() {
    let upstream = echo();
    let sidecar = start(&upstream);
    let mut client = Client::connect(sidecar.traffic);
    for number in 0..50 {
        let body = format!("request {number}");
        assert_eq!(client.ask("POST", "/", &[], body.as_bytes()).expect("an answer").body, body.as_bytes());
    }
    assert_eq!(upstream.accepted(), 1);
    // Two requests in one packet are answered in order.
    let host = sidecar.traffic;
    client
        .send(format!("GET /1 HTTP/1.1\r\nhost: {host}\r\n\r\nGET /2 HTTP/1.1\r\nhost: {host}\r\n\r\n").as_bytes())
        .expect("two");
    client.expect("GET");
    assert_eq!(client.read().expect("an answer").status, 200);
    assert_eq!(client.read().expect("an answer").status, 200);
    // And a client that wants its connection closed gets that.
    let last = client.ask("GET", "/", &[("connection", "close")], b"").expect("an answer");
    assert!(last.closes());
    assert!(client.is_closed());
}

#[test]
fn http_1_0_is_served() {
    let upstream = echo();
    let sidecar = start(&upstream);
    let mut client = Client::connect(sidecar.traffic);
    client.send(b"GET /old HTTP/1.0\r\n\r\n").expect("a request");
    let text = String::from_utf8(client.read_to_end().expect("an answer and the end")).expect("UTF-8");
    assert!(text.starts_with("HTTP/1.") && text.contains(" 200 "), "{text}");
    assert!(!text.to_lowercase().contains("transfer-encoding"), "{text}");
    assert!(upstream.only().field("host").is_some(), "the app gets one");
}

#[test]
fn connection_fields_end_at_the_sidecar_in_both_directions() {
    let upstream = answering(
        "HTTP/1.1 200 OK\r\nconnection: keep-alive, x-secret\r\nkeep-alive: timeout=5\r\nx-secret: 1\r\n\
         proxy-authenticate: Basic\r\nupgrade: h2c\r\nx-kept: 1\r\nset-cookie: a=1\r\nset-cookie: b=2\r\n\
         content-length: 2\r\n\r\nok",
        Next::Keep,
    );
    let sidecar = start(&upstream);
    let mut client = Client::connect(sidecar.traffic);
    let fields = [
        ("connection", "keep-alive, X-Private"),
        ("x-private", "1"),
        ("keep-alive", "timeout=5"),
        ("proxy-connection", "keep-alive"),
        ("proxy-authorization", "Basic eA=="),
        ("te", "trailers, deflate"),
        ("upgrade", "h2c"),
        ("http2-settings", "AAMAAABkAAQAAP__"),
        ("x-kept", "1"),
        ("authorization", "Bearer end-to-end"),
        ("anthropic-version", "2023-06-01"),
    ];
    let answer = client.ask("GET", "/", &fields, b"").expect("an answer");
    let seen = upstream.only();
    for gone in ["x-private", "keep-alive", "proxy-connection", "proxy-authorization", "upgrade"] {
        assert_eq!(seen.field(gone), None, "{gone} is no concern of the app");
    }
    assert!(seen.field("connection").is_none_or(|value| !value.to_lowercase().contains("x-private")), "{seen:?}");
    assert!(seen.field("te").is_none_or(|te| te == "trailers"), "{seen:?}");
    for (name, value) in [("x-kept", "1"), ("authorization", "Bearer end-to-end"), ("anthropic-version", "2023-06-01")]
    {
        assert_eq!(seen.field(name), Some(value));
    }
    for gone in ["keep-alive", "x-secret", "proxy-authenticate", "upgrade"] {
        assert_eq!(answer.field(gone), None, "{gone} is no concern of the client");
    }
    assert_eq!(answer.field("x-kept"), Some("1"));
    let cookies: Vec<_> = answer.fields.iter().filter(|(name, _)| name == "set-cookie").collect();
    assert_eq!(cookies.len(), 2, "{:?}", answer.fields);
}

#[test]
fn the_app_is_told_of_the_client() {
    let upstream = echo();
    let sidecar = start(&upstream);
    sidecar.get("/plain");
    let seen = upstream.only();
    let host = sidecar.traffic.to_string();
    assert_eq!(seen.field("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(seen.field("x-forwarded-proto"), Some("http"));
    assert_eq!(seen.field("x-forwarded-host"), Some(&*host));
    assert_eq!(seen.field("forwarded"), Some("for=127.0.0.1;proto=http"));
    let via = seen.field("via").expect("Via").to_owned();
    assert!(via.starts_with("1.1 "), "{via}");

    // Loopback is trusted: what it says is appended to.
    let fields = [
        ("x-forwarded-for", "10.1.2.3"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "a.example"),
        ("forwarded", "for=10.1.2.3"),
        ("via", "1.1 front"),
        ("x_forwarded_for", "6.6.6.6"),
    ];
    sidecar.ask("GET", "/behind-a-balancer", &fields, b"");
    let seen = upstream.seen().pop().expect("a request");
    assert_eq!(seen.field("x-forwarded-for"), Some("10.1.2.3, 127.0.0.1"));
    assert_eq!(seen.field("x-forwarded-proto"), Some("https"));
    assert_eq!(seen.field("x-forwarded-host"), Some("a.example"));
    assert_eq!(seen.field("forwarded"), Some("for=10.1.2.3, for=127.0.0.1;proto=http"));
    assert_eq!(seen.all("via").join(", "), format!("1.1 front, {via}"));
    assert_eq!(seen.field("x_forwarded_for"), None, "it would shadow ours");

    // Nobody else is.
    let sidecar = Sidecar::start(&Sidecar::bare(&upstream).raw("proxy.trusted_proxies", "[\"10.0.0.0/8\"]"));
    sidecar.ask("GET", "/from-a-stranger", &fields, b"");
    let seen = upstream.seen().pop().expect("a request");
    assert_eq!(seen.field("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(seen.field("x-forwarded-proto"), Some("http"));
    assert_eq!(seen.field("x-forwarded-host"), Some(&*sidecar.traffic.to_string()));
    assert_eq!(seen.field("forwarded"), Some("for=127.0.0.1;proto=http"));
}

#[test]
fn absolute_form_is_understood() {
    let upstream = echo();
    let sidecar = start(&upstream);
    let mut client = Client::connect(sidecar.traffic);
    client.send(b"GET http://a.example/path?q HTTP/1.1\r\nhost: b.example\r\n\r\n").expect("a request");
    assert_eq!(client.read().expect("an answer").status, 200);
    let seen = upstream.only();
    assert_eq!(seen.target, "/path?q");
    assert_eq!(seen.field("host"), Some("a.example"), "the target's authority is the host (RFC 9112 section 3.2.2)");
}

/// The answer to raw bytes on a connection of their own.
#[track_caller]
pub(crate) fn raw(sidecar: &Sidecar, bytes: &[u8]) -> Response {
    let mut client = Client::connect(sidecar.traffic);
    client.send(bytes).expect("bytes");
    client.read().unwrap_or_else(|error| panic!("{error:?} for {:?}", String::from_utf8_lossy(bytes)))
}

#[test]
fn what_is_not_a_request_is_refused_and_never_forwarded() {
    let upstream = echo();
    let sidecar = start(&upstream);
    for bytes in [
        &b"GARBAGE\r\n\r\n"[..],
        b"GET /\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: user@a\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: a/b\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost : a\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: a\r\n folded: b\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: a\r\nx: \x00\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: a\r\ncontent-length: +1\r\n\r\nx",
        b"GET / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nx",
        b"GET / HTTP/1.1\r\nhost: a\r\ncontent-length: 99999999999999999999\r\n\r\nx",
        b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: xchunked\r\n\r\n0\r\n\r\n",
        b"CONNECT a:443 HTTP/1.1\r\nhost: a:443\r\n\r\n",
    ] {
        let answer = raw(&sidecar, bytes);
        let text = String::from_utf8_lossy(bytes);
        assert_eq!(answer.status, 400, "{text:?}");
    }
    assert!(upstream.seen().is_empty(), "{:?}", upstream.seen());
    let invalid = || sidecar.metric("pulsegate_errors_total", &["type=\"invalid_request\""]);
    eventually(PATIENCE, "each is counted", || invalid() == 15.0);
}

#[test]
fn a_request_that_comes_back_is_refused() {
    let upstream = echo();
    let sidecar = start(&upstream);
    sidecar.get("/once");
    let via = upstream.only().field("via").expect("Via").to_owned();
    let answer = sidecar.ask("GET", "/again", &[("via", &format!("1.1 other, {via}"))], b"");
    assert_eq!((answer.status, &answer.json()["error"]["code"]), (502, &"proxy_loop".into()));
    assert_eq!(upstream.seen().len(), 1);
}
