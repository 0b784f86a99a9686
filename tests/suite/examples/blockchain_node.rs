//! `health.getLiveness` of a node that sends heartbeats (the document of an Avalanche node).

use serde_json::{Value, json};

use super::{Example, addressed, assert_as_printed, document, file, python, serve, shell};
use crate::support::{PATIENCE, Process, Sidecar, eventually, free_port};

const HEARTBEAT: &str = "network.validators.heartbeat";

struct Node {
    sidecar: Sidecar,
    port: u16,
}

impl Node {
    fn start() -> Self {
        let port = free_port();
        let sidecar = Example::of("blockchain-node")
            .set("proxy.upstream", &format!("http://127.0.0.1:{port}"))
            .often("bootstrapped")
            .set("checks.bootstrapped.timeout", "300ms")
            // A variable has no name for a check with dots: as an operator would, by a flag.
            .flag(&format!("checks.{HEARTBEAT:?}.interval=300ms"))
            .flag(&format!("checks.{HEARTBEAT:?}.timeout=300ms"))
            .flag(&format!("checks.{HEARTBEAT:?}.fast_interval=300ms"))
            .flag(&format!("checks.{HEARTBEAT:?}.heartbeat.max_age=3s"))
            .start();
        Self { sidecar, port }
    }

    fn run(&self) -> Process {
        let admin = format!("http://{}", self.sidecar.admin);
        let mut command = python();
        command.env("PORT", self.port.to_string()).env("PULSEGATE", admin);
        serve(command.arg(file("blockchain-node", "node.py")), self.port)
    }

    /// The document's call.
    #[track_caller]
    fn liveness(&self) -> Value {
        let script = addressed(&self.sidecar, "blockchain-node", "liveness.sh", "127.0.0.1:9650");
        let ended = shell(&format!("source {}", script.display()), &[]);
        serde_json::from_str(&ended.stdout).unwrap_or_else(|_| panic!("{ended:?}"))
    }

    /// The same once the node is, or is not, alive.
    #[track_caller]
    fn await_liveness(&self, healthy: bool) -> Value {
        let code = if healthy { 200 } else { 503 };
        eventually(PATIENCE, "the node's life is known", || {
            self.sidecar.get("/ext/health/liveness").status == code
                && self.liveness()["result"]["checks"][HEARTBEAT]["message"]["heartbeat"].is_number()
        });
        self.liveness()
    }
}

#[test]
fn the_answer_is_the_documents() {
    let node = Node::start();
    let mut running = node.run();
    let printed = document("blockchain-node", "liveness.json");
    let check = format!("/result/checks/{HEARTBEAT}");
    let [message, timestamp, duration] =
        ["message/heartbeat", "timestamp", "duration"].map(|field| format!("{check}/{field}"));
    let other = [&*message, &*timestamp, &*duration];
    let alive = node.await_liveness(true);
    assert_as_printed(&printed, &alive, &other);
    assert!(alive.pointer(&message).and_then(Value::as_u64) > Some(1_591_041_377), "{alive}");
    node.sidecar.await_code("/ext/health", 200);
    assert_eq!(node.sidecar.get("/ext/info").json(), json!({ "isBootstrapped": true }), "the rest is the node's");

    running.kill();
    let dead = node.await_liveness(false);
    let mut sick = printed.clone();
    sick["result"]["healthy"] = json!(false);
    let part = &mut sick["result"]["checks"][HEARTBEAT];
    part["error"] = json!({ "message": "network.validators.heartbeat has sent no heartbeat for too long" });
    part["timeOfFirstFailure"] = json!("a time");
    let [error, failures, first] =
        ["error", "contiguousFailures", "timeOfFirstFailure"].map(|field| format!("{check}/{field}"));
    assert_as_printed(&sick, &dead, &[&other[..], &[&*error, &*failures, &*first]].concat());
    let error = dead.pointer(&error).and_then(|error| error["message"].as_str()).expect("a message");
    assert!(error.ends_with("has sent no heartbeat for too long"), "{error}");
    assert!(dead.pointer(&failures).and_then(Value::as_u64) >= Some(1), "{dead}");
    assert_eq!(node.sidecar.admin("/livez").status, 503, "it is to be restarted");

    let _again = node.run();
    assert_as_printed(&printed, &node.await_liveness(true), &other);
}
