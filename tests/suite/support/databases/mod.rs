//! Real database servers of the tests' own, in temporary folders, as whoever does not matter.

mod mariadb;
mod postgres;
mod redis;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;

pub(crate) use self::mariadb::MariadbServer;
pub(crate) use self::postgres::PostgresServer;
pub(crate) use self::redis::RedisServer;
use super::sidecar::SYSTEM_PATH;
use super::{Process, eventually_some, local};

/// How long a server may take to start on a machine that is busy with other tests.
const START: Duration = Duration::from_secs(120);

/// A password that must be seen nowhere.
pub(crate) const CANARY: &str = "canary-of-the-database";

/// Whom servers run as that refuse to run as root. A test that is not run as root runs them as itself.
const NOBODY: u32 = 65534;

/// A copy of a file, for a server that reads only what belongs to it.
fn copy_for(home: &TempDir, from: &Path, name: &str) -> String {
    let to = home.path().join(name);
    std::fs::copy(from, &to).expect("a copy");
    std::fs::set_permissions(&to, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("a mode");
    give(&to);
    to.display().to_string()
}

fn launch(mut command: Command) -> Process {
    Process::start(command.stdout(Stdio::null()))
}

/// A folder that nobody owns.
fn home_of_nobody() -> TempDir {
    let home = tempfile::tempdir().expect("a home");
    give(home.path());
    home
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn give(path: &Path) {
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
    let listener = std::net::TcpListener::bind(local(0)).expect("a port");
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
