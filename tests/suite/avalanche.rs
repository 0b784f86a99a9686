//! Seed 004: the health API of an Avalanche node, asked as its document asks, and by its own clients of 2020 and today.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::support::http2::with_http2;
use crate::support::{
    Client, PATIENCE, Response, SYSTEM_PATH, Settings, Sidecar, Upstream, ask, eventually, get, run, tool,
};

const PATH: &str = "/ext/health";
const JSON: (&str, &str) = ("content-type", "application/json");

/// A node's configuration: a heartbeat for liveness, a chain and a database beside it. What is asked is the app's probe.
fn settings(upstream: &Upstream) -> Settings {
    let probe = |settings: Settings, name: &str, groups: &str| {
        let check = format!("checks.{name:?}");
        settings
            .text(&format!("{check}.http.url"), &format!("http://127.0.0.1:{}{}", upstream.port(), Upstream::PROBE))
            .text(&format!("{check}.interval"), "200ms")
            .raw(&format!("{check}.groups"), groups)
    };
    let settings = probe(Sidecar::bare(upstream), "network.validators.heartbeat", "[\"liveness\"]");
    let settings = probe(settings, "C", "[\"readiness\", \"health\"]").raw("checks.C.tags", "[\"C\", \"chain one\"]");
    settings
        .text("checks.database.tcp.address", &format!("127.0.0.1:{}", upstream.port()))
        .text("checks.database.interval", "200ms")
        .raw("checks.database.groups", "[\"health\"]")
        .text("endpoints.\"/ext/health\".dialect", "avalanche")
        .text("endpoints.\"/readyz\".dialect", "kubernetes")
        .text("endpoints.\"/readyz\".group", "readiness")
        .text("endpoints.\"/metrics\".dialect", "prometheus")
}

fn started(upstream: &Upstream) -> Sidecar {
    let sidecar = Sidecar::start(&settings(upstream)).ready();
    eventually(PATIENCE, "every check has passed", || get(sidecar.admin, PATH).status == 200);
    sidecar
}

#[track_caller]
fn call(sidecar: &Sidecar, body: &str) -> Value {
    let answers = [sidecar.traffic, sidecar.admin].map(|address| {
        let answer = ask(address, "POST", PATH, &[JSON], body.as_bytes());
        assert_eq!((answer.status, answer.field("content-type")), (200, Some("application/json; charset=utf-8")));
        assert_eq!(answer.field("cache-control"), Some("no-store"));
        answer.json()
    });
    let [traffic, admin] = answers;
    // Both have the same report, or one of a moment later.
    assert_eq!(traffic["id"], admin["id"]);
    traffic
}

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().map(|object| object.keys().map(String::as_str).collect()).unwrap_or_default()
}

/// `2020-06-01T15:56:18.554202Z`.
fn is_timestamp(value: &Value) -> bool {
    let text = value.as_str().unwrap_or_default();
    let shape: String = text.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    let fraction = shape.strip_prefix("0000-00-00T00:00:00").and_then(|rest| rest.strip_suffix('Z'));
    fraction.is_some_and(|fraction| fraction.is_empty() || (fraction.starts_with('.') && fraction.len() <= 10))
}

#[test]
fn the_documents_own_command_gets_the_documents_answer() {
    let upstream = Upstream::hello();
    let sidecar = started(&upstream);
    for address in [sidecar.traffic, sidecar.admin] {
        // As printed, with its content type that ends in a semicolon; only the port is another one.
        let body = "{\n    \"jsonrpc\":\"2.0\",\n    \"id\"     :1,\n    \"method\" :\"health.getLiveness\"\n}";
        let mut curl = Command::new("curl");
        curl.args(["-sS", "-X", "POST", "--data", body, "-H", "content-type:application/json;"]);
        let said = run(curl.arg(format!("{address}/ext/health")));
        let answer: Value = serde_json::from_str(&said.stdout).unwrap_or_else(|_| panic!("{said:?}"));
        assert_eq!(keys(&answer), ["jsonrpc", "result", "id"]);
        assert_eq!((&answer["jsonrpc"], &answer["id"]), (&json!("2.0"), &json!(1)));
        let result = &answer["result"];
        assert_eq!(keys(result), ["checks", "healthy"]);
        assert_eq!((keys(&result["checks"]), &result["healthy"]), (vec!["network.validators.heartbeat"], &json!(true)));
        let heartbeat = &result["checks"]["network.validators.heartbeat"];
        assert_eq!(keys(heartbeat), ["message", "timestamp", "duration", "contiguousFailures", "timeOfFirstFailure"]);
        assert!(is_timestamp(&heartbeat["timestamp"]), "{heartbeat}");
        assert!(heartbeat["duration"].as_u64().is_some_and(|nanos| (10_000..60_000_000_000).contains(&nanos)));
        assert_eq!((&heartbeat["contiguousFailures"], &heartbeat["timeOfFirstFailure"]), (&json!(0), &Value::Null));
    }
    sidecar.assert_metric("pulsegate_requests_total", &[], 0.0);
}

#[test]
fn a_failure_is_told_in_both_shapes_and_by_code_to_get() {
    let upstream = Upstream::hello();
    let sidecar = started(&upstream);
    upstream.set_probe(500);
    eventually(PATIENCE, "it fails", || get(sidecar.admin, PATH).status == 503);
    let old = eventually_failing(&sidecar, "health.getLiveness", "network.validators.heartbeat");
    assert_eq!(old["error"]["message"], "network.validators.heartbeat answers with status 500");
    assert_eq!(old["error"]["cause"]["message"], "answers with status 500");
    assert!(old["contiguousFailures"].as_u64() >= Some(1) && is_timestamp(&old["timeOfFirstFailure"]), "{old}");
    let new = eventually_failing(&sidecar, "health.health", "C");
    assert_eq!(new["error"], "C answers with status 500");
    assert!(new["contiguousFailures"].as_u64() >= Some(1) && is_timestamp(&new["timeOfFirstFailure"]), "{new}");

    let database = call(&sidecar, &request("health.health", &json!({})))["result"]["checks"]["database"].clone();
    assert_eq!(keys(&database).last(), Some(&"duration"), "what is zero is left out: {database}");
    upstream.set_probe(200);
    eventually(PATIENCE, "it has recovered", || get(sidecar.admin, PATH).status == 200);
    let well = call(&sidecar, &request("health.health", &json!({})))["result"].clone();
    assert_eq!(well["healthy"], true);
}

fn request(method: &str, params: &Value) -> String {
    json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params }).to_string()
}

fn eventually_failing(sidecar: &Sidecar, method: &str, check: &str) -> Value {
    let mut found = Value::Null;
    eventually(PATIENCE, "the check is shown as failing", || {
        let result = call(sidecar, &request(method, &json!({})))["result"].take();
        found = result["checks"][check].clone();
        found.get("error").is_some() && result["healthy"] == false
    });
    found
}

#[test]
fn tags_select_in_calls_and_in_queries() {
    let upstream = Upstream::hello();
    let sidecar = started(&upstream);
    let called = |tags: Value| {
        let answer = call(&sidecar, &request("health.health", &json!({ "tags": tags })));
        keys(&answer["result"]["checks"]).join(" ")
    };
    let queried = |query: &str| keys(&get(sidecar.traffic, &format!("{PATH}{query}")).json()["checks"]).join(" ");
    assert_eq!((called(json!([])), queried("")), ("C database".into(), "C database".into()));
    assert_eq!((called(json!(["C"])), queried("?tag=C")), ("C".into(), "C".into()));
    assert_eq!(queried("?tag=nobody&tag=chain+one"), "C");
    assert_eq!(queried("?tag=chain%20one"), "C");
    assert_eq!(queried("?tag=%zz"), "");
    for (below, checks) in [("health", "C database"), ("readiness", "C"), ("liveness", "network.validators.heartbeat")]
    {
        let answer = get(sidecar.traffic, &format!("{PATH}/{below}"));
        assert_eq!((answer.status, keys(&answer.json()["checks"]).join(" ")), (200, checks.to_owned()), "{below}");
        let posted = ask(sidecar.traffic, "POST", &format!("{PATH}/{below}"), &[JSON], b"{}");
        assert_eq!((posted.status, posted.field("allow")), (405, Some("GET, HEAD")), "{below}");
    }
    assert_eq!(queried("/readiness?tag=nobody"), "");
    assert_eq!(get(sidecar.traffic, "/ext/health/nothing").text(), "hello", "no endpoint: the app's");
    let nobody = get(sidecar.traffic, "/ext/health?tag=nobody");
    assert_eq!((nobody.status, nobody.text()), (200, r#"{"checks":{},"healthy":true}"#));
    assert_eq!(get(sidecar.traffic, &format!("{PATH}?{}", "tag=x&".repeat(101))).status, 400);
}

#[test]
fn what_is_no_call_is_refused_and_the_next_one_answered() {
    let upstream = Upstream::hello();
    let sidecar = started(&upstream);
    let body = request("health.liveness", &json!({}));
    for address in [sidecar.traffic, sidecar.admin] {
        for method in ["PUT", "DELETE", "OPTIONS"] {
            let answer = ask(address, method, PATH, &[], b"");
            assert_eq!((answer.status, answer.field("allow")), (405, Some("GET, HEAD, POST")), "{method}");
        }
        for kind in ["application/x-www-form-urlencoded", "text/plain", ""] {
            assert_eq!(ask(address, "POST", PATH, &[("content-type", kind)], body.as_bytes()).status, 415, "{kind}");
        }
        assert_eq!(ask(address, "POST", PATH, &[], body.as_bytes()).status, 415);
        let large = ask(address, "POST", PATH, &[JSON], &vec![b' '; 65_537]);
        assert_eq!(large.status, 413);
        let largest = format!("{body}{}", " ".repeat(65_536 - body.len()));
        assert_eq!(ask(address, "POST", PATH, &[JSON], largest.as_bytes()).status, 200);
        let quiet = r#"{"jsonrpc":"2.0","method":"health.health"}"#;
        let nothing = ask(address, "POST", PATH, &[JSON], quiet.as_bytes());
        assert_eq!((nothing.status, nothing.body.len(), nothing.field("content-type")), (204, 0, None));
        assert_eq!(nothing.field("content-length"), None, "RFC 9110 section 8.6");
        for (body, code) in [
            ("{", -32700),
            ("[]", -32600),
            (&*format!("[{}1]", "1,".repeat(9_999)), -32600),
            (&*request("health.nope", &json!({})), -32000),
            (&*request("health.health", &json!(1)), -32602),
        ] {
            let answer = ask(address, "POST", PATH, &[JSON], body.as_bytes());
            assert_eq!((answer.status, &answer.json()["error"]["code"]), (200, &json!(code)), "{body:.40}");
        }
    }
    sidecar.assert_metric("pulsegate_requests_total", &[], 0.0);
}

/// Calls, and traffic behind them, on one connection: nothing of a body is taken for a request or the other way round.
#[test]
fn calls_and_traffic_share_a_connection() {
    let upstream = Upstream::start(|exchange| {
        exchange.read_body();
        exchange.answer(200, &[], b"from the app")
    });
    let sidecar = started(&upstream);
    let body = request("health.liveness", &json!({}));
    let length = body.len();
    let whole = format!(
        "POST {PATH} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    let chunks = format!(
        "POST {PATH} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n\
         {:x}\r\n{}\r\n{:x};x=y\r\n{}\r\n0\r\nX: y\r\n\r\n",
        10,
        &body[..10],
        length - 10,
        &body[10..]
    );
    let traffic = "GET /app HTTP/1.1\r\nHost: a\r\n\r\n";
    let mut client = Client::connect(sidecar.traffic);
    client.send([&*whole, traffic, &*chunks, traffic].concat().as_bytes()).expect("sent");
    for expected in ["health", "app", "health", "app"] {
        client.expect(if expected == "health" { "POST" } else { "GET" });
        let answer: Response = client.read().expect("an answer");
        assert_eq!(answer.status, 200);
        assert_eq!(answer.text() == "from the app", expected == "app", "{}", answer.text());
    }
    // A client that waits for leave is given it.
    let head = whole.replace("Content-Length", "Expect: 100-continue\r\nContent-Length");
    let head = &head[..head.len() - length];
    for address in [sidecar.traffic, sidecar.admin] {
        let mut client = Client::connect(address);
        client.expect("POST");
        client.send(head.as_bytes()).expect("sent");
        let leave = client.read_exact(25).expect("leave");
        assert_eq!(leave, b"HTTP/1.1 100 Continue\r\n\r\n");
        client.send(body.as_bytes()).expect("sent");
        assert_eq!(client.read().expect("an answer").json()["result"]["healthy"], true);
    }
    // A GET with a body is answered, and what it brought is nothing.
    let smuggled = format!("GET {PATH} HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{traffic}", traffic.len());
    let mut client = Client::connect(sidecar.traffic);
    client.expect("GET");
    client.send(smuggled.as_bytes()).expect("sent");
    let answer = client.read().expect("an answer");
    assert!(answer.status == 200 && answer.closes());
    assert!(client.is_closed());
    assert_eq!(upstream.seen().iter().filter(|seen| seen.target == "/app").count(), 2);
}

#[test]
fn calls_come_over_http2_as_well() {
    let upstream = Upstream::hello();
    let sidecar = started(&upstream);
    let body = request("health.getLiveness", &json!({}));
    with_http2(sidecar.traffic, async |mut client| {
        let ask = async |client: &mut h2::client::SendRequest<bytes::Bytes>, body: Vec<u8>| {
            let request = hyper::Request::post(format!("http://a{PATH}"))
                .header("content-type", "application/json")
                .body(())
                .expect("a request");
            let (answer, mut sending) = client.send_request(request, false).expect("sent");
            // What is too large is refused before all of it is sent.
            let _ = sending.send_data(body.into(), true);
            answer.await.map(|answer| answer.status().as_u16())
        };
        client = client.ready().await.expect("a connection");
        assert_eq!(ask(&mut client, body.clone().into_bytes()).await.expect("an answer"), 200);
        assert_eq!(ask(&mut client, vec![b' '; 65_537]).await.expect("an answer"), 413);
        assert_eq!(ask(&mut client, body.into_bytes()).await.expect("an answer"), 200);
    });
    sidecar.assert_metric("pulsegate_requests_total", &[], 0.0);
}

/// The node's own clients, of 2020 and of today, take our answers for the node's.
#[test]
fn the_nodes_own_clients_are_content() {
    let upstream = Upstream::hello();
    let sidecar = started(&upstream);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/suite/avalanche/client.cjs");
    let ask = |version: &str, address: std::net::SocketAddr| {
        let library = tool(&format!("avalanche-{version}/node_modules/avalanche"));
        let mut node = Command::new("node");
        node.env_clear().env("PATH", SYSTEM_PATH).env("NODE_NO_WARNINGS", "1").arg(&script).arg(library);
        let ended = run(node.arg(address.port().to_string()));
        assert_eq!(ended.code, Some(0), "{ended:?}");
        serde_json::from_str::<Value>(&ended.stdout).unwrap_or_else(|_| panic!("{ended:?}"))
    };
    for address in [sidecar.traffic, sidecar.admin] {
        let liveness = ask("3.6.2", address);
        assert_eq!(liveness["healthy"], true, "{liveness}");
        assert_eq!(keys(&liveness["checks"]), ["network.validators.heartbeat"]);
        let health = ask("3.16.0", address);
        assert_eq!((&health["healthy"], keys(&health["checks"])), (&json!(true), vec!["C", "database"]), "{health}");
    }
    upstream.set_probe(500);
    eventually(PATIENCE, "it fails", || get(sidecar.admin, PATH).status == 503);
    eventually_failing(&sidecar, "health.getLiveness", "network.validators.heartbeat");
    for version in ["3.6.2", "3.16.0"] {
        assert_eq!(ask(version, sidecar.traffic)["healthy"], false, "{version}");
    }
}
