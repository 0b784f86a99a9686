//! The documents of a media pipeline, whole, by a template.

use std::sync::Arc;

use pulsegate::config::{Config, Sources};
use pulsegate::dialect::{Answer, Options, Query, StatusCodes, View, find};
use pulsegate::health::{Audience, CheckReport, Fact, Facts, Finding, Group, Lifecycle, OnFailure, Reason, Report};
use serde_json::{Value, json};

use super::{Scene, UPTIME, at, service, traffic};

/// What the checks are is no matter here: what they found out is made up below.
const CONFIGURATION: &str = r#"
preset = "none"
[checks]
postgres.tcp.address = "127.0.0.1:1"
"red.is".tcp.address = "127.0.0.1:1"
qdrant.tcp.address = "127.0.0.1:1"
host.tcp.address = "127.0.0.1:1"
scripts.tcp.address = "127.0.0.1:1"
models.tcp.address = "127.0.0.1:1"
integrity.tcp.address = "127.0.0.1:1"
asr.tcp.address = "127.0.0.1:1"
ffmpeg.tcp.address = "127.0.0.1:1"
migrations.tcp.address = "127.0.0.1:1"
identities.tcp.address = "127.0.0.1:1"
identities_db.tcp.address = "127.0.0.1:1"
synced.tcp.address = "127.0.0.1:1"
tmdb.tcp.address = "127.0.0.1:1"
tmdb_key.tcp.address = "127.0.0.1:1"
consistency.tcp.address = "127.0.0.1:1"

[endpoints."/health/detailed"]
dialect = "template"
words = { healthy = "ok", unknown = "error", unhealthy = "error" }
[endpoints."/health/detailed".body]
status = "health.status"
version = "service.version"
services.postgres = { status = "postgres.status", latency_ms = "postgres.latency_ms" }
services.redis = { status = "red.is.status", latency_ms = "red.is.latency_ms" }
services.qdrant = { status = "qdrant.status", latency_ms = "qdrant.latency_ms" }
resources = "host.facts"
pipeline.scripts_ready = "scripts.up"
pipeline.scripts_count = "scripts.count"
pipeline.processors.asr = "asr.up"
pipeline.models_ready = "models.up"
pipeline.models_count = "models.count"
pipeline.scripts_integrity.matched = "integrity.matched"
pipeline.scripts_integrity.total = "integrity.total"
pipeline.scripts_integrity.ok = "integrity.up"
pipeline.ffmpeg = "ffmpeg.up"
schema.table_exists = "migrations.table_exists"
schema.applied = "migrations.applied"
schema.required = "migrations.required"
schema.ok = "migrations.up"
identities.directory_exists = "identities.exists"
identities.files_count = "identities.count"
identities.index_ok = "identities.up"
identities.db_count = "identities_db.rows"
identities.synced = "synced.up"
integrations.tmdb = { api_key_configured = "tmdb_key.configured", enabled = "tmdb.enabled", api_reachable = "tmdb.up" }
config.cache = { value = true }

[endpoints."/health/consistency"]
dialect = "template"
words = { healthy = "ok", unknown = "error", unhealthy = "error" }
[endpoints."/health/consistency".body]
status = "consistency.status"
checked_at = "consistency.last_check"
checks = "consistency.checks"
"#;

fn record(entries: &[(&str, Fact)]) -> Fact {
    Fact::Record(entries.iter().map(|(name, fact)| ((*name).to_owned(), fact.clone())).collect())
}

fn passes(name: &'static str, facts: Vec<(&'static str, Fact)>) -> Scene {
    let mut found = Facts::default();
    facts.into_iter().for_each(|(name, fact)| found.trusted(name, fact));
    Scene { on_failure: OnFailure::Degraded, ..Scene::new(name, "tcp", vec![Finding::pass(found)]) }
}

fn fails(name: &'static str, facts: Vec<(&'static str, Fact)>) -> Scene {
    let mut scene = passes(name, facts);
    let reason = Reason::new("mismatch", "13 of 345 files are not as they were");
    scene.findings = scene.findings.into_iter().map(|finding| Finding::fail(reason.clone(), finding.facts)).collect();
    scene
}

fn checks() -> Vec<Arc<CheckReport>> {
    let migration: Fact = record(&[("filename", "migrate_add_users_table.sql".into())]);
    let file = record(&[
        ("file_name", "video.mp4".into()),
        ("file_uuid", "abc123...".into()),
        ("status", "processing".into()),
        ("detail", "job_id is null".into()),
    ]);
    let finding = record(&[
        ("check", "stale_processing".into()),
        ("severity", "warn".into()),
        ("count", 3_u64.into()),
        ("files", Fact::List([file].into())),
    ]);
    let mut consistency = passes("consistency", vec![("checks", Fact::List([finding].into()))]);
    consistency.findings =
        vec![Finding::warn(Reason::new("findings", "something"), consistency.findings.remove(0).facts)];
    let resources = vec![
        ("cpu_used_percent", 12.5.into()),
        ("memory_available_mb", 32_768_u64.into()),
        ("memory_used_percent", 31.7.into()),
    ];
    let mut tmdb = passes("tmdb", Vec::new());
    (tmdb.enabled, tmdb.findings) = (false, Vec::new());
    let applied = Fact::List([migration].into());
    let scenes = vec![
        passes("postgres", vec![("latency_ms", 3.2.into())]),
        passes("red.is", vec![("latency_ms", 0.7.into())]),
        passes("qdrant", vec![("latency_ms", 5.0.into())]),
        passes("host", resources),
        passes("scripts", vec![("count", 345_u64.into())]),
        passes("models", vec![("count", 42_u64.into())]),
        fails("integrity", vec![("matched", 332_u64.into()), ("total", 345_u64.into())]),
        passes("asr", Vec::new()),
        passes("ffmpeg", Vec::new()),
        passes(
            "migrations",
            vec![("table_exists", true.into()), ("applied", applied), ("required", Fact::List(Vec::new().into()))],
        ),
        passes("identities", vec![("exists", true.into()), ("count", 3481_u64.into())]),
        passes("identities_db", vec![("rows", 3481_u64.into())]),
        passes("synced", Vec::new()),
        tmdb,
        passes("tmdb_key", vec![("configured", false.into())]),
        consistency,
    ];
    scenes.into_iter().map(|scene| scene.play(0)).collect()
}

fn answer(path: &str, audience: Audience) -> (u16, Value) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("pulsegate.toml");
    std::fs::write(&file, CONFIGURATION).expect("a file");
    let config = Config::load(&Sources { file: Some(file), ..Sources::default() });
    let config = config.map_err(|problems| format!("{problems:#?}")).expect("a valid configuration");
    let (_, settings) = config.endpoints.iter().find(|(known, _)| known == path).expect("the endpoint");
    let checks = checks();
    let report = Report {
        number: 1,
        at: at(UPTIME),
        lifecycle: Lifecycle::Serving,
        unready_when_draining: true,
        maintenance: None,
        groups: Report::aggregate(&Group::BUILT_IN, &checks),
        checks,
        overdue_at: None,
        history: Default::default(),
    };
    let view = View {
        report: &report,
        totals: &traffic().totals(),
        service: &service(),
        group: &Group::Health,
        detail: false,
        audience,
        codes: StatusCodes::default(),
        options: &Options { body: settings.body.clone(), words: settings.words.clone() },
        query: Query::default(),
        now: at(UPTIME),
    };
    let Answer { code, body, .. } = find("template").expect("the dialect").render(&view);
    (code, serde_json::from_slice(&body).expect("JSON"))
}

/// The document's own body, but for its state: scripts that are not as they were make it degraded, as its rules say.
#[test]
fn the_detailed_document_comes_out_whole() {
    let service = |latency: u64| json!({ "status": "ok", "latency_ms": latency });
    let expected = json!({
        "status": "degraded",
        "version": "1.0.0",
        "services": { "postgres": service(3), "redis": service(1), "qdrant": service(5) },
        "resources": { "cpu_used_percent": 12.5, "memory_available_mb": 32768, "memory_used_percent": 31.7 },
        "pipeline": {
            "scripts_ready": true,
            "scripts_count": 345,
            "processors": { "asr": true },
            "models_ready": true,
            "models_count": 42,
            "scripts_integrity": { "matched": 332, "total": 345, "ok": false },
            "ffmpeg": true,
        },
        "schema": {
            "table_exists": true,
            "applied": [{ "filename": "migrate_add_users_table.sql" }],
            "required": [],
            "ok": true,
        },
        "identities": {
            "directory_exists": true, "files_count": 3481, "index_ok": true, "db_count": 3481, "synced": true,
        },
        "integrations": { "tmdb": { "api_key_configured": false, "enabled": false, "api_reachable": null } },
        "config": { "cache": true },
    });
    let (code, body) = answer("/health/detailed", Audience::Trusted);
    assert_eq!((code, &body), (200, &expected));
    assert_eq!(body.to_string(), expected.to_string(), "in the order of the configuration");
    let (_, public) = answer("/health/detailed", Audience::Public);
    assert_eq!(
        public["schema"]["applied"],
        Value::Null,
        "a stranger reads nothing that is for callers with a credential"
    );
    assert_eq!(public["resources"], json!({}));
}

#[test]
fn the_consistency_document_comes_out_whole() {
    let file = json!({
        "file_name": "video.mp4", "file_uuid": "abc123...", "status": "processing", "detail": "job_id is null",
    });
    let checks = json!([{ "check": "stale_processing", "severity": "warn", "count": 3, "files": [file] }]);
    let expected = json!({ "status": "degraded", "checked_at": "2024-01-15T10:30:00Z", "checks": checks });
    assert_eq!(answer("/health/consistency", Audience::Trusted), (200, expected));
}
