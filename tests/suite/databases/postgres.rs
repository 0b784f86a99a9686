//! `postgres` against a real PostgreSQL.

use rustix::process::Signal;

use super::{Watch, once, quoted, settings, withstands_impostors};
use crate::support::{
    AppCertificates, CANARY, CLOSED_PORT, PATIENCE, PostgresServer, Sidecar, Validity, await_line, eventually,
    home_with_login, run,
};

#[test]
fn a_healthy_server_and_its_rows() {
    let server = PostgresServer::shared();
    // A database of its own: other tests watch the same server.
    server.sql("create database healthy");
    let url = server.url("healthy");
    let watch = Watch::over(&[
        ("postgres.url", &quoted(&url)),
        (
            "postgres.sql",
            "\"select 3481 as rows, 'primary' as role, 1.5 as lag, null as nothing, true as yes, now() as at\"",
        ),
        (
            "postgres.expect",
            "{ rows = \">= 1\", role = \"primary\", lag = \"< 5\", yes = true, nothing = \"== null\" }",
        ),
    ]);
    let shown = watch.await_status("healthy");
    assert_eq!((&shown["rows"], &shown["role"], &shown["lag"]), (&3481.into(), &"primary".into(), &1.5.into()));
    assert!(shown["latency_ms"].as_f64().expect("a number") > 0.0);
    assert!(shown["server_version"].as_str().expect("a version").starts_with("1"), "{shown}");
    // Strangers see how quick it is, and no more.
    let public = watch.sidecar.detailed()["components"]["database"].clone();
    assert!(public["latency_ms"].is_number() && public["rows"].is_null() && public["server_version"].is_null());
    // One connection, which is kept and has a name.
    let of_ours = "select count(*) || ' ' || min(pid) from pg_stat_activity where application_name = 'pulsegate' and \
                   datname = 'healthy'";
    let first = await_line("our connection", || Some(server.sql(of_ours)).filter(|line| line.starts_with("1 ")));
    watch.await_shown("asked again", |again| again["last_check"] != shown["last_check"]);
    assert_eq!(server.sql(of_ours), first);
    watch.assert_no_canary();
}

#[test]
fn everything_that_can_be_wrong_has_a_reason_of_its_own() {
    let server = PostgresServer::shared();
    let url = |name: &str| server.url(name);
    let port = server.port();
    let wrong_password = format!("postgres://postgres:{CANARY}-wrong@127.0.0.1:{port}/postgres");
    let no_password = format!("postgres://postgres@127.0.0.1:{port}/postgres");
    let nobody_there = format!("postgres://postgres:{CANARY}@127.0.0.1:{CLOSED_PORT}/postgres");
    let good = url("postgres");
    for (url, more, code, sentence) in [
        (&nobody_there, None, "connect_failed", "cannot connect"),
        (&wrong_password, None, "auth_failed", "refuses the login"),
        (&no_password, None, "auth_failed", "refuses the login"),
        (&url("nowhere"), None, "no_database", "has no such database"),
        (&format!("{good}?sslmode=require"), None, "tls_failed", "TLS handshake failed"),
        (&good, Some(("sql", "select * from nowhere")), "query_failed", "refuses the query"),
        (&good, Some(("sql", "create table never (a int)")), "query_failed", "refuses the query"),
        (&good, Some(("sql", "select 1; select 2")), "query_failed", "refuses the query"),
        (
            &good,
            Some(("sql", "select generate_series(1, 1000000)")),
            "too_large",
            "answers with more than is looked at",
        ),
        (&good, Some(("sql", "select repeat('x', 20000000)")), "too_large", "answers with more than is looked at"),
        (&good, Some(("sql", "select 1 as rows where false")), "unexpected_value", "answers with an unexpected value"),
    ] {
        let (url, expect) = (quoted(url), "{ rows = \">= 1\" }");
        let mut kind = vec![("postgres.url", url.as_str())];
        let sql = more.map(|(_, sql)| quoted(sql)).unwrap_or_default();
        if more.is_some() {
            kind.extend([("postgres.sql", sql.as_str()), ("postgres.expect", expect)]);
        }
        let watch = Watch::over(&kind);
        let shown = watch.await_code(code);
        let error = shown["error"].as_str().expect("a sentence");
        assert!(error.ends_with(sentence), "{code} {sql}: {shown}");
        assert!(shown["error_detail"].is_string(), "{shown}");
        assert!(watch.sidecar.process.resident_kib() < 60_000, "{sql}: {}", watch.sidecar.process.resident_kib());
        watch.assert_no_canary();
    }
    assert_eq!(server.sql("select count(*) from pg_tables where tablename = 'never'"), "0", "nothing was written");
}

#[test]
fn a_server_that_goes_and_comes_back() {
    let server = PostgresServer::start(&[]);
    let watch = Watch::over(&[("postgres.url", &quoted(&server.url("postgres")))]);
    watch.await_status("healthy");
    server.stop();
    watch.await_code("connect_failed");
    server.start_again();
    watch.await_status("healthy");
    // Too quick to be noticed: the kept connection has lost its server, a new one is made in the same run.
    let changes = || watch.sidecar.log().matches("check changed").count();
    // event_loop, and the database that is there, is not, and is again: whoever logs does so after the fact.
    eventually(PATIENCE, "the log has all of it", || changes() == 4);
    let before = watch.shown();
    server.sql("select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'pulsegate'");
    watch.await_shown("asked again", |again| again["last_check"] != before["last_check"]);
    watch.await_status("healthy");
    assert_eq!(changes(), 4, "{}", watch.sidecar.log());

    // One that does not answer any more, and its connections neither.
    server.signal_all(Signal::STOP);
    watch.await_code("timeout");
    server.signal_all(Signal::CONT);
    watch.await_status("healthy");
    watch.assert_no_canary();
}

#[test]
fn what_takes_too_long_ends_on_the_server_too() {
    let server = PostgresServer::shared();
    server.sql("create table if not exists contended (a int)");
    let running = |what: &str| {
        let sql = format!(
            "select count(*) from pg_stat_activity where state <> 'idle' and pid <> pg_backend_pid() and query like '%{what}%'"
        );
        server.sql(&sql)
    };
    let slow = [
        ("postgres.url", &*quoted(&server.url("postgres"))),
        ("postgres.sql", "\"select pg_sleep(600)\""),
        ("interval", "\"60s\""),
        ("fast_interval", "\"60s\""),
        ("timeout", "\"2s\""),
    ];
    let watch = Watch::over(&slow);
    eventually(PATIENCE, "it runs", || running("pg_sleep(600)") == "1");
    watch.await_code("timeout");
    eventually(PATIENCE, "it has ended", || running("pg_sleep(600)") == "0");
    drop(watch);

    // Also when we are gone before the timeout.
    let mut patient = slow.to_vec();
    patient[4].1 = "\"50s\"";
    let watch = Watch::over(&patient);
    eventually(PATIENCE, "it runs", || running("pg_sleep(600)") == "1");
    drop(watch);
    eventually(PATIENCE, "it has ended", || running("pg_sleep(600)") == "0");

    // A lock that somebody holds.
    let mut holder = server.client();
    holder.args(["-c", "begin; lock table contended; select pg_sleep(600)"]);
    let holder = crate::support::Process::start(&mut holder);
    eventually(PATIENCE, "the lock is held", || running("lock table contended") == "1");
    let watch = Watch::over(&[
        ("postgres.url", &*quoted(&server.url("postgres"))),
        ("postgres.sql", "\"select count(*) as n from contended\""),
    ]);
    watch.await_code("timeout");
    drop(holder);
    server.sql("select pg_terminate_backend(pid) from pg_stat_activity where query like '%lock table contended%' and pid <> pg_backend_pid()");
    watch.await_status("healthy");
}

#[test]
fn by_tls_and_by_unix_socket() {
    let authority = AppCertificates::new();
    let files = authority.issue("localhost", Validity::Now);
    let server = PostgresServer::start_with_tls(&files);
    let url = |host: &str, mode: &str| {
        quoted(&format!("postgres://postgres:{CANARY}@{host}:{}/postgres?sslmode={mode}", server.port()))
    };
    let ca = quoted(&authority.file().display().to_string());
    let sql = "\"select ssl from pg_stat_ssl where pid = pg_backend_pid()\"";
    let watch = Watch::over(&[
        ("postgres.url", &url("localhost", "require")),
        ("postgres.ca", &ca),
        ("postgres.sql", sql),
        ("postgres.expect", "{ ssl = true }"),
    ]);
    watch.await_status("healthy");
    // Always verified: no word of the URL turns that off.
    for (host, ca) in [("127.0.0.1", Some(&ca)), ("localhost", None)] {
        let host = url(host, "require");
        let mut kind = vec![("postgres.url", host.as_str())];
        kind.extend(ca.map(|ca| ("postgres.ca", ca.as_str())));
        let ended = once(&settings(&kind));
        assert!(ended.stdout.contains("TLS handshake failed"), "{ended:?}");
    }
    let socket = format!("postgres://postgres:{CANARY}@socket:{}/postgres?host={}", server.port(), server.folder());
    let ended = once(&settings(&[("postgres.url", &quoted(&socket)), ("postgres.sql", "\"select 1\"")]));
    assert_eq!(ended.code, Some(0), "{ended:?}");
}

#[test]
fn whatever_else_listens_there() {
    withstands_impostors(|port| {
        settings(&[
            ("postgres.url", &quoted(&format!("postgres://u:{CANARY}@127.0.0.1:{port}/x"))),
            ("postgres.sql", "\"select 1\""),
        ])
    });
}

#[test]
fn a_url_is_shown_without_who_asks() {
    let home = home_with_login();
    let url = format!("postgres://user-{CANARY}:{CANARY}@db.example/name?password={CANARY}");
    let plain = settings(&[("postgres.url", &quoted(&url))]);
    let dump = run(Sidecar::command(home.path(), &plain).env("KEY", "k").arg("config"));
    assert!(dump.stdout.contains("postgres://***@db.example/name?***"), "{}", dump.stdout);
    let kept = settings(&[("postgres.url", "{ env = \"DATABASE_URL\" }")]);
    let said = run(Sidecar::command(home.path(), &kept).env("KEY", "k").env("DATABASE_URL", &url).arg("config"));
    assert!(said.stdout.contains("DATABASE_URL"), "{}", said.stdout);
    let wrong = run(Sidecar::command(home.path(), &kept).env("KEY", "k").env("DATABASE_URL", CANARY).arg("validate"));
    assert_eq!(wrong.code, Some(2), "{wrong:?}");
    assert!(wrong.stderr.contains("checks.database"), "{wrong:?}");
    for ended in [dump, said, wrong] {
        assert!(!ended.stdout.contains(CANARY) && !ended.stderr.contains(CANARY), "{ended:?}");
    }
}
