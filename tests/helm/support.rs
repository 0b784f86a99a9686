//! How charts are rendered, and how what they render is looked at.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

/// What most of the tests render for; `ci/rendered` holds the same.
pub(crate) const KUBERNETES: &str = "1.34";

/// Every version that a test renders for: the first one knows no native sidecars.
pub(crate) const VERSIONS: [&str; 10] =
    ["1.28", "1.29", "1.30", "1.31", "1.32", "1.33", "1.34", "1.35", "1.36", "1.37"];

pub(crate) fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

pub(crate) fn chart() -> PathBuf {
    root().join("helm/pulsegate")
}

pub(crate) fn library() -> PathBuf {
    root().join("helm/pulsegate-lib")
}

/// A real program that `tests/tools` has installed below `target/tools`. Without it the test fails: skipped in silence it
/// would prove nothing.
#[track_caller]
pub(crate) fn tool(path: &str) -> PathBuf {
    let file = root().join("target/tools").join(path);
    assert!(file.exists(), "{} is missing: run tests/run, which installs it", file.display());
    file
}

/// The situations of `helm/pulsegate/ci`, by name.
pub(crate) fn situations() -> Vec<String> {
    let entries = fs::read_dir(chart().join("ci")).expect("the folder of situations");
    let names = entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8"));
    let mut names: Vec<String> =
        names.filter_map(|name| name.strip_suffix("-values.yaml").map(str::to_owned)).collect();
    names.sort();
    assert!(names.len() >= 12, "{names:?}");
    names
}

pub(crate) fn values_of(situation: &str) -> PathBuf {
    chart().join("ci").join(format!("{situation}-values.yaml"))
}

/// Helm, with nothing of the caller's: no repositories, plugins or cluster.
pub(crate) fn helm(arguments: &[&str]) -> Command {
    helm_of("helm", arguments)
}

/// Helm of a folder of `target/tools`.
pub(crate) fn helm_of(tool_name: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(tool(&format!("{tool_name}/bin/helm")));
    command.env_clear().env("HOME", root().join("target/helm-home")).args(arguments);
    command
}

/// What a program that succeeds prints.
#[track_caller]
pub(crate) fn succeed(command: &mut Command) -> String {
    let ended = run(command);
    assert!(ended.status.success(), "{command:?}\n{}\n{}", text(&ended.stdout), text(&ended.stderr));
    text(&ended.stdout)
}

/// What a program that fails says.
#[track_caller]
pub(crate) fn fail(command: &mut Command) -> String {
    let ended = run(command);
    let said = text(&ended.stdout) + &text(&ended.stderr);
    assert!(!ended.status.success(), "{command:?} succeeds\n{said}");
    said
}

#[track_caller]
fn run(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"))
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What the chart makes of a situation, as YAML.
#[track_caller]
pub(crate) fn render(situation: &str, kubernetes: &str) -> String {
    render_with(&[], situation, kubernetes)
}

/// The same with more arguments.
#[track_caller]
pub(crate) fn render_with(arguments: &[&str], situation: &str, kubernetes: &str) -> String {
    succeed(&mut template(&chart(), &[&["-f", path(&values_of(situation))], arguments].concat(), kubernetes))
}

/// `helm template` of a chart, as the release `my-app`.
pub(crate) fn template(chart: &Path, arguments: &[&str], kubernetes: &str) -> Command {
    let mut command = helm(&["template", "my-app", path(chart), "--namespace", "apps", "--kube-version", kubernetes]);
    command.args(arguments);
    command
}

pub(crate) fn path(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// Python with PyYAML and the schemas of Kubernetes.
pub(crate) fn python(script: &str) -> Command {
    let mut command = Command::new(tool("kubernetes-validate/bin/python"));
    command.env_clear().arg(root().join("tests/helm").join(script));
    command
}

/// The objects of rendered files: one list for each file.
#[track_caller]
pub(crate) fn objects(files: &[PathBuf]) -> Vec<Vec<Value>> {
    let printed = succeed(python("objects.py").args(files));
    serde_json::from_str(&printed).expect("lists of objects")
}

/// The objects of one text.
#[track_caller]
pub(crate) fn objects_of(yaml: &str) -> Vec<Value> {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("rendered.yaml");
    fs::write(&file, yaml).expect("a file");
    objects(&[file]).remove(0)
}

/// The one object of a kind.
#[track_caller]
pub(crate) fn object<'a>(objects: &'a [Value], kind: &str) -> &'a Value {
    let mut found = objects.iter().filter(|object| object["kind"] == kind);
    let one = found.next().unwrap_or_else(|| panic!("no {kind}"));
    assert!(found.next().is_none(), "more than one {kind}");
    one
}

/// The pod of the Deployment.
#[track_caller]
pub(crate) fn pod(objects: &[Value]) -> &Value {
    pod_of(objects, "Deployment")
}

/// The pod of the one object of a kind.
#[track_caller]
pub(crate) fn pod_of<'a>(objects: &'a [Value], kind: &str) -> &'a Value {
    &object(objects, kind)["spec"]["template"]["spec"]
}

/// A container of the pod, and the list that it is in.
pub(crate) fn container<'a>(pod: &'a Value, name: &str) -> Option<(&'static str, &'a Value)> {
    ["initContainers", "containers"].into_iter().find_map(|list| {
        let containers = pod[list].as_array().map(Vec::as_slice).unwrap_or_default();
        containers.iter().find(|container| container["name"] == name).map(|container| (list, container))
    })
}

/// What those who define kinds of their own say of the objects of theirs: the tool with their schemas, and group with version.
#[track_caller]
pub(crate) fn unfit(objects: &[Value], tool_name: &str, group: &str) -> Vec<String> {
    let theirs: Vec<&Value> = objects.iter().filter(|object| object["apiVersion"] == group).collect();
    assert!(!theirs.is_empty(), "no object of {group}");
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("objects.json");
    fs::write(&file, serde_json::to_string(&theirs).expect("JSON")).expect("a file");
    let mut node = Command::new("node");
    node.arg(root().join("tests/helm/kinds.mjs")).arg(tool(tool_name)).arg(format!("{tool_name}/{group}"));
    let said = succeed(node.stdin(fs::File::open(&file).expect("the file")));
    serde_json::from_str(&said).expect("a list")
}

/// Holds a file that is made from others to what it would be now, or writes it.
#[track_caller]
pub(crate) fn golden(file: &Path, now: &str) {
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::create_dir_all(file.parent().expect("a folder")).expect("the folder");
        fs::write(file, now).expect("the file");
        return;
    }
    let was = fs::read_to_string(file).unwrap_or_default();
    let (line, (was, now)) = match was.lines().zip(now.lines()).enumerate().find(|(_, (was, now))| was != now) {
        Some(found) => found,
        None if was == now => return,
        None => (was.lines().count().min(now.lines().count()), ("…", "…")),
    };
    let (file, line) = (file.display(), line + 1);
    panic!("{file}:{line} is not what it would be now; UPDATE_GOLDEN=1 writes it anew\n  was {was}\n  now {now}");
}
