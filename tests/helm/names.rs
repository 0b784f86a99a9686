//! Names and labels: what releases may be called, and what must not change when a chart or its values do.

use std::collections::BTreeSet;
use std::fs;

use serde_json::{Value, json};

use crate::support::{
    KUBERNETES, chart, fail, helm, object, objects_of, path, python, render_with, situations, succeed,
};

/// What the chart makes of a release with this name.
fn release(name: &str, set: &str) -> std::process::Command {
    let chart = chart();
    let set = format!("app.image=a:1,monitoring.serviceMonitor.enabled=true,monitoring.dashboard.enabled=true,{set}");
    helm(&["template", name, path(&chart), "--namespace", "apps", "--kube-version", KUBERNETES, "--set", &set])
}

fn names(objects: &[Value], kind: &str) -> BTreeSet<String> {
    let of_kind = objects.iter().filter(|object| object["kind"] == kind);
    of_kind.map(|object| object["metadata"]["name"].as_str().expect("a name").to_owned()).collect()
}

/// The name of a Service is a label of DNS, which is stricter than Helm is with releases.
#[test]
fn every_release_gets_names_that_kubernetes_takes() {
    let longest = "a-release-with-the-53-characters-that-helm-lets-it-be";
    assert_eq!(longest.len(), 53);
    for (name, named) in [("shop", "shop"), ("shop.eu.1", "shop-eu-1"), (longest, longest)] {
        let objects = objects_of(&succeed(&mut release(name, "")));
        let services = names(&objects, "Service");
        assert_eq!(services, BTreeSet::from([named.to_owned(), format!("{named}-metrics")]));
        let label = regex_lite::Regex::new("^[a-z]([-a-z0-9]{0,61}[a-z0-9])?$").expect("a pattern");
        for object in &objects {
            let name = object["metadata"]["name"].as_str().expect("a name");
            assert!(label.is_match(name), "{name}");
            for (name, value) in object["metadata"]["labels"].as_object().expect("labels") {
                assert!(value.as_str().is_some_and(|value| value.len() <= 63), "{name}: {value}");
            }
        }
    }
    let said = fail(&mut release("1shop", ""));
    assert!(
        said.contains("1shop cannot be the name of a Service, which begins with a letter: set fullnameOverride"),
        "{said}"
    );
    let objects = objects_of(&succeed(&mut release("1shop", "fullnameOverride=shop")));
    assert!(names(&objects, "Service").contains("shop"));
    for (set, says) in [
        ("fullnameOverride=shop.eu", "does not match pattern"),
        ("fullnameOverride=a-name-with-more-than-the-53-characters-that-leave-room", "maxLength: got 55, want 53"),
    ] {
        let said = fail(&mut release("shop", set));
        assert!(said.contains(says), "{said}");
    }
}

/// A release for Norway, and other words that YAML takes for something else than a text.
#[test]
fn names_are_texts_whatever_yaml_takes_them_for() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::create_dir(folder.path().join(KUBERNETES)).expect("a folder");
    let values = json!({
        "app": { "image": "12:30", "env": [{ "name": "A", "value": "1" }] },
        "nameOverride": "1.5",
        "sidecar": { "name": "12", "image": { "repository": "12", "tag": "30" } },
        "serviceAccount": { "name": "1e3" },
        "tls": { "existingSecret": "0" },
        "admin": { "tls": { "existingSecret": "0" }, "apiKeys": { "existingSecret": "1" } },
        "priorityClassName": "yes", "runtimeClassName": "2024-01-01", "schedulerName": "null",
        "service": { "appProtocol": "off", "spec": { "loadBalancerClass": "no" } },
        "ingress": { "enabled": true, "className": "on", "hosts": [{ "host": "1.2" }] },
        "commonLabels": { "app.kubernetes.io/component": "0x10" },
        "monitoring": { "serviceMonitor": { "enabled": true } },
        "podDisruptionBudget": { "enabled": true }, "autoscaling": { "enabled": true }, "networkPolicy": { "enabled": true },
    });
    let file = folder.path().join("values.json");
    fs::write(&file, values.to_string()).expect("a file");
    for name in ["no", "on", "y", "null", "true"] {
        let chart = chart();
        let arguments =
            ["template", name, path(&chart), "--namespace", "123", "--kube-version", KUBERNETES, "-f", path(&file)];
        let rendered = succeed(&mut helm(&arguments));
        assert!(!objects_of(&rendered).is_empty());
        fs::write(folder.path().join(KUBERNETES).join(format!("{name}.yaml")), rendered).expect("a file");
    }
    let said: Value = serde_json::from_str(&succeed(python("schemas.py").arg(folder.path()))).expect("a verdict");
    assert_eq!(said["problems"], json!([]), "{said:#}");
    assert!(said["valid"].as_u64() > Some(40), "{said:#}");
}

/// Two releases in one namespace, however alike their names are, share nothing.
#[test]
fn releases_side_by_side_share_nothing() {
    let of = |name: &str| {
        let objects = objects_of(&succeed(&mut release(name, "")));
        let kinds = objects.iter().map(|object| (object["kind"].clone(), object["metadata"]["name"].clone()));
        let kinds: BTreeSet<String> = kinds.map(|(kind, name)| format!("{kind} {name}")).collect();
        let selector = object(&objects, "Deployment")["spec"]["selector"].to_string();
        (kinds, selector)
    };
    let (one, of_one) = of("a-release-with-the-53-characters-that-helm-lets-it-be");
    let (other, of_other) = of("a-release-with-the-53-characters-that-helm-lets-it-do");
    assert_eq!(one.intersection(&other).count(), 0);
    assert_ne!(of_one, of_other);
}

/// A Deployment's selector can never change: nothing of it may follow a version, or values that people change.
#[test]
fn selectors_outlive_upgrades() {
    let selectors = |set: &str, situation: &str| {
        let objects = objects_of(&render_with(&["--set", set], situation, KUBERNETES));
        let pod = object(&objects, "Deployment")["spec"]["template"]["metadata"]["labels"].clone();
        let selector = object(&objects, "Deployment")["spec"]["selector"]["matchLabels"].clone();
        for (label, value) in selector.as_object().expect("labels") {
            assert_eq!(&pod[label], value, "{situation}: pods are not the Deployment's");
        }
        selector
    };
    let first = selectors("sidecar.image.tag=v1", "default");
    assert_eq!(first, json!({ "app.kubernetes.io/name": "pulsegate", "app.kubernetes.io/instance": "my-app" }));
    for situation in situations() {
        let set =
            "sidecar.image.tag=v2,commonLabels.team=a,podLabels.tier=b,sidecar.mode=classic,fullnameOverride=other";
        // Its mode is what this one is about.
        let set = if situation == "native" { set.replace("classic", "native") } else { set.to_owned() };
        assert_eq!(selectors(&set, &situation), first, "{situation}");
    }
}

/// Labels that selectors go by are nobody else's; a label that two values name has the one that is nearer.
#[test]
fn labels_are_added_and_not_replaced() {
    for value in ["commonLabels", "podLabels", "service.labels", "monitoring.serviceMonitor.labels"] {
        for label in ["app\\.kubernetes\\.io/name", "app\\.kubernetes\\.io/instance", "helm\\.sh/chart"] {
            let said = fail(&mut release("shop", &format!("{value}.{label}=other")));
            assert!(said.contains("is the chart's: selectors and charts go by it"), "{value}: {said}");
        }
    }
    let rendered = succeed(&mut release("shop", "commonLabels.team=a,podLabels.team=b"));
    let objects = objects_of(&rendered);
    let deployment = object(&objects, "Deployment");
    assert_eq!(
        (&deployment["metadata"]["labels"]["team"], &deployment["spec"]["template"]["metadata"]["labels"]["team"]),
        (&"a".into(), &"b".into())
    );
    for object in &objects {
        assert_eq!(object["metadata"]["labels"]["team"], "a", "{}", object["kind"]);
    }
}
