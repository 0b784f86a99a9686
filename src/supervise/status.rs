use std::sync::Arc;
use std::sync::{Mutex, PoisonError};

use tokio::time::Instant;

use super::Exit;

/// What is known of the app, for the check and whoever else asks. Written by the supervisor alone.
#[derive(Debug)]
pub struct AppStatus(Mutex<Known>);

#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) phase: Phase,
    pub(super) restarts: u64,
    pub(super) last_exit: Option<Exit>,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Phase {
    /// Not yet, or not any more.
    Down,
    Running {
        pid: Option<u32>,
        since: Instant,
    },
    /// It has ended and is started again at that instant.
    Pausing {
        until: Instant,
    },
}

impl AppStatus {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::new(Known { phase: Phase::Down, restarts: 0, last_exit: None })))
    }

    pub(super) fn known(&self) -> Known {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn change(&self, change: impl FnOnce(&mut Known)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}
