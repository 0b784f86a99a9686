//! Dialects on the wire: which one answers, at which paths, with which fields and codes.

use std::time::Duration;

use serde_json::json;

use crate::support::{Response, Settings, Sidecar, Upstream, ask, eventually, free_port, get, home_with_login, run};

/// Endpoints beside those of the preset; the app's check is the one that the tests break.
fn start(upstream: &Upstream, change: impl FnOnce(Settings) -> Settings) -> Sidecar {
    Sidecar::start(&change(Sidecar::full(upstream))).ready()
}

fn both(sidecar: &Sidecar) -> [std::net::SocketAddr; 2] {
    [sidecar.traffic, sidecar.admin]
}

fn media_type(answer: &Response) -> &str {
    answer.field("content-type").unwrap_or_default()
}

#[test]
fn accept_chooses_among_the_dialects_of_an_endpoint() {
    let upstream = Upstream::hello();
    let sidecar = start(&upstream, |settings| {
        settings
            .raw("endpoints.\"/both\".dialect", "[\"claude-proxy\", \"kubernetes\"]")
            .text("endpoints.\"/one\".dialect", "claude-proxy")
    });
    let (json, text) = ("application/json", "text/plain; charset=utf-8");
    for address in both(&sidecar) {
        // Many times over: nobody must get what another one asked for.
        for _ in 0..3 {
            for (accept, expected) in [
                (None, json),
                (Some("text/plain"), text),
                (Some("*/*"), json),
                (Some("text/plain;q=0.5, application/json;q=0.4"), text),
                (Some("image/png"), json),
                (Some("text/*, */*;q=0.1"), text),
            ] {
                for method in ["GET", "HEAD"] {
                    let fields: Vec<(&str, &str)> = accept.map(|accept| ("accept", accept)).into_iter().collect();
                    let answer = ask(address, method, "/both", &fields, b"");
                    assert_eq!((answer.status, media_type(&answer)), (200, expected), "{method} {accept:?}");
                    assert_eq!(answer.field("vary"), Some("accept"));
                }
            }
            let lines = ask(address, "GET", "/both", &[("accept", "image/png"), ("Accept", "text/plain")], b"");
            assert_eq!(lines.text(), "ok", "the lines of the field are one list");
        }
        let one = ask(address, "GET", "/one", &[("accept", "text/plain")], b"");
        assert_eq!((one.status, media_type(&one), one.field("vary")), (200, json, None), "there is nothing to choose");
        // Paths below are those of the dialect that has them, whatever is asked for.
        let below = ask(address, "GET", "/both/api_server", &[("accept", json)], b"");
        assert_eq!((below.status, below.text()), (200, "ok"));
    }
}

#[test]
fn the_seeds_documents_are_answered() {
    let upstream = Upstream::hello();
    let sidecar = start(&upstream, |settings| {
        settings
            .text("service.version", "1.0.0")
            .text("service.build_git_hash", "3a6c1865")
            .text("service.build_timestamp", "2026-05-16T13:38:15Z")
            .text("endpoints.\"/api/v1/health\".dialect", "ok")
            .text("endpoints.\"/api/v1/ready\".dialect", "ok")
            .text("endpoints.\"/api/v1/ready\".group", "readiness")
            .text("endpoints.\"/build\".dialect", "build")
            .raw("endpoints.\"/build\".codes", "{ unhealthy = 299 }")
            .text("endpoints.\"/simple\".dialect", "simple")
            .raw("endpoints.\"/simple\".codes", "{ unhealthy = 500 }")
    });
    for address in both(&sidecar) {
        assert_eq!(get(address, "/api/v1/health").text(), r#"{"ok":true,"status":"healthy"}"#);
        assert_eq!(get(address, "/api/v1/ready").text(), r#"{"ok":true,"status":"healthy"}"#);
        let build = get(address, "/build").json();
        let names: Vec<&str> = build.as_object().expect("an object").keys().map(String::as_str).collect();
        assert_eq!(names, ["status", "version", "build_git_hash", "build_timestamp", "uptime_ms"]);
        assert_eq!((&build["status"], &build["version"]), (&json!("ok"), &json!("1.0.0")));
        assert_eq!(build["build_git_hash"], "3a6c1865");
        assert_eq!(build["build_timestamp"], "2026-05-16T13:38:15Z");
        assert!(build["uptime_ms"].is_u64());
        let simple = get(address, "/simple").json();
        assert_eq!(simple["status"], "ok");
        assert_eq!(simple.as_object().map(serde_json::Map::len), Some(2), "{simple}");
    }
    upstream.set_probe(500);
    sidecar.await_code("/api/v1/ready", 503);
    for address in both(&sidecar) {
        assert_eq!(get(address, "/api/v1/health").status, 200, "true as long as somebody answers");
        assert_eq!(get(address, "/api/v1/ready").text(), r#"{"ok":false,"status":"unhealthy"}"#);
        let build = get(address, "/build");
        assert_eq!((build.status, &build.json()["status"]), (299, &json!("degraded")));
        let simple = get(address, "/simple");
        assert_eq!((simple.status, &simple.json()["status"]), (500, &json!("error")));
        assert_eq!(simple.json()["error"], "api_server answers with status 500");
    }
}

#[test]
fn a_template_fills_in_what_is_known() {
    let upstream = Upstream::hello();
    let home = home_with_login();
    let key = home.path().join("key");
    std::fs::write(&key, "k1").expect("a key");
    let settings = Sidecar::full(&upstream)
        .raw("admin.api_keys", &format!("[{{ file = {:?} }}]", key.display().to_string()))
        .text("checks.sftpgo.tcp.address", &format!("127.0.0.1:{}", free_port()))
        .text("checks.sftpgo.interval", "200ms")
        .text("checks.sftpgo.on_failure", "degraded")
        .text("endpoints.\"/api/v1/stats/sftpgo\".dialect", "template")
        .raw("endpoints.\"/api/v1/stats/sftpgo\".words", "{ healthy = 'ok', unhealthy = 'error' }")
        .raw(
            "endpoints.\"/api/v1/stats/sftpgo\".body",
            "{ status = 'sftpgo.status', latency_ms = 'sftpgo.latency_ms', 'whole.status' = 'health.status', \
             'whole.code' = 'api_server.status_code', user = 'authentication.user', constant = { value = [1, { a = 'b' }] } }",
        );
    let sidecar = Sidecar::start_in(home, &settings, |_| ());
    let body = |headers: &[(&str, &str)]| ask(sidecar.traffic, "GET", "/api/v1/stats/sftpgo", headers, b"");
    eventually(Duration::from_secs(20), "the port is seen to be closed", || body(&[]).json()["status"] == "error");
    eventually(Duration::from_secs(20), "everything else is known", || {
        body(&[]).json()["whole"]["status"] == "degraded"
    });
    let answer = body(&[]);
    assert_eq!(answer.status, 200, "it weighs no more than degraded");
    let latency = answer.json()["latency_ms"].clone();
    assert!(latency.is_u64(), "{latency}");
    assert_eq!(
        answer.json(),
        json!({
            "status": "error",
            "latency_ms": latency,
            "whole": { "status": "degraded", "code": 200 },
            "user": null,
            "constant": [1, { "a": "b" }],
        })
    );
    let names: Vec<String> = answer.json().as_object().expect("an object").keys().cloned().collect();
    assert_eq!(names, ["status", "latency_ms", "whole", "user", "constant"], "in the order of the configuration");
    assert_eq!(body(&[("x-api-key", "k1")]).status, 200);
}

#[test]
fn the_old_word_for_the_metrics_is_refused_with_the_new_one() {
    let upstream = Upstream::hello();
    let home = home_with_login();
    let settings = Sidecar::full(&upstream).text("endpoints.\"/metrics\".dialect", "metrics");
    let ended = run(Sidecar::command(home.path(), &settings).arg("validate"));
    assert_eq!(ended.code, Some(2));
    assert!(ended.stderr.contains("the metrics are called \"prometheus\" here"), "{ended:?}");
}
