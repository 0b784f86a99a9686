//! Another configuration without a restart: all of it or nothing, and no connection lost.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::support::http2::{Frames, GOAWAY, HEADERS};
use crate::support::{
    Client, ClosedLoop, Next, PATIENCE, Response, Settings, Sidecar, Upstream, always, eventually, eventually_some,
    home_with_login,
};

/// An app that says who it is, and takes its time for `/slow`.
fn app(name: &'static str) -> Upstream {
    Upstream::start(move |exchange| {
        exchange.read_body();
        if exchange.seen.target == "/slow" {
            std::thread::park_timeout(Duration::from_millis(800));
        }
        exchange.answer(200, &[], name.as_bytes())
    })
}

/// The settings of most tests here: only what the test asks for is a reason to reload.
fn quiet(settings: Settings) -> Settings {
    settings.raw("reload.watch", "false")
}

/// What the log says of the last reload.
struct Outcome {
    message: String,
    problems: Vec<String>,
    changed: String,
}

/// Writes the settings and has them read; waits for what came of it.
#[track_caller]
fn reload(sidecar: &Sidecar, settings: &Settings) -> Outcome {
    write(sidecar, settings);
    hang_up(sidecar)
}

fn write(sidecar: &Sidecar, settings: &Settings) {
    std::fs::write(sidecar.home().join("pulsegate.toml"), settings.to_toml()).expect("a configuration");
}

#[track_caller]
fn hang_up(sidecar: &Sidecar) -> Outcome {
    let before = outcomes(sidecar).len();
    sidecar.process.signal(Signal::HUP);
    let mut lines = eventually_some(PATIENCE, "the log tells of a reload", || {
        let lines = outcomes(sidecar);
        (lines.len() > before).then_some(lines)
    });
    lines.pop().expect("an outcome")
}

/// What came of each reload so far.
fn outcomes(sidecar: &Sidecar) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    let mut problems = Vec::new();
    for line in sidecar.process.said() {
        let Ok(line) = serde_json::from_str::<Value>(&line) else { continue };
        let text = |name: &str| line[name].as_str().unwrap_or_default().to_owned();
        match text("message").as_str() {
            "not reloaded" => problems.push(text("problem")),
            message if message.starts_with("reloaded") || message.starts_with("not reloaded:") => {
                let problems = std::mem::take(&mut problems);
                outcomes.push(Outcome { message: message.to_owned(), problems, changed: text("changed") });
            }
            _ => {}
        }
    }
    outcomes
}

fn text(answer: &Response) -> &str {
    assert_eq!(answer.status, 200);
    answer.text()
}

#[test]
fn a_kept_connection_meets_the_new_app_with_its_next_request() {
    let (old, new) = (app("old"), app("new"));
    let settings = quiet(Sidecar::bare(&old)).text("service.name", "before");
    let sidecar = Sidecar::start(&settings).ready();
    let mut kept = Client::connect(sidecar.traffic);
    let mut busy = Client::connect(sidecar.traffic);
    let mut ask = || kept.ask("GET", "/", &[], b"").expect("an answer");
    assert_eq!(text(&ask()), "old");
    busy.write("GET", "/slow", &[], b"").expect("a request");
    eventually(PATIENCE, "the old app is asked", || old.seen().iter().any(|seen| seen.target == "/slow"));

    let settings = settings
        .text("proxy.upstream", &format!("http://127.0.0.1:{}", new.port()))
        .text("service.name", "after")
        .text("service.version", "7.7");
    let outcome = reload(&sidecar, &settings);
    assert_eq!(outcome.message, "reloaded");
    assert_eq!(outcome.changed, "proxy.upstream, service.name, service.version");
    assert_eq!(text(&ask()), "new");
    let old_one = busy.read().expect("what has begun ends with what it began with");
    assert_eq!((old_one.status, old_one.text()), (200, "old"));
    assert_eq!(text(&busy.ask("GET", "/", &[], b"").expect("an answer")), "new");
    // The last one is counted when its answer has left, which may be after it is here.
    eventually(PATIENCE, "counters go on under the new name", || {
        sidecar.metric("after_requests_total", &[]) == 4.0 && sidecar.metric("after_requests_in_flight", &[]) == 0.0
    });
    eventually(PATIENCE, "connections to the old app are closed", || {
        sidecar.metric("after_upstream_connections", &[]) <= 2.0 && old.open() == 0
    });
}

#[test]
fn what_is_wrong_changes_nothing_and_is_told_in_full() {
    let upstream = app("app");
    let settings =
        quiet(Sidecar::bare(&upstream)).text("service.version", "1.0").text("proxy.limits.body_bytes", "10B");
    let sidecar = Sidecar::start(&settings).ready();
    let started = sidecar.metric("pulsegate_config_last_reload_success_timestamp_seconds", &[]);
    assert!(started > 1.6e9);
    sidecar.assert_metric("pulsegate_config_last_reload_success", &[], 1.0);

    let wrong =
        settings.clone().text("service.version", "2.0").raw("proxy.limits.queue", "-1").text("proxy.upsteam", "x");
    let outcome = reload(&sidecar, &wrong);
    assert_eq!(outcome.message, "not reloaded: everything stays as it was");
    assert_eq!(outcome.problems.len(), 2, "{:?}", outcome.problems);
    assert!(
        outcome.problems.iter().any(|problem| problem.contains("did you mean `upstream`")),
        "{:?}",
        outcome.problems
    );
    sidecar.assert_metric("pulsegate_config_last_reload_success", &[], 0.0);
    assert_eq!(sidecar.ask("POST", "/", &[], b"more than ten").status, 413, "as it was");

    std::fs::remove_file(sidecar.home().join("pulsegate.toml")).expect("removed");
    assert_eq!(hang_up(&sidecar).problems.len(), 1);

    // A file that is something else altogether.
    std::fs::write(sidecar.home().join("pulsegate.toml"), "one line of many\n".repeat(5000)).expect("written");
    assert_eq!(hang_up(&sidecar).problems.len(), 100, "the first of them");
    assert!(sidecar.log().contains("\"count\":5000"), "and how many there are");

    let right = settings.text("proxy.limits.body_bytes", "20B");
    assert_eq!(reload(&sidecar, &right).message, "reloaded");
    sidecar.assert_metric("pulsegate_config_last_reload_success", &[], 1.0);
    assert_eq!(sidecar.ask("POST", "/", &[], b"more than ten").status, 200);
    assert_eq!(hang_up(&sidecar).message, "reloaded: nothing has changed");
}

#[test]
fn that_a_refused_file_is_as_it_was_is_told() {
    let upstream = app("app");
    let settings = Sidecar::bare(&upstream);
    let sidecar = Sidecar::start(&settings).ready();
    let last = || outcomes(&sidecar).last().map(|outcome| outcome.message.clone()).unwrap_or_default();
    write(&sidecar, &settings.clone().text("proxy.upsteam", "x"));
    eventually(PATIENCE, "it is refused", || last() == "not reloaded: everything stays as it was");
    write(&sidecar, &settings);
    eventually(PATIENCE, "it is over", || last() == "reloaded: nothing has changed");
    sidecar.assert_metric("pulsegate_config_last_reload_success", &[], 1.0);
}

#[test]
fn a_reload_at_the_end_is_no_failure() {
    let upstream = app("app");
    let settings = Sidecar::bare(&upstream).text("shutdown.lame_duck", "2s");
    let sidecar = Sidecar::start(&settings).ready();
    sidecar.terminate();
    sidecar.await_code("/readyz", 503);
    assert_eq!(hang_up(&sidecar).message, "not reloaded: the process has been told to stop");
    write(&sidecar, &settings.text("service.version", "2"));
    eventually(PATIENCE, "changed files ask in vain too", || outcomes(&sidecar).len() == 2);
    sidecar.assert_metric("pulsegate_config_last_reload_success", &[], 1.0);
    assert!(!sidecar.log().contains("\"ERROR\""), "{}", sidecar.log());
}

#[test]
fn what_needs_a_restart_is_refused_with_everything_else() {
    let upstream = app("app");
    let settings = quiet(Sidecar::bare(&upstream));
    let sidecar = Sidecar::start(&settings).ready();
    for (key, value) in [
        ("proxy.listen", "\"127.0.0.1:1\""),
        ("proxy.threads", "1"),
        ("admin.listen", "\"off\""),
        ("log.format", "\"text\""),
    ] {
        let outcome = reload(&sidecar, &settings.clone().raw(key, value).text("proxy.limits.body_bytes", "1B"));
        assert_eq!(outcome.problems.len(), 1, "{:?}", outcome.problems);
        let problem = &outcome.problems[0];
        assert!(problem.contains(&format!("`{key}`")) && problem.contains("needs a restart"), "{problem}");
        assert!(problem.contains("pulsegate.toml:"), "with its place: {problem}");
        assert_eq!(sidecar.ask("POST", "/", &[], b"12").status, 200, "nothing of it is in effect");
    }
}

#[test]
fn checks_that_stay_the_same_keep_what_is_known_of_them() {
    let upstream = Upstream::start(|exchange| {
        exchange.read_body();
        match exchange.seen.target.as_str() {
            "/never" => {
                exchange.wait_until_gone();
                Next::Close
            }
            target => {
                let code = if target == "/bad" { 500 } else { 200 };
                exchange.answer(code, &[], b"")
            }
        }
    });
    let check = |settings: Settings, name: &str, path: &str| {
        settings
            .text(&format!("checks.{name}.http.path"), path)
            .text(&format!("checks.{name}.interval"), "60s")
            .text(&format!("checks.{name}.fast_interval"), "60s")
            .raw(&format!("checks.{name}.failure_threshold"), "1")
            .raw(&format!("checks.{name}.groups"), "[\"readiness\", \"health\"]")
    };
    let settings =
        check(check(check(quiet(Sidecar::bare(&upstream)), "kept", "/good"), "bad", "/bad"), "gone", "/good");
    let settings = settings.raw("endpoints.\"/all\"", "{ dialect = \"claude-proxy\", detail = true }");
    let sidecar = Sidecar::start(&settings);
    let runs = |name: &str| sidecar.metric("pulsegate_check_runs_total", &[&format!("check={name:?}")]);
    let status = |name: &str| sidecar.admin("/all").json()["components"][name]["status"].as_str().map(str::to_owned);
    eventually(PATIENCE, "all are known", || {
        status("kept").as_deref() == Some("healthy")
            && status("bad").as_deref() == Some("unhealthy")
            && status("gone").as_deref() == Some("healthy")
    });
    let last_check = sidecar.admin("/all").json()["components"]["bad"]["last_check"].clone();
    assert!(last_check.is_string());

    // Another rule for one, another question for another, one new, one gone.
    let settings = settings.without_all("checks.gone.");
    let settings = check(settings, "new", "/never").text("checks.kept.start_period", "1s");
    let asked = |target: &str| upstream.seen().iter().filter(|seen| seen.target == target).count();
    let bad_before = asked("/bad");
    let outcome = reload(&sidecar, &settings);
    assert_eq!(outcome.message, "reloaded");
    let all = sidecar.admin("/all").json();
    assert_eq!(all["components"]["kept"]["status"], "healthy", "the same question: {all:#}");
    assert_eq!(all["components"]["bad"]["last_check"], last_check, "undisturbed");
    assert_eq!(all["components"]["bad"]["consecutive_failures"], 1);
    assert_eq!(all["components"]["new"]["status"], "unknown");
    assert!(all["components"].get("gone").is_none());
    assert_eq!(asked("/bad"), bad_before);
    assert_eq!(sidecar.admin("/readyz/gone").status, 404);

    let known = runs("kept");
    let settings = settings.text("checks.kept.http.path", "/never");
    assert_eq!(reload(&sidecar, &settings).message, "reloaded");
    assert_eq!(status("kept").as_deref(), Some("unknown"), "another question begins anew");
    assert!(sidecar.admin("/readyz").text().contains("[-]kept failed: waiting for the first result of kept"));
    assert!(runs("kept") >= known, "and its counters never go back");
}

#[test]
fn keys_are_rotated_by_their_file() {
    let upstream = app("app");
    let home = home_with_login();
    let key = home.path().join("key");
    std::fs::write(&key, "first-invented-key\n").expect("a key");
    let settings = quiet(Sidecar::bare(&upstream))
        .raw("admin.api_keys", &format!("[{{ file = {:?} }}]", key.display().to_string()))
        .raw("endpoints.\"/secret\"", "{ dialect = \"claude-proxy\", access = [\"api_key\"] }");
    let sidecar = Sidecar::start_in(home, &settings, |_| {}).ready();
    let code = |key: &str| crate::support::ask(sidecar.traffic, "GET", "/secret", &[("x-api-key", key)], b"").status;
    assert_eq!((code("first-invented-key"), code("second-invented-key")), (200, 401));
    std::fs::write(&key, "second-invented-key\n").expect("a key");
    let outcome = hang_up(&sidecar);
    assert_eq!(
        (outcome.message.as_str(), outcome.changed.as_str()),
        ("reloaded", &*format!("the content of {}", key.display()))
    );
    assert_eq!((code("first-invented-key"), code("second-invented-key")), (401, 200));
    std::fs::remove_file(&key).expect("removed");
    assert_eq!(hang_up(&sidecar).problems.len(), 1);
    assert_eq!(code("second-invented-key"), 200, "the last good one");
    assert!(!sidecar.log().contains("invented-key"));
}

#[test]
fn the_level_of_the_log_follows() {
    let upstream = app("app");
    let settings = quiet(Sidecar::bare(&upstream)).raw("endpoints.\"/health\"", "{ dialect = \"claude-proxy\" }");
    let sidecar = Sidecar::start(&settings).ready();
    assert_eq!(reload(&sidecar, &settings.clone().text("log.level", "error")).message, "reloaded");
    let before = sidecar.log().lines().count();
    write(&sidecar, &settings.clone().text("log.level", "error").text("service.version", "2"));
    sidecar.process.signal(Signal::HUP);
    eventually(PATIENCE, "the version has changed", || sidecar.admin("/health").json()["version"] == "2");
    assert_eq!(sidecar.log().lines().count(), before, "a reload is no error");
}

#[test]
fn traffic_is_refused_or_not_as_the_configuration_says_now() {
    let upstream = app("app");
    let settings = quiet(Sidecar::bare(&upstream))
        .text("checks.never.tcp.address", "127.0.0.1:1")
        .text("checks.never.interval", "100ms")
        .raw("proxy.reject_when_unready", "false");
    let sidecar = Sidecar::start(&settings);
    eventually(PATIENCE, "not ready", || sidecar.admin("/readyz").text().contains("cannot connect"));
    assert_eq!(sidecar.get("/").status, 200);
    reload(&sidecar, &settings.clone().raw("proxy.reject_when_unready", "true"));
    eventually(PATIENCE, "traffic is refused", || sidecar.get("/").status == 503);
    reload(&sidecar, &settings);
    eventually(PATIENCE, "traffic is let in", || sidecar.get("/").status == 200);
}

#[test]
fn limits_grow_and_shrink_under_what_is_going_on() {
    let upstream = Upstream::start(|exchange| {
        exchange.read_body();
        if exchange.seen.target == "/hang" {
            exchange.wait_until_gone();
            return Next::Close;
        }
        exchange.answer(200, &[], b"")
    });
    let settings = |most: u32| {
        quiet(Sidecar::bare(&upstream))
            .raw("proxy.limits.in_flight", &most.to_string())
            .text("proxy.limits.queue_timeout", "100ms")
    };
    let sidecar = Sidecar::start(&settings(2)).ready();
    let hanging: Vec<Client> = (0..2)
        .map(|_| {
            let mut client = Client::connect(sidecar.traffic);
            client.write("GET", "/hang", &[], b"").expect("a request");
            client
        })
        .collect();
    eventually(PATIENCE, "both are at the app", || {
        upstream.seen().iter().filter(|seen| seen.target == "/hang").count() == 2
    });
    assert_eq!(sidecar.get("/").status, 503);
    reload(&sidecar, &settings(3));
    assert_eq!(sidecar.get("/").status, 200);
    reload(&sidecar, &settings(1));
    assert_eq!(sidecar.get("/").status, 503);
    drop(hanging);
    eventually(PATIENCE, "one place is free again", || sidecar.get("/").status == 200);
    let mut last = Client::connect(sidecar.traffic);
    last.write("GET", "/hang", &[], b"").expect("a request");
    eventually(PATIENCE, "it is at the app", || {
        upstream.seen().iter().filter(|seen| seen.target == "/hang").count() == 3
    });
    always(Duration::from_millis(100), "one place, and no more", || sidecar.get("/").status == 503);
    sidecar.assert_metric("pulsegate_requests_in_flight", &[], 1.0);
}

#[test]
fn no_request_is_lost_while_reloading_twenty_times_under_load() {
    let upstream = app("app");
    let other = app("other");
    let settings = |round: usize| {
        let port = if round.is_multiple_of(2) { upstream.port() } else { other.port() };
        quiet(Sidecar::bare_for(port))
            .text("proxy.timeouts.idle", &format!("{}s", 60 + round))
            .raw("proxy.limits.connections", &(1000 + round).to_string())
            .raw("proxy.limits.in_flight", &(50 + round % 3).to_string())
            .text("service.version", &round.to_string())
    };
    let sidecar = Sidecar::start(&settings(0)).ready();
    let clients = ClosedLoop::start(sidecar.traffic, 8, |client| client.ask("POST", "/", &[], b"something"));
    for round in 1..=20 {
        let before = clients.answered();
        eventually(PATIENCE, "the loop turns", || clients.answered() >= before + 50);
        assert_eq!(reload(&sidecar, &settings(round)).message, "reloaded");
    }
    let answered = {
        let before = clients.answered();
        eventually(PATIENCE, "the loop turns", || clients.answered() >= before + 50);
        clients.answered()
    };
    assert_eq!(clients.end(), Vec::<String>::new());
    let counted = sidecar.metric("pulsegate_requests_total", &[]);
    assert!(counted >= answered as f64 && counted <= (answered + 8) as f64, "{answered} answers, {counted} counted");
    sidecar.assert_metric("pulsegate_requests_in_flight", &[], 0.0);
    assert!(other.seen().len() > 100 && upstream.seen().len() > 100);
}

/// They have nothing to do until then, and so they are woken.
#[test]
fn idle_connections_take_the_new_deadline_at_once() {
    let upstream = app("app");
    let lasting = |idle| quiet(Sidecar::bare(&upstream)).text("proxy.timeouts.idle", idle);
    let sidecar = Sidecar::start(&lasting("10m")).ready();
    let mut client = Client::connect(sidecar.traffic);
    assert_eq!(client.ask("GET", "/", &[], b"").expect("an answer").status, 200);
    let mut frames = Frames::connect(sidecar.traffic);
    frames.get(1, "/").expect("a request");
    assert!(frames.wait_for(HEADERS).is_some());
    assert_eq!(reload(&sidecar, &lasting("200ms")).message, "reloaded");
    assert!(client.is_closed());
    assert!(frames.wait_for(GOAWAY).is_some());
}

/// What the log says after the first reload because of changed files.
#[track_caller]
fn await_outcome(sidecar: &Sidecar, number: usize) -> Outcome {
    eventually_some(PATIENCE, "changed files are noticed", || {
        let mut all = outcomes(sidecar);
        (all.len() >= number).then(|| all.swap_remove(number - 1))
    })
}

#[test]
fn a_changed_file_is_noticed_by_itself() {
    let upstream = app("app");
    let settings = Sidecar::bare(&upstream).text("proxy.limits.body_bytes", "10B");
    let sidecar = Sidecar::start(&settings).ready();
    let file = sidecar.home().join("pulsegate.toml");
    let post = || sidecar.ask("POST", "/", &[], b"more than ten").status;
    assert_eq!(post(), 413);
    write(&sidecar, &settings.clone().text("proxy.limits.body_bytes", "20B"));
    assert_eq!(await_outcome(&sidecar, 1).changed, "proxy.limits.body_bytes");
    eventually(PATIENCE, "it is in effect", || post() == 200);

    // Replaced as editors do it; written in two halves; wrong, which is told once; and right again.
    std::fs::write(sidecar.home().join("new"), settings.to_toml()).expect("written");
    std::fs::rename(sidecar.home().join("new"), &file).expect("renamed");
    assert_eq!(await_outcome(&sidecar, 2).message, "reloaded");
    eventually(PATIENCE, "it is in effect", || post() == 413);
    std::fs::write(sidecar.home().join("new"), "proxy = nonsense").expect("written");
    std::fs::rename(sidecar.home().join("new"), &file).expect("renamed");
    assert_eq!(await_outcome(&sidecar, 3).problems.len(), 1);
    std::fs::write(&file, "proxy = nonsense").expect("written");
    std::fs::write(sidecar.home().join("another"), "nothing to do with it").expect("written");
    always(Duration::from_millis(500), "the same is not told twice", || outcomes(&sidecar).len() == 3);
    assert_eq!(post(), 413);
    sidecar.assert_metric("pulsegate_config_last_reload_success", &[], 0.0);
    write(&sidecar, &settings.clone().text("proxy.limits.body_bytes", "30B"));
    assert_eq!(await_outcome(&sidecar, 4).message, "reloaded");

    // And no more, once that is what the configuration says.
    write(&sidecar, &quiet(settings));
    assert_eq!(await_outcome(&sidecar, 5).changed, "proxy.limits.body_bytes, reload.watch");
    write(&sidecar, &Sidecar::bare(&upstream));
    always(Duration::from_millis(500), "nobody looks", || outcomes(&sidecar).len() == 5);
}

#[test]
fn a_mount_that_is_replaced_as_a_whole_is_noticed() {
    use std::os::unix::fs::symlink;
    let upstream = app("app");
    let home = home_with_login();
    let mount = home.path().join("mount");
    let fill = |name: &str, key: &str| {
        std::fs::create_dir_all(mount.join(name)).expect("a directory");
        std::fs::write(mount.join(name).join("key"), key).expect("a key");
    };
    fill("..1", "first-invented-key");
    symlink("..1", mount.join("..data")).expect("a link");
    symlink("..data/key", mount.join("key")).expect("a link");
    let settings = Sidecar::bare(&upstream)
        .raw("admin.api_keys", &format!("[{{ file = {:?} }}]", mount.join("key").display().to_string()))
        .raw("endpoints.\"/secret\"", "{ dialect = \"claude-proxy\", access = [\"api_key\"] }");
    let sidecar = Sidecar::start_in(home, &settings, |_| {}).ready();
    let code = |key: &str| crate::support::ask(sidecar.traffic, "GET", "/secret", &[("x-api-key", key)], b"").status;
    assert_eq!(code("first-invented-key"), 200);
    let mount = sidecar.home().join("mount");
    for (round, key) in [(2, "second-invented-key"), (3, "third-invented-key")] {
        let name = format!("..{round}");
        std::fs::create_dir_all(mount.join(&name)).expect("a directory");
        std::fs::write(mount.join(&name).join("key"), key).expect("a key");
        symlink(&name, mount.join("..data_tmp")).expect("a link");
        std::fs::rename(mount.join("..data_tmp"), mount.join("..data")).expect("replaced");
        std::fs::remove_dir_all(mount.join(format!("..{}", round - 1))).expect("removed");
        eventually(PATIENCE, "the new key admits", || code(key) == 200);
    }
    assert_eq!((code("first-invented-key"), code("second-invented-key")), (401, 401));
}

#[test]
fn a_directory_that_goes_and_comes_back_is_found_again() {
    let upstream = app("app");
    let home = home_with_login();
    let keys = home.path().join("keys");
    std::fs::create_dir(&keys).expect("a directory");
    std::fs::write(keys.join("key"), "first-invented-key").expect("a key");
    let settings = Sidecar::bare(&upstream)
        .raw("admin.api_keys", &format!("[{{ file = {:?} }}]", keys.join("key").display().to_string()))
        .raw("endpoints.\"/secret\"", "{ dialect = \"claude-proxy\", access = [\"api_key\"] }");
    let sidecar = Sidecar::start_in(home, &settings, |_| {}).ready();
    let keys = sidecar.home().join("keys");
    let code = |key: &str| crate::support::ask(sidecar.traffic, "GET", "/secret", &[("x-api-key", key)], b"").status;
    std::fs::remove_dir_all(&keys).expect("removed");
    assert_eq!(await_outcome(&sidecar, 1).problems.len(), 1);
    assert_eq!(code("first-invented-key"), 200, "the last good one");
    std::fs::create_dir(&keys).expect("a directory");
    std::fs::write(keys.join("key"), "second-invented-key").expect("a key");
    eventually(PATIENCE, "the new key admits", || code("second-invented-key") == 200);
}
