use std::path::{Path, PathBuf};

use futures_util::future::BoxFuture;
use glob::{MatchOptions, Pattern};

use super::regular::Refused;
use super::single::{Cancelled, Single};
use super::{Check, Defaults, Kind, Prepare, Resources, refused};
use crate::health::{Fact, Facts, Finding, Reason};
use crate::settings::{Node, Problems, Reader, Setting};

pub(super) const KIND: Kind = Kind::of::<Directory>(
    "directory",
    "Looks whether a directory can be read, and counts the files in it.",
    Defaults { interval: "30s", timeout: "10s", failure_threshold: "1", on_failure: "unhealthy" },
);

crate::settings! {
    /// Settings of a `directory` check.
    pub struct Directory {
        /// The directory.
        path: PathBuf,
        /// Which names count: "*.py". A name that begins with a dot needs a pattern that does.
        glob: Glob = "*",
        /// Fewer files are a failure.
        min_count: u64 = "0",
        /// More files are a failure. Absent: not judged.
        max_count: Option<u64>,
        /// Files that must be there, by name or pattern; at most 64.
        require: Vec<Glob> = "[]",
    }
}

/// A pattern for the names of one directory.
#[derive(Clone, Debug)]
pub(crate) struct Glob(Pattern);

impl Glob {
    /// Whether a name is meant.
    pub(super) fn matches(&self, name: &str) -> bool {
        self.0.matches_with(name, AS_SHELLS)
    }
}

impl Setting for Glob {
    const EXPECTS: &'static str = "a pattern for names, such as \"*.py\", without /";
    const SHAPE: crate::settings::Shape = crate::settings::Shape::Text;

    fn read(node: &Node, path: &str, problems: &Problems) -> Option<Self> {
        let text = Reader::text(node, path, problems, Self::EXPECTS)?;
        let pattern = Pattern::new(text).ok().filter(|_| !text.is_empty() && !text.contains('/'));
        if pattern.is_none() {
            problems.add(&node.origin, format!("`{path}` must be {}", Self::EXPECTS));
        }
        pattern.map(Self)
    }
}

/// So many files can be required: each is compared with each name.
const MOST_REQUIRED: usize = 64;

/// More entries than this are not looked at in one run: at a million in a second that is what a run's time allows.
const MOST_ENTRIES: u64 = 50_000_000;

/// As shells have it: a name that begins with a dot is hidden from `*`.
const AS_SHELLS: MatchOptions =
    MatchOptions { case_sensitive: true, require_literal_separator: true, require_literal_leading_dot: true };

impl Prepare for Directory {
    fn prepare(&self, _: &Resources) -> Result<Box<dyn Check>, String> {
        if self.max_count.is_some_and(|most| most < self.min_count) {
            return Err("`directory.max_count` must not be less than `directory.min_count`".into());
        }
        if self.require.len() > MOST_REQUIRED {
            return Err("`directory.require` must not have more than 64 names".into());
        }
        Ok(Box::new(DirectoryCheck { settings: self.clone(), look: Single::default() }))
    }
}

struct DirectoryCheck {
    settings: Directory,
    look: Single<Option<Finding>>,
}

impl Check for DirectoryCheck {
    fn run(&mut self) -> BoxFuture<'_, Finding> {
        let settings = self.settings.clone();
        Box::pin(self.look.run_cancellable(move |cancelled| settings.look(cancelled)))
    }
}

/// What a directory holds.
enum Counted {
    /// How many, and which of the required ones are there.
    Files(u64, Vec<bool>),
    TooMany,
    Cancelled,
}

impl Directory {
    fn look(&self, cancelled: &Cancelled) -> Option<Finding> {
        let mut facts = Facts::default();
        facts.trusted("path", self.path.display().to_string());
        let counted = match count(&self.path, &self.glob, &self.require, cancelled) {
            Ok(Counted::Cancelled) => return None,
            Ok(counted) => counted,
            Err(error) => {
                let exists = std::fs::symlink_metadata(&self.path).is_ok();
                facts.public("exists", exists);
                facts.public("readable", false);
                facts.public("count", Fact::Null);
                return Some(found(error, &self.path, facts));
            }
        };
        facts.public("exists", true);
        facts.public("readable", true);
        let Counted::Files(count, present) = counted else {
            facts.public("count", Fact::Null);
            return Some(Finding::fail(Reason::new("too_many_entries", "holds too much to be counted"), facts));
        };
        facts.public("count", count);
        let missing = present.iter().filter(|there| !**there).count();
        if !self.require.is_empty() {
            facts.public("missing", missing as u64);
            let each =
                self.require.iter().zip(&present).map(|(name, there)| (name.0.as_str().to_owned(), (*there).into()));
            facts.trusted("present", Fact::Record(each.collect()));
        }
        let reason = if missing > 0 {
            let lacks = self.require.iter().zip(&present).filter(|(_, there)| !**there);
            let lacks: Vec<&str> = lacks.map(|(name, _)| name.0.as_str()).collect();
            let reason =
                Reason::new("files_missing", format!("lacks {missing} of {} required files", self.require.len()));
            let private = format!("{}: {}", self.path.display(), lacks.join(", "));
            return Some(Finding::fail(reason.with_private(private), facts));
        } else if count < self.min_count {
            Reason::new("too_few_files", format!("holds {count} files, {} are needed", self.min_count))
        } else if let Some(most) = self.max_count.filter(|most| count > *most) {
            Reason::new("too_many_files", format!("holds {count} files, {most} are allowed"))
        } else {
            return Some(Finding::pass(facts));
        };
        Some(Finding::fail(reason.with_private(self.path.display().to_string()), facts))
    }
}

/// Counts what is not a directory, name by name, in memory that does not grow with their number. The kind of an entry
/// comes with its name on all usual file systems.
fn count(path: &Path, pattern: &Glob, require: &[Glob], cancelled: &Cancelled) -> std::io::Result<Counted> {
    let (mut files, mut present) = (0, vec![false; require.len()]);
    for (seen, entry) in (0_u64..).zip(std::fs::read_dir(path)?) {
        if cancelled.is_set() {
            return Ok(Counted::Cancelled);
        }
        if seen >= MOST_ENTRIES {
            return Ok(Counted::TooMany);
        }
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let (counts, required) = (pattern.matches(&name), require.iter().any(|wanted| wanted.matches(&name)));
        // One that has gone meanwhile has gone.
        if (counts || required) && entry.file_type().is_ok_and(|kind| !kind.is_dir()) {
            files += u64::from(counts);
            for (wanted, there) in require.iter().zip(&mut present) {
                *there |= wanted.matches(&name);
            }
        }
    }
    Ok(Counted::Files(files, present))
}

fn found(error: std::io::Error, path: &Path, facts: Facts) -> Finding {
    let path = path.display();
    if std::fs::metadata(path.to_string()).is_ok_and(|metadata| !metadata.is_dir()) {
        return Finding::fail(
            Reason::new("not_a_directory", "is not a directory").with_private(path.to_string()),
            facts,
        );
    }
    match Refused::of(error) {
        Refused::Unreadable(error) => {
            let reason = Reason::new("directory_unreadable", "cannot be read");
            refused(&error, reason.with_private(format!("{path}: {error}")), facts)
        }
        Refused::Missing | Refused::NotAFile => {
            Finding::fail(Reason::new("directory_missing", "is not there").with_private(path.to_string()), facts)
        }
    }
}

#[cfg(test)]
mod tests {
    use glob::Pattern;

    use super::super::single::Cancel;
    use super::{Counted, Directory, Glob, count};
    use crate::health::Fact;

    #[test]
    fn names_are_counted_as_a_shell_would() {
        let home = tempfile::tempdir().expect("a directory");
        for name in ["a.py", "b.py", ".hidden.py", "c.txt"] {
            std::fs::write(home.path().join(name), "").expect("a file");
        }
        std::fs::create_dir(home.path().join("d.py")).expect("a directory");
        std::os::unix::fs::symlink("nowhere", home.path().join("link.py")).expect("a link");
        let judged = |glob: &str, min_count, max_count| {
            let glob = Glob(Pattern::new(glob).expect("a pattern"));
            let settings = Directory { path: home.path().to_owned(), glob, min_count, max_count, require: Vec::new() };
            let (_cancel, cancelled) = Cancel::new();
            let finding = settings.look(&cancelled).expect("not cancelled");
            (finding.facts.get("count").cloned(), finding.reason.map(|reason| reason.code))
        };
        assert_eq!(judged("*.py", 3, Some(3)), (Some(Fact::Count(3)), None));
        assert_eq!(judged("*", 0, None), (Some(Fact::Count(4)), None));
        assert_eq!(judged(".*", 0, None), (Some(Fact::Count(1)), None));
        assert_eq!(judged("[ab].py", 0, Some(1)), (Some(Fact::Count(2)), Some("too_many_files")));
        assert_eq!(judged("*.rs", 1, None), (Some(Fact::Count(0)), Some("too_few_files")));
    }

    #[test]
    fn what_is_required_must_be_there_as_a_file() {
        let home = tempfile::tempdir().expect("a directory");
        for name in ["asr.py", "yolo.py", "model-7.bin"] {
            std::fs::write(home.path().join(name), "").expect("a file");
        }
        std::fs::create_dir(home.path().join("face.py")).expect("a directory");
        let judged = |require: &[&str]| {
            let require = require.iter().map(|name| Glob(Pattern::new(name).expect("a pattern"))).collect();
            let glob = Glob(Pattern::new("*.txt").expect("a pattern"));
            let settings = Directory { path: home.path().to_owned(), glob, min_count: 0, max_count: None, require };
            let (_cancel, cancelled) = Cancel::new();
            settings.look(&cancelled).expect("not cancelled")
        };
        let fine = judged(&["asr.py", "model-*.bin"]);
        assert_eq!((fine.reason, fine.facts.get("missing")), (None, Some(&Fact::Count(0))));
        let lacks = judged(&["asr.py", "face.py", "ocr.py"]);
        let reason = lacks.reason.expect("a reason");
        assert_eq!((reason.code, &*reason.public), ("files_missing", "lacks 2 of 3 required files"));
        assert!(reason.private.expect("names").ends_with(": face.py, ocr.py"));
        let present = [("asr.py", true), ("face.py", false), ("ocr.py", false)];
        let present = present.map(|(name, there)| (name.to_owned(), Fact::Flag(there)));
        assert_eq!(lacks.facts.get("present"), Some(&Fact::Record(present.into())));
    }

    #[test]
    fn nobody_waits_so_nothing_is_counted() {
        let home = tempfile::tempdir().expect("a directory");
        std::fs::write(home.path().join("a"), "").expect("a file");
        let (cancel, cancelled) = Cancel::new();
        drop(cancel);
        let counted = count(home.path(), &Glob(Pattern::new("*").expect("a pattern")), &[], &cancelled);
        assert!(matches!(counted, Ok(Counted::Cancelled)));
    }
}
