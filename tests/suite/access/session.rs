//! Sessions of the app: a token in a cookie, and an app that is asked.

use std::time::{Duration, Instant};

use super::{Tokens, settings, start};
use crate::support::{Next, Settings, Sidecar, Upstream, ask};

/// An app that knows one session, and behaves badly with others.
fn app() -> Upstream {
    Upstream::start(|exchange| {
        let cookies = exchange.seen.field("cookie").unwrap_or_default().to_owned();
        match cookies.rsplit("session=").next() {
            Some("good") => exchange.answer(204, &[], b""),
            Some("moved") => exchange.answer(302, &[("location", "/open")], b""),
            Some("broken") => exchange.answer(500, &[], b"canary of the app"),
            Some("endless") => {
                exchange.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
                while exchange.write(format!("10000\r\n{}\r\n", "x".repeat(0x10000)).as_bytes()) {}
                Next::Close
            }
            Some("silent") => {
                exchange.wait_until_gone();
                Next::Close
            }
            _ => exchange.answer(401, &[], b""),
        }
    })
}

fn asking(app: &Upstream) -> Settings {
    Sidecar::bare(app)
        .text("admin.session.url", &format!("http://127.0.0.1:{}/auth/check?x=1", app.port()))
        .raw("admin.api_keys", "[{ env = \"AN_API_KEY\" }]")
        .raw("endpoints.\"/session\"", "{ dialect = \"claude-proxy\", access = [\"session\", \"api_key\"] }")
        .raw("endpoints.\"/public\"", "{ dialect = \"claude-proxy\" }")
}

#[test]
fn the_app_is_asked_with_the_cookies_and_nothing_else() {
    let app = app();
    let sidecar = start(&asking(&app));
    for address in [sidecar.traffic, sidecar.admin] {
        let with = |cookie: &str| {
            let fields = [("cookie", cookie), ("x-secret", "canary"), ("user-agent", "canary"), ("origin", "http://a")];
            ask(address, "GET", "/session", &fields, b"")
        };
        let answer = with("a=1; session=good");
        assert_eq!((answer.status, &answer.json()["service"]), (200, &"pulsegate".into()));
        let head = ask(address, "HEAD", "/session", &[("cookie", "session=good")], b"");
        assert_eq!((head.status, head.body.len()), (200, 0));
        let seen = app.seen().into_iter().find(|seen| seen.field("cookie") == Some("a=1; session=good"));
        let seen = seen.expect("the app was asked");
        assert_eq!((&*seen.method, &*seen.target, seen.body.len()), ("GET", "/auth/check?x=1", 0));
        let names: Vec<&str> = seen.fields.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["host", "connection", "user-agent", "cookie"]);
        assert!(seen.fields.iter().all(|(_, value)| !value.contains("canary")), "{seen:?}");

        for cookie in ["session=wrong", "session=moved", "a=1"] {
            let answer = with(cookie);
            assert_eq!(answer.status, 401, "{cookie}");
            let challenges: Vec<&str> = answer
                .fields
                .iter()
                .filter(|(name, _)| name == "www-authenticate")
                .map(|(_, value)| &**value)
                .collect();
            assert_eq!(challenges, ["Bearer realm=\"pulsegate\"", "Cookie realm=\"pulsegate\""]);
        }
        let answer = with("session=broken");
        assert_eq!((answer.status, &answer.json()["error"]["code"]), (503, &"session_unknown".into()));
        assert!(!answer.text().contains("canary"));
        assert_eq!(with("session=endless").status, 200, "what it says beyond its code is not waited for");
        let asked = app.seen().len();
        assert_eq!(ask(address, "GET", "/session", &[], b"").status, 401);
        assert_eq!(ask(address, "GET", "/session", &[("x-api-key", "an-invented-key-of-a-test")], b"").status, 200);
        assert_eq!(ask(address, "GET", "/public", &[("cookie", "session=good")], b"").status, 200);
        assert_eq!(app.seen().len(), asked, "nobody is asked where the answer is clear");
    }
    assert!(app.seen().iter().all(|seen| seen.target == "/auth/check?x=1"), "no redirection is followed");
}

#[test]
fn an_app_that_says_nothing_is_not_waited_for_and_holds_nobody_up() {
    let app = app();
    let sidecar = start(&asking(&app));
    let begun = Instant::now();
    let waiting: Vec<_> = [sidecar.traffic, sidecar.admin]
        .map(|address| {
            std::thread::spawn(move || ask(address, "GET", "/session", &[("cookie", "session=silent")], b""))
        })
        .into();
    crate::support::eventually(crate::support::PATIENCE, "both ask", || app.open() >= 2);
    for address in [sidecar.traffic, sidecar.admin] {
        assert_eq!(ask(address, "GET", "/public", &[], b"").status, 200);
    }
    for thread in waiting {
        let answer = thread.join().expect("an answer");
        assert_eq!((answer.status, &answer.json()["error"]["code"]), (503, &"session_unknown".into()));
    }
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    drop(app);
    let answer = ask(sidecar.traffic, "GET", "/session", &[("cookie", "session=good")], b"");
    assert_eq!(answer.status, 503, "the app is gone");
}

#[test]
fn a_token_in_a_cookie_admits_where_sessions_do() {
    let tokens = Tokens::make();
    let upstream = Upstream::hello();
    let settings = settings(&upstream, "EdDSA", "public_key_file", &tokens.file("EdDSA.pem"))
        .text("admin.session.cookie", "__Host-session")
        .raw("admin.cors_origins", "[\"https://status.example\"]")
        .raw("endpoints.\"/session\"", "{ dialect = \"claude-proxy\", access = [\"session\"] }");
    let sidecar = start(&settings);
    for address in [sidecar.traffic, sidecar.admin] {
        let with = |path: &str, name: &str| {
            let cookie = format!("a=b; __Host-session={}", tokens.token("EdDSA", name));
            ask(address, "GET", path, &[("cookie", &cookie), ("origin", "https://status.example")], b"")
        };
        let answer = with("/session", "good");
        assert_eq!((answer.status, answer.field("access-control-allow-credentials")), (200, Some("true")));
        for name in ["expired", "unsigned", "of_a_stranger"] {
            let answer = with("/session", name);
            assert_eq!((answer.status, answer.field("www-authenticate")), (401, Some("Cookie realm=\"pulsegate\"")));
        }
        assert_eq!(with("/secret", "good").status, 401, "a cookie is no bearer token");
        let bearer = format!("Bearer {}", tokens.token("EdDSA", "good"));
        let elsewhere = ask(address, "GET", "/session", &[("authorization", &bearer)], b"");
        assert_eq!(elsewhere.status, 403);
    }
    assert_eq!(upstream.seen().len(), 0);
}
