use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// The file of a Unix socket that we have bound, removed once: when nobody new is taken, or else with the last user of the
/// listener.
///
/// It stands before its listener wherever the two are, so that it is dropped first: while the socket is open no other file
/// can get its inode.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    identity: Identity,
    removed: AtomicBool,
}

impl SocketFile {
    /// The file of a socket that was bound there just now.
    pub(super) fn bound(path: PathBuf) -> io::Result<Self> {
        let identity = Identity::of(&path)?;
        Ok(Self { path, identity, removed: AtomicBool::new(false) })
    }

    /// Removes it, but not what another process has bound there since.
    pub(super) fn remove(&self) {
        if !self.removed.swap(true, Relaxed) && Identity::of(&self.path).is_ok_and(|there| there == self.identity) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        self.remove();
    }
}

/// Tells a file from another one at the same place.
#[derive(Debug, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
}

impl Identity {
    fn of(path: &Path) -> io::Result<Self> {
        let file = std::fs::symlink_metadata(path)?;
        Ok(Self { device: file.dev(), inode: file.ino() })
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::{UnixListener, UnixStream};
    use std::time::Duration;

    use socket2::{Domain, SockAddr, Socket, Type};

    use super::super::{BindError, Bound};
    use crate::settings::Address;

    #[test]
    fn the_file_goes_with_the_last_user_of_its_listener() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("socket");
        let bound = Bound::bind(&Address::Unix(path.clone())).expect("a socket");
        let another_workers = bound.try_clone().expect("the same once more");
        drop(bound);
        assert!(UnixStream::connect(&path).is_ok());
        drop(another_workers);
        assert!(!path.exists());
    }

    #[test]
    fn a_file_that_somebody_else_has_put_there_stays() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("socket");
        let bound = Bound::bind(&Address::Unix(path.clone())).expect("a socket");
        std::fs::remove_file(&path).expect("our file");
        let _replacement = UnixListener::bind(&path).expect("a socket");
        drop(bound);
        assert!(UnixStream::connect(&path).is_ok());
    }

    #[test]
    fn what_is_no_socket_stays_where_it_is() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("data");
        std::fs::write(&path, "somebody's").expect("a file");
        for there in [path.clone(), directory.path().to_owned()] {
            let refused = Bound::bind(&Address::Unix(there)).expect_err("no socket");
            assert!(matches!(refused, BindError::NoSocket(_)), "{refused}");
        }
        assert_eq!(std::fs::read_to_string(&path).expect("the file"), "somebody's");
    }

    #[test]
    fn a_file_is_left_behind_when_nobody_answers_and_not_when_the_queue_is_full() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("socket");
        let busy = Socket::new(Domain::UNIX, Type::STREAM, None).expect("a socket");
        busy.bind(&SockAddr::unix(&path).expect("an address")).expect("a socket file");
        busy.listen(0).expect("listening");
        let _queued = UnixStream::connect(&path).expect("room for one");
        let (bound, outcome) = std::sync::mpsc::sync_channel(1);
        let address = Address::Unix(path.clone());
        std::thread::spawn(move || bound.send(Bound::bind(&address)));
        let bound = outcome.recv_timeout(Duration::from_secs(20)).expect("it does not wait");
        assert!(matches!(bound, Err(BindError::Taken(_))), "{bound:?}");
        drop(busy);
        assert!(Bound::bind(&Address::Unix(path)).is_ok());
    }
}
