//! Fields of one connection end at the sidecar, in both directions, and only they (dataplane.md, point 3).

use crate::support::{Client, Next, PATIENCE, Sidecar, Upstream, eventually};

/// An app that answers with the head that the body of the request holds, and a body of two bytes.
fn parrot() -> Upstream {
    Upstream::start(|exchange| {
        exchange.read_body();
        let head = String::from_utf8(exchange.seen.body.clone()).expect("text");
        exchange.write(format!("HTTP/1.1 200 OK\r\n{head}content-length: 2\r\n\r\nok").as_bytes());
        Next::Keep
    })
}

#[test]
fn what_connection_names_ends_here_but_for_what_is_everybodys() {
    let upstream = parrot();
    let sidecar = Sidecar::start(&Sidecar::bare(&upstream));
    let mut client = Client::connect(sidecar.traffic);
    let everybodys = [
        ("authorization", "Bearer x"),
        ("cookie", "a=1"),
        ("content-type", "text/plain"),
        ("cache-control", "no-store"),
        ("x-api-key", "k"),
        ("origin", "http://a"),
        ("range", "bytes=0-1"),
        ("via", "1.1 front"),
        ("expect", "100-continue"),
        ("date", "Wed, 25 Nov 2026 16:00:00 GMT"),
    ];
    let names: Vec<&str> = everybodys.iter().map(|(name, _)| *name).collect();
    let list = format!(
        "X-One,, x-two ,{}, Host, Content-Length, Transfer-Encoding, X-Forwarded-For, X-Forwarded-Proto, X-Forwarded-Host, \
         Forwarded, X-Real-IP, Max-Forwards",
        names.join(", ")
    );
    let mut fields = everybodys.to_vec();
    fields.extend([
        ("connection", &*list),
        ("Connection", "X-Three\t"),
        ("X-One", "1"),
        ("X-TWO", "2"),
        ("x-two", "2"),
        ("x-three", "3"),
        ("x-four", "4"),
        ("x-forwarded-for", "10.0.0.1"),
        ("x-forwarded-proto", "https"),
        ("x-real-ip", "10.0.0.1"),
        ("max-forwards", "0"),
    ]);
    let answer = client.ask("POST", "/", &fields, b"a: 1\r\n").expect("an answer");
    assert_eq!((answer.status, answer.text(), answer.field("a")), (200, "ok", Some("1")));
    let seen = upstream.only();
    for gone in ["x-one", "x-two", "x-three", "connection"] {
        assert_eq!(seen.all(gone), Vec::<&str>::new(), "{gone}");
    }
    for (name, value) in
        everybodys.into_iter().chain([("x-four", "4"), ("x-real-ip", "10.0.0.1"), ("max-forwards", "0")])
    {
        assert_eq!(seen.all(name).first(), Some(&value), "{name} is for all who read the message");
    }
    assert_eq!(seen.field("content-length"), Some("6"));
    assert_eq!(seen.field("x-forwarded-for"), Some("10.0.0.1, 127.0.0.1"));
    assert_eq!(seen.field("x-forwarded-proto"), Some("https"));
    assert!(seen.field("host").is_some() && seen.field("forwarded").is_some());
}

#[test]
fn fields_of_the_clients_connection_are_not_the_apps() {
    let upstream = parrot();
    let sidecar = Sidecar::start(&Sidecar::bare(&upstream));
    let mut client = Client::connect(sidecar.traffic);
    for (name, value) in [
        ("keep-alive", "timeout=5"),
        ("KEEP-ALIVE", "timeout=5"),
        ("proxy-connection", "keep-alive"),
        ("proxy-authorization", "Basic eA=="),
        ("proxy-authenticate", "Basic"),
        ("proxy-authentication-info", "x"),
        // httpoxy: a gateway interface would make HTTP_PROXY of it.
        ("proxy", "http://evil"),
        ("te", "gzip"),
        ("te", "trailersx"),
        ("upgrade", "h2c"),
        ("upgrade", "websocket, h2c"),
        ("upgrade", "TLS/1.0"),
        ("http2-settings", "AAMAAABkAAQAAP__"),
        ("trailer", "x-sum"),
        // Names that a gateway interface would take for one of ours.
        ("x_forwarded_for", "6.6.6.6"),
        ("x-forwarded_for", "6.6.6.6"),
        ("X_Forwarded_Proto", "https"),
        ("x_forwarded_host", "evil"),
        ("x_real_ip", "6.6.6.6"),
        ("x.forwarded.for", "6.6.6.6"),
        ("x~forwarded!for", "6.6.6.6"),
        ("proxy_authorization", "x"),
    ] {
        let before = upstream.seen().len();
        for connection in [None, Some("upgrade, http2-settings, te"), Some("close, keep-alive")] {
            let mut fields = vec![(name, value), ("x-kept", "1")];
            fields.extend(connection.map(|list| ("connection", list)));
            assert_eq!(client.ask("GET", "/", &fields, b"").expect("an answer").status, 200, "{name}: {value}");
            let seen = upstream.seen().pop().expect("a request");
            assert_eq!(seen.all(&name.to_ascii_lowercase()), Vec::<&str>::new(), "{name}: {value}");
            assert_eq!((seen.field("x-kept"), seen.field("connection")), (Some("1"), None));
            if connection.is_some_and(|list| list.contains("close")) {
                client = Client::connect(sidecar.traffic);
            }
        }
        assert_eq!(upstream.seen().len(), before + 3);
    }
    // The one member of TE that we keep to, and the option that must go with it (RFC 9110 section 10.1.4).
    for value in ["trailers", "Trailers", "gzip;q=0.5, trailers", "trailers,deflate"] {
        client.ask("GET", "/", &[("te", value), ("connection", "TE")], b"").expect("an answer");
        let seen = upstream.seen().pop().expect("a request");
        assert_eq!((seen.field("te"), seen.field("connection")), (Some("trailers"), Some("TE")), "{value}");
    }
    client.ask("GET", "/", &[("te", "trailers"), ("te", "trailers")], b"").expect("an answer");
    assert_eq!(upstream.seen().pop().expect("a request").field("te"), Some("trailers"));
}

#[test]
fn fields_of_the_apps_connection_are_not_the_clients() {
    let upstream = parrot();
    let sidecar = Sidecar::start(&Sidecar::bare(&upstream));
    let mut client = Client::connect(sidecar.traffic);
    for (head, gone) in [
        ("Keep-Alive: timeout=5\r\n", "keep-alive"),
        ("Proxy-Authenticate: Basic\r\n", "proxy-authenticate"),
        ("Proxy-Authentication-Info: x\r\n", "proxy-authentication-info"),
        ("Proxy-Connection: close\r\n", "proxy-connection"),
        ("Upgrade: h2c\r\n", "upgrade"),
        ("Connection: Upgrade\r\nUpgrade: h2,h2c\r\n", "upgrade"),
        ("Connection: X-One\r\nX-One: 1\r\n", "x-one"),
        ("X-One: 1\r\nConnection: keep-alive , x-one\r\n", "x-one"),
        ("Connection: close\r\n", "connection"),
        ("Connection: keep-alive\r\n", "connection"),
        ("Trailer: x-sum\r\n", "trailer"),
        ("Transfer_Encoding: chunked\r\n", "transfer_encoding"),
        ("Content_Length: 9\r\n", "content_length"),
    ] {
        let answer = client.ask("POST", "/", &[], format!("A: 1\r\n{head}B: 2\r\n").as_bytes()).expect("an answer");
        assert_eq!((answer.text(), answer.field("a"), answer.field("b")), ("ok", Some("1"), Some("2")), "{head:?}");
        assert_eq!(answer.field(gone), None, "{head:?}");
    }
    let named = "Connection: Set-Cookie, Content-Type, Content-Length, Cache-Control, Date\r\nSet-Cookie: a=1\r\n\
                 Content-Type: text/plain\r\nCache-Control: no-store\r\n";
    let answer = client.ask("POST", "/", &[], named.as_bytes()).expect("an answer");
    for kept in ["set-cookie", "content-type", "cache-control", "content-length", "date"] {
        assert!(answer.field(kept).is_some(), "{kept} is for all who read the message");
    }
}

#[test]
fn via_names_us_both_ways_and_a_loop_is_refused() {
    let upstream = parrot();
    let sidecar = Sidecar::start(&Sidecar::bare(&upstream));
    let mut client = Client::connect(sidecar.traffic);
    let answer = client.ask("POST", "/", &[("via", "1.0 front (x)")], b"Via: 1.1 app\r\n").expect("an answer");
    let seen = upstream.only();
    let us = seen.all("via").pop().and_then(|via| via.strip_prefix("1.1 ")).expect("Via").to_owned();
    assert_eq!(seen.all("via"), ["1.0 front (x)", &format!("1.1 {us}")]);
    let back: Vec<&str> = answer.fields.iter().filter(|(name, _)| name == "via").map(|(_, value)| &**value).collect();
    assert_eq!(back, ["1.1 app", &format!("1.1 {us}")]);
    let mut old = Client::connect(sidecar.traffic);
    old.send(b"GET / HTTP/1.0\r\n\r\n").expect("a request");
    old.read().expect("an answer");
    assert_eq!(upstream.seen().pop().expect("a request").field("via"), Some(&*format!("1.0 {us}")));

    let before = upstream.seen().len();
    for via in [
        format!("1.1 {us}"),
        format!("1.0 {us}"),
        format!("2.0 {us}, 1.1 other"),
        format!("1.1 other , HTTP/1.1 {us} (x)"),
    ] {
        let answer = client.ask("GET", "/", &[("via", &via)], b"").expect("an answer");
        assert_eq!((answer.status, answer.json()["error"]["code"].as_str()), (502, Some("proxy_loop")), "{via}");
    }
    assert_eq!(upstream.seen().len(), before);
    // Anybody can read the name in an answer, and send it: that says nothing against the app.
    sidecar.assert_metric("pulsegate_errors_total", &["type=\"invalid_request\""], 4.0);
    sidecar.assert_metric("pulsegate_errors_total", &[], 4.0);
    for other in [format!("1.1 {us}ff"), format!("1.1 other ({us})"), format!("1.1 x{us}")] {
        assert_eq!(client.ask("GET", "/", &[("via", &other)], b"").expect("an answer").status, 200, "{other}");
    }
}

#[test]
fn what_strangers_tell_of_themselves_stays_outside() {
    let fields = [
        ("X-Forwarded-Prefix", "/evil"),
        ("x-forwarded-port", "666"),
        ("X-Forwarded-User", "root"),
        ("X_Forwarded_Ssl", "on"),
        ("X-Forwarded-Proto", "https"),
    ];
    let told = |trusted: &str| {
        let upstream = parrot();
        let sidecar = Sidecar::start(&Sidecar::bare(&upstream).raw("proxy.trusted_proxies", trusted));
        sidecar.ask("GET", "/", &fields, b"");
        let seen = upstream.only();
        fields.map(|(name, _)| seen.field(&name.to_ascii_lowercase()).unwrap_or_default().to_owned())
    };
    assert_eq!(told("[]"), ["", "", "", "", "http"]);
    // A name with `_` is nobody's.
    assert_eq!(told("[\"127.0.0.0/8\"]"), ["/evil", "666", "root", "", "https"]);
}

#[test]
fn max_forwards_counts_options_and_trace() {
    let upstream = parrot();
    let sidecar = Sidecar::start(&Sidecar::bare(&upstream));
    let mut client = Client::connect(sidecar.traffic);
    for method in ["OPTIONS", "TRACE"] {
        for (sent, passed) in
            [("1", "0"), ("10", "9"), ("007", "6"), ("99999999999999999999999", "18446744073709551614")]
        {
            client.ask(method, "/x", &[("Max-Forwards", sent)], b"").expect("an answer");
            assert_eq!(
                upstream.seen().pop().expect("a request").field("max-forwards"),
                Some(passed),
                "{method} {sent}"
            );
        }
    }
    for method in ["GET", "POST", "options", "BREW"] {
        client.ask(method, "/x", &[("Max-Forwards", "0")], b"").expect("an answer");
        assert_eq!(
            upstream.seen().pop().expect("a request").field("max-forwards"),
            Some("0"),
            "{method}: not its concern"
        );
    }
    let before = upstream.seen().len();
    let options = client.ask("OPTIONS", "*", &[("Max-Forwards", "0")], b"").expect("an answer");
    assert_eq!((options.status, options.body.len()), (200, 0));
    assert!(options.field("allow").is_some_and(|allow| allow.contains("GET")));
    let secret = [
        ("Max-Forwards", "0"),
        ("Via", "1.1 front"),
        ("Cookie", "a=secret"),
        ("Authorization", "secret"),
        ("X-Key", "secret"),
    ];
    let trace = client.ask("TRACE", "/x?y", &secret, b"").expect("an answer");
    assert_eq!((trace.status, trace.field("content-type")), (200, Some("message/http")));
    assert!(
        trace.text().starts_with("TRACE /x?y HTTP/1.1\r\n") && trace.text().contains("Via: 1.1 front\r\n"),
        "{}",
        trace.text()
    );
    assert!(!trace.text().contains("secret"), "{}", trace.text());
    assert_eq!(upstream.seen().len(), before);
    let counted = |method: &str| sidecar.metric("pulsegate_requests_total", &[&format!("method=\"{method}\"")]);
    eventually(PATIENCE, "they are counted like others", || counted("TRACE") == 5.0 && counted("OPTIONS") == 5.0);

    let bad = ["", "x", "-1", "+1", "1, 1", "1.0", "0x1"]
        .map(|value| format!("OPTIONS / HTTP/1.1\r\nHost: a\r\nMax-Forwards: {value}\r\n\r\n"));
    let mut cases: Vec<(Vec<u8>, &str)> =
        bad.iter().map(|head| (head.clone().into_bytes(), "bad_max_forwards")).collect();
    cases.push((
        b"TRACE / HTTP/1.1\r\nHost: a\r\nMax-Forwards: 1\r\nMax-Forwards: 2\r\n\r\n".to_vec(),
        "bad_max_forwards",
    ));
    cases.push((b"TRACE / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx".to_vec(), "trace_body"));
    cases.push((b"TRACE / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_vec(), "trace_body"));
    crate::framing::refused_with(400, &cases);
}
