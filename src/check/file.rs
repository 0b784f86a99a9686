use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::time::Duration;

use futures_util::future::BoxFuture;

use super::regular::{Refused, Regular};
use super::single::Single;
use super::{Check, Defaults, Kind, Prepare, Resources, failed, not_asked};
use crate::clock::unix;
use crate::health::{Facts, Finding, Reason};
use crate::settings::Size;
use crate::shortage::is_ours;

pub(super) const KIND: Kind = Kind::of::<FileSettings>(
    "file",
    "Looks whether a file is there and can be read; its age and its size, if wanted.",
    Defaults { interval: "30s", timeout: "5s", failure_threshold: "1", on_failure: "unhealthy" },
);

crate::settings! {
    /// Settings of a `file` check.
    pub struct FileSettings {
        /// The file; symbolic links are followed.
        path: PathBuf,
        /// Not modified for longer than this is a failure. Absent: not judged.
        max_age: Option<Duration>,
        /// Smaller than this is a failure.
        min_size: Size = "0",
    }
}

impl Prepare for FileSettings {
    fn prepare(&self, _: &Resources) -> Result<Box<dyn Check>, String> {
        Ok(Box::new(FileCheck { settings: self.clone(), look: Single::default() }))
    }
}

struct FileCheck {
    settings: FileSettings,
    look: Single<Finding>,
}

impl Check for FileCheck {
    fn run(&mut self) -> BoxFuture<'_, Finding> {
        let settings = self.settings.clone();
        Box::pin(self.look.run(move || settings.look(unix().as_secs())))
    }
}

impl FileSettings {
    fn look(&self, now: u64) -> Finding {
        let opened = Regular::open(&self.path);
        let mut facts = Facts::default();
        facts.public("exists", !matches!(opened, Err(Refused::Missing)));
        facts.public("readable", opened.is_ok());
        facts.trusted("path", self.path.display().to_string());
        let metadata = match opened {
            Ok(Regular { metadata, .. }) => metadata,
            Err(refused) => return failed(refused.reason(&self.path), facts),
        };
        // A file from the future is as old as one of this second.
        let modified = u64::try_from(metadata.mtime()).unwrap_or(0);
        let age = now.saturating_sub(modified);
        facts.public("size", metadata.size());
        facts.public("modified", crate::health::Fact::Time(modified));
        facts.public("age_seconds", age);
        if self.max_age.is_some_and(|most| age > most.as_secs()) {
            let reason = Reason::new("file_old", "was not modified for too long");
            return Finding::fail(reason.with_private(format!("{}: {age} seconds", self.path.display())), facts);
        }
        if metadata.size() < self.min_size.0 {
            let private = format!("{}: {} bytes", self.path.display(), metadata.size());
            return Finding::fail(Reason::new("file_small", "is too small").with_private(private), facts);
        }
        Finding::pass(facts)
    }
}

impl Refused {
    /// What it says about the thing at this path.
    pub(super) fn reason(&self, path: &std::path::Path) -> Reason {
        let path = path.display();
        match self {
            Self::Missing => Reason::new("file_missing", "is not there").with_private(path.to_string()),
            Self::NotAFile => Reason::new("not_a_file", "is not a file").with_private(path.to_string()),
            Self::Unreadable(error) if is_ours(error) => not_asked(Some(format!("{path}: {error}"))),
            Self::Unreadable(error) => {
                Reason::new("file_unreadable", "cannot be read").with_private(format!("{path}: {error}"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::FileSettings;
    use crate::health::{Fact, Outcome};
    use crate::settings::Size;

    #[test]
    fn age_and_size_are_judged_at_their_limits() {
        let home = tempfile::tempdir().expect("a directory");
        let path = home.path().join("model.bin");
        let settings = FileSettings { path: path.clone(), max_age: Some(Duration::from_secs(60)), min_size: Size(4) };
        let code = |now| settings.look(now).reason.map(|reason| reason.code);
        assert_eq!(code(0), Some("file_missing"));

        std::fs::write(&path, "1234").expect("a file");
        let modified = std::fs::File::options().write(true).open(&path).expect("a file");
        let at = std::time::UNIX_EPOCH + Duration::from_secs(1_000_000);
        modified.set_modified(at).expect("a time");
        assert_eq!(code(1_000_060), None);
        assert_eq!(code(1_000_061), Some("file_old"));
        assert_eq!(code(5), None, "it comes from the future");
        let finding = settings.look(1_000_010);
        assert_eq!(finding.outcome, Outcome::Pass);
        assert_eq!(finding.facts.get("size"), Some(&Fact::Count(4)));
        assert_eq!(finding.facts.get("age_seconds"), Some(&Fact::Count(10)));

        std::fs::write(&path, "123").expect("a file");
        modified.set_modified(at).expect("a time");
        assert_eq!(code(1_000_060), Some("file_small"));
    }

    #[test]
    fn what_is_not_a_file_is_not_opened() {
        let home = tempfile::tempdir().expect("a directory");
        let fifo = home.path().join("pipe");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &fifo,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::from_bits_truncate(0o600),
            0,
        )
        .expect("a pipe");
        // Opening the pipe would wait for a writer for ever.
        for path in [fifo, home.path().to_owned(), "/dev/null".into()] {
            let settings = FileSettings { path, max_age: None, min_size: Size(0) };
            let finding = settings.look(0);
            assert_eq!(finding.reason.map(|reason| reason.code), Some("not_a_file"));
            assert_eq!(finding.facts.get("exists"), Some(&Fact::Flag(true)));
        }
    }
}
