//! Into a real API server, with etcd and without nodes: it judges what no schema says, such as names, what may change, which
//! rights a namespace admits, and what Helm makes of a release that is installed, upgraded and rolled back.
//!
//! The server takes four minutes to build, so it is asked only if told so:
//! `tests/tools api-server && cargo test --test helm -- --ignored cluster`.

use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rcgen::{CertificateParams, KeyPair};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{chart, fail, object, objects_of, path, pod, render, situations, succeed, tool, values_of};

/// How long the server may take until it is ready.
const PATIENCE: Duration = Duration::from_secs(120);

/// What the server has no kinds for: they are others', and their own schemas are asked elsewhere.
const WITHOUT_CRDS: &str = "monitoring.serviceMonitor.enabled=false,monitoring.podMonitor.enabled=false,\
                            monitoring.prometheusRule.enabled=false,httpRoute.enabled=false";

/// An API server, as long as this value lives.
struct Cluster {
    folder: TempDir,
    etcd: Child,
    server: Child,
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for child in [&mut self.server, &mut self.etcd] {
            let _gone = child.kill().and_then(|()| child.wait());
        }
    }
}

impl Cluster {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let [clients, peers, port] = free_ports();
        let file = |name: &str| folder.path().join(name).display().to_string();
        let key = KeyPair::generate().expect("a key");
        let certificate =
            CertificateParams::new(vec!["localhost".to_owned()]).and_then(|params| params.self_signed(&key));
        for (name, text) in [
            ("key", key.serialize_pem()),
            ("public", key.public_key_pem()),
            ("cert", certificate.expect("a certificate").pem()),
            ("tokens", "an-invented-token,admin,1,system:masters\n".to_owned()),
            ("config", kubeconfig(port)),
        ] {
            fs::write(folder.path().join(name), text).expect("a file");
        }
        let start = |program: PathBuf, arguments: &[String]| {
            let log = fs::File::create(file(program.file_name().and_then(|name| name.to_str()).expect("a name")));
            let mut command = Command::new(program);
            command.env_clear().args(arguments).stdin(Stdio::null()).stdout(Stdio::null());
            command.stderr(log.expect("a log")).spawn().expect("a child")
        };
        let (clients, peers) = (format!("http://127.0.0.1:{clients}"), format!("http://127.0.0.1:{peers}"));
        let etcd = start(
            tool("etcd/bin/etcd"),
            &[
                format!("--data-dir={}", file("data")),
                format!("--listen-client-urls={clients}"),
                format!("--advertise-client-urls={clients}"),
                format!("--listen-peer-urls={peers}"),
            ],
        );
        let server = start(
            tool("kube-apiserver/bin/kube-apiserver"),
            &[
                format!("--etcd-servers={clients}"),
                "--bind-address=127.0.0.1".to_owned(),
                format!("--secure-port={port}"),
                format!("--tls-cert-file={}", file("cert")),
                format!("--tls-private-key-file={}", file("key")),
                format!("--service-account-key-file={}", file("public")),
                format!("--service-account-signing-key-file={}", file("key")),
                "--service-account-issuer=https://localhost".to_owned(),
                format!("--token-auth-file={}", file("tokens")),
                "--authorization-mode=RBAC".to_owned(),
                "--service-cluster-ip-range=10.96.0.0/16".to_owned(),
                // It would wait for accounts that a controller makes.
                "--disable-admission-plugins=ServiceAccount,Priority,RuntimeClass".to_owned(),
            ],
        );
        let mut cluster = Self { folder, etcd, server };
        let begun = Instant::now();
        // A question of kubectl's is a pause of its own.
        while !cluster.kubectl(&["get", "--raw", "/readyz"]).output().expect("kubectl").status.success() {
            let said = fs::read_to_string(cluster.folder.path().join("kube-apiserver")).unwrap_or_default();
            let ended = cluster.server.try_wait().expect("its status");
            assert!(ended.is_none() && begun.elapsed() < PATIENCE, "the API server is not ready:\n{said}");
        }
        cluster
    }

    fn with(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(tool(program));
        command.env_clear().env("HOME", self.folder.path()).env("KUBECONFIG", self.folder.path().join("config"));
        command.args(arguments);
        command
    }

    fn kubectl(&self, arguments: &[&str]) -> Command {
        self.with("helm/bin/kubectl", arguments)
    }

    /// Helm, with the release `my-app` in a namespace.
    fn helm(&self, version: &str, namespace: &str, command: &str, arguments: &[&str]) -> Command {
        let mut command = self.with(&format!("{version}/bin/helm"), &[command, "my-app"]);
        command.args(["--namespace", namespace]).args(arguments);
        command
    }

    /// A namespace that admits no pod which is not as restricted as the standard asks.
    fn restricted(&self, name: &str) {
        succeed(&mut self.kubectl(&["create", "namespace", name]));
        succeed(&mut self.kubectl(&["label", "namespace", name, "pod-security.kubernetes.io/enforce=restricted"]));
    }

    fn create(&self, namespace: &str, object: &Value) -> Command {
        let file = self.folder.path().join("object.json");
        fs::write(&file, object.to_string()).expect("a file");
        self.kubectl(&["create", "--namespace", namespace, "-f", path(&file)])
    }
}

/// Ports that were free a moment ago, all different.
fn free_ports() -> [u16; 3] {
    let listeners = [(); 3].map(|()| TcpListener::bind("127.0.0.1:0").expect("a port"));
    listeners.map(|listener| listener.local_addr().expect("an address").port())
}

fn kubeconfig(port: u16) -> String {
    let server = format!("https://127.0.0.1:{port}");
    json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{ "name": "a", "cluster": { "server": server, "insecure-skip-tls-verify": true } }],
        "users": [{ "name": "a", "user": { "token": "an-invented-token" } }],
        "contexts": [{ "name": "a", "context": { "cluster": "a", "user": "a" } }],
        "current-context": "a",
    })
    .to_string()
}

#[test]
#[ignore = "tests/tools api-server builds it first, for four minutes"]
fn releases_come_change_go_back_and_go() {
    let cluster = Cluster::start();
    let chart = chart();
    let changes = "commonLabels.team=a,app.image=b:2,sidecar.image.tag=v2,drain.graceSeconds=40,sidecar.ports.admin=9100,\
                   strategy.type=Recreate,replicas=null,service.annotations.a=b";
    for version in ["helm", "helm-3"] {
        for situation in situations() {
            let namespace = format!("{version}-{situation}");
            let values = values_of(&situation);
            let given = [path(&chart), "-f", path(&values), "--set", WITHOUT_CRDS];
            let helm = |command: &str, arguments: &[&str]| cluster.helm(version, &namespace, command, arguments);
            let new = [&given[..], &["--create-namespace"]].concat();
            let said = succeed(&mut helm("install", &new));
            assert!(said.contains("NOTES:"), "{said}");
            succeed(&mut helm("upgrade", &[&given[..], &["--set", changes]].concat()));
            succeed(&mut helm(
                "upgrade",
                &[path(&chart), "--reset-then-reuse-values", "--set", "strategy.type=RollingUpdate"],
            ));
            succeed(&mut helm("rollback", &["1"]));
            succeed(&mut helm("uninstall", &[]));
        }
    }
    // What cannot change is refused: this server would have said so above.
    let given = [path(&chart), "--create-namespace", "--set", "app.image=a:1"];
    succeed(&mut cluster.helm("helm", "fixed", "install", &given));
    let said =
        fail(&mut cluster.helm("helm", "fixed", "upgrade", &[&given[..], &["--set", "nameOverride=other"]].concat()));
    assert!(said.contains("field is immutable"), "{said}");
}

/// The pods of a situation, as Deployment and `helm test` make them.
fn pods(situation: &str) -> Vec<Value> {
    let objects = objects_of(&render(situation, "1.34"));
    let mut app = object(&objects, "Deployment")["spec"]["template"].clone();
    app["apiVersion"] = "v1".into();
    app["kind"] = "Pod".into();
    app["metadata"]["name"] = situation.into();
    app["spec"] = pod(&objects).clone();
    let mut test = object(&objects, "Pod").clone();
    for pod in [&mut app, &mut test] {
        if let Some(metadata) = pod["metadata"].as_object_mut() {
            metadata.remove("namespace");
        }
    }
    vec![app, test]
}

/// What is ours asks for no rights; what the app asks for is its owner's affair.
#[test]
#[ignore = "tests/tools api-server builds it first, for four minutes"]
fn a_restricted_namespace_admits_all_that_is_ours() {
    let cluster = Cluster::start();
    cluster.restricted("hardened");
    for pod in pods("hardened") {
        succeed(&mut cluster.create("hardened", &pod));
    }
    for situation in ["default", "classic", "wrapper", "monitoring", "network-policy"] {
        let namespace = format!("of-{situation}");
        cluster.restricted(&namespace);
        let [app, test] = &pods(situation)[..] else { panic!("two pods") };
        let said = fail(&mut cluster.create(&namespace, app));
        assert!(said.contains("violates PodSecurity") && said.contains("\"app\""), "{said}");
        assert!(!said.contains("\"pulsegate") && !said.contains("containers"), "{situation}: {said}");
        succeed(&mut cluster.create(&namespace, test));
    }
}
