//! The rules, the dashboard, the page about both and the table of metrics speak of the same things.
//!
//! `tests/suite/monitoring.rs` has promtool, Prometheus and Alertmanager look at the same files.

#![expect(clippy::expect_used, reason = "a test that cannot read what it is about has failed")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use prometheus::core::Collector as _;
use prometheus::process_collector::ProcessCollector;
use pulsegate::admin::{Declared, METRICS, Shape, Values};
use pulsegate::check::KINDS;
use regex_lite::Regex;
use serde_json::Value;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: impl AsRef<Path>) -> String {
    fs::read_to_string(root().join(path)).expect("a file of the repository")
}

fn regex(pattern: &str) -> Regex {
    Regex::new(pattern).expect("a pattern")
}

fn rules() -> String {
    read("helm/pulsegate/files/rules.yaml")
}

/// Every alert with the lines of its rule.
fn alerts() -> Vec<(String, String)> {
    let text = rules();
    let mut parts = text.split("\n      - alert: ");
    let _before = parts.next();
    let alerts = parts.map(|part| {
        let (name, rest) = part.split_once('\n').expect("a rule");
        let end = rest.find("\n      - ").or_else(|| rest.find("\n  - ")).unwrap_or(rest.len());
        (name.to_owned(), rest[..end].to_owned())
    });
    alerts.collect()
}

/// What follows a key in the lines of a rule.
fn said<'a>(rule: &'a str, key: &str) -> Option<&'a str> {
    rule.lines().find_map(|line| line.trim().strip_prefix(key)?.strip_prefix(": "))
}

/// Every query of the dashboard's panels.
fn queries() -> Vec<String> {
    fn walk(panels: &Value, found: &mut Vec<String>) {
        for panel in panels.as_array().into_iter().flatten() {
            let targets = panel["targets"].as_array().into_iter().flatten();
            found.extend(targets.map(|target| target["expr"].as_str().expect("a query").to_owned()));
            walk(&panel["panels"], found);
        }
    }
    let mut found = Vec::new();
    walk(&dashboard()["panels"], &mut found);
    found
}

fn dashboard() -> Value {
    serde_json::from_str(&read("helm/pulsegate/files/dashboard.json")).expect("JSON")
}

/// The metric of a series' name, which for a histogram may end in another way.
fn metric(name: &str) -> Option<&'static Declared> {
    METRICS.iter().find(|metric| {
        let suffixes: &[&str] = if metric.shape == Shape::Histogram { &["_bucket", "_sum", "_count"] } else { &[""] };
        name.strip_prefix(metric.name).is_some_and(|rest| suffixes.contains(&rest))
    })
}

/// What is wrong with the metrics that a text of PromQL names, and with the labels that it selects by.
fn strange(text: &str, prefix: &str) -> Vec<String> {
    let process: Vec<String> =
        ProcessCollector::for_self().collect().iter().map(|family| family.name().to_owned()).collect();
    let mut found = Vec::new();
    let names = regex(&format!(r"(^|[^a-z_:]){}([a-z0-9_]+)(\{{[^}}]*\}})?", regex_lite::escape(prefix)));
    for named in names.captures_iter(text) {
        let name = &named[2];
        let Some(metric) = metric(name) else {
            found.push(format!("there is no {name}"));
            continue;
        };
        let selector = named.get(3).map_or("", |selector| selector.as_str());
        found.extend(strange_labels(metric, selector));
    }
    let of_process = regex(r"\bprocess_[a-z_]+");
    found.extend(
        of_process
            .find_iter(text)
            .filter(|name| !process.iter().any(|known| known == name.as_str()))
            .map(|name| format!("there is no {}", name.as_str())),
    );
    found
}

/// What Prometheus adds itself.
const OF_THE_TARGET: [&str; 4] = ["namespace", "job", "pod", "instance"];

fn strange_labels(metric: &Declared, selector: &str) -> Vec<String> {
    let mut found = Vec::new();
    for matcher in regex(r#"([a-z_]+)(=~|!~|!=|=)["']([^"']*)["']"#).captures_iter(selector) {
        let (name, words) = (&matcher[1], &matcher[3]);
        if OF_THE_TARGET.contains(&name) {
            continue;
        }
        let Some(label) = metric.labels.iter().find(|label| label.name == name) else {
            found.push(format!("{} has no label {name}", metric.name));
            continue;
        };
        let known: Vec<&str> = match label.values {
            Values::Of(words) | Values::One(words) => words(),
            Values::Follows(_) if name == "kind" => KINDS.iter().map(|kind| kind.name).collect(),
            _ => continue,
        };
        for word in words.split('|') {
            let is_known = word
                .strip_suffix(".*")
                .map_or(known.contains(&word), |begin| known.iter().any(|k| k.starts_with(begin)));
            if !is_known {
                found.push(format!("{}{{{name}}} never is {word}", metric.name));
            }
        }
    }
    found
}

#[test]
fn every_metric_and_label_of_the_rules_and_of_the_dashboard_exists() {
    assert_eq!(strange(&rules(), "pulsegate_"), Vec::<String>::new());
    for query in queries() {
        assert_eq!(strange(&query, "${prefix}_"), Vec::<String>::new(), "{query}");
    }
    // What sees nothing would hold nothing.
    for (query, problem) in [
        ("rate(pulsegate_request_total[5m])", "there is no request_total"),
        ("pulsegate_errors_total{type=\"http_6xx\"}", "errors_total{type} never is http_6xx"),
        ("pulsegate_errors_total{typ=~\"http_.*\"}", "errors_total has no label typ"),
        ("pulsegate_request_duration_seconds", "there is no request_duration_seconds"),
        ("process_open_files", "there is no process_open_files"),
    ] {
        assert_eq!(strange(query, "pulsegate_"), [problem], "{query}");
    }
    assert!(strange("pulsegate_errors_total{type=~\"upstream_.*|http_5xx\",job=\"x\"}", "pulsegate_").is_empty());
    assert!(alerts().len() > 30 && queries().len() > 50);
}

#[test]
fn every_alert_says_how_bad_it_is_and_what_to_do() {
    let mut problems = Vec::new();
    let mut names = BTreeSet::new();
    for (name, rule) in alerts() {
        let mut need = |is: bool, what: &str| {
            if !is {
                problems.push(format!("{name}: {what}"));
            }
        };
        need(names.insert(name.clone()), "is there twice");
        need(name.starts_with("Pulsegate"), "must begin with Pulsegate");
        need(matches!(said(&rule, "severity"), Some("critical" | "warning")), "severity is critical or warning");
        need(said(&rule, "summary").is_some_and(|text| text.len() < 110), "needs a short summary");
        need(
            said(&rule, "description").is_some_and(|text| text.len() > 60),
            "needs a description that says what to do",
        );
        let page = format!("docs/monitoring.md#{}", name.to_lowercase());
        need(said(&rule, "runbook_url") == Some(&page), "needs its section of docs/monitoring.md as runbook_url");
    }
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
}

/// The alerts that a case of `tests/monitoring` expects, and those that it expects not to be there.
fn cases() -> (BTreeSet<String>, BTreeSet<String>) {
    let (mut fires, mut rests) = (BTreeSet::new(), BTreeSet::new());
    for entry in fs::read_dir(root().join("tests/monitoring")).expect("the cases") {
        let text = fs::read_to_string(entry.expect("a file").path()).expect("text");
        let mut name = "";
        for line in text.lines() {
            match line.trim() {
                "exp_alerts: []" => drop(rests.insert(name.to_owned())),
                "exp_alerts:" => drop(fires.insert(name.to_owned())),
                line => name = line.strip_prefix("alertname: ").unwrap_or(name),
            }
        }
    }
    (fires, rests)
}

#[test]
fn every_alert_has_a_case_in_which_it_fires_and_one_in_which_it_does_not() {
    let (fires, rests) = cases();
    let alerts: BTreeSet<String> = alerts().into_iter().map(|(name, _)| name).collect();
    assert_eq!(fires, alerts, "in which each fires");
    assert_eq!(rests, alerts, "in which each does not");
}

#[test]
fn every_alert_is_described() {
    let page = read("docs/monitoring.md");
    let mut sections: BTreeMap<&str, &str> = BTreeMap::new();
    for part in page.split("\n### ").skip(1) {
        let (name, text) = part.split_once('\n').expect("a section");
        sections.insert(name, text.split("\n#").next().unwrap_or(text));
    }
    let described: Vec<&str> = sections.keys().copied().filter(|name| name.starts_with("Pulsegate")).collect();
    let mut alerts = alerts();
    alerts.sort();
    assert_eq!(described, alerts.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>());
    for (name, rule) in &alerts {
        let text = sections[name.as_str()];
        let severity = said(rule, "severity").expect("a severity");
        let after = said(rule, "for").map_or("at once".to_owned(), |time| format!("after {time}"));
        assert!(text.contains(&format!("{severity}, {after}.")), "{name}: must say `{severity}, {after}.`");
        for word in ["**Means**", "**Look**", "**Do**"] {
            assert!(text.contains(word), "{name}: {word} is missing");
        }
    }
}

#[test]
fn the_dashboard_can_be_imported() {
    let dashboard = dashboard();
    assert_eq!((&dashboard["uid"], &dashboard["title"]), (&"pulsegate".into(), &"pulsegate".into()));
    let variables: Vec<&str> = dashboard["templating"]["list"]
        .as_array()
        .expect("variables")
        .iter()
        .map(|variable| variable["name"].as_str().expect("a name"))
        .collect();
    assert_eq!(variables, ["datasource", "prefix", "namespace", "job", "pod", "instance"]);
    let (mut ids, mut places) = (BTreeSet::new(), Vec::<[u64; 4]>::new());
    for panel in dashboard["panels"].as_array().expect("panels") {
        let title = panel["title"].as_str().expect("a title");
        assert!(ids.insert(panel["id"].as_u64().expect("an id")), "{title}: its id is there twice");
        let place = ["x", "y", "w", "h"].map(|key| panel["gridPos"][key].as_u64().expect("a place"));
        let [x, y, w, h] = place;
        assert!(x + w <= 24, "{title} is too wide");
        for [a, b, c, d] in &places {
            assert!(x >= a + c || *a >= x + w || y >= b + d || *b >= y + h, "{title} lies on another one");
        }
        places.push(place);
        if panel["type"] == "row" {
            continue;
        }
        assert!(panel["description"].as_str().is_some_and(|text| text.ends_with('.')), "{title}: says nothing");
        for target in panel["targets"].as_array().expect("queries") {
            assert_eq!(target["datasource"]["uid"], "${datasource}", "{title}");
        }
    }
    let used = regex(r"\$\{?([a-z]\w*)");
    let known = |name: &str| variables.contains(&name) || name.starts_with("__");
    let text = dashboard.to_string();
    for name in used.captures_iter(&text) {
        assert!(known(&name[1]), "the dashboard has no variable {}", &name[1]);
    }
}
