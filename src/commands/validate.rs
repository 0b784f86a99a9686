use std::process::ExitCode;

use super::{load, print, say};
use crate::config::{Overlooked, Sources};

/// Reads the configuration and prepares every check, without binding or asking anything.
pub(super) fn validate(sources: &Sources) -> ExitCode {
    let config = match load(sources) {
        Ok(config) => config,
        Err(code) => return code,
    };
    for Overlooked { variable, meant } in sources.overlooked() {
        say(&format!("environment variable {variable} sets nothing; did you mean {meant}?\n"));
    }
    for note in &config.notes {
        say(&format!("not looked at: {note}\n"));
    }
    let (checks, endpoints) = (config.checks.len(), config.endpoints.len());
    let s = |count| if count == 1 { "" } else { "s" };
    print(&format!("the configuration is valid: {checks} check{}, {endpoints} endpoint{}\n", s(checks), s(endpoints)));
    match config.notes.len() {
        0 => {}
        1 => print("1 thing was not looked at, as what it needs is not on this machine\n"),
        count => print(&format!("{count} things were not looked at, as what they need is not on this machine\n")),
    }
    ExitCode::SUCCESS
}
