use ::procfs::process::{FDTarget, Process, all_processes};

/// The process that listens on a TCP port of this network namespace, as far as `/proc` shows it.
pub(super) fn listener_of(port: u16) -> Option<Process> {
    let mut sockets = ::procfs::net::tcp().unwrap_or_default();
    sockets.extend(::procfs::net::tcp6().unwrap_or_default());
    let listening = |entry: &::procfs::net::TcpNetEntry| {
        entry.state == ::procfs::net::TcpState::Listen && entry.local_address.port() == port
    };
    let inodes: Vec<u64> = sockets.iter().filter(|entry| listening(entry)).map(|entry| entry.inode).collect();
    all_processes().ok()?.flatten().find(|process| {
        let Ok(descriptors) = process.fd() else { return false };
        descriptors
            .flatten()
            .any(|descriptor| matches!(descriptor.target, FDTarget::Socket(inode) if inodes.contains(&inode)))
    })
}

/// The oldest process whose name, or whose program's file name, is `name`.
pub(super) fn process_named(name: &str) -> Option<Process> {
    let named = |process: &Process| {
        process.stat().is_ok_and(|stat| stat.comm == name && stat.state != 'Z')
            || process.exe().is_ok_and(|exe| exe.file_name().is_some_and(|file| file == name))
    };
    let started = |process: &Process| process.stat().map_or(u64::MAX, |stat| stat.starttime);
    all_processes().ok()?.flatten().filter(named).min_by_key(started)
}

/// How long a process has been running, in seconds; `None` once it has ended.
pub(super) fn uptime_seconds(process: &Process) -> Option<f64> {
    use ::procfs::Current as _;
    let stat = process.stat().ok().filter(|stat| stat.state != 'Z')?;
    let up = ::procfs::Uptime::current().ok()?.uptime;
    let started = stat.starttime as f64 / ::procfs::ticks_per_second() as f64;
    Some((up - started).max(0.0))
}
