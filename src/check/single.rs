use tokio::task::JoinHandle;

/// Runs file system work on a blocking thread, never twice at once.
///
/// A file on a dead network mount can block a thread for ever. The check's timeout gives up waiting, and the next run
/// waits for the same work again in place of blocking one more thread each time.
#[derive(Debug)]
pub(super) struct Single<T>(Option<JoinHandle<T>>);

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
            let running = self.0.get_or_insert_with(|| match work.take() {
                Some(work) => tokio::task::spawn_blocking(work),
                None => unreachable!("the work is taken once, and the loop ends with its result"),
            });
            let ended = running.await;
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
