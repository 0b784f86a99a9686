//! Who watches: how many, for how long, by which credential; and that none of them holds up anybody.

use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::process::Signal;
use serde_json::json;

use crate::support::{
    CLOSED_PORT, Client, PATIENCE, Process, Settings, Sidecar, Upstream, Watcher, ask, eventually, get,
    home_with_login, run,
};

const EVENTS: &str = "/health/events";

/// Ends as soon as it may, after a lame duck in which it is still there.
fn settings(app: &Upstream) -> Settings {
    Sidecar::bare(app)
        .text("checks.app.http.path", Upstream::PROBE)
        .text("checks.app.interval", "100ms")
        .raw("checks.app.failure_threshold", "1")
        .text("events.heartbeat", "1s")
        .text("shutdown.lame_duck", "300ms")
        .text("shutdown.grace", "20s")
        .raw("endpoints.\"/health/events\"", "{ dialect = \"events\" }")
}

#[test]
fn a_drain_is_told_and_held_up_by_nobody() {
    let app = Upstream::hello();
    let mut sidecar = Sidecar::start(&settings(&app)).ready();
    let watchers = [sidecar.traffic, sidecar.admin].map(|address| Watcher::start(address, EVENTS, &[]));
    watchers.iter().for_each(|watcher| drop(watcher.await_last("snapshot healthy")));
    // One that reads nothing, not even the head.
    let mut deaf = Client::connect(sidecar.traffic);
    deaf.write("GET", EVENTS, &[], b"").expect("a request");
    sidecar.assert_metric("pulsegate_event_watchers", &[], 3.0);
    sidecar.terminate();
    for watcher in &watchers {
        watcher.await_end();
        let expected = ["snapshot healthy", "status health unhealthy", "end draining"];
        assert_eq!(watcher.short(), expected);
        assert_eq!(watcher.told()[1].data["reason"], "draining");
        assert!(watcher.told()[2].id.is_empty(), "it comes again with the id of what it was told");
    }
    // Long before the grace period is over.
    let status = sidecar.wait(Duration::from_secs(10));
    assert_eq!(status.code(), Some(0), "{}", sidecar.log());
    assert!(sidecar.log().contains("nothing was left in flight"), "{}", sidecar.log());
}

#[test]
fn who_comes_during_a_drain_is_told_how_it_is_and_nothing_else() {
    let app = Upstream::hello();
    let sidecar = Sidecar::start(&settings(&app)).ready();
    let early = Watcher::start(sidecar.admin, EVENTS, &[]);
    let last = early.await_last("snapshot healthy").id;
    assert_eq!(ask(sidecar.admin, "POST", "/-/drain", &[], b"").status, 200);
    early.await_end();
    for address in [sidecar.traffic, sidecar.admin] {
        let late = Watcher::start(address, EVENTS, &[]);
        late.await_end();
        assert_eq!(late.short(), ["snapshot unhealthy", "end draining"]);
    }
    let drained = ask(sidecar.admin, "GET", "/-/wait-for-drain", &[], b"");
    assert_eq!(drained.status, 200, "{}", drained.text());
    assert_eq!(ask(sidecar.admin, "POST", "/-/undrain", &[], b"").status, 200);
    let again = Watcher::start(sidecar.admin, EVENTS, &[("last-event-id", &last)]);
    again.await_last("status health healthy");
    assert_eq!(again.short(), ["status health unhealthy", "status health healthy"]);
    assert_eq!(again.end(), None);
}

#[test]
fn as_many_watch_as_may() {
    let app = Upstream::hello();
    let sidecar = Sidecar::start(&settings(&app).raw("events.watchers", "3")).ready();
    let mut watchers: Vec<Watcher> = (0..3).map(|_| Watcher::start(sidecar.traffic, EVENTS, &[])).collect();
    for address in [sidecar.traffic, sidecar.admin] {
        let refused = get(address, EVENTS);
        assert_eq!((refused.status, refused.field("retry-after")), (503, Some("5")));
        assert_eq!(refused.json()["error"]["code"], "too_many_watchers");
        assert_eq!(ask(address, "HEAD", EVENTS, &[], b"").status, 200, "asks for no place");
    }
    sidecar.assert_metric("pulsegate_event_watchers_refused_total", &[], 2.0);
    watchers.pop();
    sidecar.assert_metric("pulsegate_event_watchers", &[], 2.0);
    Watcher::start(sidecar.admin, EVENTS, &[]).await_last("snapshot healthy");
}

#[test]
fn the_management_port_keeps_room_for_probes() {
    let app = Upstream::hello();
    let sidecar = Sidecar::start(&settings(&app).raw("events.watchers", "1000")).ready();
    let watchers: Vec<Watcher> = (0..128).map(|_| Watcher::start(sidecar.admin, EVENTS, &[])).collect();
    assert_eq!(get(sidecar.admin, EVENTS).status, 503);
    assert_eq!(get(sidecar.admin, "/readyz").status, 200);
    Watcher::start(sidecar.traffic, EVENTS, &[]).await_last("snapshot healthy");
    app.set_probe(500);
    for watcher in &watchers {
        watcher.await_last("status health unhealthy");
    }
}

#[test]
fn silence_is_filled_with_comments() {
    let app = Upstream::hello();
    let sidecar = Sidecar::start(&settings(&app)).ready();
    let watchers = [sidecar.traffic, sidecar.admin].map(|address| Watcher::start(address, EVENTS, &[]));
    for watcher in &watchers {
        eventually(PATIENCE, "two heartbeats", || watcher.comments() >= 2);
        assert_eq!(watcher.short(), ["snapshot healthy"]);
    }
}

/// Writes another configuration and has it read.
fn reload(sidecar: &Sidecar, settings: &Settings) {
    std::fs::write(sidecar.home().join("pulsegate.toml"), settings.to_toml()).expect("a configuration");
    eventually(PATIENCE, "it is reloaded", || sidecar.log().contains("\"reloaded\""));
}

#[test]
fn a_reload_has_everybody_come_again_by_the_keys_of_now() {
    let app = Upstream::hello();
    let keyed = settings(&app)
        .raw("endpoints.\"/health/events\"", "{ dialect = \"events\", access = [\"api_key\"] }")
        .raw("admin.api_keys", "[{ env = \"OLD_KEY\" }]");
    let sidecar = Sidecar::start_in(home_with_login(), &keyed, |command| {
        command.env("OLD_KEY", "an-old-invented-key").env("NEW_KEY", "a-new-invented-key");
    })
    .ready();
    for address in [sidecar.traffic, sidecar.admin] {
        let refused = get(address, EVENTS);
        assert_eq!((refused.status, refused.json()["error"]["code"].as_str()), (401, Some("unauthorized")));
    }
    let old = [("x-api-key", "an-old-invented-key")];
    let watchers = [sidecar.traffic, sidecar.admin].map(|address| Watcher::start(address, EVENTS, &old));
    watchers.iter().for_each(|watcher| drop(watcher.await_last("snapshot healthy")));
    let changed = keyed
        .raw("admin.api_keys", "[{ env = \"NEW_KEY\" }]")
        .text("checks.more.http.path", Upstream::PROBE)
        .raw("checks.more.groups", "[\"other\"]");
    reload(&sidecar, &changed);
    for watcher in &watchers {
        watcher.await_end();
        assert_eq!(watcher.short().last().map(String::as_str), Some("end reloaded"));
    }
    let last = watchers[0].told()[0].id.clone();
    for address in [sidecar.traffic, sidecar.admin] {
        assert_eq!(ask(address, "GET", EVENTS, &old, b"").status, 401);
        let new = [("authorization", "Bearer a-new-invented-key"), ("last-event-id", &*last)];
        let again = Watcher::start(address, EVENTS, &new);
        // There is another check: what was told first is worth nothing.
        eventually(PATIENCE, "it is told", || !again.told().is_empty());
        let snapshot = &again.told()[0];
        assert_eq!((&*snapshot.event, snapshot.data["checks"][1]["check"].as_str()), ("snapshot", Some("more")));
    }
}

/// A token of HS256 that is refused in so many seconds: half a minute after its end, as clocks differ.
fn token(secret: &str, seconds: u64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    let claims = json!({ "exp": now + seconds - 30 }).to_string();
    let signed = format!("{}.{}", base64url(br#"{"alg":"HS256"}"#), base64url(claims.as_bytes()));
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret.as_bytes());
    let signature = ring::hmac::sign(&key, signed.as_bytes());
    format!("{signed}.{}", base64url(signature.as_ref()))
}

fn base64url(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().fold(0, |word, byte| word << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        let digits = [18, 12, 6, 0].map(|shift| char::from(DIGITS[(word >> shift & 63) as usize]));
        text.extend(&digits[..=chunk.len()]);
    }
    text
}

#[test]
fn a_watcher_lives_no_longer_than_its_token() {
    let (app, secret) = (Upstream::hello(), "an invented secret of 32 letters");
    let settings = settings(&app)
        .raw("endpoints.\"/health/events\"", "{ dialect = \"events\", access = [\"jwt\"] }")
        .text("admin.jwt.algorithm", "HS256")
        .raw("admin.jwt.secret", "{ env = \"SECRET\" }");
    let sidecar = Sidecar::start_in(home_with_login(), &settings, |command| {
        command.env("SECRET", secret);
    })
    .ready();
    let with = |seconds| format!("Bearer {}", token(secret, seconds));
    for address in [sidecar.traffic, sidecar.admin] {
        let long = Watcher::start(address, EVENTS, &[("authorization", &with(3600))]);
        let short = Watcher::start(address, EVENTS, &[("authorization", &with(2))]);
        short.await_end();
        assert_eq!(short.short(), ["snapshot healthy", "end access"]);
        assert_eq!((long.short(), long.end()), (vec!["snapshot healthy".to_owned()], None));
    }
}

#[test]
fn strangers_are_told_less() {
    let app = Upstream::hello();
    // An address that nothing else in an answer holds.
    let nobody = "127.9.8.7";
    let settings = settings(&app)
        .raw("admin.api_keys", "[{ env = \"KEY\" }]")
        .raw("endpoints.\"/health/check\"", "{ dialect = \"checks\" }")
        .text("checks.gone.tcp.address", &format!("{nobody}:{CLOSED_PORT}"))
        .raw("checks.gone.failure_threshold", "1")
        .raw("checks.gone.start_period", "0")
        .raw("checks.gone.groups", "[\"health\"]");
    let sidecar = Sidecar::start_in(home_with_login(), &settings, |command| {
        command.env("KEY", "an-invented-key-of-a-test");
    })
    .ready();
    sidecar.await_code("/health/check/gone", 503);
    let key = [("x-api-key", "an-invented-key-of-a-test")];
    for address in [sidecar.traffic, sidecar.admin] {
        for (fields, may_know) in [(&[][..], false), (&key, true)] {
            let watcher = Watcher::start(address, EVENTS, fields);
            watcher.await_last("snapshot unhealthy");
            let process = watcher.told()[0].id.split('-').next().expect("a process").to_owned();
            let begin = format!("{process}-0");
            let all = [fields, &[("last-event-id", &*begin)]].concat();
            let from_the_start = Watcher::start(address, EVENTS, &all);
            let is_told = || from_the_start.short().contains(&"transition gone unhealthy".to_owned());
            eventually(PATIENCE, "it is told all", is_told);
            let check = ask(address, "GET", "/health/check/gone", fields, b"");
            let said = [watcher.text(), from_the_start.text(), check.text().to_owned()];
            for text in &said {
                assert!(text.contains("cannot connect"), "{text}");
                assert_eq!(text.contains(nobody), may_know, "{fields:?}: {text}");
            }
        }
    }
}

#[test]
fn one_check_with_all_that_is_known_of_it() {
    let app = Upstream::hello();
    let settings = settings(&app)
        .raw("endpoints.\"/health/check\"", "{ dialect = \"checks\" }")
        .raw("checks.off.enabled_if", "{ env = \"NOT_THERE\" }")
        .text("checks.off.http.path", "/");
    let sidecar = Sidecar::start(&settings).ready();
    for address in [sidecar.traffic, sidecar.admin] {
        let check = get(address, "/health/check/app");
        let body = check.json();
        assert_eq!((check.status, &body["status"], &body["kind"]), (200, &"healthy".into(), &"http".into()));
        assert_eq!(body["facts"]["status_code"], 200, "{body}");
        assert!(body["runs"]["pass"].as_u64() > Some(0), "{body}");
        assert_eq!(body["history"][0]["to"], "healthy");
        let off = get(address, "/health/check/off");
        assert_eq!((off.status, off.json()["status"].as_str()), (200, Some("disabled")));
        assert_eq!(get(address, "/health/check/event_loop").status, 200);
        for unknown in ["nobody", "app/", "App", "app/app", "%61pp", "..", "app%00"] {
            let answer = get(address, &format!("/health/check/{unknown}"));
            assert_eq!((answer.status, answer.json()["error"]["code"].as_str()), (404, Some("not_found")), "{unknown}");
        }
        let list = get(address, "/health/check").json();
        let names = list["checks"].as_array().expect("checks").iter().map(|check| check["check"].clone());
        assert_eq!(names.collect::<Vec<_>>(), ["app", "off"]);
        assert_eq!(ask(address, "HEAD", "/health/check/app", &[], b"").status, 200);
        assert_eq!(ask(address, "DELETE", "/health/check/app", &[], b"").status, 405);
    }
    app.set_probe(500);
    let body = sidecar.await_code("/health/check/app", 503).json();
    assert_eq!((&body["reason"], &body["error"]), (&"unexpected_status".into(), &"app answers with status 500".into()));
    assert_eq!(body["transitions"]["unhealthy"], 1, "{body}");
    sidecar.process.signal(Signal::HUP);
    eventually(PATIENCE, "a reload", || sidecar.log().contains("nothing has changed"));
    assert_eq!(sidecar.admin("/health/check/app").json()["history"], body["history"]);
}

#[test]
fn curl_shows_each_event_when_it_comes() {
    let app = Upstream::hello();
    let sidecar = Sidecar::start(&settings(&app)).ready();
    for (address, protocol) in
        [(sidecar.traffic, "--http1.1"), (sidecar.traffic, "--http2-prior-knowledge"), (sidecar.admin, "--http1.0")]
    {
        let mut command = Command::new("sh");
        command.args(["-c", "exec curl -sN \"$0\" \"$1\" >&2", protocol, &format!("http://{address}{EVENTS}")]);
        let curl = Process::start(&mut command);
        let shows = |what: &str| curl.said().iter().any(|line| line.contains(what));
        eventually(PATIENCE, "the snapshot", || shows("event: snapshot"));
        app.set_probe(500);
        eventually(PATIENCE, "the change", || shows("\"to\":\"unhealthy\""));
        app.set_probe(200);
        sidecar.await_code("/readyz", 200);
    }
    let help = run(Command::new("curl").args(["-sI", &format!("http://{}{EVENTS}", sidecar.admin)]));
    assert!(help.stdout.contains("text/event-stream"), "{help:?}");
}
