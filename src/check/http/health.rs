use serde_json::{Map, Value};

/// What the body of somebody's own health endpoint says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    /// The whole.
    pub(crate) health: Health,
    /// Its parts, by their names; at most [`MOST_PARTS`].
    pub(crate) parts: Vec<(String, Health)>,
}

/// What words for health mean, of all dialects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Health {
    Healthy,
    Degraded,
    Unknown,
    Unhealthy,
}

impl Health {
    /// The word for facts.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Degraded => "degraded",
            Self::Unknown => "unknown",
            Self::Unhealthy => "unhealthy",
        }
    }

    fn of_word(word: &str) -> Option<Self> {
        // Whatever the case: health-json writes pass, actuator UP, ASP.NET Healthy.
        let word = word.trim().trim_end_matches('.');
        let is = |known: &&str| word.eq_ignore_ascii_case(known);
        if HEALTHY.iter().any(is) {
            Some(Self::Healthy)
        } else if DEGRADED.iter().any(is) {
            Some(Self::Degraded)
        } else if UNHEALTHY.iter().any(is) {
            Some(Self::Unhealthy)
        } else {
            is(&"unknown").then_some(Self::Unknown)
        }
    }
}

const HEALTHY: [&str; 14] = [
    "ok",
    "pass",
    "passing",
    "passed",
    "up",
    "healthy",
    "ready",
    "alive",
    "serving",
    "success",
    "green",
    "available",
    "running",
    "true",
];
const DEGRADED: [&str; 6] = ["degraded", "warn", "warning", "yellow", "partial", "impaired"];
const UNHEALTHY: [&str; 16] = [
    "fail",
    "failing",
    "failed",
    "error",
    "down",
    "unhealthy",
    "out_of_service",
    "critical",
    "not_serving",
    "red",
    "unavailable",
    "unauthenticated",
    "not ready",
    "not_ready",
    "stopping",
    "false",
];

/// More parts are not kept.
pub(crate) const MOST_PARTS: usize = 64;
/// A longer name is cut.
const LONGEST_NAME: usize = 128;
/// A text that is one word is no longer, and a line of kube-apiserver's is seldom.
const LONGEST_LINE: usize = 1024;
/// Parts have parts (actuator); these are looked at, theirs are not.
const DEEPEST: usize = 2;

/// Reads a body of claude-proxy, health-json, actuator, healthchecks-ui, microprofile, avalanche, simple, build, ok, the
/// text of kube-apiserver, or one word. `None` if it says nothing that can be understood. Pure, and bounded by the length
/// of the body.
pub(crate) fn read(body: &[u8]) -> Option<Told> {
    let text = std::str::from_utf8(body).ok()?.trim();
    if text.starts_with('{') {
        let Value::Object(body) = serde_json::from_str(text).ok()? else { return None };
        return of_object(&body);
    }
    // A JSON text of one word is a word.
    let word = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
    if word.len() <= LONGEST_LINE
        && let Some(health) = Health::of_word(word)
    {
        return Some(Told { health, parts: Vec::new() });
    }
    of_lines(text)
}

/// `[+]ping ok`, `[-]etcd failed: reason withheld`, and a last line that sums up.
fn of_lines(text: &str) -> Option<Told> {
    let mut parts = Vec::new();
    let mut failing = false;
    for line in text.lines() {
        let (health, rest) = match (line.strip_prefix("[+]"), line.strip_prefix("[-]")) {
            (Some(rest), _) => (Health::Healthy, rest),
            (_, Some(rest)) => (Health::Unhealthy, rest),
            _ => continue,
        };
        failing |= health == Health::Unhealthy;
        if parts.len() < MOST_PARTS {
            parts.push((name(rest.split(' ').next().unwrap_or_default()), health));
        }
    }
    let health = if failing { Health::Unhealthy } else { Health::Healthy };
    (!parts.is_empty()).then_some(Told { health, parts })
}

fn of_object(body: &Map<String, Value>) -> Option<Told> {
    let mut parts = Vec::new();
    gather(body, "", DEEPEST, &mut parts);
    // Without a word for the whole, nothing is made up from its parts.
    health_of(body).map(|health| Told { health, parts })
}

/// Where the whole or a part says how it is. `healthy` and `ok` are what they say; avalanche's parts have an `error` or none.
fn health_of(object: &Map<String, Value>) -> Option<Health> {
    let said = |key: &str| of_value(object.get(key)?);
    let flag = |key: &str| object.get(key)?.as_bool();
    let flagged = flag("healthy").or_else(|| flag("ok")).or_else(|| flag("up"));
    said("status")
        .or_else(|| said("state"))
        .or_else(|| said("health"))
        .or_else(|| flagged.map(|fine| if fine { Health::Healthy } else { Health::Unhealthy }))
        .or_else(|| {
            let of_a_node = object.contains_key("contiguousFailures") || object.contains_key("duration");
            let failing = object.get("error").is_some_and(|error| !error.is_null());
            of_a_node.then_some(if failing { Health::Unhealthy } else { Health::Healthy })
        })
}

fn of_value(value: &Value) -> Option<Health> {
    match value {
        Value::String(word) => Health::of_word(word),
        Value::Bool(true) => Some(Health::Healthy),
        Value::Bool(false) => Some(Health::Unhealthy),
        // Old actuators: { "status": { "code": "UP" } }.
        Value::Object(inner) => Health::of_word(inner.get("code")?.as_str()?),
        _ => None,
    }
}

/// Under which names dialects keep their parts.
const PARTS: [&str; 7] = ["components", "checks", "entries", "services", "details", "dependencies", "results"];

fn gather(object: &Map<String, Value>, above: &str, depth: usize, parts: &mut Vec<(String, Health)>) {
    for holder in PARTS.iter().filter_map(|key| object.get(*key)) {
        match holder {
            Value::Object(named) => {
                for (name, value) in named {
                    part(&below(above, name), value, depth, parts);
                }
            }
            Value::Array(list) => {
                for value in list {
                    let name = value.get("name").or_else(|| value.get("check")).and_then(Value::as_str);
                    if let Some(name) = name {
                        part(&below(above, name), value, depth, parts);
                    }
                }
            }
            _ => {}
        }
    }
}

fn part(path: &str, value: &Value, depth: usize, parts: &mut Vec<(String, Health)>) {
    if parts.len() >= MOST_PARTS {
        return;
    }
    match value {
        Value::Object(object) => {
            if let Some(health) = health_of(object) {
                parts.push((path.to_owned(), health));
            }
            if depth > 1 {
                gather(object, path, depth - 1, parts);
            }
        }
        // health-json: several measurements of one thing; the worst counts.
        Value::Array(measurements) => {
            let healths = measurements.iter().filter_map(|one| health_of(one.as_object()?));
            parts.extend(healths.max_by_key(|health| *health as u8).map(|health| (path.to_owned(), health)));
        }
        plain => parts.extend(of_value(plain).map(|health| (path.to_owned(), health))),
    }
}

fn below(above: &str, part: &str) -> String {
    if above.is_empty() { name(part) } else { name(&format!("{above}.{part}")) }
}

/// Somebody else's text: no control characters, and of a bounded length.
fn name(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(LONGEST_NAME).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::{Health, LONGEST_NAME, MOST_PARTS, read};
    use Health::{Degraded, Healthy, Unhealthy, Unknown};

    fn told(body: &Value) -> Option<(Health, Vec<(String, Health)>)> {
        read(body.to_string().as_bytes()).map(|told| (told.health, told.parts))
    }

    fn parts(list: &[(&str, Health)]) -> Vec<(String, Health)> {
        list.iter().map(|(name, health)| ((*name).to_owned(), *health)).collect()
    }

    #[test]
    fn every_dialect_is_understood() {
        let cases = [
            (
                json!({ "status": "degraded", "service": "claude-proxy", "components": {
                    "claude_cli": { "status": "healthy" }, "authentication": { "status": "unauthenticated" } } }),
                Degraded,
                parts(&[("claude_cli", Healthy), ("authentication", Unhealthy)]),
            ),
            (
                json!({ "status": "warn", "version": "1", "checks": {
                    "cassandra:responseTime": [{ "status": "pass" }, { "status": "warn" }], "uptime": [{ "status": "pass" }] } }),
                Degraded,
                parts(&[("cassandra:responseTime", Degraded), ("uptime", Healthy)]),
            ),
            (
                json!({ "status": "DOWN", "components": {
                    "db": { "status": "UP", "details": { "database": "H2" } },
                    "broker": { "status": "OUT_OF_SERVICE", "components": { "us1": { "status": "UNKNOWN" } } } } }),
                Unhealthy,
                parts(&[("db", Healthy), ("broker", Unhealthy), ("broker.us1", Unknown)]),
            ),
            (
                json!({ "status": "Degraded", "totalDuration": "00:00:00.1", "entries": {
                    "sql": { "status": "Degraded", "data": {}, "duration": "00:00:00.1" } } }),
                Degraded,
                parts(&[("sql", Degraded)]),
            ),
            (
                json!({ "status": "UP", "checks": [{ "name": "disk", "status": "UP" }, { "name": "db", "status": "DOWN" }] }),
                Healthy,
                parts(&[("disk", Healthy), ("db", Unhealthy)]),
            ),
            (
                json!({ "healthy": false, "checks": {
                    "network": { "message": {}, "error": "lost", "duration": 5, "contiguousFailures": 2 },
                    "disk": { "message": {}, "duration": 5, "contiguousFailures": 0 } } }),
                Unhealthy,
                parts(&[("network", Unhealthy), ("disk", Healthy)]),
            ),
            (json!({ "status": "error", "timestamp": "2019-08-24T14:15:22Z", "error": "no" }), Unhealthy, parts(&[])),
            (
                json!({ "status": "ok", "version": "1.0.0", "services": { "postgres": { "status": "error", "latency_ms": 3 } } }),
                Healthy,
                parts(&[("postgres", Unhealthy)]),
            ),
            (json!({ "ok": true, "status": "healthy" }), Healthy, parts(&[])),
            (json!({ "ok": false }), Unhealthy, parts(&[])),
            (json!({ "status": { "code": "UP" } }), Healthy, parts(&[])),
        ];
        for (body, health, parts) in cases {
            assert_eq!(told(&body), Some((health, parts)), "{body}");
        }
    }

    #[test]
    fn text_is_a_word_or_lines() {
        let of = |text: &str| read(text.as_bytes()).map(|told| (told.health, told.parts));
        assert_eq!(of("ok"), Some((Healthy, Vec::new())));
        assert_eq!(of(" Healthy\n"), Some((Healthy, Vec::new())));
        assert_eq!(of("\"UP\""), Some((Healthy, Vec::new())));
        assert_eq!(of("Degraded"), Some((Degraded, Vec::new())));
        let lines = "[+]ping ok\n[-]etcd failed: reason withheld\nreadyz check failed\n";
        assert_eq!(of(lines), Some((Unhealthy, parts(&[("ping", Healthy), ("etcd", Unhealthy)]))));
        assert_eq!(of("[+]ping ok\nreadyz check passed\n"), Some((Healthy, parts(&[("ping", Healthy)]))));
        for nothing in
            ["", "<html>", "hello", "[]", "null", "{", "{}", "{\"status\":5}", "{\"version\":\"1\"}", "\u{feff}ok"]
        {
            assert_eq!(of(nothing), None, "{nothing:?}");
        }
    }

    #[test]
    fn deep_and_wide_bodies_are_bounded() {
        let deep = format!("{{\"status\":\"UP\",\"components\":{}1{}}}", "{\"a\":".repeat(120), "}".repeat(120));
        assert!(read(deep.as_bytes()).is_some_and(|told| told.parts.is_empty()));
        assert_eq!(read("{\"a\":".repeat(50_000).as_bytes()), None, "it is no JSON, and no stack is lost over it");
        let many: serde_json::Map<String, Value> =
            (0..10_000).map(|number| (format!("{number}\n{}", "x".repeat(300)), json!({ "status": "UP" }))).collect();
        let told = read(json!({ "status": "UP", "components": many }).to_string().as_bytes()).expect("understood");
        assert_eq!(told.parts.len(), MOST_PARTS);
        assert!(told.parts.iter().all(|(name, _)| name.chars().count() <= LONGEST_NAME && !name.contains('\n')));
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let words = prop_oneof![
            Just("status"),
            Just("components"),
            Just("checks"),
            Just("ok"),
            Just("error"),
            Just("duration"),
            Just("name")
        ];
        let leaf = prop_oneof![
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "(UP|fail|.{0,5})".prop_map(Value::from),
            Just(Value::Null),
        ];
        leaf.prop_recursive(5, 64, 8, move |inner| {
            let key = prop_oneof![words.clone().prop_map(str::to_owned), ".{0,5}"];
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
                proptest::collection::vec((key, inner), 0..8)
                    .prop_map(|entries| Value::Object(entries.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_strange(body in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = read(&body);
        }

        #[test]
        fn no_json_is_too_strange(body in any_json()) {
            if let Some(told) = read(body.to_string().as_bytes()) {
                prop_assert!(told.parts.len() <= MOST_PARTS);
            }
        }
    }
}
