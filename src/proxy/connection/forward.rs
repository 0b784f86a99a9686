use std::pin::{Pin, pin};
use std::sync::atomic::Ordering::Relaxed;
use std::task::Poll;
use std::time::Duration;

use super::super::local::Local;
use super::super::rejection::Rejection;
use super::super::relay::{Ended, Relay};
use super::super::tunnel::tunnel;
use super::super::upstream::Lease;
use super::retry::Tries;
use super::{After, ClientStream, Connection, Job, Step, watch};
use crate::clock::back_off;
use crate::traffic::Failure;

/// Before a further attempt at an app that refuses.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// What becomes of a request for the app.
impl<L: Local, S: ClientStream> Connection<'_, L, S> {
    /// Has the app answer. Tried again is only what the app has not seen, or may see twice.
    pub(super) async fn forward(&mut self, mut job: Box<Job>) -> After {
        let proxy = self.proxy.clone();
        // What is rare is boxed: over 1,032 bytes, glibc has no quick way to this future's memory.
        if let Some(permit) = proxy.admission.enter_now() {
            job.exchange.admit(permit);
        } else {
            match self.unless_gone(&job, Box::pin(proxy.admission.enter(&proxy.shard))).await {
                Some(Ok(permit)) => job.exchange.admit(permit),
                Some(Err(rejection)) => return Box::pin(self.reject(&mut job, rejection)).await,
                None => return After::Drop,
            }
        }
        proxy.budget.earn();
        let mut tries = Tries::new(&proxy.settings.retry);
        let mut may_reuse = true;
        loop {
            let kept = if may_reuse { proxy.pool.reuse(job.needs()) } else { None };
            let lease = match kept {
                Some(lease) => lease,
                None => match Box::pin(self.connect(&mut job, &mut tries)).await {
                    Some(Ok(lease)) => lease,
                    Some(Err(rejection)) => return Box::pin(self.reject(&mut job, rejection)).await,
                    None => return After::Drop,
                },
            };
            let reused = lease.reused;
            let mut relay =
                Relay::new(&self.proxy, &mut self.stream, lease, &mut job, &mut self.ahead, &mut self.timer, self.hub);
            let step = std::future::poll_fn(|cx| relay.poll(cx)).await;
            match relay.end(step) {
                Ended::Complete { keep, whole } => {
                    self.proxy.give_back(std::mem::take(&mut job.out));
                    return match (keep, whole && self.ahead.is_empty()) {
                        (true, _) => After::Keep,
                        (false, true) => After::Drop,
                        (false, false) => After::Close,
                    };
                }
                Ended::Tunnel { lease, head, first } => {
                    return Box::pin(self.tunnel(lease, head, first, &mut job)).await;
                }
                // What was not sent at all may be sent again however often: each time one stale connection fewer.
                Ended::Stale { sent: false, .. } if reused => {
                    proxy.shard.retries.fetch_add(1, Relaxed);
                    job.exchange.retries += 1;
                }
                // The next one kept may be as stale: this time a new one.
                Ended::Stale { sent, whole: true } if (job.idempotent || !sent) && tries.replay(reused) => {
                    may_reuse = false;
                    if let Some(end) = Box::pin(self.once_more(&mut job, &mut tries, reused)).await {
                        return end;
                    }
                }
                Ended::Refused { whole: true }
                    if tries.replay(true) && (proxy.budget.spend() || proxy.budget.deny()) =>
                {
                    if self.unless_gone(&job, Box::pin(pause())).await.is_none() {
                        return After::Drop;
                    }
                }
                Ended::Refused { .. } => return Box::pin(self.reject(&mut job, Rejection::StreamRefused)).await,
                Ended::Stale { .. } => return Box::pin(self.reject(&mut job, Rejection::UpstreamClosed)).await,
                Ended::Failed(rejection) => return Box::pin(self.reject(&mut job, rejection)).await,
                Ended::Cut { reset } => return if reset { After::Reset } else { After::Drop },
                Ended::ClientGone(None) => return After::Drop,
                Ended::ClientGone(Some(rest)) => {
                    Box::pin(rest.finish(&proxy, &job)).await;
                    return After::Drop;
                }
            }
        }
    }

    /// Gets a request ready to be sent once more, whose connection ended without an answer; or tells how it ends.
    async fn once_more(&mut self, job: &mut Job, tries: &mut Tries, reused: bool) -> Option<After> {
        let proxy = self.proxy.clone();
        let ready = if proxy.budget.spend() {
            if reused { Some(true) } else { self.unless_gone(job, pause()).await.map(|()| true) }
        } else if let Some(until) = tries.hold_until() {
            // What an app had in its hands when it ended does not ask it too much: it waits until the app is back, and the
            // places to wait in are bounded.
            let gone = self.unless_gone(job, proxy.hold.has_gone(&proxy.pool, job.needs(), until)).await;
            gone.map(|gone| if gone { proxy.budget.free() } else { proxy.budget.deny() })
        } else {
            Some(proxy.budget.deny())
        };
        match ready {
            Some(true) => {
                job.exchange.retries += 1;
                None
            }
            Some(false) => Some(self.reject(job, Rejection::UpstreamClosed).await),
            None => Some(After::Drop),
        }
    }

    /// From here on both speak another protocol.
    async fn tunnel(&mut self, mut lease: Lease, head: Vec<u8>, first: Vec<u8>, job: &mut Job) -> After {
        let silence = self.proxy.settings.timeouts.stream_idle;
        let ahead = std::mem::take(&mut self.ahead);
        if self.write_all(head).await.is_err() {
            return After::Drop;
        }
        let first = (&ahead[..], &first[..]);
        let broken = tunnel(&mut self.stream, lease.stream(), first, &mut job.exchange, silence).await;
        if broken == Some(Failure::UpstreamReset) { After::Reset } else { After::Drop }
    }

    /// A new connection, if need be once the app is back. `None`: the client has not waited for it.
    async fn connect(&mut self, job: &mut Job, tries: &mut Tries) -> Option<Result<Lease, Rejection>> {
        let proxy = self.proxy.clone();
        loop {
            let rejection = match self.unless_gone(job, proxy.pool.connect(job.needs())).await? {
                Ok(lease) => {
                    proxy.hold.is_back();
                    return Some(Ok(lease));
                }
                Err(rejection) if rejection.is_worth_another_attempt() => rejection,
                Err(rejection) => return Some(Err(rejection)),
            };
            if let Some(until) = tries.hold_until() {
                job.exchange.retries += 1;
                return self.hold(job, rejection, until).await;
            }
            if !tries.connect(&proxy.budget) {
                return Some(Err(rejection));
            }
            job.exchange.retries += 1;
            self.unless_gone(job, pause()).await?;
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

async fn pause() {
    tokio::time::sleep(back_off(RETRY_PAUSE, RETRY_PAUSE, 1)).await;
}

#[cfg(test)]
mod tests {
    use tokio::io::DuplexStream;

    use super::super::super::local::{LocalAnswer, LocalRequest};
    use super::{Connection, Job, Local};

    struct Nothing;

    impl Local for Nothing {
        fn answer(&self, _: &LocalRequest<'_>) -> Option<LocalAnswer> {
            None
        }

        fn owns(&self, _: &str) -> bool {
            false
        }
    }

    fn size<F>(_: fn(&'static mut Connection<'static, Nothing, DuplexStream>, Box<Job>) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn the_future_of_a_request_is_quickly_had() {
        let size = size(Connection::forward);
        assert!(size <= 1_032, "{size} bytes: box what is rare in it");
    }
}
