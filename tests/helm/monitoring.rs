//! What the chart makes of `files`: the rules and the dashboard as they are, with the release's names of metrics.

use std::fs;
use std::process::Command;

use serde_json::Value;

use crate::support::{KUBERNETES, chart, object, objects, objects_of, path, render, render_with, root, succeed, tool};

fn rules(rendered: &str) -> Value {
    object(&objects_of(rendered), "PrometheusRule")["spec"].clone()
}

#[test]
fn rules_are_those_of_the_file() {
    let file = chart().join("files/rules.yaml");
    let theirs = objects(&[file]).remove(0).remove(0);
    assert_eq!(rules(&render("monitoring", KUBERNETES)), theirs);
}

/// Names of metrics begin as the configuration says; in the rules too, and a real promtool reads them.
#[test]
fn rules_have_the_names_that_metrics_have() {
    let rendered = render_with(&["--set", "metricsNamespace=shop"], "monitoring", KUBERNETES);
    assert!(rendered.contains("namespace = \"shop\""), "the configuration");
    let rules = rules(&rendered);
    let text = rules.to_string();
    assert!(text.contains("shop_build_info") && !text.contains("pulsegate_"), "{text}");
    let folder = tempfile::tempdir().expect("a folder");
    // JSON is YAML.
    let file = folder.path().join("rules.yaml");
    fs::write(&file, text).expect("a file");
    let said = succeed(Command::new(tool("prometheus/bin/promtool")).args(["check", "rules", path(&file)]));
    assert!(said.contains("SUCCESS"), "{said}");
}

#[test]
fn the_dashboard_is_the_file() {
    let objects = objects_of(&render("monitoring", KUBERNETES));
    let mut maps = objects.iter().filter(|object| object["kind"] == "ConfigMap");
    let map = maps.find(|map| map["metadata"]["name"] == "my-app-dashboard").expect("a ConfigMap for Grafana");
    assert_eq!(map["metadata"]["labels"]["grafana_dashboard"], "1");
    let json = |text: &str| serde_json::from_str::<Value>(text).expect("JSON");
    let file = fs::read_to_string(chart().join("files/dashboard.json")).expect("the dashboard");
    assert_eq!(json(map["data"]["pulsegate.json"].as_str().expect("a text")), json(&file));
}

/// What the schemas of the Prometheus Operator say of its objects.
fn problems(objects: &[Value]) -> Vec<String> {
    let theirs: Vec<&Value> = objects
        .iter()
        .filter(|object| object["apiVersion"].as_str().is_some_and(|version| version.starts_with("monitoring.")))
        .collect();
    assert!(!theirs.is_empty(), "no object of the operator");
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("objects.json");
    fs::write(&file, serde_json::to_string(&theirs).expect("JSON")).expect("a file");
    let mut node = Command::new("node");
    node.arg(root().join("tests/helm/operator.mjs")).arg(tool("prometheus-operator"));
    let said = succeed(node.stdin(fs::File::open(&file).expect("the file")));
    serde_json::from_str(&said).expect("a list")
}

#[test]
fn the_operator_accepts_its_objects() {
    for situation in ["monitoring", "pod-monitor", "tls"] {
        let objects = objects_of(&render(situation, KUBERNETES));
        assert_eq!(problems(&objects), Vec::<String>::new(), "{situation}");
    }
    let wrong = render("monitoring", KUBERNETES).replace("interval: 30s", "interval: soon");
    let said = problems(&objects_of(&wrong));
    assert!(said.len() == 1 && said[0].contains("spec/endpoints/0/interval must match"), "{said:?}");
}

/// One scrape of each pod, and none of the Service for traffic.
#[test]
fn prometheus_finds_the_management_port_alone() {
    let objects = objects_of(&render("monitoring", KUBERNETES));
    let monitor = &object(&objects, "ServiceMonitor")["spec"];
    let selected = monitor["selector"]["matchLabels"].as_object().expect("labels");
    let services: Vec<&Value> = objects
        .iter()
        .filter(|object| object["kind"] == "Service")
        .filter(|service| selected.iter().all(|(name, value)| &service["metadata"]["labels"][name] == value))
        .collect();
    assert_eq!(services.len(), 1, "{services:#?}");
    let ports = services[0]["spec"]["ports"].as_array().expect("ports");
    assert_eq!(ports.len(), 1);
    assert_eq!((&ports[0]["name"], &ports[0]["targetPort"]), (&monitor["endpoints"][0]["port"], &9000.into()));
    let pod = object(&objects, "Deployment")["spec"]["template"]["metadata"]["labels"].as_object().expect("labels");
    for (name, value) in services[0]["spec"]["selector"].as_object().expect("labels") {
        assert_eq!(pod.get(name), Some(value), "the Service selects the pods");
    }
}
