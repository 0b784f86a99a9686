use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::{File, Metadata};
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use ring::digest::{Context, SHA256};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;

use super::super::single::Cancelled;
use super::manifest::{Entry, Hash};
use crate::shortage::is_ours;

/// So much of a file is in memory at a time.
const CHUNK: usize = 256 * 1024;

/// A file that changed so shortly before it was read, in seconds, may change again without a newer time: clocks of file
/// systems tick slowly. What was read of it is not relied on the next time.
const UNSETTLED: i64 = 2;

/// Tells without reading it whether a file is still the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// Hashes of files that have not changed since they were read, by their names. As many as the manifest has.
pub(super) type Known = HashMap<Vec<OsString>, Hashed>;

#[derive(Clone, Copy, Debug)]
pub(super) struct Hashed {
    stamp: Stamp,
    hash: Hash,
}

/// How one file stands to its line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Matches,
    Changed,
    Missing,
    /// A symbolic link, something that is no file, or a name that leads out of the directory.
    Refused,
    Unreadable,
    /// We have no descriptor or memory left to open it with.
    NotAsked,
}

/// Compares files with their lines.
pub(super) struct Verifier<'a> {
    root: OwnedFd,
    /// The directory of the last file: manifests are sorted.
    parent: Option<(Vec<OsString>, OwnedFd)>,
    pub(super) known: &'a mut Known,
    pub(super) cancelled: &'a Cancelled,
    /// The present time, in seconds since 1970.
    pub(super) now: i64,
    /// Bytes that were read.
    pub(super) read: u64,
}

impl<'a> Verifier<'a> {
    pub(super) fn new(
        directory: &Path,
        known: &'a mut Known,
        cancelled: &'a Cancelled,
        now: i64,
    ) -> std::io::Result<Self> {
        let root = openat(CWD, directory, FOLDER, Mode::empty())?;
        Ok(Self { root, parent: None, known, cancelled, now, read: 0 })
    }

    /// `None` when nobody waits any more.
    pub(super) fn verify(&mut self, entry: &Entry) -> Option<Verdict> {
        let Some(parts) = &entry.parts else { return Some(Verdict::Refused) };
        match self.hash(parts) {
            Ok(hash) => hash.map(|hash| if hash == entry.hash { Verdict::Matches } else { Verdict::Changed }),
            Err(verdict) => Some(verdict),
        }
    }

    fn hash(&mut self, parts: &[OsString]) -> Result<Option<Hash>, Verdict> {
        let (name, above) = parts.split_last().ok_or(Verdict::Refused)?;
        let parent = folder(&self.root, &mut self.parent, above)?;
        // A path alone: nothing is opened that could mind.
        let looked_at = open(parent, name, OFlags::PATH)?;
        let stamp = regular(&looked_at)?;
        if let Some(known) = self.known.get(parts).filter(|known| known.stamp == stamp) {
            return Ok(Some(known.hash));
        }
        let file = open(parent, name, OFlags::RDONLY | OFlags::NONBLOCK)?;
        let before = regular(&file)?;
        let Some(hash) = self.digest(&file)? else { return Ok(None) };
        let settled = self.now.saturating_sub(before.changed.0) >= UNSETTLED;
        if settled && regular(&file)? == before {
            self.known.insert(parts.to_vec(), Hashed { stamp: before, hash });
        } else {
            self.known.remove(parts);
        }
        Ok(Some(hash))
    }

    fn digest(&mut self, mut file: &File) -> Result<Option<Hash>, Verdict> {
        let mut context = Context::new(&SHA256);
        let mut chunk = vec![0; CHUNK];
        loop {
            if self.cancelled.is_set() {
                return Ok(None);
            }
            match file.read(&mut chunk) {
                Ok(0) => break,
                Ok(length) => {
                    self.read += length as u64;
                    context.update(&chunk[..length]);
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) => return Err(Verdict::Unreadable),
            }
        }
        context.finish().as_ref().try_into().map(Some).map_err(|_| Verdict::Unreadable)
    }
}

/// The directory of these parts below the root; the last one is kept.
fn folder<'a>(
    root: &'a OwnedFd,
    last: &'a mut Option<(Vec<OsString>, OwnedFd)>,
    above: &[OsString],
) -> Result<&'a OwnedFd, Verdict> {
    if above.is_empty() {
        return Ok(root);
    }
    if last.as_ref().is_none_or(|(known, _)| known != above) {
        let mut folder = openat(root, ".", FOLDER, Mode::empty()).map_err(verdict)?;
        for part in above {
            folder = openat(&folder, part, FOLDER | OFlags::NOFOLLOW, Mode::empty()).map_err(verdict)?;
        }
        *last = Some((above.to_vec(), folder));
    }
    last.as_ref().map(|(_, folder)| folder).ok_or(Verdict::Missing)
}

const FOLDER: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

fn open(parent: &OwnedFd, name: &OsStr, flags: OFlags) -> Result<File, Verdict> {
    openat(parent, name, flags | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty()).map(File::from).map_err(verdict)
}

/// A symbolic link opened by its path alone is itself, and so no regular file.
fn regular(file: &File) -> Result<Stamp, Verdict> {
    let metadata = file.metadata().map_err(|_| Verdict::Unreadable)?;
    if metadata.is_file() { Ok(Stamp::of(&metadata)) } else { Err(Verdict::Refused) }
}

fn verdict(error: Errno) -> Verdict {
    match error {
        Errno::NOENT => Verdict::Missing,
        // A symbolic link, or a file, where a directory should be.
        Errno::LOOP | Errno::NOTDIR => Verdict::Refused,
        _ if is_ours(&error.into()) => Verdict::NotAsked,
        _ => Verdict::Unreadable,
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::single::{Cancel, Cancelled};
    use super::super::manifest::parse;
    use super::{Known, Verdict, Verifier};

    /// SHA-256 of `hello\n`.
    const HELLO: &str = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03";

    fn verdicts(directory: &std::path::Path, known: &mut Known, names: &[&str], now: i64) -> (Vec<Verdict>, u64) {
        let text: String = names.iter().map(|name| format!("{HELLO}  {name}\n")).collect();
        let entries = parse(text.as_bytes()).expect("a manifest");
        let (_cancel, cancelled): (Cancel, Cancelled) = Cancel::new();
        let mut verifier = Verifier::new(directory, known, &cancelled, now).expect("a directory");
        let verdicts = entries.iter().map(|entry| verifier.verify(entry).expect("not cancelled")).collect();
        (verdicts, verifier.read)
    }

    #[test]
    fn nothing_outside_of_the_directory_is_read() {
        let home = tempfile::tempdir().expect("a directory");
        let folder = home.path().join("scripts");
        std::fs::create_dir_all(folder.join("sub")).expect("a directory");
        for path in ["good", "scripts/good", "scripts/sub/good"] {
            std::fs::write(home.path().join(path), "hello\n").expect("a file");
        }
        std::fs::write(folder.join("bad"), "hello").expect("a file");
        std::os::unix::fs::symlink("good", folder.join("link")).expect("a link");
        std::os::unix::fs::symlink("..", folder.join("up")).expect("a link");
        let names =
            ["good", "sub/good", "bad", "gone", "sub/gone", "no/gone", "link", "up/good", "../good", "sub", "good/x"];
        let (verdicts, _) = verdicts(&folder, &mut Known::new(), &names, 0);
        use Verdict::{Changed, Matches, Missing, Refused};
        let expected =
            [Matches, Matches, Changed, Missing, Missing, Missing, Refused, Refused, Refused, Refused, Refused];
        assert_eq!(verdicts, expected);
    }

    #[test]
    fn what_has_settled_is_read_once() {
        let home = tempfile::tempdir().expect("a directory");
        let path = home.path().join("good");
        std::fs::write(&path, "hello\n").expect("a file");
        let changed = std::os::unix::fs::MetadataExt::ctime(&path.metadata().expect("metadata"));
        let mut known = Known::new();
        let mut run = |now| verdicts(home.path(), &mut known, &["good"], now);
        assert_eq!(run(changed + 1), (vec![Verdict::Matches], 6));
        assert_eq!(run(changed + 2), (vec![Verdict::Matches], 6), "the last one was too soon");
        assert_eq!(run(changed + 100), (vec![Verdict::Matches], 0));
        // The same size and the same time of modification: the time of change tells.
        let modified = path.metadata().and_then(|metadata| metadata.modified()).expect("a time");
        std::fs::write(&path, "HELLO\n").expect("a file");
        std::fs::File::options().write(true).open(&path).and_then(|file| file.set_modified(modified)).expect("a time");
        assert_eq!(run(changed + 100), (vec![Verdict::Changed], 6));
    }
}
