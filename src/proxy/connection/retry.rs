use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::super::settings::Retry;
use crate::traffic::Shard;

/// What is left of one request's further attempts.
#[derive(Debug)]
pub(in crate::proxy) struct Tries {
    connects: u32,
    replays: u32,
    elsewhere: u32,
    hold: Duration,
    /// Set by the first failure.
    held_until: Option<Instant>,
    /// No further attempt is on a kept connection of HTTP/1.1.
    pub(super) needs_new: bool,
}

/// While the app restarts, a request that may be sent twice meets its end on a kept connection, and on a new one to a
/// listener that is about to close; and the next app may be replaced before it has answered.
const REPLAYS_OVER_A_RESTART: u32 = 3;

/// An app that ends its connections after some requests each may end those of a busy worker one after the other.
const MOST_ELSEWHERE: u32 = 20;

impl Tries {
    pub(super) fn new(retry: &Retry) -> Self {
        let hold = retry.hold_on_restart;
        let replays = if hold.is_zero() { retry.attempts } else { retry.attempts.max(REPLAYS_OVER_A_RESTART) };
        Self { connects: retry.attempts, replays, elsewhere: MOST_ELSEWHERE, hold, held_until: None, needs_new: false }
    }

    /// Until when an app that is not there is waited for; `None`: not at all.
    pub(super) fn hold_until(&mut self) -> Option<Instant> {
        if self.hold.is_zero() {
            return None;
        }
        Some(*self.held_until.get_or_insert_with(|| Instant::now() + self.hold))
    }

    /// Whether the app may be knocked at once more.
    pub(super) fn connect(&mut self, budget: &Budget) -> bool {
        take_one(&mut self.connects) && (budget.spend() || budget.deny())
    }

    /// Whether another connection may be tried, after one that the app was about to end.
    pub(super) fn go_elsewhere(&mut self) -> bool {
        take_one(&mut self.elsewhere)
    }

    /// Whether the request may be sent once more, if that can be paid for. A new connection that ends without an answer
    /// says that the app is broken, unless it may be restarting.
    pub(super) fn replay(&mut self, reused: bool) -> bool {
        let may = reused || self.hold_until().is_some_and(|until| Instant::now() < until);
        may && take_one(&mut self.replays)
    }
}

fn take_one(left: &mut u32) -> bool {
    let any = *left > 0;
    *left = left.saturating_sub(1);
    any
}

/// One worker's further attempts are at most a share of its requests, and a few a second beside: an app that is broken must
/// not be asked twice as much as one that is well.
#[derive(Debug)]
pub(in crate::proxy) struct Budget {
    /// In parts of an attempt.
    saved: Cell<u32>,
    refilled: Cell<Instant>,
    shard: Arc<Shard>,
}

/// So many requests earn one further attempt: 20 %.
const REQUESTS_PER_ATTEMPT: u32 = 5;

/// What every second brings, however few requests there are, and up to how much.
const ATTEMPTS_PER_SECOND: u32 = 10;
const QUIET_ATTEMPTS: u32 = 100;

/// More attempts than this are not saved up.
const MOST_ATTEMPTS: u32 = 1000;

impl Budget {
    pub(in crate::proxy) fn new(shard: Arc<Shard>) -> Self {
        let saved = Cell::new(QUIET_ATTEMPTS * REQUESTS_PER_ATTEMPT);
        Self { saved, refilled: Cell::new(Instant::now()), shard }
    }

    /// A request begins.
    pub(super) fn earn(&self) {
        self.saved.set((self.saved.get() + 1).min(MOST_ATTEMPTS * REQUESTS_PER_ATTEMPT));
    }

    /// Pays for one further attempt, which is made at once, if there is anything left.
    pub(super) fn spend(&self) -> bool {
        self.pay() && self.free()
    }

    /// Pays for one further attempt, which counts when it is made.
    pub(super) fn pay(&self) -> bool {
        let now = Instant::now();
        let quiet = QUIET_ATTEMPTS * REQUESTS_PER_ATTEMPT;
        if self.saved.get() < quiet {
            let elapsed = now.saturating_duration_since(self.refilled.get()).as_secs_f64();
            let brought = elapsed * f64::from(ATTEMPTS_PER_SECOND * REQUESTS_PER_ATTEMPT);
            // Less than a part stays on the clock.
            if brought >= 1.0 {
                self.saved.set(quiet.min(self.saved.get().saturating_add(brought as u32)));
                self.refilled.set(now);
            }
        } else {
            self.refilled.set(now);
        }
        let left = self.saved.get().checked_sub(REQUESTS_PER_ATTEMPT);
        let Some(left) = left else { return false };
        self.saved.set(left);
        true
    }

    /// One that costs nothing: the app was not there to be asked too much.
    pub(super) fn free(&self) -> bool {
        self.shard.retries.add(1);
        true
    }

    /// There was nothing left to pay with.
    pub(super) fn deny(&self) -> bool {
        self.shard.retries_denied.add(1);
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget() -> Budget {
        Budget::new(Arc::default())
    }

    #[tokio::test(start_paused = true)]
    async fn a_broken_app_is_asked_a_fifth_more_and_not_twice_as_much() {
        let budget = budget();
        while budget.spend() {}
        let mut further = 0;
        for _ in 0..1000 {
            budget.earn();
            further += u32::from(budget.spend() || budget.deny());
        }
        assert_eq!(further, 200);
        assert_eq!(budget.shard.retries_denied.get(), 800);
        assert_eq!(budget.shard.retries.get(), 300, "with what was saved up");
    }

    #[tokio::test(start_paused = true)]
    async fn few_requests_may_be_tried_again_all_the_same() {
        let budget = budget();
        while budget.spend() {}
        tokio::time::advance(Duration::from_secs(1)).await;
        let spent = (0..100).filter(|_| budget.spend()).count();
        assert_eq!(spent, 10);
        tokio::time::advance(Duration::from_secs(3600)).await;
        let spent = (0..1000).filter(|_| budget.spend()).count();
        assert_eq!(spent, 100, "an hour of quiet is not saved up");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_earned_is_bounded() {
        let budget = budget();
        (0..1_000_000).for_each(|_| budget.earn());
        assert_eq!((0..5000).filter(|_| budget.spend()).count(), 1000);
    }
}
