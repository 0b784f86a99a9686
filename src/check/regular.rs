use std::fs::{File, Metadata};
use std::path::Path;

use crate::settings::{is_no_file, open_ordinary};

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
    /// A directory, a pipe, a socket or a device. It is not opened.
    NotAFile,
    /// It is there, and cannot be read.
    Unreadable(std::io::Error),
}

impl Regular {
    /// Opens a file, following symbolic links. Blocks as long as the file system does.
    pub(super) fn open(path: &Path) -> Result<Self, Refused> {
        let file = open_ordinary(path)
            .map_err(|error| if is_no_file(&error) { Refused::NotAFile } else { Refused::of(error) })?;
        let metadata = file.metadata().map_err(Refused::of)?;
        Ok(Self { file, metadata })
    }
}

impl Refused {
    pub(super) fn of(error: std::io::Error) -> Self {
        use std::io::ErrorKind::{NotADirectory, NotFound};
        if matches!(error.kind(), NotFound | NotADirectory) { Self::Missing } else { Self::Unreadable(error) }
    }
}
