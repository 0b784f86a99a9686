use std::path::{Path, PathBuf};

use futures_util::future::BoxFuture;
use rustix::fs::{Access, AtFlags, CWD, accessat};

use super::single::Single;
use super::{Check, Defaults, Kind, Prepare, Resources};
use crate::health::{Fact, Facts, Finding, Reason};

pub(super) const KIND: Kind = Kind::of::<Executable>(
    "executable",
    "Looks whether a program is there and may be run; it is not run.",
    Defaults { interval: "30s", timeout: "5s", failure_threshold: "1", on_failure: "unhealthy" },
);

crate::settings! {
    /// Settings of an `executable` check.
    pub struct Executable {
        /// The program's file name, or its absolute path.
        name: String,
        /// The directories to look in, in this order. Default: those of PATH.
        search: Vec<PathBuf> = "[]",
    }
}

/// More directories are no search path.
const MOST_DIRECTORIES: usize = 256;

impl Prepare for Executable {
    fn prepare(&self, resources: &Resources) -> Result<Box<dyn Check>, String> {
        let name = Path::new(&self.name);
        let plain = !self.name.is_empty() && !self.name.contains('/') && !matches!(&*self.name, "." | "..");
        if !plain && !name.is_absolute() {
            return Err("`executable.name` must be a file name, or an absolute path".into());
        }
        let directories: Vec<PathBuf> = match (self.search.as_slice(), resources.environment.get("PATH")) {
            // An empty part of PATH means the current directory, where no program of ours is looked for.
            ([], Some(path)) => path.split(':').filter(|part| part.starts_with('/')).map(PathBuf::from).collect(),
            (search, _) => search.to_vec(),
        };
        if directories.len() > MOST_DIRECTORIES {
            return Err("`executable.search` must not have more than 256 directories".into());
        }
        let candidates = if plain {
            directories.iter().map(|directory| directory.join(name)).collect()
        } else {
            vec![name.to_owned()]
        };
        Ok(Box::new(ExecutableCheck { candidates, look: Single::default() }))
    }
}

struct ExecutableCheck {
    candidates: Vec<PathBuf>,
    look: Single<Finding>,
}

impl Check for ExecutableCheck {
    fn run(&mut self) -> BoxFuture<'_, Finding> {
        let candidates = self.candidates.clone();
        Box::pin(self.look.run(move || look(&candidates)))
    }
}

/// The first that may be run, as `execvp` would take it.
fn look(candidates: &[PathBuf]) -> Finding {
    let mut facts = Facts::default();
    let may_run =
        |path: &&PathBuf| is_file(path) && accessat(CWD, path.as_path(), Access::EXEC_OK, AtFlags::EACCESS).is_ok();
    let found = candidates.iter().find(may_run);
    facts.public("found", found.is_some());
    facts.trusted("path", found.map_or(Fact::Null, |path| path.display().to_string().into()));
    if found.is_some() {
        return Finding::pass(facts);
    }
    let reason = match candidates.iter().find(|path| is_file(path)) {
        Some(path) => {
            Reason::new("not_executable", "is there, and may not be run").with_private(path.display().to_string())
        }
        None => {
            let searched: Vec<String> = candidates.iter().map(|path| path.display().to_string()).collect();
            Reason::new("executable_missing", "is not there").with_private(format!("searched {}", searched.join(", ")))
        }
    };
    Finding::fail(reason, facts)
}

fn is_file(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|metadata| metadata.is_file())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::look;
    use crate::health::Fact;

    #[test]
    fn the_first_that_may_be_run_is_it() {
        let home = tempfile::tempdir().expect("a directory");
        let [first, second] = ["a", "b"].map(|name| home.path().join(name).join("tool"));
        let code = || look(&[first.clone(), second.clone()]).reason.map(|reason| reason.code);
        assert_eq!(code(), Some("executable_missing"));
        std::fs::create_dir_all(&first).expect("a directory of that name");
        assert_eq!(code(), Some("executable_missing"));
        std::fs::create_dir_all(home.path().join("b")).expect("a directory");
        std::fs::write(&second, "#!/bin/sh\n").expect("a file");
        std::fs::set_permissions(&second, std::fs::Permissions::from_mode(0o644)).expect("permissions");
        assert_eq!(code(), Some("not_executable"));
        std::fs::set_permissions(&second, std::fs::Permissions::from_mode(0o755)).expect("permissions");
        let finding = look(&[first, second.clone()]);
        assert_eq!(finding.reason, None);
        assert_eq!(finding.facts.get("path"), Some(&Fact::from(second.display().to_string())));
    }
}
