use std::process::Command;

use super::client;
use crate::support::{Authority, Sidecar, Upstream, tool};

/// What h2spec sends, all of it included that is no more than recommended.
const TESTS: usize = 146;

/// What is no preface of HTTP/2 is HTTP/1.1 to a port that speaks both, and answered as such; h2spec would see no byte.
const EXPLAINED: &str = "Sends invalid connection preface";

#[test]
fn frames_streams_and_fields_keep_to_the_rules_of_http2() {
    let upstream = Upstream::hello();
    let sidecar = Sidecar::start(&Sidecar::bare(&upstream)).ready();
    assert_eq!(failures(sidecar.traffic.port(), &[]), [EXPLAINED]);
}

#[test]
fn so_they_do_over_tls() {
    let (upstream, authority) = (Upstream::hello(), Authority::new());
    authority.serve(&authority.issue("a.example"));
    let settings = Sidecar::bare(&upstream)
        .text("proxy.tls.cert", &authority.path("tls.crt").display().to_string())
        .text("proxy.tls.key", &authority.path("tls.key").display().to_string());
    let sidecar = Sidecar::start(&settings);
    // Here it was agreed upon beforehand.
    let failures = failures(sidecar.traffic.port(), &["--tls", "--insecure"]);
    assert!(failures.is_empty(), "{failures:?}");
}

/// Runs h2spec; the tests that did not pass.
fn failures(port: u16, arguments: &[&str]) -> Vec<String> {
    let folder = tempfile::tempdir().expect("a folder");
    let report = folder.path().join("report.xml");
    let mut command = Command::new(tool("h2spec/bin/h2spec"));
    command.args(["--strict", "--host", "127.0.0.1", "--port", &port.to_string()]).args(arguments);
    let said = client(command.arg("--junit-report").arg(&report));
    let report = std::fs::read_to_string(report).expect("a report");
    let cases: Vec<&str> = report.split("<testcase ").skip(1).collect();
    assert_eq!(cases.len(), TESTS, "{said}");
    let failed = cases.iter().filter(|case| ["<failure", "<error", "<skipped"].iter().any(|end| case.contains(end)));
    failed.map(|case| case.split('"').nth(3).expect("a name").to_owned()).collect()
}
