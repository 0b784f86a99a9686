//! `integrity`: files are as a manifest of SHA-256 says.

mod manifest;
mod verify;

use std::collections::HashSet;
use std::io::Read as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::BoxFuture;

use self::manifest::{Entry, Malformed, parse};
use self::verify::{Known, Verdict, Verifier};
use super::regular::{Refused, Regular};
use super::single::{Cancel, Cancelled, Single};
use super::{Check, Defaults, Kind, Prepare, Resources, failed, not_asked, refused};
use crate::clock::unix;
use crate::health::{Fact, Facts, Finding, Reason};

pub(super) const KIND: Kind = Kind::of::<Integrity>(
    "integrity",
    "Compares files with a manifest of SHA-256, as sha256sum writes it.",
    Defaults { interval: "60s", timeout: "30s", failure_threshold: "1", on_failure: "degraded" },
);

crate::settings! {
    /// Settings of an `integrity` check.
    pub struct Integrity {
        /// Where the files are.
        directory: PathBuf,
        /// The manifest; its names are relative to the directory.
        manifest: PathBuf,
    }
}

/// A larger manifest is not read: a hundred thousand files fit.
const LARGEST_MANIFEST: u64 = 16 * 1024 * 1024;

/// So many names of files that are not as they should be are told.
const MOST_NAMED: usize = 20;

impl Prepare for Integrity {
    fn prepare(&self, _: &Resources) -> Result<Box<dyn Check>, String> {
        let (cancel, cancelled) = Cancel::new();
        let (known, work) = (Arc::default(), Single::default());
        Ok(Box::new(IntegrityCheck { settings: self.clone(), known, work, cancelled, _cancel: cancel }))
    }
}

/// Large files take longer than a run may: the work goes on when a run's time is over, and the next run has its result.
/// It ends with the check.
struct IntegrityCheck {
    settings: Integrity,
    known: Arc<Mutex<Known>>,
    work: Single<Finding>,
    cancelled: Cancelled,
    _cancel: Cancel,
}

impl Check for IntegrityCheck {
    fn run(&mut self) -> BoxFuture<'_, Finding> {
        let (settings, known, cancelled) = (self.settings.clone(), self.known.clone(), self.cancelled.clone());
        Box::pin(self.work.run(move || {
            // Held by one run at a time; after a panic the hashes are those of files all the same.
            let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
            settings.verify(&mut known, &cancelled)
        }))
    }

    fn timed_out(&self) -> Finding {
        Finding::inconclusive(Reason::new("still_hashing", "is still reading its files"), nothing_known())
    }
}

fn nothing_known() -> Facts {
    let mut facts = Facts::default();
    for name in ["matched", "total", "ok"] {
        facts.public(name, Fact::Null);
    }
    facts
}

/// Files by how they stand to their lines.
#[derive(Default)]
struct Counts {
    matched: u64,
    changed: u64,
    missing: u64,
    refused: u64,
    unreadable: u64,
    bad: Vec<String>,
}

impl Counts {
    fn add(&mut self, verdict: Verdict, entry: &Entry) {
        *match verdict {
            Verdict::Matches => &mut self.matched,
            Verdict::Changed => &mut self.changed,
            Verdict::Missing => &mut self.missing,
            Verdict::Refused => &mut self.refused,
            Verdict::Unreadable | Verdict::NotAsked => &mut self.unreadable,
        } += 1;
        if verdict != Verdict::Matches && self.bad.len() < MOST_NAMED {
            self.bad.push(entry.name.clone());
        }
    }
}

impl Integrity {
    fn verify(&self, known: &mut Known, cancelled: &Cancelled) -> Finding {
        let entries = match self.entries() {
            Ok(entries) => entries,
            Err(reason) => return failed(reason, nothing_known()),
        };
        let now = i64::try_from(unix().as_secs()).unwrap_or(i64::MAX);
        let mut verifier = match Verifier::new(&self.directory, known, cancelled, now) {
            Ok(verifier) => verifier,
            Err(error) => {
                let private = format!("{}: {error}", self.directory.display());
                let reason = Reason::new("directory_unreadable", "has no readable directory").with_private(private);
                return refused(&error, reason, nothing_known());
            }
        };
        let mut counts = Counts::default();
        for entry in &entries {
            let Some(verdict) = verifier.verify(entry) else {
                // Nobody will read this.
                return Finding::inconclusive(Reason::new("stopping", "is stopping"), nothing_known());
            };
            if verdict == Verdict::NotAsked {
                return Finding::inconclusive(not_asked(None), nothing_known());
            }
            counts.add(verdict, entry);
        }
        if known.len() > entries.len() {
            let named: HashSet<_> = entries.iter().filter_map(|entry| entry.parts.as_ref()).collect();
            known.retain(|name, _| named.contains(name));
        }
        told(&counts, entries.len() as u64)
    }

    fn entries(&self) -> Result<Vec<Entry>, Reason> {
        let path = self.manifest.display();
        let private = |error: &dyn std::fmt::Display| format!("{path}: {error}");
        let Regular { file, .. } = Regular::open(&self.manifest).map_err(|refused| match refused {
            Refused::Missing => Reason::new("manifest_missing", "has no manifest").with_private(path.to_string()),
            refused => refused.reason(&self.manifest),
        })?;
        let mut text = Vec::new();
        let read = file.take(LARGEST_MANIFEST + 1).read_to_end(&mut text);
        read.map_err(|error| Refused::Unreadable(error).reason(&self.manifest))?;
        if text.len() as u64 > LARGEST_MANIFEST {
            return Err(Reason::new("manifest_malformed", "has a manifest over 16 MiB").with_private(path.to_string()));
        }
        parse(&text).map_err(|Malformed(line)| {
            let reason = Reason::new("manifest_malformed", "has a manifest that cannot be understood");
            reason.with_private(private(&format_args!("line {line}")))
        })
    }
}

fn told(counts: &Counts, total: u64) -> Finding {
    let ok = counts.matched == total;
    let mut facts = Facts::default();
    facts.public("matched", counts.matched);
    facts.public("total", total);
    facts.public("ok", ok);
    for (name, count) in [
        ("changed", counts.changed),
        ("missing", counts.missing),
        ("refused", counts.refused),
        ("unreadable", counts.unreadable),
    ] {
        facts.public(name, count);
    }
    facts.trusted("files", counts.bad.clone());
    if ok {
        return Finding::pass(facts);
    }
    let public = format!("matches its manifest in {} of {total} files", counts.matched);
    Finding::fail(Reason::new("integrity_broken", public).with_private(counts.bad.join(", ")), facts)
}
