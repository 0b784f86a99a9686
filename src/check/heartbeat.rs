use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::time::Instant;

use super::{Check, Defaults, Kind, Prepare, Resources};
use crate::clock::unix;
use crate::health::{Fact, Facts, Finding, Reason};

pub(super) const KIND: Kind = Kind::of::<Heartbeat>(
    "heartbeat",
    "Waits for the app to say that it is alive: POST /-/heartbeat/NAME at the management port.",
    Defaults { interval: "5s", timeout: "1s", failure_threshold: "1", on_failure: "unhealthy" },
);

crate::settings! {
    /// Settings of a `heartbeat` check.
    pub struct Heartbeat {
        /// No heartbeat for longer than this is a failure.
        max_age: Duration = "30s",
    }
}

impl Prepare for Heartbeat {
    fn prepare(&self, resources: &Resources) -> Result<Box<dyn Check>, String> {
        if self.max_age.is_zero() {
            return Err("`heartbeat.max_age` must be more than 0".into());
        }
        Ok(Box::new(HeartbeatCheck { max_age: self.max_age, heart: resources.heartbeats.heart(&resources.check) }))
    }
}

/// The heartbeats that are waited for, by the names of their checks. There are as many as there are checks: whoever sends
/// one cannot add to them.
#[derive(Debug, Default)]
pub struct Heartbeats(Mutex<HashMap<Arc<str>, Weak<Heart>>>);

/// One that beats, or does not. It lives as long as a check asks for it: a check that a reload puts in place of another
/// one of the same name is made before that one ends, and takes over what it knows.
#[derive(Debug)]
struct Heart {
    since: Instant,
    last: Mutex<Option<Beat>>,
}

#[derive(Clone, Copy, Debug)]
struct Beat {
    at: Instant,
    unix: u64,
}

impl Heartbeats {
    /// Takes in a heartbeat; the second since 1970 that it counts for, or `None` if no check waits for one of that name.
    #[must_use]
    pub fn beat(&self, name: &str) -> Option<u64> {
        let heart = locked(&self.0).get(name).and_then(Weak::upgrade)?;
        let beat = Beat { at: Instant::now(), unix: unix().as_secs() };
        *locked(&heart.last) = Some(beat);
        Some(beat.unix)
    }

    fn heart(&self, name: &Arc<str>) -> Arc<Heart> {
        let mut hearts = locked(&self.0);
        hearts.retain(|_, heart| heart.strong_count() > 0);
        if let Some(known) = hearts.get(name).and_then(Weak::upgrade) {
            return known;
        }
        let heart = Arc::new(Heart { since: Instant::now(), last: Mutex::new(None) });
        hearts.insert(name.clone(), Arc::downgrade(&heart));
        heart
    }
}

/// What is held for a moment, and makes sense at any time: a panic elsewhere does not spoil it.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

struct HeartbeatCheck {
    max_age: Duration,
    heart: Arc<Heart>,
}

impl Check for HeartbeatCheck {
    fn run(&mut self) -> BoxFuture<'_, Finding> {
        Box::pin(std::future::ready(self.judge(Instant::now())))
    }

    fn is_told(&self) -> bool {
        true
    }
}

impl HeartbeatCheck {
    fn judge(&self, now: Instant) -> Finding {
        let last = *locked(&self.heart.last);
        let mut facts = Facts::default();
        // Seconds as a number: whoever reads a heartbeat compares it.
        facts.public("heartbeat", last.map_or(Fact::Null, |beat| Fact::Count(beat.unix)));
        let silent = now.saturating_duration_since(last.map_or(self.heart.since, |beat| beat.at));
        match last {
            Some(_) if silent <= self.max_age => Finding::pass(facts),
            Some(_) => {
                let reason = Reason::new("heartbeat_late", "has sent no heartbeat for too long");
                Finding::fail(reason.with_private(format!("{} seconds", silent.as_secs())), facts)
            }
            None if silent <= self.max_age => {
                let reason = Reason::new("heartbeat_awaited", "is to send its first heartbeat");
                Finding::inconclusive(reason, facts)
            }
            None => Finding::fail(Reason::new("heartbeat_missing", "has never sent a heartbeat"), facts),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{HeartbeatCheck, Heartbeats};
    use crate::health::Outcome;

    const MAX_AGE: Duration = Duration::from_secs(10);

    fn check(hearts: &Heartbeats, name: &str) -> HeartbeatCheck {
        HeartbeatCheck { max_age: MAX_AGE, heart: hearts.heart(&name.into()) }
    }

    #[tokio::test(start_paused = true)]
    async fn silence_is_a_failure_after_its_time() {
        let hearts = Heartbeats::default();
        let check = check(&hearts, "app");
        let judge = || check.judge(tokio::time::Instant::now()).outcome;
        assert_eq!(judge(), Outcome::Inconclusive);
        tokio::time::advance(MAX_AGE + Duration::from_millis(1)).await;
        assert_eq!(judge(), Outcome::Fail, "never one");
        assert!(hearts.beat("app").is_some());
        assert_eq!(judge(), Outcome::Pass);
        tokio::time::advance(MAX_AGE).await;
        assert_eq!(judge(), Outcome::Pass);
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(judge(), Outcome::Fail);
        assert!(hearts.beat("app").is_some());
        assert_eq!(judge(), Outcome::Pass);
    }

    #[test]
    fn names_are_those_of_checks_and_pass_on_with_them() {
        let hearts = Heartbeats::default();
        assert_eq!(hearts.beat("app"), None);
        let before = check(&hearts, "app");
        assert!(hearts.beat("app").is_some() && hearts.beat("other").is_none());
        let after = check(&hearts, "app");
        drop(before);
        assert_eq!(after.judge(tokio::time::Instant::now()).outcome, Outcome::Pass, "it knows what the other one knew");
        drop(after);
        assert_eq!(hearts.beat("app"), None);
        let _other = check(&hearts, "other");
        assert_eq!(hearts.0.lock().expect("a lock").len(), 1, "nothing is left of it");
    }
}
