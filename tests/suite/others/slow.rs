use std::process::Command;

use super::client;
use crate::support::{PATIENCE, Sidecar, Upstream, eventually, tool};

/// slowhttptest's four attacks, with deadlines of two seconds: the service stays available all the time, and no connection
/// of the attack outlives its deadline.
#[test]
fn slow_clients_are_ended_and_keep_nobody_out() {
    let upstream = Upstream::start(|exchange| {
        exchange.read_body();
        exchange.answer(200, &[], &vec![b'x'; 100_000])
    });
    for (attack, arguments) in [
        ("slow head", &["-H"][..]),
        ("slow body", &["-B", "-s", "100000"]),
        ("slow reader", &["-X", "-k", "10", "-n", "1", "-w", "128", "-y", "256", "-z", "32"]),
        ("ranges", &["-R"]),
    ] {
        let settings = Sidecar::bare(&upstream)
            .text("proxy.timeouts.request_header", "2s")
            .text("proxy.timeouts.stream_idle", "2s")
            .text("proxy.timeouts.write", "2s")
            .text("proxy.timeouts.idle", "2s");
        let sidecar = Sidecar::start(&settings).ready();
        let folder = tempfile::tempdir().expect("a folder");
        let mut command = Command::new(tool("slowhttptest/bin/slowhttptest"));
        // Follow-up data comes more rarely than the deadlines allow.
        command
            .args(arguments)
            .args(["-c", "200", "-r", "200", "-i", "3", "-l", "12", "-p", "2", "-g", "-v", "1", "-o"]);
        command.arg(folder.path().join("report")).arg("-u").arg(format!("http://{}/", sidecar.traffic));
        let said = client(&mut command);
        let report = std::fs::read_to_string(folder.path().join("report.csv")).expect("a report");
        // Seconds, closed, pending, connected, available.
        let rows: Vec<Vec<u32>> = report
            .lines()
            .skip(1)
            .map(|row| row.split(',').filter_map(|cell| cell.trim().parse().ok()).collect())
            .collect();
        assert!(rows.len() >= 2, "{attack}: {report}\n{said}");
        assert!(
            rows.iter().any(|row| row.get(3) > Some(&0) || row.get(1) > Some(&0)),
            "{attack}: nobody came: {report}"
        );
        assert!(rows.iter().all(|row| row.get(4) > Some(&0)), "{attack}: out of service: {report}");
        eventually(PATIENCE, "the attack's connections are gone", || {
            sidecar.metric("pulsegate_connections", &[]) == 0.0
                && sidecar.metric("pulsegate_requests_in_flight", &[]) == 0.0
        });
        assert_eq!(sidecar.get("/").body.len(), 100_000);
    }
}
