use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use crate::clock;

/// How the last reading of the configuration went: the one at the start counts.
#[derive(Debug)]
pub struct Reloads {
    succeeded: AtomicBool,
    last_success: AtomicU64,
}

impl Reloads {
    /// The process has just started, so its configuration was good.
    #[must_use]
    pub fn new() -> Self {
        Self { succeeded: AtomicBool::new(true), last_success: AtomicU64::new(clock::unix().as_secs()) }
    }

    /// It was read once more.
    pub fn note(&self, succeeded: bool) {
        self.succeeded.store(succeeded, Relaxed);
        if succeeded {
            self.last_success.store(clock::unix().as_secs(), Relaxed);
        }
    }

    /// Whether the last reading succeeded.
    #[must_use]
    pub fn succeeded(&self) -> bool {
        self.succeeded.load(Relaxed)
    }

    /// When one last did, in seconds since 1970.
    #[must_use]
    pub fn last_success(&self) -> u64 {
        self.last_success.load(Relaxed)
    }
}

impl Default for Reloads {
    fn default() -> Self {
        Self::new()
    }
}
