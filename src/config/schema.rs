use serde_json::{Map, Value, json};

use super::SECTIONS;
use super::checks::{CheckSettings, MOST_CHECKS};
use super::preset::PRESETS;
use crate::admin::EndpointSettings;
use crate::check::KINDS;
use crate::settings::{Field, Section, Shape};

/// The configuration's shape as JSON Schema 2020-12, for editors and for those who generate configurations.
///
/// It is made of the same declarations as the reader, and takes all that the reader takes. The reader knows more: notations,
/// and what must fit together.
#[must_use]
pub fn schema() -> Value {
    let mut properties = Map::new();
    let presets: Vec<&str> = PRESETS.iter().map(|(name, _)| *name).collect();
    properties.insert("preset".into(), json!({ "description": "Where the defaults come from.", "enum": presets }));
    for (name, fields, _) in SECTIONS {
        properties.insert(name.into(), table(fields));
    }
    let mut check = properties_of(<CheckSettings as Section>::FIELDS);
    // An editor would show the default of no kind in particular.
    for name in BY_KIND {
        if let Some(members) = check.get_mut(name).and_then(Value::as_object_mut) {
            members.remove("default");
        }
    }
    for kind in KINDS {
        let mut settings = table(kind.fields);
        let defaults = &kind.defaults;
        let by_kind = [defaults.interval, defaults.timeout, defaults.failure_threshold, defaults.on_failure];
        let by_kind: Vec<String> =
            BY_KIND.iter().zip(by_kind).map(|(name, default)| format!("{name} {default}")).collect();
        settings["description"] = format!("{} By default: {}.", kind.doc, by_kind.join(", ")).into();
        check.insert(kind.name.into(), settings);
    }
    let check = json!({ "type": "object", "properties": check, "additionalProperties": false });
    let endpoint = table(<EndpointSettings as Section>::FIELDS);
    properties.insert("checks".into(), json!({
        "type": "object",
        "description": "Checks by their names. Each has the settings of one kind, unless the preset has it already.",
        "maxProperties": MOST_CHECKS,
        "additionalProperties": check,
    }));
    properties.insert(
        "endpoints".into(),
        json!({
            "type": "object",
            "description": "Endpoints by their paths.",
            "patternProperties": { "^/": endpoint },
            "additionalProperties": false,
        }),
    );
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "The configuration of pulsegate",
        "type": "object",
        "properties": properties,
        "additionalProperties": false,
        "$defs": {
            "secret": {
                "type": "object",
                "properties": { "file": { "type": "string" }, "env": { "type": "string" } },
                "minProperties": 1,
                "maxProperties": 1,
                "additionalProperties": false,
            },
        },
    })
}

/// Settings of every check whose defaults are its kind's.
const BY_KIND: [&str; 4] = ["interval", "timeout", "failure_threshold", "on_failure"];

fn table(fields: &[Field]) -> Value {
    json!({ "type": "object", "properties": properties_of(fields), "additionalProperties": false })
}

fn properties_of(fields: &[Field]) -> Map<String, Value> {
    fields.iter().map(|field| (field.name.to_owned(), property(field))).collect()
}

fn property(field: &Field) -> Value {
    let mut property = match field.shape {
        Shape::Table => table(field.nested),
        Shape::List(Shape::Table) => one_or_more(&table(field.nested)),
        shape => rule(shape),
    };
    if let Value::Object(members) = &mut property {
        let mut description = field.doc.lines().map(str::trim).collect::<Vec<_>>().join(" ");
        if field.shape != Shape::Table {
            description = format!("{description} It is {}.", field.expects);
        }
        members.insert("description".into(), description.into());
        if let Some(default) = field.default {
            members.insert("default".into(), default_of(default));
        }
    }
    property
}

fn rule(shape: Shape) -> Value {
    match shape {
        Shape::Any | Shape::Table => json!({}),
        Shape::Flag => json!({ "type": "boolean" }),
        Shape::Whole => json!({ "type": "integer" }),
        Shape::Number => json!({ "type": "number" }),
        Shape::Text => json!({ "type": "string" }),
        Shape::Words(words) => json!({ "enum": words }),
        Shape::Secret => json!({ "$ref": "#/$defs/secret" }),
        Shape::List(item) => one_or_more(&rule(*item)),
        Shape::Map(value) => json!({ "type": "object", "additionalProperties": rule(*value) }),
        Shape::Either(shapes) => json!({ "anyOf": shapes.iter().map(|shape| rule(*shape)).collect::<Vec<_>>() }),
    }
}

fn one_or_more(item: &Value) -> Value {
    json!({ "anyOf": [{ "type": "array", "items": item }, item] })
}

/// A default as the declaration writes it: TOML's notation, or bare text.
fn default_of(text: &str) -> Value {
    match text {
        "{}" => json!({}),
        _ => serde_json::from_str(text).unwrap_or_else(|_| text.into()),
    }
}
