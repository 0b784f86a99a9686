//! gRPC end to end: a server and a client by gRPC's own people, and the sidecar between them.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::support::{PATIENCE, Process, SYSTEM_PATH, Sidecar, eventually, eventually_some, run, tool};

fn peer(arguments: &[&str]) -> Command {
    let script: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/suite/grpc/grpc_peer.py");
    let mut command = Command::new(tool("grpc/bin/python"));
    command.env_clear().env("PATH", SYSTEM_PATH).arg(script).args(arguments);
    command
}

/// Unary, streams of clients, of servers and of both, metadata, errors in trailers and in heads, deadlines, cancelling:
/// `grpc_peer.py` says what it asks, and is as content with the sidecar between as without.
#[test]
fn every_kind_of_call_passes() {
    let app = Process::start(peer(&["app"]).stdout(Stdio::null()));
    let port: u16 = eventually_some(PATIENCE, "the app listens", || app.said().first()?.parse().ok());
    let direct = run(&mut peer(&["client", &format!("127.0.0.1:{port}")]));
    assert_eq!((direct.code, &*direct.stdout), (Some(0), "all is well\n"), "without the sidecar: {direct:?}");

    let settings = Sidecar::bare_for(port).text("proxy.upstream", &format!("h2c://127.0.0.1:{port}"));
    let sidecar = Sidecar::start(&settings);
    let through = run(&mut peer(&["client", &sidecar.traffic.to_string()]));
    assert_eq!((through.code, &*through.stdout), (Some(0), "all is well\n"), "with the sidecar: {through:?}");
    eventually(PATIENCE, "nothing is in flight", || {
        sidecar.metric("pulsegate_requests_in_flight", &[]) == 0.0
            && sidecar.metric("pulsegate_upstream_connections", &["state=\"active\""]) == 0.0
    });
    sidecar.assert_metric("pulsegate_requests_total", &[], 211.0);
    assert!(sidecar.metric("pulsegate_upstream_connections", &[]) <= 4.0);
}
