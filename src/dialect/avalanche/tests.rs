//! The node's own answers.

mod calls;

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
        recent: Default::default(),
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
        CheckReport { enabled: false, ..check("absent", &["C"], &both, Vec::new()) },
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
        history: Default::default(),
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
