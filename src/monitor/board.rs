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
}

impl Board {
    pub(super) fn new(report: Report) -> Arc<Self> {
        let number = watch::Sender::new(report.number);
        Arc::new(Self { report: ArcSwap::from_pointee(report), number })
    }

    /// The latest report.
    #[must_use]
    pub fn report(&self) -> Guard<Arc<Report>> {
        self.report.load()
    }

    /// Waits until a report satisfies the condition.
    pub async fn wait_for(&self, mut condition: impl FnMut(&Report) -> bool) -> Arc<Report> {
        let mut numbers = self.number.subscribe();
        loop {
            let report = self.report.load_full();
            if condition(&report) {
                return report;
            }
            if numbers.changed().await.is_err() {
                // The sender lives as long as this board.
                std::future::pending::<()>().await;
            }
        }
    }

    pub(super) fn publish(&self, report: Report) {
        let number = report.number;
        self.report.store(Arc::new(report));
        self.number.send_replace(number);
    }
}

impl Others for Board {
    fn fact(&self, check: &str, fact: &str) -> Option<Fact> {
        let report = self.report();
        let check = report.check(check).filter(|check| check.state.status != Status::Unknown)?;
        check.state.last.as_ref()?.finding.facts.get(fact).cloned()
    }
}
