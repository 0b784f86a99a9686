use std::path::Path;

use ::procfs::process::{LimitValue, Process, all_processes};
use ::procfs::{Current as _, CurrentSI as _, KernelStats, Meminfo};

/// What the whole machine has done since it started, in ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ticks {
    pub(super) busy: u64,
    pub(super) all: u64,
}

/// Waiting for disks is not work.
pub(super) fn ticks() -> Option<Ticks> {
    let total = KernelStats::current().ok()?.total;
    let idle = total.idle + total.iowait.unwrap_or(0);
    // Guests' time is a part of the users' already.
    let busy = total.user
        + total.nice
        + total.system
        + total.irq.unwrap_or(0)
        + total.softirq.unwrap_or(0)
        + total.steal.unwrap_or(0);
    Some(Ticks { busy, all: busy + idle })
}

/// Bytes of memory: all, and what is there for whoever asks, which includes the page cache that can be given back.
pub(super) fn memory() -> Option<(u64, u64)> {
    let info = Meminfo::current().ok()?;
    Some((info.mem_total, info.mem_available?))
}

/// Bytes of a file system: all, and what we may still write.
pub(super) fn disk(path: &Path) -> std::io::Result<(u64, u64)> {
    let found = rustix::fs::statvfs(path)?;
    Ok((found.f_blocks.saturating_mul(found.f_frsize), found.f_bavail.saturating_mul(found.f_frsize)))
}

/// More processes are not looked at.
const MOST_PROCESSES: usize = 4096;

/// The share of its open files that the process has used which is nearest to its limit, of those that we see and may look
/// into: in percent.
pub(super) fn descriptors_percent() -> Option<f64> {
    let processes = all_processes().ok()?.flatten().take(MOST_PROCESSES);
    processes.filter_map(|process| share(&process)).max_by(f64::total_cmp)
}

fn share(process: &Process) -> Option<f64> {
    let LimitValue::Value(limit) = process.limits().ok()?.max_open_files.soft_limit else { return None };
    let open = process.fd_count().ok()?;
    (limit > 0).then(|| open as f64 * 100.0 / limit as f64)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    #[test]
    fn this_machine_is_understood() {
        let (all, available) = super::memory().expect("memory");
        assert!(available > 0 && available <= all, "{available} of {all}");
        let ticks = super::ticks().expect("ticks");
        assert!(ticks.busy > 0 && ticks.busy <= ticks.all, "{ticks:?}");
        let (all, free) = super::disk(Path::new("/")).expect("a disk");
        assert!(all > 0 && free <= all, "{free} of {all}");
        assert!(super::disk(Path::new("/nonexistent")).is_err());
        let percent = super::descriptors_percent().expect("our own");
        assert!(percent > 0.0 && percent <= 100.0, "{percent}");
    }
}
