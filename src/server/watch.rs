use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};
use std::task::Poll;
use std::time::Duration;

use tokio::time::Instant;

use super::ConnectionSettings;

/// What a connection is doing and since when, for its deadlines.
///
/// No timer is armed per request: the connection's one timer is armed for the deadline of what it is doing when it goes
/// to sleep, and looks here when it fires. Atomics only because the stream, which writes here, may be handed to an
/// upgraded protocol; all of it happens on one thread.
#[derive(Debug)]
pub(super) struct Watch {
    begun: Instant,
    doing: AtomicU8,
    /// Microseconds since `begun`.
    since: AtomicU64,
    /// Microseconds since `begun`, plus 1; 0 while writes go through.
    blocked_since: AtomicU64,
}

/// What a connection is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doing {
    /// Waiting for the first byte of a request.
    Idle = 0,
    /// In the middle of a head.
    Head = 1,
    /// A request is being answered.
    Busy = 2,
}

/// A deadline that has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expired {
    /// Nothing was asked for too long.
    Idle,
    /// A head took too long.
    Head,
    /// The client takes nothing off the wire.
    Write,
}

impl Watch {
    pub(super) fn new() -> Self {
        Self {
            begun: Instant::now(),
            doing: AtomicU8::new(Doing::Idle as u8),
            since: AtomicU64::new(0),
            blocked_since: AtomicU64::new(0),
        }
    }

    fn micros(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    pub(super) fn doing(&self) -> Doing {
        match self.doing.load(Relaxed) {
            0 => Doing::Idle,
            1 => Doing::Head,
            _ => Doing::Busy,
        }
    }

    pub(super) fn set(&self, doing: Doing) {
        self.doing.store(doing as u8, Relaxed);
        self.since.store(self.micros(), Relaxed);
    }

    /// The first bytes of a head end the idleness.
    pub(super) fn bytes_came(&self) {
        if self.doing() == Doing::Idle {
            self.set(Doing::Head);
        }
    }

    pub(super) fn wrote<T>(&self, polled: Poll<T>) -> Poll<T> {
        match (&polled, self.blocked_since.load(Relaxed)) {
            (Poll::Pending, 0) => self.blocked_since.store(self.micros() + 1, Relaxed),
            (Poll::Ready(_), 1..) => self.blocked_since.store(0, Relaxed),
            _ => {}
        }
        polled
    }

    /// The next deadline, if there is one, and what it means to miss it.
    pub(super) fn deadline(&self, settings: &ConnectionSettings) -> Option<(Instant, Expired)> {
        let limit = |since: u64, limit: Duration, expired| {
            (!limit.is_zero()).then(|| (self.begun + Duration::from_micros(since) + limit, expired))
        };
        let since = self.since.load(Relaxed);
        let doing = match self.doing() {
            Doing::Idle => limit(since, settings.idle, Expired::Idle),
            Doing::Head => limit(since, settings.request_header, Expired::Head),
            Doing::Busy => None,
        };
        let blocked = match self.blocked_since.load(Relaxed) {
            0 => None,
            since => limit(since - 1, settings.write, Expired::Write),
        };
        match (doing, blocked) {
            (Some(a), Some(b)) => Some(if a.0 <= b.0 { a } else { b }),
            (a, b) => a.or(b),
        }
    }
}
