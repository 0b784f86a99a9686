use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use rustix::process::Signal;
use tempfile::TempDir;

use super::{CANARY, START, as_nobody, children_of, copy_for, give, home_of_nobody, launch};
use crate::support::sidecar::SYSTEM_PATH;
use crate::support::{CertificateFiles, Process, eventually, free_port, run, tool};

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
        let home = home_of_nobody();
        let (cert, key) = (copy_for(&home, &files.cert, "cert.pem"), copy_for(&home, &files.key, "key.pem"));
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
                std::thread::sleep(Duration::from_millis(10));
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
