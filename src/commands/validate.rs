use std::process::ExitCode;

use super::{load, print, say};
use crate::config::Sources;

/// Reads the configuration and prepares every check, without binding or asking anything.
pub(super) fn validate(sources: &Sources) -> ExitCode {
    let config = match load(sources) {
        Ok(config) => config,
        Err(code) => return code,
    };
    for note in &config.notes {
        say(&format!("not looked at: {note}\n"));
    }
    let (checks, endpoints) = (config.checks.len(), config.endpoints.len());
    print(&format!("the configuration is valid: {checks} checks, {endpoints} endpoints\n"));
    match config.notes.len() {
        0 => {}
        1 => print("1 thing was not looked at, as what it needs is not on this machine\n"),
        count => print(&format!("{count} things were not looked at, as what they need is not on this machine\n")),
    }
    ExitCode::SUCCESS
}
