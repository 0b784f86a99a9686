//! What a service manager is told, at a real socket: sd_notify(3).

use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::{PATIENCE, PULSEGATE, Sidecar, Upstream, home_with_login, run};

/// What systemd has: a socket that it reads from.
struct Manager {
    socket: UnixDatagram,
}

impl Manager {
    fn at(address: &SocketAddr) -> Self {
        let socket = UnixDatagram::bind_addr(address).expect("a socket");
        socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        Self { socket }
    }

    /// The next message, as lines.
    #[track_caller]
    fn next(&self) -> Vec<String> {
        let mut bytes = [0; 4096];
        let length = self.socket.recv(&mut bytes).expect("a message in time");
        std::str::from_utf8(&bytes[..length]).expect("UTF-8").lines().map(str::to_owned).collect()
    }

    /// The next message with such a line; others before it are passed over, so many at most.
    #[track_caller]
    fn await_line(&self, wanted: &str) -> Vec<String> {
        let mut passed = Vec::new();
        for _ in 0..50 {
            let message = self.next();
            if message.iter().any(|line| line == wanted) {
                return message;
            }
            passed.push(message);
        }
        panic!("{wanted} never came, but {passed:?}");
    }
}

#[test]
fn it_is_told_what_systemd_wants_to_know() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("notify");
    let manager = Manager::at(&SocketAddr::from_pathname(&path).expect("an address"));
    let upstream = Upstream::hello();
    let mut sidecar = Sidecar::start_in(home_with_login(), &Sidecar::full(&upstream), |command| {
        command.env("NOTIFY_SOCKET", &path);
    })
    .ready();
    let first = manager.next();
    assert_eq!(first[0], "READY=1");
    assert!(first[1].starts_with("STATUS="), "{first:?}");
    if first[1] != "STATUS=ready" {
        manager.await_line("STATUS=ready");
    }

    upstream.set_probe(500);
    manager.await_line("STATUS=not ready: api_server");
    upstream.set_probe(200);
    manager.await_line("STATUS=ready");

    sidecar.process.signal(Signal::HUP);
    let reloading = manager.await_line("RELOADING=1");
    let since: u128 = reloading[1].strip_prefix("MONOTONIC_USEC=").expect("a time").parse().expect("a number");
    let uptime = std::fs::read_to_string("/proc/uptime").expect("the uptime");
    let uptime: f64 = uptime.split(' ').next().and_then(|text| text.parse().ok()).expect("a number");
    assert!((since as f64 / 1e6 - uptime).abs() < 60.0, "{since} is CLOCK_MONOTONIC, {uptime}");
    manager.await_line("READY=1");

    sidecar.process.signal(Signal::TERM);
    let stopping = manager.await_line("STOPPING=1");
    assert!(stopping[1].starts_with("EXTEND_TIMEOUT_USEC="), "{stopping:?}");
    assert!(sidecar.wait(PATIENCE).success());
}

#[test]
fn a_watchdog_hears_it_and_no_longer_when_it_stands_still() {
    let name = format!("pulsegate-test-{}", std::process::id());
    let manager = Manager::at(&SocketAddr::from_abstract_name(&name).expect("an address"));
    let upstream = Upstream::hello();
    // From before the start: what was said meanwhile waits in the socket.
    let begun = Instant::now();
    let sidecar = Sidecar::start_in(home_with_login(), &Sidecar::full(&upstream), |command| {
        command.env("NOTIFY_SOCKET", format!("@{name}")).env("WATCHDOG_USEC", "200000");
    })
    .ready();
    for _ in 0..5 {
        manager.await_line("WATCHDOG=1");
    }
    assert!(begun.elapsed() > Duration::from_millis(200), "five in {:?}", begun.elapsed());
    sidecar.process.signal(Signal::STOP);
    manager.socket.set_read_timeout(Some(Duration::from_secs(1))).expect("a timeout");
    let mut bytes = [0; 4096];
    let heard = (0..20).take_while(|_| manager.socket.recv(&mut bytes).is_ok()).count();
    assert!(heard < 20, "a stopped process is silent");
    sidecar.process.signal(Signal::CONT);
}

#[test]
fn a_manager_that_is_not_there_or_not_listening_harms_nobody() {
    let upstream = Upstream::hello();
    for socket in ["/nowhere/notify", "@nobody", "relative", "@"] {
        let sidecar = Sidecar::start_in(home_with_login(), &Sidecar::full(&upstream), |command| {
            command.env("NOTIFY_SOCKET", socket);
        })
        .ready();
        assert!(sidecar.log().contains("NOTIFY_SOCKET cannot be reached"), "{}", sidecar.log());
    }
}

#[test]
fn the_app_is_not_told_of_our_manager() {
    let folder = tempfile::tempdir().expect("a folder");
    let (path, seen) = (folder.path().join("notify"), folder.path().join("seen"));
    let _manager = Manager::at(&SocketAddr::from_pathname(&path).expect("an address"));
    let script = format!("env > {}", seen.display());
    let ended = run(Command::new(PULSEGATE)
        .env("NOTIFY_SOCKET", &path)
        .env("WATCHDOG_USEC", "5000000")
        .args(["run", "--preset", "none", "--listen", "127.0.0.1:0", "--admin-listen", "off"])
        .args(["--set", "app.restart=never", "--upstream", "http://127.0.0.1:9", "--", "sh", "-c", &script]));
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let seen = std::fs::read_to_string(&seen).expect("its environment");
    assert!(seen.contains("PATH=") && !seen.contains("NOTIFY_SOCKET") && !seen.contains("WATCHDOG"), "{seen}");
}
