use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Signal, getpid, set_child_subreaper};
use tokio::sync::{mpsc, watch};

use super::StartError;
use super::stop::{Stop, Stopping};
use crate::config::{Config, ShutdownSettings};
use crate::supervise::{AppStatus, Launch, Supervisor};

/// The app, where we start it.
#[derive(Debug)]
pub(super) struct Child {
    supervisor: Supervisor,
    signals: SignalHandle,
    stop_timeout: Duration,
}

/// Passes signals on to the app.
#[derive(Clone, Debug)]
pub struct SignalHandle {
    signals: mpsc::Sender<Signal>,
    hangup: bool,
}

impl SignalHandle {
    /// Passes one on; SIGHUP, which is ours first, only if so configured. If too many are on their way already, it is
    /// dropped, as the kernel would.
    pub fn pass(&self, signal: Signal) {
        if signal != Signal::HUP || self.hangup {
            let _ = self.signals.try_send(signal);
        }
    }
}

impl Child {
    /// The app of this configuration, not started yet; `None` if somebody else starts it.
    pub(super) fn of(config: &Config) -> Result<Option<Self>, StartError> {
        let launch = Launch::new(&config.app, &config.proxy.upstream.0, &config.environment);
        let Some(launch) = launch.map_err(StartError::Launch)? else { return Ok(None) };
        let (supervisor, signals) = Supervisor::new(config.app.clone(), launch);
        let signals = SignalHandle { signals, hangup: config.app.pass_sighup };
        Ok(Some(Self { supervisor, signals, stop_timeout: config.app.stop_timeout }))
    }

    pub(super) fn with_soft_files(self, soft_files: Option<u64>) -> Self {
        Self { supervisor: self.supervisor.with_soft_files(soft_files), ..self }
    }

    pub(super) fn status(&self) -> Arc<AppStatus> {
        self.supervisor.status()
    }

    pub(super) fn signals(&self) -> SignalHandle {
        self.signals.clone()
    }
}

/// When the requests must have ended: an app of ours needs time after them, within the grace.
pub(super) fn shutdown(config: &Config) -> ShutdownSettings {
    let mut shutdown = config.shutdown.clone();
    if !config.app.command.is_empty() {
        shutdown.grace = shutdown.grace.saturating_sub(config.app.stop_timeout).max(shutdown.lame_duck);
    }
    shutdown
}

/// Runs the app, if it is ours, until the process may end, which it does last. Returns the exit code.
pub(super) async fn to_the_end(child: Option<Child>, stopping: Stopping, mut stop: watch::Receiver<Stop>) -> u8 {
    let Some(Child { mut supervisor, stop_timeout, .. }) = child else {
        stopping.run(stop).await;
        return 0;
    };
    // What the app leaves behind comes to us, not to a process 1 that may not reap.
    if let Err(error) = set_child_subreaper(Some(getpid())) {
        tracing::warn!(%error, "orphans of the app cannot be reaped");
    }
    let exit = tokio::select! {
        () = stopping.run(stop.clone()) => None,
        exit = supervisor.run() => Some(exit),
    };
    if let Some(exit) = exit {
        stopping.give_up().await;
        return exit.code();
    }
    let now = async {
        let _ = stop.wait_for(|stop| *stop == Stop::Now).await;
    };
    tokio::select! {
        biased;
        () = now => tracing::warn!("told twice: the app is killed"),
        () = supervisor.stop(stop_timeout) => {}
    }
    0
}
