use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use hyper::Method;
use hyper::header::HeaderMap;
use serde_json::Value;
use tokio::runtime::Builder;

use super::arguments::{Drain, Heartbeat, Maintenance, Reach, Switch};
use super::probe::{base_of, client};
use super::{print, say};
use crate::admin::{AdminListen, ControlSocket, LONGEST_WAIT, Place, encode};
use crate::config::{Config, Sources};
use crate::fetch::{Answer, Question, fetch, fetch_through};
use crate::loopback::connect_unix;
use crate::settings::Url;

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

/// A way to a running process.
enum Way {
    File(PathBuf),
    Name(String),
    /// With the certificate that is served there, and what is said first if it does not answer.
    Port(Url, Option<PathBuf>, &'static str),
}

fn ask(reach: &Reach, sources: &Sources, path: &str, patience: Duration) -> Result<Answer, String> {
    let way = way(reach, sources)?;
    let runtime = Builder::new_current_thread().enable_all().build().map_err(|error| error.to_string())?;
    let url = match &way {
        Way::Port(url, ..) => url.with_path(path),
        Way::File(_) | Way::Name(_) => {
            Url::parse("http://pulsegate").map(|url| url.with_path(path)).ok_or("an impossible path")?
        }
    };
    let certificate = match &way {
        Way::Port(_, certificate, _) => certificate.as_deref(),
        Way::File(_) | Way::Name(_) => None,
    };
    let tls = client(&url, certificate).map_err(|error| error.to_string())?;
    let question = Question { method: Method::POST, url, headers: HeaderMap::new(), tls };
    let asking = async {
        match &way {
            Way::Port(url, _, first) => fetch(&question).await.map_err(|error| format!("{first}{url}: {error}")),
            Way::File(file) => ask_at(file, &file.display().to_string(), &question).await,
            // As the kernel writes it.
            Way::Name(name) => ask_at(Path::new(&format!("\0{name}")), &format!("@{name}"), &question).await,
        }
    };
    runtime.block_on(async {
        match tokio::time::timeout(patience, asking).await {
            Ok(answer) => answer,
            Err(_) => Err(format!("no answer within {}", humantime::format_duration(patience))),
        }
    })
}

async fn ask_at(socket: &Path, shown: &str, question: &Question) -> Result<Answer, String> {
    let stream = connect_unix(socket).await.map_err(|error| format!("nothing answers at {shown}: {error}"))?;
    fetch_through(stream, question).await.map_err(|error| format!("{shown}: {error}"))
}

/// The control socket that a flag names; the management port that a flag names; the control socket of the configuration;
/// else the only one that can be found, if none was named; else the configuration's management port.
fn way(reach: &Reach, sources: &Sources) -> Result<Way, String> {
    if let Some(socket) = &reach.socket {
        // As the log says it, and as people say it.
        let socket = socket.strip_prefix("unix:").unwrap_or(socket);
        return Ok(match socket.strip_prefix('@') {
            Some(name) => Way::Name(name.to_owned()),
            None => Way::File(socket.into()),
        });
    }
    // A configuration that is wrong by now is the running process's business.
    let config = Config::load(sources).ok();
    let port = |first| {
        let admin = &config.as_ref()?.admin;
        let (AdminListen(Some(address)), certificate) = (&admin.listen, &admin.tls.cert) else { return None };
        base_of(address, certificate.is_some()).map(|url| Way::Port(url, certificate.clone(), first))
    };
    // Whoever names a port means what listens there, not another one that happens to be found.
    if sources.flags.iter().any(|flag| flag.path == "admin.listen")
        && let Some(port) = port("")
    {
        return Ok(port);
    }
    if let Some(ControlSocket::Path(path)) = config.as_ref().map(|config| &config.control.socket) {
        return Ok(Way::File(path.clone()));
    }
    let mut found = running();
    if let Some(config) = &config {
        found = meant(&found, config.place(), sources);
    }
    match found.as_slice() {
        [name] => Ok(Way::Name(name.clone())),
        [] => port("no running pulsegate was found, nor at its management port: ")
            .ok_or_else(|| "no running pulsegate was found: name its control socket with --socket".into()),
        several => {
            let names: Vec<String> = several.iter().map(|name| format!("--socket @{name}")).collect();
            let how = "the --port, --config or --admin-listen that it was started with, or with one of";
            Err(format!("several pulsegates run here: name one with {how}\n  {}", names.join("\n  ")))
        }
    }
}

/// Those of the control sockets that are meant. Whoever names a file or a port means the process that was started with it,
/// and no other that happens to run; of several, unnamed, it is the one with the same of both.
fn meant(found: &[String], ours: Place, sources: &Sources) -> Vec<String> {
    let names_file = sources.file.is_some();
    let names_port = sources.flags.iter().any(|flag| matches!(flag.path.as_str(), "proxy.listen" | "proxy.port"));
    let fitting = |file: bool, listen: bool| -> Vec<String> {
        let fits = |place: Place| (!file || place.file == ours.file) && (!listen || place.listen == ours.listen);
        found.iter().filter(|name| Place::of_control_name(name).is_some_and(fits)).cloned().collect()
    };
    let named = fitting(names_file, names_port);
    let same = if named.len() > 1 { fitting(true, true) } else { Vec::new() };
    if same.is_empty() { named } else { same }
}

/// The control sockets without a file that this user may use: all that listen.
fn running() -> Vec<String> {
    let sockets = std::fs::read_to_string("/proc/net/unix").unwrap_or_default();
    let ours = control_name_of_user();
    let listening = sockets.lines().filter_map(|line| {
        let mut parts = line.split_ascii_whitespace();
        // Flags with __SO_ACCEPTCON: a listener, not one of its connections.
        let listens = parts.nth(3)? == "00010000";
        let name = parts.next_back()?.strip_prefix('@')?;
        (listens && name.starts_with(&ours)).then(|| name.to_owned())
    });
    let mut names: Vec<String> = listening.collect();
    names.sort();
    names.dedup();
    names
}

/// What the names of this user's processes begin with; the administrator's are everybody's.
fn control_name_of_user() -> String {
    let user = rustix::process::geteuid().as_raw();
    if user == 0 { "pulsegate-control-".into() } else { format!("pulsegate-control-{user}-") }
}
