use serde_json::{Map, Value, json};

use super::json::{error, facts, value};
use super::{Answer, Dialect, Part, View};
use crate::health::{CheckReport, Fact, Group, Report, Status};

/// MicroProfile Health: UP or DOWN, and nothing between.
#[derive(Debug)]
pub(super) struct MicroProfile;

impl Dialect for MicroProfile {
    fn name(&self) -> &'static str {
        "microprofile"
    }

    fn doc(&self) -> &'static str {
        "JSON of MicroProfile Health: status, UP or DOWN; checks with name and status, with detail also data; `/live`, \
         `/ready` and `/started` below its path. Degraded is UP here."
    }

    fn paths(&self) -> &'static [&'static str] {
        &["/live", "/ready", "/started"]
    }

    fn below<'a>(&self, _report: &Report, _group: &Group, rest: &'a str) -> Option<Part<'a>> {
        let group = match rest {
            "live" => Group::Liveness,
            "ready" => Group::Readiness,
            "started" => Group::Startup,
            _ => return None,
        };
        Some(Part::Group(group, None))
    }

    fn render(&self, view: &View<'_>) -> Answer {
        let above = view.above().map(|above| {
            let data = json!({ "error": above.sentence });
            json!({ "name": above.name, "status": word(above.status), "data": data })
        });
        let checks = view.parts().map(|check| Value::Object(part(view, check)));
        let checks: Vec<Value> = above.into_iter().chain(checks).collect();
        view.answer(self, &json!({ "status": word(view.status()), "checks": checks }))
    }
}

fn word(status: Status) -> &'static str {
    if status.is_up() { "UP" } else { "DOWN" }
}

fn part(view: &View<'_>, check: &CheckReport) -> Map<String, Value> {
    let status = view.part(check);
    let mut part = Map::new();
    part.insert("name".into(), (&*check.name).into());
    part.insert("status".into(), word(status).into());
    if view.detail {
        let mut data: Map<String, Value> =
            facts(view, check).filter_map(|(name, fact)| Some((name.to_owned(), scalar(fact)?))).collect();
        error(view, check, &mut data);
        if !data.is_empty() {
            part.insert("data".into(), data.into());
        }
    }
    part
}

/// The format's schema has texts, booleans and numbers: lists and objects are their JSON as text, and what is null is left
/// out.
fn scalar(fact: &Fact) -> Option<Value> {
    match value(fact) {
        Value::Null => None,
        several @ (Value::Array(_) | Value::Object(_)) => Some(several.to_string().into()),
        scalar => Some(scalar),
    }
}
