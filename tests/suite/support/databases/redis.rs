use std::process::Command;
use std::sync::Mutex;

use rustix::process::Signal;
use tempfile::TempDir;

use super::{CANARY, START, copy_for, launch};
use crate::support::sidecar::SYSTEM_PATH;
use crate::support::{CertificateFiles, Process, eventually, free_port, run, tool};

/// A real Redis of the test's own, whose password is [`CANARY`].
pub(crate) struct RedisServer {
    process: Mutex<Process>,
    port: u16,
    tls_port: u16,
    options: Vec<String>,
    home: TempDir,
}

impl RedisServer {
    #[track_caller]
    pub(crate) fn start(options: &[&str]) -> Self {
        Self::start_in(tempfile::tempdir().expect("a home"), 0, options)
    }

    /// One that speaks TLS too.
    #[track_caller]
    pub(crate) fn start_with_tls(files: &CertificateFiles) -> Self {
        let home = tempfile::tempdir().expect("a home");
        let (cert, key) = (copy_for(&home, &files.cert, "cert.pem"), copy_for(&home, &files.key, "key.pem"));
        let port = free_port();
        let options =
            ["--tls-cert-file", &cert, "--tls-key-file", &key, "--tls-auth-clients", "no", "--tls-ca-cert-file", &cert];
        Self::start_in(home, port, &options)
    }

    #[track_caller]
    fn start_in(home: TempDir, tls_port: u16, options: &[&str]) -> Self {
        let options = options.iter().map(|&option| option.to_owned()).collect();
        let port = free_port();
        let process = Mutex::new(launch(server(port, tls_port, &options, &home)));
        let server = Self { process, port, tls_port, options, home };
        server.wait();
        server
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn tls_port(&self) -> u16 {
        self.tls_port
    }

    pub(crate) fn socket(&self) -> String {
        self.home.path().join("socket").display().to_string()
    }

    pub(crate) fn url(&self, number: &str) -> String {
        format!("redis://:{CANARY}@127.0.0.1:{}/{number}", self.port)
    }

    /// What its own client says to a command.
    #[track_caller]
    pub(crate) fn cli(&self, words: &[&str]) -> String {
        let ended = run(self.client().args(words));
        assert_eq!(ended.code, Some(0), "{words:?}: {}{}", ended.stdout, ended.stderr);
        ended.stdout.trim().to_owned()
    }

    /// Its own client, which runs on.
    pub(crate) fn start_cli(&self, words: &[&str]) -> Process {
        launch({
            let mut client = self.client();
            client.args(words);
            client
        })
    }

    fn client(&self) -> Command {
        let mut command = Command::new(tool("redis/bin/redis-cli"));
        // By its socket: the check's connections are those by TCP.
        command.env_clear().env("PATH", SYSTEM_PATH).env("REDISCLI_AUTH", CANARY).args(["-e", "-s", &self.socket()]);
        command
    }

    pub(crate) fn signal(&self, signal: Signal) {
        self.process.lock().expect("the process").signal(signal);
    }

    pub(crate) fn stop(&self) {
        self.process.lock().expect("the process").kill();
    }

    #[track_caller]
    pub(crate) fn start_again(&self) {
        let command = server(self.port, self.tls_port, &self.options, &self.home);
        *self.process.lock().expect("the process") = launch(command);
        self.wait();
    }

    #[track_caller]
    fn wait(&self) {
        eventually(START, "Redis answers", || {
            let mut process = self.process.lock().expect("the process");
            if let Some(status) = process.status() {
                panic!("Redis ended with {status}:\n{}", process.said().join("\n"));
            }
            run(self.client().arg("PING")).stdout.contains("PONG")
        });
    }
}

fn server(port: u16, tls_port: u16, options: &Vec<String>, home: &TempDir) -> Command {
    let mut command = Command::new(tool("redis/bin/redis-server"));
    command.env_clear().env("PATH", SYSTEM_PATH).current_dir(home.path());
    command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--requirepass", CANARY]);
    command.args(["--tls-port", &tls_port.to_string(), "--unixsocket", "socket"]).args(options);
    command
}
