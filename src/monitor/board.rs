use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};
use tokio::sync::watch;

use crate::check::Others;
use crate::health::{Fact, Report, Status};

/// Where the latest report hangs. Reading takes no lock; waiting for the next one is possible too.
#[derive(Debug)]
pub struct Board {
    report: ArcSwap<Report>,
    number: watch::Sender<u64>,
    /// The last event: who waits for events alone is not woken by every report.
    event: watch::Sender<u64>,
}

impl Board {
    pub(super) fn new(report: Report) -> Arc<Self> {
        let number = watch::Sender::new(report.number);
        let event = watch::Sender::new(report.history.last());
        Arc::new(Self { report: ArcSwap::from_pointee(report), number, event })
    }

    /// The latest report.
    #[must_use]
    pub fn report(&self) -> Guard<Arc<Report>> {
        self.report.load()
    }

    /// Waits until a report satisfies the condition.
    pub async fn wait_for(&self, condition: impl FnMut(&Report) -> bool) -> Arc<Report> {
        self.wait(self.number.subscribe(), condition).await
    }

    /// Waits until something has happened after this event.
    pub async fn wait_for_event(&self, after: u64) -> Arc<Report> {
        self.wait(self.event.subscribe(), |report| report.history.last() > after).await
    }

    async fn wait(&self, mut changes: watch::Receiver<u64>, mut condition: impl FnMut(&Report) -> bool) -> Arc<Report> {
        loop {
            let report = self.report.load_full();
            if condition(&report) {
                return report;
            }
            if changes.changed().await.is_err() {
                // The sender lives as long as this board.
                std::future::pending::<()>().await;
            }
        }
    }

    pub(super) fn publish(&self, report: Report) {
        let (number, last) = (report.number, report.history.last());
        self.report.store(Arc::new(report));
        self.number.send_replace(number);
        self.event.send_if_modified(|event| std::mem::replace(event, last) != last);
    }
}

impl Others for Board {
    fn fact(&self, check: &str, fact: &str) -> Option<Fact> {
        let report = self.report();
        let check = report.check(check).filter(|check| check.state.status != Status::Unknown)?;
        check.state.last.as_ref()?.finding.facts.get(fact).cloned()
    }
}
