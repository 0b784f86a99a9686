use std::fmt;
use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rustix::fs::OFlags;

/// Opens a file that somebody named, links followed, if it is an ordinary one. A pipe would hold up whoever reads it until
/// somebody writes, and give what it holds once, while keys and certificates are read again and again; some devices take
/// being opened for an order. Blocks as long as the file system does.
///
/// # Errors
/// It cannot be opened, or is something else.
pub fn open_ordinary(path: &Path) -> io::Result<File> {
    // Looked at first: who waits for a reader at a pipe is not to take us for one.
    ordinary(&std::fs::metadata(path)?)?;
    // It may have become a pipe since.
    let file = OpenOptions::new().read(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed()).open(path)?;
    ordinary(&file.metadata()?)?;
    Ok(file)
}

fn ordinary(metadata: &Metadata) -> io::Result<()> {
    match (metadata.is_file(), metadata.is_dir()) {
        (true, _) => Ok(()),
        (false, true) => Err(io::ErrorKind::IsADirectory.into()),
        (false, false) => Err(io::Error::other(NoFile)),
    }
}

/// What is at a path is neither a file nor a directory.
#[derive(Debug)]
struct NoFile;

impl fmt::Display for NoFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("it is no ordinary file, and pipes and devices are not read")
    }
}

impl std::error::Error for NoFile {}

/// Whether [`open_ordinary`] refused what is there for what it is.
#[must_use]
pub fn is_no_file(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::IsADirectory || matches!(error.get_ref(), Some(inner) if inner.is::<NoFile>())
}
