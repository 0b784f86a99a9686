//! The rules, the dashboard and the page about them, held against a real Prometheus and a real Alertmanager.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::{
    Alertmanager, AppCertificates, CLOSED_PORT, Client, PATIENCE, Process, Prometheus, Settings, Sidecar, TlsFront,
    Upstream, Validity, encode, eventually, eventually_some, free_port, get, home_with_login, promtool,
};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).expect("a file of the repository")
}

const RULES: &str = "helm/pulsegate/files/rules.yaml";

/// A configuration that the page shows: the `number`th block of YAML below a heading.
fn shown(heading: &str) -> String {
    let page = read("docs/monitoring.md");
    let (_, below) = page.split_once(&format!("\n{heading}\n")).expect("the heading");
    let (_, block) = below.split_once("```yaml\n").expect("a block");
    block.split("```").next().expect("its end").to_owned()
}

#[test]
fn promtool_agrees_with_every_rule_and_case() {
    let (fine, said) = promtool(&["check", "rules", RULES], root());
    assert!(fine, "{said}");
    let cases = std::fs::read_dir(root().join("tests/monitoring")).expect("the cases");
    let mut cases: Vec<String> = cases.map(|entry| entry.expect("a file").path().display().to_string()).collect();
    cases.sort();
    let mut arguments = vec!["test", "rules"];
    arguments.extend(cases.iter().map(String::as_str));
    let (fine, said) = promtool(&arguments, root());
    assert!(fine, "{said}");
}

#[test]
fn prometheus_would_take_the_configurations_that_the_page_shows() {
    let folder = tempfile::tempdir().expect("a folder");
    for heading in ["### In Kubernetes", "### Elsewhere"] {
        // Debian builds Prometheus without the discovery of Kubernetes' pods; all else is looked at.
        let config = shown(heading).replace("kubernetes_sd_configs:\n      - role: pod\n", "static_configs: []\n");
        let config = config.replace("/etc/prometheus/rules/pulsegate.yaml", &root().join(RULES).display().to_string());
        std::fs::write(folder.path().join("prometheus.yml"), config).expect("a configuration");
        let (fine, said) = promtool(&["check", "config", "prometheus.yml"], folder.path());
        assert!(fine, "{heading}: {said}");
    }
}

/// How much quicker the clocks of the rules go in [`quick_rules`].
const QUICKER: u64 = 20;

/// The rules with all their times a twentieth, in a file.
fn quick_rules(folder: &Path) -> PathBuf {
    let times = regex_lite::Regex::new(r"(for: |\[)(\d+)([mhd])\b").expect("a pattern");
    let rules = read(RULES);
    let quick = times.replace_all(&rules, |found: &regex_lite::Captures<'_>| {
        let unit = match &found[3] {
            "m" => 60,
            "h" => 3600,
            _ => 86_400,
        };
        format!("{}{}s", &found[1], found[2].parse::<u64>().expect("a number") * unit / QUICKER)
    });
    assert!(quick.contains("for: 3s") && quick.contains("[6s]"), "{quick}");
    let file = folder.join("rules.yaml");
    std::fs::write(&file, &*quick).expect("the rules");
    file
}

/// An app that is a process, and so can be killed.
fn app(port: u16, folder: &Path) -> Process {
    let mut command = Command::new("python3");
    command.args(["-m", "http.server", "--bind", "127.0.0.1", &port.to_string()]).current_dir(folder);
    Process::start(command.stdout(Stdio::null()))
}

/// The page's own configuration of Alertmanager, with a receiver for the night and less patience.
fn telling(night: &Upstream) -> String {
    let receiver = format!(
        "  - name: night\n    webhook_configs: [{{ url: 'http://127.0.0.1:{}/', send_resolved: true }}]\n",
        night.port()
    );
    let config = shown("## Alertmanager").replace("  - name: night\n", &receiver);
    config.replace("route:\n", "route:\n  group_wait: 1s\n  group_interval: 1s\n")
}

/// The alert about the app, if it was told of with this status.
fn told(night: &Upstream, status: &str) -> Option<Value> {
    let told = night.seen().into_iter().filter_map(|seen| serde_json::from_slice::<Value>(&seen.body).ok());
    let mut alerts = told.flat_map(|told| told["alerts"].as_array().cloned().unwrap_or_default());
    alerts.find(|alert| alert["labels"]["alertname"] == "PulsegateUpstreamDown" && alert["status"] == status)
}

/// The names of the alerts that Alertmanager holds and tells of.
fn names(alertmanager: &Alertmanager) -> Vec<String> {
    let alerts = alertmanager.alerts();
    alerts.iter().map(|alert| alert["labels"]["alertname"].as_str().expect("a name").to_owned()).collect()
}

#[test]
fn an_alert_fires_when_the_app_is_killed_and_resolves_when_it_is_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let port = free_port();
    let mut process = app(port, folder.path());
    let settings = Sidecar::bare_for(port)
        .raw("proxy.retry.attempts", "1")
        .text("checks.app.http.path", "/")
        .text("checks.app.interval", "200ms");
    let sidecar = Sidecar::start(&settings).ready();
    let night = Upstream::start(|exchange| {
        exchange.read_body();
        exchange.answer(200, &[], b"")
    });
    let alertmanager = Alertmanager::start(&telling(&night));
    let rules = quick_rules(folder.path());
    let more = format!(
        "rule_files: ['{}']\nalerting: {{ alertmanagers: [{{ static_configs: [{{ targets: ['127.0.0.1:{}'] }}] }}] }}\n",
        rules.display(),
        alertmanager.port
    );
    let prometheus = Prometheus::start(&[sidecar.admin], &more);
    // Traffic is what tells that the app is not there.
    let ask = || get(sidecar.traffic, "/").status;
    eventually(PATIENCE, "traffic is seen", || {
        assert_eq!(ask(), 200);
        prometheus.value("sum(rate(pulsegate_requests_total[5s])) > 0").is_some()
    });
    assert_eq!(alertmanager.alerts(), Vec::<Value>::new(), "all is well");

    process.kill();
    let firing = eventually_some(2 * PATIENCE, "the alert is told of", || {
        assert_eq!(ask(), 502);
        told(&night, "firing")
    });
    let labels = &firing["labels"];
    let instance = sidecar.admin.to_string();
    for (name, value) in
        [("severity", "critical"), ("job", "app"), ("namespace", "test"), ("pod", "app-0"), ("instance", &*instance)]
    {
        assert_eq!(labels[name], value, "{firing}");
    }
    assert_eq!(firing["annotations"]["summary"], "The app behind app-0 cannot be reached", "a pod's name says more");
    assert!(prometheus.value("pulsegate_ready == 0").is_some(), "Kubernetes is told too");
    let active = || names(&alertmanager);
    assert!(active().contains(&"PulsegateUpstreamDown".to_owned()), "{:?}", active());
    assert!(!active().iter().any(|name| name.starts_with("PulsegateErrorBudget")), "a consequence: {:?}", active());

    let _back = app(port, folder.path());
    eventually(PATIENCE, "the app is back", || ask() == 200);
    eventually_some(2 * PATIENCE, "that it is over is told", || {
        assert_eq!(ask(), 200);
        told(&night, "resolved")
    });
    eventually(2 * PATIENCE, "Alertmanager holds it no more", || {
        !active().contains(&"PulsegateUpstreamDown".to_owned())
    });
}

/// A sidecar that uses everything that has metrics: a login, a certificate, models, the app's own metrics, an app as a
/// child, a check that fails.
fn with_everything(app: &Upstream, front: &TlsFront, certificates: &AppCertificates) -> Settings {
    Sidecar::bare(app)
        .raw("app.command", "[\"sleep\", \"1000\"]")
        .text("metrics.merge", "/metrics")
        .text("checks.authentication.credentials.preset", "claude")
        .text("checks.authentication.interval", "200ms")
        .text("checks.app.http.path", Upstream::PROBE)
        .text("checks.app.interval", "200ms")
        .raw("checks.app.failure_threshold", "1")
        .text("checks.front.tls.address", &format!("127.0.0.1:{}", front.port()))
        .text("checks.front.tls.ca", &certificates.file().display().to_string())
        .text("checks.nobody.tcp.address", &format!("127.0.0.1:{CLOSED_PORT}"))
        .text("checks.nobody.on_failure", "ignore")
        .text("checks.nobody.interval", "200ms")
}

const ANSWER: &str = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"model\":\"claude-test-1\",\
    \"usage\":{\"input_tokens\":25,\"output_tokens\":1}}}\n\n\
    event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\
    \"text\":\"hi\"}}\n\n\
    event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{},\"usage\":{\"output_tokens\":15}}\n\n\
    event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n";

/// A home with an invented login that ends, as nothing renews it.
fn home_with_an_end() -> TempDir {
    let home = home_with_login();
    let file = home.path().join(".claude/.credentials.json");
    let login = std::fs::read_to_string(&file).expect("a login").replace("\"refreshToken\":\"invented-refresh\",", "");
    assert!(!login.contains("refresh"), "{login}");
    std::fs::write(&file, login).expect("a login");
    home
}

/// An app that is a model, has metrics, and fails as its path says.
fn busy_app() -> Upstream {
    Upstream::start(|exchange| {
        exchange.read_body();
        let target = exchange.seen.target.clone();
        match target.trim_start_matches('/') {
            "metrics" => exchange.answer(200, &[("content-type", "text/plain")], b"app_jobs_total 7\n"),
            "v1/messages" => exchange.answer(200, &[("content-type", "text/event-stream")], ANSWER.as_bytes()),
            code => exchange.answer(code.parse().unwrap_or(200), &[], b"x"),
        }
    })
}

/// A query of the dashboard as Grafana would ask it with nothing chosen.
fn interpolated(query: &str) -> String {
    let mut query = query.replace("${prefix}", "pulsegate").replace("$__rate_interval", "5s").replace("$__range", "1m");
    for name in ["namespace", "job", "pod", "instance"] {
        query = query.replace(&format!("${name}"), ".*");
    }
    assert!(!query.contains('$'), "{query}");
    query
}

/// Titles and queries of the dashboard's panels.
fn queries(dashboard: &Value) -> Vec<(String, String)> {
    let panels = dashboard["panels"].as_array().expect("panels").iter();
    let queries = panels.flat_map(|panel| {
        let title = panel["title"].as_str().expect("a title");
        let targets = panel["targets"].as_array().into_iter().flatten();
        targets.map(move |target| (title.to_owned(), interpolated(target["expr"].as_str().expect("a query"))))
    });
    queries.collect()
}

#[test]
fn every_query_of_the_dashboard_and_every_rule_finds_something() {
    let (app, certificates) = (busy_app(), AppCertificates::new());
    let front = TlsFront::start(app.port(), &certificates.issue("127.0.0.1", Validity::Days(10)), None, &[]);
    let settings = with_everything(&app, &front, &certificates);
    let sidecar = Sidecar::start_in(home_with_an_end(), &settings, |_| {}).ready();
    let folder = tempfile::tempdir().expect("a folder");
    let rules = quick_rules(folder.path());
    let prometheus = Prometheus::start(&[sidecar.admin], &format!("rule_files: ['{}']\n", rules.display()));

    let mut client = Client::connect(sidecar.traffic);
    let mut round = 0_u16;
    let mut traffic = || {
        for path in ["/200", "/404", "/429", "/500", "/529"] {
            client.ask("GET", path, &[], b"").expect("an answer");
        }
        assert_eq!(client.ask("POST", "/v1/messages", &[], b"{}").expect("an answer").text(), ANSWER);
        round += 1;
        // The check changes its status now and then.
        app.set_probe(if round % 100 < 50 { 200 } else { 500 });
    };
    let dashboard: Value = serde_json::from_str(&read("helm/pulsegate/files/dashboard.json")).expect("JSON");
    for (title, query) in queries(&dashboard) {
        eventually(2 * PATIENCE, &format!("{title} has data: {query}"), || {
            traffic();
            let found = prometheus.query(&query);
            found.iter().any(|result| result["value"][1].as_str().is_some_and(|value| value != "NaN"))
        });
    }
    variables(&prometheus, &dashboard);
    every_rule_works(&prometheus, traffic);
    names_are_those_of_the_table(&sidecar);
}

/// What the dashboard's variables offer.
fn variables(prometheus: &Prometheus, dashboard: &Value) {
    for variable in dashboard["templating"]["list"].as_array().expect("variables").iter().skip(1) {
        let name = variable["name"].as_str().expect("a name");
        let query = interpolated(variable["query"]["query"].as_str().expect("a query"));
        let (function, rest) = query.split_once('(').expect("a function");
        let arguments = rest.strip_suffix(')').expect("its end");
        let values = match function {
            "metrics" => prometheus.get("/api/v1/label/__name__/values"),
            "label_values" => {
                let (series, label) = arguments.rsplit_once(", ").expect("a label");
                prometheus.get(&format!("/api/v1/label/{label}/values?match[]={}", encode(series)))
            }
            other => panic!("{name} asks by {other}"),
        };
        let mut values: Vec<String> = serde_json::from_value(values).expect("texts");
        if function == "metrics" {
            let pattern = variable["regex"].as_str().expect("a pattern").trim_matches('/');
            let pattern = regex_lite::Regex::new(&format!("^{pattern}$")).expect("a pattern");
            values = values.iter().filter_map(|value| Some(pattern.captures(value)?[1].to_owned())).collect();
            assert_eq!(values, ["pulsegate"], "{name}: Prometheus' own metrics do not look like ours");
        }
        assert_eq!(values.len(), 1, "{name}: {values:?}");
    }
}

fn every_rule_works(prometheus: &Prometheus, mut traffic: impl FnMut()) {
    let rules = prometheus.get("/api/v1/rules");
    let rules =
        rules["groups"].as_array().expect("groups").iter().flat_map(|group| group["rules"].as_array().expect("rules"));
    let rules: Vec<Value> = rules.cloned().collect();
    assert!(rules.len() > 50);
    for rule in &rules {
        assert_eq!(rule["health"], "ok", "{rule}");
        if rule["type"] == "recording" {
            let name = rule["name"].as_str().expect("a name");
            eventually(2 * PATIENCE, &format!("{name} is recorded"), || {
                traffic();
                prometheus.value(name).is_some()
            });
        }
    }
}

/// The page of metrics against what a sidecar says that uses everything.
fn names_are_those_of_the_table(sidecar: &Sidecar) {
    let page = read("docs/metrics.md");
    let (_, table) = page.split_once("<!-- metrics -->").expect("the table");
    let (table, _) = table.split_once("<!-- /metrics -->").expect("its end");
    let row = |line: &str| {
        Some((line.strip_prefix("| `")?.split_once('`')?.0.to_owned(), line.split(" | ").nth(1)?.to_owned()))
    };
    let mut listed: Vec<(String, String)> = table.lines().filter_map(row).collect();
    // Tells of checks of kind cli, of which this sidecar has none.
    listed.retain(|(name, _)| name != "CHECK_status");
    listed.sort();
    let answer = sidecar.admin("/metrics");
    let families = answer.text().lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    let families =
        families.map(|(name, kind)| (name.strip_prefix("pulsegate_").unwrap_or(name).to_owned(), kind.to_owned()));
    let mut families: Vec<(String, String)> = families.filter(|(name, _)| name != "app_jobs_total").collect();
    families.sort();
    assert_eq!(families, listed);
}
