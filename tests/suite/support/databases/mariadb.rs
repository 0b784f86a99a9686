use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use rustix::process::Signal;
use tempfile::TempDir;

use super::{CANARY, START, as_nobody, copy_for, give, home_of_nobody, launch};
use crate::support::sidecar::SYSTEM_PATH;
use crate::support::{CertificateFiles, Process, eventually, free_port, run, tool};

/// A real MariaDB of the test's own, with an empty database `test` and the user `root`, whose password is [`CANARY`].
pub(crate) struct MariadbServer {
    process: Mutex<Process>,
    port: u16,
    options: Vec<String>,
    home: TempDir,
}

impl MariadbServer {
    /// One for all tests that leave it as they found it.
    #[track_caller]
    pub(crate) fn shared() -> Arc<Self> {
        static SHARED: Mutex<Weak<MariadbServer>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let server = Arc::new(Self::start(&[]));
            *shared = Arc::downgrade(&server);
            server
        })
    }

    /// One of the test's own.
    #[track_caller]
    pub(crate) fn start(options: &[&str]) -> Self {
        Self::start_in(home_of_nobody(), options)
    }

    /// One that speaks TLS too.
    #[track_caller]
    pub(crate) fn start_with_tls(files: &CertificateFiles) -> Self {
        let home = home_of_nobody();
        let (cert, key) = (copy_for(&home, &files.cert, "cert.pem"), copy_for(&home, &files.key, "key.pem"));
        Self::start_in(home, &[&format!("--ssl-cert={cert}"), &format!("--ssl-key={key}")])
    }

    #[track_caller]
    fn start_in(home: TempDir, options: &[&str]) -> Self {
        make(&home);
        let options = options.iter().map(|&option| option.to_owned()).collect();
        let port = free_port();
        let process = Mutex::new(launch(server(port, &options, &home)));
        let server = Self { process, port, options, home };
        server.wait();
        server
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn socket(&self) -> String {
        self.home.path().join("socket").display().to_string()
    }

    pub(crate) fn url(&self, name: &str) -> String {
        format!("mysql://root:{CANARY}@127.0.0.1:{}/{name}", self.port)
    }

    /// What its own client says to statements.
    #[track_caller]
    pub(crate) fn sql(&self, sql: &str) -> String {
        self.try_sql(sql).unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    fn try_sql(&self, sql: &str) -> Result<String, String> {
        let mut command = Command::new(tool("mariadb/bin/mariadb"));
        command.env_clear().env("PATH", SYSTEM_PATH).env("MYSQL_PWD", CANARY).arg("--no-defaults");
        command.args(["--protocol=socket", "--skip-column-names", "--batch", "-u", "root", "-D", "test"]);
        let ended = run(command.args(["-S", &self.socket(), "-e", sql]));
        if ended.code == Some(0) { Ok(ended.stdout.trim().to_owned()) } else { Err(ended.stderr) }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        self.process.lock().expect("the process").signal(signal);
    }

    pub(crate) fn stop(&self) {
        self.process.lock().expect("the process").kill();
    }

    #[track_caller]
    pub(crate) fn start_again(&self) {
        *self.process.lock().expect("the process") = launch(server(self.port, &self.options, &self.home));
        self.wait();
    }

    #[track_caller]
    fn wait(&self) {
        eventually(START, "MariaDB answers", || {
            let mut process = self.process.lock().expect("the process");
            if let Some(status) = process.status() {
                panic!("MariaDB ended with {status}:\n{}", process.said().join("\n"));
            }
            self.try_sql("select 1").is_ok()
        });
    }
}

/// The folder of its data, as `mariadb-install-db` makes it: each statement on lines of its own.
#[track_caller]
fn make(home: &TempDir) {
    let data = home.path().join("data");
    std::fs::create_dir(&data).expect("a folder");
    give(&data);
    let mut sql = "create database mysql;\nuse mysql;\n".to_owned();
    for name in ["mysql_system_tables", "mysql_performance_tables", "mysql_system_tables_data"] {
        let file = tool(&format!("mariadb/usr/share/mysql/{name}.sql"));
        sql += &std::fs::read_to_string(file).expect("its own statements");
    }
    sql += "flush privileges;\n";
    for host in ["localhost", "127.0.0.1"] {
        sql += &format!("create or replace user root@'{host}' identified by '{CANARY}';\n");
        sql += &format!("grant all on *.* to root@'{host}' with grant option;\n");
    }
    sql += "create database test;\n";
    let file = home.path().join("make.sql");
    std::fs::write(&file, sql).expect("a file");
    let mut command = as_nobody(&tool("mariadb/bin/mariadbd"), home);
    common(&mut command, home);
    command.arg("--bootstrap").stdin(std::fs::File::open(file).expect("the file"));
    let made = command.stdout(Stdio::null()).stderr(Stdio::piped()).output().expect("MariaDB runs");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

fn common(command: &mut Command, home: &TempDir) {
    let share = tool("mariadb/usr/share/mysql");
    command.arg("--no-defaults").arg(format!("--datadir={}", home.path().join("data").display()));
    // Each that starts clears away what others left in theirs.
    command.arg(format!("--tmpdir={}", home.path().display()));
    command.arg(format!("--lc-messages-dir={}", share.display()));
    command.arg(format!("--character-sets-dir={}", share.join("charsets").display()));
    command.args(["--innodb-use-native-aio=0", "--skip-log-bin"]);
    command.args(["--innodb-buffer-pool-size=8M", "--innodb-log-file-size=4M", "--innodb-flush-log-at-trx-commit=0"]);
}

fn server(port: u16, options: &Vec<String>, home: &TempDir) -> Command {
    let mut command = as_nobody(&tool("mariadb/bin/mariadbd"), home);
    common(&mut command, home);
    command.arg(format!("--socket={}", home.path().join("socket").display()));
    command.arg(format!("--pid-file={}", home.path().join("pid").display()));
    command.args([&format!("--port={port}"), "--bind-address=127.0.0.1"]).args(options);
    command
}
