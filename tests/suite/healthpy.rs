//! healthpy, a library for services that follow draft-inadarei-api-health-check, reads our `health-json` as it reads any
//! dependency of a service of its own.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::support::{PATIENCE, SYSTEM_PATH, Sidecar, Upstream, eventually, get, run, tool};

#[test]
fn healthpy_takes_our_word_for_it() {
    let upstream = Upstream::hello();
    let settings = Sidecar::bare(&upstream)
        .text("checks.app.http.path", Upstream::PROBE)
        .text("checks.app.interval", "200ms")
        .text("endpoints.\"/health\".dialect", "health-json")
        .raw("endpoints.\"/health\".detail", "true");
    let sidecar = Sidecar::start(&settings).ready();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/suite/healthpy/client.py");
    let ask = || -> Value {
        let mut command = Command::new(tool("healthpy/bin/python"));
        command.env_clear().env("PATH", SYSTEM_PATH).env("PYTHONWARNINGS", "ignore").arg(&script);
        let ended = run(command.arg(format!("http://{}/health", sidecar.traffic)));
        assert_eq!(ended.code, Some(0), "{ended:?}");
        serde_json::from_str(&ended.stdout).unwrap_or_else(|_| panic!("{ended:?}"))
    };
    eventually(PATIENCE, "it is healthy", || get(sidecar.admin, "/health").json()["status"] == "pass");
    let well = ask();
    assert_eq!(well["status"], "pass");
    assert_eq!(well["check"]["observedValue"]["checks"]["app:responseTime"][0]["status"], "pass", "{well}");
    upstream.set_probe(500);
    eventually(PATIENCE, "it fails", || get(sidecar.admin, "/health").status == 503);
    let failing = ask();
    assert_eq!(failing["status"], "fail");
    assert_eq!(failing["check"]["output"]["output"], "app answers with status 500", "{failing}");
}
