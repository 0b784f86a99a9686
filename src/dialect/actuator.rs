use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::json::{error, facts, value};
use super::view::DEAD;
use super::{Answer, Dialect, Part, View};
use crate::health::{CheckReport, Fact, Group, Report, Status};

/// Spring Boot's health endpoint, as `/actuator/health` answers.
#[derive(Debug)]
pub(super) struct Actuator;

impl Dialect for Actuator {
    fn name(&self) -> &'static str {
        "actuator"
    }

    fn doc(&self) -> &'static str {
        "Spring Boot's JSON: status, UP, DOWN, OUT_OF_SERVICE or UNKNOWN; with detail components; the groups' names; \
         `/GROUP`, `/CHECK` and `/GROUP/CHECK` below its path. Degraded is UP here."
    }

    fn media_type(&self) -> &'static str {
        "application/vnd.spring-boot.actuator.v3+json"
    }

    fn paths(&self) -> &'static [&'static str] {
        &["/GROUP", "/CHECK", "/GROUP/CHECK"]
    }

    /// Groups go before checks, and what is neither is 404: all that is below the path is the endpoint's.
    fn below<'a>(&self, report: &Report, group: &Group, rest: &'a str) -> Option<Part<'a>> {
        let has = |group: &Group, name: &str| report.members(group).any(|check| check.enabled && &*check.name == name);
        let (first, second) = match rest.split_once('/') {
            Some((first, second)) => (first, Some(second)),
            None => (rest, None),
        };
        if first.is_empty() {
            return None;
        }
        let other = report.groups.iter().map(|known| &known.group).find(|known| known.name() == first);
        Some(match (other, second) {
            (Some(other), None) => Part::Group(other.clone(), None),
            (Some(other), Some(check)) if has(other, check) => Part::Group(other.clone(), second),
            (None, None) if has(group, first) => Part::Check(first),
            _ => Part::Nothing,
        })
    }

    fn render(&self, view: &View<'_>) -> Answer {
        if let Some(check) = view.query.check.and_then(|name| view.report.check(name)) {
            return one(self, view, check);
        }
        let mut body = Map::new();
        body.insert("status".into(), whole(view).into());
        if view.detail {
            body.insert("components".into(), components(view).into());
        }
        if !view.query.other_group {
            body.insert("groups".into(), groups(view).into());
        }
        view.answer(self, &Value::Object(body))
    }
}

/// The names of the groups that can be asked for, in order.
fn groups(view: &View<'_>) -> Vec<String> {
    let others = view.report.groups.iter().filter(|known| known.group != *view.group);
    let mut names: Vec<String> = others.map(|known| known.group.name().to_owned()).collect();
    names.sort();
    names
}

fn whole(view: &View<'_>) -> &'static str {
    // Somebody took it out of service: that is another word than a fault.
    let taken_out = view.is_draining() || view.maintenance().is_some();
    if taken_out && !view.report.is_overdue(view.now) { "OUT_OF_SERVICE" } else { word(view.status()) }
}

fn word(status: Status) -> &'static str {
    match status {
        Status::Healthy | Status::Degraded => "UP",
        Status::Unknown => "UNKNOWN",
        Status::Unhealthy => "DOWN",
    }
}

/// By name, as Spring Boot sorts them.
fn components(view: &View<'_>) -> Map<String, Value> {
    let mut components = BTreeMap::new();
    if let Some(above) = view.above() {
        let component = json!({ "status": whole(view), "details": { "error": above.sentence } });
        components.insert(above.name.to_owned(), component);
    }
    for check in view.parts() {
        components.insert(check.name.to_string(), component(view, check, word(view.part(check))).into());
    }
    components.into_iter().collect()
}

fn component(view: &View<'_>, check: &CheckReport, word: &str) -> Map<String, Value> {
    let mut component = Map::new();
    component.insert("status".into(), word.into());
    if view.detail {
        let mut details: Map<String, Value> = facts(view, check)
            .filter(|(_, fact)| **fact != Fact::Null)
            .map(|(name, fact)| (name.to_owned(), value(fact)))
            .collect();
        error(view, check, &mut details);
        if !details.is_empty() {
            component.insert("details".into(), details.into());
        }
    }
    component
}

/// One component alone. What a dead engine last knew of it is no more true than what it last knew of all.
fn one(dialect: &Actuator, view: &View<'_>, check: &CheckReport) -> Answer {
    let dead = view.report.is_overdue(view.now);
    let status = if dead { Status::Unhealthy } else { view.part(check) };
    let mut body = component(view, check, word(status));
    if dead {
        body.insert("details".into(), json!({ "error": DEAD }));
    }
    let body = Value::Object(body).to_string().into();
    Answer { code: view.codes.of(status), media_type: dialect.media_type(), body }
}
