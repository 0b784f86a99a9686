use std::time::Duration;

use super::Counter;

/// Upper bounds of the buckets in seconds: from a local answer to a model that thinks for ten minutes.
pub const BOUNDS: [f64; 16] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0, 600.0];

const BOUNDS_NANOS: [u64; 16] = {
    let mut nanos = [0; 16];
    let mut index = 0;
    while index < nanos.len() {
        nanos[index] = (BOUNDS[index] * 1e9) as u64;
        index += 1;
    }
    nanos
};

/// A histogram of durations that one thread writes and any thread reads, without a lock.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [Counter; BOUNDS.len() + 1],
    sum_nanos: Counter,
}

impl Histogram {
    /// Adds one duration.
    pub fn observe(&self, duration: Duration) {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let bucket = BOUNDS_NANOS.partition_point(|bound| *bound < nanos);
        self.buckets[bucket].add(1);
        self.sum_nanos.add(nanos);
    }

    /// Adds what was counted here to `totals`.
    pub fn add_to(&self, totals: &mut HistogramTotals) {
        for (total, bucket) in totals.buckets.iter_mut().zip(&self.buckets) {
            *total += bucket.get();
        }
        totals.sum_nanos += self.sum_nanos.get();
    }
}

/// A histogram's counts at one instant; the last bucket holds what is above every bound.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HistogramTotals {
    /// Not cumulative.
    pub buckets: [u64; BOUNDS.len() + 1],
    /// Sum of all durations in nanoseconds.
    pub sum_nanos: u64,
}

impl HistogramTotals {
    /// How many durations.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// What was added since `earlier`.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let mut buckets = self.buckets;
        for (bucket, before) in buckets.iter_mut().zip(&earlier.buckets) {
            *bucket = bucket.saturating_sub(*before);
        }
        Self { buckets, sum_nanos: self.sum_nanos.saturating_sub(earlier.sum_nanos) }
    }

    /// The upper bound in seconds of the bucket that holds the quantile; infinite above every bound, `None` when empty.
    #[must_use]
    pub fn quantile(&self, quantile: f64) -> Option<f64> {
        let count = self.count();
        if count == 0 {
            return None;
        }
        let rank = (quantile * count as f64).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (index, bucket) in self.buckets.iter().enumerate() {
            seen += bucket;
            if seen >= rank {
                return Some(BOUNDS.get(index).copied().unwrap_or(f64::INFINITY));
            }
        }
        None
    }
}
