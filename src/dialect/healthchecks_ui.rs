use std::time::Duration;

use serde_json::{Map, Value, json};

use super::json::{facts, private, value};
use super::{Answer, Dialect, View};
use crate::health::{CheckReport, Status};

/// What ASP.NET's HealthChecks.UI reads, as its `UIResponseWriter` writes it.
#[derive(Debug)]
pub(super) struct HealthChecksUi;

impl Dialect for HealthChecksUi {
    fn name(&self) -> &'static str {
        "healthchecks-ui"
    }

    fn doc(&self) -> &'static str {
        "JSON for ASP.NET's HealthChecks.UI: status, Healthy, Degraded or Unhealthy; totalDuration; entries with duration, \
         status and tags, with detail also data."
    }

    fn render(&self, view: &View<'_>) -> Answer {
        let took = |check: &CheckReport| check.state.last.as_ref().map(|last| last.took);
        let longest = view.parts().filter_map(took).max();
        let mut entries = Map::new();
        if let Some(above) = view.above() {
            let entry = json!({
                "data": {},
                "description": above.sentence,
                "duration": time_span(Duration::ZERO),
                "status": word(above.status),
                "tags": [],
            });
            entries.insert(above.name.into(), entry);
        }
        for check in view.parts() {
            entries.insert(check.name.to_string(), entry(view, check, took(check).unwrap_or_default()).into());
        }
        let body = json!({
            "status": word(view.status()),
            "totalDuration": time_span(longest.unwrap_or_default()),
            "entries": entries,
        });
        view.answer(self, &body)
    }
}

fn word(status: Status) -> &'static str {
    match status {
        Status::Healthy => "Healthy",
        Status::Degraded => "Degraded",
        Status::Unknown | Status::Unhealthy => "Unhealthy",
    }
}

/// Members without a value are left out, as the original does.
fn entry(view: &View<'_>, check: &CheckReport, took: Duration) -> Map<String, Value> {
    let status = view.part(check);
    let data: Map<String, Value> = match view.detail {
        true => facts(view, check).map(|(name, fact)| (name.to_owned(), value(fact))).collect(),
        false => Map::new(),
    };
    let mut entry = Map::new();
    entry.insert("data".into(), data.into());
    // One that fails and weighs nothing says so too.
    if check.state.status != Status::Healthy {
        entry.insert("description".into(), view.sentence(check).into());
    }
    entry.insert("duration".into(), time_span(took).into());
    if let Some(private) = private(view, check) {
        entry.insert("exception".into(), private.into());
    }
    entry.insert("status".into(), word(status).into());
    let groups = check.groups.iter().map(crate::health::Group::name);
    entry.insert("tags".into(), groups.chain(check.tags.iter().map(|tag| &**tag)).collect());
    entry
}

/// .NET's constant format of a `TimeSpan`, always with its fraction: `00:00:00.0123450`, days with a point before it.
fn time_span(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    let days = if days > 0 { format!("{days}.") } else { String::new() };
    format!("{days}{hours:02}:{minutes:02}:{:02}.{:07}", seconds % 60, duration.subsec_nanos() / 100)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::time_span;

    #[test]
    fn durations_are_written_as_dot_net_reads_them() {
        assert_eq!(time_span(Duration::ZERO), "00:00:00.0000000");
        assert_eq!(time_span(Duration::from_micros(12_345)), "00:00:00.0123450");
        assert_eq!(time_span(Duration::from_nanos(199)), "00:00:00.0000001");
        assert_eq!(time_span(Duration::from_secs(2 * 86_400 + 3 * 3600 + 4 * 60 + 5)), "2.03:04:05.0000000");
    }
}
