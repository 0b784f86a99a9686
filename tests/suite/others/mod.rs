//! Suites written by others, once direct and once through the sidecar. `docs/conformance.md` explains what differs.

mod cache;
mod http2;
mod slow;
mod websocket;

use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::support::{PATIENCE, Process, SYSTEM_PATH, eventually, free_port, local};

/// No suite takes longer than this on a machine that is busy with other tests.
const LONGEST: Duration = Duration::from_secs(240);

/// A server of a suite, on a port of its own.
fn server(start: impl FnOnce(u16) -> Command) -> (Process, u16) {
    let port = free_port();
    let process = Process::start(bare(&mut start(port)).stdout(Stdio::null()));
    eventually(2 * PATIENCE, "the suite's server accepts", || TcpStream::connect(local(port)).is_ok());
    (process, port)
}

/// Without the user's environment, but for where programs are.
fn bare(command: &mut Command) -> &mut Command {
    command.env("PATH", format!("{}:{SYSTEM_PATH}", std::env::var("PATH").unwrap_or_default()))
}

/// Runs a suite's client to its end; what it printed.
fn client(command: &mut Command) -> String {
    let log = tempfile::NamedTempFile::new().expect("a file");
    let mut process = Process::start(bare(command).stdout(log.reopen().expect("the file")));
    process.wait(LONGEST);
    let text = std::fs::read(log.path()).expect("the output");
    assert!(!text.is_empty(), "{command:?} said nothing:\n{}", process.said().join("\n"));
    String::from_utf8_lossy(&text).into_owned()
}
