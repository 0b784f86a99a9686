//! Values: what is wrong is refused with a sentence that helps.

use std::fs;

use serde_json::{Map, Value, json};

use crate::support::{KUBERNETES, chart, fail, library, objects, path, python, succeed, template};

pub(crate) fn schema(chart: &std::path::Path) -> Value {
    let text = fs::read_to_string(chart.join("values.schema.json")).expect("the schema");
    serde_json::from_str(&text).expect("JSON")
}

/// A rule of the schema: where it holds, and what it is.
struct Rule<'a> {
    at: Vec<&'a str>,
    schema: &'a Value,
}

/// Every property that the schema knows, itself included.
fn rules<'a>(at: &[&'a str], schema: &'a Value, found: &mut Vec<Rule<'a>>) {
    found.push(Rule { at: at.to_vec(), schema });
    for (name, schema) in schema["properties"].as_object().into_iter().flatten() {
        rules(&[at, &[name]].concat(), schema, found);
    }
}

/// Puts a value where it belongs.
fn put(values: &mut Value, at: &[&str], value: Value) {
    let Some((last, tables)) = at.split_last() else { return };
    let mut table = values;
    for name in tables {
        table = table.as_object_mut().expect("a table").entry(*name).or_insert_with(|| json!({}));
    }
    table.as_object_mut().expect("a table").insert((*last).to_owned(), value);
}

/// What Helm says of values for the chart of this checkout.
#[track_caller]
fn refused(values: &Value) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("values.json");
    fs::write(&file, values.to_string()).expect("a file");
    fail(&mut template(&chart(), &["-f", path(&file)], KUBERNETES))
}

/// Breaks one kind of rule everywhere at once: each place must be named, with what is wrong there.
#[track_caller]
fn each_is_refused(kind: &str, broken: impl Fn(&Rule<'_>) -> Option<(Value, String)>) {
    let schema = schema(&chart());
    let mut all = Vec::new();
    rules(&[], &schema, &mut all);
    let mut values = json!({});
    let mut expected = Vec::new();
    for rule in &all {
        if let Some((value, says)) = broken(rule) {
            put(&mut values, &rule.at, value);
            expected.push(format!("at '/{}': {says}", rule.at.join("/")));
        }
    }
    assert!(!expected.is_empty(), "no rule of this kind: {kind}");
    let said = refused(&values);
    let silent: Vec<&String> = expected.iter().filter(|line| !said.contains(*line)).collect();
    assert!(silent.is_empty(), "{kind}: not refused, or in other words: {silent:#?}\n{said}");
}

#[test]
fn unknown_keys_are_refused_at_every_level() {
    let schema = schema(&chart());
    let mut all = Vec::new();
    rules(&[], &schema, &mut all);
    let mut closed = 0;
    let mut values = json!({});
    for rule in all.iter().filter(|rule| rule.schema["properties"].is_object()) {
        assert_eq!(rule.schema["additionalProperties"], false, "/{}", rule.at.join("/"));
        put(&mut values, &[&rule.at[..], &["bogus"]].concat(), json!(1));
        closed += 1;
    }
    let said = refused(&values);
    assert_eq!(said.matches("additional properties 'bogus' not allowed").count(), closed, "{said}");
    assert!(closed > 30, "{closed}");
}

#[test]
fn a_wrong_type_is_refused_everywhere() {
    each_is_refused("type", |rule| {
        let kind = rule.schema["type"].as_str()?;
        let (value, got) = match kind {
            // Helm itself keeps a table where something else comes, and warns.
            "object" => return None,
            "string" => (json!(["x"]), "array"),
            _ => (json!("no good!"), "string"),
        };
        Some((value, format!("got {got}, want {kind}")))
    });
}

#[test]
fn a_word_that_is_none_of_the_choices_is_refused_with_the_choices() {
    each_is_refused("enum", |rule| {
        let choices = rule.schema["enum"].as_array()?;
        let choices: Vec<String> =
            choices.iter().map(|choice| format!("'{}'", choice.as_str().unwrap_or(""))).collect();
        Some((json!("no good!"), format!("value must be one of {}", choices.join(", "))))
    });
}

#[test]
fn a_text_of_the_wrong_form_is_refused_with_the_form() {
    each_is_refused("pattern", |rule| {
        let pattern = rule.schema["pattern"].as_str()?;
        Some((json!("no good!\n"), format!("'no good!\\n' does not match pattern '{}'", pattern.replace('\\', "\\\\"))))
    });
}

#[test]
fn a_number_out_of_range_is_refused_with_the_range() {
    each_is_refused("minimum", |rule| {
        let least = rule.schema["minimum"].as_i64()?;
        Some((json!(least - 1), format!("minimum: got {}, want {least}", grouped(least - 1))))
    });
    each_is_refused("maximum", |rule| {
        let most = rule.schema["maximum"].as_i64()?;
        // Above a milliard Helm writes powers.
        let range =
            if most < 1_000_000_000 { format!("{}, want {}", grouped(most + 1), grouped(most)) } else { String::new() };
        Some((json!(most + 1), format!("maximum: got {range}")))
    });
}

/// Helm writes 65536 as 65,536.
fn grouped(number: i64) -> String {
    let digits = number.unsigned_abs().to_string();
    let groups: Vec<&str> = digits.as_bytes().rchunks(3).rev().filter_map(|group| str::from_utf8(group).ok()).collect();
    format!("{}{}", if number < 0 { "-" } else { "" }, groups.join(","))
}

#[test]
fn the_rest_of_the_rules() {
    for (values, says) in [
        (json!({ "app": { "health": { "expectStatus": "fine" } } }), "at '/app/health/expectStatus'"),
        (json!({ "app": { "health": { "expectStatus": 99 } } }), "minimum: got 99, want 100"),
        (json!({ "app": { "health": { "expectStatus": "2xx-299" } } }), "'2xx-299' does not match pattern"),
        (json!({ "app": { "health": { "expectStatus": "12" } } }), "'12' does not match pattern"),
        (json!({ "podDisruptionBudget": { "maxUnavailable": "half" } }), "'half' does not match pattern"),
        (json!({ "podDisruptionBudget": { "maxUnavailable": -1 } }), "at '/podDisruptionBudget/maxUnavailable'"),
        (json!({ "strategy": { "rollingUpdate": "slow" } }), "at '/strategy/rollingUpdate'"),
        (json!({ "admin": { "apiKeys": { "keys": [] } } }), "minItems: got 0, want 1"),
        (json!({ "admin": { "apiKeys": { "keys": ["a/b"] } } }), "'a/b' does not match pattern"),
        (json!({ "app": { "command": [1] } }), "at '/app/command/0': got number, want string"),
        (json!({ "app": { "env": ["A=1"] } }), "at '/app/env/0': got string, want object"),
        (json!({ "podLabels": { "a": 1 } }), "at '/podLabels/a': got number, want string"),
        (json!({ "extraObjects": [1] }), "at '/extraObjects/0'"),
        (json!({ "app": { "env": [{ "name": "A", "value": 1 }] } }), "at '/app/env/0/value': got number, want string"),
        (json!({ "sidecar": { "env": [{ "value": "a" }] } }), "missing property 'name'"),
        (json!({ "app": { "ports": [{ "port": 1 }] } }), "additional properties 'port' not allowed"),
        (json!({ "app": { "ports": [{ "containerPort": 1, "name": "80" }] } }), "'80' does not match pattern"),
        (json!({ "app": { "env": [{ "name": "A", "valueFrom": {} }] } }), "minProperties: got 0, want 1"),
        (json!({ "ingress": { "tls": [{ "hosts": [""] }] } }), "at '/ingress/tls/0/hosts/0'"),
        (json!({ "service": { "appProtocol": "a/b/c" } }), "'a/b/c' does not match pattern"),
        (json!({ "imagePullSecrets": ["registry"] }), "at '/imagePullSecrets/0': got string, want object"),
        (json!({ "hostAliases": [{ "hostnames": ["a"] }] }), "missing property 'ip'"),
        (json!({ "monitoring": { "prometheusRule": { "objective": "99.9" } } }), "'99.9' does not match pattern"),
        (json!({ "monitoring": { "prometheusRule": { "objective": 1 } } }), "exclusiveMaximum: got 1, want 1"),
    ] {
        let said = refused(&values);
        assert!(said.contains(says), "{values}: {said}");
    }
}

/// Helm takes away what somebody sets to null. Where that left nothing to go by it is an error, never a pod without it.
#[test]
fn what_is_needed_cannot_be_taken_away() {
    let schema = schema(&chart());
    let mut all = Vec::new();
    rules(&[], &schema, &mut all);
    let (mut values, mut expected) = (json!({ "app": { "image": "a:1" } }), 0);
    for rule in &all {
        let needed = rule.schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
        // A table that is away itself says nothing of what would be in it.
        for name in needed.filter(|name| !rule.schema["properties"][name]["properties"].is_object()) {
            put(&mut values, &[&rule.at[..], &[name]].concat(), Value::Null);
            expected += 1;
        }
    }
    let said = refused(&values);
    let of_chart = said.split("pulsegate-lib:").next().unwrap_or_default();
    let missing: usize = of_chart
        .lines()
        .filter_map(|line| line.split_once("missing propert"))
        .map(|(_, names)| names.matches('\'').count() / 2)
        .sum();
    assert!(missing == expected && expected > 80, "{missing} of {expected}\n{said}");
    let tables: Vec<&Rule<'_>> = all.iter().filter(|rule| rule.schema["required"].is_array()).collect();
    let mut values = json!({ "app": { "image": "a:1" } });
    for rule in tables.iter().filter(|rule| rule.at.len() == 1 && rule.at != ["strategy"] && rule.at != ["app"]) {
        put(&mut values, &rule.at, Value::Null);
    }
    let said = refused(&values);
    assert!(said.contains("at '': missing properties 'sidecar'"), "{said}");
}

/// What no `values.yaml` has: nothing is there to be taken away.
const OF_NO_DEFAULT: [&str; 4] = ["global", "pulsegate-lib", "initialDelaySeconds", "claims"];

/// Everything else can be, and Kubernetes takes what is left.
#[test]
fn what_is_not_needed_can_be_taken_away() {
    let schema = schema(&chart());
    let mut all = Vec::new();
    rules(&[], &schema, &mut all);
    let on = json!({ "enabled": true });
    let mut values = json!({
        "app": { "image": "a:1" }, "ingress": on, "networkPolicy": on, "podDisruptionBudget": on, "autoscaling": on,
        "monitoring": { "serviceMonitor": on, "prometheusRule": on, "dashboard": on },
    });
    let mut away = 0;
    for rule in all.iter().filter(|rule| rule.at.last() != Some(&"resources")) {
        let needed =
            |name: &str| rule.schema["required"].as_array().is_some_and(|needed| needed.contains(&json!(name)));
        let known = rule.schema["properties"].as_object().into_iter().flat_map(Map::keys);
        for name in known.filter(|name| !needed(name) && !OF_NO_DEFAULT.contains(&&***name)) {
            // One of the two is needed, and a table's own fields are taken away beside it.
            let is_table = rule.schema["properties"][name]["properties"].is_object();
            if name != "targetCPUUtilizationPercentage" && (!is_table || name == "resources") {
                put(&mut values, &[&rule.at[..], &[name]].concat(), Value::Null);
                away += 1;
            }
        }
    }
    assert!(away > 50, "{away}");
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("values.json");
    fs::write(&file, values.to_string()).expect("a file");
    fs::create_dir(folder.path().join(KUBERNETES)).expect("a folder");
    let rendered = succeed(&mut template(&chart(), &["-f", path(&file)], KUBERNETES));
    fs::write(folder.path().join(KUBERNETES).join("away.yaml"), rendered).expect("a file");
    let said: Value = serde_json::from_str(&succeed(python("schemas.py").arg(folder.path()))).expect("a verdict");
    assert_eq!(said["problems"], json!([]), "{said:#}");
    assert!(said["valid"].as_u64() > Some(8), "{said:#}");
}

/// What a schema cannot say, the templates say, with what to do.
#[test]
fn values_that_do_not_fit_together_are_refused_with_what_to_do() {
    for (values, says) in [
        (
            json!({ "preset": "claude-proxy" }),
            "set cli.visibility to sharedVolume, processNamespace or wrapper, or the preset to none",
        ),
        (
            json!({ "cli": { "visibility": "sharedVolume" } }),
            "set cli.login.volume (where the login is), cli.files.volume (where the CLI is), or both",
        ),
        (
            json!({ "cli": { "files": { "volume": { "emptyDir": {} } } } }),
            "cli.files.volume is for cli.visibility=sharedVolume",
        ),
        (
            json!({ "cli": { "login": { "volume": { "emptyDir": {} } } } }),
            "cli.login.volume is for cli.visibility=sharedVolume or processNamespace",
        ),
        (
            json!({ "cli": { "visibility": "wrapper" } }),
            "app.command must say how; Kubernetes does not know the image's own entry point",
        ),
        (
            json!({ "sidecar": { "ports": { "admin": 8000 } } }),
            "sidecar.ports.traffic and sidecar.ports.admin must differ",
        ),
        (json!({ "app": { "port": 9000 } }), "app.port 9000 is a port of the sidecar"),
        (
            json!({ "drain": { "lameDuckSeconds": 30 } }),
            "drain.lameDuckSeconds must not be longer than drain.graceSeconds",
        ),
        (
            json!({ "drain": { "terminationGracePeriodSeconds": 30 } }),
            "drain.terminationGracePeriodSeconds is 30 and must be at least 40",
        ),
        (
            json!({ "config": { "proxy": { "upstream": "http://127.0.0.1:8081" } } }),
            "leads to port 8081, and the app has its PORT from app.port, which is 8080: set app.port",
        ),
        (
            json!({ "config": { "endpoints": { "/readyz": { "dialect": "off" } } } }),
            "config.endpoints has /readyz off, which sidecar.probes.readiness.path asks",
        ),
    ] {
        refused_with(values, says);
    }
}

/// The same of what is around the sidecar.
#[test]
fn objects_that_cannot_be_are_refused_with_what_to_do() {
    for (values, says) in [
        (json!({ "sidecar": { "name": "app" } }), "sidecar.name must not be app"),
        (
            json!({ "app": { "lifecycle": { "preStop": { "exec": { "command": ["stop"] } } } } }),
            "a container has one: set drain.appPreStop to none",
        ),
        (
            json!({ "cli": { "visibility": "wrapper" }, "app": { "command": ["a"] }, "sidecar": { "env": [{ "name": "A" }] } }),
            "there is no container of the sidecar for sidecar.env",
        ),
        (
            json!({ "cli": { "visibility": "wrapper" }, "app": { "command": ["a"], "livenessProbe": { "periodSeconds": 1 } } }),
            "the app's container has the probes of pulsegate: app.livenessProbe has no place",
        ),
        (
            json!({ "autoscaling": { "enabled": true, "minReplicas": 11 } }),
            "minReplicas is more than autoscaling.maxReplicas",
        ),
        (
            json!({ "autoscaling": { "enabled": true, "targetCPUUtilizationPercentage": null } }),
            "autoscaling has nothing to go by",
        ),
        (json!({ "service": { "spec": { "ports": [] } } }), "service.spec.ports is the chart's"),
        (
            json!({ "app": { "ports": [{ "containerPort": 8080 }] } }),
            "app.ports has 8080, which the chart declares itself",
        ),
        (json!({ "minReadySeconds": 600 }), "progressDeadlineSeconds must be more than minReadySeconds"),
        (json!({ "dnsPolicy": "None" }), "dnsConfig must say how names are looked up"),
        (json!({ "service": { "nodePort": 30080 } }), "service.nodePort needs service.type NodePort or LoadBalancer"),
    ] {
        refused_with(values, says);
    }
}

#[track_caller]
fn refused_with(mut values: Value, says: &str) {
    let table = values.as_object_mut().expect("a table");
    let app = table.entry("app").or_insert_with(|| json!({})).as_object_mut().expect("a table");
    app.insert("image".to_owned(), json!("a:1"));
    let said = refused(&values);
    assert!(said.contains(says), "{values}: {said}");
}

/// The schema knows every value, and no value that is not there.
#[test]
fn the_schema_has_just_the_values() {
    for chart in [chart(), library()] {
        let defaults = objects(&[chart.join("values.yaml")]).remove(0).remove(0);
        let schema = schema(&chart);
        fn same(at: &str, schema: &Value, defaults: &Map<String, Value>) {
            let known = schema["properties"].as_object().expect("properties");
            for (name, value) in defaults {
                let schema = known.get(name).unwrap_or_else(|| panic!("no schema for {at}{name}"));
                // An empty table by default may still have rules.
                let rules = schema["properties"].is_object();
                if let (Value::Object(defaults), true) = (value, rules && value != &json!({})) {
                    same(&format!("{at}{name}."), schema, defaults);
                }
            }
            for name in known.keys() {
                let optional = OF_NO_DEFAULT.contains(&&**name);
                assert!(optional || defaults.contains_key(name), "{at}{name} is in no values.yaml");
            }
        }
        same("", &schema, defaults.as_object().expect("a table"));
    }
}

#[test]
fn the_image_is_of_this_version() {
    for chart in [chart(), library()] {
        let about = objects(&[chart.join("Chart.yaml"), chart.join("values.yaml")]);
        for version in [&about[0][0]["version"], &about[0][0]["appVersion"], &about[1][0]["sidecar"]["image"]["tag"]] {
            assert_eq!(version, env!("CARGO_PKG_VERSION"), "{}", chart.display());
        }
    }
    let dependency = &objects(&[chart().join("Chart.yaml")])[0][0]["dependencies"][0];
    assert_eq!(dependency["version"], env!("CARGO_PKG_VERSION"));
}

#[test]
fn helm_shows_the_values() {
    let shown = succeed(&mut crate::support::helm(&["show", "values", path(&chart())]));
    assert_eq!(shown.trim(), fs::read_to_string(chart().join("values.yaml")).expect("the values").trim());
}
