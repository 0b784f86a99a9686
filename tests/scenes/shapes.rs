//! What the documents of others ask of a body: schemas and rules, read from the formats' own descriptions.

use serde_json::{Map, Value};

/// Everything that a body does not keep of its format's rules; `detail` is whether parts were asked for.
pub(crate) fn broken(dialect: &str, code: u16, body: &Value, detail: bool, one: bool) -> Vec<String> {
    let mut shape = Shape { broken: Vec::new() };
    match dialect {
        "ok" => shape.ok(code, body),
        "build" => shape.build(body),
        "simple" => shape.simple(code, body),
        "health-json" => shape.health_json(code, body, detail),
        "actuator" => shape.actuator(code, body, one),
        "healthchecks-ui" => shape.healthchecks_ui(code, body),
        "microprofile" => shape.microprofile(code, body),
        _ => {}
    }
    shape.broken
}

struct Shape {
    broken: Vec<String>,
}

impl Shape {
    fn rule(&mut self, holds: bool, rule: &str) {
        if !holds {
            self.broken.push(rule.to_owned());
        }
    }

    /// The members of an object: all of `needed`, and none but these and `others`, in this order.
    fn members(&mut self, value: &Value, needed: &[&str], others: &[&str], what: &str) -> Map<String, Value> {
        let members = value.as_object().cloned().unwrap_or_default();
        self.rule(value.is_object(), &format!("{what} is an object"));
        for name in needed {
            self.rule(members.contains_key(*name), &format!("{what} has {name}"));
        }
        for name in members.keys() {
            let known = needed.contains(&name.as_str()) || others.contains(&name.as_str());
            self.rule(known, &format!("{what} has no {name}"));
        }
        members
    }

    fn word(&mut self, value: Option<&Value>, words: &[&str], what: &str) -> usize {
        let found = words.iter().position(|word| value.and_then(Value::as_str) == Some(word));
        self.rule(found.is_some(), &format!("{what} is one of {words:?}"));
        found.unwrap_or_default()
    }

    /// Seed 000.
    fn ok(&mut self, code: u16, body: &Value) {
        let members = self.members(body, &["ok", "status"], &[], "the body");
        let word = self.word(members.get("status"), &["healthy", "unhealthy"], "status");
        self.rule(members["ok"] == (word == 0) && (code == 200) == (word == 0), "ok, status and code agree");
    }

    /// Seed 001.
    fn build(&mut self, body: &Value) {
        let texts = ["status", "version", "build_git_hash", "build_timestamp"];
        let members = self.members(body, &texts, &["uptime_ms"], "the body");
        self.word(members.get("status"), &["ok", "degraded"], "status");
        self.rule(texts.iter().all(|name| members[*name].is_string()), "all but the up-time are texts");
        self.rule(members["uptime_ms"].is_u64(), "uptime_ms is a whole number");
    }

    /// Seed 002.
    fn simple(&mut self, code: u16, body: &Value) {
        let members = self.members(body, &["status", "timestamp"], &["error"], "the body");
        let word = self.word(members.get("status"), &["ok", "error"], "status");
        self.rule(is_time(members.get("timestamp")), "timestamp is a date-time");
        self.rule(members.get("error").map_or(word == 0, |error| word == 1 && error.is_string()), "error if error");
        self.rule((code == 200) == (word == 0), "status and code agree");
    }

    /// draft-inadarei-api-health-check-06, sections 3 and 4.
    fn health_json(&mut self, code: u16, body: &Value, detail: bool) {
        const WORDS: [&str; 3] = ["pass", "warn", "fail"];
        let others = ["version", "releaseId", "notes", "output", "checks", "links", "serviceId", "description"];
        let members = self.members(body, &["status"], &others, "the body");
        let whole = self.word(members.get("status"), &WORDS, "status");
        self.rule((200..400).contains(&code) == (whole < 2), "pass and warn are 2xx or 3xx, fail is 4xx or 5xx");
        self.rule(members.get("output").is_some() == (whole > 0), "output unless pass");
        self.rule(members.get("notes").is_none_or(Value::is_array), "notes is an array");
        let Some(checks) = members.get("checks").and_then(Value::as_object) else {
            return self.rule(!detail, "detail shows checks");
        };
        let mut worst = 0;
        for (name, nodes) in checks {
            self.rule(name.split(':').count() <= 2, "a key has at most one colon");
            let nodes = nodes.as_array().cloned().unwrap_or_default();
            self.rule(nodes.len() == 1, &format!("{name} is an array of one node"));
            for node in &nodes {
                let own =
                    ["componentId", "observedValue", "observedUnit", "affectedEndpoints", "time", "output", "facts"];
                let node = self.members(node, &["componentType", "status"], &own, name);
                let status = self.word(node.get("status"), &WORDS, name);
                worst = worst.max(status);
                self.word(node.get("componentType"), &["component", "datastore", "system"], "componentType");
                self.rule(
                    node.contains_key("observedValue") == node.contains_key("observedUnit"),
                    "a value has a unit",
                );
                self.rule(node.get("time").is_none_or(|time| is_time(Some(time))), "time is a date-time");
                self.rule(node.contains_key("output") == (status > 0), &format!("{name} has output unless pass"));
            }
        }
        self.rule(worst == whole, "the whole is as the worst of its parts");
    }

    /// Spring Boot's `HealthEndpoint`: SystemHealth, CompositeHealth and Health; details are never null.
    fn actuator(&mut self, code: u16, body: &Value, one: bool) {
        // In the order of its aggregator: the first that occurs is the whole's.
        const WORDS: [&str; 4] = ["DOWN", "OUT_OF_SERVICE", "UNKNOWN", "UP"];
        let members = self.members(body, &["status"], &["components", "groups", "details"], "the body");
        let whole = self.word(members.get("status"), &WORDS, "status");
        self.rule((code == 200) == (whole == 3), "only UP is 200");
        let groups = members.get("groups").and_then(Value::as_array).cloned().unwrap_or_default();
        self.rule(groups.is_sorted_by_key(|group| group.as_str().unwrap_or_default().to_owned()), "groups are sorted");
        let components = members.get("components").and_then(Value::as_object);
        self.rule(!one || (components.is_none() && groups.is_empty()), "one component has neither parts nor groups");
        let mut worst = 3;
        for (name, component) in components.into_iter().flatten() {
            let component = self.members(component, &["status"], &["details"], name);
            worst = worst.min(self.word(component.get("status"), &WORDS, name));
            let details = component.get("details").and_then(Value::as_object);
            self.rule(details.into_iter().flatten().all(|(_, detail)| !detail.is_null()), "no detail is null");
        }
        self.rule(components.is_none() || worst == whole, "the whole is as the worst of its parts");
        let names: Vec<&String> = components.into_iter().flat_map(Map::keys).collect();
        self.rule(names.is_sorted(), "components are sorted");
    }

    /// `UIHealthReport` as `UIResponseWriter` writes it: camelCase, enums as words, members without a value left out.
    fn healthchecks_ui(&mut self, code: u16, body: &Value) {
        const WORDS: [&str; 3] = ["Healthy", "Degraded", "Unhealthy"];
        let members = self.members(body, &["status", "totalDuration", "entries"], &[], "the body");
        let whole = self.word(members.get("status"), &WORDS, "status");
        self.rule((code == 200) == (whole < 2), "Healthy and Degraded are 200");
        self.rule(is_time_span(members.get("totalDuration")), "totalDuration is a TimeSpan");
        let mut worst = 0;
        for (name, entry) in members["entries"].as_object().into_iter().flatten() {
            let entry =
                self.members(entry, &["data", "duration", "status", "tags"], &["description", "exception"], name);
            worst = worst.max(self.word(entry.get("status"), &WORDS, name));
            self.rule(entry["data"].is_object() && entry["tags"].is_array(), "data and tags are never null");
            self.rule(is_time_span(entry.get("duration")), "duration is a TimeSpan");
            self.rule(
                ["description", "exception"].iter().all(|text| entry.get(*text).is_none_or(Value::is_string)),
                "texts",
            );
        }
        self.rule(worst == whole, "the whole is as the worst of its parts");
    }

    /// MicroProfile Health, appendix B, with the conjunction that it demands.
    fn microprofile(&mut self, code: u16, body: &Value) {
        const WORDS: [&str; 2] = ["UP", "DOWN"];
        let members = self.members(body, &["status", "checks"], &[], "the body");
        let whole = self.word(members.get("status"), &WORDS, "status");
        self.rule(code == [200, 503][whole], "UP is 200, DOWN is 503");
        let mut worst = 0;
        for check in members["checks"].as_array().into_iter().flatten() {
            let check = self.members(check, &["name", "status"], &["data"], "a check");
            worst = worst.max(self.word(check.get("status"), &WORDS, "a check's status"));
            self.rule(check["name"].is_string(), "a name is text");
            let data = check.get("data").and_then(Value::as_object);
            let scalar = |value: &Value| value.is_string() || value.is_boolean() || value.is_number();
            self.rule(
                data.into_iter().flatten().all(|(_, value)| scalar(value)),
                "data holds texts, booleans, numbers",
            );
        }
        self.rule(worst == whole, "the whole is the conjunction of its parts");
    }
}

fn has_shape(value: Option<&Value>, shape: &str) -> bool {
    let text = value.and_then(Value::as_str).unwrap_or_default();
    text.len() == shape.len() && text.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).eq(shape.chars())
}

fn is_time(value: Option<&Value>) -> bool {
    has_shape(value, "0000-00-00T00:00:00Z")
}

fn is_time_span(value: Option<&Value>) -> bool {
    has_shape(value, "00:00:00.0000000")
}
