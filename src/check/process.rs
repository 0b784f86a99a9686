use std::path::PathBuf;

use futures_util::future::BoxFuture;

use super::single::Single;
use super::{Check, Defaults, Kind, Prepare, Resources, procfs, refused};
use crate::health::{Facts, Finding, Reason};
use crate::settings::read_ordinary;

pub(super) const KIND: Kind = Kind::of::<Process>(
    "process",
    "Looks whether a process runs, through the process namespace that it shares with us.",
    Defaults { interval: "10s", timeout: "5s", failure_threshold: "2", on_failure: "unhealthy" },
);

crate::settings! {
    /// Settings of a `process` check. One of the two.
    pub struct Process {
        /// A file that holds the process's number.
        pid_file: Option<PathBuf>,
        /// The process's name, or its program's file name.
        name: Option<String>,
    }
}

impl Prepare for Process {
    fn prepare(&self, _: &Resources) -> Result<Box<dyn Check>, String> {
        let target = match (&self.pid_file, &self.name) {
            (Some(file), None) => Target::PidFile(file.clone()),
            (None, Some(name)) => Target::Name(name.clone()),
            _ => return Err("a `process` check takes `pid_file` or `name`, one of the two".into()),
        };
        Ok(Box::new(ProcessCheck { target, look: Single::default() }))
    }
}

#[derive(Clone)]
enum Target {
    PidFile(PathBuf),
    Name(String),
}

struct ProcessCheck {
    target: Target,
    look: Single<Finding>,
}

impl Check for ProcessCheck {
    fn run(&mut self) -> BoxFuture<'_, Finding> {
        let target = self.target.clone();
        Box::pin(self.look.run(move || look(&target)))
    }
}

/// A file that holds a number is no larger.
const LARGEST: u64 = 4096;

fn look(target: &Target) -> Finding {
    let process = match target {
        Target::Name(name) => procfs::process_named(name),
        Target::PidFile(path) => match read_ordinary(path, LARGEST) {
            Ok(bytes) => match String::from_utf8_lossy(&bytes).trim().parse::<i32>() {
                Ok(pid) => ::procfs::process::Process::new(pid).ok(),
                Err(_) => {
                    let reason = Reason::new("pid_file_malformed", "has a pid file without a number");
                    return Finding::fail(reason, Facts::default());
                }
            },
            Err(error) => {
                let private = format!("{}: {error}", path.display());
                let reason = Reason::new("pid_file_unreadable", "has no readable pid file").with_private(private);
                return refused(&error, reason, Facts::default());
            }
        },
    };
    let running = process.and_then(|process| Some((process.pid, procfs::uptime_seconds(&process)?)));
    let mut facts = Facts::default();
    match running {
        Some((pid, uptime)) => {
            facts.trusted("pid", u64::try_from(pid).ok());
            facts.public("uptime_seconds", uptime.floor());
            Finding::pass(facts)
        }
        None => {
            let reason = Reason::new("not_running", "is not running");
            // Without a descriptor we would see nobody.
            match std::fs::File::open("/proc/self") {
                Err(error) => refused(&error, reason, facts),
                Ok(_) => Finding::fail(reason, facts),
            }
        }
    }
}
