use std::process::ExitCode;

use super::{load, print};
use crate::config::Sources;

/// Reads the configuration and prepares every check, without binding or asking anything.
pub(super) fn validate(sources: &Sources) -> ExitCode {
    let config = match load(sources) {
        Ok(config) => config,
        Err(code) => return code,
    };
    let (checks, endpoints) = (config.checks.len(), config.endpoints.len());
    print(&format!("the configuration is valid: {checks} checks, {endpoints} endpoints\n"));
    ExitCode::SUCCESS
}
