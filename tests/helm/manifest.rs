//! `pulsegate manifest`: the same sidecar as the charts', object by object, and valid for every Kubernetes that it names.

use std::fs;
use std::process::Command;

use serde_json::Value;

use crate::support::{chart, container, fail, object, objects_of, pod, python, succeed, template};

fn manifest(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pulsegate"));
    command.env_clear().arg("manifest").args(arguments);
    command
}

fn config(objects: &[Value]) -> toml::Table {
    object(objects, "ConfigMap")["data"]["pulsegate.toml"].as_str().expect("a text").parse().expect("TOML")
}

/// The arguments of `manifest` and the values of the chart that say the same.
const SAME: [(&[&str], &[&str]); 2] = [
    (&["--name", "my-app"], &[]),
    (
        &[
            "--name",
            "my-app",
            "--image",
            "registry.example.org/pulsegate:1",
            "--app-port",
            "3000",
            "--traffic-port",
            "8081",
            "--admin-port",
            "9001",
        ],
        &[
            "--set",
            "sidecar.image.repository=registry.example.org/pulsegate",
            "--set-string",
            "sidecar.image.tag=1",
            "--set",
            "app.port=3000",
            "--set",
            "sidecar.ports.traffic=8081",
            "--set",
            "sidecar.ports.admin=9001",
        ],
    ),
];

#[test]
fn a_manifest_has_what_the_chart_has() {
    for (arguments, values) in SAME {
        for (mode, list) in [("native", "initContainers"), ("classic", "containers")] {
            let ours = succeed(manifest(arguments).args([&format!("--{mode}"), "--app-image", "example.org/app:1"]));
            let set = format!("app.image=example.org/app:1,sidecar.mode={mode}");
            let theirs = succeed(&mut template(&chart(), &[&["--set", &set], values].concat(), "1.34"));
            let (ours, theirs) = (objects_of(&ours), objects_of(&theirs));
            assert_eq!(config(&ours), config(&theirs), "{mode} {arguments:?}");
            let names = ["ConfigMap", "Service", "Deployment"].map(|kind| &object(&ours, kind)["metadata"]["name"]);
            let in_chart =
                ["ConfigMap", "Service", "Deployment"].map(|kind| &object(&theirs, kind)["metadata"]["name"]);
            assert_eq!(names, in_chart, "{mode}");
            let ports = |objects: &[Value]| object(objects, "Service")["spec"]["ports"].clone();
            assert_eq!(ports(&ours), ports(&theirs), "{mode}");
            let (ours, theirs) = (pod(&ours), pod(&theirs));
            let found = container(ours, "pulsegate").expect("the sidecar");
            assert_eq!((found.0, Some(found)), (list, container(theirs, "pulsegate")), "{mode} {arguments:?}");
            let (_, app) = container(ours, "app").expect("the app");
            let (_, in_chart) = container(theirs, "app").expect("the app");
            for field in ["image", "lifecycle", "env"] {
                assert_eq!(app[field], in_chart[field], "{field} of the app, {mode}");
            }
            for field in ["terminationGracePeriodSeconds", "volumes"] {
                assert_eq!(ours[field], theirs[field], "{field}, {mode}");
            }
        }
    }
}

#[test]
fn kubernetes_and_pulsegate_accept_it() {
    let folder = tempfile::tempdir().expect("a folder");
    for (mode, versions) in [("native", &["1.29", "1.34", "1.37"][..]), ("classic", &["1.28", "1.34", "1.37"])] {
        let printed = succeed(manifest(&[]).arg(format!("--{mode}")));
        assert!(["name}", "image}", "port}", "{init", "{beside", "{native"].iter().all(|mark| !printed.contains(mark)));
        for version in versions {
            fs::create_dir_all(folder.path().join(version)).expect("a folder");
            fs::write(folder.path().join(version).join(format!("{mode}.yaml")), &printed).expect("a file");
        }
        let objects = objects_of(&printed);
        let file = folder.path().join("pulsegate.toml");
        fs::write(&file, object(&objects, "ConfigMap")["data"]["pulsegate.toml"].as_str().expect("a text"))
            .expect("a file");
        let mut validate = Command::new(env!("CARGO_BIN_EXE_pulsegate"));
        succeed(validate.env_clear().args(["validate", "--config"]).arg(&file));
    }
    let said: Value = serde_json::from_str(&succeed(python("schemas.py").arg(folder.path()))).expect("a verdict");
    assert_eq!((&said["problems"], &said["unknown"]), (&serde_json::json!([]), &serde_json::json!([])), "{said:#}");
    assert!(said["valid"].as_u64() >= Some(3), "{said:#}");
}

/// What would be refused later, or never be ready, is refused now.
#[test]
fn what_cannot_work_is_not_printed() {
    for (arguments, says) in [
        (&["--native", "--classic"][..], "cannot be used with"),
        (&[], "--native|--classic"),
        (&["--native", "--name", "My_App"], "--name must be"),
        (&["--native", "--name=-a"], "--name must be"),
        (&["--native", "--name", "a\nb: c"], "--name must be"),
        (&["--native", "--name", ""], "--name must be"),
        (&["--native", "--app-image", "app latest"], "an image looks like"),
        (&["--native", "--image", "x\"y"], "an image looks like"),
        (&["--native", "--app-image", "{admin_port}"], "an image looks like"),
        (&["--native", "--app-port", "9000"], "must differ"),
        (&["--native", "--app-port", "0"], "0 is not in 1..=65535"),
        (&["--native", "--port", "8001"], "manifest has flags of its own"),
    ] {
        let said = fail(&mut manifest(arguments));
        assert!(said.contains(says), "{arguments:?}: {said}");
    }
}
