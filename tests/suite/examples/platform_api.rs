//! `{"status","timestamp","error"}` over a database, an external service and the system (the document of a platform's API).

use std::process::Command;

use serde_json::{Value, json};

use super::{Example, addressed, assert_as_printed, document, file, python, serve, shell};
use crate::support::{PATIENCE, Process, SYSTEM_PATH, Sidecar, eventually, free_port, home_with_login, run, tool};

/// Who speaks to pulsegate as its document does.
const ADDRESS: &str = "https://backend.flashback.tech";

struct Platform {
    sidecar: Sidecar,
    storage: u16,
}

/// The external service: any HTTP server will do.
fn storage(platform: &Platform) -> Process {
    let mut command = python();
    command.args(["-m", "http.server", "--bind", "127.0.0.1", "--directory"]).arg(platform.sidecar.home());
    serve(command.arg(platform.storage.to_string()), platform.storage)
}

fn start(change: impl FnOnce(Example) -> Example) -> Platform {
    let (storage, home) = (free_port(), home_with_login());
    let database = home.path().join("platform.db").display().to_string();
    let app = file("platform-api", "app.py").display().to_string();
    let example = Example::in_home("platform-api", home)
        .set("proxy.upstream", &format!("http://127.0.0.1:{}", free_port()))
        .set("checks.database.sqlite.path", &database)
        .set("checks.storage.http.url", &format!("http://127.0.0.1:{storage}/"))
        // This machine may be full of other tests.
        .set("checks.resources.system.max_memory_used_percent", "100")
        .often("database")
        .set("checks.database.timeout", "300ms")
        .often("storage")
        .set("checks.storage.timeout", "300ms")
        .often("resources")
        .set("checks.resources.timeout", "300ms")
        .app(&["python3", &app, &database]);
    Platform { sidecar: change(example).start(), storage }
}

impl Platform {
    /// What each of the document's clients gets.
    fn clients(&self) -> Vec<Value> {
        let script = |name: &str| addressed(&self.sidecar, "platform-api", name, ADDRESS);
        let parsed = |text: &str| serde_json::from_str::<Value>(text).unwrap_or_else(|_| panic!("not JSON: {text}"));
        let curl = shell(&format!("source {}", script("clients/health.sh").display()), &[]);
        // Python prints a dict, node an object: both are told to print JSON, and do everything else as printed.
        let as_json = |path: &std::path::Path, from: &str, to: &str| {
            let text = std::fs::read_to_string(path).expect("a client");
            assert!(text.contains(from), "{text}");
            std::fs::write(path, text.replace(from, to)).expect("a client");
        };
        let (python, node) = (script("clients/health.py"), script("clients/health.js"));
        as_json(&python, "print(r.json())", "import json; print(json.dumps(r.json()))");
        as_json(&node, "console.log(body)", "console.log(JSON.stringify(body))");
        let python = run(Command::new(tool("py/bin/python")).arg(python));
        let node = run(Command::new("node").env_clear().env("PATH", SYSTEM_PATH).arg(node));
        [curl, python, node].iter().map(|ended| parsed(&ended.stdout)).collect()
    }

    /// Every client of the document is told the same.
    #[track_caller]
    fn assert_error(&self, code: u16, error: &str) {
        let what = format!("/health says: {error}");
        eventually(PATIENCE, &what, || {
            let answer = self.sidecar.get("/health");
            answer.status == code && answer.json()["error"] == error
        });
        let mut printed = document("platform-api", "health.json");
        printed["status"] = json!("error");
        printed["error"] = json!(error);
        for told in self.clients() {
            assert_as_printed(&printed, &told, &["/timestamp"]);
        }
    }

    #[track_caller]
    fn assert_ok(&self) {
        self.sidecar.await_code("/health", 200);
        let mut printed = document("platform-api", "health.json");
        // "Error message if status is error."
        printed.as_object_mut().expect("an object").remove("error");
        for told in self.clients() {
            assert_as_printed(&printed, &told, &["/timestamp"]);
            let at = told["timestamp"].as_str().expect("a text");
            assert!(at.len() == "2019-08-24T14:15:22Z".len() && at.ends_with('Z'), "{at}");
        }
    }
}

#[test]
fn the_answer_is_the_documents() {
    let platform = start(|example| example);
    let mut running = storage(&platform);
    platform.assert_ok();
    let buckets = platform.sidecar.get("/buckets").json();
    assert_eq!(buckets[0], json!({ "name": "backups", "provider": "gcs" }), "the rest is the app's");

    running.kill();
    platform.assert_error(503, "storage cannot connect");
    assert_eq!(platform.sidecar.admin("/readyz").status, 200, "a replica without it goes on");
    let _again = storage(&platform);
    platform.assert_ok();

    // The app's migration went wrong.
    let database = platform.sidecar.home().join("platform.db");
    let rename = |from: &str, to: &str| {
        let sql = format!(
            "import sqlite3, sys; d = sqlite3.connect(sys.argv[1]); d.execute('alter table {from} rename to {to}'); d.commit()"
        );
        let ended = run(python().args(["-c", &sql]).arg(&database));
        assert_eq!(ended.code, Some(0), "{ended:?}");
    };
    rename("buckets", "buckets_old");
    platform.sidecar.await_code("/readyz", 503);
    platform.assert_error(503, "database refuses the query");
    rename("buckets_old", "buckets");
    platform.assert_ok();
    platform.sidecar.await_code("/readyz", 200);
}

#[test]
fn a_full_disk_is_told() {
    let platform = start(|example| example.set("checks.resources.system.min_disk_free", "1000000GiB"));
    let _running = storage(&platform);
    platform.assert_error(503, "resources has too little left on its disk");
    assert_eq!(platform.sidecar.admin("/readyz").status, 200);
}
