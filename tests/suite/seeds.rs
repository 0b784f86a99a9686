//! The scripts of the document that this program was created from, as they stand there; only the port is another.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process_group};

use crate::support::{PATIENCE, Sidecar, Upstream, run, tool};

/// A script of the document, asking the sidecar's port in place of 8000.
fn script(name: &str, sidecar: &Sidecar) -> std::path::PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/suite/seed-003").join(name);
    let text = std::fs::read_to_string(source).expect("the script");
    assert!(text.contains("http://localhost:8000"));
    let path = sidecar.home().join(name);
    std::fs::write(&path, text.replace(":8000", &format!(":{}", sidecar.traffic.port()))).expect("a script");
    path
}

/// Makes the app fail and waits until it is seen.
fn fail(upstream: &Upstream, sidecar: &Sidecar) {
    upstream.set_probe(500);
    sidecar.await_code("/health", 503);
}

#[test]
fn curl_fails_when_it_should() {
    let upstream = Upstream::hello();
    let sidecar = Sidecar::start(&Sidecar::full(&upstream)).ready();
    let url = format!("http://localhost:{}/health", sidecar.traffic.port());
    let curl = || run(Command::new("curl").args(["-f", "--max-time", "20", &url]));
    let good = curl();
    assert_eq!(good.code, Some(0), "{good:?}");
    let body: serde_json::Value = serde_json::from_str(&good.stdout).expect("JSON");
    assert_eq!(body["status"], "healthy");
    fail(&upstream, &sidecar);
    assert_eq!(curl().code, Some(22), "what curl -f says of a 503");
}

#[test]
fn the_python_check_tells_the_truth() {
    let upstream = Upstream::hello();
    let sidecar = Sidecar::start(&Sidecar::full(&upstream)).ready();
    let check = script("check.py", &sidecar);
    let python = || run(Command::new(tool("py/bin/python")).arg(&check));
    let good = python();
    assert_eq!((good.code, &*good.stdout), (Some(0), "Proxy is healthy\n"), "{good:?}");
    fail(&upstream, &sidecar);
    assert_eq!(python().stdout, "Proxy is unhealthy\n");
}

/// The first lines of the endless monitoring script, which is then ended with all that it started.
#[track_caller]
fn monitored(path: &Path, lines: usize) -> Vec<String> {
    use std::os::unix::process::CommandExt as _;
    let mut command = Command::new("bash");
    command.arg(path).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).process_group(0);
    let mut child = command.spawn().expect("bash");
    let stdout = child.stdout.take().expect("a pipe");
    let (sender, receiver) = mpsc::channel();
    let reader = std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    let deadline = Instant::now() + PATIENCE;
    let mut said = Vec::new();
    while said.len() < lines {
        match receiver.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(line) => said.push(line),
            Err(_) => break,
        }
    }
    let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw).expect("a process group");
    kill_process_group(group, Signal::KILL).expect("the script's processes");
    let _ = child.wait();
    drop(receiver);
    let _ = reader.join();
    said
}

#[test]
fn the_monitoring_loop_tells_the_truth() {
    let upstream = Upstream::hello();
    let sidecar = Sidecar::start(&Sidecar::full(&upstream)).ready();
    let path = script("monitor.sh", &sidecar);
    let good = monitored(&path, 1);
    assert!(good[0].ends_with(": Proxy is healthy"), "{good:?}");
    fail(&upstream, &sidecar);
    let bad = monitored(&path, 2);
    assert!(bad[0].ends_with(": Proxy is unhealthy - checking details..."), "{bad:?}");
    assert_eq!(bad[1], "\"api_server answers with status 500\"", "the reason, not jq's \"Unknown error\"");
}

#[test]
fn health_with_details_goes_through_jq() {
    let upstream = Upstream::hello();
    let sidecar = Sidecar::start(&Sidecar::full(&upstream)).ready();
    let line = format!(
        "curl -s http://localhost:{}/health/detailed | jq -r '.components.claude_cli.version'",
        sidecar.traffic.port()
    );
    let ended = run(Command::new("bash").args(["-c", &line]));
    assert_eq!((ended.code, &*ended.stdout), (Some(0), "2.1.328\n"), "{ended:?}");
}
