//! The command line: `validate`, `check`, `probe`, `demo`, `--version`, `--help`.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;

use crate::support::{
    AppCertificates, CLOSED_PORT, Ended, PATIENCE, PULSEGATE, Process, SYSTEM_PATH, Settings, Sidecar, Upstream,
    Validity, claude, eventually, home_with_login, run,
};

fn pulsegate(home: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(PULSEGATE);
    command.env_clear().env("PATH", SYSTEM_PATH).env("HOME", home).current_dir(home).args(arguments);
    command
}

/// Runs a command with the settings in a file.
#[track_caller]
fn with(home: &Path, settings: &Settings, arguments: &[&str]) -> Ended {
    run(Sidecar::command(home, settings).args(arguments))
}

#[test]
fn version_names_the_revision() {
    let home = home_with_login();
    for flag in ["--version", "-V"] {
        let ended = run(&mut pulsegate(home.path(), &[flag]));
        assert_eq!(ended.code, Some(0));
        let rest = ended.stdout.strip_prefix(&format!("pulsegate {} (", env!("CARGO_PKG_VERSION"))).expect("a version");
        let revision = rest.strip_suffix(")\n").expect("a revision");
        let known =
            revision == "unknown" || (revision.len() == 12 && revision.bytes().all(|byte| byte.is_ascii_hexdigit()));
        assert!(known, "{revision}");
    }
}

#[test]
fn help_tells_the_commands_and_wrong_arguments_are_2() {
    let home = home_with_login();
    let help = run(&mut pulsegate(home.path(), &["--help"]));
    assert_eq!(help.code, Some(0));
    for command in ["run", "validate", "check", "probe", "config", "demo", "--config", "--port", "--upstream", "PORT"] {
        assert!(help.stdout.contains(command), "{command} in\n{}", help.stdout);
    }
    for wrong in [&["--prot", "1"][..], &["vallidate"], &["--set", "x"], &["probe", "--timeout", "soon"]] {
        let ended = run(&mut pulsegate(home.path(), wrong));
        assert_eq!(ended.code, Some(2), "{wrong:?}: {ended:?}");
        assert!(!ended.stderr.is_empty());
    }
}

/// What an init container does, so that the app's container, of another image, can begin with pulsegate.
#[test]
fn it_can_be_copied_also_over_one_that_runs() {
    let home = home_with_login();
    let folder = home.path().join("shared");
    let into = folder.to_str().expect("UTF-8");
    let missing = run(&mut pulsegate(home.path(), &["copy", into]));
    assert_eq!(missing.code, Some(1));
    assert!(missing.stderr.contains("it cannot be copied into") && missing.stderr.contains(into), "{missing:?}");

    std::fs::create_dir(&folder).expect("a folder");
    assert_eq!(run(&mut pulsegate(home.path(), &["copy", into])).code, Some(0));
    let mut command = Command::new(folder.join("pulsegate"));
    command.env_clear().env("HOME", home.path());
    command.args(["--preset=none", "--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0", "--log-format=json"]);
    let copied = Process::start(&mut command);
    eventually(PATIENCE, "the copy runs", || copied.said().iter().any(|line| line.contains("\"started\"")));
    // Nobody may write to a program that runs.
    let ended = run(&mut pulsegate(home.path(), &["copy", into]));
    assert_eq!((ended.code, &*ended.stderr), (Some(0), ""));
    let names: Vec<_> = std::fs::read_dir(&folder).expect("it").map(|entry| entry.expect("one").file_name()).collect();
    assert_eq!(names, ["pulsegate"], "nothing is left behind");
}

#[test]
fn validate_says_what_is_there() {
    let upstream = Upstream::hello();
    let home = home_with_login();
    let ended = with(home.path(), &Sidecar::full(&upstream), &["validate"]);
    assert_eq!((ended.code, &*ended.stderr), (Some(0), ""));
    assert_eq!(ended.stdout, "the configuration is valid: 4 checks, 8 endpoints\n");
    assert!(upstream.seen().is_empty() && upstream.accepted() == 0, "it asks nobody");
    let nothing = run(&mut pulsegate(home.path(), &["validate"]));
    assert_eq!(nothing.code, Some(0), "the preset alone is a configuration: {nothing:?}");

    let mut one = pulsegate(home.path(), &["validate", "--preset=none", "--set=checks.one.file.path=/"]);
    one.env("PULSEGATE_PROXY_UPSTREAM", "http://127.0.0.1:1").env("PULSEGATE_PORT_8000_TCP", "tcp://10.0.0.1:8000");
    let ended = run(&mut one);
    assert_eq!(ended.stdout, "the configuration is valid: 1 check, 4 endpoints\n");
    let said = "environment variable PULSEGATE_PROXY_UPSTREAM sets nothing; did you mean PULSEGATE_PROXY__UPSTREAM?\n";
    assert_eq!((ended.code, &*ended.stderr), (Some(0), said));
}

#[test]
fn check_asks_each_check_once_and_prints_a_table() {
    let upstream = Upstream::hello();
    let home = home_with_login();
    let settings = Sidecar::full(&upstream);
    let good = with(home.path(), &settings, &["check"]);
    assert_eq!(good.code, Some(0), "{good:?}");
    let rows: Vec<Vec<&str>> = good.stdout.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0], ["CHECK", "KIND", "RESULT", "TIME", "DETAIL"]);
    for (name, kind) in
        [("claude_cli", "cli"), ("api_server", "http"), ("authentication", "credentials"), ("traffic", "traffic")]
    {
        let row = rows.iter().find(|row| row[0] == name).unwrap_or_else(|| panic!("{name} in\n{}", good.stdout));
        assert_eq!((row[1], row[2]), (kind, "pass"), "{}", good.stdout);
    }
    assert!(good.stdout.contains("version=2.1.328"), "{}", good.stdout);
    assert_eq!(rows.len(), 5);

    upstream.set_probe(500);
    let bad = with(home.path(), &settings, &["check"]);
    assert_eq!(bad.code, Some(1), "{bad:?}");
    assert!(bad.stdout.contains("answers with status 500"), "{}", bad.stdout);

    let soft = with(home.path(), &settings.clone().text("checks.api_server.on_failure", "degraded"), &["check"]);
    assert_eq!(soft.code, Some(0), "{soft:?}");
    assert!(soft.stdout.contains("fail (soft)"), "{}", soft.stdout);

    let wrong = with(home.path(), &settings.text("checks.api_server.intervall", "1s"), &["check"]);
    assert_eq!(wrong.code, Some(2), "{wrong:?}");
}

/// What it has started is in a process group of its own, which Ctrl-C does not reach.
#[test]
fn a_check_that_is_interrupted_leaves_no_program_behind() {
    let upstream = Upstream::hello();
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143), (Signal::HUP, 129)] {
        let home = home_with_login();
        let number = home.path().join("number");
        let line = format!("echo $$ > {}.new; mv {0}.new {0}; exec sleep 600", number.display());
        let settings = Sidecar::bare(&upstream)
            .raw("checks.slow.command.argv", &format!("[\"sh\", \"-c\", \"{line}\"]"))
            .text("checks.slow.timeout", "600s")
            .text("checks.slow.interval", "600s");
        let mut checking = Process::start(Sidecar::command(home.path(), &settings).arg("check"));
        eventually(PATIENCE, "the program runs", || number.exists());
        let program = std::fs::read_to_string(&number).expect("its number");
        let lives = || Path::new("/proc").join(program.trim()).join("cwd").exists();
        assert!(lives());
        checking.signal(signal);
        assert_eq!(checking.wait(PATIENCE).code(), Some(code), "{signal:?}");
        eventually(PATIENCE, "the program has ended, too", || !lives());
    }
}

#[test]
fn probe_tells_by_its_exit_code() {
    let upstream = Upstream::hello();
    let home = home_with_login();
    let sidecar = Sidecar::start(&Sidecar::full(&upstream)).ready();
    let admin = sidecar.admin.to_string();
    let probe =
        |arguments: &[&str]| run(pulsegate(home.path(), &["probe"]).args(["--admin-listen", &admin]).args(arguments));
    for target in [&[][..], &["/livez"], &["/health"], &[&format!("http://{admin}/health/detailed")]] {
        let ended = probe(target);
        assert_eq!((ended.code, &*ended.stdout, &*ended.stderr), (Some(0), "", ""), "{target:?}");
    }
    assert_eq!(probe(&["/nothing"]).code, Some(1));
    for wrong in ["nowhere", "ftp://127.0.0.1/", "http://user:canary@127.0.0.1/"] {
        let ended = probe(&[wrong]);
        assert_eq!(ended.code, Some(2), "{wrong}: {ended:?}");
        assert!(!ended.stderr.contains("canary"), "{}", ended.stderr);
    }

    upstream.set_probe(500);
    sidecar.await_code("/readyz", 503);
    let unready = probe(&[]);
    assert_eq!(unready.code, Some(1));
    assert!(unready.stderr.contains("api_server answers with status 500"), "{}", unready.stderr);
    assert_eq!(probe(&["/livez"]).code, Some(0));

    let gone = run(&mut pulsegate(home.path(), &["probe", &format!("http://127.0.0.1:{CLOSED_PORT}/")]));
    assert_eq!(gone.code, Some(1), "{gone:?}");
    // Somebody who never answers: a listener that nobody accepts at.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}/", silent.local_addr().expect("an address"));
    let late = run(&mut pulsegate(home.path(), &["probe", "--timeout", "200ms", &url]));
    assert_eq!(late.code, Some(1), "{late:?}");
    assert!(late.took < Duration::from_secs(3), "{:?}", late.took);
    assert!(late.stderr.contains("did not answer within 200ms"), "{}", late.stderr);
}

#[test]
fn probe_and_control_speak_tls_where_the_management_port_does() {
    let upstream = Upstream::hello();
    let home = home_with_login();
    let authority = AppCertificates::new();
    // Neither 127.0.0.1 nor an authority that the machine knows.
    let files = authority.issue("status.example", Validity::Now);
    let settings = Sidecar::full(&upstream)
        .text("admin.tls.cert", &files.cert.display().to_string())
        .text("admin.tls.key", &files.key.display().to_string());
    let sidecar = Sidecar::start(&settings);
    let admin = sidecar.admin.to_string();
    let at = |certificate: &Path, command: &[&str]| {
        let set = format!("admin.tls.cert={}", certificate.display());
        let key = format!("admin.tls.key={}", files.key.display());
        let flags = ["--admin-listen", &admin, "--set", &set, "--set", &key];
        run(pulsegate(home.path(), command).args(flags))
    };
    let probed = at(&files.cert, &["probe", "/livez"]);
    assert_eq!((probed.code, &*probed.stderr), (Some(0), ""), "{probed:?}");
    assert_eq!(at(&files.cert, &["maintenance", "off"]).code, Some(0));
    // Somebody else's certificate is nobody we know.
    let other = authority.issue("status.example", Validity::Now);
    let refused = at(&other.cert, &["probe", "/livez"]);
    assert_ne!(refused.code, Some(0), "{refused:?}");
    let plain = run(pulsegate(home.path(), &["probe", "/livez"]).args(["--admin-listen", &admin]));
    assert_eq!(plain.code, Some(1), "{plain:?}");
    assert!(plain.stderr.contains("name the sidecar's --config"), "with the remedy: {}", plain.stderr);
}

#[test]
fn a_heartbeat_is_not_judged_by_asking_once() {
    let upstream = Upstream::hello();
    let home = home_with_login();
    let settings = Sidecar::bare(&upstream).text("checks.pulse.heartbeat.max_age", "30s");
    let checked = with(home.path(), &settings, &["check"]);
    assert_eq!(checked.code, Some(0), "{checked:?}");
    assert!(
        checked.stdout.contains("not asked") && checked.stdout.contains("waits for what the app sends"),
        "{checked:?}"
    );
}

#[test]
fn offline_what_is_elsewhere_is_noted_and_what_is_wrong_is_wrong() {
    let upstream = Upstream::hello();
    let home = home_with_login();
    let settings = Sidecar::bare(&upstream)
        .raw("admin.api_keys", "[{ file = '/nowhere/key' }]")
        .text("proxy.tls.cert", "/nowhere/tls.crt")
        .text("proxy.tls.key", "/nowhere/tls.key")
        .raw("checks.database.postgres.url", "{ env = 'NOWHERE_URL' }")
        .text("checks.scripts.directory.path", "/nowhere");
    assert_eq!(with(home.path(), &settings, &["validate"]).code, Some(2));
    let offline = with(home.path(), &settings, &["validate", "--offline"]);
    assert_eq!(offline.code, Some(0), "{offline:?}");
    let noted: Vec<&str> = offline.stderr.lines().filter(|line| line.starts_with("not looked at: ")).collect();
    assert_eq!(noted.len(), 3, "{offline:?}");
    for what in ["`admin.api_keys[0]`", "`proxy.tls`", "`checks.database`"] {
        assert!(noted.iter().any(|line| line.contains(what)), "{what} in {noted:?}");
    }
    assert!(offline.stdout.contains("3 things were not looked at"), "{offline:?}");
    // Nothing is excused that would be wrong there too.
    let wrong = settings.raw("checks.scripts.directory.min_count", "3").raw("checks.scripts.directory.max_count", "2");
    let offline = with(home.path(), &wrong, &["validate", "--offline"]);
    assert_eq!(offline.code, Some(2), "{offline:?}");
    assert!(offline.stderr.contains("`directory.max_count` must not be less"), "{offline:?}");
}

const DEMO: [&str; 6] = ["demo", "--once", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];

#[test]
fn the_demo_shows_everything_within_a_minute() {
    let home = home_with_login();
    let ended = run(&mut pulsegate(home.path(), &DEMO));
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.took < Duration::from_secs(60), "{:?}", ended.took);
    for line in [
        "GET /                  200",
        "5 server-sent events",
        "heard \"hello\"",
        "GET /health            200  {\"status\":\"healthy\"",
        "GET /health            503  {\"status\":\"unhealthy\"",
        "[-]api_server failed",
        "by itself",
        "claude_proxy_requests_total{",
        "claude_proxy_ready 1",
        "Claude CLI not found in PATH",
        "does not weigh in this demo",
    ] {
        assert!(ended.stdout.contains(line), "{line:?} in\n{}", ended.stdout);
    }
    assert_eq!(ended.stderr, "", "nothing to worry a newcomer");
}

#[test]
fn the_demo_finds_the_real_cli() {
    let home = home_with_login();
    let ended = run(pulsegate(home.path(), &DEMO).env("CLAUDE_CLI_PATH", claude("2.1.328")));
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.stdout.contains("found, version 2.1.328"), "{}", ended.stdout);
}

#[test]
fn a_demo_on_a_taken_port_says_what_to_do() {
    let home = home_with_login();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let arguments = ["demo", "--once", "--listen", &address, "--admin-listen", "127.0.0.1:0"];
    let ended = run(&mut pulsegate(home.path(), &arguments));
    assert_eq!(ended.code, Some(2), "{ended:?}");
    assert!(ended.stderr.contains("already in use") && ended.stderr.contains("--port"), "{}", ended.stderr);
}
