//! The library in a chart of somebody else's: `other-chart`, as its README and docs/kubernetes.md show it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use crate::support::{
    KUBERNETES, container, fail, helm, library, object, objects_of, path, pod_of, python, render_with, root, succeed,
    template,
};

/// A copy of the other chart beside one of the library, with the dependency fetched as its owner would.
struct OtherChart {
    folder: TempDir,
}

impl OtherChart {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let copy = |from: &Path, to: &str| {
            let to = folder.path().join(to);
            succeed(Command::new("cp").arg("-r").arg(from).arg(to));
        };
        copy(&root().join("tests/helm/other-chart"), "shop");
        copy(&library(), "pulsegate-lib");
        let other = Self { folder };
        succeed(&mut helm(&["dependency", "build", path(&other.chart())]));
        other
    }

    fn chart(&self) -> PathBuf {
        self.folder.path().join("shop")
    }

    #[track_caller]
    fn render(&self, arguments: &[&str], kubernetes: &str) -> String {
        succeed(&mut template(&self.chart(), arguments, kubernetes))
    }
}

#[test]
fn another_chart_gets_the_same_sidecar() {
    let other = OtherChart::new();
    for (mode, kubernetes) in [("auto", "1.28"), ("auto", "1.34"), ("classic", "1.34")] {
        let theirs = objects_of(&other.render(&["--set", &format!("pulsegate.sidecar.mode={mode}")], kubernetes));
        let ours = objects_of(&render_with(&["--set", &format!("sidecar.mode={mode}")], "default", kubernetes));
        let (ours, theirs) = (pod_of(&ours, "Deployment"), pod_of(&theirs, "StatefulSet"));
        assert!(container(ours, "pulsegate").is_some());
        assert_eq!(container(ours, "pulsegate"), container(theirs, "pulsegate"), "{mode}, {kubernetes}");
        assert_eq!(
            container(ours, "app").expect("it").1["lifecycle"],
            container(theirs, "shop").expect("it").1["lifecycle"]
        );
        for field in ["terminationGracePeriodSeconds", "volumes"] {
            assert_eq!(ours[field], theirs[field], "{field}");
        }
    }
}

#[test]
fn its_objects_are_valid_in_every_way_of_seeing_a_cli() {
    let other = OtherChart::new();
    let folder = tempfile::tempdir().expect("a folder");
    fs::create_dir(folder.path().join(KUBERNETES)).expect("a folder");
    let ways: [(&str, &[&str]); 5] = [
        ("none", &[]),
        ("shared", &["pulsegate.cli.visibility=sharedVolume", "pulsegate.cli.login.volume.emptyDir.medium=Memory"]),
        (
            "process",
            &[
                "pulsegate.cli.visibility=processNamespace",
                "pulsegate.app.env[0].name=A",
                "pulsegate.app.ports[0].containerPort=1",
            ],
        ),
        ("wrapper", &["pulsegate.cli.visibility=wrapper", "pulsegate.app.command={shop,--verbose}"]),
        (
            "image",
            &["pulsegate.cli.visibility=wrapper", "pulsegate.app.command={shop}", "pulsegate.cli.wrapper.source=image"],
        ),
    ];
    for (name, sets) in ways {
        let sets: Vec<&str> = sets.iter().flat_map(|set| ["--set", set]).collect();
        let rendered = other.render(&sets, KUBERNETES);
        fs::write(folder.path().join(KUBERNETES).join(format!("{name}.yaml")), &rendered).expect("a file");
        let objects = objects_of(&rendered);
        let config = object(&objects, "ConfigMap")["data"]["pulsegate.toml"].as_str().expect("a text");
        let config: toml::Table = config.parse().expect("TOML");
        assert_eq!(config["checks"]["database"]["tcp"]["address"].as_str(), Some("db:5432"), "{name}");
        assert_eq!(config["proxy"]["upstream"].as_str(), Some("http://127.0.0.1:3000"), "{name}");
        let (_, app) = container(pod_of(&objects, "StatefulSet"), "shop").expect("the app");
        let has = |list: &str, name: &str, value: &Value| {
            app[list].as_array().is_some_and(|items| items.iter().any(|item| &item[name] == value))
        };
        let told = name == "process";
        assert_eq!((has("env", "name", &"A".into()), has("ports", "containerPort", &1.into())), (told, told), "{name}");
    }
    let said: Value = serde_json::from_str(&succeed(python("schemas.py").arg(folder.path()))).expect("a verdict");
    assert_eq!(said["problems"], Value::Array(Vec::new()), "{said:#}");
    assert_eq!(said["unknown"], Value::Array(Vec::new()), "{said:#}");
}

/// The library's schema holds below the name that the other chart gives it.
#[test]
fn what_is_wrong_there_is_refused_too() {
    let other = OtherChart::new();
    for (set, says) in [
        ("pulsegate.sidecar.mod=native", "additional properties 'mod' not allowed"),
        ("pulsegate.sidecar.mode=init", "value must be one of 'auto', 'native', 'classic'"),
        ("pulsegate.cli.visibility=wrapper", "app.command must say how"),
    ] {
        let said = fail(&mut template(&other.chart(), &["--set", set], KUBERNETES));
        assert!(said.contains(says), "{set}: {said}");
    }
}

/// Releases of other charts may be called what pulsegate cannot be.
#[test]
fn a_name_that_pulsegate_would_refuse_is_refused_before() {
    let other = OtherChart::new();
    let chart = other.chart();
    let arguments = ["template", "1shop", path(&chart), "--kube-version", KUBERNETES];
    let said = fail(&mut helm(&arguments));
    assert!(said.contains("a service's name to begin with a letter, and 1shop does not: set serviceName"), "{said}");
    succeed(helm(&arguments).args(["--set", "pulsegate.serviceName=shop"]));
}

/// No copy of the library that could differ: a link.
#[test]
fn the_chart_uses_the_library_itself() {
    let link = root().join("helm/pulsegate/charts/pulsegate-lib");
    assert_eq!(fs::read_link(link).expect("a link"), Path::new("../../pulsegate-lib"));
    let packed = tempfile::tempdir().expect("a folder");
    succeed(&mut helm(&["package", path(&root().join("helm/pulsegate")), "--destination", path(packed.path())]));
    let archive = packed.path().join(format!("pulsegate-{}.tgz", env!("CARGO_PKG_VERSION")));
    let of_archive = succeed(&mut template(&archive, &["--set", "app.image=example.org/app:1.4.2"], KUBERNETES));
    assert_eq!(of_archive, crate::support::render("default", KUBERNETES), "a packed chart is whole");
    let listed = succeed(Command::new("tar").arg("-tzf").arg(&archive));
    assert!(!listed.contains("/ci/") && listed.contains("charts/pulsegate-lib/templates/_container.tpl"), "{listed}");
}
