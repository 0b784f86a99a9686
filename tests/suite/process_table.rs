//! As PID 1 of a container, whatever loses its parent becomes the sidecar's, which must reap it.

use std::process::Command;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::support::{CLOSED_PORT, PATIENCE, Process, Sidecar, Upstream, always, eventually, home_with_login, run};

/// The children of a process, with their states: `Z` has ended and was not reaped.
pub(crate) fn children(parent: u32) -> Vec<(u32, char)> {
    let entries = std::fs::read_dir("/proc").expect("/proc").flatten();
    let stats = entries.filter_map(|entry| std::fs::read_to_string(entry.path().join("stat")).ok());
    // `PID (name) STATE PPID …`, where a name may hold anything.
    let parsed = stats.filter_map(|stat| {
        let (before, after) = stat.rsplit_once(") ")?;
        let mut words = after.split(' ');
        let state = words.next()?.chars().next()?;
        let ppid: u32 = words.next()?.parse().ok()?;
        let pid: u32 = before.split(' ').next()?.parse().ok()?;
        (ppid == parent).then_some((pid, state))
    });
    parsed.collect()
}

/// Has a command be PID 1 of a process table of its own.
fn as_the_first(command: &mut Command) {
    let mut wrapped = Command::new("unshare");
    wrapped.args(["--pid", "--fork", "--mount-proc", "--kill-child", "--"]);
    wrapped.arg(command.get_program()).args(command.get_args()).env_clear();
    wrapped.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    wrapped.current_dir(command.get_current_dir().expect("a directory"));
    *command = wrapped;
}

/// What nobody hears is lost there. A configuration that is there only when somebody writes it holds the start.
#[test]
fn the_first_process_can_be_stopped_while_it_starts() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("not root: a process table of one's own cannot be made, so this shows nothing");
        return;
    }
    for arguments in [&["run"][..], &["validate"], &["demo"]] {
        for (signal, code) in [(Signal::TERM, 143), (Signal::INT, 130), (Signal::QUIT, 131)] {
            let home = home_with_login();
            let mut command = Sidecar::command(home.path(), &Sidecar::bare_for(CLOSED_PORT));
            let pipe = home.path().join("pulsegate.toml");
            std::fs::remove_file(&pipe).expect("a file");
            assert!(run(Command::new("mkfifo").arg(&pipe)).code == Some(0));
            command.args(arguments);
            as_the_first(&mut command);
            let mut process = Process::start(&mut command);
            // Open once the process reads.
            let writer = std::fs::OpenOptions::new().write(true).open(&pipe).expect("a reader");
            let inside = children(process.id());
            let [(pid, _)] = inside[..] else { panic!("unshare has one child: {inside:?}") };
            let one = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a process id");
            kill_process(one, signal).expect("a signal");
            assert_eq!(process.wait(PATIENCE).code(), Some(code), "{arguments:?}");
            drop(writer);
        }
    }
}

#[test]
fn orphans_are_reaped_by_pid_1() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("not root: a process table of one's own cannot be made, so this shows nothing");
        return;
    }
    let upstream = Upstream::hello();
    // Each run leaves two orphans: one in its process group, which is killed with it, and one that got away.
    let settings = Sidecar::bare(&upstream)
        .raw("checks.leaves_orphans.command.argv", r#"["/bin/sh", "-c", "sleep 5 & setsid sleep 0.3 & exit 0"]"#)
        .text("checks.leaves_orphans.interval", "100ms")
        .text("checks.leaves_orphans.timeout", "100ms")
        .text("checks.leaves_orphans.fast_interval", "100ms");
    let mut sidecar = Sidecar::start_in(home_with_login(), &settings, as_the_first);
    let inside = children(sidecar.process.id());
    let [(pid, _)] = inside[..] else { panic!("unshare has one child: {inside:?}") };
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("its status");
    let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:")).expect("its ids");
    assert_eq!(numbers.split_whitespace().last(), Some("1"), "it is PID 1 of its own table");

    let runs = || sidecar.metric("pulsegate_check_runs_total", &["check=\"leaves_orphans\""]);
    eventually(PATIENCE, "it has run 20 times", || runs() >= 20.0);
    always(Duration::from_secs(2), "ended processes do not pile up", || {
        let zombies = children(pid).iter().filter(|(_, state)| *state == 'Z').count();
        zombies < 8
    });
    eventually(PATIENCE, "none is left unreaped", || children(pid).iter().all(|(_, state)| *state != 'Z'));
    // On a busy machine some of them are late.
    let passes = || sidecar.metric("pulsegate_check_runs_total", &["check=\"leaves_orphans\"", "outcome=\"pass\""]);
    eventually(PATIENCE, "reaping takes no check's own child away", || passes() >= 10.0);

    // The kernel gives PID 1 no signal that it does not handle.
    let one = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a process id");
    kill_process(one, Signal::TERM).expect("a signal");
    assert_eq!(sidecar.wait(PATIENCE).code(), Some(0));
}
