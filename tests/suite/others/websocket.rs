use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use super::{client, server};
use crate::support::{Sidecar, tool};

/// Autobahn's cases but for compression, which is between the two ends.
const CASES: usize = 301;

/// Autobahn's own case files, run by kosoku, against an echo server of the `websockets` library.
#[test]
fn every_case_of_autobahn_ends_as_it_does_without_a_sidecar() {
    let (_echo, port) = server(|port| {
        let mut command = Command::new(tool("websocket/bin/python"));
        command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/suite/apps/echo.py")).arg(port.to_string());
        command
    });
    let sidecar = Sidecar::start(&Sidecar::bare_for(port));
    let direct = verdicts(&format!("127.0.0.1:{port}"));
    let proxied = verdicts(&sidecar.traffic.to_string());
    assert_eq!(direct.len(), CASES, "the cases of this version");
    let different: Vec<_> = direct
        .iter()
        .filter(|(case, verdict)| proxied.get(*case) != Some(verdict))
        .map(|(case, verdict)| format!("{case}: {verdict} direct, {:?} through the sidecar", proxied.get(case)))
        .collect();
    assert!(different.is_empty(), "{different:#?}");
    let good = proxied.values().filter(|verdict| !verdict.contains("FAILED")).count();
    assert!(good >= CASES - 1, "the echo server itself fails in one case, not in {}", CASES - good);
}

/// What became of each case: its behaviour, how it closed, and with which code.
fn verdicts(address: &str) -> BTreeMap<String, String> {
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = Command::new(tool("websocket/bin/kosoku"));
    command.args(["-m", "fuzzingclient", "-p", "4", "-x", "12.*", "-x", "13.*", "-o"]).arg(folder.path()).arg(address);
    client(&mut command);
    let report = std::fs::read(folder.path().join("index.json")).expect("a report");
    let report: serde_json::Value = serde_json::from_slice(&report).expect("JSON");
    let agent = report.as_object().and_then(|agents| agents.values().next()).and_then(|cases| cases.as_object());
    let cases = agent.expect("one agent").iter();
    cases
        .map(|(case, verdict)| {
            let part = |name: &str| verdict[name].to_string();
            // In cases that break the protocol behind a good message, the echo of that message may be overtaken by the end of
            // the connection, direct or not: it depends on which octets the server reads at once. Both are right.
            let behaviour = part("behavior").replace("NON-STRICT", "OK");
            (case.clone(), format!("{behaviour} {} {}", part("behaviorClose"), part("remoteCloseCode")))
        })
        .collect()
}
