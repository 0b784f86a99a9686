//! A real Prometheus scrapes the sidecar.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::support::{Client, Process, Sidecar, Upstream, eventually_some, free_port, local, tool};

/// Asks Prometheus; `None` as long as it has no answer.
fn query(port: u16, expression: &str) -> Option<String> {
    let target = format!("/api/v1/query?query={expression}");
    let answer = Client::try_connect(local(port)).ok()?.ask("GET", &target, &[], b"").ok()?;
    let body: Value = serde_json::from_slice(&answer.body).ok()?;
    body["data"]["result"][0]["value"][1].as_str().map(str::to_owned)
}

#[test]
fn prometheus_scrapes_it() {
    let upstream = Upstream::hello();
    let sidecar = Sidecar::start(&Sidecar::full(&upstream)).ready();
    for _ in 0..3 {
        assert_eq!(sidecar.get("/").status, 200);
    }
    let directory = tempfile::tempdir().expect("a directory");
    let config = directory.path().join("prometheus.yml");
    let text = format!(
        "global: {{ scrape_interval: 1s }}\nscrape_configs:\n- job_name: sidecar\n  static_configs:\n  - targets: ['{}']\n",
        sidecar.admin
    );
    std::fs::write(&config, text).expect("a configuration");
    let port = free_port();
    let mut command = Command::new(tool("prometheus/bin/prometheus"));
    command.arg(format!("--config.file={}", config.display()));
    command.arg(format!("--storage.tsdb.path={}", directory.path().join("data").display()));
    command.arg(format!("--web.listen-address=127.0.0.1:{port}")).stdout(Stdio::null());
    let _prometheus = Process::start(&mut command);

    let minute = Duration::from_secs(60);
    let answers = |expression: &str, value: &str| {
        eventually_some(minute, &format!("{expression} is {value}"), || {
            query(port, expression).filter(|found| found == value)
        });
    };
    answers("up", "1");
    answers("claude_proxy_claude_cli_status", "1");
    answers("claude_proxy_requests_total%7Bmethod=%22GET%22,code=%22200%22%7D", "3");
    answers("claude_proxy_request_duration_seconds_count", "3");
    answers("claude_proxy_request_duration_seconds_bucket%7Ble=%22%2BInf%22%7D", "3");
    answers("claude_proxy_ready", "1");
}

#[test]
fn promtool_has_nothing_to_say() {
    let upstream = Upstream::start(|exchange| {
        exchange.read_body();
        let code = exchange.seen.target.trim_start_matches('/').parse().unwrap_or(200);
        exchange.answer(code, &[], b"x")
    });
    for settings in [Sidecar::full(&upstream), Sidecar::bare(&upstream)] {
        let sidecar = Sidecar::start(&settings).ready();
        for path in ["/200", "/404", "/429", "/500", "/529"] {
            sidecar.get(path);
        }
        let text = sidecar.admin("/metrics").body;
        let mut promtool = Command::new(tool("prometheus/bin/promtool"))
            .args(["check", "metrics"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("promtool");
        promtool.stdin.take().expect("a pipe").write_all(&text).expect("the metrics");
        let output = promtool.wait_with_output().expect("an end");
        let said = [output.stdout, output.stderr].concat();
        assert_eq!(String::from_utf8_lossy(&said), "", "{}", String::from_utf8_lossy(&text));
        assert!(output.status.success());
    }
}
