use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

/// What became of events so far, for each receiver one.
#[derive(Debug, Default)]
pub struct EventTotals([AtomicU64; 3]);

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
    pub(super) fn count(&self, outcome: Outcome) {
        self.0[outcome as usize].fetch_add(1, Relaxed);
    }

    /// The numbers with their names.
    pub fn results(&self) -> impl Iterator<Item = (&'static str, u64)> {
        ["sent", "failed", "dropped"].into_iter().zip(self.0.iter().map(|count| count.load(Relaxed)))
    }
}
