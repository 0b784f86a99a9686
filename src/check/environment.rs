use std::io::{BufReader, Read as _};
use std::path::PathBuf;

use futures_util::future::BoxFuture;

use super::regular::{Refused, Regular};
use super::single::Single;
use super::{Check, Defaults, Kind, Prepare, Resources, failed};
use crate::health::{Fact, Facts, Finding, Reason};

pub(super) const KIND: Kind = Kind::of::<EnvironmentSettings>(
    "environment",
    "Looks whether a variable or a secret's file is set and not empty; never says what is in it.",
    Defaults { interval: "30s", timeout: "5s", failure_threshold: "1", on_failure: "degraded" },
);

crate::settings! {
    /// Settings of an `environment` check. One of the two.
    pub struct EnvironmentSettings {
        /// A variable of this process.
        variable: Option<String>,
        /// A file that holds more than white space.
        file: Option<PathBuf>,
    }
}

impl Prepare for EnvironmentSettings {
    fn prepare(&self, resources: &Resources) -> Result<Box<dyn Check>, String> {
        match (&self.variable, &self.file) {
            (Some(name), None) if !name.is_empty() => {
                // The environment of a process stays as it was at its start.
                let configured = resources.environment.get(name).is_some();
                Ok(Box::new(Variable { finding: told(configured, name) }))
            }
            (None, Some(path)) => Ok(Box::new(SecretFile { path: path.clone(), look: Single::default() })),
            _ => Err("an `environment` check takes `variable` or `file`, one of the two".into()),
        }
    }
}

struct Variable {
    finding: Finding,
}

impl Check for Variable {
    fn run(&mut self) -> BoxFuture<'_, Finding> {
        Box::pin(std::future::ready(self.finding.clone()))
    }
}

struct SecretFile {
    path: PathBuf,
    look: Single<Finding>,
}

impl Check for SecretFile {
    fn run(&mut self) -> BoxFuture<'_, Finding> {
        let path = self.path.clone();
        Box::pin(self.look.run(move || {
            let place = path.display().to_string();
            match Regular::open(&path) {
                Ok(regular) => match holds_something(&regular) {
                    Ok(configured) => told(configured, &place),
                    Err(error) => unreadable(&Refused::Unreadable(error), &path),
                },
                Err(Refused::Missing) => told(false, &place),
                Err(refused) => unreadable(&refused, &path),
            }
        }))
    }
}

/// Of a file that begins with more white space than this nothing else is looked at.
const LOOKED_AT: u64 = 4096;

/// Whether there is anything but white space. What it is stays here, and is read no further than that.
fn holds_something(regular: &Regular) -> std::io::Result<bool> {
    for byte in BufReader::new((&regular.file).take(LOOKED_AT)).bytes() {
        if !byte?.is_ascii_whitespace() {
            return Ok(true);
        }
    }
    Ok(false)
}

fn told(configured: bool, place: &str) -> Finding {
    let mut facts = Facts::default();
    facts.public("configured", configured);
    if configured {
        return Finding::pass(facts);
    }
    let reason = Reason::new("not_configured", "is not configured");
    Finding::fail(reason.with_private(format!("{place} is not set, or empty")), facts)
}

/// It may well be there: whether it is configured is not known.
fn unreadable(refused: &Refused, path: &std::path::Path) -> Finding {
    let mut facts = Facts::default();
    facts.public("configured", Fact::Null);
    failed(refused.reason(path), facts)
}

#[cfg(test)]
mod tests {
    use super::{Regular, holds_something};

    #[test]
    fn white_space_is_nothing() {
        let home = tempfile::tempdir().expect("a directory");
        let path = home.path().join("key");
        for (text, expected) in [("", false), (" \n\t\r\n", false), ("\nk", true), ("canary-secret\n", true)] {
            std::fs::write(&path, text).expect("a file");
            let regular = Regular::open(&path).expect("a file");
            assert_eq!(holds_something(&regular).expect("readable"), expected, "{text:?}");
        }
    }
}
