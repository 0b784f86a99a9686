use std::collections::BTreeMap;

use super::{Failure, HistogramTotals};

/// The counters of all workers at one instant.
#[derive(Clone, Debug, Default)]
pub struct Totals {
    /// Ended requests by method label and code; only what was seen.
    pub requests: BTreeMap<(&'static str, u16), u64>,
    /// Failed requests in the order of [`Failure::ALL`].
    pub failures: [u64; Failure::ALL.len()],
    /// Durations of ended requests.
    pub duration: HistogramTotals,
    /// Times to the first byte of the app's answers.
    pub time_to_first_byte: HistogramTotals,
    /// Times to the first thing that a model says in a stream.
    pub time_to_first_token: HistogramTotals,
    /// Body bytes from clients.
    pub received: u64,
    /// Body bytes to clients.
    pub sent: u64,
    /// Requests begun and not ended.
    pub in_flight: i64,
    /// Open client connections.
    pub connections: i64,
    /// Client connections that could not be accepted.
    pub accept_failures: u64,
    /// Client connections that ended before HTTP.
    pub handshake_failures: u64,
    /// Upstream connections in use.
    pub upstream_active: i64,
    /// Upstream connections waiting in the pool.
    pub upstream_idle: i64,
    /// Attempts beyond the first.
    pub retries: u64,
    /// Further attempts that the budget did not allow.
    pub retries_denied: u64,
    /// Requests that wait for a place among those in flight.
    pub queued: i64,
    /// Requests that have waited so, or do.
    pub queues: u64,
    /// Requests that wait for the app to come back.
    pub held: i64,
    /// Requests that have waited so, or do.
    pub holds: u64,
}

impl Totals {
    /// All ended requests.
    #[must_use]
    pub fn requests_total(&self) -> u64 {
        self.duration.count()
    }

    /// All failed requests, whoever is to blame.
    #[must_use]
    pub fn failures_total(&self) -> u64 {
        self.failures.iter().sum()
    }

    /// Failed requests for which the app is to blame.
    #[must_use]
    pub fn app_failures(&self) -> u64 {
        let blamed = Failure::ALL.iter().zip(self.failures).filter(|(failure, _)| failure.blames_the_app());
        blamed.map(|(_, count)| count).sum()
    }
}
