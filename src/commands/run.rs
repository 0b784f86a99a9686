use std::io::IsTerminal as _;
use std::process::ExitCode;

use rustix::process::Signal;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt as _;

use super::{EXIT_USAGE, load, say};
use crate::app::{App, REVISION, ReloadHandle, SetLevel, SignalHandle, StartError, StopHandle, VERSION};
use crate::config::{Config, LogFormat, LogSettings, Overlooked, Sources};
use crate::journal::{Lines, journal};
use crate::server::BindError;
use crate::settings::Address;

/// Runs the sidecar until a signal stops it.
pub(super) fn run(sources: &Sources) -> ExitCode {
    let config = match load(sources) {
        Ok(config) => config,
        Err(code) => return code,
    };
    let (json, level) = init_log(&config.log);
    for Overlooked { variable, meant } in sources.overlooked() {
        tracing::warn!(variable, meant, "a variable sets nothing: a dot of a path is two underscores");
    }
    match serve(config, sources, level) {
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

fn serve(config: Config, sources: &Sources, level: SetLevel) -> Result<u8, StartError> {
    let soft_files = raise_file_limit();
    let upstream = config.proxy.upstream.to_string();
    let app = App::bind(config)?.with_level(level).with_soft_files(soft_files);
    let signals = listen_for_signals(app.stop_handle(), app.reload_handle(), app.signal_handle());
    signals.map_err(StartError::Runtime)?;
    let listen: Vec<String> = app.traffic_addresses().iter().map(Address::to_string).collect();
    let admin = app.admin_address().map_or_else(|| "off".to_owned(), |address| address.to_string());
    let control = app.control_address().map_or_else(|| "off".to_owned(), |address| address.to_string());
    let file =
        sources.file.as_ref().map_or_else(|| "none, the preset alone".to_owned(), |file| file.display().to_string());
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
    app.run()
}

/// SIGTERM, SIGINT and SIGQUIT stop gracefully, and at once when one comes a second time; SIGHUP reloads. To an app of ours
/// SIGQUIT and what means nothing to us is passed on, each as often as it comes: what a second one means is the app's
/// affair. A thread of its own, so that a signal is heard whatever the runtimes
/// do, from before the first of them turns.
pub(super) fn listen_for_signals(
    stop: StopHandle,
    reload: ReloadHandle,
    app: Option<SignalHandle>,
) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let entered = runtime.enter();
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let (mut quit, mut hang_up) = (signal(SignalKind::quit())?, signal(SignalKind::hangup())?);
    // To other servers they mean "reopen the log", "stop" or "upgrade": here nothing, and certainly not a sudden end.
    let (mut user1, mut user2) = (signal(SignalKind::user_defined1())?, signal(SignalKind::user_defined2())?);
    let mut window = signal(SignalKind::window_change())?;
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

fn means_nothing(signal: &str) {
    tracing::warn!("{signal} means nothing here");
}

/// What is logged. Not what the HTTP/2 library says: a client could make it write a line for each of its frames, with what
/// stood in them.
fn filter(level: tracing::Level) -> Targets {
    Targets::new().with_default(level).with_target("h2", LevelFilter::OFF)
}

/// Starts the log on standard error; tells whether it is JSON, and what changes its level.
pub(super) fn init_log(settings: &LogSettings) -> (bool, SetLevel) {
    let terminal = std::io::stderr().is_terminal();
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
