//! Whole configurations: layers, places, and the promise that no value is ever quoted.

use std::path::PathBuf;

use proptest::prelude::*;

use super::{CheckSettings, Config, Flag, LogSettings, ServiceSettings, ShutdownSettings, Sources, schema};
use crate::admin::{AdminSettings, AgentCheckSettings, EndpointSettings, MetricsSettings};
use crate::check::KINDS;
use crate::proxy::ProxySettings;
use crate::settings::{Environment, Field, Section, Setting};

fn sources(file: Option<PathBuf>, variables: &[(&str, &str)], flags: &[(&str, &str)]) -> Sources {
    let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let flags = flags.iter().map(|(path, value)| Flag {
        name: "--set".into(),
        path: (*path).to_owned(),
        value: (*value).to_owned(),
    });
    Sources {
        file,
        environment: Environment::from_iter(variables),
        defaults: Vec::new(),
        flags: flags.collect(),
        offline: false,
    }
}

/// Loads a file's text; problems name the file as `c.toml`.
fn load(text: &str, variables: &[(&str, &str)], flags: &[(&str, &str)]) -> Result<Config, Vec<String>> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.toml");
    std::fs::write(&path, text).unwrap();
    Config::load(&sources(Some(path), variables, flags)).map_err(|problems| {
        let prefix = format!("{}/", folder.path().display());
        problems.iter().map(|problem| problem.to_string().replace(&prefix, "")).collect()
    })
}

fn problems(text: &str) -> Vec<String> {
    load(text, &[], &[]).expect_err("it is wrong")
}

fn value(config: &Config, path: &str) -> (String, String) {
    let line = config.dump().into_iter().find(|line| line.path == path).unwrap();
    (line.value, line.origin)
}

/// The dotted paths of all settings below some fields.
fn paths(prefix: &str, fields: &[Field], found: &mut Vec<String>) {
    for field in fields {
        let path = format!("{prefix}.{}", field.name);
        paths(&path, field.nested, found);
        found.push(path);
    }
}

/// Every path that a configuration can have, an example name in place of names of its own.
fn every_path() -> Vec<String> {
    let mut found = vec!["preset".to_owned(), "checks".into(), "checks.x".into(), "endpoints".into(), "nothing".into()];
    for (name, fields) in [
        ("service", <ServiceSettings as Section>::FIELDS),
        ("proxy", <ProxySettings as Section>::FIELDS),
        ("admin", <AdminSettings as Section>::FIELDS),
        ("metrics", <MetricsSettings as Section>::FIELDS),
        ("agent_check", <AgentCheckSettings as Section>::FIELDS),
        ("shutdown", <ShutdownSettings as Section>::FIELDS),
        ("log", <LogSettings as Section>::FIELDS),
        ("checks.x", <CheckSettings as Section>::FIELDS),
        ("endpoints.\"/x\"", <EndpointSettings as Setting>::FIELDS),
    ] {
        found.push(name.to_owned());
        paths(name, fields, &mut found);
    }
    for kind in KINDS {
        found.push(format!("checks.x.{}", kind.name));
        paths(&format!("checks.x.{}", kind.name), kind.fields, &mut found);
    }
    found
}

#[test]
fn a_variable_for_the_app_keeps_its_letters() {
    let variables = [
        ("PULSEGATE_APP__ENVIRONMENT__NODE_ENV", "production"),
        ("PULSEGATE_APP__ENVIRONMENT__a__B", "1"),
        ("PULSEGATE_PRESET", "none"),
    ];
    let config = Config::load(&sources(None, &variables, &[])).expect("valid");
    let expected = [("NODE_ENV", "production"), ("a__B", "1")].map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(config.app.environment.0, expected);
}

#[test]
fn addresses_at_which_nobody_could_listen_are_told() {
    let long = format!("/{}", "l".repeat(107));
    let unix = format!("unix:{long}");
    for (flags, told) in [
        (vec![("proxy.listen", "[\"127.0.0.1:1\", \"127.0.0.1:1\"]")], Some("`proxy.listen` is an address at which")),
        (vec![("proxy.listen", "[\"0.0.0.0:1\", \"127.0.0.1:1\"]")], Some("`proxy.listen` is an address at which")),
        (vec![("agent_check.listen", "127.0.0.1:9000")], Some("`admin.listen` listens already")),
        (vec![("agent_check.listen", "127.0.0.1:8000")], Some("`proxy.listen` listens already")),
        (vec![("proxy.listen", "unix:/a"), ("control.socket", "/a")], Some("`proxy.listen` listens already")),
        (vec![("proxy.listen", "unix:/a"), ("admin.listen", "unix:/a")], Some("`proxy.listen` listens already")),
        (vec![("proxy.listen", unix.as_str())], Some("at most 107 bytes")),
        (vec![("control.socket", long.as_str())], Some("at most 107 bytes")),
        (vec![("admin.listen", "127.0.0.1:8000")], Some("which traffic or the app uses already")),
        (vec![("proxy.listen", "[\"127.0.0.1:0\", \"127.0.0.1:0\"]")], None),
        (vec![("proxy.listen", "[\"127.0.0.1:1\", \"127.0.0.2:1\", \"[::1]:1\"]")], None),
        (vec![("proxy.listen", &unix[..unix.len() - 1])], None),
    ] {
        let mut flags = flags;
        flags.push(("preset", "none"));
        let problems = Config::load(&sources(None, &[], &flags)).err().unwrap_or_default();
        let said: Vec<&str> = problems.iter().map(|problem| problem.message.as_str()).collect();
        assert_eq!(said.len(), usize::from(told.is_some()), "{flags:?}: {said:?}");
        assert!(told.is_none_or(|told| said[0].contains(told)), "{flags:?}: {said:?}");
    }
}

#[test]
fn what_is_nested_too_deeply_is_a_problem_and_no_end_of_the_stack() {
    let home = tempfile::tempdir().expect("a directory");
    let file = home.path().join("a.toml");
    let dotted = vec!["a"; 79].join(".");
    let mixed = format!("{}a = 1{}", format!("{dotted} = {{ ").repeat(78), " }".repeat(78));
    std::fs::write(&file, format!("service.configuration = {{ {mixed} }}")).expect("a file");
    let flag = |path: String, value: &str| Flag { name: format!("--set {path}"), path, value: value.to_owned() };
    let deep = format!("service.configuration{}", ".a".repeat(50_000));
    let variable = format!("PULSEGATE_SERVICE__CONFIGURATION{}", "__A".repeat(30_000));
    let of_file = Sources { file: Some(file), ..Sources::default() };
    let of_flag = Sources { flags: vec![flag(deep, "1")], ..Sources::default() };
    let of_value =
        Sources { flags: vec![flag("service.configuration".into(), &format!("{{ {mixed} }}"))], ..Sources::default() };
    let of_variable =
        Sources { environment: Environment::from_iter([(variable, "1".to_owned())]), ..Sources::default() };
    for sources in [of_file, of_flag, of_value, of_variable] {
        // As much as the thread has that reads anew.
        let load = move || Config::load(&sources).map(drop);
        let loading = std::thread::Builder::new().stack_size(2 << 20).spawn(load).expect("a thread");
        let problems = loading.join().expect("no panic").expect_err("it is too deep");
        assert_eq!(problems.len(), 1, "{problems:?}");
        let text = problems[0].to_string();
        assert!(text.ends_with("no setting is more than 64 levels deep") && text.len() < 400, "{text}");
    }
}

#[test]
fn the_presets_are_valid() {
    for preset in ["claude-proxy", "none"] {
        let config = Config::load(&sources(None, &[("PULSEGATE_PRESET", preset)], &[])).unwrap();
        assert_eq!(config.checks.is_empty(), preset == "none");
        assert!(
            ["/metrics", "/livez", "/readyz", "/startupz"]
                .iter()
                .all(|path| config.endpoints.iter().any(|(at, _)| at == path))
        );
    }
}

#[test]
fn later_layers_lie_over_earlier_ones() {
    let text = "[log]\nlevel = 'debug'\n[service]\nname = 'a'\n[shutdown]\ngrace = '9s'\nlame_duck = '1s'";
    let variables = [("PULSEGATE_LOG__LEVEL", "warn"), ("PULSEGATE_SHUTDOWN__GRACE", "8s"), ("PORT", "81")];
    let config = load(text, &variables, &[("shutdown.grace", "7s"), ("proxy.port", "82")]).unwrap();
    assert_eq!(value(&config, "service.name"), ("\"a\"".into(), value(&config, "service.name").1));
    assert_eq!(value(&config, "log.level"), ("\"warn\"".into(), "environment variable PULSEGATE_LOG__LEVEL".into()));
    assert_eq!(value(&config, "shutdown.grace"), ("\"7s\"".into(), "flag --set".into()));
    assert_eq!(value(&config, "proxy.listen"), ("\"0.0.0.0:82\"".into(), "flag --set".into()));
    assert_eq!(value(&config, "log.format"), ("\"auto\"".into(), "default".into()));
    assert_eq!(value(&config, "checks.claude_cli.cli.preset").1, "preset claude-proxy");
}

#[test]
fn a_port_for_everybody_does_not_open_a_unix_socket_to_the_network() {
    let text = "[proxy]\nlisten = 'unix:/run/app.sock'";
    let config = load(text, &[("PORT", "81")], &[]).unwrap();
    let (listen, origin) = value(&config, "proxy.listen");
    assert_eq!(listen, "\"unix:/run/app.sock\"");
    assert!(!origin.contains("PORT"), "it is not where this is from: {origin}");
    let list = "[proxy]\nlisten = ['unix:/run/app.sock', '127.0.0.1:80']";
    let (listen, origin) = value(&load(list, &[("PORT", "81")], &[]).unwrap(), "proxy.listen");
    assert!(listen.contains("127.0.0.1:80\"") && !origin.contains("PORT"), "{listen} {origin}");
    let config = load(text, &[("PORT", "81")], &[("proxy.port", "82")]).unwrap();
    assert_eq!(value(&config, "proxy.listen").0, "\"0.0.0.0:82\"", "but who asks for a port gets one");
}

/// A revision may be all digits, and version 1.10 is not 1.1.
#[test]
fn what_takes_text_alone_takes_what_looks_like_a_number() {
    let variables = [
        ("PULSEGATE_SERVICE__VERSION", "1.10"),
        ("PULSEGATE_SERVICE__BUILD_GIT_HASH", "12345678901234567890"),
        ("PULSEGATE_SERVICE__CONFIGURATION__SHARD", "0x1F"),
        ("PULSEGATE_SERVICE__NAME", "\"quoted\""),
        ("PULSEGATE_SHUTDOWN__FAIL_READINESS", "false"),
    ];
    let flags = [
        ("service.description", "true"),
        ("app.environment.WORKERS", "4"),
        ("checks.api_server.tags", "7"),
        ("checks.api_server.failure_threshold", "5"),
        ("checks.api_server.http.expect_body", "1e5"),
        ("checks.api_server.http.headers.X-Probe", "1"),
        ("checks.api_server.http.expect_json", "{ \"/ready\" = 1 }"),
    ];
    let config = load("", &variables, &flags).unwrap();
    for (path, expected) in [
        ("service.version", "\"1.10\""),
        ("service.build_git_hash", "\"12345678901234567890\""),
        ("service.configuration", "{ shard = \"0x1F\" }"),
        ("service.name", "\"quoted\""),
        ("service.description", "\"true\""),
        ("shutdown.fail_readiness", "false"),
        ("app.environment", "{ WORKERS = \"4\" }"),
        ("checks.api_server.tags", "\"7\""),
        ("checks.api_server.failure_threshold", "5"),
        ("checks.api_server.http.expect_body", "\"1e5\""),
        ("checks.api_server.http.expect_json", "{ \"/ready\" = 1 }"),
    ] {
        assert_eq!(value(&config, path).0, expected, "{path}");
    }
    let problems = load("", &[], &[("proxy.listen", "8000")]).expect_err("no address");
    assert!(problems[0].contains("must be an address such as"), "{problems:?}");
}

#[test]
fn everything_wrong_is_told_at_once_with_its_place() {
    let text = "\
preset = 'none'
[proxi]
[checks.app]
htp.url = 'http://a'
interval = 'often'
[checks.db]
tcp.address = '127.0.0.1:1'
http.url = 'http://a'
[checks.slow]
tcp.address = '127.0.0.1:1'
interval = '1s'
timeout = '2s'
failure_threshold = 0
[endpoints.health]
dialect = 'claude'
[shutdown]
lame_duk = '1s'
";
    let problems = problems(text);
    let expected = [
        "c.toml:2:2: unknown key `proxi`; did you mean `proxy`?",
        "c.toml:4:1: unknown key `checks.app.htp`; did you mean `http`?",
        "c.toml:8:1: `checks.db` has two kinds; a check has one",
        "c.toml:12:11: `checks.slow.timeout` must not be longer than the interval",
        "c.toml:13:21: `checks.slow.failure_threshold` must be at least 1",
        "c.toml:14:12: `endpoints.\"health\"`: an endpoint is a path",
        "c.toml:15:11: `endpoints.\"health\".dialect` must be one of claude-proxy, ok, build, simple, template,",
        "c.toml:17:1: unknown key `shutdown.lame_duk`; did you mean `lame_duck`?",
    ];
    for expected in expected {
        assert!(problems.iter().any(|problem| problem.starts_with(expected)), "{expected}\nis not in\n{problems:#?}");
    }
}

#[test]
fn settings_must_fit_together() {
    for (text, expected) in [
        ("shutdown = { lame_duck = '9s', grace = '1s' }", "`shutdown.lame_duck` must not be longer"),
        ("proxy.listen = []", "`proxy.listen` must name at least one"),
        ("proxy.listen = '127.0.0.1:8080'\nproxy.upstream = 'http://localhost:8080'", "leads back to `proxy.listen`"),
        ("proxy = { proxy_protocol = true, trusted_proxies = [] }", "name the balancer there"),
        ("checks.traffic.depends_on = ['nobody']", "names a check that does not exist"),
        ("checks.traffic.depends_on = ['traffic']", "leads back to itself"),
        ("endpoints.'/x' = { dialect = 'kubernetes', group = 'mine' }", "names a group that no check belongs to"),
        ("endpoints.'/x' = { dialect = 'kubernetes', access = 'api_key' }", "`admin.api_keys` has none"),
        ("service.name = '1'", "`service.name` must begin with a letter"),
        ("a = 1\na = 2", "not valid TOML"),
    ] {
        let problems = problems(text);
        assert!(problems.iter().any(|problem| problem.contains(expected)), "{text}: {problems:?}");
    }
}

/// Two ways to go at each of fifty steps.
#[test]
fn many_ways_from_check_to_check_are_gone_once() {
    let mut text = String::from("checks.a0.tcp.address = '127.0.0.1:1'\nchecks.b0.tcp.address = '127.0.0.1:1'\n");
    for step in 1..50 {
        for name in ["a", "b"] {
            text += &format!("[checks.{name}{step}]\ntcp.address = '127.0.0.1:1'\n");
            text += &format!("depends_on = ['a{0}', 'b{0}']\n", step - 1);
        }
    }
    load(&text, &[], &[]).expect("nothing is wrong with it");
    let back = text.replace("checks.a0.tcp", "checks.a0.depends_on = ['b49']\nchecks.a0.tcp");
    assert_eq!(problems(&back).len(), 98, "all but b0, which depends on none, and a49, on which none depends");
}

#[test]
fn there_are_so_many_checks_at_most() {
    let many = |count: usize| -> String {
        (0..count).map(|index| format!("checks.c{index}.tcp.address = '127.0.0.1:1'\n")).collect()
    };
    load(&many(990), &[], &[]).expect("not too many");
    let refused = problems(&many(1001));
    assert!(refused.len() == 1 && refused[0].contains("there may be 1000 at most"), "{refused:?}");
}

#[test]
fn every_kind_has_defaults_that_it_accepts() {
    for kind in KINDS {
        let text = format!("preset = 'none'\nchecks.x.{} = {{}}", kind.name);
        for problem in load(&text, &[], &[]).err().into_iter().flatten() {
            let asks_for_more = problem.contains("is missing") || problem.contains("one of the two");
            let asks_for_more = asks_for_more || problem.contains("`grpc.url` must be");
            let is_left_out = problem.contains("is not in this build");
            assert!(asks_for_more || is_left_out, "{}: {problem}", kind.name);
        }
        let mut names: Vec<_> = kind.fields.iter().map(|field| field.name).collect();
        names.extend(<CheckSettings as Section>::FIELDS.iter().map(|field| field.name));
        assert!(!kind.doc.is_empty() && !names.is_empty());
    }
}

#[test]
fn the_schema_shows_the_defaults_of_the_kind() {
    let schema = schema();
    let check = &schema["properties"]["checks"]["additionalProperties"]["properties"];
    assert_eq!(check["interval"]["default"], serde_json::Value::Null);
    assert_eq!(check["success_threshold"]["default"], 1);
    let http = check["http"]["description"].as_str().unwrap();
    assert!(
        http.ends_with("By default: interval 5s, timeout 2s, failure_threshold 3, on_failure unhealthy."),
        "{http}"
    );
}

/// Loads a configuration in which one path has this value, in one of three ways.
fn load_with(path: &str, written: &str, way: usize) -> Result<Config, Vec<String>> {
    let variable = format!("PULSEGATE_{}", path.replace('.', "__").to_uppercase());
    match way % 3 {
        0 => load(&format!("{path} = {written}\n"), &[], &[]),
        1 => load("", &[], &[(path, written)]),
        _ => load("", &[(&variable, written)], &[]),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3))]

    /// A secret in the wrong place must not end in a log: whatever is written wherever, no problem quotes it.
    #[test]
    fn no_problem_quotes_a_value(marker in "[a-z]{5}[A-Z]{5}[0-9]{5}", first_way in 0..3_usize) {
        let shapes = ["'M'", "['M']", "{ env = 'M' }", "{ file = '/M' }", "{ a = 'M' }", "[{ env = 'M' }]", "'http://u:M@h/'", "'(M'", "'M"];
        for (number, path) in every_path().iter().enumerate() {
            for (shape, way) in shapes.iter().zip(first_way + number..) {
                let written = shape.replace('M', &marker);
                for problem in load_with(path, &written, way).err().into_iter().flatten() {
                    let quoted = problem.to_lowercase().contains(&marker.to_lowercase());
                    prop_assert!(!quoted, "{} = {}: {}", path, written, problem);
                }
            }
        }
    }
}

proptest! {
    #[test]
    fn no_text_makes_it_panic_or_quotes_a_line(text in "[ -~\n]{0,60}", marker in "[A-Z]{12}") {
        let text = format!("key = \"{marker}\" {text}\n[{text}\nx = {marker}\n");
        for problem in problems(&text) {
            prop_assert!(!problem.contains(&marker), "{problem}");
        }
    }
}
