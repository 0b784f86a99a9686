use std::pin::{Pin, pin};
use std::sync::atomic::Ordering::Relaxed;
use std::task::Poll;
use std::time::Duration;

use super::super::local::Local;
use super::super::rejection::Rejection;
use super::super::relay::{Ended, Relay};
use super::super::tunnel::tunnel;
use super::{After, ClientStream, Connection, Job, Step, watch};
use crate::traffic::Failure;

/// Between two attempts to connect.
const RETRY_PAUSE: Duration = Duration::from_millis(50);

/// What becomes of a request for the app.
impl<L: Local, S: ClientStream> Connection<'_, L, S> {
    /// Has the app answer. Tried again is only what the app has not seen, or may see twice.
    pub(super) async fn forward(&mut self, mut job: Box<Job>) -> After {
        let proxy = self.proxy.clone();
        match self.unless_gone(&job, proxy.admission.enter()).await {
            Some(Ok(permit)) => job.exchange.permit = permit,
            Some(Err(rejection)) => return self.reject(&mut job, rejection).await,
            None => return After::Drop,
        }
        let mut attempts = proxy.settings.retry.attempts;
        let mut may_reuse = true;
        loop {
            let lease = match proxy.pool.reuse(!job.idempotent).filter(|_| may_reuse) {
                Some(lease) => lease,
                None => match self.unless_gone(&job, proxy.pool.connect()).await {
                    Some(Ok(lease)) => lease,
                    Some(Err(rejection)) if attempts > 0 && rejection.is_worth_another_attempt() => {
                        attempts -= 1;
                        proxy.shard.retries.fetch_add(1, Relaxed);
                        if self.unless_gone(&job, tokio::time::sleep(RETRY_PAUSE)).await.is_none() {
                            return After::Drop;
                        }
                        continue;
                    }
                    Some(Err(rejection)) => return self.reject(&mut job, rejection).await,
                    None => return After::Drop,
                },
            };
            let reused = lease.reused;
            let relay =
                Relay::new(&self.proxy, &mut self.stream, lease, &mut job, &mut self.ahead, &mut self.timer, self.hub);
            match relay.run().await {
                Ended::Complete { keep, whole } => {
                    self.proxy.give_back(std::mem::take(&mut job.out));
                    return match (keep, whole && self.ahead.is_empty()) {
                        (true, _) => After::Keep,
                        (false, true) => After::Drop,
                        (false, false) => After::Close,
                    };
                }
                Ended::Tunnel { mut lease, head, first } => {
                    let silence = self.proxy.settings.timeouts.stream_idle;
                    let ahead = std::mem::take(&mut self.ahead);
                    if self.write_all(head).await.is_err() {
                        return After::Drop;
                    }
                    let first = (&ahead[..], &first[..]);
                    let broken = tunnel(&mut self.stream, lease.stream(), first, &mut job.exchange, silence).await;
                    return if broken == Some(Failure::UpstreamReset) { After::Reset } else { After::Drop };
                }
                // What was not sent at all may be sent again however often: each time one stale connection fewer.
                Ended::Stale { sent: false, .. } if reused => {}
                // The next one kept may be as stale: this time a new one.
                Ended::Stale { whole: true, .. } if reused && job.idempotent && attempts > 0 => {
                    attempts -= 1;
                    may_reuse = false;
                }
                Ended::Stale { .. } => return self.reject(&mut job, Rejection::UpstreamClosed).await,
                Ended::Failed(rejection) => return self.reject(&mut job, rejection).await,
                Ended::Cut { reset } => return if reset { After::Reset } else { After::Drop },
                Ended::ClientGone => return After::Drop,
            }
            proxy.shard.retries.fetch_add(1, Relaxed);
        }
    }

    /// Waits for something before the app is asked, but not for a client that has gone.
    async fn unless_gone<T>(&mut self, job: &Job, awaited: impl Future<Output = T>) -> Option<T> {
        let mut awaited = pin!(awaited);
        std::future::poll_fn(|cx| {
            if let Poll::Ready(result) = awaited.as_mut().poll(cx) {
                return Poll::Ready(Some(result));
            }
            // With a body still to come, its bytes stay where they are until the app can have them.
            if !job.upload.is_done() {
                return Poll::Pending;
            }
            let mut scratch = self.proxy.scratch.borrow_mut();
            watch(Pin::new(&mut self.stream), cx, &mut scratch, &mut self.ahead).map(|_| None)
        })
        .await
    }

    async fn reject(&mut self, job: &mut Job, rejection: Rejection) -> After {
        let Step::Own(bytes, after) = self.give_up(job, rejection) else { return After::Drop };
        if self.write_all(bytes).await.is_ok() { after } else { After::Drop }
    }
}
