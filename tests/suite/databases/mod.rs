//! Checks of databases against real servers, healthy and broken, and against whatever else may listen at their ports.

mod consistency;
mod mysql;
mod postgres;
mod redis;
mod sqlite;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;

use serde_json::Value;

use crate::support::{
    CANARY, Ended, PATIENCE, Settings, Sidecar, ask, await_value, eventually_some, get, home_with_login, impostor, run,
};

/// The key of those who may see more.
const KEY: &str = "key-of-the-test";

/// A sidecar with one check, `database`, that is asked all the time.
struct Watch {
    sidecar: Sidecar,
}

/// Settings with one check of a kind, whose settings are written as TOML.
fn settings(kind: &[(&str, &str)]) -> Settings {
    let settings = Sidecar::bare_for(1)
        .raw("admin.api_keys", "[{ env = \"KEY\" }]")
        .raw("endpoints.\"/health/detailed\"", "{ dialect = \"claude-proxy\", detail = true }")
        .text("checks.database.interval", "1s")
        .text("checks.database.fast_interval", "100ms")
        .raw("checks.database.failure_threshold", "1");
    kind.iter().fold(settings, |settings, (key, value)| settings.raw(&format!("checks.database.{key}"), value))
}

impl Watch {
    #[track_caller]
    fn over(kind: &[(&str, &str)]) -> Self {
        Self::with(&settings(kind), |_| {})
    }

    #[track_caller]
    fn with(settings: &Settings, change: impl FnOnce(&mut Command)) -> Self {
        let sidecar = Sidecar::start_in(home_with_login(), settings, |command| {
            change(command.env("KEY", KEY));
        });
        Self { sidecar }
    }

    /// All that a caller with the key sees of the check.
    fn shown(&self) -> Value {
        let body = ask(self.sidecar.admin, "GET", "/health/detailed", &[("x-api-key", KEY)], b"").json();
        body["components"]["database"].clone()
    }

    /// The same once it has the status.
    #[track_caller]
    fn await_status(&self, status: &str) -> Value {
        self.await_shown(status, |shown| shown["status"] == status)
    }

    #[track_caller]
    fn await_shown(&self, what: &str, is_it: impl Fn(&Value) -> bool) -> Value {
        await_value(what, || self.shown(), is_it)
    }

    /// Waits until the check fails for this reason.
    #[track_caller]
    fn await_code(&self, code: &str) -> Value {
        let logged = format!("\"code\":\"{code}\"");
        let shown = self.await_status("unhealthy");
        let look = || self.sidecar.log().contains(&logged).then_some(());
        if std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| eventually_some(PATIENCE / 3, code, look))).is_err()
        {
            panic!("not for {code}: {shown:#}\n{}", self.sidecar.log());
        }
        self.shown()
    }

    /// Everything that anybody can see of it. The password is in none of it.
    #[track_caller]
    fn assert_no_canary(&self) {
        let mut said = self.sidecar.log();
        for path in ["/health/detailed", "/metrics", "/readyz?verbose"] {
            said += get(self.sidecar.admin, path).text();
            said += ask(self.sidecar.admin, "GET", path, &[("x-api-key", KEY)], b"").text();
        }
        assert!(!said.contains(CANARY), "{said}");
    }
}

/// Asks once, by command.
#[track_caller]
fn once(settings: &Settings) -> Ended {
    let home = home_with_login();
    let ended = run(Sidecar::command(home.path(), settings).env("KEY", KEY).arg("check"));
    assert!(!ended.stdout.contains(CANARY) && !ended.stderr.contains(CANARY), "{ended:?}");
    assert!(!ended.stderr.contains("panicked"), "{ended:?}");
    ended
}

/// Quotes a text for TOML.
fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

/// Whatever listens there: the check ends in time, fails with one of these sentences, uses no memory to speak of.
#[track_caller]
fn withstands_impostors(check: impl Fn(u16) -> Settings) {
    type Serve = Box<dyn Fn(TcpStream) + Send + Sync>;
    let impostors: [(&str, Serve); 6] = [
        // Accepts and never says anything.
        ("did not answer in time", Box::new(|mut stream| drop(stream.read_to_end(&mut Vec::new())))),
        // Closes at once.
        ("closed the connection", Box::new(drop)),
        // Speaks something else.
        (
            "does not answer as such a database does",
            Box::new(|mut stream| {
                let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nserver: x\r\n\r\n");
                let _ = stream.read_to_end(&mut Vec::new());
            }),
        ),
        // Never ends, with zeros, with lines, and with a byte that begins texts in many a protocol.
        ("", Box::new(|stream| pour(stream, &[0; 8192]))),
        ("", Box::new(|stream| pour(stream, &[b'\n'; 8192]))),
        ("", Box::new(|stream| pour(stream, &[b'R'; 8192]))),
    ];
    for (sentence, serve) in impostors {
        let port = impostor(serve);
        let begun = std::time::Instant::now();
        let ended = once(&check(port));
        // Redis' client hangs up at once on an answer that nobody has asked for.
        let said = ended.stdout.contains(sentence)
            || ended.stdout.contains("  redis  ") && ended.stdout.contains("closed the connection");
        assert!(ended.stdout.contains(" fail ") && said, "{sentence}: {ended:?}");
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert!(begun.elapsed() < PATIENCE, "{ended:?}");
    }
}

fn pour(mut stream: TcpStream, bytes: &[u8]) {
    while stream.write_all(bytes).is_ok() {}
}
