//! Values: what is wrong is refused with a sentence that helps, and what there is is documented.

use std::collections::BTreeMap;
use std::fs;

use serde_json::{Map, Value, json};

use crate::support::{KUBERNETES, chart, fail, golden, library, objects, path, succeed, template};

fn schema(chart: &std::path::Path) -> Value {
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
        (json!({ "podDisruptionBudget": { "maxUnavailable": "half" } }), "'half' does not match pattern"),
        (json!({ "podDisruptionBudget": { "maxUnavailable": -1 } }), "at '/podDisruptionBudget/maxUnavailable'"),
        (json!({ "strategy": { "rollingUpdate": "slow" } }), "at '/strategy/rollingUpdate'"),
        (json!({ "admin": { "apiKeys": { "keys": [] } } }), "minItems: got 0, want 1"),
        (json!({ "admin": { "apiKeys": { "keys": ["a/b"] } } }), "'a/b' does not match pattern"),
        (json!({ "app": { "command": [1] } }), "at '/app/command/0': got number, want string"),
        (json!({ "app": { "env": ["A=1"] } }), "at '/app/env/0': got string, want object"),
        (json!({ "podLabels": { "a": 1 } }), "at '/podLabels/a': got number, want string"),
        (json!({ "extraObjects": [1] }), "at '/extraObjects/0'"),
    ] {
        let said = refused(&values);
        assert!(said.contains(says), "{values}: {said}");
    }
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
    ] {
        let mut values = values;
        let table = values.as_object_mut().expect("a table");
        let app = table.entry("app").or_insert_with(|| json!({})).as_object_mut().expect("a table");
        app.insert("image".to_owned(), json!("a:1"));
        let said = refused(&values);
        assert!(said.contains(says), "{values}: {said}");
    }
}

/// A value with its documentation, as `values.yaml` has it.
struct Documented {
    path: String,
    text: String,
    default: Value,
}

/// Every value of a chart that has a comment `# --`, in the order of the file; and those that have none, and stand below
/// none that has one.
fn documented(chart: &std::path::Path) -> (Vec<Documented>, Vec<String>) {
    let file = chart.join("values.yaml");
    let defaults = objects(std::slice::from_ref(&file)).remove(0).remove(0);
    let (mut found, mut bare) = (Vec::new(), Vec::new());
    let mut names: Vec<(usize, String, bool)> = Vec::new();
    let mut comment: Option<String> = None;
    for line in fs::read_to_string(file).expect("the values").lines() {
        let text = line.trim_start();
        let indent = line.len() - text.len();
        if let Some(begun) = text.strip_prefix("# -- ") {
            comment = Some(begun.to_owned());
        } else if let (Some(more), Some(comment)) = (text.strip_prefix("# "), &mut comment) {
            comment.push(' ');
            comment.push_str(more);
        } else if let Some((name, _)) = text.split_once(':').filter(|_| !text.starts_with(['#', '-'])) {
            names.retain(|(depth, ..)| *depth < indent);
            let inherited = names.iter().any(|(.., documented)| *documented);
            names.push((indent, name.to_owned(), comment.is_some() || inherited));
            let parts: Vec<&str> = names.iter().map(|(_, name, _)| &**name).collect();
            let path = parts.join(".");
            let default = parts.iter().fold(&defaults, |value, name| &value[*name]).clone();
            match comment.take() {
                Some(text) => found.push(Documented { path, text, default }),
                None if !inherited && !default.is_object() => bare.push(path),
                None => {}
            }
        }
    }
    (found, bare)
}

#[test]
fn every_value_is_documented() {
    for chart in [chart(), library()] {
        let (found, bare) = documented(&chart);
        assert!(bare.is_empty(), "{}: {bare:?}", chart.display());
        assert!(found.len() > 30);
        for value in found {
            assert!(value.text.len() > 5 && !value.text.contains(" |"), "{}: {}", value.path, value.text);
        }
    }
}

#[test]
fn the_tables_of_values_are_made_from_them() {
    for chart in [chart(), library()] {
        let (found, _) = documented(&chart);
        let mut table = "| value | what | default |\n|---|---|---|\n".to_owned();
        for Documented { path, text, default } in found {
            let default = match default {
                Value::String(text) if text.is_empty() => "`\"\"`".to_owned(),
                Value::String(text) => format!("`{text}`"),
                other => format!("`{other}`"),
            };
            table.push_str(&format!("| `{path}` | {text} | {default} |\n"));
        }
        let file = chart.join("README.md");
        let text = fs::read_to_string(&file).expect("the README");
        let (before, rest) = text.split_once("<!-- values -->\n").expect("a place for the table");
        let (_, after) = rest.split_once("<!-- /values -->").expect("its end");
        golden(&file, &format!("{before}<!-- values -->\n{table}<!-- /values -->{after}"));
    }
}

/// The chart has every value of the library, with the same words, default and rule; so neither can drift from the other.
#[test]
fn the_chart_has_the_values_of_the_library() {
    let of = |chart| -> BTreeMap<String, (String, Value)> {
        let (found, _) = documented(chart);
        found.into_iter().map(|value| (value.path, (value.text, value.default))).collect()
    };
    let (ours, theirs) = (of(&chart()), of(&library()));
    for (path, value) in &theirs {
        assert_eq!(ours.get(path), Some(value), "{path}");
    }
    fn covers(at: &str, ours: &Value, theirs: &Value) {
        match (ours["properties"].as_object(), theirs["properties"].as_object()) {
            (Some(ours), Some(theirs)) => {
                for (name, schema) in theirs {
                    covers(&format!("{at}.{name}"), ours.get(name).unwrap_or(&Value::Null), schema);
                }
            }
            _ => assert_eq!(ours, theirs, "{at}"),
        }
    }
    covers("", &schema(&chart()), &schema(&library()));
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
                let optional = ["global", "pulsegate-lib", "initialDelaySeconds", "claims"].contains(&&**name);
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
