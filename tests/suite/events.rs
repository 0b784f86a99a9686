//! Webhooks: a receiver that takes, refuses, comes back, is slow, and one that is told too much.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering::SeqCst};

use serde_json::Value;

use crate::support::{
    AppCertificates, Next, PATIENCE, Settings, Sidecar, TlsFront, Upstream, Validity, eventually, free_port,
    home_with_login,
};

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

/// One sidecar for each way in which a receiver can be strange.
#[test]
fn a_receiver_that_sends_elsewhere_or_a_hundred_megabytes() {
    let (app, code) = (Upstream::hello(), Arc::new(AtomicU16::new(200)));
    let elsewhere = receiver(&code);
    let target = format!("http://127.0.0.1:{}/stolen", elsewhere.port());
    let sends_on = Upstream::start(move |exchange| {
        exchange.read_body();
        exchange.answer(307, &[("location", &target)], b"")
    });
    const HUGE: usize = 100 * 1024 * 1024;
    let talks = Upstream::start(|exchange| {
        exchange.read_body();
        exchange.write(format!("HTTP/1.1 200 OK\r\ncontent-length: {HUGE}\r\n\r\n").as_bytes());
        let piece = vec![b'x'; 1024 * 1024];
        // Until nobody listens any more.
        (0..100).all(|_| exchange.write(&piece));
        Next::Close
    });
    let hangs = Upstream::start(|exchange| {
        exchange.read_body();
        exchange.write(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n123");
        exchange.wait_until_gone();
        Next::Close
    });
    let hook = |to: &Upstream| {
        format!("{{ url = \"http://127.0.0.1:{}/\", groups = [], timeout = \"2s\", attempts = 2 }}", to.port())
    };
    let hooks = [&sends_on, &talks, &hangs].map(hook).join(", ");
    let sidecar = Sidecar::start(&settings(&app, &hooks)).ready();
    let before = sidecar.process.own_kib();
    app.set_probe(500);
    sidecar.assert_metric("told_events_total", &["result=\"sent\""], 1.0);
    sidecar.assert_metric("told_events_total", &["result=\"failed\""], 2.0);
    assert_eq!((sends_on.seen().len(), elsewhere.seen().len()), (1, 0), "a redirection is not followed");
    assert_eq!((talks.seen().len(), hangs.seen().len()), (1, 2), "what hangs is tried again");
    let grown = sidecar.process.own_kib().saturating_sub(before);
    assert!(grown < 16 * 1024, "{grown} KiB for an answer that nobody wants");
}

#[test]
fn over_tls_by_a_given_authority_with_secrets_of_files() {
    let (app, code) = (Upstream::hello(), Arc::new(AtomicU16::new(200)));
    let (trusted, strange) = (receiver(&code), receiver(&code));
    let (ours, theirs) = (AppCertificates::new(), AppCertificates::new());
    let front = TlsFront::start(trusted.port(), &ours.issue("127.0.0.1", Validity::Now), None, &["http/1.1"]);
    let other = TlsFront::start(strange.port(), &theirs.issue("127.0.0.1", Validity::Now), None, &["http/1.1"]);
    let home = home_with_login();
    let file = |name: &str, text: &str| {
        std::fs::write(home.path().join(name), text).expect("a file");
        format!("{{ file = {:?} }}", home.path().join(name).display().to_string())
    };
    let url = file("url", &format!("https://127.0.0.1:{}/services/canary-of-a-path\n", front.port()));
    let key = file("key", "canary-of-a-field\n");
    let ca = ours.file().display().to_string();
    let hooks = format!(
        "{{ url = {url}, ca = {ca:?}, headers = {{ authorization = {key} }}, groups = [] }}, \
         {{ url = \"https://127.0.0.1:{}/\", ca = {ca:?}, groups = [], attempts = 1 }}",
        other.port()
    );
    let sidecar = Sidecar::start_in(home, &settings(&app, &hooks), |_| {}).ready();
    app.set_probe(500);
    eventually(PATIENCE, "it is told", || trusted.seen().len() == 1);
    let seen = trusted.only();
    assert_eq!((&*seen.target, seen.field("authorization")), ("/services/canary-of-a-path", Some("canary-of-a-field")));
    sidecar.assert_metric("told_events_total", &["result=\"failed\""], 1.0);
    assert!(strange.seen().is_empty(), "nothing is said to whom nobody vouches for");
    assert!(!sidecar.log().contains("canary"), "{}", sidecar.log());
}

#[test]
fn too_many_at_once_are_dropped_and_counted() {
    let (app, code) = (Upstream::hello(), Arc::new(AtomicU16::new(200)));
    let told = receiver(&code);
    let mut settings = settings(&app, &format!("{{ url = \"http://127.0.0.1:{}/\", groups = [] }}", told.port()));
    for index in 0..150 {
        let check = format!("checks.c{index}");
        settings = settings
            .text(&format!("{check}.http.path"), Upstream::PROBE)
            .text(&format!("{check}.interval"), "1s")
            .raw(&format!("{check}.failure_threshold"), "1");
    }
    let sidecar = Sidecar::start(&settings).ready();
    app.set_probe(500);
    let result = |result: &str| sidecar.metric("told_events_total", &[&format!("result=\"{result}\"")]);
    eventually(PATIENCE, "each is told or dropped", || result("sent") + result("dropped") >= 151.0);
    // A minute may turn meanwhile; each takes 60.
    let (sent, dropped) = (result("sent"), result("dropped"));
    assert!((60.0..=120.0).contains(&sent) && dropped >= 31.0, "{sent} {dropped}");
    assert_eq!(told.seen().len() as f64, sent);
}
