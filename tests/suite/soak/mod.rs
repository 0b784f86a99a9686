//! Mixed load with faults for a long time: memory stays flat, every request is counted, nothing is left over.
//!
//! Twenty seconds of it are a test like any other. `tests/soak` runs half an hour against a release build.

mod account;
mod app;
mod load;
mod streams;

use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use self::account::{Account, Samples};
use self::app::App;
use crate::support::{PATIENCE, PULSEGATE, Random, Sidecar, eventually, free_port, home_with_login};

/// How long, unless `SOAK_SECONDS` says otherwise.
const SECONDS: u64 = 20;

/// One soak is one row of faults, and each of them comes several times.
const FAULTS: u32 = 40;

fn setting<T: std::str::FromStr>(name: &str) -> Option<T> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

#[test]
fn mixed_load_with_faults_leaves_nothing_behind() {
    let duration = Duration::from_secs(setting("SOAK_SECONDS").unwrap_or(SECONDS));
    let port = free_port();
    let mut app = App::start(port);
    let settings = Sidecar::bare_for(port)
        .text("proxy.timeouts.connect", "1s")
        .text("proxy.timeouts.request_header", "3s")
        .text("proxy.timeouts.response_header", "10s")
        .text("proxy.timeouts.stream_idle", "20s");
    let binary: PathBuf = setting("SOAK_BINARY").unwrap_or_else(|| PULSEGATE.into());
    let sidecar = Sidecar::start_in(home_with_login(), &settings, |command| run_instead(command, &binary)).ready();
    let files = open_files(sidecar.process.id());

    let (account, stop, samples) = (Account::default(), AtomicBool::new(false), Samples::default());
    std::thread::scope(|scope| {
        for (number, work) in load::WORKS.iter().enumerate() {
            let (account, stop, traffic) = (&account, &stop, sidecar.traffic);
            scope.spawn(move || load::run(work, number as u64, traffic, account, stop));
        }
        scope.spawn(|| samples.take(&sidecar, &stop));
        let begun = Instant::now();
        let mut random = Random(0x5eed_0050);
        let pause = duration / FAULTS;
        while begun.elapsed() < duration {
            std::thread::sleep(pause.min(duration.saturating_sub(begun.elapsed())));
            fault(&mut app, port, &mut random);
        }
        stop.store(true, SeqCst);
    });

    eventually(2 * PATIENCE, "no request is in flight, and no client connected", || {
        sidecar.metric("pulsegate_requests_in_flight", &[]) == 0.0
            && sidecar.metric("pulsegate_connections", &[]) == 0.0
    });
    let counted = account::counted(&sidecar);
    account.print(&counted, duration);
    samples.print();
    account.check(&counted);
    samples.check(duration);
    // With the app gone, nothing is kept for it.
    drop(app);
    let mut left = 0;
    eventually(2 * PATIENCE, "every file and socket is closed", || {
        left = open_files(sidecar.process.id());
        left <= files
    });
    eprintln!("open files and sockets: {files} before, {left} after");
}

/// The app dies and comes back, or stands still for a while.
fn fault(app: &mut App, port: u16, random: &mut Random) {
    match random.below(3) {
        0 => *app = app.replaced(port),
        1 => {
            app.signal(Signal::STOP);
            std::thread::sleep(Duration::from_millis(500 + random.below(2000) as u64));
            app.signal(Signal::CONT);
        }
        // Nothing for once.
        _ => {}
    }
}

/// The same command with another program.
fn run_instead(command: &mut Command, program: &PathBuf) {
    let mut other = Command::new(program);
    other.env_clear().args(command.get_args());
    for (name, value) in command.get_envs() {
        other.env(name, value.unwrap_or_default());
    }
    if let Some(directory) = command.get_current_dir() {
        other.current_dir(directory);
    }
    *command = other;
}

fn open_files(process: u32) -> usize {
    std::fs::read_dir(format!("/proc/{process}/fd")).expect("its open files").count()
}
