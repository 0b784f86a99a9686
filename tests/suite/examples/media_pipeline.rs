//! Four endpoints over PostgreSQL, Redis, a vector store, files and migrations (the document of a media pipeline).

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{Example, assert_as_printed, differences, document, file, python, shell};
use crate::support::{
    PATIENCE, Process, Response, SYSTEM_PATH, Sidecar, ask, await_value, eventually, free_port, home_with_login, run,
    tool,
};

/// How long PostgreSQL may take to start on a machine that is busy with other tests.
const START: Duration = Duration::from_secs(120);

/// Every check that is asked, so often that a test need not wait.
const CHECKS: [&str; 14] = [
    "postgres",
    "redis",
    "qdrant",
    "resources",
    "scripts",
    "scripts_integrity",
    "models",
    "ffmpeg",
    "processors",
    "schema",
    "identities",
    "identities_db",
    "identities_synced",
    "consistency",
];

/// What the example's own script has started and filled.
struct Services {
    process: Process,
    folder: PathBuf,
    /// The app, PostgreSQL, Redis, the vector store and SFTPGo.
    ports: [u16; 5],
    _home: TempDir,
}

impl Services {
    #[track_caller]
    fn start() -> Self {
        let home = tempfile::tempdir().expect("a home");
        // PostgreSQL does not run as root, and must get at its own folder.
        std::fs::set_permissions(home.path(), std::fs::Permissions::from_mode(0o755)).expect("a mode");
        let folder = home.path().join("pipeline");
        let ports = [(); 5].map(|()| free_port());
        let mut command = Command::new(file("media-pipeline", "services"));
        command.env_clear().env("PATH", format!("{SYSTEM_PATH}:/usr/sbin:/sbin")).env("HOME", home.path()).arg(&folder);
        let names = ["APP_PORT", "POSTGRES_PORT", "REDIS_PORT", "QDRANT_PORT", "SFTPGO_PORT"];
        for (name, port) in names.into_iter().zip(ports) {
            command.env(name, port.to_string());
        }
        let mut process = Process::start(command.stdout(std::process::Stdio::null()));
        eventually(START, "the services have started", || {
            assert!(process.status().is_none(), "{:?}", process.said());
            process.said().iter().any(|line| line.starts_with("all is there"))
        });
        // No test needs a real one: it is looked for, and never run.
        let programs = folder.join("programs");
        std::fs::create_dir(&programs).expect("a folder");
        std::os::unix::fs::symlink("/bin/true", programs.join("ffmpeg")).expect("a program");
        Self { process, folder, ports, _home: home }
    }

    /// pulsegate with the example's file, in the folder, as an operator would start it there.
    fn example(&self) -> Example {
        let [app, _, _, qdrant, sftpgo] = self.ports;
        let example = Example::in_home("media-pipeline", home_with_login())
            .directory(&self.folder)
            .set("proxy.upstream", &format!("http://127.0.0.1:{app}"))
            .set("checks.qdrant.http.url", &format!("http://127.0.0.1:{qdrant}/healthz"))
            .set("checks.sftpgo.http.url", &format!("http://127.0.0.1:{sftpgo}/healthz"))
            .set("checks.sftpgo.interval", "1s")
            .set("checks.ffmpeg.executable.search", &self.folder.join("programs").display().to_string());
        CHECKS.iter().fold(example, |example, check| {
            example
                .set(&format!("checks.{check}.interval"), "1s")
                .set(&format!("checks.{check}.fast_interval"), "300ms")
        })
    }

    fn secret(&self, name: &str) -> String {
        std::fs::read_to_string(self.folder.join("secrets").join(name)).expect("a secret").trim().to_owned()
    }

    fn signal(&self, name: &str, signal: Signal) {
        let text = std::fs::read_to_string(self.folder.join("pids").join(name)).expect("a process id");
        let id = text.trim().parse().ok().and_then(Pid::from_raw).expect("a process id");
        kill_process(id, signal).expect("a process to signal");
    }

    #[track_caller]
    fn sql(&self, sql: &str) {
        let mut command = Command::new(tool("postgres/bin/psql"));
        command.env_clear().env("PATH", SYSTEM_PATH).env("PGPASSWORD", self.secret("postgres_password"));
        command.args(["-X", "-q", "-h", "127.0.0.1", "-U", "postgres", "-c", sql, "-p"]);
        let ended = run(command.arg(self.ports[1].to_string()));
        assert_eq!(ended.code, Some(0), "{ended:?}");
    }

    fn token(&self, seconds: &str) -> String {
        let mut command = python();
        let ended = run(command.arg(file("media-pipeline", "make_token.py")).arg(&self.folder).arg(seconds));
        ended.stdout.trim().to_owned()
    }
}

impl Drop for Services {
    /// As its reader ends it; it ends its servers then.
    fn drop(&mut self) {
        if self.process.status().is_none() {
            self.process.signal(Signal::TERM);
            // Without `eventually`, which panics: a second panic would end all tests.
            let ends = std::time::Instant::now() + PATIENCE;
            while self.process.status().is_none() && std::time::Instant::now() < ends {
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }
}

struct Pipeline {
    sidecar: Sidecar,
    services: Services,
}

impl Pipeline {
    #[track_caller]
    fn start() -> Self {
        let services = Services::start();
        Self { sidecar: services.example().start(), services }
    }

    fn ask(&self, path: &str) -> Response {
        ask(self.sidecar.traffic, "GET", path, &[("x-api-key", &self.services.secret("api_key"))], b"")
    }

    /// An endpoint's body once it is so.
    #[track_caller]
    fn await_body(&self, path: &str, what: &str, is_it: impl Fn(&Value) -> bool) -> Value {
        await_value(what, || self.ask(path).json(), is_it)
    }

    /// `/health/detailed` once the value at a JSON pointer is this one.
    #[track_caller]
    fn await_detail(&self, pointer: &str, value: &Value) -> Value {
        let what = format!("{pointer} is {value}");
        self.await_body("/health/detailed", &what, |body| body.pointer(pointer) == Some(value))
    }

    /// Waits until everything is as the document prints it.
    #[track_caller]
    fn await_well(&self) -> Value {
        let printed = document("media-pipeline", "detailed.json");
        self.await_body("/health/detailed", "all is as the document prints it", |body| {
            differences(&printed, body, &OTHER).is_empty()
        })
    }

    /// A line of the document, with its variables.
    #[track_caller]
    fn line(&self, line: &str) -> Value {
        let api = format!("http://127.0.0.1:{}", self.sidecar.traffic.port());
        let ended = shell(line, &[("API", &api), ("KEY", &self.services.secret("api_key"))]);
        serde_json::from_str(&ended.stdout).unwrap_or_else(|_| panic!("{ended:?}"))
    }
}

/// What is measured, and what the document's table names beside its example.
const OTHER: [&str; 7] = [
    "/services/postgres/latency_ms",
    "/services/redis/latency_ms",
    "/services/qdrant/latency_ms",
    "/resources/cpu_used_percent",
    "/resources/memory_available_mb",
    "/resources/memory_used_percent",
    "/config",
];

#[test]
fn the_answers_are_the_documents() {
    let pipeline = Pipeline::start();
    let body = pipeline.await_well();
    assert_eq!(body["config"], json!({ "cache": true, "auto_pipeline": true, "watcher": false }));

    let short = pipeline.line("curl -s \"$API/health\"");
    assert_as_printed(&document("media-pipeline", "health.json"), &short, &["/uptime_ms"]);
    let short = pipeline.line("curl \"$API/health\" | jq '{status, version}'");
    assert_eq!(short, json!({ "status": "ok", "version": "1.0.0" }));
    let long = pipeline.line(
        "curl \"$API/health/detailed\" -H \"X-API-Key: $KEY\" | jq '{status, services, resources: {cpu: \
         .resources.cpu_used_percent, memory: .resources.memory_used_percent}}'",
    );
    assert_eq!((&long["status"], &long["services"]["qdrant"]["status"]), (&json!("ok"), &json!("ok")));
    assert!(long["resources"]["cpu"].is_number() && long["resources"]["memory"].is_number(), "{long}");

    pipeline.await_body("/health/consistency", "it was looked at", |body| body["checks"][0].is_object());
    let found = pipeline
        .line("curl -s \"$API/health/consistency\" -H \"X-API-Key: $KEY\" | jq '.checks[] | {check, severity, count}'");
    assert_eq!(found, json!({ "check": "stale_processing", "severity": "warn", "count": 3 }));
    let mut printed = document("media-pipeline", "consistency.json");
    // The document shows the first of its three.
    let files = printed["checks"][0]["files"].as_array_mut().expect("files");
    for (name, uuid) in [("video2.mp4", "def456..."), ("video3.mp4", "ghi789...")] {
        let mut more = files[0].clone();
        (more["file_name"], more["file_uuid"]) = (json!(name), json!(uuid));
        files.push(more);
    }
    let all = pipeline.ask("/health/consistency");
    assert_eq!(all.status, 200);
    assert_as_printed(&printed, &all.json(), &["/checked_at"]);

    let stats = pipeline.line("curl -s \"$API/api/v1/stats/sftpgo\"");
    assert_as_printed(&json!({ "status": "ok", "latency_ms": 1 }), &stats, &["/latency_ms"]);
    assert_eq!(pipeline.sidecar.get("/api/v1/files").json(), json!({ "files": [] }), "the rest is the app's");
}

#[test]
fn whoever_may_read_does_and_nobody_else() {
    let pipeline = Pipeline::start();
    pipeline.await_well();
    let ask = |path: &str, name: &str, value: &str| ask(pipeline.sidecar.traffic, "GET", path, &[(name, value)], b"");
    for path in ["/health", "/api/v1/stats/sftpgo"] {
        assert_eq!(pipeline.sidecar.get(path).status, 200, "{path} is public");
    }
    for path in ["/health/detailed", "/health/consistency"] {
        for (name, value) in [("accept", "*/*"), ("x-api-key", "wrong"), ("authorization", "Bearer wrong")] {
            let refused = ask(path, name, value);
            assert_eq!(refused.status, 401, "{path} {name}");
            let challenges = refused.fields.iter().filter(|(name, _)| name.eq_ignore_ascii_case("www-authenticate"));
            assert!(challenges.count() >= 1, "{refused:?}");
            assert_eq!(refused.json()["error"]["code"], "unauthorized");
        }
        for key in ["api_key", "api_key_next"] {
            assert_eq!(ask(path, "x-api-key", &pipeline.services.secret(key)).status, 200, "{path} {key}");
        }
    }
    let (token, expired) = (pipeline.services.token("3600"), pipeline.services.token("-3600"));
    assert_eq!(ask("/health/detailed", "authorization", &format!("Bearer {token}")).status, 200);
    assert_eq!(ask("/health/detailed", "cookie", &format!("theme=dark; session={token}")).status, 200);
    assert_eq!(ask("/health/detailed", "authorization", &format!("Bearer {expired}")).status, 401);
    assert_eq!(ask("/health/detailed", "cookie", &format!("session={expired}")).status, 401);
    let valid = ask("/health/consistency", "authorization", &format!("Bearer {token}"));
    assert_eq!((valid.status, &valid.json()["error"]["code"]), (403, &json!("forbidden")), "valid, and not for this");

    let mut everything = pipeline.sidecar.log();
    for path in ["/health/detailed", "/health/consistency", "/metrics"] {
        everything += pipeline.ask(path).text();
    }
    for name in ["api_key", "jwt", "postgres_password", "redis_password"] {
        assert!(!everything.contains(&pipeline.services.secret(name)), "{name} is seen");
    }
}

/// The table "Health status rules", and what a service that fails is shown as.
#[test]
fn a_service_that_fails_degrades_and_the_server_still_responds() {
    let pipeline = Pipeline::start();
    pipeline.await_well();
    let services = &pipeline.services;
    let degraded = |service: &str| {
        let body = pipeline.await_detail(&format!("/services/{service}/status"), &json!("error"));
        assert_eq!(body["status"], "degraded");
        let short = pipeline.sidecar.get("/health");
        assert_eq!((short.status, &short.json()["status"]), (200, &json!("degraded")));
        assert_eq!(pipeline.sidecar.admin("/readyz").status, 200);
        body
    };
    // Accepts, and never answers.
    services.signal("redis", Signal::STOP);
    degraded("redis");
    services.signal("redis", Signal::CONT);
    pipeline.await_well();
    services.signal("servers", Signal::STOP);
    degraded("qdrant");
    pipeline.await_body("/api/v1/stats/sftpgo", "SFTPGo is down", |body| body["status"] == "error");
    assert_eq!(pipeline.sidecar.get("/api/v1/stats/sftpgo").status, 503);
    services.signal("servers", Signal::CONT);
    pipeline.await_well();

    // Gone. What is in the database is not known then, which is neither good nor bad.
    services.signal("postgres", Signal::QUIT);
    let body = degraded("postgres");
    assert_eq!(body["services"]["redis"]["status"], "ok");
    pipeline.await_detail("/identities/db_count", &Value::Null);
    let unknown = pipeline.await_detail("/schema/ok", &Value::Null);
    assert_eq!(unknown["identities"]["files_count"], 3481);
    pipeline.await_body("/health/consistency", "it cannot be looked at", |body| body["checks"] == json!([]));
    pipeline.line("curl -s \"$API/health/consistency\" -H \"X-API-Key: $KEY\" | jq '[.checks[] | .count] | add'");
    assert_eq!(pipeline.ask("/health/consistency").json()["status"], "degraded");
}

#[test]
fn what_lies_on_the_disk_is_told() {
    let pipeline = Pipeline::start();
    pipeline.await_well();
    let folder = &pipeline.services.folder;
    let aside = |path: &str| {
        let (from, to) = (folder.join(path), folder.join("aside"));
        std::fs::rename(&from, &to).expect("aside");
        move || std::fs::rename(to, from).expect("back")
    };
    let back = aside("scripts/asr.py");
    let body = pipeline.await_detail("/pipeline/processors/asr", &json!(false));
    assert_eq!(body["pipeline"]["processors"]["yolo"], true);
    let counted = pipeline.await_detail("/pipeline/scripts_count", &json!(344));
    assert_eq!(counted["status"], "ok", "it is shown, as in the document, and not judged");
    pipeline.await_detail("/pipeline/scripts_integrity", &json!({ "matched": 331, "total": 345, "ok": false }));
    back();
    for (path, pointer) in [
        ("models", "/pipeline/models_ready"),
        ("scripts", "/pipeline/scripts_ready"),
        ("programs/ffmpeg", "/pipeline/ffmpeg"),
        ("identities", "/identities/directory_exists"),
    ] {
        pipeline.await_well();
        let back = aside(path);
        pipeline.await_detail(pointer, &json!(false));
        back();
    }
    pipeline.await_well();

    // One more migration than the database has; then it has it.
    std::fs::write(folder.join("migrations/migrate_later.sql"), "select 1").expect("a migration");
    let body = pipeline.await_detail("/schema/ok", &json!(false));
    assert_eq!(body["schema"]["required"], json!([{ "filename": "migrate_later.sql" }]));
    pipeline.services.sql("insert into schema_migrations (filename) values ('migrate_later.sql')");
    let body = pipeline.await_detail("/schema/ok", &json!(true));
    let [first, later] = ["migrate_add_users_table.sql", "migrate_later.sql"];
    assert_eq!(body["schema"]["applied"], json!([{ "filename": first }, { "filename": later }]));
    pipeline.services.sql("drop table schema_migrations");
    let body = pipeline.await_detail("/schema/table_exists", &json!(false));
    assert_eq!(body["schema"]["ok"], false);
}

#[test]
fn what_is_in_the_database_is_told() {
    let pipeline = Pipeline::start();
    pipeline.await_well();
    let sql = |sql: &str| pipeline.services.sql(sql);
    sql("delete from identities where id = 1");
    let body = pipeline.await_detail("/identities/synced", &json!(false));
    assert_eq!((&body["identities"]["files_count"], &body["identities"]["db_count"]), (&json!(3481), &json!(3480)));
    sql("insert into identities (name) values ('again')");
    pipeline.await_well();

    let found = |names: &[&str], status: &str| {
        let named = |body: &Value| -> Vec<String> {
            let checks = body["checks"].as_array().into_iter().flatten();
            checks.map(|check| check["check"].as_str().unwrap_or_default().to_owned()).collect()
        };
        let body = pipeline.await_body("/health/consistency", &format!("{names:?}"), |body| named(body) == *names);
        assert_eq!(body["status"], status, "{body:#}");
        body
    };
    found(&["stale_processing"], "degraded");
    sql("update files set status = 'registered' where status = 'processing'");
    found(&[], "ok");
    sql("insert into files values ('1', 'gone.mp4', 'unregistered', null)");
    let info = found(&["unregistered_with_uuid"], "ok");
    assert_eq!((&info["checks"][0]["severity"], &info["checks"][0]["count"]), (&json!("info"), &json!(1)));
    sql("insert into files values ('2', 'orphan.mp4', 'processing', 99), ('3', 'late.mp4', 'processing', 7)");
    let all = found(&["orphaned_processing", "processing_job_done", "unregistered_with_uuid"], "degraded");
    assert_eq!(all["checks"][1]["files"][0]["detail"], "job is completed");
    assert_eq!(pipeline.await_well()["status"], "ok", "findings are not an outage");

    // More than anybody wants to read.
    sql("insert into files select 'n' || n, 'f' || n, 'processing', null from generate_series(1, 5000) n");
    let many = found(
        &["stale_processing", "orphaned_processing", "processing_job_done", "unregistered_with_uuid"],
        "degraded",
    );
    assert_eq!(many["checks"][0]["count"], 5000);
    assert_eq!(many["checks"][0]["files"].as_array().map(Vec::len), Some(100));
}

#[test]
fn an_integration_is_asked_once_it_has_its_key() {
    let services = Services::start();
    let [_, _, _, qdrant, _] = services.ports;
    let example = services
        .example()
        .variable("TMDB_API_KEY", "invented-key-of-tmdb")
        .set("checks.tmdb.http.url", &format!("http://127.0.0.1:{qdrant}/healthz"))
        .set("checks.tmdb.interval", "1s")
        .set("checks.tmdb.timeout", "1s");
    let pipeline = Pipeline { sidecar: example.start(), services };
    let tmdb = |reachable: bool| json!({ "api_key_configured": true, "enabled": true, "api_reachable": reachable });
    pipeline.await_detail("/integrations/tmdb", &tmdb(true));
    pipeline.services.signal("servers", Signal::STOP);
    pipeline.await_detail("/integrations/tmdb", &tmdb(false));
    assert!(!pipeline.sidecar.log().contains("invented-key-of-tmdb"));
}
