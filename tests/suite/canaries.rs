//! Canary secrets in every place a secret can be, and a look at everything that is said: bodies of every dialect, metrics,
//! the log at its most talkative, and what the commands print. None of them, no half of one, none in base64.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use pulsegate::commands::hush_panics;
use serde_json::json;

use crate::support::{
    Ended, PATIENCE, SYSTEM_PATH, Settings, Sidecar, Upstream, Watcher, Wire, ask, eventually, free_port,
    home_with_login, http2, local, run, tool,
};

/// Planted here, by what it is.
const CANARIES: [(&str, &str); 34] = [
    ("api key of a variable", "Qh7xvR2mWk9LpZ3tYd8s"),
    ("api key of a file", "Bn4cJf6gTz1XqV5hMr0w"),
    ("secret of tokens", "kUo3Ey8aPi6DsLc2GvNb7HxWtQz5RmJf"),
    ("token of a caller", "Wz9kTq3vLm7Xr1Jd5PbY"),
    ("header of a check, from a variable", "Fp2sVx8nHc4KgR6yZt0J"),
    ("header of a check, from a file", "Lr6bQm1dNw3XjT9vGk5H"),
    ("header of a check, inline", "Ty8gCz2kSf5RnB7xDq4M"),
    ("query of a check", "Mv3hXr9pJk1WtL6cZs8D"),
    ("password of postgres", "Gd5wNq7zVb2YkP4mFx9R"),
    ("password of an address", "Xk1tRf8jLh6CvS3nQw7Z"),
    ("body of the app", "Js4mPz6xTd9HgW2rKb8N"),
    ("field of the app", "Cq7vLw5nXk3FyB1tRm6G"),
    ("output of a command", "Zt9rGk4bMx2NdV8sHp6J"),
    ("errors of a command", "Hn6yDf1wQc7TrL3zXj5V"),
    ("output of the CLI", "Vb2xKs8hPm5JwZ4gNt9Q"),
    ("access token", "Rf8jTw3kYn6XdM1vCb7L"),
    ("refresh token", "Nx5pHz9gBq2KtS7mWr4F"),
    ("variable of the environment", "Dm1kVt6zRj8WsG3xLp9C"),
    ("query of traffic", "Sw7nCb4rFx9KzQ2tHv6P"),
    ("authorization of traffic", "Pk3zMj8vWd5NrX1gTy7B"),
    ("cookie of traffic", "Yg6tLn2xSb9VfH4kJq8R"),
    ("body of traffic", "Kc8wZr5mQt1DxN7jPv3G"),
    ("cookie of a session", "Tj2hWx7kGn4RzC9sMb6V"),
    ("credentials file that is damaged", "Ls9vRd3pXm6KqT1wFz5H"),
    ("path of a webhook, from a variable", "Bz4nHt8wKc2XvQ6jLr1M"),
    ("path of a webhook, inline", "Fw6kJx3rNd9TbS5gVm2C"),
    ("path of a webhook, from a file", "Gq9mZt5vWk1RcN8xHj4D"),
    ("header of a webhook", "Pd2xVb7hLs4JnK9wTr6F"),
    ("answer of a webhook", "Rt5cMg1zXq8WfH3kBv7N"),
    ("argument of a command", "Sk8jDn4xQw2LzT6mHc9V"),
    ("password of mysql", "Vn1tFk6gRx3ZsJ8bMd5W"),
    ("password of redis", "Wc3hLq9sBt7XmV2kNz4G"),
    ("password of findings", "Xj7rTw2nGv5KdP9cFm8Q"),
    ("message of a panic", "Zb6gHm3xNk9SvT4wLq2R"),
];

fn canary(what: &str) -> &'static str {
    CANARIES.iter().find(|(known, _)| *known == what).map(|(_, canary)| *canary).expect("a canary")
}

/// What must not be found: the whole, its halves, and both in base64 as far as that does not depend on what is around.
fn needles(canary: &str) -> Vec<String> {
    let (first, second) = canary.split_at(canary.len() / 2);
    let mut needles = vec![canary.to_owned(), first.to_owned(), second.to_owned()];
    for lead in 0..3 {
        // Base64 of a text at each of the three places where it can begin, without its blurred ends.
        let text = [vec![b' '; lead], canary.as_bytes().to_vec()].concat();
        let encoded = base64(&text);
        needles.push(encoded[4..encoded.len() - 4].to_owned());
    }
    needles
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digit = |value: u32| char::from(DIGITS[(value & 63) as usize]);
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().fold(0, |word, byte| word << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        text.extend([18, 12, 6, 0].map(|shift| digit(word >> shift)));
    }
    text
}

/// Everything that was said, by who said it.
#[derive(Default)]
struct Said(BTreeMap<String, String>);

impl Said {
    fn take(&mut self, by: impl Into<String>, what: impl Into<String>) {
        self.0.insert(by.into(), what.into());
    }

    fn take_command(&mut self, by: &str, ended: &Ended) {
        self.take(by, format!("{}{}", ended.stdout, ended.stderr));
    }

    #[track_caller]
    fn assert_silent(&self) {
        let mut found = Vec::new();
        for (what, canary) in CANARIES {
            for needle in needles(canary) {
                for (by, said) in self.0.iter().filter(|(_, said)| said.contains(&needle)) {
                    let line = said.lines().find(|line| line.contains(&needle)).unwrap_or_default();
                    found.push(format!("{what} in {by}: {line}"));
                }
            }
        }
        assert!(found.is_empty(), "{}", found.join("\n"));
    }
}

/// An app that tells its secrets: it fails its check with one in the body and one in a field.
fn app() -> Upstream {
    let (body, field) = (canary("body of the app"), canary("field of the app"));
    Upstream::start(move |exchange| {
        exchange.read_body();
        let text = format!("{{\"status\": \"{body}\", \"password\": \"{body}\"}}");
        let hook = canary("answer of a webhook");
        match &*exchange.seen.target {
            target if target.starts_with("/auth") => exchange.answer(500, &[("x-secret", field)], text.as_bytes()),
            // Not everybody takes what is sent.
            target if target.contains(canary("path of a webhook, inline")) => {
                exchange.answer(403, &[("location", hook)], hook.as_bytes())
            }
            target if target.contains(canary("path of a webhook, from a file")) => {
                exchange.answer(503, &[("retry-after", hook)], hook.as_bytes())
            }
            _ => exchange.answer(200, &[("x-secret", field)], text.as_bytes()),
        }
    })
}

const DIALECTS: [&str; 11] = [
    "claude-proxy",
    "kubernetes",
    "ok",
    "build",
    "simple",
    "health-json",
    "actuator",
    "healthchecks-ui",
    "microprofile",
    "avalanche",
    "checks",
];

fn settings(app: &Upstream, home: &Path) -> Settings {
    let file = |name: &str, what: &str| {
        std::fs::write(home.join(name), canary(what)).expect("a file");
        home.join(name).display().to_string()
    };
    let cli = home.join("claude");
    std::fs::write(&cli, format!("#!/bin/sh\necho '{0}'\necho '{0}' >&2\nexit 3\n", canary("output of the CLI")))
        .and_then(|()| std::fs::set_permissions(&cli, std::fs::Permissions::from_mode(0o755)))
        .expect("a script");
    let talks = format!("echo {}; echo {} >&2; exit 1", canary("output of a command"), canary("errors of a command"));
    std::fs::write(home.join("talks.sh"), talks).expect("a script");
    let talks = home.join("talks.sh").display().to_string();
    let url = |path: &str| format!("http://127.0.0.1:{}{path}", app.port());
    let mut settings = Sidecar::full(app)
        .text("log.level", "trace")
        .raw("log.access", "true")
        .raw("admin.api_keys", &format!("[{{ env = \"KEY\" }}, {{ file = {:?} }}]", file("key", "api key of a file")))
        .text("admin.jwt.algorithm", "HS256")
        .raw("admin.jwt.secret", "{ env = \"TOKENS\" }")
        .text("admin.session.url", &url("/auth"))
        .text("checks.claude_cli.cli.path", &cli.display().to_string())
        .text("checks.asked.http.url", &url(&format!("/asked?token={}", canary("query of a check"))))
        .raw("checks.asked.http.expect_json", "{ \"/status\" = \"fine\" }")
        .raw(
            "checks.asked.http.headers",
            &format!(
                "{{ \"x-one\" = {{ env = \"ONE\" }}, \"x-two\" = {{ file = {:?} }}, authorization = \"Bearer {}\" }}",
                file("two", "header of a check, from a file"),
                canary("header of a check, inline"),
            ),
        )
        .raw("checks.said.command.argv", &format!("[\"sh\", {talks:?}, {:?}]", canary("argument of a command")))
        .text("checks.said.interval", "200ms")
        .text("checks.said.timeout", "200ms")
        .text("checks.asked.interval", "200ms")
        .text("checks.asked.timeout", "200ms")
        .raw("checks.database.postgres.url", "{ env = \"DATABASE_URL\" }")
        .raw(
            "checks.damaged",
            &format!(
                "{{ credentials.preset = \"claude\", credentials.config_dir = {:?} }}",
                home.join("damaged").display().to_string()
            ),
        )
        .raw("endpoints.\"/session\"", "{ dialect = \"ok\", access = [\"session\", \"jwt\"] }")
        .raw("checks.accounts.mysql.url", "{ env = \"MYSQL_URL\" }")
        .raw("checks.cache.redis.url", &format!("{{ file = {:?} }}", home.join("redis").display().to_string()))
        .raw("checks.findings.sql_findings.url", "{ env = \"FINDINGS_URL\" }")
        .raw("checks.findings.sql_findings.queries", "[{ name = \"x\", severity = \"warn\", sql = \"select 1\" }]")
        .raw("endpoints.\"/watch\"", "{ dialect = \"events\", detail = true }")
        .raw("endpoints.\"/as/template\".dialect", "\"template\"")
        .raw("endpoints.\"/as/template\".body", &template())
        .raw("events.webhooks", &hooks(app, &file("hook", "path of a webhook, from a file")));
    for check in ["database", "accounts", "cache", "findings"] {
        settings = settings
            .text(&format!("checks.{check}.interval"), "200ms")
            .text(&format!("checks.{check}.timeout"), "200ms")
            .raw(&format!("checks.{check}.start_period"), "0");
    }
    for dialect in DIALECTS {
        let endpoint = format!("{{ dialect = {dialect:?}, detail = true, group = \"health\" }}");
        settings = settings.raw(&format!("endpoints.\"/as/{dialect}\""), &endpoint);
    }
    settings
}

/// Everything that a template can say of the checks that know a secret.
fn template() -> String {
    let checks =
        ["asked", "said", "database", "accounts", "cache", "findings", "damaged", "authentication", "claude_cli"];
    let fields = ["status", "error", "status_code", "exit_code", "state", "url", "address", "path", "version"];
    let references = checks
        .iter()
        .flat_map(|check| fields.iter().map(move |field| format!("\"{check}.{field}\" = \"{check}.{field}\"")));
    format!("{{ {} }}", references.collect::<Vec<_>>().join(", "))
}

/// Three receivers, each with its secret elsewhere; `file` holds a path.
fn hooks(app: &Upstream, file: &str) -> String {
    let (port, key) = (app.port(), canary("header of a webhook"));
    let url = format!("http://127.0.0.1:{port}/hook/{}", canary("path of a webhook, from a file"));
    std::fs::write(file, url).expect("a file");
    format!(
        "[{{ url = {{ env = \"HOOK\" }}, headers = {{ authorization = \"Bearer {key}\" }}, groups = [\"health\"] }}, \
          {{ url = \"http://127.0.0.1:{port}/hook/{}\", template = \"slack\", groups = [\"health\"] }}, \
          {{ url = {{ file = {file:?} }}, attempts = 1 }}]",
        canary("path of a webhook, inline")
    )
}

fn environment(command: &mut Command, port: u16, app_port: u16) {
    let password = canary("password of postgres");
    command
        .env("KEY", canary("api key of a variable"))
        .env("TOKENS", canary("secret of tokens"))
        .env("ONE", canary("header of a check, from a variable"))
        .env("SOMETHING_ELSE", canary("variable of the environment"))
        .env("DATABASE_URL", format!("postgres://reader:{password}@127.0.0.1:{port}/app"))
        .env("MYSQL_URL", format!("mysql://reader:{}@127.0.0.1:{port}/app", canary("password of mysql")))
        .env("FINDINGS_URL", format!("postgres://reader:{}@127.0.0.1:{port}/app", canary("password of findings")))
        .env("HOOK", format!("http://127.0.0.1:{}/hook/{}", app_port, canary("path of a webhook, from a variable")))
        .env("RUST_BACKTRACE", "1");
}

/// What clients of all kinds send: good, wrong and malformed.
fn traffic(sidecar: &Sidecar) {
    let query = format!("/v1/messages?key={}", canary("query of traffic"));
    let bearer = format!("Bearer {}", canary("authorization of traffic"));
    let cookie = format!("session={}", canary("cookie of traffic"));
    let fields = [("authorization", &*bearer), ("cookie", &*cookie), ("x-api-key", canary("authorization of traffic"))];
    for method in ["POST", "GET", "DELETE"] {
        ask(sidecar.traffic, method, &query, &fields, canary("body of traffic").as_bytes());
    }
    let target = format!("/x?{} y HTTP/1.1", canary("query of traffic"));
    let mut client = crate::support::Client::connect(sidecar.traffic);
    let _ = client.send(format!("GET {target}\r\nhost: a\r\nx: {bearer}\r\n\r\n").as_bytes());
    let _ = client.read_to_end();
    http2::with_http2(sidecar.traffic, async |mut sender| {
        let mut request = hyper::Request::get(format!("http://a{query}"));
        for (name, value) in fields {
            request = request.header(name, value);
        }
        let (answer, _) = sender.send_request(request.body(()).expect("a request"), true).expect("a stream");
        assert_eq!(answer.await.expect("an answer").status(), 200);
    });
}

fn bodies(said: &mut Said, address: SocketAddr) {
    let token = format!("Bearer {0}.{0}.{0}", canary("token of a caller"));
    let session = format!("session={}", canary("cookie of a session"));
    let key = canary("api key of a variable");
    let callers: [(&str, &[(&str, &str)]); 5] = [
        ("a stranger", &[]),
        ("who has a key", &[("x-api-key", key)]),
        ("who has a wrong token", &[("authorization", &token)]),
        ("who has a session", &[("cookie", &session)]),
        ("who has a wrong key", &[("x-api-key", canary("token of a caller"))]),
    ];
    let paths =
        ["/health", "/health/detailed", "/metrics", "/livez", "/readyz", "/readyz?verbose", "/startupz", "/session"];
    let mut of_dialects = DIALECTS.map(|dialect| format!("/as/{dialect}?verbose")).to_vec();
    let checks = ["asked", "said", "database", "accounts", "cache", "findings", "damaged", "claude_cli"];
    of_dialects.extend(checks.map(|check| format!("/as/checks/{check}")));
    of_dialects.push("/as/template".into());
    for (who, fields) in callers {
        for path in paths.into_iter().chain(of_dialects.iter().map(String::as_str)) {
            let answer = ask(address, "GET", path, fields, b"");
            said.take(format!("{path} of {address} for {who}"), format!("{:?}\n{}", answer.fields, answer.text()));
        }
        let watcher = Watcher::start(address, "/watch", fields);
        eventually(PATIENCE, "a snapshot", || !watcher.told().is_empty());
        let process = watcher.told()[0].id.split('-').next().expect("a process").to_owned();
        let begin = format!("{process}-0");
        let all = Watcher::start(address, "/watch", &[fields, &[("last-event-id", &*begin)]].concat());
        eventually(PATIENCE, "all that was", || all.short().contains(&"transition database unhealthy".to_owned()));
        said.take(format!("what {who} watches at {address}"), watcher.text() + &all.text());
        let call = json!({ "jsonrpc": "2.0", "id": 1, "method": "health.health", "params": { "tags": [canary("token of a caller")] } });
        let fields = [fields, &[("content-type", "application/json")]].concat();
        let answer = ask(address, "POST", "/as/avalanche", &fields, call.to_string().as_bytes());
        said.take(format!("a call at {address} for {who}"), answer.text());
    }
}

/// What the commands print, with settings that are fine, and with secrets in places where none may be.
fn commands(said: &mut Said, settings: &Settings, home: &Path, (port, app): (u16, u16)) {
    for arguments in [&["config"][..], &["validate"], &["check"], &["check", "database"], &["check", "asked"]] {
        let mut command = Sidecar::command(home, settings);
        environment(&mut command, port, app);
        said.take_command(&arguments.join(" "), &run(command.args(arguments)));
    }
    let starts = format!("[\"app\", \"--key\", {:?}]", canary("argument of a command"));
    let mut command = Sidecar::command(home, &settings.clone().raw("app.command", &starts));
    environment(&mut command, port, app);
    let config = run(command.arg("config"));
    assert!(config.stdout.contains("app.command = [\"app\", \"***\", \"***\"]"), "{config:?}");
    said.take_command("config of who starts an app", &config);
    let password = canary("password of an address");
    for wrong in [
        ("proxy.upstream", format!("\"http://user:{password}@127.0.0.1:1\"")),
        ("checks.asked.http.url", format!("\"https://user:{password}@127.0.0.1:1/\"")),
        ("checks.database.postgres.url", format!("\"postgres://user:{password}@127.0.0.1:none/x\"")),
        ("checks.database.postgres.url", format!("\"{password}\"")),
        ("admin.api_keys", format!("[{{ file = \"{password}\" }}]")),
        ("admin.jwt.secret", format!("\"{password}\"")),
        ("admin.jwt.secret", format!("{{ env = \"{password}\" }}")),
        ("admin.session.url", format!("\"http://{password}@127.0.0.1:1\"")),
    ] {
        for command_name in ["config", "validate", "run", "check"] {
            let mut command = Sidecar::command(home, &settings.clone().raw(wrong.0, &wrong.1));
            environment(&mut command, port, app);
            let ended = run(command.arg(command_name));
            assert_eq!(ended.code, Some(2), "{command_name} with {}: {ended:?}", wrong.0);
            said.take_command(&format!("{command_name} with {} = {}", wrong.0, wrong.1.len()), &ended);
        }
    }
}

/// What is said where nobody asks for an endpoint.
fn others(said: &mut Said, sidecar: &Sidecar, app: &Upstream, agent: u16) {
    let mut agent = Wire::connect(local(agent)).expect("a connection");
    let mut line = String::new();
    agent.read_to_string(&mut line).expect("a line");
    assert!(line.starts_with("down ready"), "{line}");
    said.take("the agent-check", line);
    let hooks = || app.seen().into_iter().filter(|seen| seen.target.starts_with("/hook/")).collect::<Vec<_>>();
    let known = |what: &str| hooks().iter().any(|seen| seen.target.contains(canary(what)));
    for what in ["path of a webhook, from a variable", "path of a webhook, inline", "path of a webhook, from a file"] {
        eventually(PATIENCE, what, || known(what));
    }
    for (index, seen) in hooks().iter().enumerate() {
        said.take(format!("message {index} to a webhook"), String::from_utf8_lossy(&seen.body));
    }
    let with_key =
        hooks().iter().any(|seen| seen.all("authorization").concat().contains(canary("header of a webhook")));
    assert!(with_key, "the canary was where it must be");
    said.take("grpc", grpc_list(sidecar));
}

#[test]
fn no_secret_is_said_anywhere() {
    let (app, home) = (app(), home_with_login());
    let login = json!({ "claudeAiOauth": {
        "accessToken": canary("access token"), "refreshToken": canary("refresh token"),
        "expiresAt": 4_000_000_000_000_u64, "scopes": ["x"],
    }});
    std::fs::write(home.path().join(".claude/.credentials.json"), login.to_string()).expect("a login");
    std::fs::create_dir(home.path().join("damaged")).expect("a directory");
    let damaged = format!("{{\"claudeAiOauth\": {{\"accessToken\": \"{}", canary("credentials file that is damaged"));
    std::fs::write(home.path().join("damaged/.credentials.json"), damaged).expect("a damaged login");
    let (port, agent) = (free_port(), free_port());
    let redis = format!("redis://reader:{}@127.0.0.1:{port}/0", canary("password of redis"));
    std::fs::write(home.path().join("redis"), redis).expect("a file");
    let settings = settings(&app, home.path()).text("agent_check.listen", &format!("127.0.0.1:{agent}"));
    let mut said = Said::default();
    commands(&mut said, &settings, home.path(), (port, app.port()));
    let sidecar = Sidecar::start_in(home, &settings, |command| environment(command, port, app.port()));
    let unhealthy = |name: &str| sidecar.detailed()["components"][name]["status"] == "unhealthy";
    for check in ["asked", "said", "database", "accounts", "cache", "findings"] {
        eventually(PATIENCE, check, || unhealthy(check));
    }
    traffic(&sidecar);
    for address in [sidecar.traffic, sidecar.admin] {
        bodies(&mut said, address);
    }
    others(&mut said, &sidecar, &app, agent);
    let asked = app.seen().iter().any(|seen| {
        seen.field("x-one") == Some(canary("header of a check, from a variable"))
            && seen.target.contains(canary("query of a check"))
    });
    assert!(asked, "the canaries were where they must be");
    said.take("the log", sidecar.log());
    assert!(said.0["the log"].contains("/v1/messages"), "requests are logged");
    said.assert_silent();
}

/// What the health service lists, by gRPC's own client.
fn grpc_list(sidecar: &Sidecar) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/suite/grpc/health_client.py");
    let mut command = Command::new(tool("grpc/bin/python"));
    command.env_clear().env("PATH", SYSTEM_PATH).arg(script).arg(sidecar.admin.to_string()).arg("list");
    let ended = run(&mut command);
    assert!(ended.stdout.contains("NOT_SERVING"), "{ended:?}");
    ended.stdout
}

/// What the program does at a panic, in a process of its own: no input is known that has it panic.
#[test]
#[ignore = "run by the test below, in a process of its own"]
fn panics_by_itself() {
    hush_panics(|place| eprintln!("a defect: panicked at {place}"));
    let secret = canary("message of a panic");
    let text = std::thread::spawn(move || panic!("with {secret} in it")).join();
    let value = std::thread::spawn(move || std::panic::panic_any(secret)).join();
    let of_library = std::thread::spawn(move || secret.parse::<u8>().expect(secret)).join();
    assert!(text.is_err() && value.is_err() && of_library.is_err());
}

#[test]
fn a_panic_says_where_and_nothing_else() {
    let this = std::env::current_exe().expect("the tests");
    let arguments = ["--exact", "canaries::panics_by_itself", "--ignored", "--nocapture"];
    let ended = run(Command::new(this).args(arguments).env("RUST_BACKTRACE", "full"));
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(ended.stderr.matches("a defect: panicked at tests/suite/canaries.rs:").count(), 3, "{ended:?}");
    let mut said = Said::default();
    said.take_command("a panic", &ended);
    said.assert_silent();
}

#[test]
fn a_canary_would_be_found() {
    let whole = canary("access token");
    for leak in
        [whole.to_owned(), whole[2..].to_owned(), base64(format!("user:{whole}").as_bytes()), format!("a{whole}")]
    {
        assert!(needles(whole).iter().any(|needle| leak.contains(needle)), "{leak}");
    }
}
