use std::process::ExitCode;
use std::time::Duration;

use hyper::Method;
use hyper::header::{HeaderMap, HeaderValue};
use serde_json::Value;
use tokio::runtime::Builder;

use super::arguments::{Drain, Heartbeat, Maintenance, Reach, Switch};
use super::way::{Way, ask_at, client, through_socket, way};
use super::{print, say};
use crate::admin::{LONGEST_WAIT, Meant, encode};
use crate::config::Sources;
use crate::fetch::{Answer, Question, fetch};

/// How long the process may take to do something that it is to do at once.
const AT_ONCE: Duration = Duration::from_secs(10);

/// How long it may take to read its configuration.
const READING: Duration = Duration::from_secs(40);

/// `pulsegate drain`.
pub(super) fn drain(arguments: &Drain, sources: &Sources) -> ExitCode {
    let begun = ask(&arguments.reach, sources, "/-/drain", AT_ONCE);
    let code = tell(&begun, |answer| format!("draining; requests in flight: {}", answer["in_flight"]));
    if code != ExitCode::SUCCESS || !arguments.wait {
        return code;
    }
    let timeout =
        arguments.timeout.map(|timeout| format!("?timeout={}", encode(&format!("{}ms", timeout.as_millis()))));
    let path = format!("/-/wait-for-drain{}", timeout.unwrap_or_default());
    let patience = arguments.timeout.unwrap_or(LONGEST_WAIT) + AT_ONCE;
    let ended = ask(&arguments.reach, sources, &path, patience);
    tell(&ended, |_| "drained: nothing is in flight".into())
}

/// `pulsegate undrain`.
pub(super) fn undrain(reach: &Reach, sources: &Sources) -> ExitCode {
    tell(&ask(reach, sources, "/-/undrain", AT_ONCE), |_| "in service".into())
}

/// `pulsegate reload`.
pub(super) fn reload(reach: &Reach, sources: &Sources) -> ExitCode {
    tell(&ask(reach, sources, "/-/reload", READING), |answer| {
        let changed: Vec<&str> = answer["changed"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        match changed.as_slice() {
            [] => "reloaded: nothing has changed".into(),
            changed => format!("reloaded: {}", changed.join(", ")),
        }
    })
}

/// `pulsegate maintenance`.
pub(super) fn maintenance(arguments: &Maintenance, sources: &Sources) -> ExitCode {
    let path = match (arguments.switch, &arguments.reason) {
        (Switch::On, None) => "/-/maintenance/on".to_owned(),
        (Switch::On, Some(reason)) => format!("/-/maintenance/on?reason={}", encode(reason)),
        (Switch::Off, _) => "/-/maintenance/off".to_owned(),
    };
    tell(&ask(&arguments.reach, sources, &path, AT_ONCE), |answer| match answer["maintenance"].as_str() {
        Some(reason) => format!("in maintenance: {reason}"),
        None => "in maintenance no more".into(),
    })
}

/// `pulsegate heartbeat`. Says nothing when all is well: scripts call it all the time.
pub(super) fn heartbeat(arguments: &Heartbeat, sources: &Sources) -> ExitCode {
    let path = format!("/-/heartbeat/{}", encode(&arguments.name));
    match ask(&arguments.reach, sources, &path, AT_ONCE) {
        Ok(answer) if answer.status.is_success() => ExitCode::SUCCESS,
        answer => tell(&answer, |_| String::new()),
    }
}

/// Prints what came of it.
fn tell(answer: &Result<Answer, String>, sentence: impl Fn(&Value) -> String) -> ExitCode {
    match answer {
        Ok(answer) => {
            let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
            if answer.status.is_success() {
                print(&(sentence(&body) + "\n"));
                return ExitCode::SUCCESS;
            }
            for problem in body["error"]["problems"].as_array().into_iter().flatten().filter_map(Value::as_str) {
                say(&format!("{problem}\n"));
            }
            let message = match (body["error"]["message"].as_str(), body["lifecycle"].as_str()) {
                (Some(message), _) => message.to_owned(),
                (None, Some(lifecycle)) => format!("{lifecycle}; requests in flight: {}", body["in_flight"]),
                (None, None) => format!("an unexpected answer: {}", answer.status),
            };
            say(&format!("pulsegate: {message}\n"));
        }
        Err(message) => say(&format!("pulsegate: {message}\n")),
    }
    ExitCode::FAILURE
}

fn ask(reach: &Reach, sources: &Sources, path: &str, patience: Duration) -> Result<Answer, String> {
    let (way, meant) = way(reach.socket.as_deref(), sources)?;
    let runtime = Builder::new_current_thread().enable_all().build().map_err(|error| error.to_string())?;
    let (url, certificate) = match &way {
        Way::Port(url, certificate, _) => (url.with_path(path), certificate.as_deref()),
        Way::Socket(_) => (through_socket(path)?, None),
    };
    let mut headers = HeaderMap::new();
    if meant != Meant::default()
        && let Ok(meant) = HeaderValue::try_from(meant.written())
    {
        headers.insert(Meant::FIELD, meant);
    }
    let tls = client(&url, certificate).map_err(|error| error.to_string())?;
    let question = Question { method: Method::POST, url, headers, tls };
    let asking = async {
        match &way {
            Way::Port(url, _, first) => fetch(&question).await.map_err(|error| format!("{first}{url}: {error}")),
            Way::Socket(socket) => ask_at(socket, &question).await,
        }
    };
    runtime.block_on(async {
        match tokio::time::timeout(patience, asking).await {
            Ok(answer) => answer,
            Err(_) => Err(format!("no answer within {}", humantime::format_duration(patience))),
        }
    })
}
