use std::hash::{DefaultHasher, Hash, Hasher as _};
use std::io::{self, Read as _};
use std::path::{Component, Path, PathBuf};

use super::{CheckConfig, Config};
use crate::admin::{Credentials, Place};
use crate::events::WebhookSettings;
use crate::settings::{Address, Node, Value, open_ordinary};
use crate::shortage::passes;

/// More of a file is not looked at: no configuration, key or certificate is so large.
const LARGEST: u64 = 4 * 1024 * 1024;

/// The same of what is known without reading the rest. The file counts by its name, not by what the name leads to: in
/// Kubernetes that is another file after each change, and the process is the same.
pub(super) fn place(file: Option<&Path>, listen: &[Address]) -> Place {
    let file = file.map(|file| std::path::absolute(file).unwrap_or_else(|_| file.to_owned()));
    let file = file.map(|file| {
        file.components().fold(PathBuf::new(), |mut way, part| {
            if part == Component::ParentDir {
                way.pop();
            } else {
                way.push(part);
            }
            way
        })
    });
    let listen: Vec<String> = listen.iter().map(ToString::to_string).collect();
    Place { file: short_digest(&file), listen: short_digest(&listen) }
}

fn short_digest(value: &impl Hash) -> u32 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish() as u32
}

impl Config {
    /// The files that it was read from, secrets and certificates included, each once.
    #[must_use]
    pub fn files(&self) -> Vec<PathBuf> {
        let mut files: Vec<PathBuf> = self.sources.file.iter().cloned().collect();
        files.extend(Credentials::files(&self.admin));
        files.extend(self.proxy.tls.files());
        files.extend(self.events.webhooks.0.iter().flat_map(WebhookSettings::files));
        files.extend(self.admin.tls.server().files());
        files.extend(self.proxy.upstream_tls.files());
        files.extend(self.checks.iter().flat_map(CheckConfig::files));
        files.sort();
        files.dedup();
        files
    }

    /// What the files held that it was read from: its own file as it was read, the others as they are now.
    #[must_use]
    pub fn states(&self) -> Digests {
        let own = self.sources.file.as_ref();
        let others: Vec<PathBuf> = self.files().into_iter().filter(|file| Some(file) != own).collect();
        own.cloned().zip(self.state).into_iter().chain(digests(&others)).collect()
    }

    /// What this process and a command with the same configuration have in common, for them to find each other: digests of
    /// the file and of where traffic comes in.
    #[must_use]
    pub fn place(&self) -> Place {
        place(self.sources.file.as_deref(), &self.proxy.listen)
    }

    /// A digest of where the app is and how it is spoken to.
    #[must_use]
    pub fn app(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.proxy.upstream.to_string().hash(&mut hasher);
        if let Some(Node { value: Value::Table(proxy), .. }) = self.tree.get("proxy") {
            proxy.get("upstream_tls").map(ToString::to_string).hash(&mut hasher);
        }
        digest(&self.proxy.upstream_tls.files()).hash(&mut hasher);
        hasher.finish()
    }
}

/// A digest of what these files hold now; that one cannot be read is a state too.
#[must_use]
pub(super) fn digest(files: &[impl AsRef<Path>]) -> u64 {
    let mut hasher = DefaultHasher::new();
    for path in files {
        add_state(&mut hasher, path.as_ref(), content(path.as_ref()).ok().as_deref());
    }
    hasher.finish()
}

fn content(path: &Path) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    open_ordinary(path)?.take(LARGEST).read_to_end(&mut content)?;
    Ok(content)
}

/// The same of one file whose content has just been read.
pub(super) fn digest_of_content(path: &Path, content: Option<&[u8]>) -> u64 {
    let mut hasher = DefaultHasher::new();
    add_state(&mut hasher, path, content);
    hasher.finish()
}

fn add_state(hasher: &mut DefaultHasher, path: &Path, content: Option<&[u8]>) {
    (path, content).hash(hasher);
}

/// What files held, each with a digest of it.
pub type Digests = Vec<(PathBuf, u64)>;

/// What these files hold now.
#[must_use]
pub(super) fn digests(files: &[PathBuf]) -> Digests {
    files.iter().map(|file| (file.clone(), digest(&[file]))).collect()
}

/// What these files hold now, since it was this. One that cannot be read for what may pass is taken to hold what it held, and
/// the first such error is told.
#[must_use]
pub fn digests_since(last: &Digests) -> (Digests, Option<io::Error>) {
    let mut unread = None;
    let now = last.iter().map(|(file, before)| match content(file) {
        Err(error) if passes(&error) => {
            unread.get_or_insert(error);
            (file.clone(), *before)
        }
        read => (file.clone(), digest_of_content(file, read.ok().as_deref())),
    });
    (now.collect(), unread)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{digest, digests, place};
    use crate::config::{Config, Sources};

    #[test]
    fn a_file_is_where_its_name_says_whatever_it_leads_to() {
        let home = tempfile::tempdir().expect("a directory");
        let named = home.path().join("a.toml");
        let of = |file: &Path| place(Some(file), &[]);
        let before = of(&named);
        for version in ["1", "2"] {
            let _ = std::fs::remove_file(&named);
            std::fs::write(home.path().join(version), "").expect("a file");
            std::os::unix::fs::symlink(version, &named).expect("a link");
            assert_eq!(of(&named), before);
        }
        assert_eq!(of(&home.path().join("b/../a.toml")), before);
        assert_eq!(of(Path::new("a.toml")), of(&std::env::current_dir().expect("a directory").join("./a.toml")));
        assert!(of(Path::new("a.toml")) != before && place(None, &[]) != before);
    }

    #[test]
    fn the_state_of_a_configuration_is_that_of_its_reading() {
        let home = tempfile::tempdir().expect("a directory");
        let file = home.path().join("a.toml");
        std::fs::write(&file, "preset = \"none\"").expect("written");
        let then = digests(std::slice::from_ref(&file));
        let config = Config::load(&Sources { file: Some(file.clone()), ..Sources::default() }).expect("valid");
        assert_eq!(config.states(), then);
        std::fs::write(&file, "preset = \"none\" # another").expect("written");
        assert_eq!(config.states(), then, "whatever it holds by now");
        assert_ne!(digests(&[file]), then);
    }

    #[test]
    fn it_follows_what_files_hold_and_not_when_they_were_written() {
        let home = tempfile::tempdir().expect("a directory");
        let file = [home.path().join("a")];
        let missing = digest(&file);
        std::fs::write(&file[0], "one").expect("written");
        let one = digest(&file);
        std::fs::write(&file[0], "two").expect("written");
        let two = digest(&file);
        std::fs::write(&file[0], "one").expect("written");
        assert_eq!(digest(&file), one);
        assert!(missing != one && one != two && missing != two);
    }
}
