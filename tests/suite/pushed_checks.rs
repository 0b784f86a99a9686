//! Checks whose answers come from elsewhere: heartbeats of the app, facts of other checks, conditions.

use std::process::Command;

use serde_json::{Value, json};

use crate::local_checks::{await_status, await_told, quick, telling, told};
use crate::support::{
    Ended, PATIENCE, PULSEGATE, SYSTEM_PATH, Sidecar, Upstream, ask, eventually, get, home_with_login, run,
};

fn command(sidecar: &Sidecar, arguments: &[&str]) -> Ended {
    let home = sidecar.home();
    let mut command = Command::new(PULSEGATE);
    command.env_clear().env("PATH", SYSTEM_PATH).env("HOME", &home).current_dir(&home);
    run(command.args(arguments).arg("--config").arg(home.join("pulsegate.toml")))
}

#[test]
fn the_app_says_that_it_is_alive() {
    let upstream = Upstream::hello();
    let home = home_with_login();
    let settings = quick(telling(&upstream, &home.path().join("key")), "network")
        .text("checks.network.heartbeat.max_age", "2s")
        .raw("reload.watch", "false");
    let sidecar = Sidecar::start_in(home, &settings, |_| {});
    assert_eq!(await_status(&sidecar, "network", "unknown")["heartbeat"], Value::Null);
    assert_eq!(await_status(&sidecar, "network", "unhealthy")["error"], "network has never sent a heartbeat");

    let beat = |method: &str, name: &str| ask(sidecar.admin, method, &format!("/-/heartbeat/{name}"), &[], b"");
    let answer = beat("POST", "network");
    assert_eq!(answer.status, 200);
    let at = answer.json()["heartbeat"].as_u64().expect("a second");
    assert_eq!(await_status(&sidecar, "network", "healthy")["heartbeat"], at);
    await_told(&sidecar, "network", |told| told["error"] == "network has sent no heartbeat for too long");

    assert_eq!(beat("GET", "network").status, 405);
    for name in ["", "nobody", "network/", "../network", "%6Eetwork"] {
        assert_eq!(beat("POST", name).status, 404, "{name}");
    }
    let through = ask(sidecar.admin, "POST", "/-/heartbeat/network", &[("X-Forwarded-For", "10.0.0.1")], b"");
    assert_eq!(through.status, 403, "somebody else's");
    assert_eq!(told(&sidecar, "network")["status"], "unhealthy");
    assert_eq!(ask(sidecar.traffic, "POST", "/-/heartbeat/network", &[], b"").text(), "hello", "that is traffic");

    let sent = command(&sidecar, &["heartbeat", "network"]);
    assert_eq!((sent.code, &*sent.stdout, &*sent.stderr), (Some(0), "", ""));
    await_status(&sidecar, "network", "healthy");
    let wrong = command(&sidecar, &["heartbeat", "nobody"]);
    assert_eq!(wrong.code, Some(1));
    assert!(wrong.stderr.contains("no check waits for a heartbeat of this name"), "{wrong:?}");

    // Another rule for the same heart: what was heard of it before still counts.
    let last = beat("POST", "network").json()["heartbeat"].clone();
    let file = sidecar.home().join("pulsegate.toml");
    let text = std::fs::read_to_string(&file).expect("a configuration");
    std::fs::write(&file, text.replace("\"2s\"", "\"1h\"")).expect("a configuration");
    assert_eq!(command(&sidecar, &["reload"]).code, Some(0));
    let kept = await_status(&sidecar, "network", "healthy");
    assert!(kept["heartbeat"].as_u64() >= last.as_u64(), "{kept}");
    assert_eq!(get(sidecar.admin, "/readyz").status, 200);
}

#[test]
fn files_and_another_count_agree_or_do_not() {
    let upstream = Upstream::hello();
    let home = home_with_login();
    let [left, right] = ["identities", "index"].map(|name| home.path().join(name));
    for directory in [&left, &right] {
        std::fs::create_dir(directory).expect("a directory");
        std::fs::write(directory.join("one"), "").expect("a file");
    }
    let mut settings = telling(&upstream, &home.path().join("key"))
        .text("checks.synced.count_match.left", "identities.count")
        .text("checks.synced.count_match.right", "index.count")
        .raw("checks.synced.failure_threshold", "1");
    for (name, path) in [("identities", &left), ("index", &right)] {
        settings = quick(settings, name).text(&format!("checks.{name}.directory.path"), &path.display().to_string());
    }
    let settings = quick(settings, "synced").text("checks.synced.stale_after", "2s");
    let sidecar = Sidecar::start_in(home, &settings, |_| {});
    let agree = await_status(&sidecar, "synced", "healthy");
    assert_eq!((&agree["left"], &agree["right"], &agree["synced"]), (&json!(1), &json!(1), &json!(true)));
    std::fs::write(left.join("two"), "").expect("a file");
    let differ = await_status(&sidecar, "synced", "unhealthy");
    assert_eq!((&differ["left"], &differ["synced"]), (&json!(2), &json!(false)));
    assert_eq!(differ["error"], "synced counts 2 and 1");
    std::fs::write(right.join("two"), "").expect("a file");
    await_status(&sidecar, "synced", "healthy");
    std::fs::remove_dir_all(&right).expect("gone");
    let unknown = await_status(&sidecar, "synced", "unknown");
    assert_eq!((&unknown["right"], &unknown["synced"]), (&Value::Null, &Value::Null));

    let asked = command(&sidecar, &["check"]);
    assert!(asked.stdout.contains("has nothing to compare (index.count is no number, or not recent)"), "{asked:?}");
    std::fs::create_dir(&right).expect("a directory");
    assert!(command(&sidecar, &["check"]).stdout.contains("counts 2 and 0"), "others are asked before");
}

#[test]
fn what_is_not_enabled_is_shown_and_weighs_nothing() {
    let upstream = Upstream::hello();
    let home = home_with_login();
    let switch = home.path().join("switch");
    // Without its key it could not even be prepared, and nothing listens there.
    let mut settings = telling(&upstream, &home.path().join("key"));
    for (name, condition) in
        [("tmdb", "{ env = \"TMDB_API_KEY\" }".to_owned()), ("file", format!("{{ file = {switch:?} }}"))]
    {
        settings = quick(settings, name)
            .text(&format!("checks.{name}.http.url"), "http://127.0.0.1:1/")
            .raw(&format!("checks.{name}.failure_threshold"), "1")
            .raw(&format!("checks.{name}.enabled_if"), &condition);
    }
    let settings = settings.raw("checks.tmdb.http.headers.\"X-Key\"", "{ env = \"TMDB_API_KEY\" }");
    let sidecar = Sidecar::start_in(home, &settings, |_| {}).ready();
    assert_eq!(told(&sidecar, "tmdb"), json!({ "status": "disabled", "enabled": false }));
    let verbose = sidecar.admin("/readyz?verbose");
    assert!(verbose.text().contains("[+]tmdb ok: not enabled"), "{}", verbose.text());
    let metrics = sidecar.admin("/metrics");
    assert!(!metrics.text().contains("check_up{check=\"tmdb\"}"), "{}", metrics.text());
    let asked = command(&sidecar, &["check"]);
    assert_eq!(asked.code, Some(0), "{asked:?}");
    assert!(asked.stdout.contains("not enabled"), "{asked:?}");

    std::fs::write(&switch, "on").expect("a file");
    eventually(PATIENCE, "the file is seen, and the check is asked", || {
        told(&sidecar, "file")["status"] == "unhealthy"
    });
    assert_eq!(sidecar.admin("/readyz").status, 503);
    std::fs::remove_file(&switch).expect("gone");
    eventually(PATIENCE, "it is not asked any more", || told(&sidecar, "file")["status"] == "disabled");
    assert_eq!(sidecar.admin("/readyz").status, 200);
}
