//! The configuration that the chart makes: pulsegate itself must find nothing wrong with it.

use std::fs;
use std::path::Path;
use std::process::Command;

use rcgen::{CertificateParams, KeyPair};
use serde_json::Value;

use crate::support::{
    KUBERNETES, chart, container, fail, object, objects_of, pod, render, root, situations, succeed, template,
};

/// Where a pod has what secrets hold.
const MOUNTED: &str = "/run/";

/// What secrets of the situations hold, as files below a folder that stands for `/run`.
fn secrets(run: &Path) {
    let key = KeyPair::generate().expect("a key");
    let certificate = CertificateParams::new(vec!["my-app".to_owned()]).and_then(|params| params.self_signed(&key));
    let certificate = certificate.expect("a certificate").pem();
    for folder in ["proxy-tls", "admin-tls"] {
        let folder = run.join("pulsegate").join(folder);
        fs::create_dir_all(&folder).expect("a folder");
        for (name, text) in [("tls.crt", &certificate), ("tls.key", &key.serialize_pem()), ("ca.crt", &certificate)] {
            fs::write(folder.join(name), text).expect("a file");
        }
    }
    fs::create_dir_all(run.join("pulsegate/keys")).expect("a folder");
    for name in ["api-key", "current", "next", "api_key", "api_key_next"] {
        fs::write(run.join("pulsegate/keys").join(name), "an-invented-key-of-32-characters").expect("a file");
    }
    fs::create_dir_all(run.join("media")).expect("a folder");
    for (name, text) in [
        ("database_url", "postgres://media@db.media.svc/media"),
        ("redis_url", "redis://cache.media.svc"),
        ("jwt", "an-invented-secret-of-32-characters"),
    ] {
        fs::write(run.join("media").join(name), text).expect("a file");
    }
}

/// The configuration of a situation as a file, with what it names below a folder.
fn configuration(objects: &[Value], folder: &Path) -> std::path::PathBuf {
    let text = object_with_config(objects)["data"]["pulsegate.toml"].as_str().expect("a text");
    let run = folder.join("run");
    secrets(&run);
    let file = folder.join("pulsegate.toml");
    fs::write(&file, text.replace(MOUNTED, &format!("{}/", run.display()))).expect("a file");
    file
}

fn object_with_config(objects: &[Value]) -> &Value {
    let mut maps = objects.iter().filter(|object| object["data"]["pulsegate.toml"].is_string());
    maps.next().expect("a ConfigMap with the configuration")
}

fn pulsegate(home: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pulsegate"));
    command.env_clear().env("HOME", home).env("DATABASE_URL", "postgres://api@db.platform.svc/api").args(arguments);
    command
}

#[test]
fn pulsegate_accepts_every_configuration() {
    for situation in situations() {
        let folder = tempfile::tempdir().expect("a folder");
        let objects = objects_of(&render(&situation, KUBERNETES));
        let file = configuration(&objects, folder.path());
        let said = succeed(&mut pulsegate(folder.path(), &["validate", "--config", file.to_str().expect("UTF-8")]));
        assert!(said.starts_with("the configuration is valid: "), "{situation}: {said}");
    }
}

#[test]
fn what_is_configured_is_what_the_pod_has() {
    for situation in situations() {
        let objects = objects_of(&render(&situation, KUBERNETES));
        let config: toml::Table =
            object_with_config(&objects)["data"]["pulsegate.toml"].as_str().expect("a text").parse().expect("TOML");
        let pod = pod(&objects);
        let (_, gate) = container(pod, "pulsegate").or_else(|| container(pod, "app")).expect("a container");
        let port = |name: &str| gate["ports"].as_array().expect("ports").iter().find(|port| port["name"] == name);
        for (name, table) in [("traffic", "proxy"), ("admin", "admin")] {
            let port = &port(name).expect("a port")["containerPort"];
            assert_eq!(config[table]["listen"].as_str(), Some(&*format!("[::]:{port}")), "{situation}");
        }
        for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
            assert_eq!(gate[probe]["httpGet"]["port"], port("admin").expect("a port")["containerPort"], "{situation}");
            let scheme = if config["admin"].get("tls").is_some() { "HTTPS" } else { "HTTP" };
            assert_eq!(gate[probe]["httpGet"]["scheme"], scheme, "{situation}");
            assert!(gate[probe]["timeoutSeconds"].as_u64() > Some(1), "{situation}: a second is too short");
        }
        assert!(gate["livenessProbe"]["httpGet"]["path"].as_str().expect("a path").starts_with("/livez"));
        let name = &object(&objects, "Deployment")["metadata"]["name"];
        let mut services = objects.iter().filter(|object| object["kind"] == "Service");
        let service = services.find(|service| &service["metadata"]["name"] == name).expect("a Service of its name");
        let service = &service["spec"]["ports"][0];
        assert_eq!(service["targetPort"], port("traffic").expect("a port")["containerPort"], "{situation}");
    }
}

/// Every file that the configuration names is in a mounted volume.
#[test]
fn what_is_named_is_mounted() {
    for situation in situations() {
        let objects = objects_of(&render(&situation, KUBERNETES));
        let config = object_with_config(&objects)["data"]["pulsegate.toml"].as_str().expect("a text").to_owned();
        let pod = pod(&objects);
        let (_, gate) = container(pod, "pulsegate").or_else(|| container(pod, "app")).expect("a container");
        let mounts = gate["volumeMounts"].as_array().expect("mounts");
        let mounted =
            |file: &str| mounts.iter().any(|mount| file.starts_with(mount["mountPath"].as_str().expect("a path")));
        let named = config.split('"').filter(|text| text.starts_with("/run/") || text.starts_with("/srv/"));
        for file in named.chain(["/etc/pulsegate/pulsegate.toml"]) {
            assert!(mounted(file), "{situation}: {file}");
        }
        let volumes = pod["volumes"].as_array().expect("volumes");
        for mount in mounts {
            assert!(volumes.iter().any(|volume| volume["name"] == mount["name"]), "{situation}: {mount}");
        }
    }
}

/// An example and the situation that brings it into a pod must not drift apart: same checks, same endpoints, but for
/// where files and services are.
#[test]
fn situations_of_the_examples_are_the_examples() {
    for example in ["voice-agent", "media-pipeline", "claude-proxy", "blockchain-node", "platform-api"] {
        let ours = object_with_config(&objects_of(&render(example, KUBERNETES)))["data"]["pulsegate.toml"].to_string();
        let ours: String = serde_json::from_str(&ours).expect("a text");
        let theirs = fs::read_to_string(root().join("examples").join(example).join("pulsegate.toml")).expect("it");
        let (ours, theirs): (toml::Table, toml::Table) = (ours.parse().expect("TOML"), theirs.parse().expect("TOML"));
        for table in ["checks", "endpoints"] {
            let empty = toml::Value::Table(toml::Table::new());
            let (ours, theirs) = (ours.get(table).unwrap_or(&empty), theirs.get(table).unwrap_or(&empty));
            let mut different = Vec::new();
            differences(table, ours, theirs, &mut different);
            assert!(different.is_empty(), "{example}: {different:#?}");
        }
    }
}

/// What the second one has and the first one lacks or has otherwise.
fn differences(place: &str, ours: &toml::Value, theirs: &toml::Value, found: &mut Vec<String>) {
    // Where things are is the pod's affair; and its database is PostgreSQL, as the example's comment has it.
    let last = place.rsplit('.').next().unwrap_or_default();
    if matches!(last, "url" | "path" | "directory" | "manifest" | "sqlite") {
        return;
    }
    match (ours, theirs) {
        (toml::Value::Table(ours), toml::Value::Table(theirs)) => {
            for (key, theirs) in theirs {
                match ours.get(key) {
                    Some(ours) => differences(&format!("{place}.{key}"), ours, theirs, found),
                    None if key == "sqlite" => {}
                    None => found.push(format!("{place}.{key} is not there")),
                }
            }
        }
        (toml::Value::Array(ours), toml::Value::Array(theirs)) if ours.len() == theirs.len() => {
            ours.iter().zip(theirs).for_each(|(ours, theirs)| differences(place, ours, theirs, found));
        }
        (toml::Value::String(ours), toml::Value::String(theirs)) => {
            let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
            if words(ours) != words(theirs) {
                found.push(format!("{place}: {ours:?}, not {theirs:?}"));
            }
        }
        _ if ours == theirs => {}
        _ => found.push(format!("{place}: {ours:?}, not {theirs:?}")),
    }
}

/// `config` is any TOML: names that need quotes, texts with everything in them, numbers of both kinds, tables in lists.
#[test]
fn any_settings_pass_through_as_they_are() {
    let folder = tempfile::tempdir().expect("a folder");
    let values = r#"
app: { image: "a:1", health: { enabled: false } }
config:
  service:
    configuration: { "quote\"d.key": "a\\b \"c\" <d> & 'e'\n\ttab é 🦀 \u0001" }
  proxy:
    timeouts: { idle: 2m }
    limits: { queue: 5, in_flight: 3000000000, connections: 20000000 }
    trusted_proxies: [10.0.0.0/8, "::1/128"]
  checks:
    app: { tcp: { address: "127.0.0.1:8080" }, failure_threshold: 7 }
    traffic: { traffic: { max_error_ratio: 0.25, max_p99: null } }
    found:
      sql_findings:
        url: { env: DATABASE_URL }
        queries: [{ name: a, severity: warn, sql: "select 1 as file" }, { name: b, severity: info, sql: select 2 }]
  endpoints:
    /health: null
    /health/mine: { dialect: template, body: { a.b: { value: 1.5 }, list: { value: [1, [], {}] }, ok: { value: true } } }
"#;
    let file = folder.path().join("values.yaml");
    fs::write(&file, values).expect("a file");
    let rendered = succeed(&mut template(&chart(), &["-f", file.to_str().expect("UTF-8")], KUBERNETES));
    let objects = objects_of(&rendered);
    let text = object(&objects, "ConfigMap")["data"]["pulsegate.toml"].as_str().expect("a text").to_owned();
    let config: toml::Table = text.parse().unwrap_or_else(|error| panic!("{error}\n{text}"));
    let expected: toml::Table = r#"
[service.configuration]
"quote\"d.key" = "a\\b \"c\" <d> & 'e'\n\ttab é 🦀 \u0001"
[proxy]
timeouts.idle = "2m"
limits = { queue = 5, in_flight = 3000000000, connections = 20000000 }
trusted_proxies = ["10.0.0.0/8", "::1/128"]
[checks]
app = { tcp.address = "127.0.0.1:8080", failure_threshold = 7 }
traffic.traffic = { max_error_ratio = 0.25 }
[checks.found.sql_findings]
url.env = "DATABASE_URL"
queries = [{ name = "a", severity = "warn", sql = "select 1 as file" }, { name = "b", severity = "info", sql = "select 2" }]
[endpoints."/health/mine"]
dialect = "template"
body = { "a.b" = { value = 1.5 }, list = { value = [1, [], {}] }, ok = { value = true } }
"#
    .parse()
    .expect("TOML");
    for table in ["checks", "service"] {
        let ours = config[table].as_table().expect("a table");
        for (key, value) in expected[table].as_table().expect("a table") {
            assert_eq!(ours.get(key), Some(value), "{table}.{key}\n{text}");
        }
    }
    for (key, value) in expected["proxy"].as_table().expect("a table") {
        assert_eq!(config["proxy"].get(key), Some(value), "{text}");
    }
    let endpoints = config["endpoints"].as_table().expect("endpoints");
    assert_eq!(endpoints["/health/mine"], expected["endpoints"]["/health/mine"], "{text}");
    assert!(!endpoints.contains_key("/health"), "null takes away\n{text}");
    let file = configuration(&objects, folder.path());
    let said = succeed(&mut pulsegate(folder.path(), &["validate", "--config", file.to_str().expect("UTF-8")]));
    assert!(said.contains("valid"), "{said}");
}

/// What the schema of values lets through, pulsegate does too.
#[test]
fn codes_that_the_schema_knows_are_codes() {
    for codes in ["2xx", "200,204", "200-299", "2xx, 404 ,500 - 599", "100"] {
        let folder = tempfile::tempdir().expect("a folder");
        let set = format!("app.health.expectStatus={}", codes.replace(',', "\\,"));
        let rendered = succeed(&mut template(&chart(), &["--set", "app.image=a:1", "--set-string", &set], KUBERNETES));
        let file = configuration(&objects_of(&rendered), folder.path());
        succeed(&mut pulsegate(folder.path(), &["validate", "--config", file.to_str().expect("UTF-8")]));
    }
}

#[test]
fn what_the_chart_decides_is_not_overruled_in_config() {
    for (set, says) in [
        ("config.proxy.listen=0.0.0.0:80", "config.proxy.listen is the chart's: set sidecar.ports.traffic"),
        ("config.admin.listen=off", "config.admin.listen is the chart's: set sidecar.ports.admin"),
        ("config.shutdown.grace=5m", "set drain.graceSeconds"),
        ("config.shutdown.lame_duck=5m", "drain.lameDuckSeconds"),
        ("config.preset=none", "config.preset is the chart's: set preset"),
        (
            "cli.visibility=wrapper,app.command={a},config.app.stop_timeout=1m",
            "config.app.stop_timeout is the chart's, as the pod's end depends on it: set drain.appStopSeconds",
        ),
        (
            "config.admin.tls.cert=/a",
            "config.admin.tls without a Secret: probes and Services must know of it, so set admin.tls.",
        ),
        ("config.proxy.tls.cert=/a", "so set tls.existingSecret"),
    ] {
        let said = fail(&mut template(&chart(), &["--set", "app.image=a:1", "--set", set], KUBERNETES));
        assert!(said.contains(says), "{set}: {said}");
    }
}
