//! `mysql` against a real MariaDB.

use rustix::process::Signal;

use super::{Watch, once, quoted, settings, withstands_impostors};
use crate::support::{AppCertificates, CANARY, CLOSED_PORT, MariadbServer, PATIENCE, Validity, eventually};

#[test]
fn a_healthy_server_and_its_rows() {
    let server = MariadbServer::shared();
    let watch = Watch::over(&[
        ("mysql.url", &quoted(&server.url("test"))),
        (
            "mysql.sql",
            "\"select 3481 as `rows`, 'primary' as role, 1.5 as lag, null as nothing, true as yes, x'0001' as bin, -3 as less, timestamp'2026-05-18 17:30:00' as at\"",
        ),
        ("mysql.expect", "{ rows = \">= 1\", role = \"primary\", lag = \"< 5\", yes = true, nothing = \"== null\" }"),
    ]);
    let shown = watch.await_status("healthy");
    assert_eq!((&shown["rows"], &shown["role"], &shown["lag"]), (&3481.into(), &"primary".into(), &1.5.into()));
    assert_eq!(
        (&shown["bin"], &shown["less"], &shown["at"]),
        (&"2 bytes".into(), &(-3).into(), &"2026-05-18 17:30:00".into())
    );
    assert!(shown["server_version"].as_str().expect("a version").contains("MariaDB"), "{shown}");
    watch.assert_no_canary();
    // A ping is enough where no statement is given.
    let watch = Watch::over(&[("mysql.url", &quoted(&server.url("test")))]);
    let first = watch.await_status("healthy");
    assert!(first["rows"].is_null());
    watch.await_shown("asked again", |again| again["last_check"] != first["last_check"]);
}

#[test]
fn everything_that_can_be_wrong_has_a_reason_of_its_own() {
    let server = MariadbServer::shared();
    let (good, port) = (server.url("test"), server.port());
    let series = "select seq from seq_1_to_1000000";
    for (url, sql, code) in [
        (&format!("mysql://root:{CANARY}@127.0.0.1:{CLOSED_PORT}/test"), None, "connect_failed"),
        (&format!("mysql://root:{CANARY}-wrong@127.0.0.1:{port}/test"), None, "auth_failed"),
        (&format!("mysql://root@127.0.0.1:{port}/test"), None, "auth_failed"),
        (&server.url("nowhere"), None, "no_database"),
        (&format!("{good}?ssl-mode=REQUIRED"), None, "tls_failed"),
        (&good, Some("select * from nowhere"), "query_failed"),
        (&good, Some("create table never (a int)"), "query_failed"),
        (&good, Some("select 1; select 2"), "query_failed"),
        (&good, Some(series), "too_large"),
        (&good, Some("select repeat('x', 10000000)"), "too_large"),
        (&good, Some("select 1 as n where false"), "unexpected_value"),
    ] {
        let mut kind = vec![("mysql.url", quoted(url))];
        if let Some(sql) = sql {
            kind.extend([("mysql.sql", quoted(sql)), ("mysql.expect", "{ n = \">= 1\" }".to_owned())]);
        }
        let kind: Vec<(&str, &str)> = kind.iter().map(|(key, value)| (*key, value.as_str())).collect();
        let watch = Watch::over(&kind);
        let shown = watch.await_code(code);
        assert!(shown["error_detail"].is_string(), "{code}: {shown}");
        assert!(watch.sidecar.process.resident_kib() < 60_000, "{sql:?}: {}", watch.sidecar.process.resident_kib());
        watch.assert_no_canary();
    }
    assert_eq!(server.sql("select count(*) from information_schema.tables where table_name = 'never'"), "0");
}

#[test]
fn a_server_that_goes_and_comes_back() {
    let server = MariadbServer::start(&[]);
    let watch = Watch::over(&[("mysql.url", &quoted(&server.url("test"))), ("mysql.sql", "\"select 1 as one\"")]);
    watch.await_status("healthy");
    server.stop();
    watch.await_code("connect_failed");
    server.start_again();
    watch.await_status("healthy");
    server.signal(Signal::STOP);
    watch.await_code("timeout");
    server.signal(Signal::CONT);
    watch.await_status("healthy");
    watch.assert_no_canary();
}

#[test]
fn what_takes_too_long_ends_on_the_server_too() {
    let server = MariadbServer::shared();
    let running = |what: &str| {
        let sql = format!(
            "select count(*) from information_schema.processlist where command <> 'Sleep' and info like '%{what}%' and id <> connection_id()"
        );
        server.sql(&sql)
    };
    let watch = Watch::over(&[
        ("mysql.url", &quoted(&server.url("test"))),
        ("mysql.sql", "\"select sleep(600)\""),
        ("interval", "\"60s\""),
        ("fast_interval", "\"60s\""),
        ("timeout", "\"2s\""),
    ]);
    eventually(PATIENCE, "it runs", || running("sleep(600)") == "1");
    watch.await_code("timeout");
    eventually(PATIENCE, "it has ended", || running("sleep(600)") == "0");
}

#[test]
fn by_tls_and_by_unix_socket() {
    let authority = AppCertificates::new();
    let files = authority.issue("localhost", Validity::Now);
    let server = MariadbServer::start_with_tls(&files);
    let (ca, port) = (quoted(&authority.file().display().to_string()), server.port());
    let url = |host: &str| quoted(&format!("mysql://root:{CANARY}@{host}:{port}/test?ssl-mode=REQUIRED"));
    let watch = Watch::over(&[
        ("mysql.url", &url("localhost")),
        ("mysql.ca", &ca),
        (
            "mysql.sql",
            "\"select variable_value <> '' as tls from information_schema.session_status where variable_name = 'Ssl_cipher'\"",
        ),
        ("mysql.expect", "{ tls = true }"),
    ]);
    watch.await_status("healthy");
    for (host, ca) in [("127.0.0.1", Some(&ca)), ("localhost", None)] {
        let url = url(host);
        let mut kind = vec![("mysql.url", url.as_str())];
        kind.extend(ca.map(|ca| ("mysql.ca", ca.as_str())));
        let ended = once(&settings(&kind));
        assert!(ended.stdout.contains("TLS handshake failed"), "{ended:?}");
    }
    let socket = format!("mysql://root:{CANARY}@localhost/test?socket={}", server.socket());
    let ended = once(&settings(&[("mysql.url", &quoted(&socket)), ("mysql.sql", "\"select 1\"")]));
    assert_eq!(ended.code, Some(0), "{ended:?}");
}

#[test]
fn whatever_else_listens_there() {
    withstands_impostors(|port| {
        settings(&[
            ("mysql.url", &quoted(&format!("mysql://root:{CANARY}@127.0.0.1:{port}/test"))),
            ("mysql.sql", "\"select 1\""),
        ])
    });
}
