//! The `pulsegate` program: arguments in, exit code out.

use std::process::ExitCode;

use clap::Parser as _;
use pulsegate::commands::{Arguments, Signals, dispatch};
use pulsegate::settings::Environment;

#[expect(clippy::disallowed_methods, reason = "this is where the environment is captured")]
fn main() -> ExitCode {
    // Before anything that takes time.
    let signals = Signals::of_first_process();
    // What is not UTF-8 cannot be a setting.
    let variables =
        std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let environment: Environment = variables.collect();
    dispatch(Arguments::parse(), environment, signals)
}
