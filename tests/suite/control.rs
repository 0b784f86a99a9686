//! What operators have a running sidecar do: the endpoints below `/-/`, the control socket, and the commands for it.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::{
    Client, Ended, Next, PATIENCE, PULSEGATE, Response, SYSTEM_PATH, Settings, Sidecar, Upstream, ask, eventually, get,
    home_with_login, run,
};

/// An app that answers `/hang` only when the other side has gone, and `/slow` after a while.
fn app() -> Upstream {
    Upstream::start(|exchange| {
        exchange.read_body();
        match exchange.seen.target.as_str() {
            "/hang" => {
                exchange.wait_until_gone();
                return Next::Close;
            }
            "/slow" => std::thread::park_timeout(Duration::from_millis(800)),
            _ => {}
        }
        exchange.answer(200, &[], b"hello")
    })
}

fn post(sidecar: &Sidecar, path: &str) -> Response {
    ask(sidecar.admin, "POST", path, &[], b"")
}

/// Runs a command for the sidecar with its own configuration.
fn command(sidecar: &Sidecar, arguments: &[&str]) -> Ended {
    let home = sidecar.home();
    let mut command = Command::new(PULSEGATE);
    command.env_clear().env("PATH", SYSTEM_PATH).env("HOME", &home).current_dir(&home);
    run(command.args(arguments).arg("--config").arg(home.join("pulsegate.toml")))
}

#[test]
fn a_drain_takes_it_out_of_service_and_an_undrain_back() {
    let upstream = app();
    let mut sidecar = Sidecar::start(&Sidecar::full(&upstream)).ready();
    let mut kept = Client::connect(sidecar.traffic);
    assert!(!kept.ask("GET", "/", &[], b"").expect("an answer").closes());
    sidecar.assert_metric("claude_proxy_requests_in_flight", &[], 0.0);
    for _ in 0..2 {
        let answer = post(&sidecar, "/-/drain");
        assert_eq!((answer.status, answer.json()), (200, json!({ "lifecycle": "draining", "in_flight": 0 })));
        assert_eq!(answer.field("cache-control"), Some("no-store"));
    }
    let ready = sidecar.await_code("/readyz", 503);
    assert!(ready.text().contains("[-]lifecycle failed: draining"), "{}", ready.text());
    assert_eq!(sidecar.admin("/health").json()["error"], "shutting down");
    sidecar.assert_metric("claude_proxy_draining", &[], 1.0);
    let answer = kept.ask("GET", "/", &[], b"").expect("still served");
    assert_eq!((answer.status, answer.closes()), (200, true));
    assert_eq!(sidecar.get("/").status, 200, "and still accepted");

    assert_eq!(post(&sidecar, "/-/undrain").json()["lifecycle"], "serving");
    sidecar.await_code("/readyz", 200);
    let mut again = Client::connect(sidecar.traffic);
    assert!(!again.ask("GET", "/", &[], b"").expect("an answer").closes());
    assert!(sidecar.process.status().is_none(), "it goes on running");
    assert_eq!(sidecar.log().matches("draining: told by an operator").count(), 1);

    post(&sidecar, "/-/drain");
    sidecar.terminate();
    assert_eq!(sidecar.wait(PATIENCE).code(), Some(0), "a signal ends a drained process too");
}

#[test]
fn there_is_no_way_back_from_a_signal() {
    let upstream = app();
    let mut sidecar = Sidecar::start(&Sidecar::bare(&upstream).text("shutdown.lame_duck", "3s")).ready();
    sidecar.terminate();
    sidecar.await_code("/readyz", 503);
    let answer = post(&sidecar, "/-/undrain");
    assert_eq!((answer.status, &answer.json()["error"]["code"]), (409, &json!("stopping")));
    assert_eq!(post(&sidecar, "/-/drain").status, 200, "which it does already");
    let answer = post(&sidecar, "/-/reload");
    assert_eq!(answer.status, 422);
    assert!(answer.text().contains("has been told to stop"), "{}", answer.text());
    assert_eq!(sidecar.wait(PATIENCE).code(), Some(0));
}

#[test]
fn who_waits_for_a_drain_is_told_when_nothing_is_in_flight() {
    let upstream = app();
    let sidecar = Sidecar::start(&Sidecar::bare(&upstream)).ready();
    // Nothing has been drained yet: there is nothing to be told.
    let begun = Instant::now();
    let answer = get(sidecar.admin, "/-/wait-for-drain?timeout=200ms");
    assert_eq!((answer.status, &answer.json()["lifecycle"]), (504, &json!("not drained in time")));
    assert!(begun.elapsed() >= Duration::from_millis(200));

    let mut busy = Client::connect(sidecar.traffic);
    busy.write("GET", "/slow", &[], b"").expect("a request");
    eventually(PATIENCE, "the app is asked", || upstream.seen().len() == 1);
    assert_eq!(post(&sidecar, "/-/drain").json()["in_flight"], 1);
    let answer = get(sidecar.admin, "/-/wait-for-drain?timeout=50ms");
    assert_eq!((answer.status, &answer.json()["in_flight"]), (504, &json!(1)));
    let answer = post(&sidecar, "/-/wait-for-drain");
    assert_eq!((answer.status, answer.json()), (200, json!({ "lifecycle": "drained", "in_flight": 0 })));
    assert_eq!(busy.read().expect("the answer was there before").status, 200);
    assert_eq!(get(sidecar.admin, "/-/wait-for-drain?timeout=soon").status, 400);
}

#[test]
fn a_drain_lasts_as_long_as_the_lame_duck() {
    let upstream = app();
    let sidecar = Sidecar::start(&Sidecar::bare(&upstream).text("shutdown.lame_duck", "1s")).ready();
    let mut waiting = Client::connect(sidecar.admin);
    waiting.write("GET", "/-/wait-for-drain", &[], b"").expect("a request");
    let drained = Instant::now();
    post(&sidecar, "/-/drain");
    assert_eq!(waiting.read().expect("an answer").status, 200, "also for who came before the drain");
    assert!(drained.elapsed() >= Duration::from_secs(1), "load balancers turn away first: {:?}", drained.elapsed());
}

#[test]
fn a_signal_after_a_drain_does_not_begin_the_lame_duck_anew() {
    let upstream = app();
    let lame_duck = Duration::from_secs(2);
    let mut sidecar = Sidecar::start(&Sidecar::bare(&upstream).text("shutdown.lame_duck", "2s")).ready();
    let drained = Instant::now();
    post(&sidecar, "/-/drain");
    sidecar.terminate();
    assert_eq!(sidecar.wait(PATIENCE).code(), Some(0));
    assert!(drained.elapsed() >= lame_duck, "it is not cut short either: {:?}", drained.elapsed());

    let mut sidecar = Sidecar::start(&Sidecar::bare(&upstream).text("shutdown.lame_duck", "2s")).ready();
    post(&sidecar, "/-/drain");
    assert_eq!(get(sidecar.admin, "/-/wait-for-drain").status, 200);
    let signalled = Instant::now();
    sidecar.terminate();
    assert_eq!(sidecar.wait(PATIENCE).code(), Some(0));
    assert!(signalled.elapsed() < lame_duck, "it was over before the signal: {:?}", signalled.elapsed());
}

#[test]
fn who_waits_is_answered_before_the_process_ends() {
    let upstream = app();
    for _ in 0..5 {
        let mut sidecar = Sidecar::start(&Sidecar::bare(&upstream).text("shutdown.lame_duck", "100ms")).ready();
        let mut waiting = Client::connect(sidecar.admin);
        waiting.write("GET", "/-/wait-for-drain", &[], b"").expect("a request");
        sidecar.terminate();
        assert_eq!(waiting.read().expect("an answer").status, 200);
        assert_eq!(sidecar.wait(PATIENCE).code(), Some(0));
    }
}

#[test]
fn only_so_many_wait_and_nobody_else_is_kept_from_the_management_port() {
    let upstream = app();
    let sidecar = Sidecar::start(&Sidecar::bare(&upstream)).ready();
    let mut waiting: Vec<Client> = (0..64)
        .map(|_| {
            let mut client = Client::connect(sidecar.admin);
            client.write("GET", "/-/wait-for-drain?timeout=60s", &[], b"").expect("a request");
            client
        })
        .collect();
    // Once this is answered all of them wait: the next one takes nobody's place.
    assert_eq!(sidecar.admin("/readyz").status, 200);
    eventually(PATIENCE, "no place is left", || get(sidecar.admin, "/-/wait-for-drain?timeout=1ms").status == 503);
    drop(waiting.pop());
    eventually(PATIENCE, "who leaves makes room", || get(sidecar.admin, "/-/wait-for-drain?timeout=1ms").status == 504);
    post(&sidecar, "/-/drain");
    assert!(waiting.iter_mut().all(|client| client.read().expect("an answer").status == 200));
}

#[test]
fn control_is_for_this_machine_or_a_key() {
    let upstream = app();
    let home = home_with_login();
    let key = home.path().join("key");
    std::fs::write(&key, "invented-key").expect("a key");
    let settings =
        Sidecar::bare(&upstream).raw("admin.api_keys", &format!("[{{ file = {:?} }}]", key.display().to_string()));
    let sidecar = Sidecar::start_in(home, &settings, |_| {}).ready();
    for (name, value) in
        [("x-forwarded-for", "10.0.0.1"), ("forwarded", "for=10.0.0.1"), ("origin", "http://a.example")]
    {
        for path in ["/-/drain", "/-/undrain", "/-/reload", "/-/maintenance/on", "/-/maintenance/off"] {
            let answer = ask(sidecar.admin, "POST", path, &[(name, value)], b"");
            assert_eq!((answer.status, &answer.json()["error"]["code"]), (403, &json!("forbidden")), "{path}");
            let wrong = ask(sidecar.admin, "POST", path, &[(name, value), ("x-api-key", "wrong")], b"");
            assert_eq!(wrong.status, 403);
        }
    }
    assert_eq!(sidecar.admin("/readyz").status, 200, "nothing was done");
    let fields = [("x-forwarded-for", "10.0.0.1"), ("x-api-key", "invented-key")];
    assert_eq!(ask(sidecar.admin, "POST", "/-/drain", &fields, b"").status, 200);

    for (method, path, allow) in [
        ("GET", "/-/drain", "POST"),
        ("PUT", "/-/reload", "POST"),
        ("HEAD", "/-/maintenance/on", "POST"),
        ("DELETE", "/-/wait-for-drain", "GET, POST"),
    ] {
        let answer = ask(sidecar.admin, method, path, &[], b"");
        assert_eq!((answer.status, answer.field("allow")), (405, Some(allow)), "{method} {path}");
    }
    for path in ["/-/", "/-/drain/", "/-/other", "//-/drain", "/-/maintenance"] {
        assert_eq!(post(&sidecar, path).status, 404, "{path}");
    }
    let on_traffic = ask(sidecar.traffic, "POST", "/-/reload", &[], b"");
    assert_eq!((on_traffic.status, on_traffic.text()), (200, "hello"), "there the path is the app's");
}

#[test]
fn maintenance_says_why_and_the_traffic_goes_on() {
    let upstream = app();
    let settings = Sidecar::full(&upstream);
    let sidecar = Sidecar::start(&settings).ready();
    let answer = post(&sidecar, "/-/maintenance/on?reason=disk%20is+being+swapped");
    assert_eq!((answer.status, answer.json()), (200, json!({ "maintenance": "disk is being swapped" })));
    let ready = sidecar.await_code("/readyz", 503);
    assert_eq!(ready.text(), "[-]maintenance failed: disk is being swapped\nreadyz check failed\n");
    assert_eq!(sidecar.admin("/health").json()["error"], "in maintenance: disk is being swapped");
    sidecar.assert_metric("claude_proxy_maintenance", &[], 1.0);
    sidecar.assert_metric("claude_proxy_ready", &[], 0.0);
    sidecar.assert_metric("claude_proxy_draining", &[], 0.0);
    assert_eq!(sidecar.admin("/livez").status, 200);
    assert_eq!(sidecar.detailed()["components"]["api_server"]["status"], "healthy", "the checks go on");
    assert_eq!(sidecar.get("/").status, 200);
    assert!(sidecar.log().contains("\"reason\":\"disk is being swapped\""));
    // It is not a part of the configuration.
    std::fs::write(sidecar.home().join("pulsegate.toml"), settings.text("service.version", "2").to_toml())
        .expect("written");
    assert_eq!(post(&sidecar, "/-/reload").json()["changed"], json!(["service.version"]));
    assert_eq!(sidecar.admin("/readyz").status, 503);
    for (reason, words) in [
        ("%0Aforged", "without control characters"),
        ("%1B%5Bred", "without control characters"),
        ("a%C2%85b", "without control characters"),
        ("a%E2%80%A8b", "without control characters"),
        ("a%E2%80%A9b", "without control characters"),
        ("%ff", "cannot be read"),
        ("%zz", "cannot be read"),
        ("a%2", "cannot be read"),
        (&"x".repeat(201), "at most 200 characters"),
    ] {
        let refused = post(&sidecar, &format!("/-/maintenance/on?reason={reason}"));
        let error = &refused.json()["error"];
        assert_eq!((refused.status, &error["code"]), (400, &json!("bad_reason")), "{reason}");
        assert!(error["message"].as_str().is_some_and(|message| message.contains(words)), "{reason}: {error}");
    }
    assert_eq!(post(&sidecar, "/-/wait-for-drain?timeout=%zz").json()["error"]["code"], "bad_timeout");
    assert_eq!(post(&sidecar, "/-/maintenance/off").json(), json!({ "maintenance": null }));
    sidecar.await_code("/readyz", 200);
}

#[test]
fn a_reload_by_request_says_what_came_of_it() {
    let upstream = app();
    let settings = Sidecar::bare(&upstream);
    let sidecar = Sidecar::start(&settings).ready();
    assert_eq!(post(&sidecar, "/-/reload").json(), json!({ "reloaded": true, "changed": [] }));
    let write = |settings: Settings| std::fs::write(sidecar.home().join("pulsegate.toml"), settings.to_toml());
    write(settings.clone().text("proxy.timeouts.idle", "soon").text("log.format", "text")).expect("written");
    let answer = post(&sidecar, "/-/reload");
    assert_eq!((answer.status, &answer.json()["error"]["code"]), (422, &json!("not_reloaded")));
    assert_eq!(answer.json()["error"]["problems"].as_array().map(Vec::len), Some(1));
    assert!(answer.text().contains("proxy.timeouts.idle"), "{}", answer.text());
    write(settings.text("proxy.timeouts.idle", "9s")).expect("written");
    assert_eq!(post(&sidecar, "/-/reload").json()["changed"], json!(["proxy.timeouts.idle"]));
}

#[test]
fn the_commands_go_through_a_socket_that_is_for_this_user_alone() {
    let upstream = app();
    let home = home_with_login();
    let socket = home.path().join("control.sock");
    let settings =
        Sidecar::bare(&upstream).text("control.socket", &socket.display().to_string()).text("admin.listen", "off").raw(
            "endpoints.\"/readyz\"",
            "{ dialect = \"kubernetes\", group = \"readiness\", ports = [\"traffic\", \"admin\"] }",
        );
    let mut sidecar = Sidecar::start_in(home, &settings, |_| {});
    let ready = || sidecar.get("/readyz").status;
    eventually(PATIENCE, "ready", || ready() == 200);
    let mode = std::fs::metadata(&socket).expect("a socket").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    let ended = command(&sidecar, &["drain", "--wait", "--timeout", "5s"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(ended.stdout, "draining; requests in flight: 0\ndrained: nothing is in flight\n");
    assert_eq!(ready(), 503);
    assert_eq!(command(&sidecar, &["undrain"]).stdout, "in service\n");
    eventually(PATIENCE, "ready", || ready() == 200);
    let ended = command(&sidecar, &["maintenance", "on", "--reason", "50 % & more"]);
    assert_eq!(ended.stdout, "in maintenance: 50 % & more\n");
    assert!(sidecar.get("/readyz").text().contains("maintenance failed: 50 % & more"));
    assert_eq!(command(&sidecar, &["maintenance", "off"]).stdout, "in maintenance no more\n");
    assert_eq!(command(&sidecar, &["reload"]).stdout, "reloaded: nothing has changed\n");

    // A configuration that is wrong by now is told by the process, and the socket is named.
    std::fs::write(sidecar.home().join("pulsegate.toml"), settings.raw("proxy.thread", "1").to_toml())
        .expect("written");
    let ended = command(&sidecar, &["reload", "--socket", &socket.display().to_string()]);
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("did you mean `threads`"), "{}", ended.stderr);
    assert!(ended.stderr.ends_with("pulsegate: nothing has changed\n"), "{}", ended.stderr);

    let mut busy = Client::connect(sidecar.traffic);
    busy.write("GET", "/hang", &[], b"").expect("a request");
    eventually(PATIENCE, "the app is asked", || upstream.seen().iter().any(|seen| seen.target == "/hang"));
    let ended =
        command(&sidecar, &["drain", "--wait", "--timeout", "100ms", "--socket", &socket.display().to_string()]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stderr.contains("not drained in time; requests in flight: 1"), "{}", ended.stderr);

    sidecar.insist(rustix::process::Signal::TERM);
    assert!(!socket.exists(), "it takes its socket away");
    let ended = command(&sidecar, &["drain", "--socket", &socket.display().to_string()]);
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.starts_with("pulsegate: nothing answers at "), "{}", ended.stderr);
}

#[test]
fn without_a_setting_the_commands_find_the_sidecar_of_their_configuration() {
    let upstream = app();
    let home = home_with_login();
    let sidecars: Vec<Sidecar> = (0..2).map(|_| Sidecar::start(&Sidecar::bare(&upstream)).ready()).collect();
    for sidecar in &sidecars {
        let ended = command(sidecar, &["drain"]);
        assert_eq!(ended.code, Some(0), "{ended:?}");
        sidecar.await_code("/readyz", 503);
        assert_eq!(sidecars.iter().filter(|sidecar| sidecar.admin("/readyz").status == 503).count(), 1);
        assert_eq!(command(sidecar, &["undrain"]).code, Some(0));
        sidecar.await_code("/readyz", 200);
    }
    // Another configuration fits neither: which one is meant must be said.
    let mut other = Command::new(PULSEGATE);
    other.env_clear().env("PATH", SYSTEM_PATH).env("HOME", home.path()).current_dir(home.path());
    let ended = run(other.arg("drain"));
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.starts_with("pulsegate: several pulsegates run here"), "{}", ended.stderr);
    let line = serde_json::from_str::<serde_json::Value>(
        sidecars[0].log().lines().find(|line| line.contains("\"started\"")).expect("a line"),
    );
    let name =
        line.expect("JSON")["control"].as_str().and_then(|control| control.strip_prefix("unix:").map(str::to_owned));
    let name = name.expect("the log names it");
    assert!(ended.stderr.contains(&name), "{} names {name}", ended.stderr);
    for pasted in [name.clone(), format!("unix:{name}")] {
        assert_eq!(command(&sidecars[1], &["drain", "--socket", &pasted]).code, Some(0), "{pasted}");
        sidecars[0].await_code("/readyz", 503);
        assert_eq!(command(&sidecars[1], &["undrain", "--socket", &pasted]).code, Some(0), "{pasted}");
        sidecars[0].await_code("/readyz", 200);
    }

    // A file that is named fits one process or none, also where only one runs.
    let only = home.path().join("other.toml");
    let settings = Sidecar::bare(&upstream).text("proxy.listen", "127.0.0.1:1").text("admin.listen", "127.0.0.1:2");
    std::fs::write(&only, settings.to_toml()).expect("a file");
    let mut other = Command::new(PULSEGATE);
    other.env_clear().env("PATH", SYSTEM_PATH).env("HOME", home.path()).current_dir(home.path());
    let ended = run(other.args(["drain", "--config"]).arg(&only));
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("no running pulsegate was found"), "{}", ended.stderr);
    assert!(sidecars.iter().all(|sidecar| sidecar.admin("/readyz").status == 200));

    // A management port that is named is asked itself, and no other one in its place.
    let at = |address: String| {
        let mut other = Command::new(PULSEGATE);
        other.env_clear().env("PATH", SYSTEM_PATH).env("HOME", home.path()).current_dir(home.path());
        run(other.args(["drain", "--admin-listen", &address]))
    };
    assert_eq!(at(sidecars[1].admin.to_string()).code, Some(0));
    sidecars[1].await_code("/readyz", 503);
    assert_eq!(at("127.0.0.1:1".into()).code, Some(1));
    assert_eq!(sidecars[0].admin("/readyz").status, 200);
}
