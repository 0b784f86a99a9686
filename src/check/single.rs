use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use super::threads::{Running, start};

/// Runs file system work on a blocking thread, never twice at once.
///
/// A file on a dead network mount can block a thread for ever. The check's timeout gives up waiting, and the next run
/// waits for the same work again in place of blocking one more thread each time.
#[derive(Debug)]
pub(super) struct Single<T>(Option<Running<T>>);

impl<T> Default for Single<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T: Send + 'static> Single<T> {
    /// Starts the work, unless an earlier one still runs, and waits for its result.
    pub(super) async fn run(&mut self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let mut work = Some(work);
        loop {
            if let (None, Some(work)) = (&self.0, work.take()) {
                self.0 = Some(start(work).await);
            }
            let Some(running) = &mut self.0 else {
                unreachable!("the work is taken once, and the loop ends with its result")
            };
            let ended = running.ended().await;
            self.0 = None;
            match ended {
                Ok(result) => return result,
                // The work panicked: so does the check, which the monitor turns into its failure.
                Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                Err(_) => std::future::pending().await,
            }
        }
    }
}

/// Tells work on a blocking thread that nobody waits for it any more: such work looks at [`Cancelled`] as it goes.
#[derive(Debug)]
pub(super) struct Cancel(Arc<AtomicBool>);

/// The work's side.
#[derive(Clone, Debug)]
pub(super) struct Cancelled(Arc<AtomicBool>);

impl Cancel {
    pub(super) fn new() -> (Self, Cancelled) {
        let flag = Arc::new(AtomicBool::new(false));
        (Self(flag.clone()), Cancelled(flag))
    }
}

impl Drop for Cancel {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

impl Cancelled {
    pub(super) fn is_set(&self) -> bool {
        self.0.load(Relaxed)
    }
}

impl<T: Send + 'static> Single<Option<T>> {
    /// The same for work that ends with nothing when it is cancelled, which dropping this future does. What an earlier,
    /// cancelled one leaves behind is waited for and begun anew.
    pub(super) async fn run_cancellable(
        &mut self,
        work: impl Fn(&Cancelled) -> Option<T> + Clone + Send + 'static,
    ) -> T {
        loop {
            let (_cancel, cancelled) = Cancel::new();
            let work = work.clone();
            if let Some(result) = self.run(move || work(&cancelled)).await {
                return result;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
    use std::time::Duration;

    use super::Single;

    #[tokio::test]
    async fn cancelled_work_ends_and_is_begun_anew() {
        let mut single: Single<Option<u32>> = Single::default();
        let begun = Arc::new(AtomicU32::new(0));
        let counter = begun.clone();
        let stubborn = move |cancelled: &super::Cancelled| {
            if counter.fetch_add(1, SeqCst) > 0 {
                return Some(7);
            }
            while !cancelled.is_set() {
                std::thread::yield_now();
            }
            None
        };
        let first = tokio::time::timeout(Duration::from_millis(20), single.run_cancellable(stubborn.clone())).await;
        assert!(first.is_err(), "it goes on until it is told");
        assert_eq!(single.run_cancellable(stubborn).await, 7);
        assert_eq!(begun.load(SeqCst), 2);
    }
}
