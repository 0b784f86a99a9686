use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use rustix::process::Signal;
use tempfile::TempDir;

use super::sidecar::SYSTEM_PATH;
use super::{CertificateFiles, Process, eventually, eventually_some, free_port, run, tool};

/// How long a server may take to start on a machine that is busy with other tests.
const START: Duration = Duration::from_secs(120);

/// A password that must be seen nowhere.
pub(crate) const CANARY: &str = "canary-of-the-database";

/// Whom servers run as that refuse to run as root. A test that is not run as root runs them as itself.
const NOBODY: u32 = 65534;

/// A real PostgreSQL of the test's own, with the superuser `postgres`, whose password is [`CANARY`].
pub(crate) struct PostgresServer {
    process: Mutex<Process>,
    port: u16,
    home: TempDir,
}

impl PostgresServer {
    /// One for all tests that leave it as they found it.
    #[track_caller]
    pub(crate) fn shared() -> Arc<Self> {
        static SHARED: Mutex<Weak<PostgresServer>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let server = Arc::new(Self::start(&[]));
            *shared = Arc::downgrade(&server);
            server
        })
    }

    /// One of the test's own, with more options.
    #[track_caller]
    pub(crate) fn start(options: &[&str]) -> Self {
        Self::start_in(home_of_nobody(), options)
    }

    #[track_caller]
    fn start_in(home: TempDir, options: &[&str]) -> Self {
        let password = home.path().join("password");
        std::fs::write(&password, CANARY).expect("a file");
        give(&password);
        let mut init = as_nobody(&tool("postgres/bin/initdb"), &home);
        init.args(["--username=postgres", "--auth=scram-sha-256", "--no-sync", "--encoding=UTF8", "--no-locale"]);
        init.arg("--pwfile").arg(&password).arg("--pgdata").arg(home.path().join("data"));
        let made = run(&mut init);
        assert_eq!(made.code, Some(0), "{}{}", made.stdout, made.stderr);
        let port = free_port();
        let settings = home.path().join("data/postgresql.auto.conf");
        std::fs::write(&settings, options.join("\n")).expect("a file");
        let process = Mutex::new(launch(postgres(port, &home)));
        let server = Self { process, port, home };
        server.wait();
        server
    }

    /// One that speaks TLS too.
    #[track_caller]
    pub(crate) fn start_with_tls(files: &CertificateFiles) -> Self {
        // Its own copies: the key must belong to whom it runs as.
        let home = home_of_nobody();
        let copy = |from: &std::path::Path, name: &str| {
            let to = home.path().join(name);
            std::fs::copy(from, &to).expect("a copy");
            std::fs::set_permissions(&to, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("a mode");
            give(&to);
            to.display().to_string()
        };
        let (cert, key) = (copy(&files.cert, "cert.pem"), copy(&files.key, "key.pem"));
        Self::start_in(home, &["ssl = on", &format!("ssl_cert_file = '{cert}'"), &format!("ssl_key_file = '{key}'")])
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The folder of its Unix socket.
    pub(crate) fn folder(&self) -> String {
        self.home.path().display().to_string()
    }

    /// Where it is, with who asks.
    pub(crate) fn url(&self, name: &str) -> String {
        format!("postgres://postgres:{CANARY}@127.0.0.1:{}/{name}", self.port)
    }

    /// What its own client says to a statement.
    #[track_caller]
    pub(crate) fn sql(&self, sql: &str) -> String {
        self.try_sql(sql).unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    fn try_sql(&self, sql: &str) -> Result<String, String> {
        let mut command = self.client();
        let ended = run(command.args(["-c", sql]));
        if ended.code == Some(0) { Ok(ended.stdout.trim().to_owned()) } else { Err(ended.stderr) }
    }

    /// Its own client.
    pub(crate) fn client(&self) -> Command {
        let mut command = Command::new(tool("postgres/bin/psql"));
        command.env_clear().env("PATH", SYSTEM_PATH).env("PGPASSWORD", CANARY).env("PGCONNECT_TIMEOUT", "10");
        command.args(["-X", "-A", "-t", "-q", "-h", "127.0.0.1", "-U", "postgres", "-d", "postgres", "-p"]);
        command.arg(self.port.to_string());
        command
    }

    /// A signal to the server and to all of its processes.
    pub(crate) fn signal_all(&self, signal: Signal) {
        let process = self.process.lock().expect("the process");
        for id in children_of(process.id()) {
            let id = rustix::process::Pid::from_raw(id).expect("a process id");
            let _ = rustix::process::kill_process(id, signal);
        }
        process.signal(signal);
    }

    /// Stops it at once.
    pub(crate) fn stop(&self) {
        let mut process = self.process.lock().expect("the process");
        process.signal(Signal::QUIT);
        process.wait(START);
    }

    /// Starts it again, and waits for it.
    #[track_caller]
    pub(crate) fn start_again(&self) {
        *self.process.lock().expect("the process") = launch(postgres(self.port, &self.home));
        self.wait();
    }

    #[track_caller]
    fn wait(&self) {
        eventually(START, "PostgreSQL answers", || {
            let mut process = self.process.lock().expect("the process");
            if let Some(status) = process.status() {
                panic!("PostgreSQL ended with {status}:\n{}", process.said().join("\n"));
            }
            self.try_sql("select 1").is_ok()
        });
    }
}

impl Drop for PostgresServer {
    /// A server that is killed leaves shared memory behind.
    fn drop(&mut self) {
        self.signal_all(Signal::CONT);
        let Ok(process) = self.process.get_mut() else { return };
        if process.status().is_none() {
            process.signal(Signal::QUIT);
            let ends = std::time::Instant::now() + Duration::from_secs(10);
            while process.status().is_none() && std::time::Instant::now() < ends {
                std::thread::sleep(super::GLANCE);
            }
        }
    }
}

fn postgres(port: u16, home: &TempDir) -> Command {
    let mut command = as_nobody(&tool("postgres/bin/postgres"), home);
    command.arg("-D").arg(home.path().join("data")).arg("-p").arg(port.to_string());
    command.arg("-k").arg(home.path());
    for setting in ["listen_addresses=127.0.0.1", "fsync=off", "shared_buffers=16MB", "max_connections=30"] {
        command.args(["-c", setting]);
    }
    command
}

fn launch(mut command: Command) -> Process {
    Process::start(command.stdout(Stdio::null()))
}

/// A folder that nobody owns.
pub(super) fn home_of_nobody() -> TempDir {
    let home = tempfile::tempdir().expect("a home");
    give(home.path());
    home
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn give(path: &std::path::Path) {
    if is_root() {
        std::os::unix::fs::chown(path, Some(NOBODY), Some(NOBODY)).expect("to give it away");
    }
}

/// A program that refuses to run as root.
fn as_nobody(program: &PathBuf, home: &TempDir) -> Command {
    let mut command = Command::new(if is_root() { "setpriv".as_ref() } else { program.as_os_str() });
    if is_root() {
        let id = NOBODY.to_string();
        command.args(["--reuid", &id, "--regid", &id, "--clear-groups", "--"]).arg(program);
    }
    command.env_clear().env("PATH", SYSTEM_PATH).env("HOME", home.path()).env("LC_ALL", "C").current_dir(home.path());
    command
}

fn children_of(parent: u32) -> Vec<i32> {
    let path = format!("/proc/{parent}/task/{parent}/children");
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.split_whitespace().filter_map(|id| id.parse().ok()).collect()
}

/// A server that accepts and does with each connection what the test says, on threads of its own.
pub(crate) fn impostor(serve: impl Fn(std::net::TcpStream) + Send + Sync + 'static) -> u16 {
    let listener = std::net::TcpListener::bind(super::local(0)).expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let serve = Arc::new(serve);
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let serve = serve.clone();
            std::thread::spawn(move || serve(stream));
        }
    });
    port
}

/// The first line that a look finds, within the time that a server may take.
#[track_caller]
pub(crate) fn await_line(what: &str, look: impl FnMut() -> Option<String>) -> String {
    eventually_some(START, what, look)
}
