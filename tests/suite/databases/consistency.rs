//! `sql_findings` and `sql_migrations`, with each of the engines.

use serde_json::{Value, json};

use super::{Watch, once, quoted, settings};
use crate::support::{CANARY, MariadbServer, PATIENCE, PostgresServer, eventually};

/// The queries of seed 001, and one for each severity.
const QUERIES: &str = "[
    { name = \"stale_processing\", severity = \"warn\", sql = \"select file_name, file_uuid, status, 'job_id is null' as detail from files where status = 'processing' and job_id is null order by file_name -- a comment\" },
    { name = \"unregistered_with_uuid\", severity = \"info\", sql = \"select file_name from files where status = 'unregistered' order by file_name desc;\" },
    { name = \"impossible\", severity = \"error\", sql = \"select file_name from files where status = 'impossible'\" },
]";

/// Fills a database with the files of seed 001; `run` takes statements.
fn fill(run: impl Fn(&str)) {
    run("drop table if exists files");
    run("create table files (file_name varchar(100), file_uuid varchar(100), status varchar(20), job_id int)");
    for (name, status, job) in [
        ("video.mp4", "processing", "null"),
        ("clip.mp4", "processing", "null"),
        ("done.mp4", "processing", "5"),
        ("old-a.mp4", "unregistered", "null"),
        ("old-b.mp4", "unregistered", "null"),
        ("old-c.mp4", "unregistered", "null"),
    ] {
        run(&format!("insert into files values ('{name}', 'uuid-{name}', '{status}', {job})"));
    }
}

/// The document of `/health/consistency` for two processing files without a job.
fn check_findings(url: &str, run: impl Fn(&str)) {
    fill(&run);
    let kind = [
        ("sql_findings.url", &*quoted(url)),
        ("sql_findings.max_rows", "2"),
        ("sql_findings.queries", &QUERIES.replace('\n', " ")),
    ];
    let watch = Watch::over(&kind);
    let shown = watch.await_status("degraded");
    let expected = json!([
        { "check": "stale_processing", "severity": "warn", "count": 2, "files": [
            { "file_name": "clip.mp4", "file_uuid": "uuid-clip.mp4", "status": "processing", "detail": "job_id is null" },
            { "file_name": "video.mp4", "file_uuid": "uuid-video.mp4", "status": "processing", "detail": "job_id is null" },
        ]},
        { "check": "unregistered_with_uuid", "severity": "info", "count": 3, "files": [
            { "file_name": "old-c.mp4" }, { "file_name": "old-b.mp4" },
        ]},
    ]);
    assert_eq!(shown["findings"], expected, "{shown:#}");
    assert_eq!(
        (&shown["queries"], &shown["error_detail"]),
        (&3.into(), &"stale_processing: 2, unregistered_with_uuid: 3".into())
    );
    assert!(shown["checked_at"].as_str().expect("a time").ends_with('Z'));
    // Strangers see that it was looked, and not what was found.
    let public = watch.sidecar.detailed()["components"]["database"].clone();
    assert!(public["findings"].is_null() && public["checked_at"].is_string(), "{public}");

    run("insert into files values ('bad.mp4', 'x', 'impossible', null)");
    watch.await_code("findings_error");
    run("delete from files where status in ('impossible', 'processing')");
    let shown = watch.await_status("healthy");
    assert_eq!(shown["findings"].as_array().map(Vec::len), Some(1), "what is to be known only does not degrade");
    watch.assert_no_canary();
    drop(watch);

    // One query that does not work says which.
    let broken = "[{ name = \"broken\", sql = \"select nothing from files\" }]";
    let ended = once(&settings(&[("sql_findings.url", &quoted(url)), ("sql_findings.queries", broken)]));
    assert!(ended.stdout.contains("refuses the query") && ended.stdout.contains("broken: "), "{ended:?}");
    // Nothing is ever written.
    let writes = "[{ name = \"writes\", sql = \"delete from files\" }]";
    let ended = once(&settings(&[("sql_findings.url", &quoted(url)), ("sql_findings.queries", writes)]));
    assert!(ended.stdout.contains("refuses the query"), "{ended:?}");
    run("drop table files");
}

/// A million findings are counted, and few of them held.
fn check_a_million(url: &str, series: &str) {
    let queries = format!("[{{ name = \"many\", sql = {} }}]", quoted(series));
    let watch = Watch::over(&[
        ("sql_findings.url", &quoted(url)),
        ("sql_findings.queries", &queries),
        ("interval", "\"10s\""),
        ("timeout", "\"10s\""),
    ]);
    let shown = watch.await_status("degraded");
    assert_eq!(shown["findings"][0]["count"], 1_000_000);
    assert_eq!(shown["findings"][0]["files"].as_array().map(Vec::len), Some(100));
    let resident = watch.sidecar.process.resident_kib();
    assert!(resident < 60_000, "{resident} KiB");
}

#[test]
fn findings_of_postgres() {
    let server = PostgresServer::shared();
    server.sql("drop database if exists findings");
    server.sql("create database findings");
    let url = server.url("findings");
    let run = |sql: &str| {
        let mut client = server.client();
        let ended = crate::support::run(client.args(["-d", "findings", "-c", sql]));
        assert_eq!(ended.code, Some(0), "{sql}: {}", ended.stderr);
    };
    check_findings(&url, run);
    check_a_million(&url, "select i, repeat('x', 100) as filler from generate_series(1, 1000000) as i");
    check_migrations(&url, run);
    eventually(PATIENCE, "no connection is left", || {
        server.sql("select count(*) from pg_stat_activity where datname = 'findings'") == "0"
    });
}

#[test]
fn findings_of_mariadb() {
    let server = MariadbServer::start(&[]);
    let run = |sql: &str| {
        server.sql(sql);
    };
    check_findings(&server.url("test"), run);
    check_a_million(&server.url("test"), "select seq, repeat('x', 100) as filler from seq_1_to_1000000");
    check_migrations(&server.url("test"), run);
}

#[test]
fn findings_of_sqlite() {
    let home = tempfile::tempdir().expect("a folder");
    let file = home.path().join("app.db");
    let run = |sql: &str| super::sqlite::python(&file, &format!("db.execute({})", quoted(sql)));
    let url = format!("sqlite://{}", file.display());
    check_findings(&url, run);
    let series = "with recursive n(i) as (select 1 union all select i + 1 from n limit 1000000) select i from n";
    check_a_million(&url, series);
    check_migrations(&url, run);
}

/// Migrations against files, in the shape of seed 001.
fn check_migrations(url: &str, run: impl Fn(&str)) {
    let home = tempfile::tempdir().expect("a folder");
    let write = |name: &str| std::fs::write(home.path().join(name), "select 1;").expect("a file");
    write("migrate_add_users_table.sql");
    write("readme.md");
    let directory = quoted(&home.path().display().to_string());
    let watch = Watch::over(&[("sql_migrations.url", &quoted(url)), ("sql_migrations.directory", &directory)]);
    let shown = watch.await_code("no_migrations_table");
    assert_eq!((&shown["table_exists"], &shown["ok"]), (&false.into(), &false.into()));
    run("create table schema_migrations (filename varchar(200) primary key)");
    watch.await_code("migrations_missing");
    run("insert into schema_migrations values ('migrate_add_users_table.sql')");
    let shown = watch.await_status("healthy");
    let document = |shown: &Value| {
        json!({
            "table_exists": shown["table_exists"], "applied": shown["applied"], "required": shown["required"], "ok": shown["ok"],
        })
    };
    let seed = json!({
        "table_exists": true, "applied": [{ "filename": "migrate_add_users_table.sql" }], "required": [], "ok": true,
    });
    assert_eq!(document(&shown), seed);
    write("migrate_later.sql");
    let shown = watch.await_status("unhealthy");
    assert_eq!(shown["required"], json!([{ "filename": "migrate_later.sql" }]));
    watch.assert_no_canary();
    drop(watch);
    let nowhere = quoted("/nowhere/at/all");
    let ended = once(&settings(&[("sql_migrations.url", &quoted(url)), ("sql_migrations.directory", &nowhere)]));
    assert!(ended.stdout.contains("inconclusive"), "{ended:?}");
    run("drop table schema_migrations");
}

#[test]
fn what_cannot_be_asked_in_sql_is_told_at_once() {
    for (kind, words) in [
        (
            [("sql_findings.url", "\"redis://h\""), ("sql_findings.queries", "[{ name = \"a\", sql = \"b\" }]")],
            "speaks SQL",
        ),
        ([("sql_findings.url", "\"sqlite:///x\""), ("sql_findings.queries", "[]")], "1 to 100 queries"),
        ([("sql_migrations.url", "\"sqlite:///x\""), ("sql_migrations.table", "\"a; drop table b\"")], "plain names"),
    ] {
        let ended = once(&settings(&kind));
        assert!(ended.code == Some(2) && ended.stderr.contains(words), "{words}: {ended:?}");
        assert!(!ended.stderr.contains(CANARY));
    }
}
