use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::super::preset::Preset;
use super::place::Place;

/// What the look-up found.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Presence {
    /// A file that can be run.
    Found {
        /// Where.
        path: PathBuf,
        /// Changes when the file does.
        stamp: Stamp,
    },
    /// Something of that name that cannot be run.
    NotExecutable {
        /// Where.
        path: PathBuf,
        /// What it is in place of a program.
        why: &'static str,
    },
    /// Nothing of that name.
    Missing,
}

/// Tells whether a file is still the same without reading it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: Option<SystemTime>,
}

/// The result of one look-up.
#[derive(Clone, Debug)]
pub(crate) struct Located {
    pub(crate) presence: Presence,
    /// Every path that was tried, in order, as people may read them.
    pub(crate) searched: Vec<String>,
}

/// Looks for a CLI: at `configured` alone, if there is one, because an operator who names a file means that file;
/// otherwise along the usual directories, where the first that can be run wins.
pub(crate) fn locate(preset: &Preset, command: &str, configured: Option<&Path>, place: &Place) -> Located {
    let candidates: Vec<PathBuf> = match configured {
        Some(path) => vec![path.to_owned()],
        None => {
            let directories = place.directories().into_iter().map(|directory| directory.join(command));
            let bundled = preset
                .bundled
                .into_iter()
                .flat_map(|file| place.site_packages().into_iter().map(move |packages| packages.join(file)));
            directories.chain(bundled).collect()
        }
    };
    let mut presence = Presence::Missing;
    for candidate in &candidates {
        match look(candidate, place) {
            found @ Presence::Found { .. } => {
                presence = found;
                break;
            }
            useless @ Presence::NotExecutable { .. } if presence == Presence::Missing => presence = useless,
            _ => {}
        }
    }
    Located { presence, searched: candidates.iter().map(|path| place.shown(path)).collect() }
}

fn look(path: &Path, place: &Place) -> Presence {
    let not_executable = |why| Presence::NotExecutable { path: path.to_owned(), why };
    match std::fs::metadata(place.real(path)) {
        Ok(metadata) if metadata.is_dir() => not_executable("a directory stands in its place"),
        Ok(metadata) if !metadata.is_file() => not_executable("something that is not a file stands in its place"),
        Ok(metadata) if metadata.mode() & 0o111 == 0 => not_executable("the file is not executable"),
        Ok(metadata) => {
            let (device, inode, size) = (metadata.dev(), metadata.ino(), metadata.size());
            let stamp = Stamp { device, inode, size, modified: metadata.modified().ok() };
            Presence::Found { path: path.to_owned(), stamp }
        }
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => not_executable("we may not look at it"),
        Err(_) => Presence::Missing,
    }
}
