use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use pingora_limits::rate::Rate;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{Limits, Rejection};

/// The one thing that the data plane is told of health.
#[derive(Debug, Default)]
pub struct Gate(AtomicBool);

impl Gate {
    /// Closes or opens the gate.
    pub fn set_closed(&self, closed: bool) {
        self.0.store(closed, Relaxed);
    }

    pub(super) fn is_closed(&self) -> bool {
        self.0.load(Relaxed)
    }
}

/// Who may send a request now: the limit of requests in flight with its queue, and each client's rate. Shared by all
/// workers.
pub struct Admission {
    in_flight: Option<Arc<Semaphore>>,
    most_in_flight: u32,
    waiting: Arc<AtomicU32>,
    queue: u32,
    queue_timeout: Duration,
    rate: Option<(Arc<Rate>, isize)>,
}

impl std::fmt::Debug for Admission {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Admission").field("queue", &self.queue).finish_non_exhaustive()
    }
}

impl Admission {
    /// Admission by these limits.
    #[must_use]
    pub fn new(limits: &Limits) -> Self {
        let rate = limits.rate_per_client.0;
        Self {
            in_flight: (limits.in_flight > 0).then(|| Arc::new(Semaphore::new(limits.in_flight as usize))),
            most_in_flight: limits.in_flight,
            waiting: Arc::default(),
            queue: limits.queue,
            queue_timeout: limits.queue_timeout,
            rate: (rate > 0).then(|| (Arc::new(Rate::new(Duration::from_secs(1))), rate as isize)),
        }
    }

    /// Admission by other limits. What is in flight, waits or was counted goes on counting; what came in while there was
    /// no limit does not.
    #[must_use]
    pub fn succeed(&self, limits: &Limits) -> Self {
        let mut next = Self::new(limits);
        if let (Some(places), Some(known)) = (&mut next.in_flight, &self.in_flight) {
            resize(known, self.most_in_flight, limits.in_flight);
            *places = known.clone();
        }
        if let (Some((rate, _)), Some((known, _))) = (&mut next.rate, &self.rate) {
            *rate = known.clone();
        }
        next.waiting = self.waiting.clone();
        next
    }

    /// Whether this client may send one more request this second.
    pub(super) fn may_send(&self, client: impl FnOnce() -> Option<IpAddr>) -> Result<(), Rejection> {
        let Some((rate, limit)) = &self.rate else { return Ok(()) };
        match client() {
            Some(client) if rate.observe(&client, 1) > *limit => Err(Rejection::RateLimited),
            _ => Ok(()),
        }
    }

    /// A place among the requests in flight, if there is one now; the place is given back when the permit is dropped.
    /// Without a limit, no permit is needed.
    pub(super) fn enter_now(&self) -> Option<Option<OwnedSemaphorePermit>> {
        match &self.in_flight {
            None => Some(None),
            Some(in_flight) => in_flight.clone().try_acquire_owned().ok().map(Some),
        }
    }

    /// Waits for a place.
    pub(super) async fn enter(&self) -> Result<Option<OwnedSemaphorePermit>, Rejection> {
        let Some(in_flight) = &self.in_flight else {
            return Ok(None);
        };
        let _waiting = Waiting::join(&self.waiting, self.queue).ok_or(Rejection::Overloaded)?;
        let place = in_flight.clone().acquire_owned();
        if self.queue_timeout.is_zero() {
            return place.await.map(Some).map_err(|_| Rejection::Overloaded);
        }
        match tokio::time::timeout(self.queue_timeout, place).await {
            Ok(Ok(permit)) => Ok(Some(permit)),
            _ => Err(Rejection::QueueTimeout),
        }
    }
}

/// Changes how many places there are. Those that are taken go when they are given back: nobody loses one.
#[expect(clippy::disallowed_methods, reason = "it ends when enough places have been given back, or with the process")]
pub fn resize(places: &Arc<Semaphore>, from: u32, to: u32) {
    if to >= from {
        places.add_permits((to - from) as usize);
        return;
    }
    let surplus = from - to;
    let taken = surplus - u32::try_from(places.forget_permits(surplus as usize)).unwrap_or(surplus);
    let places = places.clone();
    tokio::task::spawn_local(async move {
        // In line with everybody else who waits: nobody is overtaken.
        if let Ok(taken) = places.acquire_many_owned(taken).await {
            taken.forget();
        }
    });
}

/// A place in the queue.
struct Waiting<'a>(&'a AtomicU32);

impl<'a> Waiting<'a> {
    fn join(waiting: &'a AtomicU32, longest: u32) -> Option<Self> {
        let joined = waiting.fetch_update(Relaxed, Relaxed, |length| (length < longest).then_some(length + 1));
        joined.ok().map(|_| Self(waiting))
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}
