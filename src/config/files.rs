use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher as _};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use super::{CheckConfig, Config};
use crate::admin::{Credentials, Place};
use crate::events::WebhookSettings;
use crate::settings::{Node, Value};

/// More of a file is not looked at: no configuration, key or certificate is so large.
const LARGEST: u64 = 4 * 1024 * 1024;

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

    /// What this process and a command with the same configuration have in common, for them to find each other: digests of
    /// the file and of where traffic comes in.
    #[must_use]
    pub fn place(&self) -> Place {
        let file = self.sources.file.as_ref().map(|file| file.canonicalize().unwrap_or_else(|_| file.clone()));
        let listen: Vec<String> = self.proxy.listen.iter().map(ToString::to_string).collect();
        Place { file: short_digest(&file), listen: short_digest(&listen) }
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

/// A digest of what these files hold now; a file that cannot be read counts as that.
#[must_use]
pub fn digest(files: &[impl AsRef<Path>]) -> u64 {
    let mut hasher = DefaultHasher::new();
    for path in files {
        let path = path.as_ref();
        path.hash(&mut hasher);
        let mut content = Vec::new();
        let read = File::open(path).and_then(|file| file.take(LARGEST).read_to_end(&mut content));
        (read.is_ok(), content).hash(&mut hasher);
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::digest;

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
