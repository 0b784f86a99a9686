use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use super::super::Rejection;
use super::resize;
use crate::traffic::Shard;

/// The places at the app and the queue before them.
///
/// A queue is there for bursts. Where it stands for longer, more comes than the app can take, and whoever waited would
/// only make everybody's answers late. So while it has stood for as long as a request takes, a newcomer may wait for no
/// more than a fraction of that, and is refused then: those who are served are served as quickly as ever. (After CoDel,
/// RFC 8289: what counts is how long the queue has stood, not how long it is.)
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
    /// What the times below count from, in microseconds.
    born: Instant,
    waiting: AtomicU32,
    /// Since when there has always been somebody waiting. Holds while somebody waits.
    standing: AtomicU64,
    /// Until when the queue counts as standing whatever it does: it is empty for a moment now and then.
    pressed: AtomicU64,
    /// How long a request keeps its place, by and large; 0 before the first has ended.
    kept: AtomicU64,
}

/// A place among the requests in flight.
#[derive(Debug)]
pub(in crate::proxy) struct Place {
    _permit: OwnedSemaphorePermit,
    since: Instant,
    state: Arc<State>,
}

/// A queue that stands for less than this is a burst, however quick the app is.
const BURST: Duration = Duration::from_millis(100);

/// Under pressure one waits for this fraction of what a request takes, and for this time at least.
const FRACTION: u32 = 4;
const SHORTEST_WAIT: Duration = Duration::from_millis(5);

/// Pressure lasts for so many bursts after the last refusal.
const PRESSED_FOR: u32 = 10;

/// How long one may wait.
struct Patience {
    /// Zero is for ever.
    limit: Duration,
    pressed: bool,
    /// When to look again.
    again: Option<Instant>,
}

impl Places {
    pub(super) fn new(most: u32, longest: u32, timeout: Duration) -> Self {
        let state = State {
            permits: Arc::new(Semaphore::new(most as usize)),
            born: Instant::now(),
            waiting: AtomicU32::new(0),
            standing: AtomicU64::new(0),
            pressed: AtomicU64::new(0),
            kept: AtomicU64::new(0),
        };
        Self { most, longest, timeout, state: Arc::new(state) }
    }

    /// The same places with these limits: what is in flight or waits goes on counting.
    pub(super) fn succeed(&mut self, known: &Self) {
        resize(&known.state.permits, known.most, self.most);
        self.state = known.state.clone();
    }

    /// A place, if there is one now.
    pub(super) fn enter_now(&self) -> Option<Place> {
        self.state.permits.clone().try_acquire_owned().ok().map(|permit| self.state.place(permit))
    }

    /// Waits for a place.
    pub(super) async fn enter(&self, shard: &Shard) -> Result<Place, Rejection> {
        let state = &self.state;
        let _waiting = Waiting::join(state, self.longest, shard).ok_or(Rejection::Overloaded)?;
        let joined = Instant::now();
        let mut permit = pin!(state.permits.clone().acquire_owned());
        loop {
            let now = Instant::now();
            let Patience { limit, pressed, again } = self.patience(joined, now);
            if !limit.is_zero() && now >= joined + limit {
                if !pressed {
                    return Err(Rejection::QueueTimeout);
                }
                let burst = state.burst() * PRESSED_FOR;
                state.pressed.store(state.micros(now + burst), Relaxed);
                return Err(Rejection::Overloaded);
            }
            let permit = match again {
                Some(again) => timeout_at(again, permit.as_mut()).await,
                None => Ok(permit.as_mut().await),
            };
            match permit {
                Ok(Ok(permit)) => return Ok(state.place(permit)),
                // Closed never.
                Ok(Err(_)) => return Err(Rejection::Overloaded),
                Err(_) => {}
            }
        }
    }

    fn patience(&self, joined: Instant, now: Instant) -> Patience {
        let state = &self.state;
        let end = (!self.timeout.is_zero()).then(|| joined + self.timeout);
        let patient = |again| Patience { limit: self.timeout, pressed: false, again };
        let kept = Duration::from_micros(state.kept.load(Relaxed));
        let short = (kept / FRACTION).max(SHORTEST_WAIT);
        // Nothing is known of the app yet, or it is so slow that the longest wait is a short one.
        if kept.is_zero() || (!self.timeout.is_zero() && short >= self.timeout) {
            return patient(end);
        }
        let pressing = state.born + Duration::from_micros(state.standing.load(Relaxed)) + state.burst();
        if now >= pressing || state.micros(now) < state.pressed.load(Relaxed) {
            return Patience { limit: short, pressed: true, again: Some(joined + short) };
        }
        let again = pressing.max(joined + short);
        patient(Some(end.map_or(again, |end| end.min(again))))
    }
}

impl State {
    /// For how long a queue may stand before it is more than a burst.
    fn burst(&self) -> Duration {
        Duration::from_micros(self.kept.load(Relaxed)).max(BURST)
    }

    fn place(self: &Arc<Self>, permit: OwnedSemaphorePermit) -> Place {
        Place { _permit: permit, since: Instant::now(), state: self.clone() }
    }

    fn micros(&self, moment: Instant) -> u64 {
        u64::try_from((moment - self.born).as_micros()).unwrap_or(u64::MAX)
    }

    /// Moves the mean by a sixteenth of the difference, at most of its own size: one stream of hours among requests of
    /// milliseconds moves it no further than any other.
    fn learn(&self, kept: u64) {
        let old = self.kept.load(Relaxed);
        let new = match old {
            0 => kept,
            old if kept >= old => old + ((kept - old).min(old)).div_ceil(16),
            old => old - (old - kept) / 16,
        };
        self.kept.store(new.max(1), Relaxed);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.state.learn(u64::try_from(self.since.elapsed().as_micros()).unwrap_or(u64::MAX));
    }
}

/// A place in the queue, counted where the request is.
struct Waiting<'a>(&'a State, &'a Shard);

impl<'a> Waiting<'a> {
    fn join(state: &'a State, longest: u32, shard: &'a Shard) -> Option<Self> {
        let join = |length| (length < longest).then_some(length + 1);
        let before = state.waiting.fetch_update(Relaxed, Relaxed, join).ok()?;
        if before == 0 {
            state.standing.store(state.micros(Instant::now()), Relaxed);
        }
        shard.queued.fetch_add(1, Relaxed);
        shard.queues.fetch_add(1, Relaxed);
        Some(Self(state, shard))
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Relaxed);
        self.1.queued.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use tokio::time::Instant;

    use super::{Places, Rejection, Shard};

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
        // 8 places for 20 ms each are 400 requests a second; 1000 come, the clock's finest pace.
        let (served, refused) = drive(&places, MS, 5_000).await;
        assert!(served.len() > 1_900, "the app is kept busy: {}", served.len());
        let late = served.iter().filter(|waited| **waited > 10 * MS).count();
        assert!(late * 20 < served.len(), "{late} of {} waited, of the first burst", served.len());
        let late = refused.iter().filter(|waited| **waited > 10 * MS).count();
        assert!(late < 120, "{late} of {} were not refused at once", refused.len());
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_waits_and_is_served() {
        let places = places(8, 100, Duration::from_secs(5));
        drive(&places, 4 * MS, 100).await;
        for _ in 0..5 {
            let (served, refused) = drive(&places, Duration::ZERO, 30).await;
            assert_eq!((served.len(), refused.len()), (30, 0), "three more rounds are no pressure");
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_app_has_the_queue_for_as_long_as_was_configured() {
        let places = places(1, 1, Duration::from_secs(5));
        places.state.learn(60_000_000);
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

    #[test]
    fn one_long_stream_moves_the_mean_no_further_than_any_other() {
        let places = places(1, 1, Duration::ZERO);
        for _ in 0..100 {
            places.state.learn(20_000);
        }
        places.state.learn(3_600_000_000);
        assert!((20_000..=21_250).contains(&places.state.kept.load(super::Relaxed)));
    }
}
