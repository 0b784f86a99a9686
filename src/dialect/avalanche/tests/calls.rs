//! JSON-RPC 2.0 as its specification has it, and bodies that nobody should send.

use serde_json::{Value, json};

use super::{call, error, json_of, report, seen};
use crate::dialect::avalanche::Avalanche;
use crate::dialect::{Call, Dialect as _, Query};
use crate::health::{Audience, Lifecycle};

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
