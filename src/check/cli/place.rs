use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

use super::super::procfs::listener_of;
use crate::settings::Environment;

/// The file system and the few variables through which a CLI is looked for: our own, or another container's.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// What is laid before absolute paths: empty, or `/proc/PID/root`.
    root: PathBuf,
    /// Where relative paths begin.
    directory: PathBuf,
    /// `PATH`.
    path: String,
    /// `HOME`.
    pub(crate) home: Option<PathBuf>,
    /// `VIRTUAL_ENV`.
    virtual_env: Option<PathBuf>,
    /// Whether programs found there can be run by us.
    pub(crate) ours: bool,
}

impl Place {
    /// Our own file system.
    pub(crate) fn own(environment: &Environment) -> Self {
        Self {
            root: PathBuf::new(),
            directory: std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/")),
            path: environment.get("PATH").unwrap_or_default().to_owned(),
            home: environment.get("HOME").map(PathBuf::from),
            virtual_env: environment.get("VIRTUAL_ENV").map(PathBuf::from),
            ours: true,
        }
    }

    /// The file system of the process that listens on a port, through a shared process namespace. Of its environment
    /// only where to look is read.
    ///
    /// # Errors
    /// A sentence with the remedy, when the process or its files cannot be seen.
    pub(crate) fn of_listener(port: u16) -> Result<Self, String> {
        let process = listener_of(port).ok_or_else(|| {
            format!("no process that we can see listens on port {port}: share the pod's process namespace and run as the app's user")
        })?;
        let base = PathBuf::from(format!("/proc/{}", process.pid));
        let root = base.join("root");
        if let Err(error) = std::fs::metadata(root.join(".")) {
            return Err(format!("the app's files cannot be seen ({error}): run the sidecar as the app's user"));
        }
        let environment = process.environ().unwrap_or_default();
        let get = |name: &str| environment.get(OsStr::new(name)).map(PathBuf::from);
        Ok(Self {
            root,
            directory: std::fs::read_link(base.join("cwd")).unwrap_or_else(|_| PathBuf::from("/")),
            path: get("PATH").map(|path| path.to_string_lossy().into_owned()).unwrap_or_default(),
            home: get("HOME"),
            virtual_env: get("VIRTUAL_ENV"),
            ours: false,
        })
    }

    /// The directories where CLIs live, in the order of the look-up, each once.
    pub(crate) fn directories(&self) -> Vec<PathBuf> {
        let mut found: Vec<PathBuf> = Vec::new();
        let on_path = self.path.split(':').filter(|part| !part.is_empty()).map(PathBuf::from);
        let local = self.home.iter().map(|home| home.join(".local/bin"));
        let usual = ["/usr/local/bin", "/usr/bin"].into_iter().map(PathBuf::from);
        let project = std::iter::once(self.directory.join("node_modules/.bin"));
        for directory in on_path.chain(local).chain(usual).chain(project) {
            let directory = self.directory.join(directory);
            if !found.contains(&directory) && found.len() < DIRECTORIES {
                found.push(directory);
            }
        }
        found
    }

    /// The `site-packages` directories of the Pythons that are there.
    pub(crate) fn site_packages(&self) -> Vec<PathBuf> {
        let prefixes = [
            self.virtual_env.clone(),
            self.home.as_ref().map(|home| home.join(".local")),
            Some(PathBuf::from("/usr/local")),
            Some(PathBuf::from("/usr")),
        ];
        let mut found = Vec::new();
        for prefix in prefixes.into_iter().flatten() {
            let lib = prefix.join("lib");
            let Ok(entries) = std::fs::read_dir(self.real(&lib)) else {
                continue;
            };
            let pythons = entries.flatten().map(|entry| entry.file_name());
            for python in pythons.filter(|name| name.as_bytes().starts_with(b"python3")).take(PYTHONS) {
                found.push(lib.join(&python).join("site-packages"));
                found.push(lib.join(&python).join("dist-packages"));
            }
        }
        found.sort();
        found
    }

    /// Where a path of that place is for us. Symbolic links are followed inside the place, not inside ours.
    pub(crate) fn real(&self, path: &Path) -> PathBuf {
        if self.root.as_os_str().is_empty() { path.to_owned() } else { self.resolve(path) }
    }

    /// The file that a path leads to in the end, links followed.
    pub(crate) fn canonical(&self, path: &Path) -> PathBuf {
        if self.root.as_os_str().is_empty() {
            std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
        } else {
            self.resolve(path)
        }
    }

    fn resolve(&self, path: &Path) -> PathBuf {
        let mut inside = PathBuf::from("/");
        let mut rest: Vec<PathBuf> = parts(path);
        let mut links = 0;
        while let Some(part) = rest.pop() {
            match part.components().next() {
                Some(Component::ParentDir) => {
                    inside.pop();
                }
                Some(Component::RootDir) => inside = PathBuf::from("/"),
                _ => {
                    inside.push(&part);
                    let target = std::fs::read_link(self.below_root(&inside));
                    if let (Ok(target), true) = (target, links < LINKS) {
                        links += 1;
                        inside.pop();
                        rest.extend(parts(&target));
                    }
                }
            }
        }
        self.below_root(&inside)
    }

    fn below_root(&self, path: &Path) -> PathBuf {
        self.root.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// A path as people may read it: the home directory, which names a user, is `~`.
    pub(crate) fn shown(&self, path: &Path) -> String {
        let home = self.home.as_ref().filter(|home| home.components().count() > 1);
        match home.and_then(|home| path.strip_prefix(home).ok()) {
            Some(rest) => format!("~/{}", rest.display()),
            None => path.display().to_string(),
        }
    }
}

/// At most so many directories are searched.
const DIRECTORIES: usize = 64;
/// At most so many Pythons below one prefix.
const PYTHONS: usize = 8;
/// At most so many symbolic links are followed, as the kernel does.
const LINKS: usize = 40;

/// The components of a path, last first.
fn parts(path: &Path) -> Vec<PathBuf> {
    path.components().rev().map(|part| PathBuf::from(part.as_os_str())).collect()
}
