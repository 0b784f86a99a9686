use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use super::asking::waiting;
use crate::health::Reason;

/// So many checks may run a program of their own at a time: each costs memory of the sidecar's limit.
const AT_ONCE: usize = 2;

/// A program that runs for longer than this gives its turn to others, so that those that hang hold up nobody; so many of them.
/// Beyond that, they keep their turns.
const SLOW: Duration = Duration::from_secs(2);
const MOST_SLOW: usize = 4;

/// Whose turn it is to run a program.
#[derive(Clone, Debug)]
pub struct Processes {
    turns: Arc<Semaphore>,
    slow: Arc<Semaphore>,
}

impl Default for Processes {
    fn default() -> Self {
        Self { turns: Arc::new(Semaphore::new(AT_ONCE)), slow: Arc::new(Semaphore::new(MOST_SLOW)) }
    }
}

impl Processes {
    /// Runs it when it is its turn. A check whose time is over before that has not been asked.
    pub(super) async fn run<T>(&self, program: impl Future<Output = T>) -> T {
        let turn = waiting(none_free, self.turns.acquire()).await;
        let mut program = pin!(program);
        if let Ok(ended) = tokio::time::timeout(SLOW, &mut program).await {
            return ended;
        }
        let slow = self.slow.try_acquire().ok();
        let _turn = turn.ok().filter(|_| slow.is_none());
        program.await
    }
}

fn none_free() -> Reason {
    Reason::new("no_process_free", "was not asked in time: too many programs of other checks run, or hang")
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tokio::task::JoinSet;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_hangs_holds_up_the_others_for_a_moment_only_until_too_much_hangs() {
        let processes = Processes::default();
        let mut hung = JoinSet::new();
        let mut hang = |count| {
            for _ in 0..count {
                let processes = processes.clone();
                hung.spawn(async move { processes.run(pending::<()>()).await });
            }
        };
        hang(MOST_SLOW);
        tokio::task::yield_now().await;
        let begun = tokio::time::Instant::now();
        assert_eq!(processes.run(async { 7 }).await, 7);
        assert_eq!(begun.elapsed(), SLOW * 2, "each two of them have had their time");
        hang(AT_ONCE);
        tokio::time::sleep(SLOW * 2).await;
        let beyond = tokio::time::timeout(SLOW * 10, processes.run(async {})).await;
        assert!(beyond.is_err(), "nobody's turn");
        // Whatever is stopped gives back what it had.
        hung.shutdown().await;
        assert_eq!((processes.turns.available_permits(), processes.slow.available_permits()), (AT_ONCE, MOST_SLOW));
    }
}
