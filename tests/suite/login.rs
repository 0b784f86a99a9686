//! The login: what is told of it, and that it is never touched (checks.md, "The login").
//!
//! Every credential here is invented, in a home of the test's own.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{
    Exchange, Next, PATIENCE, PULSEGATE, Settings, Sidecar, Upstream, claude, eventually, home_with_login, run,
};

const HOUR: i64 = 3600;

/// So many seconds from now, in milliseconds since 1970.
fn at(seconds: i64) -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis();
    i64::try_from(now).expect("a time") + seconds * 1000
}

fn login(access_ends: i64, refresh: Option<(&str, Option<i64>)>) -> String {
    let mut oauth = json!({
        "accessToken": "canary-access", "expiresAt": at(access_ends), "scopes": ["user:inference"],
        "subscriptionType": "canary-plan",
    });
    if let Some((token, ends)) = refresh {
        oauth["refreshToken"] = token.into();
        if let Some(ends) = ends {
            oauth["refreshTokenExpiresAt"] = at(ends).into();
        }
    }
    json!({ "claudeAiOauth": oauth }).to_string()
}

fn home(file: Option<&str>) -> TempDir {
    let home = tempfile::tempdir().expect("a home");
    std::fs::create_dir(home.path().join(".claude")).expect("a directory");
    if let Some(text) = file {
        std::fs::write(file_in(home.path()), text).expect("a login");
    }
    home
}

fn file_in(home: &Path) -> PathBuf {
    home.join(".claude/.credentials.json")
}

/// The login alone decides: its check fails at once, and the CLI is not looked at.
fn settings(upstream: &Upstream) -> Settings {
    Sidecar::full(upstream)
        .text("checks.claude_cli.on_failure", "ignore")
        .text("checks.authentication.interval", "100ms")
        .text("checks.authentication.timeout", "100ms")
        .raw("checks.authentication.failure_threshold", "1")
}

fn authentication(body: &Value) -> &Value {
    &body["components"]["authentication"]
}

#[track_caller]
fn await_state(sidecar: &Sidecar, state: &str) -> Value {
    let what = format!("the login is {state}");
    authentication(&sidecar.await_detailed(&what, |body| authentication(body)["state"] == state)).clone()
}

/// Nothing invented here may be anywhere that anybody can read.
#[track_caller]
fn assert_no_canary(sidecar: &Sidecar) {
    for path in ["/health", "/health/detailed", "/metrics", "/readyz?verbose"] {
        let text = sidecar.admin(path).text().to_owned();
        assert!(!text.contains("canary"), "{path}: {text}");
    }
    assert!(!sidecar.log().contains("canary"), "the log");
    let mut command = Command::new(PULSEGATE);
    command.env_clear().env("HOME", sidecar.home()).args(["config", "--config"]);
    let dump = run(command.arg(sidecar.home().join("pulsegate.toml")));
    assert!(!dump.stdout.contains("canary") && !dump.stderr.contains("canary"), "the dump");
}

struct Case {
    what: &'static str,
    file: Option<String>,
    state: &'static str,
    status: &'static str,
    logged_in: Option<bool>,
    code: u16,
}

fn cases() -> Vec<Case> {
    let case = |what, file: String, state, status, logged_in, code| Case {
        what,
        file: Some(file),
        state,
        status,
        logged_in,
        code,
    };
    let blank = r#"{"claudeAiOauth":{"accessToken":"","refreshToken":"","expiresAt":0,"scopes":[]}}"#;
    let no_scopes = r#"{"claudeAiOauth":{"accessToken":"canary","refreshToken":"canary","scopes":[]}}"#;
    let yes = Some(true);
    let no = Some(false);
    vec![
        case("valid", login(HOUR, Some(("canary-refresh", None))), "valid", "healthy", yes, 200),
        case("valid for long", login(100 * HOUR, None), "valid", "healthy", yes, 200),
        case("refreshable", login(-HOUR, Some(("canary-refresh", None))), "refreshable", "healthy", yes, 200),
        case(
            "refreshable for long",
            login(-HOUR, Some(("canary-refresh", Some(100 * HOUR)))),
            "refreshable",
            "healthy",
            yes,
            200,
        ),
        case(
            "the refresh token ends soon",
            login(-HOUR, Some(("canary-refresh", Some(71 * HOUR)))),
            "expiring",
            "degraded",
            yes,
            200,
        ),
        case("the access token ends soon", login(10 * HOUR, None), "expiring", "degraded", yes, 200),
        case("expired", login(-HOUR, None), "expired", "unauthenticated", no, 503),
        case("both expired", login(-HOUR, Some(("canary-refresh", Some(-60)))), "expired", "unauthenticated", no, 503),
        case("blank", blank.into(), "logged_out", "unauthenticated", no, 503),
        case("without scopes", no_scopes.into(), "logged_out", "unauthenticated", no, 503),
        case("empty", String::new(), "logged_out", "unauthenticated", no, 503),
        Case { what: "no file", file: None, state: "logged_out", status: "unauthenticated", logged_in: no, code: 503 },
        case("cut off", "{\"claudeAiOauth\":{\"accessToken\":\"canary".into(), "malformed", "error", None, 503),
        case("not JSON", "canary = not json".into(), "malformed", "error", None, 503),
    ]
}

#[test]
fn every_state_is_reported_as_what_it_is() {
    let upstream = Upstream::hello();
    // One sidecar, whose file is replaced as the CLI itself does it: at once, by renaming.
    let sidecar = Sidecar::start_in(home(None), &settings(&upstream), |_| {});
    for Case { what, file, state, status, logged_in, code } in cases() {
        let path = file_in(&sidecar.home());
        match &file {
            Some(text) => {
                let part = path.with_extension("part");
                std::fs::write(&part, text).expect("a login");
                std::fs::rename(&part, &path).expect("renamed");
            }
            None => std::fs::remove_file(&path).expect("removed"),
        }
        let expected = if status == "unauthenticated" || status == "error" { 503 } else { 200 };
        assert_eq!(expected, code, "{what}");
        let body = sidecar.await_detailed(what, |body| {
            authentication(body)["state"] == state && authentication(body)["status"] == status
        });
        let found = authentication(&body);
        assert_eq!(found["logged_in"], json!(logged_in), "{what}");
        assert_eq!(found["verified"], Value::Null, "{what}");
        assert_eq!(sidecar.admin("/health").status, code, "{what}");
        let health = sidecar.admin("/health").json();
        match status {
            "unauthenticated" => {
                assert_eq!(health["error"], "Claude CLI authentication failed", "{what}");
                assert_eq!(health["details"], json!({ "claude_cli_status": "not_authenticated" }), "{what}");
            }
            "error" => {
                assert_ne!(health["error"], "Claude CLI authentication failed", "{what}");
                assert_eq!(health.get("details"), None, "{what}: damaged is not logged out");
            }
            _ => assert_eq!(health.get("error"), None, "{what}"),
        }
    }
    assert_no_canary(&sidecar);
}

#[test]
fn an_end_of_the_login_is_told() {
    let upstream = Upstream::hello();
    let file = login(-HOUR, Some(("canary-refresh", Some(71 * HOUR))));
    let parsed: Value = serde_json::from_str(&file).expect("JSON");
    let ends = parsed["claudeAiOauth"]["refreshTokenExpiresAt"].as_i64().expect("a time") / 1000;
    let sidecar = Sidecar::start_in(home(Some(&file)), &settings(&upstream), |_| {});
    let found = await_state(&sidecar, "expiring");
    assert!(found["expires"].as_str().is_some_and(|text| text.ends_with('Z') && text.len() == 20), "{found}");
    sidecar.assert_metric("claude_proxy_auth_expiry_timestamp_seconds", &[], ends as f64);
}

#[test]
fn a_file_that_cannot_be_read_is_an_error_and_not_a_logout() {
    let upstream = Upstream::hello();
    let home = home(None);
    // A directory in its place: also root cannot read that.
    std::fs::create_dir(file_in(home.path())).expect("a directory");
    let sidecar = Sidecar::start_in(home, &settings(&upstream), |_| {});
    let found = await_state(&sidecar, "unreadable");
    assert_eq!((&found["status"], &found["logged_in"]), (&"error".into(), &Value::Null));
    let health = sidecar.await_code("/health", 503).json();
    assert_eq!(health["error"], "Claude CLI login cannot be read");
    assert_eq!(health.get("details"), None);
}

#[test]
fn nothing_is_changed_by_hundreds_of_looks() {
    let upstream = Upstream::hello();
    // Expired and refreshable: just what makes the CLI itself rewrite the file.
    let file = login(-HOUR, Some(("canary-refresh", None)));
    let sidecar = Sidecar::start_in(home(Some(&file)), &settings(&upstream), |_| {}).ready();
    let path = file_in(&sidecar.home());
    let before = std::fs::metadata(&path).expect("the file");
    let passes = || sidecar.metric("claude_proxy_check_runs_total", &["check=\"authentication\"", "outcome=\"pass\""]);
    eventually(4 * PATIENCE, "the login was looked at 200 times", || passes() >= 200.0);
    let after = std::fs::metadata(&path).expect("the file");
    assert_eq!(std::fs::read_to_string(&path).expect("the file"), file);
    assert_eq!((before.ino(), before.modified().unwrap()), (after.ino(), after.modified().unwrap()));
    assert_eq!((before.ctime(), before.ctime_nsec()), (after.ctime(), after.ctime_nsec()), "not even its fields");
    let names: Vec<_> = std::fs::read_dir(sidecar.home().join(".claude")).expect("the directory").flatten().collect();
    assert_eq!(names.len(), 1, "nothing was put beside it: {names:?}");
    assert_no_canary(&sidecar);
}

#[test]
fn a_login_by_environment_is_a_login() {
    let upstream = Upstream::hello();
    for (variable, method) in [
        ("ANTHROPIC_API_KEY", "api_key"),
        ("ANTHROPIC_AUTH_TOKEN", "auth_token"),
        ("CLAUDE_CODE_OAUTH_TOKEN", "oauth_token"),
        ("CLAUDE_CODE_USE_BEDROCK", "bedrock"),
        ("CLAUDE_CODE_USE_VERTEX", "vertex"),
    ] {
        let value = if method.len() > 7 || method == "api_key" { "canary-value" } else { "1" };
        let sidecar = Sidecar::start_in(home(None), &settings(&upstream), |command| {
            command.env(variable, value);
        });
        let found = await_state(&sidecar, "valid");
        assert_eq!((&found["status"], &found["method"]), (&"healthy".into(), &method.into()), "{variable}");
        assert_no_canary(&sidecar);
    }
    let sidecar = Sidecar::start_in(home(None), &settings(&upstream), |command| {
        command.env("ANTHROPIC_API_KEY", "").env("CLAUDE_CODE_USE_BEDROCK", "0");
    });
    await_state(&sidecar, "logged_out");
}

#[test]
fn the_configuration_directory_is_looked_for_where_it_is() {
    let upstream = Upstream::hello();
    let other = home_with_login();
    let sidecar = Sidecar::start_in(home(None), &settings(&upstream), |command| {
        command.env("CLAUDE_CONFIG_DIR", other.path().join(".claude"));
    });
    assert_eq!(await_state(&sidecar, "valid")["method"], "file");
    let configured = other.path().join(".claude").display().to_string();
    let settings = settings(&upstream).text("checks.authentication.credentials.config_dir", &configured);
    await_state(&Sidecar::start_in(home(None), &settings, |_| {}), "valid");
}

#[test]
fn in_a_container_what_cannot_be_seen_is_not_missing() {
    let upstream = Upstream::hello();
    let settings = settings(&upstream).text("checks.authentication.credentials.config_dir", "/nonexistent/.claude");
    let sidecar = Sidecar::start_in(home(None), &settings, |command| {
        command.env("KUBERNETES_SERVICE_HOST", "10.0.0.1");
    });
    let found = await_state(&sidecar, "not_visible");
    assert_eq!((&found["status"], &found["logged_in"]), (&"unknown".into(), &Value::Null));
    assert!(found["error"].as_str().is_some_and(|text| text.contains("mount")), "with the remedy: {found}");
}

/// Answers by the request's path, as an app in front of a model may.
fn app(exchange: &mut Exchange) -> Next {
    exchange.read_body();
    let json = [("content-type", "application/json")];
    let path = exchange.seen.target.split('?').next().unwrap_or_default().to_owned();
    let wish = exchange.seen.field("x-wish").unwrap_or_default().to_owned();
    match (path.as_str(), wish.as_str()) {
        (_, "401") => exchange.answer(
            401,
            &json,
            br#"{"type":"error","error":{"type":"authentication_error","message":"invalid x-api-key"}}"#,
        ),
        (_, "gate") => exchange.answer(401, &json, br#"{"error":"this gate wants a key of its own"}"#),
        (_, "429") => exchange.answer(429, &json, br#"{"error":{"type":"rate_limit_error"}}"#),
        (_, "529") => exchange.answer(529, &json, br#"{"error":{"type":"overloaded_error"}}"#),
        ("/v1/messages", "logged out") => {
            exchange.answer(200, &json, "{\"content\":\"Not logged in · Please run /login\"}".as_bytes())
        }
        ("/v1/messages", "streamed") => {
            let begun = exchange
                .write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n");
            let text = "data: Not logged in · Please run /login\n\n".as_bytes();
            let written = text.chunks(7).all(|part| {
                exchange.write(format!("{:x}\r\n", part.len()).as_bytes())
                    && exchange.write(part)
                    && exchange.write(b"\r\n")
            });
            if begun && written && exchange.write(b"0\r\n\r\n") { Next::Keep } else { Next::Close }
        }
        ("/v1/messages", error @ ("authentication_error" | "api_error")) => {
            let text =
                format!(r#"{{"type":"error","error":{{"type":"{error}","message":"OAuth token has expired"}}}}"#);
            let text = format!("event: error\ndata: {text}\n\n");
            exchange.answer(200, &[("content-type", "text/event-stream")], text.as_bytes())
        }
        ("/v1/messages", "page") => exchange.answer(200, &[("content-type", "text/html")], b"<p>Back soon"),
        ("/v1/messages", _) => exchange.answer(200, &json, br#"{"content":[{"type":"text","text":"hello"}]}"#),
        _ => exchange.answer(200, &json, b"{}"),
    }
}

#[track_caller]
fn await_verified(sidecar: &Sidecar, verified: bool) -> Value {
    let what = format!("verified is {verified}");
    authentication(&sidecar.await_detailed(&what, |body| authentication(body)["verified"] == verified)).clone()
}

#[test]
fn traffic_is_the_better_witness() {
    let upstream = Upstream::start(app);
    let sidecar = Sidecar::start(&settings(&upstream)).ready();
    let ask = |path: &str, wish: &str| sidecar.ask("POST", path, &[("x-wish", wish)], b"{}").status;

    // What says nothing about a login: another path, another gate's 401, a limit, an overload, another error inside a 200, and
    // what is not of a model.
    let before = [ask("/v1/models", ""), ask("/v1/messages", "gate"), ask("/x", "429"), ask("/x", "529")];
    assert_eq!(before, [200, 401, 429, 529]);
    assert_eq!(ask("/favicon.ico", "401"), 401, "which any stranger can have");
    assert_eq!([ask("/v1/messages", "api_error"), ask("/v1/messages", "page")], [200, 200]);
    let runs = || sidecar.metric("claude_proxy_check_runs_total", &["check=\"authentication\""]);
    let (begin, seen) = (runs(), upstream.seen().len());
    assert_eq!(seen, 7);
    eventually(PATIENCE, "it was looked at again", || runs() >= begin + 2.0);
    assert_eq!(authentication(&sidecar.detailed())["verified"], Value::Null);

    assert_eq!(ask("/v1/messages", ""), 200);
    let found = await_verified(&sidecar, true);
    assert!(found["verified_at"].as_str().is_some_and(|at| at.ends_with('Z')), "{found}");
    assert_eq!(found["status"], "healthy");

    for refusal in ["401", "logged out", "streamed", "authentication_error"] {
        assert!([200, 401].contains(&ask("/v1/messages", refusal)));
        let found = await_verified(&sidecar, false);
        assert_eq!(found["state"], "valid", "the file still says so");
        assert_eq!(found["status"], "degraded");
        assert_eq!(found["error"], "Claude CLI login is refused upstream");
        assert_eq!(sidecar.admin("/health").json()["status"], "degraded");
        let label = "check=\"authentication\"";
        sidecar.assert_metric("claude_proxy_auth_verified", &[label], 0.0);
        sidecar.assert_metric("claude_proxy_check_reason", &[label, "reason=\"login_rejected\""], 1.0);
        assert_eq!(ask("/v1/messages?beta=true", ""), 200);
        await_verified(&sidecar, true);
        sidecar.assert_metric("claude_proxy_auth_verified", &[label], 1.0);
        sidecar.assert_metric("claude_proxy_check_reason", &[label], 0.0);
    }
    // 429 after a good answer takes nothing back.
    assert_eq!(ask("/v1/messages", "429"), 429);
    let begin = runs();
    eventually(PATIENCE, "it was looked at again", || runs() >= begin + 2.0);
    assert_eq!(authentication(&sidecar.detailed())["verified"], true);
}

#[test]
fn a_refusal_can_be_made_to_weigh_and_a_new_login_takes_it_back() {
    let upstream = Upstream::start(app);
    let settings = settings(&upstream).text("checks.authentication.credentials.on_rejection", "fail");
    let sidecar = Sidecar::start(&settings).ready();
    assert_eq!(sidecar.ask("POST", "/v1/messages", &[("x-wish", "401")], b"{}").status, 401);
    let body = sidecar.await_code("/health", 503).json();
    assert_eq!(body["error"], "Claude CLI login is refused upstream");
    // Somebody logs in: what was said of the older file holds no more.
    std::fs::write(file_in(&sidecar.home()), login(HOUR, Some(("canary-refresh", None)))).expect("a login");
    sidecar.await_code("/health", 200);
    assert_eq!(authentication(&sidecar.detailed())["verified"], Value::Null);
}

fn command_mode(upstream: &Upstream, version: &str) -> Settings {
    settings(upstream)
        .text("checks.authentication.interval", "20s")
        .text("checks.authentication.timeout", "20s")
        .text("checks.authentication.fast_interval", "200ms")
        .text("checks.authentication.credentials.mode", "command")
        .text("checks.authentication.credentials.cli_path", &claude(version).display().to_string())
}

#[test]
fn command_mode_asks_the_real_cli_and_changes_nothing() {
    let upstream = Upstream::hello();
    for (file, state) in [
        (Some(login(-HOUR, Some(("canary-refresh", None)))), "valid"),
        (Some(login(HOUR, Some(("canary-refresh", None)))), "valid"),
        (None, "logged_out"),
    ] {
        let sidecar = Sidecar::start_in(home(file.as_deref()), &command_mode(&upstream, "2.1.328"), |_| {});
        let path = file_in(&sidecar.home());
        let before = file.as_ref().map(|_| std::fs::metadata(&path).expect("the file"));
        let found = await_state(&sidecar, state);
        assert_eq!(found["logged_in"], state == "valid", "{found}");
        if let (Some(text), Some(before)) = (&file, before) {
            let after = std::fs::metadata(&path).expect("the file");
            assert_eq!(std::fs::read_to_string(&path).expect("the file"), *text);
            assert_eq!((before.ino(), before.modified().unwrap()), (after.ino(), after.modified().unwrap()));
        } else {
            assert!(!path.exists());
        }
        assert_no_canary(&sidecar);
    }
}

#[test]
fn command_mode_refuses_versions_for_which_the_words_are_a_billed_prompt() {
    let upstream = Upstream::hello();
    let directory = tempfile::tempdir().expect("a directory");
    let log = directory.path().join("log");
    // A witness in front of the real 2.0.0, which notes what it is asked and passes on `--version` alone.
    let witness = directory.path().join("claude");
    let text = format!(
        "#!/bin/sh\necho \"$*\" >> {}\n[ \"$*\" = --version ] && exec {} --version\nexit 9\n",
        log.display(),
        claude("2.0.0").display()
    );
    std::fs::write(&witness, text).expect("a script");
    std::fs::set_permissions(&witness, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("permissions");
    let settings = command_mode(&upstream, "2.0.0")
        .text("checks.authentication.credentials.cli_path", &witness.display().to_string());
    let file = login(HOUR, None);
    let sidecar = Sidecar::start_in(home(Some(&file)), &settings, |_| {});
    let found = await_state(&sidecar, "unknown");
    assert_eq!((&found["status"], &found["logged_in"]), (&"unknown".into(), &Value::Null));
    let asked = || std::fs::read_to_string(&log).unwrap_or_default();
    eventually(PATIENCE + Duration::from_secs(10), "it was asked twice", || asked().lines().count() >= 2);
    assert!(asked().lines().all(|line| line == "--version"), "{}", asked());
    assert_eq!(std::fs::read_to_string(file_in(&sidecar.home())).expect("the file"), file);
}
