//! The configuration: everything that is wrong at once, layers in their order, secrets masked.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{
    Ended, PULSEGATE, SYSTEM_PATH, Settings, Sidecar, Upstream, free_port, get, home_with_login, local, run,
};

fn bad_configurations() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/suite/bad-config")
}

/// Every `NAME.toml` there is refused with just what `NAME.expected` holds. `UPDATE_EXPECTED=1` writes what is said now,
/// for a person to read.
#[test]
fn every_bad_configuration_is_refused_with_the_expected_words() {
    let directory = bad_configurations();
    let update = std::env::var_os("UPDATE_EXPECTED").is_some();
    let entries = std::fs::read_dir(&directory).expect("the bad configurations").flatten();
    let mut names: Vec<String> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    let bad: Vec<&str> = names.iter().filter_map(|name| name.strip_suffix(".toml")).collect();
    let expected: Vec<&str> = names.iter().filter_map(|name| name.strip_suffix(".expected")).collect();
    assert!(bad.len() >= 15, "{bad:?}");
    assert!(update || bad == expected, "each has its golden file");
    let mut wrong = Vec::new();
    for name in bad {
        for command in ["validate", "run"] {
            let mut pulsegate = Command::new(PULSEGATE);
            pulsegate.env_clear().env("HOME", "/nonexistent").current_dir(&directory);
            let ended = run(pulsegate.args([command, "--config", &format!("{name}.toml")]));
            assert_eq!((ended.code, &*ended.stdout), (Some(2), ""), "{command} {name}: {ended:?}");
            assert!(!ended.stderr.contains("canary"), "{name} shows a secret: {}", ended.stderr);
            let golden = directory.join(format!("{name}.expected"));
            if update && command == "validate" {
                std::fs::write(&golden, &ended.stderr).expect("a golden file");
            }
            let expected = std::fs::read_to_string(&golden).expect("a golden file");
            if ended.stderr != expected {
                wrong.push(format!("{command} {name}:\n--- expected\n{expected}--- said\n{}", ended.stderr));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn pulsegate(home: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(PULSEGATE);
    command.env_clear().env("PATH", SYSTEM_PATH).env("HOME", home).current_dir(home).args(arguments);
    command
}

/// A setting in the output of `config`: its value and where it comes from.
#[track_caller]
fn setting<'a>(dump: &'a Ended, path: &str) -> (&'a str, &'a str) {
    assert_eq!(dump.code, Some(0), "{dump:?}");
    let prefix = format!("{path} = ");
    let line = dump.stdout.lines().find_map(|line| line.strip_prefix(&prefix));
    let (value, origin) =
        line.unwrap_or_else(|| panic!("{path} in\n{}", dump.stdout)).rsplit_once("  # ").expect("an origin");
    (value.trim_end(), origin)
}

#[test]
fn flags_go_before_the_environment_before_the_file_before_the_preset() {
    let home = home_with_login();
    let upstream = Upstream::hello();
    let settings = Sidecar::full(&upstream).text("log.level", "debug").text("shutdown.grace", "7s");
    let file = home.path().join("pulsegate.toml").display().to_string();

    let dump = run(Sidecar::command(home.path(), &settings).arg("config"));
    assert_eq!(setting(&dump, "log.level").0, "\"debug\"");
    assert!(setting(&dump, "log.level").1.starts_with(&format!("{file}:")), "{dump:?}");
    assert_eq!(setting(&dump, "service.name"), ("\"claude-proxy\"", "preset claude-proxy"));
    assert_eq!(setting(&dump, "proxy.timeouts.connect").1, "default");

    let over = |command: &mut Command| {
        run(command
            .arg("config")
            .env("PULSEGATE_LOG__LEVEL", "warn")
            .env("PULSEGATE_SHUTDOWN__GRACE", "8s")
            .env("PULSEGATE_PORT_8000_TCP", "tcp://10.0.0.1:8000"))
    };
    let dump = over(&mut Sidecar::command(home.path(), &settings));
    assert_eq!(setting(&dump, "log.level"), ("\"warn\"", "environment variable PULSEGATE_LOG__LEVEL"));
    assert_eq!(setting(&dump, "shutdown.grace").0, "\"8s\"");

    let dump =
        over(Sidecar::command(home.path(), &settings).args(["--log-level", "error", "--set", "shutdown.grace=9s"]));
    assert_eq!(setting(&dump, "log.level"), ("\"error\"", "flag --log-level"));
    assert_eq!(setting(&dump, "shutdown.grace"), ("\"9s\"", "flag --set shutdown.grace"));

    let dump = run(pulsegate(home.path(), &["config"]).env("PULSEGATE_CONFIG", &file));
    assert_eq!(setting(&dump, "log.level").0, "\"debug\"", "the file by its variable");
    let dump = run(pulsegate(home.path(), &["config", "--preset", "none"]).env("PULSEGATE_PRESET", "claude-proxy"));
    assert_eq!(setting(&dump, "service.name").0, "\"pulsegate\"");
}

#[test]
fn a_variable_names_a_check_however_it_is_written() {
    let home = home_with_login();
    let upstream = Upstream::hello();
    let mut settings = Sidecar::bare(&upstream);
    for name in ["\"api-server\"", "\"network.validators.heartbeat\"", "C", "a_b", "\"a-b\"", "\"x-y\"", "\"x.y\""] {
        settings = settings.text(&format!("checks.{name}.tcp.address"), "127.0.0.1:1");
    }
    let config = |variable: &str| run(Sidecar::command(home.path(), &settings).arg("config").env(variable, "7s"));
    let cases = [
        ("API_SERVER", "checks.api-server.interval"),
        ("NETWORK_VALIDATORS_HEARTBEAT", "checks.\"network.validators.heartbeat\".interval"),
        ("C", "checks.C.interval"),
        ("A_B", "checks.a_b.interval"),
    ];
    for (name, path) in cases {
        let variable = format!("PULSEGATE_CHECKS__{name}__INTERVAL");
        let origin = format!("environment variable {variable}");
        assert_eq!(setting(&config(&variable), path), ("\"7s\"", &*origin), "{name}");
    }
    let unclear = config("PULSEGATE_CHECKS__X_Y__INTERVAL");
    assert_eq!(unclear.code, Some(2), "{unclear:?}");
    assert!(unclear.stderr.contains("is not clear: it may mean the check `x-y` or `x.y`"), "{unclear:?}");
    let nobody = config("PULSEGATE_CHECKS__NOBODY__INTERVAL");
    assert!(nobody.stderr.contains("`checks.nobody` needs a kind"), "{nobody:?}");
}

#[test]
fn the_port_comes_from_port_and_before_it_from_the_flag() {
    let home = home_with_login();
    let config = |change: &dyn Fn(&mut Command)| {
        let mut command = pulsegate(home.path(), &["config"]);
        change(&mut command);
        run(&mut command)
    };
    let listen = |dump: &Ended| setting(dump, "proxy.listen").0.trim_matches(['[', ']', '"']).to_owned();
    assert_eq!(listen(&config(&|_| {})), "0.0.0.0:8000");
    assert_eq!(
        listen(&config(&|command| {
            command.env("PORT", "8123");
        })),
        "0.0.0.0:8123"
    );
    let both = config(&|command| {
        command.env("PORT", "8123").args(["--port", "8124"]);
    });
    assert_eq!(listen(&both), "0.0.0.0:8124");
    let host = config(&|command| {
        command.env("PORT", "8123").args(["--listen", "127.0.0.1:1"]);
    });
    assert_eq!(listen(&host), "127.0.0.1:1", "a flag goes before the environment");
    let host = config(&|command| {
        command.args(["--listen", "127.0.0.1:1", "--port", "8124"]);
    });
    assert_eq!(listen(&host), "127.0.0.1:8124", "the host stays");
    for wrong in ["x", "65536", "-1"] {
        let ended = config(&|command| {
            command.env("PORT", wrong);
        });
        assert_eq!(ended.code, Some(2), "{wrong}: {ended:?}");
        assert!(ended.stderr.contains("environment variable PORT: the port must be"), "{}", ended.stderr);
    }

    // And it is what is listened at.
    let upstream = Upstream::hello();
    for by_flag in [false, true] {
        let port = free_port();
        let settings = Sidecar::bare(&upstream);
        let sidecar = Sidecar::start_in(home_with_login(), &settings, |command| {
            if by_flag {
                command.env("PORT", "1").args(["--port", &port.to_string()]);
            } else {
                command.env("PORT", port.to_string());
            }
        });
        assert_eq!(sidecar.traffic, local(port));
        assert_eq!(get(local(port), "/").text(), "hello");
    }
}

#[test]
fn claude_cli_path_is_the_path_of_the_cli() {
    let home = home_with_login();
    let dump = run(pulsegate(home.path(), &["config"]).env("CLAUDE_CLI_PATH", "/opt/claude"));
    assert_eq!(
        setting(&dump, "checks.claude_cli.cli.path"),
        ("\"/opt/claude\"", "environment variable CLAUDE_CLI_PATH")
    );
}

#[test]
fn secrets_are_masked() {
    let home = home_with_login();
    let upstream = Upstream::hello();
    let settings = Sidecar::full(&upstream)
        .raw("admin.api_keys", "[{ env = \"KEY_OF_THE_TEST\" }]")
        .raw("checks.other.http.headers", "{ authorization = \"Bearer canary-header\", \"x-two\" = { env = \"TWO\" } }")
        .text("checks.other.http.url", "http://127.0.0.1:1/path?token=canary-query")
        .text("checks.third.http.path", "/canary-free");
    let mut command = Sidecar::command(home.path(), &settings);
    let dump = run(command
        .arg("config")
        .env("KEY_OF_THE_TEST", "canary-key")
        .env("TWO", "canary-two")
        .env("ANTHROPIC_API_KEY", "canary-env"));
    assert_eq!(dump.code, Some(0), "{dump:?}");
    let said = dump.stdout.replace("/canary-free", "") + &dump.stderr;
    assert!(!said.contains("canary"), "{said}");
    assert!(setting(&dump, "admin.api_keys").0.contains("KEY_OF_THE_TEST"), "where it is from is no secret");
    assert!(dump.stdout.contains("***"), "{}", dump.stdout);

    for (path, value) in [
        ("admin.api_keys", "[\"canary-inline\"]"),
        ("proxy.upstream", "\"http://user:canary-password@127.0.0.1:1\""),
        ("checks.other.http.url", "\"http://user:canary-password@127.0.0.1:1/\""),
    ] {
        let ended = run(Sidecar::command(home.path(), &Sidecar::full(&upstream).raw(path, value)).arg("config"));
        assert_eq!(ended.code, Some(2), "{path}: {ended:?}");
        assert!(
            !ended.stderr.contains("canary") && ended.stderr.contains(path.trim_end_matches(".url")),
            "{}",
            ended.stderr
        );
    }
}

#[test]
fn problems_of_variables_and_flags_name_them() {
    let home = home_with_login();
    let ended = run(pulsegate(home.path(), &["validate", "--set", "proxy.lissten=x", "--log-level", "lowd"])
        .env("PULSEGATE_PROXY__UPSTREM", "http://127.0.0.1:1")
        .env("PULSEGATE_PROXY__TIMEOUTS__CONNECT", "soon"));
    assert_eq!(ended.code, Some(2));
    for part in [
        "environment variable PULSEGATE_PROXY__UPSTREM: unknown key `proxy.upstrem`; did you mean `upstream`?",
        "environment variable PULSEGATE_PROXY__TIMEOUTS__CONNECT: `proxy.timeouts.connect` must be a duration",
        "flag --set proxy.lissten: unknown key `proxy.lissten`; did you mean `listen`?",
        "flag --log-level: `log.level` must be one of error, warn, info, debug, trace",
        "pulsegate: 4 problems in the configuration",
    ] {
        assert!(ended.stderr.contains(part), "{part:?} in\n{}", ended.stderr);
    }
}

/// One kind of problem must not hide another: whoever mends the first would only meet the next.
#[test]
fn problems_of_every_kind_are_told_at_once() {
    let home = home_with_login();
    let text = "[proxy]\nlissten = \"127.0.0.1:0\"\n\n[proxy.limits]\nconnections = 0\nqueue = \"many\"\n\n[shutdown]\nlame_duck = \"30s\"\n\n\
                [admin]\napi_keys = [{ env = \"NOT_SET_ANYWHERE\" }]\n\n[checks.empty]\ncommand.argv = []\n";
    std::fs::write(home.path().join("bad.toml"), text).expect("a configuration");
    let ended = run(&mut pulsegate(home.path(), &["validate", "--config", "bad.toml"]));
    assert_eq!(ended.code, Some(2));
    for part in [
        "bad.toml:2:1: unknown key `proxy.lissten`; did you mean `listen`?",
        "bad.toml:5:15: `proxy.limits.connections` must be at least 1",
        "bad.toml:6:9: `proxy.limits.queue` must be a whole number",
        "bad.toml:9:13: `shutdown.lame_duck` must not be longer than `shutdown.grace`",
        "bad.toml:12:12: `admin.api_keys[0]`: ",
        "`checks.empty`: `command.argv` must name a program",
        "pulsegate: 6 problems in the configuration",
    ] {
        assert!(ended.stderr.contains(part), "{part:?} in\n{}", ended.stderr);
    }
}

#[test]
fn the_shipped_configuration_is_valid() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("config.toml");
    if !file.exists() {
        return;
    }
    let home = home_with_login();
    let ended = run(pulsegate(home.path(), &["validate", "--config"]).arg(file));
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
}

#[test]
fn what_config_prints_is_what_was_written() {
    let home = home_with_login();
    let upstream = Upstream::hello();
    let settings: Settings = Sidecar::bare(&upstream)
        .text("checks.app.http.path", "/x")
        .text("checks.app.interval", "3s")
        .raw("checks.app.groups", "[\"readiness\", \"mine\"]")
        .text("endpoints.\"/mine\".dialect", "kubernetes")
        .text("endpoints.\"/mine\".group", "mine");
    let dump = run(Sidecar::command(home.path(), &settings).arg("config"));
    for (path, value) in [
        ("checks.app.http.path", "\"/x\""),
        ("checks.app.interval", "\"3s\""),
        ("checks.app.groups", "[\"readiness\", \"mine\"]"),
        ("endpoints.\"/mine\".group", "\"mine\""),
        ("proxy.threads", "2"),
    ] {
        assert_eq!(setting(&dump, path).0, value, "{path}");
    }
}
