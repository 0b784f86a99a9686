use std::fmt;
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;

/// How the app ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// By itself, with this code.
    Code(u8),
    /// By a signal.
    Signal(i32),
    /// It was never started: the system refuses a process.
    NotStarted,
}

/// What shells give for a command that is not there.
pub(super) const NOT_FOUND: u8 = 127;
/// What shells give for a command that is there and cannot be run.
pub(super) const NOT_EXECUTABLE: u8 = 126;

impl Exit {
    pub(super) fn of(status: ExitStatus) -> Self {
        match (status.code(), status.signal()) {
            (Some(code), _) => Self::Code(u8::try_from(code).unwrap_or(u8::MAX)),
            (None, signal) => Self::Signal(signal.unwrap_or(0)),
        }
    }

    /// The exit code that says the same: 128 and the signal's number for a signal, as shells have it.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Code(code) => code,
            Self::Signal(signal) => u8::try_from(signal).map_or(u8::MAX, |signal| signal.saturating_add(128)),
            Self::NotStarted => NOT_EXECUTABLE,
        }
    }

    /// Whether the app says that all went well.
    #[must_use]
    pub fn is_success(self) -> bool {
        self == Self::Code(0)
    }

    /// Whether the shell's convention says that there was nothing to run.
    pub(super) fn is_no_command(self) -> bool {
        matches!(self, Self::Code(NOT_FOUND | NOT_EXECUTABLE))
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |signal| match signal {
            1 => "SIGHUP",
            2 => "SIGINT",
            3 => "SIGQUIT",
            4 => "SIGILL",
            6 => "SIGABRT",
            7 => "SIGBUS",
            8 => "SIGFPE",
            9 => "SIGKILL",
            11 => "SIGSEGV",
            13 => "SIGPIPE",
            15 => "SIGTERM",
            _ => "",
        };
        match *self {
            Self::Code(code) => write!(f, "exit code {code}"),
            Self::Signal(signal) if name(signal).is_empty() => write!(f, "signal {signal}"),
            Self::Signal(signal) => write!(f, "{}", name(signal)),
            Self::NotStarted => f.write_str("no process: the system refuses one"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_said_as_shells_say_it() {
        assert_eq!((Exit::Code(3).code(), Exit::Signal(9).code(), Exit::NotStarted.code()), (3, 137, 126));
        assert_eq!(Exit::of(ExitStatus::from_raw(3 << 8)), Exit::Code(3));
        assert_eq!(Exit::of(ExitStatus::from_raw(15)), Exit::Signal(15));
        assert_eq!(Exit::Signal(15).to_string(), "SIGTERM");
        assert_eq!(Exit::Signal(40).to_string(), "signal 40");
    }
}
