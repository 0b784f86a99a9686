//! The record: nothing is missed, nothing is said twice, and it has a size.

use std::sync::Arc;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;

use super::{Chronicle, LONGEST_SENTENCE, MOST_EVENTS, MOST_RECENT};
use crate::health::{
    CheckReport, Event, Facts, Finding, Group, History, Lifecycle, Moment, Observation, OnFailure, Reason, Report,
    State, Status, Subject,
};

fn check(name: &str, status: Status) -> Arc<CheckReport> {
    let long = "ä".repeat(400);
    let reason = Reason::new("broken", "is broken").with_private(long);
    let finding = Finding::fail(reason, Facts::default());
    let last = Arc::new(Observation { finding, at: Moment::default(), took: Duration::ZERO });
    let state = State { status, last: Some(last), ..State::new(Moment::default()) };
    Arc::new(CheckReport {
        name: name.into(),
        kind: "tcp",
        on_failure: OnFailure::Unhealthy,
        groups: vec![Group::Readiness, Group::Health],
        tags: Vec::new(),
        enabled: true,
        built_in: false,
        state,
        runs: [0; 4],
        transitions: [0; 4],
        recent: Arc::default(),
    })
}

fn report(checks: Vec<Arc<CheckReport>>, lifecycle: Lifecycle) -> Report {
    Report {
        number: 1,
        at: Moment::default(),
        lifecycle,
        unready_when_draining: true,
        maintenance: None,
        groups: Report::aggregate(&Group::BUILT_IN, &checks),
        checks,
        overdue_at: None,
        history: Arc::default(),
    }
}

/// Goes from report to report as the keeper does.
struct Story {
    chronicle: Chronicle,
    report: Report,
}

impl Story {
    fn begin(checks: &[(&str, Status)]) -> Self {
        let checks = checks.iter().map(|(name, status)| check(name, *status)).collect();
        Self { chronicle: Chronicle::default(), report: report(checks, Lifecycle::Serving) }
    }

    fn then(&mut self, checks: &[(&str, Status)], lifecycle: Lifecycle) -> Vec<String> {
        let seen = self.report.history.last();
        let known = |name: &str| self.report.check(name).map(|known| known.recent.clone()).unwrap_or_default();
        let checks = checks
            .iter()
            .map(|(name, status)| Arc::new(CheckReport { recent: known(name), ..(*check(name, *status)).clone() }));
        let mut next = report(checks.collect(), lifecycle);
        next.history = self.report.history.clone();
        self.chronicle.note(&self.report, &mut next);
        self.report = next;
        let events = self.report.history.after(seen).into_iter().flatten();
        events.map(|event| said(event)).collect()
    }
}

fn said(event: &Event) -> String {
    let code = event.reason.as_ref().map_or("", |reason| reason.code);
    let (from, to) = (event.from.word(), event.to.word());
    let first = if event.is_first { " first" } else { "" };
    match &event.subject {
        Subject::Check { name, .. } => format!("{name}: {from} {to} {code}{first}"),
        Subject::Group { group, checks } => {
            format!("[{group}]: {from} {to} ({} {}) {code}{first}", checks.0, checks.1)
        }
        Subject::Plan => "plan".into(),
    }
}

#[test]
fn a_change_is_told_before_what_follows_from_it() {
    use Status::{Healthy, Unhealthy, Unknown};
    let mut story = Story::begin(&[("a", Unknown), ("b", Healthy)]);
    let told = story.then(&[("a", Healthy), ("b", Healthy)], Lifecycle::Serving);
    let expected = [
        "a: unknown healthy  first",
        "[readiness]: unknown healthy (unknown healthy)  first",
        "[health]: unknown healthy (unknown healthy)  first",
    ];
    assert_eq!(told, expected);
    let told = story.then(&[("a", Healthy), ("b", Unhealthy)], Lifecycle::Serving);
    let expected = [
        "b: healthy unhealthy broken",
        "[readiness]: healthy unhealthy (healthy unhealthy) broken",
        "[health]: healthy unhealthy (healthy unhealthy) broken",
    ];
    assert_eq!(told, expected);
    assert!(story.then(&[("a", Healthy), ("b", Unhealthy)], Lifecycle::Serving).is_empty(), "nothing is said twice");
}

#[test]
fn what_stands_above_the_checks_changes_groups_alone() {
    use Status::{Healthy, Unhealthy};
    let mut story = Story::begin(&[("a", Healthy)]);
    let told = story.then(&[("a", Healthy)], Lifecycle::Draining);
    let expected = [
        "[readiness]: healthy unhealthy (healthy healthy) draining",
        "[health]: healthy unhealthy (healthy healthy) draining",
    ];
    assert_eq!(told, expected);
    let told = story.then(&[("a", Unhealthy)], Lifecycle::Draining);
    let expected = [
        "a: healthy unhealthy broken",
        "[readiness]: unhealthy unhealthy (healthy unhealthy) broken",
        "[health]: unhealthy unhealthy (healthy unhealthy) broken",
    ];
    assert_eq!(told, expected, "they had been healthy since before the record began");
}

#[test]
fn another_plan_is_said_and_forgets_who_is_gone() {
    use Status::{Healthy, Unhealthy, Unknown};
    let mut story = Story::begin(&[("a", Unknown)]);
    story.then(&[("a", Unhealthy)], Lifecycle::Serving);
    let told = story.then(&[("b", Unhealthy), ("a", Unhealthy)], Lifecycle::Serving);
    assert_eq!(told, ["plan", "b: unknown unhealthy broken first"]);
    let told = story.then(&[("b", Unhealthy)], Lifecycle::Serving);
    assert_eq!(told, ["plan"]);
    let told = story.then(&[("b", Unhealthy), ("a", Unknown)], Lifecycle::Serving);
    assert_eq!(told, ["plan"]);
    let told = story.then(&[("b", Unhealthy), ("a", Healthy)], Lifecycle::Serving);
    assert_eq!(told, ["a: unknown healthy  first"], "it begins anew");
}

#[test]
fn what_is_remembered_has_a_size() {
    use Status::{Healthy, Unhealthy};
    let mut story = Story::begin(&[("a", Healthy), ("b", Healthy)]);
    story.then(&[("a", Healthy), ("b", Unhealthy)], Lifecycle::Serving);
    for _ in 0..MOST_EVENTS {
        story.then(&[("a", Unhealthy), ("b", Unhealthy)], Lifecycle::Serving);
        story.then(&[("a", Healthy), ("b", Unhealthy)], Lifecycle::Serving);
    }
    let (history, last) = (&story.report.history, story.report.history.last());
    assert_eq!(last, 3 + 2 * MOST_EVENTS as u64);
    assert_eq!(history.events.len(), MOST_EVENTS);
    let oldest = last - MOST_EVENTS as u64;
    assert_eq!(history.after(oldest).map(Iterator::count), Some(MOST_EVENTS));
    assert!(history.after(oldest - 1).is_none(), "that is forgotten");
    assert!(history.after(last + 1).is_none(), "that has not been");
    assert_eq!(history.after(last).map(Iterator::count), Some(0));
    assert_eq!(history.left_after(oldest - 5).0, 5);
    assert_eq!(history.left_after(last + 1).0, 0);
    let recent = |name: &str| story.report.check(name).map(|check| check.recent.len());
    assert_eq!((recent("a"), recent("b")), (Some(MOST_RECENT), Some(1)), "one that flaps makes no other forgotten");
    let private = story.report.check("b").and_then(|check| check.recent[0].reason.clone()).and_then(|it| it.private);
    assert_eq!(private.map(|text| text.len()), Some(LONGEST_SENTENCE), "at the edge of a character");
}

proptest! {
    /// Played back, the record leads from what was to what is.
    #[test]
    fn the_record_is_complete_and_in_order(story in vec((vec(0_usize..4, 3), any::<bool>()), 1..40)) {
        let names = ["a", "b", "c"];
        let mut told = Story::begin(&names.map(|name| (name, Status::Unknown)));
        for (statuses, draining) in story {
            let checks: Vec<_> = names.iter().zip(statuses).map(|(name, at)| (*name, Status::ALL[at])).collect();
            told.then(&checks, if draining { Lifecycle::Draining } else { Lifecycle::Serving });
        }
        let history: &History = &told.report.history;
        let mut checks = names.map(|name| (name, Status::Unknown));
        let mut groups = Group::BUILT_IN.map(|group| {
            let empty = matches!(group, Group::Startup | Group::Liveness);
            let begin = if empty { Status::Healthy } else { Status::Unknown };
            (group, begin, begin)
        });
        for (id, event) in (1..).zip(&history.events) {
            prop_assert_eq!(event.id, id);
            match &event.subject {
                Subject::Check { name, .. } => {
                    let known = checks.iter_mut().find(|known| *known.0 == **name).expect("a check");
                    prop_assert_eq!(known.1, event.from);
                    known.1 = event.to;
                }
                Subject::Group { group, checks } => {
                    let known = groups.iter_mut().find(|known| known.0 == *group).expect("a group");
                    prop_assert_eq!((known.1, known.2), (checks.0, event.from));
                    (known.1, known.2) = (checks.1, event.to);
                }
                Subject::Plan => prop_assert!(false, "the plan is the same"),
            }
        }
        for (name, status) in checks {
            prop_assert_eq!(told.report.check(name).expect("a check").state.status, status);
        }
        for (group, by_checks, whole) in groups {
            prop_assert_eq!(told.report.status(&group), by_checks);
            prop_assert_eq!(told.report.verdict(&group), whole);
        }
    }
}
