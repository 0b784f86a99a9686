//! The `demo` command: a sample app and the sidecar before it in one process, with a tour of what to try.

mod app;
mod tour;

use std::io;
use std::process::ExitCode;

use super::arguments::Demo;
use super::run::init_log;
use super::signals::Signals;
use super::{print, say};
use crate::app::App;
use crate::config::{Flag, Sources};
use crate::settings::Address;

/// Starts the sample app and a sidecar before it, tours what there is to see, and stays up.
pub(super) fn demo(arguments: &Demo, sources: Sources, signals: Option<io::Result<Signals>>) -> ExitCode {
    let sample = match app::Sample::start() {
        Ok(sample) => sample,
        Err(error) => {
            say(&format!("pulsegate: the sample app cannot start: {error}\n"));
            return ExitCode::FAILURE;
        }
    };
    let sources = with_demo_settings(sources, sample.port());
    let config = match super::load(&sources) {
        Ok(config) => config,
        Err(code) => return code,
    };
    init_log(&config.log);
    let app = match App::bind(config) {
        Ok(app) => app,
        Err(error) => {
            say(&format!("pulsegate: {error}\nChoose other ports with --port and --admin-listen.\n"));
            return ExitCode::from(super::EXIT_USAGE);
        }
    };
    let signals = signals.unwrap_or_else(Signals::keep);
    let heard = signals.and_then(|signals| signals.listen(app.stop_handle(), app.reload_handle(), app.signal_handle()));
    if let Err(error) = heard {
        say(&format!("pulsegate: {error}\n"));
        return ExitCode::FAILURE;
    }
    let stop = app.stop_handle();
    let board = app.board();
    let base = match app.traffic_addresses().first() {
        Some(Address::Ip(address)) => format!("http://{address}"),
        _ => return ExitCode::FAILURE,
    };
    let once = arguments.once;
    let toured = std::thread::Builder::new().name("tour".into()).spawn(move || {
        let outcome = tour::tour(&base, sample.port(), &board);
        if let Err(problem) = &outcome {
            say(&format!("\nThe tour stopped: {problem}\n"));
        }
        if once || outcome.is_err() {
            stop.stop_now();
        } else {
            print(&tour::to_try(&base, sample.port()));
        }
        // The sample app lives as long as the sidecar.
        (outcome.is_ok(), sample)
    });
    let Ok(toured) = toured else {
        return ExitCode::FAILURE;
    };
    if let Err(error) = app.run(|| {}) {
        say(&format!("pulsegate: {error}\n"));
        return ExitCode::FAILURE;
    }
    let fine = toured.is_finished() && toured.join().is_ok_and(|(fine, _)| fine);
    if fine || !once { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The preset before the sample app, quick enough to watch. What the user sets goes before all of it.
///
/// The Claude CLI and its login are shown and do not weigh in: a machine without them must not see a demo that is red
/// for ever.
fn with_demo_settings(mut sources: Sources, app_port: u16) -> Sources {
    let defaults = [
        ("proxy.upstream", format!("http://127.0.0.1:{app_port}")),
        ("proxy.listen", "127.0.0.1:8000".into()),
        ("log.level", "error".into()),
        ("log.format", "text".into()),
        ("checks.claude_cli.on_failure", "ignore".into()),
        ("checks.authentication.on_failure", "ignore".into()),
        ("checks.api_server.http.path", "/health".into()),
        ("checks.api_server.http.expect_status", "200".into()),
        ("checks.api_server.interval", "1s".into()),
        ("checks.api_server.failure_threshold", "2".into()),
        ("checks.traffic.interval", "1s".into()),
        ("checks.traffic.traffic.window", "10s".into()),
        ("shutdown.lame_duck", "0".into()),
    ];
    sources.defaults =
        defaults.into_iter().map(|(path, value)| Flag { name: "demo".into(), path: path.into(), value }).collect();
    sources
}

#[cfg(test)]
mod tests {
    use super::with_demo_settings;
    use crate::config::{Config, Sources};

    #[test]
    fn the_demos_settings_are_valid() {
        Config::load(&with_demo_settings(Sources::default(), 1)).expect("valid");
    }
}
