use std::io;

use rustix::process::Signal;
use tokio::runtime::{Handle, Runtime};
use tokio::signal::unix::{Signal as Heard, SignalKind, signal};
use tokio::sync::oneshot;

use crate::app::{ReloadHandle, SignalHandle, StopHandle};

/// The signals that mean something to a running process, or are no reason for a sudden end. A thread of its own hears them,
/// whatever the runtimes do.
#[derive(Debug)]
pub struct Signals {
    handle: Handle,
    listener: oneshot::Sender<Listener>,
    /// Whether those that end the process are heard already.
    hears_ends: bool,
}

/// What means the end.
#[derive(Debug)]
struct Ends {
    terminate: Heard,
    interrupt: Heard,
    quit: Heard,
}

/// What means no end, and must not be one.
struct Others {
    hang_up: Heard,
    user1: Heard,
    user2: Heard,
    window: Heard,
}

/// Who is told of them.
#[derive(Debug)]
struct Listener {
    stop: StopHandle,
    reload: ReloadHandle,
    app: Option<SignalHandle>,
    ends: Option<Ends>,
}

impl Signals {
    /// As the first thing of a process that is the first of its container, whatever it is to do: there the kernel drops what
    /// nobody hears, and who stops a container during its start would wait until it is killed. `None` elsewhere.
    #[must_use]
    pub fn of_first_process() -> Option<io::Result<Self>> {
        (std::process::id() == 1).then(|| Self::hear(true))
    }

    /// Keeps those that do not end the process, until somebody listens: who starts it and has it reload at once, or passes
    /// on whatever comes, must not kill it. What means its end is left to the system meanwhile, however long a start takes.
    ///
    /// # Errors
    /// The system refuses what it takes to hear them.
    pub(super) fn keep() -> io::Result<Self> {
        Self::hear(false)
    }

    fn hear(hears_ends: bool) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
        let (listener, listening) = oneshot::channel();
        let handle = runtime.handle().clone();
        let entered = handle.enter();
        let ends = hears_ends.then(Ends::hear).transpose()?;
        let others = Others::hear()?;
        drop(entered);
        std::thread::Builder::new().name("signals".into()).spawn(move || pass_on(&runtime, ends, others, listening))?;
        Ok(Self { handle, listener, hears_ends })
    }

    /// SIGTERM, SIGINT and SIGQUIT stop gracefully, and at once when one comes a second time; SIGHUP reloads. To an app of
    /// ours SIGQUIT and what means nothing to us is passed on, each as often as it comes: what a second one means is the
    /// app's affair.
    ///
    /// # Errors
    /// The same.
    pub(super) fn listen(self, stop: StopHandle, reload: ReloadHandle, app: Option<SignalHandle>) -> io::Result<()> {
        let Self { handle, listener, hears_ends } = self;
        let entered = handle.enter();
        let ends = (!hears_ends).then(Ends::hear).transpose()?;
        drop(entered);
        // The thread waits for nothing else.
        let _ = listener.send(Listener { stop, reload, app, ends });
        Ok(())
    }
}

impl Ends {
    fn hear() -> io::Result<Self> {
        let (terminate, interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        Ok(Self { terminate, interrupt, quit: signal(SignalKind::quit())? })
    }

    async fn next(&mut self) -> Signal {
        tokio::select! {
            Some(()) = self.terminate.recv() => Signal::TERM,
            Some(()) = self.interrupt.recv() => Signal::INT,
            Some(()) = self.quit.recv() => Signal::QUIT,
            else => std::future::pending().await,
        }
    }
}

impl Others {
    fn hear() -> io::Result<Self> {
        let (hang_up, window) = (signal(SignalKind::hangup())?, signal(SignalKind::window_change())?);
        // To other servers they mean "reopen the log", "stop" or "upgrade": here nothing.
        let (user1, user2) = (signal(SignalKind::user_defined1())?, signal(SignalKind::user_defined2())?);
        Ok(Self { hang_up, user1, user2, window })
    }

    async fn next(&mut self) -> Signal {
        tokio::select! {
            Some(()) = self.hang_up.recv() => Signal::HUP,
            Some(()) = self.user1.recv() => Signal::USR1,
            Some(()) = self.user2.recv() => Signal::USR2,
            Some(()) = self.window.recv() => Signal::WINCH,
            else => std::future::pending().await,
        }
    }
}

fn pass_on(runtime: &Runtime, ends: Option<Ends>, mut others: Others, listening: oneshot::Receiver<Listener>) {
    runtime.block_on(async move {
        let Some((listener, mut ends)) = until_somebody_listens(ends, listening).await else { return };
        let pass = |signal| listener.app.as_ref().map(|app| app.pass(signal));
        loop {
            tokio::select! {
                signal = ends.next() => match signal {
                    Signal::QUIT => pass(Signal::QUIT).unwrap_or_else(|| listener.stop.stop()),
                    _ => listener.stop.stop(),
                },
                signal = others.next() => match signal {
                    Signal::HUP => {
                        listener.reload.request("SIGHUP");
                        pass(Signal::HUP);
                    }
                    Signal::WINCH => pass(Signal::WINCH).unwrap_or_default(),
                    Signal::USR1 => pass(Signal::USR1).unwrap_or_else(|| means_nothing("SIGUSR1")),
                    _ => pass(signal).unwrap_or_else(|| means_nothing("SIGUSR2")),
                },
            }
        }
    });
}

/// `None`: nobody ever will.
async fn until_somebody_listens(
    ends: Option<Ends>,
    listening: oneshot::Receiver<Listener>,
) -> Option<(Listener, Ends)> {
    let Some(mut ends) = ends else {
        let mut listener = listening.await.ok()?;
        let ends = listener.ends.take()?;
        return Some((listener, ends));
    };
    tokio::select! {
        listener = listening => Some((listener.ok()?, ends)),
        signal = ends.next() => end_by(signal),
    }
}

/// As the system would have ended it, were it not the first process, and with what a shell makes of that. It has begun
/// nothing that would have to be brought to an end.
#[expect(clippy::disallowed_methods, clippy::exit, reason = "the main thread may wait for a file that never comes")]
fn end_by(signal: Signal) -> ! {
    std::process::exit(128 + signal.as_raw())
}

fn means_nothing(signal: &str) {
    tracing::warn!("{signal} means nothing here");
}
