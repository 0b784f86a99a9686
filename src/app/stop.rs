use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::lifecycle::Lifecycle;
use crate::config::ShutdownSettings;
use crate::drain::{Phase, Tally};

/// How far the process has been told to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stop {
    /// Not at all.
    NotYet,
    /// In its own time: readiness first, then the listener, then what is in flight.
    Gracefully,
    /// At once.
    Now,
}

/// Tells a running process to stop. Told twice, it stops at once.
#[derive(Clone, Debug)]
pub struct StopHandle(pub(super) watch::Sender<Stop>);

impl StopHandle {
    /// One step further: gracefully, then now.
    pub fn stop(&self) {
        self.0.send_modify(|stop| {
            *stop = if *stop == Stop::NotYet { Stop::Gracefully } else { Stop::Now };
        });
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
        if stop.wait_for(|stop| *stop >= Stop::Gracefully).await.is_err() {
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
