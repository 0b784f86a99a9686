use std::path::{Path, PathBuf};
use std::time::Duration;

/// The control groups that this process is in, as far as it sees them: its own, and those around it up to the mount.
#[derive(Debug, Default)]
pub(super) struct Cgroups {
    memory: Option<Tree>,
    cpu: Option<Tree>,
    /// Of version 1, which counts CPU time in a hierarchy that may be another one.
    cpuacct: Option<Tree>,
}

/// Where one hierarchy is, and where we are in it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Tree {
    version: Version,
    mount: PathBuf,
    own: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    V1,
    V2,
}

/// Memory under a limit, in bytes. `used` is without the page cache, which the kernel gives back before it kills.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Memory {
    pub(super) limit: u64,
    pub(super) used: u64,
}

/// CPU time under a quota.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Cpu {
    /// So many CPUs' time it may use.
    pub(super) cores: f64,
    /// It has used so much since it began.
    pub(super) used: Duration,
}

/// Nobody nests deeper.
const MOST_LEVELS: usize = 32;

impl Cgroups {
    /// Finds them. `root` stands before every absolute path; it is / but for tests.
    pub(super) fn find(root: &Path) -> Self {
        let read = |path: &str| text(&root.join(path.trim_start_matches('/'))).unwrap_or_default();
        let (groups, mounts) = (read("/proc/self/cgroup"), read("/proc/self/mountinfo"));
        let place = |controller| Tree::find(&groups, &mounts, controller).map(|tree| tree.below(root));
        Self { memory: place("memory"), cpu: place("cpu"), cpuacct: place("cpuacct") }
    }

    /// Memory of the group that has the least left.
    pub(super) fn memory(&self) -> Option<Memory> {
        let tree = self.memory.as_ref()?;
        let levels = tree.levels().filter_map(|level| memory(tree.version, &level));
        levels.min_by_key(|memory| memory.limit.saturating_sub(memory.used))
    }

    /// CPU time of the group with the smallest quota.
    pub(super) fn cpu(&self) -> Option<Cpu> {
        let tree = self.cpu.as_ref()?;
        let accounts: Vec<PathBuf> = match tree.version {
            Version::V2 => tree.levels().collect(),
            Version::V1 => self.cpuacct.as_ref()?.levels().collect(),
        };
        let levels = tree.levels().zip(accounts).filter_map(|(level, account)| cpu(tree.version, &level, &account));
        levels.min_by(|one, other| one.cores.total_cmp(&other.cores))
    }
}

impl Tree {
    /// Version 1 if a hierarchy of it has the controller, else version 2.
    fn find(groups: &str, mounts: &str, controller: &str) -> Option<Self> {
        let lines = groups.lines().filter_map(|line| {
            let (_, rest) = line.split_once(':')?;
            rest.split_once(':')
        });
        let mut unified = None;
        for (controllers, path) in lines {
            if controllers.split(',').any(|known| known == controller) {
                return Self::mounted(mounts, Version::V1, controller, path);
            }
            if controllers.is_empty() {
                unified = Some(path);
            }
        }
        Self::mounted(mounts, Version::V2, controller, unified?)
    }

    /// Where a hierarchy is mounted (proc(5), /proc/PID/mountinfo): `ID PARENT DEVICE ROOT POINT … - TYPE SOURCE OPTIONS`.
    fn mounted(mounts: &str, version: Version, controller: &str, path: &str) -> Option<Self> {
        mounts.lines().find_map(|line| {
            let (before, after) = line.split_once(" - ")?;
            let mut after = after.split(' ');
            let (kind, options) = (after.next()?, after.nth(1).unwrap_or_default());
            let fits = match version {
                Version::V1 => kind == "cgroup" && options.split(',').any(|option| option == controller),
                Version::V2 => kind == "cgroup2",
            };
            let mut before = before.split(' ').skip(3).map(unescape);
            let (top, mount) = (before.next()?, before.next()?);
            // Within a namespace of its own, the top of the mount is the group itself, however it is called outside.
            let own = Path::new(path).strip_prefix(&top).ok().filter(|own| !own.starts_with(".."));
            fits.then(|| Self { version, mount: mount.into(), own: own.unwrap_or(Path::new("")).to_owned() })
        })
    }

    fn below(self, root: &Path) -> Self {
        let mount = root.join(self.mount.strip_prefix("/").unwrap_or(&self.mount));
        Self { mount, ..self }
    }

    /// Our own group's directory, and those above it.
    fn levels(&self) -> impl Iterator<Item = PathBuf> {
        self.own.ancestors().take(MOST_LEVELS).map(|level| self.mount.join(level))
    }
}

/// Space and the like are written in octal.
fn unescape(text: &str) -> String {
    ["\\040", "\\011", "\\012", "\\134"]
        .iter()
        .zip([" ", "\t", "\n", "\\"])
        .fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
}

fn memory(version: Version, level: &Path) -> Option<Memory> {
    let (limit, usage, caches) = match version {
        Version::V2 => ("memory.max", "memory.current", ["inactive_file", "active_file"]),
        Version::V1 => ("memory.limit_in_bytes", "memory.usage_in_bytes", ["total_inactive_file", "total_active_file"]),
    };
    // "max" is no number, and no limit.
    let limit = number(&level.join(limit)).filter(|limit| *limit < NO_LIMIT)?;
    let usage = number(&level.join(usage))?;
    let cached =
        text(&level.join("memory.stat")).map_or(0, |stat| caches.iter().filter_map(|key| field(&stat, key)).sum());
    Some(Memory { limit, used: usage.saturating_sub(cached) })
}

/// Version 1 writes "no limit" as the largest number of whole pages.
const NO_LIMIT: u64 = 1 << 60;

fn cpu(version: Version, level: &Path, account: &Path) -> Option<Cpu> {
    let (quota, period, used) = match version {
        Version::V2 => {
            let max = text(&level.join("cpu.max"))?;
            let (quota, period) = max.trim().split_once(' ')?;
            let used = field(&text(&level.join("cpu.stat"))?, "usage_usec")?;
            (quota.parse().ok()?, period.parse().ok()?, Duration::from_micros(used))
        }
        Version::V1 => {
            // -1 is no number of these, and no quota.
            let (quota, period) = (number(&level.join("cpu.cfs_quota_us"))?, number(&level.join("cpu.cfs_period_us"))?);
            (quota, period, Duration::from_nanos(number(&account.join("cpuacct.usage"))?))
        }
    };
    let cores = quota as f64 / period as f64;
    (period > 0 && cores > 0.0).then_some(Cpu { cores, used })
}

/// `KEY VALUE`, one to a line.
fn field(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok())
}

fn number(path: &Path) -> Option<u64> {
    text(path)?.trim().parse().ok()
}

/// More of a file of the kernel's is not read.
const LARGEST: u64 = 1024 * 1024;

fn text(path: &Path) -> Option<String> {
    use std::io::Read as _;
    let mut text = String::new();
    std::fs::File::open(path).ok()?.take(LARGEST).read_to_string(&mut text).ok()?;
    Some(text)
}

#[cfg(test)]
mod tests;
