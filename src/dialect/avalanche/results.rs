use std::time::Duration;

use serde_json::{Map, Value, json};

use super::super::View;
use super::super::json::value;
use crate::clock::rfc3339_nanos;
use crate::health::{Audience, CheckReport, Fact, Status};

/// How a result is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// As AppsFlyer's go-sundheit wrote it, which the node used in 2020: `error` is an object, `contiguousFailures` and
    /// `timeOfFirstFailure` are always there.
    Of2020,
    /// As the node writes it today: `error` is a text, what is zero is left out.
    Today,
}

/// Selects every check.
const ALL: &str = "all";

/// Checks with this tag belong to every selection.
const APPLICATION: &str = "application";

/// The time of a check that has not run yet: Go's zero.
const NEVER: &str = "0001-01-01T00:00:00Z";

/// The results of a group's checks, those with one of the tags if there are any, and the status that they make together.
pub(super) fn results<T: AsRef<str>>(view: &View<'_>, tags: &[T], shape: Shape) -> (Status, Value) {
    let (mut checks, mut status) = (Map::new(), Status::Healthy);
    for check in view.parts().filter(|check| check.enabled && is_selected(check, tags)) {
        let part = view.part(check);
        status = status.max(part);
        // What is part of the program is no news while it is well.
        if !check.built_in || !part.is_up() {
            checks.insert(check.name.to_string(), result(view, check, shape));
        }
    }
    // What stands above all checks, as one more: parts and whole agree.
    if let Some(above) = view.above() {
        status = status.max(above.status);
        checks.insert(above.name.into(), failing(view, &above.sentence, shape));
    }
    (status, json!({ "checks": checks, "healthy": status.is_up() }))
}

fn is_selected<T: AsRef<str>>(check: &CheckReport, tags: &[T]) -> bool {
    let has = |tag: &str| check.tags.iter().any(|known| &**known == tag);
    tags.is_empty() || has(APPLICATION) || tags.iter().map(AsRef::as_ref).any(|tag| tag == ALL || has(tag))
}

/// Since when the engine is dead.
fn dead_since(view: &View<'_>) -> Option<Duration> {
    let late = view.report.overdue_at?.saturating_sub(view.report.at.monotonic);
    view.report.is_overdue(view.now).then(|| view.report.at.unix + late)
}

fn result(view: &View<'_>, check: &CheckReport, shape: Shape) -> Value {
    let state = &check.state;
    let mut result = Map::new();
    let message = message(view, check);
    if !message.is_empty() {
        result.insert("message".into(), message.into());
    }
    if !view.part(check).is_up() {
        result.insert("error".into(), error(view, check, shape));
    }
    let last = state.last.as_deref();
    let at = match (last, shape) {
        (Some(last), Shape::Of2020) => rfc3339_nanos(last.at.unix),
        (Some(last), Shape::Today) => rfc3339_nanos(last.at.later(last.took).unix),
        (None, Shape::Of2020) => rfc3339_nanos(state.started.unix),
        (None, Shape::Today) => NEVER.to_owned(),
    };
    result.insert("timestamp".into(), at.into());
    result.insert("duration".into(), nanoseconds(last.map(|last| last.took).unwrap_or_default()));
    let first_failure = state.first_failure.map(|at| rfc3339_nanos(at.unix));
    failures(&mut result, state.consecutive_failures, first_failure, shape);
    result.into()
}

/// The facts that the caller may read.
fn message(view: &View<'_>, check: &CheckReport) -> Map<String, Value> {
    let facts = check.state.last.iter().flat_map(|last| last.finding.facts.readable_by(view.audience));
    facts.map(|(name, fact)| (name.to_owned(), number(name, fact))).collect()
}

/// The node's heartbeats are seconds since 1970.
fn number(name: &str, fact: &Fact) -> Value {
    match fact {
        Fact::Time(seconds) if name == "heartbeat" => (*seconds).into(),
        fact => value(fact),
    }
}

fn error(view: &View<'_>, check: &CheckReport, shape: Shape) -> Value {
    let sentence = view.sentence(check);
    let reason = check.reason();
    let private = reason.and_then(|reason| reason.private.as_deref()).filter(|_| view.audience == Audience::Trusted);
    match shape {
        Shape::Today => private.map_or_else(|| sentence.clone(), |private| format!("{sentence}: {private}")).into(),
        Shape::Of2020 => match private.or(reason.map(|reason| &*reason.public)) {
            Some(cause) => json!({ "message": sentence, "cause": { "message": cause } }),
            None => json!({ "message": sentence }),
        },
    }
}

fn failing(view: &View<'_>, message: &str, shape: Shape) -> Value {
    let since = dead_since(view);
    let mut result = Map::new();
    let error = match shape {
        Shape::Of2020 => json!({ "message": message }),
        Shape::Today => message.into(),
    };
    result.insert("error".into(), error);
    result.insert("timestamp".into(), rfc3339_nanos(view.report.at.unix).into());
    result.insert("duration".into(), 0.into());
    failures(&mut result, since.is_some().into(), since.map(rfc3339_nanos), shape);
    result.into()
}

fn failures(result: &mut Map<String, Value>, in_a_row: u32, first: Option<String>, shape: Shape) {
    if shape == Shape::Of2020 || in_a_row > 0 {
        result.insert("contiguousFailures".into(), in_a_row.into());
    }
    if shape == Shape::Of2020 || first.is_some() {
        result.insert("timeOfFirstFailure".into(), first.into());
    }
}

fn nanoseconds(took: Duration) -> Value {
    u64::try_from(took.as_nanos()).unwrap_or(u64::MAX).into()
}
