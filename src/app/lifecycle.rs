use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use crate::config::ShutdownSettings;
use crate::drain::{Phase, Tally};
use crate::monitor::MonitorHandle;
use crate::traffic::Traffic;

/// How far the process is on its way out of service: told by operators and signals, read by whoever waits for it.
#[derive(Debug)]
pub(super) struct Lifecycle {
    pub(super) monitor: MonitorHandle,
    pub(super) phases: watch::Sender<Phase>,
    pub(super) traffic: Arc<Traffic>,
    /// As the configuration has it now.
    pub(super) shutdown: watch::Sender<ShutdownSettings>,
    way: watch::Sender<Way>,
    /// Who waits for its end, and wants to be told before the process ends.
    pub(super) waiting: Arc<Tally>,
}

/// The way out.
#[derive(Clone, Copy, Debug, Default)]
struct Way {
    /// Since when it drains.
    draining: Option<Instant>,
    /// A signal came: there is no way back.
    stopping: bool,
}

/// Between two looks at what is in flight, while somebody waits for its end. Requests do not pay for being waited for.
const GLANCE: Duration = Duration::from_millis(20);

impl Lifecycle {
    pub(super) fn new(
        monitor: MonitorHandle,
        phases: watch::Sender<Phase>,
        traffic: Arc<Traffic>,
        shutdown: ShutdownSettings,
    ) -> Self {
        let (shutdown, way) = (watch::Sender::new(shutdown), watch::Sender::default());
        Self { monitor, phases, traffic, shutdown, way, waiting: Arc::default() }
    }

    /// Out of service, up to accepting nothing more: readiness says no, answers close their connections. Tells whether
    /// that is new.
    pub(super) fn drain(&self) -> bool {
        let mut new = false;
        self.way.send_if_modified(|way| {
            new = way.draining.is_none();
            way.draining.get_or_insert_with(Instant::now);
            new
        });
        if new {
            self.monitor.drain(true);
            self.phases.send_replace(Phase::Draining);
        }
        new
    }

    /// Back into service, unless the process has been told to stop. Tells whether it is in service now, and whether that
    /// is new.
    pub(super) fn undrain(&self) -> (bool, bool) {
        let mut stopping = false;
        let changed = self.way.send_if_modified(|way| {
            stopping = way.stopping;
            !stopping && way.draining.take().is_some()
        });
        if changed {
            self.monitor.drain(false);
            self.phases.send_replace(Phase::Serving);
        }
        (!stopping, changed)
    }

    /// The signal came: as [`Self::drain`], for good. Tells since when it drains.
    pub(super) fn stop(&self) -> Instant {
        self.way.send_modify(|way| way.stopping = true);
        self.drain();
        // Nobody takes it back any more.
        self.way.borrow().draining.unwrap_or_else(Instant::now)
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.way.borrow().stopping
    }

    /// Waits until it has been draining for the lame duck, in which load balancers turn away, and nothing is in flight.
    pub(super) async fn drained(&self) {
        let _waiting = self.waiting.seat();
        let mut way = self.way.subscribe();
        loop {
            let Way { draining, .. } = *way.borrow_and_update();
            let idle = async {
                let Some(since) = draining else { return std::future::pending().await };
                let lame_duck = self.shutdown.borrow().lame_duck;
                sleep_until(since + lame_duck).await;
                while self.traffic.in_flight() > 0 {
                    sleep(GLANCE).await;
                }
            };
            tokio::select! {
                () = idle => return,
                // The sender is ours.
                _ = way.changed() => {}
            }
        }
    }
}
