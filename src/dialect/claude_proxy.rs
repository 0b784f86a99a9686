use serde_json::{Map, Value};

use super::json::{error, last_check, latency_ms, value};
use super::{Answer, Dialect, View, json};
use crate::clock::rfc3339;
use crate::health::{CheckReport, Fact, Status};

/// The Claude proxy's own format: `status`, `service`, `timestamp`, and `components` in detail.
#[derive(Debug)]
pub(super) struct ClaudeProxy;

/// Checks with a component of a fixed shape.
const CLI: &str = "claude_cli";
const LOGIN: &str = "authentication";
const SERVER: &str = "api_server";

impl Dialect for ClaudeProxy {
    fn name(&self) -> &'static str {
        "claude-proxy"
    }

    fn doc(&self) -> &'static str {
        "The Claude proxy's JSON: status, service, timestamp; with detail the components and the configuration."
    }

    fn render(&self, view: &View<'_>) -> Answer {
        let status = view.status();
        let dead = view.report.is_overdue(view.now);
        let word = match status {
            _ if dead => "error",
            Status::Healthy => "healthy",
            Status::Degraded => "degraded",
            Status::Unknown | Status::Unhealthy => "unhealthy",
        };
        let mut body = Map::new();
        body.insert("status".into(), word.into());
        body.insert("service".into(), view.service.name.as_str().into());
        body.insert("timestamp".into(), rfc3339(view.now.unix.as_secs()).into());
        if status.is_up() {
            body.insert("version".into(), view.service.version.as_str().into());
        } else {
            body.insert("error".into(), view.explanation().into());
            let details = view.culprit().map(details).unwrap_or_default();
            if !details.is_empty() {
                body.insert("details".into(), details.into());
            }
        }
        if view.detail {
            body.insert("components".into(), components(view).into());
            body.insert("configuration".into(), configuration(view).into());
        }
        let code = if dead { 500 } else { view.codes.of(status) };
        Answer { code, media_type: self.media_type(), body: Value::Object(body).to_string().into() }
    }
}

/// What there is to say beside the sentence of the check that is to blame.
fn details(check: &CheckReport) -> Map<String, Value> {
    let mut details = Map::new();
    if let Some(paths) = fact(check, "searched_paths") {
        details.insert("searched_paths".into(), value(paths));
    }
    if matches!(check.reason().map(|reason| reason.code), Some("not_authenticated" | "login_expired")) {
        details.insert("claude_cli_status".into(), "not_authenticated".into());
    }
    details
}

fn components(view: &View<'_>) -> Map<String, Value> {
    let mut components = Map::new();
    for check in view.report.checks.iter().filter(|check| !check.built_in) {
        let component = match (&*check.name, check.kind) {
            _ if !check.enabled => disabled(),
            (CLI, "cli") => cli(view, check),
            (LOGIN, "credentials") => login(view, check),
            (SERVER, _) => server(view),
            _ => other(view, check),
        };
        components.insert(check.name.to_string(), component.into());
    }
    if !components.contains_key(SERVER) {
        components.insert(SERVER.into(), server(view).into());
    }
    components
}

/// What a condition of the configuration has switched off.
fn disabled() -> Map<String, Value> {
    [("status".to_owned(), "disabled".into()), ("enabled".to_owned(), false.into())].into_iter().collect()
}

fn cli(view: &View<'_>, check: &CheckReport) -> Map<String, Value> {
    let broken = matches!(check.reason().map(|reason| reason.code), Some("cli_broken" | "cli_not_executable"));
    let status = match check.state.status {
        Status::Unhealthy if broken => "error",
        status => status.word(),
    };
    let login = view.report.check(LOGIN).and_then(|login| fact(login, "logged_in"));
    let mut component = Map::new();
    component.insert("status".into(), status.into());
    facts(view, check, &mut component);
    component.insert("authenticated".into(), login.map_or(Value::Null, value));
    component.insert("last_check".into(), last_check(check));
    error(view, check, &mut component);
    component
}

fn login(view: &View<'_>, check: &CheckReport) -> Map<String, Value> {
    let status = match (check.state.status, check.reason().map(|reason| reason.code)) {
        (Status::Unhealthy, Some("login_unreadable" | "login_malformed")) => "error",
        (Status::Unhealthy, _) => "unauthenticated",
        (status, _) => status.word(),
    };
    let mut component = Map::new();
    component.insert("status".into(), status.into());
    facts(view, check, &mut component);
    component.insert("last_check".into(), last_check(check));
    error(view, check, &mut component);
    component
}

/// The app and the traffic through us: where no check has this name, as well as all of them say. Up-time is our own: the app's cannot be seen from outside.
fn server(view: &View<'_>) -> Map<String, Value> {
    let uptime = view.now.since(view.service.started).as_secs();
    let check = view.report.check(SERVER);
    let mut component = Map::new();
    component.insert("status".into(), check.map_or_else(|| view.status(), |check| check.state.status).word().into());
    component.insert("uptime".into(), spoken(uptime).into());
    component.insert("uptime_seconds".into(), uptime.into());
    component.insert("host".into(), view.service.host.as_str().into());
    component.insert("port".into(), view.service.port.into());
    component.insert("requests_processed".into(), view.totals.requests_total().into());
    component.insert("errors".into(), view.totals.failures_total().into());
    if let Some(check) = check {
        rest(view, check, &mut component);
    }
    component
}

fn other(view: &View<'_>, check: &CheckReport) -> Map<String, Value> {
    let mut component = Map::new();
    component.insert("status".into(), check.state.status.word().into());
    rest(view, check, &mut component);
    component
}

/// What every check can tell.
fn rest(view: &View<'_>, check: &CheckReport, component: &mut Map<String, Value>) {
    component.insert("last_check".into(), last_check(check));
    component.insert("latency_ms".into(), latency_ms(check).into());
    component.insert("consecutive_failures".into(), check.state.consecutive_failures.into());
    facts(view, check, component);
    error(view, check, component);
}

fn facts(view: &View<'_>, check: &CheckReport, component: &mut Map<String, Value>) {
    for (name, fact) in json::facts(view, check) {
        // A fact has no name that is ours already, but for the check's own measure of what it waited for.
        if name == "latency_ms" || !component.contains_key(name) {
            component.insert(name.to_owned(), value(fact));
        }
    }
}

fn configuration(view: &View<'_>) -> Map<String, Value> {
    let service = view.service;
    let mut configuration = Map::new();
    configuration.insert("host".into(), service.host.as_str().into());
    configuration.insert("port".into(), service.port.into());
    configuration.insert("log_level".into(), service.log_level.to_uppercase().into());
    configuration.insert("cors_enabled".into(), service.cors_enabled.into());
    for (name, text) in &service.configuration {
        configuration.insert(name.clone(), text.as_str().into());
    }
    configuration
}

fn fact<'a>(check: &'a CheckReport, name: &str) -> Option<&'a Fact> {
    check.state.last.as_ref().and_then(|last| last.finding.facts.get(name))
}

/// `2h 15m 30s`, with days before and no leading zeroes.
fn spoken(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    let mut spoken = String::new();
    for (number, unit) in [(days, 'd'), (hours, 'h'), (minutes, 'm')] {
        if number > 0 || !spoken.is_empty() {
            spoken.push_str(&format!("{number}{unit} "));
        }
    }
    spoken + &format!("{}s", seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::spoken;

    #[test]
    fn uptime_is_spoken_as_the_document_has_it() {
        assert_eq!(spoken(2 * 3600 + 15 * 60 + 30), "2h 15m 30s");
        assert_eq!(spoken(0), "0s");
        assert_eq!(spoken(60), "1m 0s");
        assert_eq!(spoken(86_400 + 1), "1d 0h 0m 1s");
    }
}
