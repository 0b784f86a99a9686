//! The reference pages say what the code says: every kind, every setting, every default.
//!
//! `UPDATE_DOCS=1` writes the table of kinds anew; prose is for people to write.

#![expect(clippy::expect_used, clippy::disallowed_methods, reason = "a test: it may panic, and it reads UPDATE_DOCS")]

use std::fs;
use std::path::PathBuf;

use pulsegate::check::KINDS;
use pulsegate::config::schema;
use serde_json::Value;

const BEGIN: &str = "<!-- kinds -->\n";
const END: &str = "<!-- /kinds -->";

fn page(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs").join(name)
}

fn read(name: &str) -> String {
    fs::read_to_string(page(name)).expect("the page")
}

/// The text under a heading, up to the next one of any level.
fn section<'a>(text: &'a str, heading: &str) -> Option<&'a str> {
    let begin = text.find(&format!("\n{heading}\n"))? + heading.len() + 2;
    let rest = &text[begin..];
    Some(rest.find("\n#").map_or(rest, |end| &rest[..end]))
}

/// The rows of the tables in a text whose first cell holds names of settings: each name with the last cell.
fn settings(text: &str) -> Vec<(String, String)> {
    let rows = text.lines().filter(|line| line.starts_with("| `"));
    rows.flat_map(|row| {
        let row = row.trim_matches('|').replace("\\|", "\u{1}");
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let last = cells[cells.len() - 1].to_owned();
        let names = cells[0].split(',').map(|name| name.trim().trim_matches('`').to_owned());
        names.map(|name| (name, last.clone())).collect::<Vec<_>>()
    })
    .collect()
}

fn is_list_of_tables(property: &Value) -> bool {
    property["anyOf"][0]["type"] == "array" && !property["anyOf"][1]["properties"].is_null()
}

/// What is missing or wrong in a text about some settings. A default that is said in words is for people to judge.
fn differences(place: &str, text: &str, properties: &Value) -> Vec<String> {
    let said = settings(text);
    let declared = properties.as_object().expect("properties");
    let mut found = Vec::new();
    for (name, property) in declared {
        let Some((_, cell)) = said.iter().find(|(said, _)| said == name) else {
            // A table of its own has a section of its own; one in a list is described in its list's place.
            let is_table = !property["properties"].is_null() || is_list_of_tables(property);
            if !is_table {
                found.push(format!("{place}: `{name}` is not there"));
            }
            continue;
        };
        let bare = |text: &str| text.replace([' ', '`', '"'], "");
        let default = &property["default"];
        let is_the_same = cell.starts_with('`') && !cell.contains("preset") && !default.is_null();
        if is_the_same && !bare(cell).starts_with(&bare(&default.to_string())) {
            found.push(format!("{place}: the default of `{name}` is {default}, not {cell}"));
        }
    }
    // Tables in a list are described with the list.
    let items = declared.values().filter(|property| is_list_of_tables(property));
    let items = items.filter_map(|property| property["anyOf"][1]["properties"].as_object());
    let known: Vec<&String> = declared.keys().chain(items.flat_map(|item| item.keys())).collect();
    for (name, _) in said.iter().filter(|(name, _)| !known.contains(&name)) {
        found.push(format!("{place}: there is no `{name}`"));
    }
    found
}

#[test]
fn every_kind_has_its_section_with_its_settings() {
    let text = read("checks.md");
    let schema = schema();
    let kinds = &schema["properties"]["checks"]["additionalProperties"]["properties"];
    let mut found = Vec::new();
    for kind in KINDS {
        let name = kind.name;
        match section(&text, &format!("## {name}")) {
            Some(section) => {
                found.extend(differences(name, section, &kinds[name]["properties"]));
                if !section.contains("Facts: ") {
                    found.push(format!("{name}: its facts are not there"));
                }
            }
            None => found.push(format!("{name} has no section")),
        }
    }
    assert!(found.is_empty(), "docs/checks.md:\n{}", found.join("\n"));
}

#[test]
fn the_table_of_kinds_is_that_of_the_code() {
    let mut table = "| kind | asks | `interval` | `timeout` | `failure_threshold` | `on_failure` |\n".to_owned();
    table.push_str("|---|---|---|---|---|---|\n");
    for kind in KINDS {
        let (name, doc, by) = (kind.name, kind.doc, kind.defaults);
        let (interval, timeout, threshold, weight) = (by.interval, by.timeout, by.failure_threshold, by.on_failure);
        table.push_str(&format!("| [{name}](#{name}) | {doc} | {interval} | {timeout} | {threshold} | {weight} |\n"));
    }
    let text = read("checks.md");
    let begin = text.find(BEGIN).expect("where the table begins") + BEGIN.len();
    let end = text.find(END).expect("where the table ends");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(page("checks.md"), [&text[..begin], &table, &text[end..]].concat()).expect("the page");
        return;
    }
    assert_eq!(text[begin..end], table, "UPDATE_DOCS=1 cargo test --test reference writes docs/checks.md anew");
}

#[test]
fn every_section_of_the_configuration_is_described() {
    let text = read("configuration.md");
    let schema = schema();
    let mut found = Vec::new();
    let mut walk: Vec<(String, Value)> = Vec::new();
    for (name, value) in schema["properties"].as_object().expect("properties") {
        match name.as_str() {
            "preset" => {}
            "checks" => {
                let mut own = value["additionalProperties"].clone();
                let properties = own["properties"].as_object_mut().expect("properties");
                properties.retain(|name, _| KINDS.iter().all(|kind| kind.name != name));
                walk.push(("checks.NAME".into(), own));
            }
            "endpoints" => walk.push(("endpoints.\"/path\"".into(), value["patternProperties"]["^/"].clone())),
            _ => walk.push((name.clone(), value.clone())),
        }
    }
    while let Some((path, value)) = walk.pop() {
        let depth =
            if path.starts_with("checks.") || path.starts_with("endpoints.") { 0 } else { path.matches('.').count() };
        let heading = format!("{} {path}", "#".repeat(2 + depth));
        let below = value["properties"].as_object().expect("properties").iter();
        let below = below.filter(|(_, value)| value["type"] == "object" && !value["properties"].is_null());
        let is_described =
            |name: &str| section(&text, &heading).is_some_and(|text| text.contains(&format!("`{name}`")));
        walk.extend(
            below
                .filter(|(name, _)| !is_described(name))
                .map(|(name, value)| (format!("{path}.{name}"), value.clone())),
        );
        match section(&text, &heading) {
            Some(section) => found.extend(differences(&path, section, &value["properties"])),
            None => found.push(format!("{path} has no section `{heading}`")),
        }
    }
    assert!(found.is_empty(), "docs/configuration.md:\n{}", found.join("\n"));
}
