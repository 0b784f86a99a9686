use serde_json::{Map, Value, json};

use super::event::change;
use super::json::{error, facts, last_check, latency_ms, value};
use super::view::DEAD;
use super::{Answer, Dialect, Part, View};
use crate::clock::rfc3339;
use crate::health::{CheckReport, Group, Outcome, Report, Status};

/// Every check by its name, with all that is known of one: since when, what it found, how often, and what it went through.
#[derive(Debug)]
pub(super) struct Checks;

impl Dialect for Checks {
    fn name(&self) -> &'static str {
        "checks"
    }

    fn doc(&self) -> &'static str {
        "JSON: a list of the checks; `/NAME` for all that is known of one: status, since when, facts, counters, its last \
         transitions."
    }

    fn paths(&self) -> &'static [&'static str] {
        &["/NAME"]
    }

    /// Every check, whatever its group; what is none is 404.
    fn below<'a>(&self, report: &Report, _: &Group, rest: &'a str) -> Option<Part<'a>> {
        match rest {
            "" => None,
            _ if report.check(rest).is_some() => Some(Part::Check(rest)),
            _ => Some(Part::Nothing),
        }
    }

    fn render(&self, view: &View<'_>) -> Answer {
        if let Some(check) = view.query.check.and_then(|name| view.report.check(name)) {
            let dead = view.report.is_overdue(view.now);
            let code = if dead { view.codes.of(Status::Unhealthy) } else { view.codes.of(own(check)) };
            let body = Value::Object(whole(view, check)).to_string();
            return Answer { code, media_type: self.media_type(), body: body.into() };
        }
        view.answer(self, &list(view))
    }
}

/// The whole, and every check in short: what a watcher is told first.
pub(super) fn list(view: &View<'_>) -> Value {
    let checks = view.report.checks.iter().filter(|check| !check.built_in);
    let checks: Vec<Value> = checks
        .map(|check| if view.detail { whole(view, check) } else { short(view, check) })
        .map(Value::Object)
        .collect();
    json!({
        "service": view.service.name,
        "timestamp": rfc3339(view.now.unix.as_secs()),
        "group": view.group.name(),
        "status": view.status().word(),
        "message": view.explanation(),
        "ready": view.report.is_ready() && !view.report.is_overdue(view.now),
        "lifecycle": view.report.lifecycle.word(),
        "checks": checks,
    })
}

/// A check's own status for its code: one that is switched off is not bad.
fn own(check: &CheckReport) -> Status {
    if check.enabled { check.state.status } else { Status::Healthy }
}

fn short(view: &View<'_>, check: &CheckReport) -> Map<String, Value> {
    let mut body = Map::new();
    body.insert("check".into(), (&*check.name).into());
    body.insert("kind".into(), check.kind.into());
    if !check.enabled {
        body.insert("status".into(), "disabled".into());
        return body;
    }
    // What a dead engine last knew of a check is no more true than what it last knew of all.
    let dead = view.report.is_overdue(view.now);
    let status = if dead { Status::Unknown } else { check.state.status };
    body.insert("status".into(), status.word().into());
    body.insert("since".into(), rfc3339(check.state.since.unix.as_secs()).into());
    if dead {
        body.insert("error".into(), DEAD.into());
    } else if status != Status::Healthy {
        body.insert("reason".into(), check.reason().map(|reason| reason.code).into());
        error(view, check, &mut body);
    }
    body
}

fn whole(view: &View<'_>, check: &CheckReport) -> Map<String, Value> {
    let mut body = short(view, check);
    let state = &check.state;
    let groups = check.groups.iter().map(|group| Value::from(group.name()));
    body.insert("groups".into(), groups.collect());
    body.insert("tags".into(), check.tags.iter().map(|tag| Value::from(&**tag)).collect());
    let success = state.last_success.map(|at| rfc3339(at.unix.as_secs()));
    body.insert("last_check".into(), last_check(check));
    body.insert("last_success".into(), success.into());
    body.insert("latency_ms".into(), latency_ms(check).into());
    body.insert("consecutive_failures".into(), state.consecutive_failures.into());
    body.insert("consecutive_successes".into(), state.consecutive_successes.into());
    let runs = Outcome::ALL.into_iter().zip(check.runs);
    body.insert("runs".into(), runs.map(|(outcome, count)| (outcome.word(), count)).collect());
    let entered = Status::ALL.into_iter().zip(check.transitions);
    body.insert("transitions".into(), entered.map(|(status, count)| (status.word(), count)).collect());
    let facts = facts(view, check).map(|(name, fact)| (name.to_owned(), value(fact)));
    body.insert("facts".into(), Value::Object(facts.collect()));
    let history = check.recent.iter().map(|event| Value::Object(change(event, view.audience)));
    body.insert("history".into(), history.collect());
    body
}
