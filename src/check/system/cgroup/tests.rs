//! Trees as the kernel shows them, written down from machines of each kind.

use std::path::Path;
use std::time::Duration;

use super::{Cgroups, Cpu, Memory};

const MIB: u64 = 1024 * 1024;

/// A root directory that holds these files.
fn root(files: &[(&str, &str)]) -> tempfile::TempDir {
    let root = tempfile::tempdir().expect("a directory");
    for (path, text) in files {
        let path = root.path().join(path.trim_start_matches('/'));
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        std::fs::write(path, text).expect("a file");
    }
    root
}

/// A pod's container with a namespace of its own, as containerd makes it on cgroup v2.
const V2: [(&str, &str); 7] = [
    ("/proc/self/cgroup", "0::/\n"),
    (
        "/proc/self/mountinfo",
        "1513 1498 0:29 / /sys/fs/cgroup ro,nosuid,nodev,noexec,relatime - cgroup2 cgroup rw,nsdelegate\n",
    ),
    ("/sys/fs/cgroup/memory.max", "268435456\n"),
    ("/sys/fs/cgroup/memory.current", "209715200\n"),
    (
        "/sys/fs/cgroup/memory.stat",
        "anon 52428800\nfile 104857600\nkernel 1048576\ninactive_anon 0\nactive_anon 52428800\ninactive_file 83886080\n\
         active_file 20971520\n",
    ),
    ("/sys/fs/cgroup/cpu.max", "150000 100000\n"),
    ("/sys/fs/cgroup/cpu.stat", "usage_usec 7250000\nuser_usec 5000000\nsystem_usec 2250000\nnr_periods 10\n"),
];

#[test]
fn a_container_of_version_2() {
    let root = root(&V2);
    let groups = Cgroups::find(root.path());
    assert_eq!(groups.memory(), Some(Memory { limit: 256 * MIB, used: 100 * MIB }), "the page cache is not used");
    assert_eq!(groups.cpu(), Some(Cpu { cores: 1.5, used: Duration::from_millis(7250) }));
}

#[test]
fn max_is_no_limit() {
    let mut files = V2;
    files[2].1 = "max\n";
    files[5].1 = "max 100000\n";
    let root = root(&files);
    let groups = Cgroups::find(root.path());
    assert_eq!((groups.memory(), groups.cpu()), (None, None));
}

/// A service of systemd: a slice around it has the smaller limit, and the service has none of CPU.
#[test]
fn the_tightest_of_nested_groups_counts() {
    let slice = "/sys/fs/cgroup/app.slice";
    let service = format!("{slice}/app.service");
    let files = [
        ("/proc/self/cgroup".to_owned(), "0::/app.slice/app.service\n"),
        ("/proc/self/mountinfo".to_owned(), "35 24 0:30 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"),
        (format!("{service}/memory.max"), "1073741824\n"),
        (format!("{service}/memory.current"), "104857600\n"),
        (format!("{service}/memory.stat"), "anon 104857600\n"),
        (format!("{service}/cpu.max"), "max 100000\n"),
        (format!("{service}/cpu.stat"), "usage_usec 1\n"),
        (format!("{slice}/memory.max"), "536870912\n"),
        (format!("{slice}/memory.current"), "524288000\n"),
        (format!("{slice}/memory.stat"), "anon 419430400\ninactive_file 104857600\n"),
        (format!("{slice}/cpu.max"), "50000 100000\n"),
        (format!("{slice}/cpu.stat"), "usage_usec 3000000\n"),
    ];
    let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (path.as_str(), *text)).collect();
    let root = root(&files);
    let groups = Cgroups::find(root.path());
    assert_eq!(groups.memory(), Some(Memory { limit: 512 * MIB, used: 400 * MIB }));
    assert_eq!(groups.cpu(), Some(Cpu { cores: 0.5, used: Duration::from_secs(3) }));
}

/// Docker on cgroup v1: the host's path, below a mount whose top is that very path.
#[test]
fn a_container_of_version_1() {
    let files = [
        (
            "/proc/self/cgroup",
            "12:memory:/docker/3f9a\n4:cpu,cpuacct:/docker/3f9a\n1:name=systemd:/docker/3f9a\n0::/system.slice\n",
        ),
        (
            "/proc/self/mountinfo",
            "689 680 0:31 /docker/3f9a /sys/fs/cgroup/cpu,cpuacct ro - cgroup cgroup rw,cpu,cpuacct\n\
             695 680 0:37 /docker/3f9a /sys/fs/cgroup/memory ro,nosuid - cgroup cgroup rw,memory\n",
        ),
        ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "134217728\n"),
        ("/sys/fs/cgroup/memory/memory.usage_in_bytes", "125829120\n"),
        (
            "/sys/fs/cgroup/memory/memory.stat",
            "inactive_file 5\ntotal_inactive_file 41943040\ntotal_active_file 20971520\n",
        ),
        ("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "200000\n"),
        ("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n"),
        ("/sys/fs/cgroup/cpu,cpuacct/cpuacct.usage", "9500000000\n"),
    ];
    let root = root(&files);
    let groups = Cgroups::find(root.path());
    assert_eq!(groups.memory(), Some(Memory { limit: 128 * MIB, used: 60 * MIB }));
    assert_eq!(groups.cpu(), Some(Cpu { cores: 2.0, used: Duration::from_millis(9500) }));
}

#[test]
fn version_1_without_limits() {
    let files = [
        ("/proc/self/cgroup", "4:memory:/a\n2:cpuacct:/\n1:cpu:/\n0::/\n"),
        (
            "/proc/self/mountinfo",
            "32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
             33 31 0:30 / /sys/fs/cgroup/cpuacct rw - cgroup cgroup rw,cpuacct\n\
             35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
             41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n",
        ),
        ("/sys/fs/cgroup/memory/a/memory.limit_in_bytes", "9223372036854771712\n"),
        ("/sys/fs/cgroup/memory/a/memory.usage_in_bytes", "1\n"),
        ("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n"),
        ("/sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n"),
        ("/sys/fs/cgroup/cpuacct/cpuacct.usage", "1\n"),
    ];
    let root = root(&files);
    let groups = Cgroups::find(root.path());
    assert_eq!((groups.memory(), groups.cpu()), (None, None));
}

#[test]
fn odd_files_are_no_limits_and_no_panic() {
    let odd = [
        "",
        "\n",
        "max",
        "18446744073709551616",
        "-5 0",
        "100000 0",
        "0 100000",
        "a b c",
        "0::",
        "::",
        " - ",
        "0::/..",
    ];
    for text in odd {
        let files = V2.map(|(path, _)| (path, text));
        let root = root(&files);
        let groups = Cgroups::find(root.path());
        assert_eq!((groups.memory(), groups.cpu()), (None, None), "{text:?}");
        let mut files = V2;
        for file in &mut files[2..] {
            file.1 = text;
        }
        let root = self::root(&files);
        let groups = Cgroups::find(root.path());
        assert_eq!((groups.memory(), groups.cpu()), (None, None), "{text:?}");
    }
}

/// Whatever this machine is, its files are understood: what is under a limit is in use, and not much above it.
#[test]
fn this_machine() {
    let groups = Cgroups::find(Path::new("/"));
    if let Some(memory) = groups.memory() {
        assert!(memory.used > 0 && memory.used <= memory.limit, "{memory:?}");
    }
    if let Some(cpu) = groups.cpu() {
        assert!(cpu.cores > 0.0 && cpu.used > Duration::ZERO, "{cpu:?}");
    }
    let unified = std::fs::read_to_string("/proc/self/cgroup").expect("groups");
    assert_eq!(groups.memory.is_some(), unified.contains("memory") || unified.contains("0::"), "{unified}");
}
