use std::fmt;
use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read as _};
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

/// All of a small file, as [`open_ordinary`] opens it: who writes it need not be a friend, and a file can be larger than memory,
/// or without an end.
///
/// # Errors
/// It cannot be read, is something else than a file, or is larger than `most` bytes.
pub fn read_ordinary(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open_ordinary(path)?.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it has more than {most} bytes")));
    }
    Ok(bytes)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_file_or_has_no_end_is_not_read() {
        let directory = tempfile::tempdir().expect("a directory");
        let pipe = directory.path().join("pipe");
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RWXU).expect("a pipe");
        for path in [pipe.as_path(), directory.path(), Path::new("/dev/zero")] {
            let error = read_ordinary(path, 1024).expect_err("no file");
            assert!(is_no_file(&error), "{}: {error}", path.display());
        }
        let endless = directory.path().join("endless");
        std::os::unix::fs::symlink("/dev/zero", &endless).expect("a link");
        assert!(is_no_file(&read_ordinary(&endless, 1024).expect_err("no file, whatever it is called")));
    }

    #[test]
    fn a_file_may_be_exactly_as_large_as_was_said() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("file");
        std::fs::write(&path, [b'x'; 10]).expect("a file");
        assert_eq!(read_ordinary(&path, 10).expect("all of it"), [b'x'; 10]);
        assert_eq!(read_ordinary(&path, 9).expect_err("too much").kind(), io::ErrorKind::FileTooLarge);
    }
}
