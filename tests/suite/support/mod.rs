//! What the tests stand on: the real binary, real sockets, a strict client, a scripted app. No mocks, no fixed ports, no
//! sleeping in place of looking.

mod certificates;
mod clients;
mod config;
mod databases;
mod h2_app;
mod http;
pub(crate) mod http2;
mod monitors;
mod peers;
mod process;
mod sidecar;
mod tls_front;
mod tools;
mod upstream;
mod watcher;
mod wire;

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr as UnixAddress, UnixListener};
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use serde_json::Value;

pub(crate) use self::certificates::{AppCertificates, CertificateFiles, Validity};
pub(crate) use self::clients::ClosedLoop;
pub(crate) use self::config::Settings;
pub(crate) use self::databases::{CANARY, MariadbServer, PostgresServer, RedisServer, await_line, impostor};
pub(crate) use self::h2_app::{H2App, H2Exchange, H2Rules, send_all};
pub(crate) use self::http::{Client, HttpError, Response, ask, get};
pub(crate) use self::monitors::{Alertmanager, Prometheus, encode, promtool};
pub(crate) use self::peers::{LITELLM_KEY, Peer};
pub(crate) use self::process::{Ended, Process, run};
pub(crate) use self::sidecar::{PULSEGATE, SYSTEM_PATH, Sidecar, home_with_login};
pub(crate) use self::tls_front::{TlsFront, config as tls_config};
pub(crate) use self::tools::{claude, tool};
pub(crate) use self::upstream::{Exchange, Next, Upstream};
pub(crate) use self::watcher::Watcher;
pub(crate) use self::wire::{Authority, Wire};

/// Nothing that works takes longer than this, even on a loaded machine with two cores.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Between two looks.
const GLANCE: Duration = Duration::from_millis(10);

/// Looks again and again until what is seen is so; fails with what was seen last.
#[track_caller]
pub(crate) fn await_value(what: &str, mut look: impl FnMut() -> Value, is_it: impl Fn(&Value) -> bool) -> Value {
    let begun = Instant::now();
    loop {
        let seen = look();
        if is_it(&seen) {
            return seen;
        }
        assert!(begun.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}; the last was {seen:#}");
        std::thread::sleep(GLANCE);
    }
}

/// Looks again and again until there is something to see; fails when there is nothing by the deadline.
#[track_caller]
pub(crate) fn eventually_some<T>(deadline: Duration, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begun.elapsed() < deadline, "not within {deadline:?}: {what}");
        std::thread::sleep(GLANCE);
    }
}

/// Looks again and again until the condition holds; fails when it does not by the deadline.
#[track_caller]
pub(crate) fn eventually(deadline: Duration, what: &str, mut condition: impl FnMut() -> bool) {
    eventually_some(deadline, what, || condition().then_some(()));
}

/// Looks again and again for a while: the condition must hold each time.
#[track_caller]
pub(crate) fn always(duration: Duration, what: &str, mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    while begun.elapsed() < duration {
        assert!(condition(), "after {:?}: {what}", begun.elapsed());
        std::thread::sleep(GLANCE);
    }
}

/// A port of apps that are not there: nobody listens at it, nor begins to while a test runs.
pub(crate) const CLOSED_PORT: u16 = 1;

/// A port for a program that cannot be asked which one it took: each only once, and none of those that the kernel gives
/// to whoever asks for any, or connects. A name that is bound for as long as this process lives keeps other runs of the
/// tests on this machine from giving it too.
pub(crate) fn free_port() -> u16 {
    const PORTS: std::ops::Range<u16> = 20_000..32_000;
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    let first = std::process::id().wrapping_mul(331);
    for _ in PORTS {
        let turn = first.wrapping_add(GIVEN.fetch_add(1, Relaxed));
        let port = PORTS.start + u16::try_from(turn % u32::from(PORTS.end - PORTS.start)).expect("a port");
        let name = UnixAddress::from_abstract_name(format!("pulsegate-test-port-{port}")).expect("a name");
        if let Ok(claim) = UnixListener::bind_addr(&name)
            && TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
        {
            std::mem::forget(claim);
            return port;
        }
    }
    panic!("no port of {PORTS:?} is free");
}

/// Loopback.
pub(crate) fn local(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// Bytes that look random and are the same in every run.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        // xorshift64*
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    pub(crate) fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| (self.next() >> 56) as u8).collect()
    }

    pub(crate) fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }
}
