use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::process::Signal;
use tempfile::TempDir;

use super::{PATIENCE, Process, Response, Settings, Upstream, ask, claude, eventually, eventually_some, get, local};

/// The program under test.
pub(crate) const PULSEGATE: &str = env!("CARGO_BIN_EXE_pulsegate");

/// A running sidecar.
pub(crate) struct Sidecar {
    pub(crate) process: Process,
    /// Where traffic comes in.
    pub(crate) traffic: SocketAddr,
    /// The management port.
    pub(crate) admin: SocketAddr,
    home: TempDir,
}

/// A home directory of the test's own, with an invented login that is valid for a month.
pub(crate) fn home_with_login() -> TempDir {
    let home = tempfile::tempdir().expect("a home");
    let month = SystemTime::now() + Duration::from_secs(30 * 24 * 3600);
    let expires = month.duration_since(UNIX_EPOCH).expect("after 1970").as_millis() as u64;
    let login = serde_json::json!({ "claudeAiOauth": {
        "accessToken": "invented-access", "refreshToken": "invented-refresh",
        "expiresAt": expires, "scopes": ["user:inference"],
    }});
    std::fs::create_dir(home.path().join(".claude")).expect("a directory");
    std::fs::write(home.path().join(".claude/.credentials.json"), login.to_string()).expect("a login");
    home
}

/// The search path of everything that is started: the system's, and nothing of the user's.
pub(crate) const SYSTEM_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

impl Sidecar {
    /// Settings for the data plane alone: no checks but the built-in one.
    pub(crate) fn bare(upstream: &Upstream) -> Settings {
        Self::bare_for(upstream.port())
    }

    /// The same for an app at a port.
    pub(crate) fn bare_for(port: u16) -> Settings {
        Settings::default()
            .text("preset", "none")
            .text("proxy.listen", "127.0.0.1:0")
            .text("proxy.upstream", &format!("http://127.0.0.1:{port}"))
            .raw("proxy.threads", "2")
            .text("admin.listen", "127.0.0.1:0")
            .text("log.format", "json")
            .text("shutdown.lame_duck", "0")
            .text("shutdown.grace", "5s")
    }

    /// The settings of the Claude proxy's preset, quick enough for a test: the real CLI, an invented login.
    pub(crate) fn full(upstream: &Upstream) -> Settings {
        Self::full_for(upstream.port()).text("checks.api_server.http.path", Upstream::PROBE)
    }

    /// The same for an app at a port, of which any answer below 500 is good.
    pub(crate) fn full_for(port: u16) -> Settings {
        Self::bare_for(port)
            .without("preset")
            .text("checks.claude_cli.cli.path", &claude("2.1.328").display().to_string())
            .text("checks.claude_cli.interval", "10s")
            .text("checks.claude_cli.timeout", "10s")
            .text("checks.claude_cli.fast_interval", "200ms")
            .text("checks.authentication.interval", "200ms")
            .text("checks.api_server.interval", "200ms")
            .raw("checks.api_server.start_period", "0")
            .text("checks.traffic.interval", "200ms")
    }

    /// Starts it with an invented login in a home of its own.
    #[track_caller]
    pub(crate) fn start(settings: &Settings) -> Self {
        Self::start_in(home_with_login(), settings, |_| {})
    }

    /// Starts it in a home; the command can be changed before.
    #[track_caller]
    pub(crate) fn start_in(home: TempDir, settings: &Settings, change: impl FnOnce(&mut Command)) -> Self {
        let mut command = Self::command(home.path(), settings);
        change(&mut command);
        Self::launch(home, command)
    }

    /// Runs a command that starts one in a home, with logs in JSON, and waits until it says where it listens.
    #[track_caller]
    pub(crate) fn launch(home: TempDir, mut command: Command) -> Self {
        let mut process = Process::start(&mut command);
        let started = eventually_some(PATIENCE, "the sidecar says that it has started", || {
            let said = process.said();
            if let Some(status) = process.status() {
                panic!("the sidecar ended with {status}:\n{}", process.said().join("\n"));
            }
            let lines = said.iter().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
            lines.into_iter().find(|line| line["message"] == "started")
        });
        let address = |name: &str| started[name].as_str().and_then(|text| text.parse::<SocketAddr>().ok());
        let traffic = address("listen").unwrap_or_else(|| panic!("no address in {started}"));
        Self { process, traffic, admin: address("admin").unwrap_or(local(0)), home }
    }

    /// The command that starts it, with the settings in a file of that home.
    pub(crate) fn command(home: &Path, settings: &Settings) -> Command {
        let file = home.join("pulsegate.toml");
        std::fs::write(&file, settings.to_toml()).expect("a configuration");
        let mut command = Command::new(PULSEGATE);
        command.env_clear().env("PATH", SYSTEM_PATH).env("HOME", home).current_dir(home);
        command.arg("--config").arg(file);
        command
    }

    /// Waits until it is ready.
    #[track_caller]
    pub(crate) fn ready(self) -> Self {
        eventually(PATIENCE, "the sidecar is ready", || get(self.admin, "/readyz").status == 200);
        self
    }

    pub(crate) fn home(&self) -> PathBuf {
        self.home.path().to_owned()
    }

    /// GET at the management port.
    #[track_caller]
    pub(crate) fn admin(&self, path: &str) -> Response {
        get(self.admin, path)
    }

    /// GET at the traffic port.
    #[track_caller]
    pub(crate) fn get(&self, path: &str) -> Response {
        get(self.traffic, path)
    }

    /// A request at the traffic port.
    #[track_caller]
    pub(crate) fn ask(&self, method: &str, path: &str, fields: &[(&str, &str)], body: &[u8]) -> Response {
        ask(self.traffic, method, path, fields, body)
    }

    /// `/health/detailed` as JSON, whatever its code.
    #[track_caller]
    pub(crate) fn detailed(&self) -> serde_json::Value {
        self.admin("/health/detailed").json()
    }

    /// Waits until `/health/detailed` satisfies the condition, and returns it.
    #[track_caller]
    pub(crate) fn await_detailed(
        &self,
        what: &str,
        condition: impl Fn(&serde_json::Value) -> bool,
    ) -> serde_json::Value {
        let mut last = serde_json::Value::Null;
        let begun = std::time::Instant::now();
        while begun.elapsed() < PATIENCE {
            last = self.detailed();
            if condition(&last) {
                return last;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("not within {PATIENCE:?}: {what}; the last was {last:#}");
    }

    /// Waits until an endpoint of the management port answers with the code.
    #[track_caller]
    pub(crate) fn await_code(&self, path: &str, code: u16) -> Response {
        let what = format!("{path} answers {code}");
        eventually_some(PATIENCE, &what, || Some(self.admin(path)).filter(|answer| answer.status == code))
    }

    /// The sum of a metric's series whose labels hold all of `labels`, written as `name="value"`.
    #[track_caller]
    pub(crate) fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        let text = self.admin("/metrics").text().to_owned();
        let series = text.lines().filter(|line| {
            let rest = line.strip_prefix(name);
            rest.is_some_and(|rest| rest.starts_with(['{', ' '])) && labels.iter().all(|label| line.contains(label))
        });
        series.map(|line| line.rsplit(' ').next().and_then(|value| value.parse::<f64>().ok()).expect("a value")).sum()
    }

    /// Waits until [`Self::metric`] has the value: a request is counted when its answer has left, which may be after it is
    /// here.
    #[track_caller]
    pub(crate) fn assert_metric(&self, name: &str, labels: &[&str], expected: f64) {
        let mut last = f64::NAN;
        let begun = std::time::Instant::now();
        while begun.elapsed() < PATIENCE {
            last = self.metric(name, labels);
            if last == expected {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("{name} {labels:?} is {last}, not {expected}");
    }

    pub(crate) fn log(&self) -> String {
        self.process.said().join("\n")
    }

    /// SIGTERM.
    pub(crate) fn terminate(&self) {
        self.process.signal(Signal::TERM);
    }

    /// Tells it again and again, until it has ended: what comes within a moment of the first signal is the same signal.
    #[track_caller]
    pub(crate) fn insist(&mut self, signal: Signal) -> ExitStatus {
        eventually(PATIENCE, "it ends at once", || {
            self.process.signal(signal);
            self.process.status().is_some()
        });
        self.wait(PATIENCE)
    }

    /// Waits for its end.
    #[track_caller]
    pub(crate) fn wait(&mut self, deadline: Duration) -> ExitStatus {
        self.process.wait(deadline)
    }
}

impl Drop for Sidecar {
    /// Whatever a test was about: nothing may have panicked.
    fn drop(&mut self) {
        let log = self.log();
        if std::thread::panicking() {
            let lines: Vec<&str> = log.lines().rev().take(40).collect();
            eprintln!("--- the sidecar's last lines");
            lines.into_iter().rev().for_each(|line| eprintln!("{line}"));
        } else {
            assert!(!log.contains("panicked"), "the sidecar has panicked:\n{log}");
        }
    }
}
