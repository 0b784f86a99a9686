use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::lifecycle::Lifecycle;
use crate::config::ShutdownSettings;
use crate::drain::{Phase, Tally};

/// How far the process has been told to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Not at all.
    NotYet,
    /// In its own time: readiness first, then the listener, then what is in flight. Since when.
    Gracefully(Instant),
    /// At once.
    Now,
}

/// What comes within this moment after the first signal is the same one, told twice: `timeout` signals its child and then
/// the group that the child is in, and an init or a terminal beside a supervisor does the like, each within milliseconds.
/// A person who wants it to end at once, or a supervisor that has lost its patience, comes later; a key that is held down
/// begins to repeat after it.
const ONE_TELLING: Duration = Duration::from_millis(200);

impl Stop {
    /// What is to be done when a signal comes.
    fn told(self, now: Instant) -> Self {
        match self {
            Self::NotYet => Self::Gracefully(now),
            Self::Gracefully(first) if now < first + ONE_TELLING => self,
            Self::Gracefully(_) | Self::Now => Self::Now,
        }
    }
}

/// Tells a running process to stop. Told twice, it stops at once.
#[derive(Clone, Debug)]
pub struct StopHandle(pub(super) watch::Sender<Stop>);

impl StopHandle {
    /// One step further: gracefully, then now. What comes again at once is the same signal.
    pub fn stop(&self) {
        self.0.send_if_modified(|stop| {
            let before = std::mem::replace(stop, stop.told(Instant::now()));
            if before == *stop && before != Stop::Now {
                tracing::info!("told again at once: taken for the same signal");
            }
            before != *stop
        });
    }

    /// At once.
    pub fn stop_now(&self) {
        self.0.send_replace(Stop::Now);
    }
}

/// How long requests may take to hear that the app has ended for good.
const LAST_MOMENT: Duration = Duration::from_secs(1);

/// How long the end waits for those who wait for it.
const TELLING: Duration = Duration::from_millis(250);

/// The end of the process.
pub(super) struct Stopping {
    pub(super) way: Arc<Lifecycle>,
    /// Connections.
    pub(super) tally: Arc<Tally>,
    /// Listeners that are still open: what the kernel has accepted for them is still to come.
    pub(super) listeners: Arc<Tally>,
}

impl Stopping {
    /// Waits to be told, then ends: lame duck, listener, what is in flight. Returns when the process may exit.
    pub(super) async fn run(&self, mut stop: watch::Receiver<Stop>) {
        // An error means that nobody is left who could say so; the signal handler lives as long as the process.
        if stop.wait_for(|stop| *stop != Stop::NotYet).await.is_err() {
            return;
        }
        let signalled = Instant::now();
        // As they are now: a later reload changes nothing any more.
        let ShutdownSettings { lame_duck, grace, .. } = self.way.shutdown.borrow().clone();
        tracing::info!(?lame_duck, ?grace, "stopping: still accepting until the lame duck is over");
        // A lame duck that an operator began is not begun anew: load balancers have turned away by then. A native sidecar
        // is told to stop when its app has ended; whoever still came would find none.
        let draining = self.way.stop();
        let now = async {
            let _ = stop.wait_for(|stop| *stop == Stop::Now).await;
        };
        tokio::select! {
            () = now => tracing::warn!(connections = self.tally.count(), "told twice: stopping now"),
            () = self.finish(draining + lame_duck, signalled + grace) => self.tell().await,
        }
    }

    /// Whoever waits for this sees it within a glance; then the answers leave.
    async fn tell(&self) {
        if self.way.waiting.count() > 0 {
            let _ = tokio::time::timeout(TELLING, self.way.waiting.wait_empty()).await;
            tokio::time::sleep(TELLING / 10).await;
        }
    }

    /// There is nothing left to serve: what is open has a moment to say so.
    pub(super) async fn give_up(&self) {
        self.way.phases.send_replace(Phase::Closing);
        let _ = tokio::time::timeout(LAST_MOMENT, self.tally.wait_empty()).await;
    }

    async fn finish(&self, lame_duck_ends: Instant, grace_ends: Instant) {
        sleep_until(lame_duck_ends).await;
        self.way.phases.send_replace(Phase::Closing);
        let empty = async {
            self.listeners.wait_empty().await;
            self.tally.wait_empty().await;
        };
        tokio::select! {
            () = empty => tracing::info!("stopped: nothing was left in flight"),
            () = sleep_until(grace_ends) => {
                tracing::warn!(connections = self.tally.count(), "stopped: the grace period is over");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the signals at these milliseconds come to.
    async fn told_at(times: &[u64]) -> Stop {
        let (handle, start) = (StopHandle(watch::Sender::new(Stop::NotYet)), Instant::now());
        for time in times {
            sleep_until(start + Duration::from_millis(*time)).await;
            handle.stop();
        }
        *handle.0.borrow()
    }

    #[tokio::test(start_paused = true)]
    async fn signals_within_a_moment_are_one() {
        for once in [&[0][..], &[0, 0], &[0, 1], &[0, 0, 0, 199], &[0, 50, 100, 150, 199]] {
            assert!(matches!(told_at(once).await, Stop::Gracefully(_)), "{once:?}");
        }
        // The moment begins with the first, so that who goes on telling is heard.
        for twice in [&[0, 200][..], &[0, 1, 200], &[0, 150, 300], &[0, 60_000], &[0, 250, 251]] {
            assert_eq!(told_at(twice).await, Stop::Now, "{twice:?}");
        }
        assert_eq!(told_at(&[]).await, Stop::NotYet);
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_the_end_is_not_woken_by_the_same_signal() {
        let handle = StopHandle(watch::Sender::new(Stop::NotYet));
        handle.stop();
        let seen = handle.0.subscribe();
        handle.stop();
        assert!(!seen.has_changed().expect("a sender"));
        handle.stop_now();
        assert_eq!(*seen.borrow(), Stop::Now);
    }
}
