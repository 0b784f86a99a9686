use std::process::ExitCode;
use std::sync::Arc;

use super::{EXIT_USAGE, load, print, say_problems};
use crate::app::plan;
use crate::check::{Pulse, Resources};
use crate::config::Sources;
use crate::traffic::Traffic;

/// Reads the configuration and prepares every check, without binding or asking anything.
pub(super) fn validate(sources: &Sources) -> ExitCode {
    let config = match load(sources) {
        Ok(config) => config,
        Err(code) => return code,
    };
    let upstream = config.proxy.upstream.0.clone();
    let resources = Resources::new(Arc::new(Traffic::new(1)), upstream, config.environment.clone());
    match plan(&config, &resources, &Pulse::new(0)) {
        Ok(_) => {
            let (checks, endpoints) = (config.checks.len(), config.endpoints.len());
            print(&format!("the configuration is valid: {checks} checks, {endpoints} endpoints\n"));
            ExitCode::SUCCESS
        }
        Err(problems) => {
            say_problems(&problems);
            ExitCode::from(EXIT_USAGE)
        }
    }
}
