use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

/// What became of events so far, for each receiver one.
#[derive(Debug, Default)]
pub struct EventTotals([AtomicU64; Self::RESULTS.len()]);

/// What becomes of an event.
#[derive(Clone, Copy, Debug)]
pub(super) enum Outcome {
    /// The receiver has taken it.
    Sent,
    /// Given up.
    Failed,
    /// Too many waited, or too many came.
    Dropped,
}

impl EventTotals {
    /// What can become of one, as labels, in the order of their indices.
    pub const RESULTS: [&'static str; 3] = ["sent", "failed", "dropped"];

    pub(super) fn count(&self, outcome: Outcome) {
        self.add(outcome, 1);
    }

    pub(super) fn add(&self, outcome: Outcome, events: u64) {
        self.0[outcome as usize].fetch_add(events, Relaxed);
    }

    /// The numbers with their names.
    pub fn results(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Self::RESULTS.into_iter().zip(self.0.iter().map(|count| count.load(Relaxed)))
    }
}
