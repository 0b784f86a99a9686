//! The logins of the other CLIs: read where each keeps it, never touched, and no part of them told (checks.md).
//!
//! Every credential here is invented, in a home of the test's own; none of the CLIs is run.

use std::time::{SystemTime, UNIX_EPOCH};

use data_encoding::BASE64URL_NOPAD;
use serde_json::{Value, json};

use crate::support::{Sidecar, Upstream};

const HOUR: i64 = 3600;

/// So many seconds from now, in seconds since 1970.
fn at(seconds: i64) -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    i64::try_from(now).expect("a time") + seconds
}

fn jwt(ends: i64) -> String {
    let claims = json!({ "exp": at(ends), "email": "canary@example.org" }).to_string();
    format!("eyJhbGciOiJub25lIn0.{}.canary", BASE64URL_NOPAD.encode(claims.as_bytes()))
}

fn codex(ends: i64, refresh: &str) -> Value {
    json!({ "OPENAI_API_KEY": null, "last_refresh": "2026-01-01T00:00:00Z", "tokens": {
        "id_token": jwt(ends), "access_token": jwt(ends), "refresh_token": refresh, "account_id": "canary" } })
}

fn gemini(ends: i64, refresh: &str) -> Value {
    json!({ "access_token": "canary", "refresh_token": refresh, "expiry_date": at(ends) * 1000, "id_token": jwt(ends),
        "scope": "https://www.googleapis.com/auth/cloud-platform", "token_type": "Bearer" })
}

fn opencode(ends: i64, refresh: &str) -> Value {
    json!({ "anthropic": { "type": "oauth", "access": "canary", "refresh": refresh, "expires": at(ends) * 1000 } })
}

type Login = fn(i64, &str) -> Value;

const KNOWN: [(&str, &str, Login); 3] = [
    ("codex", ".codex/auth.json", codex),
    ("gemini", ".gemini/oauth_creds.json", gemini),
    ("opencode", ".local/share/opencode/auth.json", opencode),
];

#[test]
fn every_state_of_the_others_is_told_and_their_files_stay_as_they_are() {
    let upstream = Upstream::hello();
    for (name, file, login) in KNOWN {
        let settings = Sidecar::bare(&upstream)
            .text("checks.login.credentials.preset", name)
            .text("checks.login.interval", "100ms")
            .raw("checks.login.failure_threshold", "1")
            .text("endpoints.\"/health/detailed\".dialect", "claude-proxy")
            .raw("endpoints.\"/health/detailed\".detail", "true");
        let sidecar = Sidecar::start(&settings);
        let path = sidecar.home().join(file);
        std::fs::create_dir_all(path.parent().expect("a directory")).expect("a directory");
        let cases = [
            (None, "logged_out"),
            (Some(login(100 * HOUR, "canary").to_string()), "valid"),
            (Some(login(-HOUR, "canary").to_string()), "refreshable"),
            (Some(login(HOUR, "").to_string()), "expiring"),
            (Some(login(-HOUR, "").to_string()), "expired"),
            (Some("{}".to_owned()), "logged_out"),
            (Some("{\"canary\":".to_owned()), "malformed"),
        ];
        for (text, state) in cases {
            if let Some(text) = &text {
                let part = path.with_extension("part");
                std::fs::write(&part, text).expect("a login");
                std::fs::rename(&part, &path).expect("renamed");
            }
            let what = format!("{name}: {state}");
            let body = sidecar.await_detailed(&what, |body| body["components"]["login"]["state"] == state);
            assert_eq!(
                body["components"]["login"]["verified"],
                Value::Null,
                "{what}: its traffic is not ours to judge"
            );
            let kept = std::fs::read_to_string(&path).ok();
            assert_eq!(kept, text, "{what}: never written");
        }
        let files = std::fs::read_dir(path.parent().expect("a directory")).expect("a directory").count();
        assert_eq!(files, 1, "{name}: nothing is left beside it");
        for path in ["/health/detailed", "/metrics", "/readyz?verbose"] {
            assert!(!sidecar.admin(path).text().contains("canary"), "{name}: {path}");
        }
        assert!(!sidecar.log().contains("canary"), "{name}: the log");
    }
}

#[test]
fn variables_go_before_files_as_in_the_clis() {
    let upstream = Upstream::hello();
    let cases = [
        ("codex", "CODEX_API_KEY", "api_key"),
        ("gemini", "GEMINI_API_KEY", "api_key"),
        ("opencode", "OPENCODE_AUTH_CONTENT", "auth_content"),
    ];
    for (name, variable, method) in cases {
        let settings = Sidecar::bare(&upstream)
            .text("checks.login.credentials.preset", name)
            .text("endpoints.\"/health/detailed\".dialect", "claude-proxy")
            .raw("endpoints.\"/health/detailed\".detail", "true");
        let home = tempfile::tempdir().expect("a home");
        let sidecar = Sidecar::start_in(home, &settings, |command| {
            command.env(variable, "canary");
        });
        let body = sidecar.await_detailed(name, |body| body["components"]["login"]["state"] == "valid");
        assert_eq!(body["components"]["login"]["method"], method, "{name}");
        assert!(!body.to_string().contains("canary"), "{name}");
    }
}
