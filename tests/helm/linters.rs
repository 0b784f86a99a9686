//! What other people's linters say of what the chart renders, and the suites of `helm/pulsegate/tests`.
//!
//! kube-linter takes a minute and a half to build, so it is asked only if told so:
//! `tests/tools kube-linter && cargo test --test helm -- --ignored linter`.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use crate::support::{KUBERNETES, chart, fail, path, render, situations, succeed, text, tool};

/// What a linter says and we do not follow, and why. `hardened` must do with those that hold `Everywhere`.
struct Exception {
    says: &'static str,
    holds: Holds,
    why: &'static str,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Holds {
    Everywhere,
    /// Where the values leave open what nobody but the app's owner knows.
    Unhardened,
}

const THE_APP: &str = "nobody but its owner knows what the app needs and which rights it can do without";

const KUBE_SCORE: [Exception; 14] = [
    Exception { says: "CPU limit is not set", holds: Holds::Everywhere, why: "throttling delays probes and requests" },
    Exception {
        says: "ImagePullPolicy is not set to Always",
        holds: Holds::Everywhere,
        why: "tags are fixed, and an image that was loaded must not be pulled",
    },
    Exception {
        says: "my-app-test/apps v1/Pod: The pod does not have a matching NetworkPolicy",
        holds: Holds::Everywhere,
        why: "it listens nowhere and lives for seconds",
    },
    Exception { says: "(app) Ephemeral Storage", holds: Holds::Unhardened, why: THE_APP },
    Exception { says: "(app) Memory limit is not set", holds: Holds::Unhardened, why: THE_APP },
    Exception { says: "(app) CPU request is not set", holds: Holds::Unhardened, why: THE_APP },
    Exception { says: "(app) Memory request is not set", holds: Holds::Unhardened, why: THE_APP },
    Exception { says: "(app) The container is running with a low user ID", holds: Holds::Unhardened, why: THE_APP },
    Exception { says: "(app) The container running with a low group ID", holds: Holds::Unhardened, why: THE_APP },
    Exception {
        says: "(app) The pod has a container with a writable root filesystem",
        holds: Holds::Unhardened,
        why: THE_APP,
    },
    Exception { says: "(install-cli)", holds: Holds::Unhardened, why: "an example's own init container" },
    Exception {
        says: "(pulsegate) The container is running with a low user ID",
        holds: Holds::Unhardened,
        why: "it must be the app's own user to see what the app sees",
    },
    Exception {
        says: "The pod does not have a matching NetworkPolicy",
        holds: Holds::Unhardened,
        why: "off by default: not every cluster has them",
    },
    Exception { says: "Deployment few replicas", holds: Holds::Unhardened, why: "one is the default" },
];

const KUBE_LINTER: [Exception; 1] = [Exception { says: "container \"app\"", holds: Holds::Unhardened, why: THE_APP }];

/// The lines for which there is no exception. What each exception was used for is noted.
fn unexplained(situation: &str, said: &str, exceptions: &[Exception], used: &mut BTreeSet<String>) -> Vec<String> {
    let mut found = Vec::new();
    for line in said.lines().filter(|line| !line.is_empty()) {
        let allowed = |exception: &&Exception| exception.holds == Holds::Everywhere || situation != "hardened";
        match exceptions.iter().filter(allowed).find(|exception| line.contains(exception.says)) {
            Some(exception) => {
                assert!(!exception.why.is_empty());
                used.insert(exception.says.to_owned());
            }
            None => found.push(format!("{situation}: {line}")),
        }
    }
    found
}

/// Holds a linter to its exceptions: nothing else is said, and none of them is there in vain.
#[track_caller]
fn nothing_unexplained(exceptions: &[Exception], lint: impl Fn(&str) -> String) {
    let folder = tempfile::tempdir().expect("a folder");
    let (mut used, mut found) = (BTreeSet::new(), Vec::new());
    for situation in situations() {
        let file = folder.path().join(format!("{situation}.yaml"));
        fs::write(&file, render(&situation, KUBERNETES)).expect("a file");
        found.extend(unexplained(&situation, &lint(path(&file)), exceptions, &mut used));
    }
    assert!(found.is_empty(), "{found:#?}");
    let idle: Vec<_> = exceptions.iter().map(|exception| exception.says).filter(|says| !used.contains(*says)).collect();
    assert!(idle.is_empty(), "exceptions that nothing needs any more: {idle:?}");
}

fn kube_score(file: &str) -> String {
    let version = format!("v{KUBERNETES}");
    let mut command = Command::new(tool("kube-score/bin/kube-score"));
    let command = command.env_clear().args(["score", "--kubernetes-version", &version, "--output-format", "ci", file]);
    let said = text(&command.output().expect("kube-score").stdout);
    assert!(said.contains("[OK]"), "{said}");
    said.lines()
        .filter(|line| line.starts_with("[CRITICAL]") || line.starts_with("[WARNING]"))
        .fold(String::new(), |lines, line| lines + line + "\n")
}

#[test]
fn kube_score_says_nothing_that_is_not_explained() {
    nothing_unexplained(&KUBE_SCORE, kube_score);
}

#[test]
fn kube_score_would_say_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("wrong.yaml");
    let wrong = render("hardened", KUBERNETES).replace("readOnlyRootFilesystem: true", "readOnlyRootFilesystem: false");
    fs::write(&file, wrong).expect("a file");
    let said = kube_score(path(&file));
    assert_eq!(unexplained("hardened", &said, &KUBE_SCORE, &mut BTreeSet::new()).len(), 3, "{said}");
}

fn kube_linter(file: &str) -> String {
    let mut command = Command::new(tool("kube-linter/bin/kube-linter"));
    let said = text(&command.env_clear().args(["lint", file]).output().expect("kube-linter").stdout);
    assert!(said.contains("KubeLinter"), "{said}");
    said.lines().filter(|line| line.contains("(check: ")).fold(String::new(), |lines, line| lines + line + "\n")
}

#[test]
#[ignore = "tests/tools kube-linter builds it first, for a minute and a half"]
fn kube_linter_says_nothing_that_is_not_explained() {
    nothing_unexplained(&KUBE_LINTER, kube_linter);
}

#[test]
#[ignore = "tests/tools kube-linter builds it first, for a minute and a half"]
fn kube_linter_would_say_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("wrong.yaml");
    let wrong = render("hardened", KUBERNETES).replace("readOnlyRootFilesystem: true", "readOnlyRootFilesystem: false");
    fs::write(&file, wrong).expect("a file");
    let said = kube_linter(path(&file));
    assert_eq!(unexplained("hardened", &said, &KUBE_LINTER, &mut BTreeSet::new()).len(), 3, "{said}");
}

fn unittest(chart: &str) -> Command {
    let mut command = Command::new(tool("helm-unittest/bin/helm-unittest"));
    command.env_clear().args(["--strict", chart]);
    command
}

#[test]
fn the_suites_of_the_chart_pass() {
    let said = succeed(&mut unittest(path(&chart())));
    assert!(said.contains("Test Suites: 4 passed, 4 total"), "{said}");
    assert!(!said.contains("errored") && !said.contains("failed"), "{said}");
}

/// A suite that cannot fail proves nothing.
#[test]
fn a_suite_fails_for_a_chart_that_is_wrong() {
    let folder = tempfile::tempdir().expect("a folder");
    succeed(Command::new("cp").arg("-rL").arg(chart()).arg(folder.path()));
    let copy = folder.path().join("pulsegate");
    let template = copy.join("charts/pulsegate-lib/templates/_container.tpl");
    let text = fs::read_to_string(&template).expect("the template");
    fs::write(&template, text.replace("command: [pulsegate, drain, ", "command: [pulsegate, drain, --wait, "))
        .expect("it");
    let said = fail(&mut unittest(path(&copy)));
    assert!(said.contains("drains first and does not end by it"), "{said}");
}
