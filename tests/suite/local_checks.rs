//! Checks of what lies on this machine: files, directories, programs, variables.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{PATIENCE, Settings, Sidecar, Upstream, ask, await_value, eventually, home_with_login, run};

pub(crate) const KEY: &str = "invented-key";

/// A sidecar without checks, and an endpoint that tells all about those that are added.
pub(crate) fn telling(upstream: &Upstream, key: &Path) -> Settings {
    std::fs::write(key, KEY).expect("a key");
    Sidecar::bare(upstream)
        .raw("admin.api_keys", &format!("[{{ file = {:?} }}]", key.display().to_string()))
        .text("endpoints.\"/told\".dialect", "claude-proxy")
        .raw("endpoints.\"/told\".detail", "true")
}

/// A check that is asked all the time.
pub(crate) fn quick(settings: Settings, name: &str) -> Settings {
    ["interval", "fast_interval"]
        .into_iter()
        .fold(settings, |settings, key| settings.text(&format!("checks.{name}.{key}"), "100ms"))
        .text(&format!("checks.{name}.timeout"), "100ms")
}

/// What is told of a check to somebody with a key.
#[track_caller]
pub(crate) fn told(sidecar: &Sidecar, name: &str) -> Value {
    let answer = ask(sidecar.admin, "GET", "/told", &[("X-API-Key", KEY)], b"");
    answer.json()["components"][name].clone()
}

/// Waits until what is told of a check satisfies the condition, and returns it.
#[track_caller]
pub(crate) fn await_told(sidecar: &Sidecar, name: &str, condition: impl Fn(&Value) -> bool) -> Value {
    await_value(name, || told(sidecar, name), condition)
}

#[track_caller]
pub(crate) fn await_status(sidecar: &Sidecar, name: &str, status: &str) -> Value {
    await_told(sidecar, name, |told| told["status"] == status)
}

#[test]
fn files_that_hang_hold_up_themselves_alone() {
    let upstream = Upstream::hello();
    let home = home_with_login();
    let path = home.path().join("model.bin");
    std::fs::write(&path, "here").expect("a file");
    std::fs::create_dir(home.path().join("hung")).expect("a directory");
    std::fs::write(home.path().join("hung/auth.json"), "{}").expect("a file");
    let library = home.path().join("hang.so");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/suite/apps/hang.c");
    let built = run(Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(source).arg("-ldl"));
    assert_eq!(built.code, Some(0), "{}", built.stderr);
    let mut settings = quick(telling(&upstream, &home.path().join("key")), "model")
        .text("checks.model.file.path", &path.display().to_string());
    let hung: Vec<String> = (0..24).map(|number| format!("hung{number}")).collect();
    for name in &hung {
        settings = quick(settings, name)
            .text(&format!("checks.{name}.on_failure"), "ignore")
            .text(&format!("checks.{name}.credentials.preset"), "codex")
            .text(&format!("checks.{name}.credentials.config_dir"), &home.path().join("hung").display().to_string());
    }
    let mut sidecar = Sidecar::start_in(home, &settings, |command| {
        command.env("LD_PRELOAD", &library);
    });
    for name in &hung {
        await_told(&sidecar, name, |told| told["error"] == "Codex CLI login could not be read in time");
    }
    await_status(&sidecar, "model", "healthy");
    std::fs::remove_file(&path).expect("removed");
    await_status(&sidecar, "model", "unhealthy");
    // Neither does it hold up reading the configuration.
    let reload = ask(sidecar.admin, "POST", "/-/reload", &[], b"");
    assert_eq!(reload.status, 200, "{}", reload.text());
    // Nor the end of the process.
    sidecar.terminate();
    assert_eq!(sidecar.wait(PATIENCE).code(), Some(0));
}

#[test]
fn a_file_comes_grows_and_goes() {
    let upstream = Upstream::hello();
    let home = home_with_login();
    let path = home.path().join("model.bin");
    let settings = quick(telling(&upstream, &home.path().join("key")), "model")
        .text("checks.model.file.path", &path.display().to_string())
        .text("checks.model.file.min_size", "10B");
    let sidecar = Sidecar::start_in(home, &settings, |_| {});
    let missing = await_status(&sidecar, "model", "unhealthy");
    assert_eq!((&missing["exists"], &missing["error"]), (&json!(false), &json!("model is not there")));
    std::fs::write(&path, "short").expect("a file");
    await_told(&sidecar, "model", |told| told["error"] == "model is too small");
    std::fs::write(&path, "long enough").expect("a file");
    let there = await_status(&sidecar, "model", "healthy");
    assert_eq!((&there["size"], &there["path"]), (&json!(11), &json!(path.display().to_string())));
    assert!(!sidecar.admin("/told").text().contains("model.bin"), "a stranger does not learn where it is");
    std::fs::remove_file(&path).expect("gone");
    await_status(&sidecar, "model", "unhealthy");
}

#[test]
fn a_directory_is_counted_and_a_very_large_one_delays_nobody() {
    let upstream = Upstream::hello();
    let home = home_with_login();
    let scripts = home.path().join("scripts");
    std::fs::create_dir(&scripts).expect("a directory");
    for number in 0..5 {
        std::fs::write(scripts.join(format!("{number}.py")), "").expect("a file");
    }
    // Links to one file: a hundred thousand names are made in a second or two.
    let large = home.path().join("large");
    std::fs::create_dir(&large).expect("a directory");
    std::fs::write(large.join("0"), "").expect("a file");
    for number in 1..100_000 {
        // A file has no more than so many names on some file systems.
        let from = large.join((number / 20_000 * 20_000).to_string());
        let to = large.join(number.to_string());
        if number % 20_000 == 0 {
            std::fs::write(to, "").expect("a file");
        } else {
            std::fs::hard_link(from, to).expect("a name");
        }
    }
    let settings = quick(telling(&upstream, &home.path().join("key")), "scripts")
        .text("checks.scripts.directory.path", &scripts.display().to_string())
        .text("checks.scripts.directory.glob", "*.py")
        .raw("checks.scripts.directory.min_count", "5")
        .text("checks.large.directory.path", &large.display().to_string())
        .text("checks.large.interval", "20s")
        .text("checks.large.timeout", "20s");
    let sidecar = Sidecar::start_in(home, &settings, |_| {});
    assert_eq!(await_status(&sidecar, "scripts", "healthy")["count"], 5);
    std::fs::remove_file(scripts.join("3.py")).expect("gone");
    let fewer = await_status(&sidecar, "scripts", "unhealthy");
    assert_eq!(fewer["error"], "scripts holds 4 files, 5 are needed");
    let before = sidecar.process.own_kib();
    assert_eq!(await_status(&sidecar, "large", "healthy")["count"], 100_000);
    let grown = sidecar.process.own_kib().saturating_sub(before);
    assert!(grown < 4096, "counting grew by {grown} KiB");
    std::fs::remove_dir_all(&scripts).expect("gone");
    let gone = await_told(&sidecar, "scripts", |told| told["exists"] == false);
    assert_eq!((&gone["status"], &gone["count"]), (&json!("unhealthy"), &Value::Null));
}

#[test]
fn programs_that_hang_hold_up_themselves_alone() {
    let upstream = Upstream::hello();
    let home = home_with_login();
    // It waits for its turn, and not for long: two seconds are what a program has for itself.
    let mut settings = telling(&upstream, &home.path().join("key"))
        .text("checks.quick.interval", "4s")
        .text("checks.quick.timeout", "4s")
        .raw("checks.quick.command.argv", "[\"/bin/true\"]");
    for name in ["one", "two"] {
        settings = settings
            .text(&format!("checks.{name}.interval"), "1h")
            .text(&format!("checks.{name}.timeout"), "1h")
            .text(&format!("checks.{name}.on_failure"), "ignore")
            .raw(&format!("checks.{name}.command.argv"), "[\"/bin/sleep\", \"1000\"]");
    }
    let sidecar = Sidecar::start_in(home, &settings, |_| {});
    let runs = |outcome: &str| {
        let labels = ["check=\"quick\"", &format!("outcome=\"{outcome}\"")];
        sidecar.metric("pulsegate_check_runs_total", &labels)
    };
    eventually(PATIENCE, "it runs beside those that hang", || runs("pass") > 1.0);
    assert_eq!(runs("fail"), 0.0, "and has never been out of time");
}

#[test]
fn a_program_is_found_on_its_path() {
    let upstream = Upstream::hello();
    let home = home_with_login();
    let tool = home.path().join("ffmpeg");
    let directory = serde_json::to_string(&[home.path()]).expect("a list");
    let settings = quick(quick(telling(&upstream, &home.path().join("key")), "ffmpeg"), "shell")
        .text("checks.ffmpeg.executable.name", "ffmpeg")
        .raw("checks.ffmpeg.executable.search", &directory)
        .text("checks.shell.executable.name", "sh");
    let sidecar = Sidecar::start_in(home, &settings, |_| {});
    assert!(await_status(&sidecar, "shell", "healthy")["path"].as_str().is_some_and(|path| path.ends_with("/sh")));
    let missing = await_status(&sidecar, "ffmpeg", "unhealthy");
    assert_eq!((&missing["found"], &missing["path"]), (&json!(false), &Value::Null));
    std::fs::write(&tool, "#!/bin/sh\n").expect("a file");
    std::fs::set_permissions(&tool, std::fs::Permissions::from_mode(0o755)).expect("permissions");
    assert_eq!(await_status(&sidecar, "ffmpeg", "healthy")["path"], tool.display().to_string());
}

#[test]
fn whether_a_secret_is_there_is_told_and_nothing_of_it() {
    let upstream = Upstream::hello();
    let home = home_with_login();
    let file = home.path().join("tmdb-key");
    let settings = telling(&upstream, &home.path().join("key"))
        .text("checks.variable.environment.variable", "TMDB_API_KEY")
        .text("checks.absent.environment.variable", "NOT_SET_ANYWHERE")
        .text("checks.file.environment.file", &file.display().to_string());
    let settings = ["variable", "absent", "file"].into_iter().fold(settings, quick);
    let sidecar = Sidecar::start_in(home, &settings, |command| {
        command.env("TMDB_API_KEY", "canary-of-the-environment");
    });
    assert_eq!(await_status(&sidecar, "variable", "healthy")["configured"], true);
    let absent = await_status(&sidecar, "absent", "unhealthy");
    assert_eq!((&absent["configured"], &absent["error"]), (&json!(false), &json!("absent is not configured")));
    assert_eq!(sidecar.admin("/readyz").status, 200, "a key that is not there degrades, and no more");
    await_status(&sidecar, "file", "unhealthy");
    std::fs::write(&file, "\n").expect("a file");
    eventually(Duration::from_secs(1), "white space is no secret", || told(&sidecar, "file")["configured"] == false);
    std::fs::write(&file, "canary-of-the-file\n").expect("a file");
    assert_eq!(await_status(&sidecar, "file", "healthy")["configured"], true);
    let said = sidecar.admin("/metrics").text().to_owned() + &told(&sidecar, "file").to_string() + &sidecar.log();
    assert!(!said.contains("canary"), "{said}");
}
