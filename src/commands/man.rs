use std::io;
use std::path::Path;
use std::process::ExitCode;

use clap::{Command, CommandFactory as _};
use clap_mangen::Man;

use super::arguments::ManPages;
use super::{Arguments, EXIT_USAGE, print, say};
use crate::app::BUILT;
use crate::clock::rfc3339;

/// Prints a manual page, or writes all of them.
pub(super) fn man(arguments: &ManPages) -> ExitCode {
    let mut whole = Arguments::command().disable_help_subcommand(true);
    whole.build();
    if let Some(directory) = &arguments.directory {
        return match write_all(&whole, directory) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                say(&format!("pulsegate: {}: {error}\n", directory.display()));
                ExitCode::FAILURE
            }
        };
    }
    let command = match &arguments.name {
        None => &whole,
        Some(name) => match visible(&whole).find(|command| command.get_name() == name) {
            Some(command) => command,
            None => {
                say(&format!("pulsegate: there is no command {name:?}: see pulsegate --help\n"));
                return ExitCode::from(EXIT_USAGE);
            }
        },
    };
    let mut text = Vec::new();
    // Into memory nothing fails.
    let _ = page(command).render(&mut text);
    print(&String::from_utf8_lossy(&text));
    ExitCode::SUCCESS
}

fn write_all(whole: &Command, directory: &Path) -> io::Result<()> {
    std::fs::create_dir_all(directory)?;
    for command in std::iter::once(whole).chain(visible(whole)) {
        page(command).generate_to(directory)?;
    }
    Ok(())
}

fn visible(whole: &Command) -> impl Iterator<Item = &Command> {
    whole.get_subcommands().filter(|command| !command.is_hide_set())
}

/// A command's page. Its date is that of the revision, so that the same source makes the same page.
fn page(command: &Command) -> Man {
    let date = BUILT.parse().map_or_else(|_| String::new(), rfc3339);
    let date = date.split('T').next().unwrap_or_default();
    Man::new(command.clone()).date(date).source(concat!("pulsegate ", env!("CARGO_PKG_VERSION"))).manual("pulsegate")
}
