//! The CLI as it is found in the wild: real versions, gone and back, broken in every known way (checks.md).
//!
//! Of the real CLI nothing but `--version` is ever run.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{
    PATIENCE, Settings, Sidecar, Upstream, claude, eventually, eventually_some, home_with_login, tool,
};

/// Between two looks at the CLI in these tests; the process is run only when its file has changed.
const INTERVAL: Duration = Duration::from_secs(1);

fn settings(upstream: &Upstream) -> Settings {
    Sidecar::full(upstream)
        .without("checks.claude_cli.cli.path")
        .text("checks.claude_cli.interval", "1s")
        .text("checks.claude_cli.fast_interval", "200ms")
        .text("checks.claude_cli.timeout", "1s")
        .text("checks.claude_cli.stale_after", "10m")
}

/// A directory whose `claude` is a link to the real CLI of a version.
fn with_claude(version: &str) -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().expect("a directory");
    let link = directory.path().join("claude");
    symlink(claude(version).canonicalize().expect("the CLI"), &link).expect("a link");
    (directory, link)
}

/// Puts a script in place at once, as an installer does.
fn script(directory: &Path, text: &[u8]) -> PathBuf {
    let (part, path) = (directory.join("part"), directory.join("claude"));
    std::fs::write(&part, text).expect("a script");
    std::fs::set_permissions(&part, PermissionsExt::from_mode(0o755)).expect("permissions");
    std::fs::rename(&part, &path).expect("renamed");
    path
}

fn cli(body: &Value) -> &Value {
    &body["components"]["claude_cli"]
}

/// Starts a sidecar that looks at one file alone.
#[track_caller]
fn looking_at(upstream: &Upstream, path: &Path) -> Sidecar {
    Sidecar::start(&settings(upstream).text("checks.claude_cli.cli.path", &path.display().to_string()))
}

/// The component once it is not unknown any more.
#[track_caller]
fn verdict(sidecar: &Sidecar) -> Value {
    cli(&sidecar.await_detailed("the CLI has a status", |body| cli(body)["status"] != "unknown")).clone()
}

#[test]
fn the_real_cli_is_found_lost_and_found_again() {
    let upstream = Upstream::hello();
    let (directory, link) = with_claude("2.1.328");
    let path = format!("{}:/usr/bin:/bin", directory.path().display());
    let sidecar = Sidecar::start_in(home_with_login(), &settings(&upstream), |command| {
        command.env("PATH", path);
    })
    .ready();
    let body = sidecar.detailed();
    assert_eq!(cli(&body)["status"], "healthy");
    assert_eq!(cli(&body)["version"], "2.1.328");
    assert_eq!(cli(&body)["path"], link.display().to_string());
    sidecar.assert_metric("claude_proxy_claude_cli_status", &[], 1.0);
    assert_eq!(sidecar.get("/health").status, 200);

    let aside = directory.path().join("aside");
    std::fs::rename(&link, &aside).expect("renamed");
    let removed = Instant::now();
    let answer = sidecar.await_code("/health", 503);
    // Two intervals, give or take a tenth, and a second for a loaded machine.
    assert!(removed.elapsed() < 2 * INTERVAL + Duration::from_secs(2), "{:?}", removed.elapsed());
    let body = answer.json();
    assert_eq!(body["status"], "unhealthy");
    assert_eq!(body["error"], "Claude CLI not found in PATH");
    let searched = body["details"]["searched_paths"].as_array().expect("the searched paths");
    for path in [link.display().to_string(), "/usr/bin/claude".into(), "~/.local/bin/claude".into()] {
        assert!(searched.contains(&Value::from(path.clone())), "{path} in {searched:?}");
    }
    let detailed = sidecar.detailed();
    assert_eq!(cli(&detailed)["status"], "unhealthy");
    assert_eq!(cli(&detailed)["searched_paths"], body["details"]["searched_paths"]);
    assert_eq!(cli(&detailed)["error"], "Claude CLI not found in PATH");
    sidecar.assert_metric("claude_proxy_claude_cli_status", &[], 0.0);
    assert_eq!(sidecar.admin("/readyz").status, 503);
    assert_eq!(sidecar.admin("/livez").status, 200);

    std::fs::rename(&aside, &link).expect("renamed");
    sidecar.await_code("/health", 200);
    assert_eq!(cli(&sidecar.detailed())["version"], "2.1.328");
    sidecar.assert_metric("claude_proxy_claude_cli_status", &[], 1.0);
}

#[test]
fn claude_cli_path_names_the_one_file_that_is_looked_at() {
    let upstream = Upstream::hello();
    let (directory, link) = with_claude("2.1.328");
    let sidecar = Sidecar::start_in(home_with_login(), &settings(&upstream), |command| {
        command.env("CLAUDE_CLI_PATH", &link);
    })
    .ready();
    assert_eq!(cli(&sidecar.detailed())["path"], link.display().to_string());
    drop(directory);
    let body = sidecar.await_code("/health", 503).json();
    assert_eq!(body["details"]["searched_paths"], serde_json::json!([link.display().to_string()]));
}

#[test]
fn old_versions_are_told_and_an_update_is_noticed() {
    let upstream = Upstream::hello();
    let (directory, link) = with_claude("2.1.197");
    let slow = settings(&upstream)
        // 2.0.0 takes a second and starts children; on a loaded machine more.
        .text("checks.claude_cli.interval", "8s")
        .text("checks.claude_cli.timeout", "8s")
        .text("checks.claude_cli.cli.path", &link.display().to_string())
        .text("checks.claude_cli.cli.min_version", "2.1.40");
    let sidecar = Sidecar::start(&slow);
    let found = verdict(&sidecar);
    assert_eq!((&found["status"], &found["version"]), (&"healthy".into(), &"2.1.197".into()));

    let next = directory.path().join("next");
    symlink(claude("2.0.0").canonicalize().expect("the CLI"), &next).expect("a link");
    std::fs::rename(&next, &link).expect("replaced");
    let body = sidecar.await_detailed("the downgrade is noticed", |body| cli(body)["status"] == "unhealthy");
    assert_eq!(cli(&body)["version"], "2.0.0");
    assert_eq!(cli(&body)["error"], "Claude CLI 2.0.0 is too old: 2.1.40 is needed");
    sidecar.assert_metric("claude_proxy_claude_cli_status", &[], 0.0);

    symlink(claude("2.1.328").canonicalize().expect("the CLI"), &next).expect("a link");
    std::fs::rename(&next, &link).expect("replaced");
    let body = sidecar.await_detailed("the update is noticed", |body| cli(body)["status"] == "healthy");
    assert_eq!(cli(&body)["version"], "2.1.328");
}

#[test]
fn a_version_can_be_read_without_running_anything() {
    let upstream = Upstream::hello();
    for version in ["2.1.328", "2.1.197", "2.0.0"] {
        let sidecar = Sidecar::start(
            &settings(&upstream)
                .text("checks.claude_cli.cli.path", &claude(version).display().to_string())
                .text("checks.claude_cli.cli.version_from", "package.json"),
        );
        let found = verdict(&sidecar);
        assert_eq!((&found["status"], &found["version"]), (&"healthy".into(), &version.into()));
    }
}

#[test]
fn a_version_from_package_json_never_runs_the_program() {
    let upstream = Upstream::hello();
    let directory = tempfile::tempdir().expect("a directory");
    let ran = directory.path().join("ran");
    let path = script(directory.path(), format!("#!/bin/sh\ntouch {}\necho 9.9.9\n", ran.display()).as_bytes());
    std::fs::write(
        directory.path().join("package.json"),
        r#"{"name":"@anthropic-ai/claude-code","version":"2.1.300"}"#,
    )
    .expect("a package");
    let sidecar = Sidecar::start(
        &settings(&upstream)
            .text("checks.claude_cli.cli.path", &path.display().to_string())
            .text("checks.claude_cli.cli.version_from", "package.json"),
    );
    assert_eq!(verdict(&sidecar)["version"], "2.1.300");
    assert!(!ran.exists());
}

#[test]
fn the_other_real_ones_are_found_and_read_without_being_run() {
    let upstream = Upstream::hello();
    for (name, version) in [("codex", "0.169.0"), ("gemini", "0.61.0"), ("opencode", "1.18.33")] {
        let path = tool(&format!("{name}/node_modules/.bin/{name}"));
        let mut settings = Sidecar::bare(&upstream)
            .text("endpoints.\"/health/detailed\".dialect", "claude-proxy")
            .raw("endpoints.\"/health/detailed\".detail", "true");
        for (check, version_from) in [("run", "command"), ("read", "package.json")] {
            settings = settings
                // Gemini takes two seconds of processor time to say its version.
                .text(&format!("checks.{check}.timeout"), "30s")
                .text(&format!("checks.{check}.cli.preset"), name)
                .text(&format!("checks.{check}.cli.path"), &path.display().to_string())
                .text(&format!("checks.{check}.cli.version_from"), version_from);
        }
        let sidecar = Sidecar::start(&settings);
        for check in ["run", "read"] {
            let body =
                sidecar.await_detailed("it has a status", |body| body["components"][check]["status"] != "unknown");
            let found = &body["components"][check];
            assert_eq!((&found["status"], &found["version"]), (&"healthy".into(), &version.into()), "{name}, {check}");
        }
        assert!(
            !sidecar.home().join(".gemini").exists() && !sidecar.home().join(".local").exists(),
            "it has a home of its own"
        );
    }
}

#[test]
fn what_is_no_program_is_told_as_what_it_is() {
    let upstream = Upstream::hello();
    type Make = fn(&Path) -> PathBuf;
    let cases: [(&str, Make, &str, &str); 6] = [
        (
            "a directory",
            |place| {
                std::fs::create_dir(place.join("claude")).expect("a directory");
                place.join("claude")
            },
            "error",
            "Claude CLI not available: a directory stands in its place",
        ),
        (
            "not executable",
            |place| {
                let path = script(place, b"#!/bin/sh\necho 1.2.3\n");
                std::fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).expect("permissions");
                path
            },
            "error",
            "Claude CLI not available: the file is not executable",
        ),
        (
            "exits with 127",
            |place| script(place, b"#!/bin/sh\necho 'canary: no node' >&2\nexit 127\n"),
            "error",
            "Claude CLI not available: its interpreter (node) is missing",
        ),
        (
            "a missing interpreter",
            |place| script(place, b"#!/nonexistent/node\n"),
            "error",
            "Claude CLI not available: its interpreter is missing",
        ),
        (
            "a stub that is no program",
            |place| script(place, b"canary: run the installer\n"),
            "error",
            "Claude CLI not available: it is not a program, but a stub of its installer",
        ),
        (
            "no version",
            |place| script(place, b"#!/bin/sh\necho canary\n"),
            "error",
            "Claude CLI not available: it prints no version",
        ),
    ];
    for (what, make, status, error) in cases {
        let directory = tempfile::tempdir().expect("a directory");
        let path = make(directory.path());
        let sidecar = looking_at(&upstream, &path);
        let found = verdict(&sidecar);
        assert_eq!(found["status"], status, "{what}: {found}");
        assert_eq!(found["error"], error, "{what}");
        assert_eq!(found["path"], path.display().to_string(), "{what}");
        let health = sidecar.await_code("/health", 503);
        assert_eq!(health.json()["error"], error, "{what}");
        sidecar.assert_metric("claude_proxy_claude_cli_status", &[], 0.0);
        assert!(!health.text().contains("canary") && !sidecar.log().contains("canary"), "outputs go nowhere");
    }
}

/// The processes whose command line holds a text.
fn processes_with(text: &str) -> Vec<String> {
    let entries = std::fs::read_dir("/proc").expect("/proc").flatten();
    let processes = entries.filter(|entry| entry.file_name().as_encoded_bytes().iter().all(u8::is_ascii_digit));
    let lines = processes.filter_map(|entry| {
        let line = std::fs::read(entry.path().join("cmdline")).ok()?;
        Some(format!("{:?} {}", entry.file_name(), String::from_utf8_lossy(&line).replace('\0', " ")))
    });
    lines.filter(|line| line.contains(text)).collect()
}

#[test]
fn a_hanging_cli_is_inconclusive_and_its_whole_group_is_gone() {
    let upstream = Upstream::hello();
    let directory = tempfile::tempdir().expect("a directory");
    let mark = directory.path().file_name().expect("a name").to_string_lossy().into_owned();
    // As 2.0.0 does: a shell that starts others and waits, deaf to SIGTERM, holding the output open.
    let text = format!("#!/bin/sh\ntrap '' TERM\nsh -c 'sleep 600; : {mark}' &\nsh -c 'sleep 600; : {mark}'\nwait\n");
    let path = script(directory.path(), text.as_bytes());
    let sidecar = Sidecar::start(
        &settings(&upstream)
            .text("checks.claude_cli.cli.path", &path.display().to_string())
            .text("checks.claude_cli.interval", "700ms")
            .text("checks.claude_cli.timeout", "500ms"),
    );
    eventually(PATIENCE, "it hangs", || !processes_with(&mark).is_empty());
    eventually(PATIENCE, "three runs have timed out", || {
        sidecar.metric("claude_proxy_check_runs_total", &["check=\"claude_cli\"", "outcome=\"inconclusive\""]) >= 3.0
    });
    sidecar.assert_metric("claude_proxy_check_runs_total", &["check=\"claude_cli\"", "outcome=\"fail\""], 0.0);
    let body = sidecar.detailed();
    assert_eq!(cli(&body)["status"], "unknown", "a slow host says nothing about the CLI");
    assert_eq!(cli(&body)["error"], "Claude CLI did not start in time");

    // Now it works: the check goes on by itself, and nothing of the hanging runs is left.
    script(directory.path(), b"#!/bin/sh\necho '2.1.328 (Claude Code)'\n");
    assert_eq!(verdict(&sidecar)["status"], "healthy");
    eventually(Duration::from_secs(5), "the whole group is gone", || {
        let left = processes_with(&mark).into_iter().filter(|line| line.contains("sleep") || line.contains("sh -c"));
        left.count() == 0
    });
}

#[test]
fn a_timeout_moves_no_status() {
    let upstream = Upstream::hello();
    let directory = tempfile::tempdir().expect("a directory");
    let path = script(directory.path(), b"#!/bin/sh\necho '2.1.328 (Claude Code)'\n");
    let sidecar = looking_at(&upstream, &path).ready();
    script(directory.path(), b"#!/bin/sh\nsleep 600\n");
    eventually(PATIENCE, "a run has timed out", || {
        sidecar.metric("claude_proxy_check_runs_total", &["check=\"claude_cli\"", "outcome=\"inconclusive\""]) >= 2.0
    });
    assert_eq!(cli(&sidecar.detailed())["status"], "healthy");
    assert_eq!(sidecar.admin("/health").status, 200);
}

#[test]
fn it_runs_without_our_secrets_in_a_home_of_its_own() {
    let upstream = Upstream::hello();
    let directory = tempfile::tempdir().expect("a directory");
    let dump = directory.path().join("dump");
    let text = format!(
        "#!/bin/sh\n{{ env; pwd; echo \"arguments: $*\"; readlink /proc/self/fd/0; }} > {0}.part\nmv {0}.part {0}\necho 2.1.328\n",
        dump.display()
    );
    let path = script(directory.path(), text.as_bytes());
    let settings = settings(&upstream).text("checks.claude_cli.cli.path", &path.display().to_string());
    let sidecar = Sidecar::start_in(home_with_login(), &settings, |command| {
        command.env("ANTHROPIC_API_KEY", "canary-key").env("SOME_PASSWORD", "canary-password");
    });
    assert_eq!(verdict(&sidecar)["status"], "healthy");
    let seen = eventually_some(PATIENCE, "it has run", || std::fs::read_to_string(&dump).ok());
    assert!(!seen.contains("canary"), "{seen}");
    for line in ["DISABLE_TELEMETRY=1", "DISABLE_AUTOUPDATER=1", "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC=1"] {
        assert!(seen.lines().any(|known| known == line), "{line} in {seen}");
    }
    let home = seen.lines().find_map(|line| line.strip_prefix("HOME=")).expect("a home");
    assert_ne!(Path::new(home), sidecar.home(), "not the user's");
    assert!(seen.contains("arguments: --version\n"), "{seen}");
    assert!(seen.contains("/dev/null"), "{seen}");
}
