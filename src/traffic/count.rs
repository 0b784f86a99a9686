use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};

/// A number that only grows. One thread writes it, as a worker alone writes its shard, and any thread reads it: so adding
/// is a load and a store, and not an addition that locks the memory for others that do not write it.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

/// The same for a number that goes up and down.
#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

impl Counter {
    /// Zero.
    #[must_use]
    pub const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// So many more.
    pub fn add(&self, more: u64) {
        self.0.store(self.get().wrapping_add(more), Relaxed);
    }

    /// How many there are.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

impl Gauge {
    /// Zero.
    #[must_use]
    pub const fn new() -> Self {
        Self(AtomicI64::new(0))
    }

    /// So many more; fewer, if that is negative.
    pub fn add(&self, more: i64) {
        self.0.store(self.get().wrapping_add(more), Relaxed);
    }

    /// So many fewer.
    pub fn sub(&self, fewer: i64) {
        self.add(-fewer);
    }

    /// How many there are.
    #[must_use]
    pub fn get(&self) -> i64 {
        self.0.load(Relaxed)
    }
}
