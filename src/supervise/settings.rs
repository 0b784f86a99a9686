use std::path::PathBuf;
use std::time::Duration;

use rustix::process::Signal;

use crate::settings::{Argv, TextMap};

crate::settings! {
    /// The app, where it is started by us.
    pub struct AppSettings {
        /// The program and its arguments. `run -- COMMAND` goes before it. Without one, somebody else starts the app.
        command: Argv = "[]",
        /// When it is started again after it has ended by itself: "always", "on-failure", "never".
        restart: Restart = "on-failure",
        /// Before the first restart; doubled with each further one.
        backoff: Duration = "200ms",
        /// The longest pause.
        max_backoff: Duration = "30s",
        /// Once it has run for so long, the next end is a first one again.
        stable_after: Duration = "30s",
        /// Restarts in a row, after which we end with the app's exit code; 0: no limit.
        max_restarts: u32 = "0",
        /// What tells it to stop.
        stop_signal: StopSignal = "SIGTERM",
        /// How long it may take to stop. The time is kept for it at the end of `shutdown.grace`.
        stop_timeout: Duration = "5s",
        /// Whether SIGHUP, which has us read our configuration anew, is passed on too.
        pass_sighup: bool = "false",
        /// Where it runs. Default: where we run.
        directory: Option<PathBuf>,
        /// Variables beside ours, or in place of them.
        environment: TextMap = "{}",
    }
}

/// When the app is started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restart {
    /// However it ended.
    Always,
    /// If it ended with another code than 0, or by a signal.
    OnFailure,
    /// Not at all.
    Never,
}

crate::words!(Restart, "\"always\", \"on-failure\" or \"never\"", {
    "always" => Self::Always,
    "on-failure" => Self::OnFailure,
    "never" => Self::Never,
});

/// A signal that tells the app to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StopSignal(pub Signal);

crate::words!(StopSignal, "\"SIGTERM\", \"SIGINT\" or \"SIGQUIT\"", {
    "SIGTERM" => Self(Signal::TERM),
    "SIGINT" => Self(Signal::INT),
    "SIGQUIT" => Self(Signal::QUIT),
});
