//! A real ccproxy behind the sidecar.

use crate::support::{Peer, Sidecar};

#[test]
fn its_health_is_ours_and_its_own_page_stays_reachable() {
    let ccproxy = Peer::ccproxy();
    let settings = Sidecar::full_for(ccproxy.port())
        .text("checks.api_server.http.path", "/health")
        .text("checks.api_server.http.expect_status", "200")
        .raw("endpoints.\"/health\".ports", "[\"admin\"]");
    let sidecar = Sidecar::start(&settings).ready();
    assert_eq!(sidecar.admin("/health").json()["status"], "healthy");
    let own = sidecar.get("/health");
    assert_eq!(own.status, 200);
    assert_ne!(own.json()["service"], "claude-proxy", "that is the app's own page");
    // What it does not know, it says itself.
    assert_eq!(sidecar.get("/nothing-of-that-name").status, 404);

    ccproxy.kill();
    sidecar.await_code("/readyz", 503);
    ccproxy.restart();
    ccproxy.wait();
    sidecar.await_code("/readyz", 200);
}
