use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use super::{Client, PATIENCE, Process, eventually, free_port, local, tool};

/// A real Prometheus that scrapes what it is told to.
pub(crate) struct Prometheus {
    port: u16,
    _process: Process,
    _folder: TempDir,
}

impl Prometheus {
    /// With a job `app` of these targets, each with the labels of a pod, and with more of a configuration.
    #[track_caller]
    pub(crate) fn start(targets: &[SocketAddr], more: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let scraped = targets.iter().enumerate().map(|(index, target)| {
            format!("  - targets: ['{target}']\n    labels: {{ namespace: test, pod: app-{index} }}\n")
        });
        let scraped = scraped.collect::<String>();
        let text = format!(
            "global: {{ scrape_interval: 500ms, evaluation_interval: 500ms }}\nscrape_configs:\n- job_name: app\n  \
             static_configs:\n{scraped}{more}"
        );
        let config = folder.path().join("prometheus.yml");
        std::fs::write(&config, text).expect("a configuration");
        let port = free_port();
        let mut command = Command::new(tool("prometheus/bin/prometheus"));
        command.arg(format!("--config.file={}", config.display()));
        command.arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()));
        command.arg(format!("--web.listen-address=127.0.0.1:{port}")).arg("--rules.alert.resend-delay=1s");
        let mut process = Process::start(command.stdout(Stdio::null()));
        await_ready("Prometheus", &mut process, port);
        Self { port, _process: process, _folder: folder }
    }

    /// The results of a query; none as long as it does not answer.
    pub(crate) fn query(&self, expression: &str) -> Vec<Value> {
        let answer = self.get(&format!("/api/v1/query?query={}", encode(expression)));
        answer["result"].as_array().cloned().unwrap_or_default()
    }

    /// The value of a query with one result.
    pub(crate) fn value(&self, expression: &str) -> Option<String> {
        self.query(expression).first()?["value"][1].as_str().map(str::to_owned)
    }

    /// What is below `data` in an answer of its API; nothing if it is no success.
    pub(crate) fn get(&self, path: &str) -> Value {
        let body = ask(self.port, path);
        body.and_then(|body| serde_json::from_slice::<Value>(&body).ok())
            .map_or(Value::Null, |body| body["data"].clone())
    }
}

/// A real Alertmanager.
pub(crate) struct Alertmanager {
    pub(crate) port: u16,
    _process: Process,
    _folder: TempDir,
}

impl Alertmanager {
    #[track_caller]
    pub(crate) fn start(config: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("alertmanager.yml");
        std::fs::write(&file, config).expect("a configuration");
        let port = free_port();
        let program = tool("alertmanager/bin/prometheus-alertmanager");
        let mut command = Command::new(&program);
        // Its templates are looked for from there: see tests/tools.
        command.current_dir(program.ancestors().nth(2).expect("its folder"));
        command.arg(format!("--config.file={}", file.display()));
        command.arg(format!("--storage.path={}", folder.path().join("data").display()));
        command.arg(format!("--web.listen-address=127.0.0.1:{port}")).arg("--cluster.listen-address=");
        let mut process = Process::start(command.stdout(Stdio::null()));
        await_ready("Alertmanager", &mut process, port);
        Self { port, _process: process, _folder: folder }
    }

    /// The alerts that it holds for active, and that nothing silences.
    pub(crate) fn alerts(&self) -> Vec<Value> {
        let body = ask(self.port, "/api/v2/alerts?active=true&inhibited=false&silenced=false");
        body.and_then(|body| serde_json::from_slice(&body).ok()).unwrap_or_default()
    }
}

#[track_caller]
fn await_ready(name: &str, process: &mut Process, port: u16) {
    eventually(2 * PATIENCE, &format!("{name} is ready"), || {
        assert!(process.status().is_none(), "{name} has ended:\n{}", process.said().join("\n"));
        ask(port, "/-/ready").is_some()
    });
}

/// What `promtool` says, and whether it is content.
pub(crate) fn promtool(arguments: &[&str], folder: &Path) -> (bool, String) {
    let mut command = Command::new(tool("prometheus/bin/promtool"));
    let output = command.args(arguments).current_dir(folder).stdin(Stdio::null()).output().expect("promtool");
    (output.status.success(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
}

fn ask(port: u16, target: &str) -> Option<Vec<u8>> {
    let answer = Client::try_connect(local(port)).ok()?.ask("GET", target, &[], b"").ok()?;
    (answer.status == 200).then_some(answer.body)
}

/// A text as a part of a query (RFC 3986, section 2.1).
pub(crate) fn encode(text: &str) -> String {
    let letters = text.bytes().map(|byte| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'-' | b'.' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    });
    letters.collect()
}
