//! The `cli` kind: is the program there, does it run, is it new enough?
//!
//! A `stat` each time; its `--version` is run only when the file has changed or the last answer is old, in a process group
//! of its own. What cannot be seen from this container is never called missing.

mod locate;
mod place;
mod version;

use std::path::PathBuf;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::time::Instant;

pub(crate) use self::locate::{Located, Presence, Stamp, locate};
pub(crate) use self::place::Place;
pub(crate) use self::version::Version;
use super::preset::Preset;
use super::single::Single;
use super::subprocess::{Output, Subprocess};
use super::{Check, Defaults, Kind, Prepare, Resources, failed, not_asked};
use crate::health::{Facts, Finding, Reason};
use crate::settings::{Node, Problems, Scheme, Setting};
use crate::shortage::is_ours;

pub(super) const KIND: Kind = Kind::of::<Cli>(
    "cli",
    "Looks whether a CLI is installed, runs, and is new enough.",
    Defaults { interval: "30s", timeout: "10s", failure_threshold: "2", on_failure: "unhealthy" },
);

crate::settings! {
    /// Settings of a `cli` check.
    pub struct Cli {
        /// Which CLI: "claude", "codex", "gemini" or "opencode".
        preset: &'static Preset,
        /// The file. With a path nothing else is searched. Default: PATH, ~/.local/bin, /usr/local/bin, /usr/bin,
        /// node_modules/.bin, the copy in the Python SDK.
        path: Option<PathBuf>,
        /// An older version is a failure: "2.1.40".
        min_version: Option<Version>,
        /// "command" runs `--version`; "package.json" reads the version and runs nothing.
        version_from: VersionFrom = "command",
        /// How often the version is asked for while the file stays the same.
        version_interval: Duration = "5m",
        /// "self": this container. "upstream": the container of the process that listens on the app's port, through a
        /// shared process namespace; nothing is run there.
        through: Through = "self",
    }
}

/// How the version is found out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum VersionFrom {
    /// By running `--version`.
    Command,
    /// By reading `package.json`.
    PackageJson,
}

/// Whose file system is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Through {
    /// Our own.
    Own,
    /// That of the process that listens on the app's port.
    Upstream,
}

crate::words!(VersionFrom, "\"command\" or \"package.json\"", {
    "command" => Self::Command,
    "package.json" => Self::PackageJson,
});

crate::words!(Through, "\"self\" or \"upstream\"", {
    "self" => Self::Own,
    "upstream" => Self::Upstream,
});

impl Setting for Version {
    const EXPECTS: &'static str = "a version such as \"2.1.40\"";
    const SHAPE: crate::settings::Shape = crate::settings::Shape::Text;

    fn read(node: &Node, path: &str, problems: &Problems) -> Option<Self> {
        let text = String::read(node, path, problems)?;
        let version = Self::find(&text).filter(|version| version.to_string() == text);
        if version.is_none() {
            problems.add(&node.origin, format!("`{path}` must be {}", Self::EXPECTS));
        }
        version
    }
}

impl Prepare for Cli {
    fn asks_the_app(&self) -> bool {
        self.through == Through::Upstream
    }

    fn prepare(&self, resources: &Resources) -> Result<Box<dyn Check>, String> {
        if self.through == Through::Upstream && resources.upstream.scheme != Scheme::Http {
            return Err("`cli.through = \"upstream\"` finds the app by its port: the upstream must be http://".into());
        }
        let check = CliCheck {
            settings: self.clone(),
            resources: resources.clone(),
            look: Single::default(),
            beside: Single::default(),
            known: None,
        };
        Ok(Box::new(check))
    }
}

struct CliCheck {
    settings: Cli,
    resources: Resources,
    look: Single<Result<(Located, Place), String>>,
    beside: Single<Option<Version>>,
    known: Option<Known>,
}

/// A version that was found out before.
struct Known {
    path: PathBuf,
    stamp: Stamp,
    version: Version,
    at: Instant,
}

impl Check for CliCheck {
    fn run(&mut self) -> BoxFuture<'_, Finding> {
        Box::pin(async {
            let (settings, port) = (self.settings.clone(), self.resources.upstream.port);
            let environment = self.resources.environment.clone();
            let looked = self
                .look
                .run(move || {
                    let place = match settings.through {
                        Through::Own => Place::own(&environment),
                        Through::Upstream => Place::of_listener(port)?,
                    };
                    let preset = settings.preset;
                    let located = locate(preset, preset.command, settings.path.as_deref(), &place);
                    Ok((located, place))
                })
                .await;
            match looked {
                Ok((located, place)) => self.judge(located, &place).await,
                Err(remedy) => self.not_visible(&remedy, Facts::default()),
            }
        })
    }

    /// A CLI that is slow to start says something about the host, not about the CLI.
    fn timed_out(&self) -> Finding {
        let reason = Reason::new("cli_timed_out", format!("{} did not start in time", self.settings.preset.label));
        Finding::inconclusive(reason, Facts::default())
    }
}

impl CliCheck {
    async fn judge(&mut self, located: Located, place: &Place) -> Finding {
        let label = self.settings.preset.label;
        let mut facts = Facts::default();
        match located.presence {
            Presence::Missing => self.missing(located.searched, facts),
            Presence::NotExecutable { path, why } => {
                facts.public("path", path.display().to_string());
                let reason = Reason::new("cli_not_executable", format!("{label} not available: {why}"));
                Finding::fail(reason.with_private(path.display().to_string()), facts)
            }
            Presence::Found { path, stamp } => {
                facts.public("path", path.display().to_string());
                match self.version(&path, stamp, place).await {
                    Ok(version) => {
                        facts.public("version", version.to_string());
                        match self.settings.min_version {
                            Some(wanted) if version < wanted => {
                                let public = format!("{label} {version} is too old: {wanted} is needed");
                                Finding::fail(Reason::new("cli_too_old", public), facts)
                            }
                            _ => Finding::pass(facts),
                        }
                    }
                    Err(reason) => failed(reason, facts),
                }
            }
        }
    }

    fn missing(&self, searched: Vec<String>, mut facts: Facts) -> Finding {
        let label = self.settings.preset.label;
        facts.public("searched_paths", searched);
        let configured = self.settings.path.as_ref();
        let directory_is_there = configured.and_then(|path| path.parent()).is_some_and(std::path::Path::exists);
        if self.settings.through == Through::Own && self.resources.in_container() && !directory_is_there {
            let remedy = "a sidecar has a file system of its own: share the CLI's directory as a volume and set \
                          `cli.path`, or share the process namespace and set `cli.through = \"upstream\"`";
            return self.not_visible(remedy, facts);
        }
        let public = match configured {
            Some(_) => format!("{label} not found at its configured path"),
            None => format!("{label} not found in PATH"),
        };
        Finding::fail(Reason::new("cli_missing", public), facts)
    }

    fn not_visible(&self, remedy: &str, facts: Facts) -> Finding {
        let public = format!("{} is not visible from here: {remedy}", self.settings.preset.label);
        Finding::inconclusive(Reason::new("cli_not_visible", public), facts)
    }

    async fn version(&mut self, path: &std::path::Path, stamp: Stamp, place: &Place) -> Result<Version, Reason> {
        if let Some(known) = &self.known {
            let fresh = known.at.elapsed() < self.settings.version_interval;
            if fresh && known.path == path && known.stamp == stamp {
                return Ok(known.version);
            }
        }
        self.known = None;
        let version = if place.ours && self.settings.version_from == VersionFrom::Command {
            run_version(self.settings.preset, path, &self.resources).await?
        } else {
            let (place, path, package) = (place.clone(), path.to_owned(), self.settings.preset.package);
            let found = self.beside.run(move || Version::beside(&place.canonical(&path), package)).await;
            found.ok_or_else(|| {
                let public = format!("{} has no readable version beside it", self.settings.preset.label);
                Reason::new("cli_broken", public)
            })?
        };
        self.known = Some(Known { path: path.to_owned(), stamp, version, at: Instant::now() });
        Ok(version)
    }
}

/// Runs `--version` in a scratch home.
pub(crate) async fn run_version(
    preset: &'static Preset,
    path: &std::path::Path,
    resources: &Resources,
) -> Result<Version, Reason> {
    let broken = |what: &str| Reason::new("cli_broken", format!("{} not available: {what}", preset.label));
    // Without a writable directory of its own the CLI gets a home that does not exist; it can still tell its version.
    let scratch = tempfile::Builder::new().prefix("pulsegate-").tempdir().ok();
    let home = scratch.as_ref().map_or(std::path::Path::new("/nonexistent"), tempfile::TempDir::path);
    let directory = scratch.as_ref().map_or(std::path::Path::new("/"), tempfile::TempDir::path);
    let mut process = Subprocess::new(path.to_owned(), directory.to_owned(), &resources.environment);
    process.arguments.push("--version".into());
    process.environment.push(("HOME".into(), home.display().to_string()));
    process.environment.extend(preset.quiet.iter().map(|(name, value)| ((*name).into(), (*value).into())));
    match resources.processes.run(Box::pin(process.run())).await {
        Ok(output) => version_of(&output).map_err(broken),
        Err(error) if is_ours(&error) => Err(not_asked(Some(error.to_string()))),
        Err(error) => Err(match error.kind() {
            std::io::ErrorKind::NotFound => broken("its interpreter is missing"),
            std::io::ErrorKind::PermissionDenied => {
                Reason::new("cli_not_executable", format!("{} not available: we may not run it", preset.label))
            }
            // ENOEXEC: npm's --ignore-scripts leaves a stub in place of the program.
            std::io::ErrorKind::InvalidInput | std::io::ErrorKind::Other => broken("it is not a program"),
            _ if error.raw_os_error() == Some(8) => broken("it is not a program, but a stub of its installer"),
            _ => broken("it cannot be started"),
        }
        .with_private(error.to_string())),
    }
}

/// The outputs themselves go nowhere: a CLI may print anything.
fn version_of(output: &Output) -> Result<Version, &'static str> {
    match output.status.code() {
        Some(0) => Version::find(&String::from_utf8_lossy(&output.stdout)).ok_or("it prints no version"),
        Some(127) => Err("its interpreter (node) is missing"),
        Some(_) => Err("it fails when asked for its version"),
        None => Err("it is killed when asked for its version"),
    }
}
