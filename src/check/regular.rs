use std::fs::{File, Metadata};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// A regular file, open for reading.
#[derive(Debug)]
pub(super) struct Regular {
    pub(super) file: File,
    pub(super) metadata: Metadata,
}

/// Why a file was not opened.
#[derive(Debug)]
pub(super) enum Refused {
    /// Nothing of that name.
    Missing,
    /// A directory, a pipe, a socket or a device. It is not opened: a pipe would wait for its other end, and some
    /// devices take being opened for an order.
    NotAFile,
    /// It is there, and cannot be read.
    Unreadable(std::io::Error),
}

impl Regular {
    /// Opens a file, following symbolic links. Blocks as long as the file system does.
    pub(super) fn open(path: &Path) -> Result<Self, Refused> {
        let metadata = std::fs::metadata(path).map_err(Refused::of)?;
        if !metadata.is_file() {
            return Err(Refused::NotAFile);
        }
        let mut options = File::options();
        // Should it have become a pipe meanwhile: nothing is waited for.
        options.read(true).custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed());
        let file = options.open(path).map_err(Refused::of)?;
        let metadata = file.metadata().map_err(Refused::of)?;
        if metadata.is_file() { Ok(Self { file, metadata }) } else { Err(Refused::NotAFile) }
    }
}

impl Refused {
    pub(super) fn of(error: std::io::Error) -> Self {
        use std::io::ErrorKind::{NotADirectory, NotFound};
        if matches!(error.kind(), NotFound | NotADirectory) { Self::Missing } else { Self::Unreadable(error) }
    }
}
