use std::cell::Cell;
use std::time::Duration;

use super::Check;
use crate::health::{Facts, Finding, Reason};

tokio::task_local! {
    /// Why the check that is asked has not been asked yet, if it waits for its turn.
    static WAITS: Cell<Option<fn() -> Reason>>;
}

/// Asks a check once, for so long and no longer.
pub async fn ask(check: &mut dyn Check, timeout: Duration) -> Finding {
    let asked = async {
        match tokio::time::timeout(timeout, async { check.run().await }).await {
            Ok(finding) => finding,
            Err(_) => match WAITS.with(Cell::get) {
                Some(why) => Finding::inconclusive(why(), Facts::default()),
                None => check.timed_out(),
            },
        }
    };
    WAITS.scope(Cell::new(None), asked).await
}

/// Waits for a check's turn: one whose time is over meanwhile has not been asked, and this is why.
pub(super) async fn waiting<T>(why: fn() -> Reason, turn: impl Future<Output = T>) -> T {
    let _ = WAITS.try_with(|waits| waits.set(Some(why)));
    let come = turn.await;
    let _ = WAITS.try_with(|waits| waits.set(None));
    come
}
