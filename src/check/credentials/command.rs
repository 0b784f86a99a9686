use std::time::Duration;

use serde::Deserialize;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::super::Resources;
use super::super::cli::{Place, Presence, Version, locate, run_version};
use super::super::preset::CLAUDE;
use super::super::subprocess::Subprocess;
use super::Credentials;
use super::file::{LoginState, Reading};

/// Before this version `claude auth status` is a prompt that is sent to the model and billed.
const FIRST_FREE: Version = Version([2, 1, 40]);

/// How often the command is run; between two runs its last answer stands.
const INTERVAL: Duration = Duration::from_secs(600);

/// No signal is sent before this: killing the CLI while it refreshes loses the login.
const PATIENCE: Duration = Duration::from_secs(30);

/// Asks the CLI itself, as the configuration may choose. It runs as a task of its own, so that the check's timeout
/// gives up waiting but never kills it.
#[derive(Default)]
pub(super) struct AuthStatus {
    running: Option<JoinHandle<Reading>>,
    last: Option<(Reading, Instant)>,
}

impl AuthStatus {
    #[expect(clippy::disallowed_methods, reason = "kept, awaited and aborted by this value")]
    pub(super) async fn ask(&mut self, resources: &Resources, settings: &Credentials) -> Reading {
        if let Some((reading, at)) = &self.last
            && at.elapsed() < INTERVAL
        {
            return reading.clone();
        }
        let running = self.running.get_or_insert_with(|| {
            let (resources, settings) = (resources.clone(), settings.clone());
            tokio::spawn(async move { auth_status(&resources, &settings).await })
        });
        let reading = running.await.unwrap_or_else(|_| Reading::of(LoginState::Unknown));
        self.running = None;
        // What was not found out is asked again soon; an answer stands for a while.
        if reading.state != LoginState::Unknown {
            self.last = Some((reading.clone(), Instant::now()));
        }
        reading
    }
}

impl Drop for AuthStatus {
    fn drop(&mut self) {
        if let Some(running) = &self.running {
            running.abort();
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    logged_in: bool,
}

async fn auth_status(resources: &Resources, settings: &Credentials) -> Reading {
    let unknown = |why: String| Reading { private: Some(why), ..Reading::of(LoginState::Unknown) };
    let located = locate(&CLAUDE, CLAUDE.command, settings.cli_path.as_deref(), &Place::own(&resources.environment));
    let Presence::Found { path, .. } = located.presence else {
        return unknown("the CLI that would be asked is not there".into());
    };
    match run_version(&CLAUDE, &path, resources).await {
        Ok(version) if version >= FIRST_FREE => {}
        Ok(version) => {
            return unknown(format!("version {version} would send a billed prompt: {FIRST_FREE} is needed"));
        }
        Err(reason) => return unknown(reason.public.into_owned()),
    }
    let mut process = Subprocess::new(path, "/".into(), &resources.environment);
    process.arguments.extend(["auth", "status", "--json"].map(Into::into));
    for name in ["HOME", "CLAUDE_CONFIG_DIR"] {
        process.environment.extend(resources.environment.get(name).map(|value| (name.into(), value.into())));
    }
    if let Some(directory) = &settings.config_dir {
        process.environment.push(("CLAUDE_CONFIG_DIR".into(), directory.display().to_string()));
    }
    process.environment.extend(CLAUDE.quiet.iter().map(|(name, value)| ((*name).into(), (*value).into())));
    // Nothing listens there: no refresh can happen, so nothing can be written and no login lost.
    for name in ["HTTPS_PROXY", "HTTP_PROXY", "https_proxy", "http_proxy", "ALL_PROXY"] {
        process.environment.push((name.into(), "http://127.0.0.1:9".into()));
    }
    process.environment.extend(["NO_PROXY", "no_proxy"].map(|name| (name.into(), String::new())));
    match resources.processes.run(Box::pin(tokio::time::timeout(PATIENCE, process.run()))).await {
        Ok(Ok(output)) => match serde_json::from_slice::<Status>(&output.stdout) {
            Ok(Status { logged_in: true }) => Reading { method: Some("command"), ..Reading::of(LoginState::Valid) },
            Ok(Status { logged_in: false }) => Reading::of(LoginState::LoggedOut),
            Err(_) => unknown("it printed no status".into()),
        },
        Ok(Err(error)) => unknown(error.to_string()),
        Err(_) => unknown("it took longer than 30 s".into()),
    }
}
