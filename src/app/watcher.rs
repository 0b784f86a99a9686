use std::collections::{HashMap, HashSet, VecDeque};
use std::ffi::{OsStr, OsString};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use rustix::fs::inotify::{self, CreateFlags, Reader, WatchFlags};
use rustix::io::Errno;
use tokio::io::unix::AsyncFd;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout_at};

use super::reload::{ReloadHandle, may_pass};
use crate::clock::back_off;
use crate::config::{Digests, digests_since};
use crate::shortage::passes;

/// After a change, this long without another one, and then the files are looked at. Editors and mounts make several.
const QUIET: Duration = Duration::from_millis(100);

/// Looked at by then, however often they change.
const LONGEST: Duration = Duration::from_secs(2);

/// At most so many files are watched.
const MOST_FILES: usize = 256;

/// At most so many links are followed for one file, as the kernel does.
const MOST_LINKS: usize = 40;

/// The files whose change is a reason to reload, with what they held when they were read; none if nobody wants to be told.
pub(super) type Watched = Digests;

/// What cannot be read for what may pass is looked at again after so long, and then less and less often.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Asks for a reload when what the files hold has changed. Wakes up only when something happens beside them, or when something
/// could not be read that may be readable by now.
pub(super) async fn watch(mut watched: watch::Receiver<Watched>, reload: ReloadHandle) {
    let mut in_effect = watched.borrow_and_update().clone();
    let mut seen = in_effect.clone();
    let mut again = Again::default();
    let mut eyes = None;
    loop {
        let listed = watched.borrow_and_update().clone();
        if listed != in_effect {
            // Not what is there now: it may have changed since it was read.
            seen.clone_from(&listed);
            in_effect = listed;
        }
        let files: Vec<PathBuf> = seen.iter().map(|(file, _)| file.clone()).collect();
        let looking = again.look(&mut eyes, &files);
        // First at what is there: it may have changed before anybody looked.
        if looking && again.pause.is_none() {
            let (now, unread) = look(&seen).await;
            if now != seen {
                seen = now;
                let outcome = reload.reload(CAUSE).await;
                let failed = outcome.is_err_and(|problems| may_pass(&problems));
                if failed {
                    seen.clone_from(&in_effect);
                }
                again.note(unread.as_ref(), failed);
                // Another list of files may be there by now.
                continue;
            }
            again.note(unread.as_ref(), false);
        }
        tokio::select! {
            changed = watched.changed() => match changed {
                Ok(()) => again.pause = None,
                Err(_) => return,
            },
            () = until_quiet(&mut eyes) => again.pause = None,
            () = again.paused() => {}
        }
    }
}

/// What the log names as the cause.
pub(super) const CAUSE: &str = "changed files";

/// What could not be done, and is to be done again although nothing happens.
#[derive(Default)]
struct Again {
    failures: u32,
    /// Until then nothing is looked at, unless something happens.
    pause: Option<Duration>,
    /// Whether the log has it already that files cannot be watched, or not be read.
    told: bool,
}

impl Again {
    /// Has the eyes look at these files; tells whether there is anything to see.
    fn look(&mut self, eyes: &mut Option<Eyes>, files: &[PathBuf]) -> bool {
        if files.is_empty() {
            *eyes = None;
        } else if let Some(eyes) = eyes {
            eyes.look_at(files);
        } else if self.pause.is_none() {
            match Eyes::open(files) {
                Ok(opened) => *eyes = Some(opened),
                Err(error) => {
                    if !std::mem::replace(&mut self.told, true) {
                        tracing::warn!(%error, "files are not watched: use SIGHUP or `pulsegate reload`");
                    }
                    if passes(&error) {
                        self.after_a_pause();
                    }
                }
            }
        }
        eyes.is_some()
    }

    /// How a look went: what could not be read, and whether what came of it failed for what may pass.
    fn note(&mut self, unread: Option<&io::Error>, failed: bool) {
        if let Some(error) = unread
            && !std::mem::replace(&mut self.told, true)
        {
            tracing::warn!(%error, "files that are watched cannot be read: they are looked at again");
        }
        if unread.is_some() || failed {
            self.after_a_pause();
        } else {
            *self = Self::default();
        }
    }

    fn after_a_pause(&mut self) {
        self.failures = self.failures.saturating_add(1);
        self.pause = Some(back_off(FIRST_PAUSE, LONGEST_PAUSE, self.failures));
    }

    /// Waits until it is time, if anything is to be done again.
    async fn paused(&mut self) {
        match self.pause {
            Some(pause) => sleep(pause).await,
            None => std::future::pending().await,
        }
        self.pause = None;
    }
}

/// What the files hold now. What somebody is writing just now may be empty, which is a configuration too: if it is not what it
/// was, looks go on until two of them, [`QUIET`] apart, see the same. Whatever is there after [`LONGEST`] is taken.
async fn look(seen: &Digests) -> (Digests, Option<io::Error>) {
    let (mut last, mut unread) = states_of(seen).await;
    let limit = Instant::now() + LONGEST;
    while last != *seen && Instant::now() < limit {
        sleep(QUIET).await;
        let now;
        (now, unread) = states_of(&last).await;
        if now == last {
            break;
        }
        last = now;
    }
    (last, unread)
}

async fn states_of(last: &Digests) -> (Digests, Option<io::Error>) {
    let files = last.clone();
    // A panic in there is none of ours; then nothing has changed.
    tokio::task::spawn_blocking(move || digests_since(&files)).await.unwrap_or_else(|_| (last.clone(), None))
}

async fn until_quiet(eyes: &mut Option<Eyes>) {
    match eyes {
        Some(eyes) => eyes.until_quiet().await,
        None => std::future::pending().await,
    }
}

/// Watches the directories in which the files stand, and the links that lead to them: a file is often replaced, and in
/// Kubernetes it is a link into a directory that is replaced as a whole.
struct Eyes {
    inotify: AsyncFd<OwnedFd>,
    /// By watch: the names that matter.
    names: HashMap<i32, HashSet<OsString>>,
}

impl Eyes {
    fn open(files: &[PathBuf]) -> io::Result<Self> {
        let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        #[expect(deprecated, reason = "an owned descriptor stays what it is, and what replaces this is forbidden here")]
        let inotify = AsyncFd::new(inotify)?;
        let mut eyes = Self { inotify, names: HashMap::new() };
        eyes.look_at(files);
        if eyes.names.is_empty() {
            return Err(io::Error::other("no directory can be watched"));
        }
        Ok(eyes)
    }

    /// Watches what leads to the files now.
    fn look_at(&mut self, files: &[PathBuf]) {
        let before = std::mem::take(&mut self.names);
        for (directory, name) in files.iter().take(MOST_FILES).flat_map(|file| trail(file)) {
            self.add(directory, name);
        }
        for gone in before.keys().filter(|watch| !self.names.contains_key(watch)) {
            // Fails if the directory is gone, and the watch with it.
            let _ = inotify::remove_watch(&self.inotify, *gone);
        }
    }

    /// Watches a name in a directory; if that is not there, the nearest one above it, in which it may appear.
    fn add(&mut self, mut directory: PathBuf, mut name: OsString) {
        let flags = WatchFlags::CLOSE_WRITE
            | WatchFlags::CREATE
            | WatchFlags::DELETE
            | WatchFlags::MOVE
            // What may not be read may be so soon: renewals change owner and mode last.
            | WatchFlags::ATTRIB
            | WatchFlags::DELETE_SELF
            | WatchFlags::MOVE_SELF
            | WatchFlags::ONLYDIR;
        loop {
            match inotify::add_watch(&self.inotify, &directory, flags) {
                Ok(watch) => {
                    self.names.entry(watch).or_default().insert(name);
                    return;
                }
                // One that may not be read either: its mode may change too.
                Err(Errno::NOENT | Errno::NOTDIR | Errno::ACCESS) => {
                    let Some(missing) = directory.file_name() else { return };
                    name = missing.to_owned();
                    directory.pop();
                }
                Err(_) => return,
            }
        }
    }

    /// Waits for a change that matters, and for the quiet after it.
    async fn until_quiet(&mut self) {
        while !self.next().await {}
        let end = Instant::now() + LONGEST;
        while Instant::now() < end && timeout_at(end.min(Instant::now() + QUIET), self.next()).await.is_ok() {}
    }

    /// Waits for changes; tells whether one of them matters.
    async fn next(&mut self) -> bool {
        let Ok(mut ready) = self.inotify.readable().await else {
            // Cannot be: the descriptor is ours. Better nothing than a busy loop.
            return std::future::pending().await;
        };
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut events = Reader::new(self.inotify.get_ref(), &mut buffer);
        let mut matters = false;
        while let Ok(event) = events.next() {
            let name = event.file_name().map(|name| OsStr::from_bytes(name.to_bytes()));
            // Without a name: the directory itself, or more events than the kernel could keep.
            matters |= name.is_none_or(|name| self.names.get(&event.wd()).is_some_and(|names| names.contains(name)));
        }
        ready.clear_ready();
        matters
    }
}

/// Each name on the way to a file that, changed, makes it another file: links, and the file itself; with the directories
/// that they are in.
fn trail(file: &Path) -> Vec<(PathBuf, OsString)> {
    let mut way: VecDeque<OsString> = parts(&std::path::absolute(file).unwrap_or_else(|_| file.to_owned())).collect();
    let mut trail = Vec::new();
    let mut at = PathBuf::from("/");
    while let Some(part) = way.pop_front() {
        if part == ".." {
            at.pop();
            continue;
        }
        let next = at.join(&part);
        match next.read_link() {
            Ok(link) if trail.len() < MOST_LINKS => {
                trail.push((at.clone(), part));
                if link.is_absolute() {
                    at = PathBuf::from("/");
                }
                for part in parts(&link).collect::<Vec<_>>().into_iter().rev() {
                    way.push_front(part);
                }
            }
            _ => {
                if way.is_empty() {
                    trail.push((at.clone(), part));
                }
                at = next;
            }
        }
    }
    trail
}

fn parts(path: &Path) -> impl Iterator<Item = OsString> + '_ {
    path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::path::PathBuf;

    use std::time::Duration;

    use tokio::sync::watch;

    use super::{Digests, trail, watch as watch_files};
    use crate::app::reload::ReloadHandle;
    use crate::config::digests_since;

    fn digests(files: &[PathBuf]) -> Digests {
        digests_since(&files.iter().map(|file| (file.clone(), 0)).collect()).0
    }

    #[tokio::test]
    async fn what_has_changed_since_it_was_read_is_noticed_although_nobody_looked() {
        let home = tempfile::tempdir().expect("a directory");
        let files = [home.path().join("a.toml")];
        std::fs::write(&files[0], "as it was read").expect("a file");
        let read = digests(&files);
        std::fs::write(&files[0], "as it is now").expect("a file");
        let (listed, watched) = watch::channel(read.clone());
        let (handle, mut orders) = ReloadHandle::new();
        let noticed = async {
            let (cause, told) = orders.recv().await.expect("an order");
            assert_eq!(cause, super::CAUSE);
            // A reload that has read what was there in between, and another one's that reads another file.
            std::fs::write(&files[0], "as it was read the second time").expect("a file");
            let second = digests(&files);
            std::fs::write(&files[0], "as it is in the end").expect("a file");
            listed.send_replace(second);
            drop(told);
            let (_, told) = orders.recv().await.expect("a second order");
            listed.send_replace(digests(&files));
            drop(told);
            assert!(tokio::time::timeout(Duration::from_millis(500), orders.recv()).await.is_err(), "nothing is left");
        };
        let noticed = tokio::time::timeout(Duration::from_secs(30), noticed);
        tokio::select! {
            noticed = noticed => noticed.expect("it is noticed"),
            () = watch_files(watched, handle) => panic!("it goes on watching"),
        }
    }

    #[tokio::test]
    async fn a_reload_that_failed_for_what_passes_is_asked_for_again_and_no_other() {
        let home = tempfile::tempdir().expect("a directory");
        let files = [home.path().join("a.toml")];
        std::fs::write(&files[0], "as it was read").expect("a file");
        let (_listed, watched) = watch::channel(digests(&files));
        std::fs::write(&files[0], "as it is now").expect("a file");
        let (handle, mut orders) = ReloadHandle::new();
        let asked = async {
            let fail = |told: Option<tokio::sync::oneshot::Sender<_>>, problem: &str| {
                told.expect("somebody waits").send(Err(vec![problem.to_owned()])).expect("somebody waits");
            };
            let (_, told) = orders.recv().await.expect("an order");
            fail(told, "a.toml:1:1: the configuration cannot be read: Too many open files (os error 24)");
            let (_, told) = orders.recv().await.expect("another, by itself");
            fail(told, "a.toml:1:1: not valid TOML");
            let longer = super::FIRST_PAUSE + Duration::from_secs(1);
            assert!(tokio::time::timeout(longer, orders.recv()).await.is_err(), "that is told once");
        };
        let asked = tokio::time::timeout(Duration::from_secs(60), asked);
        tokio::select! {
            asked = asked => asked.expect("it is asked for again"),
            () = watch_files(watched, handle) => panic!("it goes on watching"),
        }
    }

    #[test]
    fn the_way_to_a_mounted_file_leads_over_its_links() {
        // As Kubernetes mounts a ConfigMap.
        let home = tempfile::tempdir().expect("a directory");
        let root = home.path().canonicalize().expect("a path");
        std::fs::create_dir(root.join("..2024")).expect("a directory");
        std::fs::write(root.join("..2024/a.toml"), "").expect("a file");
        symlink("..2024", root.join("..data")).expect("a link");
        symlink("..data/a.toml", root.join("a.toml")).expect("a link");
        let found = trail(&root.join("a.toml"));
        let expected =
            [(root.clone(), "a.toml".into()), (root.clone(), "..data".into()), (root.join("..2024"), "a.toml".into())];
        assert_eq!(found, expected);
        symlink("loop", root.join("loop")).expect("a link");
        assert!(trail(&root.join("loop")).len() <= super::MOST_LINKS + 1);
        assert_eq!(trail(&root.join("no/such")), [(root.join("no"), "such".into())]);
    }
}
