//! What the chart makes of `files`: the rules and the dashboard as they are, with the release's names of metrics.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::support::{
    KUBERNETES, chart, fail, object, objects, objects_of, pod, render, render_with, succeed, tool, unfit,
};

fn rules(rendered: &str) -> Value {
    object(&objects_of(rendered), "PrometheusRule")["spec"].clone()
}

#[test]
fn rules_for_all_are_those_of_the_file() {
    let file = chart().join("files/rules.yaml");
    let theirs = objects(&[file]).remove(0).remove(0);
    let all = ["--set", "monitoring.prometheusRule.scope=all"];
    assert_eq!(rules(&render_with(&all, "monitoring", KUBERNETES)), theirs);
}

/// What a real promtool says of rules; JSON is YAML.
fn promtool(arguments: &[&str], folder: &Path) -> Command {
    let mut command = Command::new(tool("prometheus/bin/promtool"));
    command.args(arguments).current_dir(folder);
    command
}

/// Names of metrics begin as the configuration says; in the rules too, and a real promtool reads them.
#[test]
fn rules_have_the_names_that_metrics_have() {
    for scope in ["release", "all"] {
        let set = format!("metricsNamespace=shop,monitoring.prometheusRule.scope={scope}");
        let rendered = render_with(&["--set", &set], "monitoring", KUBERNETES);
        assert!(rendered.contains("namespace = \"shop\""), "the configuration");
        let text = rules(&rendered).to_string();
        assert!(text.contains("shop_build_info") && !text.contains("pulsegate_"), "{text}");
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("rules.yaml"), text).expect("a file");
        let said = succeed(&mut promtool(&["check", "rules", "rules.yaml"], folder.path()));
        assert!(said.contains("SUCCESS"), "{said}");
    }
}

/// Two services have the same trouble, and one has its rules: they speak of that one alone.
const TWO_SERVICES: &str = r#"
rule_files: [rules.yaml]
evaluation_interval: 1m
tests:
  - interval: 1m
    input_series:
      - { series: 'pulsegate_ready{namespace="apps",job="my-app",instance="a"}', values: "0x30" }
      - { series: 'pulsegate_ready{namespace="apps",job="other",instance="b"}', values: "0x30" }
      - { series: 'pulsegate_ready{namespace="elsewhere",job="my-app",instance="c"}', values: "0x30" }
      - { series: 'pulsegate_build_info{namespace="apps",job="other",instance="b"}', values: "1x30" }
      - { series: 'pulsegate_errors_total{namespace="apps",job="my-app",instance="a",type="http_5xx"}', values: "0+8x30" }
      - { series: 'pulsegate_requests_total{namespace="apps",job="my-app",instance="a",method="GET",code="500"}', values: "0+100x30" }
      - { series: 'pulsegate_errors_total{namespace="apps",job="other",instance="b",type="http_5xx"}', values: "0+90x30" }
      - { series: 'pulsegate_requests_total{namespace="apps",job="other",instance="b",method="GET",code="500"}', values: "0+100x30" }
    promql_expr_test:
      - expr: count by (namespace, job) (ALERTS{alertname="PulsegateNotReady",alertstate="firing",team="shop"})
        eval_time: 20m
        exp_samples: [{ labels: '{namespace="apps",job="my-app"}', value: 1 }]
      # 8 % fail, and it is 14.4 times 0.5 % that is not allowed to.
      - expr: count by (namespace, job) (ALERTS{alertname="PulsegateErrorBudgetBurn1h",alertstate="firing"})
        eval_time: 20m
        exp_samples: [{ labels: '{namespace="apps",job="my-app"}', value: 1 }]
      - expr: count by (namespace, job) ({__name__=~"service:pulsegate_.*"}) > 0
        eval_time: 20m
        exp_samples: [{ labels: '{namespace="apps",job="my-app"}', value: RECORDS }]
      # Its own series of build_info are not there, whatever others have.
      - expr: count by (namespace, job) (ALERTS{alertname="PulsegateAbsent",alertstate="firing"})
        eval_time: 20m
        exp_samples: [{ labels: '{namespace="apps",job="my-app"}', value: 1 }]
"#;

#[test]
fn rules_of_a_release_speak_of_it_alone() {
    let of = "monitoring.prometheusRule";
    let set = format!("{of}.objective=0.995,{of}.alertLabels.team=shop,{of}.runbook=https://wiki.example.org/page");
    let rules = rules(&render_with(&["--set", &set], "monitoring", KUBERNETES));
    let all = rules["groups"].as_array().expect("groups").iter().filter_map(|group| group["rules"].as_array());
    let all: Vec<&Value> = all.flatten().collect();
    for alert in all.iter().filter(|rule| rule["alert"].is_string()) {
        let section =
            format!("https://wiki.example.org/page#{}", alert["alert"].as_str().expect("a name").to_lowercase());
        assert_eq!(alert["annotations"]["runbook_url"], section);
        assert_eq!(alert["labels"]["team"], "shop", "{alert}");
    }
    let records = all.iter().filter(|rule| rule["record"].is_string()).count();
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("rules.yaml"), rules.to_string()).expect("a file");
    let cases = TWO_SERVICES.replace("RECORDS", &records.to_string());
    fs::write(folder.path().join("cases.yaml"), cases).expect("a file");
    succeed(&mut promtool(&["test", "rules", "cases.yaml"], folder.path()));
    // Rules for all speak of both: a test that could not tell would hold nothing.
    let rules = rules_for_all(&format!("{set},{of}.scope=all"));
    fs::write(folder.path().join("rules.yaml"), rules).expect("a file");
    let said = fail(&mut promtool(&["test", "rules", "cases.yaml"], folder.path()));
    assert!(said.contains("other") && said.contains("elsewhere"), "{said}");
}

fn rules_for_all(set: &str) -> String {
    rules(&render_with(&["--set", set], "monitoring", KUBERNETES)).to_string()
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
    unfit(objects, "prometheus-operator", "monitoring.coreos.com/v1")
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

/// The port that a PodMonitor names is there in whichever list of containers pulsegate is, and is that of the management.
#[test]
fn a_pod_monitor_names_a_port_of_every_mode() {
    for set in ["sidecar.mode=native", "sidecar.mode=classic", "cli.visibility=wrapper,app.command={a}"] {
        let set = format!("sidecar.ports.admin=9001,{set}");
        let objects = objects_of(&render_with(&["--set", &set], "pod-monitor", KUBERNETES));
        let monitor = &object(&objects, "PodMonitor")["spec"];
        let endpoints = monitor["podMetricsEndpoints"].as_array().expect("endpoints");
        assert_eq!(endpoints.len(), 1);
        let pod = pod(&objects);
        let containers = ["containers", "initContainers"].map(|list| pod[list].as_array().into_iter().flatten());
        let ports = containers.into_iter().flatten().flat_map(|one| one["ports"].as_array().into_iter().flatten());
        let named: Vec<&Value> = ports.filter(|port| port["name"] == endpoints[0]["port"]).collect();
        assert_eq!(named.len(), 1, "{set}");
        assert_eq!(named[0]["containerPort"], 9001, "{set}");
        let labels = &object(&objects, "Deployment")["spec"]["template"]["metadata"]["labels"];
        for (name, value) in monitor["selector"]["matchLabels"].as_object().expect("labels") {
            assert_eq!(&labels[name], value, "{set}");
        }
    }
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
