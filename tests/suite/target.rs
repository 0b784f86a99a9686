//! Host and target (dataplane.md, point 2): what names no place is refused, no way leads past or onto a management path,
//! and everything else reaches the app byte for byte.

use crate::framing::refused_with;
use crate::support::{Client, Next, Sidecar, Upstream};

fn app() -> Upstream {
    Upstream::start(|exchange| if exchange.read_body() { exchange.answer(200, &[], b"app") } else { Next::Close })
}

#[test]
fn a_host_that_is_not_one_host_is_refused() {
    let mut cases: Vec<(Vec<u8>, &str)> = [
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nA: b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nHost:\r\n\r\n",
        "GET http://a/ HTTP/1.1\r\n\r\n",
        "GET http://a/ HTTP/1.1\r\nHost: b@c\r\n\r\n",
        "GET / HTTP/1.0\r\nHost: a b\r\n\r\n",
        "GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n",
        "OPTIONS * HTTP/1.1\r\n\r\n",
    ]
    .iter()
    .map(|head| (head.as_bytes().to_vec(), "bad_host"))
    .collect();
    for host in [
        "",
        " ",
        ":80",
        "a,b",
        "a, b",
        "a b",
        "a\tb",
        "user@a",
        "user:pw@a",
        "@a",
        "a/b",
        "a/",
        "/",
        "a?b",
        "a#b",
        "a\\b",
        "a;b c",
        "http://a",
        "a:b",
        "a:80:80",
        "a:99999",
        "a:-1",
        "a:+1",
        "a:0x50",
        "[::1",
        "::1",
        "[::1]x",
        "[::1]:x",
        "[::1%25lo]",
        "[]",
        "a]",
        "a%",
        "a%2",
        "a%zz",
        "\"a\"",
        "<a>",
        "{a}",
        "a|b",
        "a^b",
        "a`b",
        "\u{e9}",
        "a\u{ff0e}b",
    ] {
        cases.push((format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n").into_bytes(), "bad_host"));
    }
    refused_with(400, &cases);
}

#[test]
fn a_target_that_is_none_of_the_forms_is_refused() {
    let mut cases = Vec::new();
    for target in [
        "*",
        "x",
        "a.example",
        "a.example:80",
        "a.example/x",
        "health",
        "./x",
        "../x",
        "?x",
        "#x",
        "/x#y",
        "/#",
        "http:",
        "http:/a",
        "http://",
        "http:///",
        "http:///x",
        "http://?x",
        "http://a?x",
        "http://user@a/",
        "http://user:pw@a/",
        "http://@a/",
        "http://a b/",
        "http://a,b/",
        "http://a:b/",
        "http://a:99999/",
        "http://[::1/",
        "http://a/x#y",
        "http://a\\b/",
        "http:\\\\a\\",
        "ftp://a/",
        "file:///etc/passwd",
        "ws://a/",
        "javascript:alert(1)",
        "mailto:a@b",
        "://a/",
        "\\x",
        "\\\\a\\x",
        "%2fx",
        "httpx://a/",
    ] {
        let code = if target.contains(' ') { "bad_version" } else { "bad_target" };
        cases.push((format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n").into_bytes(), code));
    }
    for method in ["GET", "POST", "TRACE", "options"] {
        cases.push((format!("{method} * HTTP/1.1\r\nHost: a\r\n\r\n").into_bytes(), "bad_target"));
    }
    for target in ["/\u{e9}", "/\u{1f600}", "/x?\u{e9}"] {
        cases.push((format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n").into_bytes(), "bad_target"));
    }
    refused_with(400, &cases);
    let connect = ["CONNECT a:443", "CONNECT a", "CONNECT /x", "CONNECT http://a/", "CONNECT *"];
    let connect = connect.map(|line| (format!("{line} HTTP/1.1\r\nHost: a\r\n\r\n").into_bytes(), "connect_refused"));
    refused_with(400, &connect);
}

#[test]
fn every_other_target_reaches_the_app_byte_for_byte() {
    let upstream = app();
    let sidecar = Sidecar::start(&Sidecar::full(&upstream)).ready();
    let mut client = Client::connect(sidecar.traffic);
    for target in [
        // All but a management path, and all that a lenient router would take for one.
        "//health",
        "///health",
        "/health/",
        "/health//",
        "/./health",
        "/x/../health",
        "/health/.",
        "/health/..",
        "/health/..;/",
        "/health;x",
        "/health;",
        "/%68ealth",
        "/%2568ealth",
        "/healt%68",
        "/%2fhealth",
        "/%2e/health",
        "/%2e%2e/health",
        "/.%2e/health",
        "/health%00",
        "/health%20",
        "/health%09",
        "/health%0d%0a",
        "/health%3f",
        "/health%23",
        "/health%2f",
        "/health&x",
        "/health:80",
        "/HEALTH",
        "/Health",
        "/health.json",
        "/health,",
        "/health\\",
        "/\\health",
        "/health/detailed/",
        "/metrics/",
        "/metrics;x=1",
        "//metrics",
        "/x?/health",
        "/?/health",
        "/~health",
        "/livez/",
        "/readyz/",
        "/readyz//",
        "/readyz/no-such-check",
        "/startupz%2f",
        "/x//y///z",
        "/a/./b/../c",
        "/%",
        "/%zz",
        "/a%2Fb%2fc",
        "/x?",
        "/x??",
        "/x?a=b&c=%26",
        "/{x}|[y]^`\"<z>",
        "/;;;",
        "/,",
        "/*",
        "/:",
        "/@",
        "//a.example/x",
        "//",
        "/http://a/",
    ] {
        let answer = client.ask("GET", target, &[], b"").unwrap_or_else(|error| panic!("{target}: {error:?}"));
        assert_eq!((answer.status, answer.text()), (200, "app"), "{target}");
        assert_eq!(upstream.seen().last().map(|seen| seen.target.clone()).as_deref(), Some(target));
    }
    let long = format!("/{}", "x".repeat(30_000));
    assert_eq!(
        client.ask("GET", &long, &[], b"").expect("an answer").status,
        200,
        "8000 octets at least (RFC 9112 section 3)"
    );
    assert_eq!(upstream.seen().last().map(|seen| seen.target.len()), Some(long.len()));
    let before = upstream.seen().len();
    for target in [
        "/health",
        "/health?x",
        "/health?",
        "/health?/../x",
        "http://a/health",
        "http://anything:1/health?x",
        "/metrics",
        "/livez",
        "/readyz",
        "/startupz",
    ] {
        let answer = client.ask("GET", target, &[], b"").unwrap_or_else(|error| panic!("{target}: {error:?}"));
        assert_eq!(answer.status, 200, "{target}");
        assert_ne!(answer.text(), "app", "{target} is ours");
    }
    assert_eq!(upstream.seen().len(), before);
}

#[test]
fn the_absolute_form_goes_before_the_host_field() {
    let upstream = app();
    let sidecar = Sidecar::start(&Sidecar::bare(&upstream));
    let mut client = Client::connect(sidecar.traffic);
    for (target, host, path) in [
        ("http://a.example/p?q", "a.example", "/p?q"),
        ("HTTP://A.example:8080/p", "A.example:8080", "/p"),
        ("https://a.example/p", "a.example", "/p"),
        ("http://[::1]:80/p", "[::1]:80", "/p"),
        ("http://a.example", "a.example", "/"),
        ("http://a.example//p", "a.example", "//p"),
        ("http://a.example/http://b/", "a.example", "/http://b/"),
        ("/p", "b.example", "/p"),
    ] {
        assert_eq!(client.ask("GET", target, &[("host", "b.example")], b"").expect("an answer").status, 200);
        let seen = upstream.seen().pop().expect("a request");
        assert_eq!((seen.field("host"), &*seen.target), (Some(host), path), "{target}");
        assert_eq!(seen.field("x-forwarded-host"), Some(host));
    }
    for (target, path) in [("*", "*"), ("http://a.example", "*"), ("/x", "/x")] {
        assert_eq!(client.ask("OPTIONS", target, &[], b"").expect("an answer").status, 200);
        assert_eq!(upstream.seen().pop().expect("a request").target, path, "RFC 9112 section 3.2.4");
    }
    // HTTP/1.0 need not name a host; the app gets one all the same.
    for head in ["GET /old HTTP/1.0\r\n\r\n", "GET /old HTTP/1.0\r\nHost:\r\n\r\n"] {
        let mut client = Client::connect(sidecar.traffic);
        client.send(head.as_bytes()).expect("a request");
        assert_eq!(client.read().expect("an answer").status, 200);
        let seen = upstream.seen().pop().expect("a request");
        assert_eq!(seen.field("host"), Some(&*format!("127.0.0.1:{}", upstream.port())));
    }
}

#[test]
fn the_apps_own_answers_at_our_paths_are_below_the_prefix_and_nothing_else_is() {
    let upstream = app();
    let settings = Sidecar::full(&upstream).text("proxy.passthrough_prefix", "/up/stream");
    let sidecar = Sidecar::start(&settings).ready();
    let mut client = Client::connect(sidecar.traffic);
    for (target, at_app) in [
        ("/up/stream/health", "/health"),
        ("/up/stream/health?a=/b", "/health?a=/b"),
        ("/up/stream/metrics", "/metrics"),
        ("/up/stream/readyz/api_server", "/readyz/api_server"),
        ("http://a.example/up/stream/livez", "/livez"),
        // No second name for anything else: who looks at paths before us sees what the app sees.
        ("/up/stream", "/up/stream"),
        ("/up/stream/", "/up/stream/"),
        ("/up/stream/admin", "/up/stream/admin"),
        ("/up/stream//health", "/up/stream//health"),
        ("/up/stream/health/", "/up/stream/health/"),
        ("/up/stream/%68ealth", "/up/stream/%68ealth"),
        ("/up/stream/../admin", "/up/stream/../admin"),
        ("/up/stream/health/../../admin", "/up/stream/health/../../admin"),
        ("/up/stream/up/stream/health", "/up/stream/up/stream/health"),
        ("/up/streamhealth", "/up/streamhealth"),
        ("//up/stream/health", "//up/stream/health"),
        ("/UP/stream/health", "/UP/stream/health"),
        ("/up/stream?/health", "/up/stream?/health"),
    ] {
        assert_eq!(client.ask("GET", target, &[], b"").expect("an answer").text(), "app", "{target}");
        assert_eq!(upstream.seen().pop().expect("a request").target, at_app, "{target}");
    }
    assert_ne!(client.ask("GET", "/health", &[], b"").expect("an answer").text(), "app");
    for wrong in ["upstream", "/", "/a/", "/a//b", "/a?b", "/a#b", "/a/../b", "/a b", "/%41", ""] {
        let home = crate::support::home_with_login();
        let settings = Sidecar::bare(&upstream).text("proxy.passthrough_prefix", wrong);
        let ended = crate::support::run(&mut Sidecar::command(home.path(), &settings));
        assert_eq!(ended.code, Some(2), "{wrong:?}");
        assert!(ended.stderr.contains("proxy.passthrough_prefix"), "{}", ended.stderr);
    }
}
