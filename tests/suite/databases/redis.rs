//! `redis` against a real Redis.

use rustix::process::Signal;

use super::{Watch, once, quoted, settings, withstands_impostors};
use crate::support::{AppCertificates, CANARY, CLOSED_PORT, PATIENCE, RedisServer, Validity, eventually};

#[test]
fn a_healthy_server_and_its_answers() {
    let server = RedisServer::start(&[]);
    let url = quoted(&server.url("0"));
    server.cli(&["RPUSH", "queue", "a", "b", "c"]);
    server.cli(&["SET", "greeting", "hello"]);
    let watch = Watch::over(&[("redis.url", &url)]);
    let shown = watch.await_status("healthy");
    assert!(shown["latency_ms"].as_f64().expect("a number") > 0.0 && shown["value"].is_null(), "{shown}");
    // One connection, which is kept and has a name.
    let ours = || {
        let list = server.cli(&["CLIENT", "LIST"]);
        list.lines()
            .filter(|line| line.contains("name=pulsegate"))
            .map(|line| line.split(' ').next().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let first = ours();
    assert_eq!(first.len(), 1);
    watch.await_shown("asked again", |again| again["last_check"] != shown["last_check"]);
    assert_eq!(ours(), first);
    watch.assert_no_canary();
    drop(watch);
    eventually(PATIENCE, "it is closed", || ours().is_empty());

    for (command, expect, name, value) in [
        ("[\"LLEN\", \"queue\"]", "{ value = \"< 1000\" }", "value", 3.into()),
        ("[\"GET\", \"greeting\"]", "{ value = \"hello\" }", "value", "hello".into()),
        ("[\"GET\", \"nothing\"]", "{ value = \"== null\" }", "value", serde_json::Value::Null),
        ("[\"INFO\", \"replication\"]", "{ role = \"master\", connected_slaves = 0 }", "role", "master".into()),
        ("[\"EXISTS\", \"queue\"]", "{ value = true }", "value", 1.into()),
        ("[\"MGET\", \"greeting\", \"nothing\"]", "{}", "value", serde_json::json!(["hello", null])),
    ] {
        let watch = Watch::over(&[("redis.url", &url), ("redis.command", command), ("redis.expect", expect)]);
        assert_eq!(watch.await_status("healthy")[name], value, "{command}");
    }
}

#[test]
fn everything_that_can_be_wrong_has_a_reason_of_its_own() {
    let server = RedisServer::start(&[]);
    let port = server.port();
    server.cli(&["ACL", "SETUSER", "reader", "on", &format!(">{CANARY}"), "~*", "+get"]);
    server.cli(&["SET", "large", &"x".repeat(1000)]);
    let at = |who: &str, number: &str| format!("redis://{who}@127.0.0.1:{port}/{number}");
    let good = server.url("0");
    for (url, command, code) in [
        (format!("redis://:{CANARY}@127.0.0.1:{CLOSED_PORT}"), "[\"PING\"]", "connect_failed"),
        (at(&format!(":{CANARY}-wrong"), "0"), "[\"PING\"]", "auth_failed"),
        (format!("redis://127.0.0.1:{port}"), "[\"PING\"]", "auth_failed"),
        (at(&format!("reader:{CANARY}"), ""), "[\"PING\"]", "auth_failed"),
        (at(&format!(":{CANARY}"), "9999"), "[\"PING\"]", "no_database"),
        // What is not a command is waited for the end of.
        (good.replace("redis://", "rediss://"), "[\"PING\"]", "timeout"),
        (good.clone(), "[\"LLEN\", \"large\"]", "query_failed"),
        (good.clone(), "[\"GET\"]", "query_failed"),
        (good.clone(), "[\"STRLEN\", \"large\"]", "unexpected_value"),
    ] {
        let mut kind = vec![("redis.url", quoted(&url)), ("redis.command", command.to_owned())];
        if code == "unexpected_value" {
            kind.push(("redis.expect", "{ value = \"< 10\" }".to_owned()));
        }
        let kind: Vec<(&str, &str)> = kind.iter().map(|(key, value)| (*key, value.as_str())).collect();
        let watch = Watch::over(&kind);
        let shown = watch.await_code(code);
        assert!(code == "timeout" || shown["error_detail"].is_string(), "{code}: {shown}");
        watch.assert_no_canary();
    }
    // More than is looked at.
    let script = "redis.call('SET', 'huge', string.rep('x', 20000000)) return 1";
    server.cli(&["EVAL", script, "0"]);
    let watch = Watch::over(&[("redis.url", &quoted(&good)), ("redis.command", "[\"GET\", \"huge\"]")]);
    watch.await_code("too_large");
    assert!(watch.sidecar.process.resident_kib() < 60_000, "{}", watch.sidecar.process.resident_kib());
}

#[test]
fn a_server_that_goes_and_comes_back() {
    let server = RedisServer::start(&["--maxclients", "2"]);
    let watch = Watch::over(&[("redis.url", &quoted(&server.url("0")))]);
    watch.await_status("healthy");
    server.stop();
    watch.await_code("connect_failed");
    server.start_again();
    watch.await_status("healthy");
    // Too quick to be noticed.
    let changes = watch.sidecar.log().matches("check changed").count();
    let before = watch.shown();
    server.cli(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
    watch.await_shown("asked again", |again| again["last_check"] != before["last_check"]);
    watch.await_status("healthy");
    assert_eq!(watch.sidecar.log().matches("check changed").count(), changes, "{}", watch.sidecar.log());
    // No room for one more.
    let other = Watch::over(&[("redis.url", &quoted(&server.url("0")))]);
    other.await_status("healthy");
    let third = once(&settings(&[("redis.url", &quoted(&server.url("0")))]));
    assert!(third.stdout.contains("has no connection left"), "{third:?}");
    drop(other);

    server.signal(Signal::STOP);
    watch.await_code("timeout");
    server.signal(Signal::CONT);
    watch.await_status("healthy");
    watch.assert_no_canary();
}

#[test]
fn a_server_that_loads_its_data_is_not_ready() {
    let server = RedisServer::start(&["--enable-debug-command", "local", "--key-load-delay", "200"]);
    let watch = Watch::over(&[("redis.url", &quoted(&server.url("0")))]);
    watch.await_status("healthy");
    // Four seconds' worth, and a look at its clients every few milliseconds.
    server.cli(&["CONFIG", "SET", "loading-process-events-interval-bytes", "1024"]);
    server.cli(&["DEBUG", "POPULATE", "20000", "key", "100"]);
    let loading = server.start_cli(&["DEBUG", "RELOAD"]);
    watch.await_code("not_ready");
    drop(loading);
    watch.await_status("healthy");
}

#[test]
fn by_tls_and_by_unix_socket() {
    let authority = AppCertificates::new();
    let files = authority.issue("localhost", Validity::Now);
    let server = RedisServer::start_with_tls(&files);
    let (ca, port) = (quoted(&authority.file().display().to_string()), server.tls_port());
    let url = |host: &str| quoted(&format!("rediss://:{CANARY}@{host}:{port}/1"));
    let ended = once(&settings(&[("redis.url", &url("localhost")), ("redis.ca", &ca)]));
    assert_eq!(ended.code, Some(0), "{ended:?}");
    for (host, ca) in [("127.0.0.1", Some(&ca)), ("localhost", None)] {
        let url = url(host);
        let mut kind = vec![("redis.url", url.as_str())];
        kind.extend(ca.map(|ca| ("redis.ca", ca.as_str())));
        let ended = once(&settings(&kind));
        assert!(ended.stdout.contains("TLS handshake failed"), "{ended:?}");
    }
    let socket = format!("redis+unix://:{CANARY}@{}?db=2", server.socket());
    let ended = once(&settings(&[("redis.url", &quoted(&socket))]));
    assert_eq!(ended.code, Some(0), "{ended:?}");
}

#[test]
fn whatever_else_listens_there() {
    withstands_impostors(|port| settings(&[("redis.url", &quoted(&format!("redis://:{CANARY}@127.0.0.1:{port}/1")))]));
}
