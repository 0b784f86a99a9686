use std::cell::{Cell, RefCell};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::ReadBuf;
use tokio::sync::{Notify, Semaphore};
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use super::super::local::Local;
use super::super::rejection::Rejection;
use super::super::upstream::{AppsEnd, Lease, Needs, Pool};
use super::retry::Budget;
use super::{ClientStream, Connection, Job};
use crate::clock::back_off;
use crate::traffic::Shard;

/// One worker's requests that wait for an app that is not there. They knock one after the other: while the app is away
/// only one knocks now and then, and when it is back it is not run down by all of them at once.
#[derive(Debug)]
pub(in crate::proxy) struct Hold {
    /// Who has the permit may knock.
    turn: Semaphore,
    /// How often in a row nobody opened.
    failures: Cell<u32>,
    back: Notify,
    held: Cell<usize>,
    looks: Looks,
}

/// Whether the app has gone, for requests whose connection ended: hundreds of them are told by one look.
#[derive(Debug)]
struct Looks {
    /// Who has the permit looks; the others wait for what it sees.
    turn: Semaphore,
    /// When the last look began.
    looked: Cell<Option<Instant>>,
    /// When the last look or knock began that found nobody.
    away: Cell<Option<Instant>>,
}

/// Requests of one worker that wait at the same time. More are answered as if nothing were held.
const MOST_HELD: usize = 1024;

/// While it waits, so much of a request's head and body is taken in.
const MOST_KEPT: usize = 32 * 1024;

/// Between two knocks.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// Between two glances at the queue of an app that is slow to accept; an eighth of the time that has gone by, in between.
const FIRST_GLANCE: Duration = Duration::from_millis(1);
const LONGEST_GLANCE: Duration = Duration::from_millis(100);

/// So long it can take, on a machine that has other things to do, until the kernel has put a new connection into the queue,
/// or has reset one that it has just taken out.
const LONGEST_UNCLEAR: Duration = Duration::from_millis(5);

impl Default for Hold {
    fn default() -> Self {
        let looks = Looks { turn: Semaphore::new(1), looked: Cell::default(), away: Cell::default() };
        Self { turn: Semaphore::new(1), failures: Cell::new(0), back: Notify::new(), held: Cell::new(0), looks }
    }
}

impl Hold {
    /// The app has accepted a connection.
    pub(super) fn is_back(&self) {
        self.failures.set(0);
        if self.held.get() > 0 {
            self.back.notify_waiters();
        }
    }

    /// Whether the app has gone since a connection ended, which was now. A process that is killed may close its connections
    /// before its listener: there is a second look, a moment later.
    pub(super) async fn has_gone(&self, pool: &Rc<Pool>, needs: Needs, until: Instant) -> bool {
        let ended = Instant::now();
        let looks = async {
            if self.looks.has_gone(pool, needs, ended, ended).await {
                return true;
            }
            sleep(SECOND_LOOK).await;
            self.looks.has_gone(pool, needs, ended, Instant::now()).await
        };
        timeout_at(until, looks).await.unwrap_or(false)
    }

    /// Waits for a connection; `why` is why there is none.
    async fn connection(
        &self,
        pool: &Rc<Pool>,
        shard: &Shard,
        budget: &Budget,
        needs: Needs,
        why: Rejection,
        until: Instant,
    ) -> Result<Lease, Rejection> {
        let Some(_place) = Place::take(&self.held, shard) else { return Err(why) };
        self.failures.set(self.failures.get().max(1));
        let why = Cell::new(why);
        // An app that resets what it accepts is there, and can be asked too much.
        let may_knock = || why.get() != Rejection::UpstreamClosed || budget.pay();
        let knocking = async {
            if !may_knock() && !self.has_gone(pool, needs, until).await {
                budget.deny();
                return Err(why.get());
            }
            let Ok(_turn) = self.turn.acquire().await else { return Err(why.get()) };
            loop {
                let pause = back_off(FIRST_PAUSE, LONGEST_PAUSE, self.failures.get());
                tokio::select! {
                    () = sleep(pause) => {}
                    () = self.back.notified() => {}
                }
                shard.retries.add(1);
                let begun = Instant::now();
                match pool.connect(needs).await {
                    Ok(lease) => {
                        self.is_back();
                        return Ok(lease);
                    }
                    // It may have come back and not be able to accept so many yet.
                    Err(rejection)
                        if rejection.is_worth_another_attempt() || rejection == Rejection::ConnectTimeout =>
                    {
                        why.set(rejection);
                        if rejection.proves_that_nobody_listens() {
                            self.looks.away.set(Some(begun));
                        }
                        self.failures.set(self.failures.get().saturating_add(1));
                        if !may_knock() {
                            budget.deny();
                            return Err(rejection);
                        }
                    }
                    Err(rejection) => return Err(rejection),
                }
            }
        };
        match timeout_at(until, knocking).await {
            Ok(connected) => connected,
            Err(_) => Err(why.get()),
        }
    }
}

/// After the first look at an app that still seemed to be there.
const SECOND_LOOK: Duration = Duration::from_millis(100);

/// One look is enough for all whose connections ended meanwhile.
const BETWEEN_LOOKS: Duration = Duration::from_millis(10);

impl Looks {
    /// Whether anybody has found the app away since `ended`; looks if nobody has since `fresh`.
    async fn has_gone(&self, pool: &Rc<Pool>, needs: Needs, ended: Instant, fresh: Instant) -> bool {
        let Ok(_turn) = self.turn.acquire().await else { return false };
        let gone = || self.away.get() >= Some(ended);
        if gone() || self.looked.get() >= Some(fresh) {
            return gone();
        }
        if let Some(looked) = self.looked.get() {
            sleep_until(looked + BETWEEN_LOOKS).await;
        }
        let begun = Instant::now();
        // A connection that nothing is sent on is not kept: an app that serves one at a time would wait for it.
        if pool.connect(needs).await.is_err_and(Rejection::proves_that_nobody_listens) {
            self.away.set(Some(begun));
        }
        self.looked.set(Some(begun));
        gone()
    }
}

/// A place among those who wait.
struct Place<'a>(&'a Cell<usize>, &'a Shard);

impl<'a> Place<'a> {
    fn take(held: &'a Cell<usize>, shard: &'a Shard) -> Option<Self> {
        if held.get() >= MOST_HELD {
            return None;
        }
        held.set(held.get() + 1);
        shard.held.add(1);
        shard.holds.add(1);
        Some(Self(held, shard))
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
        self.1.held.sub(1);
    }
}

/// Waits until a connection is in no queue, as `look` sees it. One that was in it and cannot be found goes down with its
/// listener: its end is taken away before its reset is sent, and what is written in between is lost.
async fn leave_queue(longest: Duration, mut look: impl FnMut() -> AppsEnd) {
    let (begun, mut was_queued) = (Instant::now(), false);
    loop {
        let end = look();
        was_queued |= end == AppsEnd::Queued;
        let patience = match end {
            AppsEnd::NotQueued => return,
            _ if was_queued => longest,
            _ => LONGEST_UNCLEAR.min(longest),
        };
        if begun.elapsed() >= patience {
            return;
        }
        sleep((begun.elapsed() / 8).clamp(FIRST_GLANCE, LONGEST_GLANCE)).await;
    }
}

/// What a client that is kept waiting does meanwhile.
enum Meanwhile {
    Waits,
    Gone,
    Wrong(Rejection),
}

impl<L: Local, S: ClientStream> Connection<'_, L, S> {
    /// Has a request wait for the app; `None`: the client did not.
    pub(super) async fn hold(
        &mut self,
        job: &mut Job,
        why: Rejection,
        until: Instant,
    ) -> Option<Result<Lease, Rejection>> {
        let proxy = self.proxy.clone();
        let connection = proxy.hold.connection(&proxy.pool, &proxy.shard, &proxy.budget, job.needs(), why, until);
        Some(self.meanwhile(job, connection).await?.flatten())
    }

    /// Has what could not be sent twice wait until the app itself has accepted a new connection: one that is only in its
    /// queue ends with its listener, unseen, and by then nobody can prove that. Tells whether it was reset, as it is then.
    pub(super) async fn until_accepted(&mut self, job: &mut Job, lease: &Lease) -> Option<Result<bool, Rejection>> {
        let longest = self.proxy.settings.retry.hold_on_restart;
        let reset = async {
            leave_queue(longest, || lease.apps_end()).await;
            lease.was_reset()
        };
        self.meanwhile(job, reset).await
    }

    /// Waits for something, while some of the body is taken in; `None`: the client did not.
    async fn meanwhile<T>(&mut self, job: &mut Job, awaited: impl Future<Output = T>) -> Option<Result<T, Rejection>> {
        let (mut awaited, mut next_glance) = (pin!(awaited), None);
        std::future::poll_fn(|cx| {
            if let Poll::Ready(awaited) = awaited.as_mut().poll(cx) {
                return Poll::Ready(Some(Ok(awaited)));
            }
            match self.take_in_meanwhile(job, &mut next_glance, cx) {
                Meanwhile::Waits => Poll::Pending,
                Meanwhile::Gone => Poll::Ready(None),
                Meanwhile::Wrong(rejection) => Poll::Ready(Some(Err(rejection))),
            }
        })
        .await
    }

    /// Takes in some of the body, because only who reads notices that the client has gone.
    fn take_in_meanwhile(
        &mut self,
        job: &mut Job,
        next_glance: &mut Option<Instant>,
        cx: &mut Context<'_>,
    ) -> Meanwhile {
        let proxy = self.proxy.clone();
        let scratch: &RefCell<Box<[u8]>> = &proxy.scratch;
        let mut scratch = scratch.borrow_mut();
        while !job.upload.is_done() && job.out.len() < MOST_KEPT {
            let mut buffer = ReadBuf::new(&mut scratch[..MOST_KEPT]);
            match Pin::new(&mut self.stream).poll_read(cx, &mut buffer) {
                Poll::Pending => return Meanwhile::Waits,
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {}
                Poll::Ready(_) => return Meanwhile::Gone,
            }
            let bytes = buffer.filled_mut();
            match job.take_in(bytes) {
                Ok(taken) => self.ahead.extend_from_slice(&bytes[taken..]),
                Err(malformed) => return Meanwhile::Wrong(Rejection::Malformed(malformed)),
            }
            let most = proxy.settings.limits.body_bytes.0;
            if most > 0 && job.exchange.received.get() > most {
                return Meanwhile::Wrong(Rejection::BodyTooLarge);
            }
        }
        drop(scratch);
        match self.poll_gone(job, next_glance, cx) {
            Poll::Pending => Meanwhile::Waits,
            Poll::Ready(()) => Meanwhile::Gone,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::AppsEnd::{NotQueued, Queued, Unclear};
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// How long it takes until the queue is left, and how many looks; the last thing seen is seen from then on.
    async fn leave(seen: &[AppsEnd]) -> (Duration, usize) {
        let (begun, mut looks) = (Instant::now(), 0);
        leave_queue(SECOND, || {
            looks += 1;
            *seen.get(looks - 1).unwrap_or(seen.last().expect("something"))
        })
        .await;
        (begun.elapsed(), looks)
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_in_a_queue_waits_until_it_is_out_of_it() {
        assert_eq!(leave(&[NotQueued]).await, (Duration::ZERO, 1));
        assert_eq!(leave(&[Queued, Queued, NotQueued]).await.1, 3);
        assert_eq!(leave(&[Unclear, Queued, NotQueued]).await.1, 3, "it had not got there yet");
        assert!(leave(&[Queued]).await.0 >= SECOND);
    }

    #[tokio::test(start_paused = true)]
    async fn who_was_in_a_queue_that_is_taken_down_waits_for_the_reset() {
        let seen: Vec<AppsEnd> = [Queued].into_iter().chain([Unclear; 20]).chain([NotQueued]).collect();
        let (waited, looks) = leave(&seen).await;
        assert_eq!(looks, seen.len());
        assert!(waited > LONGEST_UNCLEAR && waited < SECOND, "{waited:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn who_never_was_in_one_waits_a_moment() {
        let (waited, _) = leave(&[Unclear]).await;
        assert!(waited >= LONGEST_UNCLEAR && waited <= 2 * LONGEST_UNCLEAR, "{waited:?}");
    }
}
