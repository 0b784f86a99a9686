use std::sync::Arc;
use std::time::Duration;

use super::{Moment, Observation, Outcome, Policy, Status};

/// What is known of one check. Changed by [`State::step`] only.
#[derive(Clone, Debug)]
pub struct State {
    /// The verdict after thresholds.
    pub status: Status,
    /// Since when it is that.
    pub since: Moment,
    /// When the check was first scheduled: `start_period` counts from here.
    pub started: Moment,
    /// The last run, whatever its outcome.
    pub last: Option<Arc<Observation>>,
    /// When the last run with a conclusive outcome ended.
    pub last_conclusive: Option<Moment>,
    /// When the last pass or warning ended.
    pub last_success: Option<Moment>,
    /// Failures in a row, up to now.
    pub consecutive_failures: u32,
    /// Passes and warnings in a row, up to now.
    pub consecutive_successes: u32,
    /// When the present row of failures began.
    pub first_failure: Option<Moment>,
}

/// A change of status: logged once, counted once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transition {
    /// Before.
    pub from: Status,
    /// After.
    pub to: Status,
    /// When.
    pub at: Moment,
}

impl State {
    /// A check that has never run.
    #[must_use]
    pub fn new(started: Moment) -> Self {
        Self {
            status: Status::Unknown,
            since: started,
            started,
            last: None,
            last_conclusive: None,
            last_success: None,
            consecutive_failures: 0,
            consecutive_successes: 0,
            first_failure: None,
        }
    }

    /// The one transition function: takes in an observation, or only the passing of time, and decides the status.
    pub fn step(&mut self, policy: &Policy, observation: Option<Arc<Observation>>, now: Moment) -> Option<Transition> {
        let from = self.status;
        // What time has done comes before what was observed, so that a tick which is late, or lost a race against an
        // observation, makes no difference.
        self.status = self.decide(policy, None, now);
        let success = observation.and_then(|observation| self.take_in(observation, now));
        self.status = self.decide(policy, success, now);
        if self.status == from {
            return None;
        }
        self.since = now;
        Some(Transition { from, to: self.status, at: now })
    }

    /// When time alone may next change the status; the monitor wakes up then.
    #[must_use]
    pub fn next_change(&self, policy: &Policy, now: Moment) -> Option<Duration> {
        // Stale is *more* than `stale_after` old. What lies beyond the clock's end never happens.
        let stale = self.last_conclusive.and_then(|at| {
            at.monotonic.checked_add(policy.stale_after).and_then(|due| due.checked_add(Duration::from_nanos(1)))
        });
        let failing = self.first_failure.filter(|_| self.consecutive_failures >= policy.failure_threshold);
        let unhealthy = failing.and_then(|at| {
            at.monotonic.checked_add(policy.max_time_in_error).map(|due| due.max(self.first_countable(policy)))
        });
        let started = self.started.monotonic.checked_add(policy.start_period);
        [stale, unhealthy, started]
            .into_iter()
            .flatten()
            .filter(|due| *due > now.monotonic && *due < Duration::MAX)
            .min()
    }

    /// Whether a conclusive answer was had, or the time to wait for one is over.
    #[must_use]
    pub fn has_started(&self, policy: &Policy, now: Moment) -> bool {
        let waited = now.since(self.started) >= policy.start_period;
        // Without a start period one run is waited for.
        self.last_conclusive.is_some() || (waited && (self.last.is_some() || !policy.start_period.is_zero()))
    }

    /// Takes in one run; tells the status that a success asks for.
    fn take_in(&mut self, observation: Arc<Observation>, now: Moment) -> Option<Status> {
        let outcome = observation.finding.outcome;
        self.last = Some(observation);
        let success = match outcome {
            Outcome::Inconclusive => return None,
            Outcome::Pass => Status::Healthy,
            Outcome::Warn => Status::Degraded,
            Outcome::Fail => {
                self.last_conclusive = Some(now);
                self.consecutive_failures = self.consecutive_failures.saturating_add(1);
                self.consecutive_successes = 0;
                self.first_failure.get_or_insert(now);
                return None;
            }
        };
        self.last_conclusive = Some(now);
        self.last_success = Some(now);
        self.consecutive_successes = self.consecutive_successes.saturating_add(1);
        self.consecutive_failures = 0;
        self.first_failure = None;
        Some(success)
    }

    fn decide(&self, policy: &Policy, success: Option<Status>, now: Moment) -> Status {
        if self.is_stale(policy, now) {
            return Status::Unknown;
        }
        if let Some(success) = success {
            // Between healthy and degraded there is no threshold: both let traffic through.
            let recovered = self.status.is_up() || self.consecutive_successes >= policy.success_threshold;
            return if recovered { success } else { self.status };
        }
        let failing_long_enough = self.first_failure.is_some_and(|at| {
            now.since(at) >= policy.max_time_in_error && now.monotonic >= self.first_countable(policy)
        });
        if self.consecutive_failures >= policy.failure_threshold && failing_long_enough {
            Status::Unhealthy
        } else {
            self.status
        }
    }

    /// From when failures count: at the end of the start period, or always once the check has passed.
    fn first_countable(&self, policy: &Policy) -> Duration {
        match self.last_success {
            Some(_) => Duration::ZERO,
            None => self.started.monotonic.saturating_add(policy.start_period),
        }
    }

    fn is_stale(&self, policy: &Policy, now: Moment) -> bool {
        self.last_conclusive.is_none_or(|at| now.since(at) > policy.stale_after)
    }
}

#[cfg(test)]
mod tests;
