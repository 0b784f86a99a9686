use std::process::Command;

use serde_json::{Map, Value};

use super::{client, server};
use crate::support::{Sidecar, tool};

/// Tests of this many in which the direct run does as a cache should by doing nothing: they must not change.
const TESTS: usize = 350;

/// http-cache-tests: a sidecar is no cache, so every test ends as without one, but where the suite's own server says what
/// is not HTTP. `docs/conformance.md` explains each of these kinds.
#[test]
fn a_sidecar_is_no_cache_and_changes_nothing_that_a_cache_looks_at() {
    let folder = tool("cache-tests/node_modules/http-cache-tests");
    let (_server, port) = server(|port| {
        let mut command = Command::new("node");
        command.arg("server/server.mjs").current_dir(&folder).env("npm_config_protocol", "http");
        command.env("npm_config_port", port.to_string()).env("npm_config_pidfile", "/dev/null");
        command
    });
    let sidecar = Sidecar::start(&Sidecar::bare_for(port));
    let run = |address: String| -> Map<String, Value> {
        let mut command = Command::new("node");
        command.args(["--no-warnings", "cli.mjs"]).current_dir(&folder);
        command.env("npm_config_base", format!("http://{address}")).env("npm_package_config_id", "");
        serde_json::from_str(&client(&mut command)).expect("JSON")
    };
    let (direct, proxied) = std::thread::scope(|scope| {
        let direct = scope.spawn(|| run(format!("127.0.0.1:{port}")));
        let proxied = run(sidecar.traffic.to_string());
        (direct.join().expect("a direct run"), proxied)
    });
    assert!(direct.len() >= TESTS, "{} tests", direct.len());
    let different: Vec<String> = direct
        .iter()
        .filter(|(name, verdict)| proxied.get(*name) != Some(verdict))
        .filter(|(name, verdict)| !is_explained(name, verdict, &proxied[*name]))
        .map(|(name, verdict)| format!("{name}: {verdict} direct, {} through the sidecar", proxied[name]))
        .collect();
    assert!(different.is_empty(), "{different:#?}");
}

/// Why an outcome may be another one.
fn is_explained(name: &str, direct: &Value, proxied: &Value) -> bool {
    let says = |verdict: &Value, text: &str| verdict.to_string().contains(text);
    // The server says "this should not have come" with the code 999, which is no code of HTTP.
    let code_999 = says(direct, "should have been conditional") && says(proxied, "status is 502");
    // The server closes instead of answering: what may be asked again is asked again.
    let retried = name.starts_with("stale-") && says(direct, "FetchError");
    // Two lengths, or a length and a coding, in one answer: refused.
    let badly_framed = name.ends_with("Content-Length") || name.ends_with("Transfer-Encoding");
    code_999 || retried || (badly_framed && direct != &Value::Bool(true))
}
