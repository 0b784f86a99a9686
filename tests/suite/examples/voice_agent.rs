//! `{"ok":true,"status":"healthy"}` for a load balancer (the document of a voice agent's API).

use super::{Example, addressed, assert_as_printed, document, file, monitor, python, serve, shell};
use crate::support::{Process, Sidecar, free_port, get};

fn app(port: u16) -> Process {
    serve(python().arg(file("voice-agent", "app.py")).arg(port.to_string()), port)
}

fn start(port: u16) -> Sidecar {
    Example::of("voice-agent")
        .set("proxy.upstream", &format!("http://127.0.0.1:{port}"))
        .often("api")
        .set("checks.api.timeout", "300ms")
        .start()
}

/// The document's request.
fn ask(sidecar: &Sidecar) -> serde_json::Value {
    let url = format!("http://localhost:{}", sidecar.traffic.port());
    let ended = shell(&format!("curl -s -X GET {url}/api/v1/health"), &[]);
    serde_json::from_str(&ended.stdout).unwrap_or_else(|_| panic!("{ended:?}"))
}

#[test]
fn the_answer_is_the_documents() {
    let port = free_port();
    let mut running = app(port);
    let sidecar = start(port);
    sidecar.await_code("/api/v1/health", 200);
    assert_as_printed(&document("voice-agent", "health.json"), &ask(&sidecar), &[]);
    assert_eq!(sidecar.get("/api/v1/calls").json(), serde_json::json!({ "calls": [] }), "the rest is the app's");
    assert_eq!(sidecar.metric("voice_agent_check_runs_total", &["outcome=\"fail\""]), 0.0);

    running.kill();
    let sick = sidecar.await_code("/api/v1/health", 503);
    assert!(sidecar.metric("voice_agent_check_runs_total", &["check=\"api\"", "outcome=\"fail\""]) >= 3.0);
    assert_eq!(sick.text(), r#"{"ok":false,"status":"unhealthy"}"#);
    assert_eq!(ask(&sidecar), serde_json::json!({ "ok": false, "status": "unhealthy" }));
    assert_eq!(get(sidecar.admin, "/livez").status, 200, "nobody restarts the sidecar for it");

    let _again = app(port);
    sidecar.await_code("/api/v1/health", 200);
    assert_as_printed(&document("voice-agent", "health.json"), &ask(&sidecar), &[]);
}

#[test]
fn the_monitoring_script_says_what_it_should() {
    let port = free_port();
    let sidecar = start(port);
    sidecar.await_code("/api/v1/health", 503);
    let script = addressed(&sidecar, "voice-agent", "monitor.sh", "https://your-domain.com");
    assert_eq!(monitor(&script, 1), ["Service unhealthy: HTTP 503"]);
    let _running = app(port);
    sidecar.await_code("/api/v1/health", 200);
    // It is silent then, so that what it would say next is shown by a step of its own loop.
    let text = std::fs::read_to_string(&script).expect("the script").replace("sleep 60", "echo passed; sleep 60");
    std::fs::write(&script, text).expect("a script");
    assert_eq!(monitor(&script, 1), ["passed"]);
}
