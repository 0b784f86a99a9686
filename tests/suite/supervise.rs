//! The app as a child of the sidecar: `pulsegate run -- COMMAND`.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde_json::Value;

use crate::support::{
    Client, ClosedLoop, HttpError, PATIENCE, SYSTEM_PATH, Settings, Sidecar, always, eventually, eventually_some,
    free_port, home_with_login, run,
};

/// A sidecar with an app of its own, and where that notes what happens to it.
struct Pair {
    sidecar: Sidecar,
}

impl Pair {
    #[track_caller]
    fn start(change: impl FnOnce(Settings) -> Settings) -> Self {
        let home = home_with_login();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/suite/apps/supervised.py");
        let command =
            vec!["python3".into(), script.display().to_string(), home.path().join("log").display().to_string()];
        let settings = settings().raw("app.command", &Value::from(command).to_string());
        let sidecar = Sidecar::start_in(home, &change(settings), |command| {
            command.env("PORT", "0");
        });
        let pair = Self { sidecar };
        eventually(PATIENCE, "the app is there", || pair.sidecar.get("/").status == 200);
        pair
    }

    /// What happened to the app, line by line.
    fn log(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.sidecar.home().join("log")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    fn starts(&self) -> usize {
        self.log().iter().filter(|line| line.starts_with("started")).count()
    }

    fn pid(&self) -> Pid {
        pid(self.sidecar.get("/").text())
    }
}

fn pid(text: &str) -> Pid {
    Pid::from_raw(text.parse().expect("a number")).expect("a process id")
}

/// The preset of the Claude proxy without its own checks, so that the app's process is what health speaks of.
fn settings() -> Settings {
    Sidecar::bare_for(free_port())
        .raw("endpoints.\"/health\"", "{ dialect = \"claude-proxy\" }")
        .raw("endpoints.\"/health/detailed\"", "{ dialect = \"claude-proxy\", detail = true }")
        .text("app.stop_timeout", "2s")
        .text("app.backoff", "50ms")
}

fn is_alive(pid: Pid) -> bool {
    // A zombie that nobody has reaped yet counts as gone.
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap_or_default();
    test_kill_process(pid).is_ok() && !stat.contains(") Z ")
}

#[test]
fn the_app_is_started_and_its_end_is_ours() {
    for (path, code) in [("/exit/0", 0), ("/exit/7", 7), ("/kill", 137)] {
        let mut pair = Pair::start(|settings| settings.text("app.restart", "never"));
        let mut client = Client::connect(pair.sidecar.traffic);
        assert!(matches!(client.ask("GET", path, &[], b""), Ok(answer) if answer.status == 502) || code == 0);
        assert_eq!(pair.sidecar.wait(PATIENCE).code(), Some(code), "{path}");
        assert_eq!(pair.starts(), 1);
    }
}

#[test]
fn an_app_that_fails_is_started_again() {
    let pair = Pair::start(|settings| settings.text("proxy.retry.hold_on_restart", "20s"));
    let sidecar = &pair.sidecar;
    eventually(PATIENCE, "it is ready", || sidecar.admin("/readyz").status == 200);
    sidecar.assert_metric("pulsegate_app_up", &[], 1.0);
    for round in 1..=3 {
        let before = pair.pid();
        // Its POST-like end: nothing answers, and it is not sent again for ever.
        let lost = sidecar.ask("POST", "/exit/3", &[], b"");
        assert_eq!(lost.status, 501, "this app knows no POST");
        kill_process(before, Signal::KILL).expect("a signal");
        eventually(PATIENCE, "another one answers", || pair.pid() != before);
        assert_eq!(pair.starts(), round + 1);
    }
    let app = sidecar.await_detailed("it has been told", |body| body["components"]["app_process"]["restarts"] == 3);
    let app = &app["components"]["app_process"];
    assert_eq!((&app["status"], &app["last_exit"]), (&"healthy".into(), &"SIGKILL".into()));
    assert!(app["uptime_seconds"].is_number() && app["pid"].is_null(), "{app}");
    eventually(PATIENCE, "and counted", || sidecar.metric("pulsegate_app_restarts_total", &[]) == 3.0);
    sidecar.assert_metric("pulsegate_errors_total", &["type=\"upstream_connect\""], 0.0); // requests waited
}

#[test]
fn a_crash_loop_answers_health_with_the_reason() {
    let home = home_with_login();
    let settings = settings()
        .raw("app.command", r#"["sh", "-c", "exit 9"]"#)
        .text("app.backoff", "100ms")
        .text("app.max_backoff", "1s");
    let sidecar = Sidecar::start_in(home, &settings, |_| {});
    let begun = Instant::now();
    let health = sidecar.await_code("/health", 503);
    eventually(PATIENCE, "it is started again and again", || {
        sidecar.metric("pulsegate_app_restarts_total", &[]) >= 5.0
    });
    // 100 + 200 + 400 + 800 + 1000 ms, each at least half of it.
    assert!(begun.elapsed() >= Duration::from_millis(1250), "with pauses that grow: {:?}", begun.elapsed());
    let error = eventually_some(PATIENCE, "the reason", || {
        let error = sidecar.admin("/health").json()["error"].as_str().map(str::to_owned)?;
        error.contains("exit code 9").then_some(error)
    });
    assert!(error.starts_with("The app ended (exit code 9) and is started again in "), "{error}");
    assert_eq!(health.json()["status"], "unhealthy");
    assert_eq!(sidecar.admin("/readyz").status, 503);
    assert_eq!(sidecar.admin("/livez").status, 200, "it is not the sidecar that is broken");
    sidecar.assert_metric("pulsegate_app_up", &[], 0.0);
}

#[test]
fn restarts_have_a_limit_if_so_wished() {
    let settings = settings().raw("app.command", r#"["sh", "-c", "exit 9"]"#).raw("app.max_restarts", "3");
    let mut sidecar = Sidecar::start(&settings);
    assert_eq!(sidecar.wait(PATIENCE).code(), Some(9));
    let log = sidecar.log();
    assert_eq!(log.matches("\"the app has been started\"").count(), 4, "{log}");
}

#[test]
fn the_app_ends_last() {
    let mut pair = Pair::start(|settings| settings.text("shutdown.lame_duck", "300ms").text("shutdown.grace", "20s"));
    let app = pair.pid();
    let mut client = Client::connect(pair.sidecar.traffic);
    client.write("GET", "/slow", &[], b"").expect("a request");
    eventually(PATIENCE, "the app works", || pair.log().contains(&"slow".to_owned()));
    pair.sidecar.terminate();
    eventually(PATIENCE, "readiness goes first", || pair.sidecar.admin("/readyz").status == 503);
    assert!(!pair.log().contains(&"SIGTERM".to_owned()), "the app is not told yet");
    assert_eq!(client.read().expect("what was in flight ends").status, 200);
    assert_eq!(pair.sidecar.wait(PATIENCE).code(), Some(0));
    let log = pair.log();
    let at = |line: &str| log.iter().position(|known| known == line);
    assert!(at("slow") < at("SIGTERM") && at("SIGTERM") < at("ended"), "{log:?}");
    assert!(!is_alive(app));
}

#[test]
fn an_app_that_does_not_stop_is_killed_within_the_grace() {
    let mut pair = Pair::start(|settings| settings.text("shutdown.grace", "3s"));
    let app = pair.pid();
    assert_eq!(pair.sidecar.get("/ignore").status, 200);
    let signalled = Instant::now();
    pair.sidecar.terminate();
    assert_eq!(pair.sidecar.wait(PATIENCE).code(), Some(0));
    let took = signalled.elapsed();
    assert!(took >= Duration::from_secs(2) && took < Duration::from_secs(5), "{took:?}");
    assert!(!is_alive(app) && pair.log().contains(&"SIGTERM".to_owned()));
    assert!(pair.sidecar.log().contains("has not stopped in time"));

    // And a second signal kills it at once.
    let mut pair = Pair::start(|settings| settings.text("app.stop_timeout", "30s").text("shutdown.grace", "60s"));
    let app = pair.pid();
    assert_eq!(pair.sidecar.get("/ignore").status, 200);
    pair.sidecar.terminate();
    eventually(PATIENCE, "the app is told", || pair.log().contains(&"SIGTERM".to_owned()));
    let signalled = Instant::now();
    assert_eq!(pair.sidecar.insist(Signal::TERM).code(), Some(0));
    assert!(signalled.elapsed() < Duration::from_secs(2), "{:?}", signalled.elapsed());
    assert!(pair.sidecar.log().contains("told twice: the app is killed"));
    eventually(PATIENCE, "it is gone", || !is_alive(app));
}

#[test]
fn an_app_that_stands_still_is_told_to_stop_all_the_same() {
    let mut pair = Pair::start(|settings| settings.text("shutdown.grace", "60s").text("app.stop_timeout", "30s"));
    kill_process(pair.pid(), Signal::STOP).expect("it is stopped");
    pair.sidecar.terminate();
    assert_eq!(pair.sidecar.wait(PATIENCE).code(), Some(0));
    assert!(pair.log().contains(&"ended".to_owned()), "it had the time to end properly: {:?}", pair.log());
}

#[test]
fn a_signal_that_comes_doubled_leaves_the_app_its_time() {
    let mut pair = Pair::start(|settings| settings.text("shutdown.lame_duck", "300ms").text("shutdown.grace", "20s"));
    let mut client = Client::connect(pair.sidecar.traffic);
    client.write("GET", "/slow", &[], b"").expect("a request");
    eventually(PATIENCE, "the app works", || pair.log().contains(&"slow".to_owned()));
    pair.sidecar.terminate();
    pair.sidecar.process.signal(Signal::INT);
    assert_eq!(client.read().expect("what was in flight ends").status, 200);
    assert_eq!(pair.sidecar.wait(PATIENCE).code(), Some(0));
    let log = pair.log();
    assert_eq!(log.iter().filter(|line| *line == "SIGTERM").count(), 1, "{log:?}");
    assert!(log.contains(&"ended".to_owned()), "{log:?}");
    assert!(pair.sidecar.log().contains("told again at once"));
}

#[test]
fn an_app_behind_a_shell_is_stopped_with_its_shell() {
    let home = home_with_login();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/suite/apps/supervised.py");
    let line = format!("python3 {} {}; true", script.display(), home.path().join("log").display());
    let settings = settings().raw("app.command", &serde_json::json!(["sh", "-c", line]).to_string());
    let mut pair = Pair { sidecar: Sidecar::start_in(home, &settings, |_| {}) };
    eventually(PATIENCE, "the app is there", || pair.sidecar.get("/").status == 200);
    let app = pair.pid();
    pair.sidecar.terminate();
    assert_eq!(pair.sidecar.wait(PATIENCE).code(), Some(0));
    assert!(!is_alive(app));
    assert!(pair.log().contains(&"ended".to_owned()), "it had the time to end properly: {:?}", pair.log());
}

#[test]
fn signals_are_passed_on() {
    let pair = Pair::start(|settings| settings);
    for (signal, name) in
        [(Signal::USR1, "SIGUSR1"), (Signal::USR2, "SIGUSR2"), (Signal::WINCH, "SIGWINCH"), (Signal::QUIT, "SIGQUIT")]
    {
        pair.sidecar.process.signal(signal);
        eventually(PATIENCE, name, || pair.log().iter().any(|line| line == name));
    }
    pair.sidecar.process.signal(Signal::HUP);
    eventually(PATIENCE, "a hangup reloads", || pair.sidecar.log().contains("reloaded: nothing has changed"));
    assert!(!pair.log().contains(&"SIGHUP".to_owned()), "and is ours alone");
    assert_eq!(pair.sidecar.get("/").status, 200, "and nothing stops");
    assert_eq!(pair.sidecar.admin("/readyz").status, 200);
}

#[test]
fn a_hangup_is_passed_on_if_so_wished_and_the_app_stays_as_it_is() {
    let pair = Pair::start(|settings| settings.raw("app.pass_sighup", "true"));
    let app = pair.pid();
    let file = pair.sidecar.home().join("pulsegate.toml");
    let text = std::fs::read_to_string(&file).expect("the configuration");
    std::fs::write(&file, text.replace("app.backoff = \"50ms\"", "app.backoff = \"60ms\"")).expect("another one");
    pair.sidecar.process.signal(Signal::HUP);
    eventually(PATIENCE, "the app hears it", || pair.log().contains(&"SIGHUP".to_owned()));
    eventually(PATIENCE, "what needs a restart is said", || {
        pair.sidecar.log().contains("`app` cannot change while the process runs: it needs a restart")
    });
    std::fs::write(&file, text + "\nproxy.retry.attempts = 2\n").expect("another one");
    pair.sidecar.process.signal(Signal::HUP);
    eventually(PATIENCE, "other things can change", || pair.sidecar.log().contains("\"reloaded\""));
    assert_eq!(pair.pid(), app);
    let app = || pair.sidecar.detailed()["components"]["app_process"]["status"].clone();
    eventually(PATIENCE, "and its check goes on", || app() == "healthy");
}

#[test]
fn a_sidecar_that_is_killed_leaves_no_app_behind() {
    let mut pair = Pair::start(|settings| settings);
    let app = pair.pid();
    assert!(is_alive(app));
    pair.sidecar.process.kill();
    eventually(PATIENCE, "the app is gone", || !is_alive(app));
    assert!(!pair.log().contains(&"SIGTERM".to_owned()));
}

#[test]
fn orphans_of_the_app_are_reaped() {
    let pair = Pair::start(|settings| settings);
    for _ in 0..10 {
        assert_eq!(pair.sidecar.get("/orphan").status, 200);
    }
    let parent = pair.sidecar.process.id();
    let zombies = || crate::process_table::children(parent).iter().filter(|(_, state)| *state == 'Z').count();
    eventually(PATIENCE, "all orphans have come and gone", || crate::process_table::children(parent).len() == 1);
    assert_eq!(zombies(), 0);
    always(Duration::from_millis(300), "the app itself is not reaped by mistake", || {
        pair.sidecar.get("/").status == 200
    });
}

#[test]
fn what_cannot_be_run_is_told_at_once() {
    let home = home_with_login();
    std::fs::write(home.path().join("not-a-program"), "no").expect("a file");
    std::fs::write(home.path().join("no-interpreter"), "#!/nowhere/sh\n").expect("a file");
    let mut command = Command::new("chmod");
    command.arg("+x").arg(home.path().join("no-interpreter"));
    assert_eq!(run(&mut command).code, Some(0));
    for (program, code, sentence) in [
        ("no-such-program", 127, "cannot start the app: no-such-program is not in any directory of PATH"),
        ("./no-such-program", 127, "cannot start the app: there is no ./no-such-program"),
        ("./not-a-program", 126, "cannot start the app: ./not-a-program cannot be executed"),
        ("/", 126, "cannot start the app: / cannot be executed"),
        ("./no-interpreter", 127, "cannot start the app: ./no-interpreter: "),
    ] {
        let mut command = Sidecar::command(home.path(), &settings().text("log.format", "text"));
        let ended = run(command.args(["run", "--", program, "--argument"]));
        assert_eq!(ended.code, Some(code), "{program}: {ended:?}");
        assert!(ended.stderr.contains(sentence), "{program}: {}", ended.stderr);
        assert!(ended.took < Duration::from_secs(10), "{:?}", ended.took);
    }
}

#[test]
fn without_proc_it_is_said_what_is_missing() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("not root: /proc cannot be hidden, so this shows nothing");
        return;
    }
    let home = home_with_login();
    let command = Sidecar::command(home.path(), &settings().text("log.format", "text"));
    let mut hidden = Command::new("unshare");
    hidden.args(["--mount", "--", "sh", "-c", "mount -t tmpfs none /proc && exec \"$@\"", "sh"]);
    hidden.arg(command.get_program()).args(command.get_args()).args(["run", "--", "sleep", "60"]);
    let ended = run(hidden.env_clear().env("PATH", SYSTEM_PATH).current_dir(home.path()));
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let sentence =
        "cannot start the app: there is no /proc/self/exe, which pulsegate begins it with: mount proc at /proc";
    assert!(ended.stderr.contains(sentence), "{}", ended.stderr);
}

#[test]
fn an_app_that_goes_into_the_background_is_told_of() {
    const HINT: &str = "a process of the app still runs in the background: start it in the foreground";
    for (program, told) in [
        ("setsid sh -c 'echo $$ > daemon; exec sleep 60' >&- 2>&- & while ! [ -s daemon ]; do sleep 0.01; done", true),
        ("setsid sleep 60 >&- 2>&- & kill $!; wait", false),
        // It is killed with the app's group.
        ("sleep 60 >&- 2>&- &", false),
    ] {
        let command = Value::from(vec!["sh", "-c", program]).to_string();
        let mut sidecar = Sidecar::start(&settings().raw("app.command", &command).text("app.restart", "on-failure"));
        assert_eq!(sidecar.wait(PATIENCE).code(), Some(0), "{program}");
        assert_eq!(sidecar.log().contains(HINT), told, "{program}: {}", sidecar.log());
        if let Ok(daemon) = std::fs::read_to_string(sidecar.home().join("daemon")) {
            kill_process(pid(daemon.trim()), Signal::KILL).expect("it lives");
        }
    }
}

#[test]
fn the_app_gets_our_environment_and_a_port_of_its_own() {
    let home = home_with_login();
    let out = home.path().join("out");
    let settings = settings().raw("app.environment", "{ EXTRA = \"more\", HOME = \"/elsewhere\" }");
    let port = settings
        .to_toml()
        .lines()
        .find_map(|line| {
            Some(line.strip_prefix("proxy.upstream")?.rsplit(':').next()?.trim_end_matches('"').to_owned())
        })
        .expect("a port");
    let mut command = Sidecar::command(home.path(), &settings);
    command.env("PORT", "0").env("KEPT", "as it was").env("PULSEGATE_LOG__LEVEL", "info");
    let script = format!("env > {}; echo out; echo err >&2", out.display());
    let ended = run(command.args(["run", "--", "sh", "-c", &script]));
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(0), "out\n"), "{ended:?}");
    assert!(ended.stderr.lines().any(|line| line == "err"));
    let environment = std::fs::read_to_string(out).expect("the environment");
    let has = |line: &str| environment.lines().any(|known| known == line);
    assert!(has(&format!("PORT={port}")), "the app's port, not ours: {environment}");
    assert!(has("KEPT=as it was") && has("EXTRA=more") && has("HOME=/elsewhere"), "{environment}");
}

#[test]
fn the_apps_limit_of_open_files_is_the_one_that_we_were_given() {
    let home = home_with_login();
    let settings = settings();
    let sidecar = Sidecar::command(home.path(), &settings);
    let mut command = Command::new("sh");
    command.envs(sidecar.get_envs().filter_map(|(name, value)| Some((name, value?)))).current_dir(home.path());
    let pulsegate = sidecar.get_program().display().to_string();
    let file = home.path().join("pulsegate.toml").display().to_string();
    command.args(["-c", &format!("ulimit -Sn 512; exec {pulsegate} --config {file} run -- sh -c 'ulimit -Sn'")]);
    let ended = run(&mut command);
    assert_eq!((ended.code, ended.stdout.trim()), (Some(0), "512"), "{ended:?}");
}

#[test]
fn twenty_restarts_of_our_own_app_lose_nothing_that_it_did_not_have() {
    let pair = Pair::start(|settings| {
        settings
            .text("proxy.retry.hold_on_restart", "20s")
            .text("app.restart", "always")
            .text("app.max_backoff", "50ms")
    });
    let clients = ClosedLoop::start(pair.sidecar.traffic, 4, |client| client.ask("GET", "/", &[], b""));
    for round in 1..=20 {
        let before = clients.answered();
        eventually(PATIENCE, "the loop runs", || clients.answered() >= before + 50);
        let app = eventually_some(PATIENCE, "the app that runs now", || {
            let log = pair.log();
            log.last().and_then(|line| Some(pid(line.strip_prefix("started ")?)))
        });
        kill_process(app, Signal::KILL).expect("a signal");
        eventually(PATIENCE, "it is started again", || pair.starts() == round + 1);
    }
    // Killed in the middle of its work: a GET may be sent again, to the next one.
    assert_eq!(clients.end(), Vec::<String>::new());
}

#[test]
fn a_configuration_that_cannot_work_is_refused() {
    let home = home_with_login();
    for (settings, sentence) in [
        (settings().text("app.backoff", "1m"), "`app.backoff` must not be longer than `app.max_backoff`"),
        (settings().text("app.backoff", "0"), "`app.backoff` must not be 0"),
        (settings().raw("app.command", "[\"x\"]").text("app.stop_timeout", "6s"), "`app.stop_timeout` must fit into"),
        (settings().raw("app.command", "[\"\"]"), "`app.command` must begin with a program"),
        (
            settings().raw("checks.app_process.http", "{}"),
            "`checks.app_process`: something of pulsegate's own has this name",
        ),
        (settings().text("app.restart", "sometimes"), "`app.restart` must be one of always, on-failure, never"),
    ] {
        let ended = run(Sidecar::command(home.path(), &settings).arg("validate"));
        assert_eq!(ended.code, Some(2));
        assert!(ended.stderr.contains(sentence), "{}", ended.stderr);
    }
}

/// Not even in a race with the end may a client hang.
#[test]
fn requests_that_wait_for_an_app_that_has_ended_are_answered_or_cut() {
    let mut pair = Pair::start(|settings| {
        settings.text("proxy.retry.hold_on_restart", "60s").text("app.restart", "never").text("shutdown.grace", "60s")
    });
    let mut client = Client::connect(pair.sidecar.traffic);
    client.write("GET", "/exit/5", &[], b"").expect("a request");
    let answer = client.read();
    assert!(
        matches!(answer, Err(HttpError::Closed | HttpError::Truncated(_)))
            || answer.is_ok_and(|answer| answer.status == 502)
    );
    assert_eq!(pair.sidecar.wait(Duration::from_secs(10)).code(), Some(5));
}
