use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use super::super::Rejection;
use super::line::Line;
use super::resize;
use crate::traffic::Shard;

/// The places at the app and the queue before them. Who finds a place free touches nothing but the places; the queue's
/// lock is for those who have to wait, and [`Line`] says which of them may.
#[derive(Debug)]
pub(super) struct Places {
    /// How many.
    most: u32,
    /// The length of the queue, at most.
    longest: u32,
    /// How long one waits, at most; zero is for ever.
    timeout: Duration,
    state: Arc<State>,
}

/// What stays when the limits change.
#[derive(Debug)]
struct State {
    permits: Arc<Semaphore>,
    line: Mutex<Line>,
    /// What the line's times count from.
    born: Instant,
    /// Whether the line is overloaded: only then it is told of those who did not have to wait.
    overloaded: AtomicBool,
    walked_in: AtomicU32,
}

/// A place among the requests in flight; given back when it is dropped.
#[derive(Debug)]
pub(in crate::proxy) struct Place(#[expect(dead_code, reason = "taken for as long as it lives")] OwnedSemaphorePermit);

impl Places {
    pub(super) fn new(most: u32, longest: u32, timeout: Duration) -> Self {
        let state = State {
            permits: Arc::new(Semaphore::new(most as usize)),
            line: Mutex::default(),
            born: Instant::now(),
            overloaded: AtomicBool::new(false),
            walked_in: AtomicU32::new(0),
        };
        Self { most, longest, timeout, state: Arc::new(state) }
    }

    /// The same places with these limits: what is in flight or waits goes on counting.
    pub(super) fn succeed(&mut self, known: &Self) {
        resize(&known.state.permits, known.most, self.most);
        self.state = known.state.clone();
        self.state.with_line(|line, _| line.forget());
    }

    /// Lets in all who wait: these places are limited no more.
    pub(super) fn open(&self) {
        // More than can wait, whatever the queue was before.
        self.state.permits.add_permits(u32::MAX as usize);
    }

    /// A place, if there is one now.
    pub(super) fn enter_now(&self) -> Option<Place> {
        let permit = self.state.permits.clone().try_acquire_owned().ok()?;
        if self.state.overloaded.load(Relaxed) {
            self.state.walked_in.fetch_add(1, Relaxed);
        }
        Some(Place(permit))
    }

    /// Waits for a place, in line and until the deadline.
    pub(super) async fn enter(&self, shard: &Shard) -> Result<Place, Rejection> {
        let mut waiting = Waiting::join(self, shard).ok_or(Rejection::Overloaded)?;
        let permit = self.state.permits.clone().acquire_owned();
        let permit = match self.deadline() {
            Some(deadline) => timeout_at(deadline, permit).await.map_err(|_| Rejection::QueueTimeout)?,
            None => permit.await,
        };
        // Closed never.
        let permit = permit.map_err(|_| Rejection::Overloaded)?;
        waiting.served = true;
        Ok(Place(permit))
    }

    /// For who comes now. None for ever, which a time beyond the clock's end is too.
    fn deadline(&self) -> Option<Instant> {
        if self.timeout.is_zero() { None } else { Instant::now().checked_add(self.timeout) }
    }
}

impl State {
    /// Tells the line something, and what the time is.
    fn with_line<T>(&self, tell: impl FnOnce(&mut Line, Duration) -> T) -> T {
        let now = self.born.elapsed();
        let mut line: MutexGuard<'_, Line> = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        let answer = tell(&mut line, now);
        let overloaded = line.is_overloaded();
        if overloaded != self.overloaded.load(Relaxed) {
            self.walked_in.store(0, Relaxed);
            self.overloaded.store(overloaded, Relaxed);
        }
        answer
    }
}

/// A place in the queue, counted where the request is.
struct Waiting<'a> {
    places: &'a Places,
    shard: &'a Shard,
    served: bool,
}

impl<'a> Waiting<'a> {
    fn join(places: &'a Places, shard: &'a Shard) -> Option<Self> {
        let Places { most, longest, state, .. } = places;
        let joins = state.with_line(|line, now| {
            let walked_in = if line.is_overloaded() { state.walked_in.swap(0, Relaxed) } else { 0 };
            line.join(now, *most, *longest, walked_in)
        });
        if !joins {
            return None;
        }
        shard.queued.add(1);
        shard.queues.add(1);
        Some(Self { places, shard, served: false })
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let Places { most, state, .. } = self.places;
        state.with_line(|line, now| line.leave(now, *most, self.served));
        self.shard.queued.sub(1);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use tokio::time::Instant;

    use super::{Places, Rejection, Relaxed, Shard};

    const MS: Duration = Duration::from_millis(1);

    fn places(in_flight: u32, queue: u32, timeout: Duration) -> Arc<Places> {
        Arc::new(Places::new(in_flight, queue, timeout))
    }

    /// Sends requests at a pace to an app that takes 20 ms for each; returns how long the served ones waited, and how
    /// long the refused ones.
    async fn drive(places: &Arc<Places>, every: Duration, count: usize) -> (Vec<Duration>, Vec<Duration>) {
        let mut asked = tokio::task::JoinSet::new();
        for _ in 0..count {
            let places = places.clone();
            asked.spawn(async move {
                let begun = Instant::now();
                let place = match places.enter_now() {
                    Some(place) => Ok(place),
                    None => places.enter(&Shard::default()).await,
                };
                let waited = begun.elapsed();
                if place.is_ok() {
                    tokio::time::sleep(20 * MS).await;
                }
                (place.map(drop), waited)
            });
            tokio::time::sleep(every).await;
        }
        let (mut served, mut refused) = (Vec::new(), Vec::new());
        while let Some(Ok((place, waited))) = asked.join_next().await {
            if place.is_ok() { served.push(waited) } else { refused.push(waited) }
        }
        served.sort();
        refused.sort();
        (served, refused)
    }

    #[tokio::test(start_paused = true)]
    async fn at_three_times_the_capacity_the_served_part_does_not_wait() {
        let places = places(8, 100, Duration::from_secs(5));
        // 8 places for 20 ms each are 400 requests a second; 1000 come, the clock's finest pace. The first of them may
        // be a burst, for which the queue is.
        let first = drive(&places, MS, 1_300).await;
        assert!(places.state.overloaded.load(Relaxed), "{} were refused", first.1.len());
        let (served, refused) = drive(&places, MS, 5_000).await;
        assert!(served.len() > 1_900, "the app is kept busy: {}", served.len());
        let late = served.iter().filter(|waited| **waited > 15 * MS).count();
        assert!(late * 20 < served.len(), "{late} of {} waited", served.len());
        assert!(refused.iter().all(Duration::is_zero), "refused at once");
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_waits_and_is_served() {
        let places = places(8, 100, Duration::from_secs(5));
        drive(&places, 4 * MS, 100).await;
        for _ in 0..5 {
            let (served, refused) = drive(&places, Duration::ZERO, 108).await;
            assert_eq!((served.len(), refused.len()), (108, 0));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_waits_for_as_long_as_was_configured_and_more_than_were_configured_do_not() {
        let places = places(1, 1, Duration::from_secs(5));
        let _held = places.enter_now().expect("a place");
        let begun = Instant::now();
        let mut second = tokio::task::JoinSet::new();
        let queue = places.clone();
        second.spawn(async move { queue.enter(&Shard::default()).await.map(drop) });
        tokio::task::yield_now().await;
        assert_eq!(places.enter(&Shard::default()).await.map(drop), Err(Rejection::Overloaded), "the queue is full");
        assert_eq!(second.join_next().await.expect("one").expect("an end"), Err(Rejection::QueueTimeout));
        assert_eq!(begun.elapsed().as_secs(), 5);
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_what_is_limited_no_more() {
        let places = places(1, 3, Duration::ZERO);
        let _held = places.enter_now().expect("a place");
        let shard = Shard::default();
        let waiting: Vec<_> = (0..3).map(|_| Box::pin(places.enter(&shard))).collect();
        let mut waiting = futures_util::future::join_all(waiting);
        assert!(tokio::time::timeout(MS, &mut waiting).await.is_err(), "they wait");
        places.open();
        let entered = tokio::time::timeout(MS, waiting).await.expect("all of them are let in");
        assert!(entered.iter().all(Result::is_ok));
    }

    #[tokio::test(start_paused = true)]
    async fn who_goes_while_it_waits_leaves_its_place_to_the_next() {
        let places = places(1, 1, Duration::ZERO);
        let held = places.enter_now().expect("a place");
        let shard = Shard::default();
        for _ in 0..100 {
            let gone = tokio::time::timeout(MS, places.enter(&shard)).await;
            assert!(gone.is_err(), "it waits");
            assert_eq!(shard.queued.get(), 0);
        }
        // One has its turn and goes before it takes it.
        let mut last = Box::pin(places.enter(&shard));
        assert!(tokio::time::timeout(Duration::ZERO, &mut last).await.is_err(), "it waits");
        assert_eq!(shard.queued.get(), 1);
        drop(held);
        drop(last);
        assert_eq!(shard.queued.get(), 0);
        assert!(places.enter_now().is_some(), "no place is lost");
    }
}
