use std::fmt::Write as _;
use std::process::ExitCode;

use super::{load, print};
use crate::config::Sources;

/// The widest value that still has its origin on the same column as the others'.
const WIDEST: usize = 64;

/// Prints the effective configuration.
pub(super) fn config(sources: &Sources) -> ExitCode {
    let config = match load(sources) {
        Ok(config) => config,
        Err(code) => return code,
    };
    let lines: Vec<(String, String)> =
        config.dump().into_iter().map(|line| (format!("{} = {}", line.path, line.value), line.origin)).collect();
    let width = lines.iter().map(|(line, _)| line.chars().count()).filter(|width| *width <= WIDEST).max().unwrap_or(0);
    let mut text = String::new();
    for (line, origin) in lines {
        let _ = writeln!(text, "{line:width$}  # {origin}");
    }
    print(&text);
    ExitCode::SUCCESS
}
