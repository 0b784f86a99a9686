use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::{Histogram, Login, Method, Models, Totals};

/// The codes that have a counter: 100 to 599. Others are refused before they can be counted.
pub(super) const FIRST_CODE: u16 = 100;
/// So many codes can be counted.
pub const CODES: usize = 500;

/// Why a request failed. One failed request counts in exactly one of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Failure {
    /// No connection to the app.
    UpstreamConnect,
    /// The app was too slow.
    UpstreamTimeout,
    /// The app closed or reset the connection.
    UpstreamReset,
    /// The app did not speak HTTP.
    UpstreamProtocol,
    /// The client left before its answer was complete.
    ClientClosed,
    /// Refused because too much was in flight.
    RejectedOverload,
    /// Refused because the client went past a limit.
    RejectedLimit,
    /// The request could not be understood.
    InvalidRequest,
    /// The app's own 4xx.
    Http4xx,
    /// The app's own 5xx.
    Http5xx,
    /// The app's 429.
    RateLimited,
    /// The app's 529, or its 503 that says `overloaded_error`.
    Overloaded,
}

impl Failure {
    /// All failures in the order of their indices.
    pub const ALL: [Self; 12] = [
        Self::UpstreamConnect,
        Self::UpstreamTimeout,
        Self::UpstreamReset,
        Self::UpstreamProtocol,
        Self::ClientClosed,
        Self::RejectedOverload,
        Self::RejectedLimit,
        Self::InvalidRequest,
        Self::Http4xx,
        Self::Http5xx,
        Self::RateLimited,
        Self::Overloaded,
    ];

    /// The metric label.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::UpstreamConnect => "upstream_connect",
            Self::UpstreamTimeout => "upstream_timeout",
            Self::UpstreamReset => "upstream_reset",
            Self::UpstreamProtocol => "upstream_protocol",
            Self::ClientClosed => "client_closed",
            Self::RejectedOverload => "rejected_overload",
            Self::RejectedLimit => "rejected_limit",
            Self::InvalidRequest => "invalid_request",
            Self::Http4xx => "http_4xx",
            Self::Http5xx => "http_5xx",
            Self::RateLimited => "rate_limited",
            Self::Overloaded => "overloaded",
        }
    }

    /// What an answer of the app counts as, by its code alone.
    #[must_use]
    pub fn of_code(code: u16) -> Option<Self> {
        match code {
            429 => Some(Self::RateLimited),
            529 => Some(Self::Overloaded),
            400..=499 => Some(Self::Http4xx),
            500..=599 => Some(Self::Http5xx),
            _ => None,
        }
    }

    /// Whether the app is to blame, for the `traffic` check: what clients and limits do says nothing about the app.
    #[must_use]
    pub fn blames_the_app(self) -> bool {
        matches!(
            self,
            Self::UpstreamConnect
                | Self::UpstreamTimeout
                | Self::UpstreamReset
                | Self::UpstreamProtocol
                | Self::Http5xx
        )
    }
}

/// The counters of one worker.
#[derive(Debug)]
pub struct Shard {
    requests: Box<[[AtomicU64; CODES]; Method::ALL.len()]>,
    failures: [AtomicU64; Failure::ALL.len()],
    duration: Histogram,
    time_to_first_byte: Histogram,
    /// Body bytes from clients.
    pub received: AtomicU64,
    /// Body bytes to clients.
    pub sent: AtomicU64,
    /// Requests begun and not ended.
    pub in_flight: AtomicI64,
    /// Open client connections.
    pub connections: AtomicI64,
    /// Client connections that could not be accepted.
    pub accept_failures: AtomicU64,
    /// Client connections that ended before HTTP: no TLS, no PROXY header, or too slow.
    pub handshake_failures: AtomicU64,
    /// Upstream connections in use.
    pub upstream_active: AtomicI64,
    /// Upstream connections waiting in the pool.
    pub upstream_idle: AtomicI64,
    /// Attempts beyond the first.
    pub retries: AtomicU64,
    /// Further attempts that the budget did not allow.
    pub retries_denied: AtomicU64,
    /// Requests that wait for a place among those in flight.
    pub queued: AtomicI64,
    /// Requests that have waited so, or do.
    pub queues: AtomicU64,
    /// Requests that wait for the app to come back.
    pub held: AtomicI64,
    /// Requests that have waited so, or do.
    pub holds: AtomicU64,
}

impl Default for Shard {
    #[expect(clippy::large_stack_arrays, reason = "an optimised build writes it into the box; once per worker")]
    fn default() -> Self {
        // A boxed slice of zeroes comes from the zeroed pages of the allocator: what is never counted is never resident.
        Self {
            requests: Box::new([const { [const { AtomicU64::new(0) }; CODES] }; Method::ALL.len()]),
            failures: Default::default(),
            duration: Histogram::default(),
            time_to_first_byte: Histogram::default(),
            received: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            in_flight: AtomicI64::new(0),
            connections: AtomicI64::new(0),
            accept_failures: AtomicU64::new(0),
            handshake_failures: AtomicU64::new(0),
            upstream_active: AtomicI64::new(0),
            upstream_idle: AtomicI64::new(0),
            retries: AtomicU64::new(0),
            retries_denied: AtomicU64::new(0),
            queued: AtomicI64::new(0),
            queues: AtomicU64::new(0),
            held: AtomicI64::new(0),
            holds: AtomicU64::new(0),
        }
    }
}

impl Shard {
    /// Counts one request at its end. A code without a counter counts as 500: it cannot come from a checked answer.
    pub fn request(&self, method: Method, code: u16, failure: Option<Failure>, duration: Duration) {
        let code = usize::from(code.wrapping_sub(FIRST_CODE));
        let code = if code < CODES { code } else { 400 };
        add(&self.requests[method as usize][code], 1);
        if let Some(failure) = failure {
            add(&self.failures[failure as usize], 1);
        }
        self.duration.observe(duration);
    }

    /// Notes how long the first byte of an answer took.
    pub fn first_byte(&self, after: Duration) {
        self.time_to_first_byte.observe(after);
    }

    fn add_to(&self, totals: &mut Totals) {
        for (method, codes) in Method::ALL.iter().zip(self.requests.iter()) {
            for (code, count) in (FIRST_CODE..).zip(codes) {
                let count = count.load(Relaxed);
                if count > 0 {
                    *totals.requests.entry((method.label(), code)).or_default() += count;
                }
            }
        }
        for (total, failures) in totals.failures.iter_mut().zip(&self.failures) {
            *total += failures.load(Relaxed);
        }
        self.duration.add_to(&mut totals.duration);
        self.time_to_first_byte.add_to(&mut totals.time_to_first_byte);
        totals.received += self.received.load(Relaxed);
        totals.sent += self.sent.load(Relaxed);
        totals.in_flight += self.in_flight.load(Relaxed);
        totals.connections += self.connections.load(Relaxed);
        totals.accept_failures += self.accept_failures.load(Relaxed);
        totals.handshake_failures += self.handshake_failures.load(Relaxed);
        totals.upstream_active += self.upstream_active.load(Relaxed);
        totals.upstream_idle += self.upstream_idle.load(Relaxed);
        totals.retries += self.retries.load(Relaxed);
        totals.retries_denied += self.retries_denied.load(Relaxed);
        totals.queued += self.queued.load(Relaxed);
        totals.queues += self.queues.load(Relaxed);
        totals.held += self.held.load(Relaxed);
        totals.holds += self.holds.load(Relaxed);
    }
}

/// Adds to a counter that only the caller's thread writes, as a worker alone writes its shard: a load and a store, in
/// place of an addition that locks the memory for others that do not write it.
pub(super) fn add(counter: &AtomicU64, more: u64) {
    counter.store(counter.load(Relaxed).wrapping_add(more), Relaxed);
}

/// The counters of all workers.
#[derive(Debug)]
pub struct Traffic {
    shards: Vec<Arc<Shard>>,
    /// What the answers say about the app's login.
    pub login: Login,
    /// What the answers of models say about themselves.
    pub models: Models,
}

impl Traffic {
    /// Counters for so many workers.
    #[must_use]
    pub fn new(workers: usize) -> Self {
        Self {
            shards: (0..workers.max(1)).map(|_| Arc::default()).collect(),
            login: Login::default(),
            models: Models::default(),
        }
    }

    /// The counters of one worker.
    #[must_use]
    pub fn shard(&self, worker: usize) -> Arc<Shard> {
        self.shards[worker % self.shards.len()].clone()
    }

    /// Everything counted so far.
    #[must_use]
    pub fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        for shard in &self.shards {
            shard.add_to(&mut totals);
        }
        totals
    }

    /// Requests begun and not ended, over all workers.
    #[must_use]
    pub fn in_flight(&self) -> i64 {
        self.shards.iter().map(|shard| shard.in_flight.load(Relaxed)).sum()
    }
}
