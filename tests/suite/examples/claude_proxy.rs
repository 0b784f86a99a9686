//! The Claude proxy's document: its requests and scripts as they stand there, only the port is another. A real LiteLLM is
//! the proxy, a real Claude CLI is looked at.

use std::process::Command;
use std::sync::Arc;

use serde_json::{Value, json};

use super::{Example, addressed, assert_as_printed, document, file, monitor, shell};
use crate::support::{CLOSED_PORT, Ended, PATIENCE, Peer, Sidecar, claude, eventually, local, run, tool};

const ADDRESS: &str = "http://localhost:8000";

fn set(example: Example, port: u16) -> Example {
    example
        .set("proxy.upstream", &format!("http://127.0.0.1:{port}"))
        .set("checks.api_server.interval", "1s")
        .set("checks.api_server.timeout", "1s")
        .variable("CLAUDE_CLI_PATH", &claude("2.1.328").display().to_string())
}

fn healthy() -> (Arc<Peer>, Sidecar) {
    let litellm = Peer::shared_litellm();
    let sidecar = set(Example::of("claude-proxy"), litellm.port()).start();
    sidecar.await_code("/health", 200);
    (litellm, sidecar)
}

/// Nothing listens where the proxy should be.
fn broken() -> Sidecar {
    let sidecar = set(Example::of("claude-proxy"), CLOSED_PORT).start();
    sidecar.await_code("/health", 503);
    let told = || sidecar.detailed()["error"] == "api_server cannot connect";
    eventually(PATIENCE, "the app is known to be down", told);
    sidecar
}

/// A request of the document, with its port.
#[track_caller]
fn ask(sidecar: &Sidecar, line: &str) -> Ended {
    assert!(line.contains(ADDRESS));
    shell(&line.replace(":8000", &format!(":{}", sidecar.traffic.port())), &[])
}

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| panic!("not JSON: {text}"))
}

#[test]
fn healthy_as_the_document_prints_it() {
    let (_litellm, sidecar) = healthy();
    let short = ask(&sidecar, "curl -f http://localhost:8000/health");
    assert_eq!(short.code, Some(0), "{short:?}");
    assert_as_printed(&document("claude-proxy", "health.json"), &parsed(&short.stdout), &["/timestamp"]);

    let long = ask(&sidecar, "curl http://localhost:8000/health/detailed | jq");
    let mut printed = document("claude-proxy", "detailed.json");
    // Ours: which CLI is where, how long and at which port we run.
    let component = &mut printed["components"];
    component["claude_cli"]["version"] = json!("2.1.328");
    component["claude_cli"]["path"] = json!(claude("2.1.328").display().to_string());
    component["api_server"]["port"] = json!(sidecar.traffic.port());
    printed["configuration"]["host"] = json!("127.0.0.1");
    printed["configuration"]["port"] = json!(sidecar.traffic.port());
    let beside = [
        "/timestamp",
        "/components/api_server/uptime",
        // Its section "Component Status" prints these too; the rest is what checks know beside that.
        "/components/claude_cli/authenticated",
        "/components/claude_cli/last_check",
        "/components/api_server/host",
        "/components/api_server/requests_processed",
        "/components/api_server/errors",
        "/components/authentication/expires",
    ];
    let more = [
        "/components/api_server/uptime_seconds",
        "/components/api_server/last_check",
        "/components/api_server/latency_ms",
        "/components/api_server/consecutive_failures",
        "/components/api_server/status_code",
        "/components/authentication/state",
        "/components/authentication/method",
        "/components/authentication/verified",
        "/components/authentication/verified_at",
        "/components/authentication/last_check",
        "/components/traffic",
    ];
    assert_as_printed(&printed, &parsed(&long.stdout), &[&beside[..], &more[..]].concat());
}

#[test]
fn unhealthy_as_the_document_prints_it() {
    let mut printed = document("claude-proxy", "unhealthy.json");
    let sick = |example: Example, error: &str| {
        let sidecar = example.start();
        eventually(PATIENCE, error, || sidecar.get("/health").json()["error"] == error);
        let ended = ask(&sidecar, "curl -f http://localhost:8000/health");
        assert_eq!(ended.code, Some(22), "what curl -f says of a 503");
        (parsed(&ask(&sidecar, "curl -s http://localhost:8000/health").stdout), sidecar)
    };

    // "Claude CLI Not Found"
    let (told, _sidecar) = sick(Example::of("claude-proxy"), "Claude CLI not found in PATH");
    printed["error"] = json!("Claude CLI not found in PATH");
    printed["details"] = json!({ "searched_paths": [] });
    assert_as_printed(&printed, &told, &["/timestamp", "/details/searched_paths"]);
    let searched = told["details"]["searched_paths"].as_array().expect("paths");
    for path in ["/usr/local/bin/claude", "/usr/bin/claude", "~/.local/bin/claude"] {
        assert!(searched.contains(&json!(path)), "{path} in {searched:?}");
    }

    // "Authentication Failed"
    let litellm = Peer::shared_litellm();
    let nobody = tempfile::tempdir().expect("a home without a login");
    let example = set(Example::in_home("claude-proxy", nobody), litellm.port());
    let (told, _sidecar) = sick(example, "Claude CLI authentication failed");
    printed["error"] = json!("Claude CLI authentication failed");
    printed["details"] = json!({ "claude_cli_status": "not_authenticated" });
    assert_as_printed(&printed, &told, &["/timestamp"]);
}

#[test]
fn a_taken_port_as_the_document_prints_it() {
    let taken = std::net::TcpListener::bind(local(0)).expect("a port");
    let port = taken.local_addr().expect("an address").port();
    let mut example = Example::of("claude-proxy").variable("PORT", &port.to_string());
    let command = example.command.arg("run").arg("--config").arg(file("claude-proxy", "pulsegate.toml"));
    let ended = run(command);
    assert_eq!(ended.code, Some(2), "{ended:?}");
    let mut said = ended.stderr.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let body = said.next_back().expect("a line of JSON");
    assert_eq!(body["status"], "unhealthy");
    assert_eq!(body["error"], format!("Port {port} already in use"));
    assert_eq!(body["details"], json!({ "port": port, "host": "127.0.0.1" }));
}

#[test]
fn the_python_check_tells_the_truth() {
    let check = |sidecar: &Sidecar| {
        let script = addressed(sidecar, "claude-proxy", "check.py", ADDRESS);
        run(Command::new(tool("py/bin/python")).arg(script)).stdout
    };
    let (_litellm, sidecar) = healthy();
    assert_eq!(check(&sidecar), "Proxy is healthy\n");
    assert_eq!(check(&broken()), "Proxy is unhealthy\n");
}

#[test]
fn the_monitoring_loop_tells_the_truth() {
    let (_litellm, sidecar) = healthy();
    let good = monitor(&addressed(&sidecar, "claude-proxy", "monitor.sh", ADDRESS), 1);
    assert!(good[0].ends_with(": Proxy is healthy"), "{good:?}");
    let sidecar = broken();
    let bad = monitor(&addressed(&sidecar, "claude-proxy", "monitor.sh", ADDRESS), 2);
    assert!(bad[0].ends_with(": Proxy is unhealthy - checking details..."), "{bad:?}");
    assert_eq!(bad[1], "\"api_server cannot connect\"", "the reason, not jq's \"Unknown error\"");
}
