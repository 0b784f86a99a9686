use std::io::{self, IsTerminal as _};
use std::process::ExitCode;

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt as _;

use super::signals::Signals;
use super::{EXIT_USAGE, load, say};
use crate::app::{App, REVISION, SetLevel, StartError, VERSION};
use crate::config::{Config, LogFormat, LogSettings, Overlooked, Sources};
use crate::journal::{Lines, journal};
use crate::server::BindError;
use crate::settings::Address;

/// Runs the sidecar until a signal stops it.
pub(super) fn run(sources: &Sources, signals: Option<io::Result<Signals>>) -> ExitCode {
    // Before anything that takes time.
    let signals = signals.unwrap_or_else(Signals::keep);
    let config = match load(sources) {
        Ok(config) => config,
        Err(code) => return code,
    };
    let (json, level) = init_log(&config.log);
    for Overlooked { variable, meant } in sources.overlooked() {
        tracing::warn!(variable, meant, "a variable sets nothing: a dot of a path is two underscores");
    }
    match signals.map_err(StartError::Runtime).and_then(|signals| serve(config, sources, level, signals)) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            say_start_error(&error, json);
            ExitCode::from(match error {
                StartError::Runtime(_) => 1,
                StartError::Launch(error) => error.code(),
                _ => EXIT_USAGE,
            })
        }
    }
}

/// Each connection needs a file descriptor or two, and the usual soft limit of 1024 is long past being useful: what the
/// system allows is taken. Returns what it was before.
fn raise_file_limit() -> Option<u64> {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    let before = limit.current;
    limit.current = limit.maximum;
    // With the lower limit accepting pauses when it is reached, and says so.
    let _ = setrlimit(Resource::Nofile, limit);
    before
}

fn serve(config: Config, sources: &Sources, level: SetLevel, signals: Signals) -> Result<u8, StartError> {
    let soft_files = raise_file_limit();
    let upstream = config.proxy.upstream.to_string();
    let app = App::bind(config)?.with_level(level).with_soft_files(soft_files);
    let heard = signals.listen(app.stop_handle(), app.reload_handle(), app.signal_handle());
    heard.map_err(StartError::Runtime)?;
    let listen: Vec<String> = app.traffic_addresses().iter().map(Address::to_string).collect();
    let admin = app.admin_address().map_or_else(|| "off".to_owned(), |address| address.to_string());
    let control = app.control_address().map_or_else(|| "off".to_owned(), |address| address.to_string());
    let file =
        sources.file.as_ref().map_or_else(|| "none, the preset alone".to_owned(), |file| file.display().to_string());
    app.run(|| {
        tracing::info!(
            version = VERSION,
            revision = REVISION,
            listen = listen.join(", "),
            admin,
            control,
            upstream,
            config = file,
            "started"
        );
    })
}

/// What is logged. Not what the HTTP/2 library says: a client could make it write a line for each of its frames, with what
/// stood in them.
fn filter(level: tracing::Level) -> Targets {
    Targets::new().with_default(level).with_target("h2", LevelFilter::OFF)
}

/// Starts the log on standard error; tells whether it is JSON, and what changes its level.
pub(super) fn init_log(settings: &LogSettings) -> (bool, SetLevel) {
    let terminal = io::stderr().is_terminal();
    let json = match settings.format {
        LogFormat::Json => true,
        LogFormat::Text => false,
        LogFormat::Auto => !terminal,
    };
    journal().start(json);
    let (layer, handle) = reload::Layer::new(filter(settings.level.0));
    let log = tracing_subscriber::fmt::layer().with_target(false).with_writer(|| Lines);
    let filtered = tracing_subscriber::registry().with(layer);
    // Fails only when a log has been started before, as tests do.
    let _ = if json {
        filtered.with(log.json().flatten_event(true)).try_init()
    } else {
        filtered.with(log.with_ansi(terminal)).try_init()
    };
    let level = SetLevel::new(move |level| {
        // Fails only when the log is gone, and then nobody is told anything.
        let _ = handle.reload(filter(level));
    });
    super::hush_panics(|place| tracing::error!(place, "a defect: panicked"));
    (json, level)
}

/// For machines the body that the Claude proxy's page shows, for people a sentence with the remedy.
fn say_start_error(error: &StartError, json: bool) {
    let taken = match error {
        StartError::Bind(BindError::Taken(Address::Ip(address))) => Some(address),
        _ => None,
    };
    let text = match (taken, json) {
        (Some(address), true) => serde_json::json!({
            "status": "unhealthy",
            "error": error.to_string(),
            "details": { "port": address.port(), "host": address.ip().to_string() },
        })
        .to_string(),
        (Some(address), false) => format!(
            "pulsegate: {error} on {}: stop what listens there, or choose another with --port or PORT (--admin-listen for the management port)",
            address.ip()
        ),
        (None, true) => serde_json::json!({ "status": "error", "error": error.to_string() }).to_string(),
        (None, false) => format!("pulsegate: {error}"),
    };
    say(&(text + "\n"));
}
