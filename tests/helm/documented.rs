//! Every value is documented where it stands, and tables and schemas follow from that.

use std::collections::BTreeMap;
use std::fs;

use serde_json::Value;

use crate::support::{chart, golden, library, objects};
use crate::values::schema;

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
