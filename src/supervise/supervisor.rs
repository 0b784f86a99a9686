use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, kill_process_group, test_kill_process_group};
use tokio::process::Child;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::status::Phase;
use super::{AppSettings, AppStatus, Exit, Launch, Restart};
use crate::check::{Group, an_orphan_lives, spawn};
use crate::clock::back_off;

/// Keeps the app running. Its futures may be dropped and made anew at any time: what is so stands here.
///
/// It must be polled by a thread that lives as long as the process, because the kernel takes the end of the thread that
/// started a process for the end of its parent.
#[derive(Debug)]
pub struct Supervisor {
    settings: AppSettings,
    launch: Launch,
    status: Arc<AppStatus>,
    running: Option<Running>,
    starts: u64,
    /// Ends in a row, none of them after a stable time.
    ends: u32,
    next: Instant,
    signals: mpsc::Receiver<Signal>,
}

#[derive(Debug)]
struct Running {
    child: Child,
    /// Kills what is left of the app's process group when it is dropped.
    group: Group,
    since: Instant,
}

/// Signals that wait to be passed on; more are dropped, as the kernel merges them too.
const MOST_SIGNALS: usize = 16;

/// Between two looks whether the last process of the group has ended: of those that are not our children nobody tells us.
const GLANCE: Duration = Duration::from_millis(20);

impl Supervisor {
    /// A supervisor that has started nothing yet, and the way to pass signals on.
    #[must_use]
    pub fn new(settings: AppSettings, launch: Launch) -> (Self, mpsc::Sender<Signal>) {
        let (sender, signals) = mpsc::channel(MOST_SIGNALS);
        let (status, next) = (AppStatus::new(), Instant::now());
        (Self { settings, launch, status, running: None, starts: 0, ends: 0, next, signals }, sender)
    }

    /// With this soft limit of open files for the app in place of ours.
    #[must_use]
    pub fn with_soft_files(self, soft_files: Option<u64>) -> Self {
        Self { launch: self.launch.with_soft_files(soft_files), ..self }
    }

    /// What is known of the app.
    #[must_use]
    pub fn status(&self) -> Arc<AppStatus> {
        self.status.clone()
    }

    /// Starts the app and starts it again, until it has ended and is not to be started again.
    pub async fn run(&mut self) -> Exit {
        loop {
            let exit = match &mut self.running {
                Some(running) => tokio::select! {
                    status = running.child.wait() => status.map_or(Exit::NotStarted, Exit::of),
                    Some(signal) = self.signals.recv() => {
                        pass(running, signal);
                        continue;
                    }
                },
                None => tokio::select! {
                    () = sleep_until(self.next) => match self.start() {
                        Ok(()) => continue,
                        Err(error) => {
                            tracing::error!(%error, "the app cannot be started");
                            Exit::NotStarted
                        }
                    },
                    // Nobody is there to hear it.
                    Some(_) = self.signals.recv() => continue,
                },
            };
            if !self.is_started_again_after(exit) {
                return exit;
            }
        }
    }

    fn start(&mut self) -> std::io::Result<()> {
        let (child, group) = spawn(&mut self.launch.command())?;
        let (pid, since) = (child.id(), Instant::now());
        self.running = Some(Running { child, group, since });
        self.starts += 1;
        let restarts = self.starts - 1;
        self.status.change(|known| {
            known.phase = Phase::Running { pid, since };
            known.restarts = restarts;
        });
        tracing::info!(program = self.launch.program(), pid, restarts, "the app has been started");
        Ok(())
    }

    fn is_started_again_after(&mut self, exit: Exit) -> bool {
        let now = Instant::now();
        // With it goes whatever it left running: that would hold the app's port.
        let (ran, group) =
            self.running.take().map_or((Duration::ZERO, None), |running| (now - running.since, running.group.pid()));
        if exit.is_success() && an_orphan_lives(group) {
            tracing::warn!("a process of the app still runs in the background: start it in the foreground");
        }
        self.ends = if ran >= self.settings.stable_after { 1 } else { self.ends.saturating_add(1) };
        let wished = match self.settings.restart {
            Restart::Always => true,
            Restart::OnFailure => !exit.is_success(),
            Restart::Never => false,
        };
        // What could not even be run the first time will not be there the second.
        let hopeless = self.starts <= 1 && exit.is_no_command();
        let allowed = self.settings.max_restarts == 0 || self.ends <= self.settings.max_restarts;
        let again = wished && allowed && !hopeless;
        let pause = back_off(self.settings.backoff, self.settings.max_backoff, self.ends);
        self.next = now + pause;
        let next = self.next;
        self.status.change(|known| {
            known.phase = if again { Phase::Pausing { until: next } } else { Phase::Down };
            known.last_exit = Some(exit);
        });
        let (ended, ran) = (exit.to_string(), ran.as_secs());
        if again {
            let pause_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
            tracing::warn!(ended, ran, pause_ms, "the app has ended and is started again");
        } else {
            tracing::info!(ended, ran, "the app has ended and is not started again");
        }
        again
    }

    /// Tells the app to stop and waits for it, and for all of its process group; what is left after that is killed.
    pub async fn stop(&mut self, patience: Duration) {
        let Some(mut running) = self.running.take() else { return };
        self.status.change(|known| known.phase = Phase::Down);
        let signal = self.settings.stop_signal.0;
        let told = running.group.pid().map(|pid| {
            let told = kill_process_group(pid, signal);
            // One that stands still hears of it only when it goes on.
            let _ = kill_process_group(pid, Signal::CONT);
            told
        });
        tracing::info!(told = told.is_some_and(|told| told.is_ok()), "stopping the app");
        let ended = timeout(patience, running.end()).await;
        match ended {
            Ok(exit) => tracing::info!(ended = exit.to_string(), "the app has stopped"),
            Err(_) => tracing::warn!("the app has not stopped in time and is killed"),
        }
        let status = {
            let Running { mut child, group, .. } = running;
            drop(group);
            // A killed process ends, unless it hangs in the kernel: then nobody can wait for it.
            timeout(KILLED, child.wait()).await
        };
        let exit = status.ok().and_then(Result::ok).map(Exit::of);
        self.status.change(|known| known.last_exit = exit.or(known.last_exit));
    }
}

/// How long a killed process may take to be gone.
const KILLED: Duration = Duration::from_secs(1);

impl Running {
    /// Waits for the app's process and all of its group.
    async fn end(&mut self) -> Exit {
        let status: Result<ExitStatus, _> = self.child.wait().await;
        while self.group.pid().is_some_and(|pid| test_kill_process_group(pid).is_ok()) {
            sleep(GLANCE).await;
        }
        status.map_or(Exit::NotStarted, Exit::of)
    }
}

/// Passes a signal on to the app's process alone.
fn pass(running: &Running, signal: Signal) {
    let pid = running.child.id().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
    if let Some(pid) = pid {
        let _ = kill_process(pid, signal);
        tracing::debug!(?signal, "passed on to the app");
    }
}
