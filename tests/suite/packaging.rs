//! What is beside the program for whoever installs it: the systemd unit, by systemd itself, and the configuration that the
//! unit and the image start with.

use std::path::{Path, PathBuf};
use std::process::Command;

use clap::Parser as _;
use pulsegate::commands::Arguments;

use crate::support::{Ended, PULSEGATE, SYSTEM_PATH, run, tool};

/// The worst exposure that systemd may find, in tenths. It finds 17: what is left is the network, sockets, and programs that
/// checks run.
const EXPOSED_AT_MOST: &str = "--threshold=18";

fn packaging(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging").join(name)
}

fn succeed(command: &mut Command) {
    let ended = run(command);
    assert_eq!(ended.code, Some(0), "{command:?}: {ended:?}");
}

/// A root file system with the unit, the program, and the units that systemd itself has.
fn installed(unit: &str) -> tempfile::TempDir {
    let root = tempfile::tempdir().expect("a folder");
    for folder in ["usr/local/bin", "etc/systemd/system", "usr/lib/systemd"] {
        std::fs::create_dir_all(root.path().join(folder)).expect("a folder");
    }
    std::os::unix::fs::symlink("usr/lib", root.path().join("lib")).expect("a link");
    std::fs::write(root.path().join("etc/systemd/system/pulsegate.service"), unit).expect("the unit");
    succeed(Command::new("cp").arg(PULSEGATE).arg(root.path().join("usr/local/bin/pulsegate")));
    let theirs = ["lib", "usr/lib"].map(|lib| tool("systemd").join(lib).join("systemd/system"));
    let theirs = theirs.iter().find(|folder| folder.exists()).expect("systemd's own units");
    succeed(Command::new("cp").arg("-r").arg(theirs).arg(root.path().join("usr/lib/systemd/system")));
    root
}

fn analyze(root: &Path, arguments: &[&str]) -> Ended {
    let mut command = Command::new(tool("systemd/bin/systemd-analyze"));
    let root = format!("--root={}", root.display());
    run(command.env_clear().env("PATH", SYSTEM_PATH).args(arguments).args([&root, "pulsegate.service"]))
}

#[test]
fn systemd_finds_nothing_wrong_with_the_unit() {
    let unit = std::fs::read_to_string(packaging("pulsegate.service")).expect("the unit");
    let root = installed(&unit);
    let verified = analyze(root.path(), &["verify", "--man=no"]);
    assert_eq!((verified.code, &*verified.stderr), (Some(0), ""));
    let secure = analyze(root.path(), &["security", "--offline=true", "--no-pager", EXPOSED_AT_MOST]);
    assert_eq!(secure.code, Some(0), "{}", secure.stdout);

    // It would have found something.
    let root = installed(&unit.replace("ProtectHome=", "ProtectHom="));
    assert!(analyze(root.path(), &["verify", "--man=no"]).stderr.contains("Unknown key"));
    let root = installed(&unit.replace("DynamicUser=yes", "").replace("ProtectSystem=strict", ""));
    let loose = analyze(root.path(), &["security", "--offline=true", "--no-pager", EXPOSED_AT_MOST]);
    assert_ne!(loose.code, Some(0), "{}", loose.stdout);
}

#[test]
fn the_units_commands_are_ours() {
    let unit = std::fs::read_to_string(packaging("pulsegate.service")).expect("the unit");
    for name in ["ExecStart", "ExecReload"] {
        let line = unit.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('=')).expect("a command");
        let words: Vec<&str> = line.split(' ').collect();
        assert_eq!((words[0], words[3]), ("/usr/local/bin/pulsegate", "/etc/pulsegate/pulsegate.toml"), "{name}");
        Arguments::try_parse_from(words).expect("a command line of ours");
    }
}

#[test]
fn what_image_and_unit_start_with_is_valid() {
    let mut validate = Command::new(PULSEGATE);
    validate.env_clear().args(["validate", "--config"]).arg(packaging("pulsegate.toml"));
    let ended = run(&mut validate);
    assert_eq!((ended.code, &*ended.stderr), (Some(0), ""));
    assert_eq!(ended.stdout, "the configuration is valid: 2 checks, 6 endpoints\n");
}

/// The image has a configuration of its own, in which there is no check of a CLI.
#[test]
fn the_pods_that_a_page_shows_fit_what_the_image_starts_with() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/seeing-the-cli.md");
    let page = std::fs::read_to_string(page).expect("the page");
    let blocks = page.split("```yaml").skip(1).filter_map(|rest| rest.split("```").next());
    let sidecars: Vec<&str> = blocks.filter_map(|block| Some(block.split_once("- name: pulsegate\n")?.1)).collect();
    assert_eq!(sidecars.len(), 2);
    for sidecar in sidecars {
        let variables = sidecar
            .lines()
            .filter_map(|line| line.trim().strip_prefix("- { name: ")?.strip_suffix(" }")?.split_once(", value: "));
        let mut validate = Command::new(PULSEGATE);
        validate.env_clear().env("PULSEGATE_CONFIG", packaging("pulsegate.toml")).envs(variables).arg("validate");
        let ended = run(&mut validate);
        assert_eq!((ended.code, &*ended.stderr), (Some(0), ""), "{sidecar}");
    }
}

#[test]
fn hadolint_finds_nothing_wrong_with_the_dockerfile() {
    let dockerfile = Path::new(env!("CARGO_MANIFEST_DIR")).join("Dockerfile");
    let ended = run(Command::new(tool("hadolint/bin/hadolint")).arg(dockerfile));
    assert_eq!((ended.code, &*ended.stdout, &*ended.stderr), (Some(0), "", ""));
}

/// What is named by a tag may be another thing tomorrow, and what only reads needs no right to write.
#[test]
fn the_workflow_runs_what_was_looked_at_and_may_only_read() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let workflow = std::fs::read_to_string(root.join(".github/workflows/ci.yml")).expect("the workflow");
    let actions: Vec<&str> = workflow.lines().filter_map(|line| line.trim().strip_prefix("- uses: ")).collect();
    assert!(actions.len() > 3, "{actions:?}");
    for action in actions {
        let (commit, version) = action.split_once('@').and_then(|(_, pin)| pin.split_once(" # v")).expect(action);
        assert!(commit.len() == 40 && commit.bytes().all(|byte| byte.is_ascii_hexdigit()), "{action}: {version}");
    }
    assert!(workflow.contains("\npermissions:\n  contents: read\n") && !workflow.contains(": write"), "{workflow}");
    assert!(workflow.contains("\n        run: .ci/run\n"), "the gates are those of everybody");
    let checkouts = workflow.matches("actions/checkout@").count();
    assert_eq!(workflow.matches("persist-credentials: false").count(), checkouts, "a token lies in a checkout");
    let dockerfile = std::fs::read_to_string(root.join("Dockerfile")).expect("the Dockerfile");
    let (_, rest) = workflow.split_once("RUST_VERSION: \"").expect("a version of Rust");
    let (rust, _) = rest.split_once('"').expect("its end");
    assert!(dockerfile.contains(&format!("ARG RUST={rust}\n")), "the Dockerfile has another compiler than {rust}");
}

#[test]
fn the_profile_is_of_the_version_and_compiler_that_are_released() {
    let dockerfile = Path::new(env!("CARGO_MANIFEST_DIR")).join("Dockerfile");
    let dockerfile = std::fs::read_to_string(dockerfile).expect("the Dockerfile");
    let (_, rest) = dockerfile.split_once("\nARG RUST=").expect("a version of Rust");
    let rust = rest.lines().next().expect("its line");
    let of = std::fs::read_to_string(packaging("pulsegate.profdata.txt")).expect("what the profile is of");
    for line in [format!("release: {rust}"), format!("pulsegate: {}", env!("CARGO_PKG_VERSION"))] {
        assert!(of.lines().any(|of| of == line), "{line}: run packaging/profile, then packaging/layout");
    }
}

#[test]
fn the_compiler_is_told_of_the_profile_where_that_fits() {
    let folder = tempfile::tempdir().expect("a folder");
    let compiler = |name: &str, version: &str| {
        let path = folder.path().join(name);
        let script = format!("#!/bin/sh\n[ \"$1\" = -vV ] && exec {version}\nfor word; do echo \"$word\"; done\n");
        // By another process: one that this one has open for writing could not be run while a test beside this one forks.
        succeed(
            Command::new("sh").args(["-c", "echo \"$2\" >\"$1\" && chmod 755 \"$1\"", "sh"]).arg(&path).arg(script),
        );
        path
    };
    let of = packaging("pulsegate.profdata.txt").display().to_string();
    let same = compiler("same", &format!("grep -v pulsegate: '{of}'"));
    let other = compiler("other", "echo rustc 1.0.0");
    let told = |compiler: &Path, package: &str, words: &[&str], profile: &str| {
        let mut command = Command::new(packaging("rustc"));
        command.env("CARGO_PKG_NAME", package).env("CARGO_PKG_VERSION", env!("CARGO_PKG_VERSION"));
        let ended = run(command.env("PULSEGATE_PROFILE", profile).arg(compiler).args(words));
        assert_eq!((ended.code, &*ended.stderr), (Some(0), ""));
        ended.stdout.lines().skip(words.len()).map(str::to_owned).collect::<Vec<_>>()
    };
    let release = ["-C", "opt-level=3", "-C", "lto=fat"];
    let used = told(&same, "pulsegate", &release, "");
    assert!(used[0].starts_with("-Cprofile-use=") && used[0].ends_with("/packaging/pulsegate.profdata"), "{used:?}");
    assert_eq!(told(&same, "pulsegate", &release, "/a b"), ["-Cprofile-generate=/a b"]);
    let static_release = ["-C", "opt-level=3", "--target", "x86_64-unknown-linux-musl"];
    for (compiler, package, words, profile) in [
        (&other, "pulsegate", &release, ""),
        (&same, "tokio", &release, ""),
        (&same, "pulsegate", &static_release, ""),
        (&same, "pulsegate", &["-C", "opt-level=0", "-C", "debuginfo=2"], ""),
        (&same, "pulsegate", &release, "none"),
    ] {
        assert_eq!(told(compiler, package, words, profile), [""; 0], "{compiler:?} {package} {words:?} {profile}");
    }
}

/// What may be in a program that is passed on with no more than its licence text.
const LICENCES: [&str; 11] = [
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "Unicode-3.0",
    "Zlib",
];

/// Whether an expression such as `(MIT OR Apache-2.0) AND Unicode-3.0`, or the older `MIT/Apache-2.0`, is fulfilled by those.
fn is_permissive(expression: &str) -> bool {
    expression.split(" AND ").all(|part| {
        let part = part.trim_matches(['(', ')']);
        part.split(" OR ").flat_map(|one| one.split('/')).any(|one| LICENCES.contains(&one.trim()))
    })
}

#[test]
fn everything_in_the_static_program_has_a_permissive_licence() {
    let mut metadata = Command::new(env!("CARGO"));
    metadata.current_dir(env!("CARGO_MANIFEST_DIR")).args(["metadata", "--format-version=1", "--locked"]);
    let ended = run(metadata.arg("--filter-platform=x86_64-unknown-linux-musl"));
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let metadata: serde_json::Value = serde_json::from_str(&ended.stdout).expect("JSON");
    let list = |value: &serde_json::Value| value.as_array().expect("a list").clone();
    let (nodes, packages) = (list(&metadata["resolve"]["nodes"]), list(&metadata["packages"]));
    let mut seen = vec![metadata["resolve"]["root"].clone()];
    let mut next = 0;
    while let Some(id) = seen.get(next).cloned() {
        next += 1;
        let node = nodes.iter().find(|node| node["id"] == id).expect("a node");
        for dependency in list(&node["deps"]) {
            let linked = list(&dependency["dep_kinds"]).iter().any(|kind| kind["kind"].is_null());
            if linked && !seen.contains(&dependency["pkg"]) {
                seen.push(dependency["pkg"].clone());
            }
        }
    }
    assert!(seen.len() > 150, "{} packages", seen.len());
    for id in seen {
        let package = packages.iter().find(|package| package["id"] == id).expect("a package");
        let licence = package["license"].as_str().unwrap_or_default();
        assert!(is_permissive(licence), "{} is under {licence:?}", package["name"]);
    }
    for (expression, permissive) in [
        ("(MIT OR Apache-2.0) AND Unicode-3.0", true),
        ("GPL-3.0-only", false),
        ("MIT AND GPL-2.0-or-later", false),
        ("GPL-2.0-only OR MIT", true),
        ("", false),
    ] {
        assert_eq!(is_permissive(expression), permissive, "{expression}");
    }
}

/// The image's labels say what is in it, and its build sees what it needs.
#[test]
fn the_dockerfile_tells_the_version_and_copies_what_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let dockerfile = std::fs::read_to_string(root.join("Dockerfile")).expect("it");
    let version = format!("org.opencontainers.image.version=\"{}\"", env!("CARGO_PKG_VERSION"));
    assert!(dockerfile.contains(&version), "{version}");
    let ignored = std::fs::read_to_string(root.join(".dockerignore")).expect("it");
    let kept: Vec<&str> = ignored.lines().filter_map(|line| line.strip_prefix('!')).collect();
    assert!(kept.contains(&"src") && kept.contains(&"packaging") && kept.contains(&"Cargo.lock"), "{kept:?}");
    for name in kept {
        assert!(root.join(name).exists(), "{name}");
    }
}
