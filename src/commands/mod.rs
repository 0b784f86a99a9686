//! What the command line can do, one file each.

mod arguments;
mod check;
mod completions;
mod config;
mod control;
mod copy;
mod demo;
mod man;
mod manifest;
mod probe;
mod run;
mod schema;
mod signals;
mod validate;
mod way;

use std::fmt::Write as _;
use std::io;
use std::panic::PanicHookInfo;
use std::process::ExitCode;

use self::arguments::Run;
pub use self::arguments::{Arguments, Command};
pub use self::signals::Signals;
use crate::config::{Config, Sources};
use crate::journal::journal;
use crate::settings::{Environment, Problem};
use crate::supervise::become_the_app;

/// The process's environment and arguments were wrong, or an address was taken.
pub const EXIT_USAGE: u8 = 2;

/// Does what the arguments say. `environment` is the process's, captured once; `signals` are kept already, where that cannot
/// wait.
#[must_use]
pub fn dispatch(arguments: Arguments, environment: Environment, signals: Option<io::Result<Signals>>) -> ExitCode {
    if let Some(Command::BecomeTheApp(helper)) = &arguments.command {
        let (sentence, code) = become_the_app(helper.parent, helper.soft_files, &helper.argv);
        say(&sentence);
        return ExitCode::from(code);
    }
    hush_panics(|place| say(&format!("pulsegate: a defect: panicked at {place}\n")));
    let sources = arguments.sources(environment);
    let code = match arguments.command.unwrap_or(Command::Run(Run::default())) {
        Command::Run(_) | Command::BecomeTheApp(_) => run::run(&sources, signals),
        Command::Validate(_) => validate::validate(&sources),
        Command::Check => check::check(&sources),
        Command::Probe(probe) => probe::probe(&probe, &sources),
        Command::Drain(drain) => control::drain(&drain, &sources),
        Command::Undrain(reach) => control::undrain(&reach, &sources),
        Command::Reload(reach) => control::reload(&reach, &sources),
        Command::Maintenance(maintenance) => control::maintenance(&maintenance, &sources),
        Command::Heartbeat(heartbeat) => control::heartbeat(&heartbeat, &sources),
        Command::Config => config::config(&sources),
        Command::Schema => schema::schema(),
        Command::Manifest(arguments) => manifest::manifest(&arguments, &sources),
        Command::Completions(completions) => completions::completions(&completions),
        Command::Man(pages) => man::man(&pages),
        Command::Copy(arguments) => copy::copy(&arguments),
        Command::Demo(demo) => demo::demo(&demo, sources, signals),
    };
    journal().flush();
    code
}

/// From now on a panic says where it happened and nothing else: its message may hold anything that a request, a file or
/// another program's answer held.
pub fn hush_panics(tell: impl Fn(&str) + Send + Sync + 'static) {
    let place = |panic: &PanicHookInfo<'_>| panic.location().map_or_else(|| "?".to_owned(), ToString::to_string);
    std::panic::set_hook(Box::new(move |panic| tell(&place(panic))));
}

/// Loads the configuration, or says everything that is wrong with it.
fn load(sources: &Sources) -> Result<Config, ExitCode> {
    Config::load(sources).map_err(|problems| {
        say_problems(&problems);
        ExitCode::from(EXIT_USAGE)
    })
}

fn say_problems(problems: &[Problem]) {
    let mut text = String::new();
    for problem in problems {
        let _ = writeln!(text, "{problem}");
    }
    let count = problems.len();
    let _ = writeln!(text, "pulsegate: {count} problem{} in the configuration", if count == 1 { "" } else { "s" });
    say(&text);
}

/// Writes to standard error, behind what was logged before; there is nobody to tell when that fails.
fn say(text: &str) {
    use std::io::Write as _;
    journal().flush();
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

/// Writes to standard output; a reader that has closed it has seen enough.
fn print(text: &str) {
    use std::io::Write as _;
    let mut out = io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}
