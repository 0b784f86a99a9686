use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::task::{JoinError, JoinHandle};

use super::asking::waiting;
use crate::health::Reason;

/// So much work on file systems and the like runs at a time: more would only make threads.
const MOST_AT_ONCE: usize = 8;
/// Work that nobody waits for any more, as its file system does not answer, gives its turn to others; so much of it. Beyond
/// that, work that hangs keeps its turn, and at last nobody has one.
const MOST_HUNG: usize = 56;
/// Threads for all of it, and for what never waits behind it: looking up names, and reading the configuration anew. They are
/// made when they are needed, and end when they are not.
pub const MOST_THREADS: usize = MOST_AT_ONCE + MOST_HUNG + 8;

static THREADS: Threads = Threads::new(MOST_AT_ONCE, MOST_HUNG);

fn none_free() -> Reason {
    Reason::new("no_thread_free", "was not looked at: too many others wait for file systems that do not answer")
}

/// Whose turn it is to block a thread.
struct Threads {
    turns: Semaphore,
    hung: Semaphore,
}

impl Threads {
    const fn new(turns: usize, hung: usize) -> Self {
        Self { turns: Semaphore::const_new(turns), hung: Semaphore::const_new(hung) }
    }

    async fn start<T: Send + 'static>(&'static self, work: impl FnOnce() -> T + Send + 'static) -> Running<T> {
        let permit = waiting(none_free, self.turns.acquire()).await.ok();
        let turn = Arc::new(Turn {
            threads: self,
            held: Mutex::new(permit.map(|permit| Held { _permit: permit, hung: false })),
        });
        let ours = Ended(turn.clone());
        let task = tokio::task::spawn_blocking(move || {
            let _ended = ours;
            work()
        });
        Running { task, turn }
    }
}

/// Starts work on a thread of its own, when it is its turn.
pub(super) async fn start<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Running<T> {
    THREADS.start(work).await
}

/// Work on a thread.
#[derive(Debug)]
pub(super) struct Running<T> {
    task: JoinHandle<T>,
    turn: Arc<Turn>,
}

impl<T> Running<T> {
    /// Waits for it. Who stops waiting leaves the thread to it, and the turn to others.
    pub(super) async fn ended(&mut self) -> Result<T, JoinError> {
        let _waiting = Waiting(&self.turn);
        (&mut self.task).await
    }
}

struct Turn {
    threads: &'static Threads,
    held: Mutex<Option<Held>>,
}

struct Held {
    _permit: SemaphorePermit<'static>,
    hung: bool,
}

impl Turn {
    fn held(&self) -> MutexGuard<'_, Option<Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Turn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Turn")
    }
}

/// The work's side: it has ended, whichever way.
struct Ended(Arc<Turn>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.held().take();
    }
}

/// The side of who waits for it.
struct Waiting<'a>(&'a Turn);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if let Some(held) = &mut *self.0.held()
            && !held.hung
            && let Ok(permit) = self.0.threads.hung.try_acquire()
        {
            *held = Held { _permit: permit, hung: true };
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::Threads;

    const SHORT: Duration = Duration::from_millis(20);

    #[tokio::test]
    async fn what_hangs_holds_up_itself_until_too_much_hangs() {
        static THREADS: Threads = Threads::new(1, 2);
        let mut ends = Vec::new();
        let mut hung = Vec::new();
        for _ in 0..3 {
            let (end, wait) = mpsc::sync_channel::<()>(1);
            let mut running = THREADS.start(move || wait.recv().is_ok()).await;
            assert!(tokio::time::timeout(SHORT, running.ended()).await.is_err(), "it hangs");
            ends.push(end);
            hung.push(running);
        }
        // Two have given their turn away, and the third has kept it.
        assert!(tokio::time::timeout(SHORT, THREADS.start(|| ())).await.is_err(), "nobody's turn");
        ends.remove(0).send(()).expect("it waits");
        assert!(hung.remove(0).ended().await.expect("it ends"));
        assert!(tokio::time::timeout(SHORT, hung[1].ended()).await.is_err(), "it hangs, and gives its turn away now");
        assert_eq!(THREADS.start(|| 7).await.ended().await.expect("it ends"), 7);
        // Whatever comes, each turn comes back.
        for end in ends {
            end.send(()).expect("it waits");
        }
        for mut running in hung {
            assert!(running.ended().await.expect("it ends"));
        }
        let defect: fn() = || panic!("a defect");
        assert!(THREADS.start(defect).await.ended().await.is_err());
        assert_eq!((THREADS.turns.available_permits(), THREADS.hung.available_permits()), (1, 2));
    }
}
