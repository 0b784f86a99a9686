//! How far the process is on its way to the end, and who must end before it may.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Waker;
use std::time::Duration;

use slab::Slab;
use tokio::sync::Notify;

/// How far a worker is on its way to the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Normal work.
    Serving,
    /// Told to stop: still accepting, and telling clients to come back on another connection.
    Draining,
    /// Accepting nothing more; idle connections close, busy ones finish.
    Closing,
    /// Everything has ended, or its time is over.
    Ended,
}

/// For so long after its beginning, and after each answer, a connection is not closed under a request that may be on its
/// way, although the worker is closing. Nobody else who says nothing is waited for longer.
pub const CLOSING_PAUSE: Duration = Duration::from_secs(1);

/// One worker's connections, so that all of them can be told of a new phase without any of them having to listen.
#[derive(Debug)]
pub struct Hub {
    phase: Cell<Phase>,
    wakers: RefCell<Slab<Waker>>,
}

impl Default for Hub {
    fn default() -> Self {
        Self { phase: Cell::new(Phase::Serving), wakers: RefCell::default() }
    }
}

impl Hub {
    /// The phase now.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.phase.get()
    }

    /// Enters a phase and wakes every connection.
    pub fn enter(&self, phase: Phase) {
        self.phase.set(phase);
        self.wake();
    }

    /// Wakes every connection: there is something new to look at.
    pub fn wake(&self) {
        let wakers: Vec<Waker> = self.wakers.borrow().iter().map(|(_, waker)| waker.clone()).collect();
        wakers.iter().for_each(Waker::wake_by_ref);
    }

    /// Asks to be woken at every change of phase, until the member is dropped.
    pub fn join(&self, waker: &Waker) -> Member<'_> {
        Member { hub: self, key: self.wakers.borrow_mut().insert(waker.clone()) }
    }
}

/// One connection's place in a [`Hub`].
#[derive(Debug)]
pub struct Member<'a> {
    hub: &'a Hub,
    key: usize,
}

impl Drop for Member<'_> {
    fn drop(&mut self) {
        self.hub.wakers.borrow_mut().try_remove(self.key);
    }
}

/// Counts what must end before the process may: connections of all workers, upgraded ones included.
#[derive(Debug, Default)]
pub struct Tally {
    count: AtomicUsize,
    empty: Notify,
}

/// One place in a [`Tally`].
#[derive(Debug)]
pub struct Seat(Arc<Tally>);

impl Tally {
    /// One more that must end.
    #[must_use]
    pub fn seat(self: &Arc<Self>) -> Seat {
        self.count.fetch_add(1, Ordering::SeqCst);
        Seat(self.clone())
    }

    /// Waits until nothing is counted.
    pub async fn wait_empty(&self) {
        loop {
            let empty = self.empty.notified();
            tokio::pin!(empty);
            // Registered before looking, so that the last one to leave is not missed.
            empty.as_mut().enable();
            if self.count.load(Ordering::SeqCst) == 0 {
                return;
            }
            empty.await;
        }
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if self.0.count.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.0.empty.notify_waiters();
        }
    }
}
