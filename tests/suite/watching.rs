//! `dialect = "events"`: whoever watches is told what happens, on both ports and in every protocol; and `dialect =
//! "checks"`, which remembers it.

use std::io::{Read as _, Write as _};
use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::support::http2::with_http2;
use crate::support::{Authority, Client, PATIENCE, Settings, Sidecar, Upstream, Watcher, Wire, eventually};

const EVENTS: &str = "/health/events";

fn settings(app: &Upstream) -> Settings {
    Sidecar::bare(app)
        .text("checks.app.http.path", Upstream::PROBE)
        .text("checks.app.interval", "100ms")
        .text("checks.app.fast_interval", "100ms")
        .raw("checks.app.failure_threshold", "1")
        .raw("endpoints.\"/health/events\"", "{ dialect = \"events\" }")
        .raw("endpoints.\"/health/check\"", "{ dialect = \"checks\" }")
        .raw("endpoints.\"/health\"", "{ dialect = \"simple\" }")
}

fn both(sidecar: &Sidecar) -> [SocketAddr; 2] {
    [sidecar.traffic, sidecar.admin]
}

#[test]
fn a_watcher_is_told_how_it_is_and_then_what_happens() {
    let app = Upstream::hello();
    let sidecar = Sidecar::start(&settings(&app)).ready();
    let watchers = both(&sidecar).map(|address| Watcher::start(address, EVENTS, &[]));
    for watcher in &watchers {
        let head = |name: &str| watcher.head.field(name).map(str::to_owned);
        assert_eq!(head("content-type").as_deref(), Some("text/event-stream"));
        assert_eq!(head("cache-control").as_deref(), Some("no-store, no-transform"));
        assert_eq!((head("content-length"), head("content-encoding")), (None, None));
        let snapshot = watcher.await_last("snapshot healthy");
        assert_eq!(snapshot.data["ready"], true, "{snapshot:?}");
        assert_eq!(snapshot.data["checks"][0]["check"], "app");
        assert!(watcher.text().starts_with("retry: 3000\n\n"), "{}", watcher.text());
    }
    app.set_probe(500);
    for watcher in &watchers {
        watcher.await_last("status health unhealthy");
        assert_eq!(watcher.short(), ["snapshot healthy", "transition app unhealthy", "status health unhealthy"]);
        let told = &watcher.told()[1];
        let expected = json!({ "check": "app", "from": "healthy", "to": "unhealthy", "reason": "unexpected_status",
            "message": "answers with status 500", "id": told.data["id"], "at": told.data["at"] });
        assert_eq!(told.data, expected);
        assert!(told.id.ends_with(&format!("-{}", told.data["id"])), "{told:?}");
    }
    app.set_probe(200);
    for watcher in &watchers {
        watcher.await_last("status health healthy");
        assert_eq!(watcher.told()[4].data["message"], Value::Null);
    }
    assert_eq!(watchers[0].text(), watchers[1].text(), "both ports say the same");
    sidecar.assert_metric("pulsegate_event_watchers", &[], 2.0);
    sidecar.assert_metric("pulsegate_requests_total", &[], 0.0);
    drop(watchers);
    sidecar.assert_metric("pulsegate_event_watchers", &[], 0.0);
}

#[test]
fn a_probe_that_fails_and_comes_back_at_once_is_told_both_times() {
    let app = Upstream::hello();
    let sidecar = Sidecar::start(&settings(&app)).ready();
    let watcher = Watcher::start(sidecar.admin, EVENTS, &[]);
    for round in 1..=20 {
        for code in [500, 200] {
            app.set_probe(code);
            sidecar.await_code("/health", if code == 500 { 503 } else { 200 });
        }
        watcher.await_last("status health healthy");
        assert_eq!(watcher.told().len(), 1 + 4 * round, "{:?}", watcher.short());
    }
    let ids: Vec<u64> = watcher.told().iter().map(|told| number(&told.id)).collect();
    assert!(ids.is_sorted(), "{ids:?}");
    let history = sidecar.admin("/health/check/app").json();
    let history = history["history"].as_array().expect("a history").clone();
    assert_eq!(history.len(), 16, "bounded");
    let last = history.last().expect("an event");
    assert_eq!((&last["from"], &last["to"]), (&"unhealthy".into(), &"healthy".into()));
    let told: Vec<Value> = watcher
        .told()
        .iter()
        .rev()
        .filter(|told| told.event == "transition")
        .take(16)
        .map(|told| told.data["id"].clone())
        .collect();
    let remembered: Vec<Value> = history.iter().rev().map(|event| event["id"].clone()).collect();
    assert_eq!(told, remembered, "watchers and history say the same");
}

fn number(id: &str) -> u64 {
    id.rsplit('-').next().and_then(|number| number.parse().ok()).expect("a number")
}

#[test]
fn whoever_comes_again_is_told_what_was_missed() {
    let app = Upstream::hello();
    let sidecar = Sidecar::start(&settings(&app)).ready();
    for address in both(&sidecar) {
        let first = Watcher::start(address, EVENTS, &[]);
        let last = first.await_last("snapshot healthy").id;
        drop(first);
        app.set_probe(500);
        sidecar.await_code("/health", 503);
        let again = Watcher::start(address, EVENTS, &[("last-event-id", &last)]);
        again.await_last("status health unhealthy");
        assert_eq!(again.short(), ["transition app unhealthy", "status health unhealthy"], "and nothing else");
        let process = last.split('-').next().expect("a process");
        for (garbage, reason) in [
            ("", "unknown_id"),
            ("x", "unknown_id"),
            ("1-1", "unknown_id"),
            ("-1", "unknown_id"),
            (&*format!("{process}-"), "unknown_id"),
            (&*format!("{process}--1"), "unknown_id"),
            (&*format!("{process}-99999999999999999999999"), "unknown_id"),
            (&*format!("{process}-1-1"), "unknown_id"),
            (&*format!("{process}-1000000"), "forgotten"),
            (&"9".repeat(2000), "unknown_id"),
            ("\u{e4}\u{1f600}", "unknown_id"),
        ] {
            let strange = Watcher::start(address, EVENTS, &[("last-event-id", garbage)]);
            strange.await_last("snapshot unhealthy");
            assert_eq!(strange.short(), [&format!("missed {reason}"), "snapshot unhealthy"], "{garbage:?}");
        }
        app.set_probe(200);
        sidecar.await_code("/health", 200);
    }
}

#[test]
fn what_is_forgotten_is_said_to_be() {
    let app = Upstream::hello();
    let mut settings = settings(&app);
    for index in 0..100 {
        let check = format!("checks.c{index}");
        settings = settings
            .text(&format!("{check}.http.path"), Upstream::PROBE)
            .text(&format!("{check}.interval"), "100ms")
            .text(&format!("{check}.fast_interval"), "100ms")
            .raw(&format!("{check}.failure_threshold"), "1")
            .raw(&format!("{check}.groups"), &format!("[\"g{index}\"]"));
    }
    let sidecar = Sidecar::start(&settings).ready();
    let first = Watcher::start(sidecar.admin, EVENTS, &[]);
    eventually(PATIENCE, "it is told", || !first.told().is_empty());
    let last = first.told().remove(0).id;
    drop(first);
    let transitions = || sidecar.metric("pulsegate_check_transitions_total", &[]);
    let begun = transitions();
    let mut code = 500;
    // Each is an event of the check and one of its group.
    eventually(PATIENCE, "more change than is remembered", || {
        app.set_probe(code);
        code = 700 - code;
        transitions() - begun >= 600.0
    });
    let again = Watcher::start(sidecar.admin, EVENTS, &[("last-event-id", &last)]);
    eventually(PATIENCE, "it is told", || again.told().len() >= 2);
    assert_eq!(again.short()[0], "missed forgotten");
    assert!(again.short()[1].starts_with("snapshot"));
}

/// What a client of HTTP/1.0 is sent, up to the first whole event.
fn heard_by_http10(address: SocketAddr) -> String {
    let mut stream = Wire::connect(address).expect("a connection");
    stream.write_all(b"GET /health/events HTTP/1.0\r\n\r\n").expect("a request");
    let mut heard = Vec::new();
    while !heard.ends_with(b"}\n\n") {
        let mut piece = [0; 1024];
        let length = stream.read(&mut piece).expect("more");
        assert!(length > 0, "it ends: {}", String::from_utf8_lossy(&heard));
        heard.extend_from_slice(&piece[..length]);
    }
    String::from_utf8(heard).expect("UTF-8")
}

#[test]
fn every_protocol_that_a_client_may_speak() {
    let app = Upstream::hello();
    let authority = Authority::new();
    let own = authority.issue("localhost");
    authority.serve(&own);
    let (cert, key) = (authority.path("tls.crt"), authority.path("tls.key"));
    let (cert, key) = (cert.display().to_string(), key.display().to_string());
    let plain = Sidecar::start(&settings(&app)).ready();
    for address in both(&plain) {
        // HTTP/1.0 knows no chunks: the connection's end is the body's.
        let old = heard_by_http10(address);
        assert!(old.starts_with("HTTP/1.") && old.contains(" 200 OK\r\n"), "{old}");
        assert!(!old.to_lowercase().contains("transfer-encoding"), "{old}");
        // HEAD says what GET would, takes no place, and the connection goes on.
        let mut client = Client::connect(address);
        let head = client.ask("HEAD", EVENTS, &[], b"").expect("a head");
        assert_eq!((head.status, head.field("content-type")), (200, Some("text/event-stream")));
        assert_eq!(client.ask("GET", "/livez", &[], b"").expect("an answer").text(), "ok");
        let refused = client.ask("POST", EVENTS, &[], b"").expect("an answer");
        assert_eq!((refused.status, refused.field("allow")), (405, Some("GET, HEAD")));
        let closing = Watcher::start(address, EVENTS, &[("connection", "close")]);
        closing.await_last("snapshot healthy");
        assert_eq!(closing.head.field("connection"), Some("close"));
        with_http2(address, async |mut sender| {
            let request = hyper::Request::get(format!("http://a{EVENTS}")).body(()).expect("a request");
            let (answer, _) = sender.send_request(request, true).expect("a stream");
            let answer = answer.await.expect("an answer");
            assert_eq!(answer.status(), 200);
            let mut body = answer.into_body();
            let first = body.data().await.expect("a piece").expect("data");
            assert!(first.starts_with(b"retry: 3000\n\n"), "{first:?}");
            app.set_probe(500);
            let mut text = String::new();
            while !text.contains("event: status") {
                let piece = body.data().await.expect("a piece").expect("data");
                let _ = body.flow_control().release_capacity(piece.len());
                text.push_str(std::str::from_utf8(&piece).expect("UTF-8"));
            }
            assert!(text.contains("\"to\":\"unhealthy\""), "{text}");
        });
        app.set_probe(200);
        plain.await_code("/health", 200);
    }
    eventually(PATIENCE, "all have gone", || plain.metric("pulsegate_event_watchers", &[]) == 0.0);
    let settings = settings(&app)
        .text("proxy.tls.cert", &cert)
        .text("proxy.tls.key", &key)
        .text("admin.tls.cert", &cert)
        .text("admin.tls.key", &key);
    let secure = Sidecar::start(&settings);
    for address in both(&secure) {
        let wire = authority.client(address, &["http/1.1"], None).expect("TLS");
        let watcher = Watcher::over_wire(wire, EVENTS);
        eventually(PATIENCE, "it is told", || !watcher.told().is_empty());
        assert!(watcher.short()[0].starts_with("snapshot"), "{:?}", watcher.short());
    }
}
