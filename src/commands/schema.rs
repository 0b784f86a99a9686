use std::process::ExitCode;

use super::print;

/// Prints the schema of the configuration.
pub(super) fn schema() -> ExitCode {
    print(&format!("{:#}\n", crate::config::schema()));
    ExitCode::SUCCESS
}
