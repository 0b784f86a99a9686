use std::cell::Cell;
use std::time::Duration;

use tokio::time::Instant;

use super::Check;
use crate::health::{Facts, Finding, Reason};

tokio::task_local! {
    /// How the check that is asked has waited for its turn, or turns.
    static WAITS: Cell<Waits>;
}

#[derive(Clone, Copy, Default)]
struct Waits {
    /// For what, the last time.
    why: Option<fn() -> Reason>,
    /// Since when it waits.
    since: Option<Instant>,
    /// How long it waited before.
    waited: Duration,
}

impl Waits {
    /// Why a check whose time is over has not been asked: because it waits still, or had less than half of its time left when
    /// its turn came.
    fn excuse(self, timeout: Duration) -> Option<Reason> {
        let excused = self.since.is_some() || self.waited > timeout / 2;
        self.why.filter(|_| excused).map(|why| why())
    }
}

/// Asks a check once, for so long and no longer.
pub async fn ask(check: &mut dyn Check, timeout: Duration) -> Finding {
    let asked = async {
        match tokio::time::timeout(timeout, async { check.run().await }).await {
            Ok(finding) => finding,
            Err(_) => match WAITS.with(Cell::get).excuse(timeout) {
                Some(why) => Finding::inconclusive(why, Facts::default()),
                None => check.timed_out(),
            },
        }
    };
    WAITS.scope(Cell::default(), asked).await
}

/// Waits for a check's turn: one whose time is over meanwhile has not been asked, and this is why.
pub(super) async fn waiting<T>(why: fn() -> Reason, turn: impl Future<Output = T>) -> T {
    let begun = Instant::now();
    let _ = WAITS.try_with(|waits| waits.set(Waits { why: Some(why), since: Some(begun), ..waits.get() }));
    let come = turn.await;
    let _ = WAITS.try_with(|waits| {
        waits.set(Waits { since: None, waited: waits.get().waited + begun.elapsed(), ..waits.get() });
    });
    come
}

#[cfg(test)]
mod tests {
    use futures_util::future::BoxFuture;
    use tokio::time::sleep;

    use super::*;
    use crate::health::Outcome;

    /// Waits for its turn for so long, and then runs for so long.
    struct Turn(Duration, Duration);

    impl Check for Turn {
        fn run(&mut self) -> BoxFuture<'_, Finding> {
            Box::pin(async {
                waiting(|| Reason::new("busy", "busy"), sleep(self.0)).await;
                sleep(self.1).await;
                Finding::pass(Facts::default())
            })
        }
    }

    #[tokio::test(start_paused = true)]
    async fn whose_turn_came_too_late_has_not_been_asked() {
        let secs = Duration::from_secs;
        for (waits, runs, outcome) in [
            (secs(0), secs(9), Outcome::Pass),
            (secs(8), secs(1), Outcome::Pass),
            (secs(0), secs(20), Outcome::Fail),
            (secs(4), secs(20), Outcome::Fail),
            (secs(6), secs(20), Outcome::Inconclusive),
            // In the moment in which its time is over.
            (secs(10), secs(1), Outcome::Inconclusive),
            (secs(20), secs(1), Outcome::Inconclusive),
        ] {
            let found = ask(&mut Turn(waits, runs), secs(10)).await;
            assert_eq!(found.outcome, outcome, "waits {waits:?}, runs {runs:?}");
        }
    }
}
