use std::sync::Arc;
use std::time::Duration;

use super::{Counter, Gauge, Histogram, Login, Method, Models, Totals};

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
    requests: Box<[[Counter; CODES]; Method::ALL.len()]>,
    failures: [Counter; Failure::ALL.len()],
    duration: Histogram,
    time_to_first_byte: Histogram,
    time_to_first_token: Histogram,
    /// Body bytes from clients.
    pub received: Counter,
    /// Body bytes to clients.
    pub sent: Counter,
    /// Requests begun and not ended.
    pub in_flight: Gauge,
    /// Open client connections.
    pub connections: Gauge,
    /// Client connections that could not be accepted.
    pub accept_failures: Counter,
    /// Client connections that ended before HTTP: no TLS, no PROXY header, or too slow.
    pub handshake_failures: Counter,
    /// Upstream connections in use.
    pub upstream_active: Gauge,
    /// Upstream connections waiting in the pool.
    pub upstream_idle: Gauge,
    /// Attempts beyond the first.
    pub retries: Counter,
    /// Further attempts that the budget did not allow.
    pub retries_denied: Counter,
    /// Requests that wait for a place among those in flight.
    pub queued: Gauge,
    /// Requests that have waited so, or do.
    pub queues: Counter,
    /// Requests that wait for the app to come back.
    pub held: Gauge,
    /// Requests that have waited so, or do.
    pub holds: Counter,
}

impl Default for Shard {
    #[expect(clippy::large_stack_arrays, reason = "an optimised build writes it into the box; once per worker")]
    fn default() -> Self {
        // A boxed slice of zeroes comes from the zeroed pages of the allocator: what is never counted is never resident.
        Self {
            requests: Box::new([const { [const { Counter::new() }; CODES] }; Method::ALL.len()]),
            failures: Default::default(),
            duration: Histogram::default(),
            time_to_first_byte: Histogram::default(),
            time_to_first_token: Histogram::default(),
            received: Counter::new(),
            sent: Counter::new(),
            in_flight: Gauge::new(),
            connections: Gauge::new(),
            accept_failures: Counter::new(),
            handshake_failures: Counter::new(),
            upstream_active: Gauge::new(),
            upstream_idle: Gauge::new(),
            retries: Counter::new(),
            retries_denied: Counter::new(),
            queued: Gauge::new(),
            queues: Counter::new(),
            held: Gauge::new(),
            holds: Counter::new(),
        }
    }
}

impl Shard {
    /// Counts one request at its end. A code without a counter counts as 500: it cannot come from a checked answer.
    pub fn request(&self, method: Method, code: u16, failure: Option<Failure>, duration: Duration) {
        let code = usize::from(code.wrapping_sub(FIRST_CODE));
        let code = if code < CODES { code } else { 400 };
        self.requests[method as usize][code].add(1);
        if let Some(failure) = failure {
            self.failures[failure as usize].add(1);
        }
        self.duration.observe(duration);
    }

    /// Notes how long the first byte of an answer took.
    pub fn first_byte(&self, after: Duration) {
        self.time_to_first_byte.observe(after);
    }

    /// Notes how long a model took to begin to say something.
    pub fn first_token(&self, after: Duration) {
        self.time_to_first_token.observe(after);
    }

    fn add_to(&self, totals: &mut Totals) {
        for (method, codes) in Method::ALL.iter().zip(self.requests.iter()) {
            for (code, count) in (FIRST_CODE..).zip(codes) {
                let count = count.get();
                if count > 0 {
                    *totals.requests.entry((method.label(), code)).or_default() += count;
                }
            }
        }
        for (total, failures) in totals.failures.iter_mut().zip(&self.failures) {
            *total += failures.get();
        }
        self.duration.add_to(&mut totals.duration);
        self.time_to_first_byte.add_to(&mut totals.time_to_first_byte);
        self.time_to_first_token.add_to(&mut totals.time_to_first_token);
        totals.received += self.received.get();
        totals.sent += self.sent.get();
        totals.in_flight += self.in_flight.get();
        totals.connections += self.connections.get();
        totals.accept_failures += self.accept_failures.get();
        totals.handshake_failures += self.handshake_failures.get();
        totals.upstream_active += self.upstream_active.get();
        totals.upstream_idle += self.upstream_idle.get();
        totals.retries += self.retries.get();
        totals.retries_denied += self.retries_denied.get();
        totals.queued += self.queued.get();
        totals.queues += self.queues.get();
        totals.held += self.held.get();
        totals.holds += self.holds.get();
    }
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
        self.shards.iter().map(|shard| shard.in_flight.get()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::{Duration, Traffic};

    #[test]
    fn workers_that_count_at_the_same_time_lose_nothing() {
        const TIMES: u64 = 200_000;
        let traffic = Traffic::new(2);
        std::thread::scope(|scope| {
            for worker in 0..2 {
                let shard = traffic.shard(worker);
                scope.spawn(move || {
                    for _ in 0..TIMES {
                        shard.first_byte(Duration::from_millis(3));
                        shard.first_token(Duration::from_millis(3));
                    }
                });
            }
        });
        let totals = traffic.totals();
        for histogram in [totals.time_to_first_byte, totals.time_to_first_token] {
            assert_eq!((histogram.count(), histogram.sum_nanos), (2 * TIMES, 2 * TIMES * 3_000_000));
        }
    }
}
