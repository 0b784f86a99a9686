use std::path::Path;
use std::process::ExitCode;
use std::{fs, io};

use super::arguments::Copy;
use super::say;

/// Puts this program into a folder, as `pulsegate`.
pub(super) fn copy(arguments: &Copy) -> ExitCode {
    match put_into(&arguments.folder) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("pulsegate: it cannot be copied into {}: {error}\n", arguments.folder.display()));
            ExitCode::FAILURE
        }
    }
}

/// By a new name first: one that is there already may be running, and then nobody may write to it.
fn put_into(folder: &Path) -> io::Result<()> {
    let ready = folder.join("pulsegate");
    let half = folder.join(".pulsegate.new");
    let copied =
        std::env::current_exe().and_then(|program| fs::copy(program, &half)).and_then(|_| fs::rename(&half, &ready));
    if copied.is_err() {
        let _ = fs::remove_file(&half);
    }
    copied
}
