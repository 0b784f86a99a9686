//! Aggregation: a group is exactly as bad as its weightiest member.

use std::sync::Arc;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;

use super::{CheckReport, Report};
use crate::health::{Group, Lifecycle, Moment, OnFailure, State, Status};

const WEIGHTS: [OnFailure; 3] = [OnFailure::Unhealthy, OnFailure::Degraded, OnFailure::Ignore];

fn check(index: usize, status: Status, on_failure: OnFailure, groups: Vec<Group>) -> Arc<CheckReport> {
    let state = State { status, ..State::new(Moment::default()) };
    Arc::new(CheckReport {
        name: format!("check{index}").into(),
        kind: "tcp",
        on_failure,
        groups,
        tags: Vec::new(),
        enabled: true,
        built_in: false,
        state,
        runs: [0; 4],
        transitions: [0; 4],
        recent: Default::default(),
    })
}

fn report(checks: Vec<Arc<CheckReport>>) -> Report {
    Report {
        number: 1,
        at: Moment::default(),
        lifecycle: Lifecycle::Serving,
        unready_when_draining: true,
        maintenance: None,
        groups: Report::aggregate(&Group::BUILT_IN, &checks),
        checks,
        overdue_at: None,
        history: Default::default(),
    }
}

fn reports(least: usize) -> impl Strategy<Value = Report> {
    let groups = prop::sample::subsequence(Group::BUILT_IN.to_vec(), 0..=4);
    let one = (prop::sample::select(&Status::ALL[..]), prop::sample::select(&WEIGHTS[..]), groups);
    vec(one, least..12).prop_map(|checks| {
        let checks = checks.into_iter().enumerate();
        report(checks.map(|(index, (status, weight, groups))| check(index, status, weight, groups)).collect())
    })
}

proptest! {
    #[test]
    fn a_group_is_its_worst_weighted_member(report in reports(0)) {
        for group in Group::BUILT_IN {
            let weighted = report.members(&group).map(|check| check.on_failure.weigh(check.state.status));
            prop_assert_eq!(report.status(&group), weighted.max().unwrap_or(Status::Healthy));
        }
    }

    #[test]
    fn a_check_that_gets_worse_makes_no_group_better(
        before in reports(1), which in any::<prop::sample::Index>(), to in prop::sample::select(&Status::ALL[..]),
    ) {
        let mut checks = before.checks.clone();
        let changed = which.get(&checks);
        let (name, from) = (changed.name.clone(), changed.state.status);
        for check in checks.iter_mut().filter(|check| check.name == name) {
            Arc::make_mut(check).state.status = to;
        }
        let after = report(checks);
        for group in Group::BUILT_IN {
            let (was, is) = (before.status(&group), after.status(&group));
            prop_assert!(if to >= from { is >= was } else { is <= was }, "{group}: {was} to {is}");
        }
    }

    #[test]
    fn the_weightiest_is_the_first_of_the_worst(report in reports(0)) {
        for group in Group::BUILT_IN {
            let worst = report.status(&group);
            let first = report.members(&group).find(|check| check.weighted() == worst);
            let expected = first.filter(|_| worst > Status::Healthy).map(|check| check.name.clone());
            prop_assert_eq!(report.weightiest(&group).map(|check| check.name.clone()), expected);
        }
    }

    #[test]
    fn a_weight_never_makes_a_status_worse_nor_turns_the_order(
        weight in prop::sample::select(&WEIGHTS[..]),
        a in prop::sample::select(&Status::ALL[..]), b in prop::sample::select(&Status::ALL[..]),
    ) {
        prop_assert!(weight.weigh(a) <= a);
        prop_assert!(a > b || weight.weigh(a) <= weight.weigh(b));
    }
}

#[test]
fn what_a_failure_weighs() {
    use Status::{Degraded, Healthy, Unhealthy, Unknown};
    let weighed = |weight: OnFailure| Status::ALL.map(|status| weight.weigh(status));
    assert_eq!(Status::ALL, [Healthy, Degraded, Unknown, Unhealthy], "the order is the aggregation");
    assert_eq!(weighed(OnFailure::Unhealthy), [Healthy, Degraded, Unknown, Unhealthy]);
    assert_eq!(weighed(OnFailure::Degraded), [Healthy, Degraded, Degraded, Degraded]);
    assert_eq!(weighed(OnFailure::Ignore), [Healthy; 4]);
}

#[test]
fn only_an_existing_group_has_a_verdict() {
    let report = report(Vec::new());
    assert_eq!(report.status(&Group::Health), Status::Healthy, "a group without checks");
    assert_eq!(report.status(&Group::of("nobody")), Status::Unknown);
}

#[test]
fn readiness_asks_the_lifecycle_and_the_group() {
    let ready = |lifecycle, unready_when_draining, status| {
        let checks = vec![check(0, status, OnFailure::Unhealthy, vec![Group::Readiness])];
        Report { lifecycle, unready_when_draining, ..report(checks) }.is_ready()
    };
    for status in Status::ALL {
        assert!(!ready(Lifecycle::Starting, false, status));
        assert_eq!(ready(Lifecycle::Serving, true, status), status.is_up());
        assert!(!ready(Lifecycle::Draining, true, status));
        assert_eq!(ready(Lifecycle::Draining, false, status), status.is_up());
    }
}

#[test]
fn a_report_is_overdue_only_past_its_time() {
    let due = Duration::from_secs(5);
    let at = |monotonic| Moment { monotonic, unix: Duration::from_secs(1_700_000_000) };
    let report = Report { overdue_at: Some(due), ..report(Vec::new()) };
    assert!(!report.is_overdue(at(due)));
    assert!(report.is_overdue(at(due + Duration::from_nanos(1))));
    assert!(!Report { overdue_at: None, ..report }.is_overdue(at(Duration::MAX)));
}
