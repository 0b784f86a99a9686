use std::io;

use rustix::process::Signal;
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal as Heard, SignalKind, signal};

use crate::app::{ReloadHandle, SignalHandle, StopHandle};

/// The signals that mean something to a running process, or are no reason for a sudden end.
pub(super) struct Signals {
    runtime: Runtime,
    hang_up: Heard,
    user1: Heard,
    user2: Heard,
    window: Heard,
}

impl Signals {
    /// Keeps those that do not end the process, until somebody listens: who starts it and has it reload at once, or passes
    /// on whatever comes, must not kill it. What means its end is left to the system meanwhile, however long a start takes.
    ///
    /// # Errors
    /// The system refuses what it takes to hear them.
    pub(super) fn keep() -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
        let entered = runtime.enter();
        let (hang_up, window) = (signal(SignalKind::hangup())?, signal(SignalKind::window_change())?);
        // To other servers they mean "reopen the log", "stop" or "upgrade": here nothing.
        let (user1, user2) = (signal(SignalKind::user_defined1())?, signal(SignalKind::user_defined2())?);
        drop(entered);
        Ok(Self { runtime, hang_up, user1, user2, window })
    }

    /// SIGTERM, SIGINT and SIGQUIT stop gracefully, and at once when one comes a second time; SIGHUP reloads. To an app of
    /// ours SIGQUIT and what means nothing to us is passed on, each as often as it comes: what a second one means is the
    /// app's affair. A thread of its own, so that a signal is heard whatever the runtimes do, from before the first of them
    /// turns.
    ///
    /// # Errors
    /// The same.
    pub(super) fn listen(self, stop: StopHandle, reload: ReloadHandle, app: Option<SignalHandle>) -> io::Result<()> {
        let Self { runtime, mut hang_up, mut user1, mut user2, mut window } = self;
        let entered = runtime.enter();
        let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let mut quit = signal(SignalKind::quit())?;
        drop(entered);
        std::thread::Builder::new().name("signals".into()).spawn(move || {
            let pass = |signal| app.as_ref().map(|app| app.pass(signal));
            runtime.block_on(async move {
                loop {
                    tokio::select! {
                        Some(()) = terminate.recv() => stop.stop(),
                        Some(()) = interrupt.recv() => stop.stop(),
                        Some(()) = quit.recv() => pass(Signal::QUIT).unwrap_or_else(|| stop.stop()),
                        Some(()) = hang_up.recv() => {
                            reload.request("SIGHUP");
                            pass(Signal::HUP);
                        }
                        Some(()) = user1.recv() => pass(Signal::USR1).unwrap_or_else(|| means_nothing("SIGUSR1")),
                        Some(()) = user2.recv() => pass(Signal::USR2).unwrap_or_else(|| means_nothing("SIGUSR2")),
                        Some(()) = window.recv() => pass(Signal::WINCH).unwrap_or_default(),
                        else => return,
                    }
                }
            });
        })?;
        Ok(())
    }
}

fn means_nothing(signal: &str) {
    tracing::warn!("{signal} means nothing here");
}
