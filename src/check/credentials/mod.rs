//! The `credentials` kind: is somebody logged in, and does the login work?
//!
//! Reads the login file and listens to what the traffic says about it. Never changes the login, and by default runs
//! nothing: asking the CLI can make it rewrite the file, and stopping it in the middle can lose the login.

mod command;
mod file;

use std::path::PathBuf;
use std::sync::Arc;

use futures_util::future::BoxFuture;

use self::command::AuthStatus;
use self::file::{LoginState, Reading};
use super::preset::{CLAUDE, Login, Preset};
use super::single::Single;
use super::{Check, Defaults, Kind, Prepare, Resources};
use crate::clock;
use crate::health::{Fact, Facts, Finding, Reason};
use crate::settings::Environment;
use crate::traffic::{Traffic, Verdict};

pub(super) const KIND: Kind = Kind::of::<Credentials>(
    "credentials",
    "Looks whether somebody is logged in, and whether the login works, without ever touching it.",
    Defaults { interval: "30s", timeout: "5s", failure_threshold: "2", on_failure: "unhealthy" },
);

crate::settings! {
    /// Settings of a `credentials` check.
    pub struct Credentials {
        /// Whose login: "claude", "codex", "gemini" or "opencode".
        preset: &'static Preset,
        /// The directory that holds the login's file. Default: where the CLI keeps it, such as $CLAUDE_CONFIG_DIR, else
        /// ~/.claude.
        config_dir: Option<PathBuf>,
        /// "file" reads the file. "command" runs `claude auth status` every 10 minutes, from version 2.1.40 on: it says
        /// only that a credential is there. For "claude" alone.
        mode: Mode = "file",
        /// For "command": the CLI's file.
        cli_path: Option<PathBuf>,
        /// What it means when the traffic shows that the login is refused: "warn", or "fail". Clients that can make the
        /// app answer so can cause it.
        on_rejection: OnRejection = "warn",
    }
}

/// How the login is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Reads the file.
    File,
    /// Runs the CLI.
    Command,
}

/// What a refused login means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnRejection {
    /// Degraded.
    Warn,
    /// A failure.
    Fail,
}

crate::words!(Mode, "\"file\" or \"command\"", {
    "file" => Self::File,
    "command" => Self::Command,
});

crate::words!(OnRejection, "\"warn\" or \"fail\"", {
    "warn" => Self::Warn,
    "fail" => Self::Fail,
});

impl Prepare for Credentials {
    fn prepare(&self, resources: &Resources) -> Result<Box<dyn Check>, String> {
        if self.mode == Mode::Command && self.preset.name != CLAUDE.name {
            return Err(
                "`credentials.mode = \"command\"` is for the preset \"claude\": the others' own words are worth \
                        nothing, or tell a key's ends"
                    .into(),
            );
        }
        let check = CredentialsCheck {
            settings: self.clone(),
            resources: resources.clone(),
            look: Single::default(),
            status: AuthStatus::default(),
        };
        Ok(Box::new(check))
    }
}

struct CredentialsCheck {
    settings: Credentials,
    resources: Resources,
    look: Single<Reading>,
    status: AuthStatus,
}

impl Check for CredentialsCheck {
    fn run(&mut self) -> BoxFuture<'_, Finding> {
        Box::pin(async {
            let reading = match (from_environment(self.login(), &self.resources.environment), self.settings.mode) {
                (Some(reading), _) => reading,
                (None, Mode::Command) => self.status.ask(&self.resources, &self.settings).await,
                (None, Mode::File) => {
                    let (login, directory, resources) = (self.login(), self.directory(), self.resources.clone());
                    self.look.run(move || from_file(login, directory, &resources)).await
                }
            };
            self.judge(reading, &self.resources.traffic)
        })
    }

    /// A file system that does not answer says nothing about the login.
    fn timed_out(&self) -> Finding {
        let reason = Reason::new("login_timed_out", format!("{} login could not be read in time", self.label()));
        Finding::inconclusive(reason, Facts::default())
    }
}

impl CredentialsCheck {
    fn label(&self) -> &'static str {
        self.settings.preset.label
    }

    fn login(&self) -> &'static Login {
        &self.settings.preset.login
    }

    fn directory(&self) -> Option<PathBuf> {
        let configured = self.settings.config_dir.clone();
        configured.or_else(|| self.login().directory(&self.resources.environment))
    }

    fn judge(&self, reading: Reading, traffic: &Arc<Traffic>) -> Finding {
        // A verdict about an older file says nothing about the one that is there now.
        let current = |verdict: &Verdict| reading.written.is_none_or(|written| verdict.at >= written);
        let verdict = traffic.login.verdict().filter(|verdict| self.login().witnessed && current(verdict));
        let mut facts = Facts::default();
        facts.public("logged_in", reading.state.logged_in());
        facts.public("state", reading.state.word());
        facts.public("method", reading.method);
        facts.public("expires", reading.expires.map_or(Fact::Null, Fact::Time));
        facts.public("verified", verdict.map(|verdict| verdict.accepted));
        facts.public("verified_at", verdict.map_or(Fact::Null, |verdict| Fact::Time(verdict.at.as_secs())));

        let label = self.label();
        let failed = || format!("{label} authentication failed");
        let rejected = verdict.is_some_and(|verdict| !verdict.accepted);
        let (reason, make): (_, fn(Reason, Facts) -> Finding) = match reading.state {
            LoginState::Valid | LoginState::Refreshable | LoginState::Expiring if rejected => {
                let reason = Reason::new("login_rejected", format!("{label} login is refused upstream"));
                let fail = self.settings.on_rejection == OnRejection::Fail;
                (reason, if fail { Finding::fail } else { Finding::warn })
            }
            LoginState::Valid | LoginState::Refreshable => return Finding::pass(facts),
            LoginState::Expiring => {
                (Reason::new("login_expiring", format!("{label} login expires soon")), Finding::warn)
            }
            LoginState::Expired => (Reason::new("login_expired", failed()), Finding::fail),
            LoginState::LoggedOut => (Reason::new("not_authenticated", failed()), Finding::fail),
            LoginState::Unreadable => {
                (Reason::new("login_unreadable", format!("{label} login cannot be read")), Finding::fail)
            }
            LoginState::Malformed => {
                (Reason::new("login_malformed", format!("{label} login file is damaged")), Finding::fail)
            }
            LoginState::NotVisible => {
                let public = format!(
                    "{label} login is not visible from here: mount the directory that holds {} read-only into the \
                     sidecar and set `credentials.config_dir`",
                    self.login().file
                );
                (Reason::new("login_not_visible", public), Finding::inconclusive)
            }
            LoginState::Unknown => {
                let public = format!("{label} login could not be asked for");
                (Reason::new("login_unknown", public), Finding::inconclusive)
            }
        };
        let reason = match reading.private {
            Some(private) => reason.with_private(private),
            None => reason,
        };
        make(reason, facts)
    }
}

/// The ways that go by environment variables come before the file, as in the CLI itself.
fn from_environment(login: &Login, environment: &Environment) -> Option<Reading> {
    let method = login.way(environment)?;
    Some(Reading { method: Some(method), ..Reading::of(LoginState::Valid) })
}

fn from_file(login: &Login, directory: Option<PathBuf>, resources: &Resources) -> Reading {
    let Some(directory) = directory else {
        return Reading::of(LoginState::NotVisible);
    };
    let reading = file::read(login, &directory.join(login.file), clock::unix());
    // In a container a directory that is not there at all stands in the other one.
    let nothing = reading.state == LoginState::LoggedOut && resources.in_container() && !directory.exists();
    if nothing { Reading::of(LoginState::NotVisible) } else { reading }
}
