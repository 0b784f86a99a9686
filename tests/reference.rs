//! The reference pages say what the code says: every kind, every setting, every default.
//!
//! `UPDATE_DOCS=1` writes the tables of kinds and of metrics anew; prose is for people to write.

#![expect(clippy::expect_used, clippy::disallowed_methods, reason = "a test: it may panic, and it reads UPDATE_DOCS")]

use std::fs;
use std::path::PathBuf;

use prometheus::core::Collector as _;
use prometheus::process_collector::ProcessCollector;
use prometheus::proto::MetricType;
use pulsegate::admin::{Declared, Label, METRICS, Shape, Values};
use pulsegate::check::KINDS;
use pulsegate::config::schema;
use pulsegate::traffic::BOUNDS;
use serde_json::Value;

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
    generated("checks.md", "kinds", &table);
}

/// Holds the part of a page between its marks equal to what the code says, or writes it anew.
fn generated(name: &str, part: &str, expected: &str) {
    let text = read(name);
    let (first, last) = (format!("<!-- {part} -->\n"), format!("<!-- /{part} -->"));
    let begin = text.find(&first).expect("where the part begins") + first.len();
    let end = text.find(&last).expect("where the part ends");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(page(name), [&text[..begin], expected, &text[end..]].concat()).expect("the page");
        return;
    }
    assert_eq!(text[begin..end], *expected, "UPDATE_DOCS=1 cargo test --test reference writes docs/{name} anew");
}

/// Series of a histogram: its buckets, that of everything, the sum and the count.
const OF_A_HISTOGRAM: usize = BOUNDS.len() + 3;

/// How many series a metric has at most: so many, for each of what the configuration names.
fn series(metric: &Declared) -> (usize, Option<&'static str>) {
    let alone = if metric.shape == Shape::Histogram { OF_A_HISTOGRAM } else { 1 };
    metric.labels.iter().fold((alone, None), |(count, each), label| match label.values {
        Values::Of(words) => (count * words().len(), each),
        Values::Most(most, _) => (count * most, each),
        Values::Each(what) => (count, Some(what)),
        Values::One(_) | Values::Follows(_) => (count, each),
    })
}

fn unit(name: &str) -> &'static str {
    let base = name.trim_end_matches("_total");
    match () {
        () if base.ends_with("_timestamp_seconds") || base == "process_start_time_seconds" => "Unix time, s",
        () if base.ends_with("_seconds") => "s",
        () if base.ends_with("bytes") => "bytes",
        () => "",
    }
}

fn row_of(metric: &Declared) -> String {
    let labels: Vec<String> = metric.labels.iter().map(|label| format!("`{}`", label.name)).collect();
    let (count, each) = series(metric);
    let count = each.map_or_else(|| count.to_string(), |each| format!("{count} for each {each}"));
    let kind = match metric.shape {
        Shape::Counter => "counter",
        Shape::Gauge => "gauge",
        Shape::Histogram => "histogram",
    };
    let when = metric.when.map(|when| format!(". Only there: {when}")).unwrap_or_default();
    let (name, labels, help) = (metric.name, labels.join(", "), metric.help);
    format!("| `{name}` | {kind} | {} | {labels} | {count} | {help}{when} |\n", unit(name))
}

fn row_of_label(metric: &Declared, label: &Label) -> String {
    let words = |words: fn() -> Vec<&'static str>| {
        let words: Vec<String> = words().iter().map(|word| format!("`{word}`")).collect();
        words.join(", ")
    };
    let (values, most) = match label.values {
        Values::Of(list) => (words(list), list().len().to_string()),
        Values::One(list) => (words(list), "1 at a time".to_owned()),
        Values::Most(most, text) => (text.to_owned(), most.to_string()),
        Values::Each(what) => (format!("the name of a {what}"), format!("each {what}")),
        Values::Follows(text) => (text.to_owned(), "1 at a time".to_owned()),
    };
    format!("| `{}` | `{}` | {values} | {most} |\n", metric.name, label.name)
}

#[test]
fn the_table_of_metrics_is_that_of_the_code() {
    let head = "| metric | type | unit | labels | series at most | means |\n|---|---|---|---|---|---|\n";
    let mut table = head.to_owned() + &METRICS.iter().map(row_of).collect::<String>();
    for family in ProcessCollector::for_self().collect() {
        let kind = if family.get_field_type() == MetricType::COUNTER { "counter" } else { "gauge" };
        let (name, help) = (family.name(), family.help().trim_end_matches('.'));
        table.push_str(&format!("| `{name}` | {kind} | {} | | 1 | {help} |\n", unit(name)));
    }
    generated("metrics.md", "metrics", &table);

    let mut table = "| metric | label | values | at most |\n|---|---|---|---|\n".to_owned();
    let labels = METRICS.iter().flat_map(|metric| metric.labels.iter().map(move |label| (metric, label)));
    table.extend(labels.map(|(metric, label)| row_of_label(metric, label)));
    generated("metrics.md", "labels", &table);

    let sum = |each: Option<&str>| {
        METRICS.iter().map(series).filter(|(_, of)| *of == each).map(|(count, _)| count).sum::<usize>()
    };
    let process = ProcessCollector::for_self().collect().len();
    let requests = series(&METRICS[0]).0;
    let sentence = format!(
        "At most {} series for the process, {} for each check and {} for each group. Of the first, {requests} are those \
         of `requests_total`, which begin with their first request.\n",
        sum(None) + process,
        sum(Some("check")),
        sum(Some("group")),
    );
    generated("metrics.md", "sum", &sentence);
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
