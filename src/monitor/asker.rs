use std::hash::{BuildHasher as _, RandomState};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::{Board, Schedule};
use crate::check::{Check, Others, ask};
use crate::clock::Clock;
use crate::health::{Facts, Finding, Observation, Outcome, Reason, Status};

/// The task that asks one check, again and again, never twice at once.
pub(super) struct Asker {
    pub(super) id: u64,
    pub(super) name: Arc<str>,
    pub(super) schedule: Schedule,
    /// So many passes in a row, and it is asked at its usual interval.
    pub(super) passes_wanted: u32,
    pub(super) depends_on: Vec<Arc<str>>,
    pub(super) check: Box<dyn Check>,
    pub(super) board: Arc<Board>,
    pub(super) clock: Clock,
    pub(super) results: mpsc::Sender<(u64, Observation)>,
}

impl Asker {
    /// Asks until nobody listens, or until the check has passed, if once is enough.
    pub(super) async fn run(mut self) {
        let jitter = RandomState::new();
        let others: Arc<dyn Others> = self.board.clone();
        self.check.meet(&others);
        let mut passes = 0_u32;
        for round in 0_u64.. {
            let observation = self.ask().await;
            let outcome = observation.finding.outcome;
            if self.results.send((self.id, observation)).await.is_err() {
                return;
            }
            if self.schedule.run_until_pass && outcome == Outcome::Pass {
                return;
            }
            let passed = matches!(outcome, Outcome::Pass | Outcome::Warn);
            passes = if passed { passes.saturating_add(1) } else { 0 };
            let interval =
                if passes >= self.passes_wanted.max(1) { self.schedule.interval } else { self.schedule.fast_interval };
            tokio::time::sleep(jittered(interval, jitter.hash_one(round))).await;
        }
    }

    async fn ask(&mut self) -> Observation {
        let at = self.clock.now();
        if let Some(parent) = self.failing_parent() {
            let reason = Reason::new("depends_on", format!("is not asked while {parent} fails"));
            let finding = Finding::inconclusive(reason, Facts::default());
            return Observation { finding, at, took: Duration::ZERO };
        }
        let begun = Instant::now();
        let (check, timeout) = (&mut self.check, self.schedule.timeout);
        // What a panicking check leaves half-changed concerns that check alone.
        let run = AssertUnwindSafe(async { ask(&mut **check, timeout).await });
        let finding = run.catch_unwind().await.unwrap_or_else(|_| {
            Finding::fail(Reason::new("panicked", "has a defect: its check panicked"), Facts::default())
        });
        let took = begun.elapsed();
        if took > self.schedule.slow_after {
            tracing::warn!(check = &*self.name, took_ms = took.as_millis() as u64, "check is slow");
        }
        Observation { finding, at, took }
    }

    fn failing_parent(&self) -> Option<Arc<str>> {
        let report = self.board.report();
        let failing =
            |name: &&Arc<str>| report.check(name).is_some_and(|parent| parent.state.status == Status::Unhealthy);
        self.depends_on.iter().find(failing).cloned()
    }
}

/// The interval, give or take a tenth.
fn jittered(interval: Duration, random: u64) -> Duration {
    let share = (random >> 11) as f64 / (1_u64 << 53) as f64;
    interval.mul_f64(0.9 + 0.2 * share)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    #[test]
    fn jitter_stays_within_a_tenth() {
        let interval = Duration::from_secs(10);
        assert_eq!(super::jittered(interval, 0), Duration::from_secs(9));
        assert!(super::jittered(interval, u64::MAX) <= Duration::from_secs(11));
    }
}
