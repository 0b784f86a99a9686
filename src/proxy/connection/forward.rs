use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::time::Instant;

use super::super::http1::Malformed;
use super::super::local::Local;
use super::super::rejection::Rejection;
use super::super::relay::{self, Completed, Course, Ended, GLANCE, Relay};
use super::super::tunnel::tunnel;
use super::super::upstream::Lease;
use super::{After, ClientStream, Connection, HALF_CLOSED, Job, Left, MOST_AHEAD, Slot, Step, watch};
use crate::clock::{self, back_off};
use crate::traffic::Failure;

/// Before a further attempt at an app that refuses.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// What becomes of a request for the app.
impl<L: Local, S: ClientStream> Connection<'_, L, S> {
    /// Has the app answer. What is rare is boxed, because this is a part of each connection, idle ones as well.
    pub(super) async fn forward(&mut self, mut slot: Box<Slot>) -> After {
        let step = if self.begin_at_once(&mut slot) {
            match std::future::poll_fn(|cx| self.relay(&mut slot, cx)).await {
                relay::Step::Complete => return self.complete(slot),
                step => Some(step),
            }
        } else {
            None
        };
        Box::pin(self.forward_patiently(slot, step)).await
    }

    /// Begins with a request that need not wait for a place, nor for a connection; tells whether there was one.
    fn begin_at_once(&self, slot: &mut Slot) -> bool {
        let (proxy, Some(job)) = (&self.proxy, &mut slot.job) else { return false };
        let Some(permit) = proxy.admission.enter_now() else { return false };
        job.exchange.admit(permit);
        proxy.budget.earn();
        slot.course = proxy.pool.reuse(job.needs()).map(|lease| Course::new(lease, &proxy.settings));
        slot.course.is_some()
    }

    /// Moves the exchange on.
    fn relay(&mut self, slot: &mut Slot, cx: &mut Context<'_>) -> Poll<relay::Step> {
        let Slot { course: Some(course), job: Some(job) } = slot else { return Poll::Ready(relay::Step::ClientGone) };
        let Self { proxy, stream: client, ahead, timer, hub, .. } = self;
        Relay { proxy, client, job, course, ahead, timer, hub }.poll(cx)
    }

    /// The same with all that may be in the way. Tried again is only what the app has not seen, or may see twice. `step` is
    /// how the first attempt ended, if there was one.
    async fn forward_patiently(&mut self, mut slot: Box<Slot>, mut step: Option<relay::Step>) -> After {
        let proxy = self.proxy.clone();
        loop {
            let Slot { course, job: Some(job) } = &mut *slot else { return After::Drop };
            if let Some(step) = step.take()
                && let Some(after) = Box::pin(self.incomplete(step, course, job)).await
            {
                return after;
            }
            if !job.exchange.is_admitted() {
                match self.unless_gone(job, Box::pin(proxy.admission.enter(&proxy.shard))).await {
                    Some(Ok(permit)) => job.exchange.admit(permit),
                    Some(Err(rejection)) => return Box::pin(self.reject(job, rejection)).await,
                    None => return After::Drop,
                }
                proxy.budget.earn();
            }
            let kept = if job.tries.needs_new { None } else { proxy.pool.reuse(job.needs()) };
            let lease = match kept {
                Some(lease) => lease,
                None => match Box::pin(self.connect_surely(job)).await {
                    Some(Ok(lease)) => lease,
                    Some(Err(rejection)) => return Box::pin(self.reject(job, rejection)).await,
                    None => return After::Drop,
                },
            };
            *course = Some(Course::new(lease, &proxy.settings));
            match std::future::poll_fn(|cx| self.relay(&mut slot, cx)).await {
                relay::Step::Complete => return self.complete(slot),
                incomplete => step = Some(incomplete),
            }
        }
    }

    /// The answer is with the client.
    fn complete(&mut self, mut slot: Box<Slot>) -> After {
        let Slot { course: Some(course), job: Some(job) } = &mut *slot else { return After::Drop };
        let Completed { keep, whole } = course.complete(&self.proxy, job);
        let may_send_more = job.keep_alive;
        self.proxy.give_back(std::mem::take(&mut job.out));
        // Here the request is counted.
        *slot = Slot::default();
        self.proxy.give_back_slot(slot);
        if keep {
            return After::Keep;
        }
        // What came meanwhile and is not read would reset the answer away, and so would what a client sends that does not
        // know yet that we close.
        let mut scratch = self.proxy.scratch.borrow_mut();
        let mut cx = Context::from_waker(Waker::noop());
        let _ = watch(Pin::new(&mut self.stream), &mut cx, &mut scratch, &mut self.ahead);
        if whole && self.ahead.is_empty() && !may_send_more { After::Drop } else { After::Close }
    }

    /// What becomes of a request whose answer has not been passed on whole; `None`: it may be sent again.
    async fn incomplete(&mut self, step: relay::Step, course: &mut Option<Course>, job: &mut Job) -> Option<After> {
        let proxy = self.proxy.clone();
        let Some(course) = course.take() else { return Some(After::Drop) };
        let reused = course.is_reused();
        Some(match course.end(step, &proxy) {
            Ended::Tunnel { lease, head, first } => Box::pin(self.tunnel(lease, head, first, job)).await,
            // What was not sent at all may be sent again however often: each time one stale connection fewer.
            Ended::Stale { sent: false, .. } if reused => {
                proxy.shard.retries.add(1);
                job.exchange.retries += 1;
                return None;
            }
            // The next one kept may be as stale: this time a new one.
            Ended::Stale { sent, whole: true } if (job.idempotent || !sent) && job.tries.replay(reused) => {
                job.tries.needs_new = true;
                return Box::pin(self.once_more(job, reused)).await;
            }
            Ended::Refused { whole: true }
                if job.tries.replay(true) && (proxy.budget.spend() || proxy.budget.deny()) =>
            {
                return self.unless_gone(job, pause()).await.is_none().then_some(After::Drop);
            }
            // Each time one ending connection fewer, as with stale ones: it asks nothing of the app that it has not said.
            Ended::LeftOut { whole: true } if job.tries.go_elsewhere() => {
                job.exchange.retries += u32::from(proxy.budget.free());
                return None;
            }
            Ended::Refused { .. } | Ended::LeftOut { .. } => self.reject(job, Rejection::StreamRefused).await,
            Ended::Stale { .. } => self.reject(job, Rejection::UpstreamClosed).await,
            Ended::Failed(rejection) => self.reject(job, rejection).await,
            Ended::Cut { reset: true } => After::Reset,
            Ended::Cut { reset: false } | Ended::ClientGone(None) => After::Drop,
            Ended::ClientGone(Some(rest)) => {
                Box::pin(rest.finish(&proxy, job)).await;
                After::Drop
            }
        })
    }

    /// Gets a request ready to be sent once more, whose connection ended without an answer; or tells how it ends.
    async fn once_more(&mut self, job: &mut Job, reused: bool) -> Option<After> {
        let proxy = self.proxy.clone();
        let ready = if proxy.budget.spend() {
            if reused { Some(true) } else { self.unless_gone(job, pause()).await.map(|()| true) }
        } else if let Some(until) = job.tries.hold_until() {
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
        self.proxy.give_back(std::mem::take(&mut job.out));
        if self.write_all(head).await.is_err() {
            return After::Drop;
        }
        let scratch = self.proxy.scratch.clone();
        let broken =
            tunnel(&mut self.stream, lease.stream(), (ahead, first), &mut job.exchange, &scratch, silence).await;
        match broken {
            // It may be sending still what the app does not want to hear, and must not lose the app's last words for it.
            None => After::Close,
            Some(Failure::UpstreamReset) => After::Reset,
            Some(_) => After::Drop,
        }
    }

    /// A new connection that ends with the app, and not with its listener, where that makes a difference. What was not seen
    /// by any app waits for the next one, however often that happens.
    async fn connect_surely(&mut self, job: &mut Job) -> Option<Result<Lease, Rejection>> {
        let mut connected = self.connect(job).await?;
        let may_be_sent_again = job.idempotent && !job.tries.needs_new;
        if may_be_sent_again || self.proxy.settings.retry.hold_on_restart.is_zero() {
            return Some(connected);
        }
        while let Ok(lease) = &connected {
            match self.until_accepted(job, lease).await? {
                Ok(true) => {}
                Ok(false) => break,
                Err(rejection) => return Some(Err(rejection)),
            }
            let Some(until) = job.tries.hold_until().filter(|until| Instant::now() < *until) else { break };
            // An app that resets what it accepts is there, and can be asked too much.
            let proxy = self.proxy.clone();
            if !self.unless_gone(job, proxy.hold.has_gone(&proxy.pool, job.needs(), until)).await? {
                break;
            }
            job.exchange.retries += 1;
            connected = self.hold(job, Rejection::ConnectRefused, until).await?;
        }
        Some(connected)
    }

    /// A new connection, if need be once the app is back. `None`: the client has not waited for it.
    async fn connect(&mut self, job: &mut Job) -> Option<Result<Lease, Rejection>> {
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
            if let Some(until) = job.tries.hold_until() {
                job.exchange.retries += 1;
                return self.hold(job, rejection, until).await;
            }
            if !job.tries.connect(&proxy.budget) {
                return Some(Err(rejection));
            }
            job.exchange.retries += 1;
            self.unless_gone(job, pause()).await?;
        }
    }

    /// Waits for something before the app is asked, but not for a client that has gone.
    async fn unless_gone<T>(&mut self, job: &mut Job, awaited: impl Future<Output = T>) -> Option<T> {
        let (mut awaited, mut next_glance) = (pin!(awaited), None);
        let result = std::future::poll_fn(|cx| {
            if let Poll::Ready(result) = awaited.as_mut().poll(cx) {
                return Poll::Ready(Some(result));
            }
            self.poll_gone(job, &mut next_glance, cx).map(|()| None)
        })
        .await;
        if result.is_none() && self.stream.is_malformed() {
            job.exchange.reject(Rejection::Malformed(Malformed::Stream));
        }
        result
    }

    /// Ready when the client has gone. With a body still to come, or enough behind its request, its bytes stay where they are
    /// until somebody can have them: then it is looked at now and then, `next` is when.
    pub(super) fn poll_gone(&mut self, job: &mut Job, next: &mut Option<Instant>, cx: &mut Context<'_>) -> Poll<()> {
        if job.upload.is_done() {
            let mut scratch = self.proxy.scratch.borrow_mut();
            let watched = watch(Pin::new(&mut self.stream), cx, &mut scratch, &mut self.ahead);
            drop(scratch);
            match watched {
                Poll::Ready(Left::Gone) => return Poll::Ready(()),
                Poll::Ready(Left::Ended) => {
                    let since = *job.ended.get_or_insert_with(clock::turn);
                    return self.timer.poll(cx, Some(since + HALF_CLOSED));
                }
                Poll::Pending if self.ahead.len() < MOST_AHEAD => return Poll::Pending,
                Poll::Pending => {}
            }
        }
        if self.stream.absorb(cx) {
            return Poll::Ready(());
        }
        while self.timer.poll(cx, Some(*next.get_or_insert_with(|| Instant::now() + GLANCE))).is_ready() {
            if self.stream.has_left() {
                return Poll::Ready(());
            }
            *next = None;
        }
        Poll::Pending
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
    use super::super::super::relay::Step;
    use super::{Connection, Local, Slot};

    struct Nothing;

    impl Local for Nothing {
        fn answer(&self, _: &LocalRequest<'_>) -> Option<LocalAnswer> {
            None
        }

        fn owns(&self, _: &str) -> bool {
            false
        }
    }

    type At = &'static mut Connection<'static, Nothing, DuplexStream>;

    fn size<F>(_: fn(At, Box<Slot>) -> F) -> usize {
        size_of::<F>()
    }

    fn size_of_patience<F>(_: fn(At, Box<Slot>, Option<Step>) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn the_future_of_a_request_is_small() {
        let size = size(Connection::forward);
        assert!(size <= 96, "{size} bytes in each idle connection: box what is rare in it");
        let size = size_of_patience(Connection::forward_patiently);
        assert!(size <= 512, "{size} bytes in each request that was not served at once: box what waits");
    }
}
