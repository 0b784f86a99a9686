use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitOptions, kill_process_group, waitpid};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::{Child, Command};

use crate::settings::Environment;

/// At most so much of the output is kept; the rest is read and dropped.
const OUTPUT_LIMIT: usize = 64 * 1024;

/// How long outputs are still read after the process itself has ended: a child that it left behind may hold them open.
const AFTERMATH: Duration = Duration::from_millis(200);

/// A program to run to its end: in a process group of its own, without input, with an environment of just what it needs.
#[derive(Debug)]
pub(super) struct Subprocess {
    pub(super) program: PathBuf,
    pub(super) arguments: Vec<OsString>,
    pub(super) environment: Vec<(String, String)>,
    pub(super) directory: PathBuf,
}

/// What a program left behind.
#[derive(Debug)]
pub(super) struct Output {
    pub(super) status: ExitStatus,
    pub(super) stdout: Vec<u8>,
}

/// Variables that a program may need to be found, to speak and to verify; nothing else of ours reaches it.
const PASSED_ON: &[&str] = &["PATH", "LANG", "LC_ALL", "TZ", "TMPDIR", "SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS"];

/// The children that we wait for ourselves: as PID 1 we reap everything else.
static OURS: Mutex<BTreeSet<i32>> = Mutex::new(BTreeSet::new());

impl Subprocess {
    /// A program with the minimal environment, in a directory.
    pub(super) fn new(program: PathBuf, directory: PathBuf, environment: &Environment) -> Self {
        let passed = PASSED_ON.iter().filter_map(|name| Some(((*name).to_owned(), environment.get(name)?.to_owned())));
        Self { program, arguments: Vec::new(), environment: passed.collect(), directory }
    }

    /// Runs the program. Dropping the future kills the whole process group.
    pub(super) async fn run(self) -> std::io::Result<Output> {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).env_clear().envs(self.environment).current_dir(&self.directory);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.process_group(0).kill_on_drop(true);

        let (mut child, group) = spawn(&mut command)?;
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let mut kept = Vec::new();
        let status = {
            // Errors go nowhere, but are read: a full pipe would hold the program up.
            let reading = async { tokio::join!(read(stdout, Some(&mut kept)), read(stderr, None)) };
            tokio::pin!(reading);
            let mut read_all = false;
            let status = tokio::select! {
                status = child.wait() => status,
                _ = &mut reading => { read_all = true; child.wait().await }
            };
            // Whatever it left running would hold its outputs open, and memory.
            drop(group);
            if !read_all {
                let _ = tokio::time::timeout(AFTERMATH, reading).await;
            }
            status?
        };
        Ok(Output { status, stdout: kept })
    }
}

/// Starts a child that is in a process group of its own and that somebody waits for.
///
/// # Errors
/// The system refuses it.
pub fn spawn(command: &mut Command) -> std::io::Result<(Child, Group)> {
    // Held over the start, so that the reaper never meets a child that is not yet known to be ours.
    let mut ours = ours();
    let child = command.spawn()?;
    let pid = child.id().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
    ours.extend(pid.map(Pid::as_raw_pid));
    Ok((child, Group(pid)))
}

async fn read(stream: Option<impl AsyncRead + Unpin>, mut kept: Option<&mut Vec<u8>>) {
    let Some(mut stream) = stream else { return };
    let mut chunk = [0; 4096];
    while let Ok(length @ 1..) = stream.read(&mut chunk).await {
        if let Some(kept) = &mut kept {
            let room = OUTPUT_LIMIT - kept.len();
            kept.extend_from_slice(&chunk[..length.min(room)]);
        }
    }
}

/// A process group that dies with this value.
#[derive(Debug)]
pub struct Group(Option<Pid>);

impl Group {
    /// Its number, which is that of the process that it was made for.
    #[must_use]
    pub fn pid(&self) -> Option<Pid> {
        self.0
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(pid) = self.0 {
            // Fails only when nobody is left in the group.
            let _ = kill_process_group(pid, Signal::KILL);
            ours().remove(&pid.as_raw_pid());
        }
    }
}

fn ours() -> std::sync::MutexGuard<'static, BTreeSet<i32>> {
    OURS.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Reaps ended processes that were left to us as PID 1; those that a check waits for are left to it.
pub fn reap_orphans() {
    for stat in adopted().filter(|stat| stat.state == 'Z') {
        let ours = ours();
        if !ours.contains(&stat.pid)
            && let Some(pid) = Pid::from_raw(stat.pid)
        {
            let _ = waitpid(Some(pid), WaitOptions::NOHANG);
        }
    }
}

/// Whether a child runs that we did not start, outside of this process group and of those that we did start: somebody who was
/// started by a child of ours has taken leave of it.
#[must_use]
pub fn an_orphan_lives(group: Option<Pid>) -> bool {
    let known = ours().clone();
    let elsewhere = |pgrp: &i32| !known.contains(pgrp) && group.map(Pid::as_raw_pid) != Some(*pgrp);
    adopted().any(|stat| !matches!(stat.state, 'Z' | 'X') && elsewhere(&stat.pid) && elsewhere(&stat.pgrp))
}

/// Our children, those included whose parents have ended.
fn adopted() -> impl Iterator<Item = ::procfs::process::Stat> {
    let me = std::process::id();
    let processes = ::procfs::process::all_processes().into_iter().flatten().flatten();
    processes.filter_map(|process| process.stat().ok()).filter(move |stat| u32::try_from(stat.ppid) == Ok(me))
}
