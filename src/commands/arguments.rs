use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};
use clap_complete::Shell;

use crate::config::{Flag, Sources};
use crate::settings::Environment;
use crate::supervise::HELPER;

/// A reverse-proxy sidecar that makes an app's health trustworthy.
///
/// It stands in front of one app, forwards its traffic, and answers /health, /health/detailed, /metrics, /livez, /readyz
/// and /startupz itself. Without a command it runs.
#[derive(Debug, Parser)]
#[command(name = "pulsegate", version = VERSION, max_term_width = 100, after_help = AFTER_HELP)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Option<Command>,
    #[command(flatten)]
    settings: SettingFlags,
}

pub(super) const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (", env!("PULSEGATE_REVISION"), ")");

const AFTER_HELP: &str = "\
Every setting can also come from the environment: PULSEGATE_PROXY__UPSTREAM=http://127.0.0.1:8080 is
proxy.upstream. PORT is the port of proxy.listen, CLAUDE_CLI_PATH the path of the Claude CLI.
Flags go before the environment, the environment before the file, the file before the preset.

Exit codes: 0 all is well, 1 a check or a probe says no, 2 wrong arguments, a wrong configuration or a taken port;
of run -- COMMAND also the app's own when it has ended and is not started again, 126 and 127 when it cannot be run.";

/// What can be done.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the sidecar (the default); after --, start this app too.
    Run(Run),
    /// Read the configuration, prepare every check, and say everything that is wrong.
    Validate(Validate),
    /// Ask each check once and print a table; exit code 1 if one that matters fails or cannot tell.
    Check,
    /// Ask an endpoint; exit code 0 if it answers 2xx. For HEALTHCHECK and images without a shell.
    Probe(Probe),
    /// Take the running sidecar out of service: not ready, answers close connections; it goes on accepting and running.
    Drain(Drain),
    /// Take it back into service.
    Undrain(Reach),
    /// Have it read its configuration, keys and certificates anew: all of it, or nothing.
    Reload(Reach),
    /// Have it say that it is not ready, for a reason, while everything else goes on.
    Maintenance(Maintenance),
    /// Tell it, for the app, that the app is alive: for a check of kind heartbeat.
    Heartbeat(Heartbeat),
    /// Print the effective configuration and where each value comes from, secrets masked.
    Config,
    /// Print the configuration's shape as JSON Schema, for editors and generators.
    Schema,
    /// Print what a pod in Kubernetes needs for the sidecar, as YAML.
    Manifest(Manifest),
    /// Print what a shell needs to complete this command line.
    Completions(Completions),
    /// Print a manual page, for man -l; or write all of them.
    Man(ManPages),
    /// Put this program into a folder, as pulsegate: for an init container, before an app in another image.
    Copy(Copy),
    /// Start a sample app and a sidecar before it, and show what there is to see.
    Demo(Demo),
    /// What a child of ours does before it is the app.
    #[command(name = HELPER, hide = true)]
    BecomeTheApp(BecomeTheApp),
}

/// Arguments of `run`.
#[derive(Args, Debug, Default)]
pub struct Run {
    /// The app: it is started, watched, started again when it fails, and stopped last
    #[arg(last = true, value_name = "COMMAND")]
    pub app: Vec<String>,
}

/// Arguments of the hidden helper.
#[derive(Args, Debug)]
pub struct BecomeTheApp {
    /// Who started it
    pub parent: u32,
    /// Its soft limit of open files; 0: as it is
    pub soft_files: u64,
    /// The app
    #[arg(last = true)]
    pub argv: Vec<OsString>,
}

/// Arguments of `validate`.
#[derive(Args, Debug)]
pub struct Validate {
    /// On another machine than it will run on: secrets, keys and certificates that are not here are noted, not wrong
    #[arg(long)]
    pub offline: bool,
}

/// Arguments of `probe`.
#[derive(Args, Debug)]
pub struct Probe {
    /// A URL, or a path of the management port. Default: /readyz
    pub target: Option<String>,
    /// How long to wait for the answer
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = humantime::parse_duration)]
    pub timeout: Duration,
}

/// Which running sidecar.
#[derive(Args, Debug)]
pub struct Reach {
    /// Its control socket: a path, or @NAME as its log names it. Default: what --admin-listen or control.socket names,
    /// or the one that is found
    #[arg(long, value_name = "SOCKET", value_hint = ValueHint::FilePath)]
    pub socket: Option<String>,
}

/// Arguments of `drain`.
#[derive(Args, Debug)]
pub struct Drain {
    #[command(flatten)]
    pub(super) reach: Reach,
    /// Wait until the lame duck is over and nothing is in flight
    #[arg(long)]
    pub wait: bool,
    /// Wait no longer than this. Default: shutdown.grace
    #[arg(long, value_name = "DURATION", requires = "wait", value_parser = humantime::parse_duration)]
    pub timeout: Option<Duration>,
}

/// Arguments of `maintenance`.
#[derive(Args, Debug)]
pub struct Maintenance {
    /// Whether it is to be in maintenance
    #[arg(value_enum, value_name = "on|off", hide_possible_values = true)]
    pub switch: Switch,
    /// Why, in one line: whoever can read /readyz can read it
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    #[command(flatten)]
    pub(super) reach: Reach,
}

/// On or off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Switch {
    /// On.
    On,
    /// Off.
    Off,
}

/// Arguments of `heartbeat`.
#[derive(Args, Debug)]
pub struct Heartbeat {
    /// The name of the check
    pub name: String,
    #[command(flatten)]
    pub(super) reach: Reach,
}

/// Arguments of `manifest`.
#[derive(Args, Debug)]
#[command(
    group = clap::ArgGroup::new("mode").required(true),
    after_help = "The settings are those of a sidecar that runs here: manifest takes none of them.",
)]
pub struct Manifest {
    /// As an init container that goes on running: Kubernetes 1.29 or newer
    #[arg(long, group = "mode")]
    pub native: bool,
    /// As an ordinary container beside the app's
    #[arg(long, group = "mode")]
    pub classic: bool,
    /// What the objects are named after
    #[arg(long, value_name = "NAME", default_value = "app")]
    pub name: String,
    /// The app's image
    #[arg(long, value_name = "IMAGE", default_value = "example.org/app:1")]
    pub app_image: String,
    /// Where the app listens
    #[arg(long, value_name = "PORT", default_value = "8080", value_parser = clap::value_parser!(u16).range(1..))]
    pub app_port: u16,
    /// pulsegate's image. None is published: it is one that you built. Default: pulsegate and this version
    #[arg(long, value_name = "IMAGE")]
    pub image: Option<String>,
    /// Where traffic comes in
    #[arg(long, value_name = "PORT", default_value = "8000", value_parser = clap::value_parser!(u16).range(1..))]
    pub traffic_port: u16,
    /// The management port, for probes and Prometheus
    #[arg(long, value_name = "PORT", default_value = "9000", value_parser = clap::value_parser!(u16).range(1..))]
    pub admin_port: u16,
}

/// Arguments of `completions`.
#[derive(Args, Debug)]
pub struct Completions {
    /// The shell: bash, elvish, fish, powershell or zsh
    #[arg(hide_possible_values = true)]
    pub shell: Shell,
}

/// Arguments of `man`.
#[derive(Args, Debug)]
pub struct ManPages {
    /// The command whose page it is. Default: the program's own
    #[arg(value_name = "COMMAND")]
    pub name: Option<String>,
    /// Write every page into this folder
    #[arg(long, value_name = "DIR", conflicts_with = "name", value_hint = ValueHint::DirPath)]
    pub directory: Option<PathBuf>,
}

/// Arguments of `copy`.
#[derive(Args, Debug)]
pub struct Copy {
    /// Where to
    #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub folder: PathBuf,
}

/// Arguments of `demo`.
#[derive(Args, Debug)]
pub struct Demo {
    /// End after the tour in place of staying up
    #[arg(long)]
    pub once: bool,
}

#[derive(Args, Debug)]
#[command(next_help_heading = "Settings")]
struct SettingFlags {
    /// The configuration file (also PULSEGATE_CONFIG); without one, the preset alone
    #[arg(short, long, global = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    config: Option<PathBuf>,
    /// "claude-proxy" (the default) or "none"
    #[arg(long, global = true, value_name = "NAME")]
    preset: Option<String>,
    /// The app, such as http://127.0.0.1:8080
    #[arg(long, global = true, value_name = "URL")]
    upstream: Option<String>,
    /// Where traffic comes in, such as 0.0.0.0:8000
    #[arg(long, global = true, value_name = "ADDRESS")]
    listen: Option<String>,
    /// The port that traffic comes in at
    #[arg(short, long, global = true, value_name = "PORT")]
    port: Option<String>,
    /// Where the management port listens, or "off"
    #[arg(long, global = true, value_name = "ADDRESS")]
    admin_listen: Option<String>,
    /// error, warn, info, debug or trace
    #[arg(long, global = true, value_name = "LEVEL")]
    log_level: Option<String>,
    /// auto, text or json
    #[arg(long, global = true, value_name = "FORMAT")]
    log_format: Option<String>,
    /// Any setting, such as --set checks.api_server.interval=2s; repeatable
    #[arg(long, global = true, value_name = "PATH=VALUE", value_parser = path_and_value)]
    set: Vec<(String, String)>,
}

fn path_and_value(text: &str) -> Result<(String, String), String> {
    let (path, value) = text.split_once('=').ok_or("write PATH=VALUE")?;
    if path.is_empty() { Err("write PATH=VALUE".into()) } else { Ok((path.to_owned(), value.to_owned())) }
}

impl Arguments {
    /// Where the configuration comes from.
    #[must_use]
    pub fn sources(&self, environment: Environment) -> Sources {
        let settings = &self.settings;
        let named = [
            ("--preset", "preset", &settings.preset),
            ("--upstream", "proxy.upstream", &settings.upstream),
            ("--listen", "proxy.listen", &settings.listen),
            ("--port", "proxy.port", &settings.port),
            ("--admin-listen", "admin.listen", &settings.admin_listen),
            ("--log-level", "log.level", &settings.log_level),
            ("--log-format", "log.format", &settings.log_format),
        ];
        let mut flags: Vec<Flag> = named
            .into_iter()
            .filter_map(|(name, path, value)| {
                Some(Flag { name: name.into(), path: path.into(), value: value.clone()? })
            })
            .collect();
        if let Some(Command::Run(Run { app })) = &self.command
            && !app.is_empty()
        {
            flags.push(Flag { name: "run --".into(), path: "app.command".into(), value: toml_list(app) });
        }
        flags.extend(settings.set.iter().map(|(path, value)| Flag {
            name: format!("--set {path}"),
            path: path.clone(),
            value: value.clone(),
        }));
        let file = settings.config.clone().or_else(|| environment.get("PULSEGATE_CONFIG").map(PathBuf::from));
        let offline = matches!(self.command, Some(Command::Validate(Validate { offline: true })));
        Sources { file, environment, defaults: Vec::new(), flags, offline }
    }
}

/// A list of texts in TOML's notation. JSON's is the same, but for DEL, which TOML wants escaped.
fn toml_list(texts: &[String]) -> String {
    let texts: Vec<String> = texts
        .iter()
        .map(|text| serde_json::Value::from(text.as_str()).to_string().replace('\u{7f}', "\\u007F"))
        .collect();
    format!("[{}]", texts.join(", "))
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::Arguments;
    use crate::config::Config;
    use crate::settings::Environment;

    #[test]
    fn the_app_is_taken_word_by_word() {
        let odd = ["a b", "\"quoted\" \\", "ünï", "\u{7f}\t\u{1}", "--port", "5", "", "[1]", "${X}"];
        let line = ["pulsegate", "run", "--preset", "none", "--"].into_iter().chain(odd);
        let arguments = Arguments::parse_from(line);
        let config = Config::load(&arguments.sources(Environment::default())).expect("valid");
        assert_eq!(config.app.command.0, odd);
    }

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory as _;
        Arguments::command().debug_assert();
    }
}
