use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use futures_util::future::BoxFuture;
use tokio::sync::{Notify, watch};

use super::Check;
use crate::health::{Facts, Finding, Reason};

/// The question whether every worker's event loop still turns: each must answer a beat by the check's timeout.
///
/// Asked by a check that is always there, named `event_loop`, in the liveness group alone.
#[derive(Debug)]
pub struct Pulse {
    beat: watch::Sender<u64>,
    answers: Vec<AtomicU64>,
    answered: Notify,
}

impl Pulse {
    /// The name of the built-in check.
    pub const NAME: &'static str = "event_loop";

    /// A pulse for so many workers.
    #[must_use]
    pub fn new(workers: usize) -> Arc<Self> {
        let answers = (0..workers).map(|_| AtomicU64::new(0)).collect();
        Arc::new(Self { beat: watch::Sender::new(0), answers, answered: Notify::new() })
    }

    /// A worker's side: answers each beat from the worker's own event loop, for ever, and does with it what is to be done
    /// now and then.
    pub async fn answer(self: Arc<Self>, worker: usize, with_each_beat: impl Fn()) {
        let mut beats = self.beat.subscribe();
        loop {
            // Also the beat that was before this worker came.
            let beat = *beats.borrow_and_update();
            self.answers[worker].store(beat, Relaxed);
            self.answered.notify_one();
            with_each_beat();
            if beats.changed().await.is_err() {
                return;
            }
        }
    }

    /// The check that asks.
    #[must_use]
    pub fn check(self: &Arc<Self>) -> Box<dyn Check> {
        Box::new(PulseCheck(self.clone()))
    }

    fn silent(&self, beat: u64) -> usize {
        self.answers.iter().filter(|answer| answer.load(Relaxed) < beat).count()
    }
}

struct PulseCheck(Arc<Pulse>);

impl Check for PulseCheck {
    fn run(&mut self) -> BoxFuture<'_, Finding> {
        Box::pin(async {
            let pulse = &self.0;
            let mut beat = 0;
            pulse.beat.send_modify(|value| {
                *value += 1;
                beat = *value;
            });
            while pulse.silent(beat) > 0 {
                pulse.answered.notified().await;
            }
            Finding::pass(Facts::default())
        })
    }

    fn timed_out(&self) -> Finding {
        Finding::fail(Reason::new("event_loop_stuck", "an event loop does not turn"), Facts::default())
    }
}
