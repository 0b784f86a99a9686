//! What the chart renders, for every situation and every version of Kubernetes.

use std::collections::BTreeSet;
use std::fs;

use serde_json::Value;

use crate::support::{
    KUBERNETES, VERSIONS, chart, container, fail, golden, helm, helm_of, library, objects_of, path, pod, python,
    render, render_with, situations, succeed, template, values_of,
};

/// Kinds of the Prometheus Operator and of the Gateway API, which are none of Kubernetes' own.
const OF_OPERATORS: [&str; 4] = ["HTTPRoute", "PodMonitor", "PrometheusRule", "ServiceMonitor"];

#[test]
fn helm_finds_nothing_to_say() {
    for situation in situations() {
        let said = succeed(&mut helm(&["lint", "--strict", path(&chart()), "-f", path(&values_of(&situation))]));
        assert!(said.contains("1 chart(s) linted, 0 chart(s) failed"), "{situation}: {said}");
        assert!(!said.contains("[WARNING]") && !said.contains("[ERROR]"), "{situation}: {said}");
    }
    succeed(&mut helm(&["lint", "--strict", path(&library())]));
}

#[test]
fn what_is_rendered_is_what_is_committed() {
    let mut expected = BTreeSet::new();
    for situation in situations() {
        let name = format!("{situation}.yaml");
        golden(&chart().join("ci/rendered").join(&name), &without_files(&render(&situation, KUBERNETES)));
        expected.insert(name);
    }
    let files = fs::read_dir(chart().join("ci/rendered")).expect("the folder");
    let files: BTreeSet<String> =
        files.map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8")).collect();
    assert_eq!(files, expected, "a file without a situation");
}

/// Without what is a file of the chart, whole; `monitoring` looks at that.
fn without_files(rendered: &str) -> String {
    let mut text = rendered.to_owned();
    for (begin, file) in [("\n  pulsegate.json: |\n", "dashboard.json"), ("\n  # files/rules.yaml, ", "rules.yaml")] {
        let Some(at) = text.find(begin) else { continue };
        let at = at + begin.len();
        let line = text[at..].find('\n').map_or(at, |end| at + end + 1);
        let at = if file == "rules.yaml" { line } else { at };
        let end = text[at..].find("\n---\n").map_or(text.len(), |end| at + end + 1);
        text.replace_range(at..end, &format!("    # … {file} …\n"));
    }
    text
}

#[test]
fn helm_3_renders_the_same() {
    for situation in situations() {
        let chart = chart();
        let arguments = ["template", "my-app", path(&chart), "--namespace", "apps", "--kube-version", KUBERNETES];
        let mut command = helm_of("helm-3", &arguments);
        let of_3 = succeed(command.args(["-f", path(&values_of(&situation))]));
        // One ends a file with a line end more than the other.
        let lines = |text: &str| text.lines().filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\n");
        assert_eq!(lines(&of_3), lines(&render(&situation, KUBERNETES)), "{situation}");
    }
}

#[test]
fn every_object_is_valid_in_every_version_of_kubernetes() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut rendered = 0;
    for version in VERSIONS {
        fs::create_dir(folder.path().join(version)).expect("a folder");
        for situation in situations() {
            let file = folder.path().join(version).join(format!("{situation}.yaml"));
            // What needs a newer one says so; see `native_is_refused_where_it_would_hang`.
            let refused = match &*situation {
                "native" => version == "1.28",
                "sleep" => matches!(version, "1.28" | "1.29"),
                _ => false,
            };
            if refused {
                fail(&mut template(&chart(), &["-f", path(&values_of(&situation))], version));
                continue;
            }
            fs::write(file, render(&situation, version)).expect("a file");
            rendered += 1;
        }
    }
    assert_eq!(rendered, situations().len() * VERSIONS.len() - 3);
    let said = succeed(python("schemas.py").arg(folder.path()));
    let said: Value = serde_json::from_str(&said).expect("a verdict");
    assert_eq!(said["problems"], Value::Array(Vec::new()), "{said:#}");
    let unknown: BTreeSet<&str> =
        said["unknown"].as_array().expect("a list").iter().filter_map(Value::as_str).collect();
    assert!(unknown.iter().all(|kind| OF_OPERATORS.contains(kind)), "no schema of {unknown:?}");
    // The same object of two situations counts once.
    assert!(said["valid"].as_u64() > Some(300), "{said:#}");
}

#[test]
fn a_field_that_kubernetes_does_not_know_is_found() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::create_dir(folder.path().join("1.34")).expect("a folder");
    let wrong = render("default", KUBERNETES).replace("terminationGracePeriodSeconds", "terminationGracePeriod");
    fs::write(folder.path().join("1.34/wrong.yaml"), wrong).expect("a file");
    let said = succeed(python("schemas.py").arg(folder.path()));
    assert!(said.contains("terminationGracePeriod"), "{said}");
    // What is there twice: YAML takes the last, and the API server nothing at all.
    let file = folder.path().join("1.34/wrong.yaml");
    let port = "            - name: PORT\n              value: \"8080\"\n";
    let twice = render("default", KUBERNETES).replace(port, &port.repeat(2));
    fs::write(&file, twice).expect("a file");
    let said = succeed(python("schemas.py").arg(folder.path()));
    assert!(said.contains("containers.0.env: ('PORT',) twice"), "{said}");
    fs::write(&file, render("default", KUBERNETES).replace("  replicas: 1\n", "  replicas: 1\n  replicas: 1\n"))
        .expect("it");
    let said = fail(python("schemas.py").arg(folder.path()));
    assert!(said.contains("twice in a table: ['replicas']"), "{said}");
}

#[test]
fn auto_is_native_where_the_cluster_can_do_it() {
    for version in VERSIONS {
        let objects = objects_of(&render("default", version));
        let (list, sidecar) = container(pod(&objects), "pulsegate").expect("the sidecar");
        if version == "1.28" {
            assert_eq!((list, &sidecar["restartPolicy"]), ("containers", &Value::Null));
        } else {
            assert_eq!((list, &sidecar["restartPolicy"]), ("initContainers", &"Always".into()), "{version}");
        }
    }
}

#[test]
fn native_is_refused_where_it_would_hang() {
    let said = fail(&mut template(&chart(), &["-f", path(&values_of("native"))], "1.28"));
    assert!(said.contains("sidecar.mode is native, which needs Kubernetes 1.29 or newer, and this is v1.28"), "{said}");
    let said = fail(&mut template(&chart(), &["-f", path(&values_of("sleep"))], "1.29"));
    assert!(said.contains("drain.appPreStop is sleep, which needs Kubernetes 1.30 or newer"), "{said}");
}

#[test]
fn nothing_but_an_image_is_needed() {
    let said = fail(&mut template(&chart(), &[], KUBERNETES));
    assert!(said.contains("app.image is needed: the image of your app, such as --set app.image="), "{said}");
    let rendered = succeed(&mut template(&chart(), &["--set", "app.image=example.org/app:1.4.2"], KUBERNETES));
    assert_eq!(rendered, render("default", KUBERNETES));
}

/// Kubernetes asks by number: names of native sidecars' ports reach Services from 1.32 on only.
#[test]
fn ports_are_numbers() {
    fn look(place: &str, value: &Value, key: &str) {
        match value {
            Value::Object(fields) => fields.iter().for_each(|(key, value)| look(&format!("{place}.{key}"), value, key)),
            Value::Array(items) => items.iter().for_each(|item| look(place, item, key)),
            _ if matches!(key, "port" | "targetPort" | "containerPort" | "portNumber") => {
                // A ServiceMonitor names a port of a Service, which has names of its own; a PodMonitor one of a container.
                let names = place.starts_with("ServiceMonitor.") || place.starts_with("PodMonitor.");
                assert!(value.is_number() || names, "{place}: {value}");
            }
            _ => {}
        }
    }
    for situation in situations() {
        for object in objects_of(&render(&situation, KUBERNETES)) {
            look(object["kind"].as_str().expect("a kind"), &object, "");
        }
    }
}

#[test]
fn the_end_of_a_pod_covers_what_happens_in_it() {
    for situation in situations() {
        for mode in ["auto", "classic"] {
            let rendered = render_with(&["--set", &format!("sidecar.mode={mode}")], &situation, KUBERNETES);
            let objects = objects_of(&rendered);
            let pod = pod(&objects);
            let granted = pod["terminationGracePeriodSeconds"].as_u64().expect("seconds");
            let config = rendered.split("grace = \"").nth(1).and_then(|rest| rest.split('s').next());
            let grace: u64 = config.expect("a grace").parse().expect("seconds");
            assert!(granted >= grace + 5, "{situation}: {granted}");
            let (_, app) = container(pod, "app").expect("the app");
            let wraps = container(pod, "pulsegate").is_none();
            match &app["lifecycle"]["preStop"] {
                Value::Null => assert!(wraps, "{situation}: the app is told at once"),
                hook if hook["httpGet"].is_object() => {
                    let asked = format!("/-/wait-for-drain?timeout={grace}s");
                    assert_eq!((&hook["httpGet"]["path"], &hook["httpGet"]["port"]), (&asked.into(), &9000.into()));
                    assert!(granted >= grace + 10 + 5);
                }
                hook => assert!(granted > hook["sleep"]["seconds"].as_u64().expect("a sleep") + 10),
            }
            if let Some((_, sidecar)) = container(pod, "pulsegate") {
                let command = &sidecar["lifecycle"]["preStop"]["exec"]["command"];
                let file = "/etc/pulsegate/pulsegate.toml";
                assert_eq!(command, &serde_json::json!(["pulsegate", "drain", "--config", file]), "{situation}");
            }
        }
    }
}
