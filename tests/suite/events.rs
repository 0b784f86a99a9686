//! Webhooks: a receiver that takes, refuses, comes back, is slow, and one that is told too much.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering::SeqCst};

use serde_json::Value;

use crate::support::{Next, PATIENCE, Settings, Sidecar, Upstream, eventually, free_port, home_with_login};

/// A sidecar whose check `app` follows the app's probe.
fn settings(app: &Upstream, hook: &str) -> Settings {
    Sidecar::bare(app)
        .text("service.name", "told")
        .text("checks.app.http.path", Upstream::PROBE)
        .text("checks.app.interval", "100ms")
        .text("checks.app.fast_interval", "100ms")
        .raw("checks.app.failure_threshold", "1")
        .raw("events.webhooks", &format!("[{hook}]"))
}

fn receiver(code: &Arc<AtomicU16>) -> Upstream {
    let code = code.clone();
    Upstream::start(move |exchange| {
        exchange.read_body();
        exchange.answer(code.load(SeqCst), &[], b"canary of the receiver")
    })
}

fn bodies(receiver: &Upstream) -> Vec<Value> {
    receiver.seen().iter().map(|seen| serde_json::from_slice(&seen.body).expect("JSON")).collect()
}

#[test]
fn a_change_is_told_with_its_reason_and_what_is_secret_stays_so() {
    let (app, code) = (Upstream::hello(), Arc::new(AtomicU16::new(204)));
    let (json, slack) = (receiver(&code), receiver(&code));
    let hooks = format!(
        "{{ url = {{ env = \"HOOK\" }}, headers = {{ authorization = {{ env = \"HOOK_KEY\" }} }} }}, \
         {{ url = \"http://127.0.0.1:{}/x\", template = \"slack\", checks = [\"app\"], groups = [] }}",
        slack.port()
    );
    let sidecar = Sidecar::start_in(home_with_login(), &settings(&app, &hooks), |command| {
        command.env("HOOK", format!("http://127.0.0.1:{}/services/canary-of-a-path", json.port()));
        command.env("HOOK_KEY", "canary-of-a-field");
    })
    .ready();
    app.set_probe(500);
    eventually(PATIENCE, "both are told", || json.seen().len() == 2 && slack.seen().len() == 1);
    app.set_probe(200);
    eventually(PATIENCE, "and that it is over", || json.seen().len() == 4 && slack.seen().len() == 2);
    let told = bodies(&json);
    let short = |body: &Value| format!("{} {} {}", body["check"], body["group"], body["to"]);
    let expected = [
        r#""app" null "unhealthy""#,
        r#"null "readiness" "unhealthy""#,
        r#""app" null "healthy""#,
        r#"null "readiness" "healthy""#,
    ];
    assert_eq!(told.iter().map(short).collect::<Vec<_>>(), expected, "a beginning is no news");
    let first = &told[0];
    assert_eq!(
        (&first["event"], &first["service"], &first["from"]),
        (&"transition".into(), &"told".into(), &"healthy".into())
    );
    assert_eq!((&first["reason"], &first["message"]), (&"unexpected_status".into(), &"answers with status 500".into()));
    assert!(first["at"].as_str().is_some_and(|at| at.starts_with("20") && at.ends_with('Z')), "{first}");
    let seen = json.seen().remove(0);
    assert_eq!((&*seen.method, &*seen.target), ("POST", "/services/canary-of-a-path"));
    assert_eq!(
        (seen.field("authorization"), seen.field("content-type")),
        (Some("canary-of-a-field"), Some("application/json"))
    );
    let expected = serde_json::json!({ "text": "told: app is unhealthy (was healthy): answers with status 500" });
    assert_eq!(bodies(&slack)[0], expected);
    sidecar.assert_metric("told_events_total", &["result=\"sent\""], 6.0);
    assert!(!sidecar.log().contains("canary"), "{}", sidecar.log());
}

#[test]
fn a_receiver_that_fails_is_told_again_and_one_that_refuses_is_not() {
    let (app, code) = (Upstream::hello(), Arc::new(AtomicU16::new(503)));
    let busy = receiver(&code);
    let refuses = receiver(&Arc::new(AtomicU16::new(404)));
    let port = free_port();
    let hooks = [busy.port(), refuses.port(), port]
        .map(|port| format!("{{ url = \"http://127.0.0.1:{port}/canary\", groups = [], timeout = \"2s\" }}"))
        .join(", ");
    let sidecar = Sidecar::start(&settings(&app, &hooks)).ready();
    app.set_probe(500);
    eventually(PATIENCE, "it is tried", || busy.seen().len() == 1 && refuses.seen().len() == 1);
    let late = Upstream::start_at(port, |exchange| {
        exchange.read_body();
        exchange.answer(200, &[], b"")
    });
    code.store(200, SeqCst);
    eventually(PATIENCE, "it is told again", || busy.seen().len() == 2 && late.seen().len() == 1);
    sidecar.assert_metric("told_events_total", &["result=\"sent\""], 2.0);
    sidecar.assert_metric("told_events_total", &["result=\"failed\""], 1.0);
    assert_eq!(busy.seen()[0].body, busy.seen()[1].body);
    assert_eq!(refuses.seen().len(), 1, "again would be the same");
    assert!(!sidecar.log().contains("canary"), "{}", sidecar.log());
}

/// Health goes on at its pace, whatever becomes of who is told.
#[test]
fn a_receiver_that_says_nothing_delays_nobody() {
    let app = Upstream::hello();
    let silent = Upstream::start(|exchange| {
        exchange.wait_until_gone();
        Next::Close
    });
    let hook = format!("{{ url = \"http://127.0.0.1:{}/\", timeout = \"300ms\", attempts = 2 }}", silent.port());
    let sidecar = Sidecar::start(&settings(&app, &hook)).ready();
    for code in [500, 200, 500, 200] {
        app.set_probe(code);
        sidecar.await_code("/readyz", if code == 200 { 200 } else { 503 });
    }
    eventually(PATIENCE, "the first is given up", || {
        sidecar.metric("told_events_total", &["result=\"failed\""]) >= 1.0
    });
    assert!(silent.seen().len() >= 2, "it was tried twice");
}

#[test]
fn who_is_told_can_be_another_one_after_a_reload() {
    let (app, code) = (Upstream::hello(), Arc::new(AtomicU16::new(200)));
    let (first, second) = (receiver(&code), receiver(&code));
    let hook = |to: &Upstream| format!("{{ url = \"http://127.0.0.1:{}/\", groups = [] }}", to.port());
    let sidecar = Sidecar::start(&settings(&app, &hook(&first))).ready();
    app.set_probe(500);
    eventually(PATIENCE, "the first is told", || first.seen().len() == 1);
    let file = sidecar.home().join("pulsegate.toml");
    std::fs::write(file, settings(&app, &hook(&second)).to_toml()).expect("a configuration");
    eventually(PATIENCE, "it is reloaded", || sidecar.log().contains("\"reloaded\""));
    app.set_probe(200);
    eventually(PATIENCE, "the second is told", || second.seen().len() == 1);
    assert_eq!((first.seen().len(), &bodies(&second)[0]["to"]), (1, &"healthy".into()));
}
