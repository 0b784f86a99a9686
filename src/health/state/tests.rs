//! The transition function under generated histories and a clock of our own.

use std::sync::Arc;
use std::time::Duration;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::{State, Transition};
use crate::health::{Facts, Finding, Moment, Observation, Outcome, Policy, Reason, Status};

/// One thing that happens: time passes, then perhaps a run ends.
#[derive(Clone, Copy, Debug)]
struct Event {
    after_ms: u64,
    outcome: Option<Outcome>,
}

fn at(ms: u64) -> Moment {
    Moment::default().later(Duration::from_millis(ms))
}

fn run(outcome: Outcome, now: Moment) -> Arc<Observation> {
    let reason = (outcome != Outcome::Pass).then(|| Reason::new("test", "says no"));
    Arc::new(Observation {
        finding: Finding { outcome, reason, facts: Facts::default() },
        at: now,
        took: Duration::ZERO,
    })
}

fn observe(state: &mut State, policy: &Policy, outcome: Outcome, ms: u64) -> Option<Transition> {
    state.step(policy, Some(run(outcome, at(ms))), at(ms))
}

fn tick(state: &mut State, policy: &Policy, ms: u64) -> Option<Transition> {
    state.step(policy, None, at(ms))
}

/// Thresholds that count at once and for ever.
fn plain(failure_threshold: u32, success_threshold: u32) -> Policy {
    Policy { failure_threshold, success_threshold, stale_after: Duration::MAX, ..Policy::default() }
}

fn outcomes() -> impl Strategy<Value = Outcome> {
    prop::sample::select(&Outcome::ALL[..])
}

fn events(longest_ms: u64) -> impl Strategy<Value = Vec<Event>> {
    let event = (0..=longest_ms, option::weighted(0.8, outcomes()));
    vec(event.prop_map(|(after_ms, outcome)| Event { after_ms, outcome }), 0..40)
}

fn policies() -> impl Strategy<Value = Policy> {
    (1..5_u32, 1..5_u32, 0..60_u64, 1..60_u64, 0..60_u64).prop_map(
        |(success_threshold, failure_threshold, start, stale, error)| Policy {
            success_threshold,
            failure_threshold,
            start_period: Duration::from_millis(start),
            stale_after: Duration::from_millis(stale),
            max_time_in_error: Duration::from_millis(error),
            ..Policy::default()
        },
    )
}

proptest! {
    /// The promise that the whole program rests on.
    #[test]
    fn never_up_while_the_last_conclusive_result_is_stale(policy in policies(), events in events(40)) {
        let mut state = State::new(at(0));
        let (mut now, mut conclusive) = (0, None);
        for event in events {
            now += event.after_ms;
            state.step(&policy, event.outcome.map(|outcome| run(outcome, at(now))), at(now));
            if event.outcome.is_some_and(|outcome| outcome != Outcome::Inconclusive) {
                conclusive = Some(now);
            }
            let stale = conclusive.is_none_or(|then| Duration::from_millis(now - then) > policy.stale_after);
            prop_assert!(!(stale && state.status.is_up()), "{:?} at {now} ms", state.status);
            prop_assert_eq!(stale && state.status != Status::Unknown, false, "stale is unknown");
        }
    }

    /// A second, slower way to count: both must agree at every step.
    #[test]
    fn thresholds_are_exact(
        failure_threshold in 1..6_u32, success_threshold in 1..6_u32, outcomes in vec(outcomes(), 0..60),
    ) {
        let policy = plain(failure_threshold, success_threshold);
        let mut state = State::new(at(0));
        let mut expected = Status::Unknown;
        let mut row: Vec<Outcome> = Vec::new();
        for (ms, outcome) in (1..).zip(outcomes) {
            if outcome != Outcome::Inconclusive {
                if row.last().is_some_and(|last| (*last == Outcome::Fail) != (outcome == Outcome::Fail)) {
                    row.clear();
                }
                row.push(outcome);
                let up = if outcome == Outcome::Pass { Status::Healthy } else { Status::Degraded };
                expected = match outcome {
                    Outcome::Fail if row.len() >= failure_threshold as usize => Status::Unhealthy,
                    Outcome::Pass | Outcome::Warn if expected.is_up() => up,
                    Outcome::Pass | Outcome::Warn if row.len() >= success_threshold as usize => up,
                    _ => expected,
                };
            }
            let before = state.status;
            let transition = observe(&mut state, &policy, outcome, ms);
            prop_assert_eq!(state.status, expected);
            let made = (before != expected).then_some(Transition { from: before, to: expected, at: at(ms) });
            prop_assert_eq!(transition, made, "a transition is told exactly when the status changes");
        }
    }

    /// It does what the passing of time does, and nothing else.
    #[test]
    fn an_inconclusive_run_moves_nothing_by_itself(policy in policies(), events in events(40), later in 0..100_u64) {
        let mut state = State::new(at(0));
        let mut now = 0;
        for event in events {
            now += event.after_ms;
            state.step(&policy, event.outcome.map(|outcome| run(outcome, at(now))), at(now));
        }
        let mut ticked = state.clone();
        now += later;
        let by_time = tick(&mut ticked, &policy, now);
        let by_run = observe(&mut state, &policy, Outcome::Inconclusive, now);
        prop_assert_eq!(by_run, by_time);
        prop_assert_eq!(state.status, ticked.status);
        prop_assert_eq!(state.consecutive_failures, ticked.consecutive_failures);
        prop_assert_eq!(state.consecutive_successes, ticked.consecutive_successes);
        prop_assert_eq!(state.last_conclusive, ticked.last_conclusive);
        prop_assert_eq!(state.first_failure, ticked.first_failure);
    }

    /// Waking up at `next_change` alone is as good as never sleeping.
    #[test]
    fn next_change_misses_nothing(policy in policies(), events in events(60)) {
        let (mut every, mut woken) = (State::new(at(0)), State::new(at(0)));
        let mut now = 0;
        for event in events {
            let end = now + event.after_ms;
            while now < end {
                now += 1;
                let due = woken.next_change(&policy, at(now - 1));
                if due.is_some_and(|due| due <= at(now).monotonic) {
                    tick(&mut woken, &policy, now);
                }
                tick(&mut every, &policy, now);
                prop_assert_eq!(woken.status, every.status, "after {} ms", now);
                prop_assert_eq!(woken.since, every.since);
            }
            if let Some(outcome) = event.outcome {
                observe(&mut every, &policy, outcome, now);
                observe(&mut woken, &policy, outcome, now);
                prop_assert_eq!(woken.status, every.status);
            }
        }
    }

    /// A timer and a result may be due at once, and either may come first.
    #[test]
    fn a_late_tick_makes_no_difference(policy in policies(), events in events(60)) {
        let (mut ticked, mut late) = (State::new(at(0)), State::new(at(0)));
        let mut now = 0;
        for event in events {
            for _ in 0..event.after_ms {
                now += 1;
                tick(&mut ticked, &policy, now);
            }
            ticked.step(&policy, event.outcome.map(|outcome| run(outcome, at(now))), at(now));
            late.step(&policy, event.outcome.map(|outcome| run(outcome, at(now))), at(now));
            prop_assert_eq!(late.status, ticked.status, "after {} ms", now);
        }
    }

    #[test]
    fn next_change_lies_ahead_and_within_the_clock(policy in policies(), events in events(40)) {
        let policies = [policy, Policy { stale_after: Duration::MAX, max_time_in_error: Duration::MAX, ..policy }];
        for policy in policies {
            let mut state = State::new(at(0));
            let mut now = 0;
            for event in &events {
                now += event.after_ms;
                state.step(&policy, event.outcome.map(|outcome| run(outcome, at(now))), at(now));
                let next = state.next_change(&policy, at(now));
                prop_assert!(next.is_none_or(|due| due > at(now).monotonic && due < Duration::from_secs(3600)));
            }
        }
    }

    #[test]
    fn failures_count_from_the_end_of_the_start_period(
        start in 2..500_u64, failure_threshold in 1..5_u32, times in vec(0..500_u64, 5..20),
    ) {
        let policy = Policy { start_period: Duration::from_millis(start), ..plain(failure_threshold, 1) };
        let mut state = State::new(at(0));
        let mut times: Vec<u64> = times.into_iter().map(|ms| ms % start).collect();
        times.sort_unstable();
        for ms in times {
            observe(&mut state, &policy, Outcome::Fail, ms);
            prop_assert_eq!(state.status, Status::Unknown, "at {} ms", ms);
        }
        prop_assert_eq!(tick(&mut state, &policy, start - 1), None);
        prop_assert_eq!(state.next_change(&policy, at(start - 1)), Some(Duration::from_millis(start)));
        let over = tick(&mut state, &policy, start);
        prop_assert_eq!(over.map(|transition| transition.to), Some(Status::Unhealthy));
    }

    #[test]
    fn max_time_in_error_is_exact(limit in 1..500_u64, failure_threshold in 1..5_u32, begin in 1..100_u64) {
        let policy = Policy { max_time_in_error: Duration::from_millis(limit), ..plain(failure_threshold, 1) };
        let mut state = State::new(at(0));
        observe(&mut state, &policy, Outcome::Pass, 0);
        for _ in 0..failure_threshold {
            observe(&mut state, &policy, Outcome::Fail, begin);
        }
        prop_assert_eq!(state.status, Status::Healthy);
        prop_assert_eq!(state.next_change(&policy, at(begin)), Some(Duration::from_millis(begin + limit)));
        prop_assert_eq!(tick(&mut state, &policy, begin + limit - 1), None);
        let over = tick(&mut state, &policy, begin + limit);
        prop_assert_eq!(over.map(|transition| transition.to), Some(Status::Unhealthy));
    }
}

#[test]
fn a_new_check_is_unknown_until_it_is_conclusive() {
    let policy = plain(1, 1);
    let mut state = State::new(at(0));
    assert_eq!(state.status, Status::Unknown);
    assert_eq!(tick(&mut state, &policy, 1_000_000), None);
    assert_eq!(observe(&mut state, &policy, Outcome::Inconclusive, 1_000_001), None);
    assert!(!state.has_started(&Policy { start_period: Duration::from_secs(9999), ..policy }, at(1_000_001)));
    let first = observe(&mut state, &policy, Outcome::Warn, 1_000_002);
    assert_eq!(first, Some(Transition { from: Status::Unknown, to: Status::Degraded, at: at(1_000_002) }));
    assert!(state.has_started(&Policy { start_period: Duration::from_secs(9999), ..policy }, at(1_000_002)));
}

#[test]
fn a_check_has_started_when_its_start_period_is_over() {
    let policy = Policy { start_period: Duration::from_millis(10), ..plain(1, 1) };
    let state = State::new(at(5));
    assert!(!state.has_started(&policy, at(14)));
    assert!(state.has_started(&policy, at(15)));
}

#[test]
fn a_pass_ends_the_start_period() {
    let policy = Policy { start_period: Duration::from_millis(1000), ..plain(2, 1) };
    let mut state = State::new(at(0));
    observe(&mut state, &policy, Outcome::Pass, 1);
    observe(&mut state, &policy, Outcome::Fail, 2);
    assert_eq!(state.status, Status::Healthy);
    observe(&mut state, &policy, Outcome::Fail, 3);
    assert_eq!(state.status, Status::Unhealthy, "failures count at once after a pass");
}

#[test]
fn stale_is_more_than_stale_after_and_one_result_ends_it() {
    let policy = Policy { stale_after: Duration::from_millis(10), ..plain(3, 1) };
    let mut state = State::new(at(0));
    observe(&mut state, &policy, Outcome::Pass, 0);
    assert_eq!(tick(&mut state, &policy, 10), None, "exactly as old is not older");
    assert_eq!(state.next_change(&policy, at(10)), Some(Duration::from_nanos(10_000_001)));
    assert_eq!(tick(&mut state, &policy, 11).map(|change| change.to), Some(Status::Unknown));
    observe(&mut state, &policy, Outcome::Fail, 12);
    assert_eq!(state.status, Status::Unknown, "one failure of three is no verdict, and no reason to be green again");
    observe(&mut state, &policy, Outcome::Pass, 13);
    assert_eq!(state.status, Status::Healthy);
}

#[test]
fn what_takes_for_ever_never_happens() {
    let policy = Policy { max_time_in_error: Duration::MAX, ..plain(1, 1) };
    let mut state = State::new(at(0));
    observe(&mut state, &policy, Outcome::Fail, 0);
    assert_eq!(state.next_change(&policy, at(0)), None);
}

#[test]
fn the_row_of_failures_is_dated() {
    let policy = plain(2, 1);
    let mut state = State::new(at(0));
    for ms in [3, 4, 5] {
        observe(&mut state, &policy, Outcome::Fail, ms);
    }
    assert_eq!((state.consecutive_failures, state.first_failure), (3, Some(at(3))));
    assert_eq!((state.since, state.last_success, state.last_conclusive), (at(4), None, Some(at(5))));
    observe(&mut state, &policy, Outcome::Warn, 6);
    assert_eq!((state.consecutive_failures, state.first_failure), (0, None));
    assert_eq!((state.consecutive_successes, state.last_success), (1, Some(at(6))));
}
