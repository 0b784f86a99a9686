//! JSON-RPC 2.0 as the specification has it, the node's own answers, and bodies that nobody should send.

use std::time::Duration;

use serde_json::{Value, json};

use super::Avalanche;
use crate::dialect::{Answer, Call, Dialect as _, Options, Query, Service, StatusCodes, View};
use crate::health::{
    Audience, CheckReport, Fact, Facts, Finding, Group, Lifecycle, Moment, Observation, OnFailure, Policy, Reason,
    Report, State,
};
use crate::traffic::Totals;

/// 2020-06-01T19:56:18.554202Z, the time of the document's example.
const NOW: Duration = Duration::new(1_591_041_378, 554_202_000);

fn at(seconds: u64) -> Moment {
    Moment { monotonic: Duration::from_secs(100 + seconds), unix: NOW + Duration::from_secs(seconds) }
}

/// A check that has found this, a run each second.
fn check(name: &str, tags: &[&str], groups: &[Group], findings: Vec<Finding>) -> CheckReport {
    let mut state = State::new(at(0));
    let policy = Policy::default();
    for (second, finding) in findings.into_iter().enumerate() {
        let at = at(second as u64);
        let took = Duration::from_nanos(23_201);
        state.step(&policy, Some(Observation { finding, at, took }.into()), at.later(took));
    }
    CheckReport {
        name: name.into(),
        kind: "tcp",
        on_failure: OnFailure::Unhealthy,
        groups: groups.to_vec(),
        tags: tags.iter().map(|tag| (*tag).into()).collect(),
        built_in: false,
        state,
        enabled: true,
        runs: [0; 4],
        transitions: [0; 4],
    }
}

fn pass(name: &'static str, fact: Fact) -> Finding {
    let mut facts = Facts::default();
    facts.public(name, fact);
    facts.trusted("address", "10.0.0.1");
    Finding::pass(facts)
}

fn fail() -> Finding {
    Finding::fail(Reason::new("refused", "cannot connect").with_private("10.0.0.1 refuses"), Facts::default())
}

fn report(lifecycle: Lifecycle) -> Report {
    let both = [Group::Health, Group::Readiness];
    let checks = vec![
        check(
            "network.validators.heartbeat",
            &[],
            &[Group::Liveness],
            vec![pass("heartbeat", Fact::Time(1_591_041_377))],
        ),
        check("database", &["db", "storage"], &both, vec![pass("latency_ms", Fact::Number(1.5)), fail(), fail()]),
        check("cache", &["storage"], &both, vec![pass("hits", Fact::Count(7))]),
        check("bootstrapped", &["application"], &[Group::Health], vec![Finding::pass(Facts::default())]),
        check("chain", &["C"], &[Group::Health], Vec::new()),
    ];
    let checks: Vec<_> = checks.into_iter().map(Into::into).collect();
    Report {
        number: 1,
        at: at(3),
        lifecycle,
        unready_when_draining: true,
        maintenance: None,
        groups: Report::aggregate(&Group::BUILT_IN, &checks),
        checks,
        overdue_at: None,
    }
}

fn seen<T>(report: &Report, audience: Audience, query: Query<'_>, look: impl FnOnce(&View<'_>) -> T) -> T {
    let service = Service {
        name: "node".into(),
        version: "1".into(),
        build_git_hash: String::new(),
        build_timestamp: String::new(),
        description: None,
        started: at(0),
        host: "h".into(),
        port: 9650,
        log_level: "info".into(),
        cors_enabled: false,
        configuration: Vec::new(),
    };
    look(&View {
        report,
        totals: &Totals::default(),
        service: &service,
        group: &Group::Health,
        detail: false,
        audience,
        codes: StatusCodes::default(),
        options: &Options::default(),
        query,
        now: at(3),
    })
}

fn call(body: impl AsRef<[u8]>) -> Answer {
    let report = report(Lifecycle::Serving);
    let call = Call { media_type: Some(b"application/json"), body: body.as_ref() };
    seen(&report, Audience::Public, Query::default(), |view| Avalanche.call(view, &call))
}

fn json_of(answer: &Answer) -> Value {
    serde_json::from_slice(&answer.body).expect("JSON")
}

/// What a method says of these parameters.
fn result(method: &str, params: Value) -> Value {
    let mut body = json!({ "jsonrpc": "2.0", "id": 1, "method": method });
    body["params"] = params;
    let answer = call(body.to_string());
    assert_eq!((answer.code, answer.media_type), (200, "application/json; charset=utf-8"));
    let mut answer = json_of(&answer);
    assert_eq!((&answer["id"], answer.get("error")), (&json!(1), None), "{answer}");
    answer["result"].take()
}

/// The code and the message of an error, and the id that it speaks of.
fn error(body: impl AsRef<[u8]>) -> (i64, String, Value) {
    let answer = call(body);
    assert_eq!(answer.code, 200);
    let answer = json_of(&answer);
    assert_eq!(answer.as_object().map(serde_json::Map::len), Some(3), "no result beside an error: {answer}");
    let message = answer["error"]["message"].as_str().expect("a sentence").to_owned();
    (answer["error"]["code"].as_i64().expect("a code"), message, answer["id"].clone())
}

#[test]
fn get_liveness_answers_as_the_document_prints_it() {
    let body = "{\n    \"jsonrpc\":\"2.0\",\n    \"id\"     :1,\n    \"method\" :\"health.getLiveness\"\n}";
    let answer = call(body);
    let expected = concat!(
        r#"{"jsonrpc":"2.0","result":{"checks":{"network.validators.heartbeat":{"message":{"heartbeat":1591041377},"#,
        r#""timestamp":"2020-06-01T19:56:18.554202Z","duration":23201,"contiguousFailures":0,"timeOfFirstFailure":null}},"#,
        r#""healthy":true},"id":1}"#
    );
    assert_eq!(std::str::from_utf8(&answer.body), Ok(expected));
}

#[test]
fn both_shapes_say_what_fails_each_in_its_own_way() {
    let mut failing = report(Lifecycle::Serving);
    failing.checks = vec![check("heart", &[], &[Group::Liveness], vec![fail(), fail()]).into()];
    failing.groups = Report::aggregate(&Group::BUILT_IN, &failing.checks);
    let ask = |method: &str, audience| {
        let body = json!({ "jsonrpc": "2.0", "id": "a", "method": method }).to_string();
        let call = Call { media_type: Some(b"application/json;"), body: body.as_bytes() };
        json_of(&seen(&failing, audience, Query::default(), |view| Avalanche.call(view, &call)))["result"].take()
    };
    assert_eq!(
        ask("health.getLiveness", Audience::Public),
        json!({ "checks": { "heart": {
            "error": { "message": "heart cannot connect", "cause": { "message": "cannot connect" } },
            "timestamp": "2020-06-01T19:56:19.554202Z",
            "duration": 23201,
            "contiguousFailures": 2,
            "timeOfFirstFailure": "2020-06-01T19:56:18.554225201Z",
        } }, "healthy": false })
    );
    assert_eq!(
        ask("health.liveness", Audience::Public),
        json!({ "checks": { "heart": {
            "error": "heart cannot connect",
            "timestamp": "2020-06-01T19:56:19.554225201Z",
            "duration": 23201,
            "contiguousFailures": 2,
            "timeOfFirstFailure": "2020-06-01T19:56:18.554225201Z",
        } }, "healthy": false })
    );
    let trusted = ask("health.liveness", Audience::Trusted);
    assert_eq!(trusted["checks"]["heart"]["error"], "heart cannot connect: 10.0.0.1 refuses");
    let trusted = ask("health.getLiveness", Audience::Trusted);
    assert_eq!(trusted["checks"]["heart"]["error"]["cause"]["message"], "10.0.0.1 refuses");
}

#[test]
fn todays_methods_speak_of_their_groups_and_leave_out_what_is_zero() {
    let health = result("health.health", json!({}));
    assert_eq!(
        health["checks"]["cache"],
        json!({ "message": { "hits": 7 }, "timestamp": "2020-06-01T19:56:18.554225201Z", "duration": 23201 })
    );
    assert_eq!(
        health["checks"]["chain"],
        json!({ "error": "waiting for the first result of chain", "timestamp": "0001-01-01T00:00:00Z", "duration": 0 })
    );
    assert_eq!(health["healthy"], false);
    let names =
        |result: &Value| -> Vec<String> { result["checks"].as_object().expect("checks").keys().cloned().collect() };
    assert_eq!(names(&health), ["database", "cache", "bootstrapped", "chain"]);
    assert_eq!(names(&result("health.readiness", json!({}))), ["database", "cache"]);
    assert_eq!(names(&result("health.liveness", Value::Null)), ["network.validators.heartbeat"]);
    for (tags, selected, healthy) in [
        (json!([]), &["database", "cache", "bootstrapped", "chain"][..], false),
        (Value::Null, &["database", "cache", "bootstrapped", "chain"], false),
        (json!(["all"]), &["database", "cache", "bootstrapped", "chain"], false),
        (json!(["db"]), &["database", "bootstrapped"], false),
        (json!(["storage", "C"]), &["database", "cache", "bootstrapped", "chain"], false),
        (json!(["C"]), &["bootstrapped", "chain"], false),
        (json!(["nobody"]), &["bootstrapped"], true),
    ] {
        for params in [json!({ "tags": tags }), json!([{ "tags": tags }])] {
            let health = result("health.health", params);
            assert_eq!(
                (names(&health), &health["healthy"]),
                (selected.iter().map(|name| (*name).to_owned()).collect(), &json!(healthy)),
                "{tags}"
            );
        }
    }
    let readiness = result("health.readiness", json!({ "tags": ["nobody"] }));
    assert_eq!(readiness, json!({ "checks": {}, "healthy": true }), "nothing is selected, nothing is wrong");
    let liveness = result("health.getLiveness", json!({ "tags": ["nobody"] }));
    assert_eq!(names(&liveness), ["network.validators.heartbeat"], "the method of 2020 knows no tags");
}

#[test]
fn what_stands_above_the_checks_is_a_check_of_its_own() {
    let ask = |report: &Report, now: Moment, tags: Vec<&'static str>| {
        let query = Query { tags: tags.into_iter().map(Into::into).collect(), ..Query::default() };
        seen(report, Audience::Public, query, |view| Avalanche.render(&View { now, ..view.clone() }))
    };
    let draining = ask(&report(Lifecycle::Draining), at(3), vec!["nobody"]);
    let body = json_of(&draining);
    assert_eq!((draining.code, &body["healthy"]), (503, &json!(false)));
    assert_eq!(body["checks"]["lifecycle"]["error"], "shutting down");
    let mut kept = report(Lifecycle::Serving);
    kept.maintenance = Some("disk".into());
    assert_eq!(json_of(&ask(&kept, at(3), vec!["C"]))["checks"]["maintenance"]["error"], "in maintenance: disk");
    kept.overdue_at = Some(Duration::from_secs(105));
    let dead = json_of(&ask(&kept, at(10), vec!["nobody"]));
    assert_eq!(
        dead["checks"]["engine"],
        json!({
            "error": "the health engine has stopped",
            "timestamp": "2020-06-01T19:56:21.554202Z",
            "duration": 0,
            "contiguousFailures": 1,
            "timeOfFirstFailure": "2020-06-01T19:56:23.554202Z",
        })
    );
    let well = ask(&report(Lifecycle::Serving), at(3), vec!["nobody"]);
    assert_eq!((well.code, well.media_type), (200, "application/json"));
    let many = ask(&report(Lifecycle::Serving), at(3), vec!["x"; 101]);
    assert_eq!(many.code, 400);
}

#[test]
fn the_specifications_own_examples() {
    assert_eq!(error(r#"{"jsonrpc": "2.0", "method": "foobar, "params": "bar", "baz]"#).0, -32700);
    assert_eq!(error(r#"{"jsonrpc": "2.0", "method": 1, "params": "bar"}"#).0, -32600);
    assert_eq!(error("[]").0, -32600);
    let three = json_of(&call("[1,2,3]"));
    let codes: Vec<_> = three.as_array().expect("a list").iter().map(|one| one["error"]["code"].as_i64()).collect();
    assert_eq!(codes, [Some(-32600); 3]);
    assert_eq!(error(r#"[{"jsonrpc": "2.0", "method": "sum", "params": [1,2,4], "id": "1"},{"jsonrpc""#).0, -32700);
    let batch = r#"[{"jsonrpc":"2.0","method":"health.liveness","id":"1"},
        {"jsonrpc":"2.0","method":"health.liveness"},
        {"jsonrpc":"2.0","method":"foo.get","params":{"name":"myself"},"id":"5"},
        {"foo":"boo"}]"#;
    let answers = json_of(&call(batch));
    let ids: Vec<_> = answers.as_array().expect("a list").iter().map(|one| one["id"].clone()).collect();
    assert_eq!(ids, [json!("1"), json!("5"), Value::Null], "a notification has no answer");
    assert!(answers[0].get("result").is_some() && answers[0].get("error").is_none());
}

#[test]
fn a_notification_is_answered_with_nothing() {
    for body in [
        r#"{"jsonrpc":"2.0","method":"health.health"}"#,
        r#"{"jsonrpc":"2.0","method":"nothing.there"}"#,
        r#"[{"jsonrpc":"2.0","method":"health.health"},{"jsonrpc":"2.0","method":"health.health"}]"#,
    ] {
        let answer = call(body);
        assert_eq!((answer.code, answer.media_type, answer.body.len()), (204, "", 0), "{body}");
    }
}

#[test]
fn an_id_comes_back_as_it_was_written_or_is_refused() {
    for id in ["1", "-7", "1.0", "1e400", "123456789012345678901234567890", "\"a\\u0062\"", "\"\"", "null"] {
        let answer = call(format!(r#"{{"jsonrpc":"2.0","method":"health.liveness","id":{id}}}"#));
        let text = std::str::from_utf8(&answer.body).expect("text");
        assert!(text.ends_with(&format!(",\"id\":{id}}}")), "{id}: {text}");
    }
    for id in ["{}", "[1]", "true", "false"] {
        let (code, _, told) = error(format!(r#"{{"jsonrpc":"2.0","method":"health.liveness","id":{id}}}"#));
        assert_eq!((code, told), (-32600, Value::Null), "{id}");
    }
}

#[test]
fn names_are_read_as_the_node_reads_them() {
    for (method, message) in [
        ("health.nope", "rpc: can't find method \"health.Nope\""),
        ("health.nope.more", "rpc: service/method request ill-formed: \"health.Nope.more\""),
        ("health", "rpc: service/method request ill-formed: \"health\""),
        ("", "rpc: service/method request ill-formed: \"\""),
        ("health.", "rpc: can't find method \"health.\""),
        ("health.GetLiveness", "method must start with a non-uppercase letter"),
        ("info.peers", "rpc: can't find service \"info.Peers\""),
        ("Health.health", "rpc: can't find service \"Health.Health\""),
        ("health.getliveness", "rpc: can't find method \"health.Getliveness\""),
        ("health.\u{1b}[0m", "rpc: can't find method \"health.\\u{1b}[0m\""),
    ] {
        let body = json!({ "jsonrpc": "2.0", "id": 7, "method": method }).to_string();
        assert_eq!(error(body), (-32000, message.to_owned(), json!(7)), "{method}");
    }
    let long = json!({ "jsonrpc": "2.0", "id": 7, "method": "x".repeat(5000) }).to_string();
    assert!(error(long).1.len() < 150);
}

#[test]
fn parameters_of_another_form_are_refused() {
    for params in [
        "1",
        "\"a\"",
        "true",
        "[1]",
        "[{},{}]",
        "[[[\"a\"]]]",
        r#"{"tags":"a"}"#,
        r#"{"tags":[1]}"#,
        r#"{"tags":{}}"#,
        r#"{"tags":["a"],"tags":["b"]}"#,
    ] {
        let body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"health.health","params":{params}}}"#);
        assert_eq!(error(body).0, -32602, "{params}");
    }
    let many = json!({ "jsonrpc": "2.0", "id": 1, "method": "health.health", "params": { "tags": vec!["x"; 101] } });
    assert_eq!(error(many.to_string()).0, -32602);
    for params in ["{}", "[]", "null", "[{}]", r#"{"other":1}"#] {
        let body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"health.health","params":{params}}}"#);
        assert!(json_of(&call(body)).get("result").is_some(), "{params}");
    }
}

#[test]
fn bodies_that_nobody_should_send() {
    let valid = r#"{"jsonrpc":"2.0","id":1,"method":"health.liveness"}"#;
    for body in [
        &b""[..],
        b"   ",
        b"\xff\xfe",
        b"\xef\xbb\xbf{}",
        b"nul",
        b"{",
        b"{\"a\":\"\n\"}",
        b"{}{}",
        &[valid.as_bytes(), b"x"].concat(),
        b"{'a':1}",
        b"{\"id\":01}",
    ] {
        assert_eq!(error(body).0, -32700, "{:?}", String::from_utf8_lossy(body));
    }
    for body in [
        "{}",
        "1",
        "\"a\"",
        "null",
        "true",
        r#"{"jsonrpc":2.0,"id":1,"method":"health.health"}"#,
        r#"{"jsonrpc":"1.0","id":1,"method":"health.health"}"#,
        r#"{"jsonrpc":"2.0","id":1}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":null}"#,
        r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"health.health"}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"health.health","method":"health.liveness"}"#,
    ] {
        assert_eq!(error(body).0, -32600, "{body}");
    }
    assert_eq!(error(r#"{"jsonrpc":"1.0","id":9,"method":"health.health"}"#).2, json!(9));
    for depth in [200, 30_000] {
        let nested = "[".repeat(depth) + &"]".repeat(depth);
        let answer = json_of(&call(nested.clone()));
        assert_eq!(answer[0]["error"]["code"], -32600, "a call must be an object");
        assert_eq!(error("[".repeat(depth)).0, -32700);
        let params = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"health.health","params":{nested}}}"#);
        assert_eq!(error(params).0, -32602);
        let inside = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"health.health","params":{{"more":{nested}}}}}"#);
        assert!(json_of(&call(inside)).get("result").is_some(), "nobody looks at it");
    }
}

#[test]
fn a_batch_is_bounded() {
    let batch = |calls: usize| {
        let call = r#"{"jsonrpc":"2.0","id":1,"method":"health.liveness"}"#;
        format!("[{}]", vec![call; calls].join(","))
    };
    assert_eq!(json_of(&call(batch(32))).as_array().map(Vec::len), Some(32));
    assert_eq!(error(batch(33)).0, -32600);
    let (code, message, id) = error(format!("[{}1]", "1,".repeat(9_999)));
    assert_eq!((code, &*message, id), (-32600, "a batch must not hold more than 32 calls", Value::Null));
}

#[test]
fn only_json_is_read() {
    let report = report(Lifecycle::Serving);
    let code = |media_type: Option<&str>| {
        let call = Call {
            media_type: media_type.map(str::as_bytes),
            body: br#"{"jsonrpc":"2.0","id":1,"method":"health.liveness"}"#,
        };
        seen(&report, Audience::Public, Query::default(), |view| Avalanche.call(view, &call)).code
    };
    for media_type in
        ["application/json", "application/json;", "Application/JSON; charset=utf-8", "application/json ;x=y"]
    {
        assert_eq!(code(Some(media_type)), 200, "{media_type}");
    }
    for media_type in [
        "",
        ";",
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/json2",
        "application/jsonp;",
        "a, application/json",
    ] {
        assert_eq!(code(Some(media_type)), 415, "{media_type}");
    }
    assert_eq!(code(None), 415);
}
