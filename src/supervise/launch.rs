use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io::IsTerminal as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use rustix::process::{Pid, Resource, Signal, getppid, getrlimit, set_parent_process_death_signal, setrlimit};
use tokio::process::Command;

use super::AppSettings;
use super::exit::{NOT_EXECUTABLE, NOT_FOUND};
use crate::settings::{Environment, Scheme, Url};

/// The hidden command as which a child of ours begins, before it becomes the app: what must be done between the two
/// cannot be done by us in safe Rust.
pub const HELPER: &str = "become-the-app";

/// Our own program, also when its file has been replaced since.
const OURSELVES: &str = "/proc/self/exe";

/// What a service manager says to us, not to our app: that would answer in our place.
const OUR_MANAGERS: [&str; 3] = ["NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC"];

/// How the app is started.
#[derive(Clone, Debug)]
pub struct Launch {
    argv: Vec<String>,
    directory: Option<PathBuf>,
    /// Changes to our own environment; without a value a variable is taken away.
    environment: Vec<(String, Option<String>)>,
    /// The soft limit of open files that we had before we raised it: some programs look at every number below it.
    soft_files: Option<u64>,
}

/// Why there is nothing to start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LaunchError {
    /// No such program.
    NotFound(String),
    /// It is there, and may not be run, or is no file.
    NotExecutable(PathBuf),
    /// No such directory to run it in.
    NoDirectory(PathBuf),
    /// No `/proc`, by which we find ourselves to begin the app with.
    NoProc,
}

impl LaunchError {
    /// The exit code that shells give for it, or 1.
    #[must_use]
    pub fn code(&self) -> u8 {
        match self {
            Self::NotFound(_) => NOT_FOUND,
            Self::NotExecutable(_) | Self::NoDirectory(_) => NOT_EXECUTABLE,
            // It is not about the command.
            Self::NoProc => 1,
        }
    }
}

impl fmt::Display for LaunchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound(program) if program.contains('/') => {
                write!(f, "cannot start the app: there is no {program}")
            }
            Self::NotFound(program) => write!(f, "cannot start the app: {program} is not in any directory of PATH"),
            Self::NotExecutable(path) => {
                write!(f, "cannot start the app: {} cannot be executed: is it a program, and may we?", path.display())
            }
            Self::NoDirectory(path) => {
                write!(f, "cannot start the app: there is no directory {} to run it in (app.directory)", path.display())
            }
            Self::NoProc => write!(
                f,
                "cannot start the app: there is no {OURSELVES}, which pulsegate begins it with: mount proc at /proc, or \
                 start the app yourself, and pulsegate without `run -- COMMAND`"
            ),
        }
    }
}

impl std::error::Error for LaunchError {}

impl Launch {
    /// How to start the app of these settings; `None`: somebody else does.
    ///
    /// # Errors
    /// There is no such program, or no `/proc`.
    pub fn new(settings: &AppSettings, upstream: &Url, environment: &Environment) -> Result<Option<Self>, LaunchError> {
        let Some(program) = settings.command.first() else { return Ok(None) };
        let changed = |name: &str| {
            let found = settings.environment.0.iter().find(|(known, _)| known == name);
            found.map(|(_, value)| value.as_str())
        };
        let path = changed("PATH").or_else(|| environment.get("PATH")).unwrap_or(DEFAULT_PATH);
        find(program, path, settings.directory.as_deref())?;
        if Path::new(OURSELVES).symlink_metadata().is_err() {
            return Err(LaunchError::NoProc);
        }
        // Our PORT is where clients come in; the app's is where we look for it.
        let port = (!matches!(upstream.scheme, Scheme::Unix(_))).then(|| upstream.port.to_string());
        let mut variables = vec![("PORT".to_owned(), port)];
        variables.extend(OUR_MANAGERS.map(|name| (name.to_owned(), None)));
        variables.extend(settings.environment.0.iter().map(|(name, value)| (name.clone(), Some(value.clone()))));
        Ok(Some(Self {
            argv: settings.command.0.clone(),
            directory: settings.directory.clone(),
            environment: variables,
            soft_files: None,
        }))
    }

    /// With this soft limit of open files in place of ours.
    #[must_use]
    pub fn with_soft_files(self, soft_files: Option<u64>) -> Self {
        Self { soft_files, ..self }
    }

    /// The program's name, for logs: arguments may hold anything.
    #[must_use]
    pub fn program(&self) -> &str {
        self.argv.first().map_or("", String::as_str)
    }

    pub(super) fn command(&self) -> Command {
        let mut command = Command::new(OURSELVES);
        command.arg(HELPER).arg(std::process::id().to_string());
        command.arg(self.soft_files.unwrap_or(0).to_string()).arg("--").args(&self.argv);
        for (name, value) in &self.environment {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        if let Some(directory) = &self.directory {
            command.current_dir(directory);
        }
        // In a group of its own it would be stopped for reading from the terminal.
        if std::io::stdin().is_terminal() {
            command.stdin(Stdio::null());
        }
        command.process_group(0).kill_on_drop(true);
        command
    }
}

/// Where programs are when nobody says where to look.
const DEFAULT_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// Looks for a program as `execvp` does.
fn find(program: &str, path: &str, directory: Option<&Path>) -> Result<(), LaunchError> {
    if let Some(directory) = directory.filter(|directory| !directory.is_dir()) {
        return Err(LaunchError::NoDirectory(directory.to_owned()));
    }
    let base = directory.unwrap_or(Path::new(""));
    let is_program = |file: &Path| {
        let metadata = std::fs::metadata(file).ok()?;
        Some(metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
    };
    if program.contains('/') {
        let file = base.join(program);
        return match is_program(&file) {
            Some(true) => Ok(()),
            Some(false) => Err(LaunchError::NotExecutable(file)),
            None => Err(LaunchError::NotFound(program.to_owned())),
        };
    }
    let mut there = None;
    for file in path.split(':').map(|directory| base.join(directory).join(program)) {
        match is_program(&file) {
            Some(true) => return Ok(()),
            Some(false) => there = there.or(Some(file)),
            None => {}
        }
    }
    Err(there.map_or_else(|| LaunchError::NotFound(program.to_owned()), LaunchError::NotExecutable))
}

/// The child's side: dies with its parent from here on, and becomes the app. Returns only if it cannot, with the sentence
/// and the exit code.
#[must_use]
pub fn become_the_app(parent: u32, soft_files: u64, argv: &[OsString]) -> (String, u8) {
    let said = |code, what: String| (format!("pulsegate: cannot start the app: {what}\n"), code);
    // Kept over the exec. Not even a SIGKILL of the sidecar leaves the app behind, to hold the port against the next one.
    if let Err(error) = set_parent_process_death_signal(Some(Signal::KILL)) {
        return said(NOT_EXECUTABLE, error.to_string());
    }
    let is_parent = |pid: Pid| u32::try_from(pid.as_raw_nonzero().get()) == Ok(parent);
    if !getppid().is_some_and(is_parent) {
        return said(NOT_EXECUTABLE, "the sidecar has ended".into());
    }
    if soft_files > 0 {
        let mut limit = getrlimit(Resource::Nofile);
        limit.current = Some(soft_files);
        let _ = setrlimit(Resource::Nofile, limit);
    }
    let Some((program, arguments)) = argv.split_first() else {
        return said(NOT_FOUND, "no command".into());
    };
    let error = std::process::Command::new(program).args(arguments).exec();
    let code = if error.kind() == std::io::ErrorKind::NotFound { NOT_FOUND } else { NOT_EXECUTABLE };
    said(code, format!("{}: {error}", Path::new(OsStr::new(program)).display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_looked_for_as_the_system_does() {
        let home = tempfile::tempdir().expect("a directory");
        let file = home.path().join("program");
        std::fs::write(&file, "").expect("a file");
        let path = format!("/nowhere:{}", home.path().display());
        assert_eq!(find("program", &path, None), Err(LaunchError::NotExecutable(file.clone())));
        assert_eq!(find("other", &path, None), Err(LaunchError::NotFound("other".into())));
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).expect("permissions");
        assert_eq!(find("program", &path, None), Ok(()));
        assert_eq!(find("./program", "", Some(home.path())), Ok(()));
        assert!(find("./program", "", None).is_err());
        assert_eq!(find("program", &path, Some(&file)), Err(LaunchError::NoDirectory(file.clone())));
        assert_eq!(find("/", "", None), Err(LaunchError::NotExecutable("/".into())));
        assert_eq!((LaunchError::NotFound("x".into()).code(), LaunchError::NotExecutable(file).code()), (127, 126));
    }
}
