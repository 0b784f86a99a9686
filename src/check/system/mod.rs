//! `system`: CPU, memory, disk and open files, of the container before those of the host.

mod cgroup;
mod host;

use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::time::Instant;

use self::cgroup::Cgroups;
use self::host::Ticks;
use super::single::Single;
use super::{Check, Defaults, Kind, Prepare, Resources};
use crate::health::{Fact, Facts, Finding, Reason};
use crate::settings::{Node, Problems, Setting, Size, Value};

pub(super) const KIND: Kind = Kind::of::<System>(
    "system",
    "Looks at CPU, memory, disk and open files: the container's limits before the host's.",
    Defaults { interval: "10s", timeout: "5s", failure_threshold: "3", on_failure: "degraded" },
);

crate::settings! {
    /// Settings of a `system` check. What has no limit here is told, and not judged.
    pub struct System {
        /// More than this of the CPU time that we may use, since the last run.
        max_cpu_percent: Option<Percent>,
        /// More than this of the memory that we may use, without the page cache.
        max_memory_used_percent: Option<Percent>,
        /// Less than this left on the file system of `path`.
        min_disk_free: Option<Size>,
        /// Whose file system is looked at.
        path: PathBuf = "/",
        /// A process that we see has more than this of the open files that it may have.
        max_fd_percent: Option<Percent>,
    }
}

/// From 0 to 100.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Percent(f64);

impl Setting for Percent {
    const EXPECTS: &'static str = "a number from 0 to 100";

    fn read(node: &Node, path: &str, problems: &Problems) -> Option<Self> {
        let number = match &node.value {
            Value::Integer(number) => *number as f64,
            Value::Float(number) => *number,
            _ => f64::NAN,
        };
        if (0.0..=100.0).contains(&number) {
            return Some(Self(number));
        }
        problems.add(&node.origin, format!("`{path}` must be {}", Self::EXPECTS));
        None
    }
}

impl Prepare for System {
    fn prepare(&self, _: &Resources) -> Result<Box<dyn Check>, String> {
        Ok(Box::new(SystemCheck { settings: self.clone(), before: None, look: Single::default() }))
    }
}

struct SystemCheck {
    settings: System,
    /// CPU time is told from run to run.
    before: Option<CpuTime>,
    look: Single<Sample>,
}

/// Without an earlier run CPU time is looked at over so long.
const FIRST_LOOK: Duration = Duration::from_millis(200);

/// One look at everything.
struct Sample {
    cpu: Option<CpuTime>,
    memory: Option<MemoryUse>,
    /// All, and what is left.
    disk: Result<(u64, u64), String>,
    descriptors: Option<f64>,
}

/// CPU time since some beginning.
#[derive(Clone, Copy, Debug)]
enum CpuTime {
    /// Of a group with a quota of so many CPUs.
    Group {
        at: Instant,
        cores: f64,
        used: Duration,
    },
    Host(Ticks),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct MemoryUse {
    limit: u64,
    available: u64,
}

impl Check for SystemCheck {
    fn run(&mut self) -> BoxFuture<'_, Finding> {
        Box::pin(async {
            if self.before.is_none() {
                let settings = self.settings.clone();
                self.before = self.look.run(move || settings.look(Path::new("/"))).await.cpu;
                tokio::time::sleep(FIRST_LOOK).await;
            }
            let settings = self.settings.clone();
            let sample = self.look.run(move || settings.look(Path::new("/"))).await;
            let cpu = self.before.zip(sample.cpu).and_then(|(before, now)| now.percent_since(before));
            self.before = sample.cpu;
            self.settings.judge(cpu, &sample)
        })
    }
}

impl CpuTime {
    fn look(groups: &Cgroups) -> Option<Self> {
        match groups.cpu() {
            Some(cpu) => Some(Self::Group { at: Instant::now(), cores: cpu.cores, used: cpu.used }),
            None => host::ticks().map(Self::Host),
        }
    }

    /// `None` over no time, and where the limit became another kind of limit.
    fn percent_since(self, before: Self) -> Option<f64> {
        let (used, all) = match (before, self) {
            (Self::Group { at, used, .. }, Self::Group { at: now, cores, used: more }) => {
                let spent = more.checked_sub(used)?.as_secs_f64();
                (spent, now.saturating_duration_since(at).as_secs_f64() * cores)
            }
            (Self::Host(before), Self::Host(now)) => {
                (now.busy.checked_sub(before.busy)? as f64, now.all.checked_sub(before.all)? as f64)
            }
            _ => return None,
        };
        (all > 0.0).then(|| (used * 100.0 / all).min(100.0))
    }
}

impl MemoryUse {
    /// A limit above what the machine has is none.
    fn look(groups: &Cgroups) -> Option<Self> {
        let host = host::memory();
        let group = groups.memory().filter(|group| host.is_none_or(|(all, _)| group.limit < all));
        match group {
            Some(group) => Some(Self { limit: group.limit, available: group.limit.saturating_sub(group.used) }),
            None => host.map(|(limit, available)| Self { limit, available }),
        }
    }

    fn used_percent(self) -> f64 {
        let used = self.limit.saturating_sub(self.available);
        if self.limit == 0 { 0.0 } else { used as f64 * 100.0 / self.limit as f64 }
    }
}

impl System {
    /// Blocks as long as the file systems do.
    fn look(&self, root: &Path) -> Sample {
        let groups = Cgroups::find(root);
        Sample {
            cpu: CpuTime::look(&groups),
            memory: MemoryUse::look(&groups),
            disk: host::disk(&self.path).map_err(|error| error.to_string()),
            // Every process is looked at for it: only for who wants to know.
            descriptors: self.max_fd_percent.and_then(|_| host::descriptors_percent()),
        }
    }

    fn judge(&self, cpu: Option<f64>, sample: &Sample) -> Finding {
        let memory = sample.memory.map(MemoryUse::used_percent);
        let disk = sample.disk.as_ref().ok();
        let mut facts = Facts::default();
        facts.public("cpu_used_percent", cpu.map(tenths));
        facts.public("memory_available_mb", sample.memory.map(|memory| memory.available >> 20));
        facts.public("memory_total_mb", sample.memory.map(|memory| memory.limit >> 20));
        facts.public("memory_used_percent", memory.map(tenths));
        facts.public("disk_free_mb", disk.map(|(_, free)| free >> 20));
        let disk_used =
            |(all, free): &(u64, u64)| tenths(all.saturating_sub(*free) as f64 * 100.0 / (*all).max(1) as f64);
        facts.public("disk_used_percent", disk.map(disk_used));
        facts.public("fd_used_percent", sample.descriptors.map_or(Fact::Null, |percent| tenths(percent).into()));

        let above = |limit: Option<Percent>, now: Option<f64>| limit.map(|limit| now.map(|now| now > limit.0));
        let judged = [
            (above(self.max_memory_used_percent, memory), "memory_short", "uses too much of its memory"),
            (
                self.min_disk_free.map(|least| disk.map(|(_, free)| *free < least.0)),
                "disk_short",
                "has too little left on its disk",
            ),
            (above(self.max_fd_percent, sample.descriptors), "descriptors_short", "has too many files open"),
            (above(self.max_cpu_percent, cpu), "cpu_busy", "uses too much of its CPU time"),
        ];
        for (verdict, code, sentence) in judged {
            match verdict {
                Some(Some(true)) => return Finding::fail(Reason::new(code, sentence), facts),
                Some(None) => {
                    let private = sample.disk.as_ref().err().cloned().unwrap_or_else(|| code.to_owned());
                    let reason = Reason::new("not_measured", "cannot be measured").with_private(private);
                    return Finding::inconclusive(reason, facts);
                }
                Some(Some(false)) | None => {}
            }
        }
        Finding::pass(facts)
    }
}

/// To a tenth, as people read percents.
fn tenths(percent: f64) -> f64 {
    (percent * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::{CpuTime, MemoryUse, Percent, Sample, System, Ticks};
    use crate::health::{Fact, Outcome};
    use crate::settings::Size;

    const GIB: u64 = 1 << 30;

    fn settings() -> System {
        System {
            max_cpu_percent: Some(Percent(90.0)),
            max_memory_used_percent: Some(Percent(80.0)),
            min_disk_free: Some(Size(GIB)),
            path: "/".into(),
            max_fd_percent: Some(Percent(50.0)),
        }
    }

    fn sample() -> Sample {
        let memory = MemoryUse { limit: 10 * GIB, available: 2 * GIB };
        Sample { cpu: None, memory: Some(memory), disk: Ok((4 * GIB, GIB)), descriptors: Some(50.0) }
    }

    #[test]
    fn limits_are_limits() {
        let code = |cpu: Option<f64>, sample: &Sample| settings().judge(cpu, sample).reason.map(|reason| reason.code);
        assert_eq!(code(Some(90.0), &sample()), None);
        assert_eq!(code(Some(90.1), &sample()), Some("cpu_busy"));
        assert_eq!(code(None, &sample()), Some("not_measured"));
        let memory = MemoryUse { limit: 10 * GIB, available: 2 * GIB - 1 };
        assert_eq!(code(Some(0.0), &Sample { memory: Some(memory), ..sample() }), Some("memory_short"));
        assert_eq!(code(Some(0.0), &Sample { disk: Ok((GIB, GIB - 1)), ..sample() }), Some("disk_short"));
        assert_eq!(code(Some(0.0), &Sample { disk: Err("no such path".into()), ..sample() }), Some("not_measured"));
        assert_eq!(code(Some(0.0), &Sample { descriptors: Some(50.1), ..sample() }), Some("descriptors_short"));
        let finding = settings().judge(Some(12.345), &sample());
        for (name, expected) in [
            ("cpu_used_percent", Fact::Number(12.3)),
            ("memory_available_mb", Fact::Count(2048)),
            ("memory_used_percent", Fact::Number(80.0)),
            ("disk_free_mb", Fact::Count(1024)),
            ("disk_used_percent", Fact::Number(75.0)),
        ] {
            assert_eq!(finding.facts.get(name), Some(&expected), "{name}");
        }
        let unjudged = System {
            max_cpu_percent: None,
            max_memory_used_percent: None,
            min_disk_free: None,
            max_fd_percent: None,
            ..settings()
        };
        let nothing = Sample { cpu: None, memory: None, disk: Err(String::new()), descriptors: None };
        assert_eq!(unjudged.judge(None, &nothing).outcome, Outcome::Pass, "what has no limit is not judged");
    }

    #[test]
    fn cpu_time_is_of_what_may_be_used() {
        let at = Instant::now();
        let group = |seconds: u64, used: f64| CpuTime::Group {
            at: at + Duration::from_secs(seconds),
            cores: 0.5,
            used: Duration::from_secs_f64(used),
        };
        assert_eq!(group(10, 3.5).percent_since(group(0, 1.0)), Some(50.0));
        assert_eq!(group(10, 30.0).percent_since(group(0, 1.0)), Some(100.0));
        assert_eq!(group(0, 1.0).percent_since(group(0, 1.0)), None, "over no time");
        assert_eq!(group(10, 1.0).percent_since(group(0, 2.0)), None, "it went backwards");
        let host = |busy, all| CpuTime::Host(Ticks { busy, all });
        assert_eq!(host(150, 300).percent_since(host(100, 200)), Some(50.0));
        assert_eq!(host(150, 300).percent_since(group(0, 1.0)), None);
    }
}
