use std::process::ExitCode;

use clap::{Command, CommandFactory as _};

use super::arguments::{Completions, VERSION};
use super::{Arguments, print};

/// Prints what a shell reads to complete the command line.
pub(super) fn completions(arguments: &Completions) -> ExitCode {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut visible(), "pulsegate", &mut script);
    print(&String::from_utf8_lossy(&script));
    ExitCode::SUCCESS
}

/// The command line without what is hidden: the generator would offer that too.
fn visible() -> Command {
    let whole = Arguments::command();
    let commands = whole.get_subcommands().filter(|command| !command.is_hide_set()).cloned();
    Command::new("pulsegate").version(VERSION).args(whole.get_arguments().cloned()).subcommands(commands)
}
