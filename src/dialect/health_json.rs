use serde_json::{Map, Value, json};

use super::json::{facts, last_check, latency_ms, private, value};
use super::{Answer, Dialect, View};
use crate::clock::rfc3339;
use crate::health::{CheckReport, Lifecycle, Status};

/// `application/health+json`, draft-inadarei-api-health-check-06.
#[derive(Debug)]
pub(super) struct HealthJson;

/// Kinds that ask what keeps data, in the draft's word.
const DATASTORES: &[&str] = &["postgres", "mysql", "sqlite", "redis", "sql_findings", "sql_migrations"];
/// Kinds that look at the machine or at processes.
const SYSTEM: &[&str] =
    &["system", "process", "app", "pulse", "file", "directory", "executable", "environment", "integrity"];

impl Dialect for HealthJson {
    fn name(&self) -> &'static str {
        "health-json"
    }

    fn doc(&self) -> &'static str {
        "JSON of draft-inadarei-api-health-check-06: status, pass, warn or fail; version, releaseId, serviceId, output; with \
         detail also checks."
    }

    fn media_type(&self) -> &'static str {
        "application/health+json"
    }

    fn settings(&self) -> &'static [&'static str] {
        &["max_age"]
    }

    /// Section 9: answers should have a lifetime.
    fn may_be_kept(&self) -> bool {
        true
    }

    fn ties_codes(&self) -> bool {
        true
    }

    fn render(&self, view: &View<'_>) -> Answer {
        let service = view.service;
        let mut body = Map::new();
        body.insert("status".into(), word(view.status()).into());
        body.insert("version".into(), service.version.as_str().into());
        body.insert("releaseId".into(), service.build_git_hash.as_str().into());
        if let Some(note) = note(view) {
            body.insert("notes".into(), json!([note]));
        }
        if let Some(explanation) = view.explanation() {
            body.insert("output".into(), explanation.into());
        }
        body.insert("serviceId".into(), service.name.as_str().into());
        if let Some(description) = &service.description {
            body.insert("description".into(), description.as_str().into());
        }
        if view.detail {
            body.insert("checks".into(), checks(view).into());
        }
        view.answer(self, &Value::Object(body))
    }
}

/// Section 3.1. What is not known is not to be sent traffic.
fn word(status: Status) -> &'static str {
    match status {
        Status::Healthy => "pass",
        Status::Degraded => "warn",
        Status::Unknown | Status::Unhealthy => "fail",
    }
}

/// What is to be known of the process itself, whatever that means for the status.
fn note(view: &View<'_>) -> Option<String> {
    match (view.report.lifecycle, view.report.maintenance.as_deref()) {
        (_, Some(reason)) => Some(format!("in maintenance: {reason}")),
        (Lifecycle::Draining, _) => Some("shutting down".into()),
        (Lifecycle::Starting, _) => Some("starting".into()),
        (Lifecycle::Serving, _) => None,
    }
}

/// Section 4: what stands above the checks, then each check by the time that it takes, and the up-time.
fn checks(view: &View<'_>) -> Map<String, Value> {
    let mut checks = Map::new();
    if let Some(above) = view.above() {
        let part = json!({
            "componentType": "system",
            "status": word(above.status),
            "time": rfc3339(view.now.unix.as_secs()),
            "output": above.sentence,
        });
        checks.insert(above.name.into(), json!([part]));
    }
    for check in view.parts() {
        checks.insert(format!("{}:responseTime", check.name), json!([part(view, check)]));
    }
    let uptime = json!({
        "componentType": "system",
        "observedValue": view.uptime_ms() / 1000,
        "observedUnit": "s",
        "status": "pass",
        "time": rfc3339(view.now.unix.as_secs()),
    });
    checks.insert("uptime".into(), json!([uptime]));
    checks
}

fn part(view: &View<'_>, check: &CheckReport) -> Map<String, Value> {
    let status = view.part(check);
    let mut part = Map::new();
    part.insert("componentId".into(), (&*check.name).into());
    part.insert("componentType".into(), component_type(check.kind).into());
    if let Some(millis) = latency_ms(check) {
        part.insert("observedValue".into(), millis.into());
        part.insert("observedUnit".into(), "ms".into());
    }
    part.insert("status".into(), word(status).into());
    if check.state.last.is_some() {
        part.insert("time".into(), last_check(check));
    }
    if status != Status::Healthy {
        let sentence = view.sentence(check);
        let output = private(view, check).map_or_else(|| sentence.clone(), |private| format!("{sentence}: {private}"));
        part.insert("output".into(), output.into());
    }
    // Section 4.10: further keys may be there.
    let facts: Map<String, Value> = facts(view, check).map(|(name, fact)| (name.to_owned(), value(fact))).collect();
    if !facts.is_empty() {
        part.insert("facts".into(), facts.into());
    }
    part
}

/// Section 4.2.
fn component_type(kind: &str) -> &'static str {
    if DATASTORES.contains(&kind) {
        "datastore"
    } else if SYSTEM.contains(&kind) {
        "system"
    } else {
        "component"
    }
}
