//! A liveness check that was not asked yet.

use std::sync::Arc;

use pulsegate::dialect::{Options, Query, StatusCodes, View};
use pulsegate::health::{Audience, Facts, Finding, Group, Lifecycle, Reason, Report, Status};

use super::{Scene, UPTIME, at, service, traffic};

fn scene(name: &'static str, findings: Vec<Finding>) -> Scene {
    Scene { groups: vec![Group::Liveness], ..Scene::new(name, "tcp", findings) }
}

#[test]
fn it_restarts_nobody_and_hides_nothing() {
    let warning = Finding::warn(Reason::new("slow", "is slow"), Facts::default());
    let failure = Finding::fail(Reason::new("gone", "is gone"), Facts::default());
    for (other, status, why) in [
        (Finding::pass(Facts::default()), Status::Healthy, None),
        (warning, Status::Degraded, Some("second is slow")),
        (failure, Status::Unhealthy, Some("second is gone")),
    ] {
        let checks = [scene("first", Vec::new()), scene("second", vec![other]), scene("third", Vec::new())];
        let checks: Vec<Arc<_>> = checks.into_iter().map(|scene| scene.play(0)).collect();
        let report = Report {
            number: 1,
            at: at(UPTIME),
            lifecycle: Lifecycle::Starting,
            unready_when_draining: true,
            maintenance: None,
            groups: Report::aggregate(&Group::BUILT_IN, &checks),
            checks,
            overdue_at: None,
            history: Default::default(),
        };
        let view = View {
            report: &report,
            totals: &traffic().totals(),
            service: &service(),
            group: &Group::Liveness,
            detail: false,
            audience: Audience::Public,
            codes: StatusCodes::default(),
            options: &Options::default(),
            query: Query::default(),
            now: at(UPTIME),
        };
        assert_eq!((view.status(), view.explanation().as_deref()), (status, why));
        assert_eq!(
            View { group: &Group::Health, ..view.clone() }.status(),
            Status::Healthy,
            "they are in one group only"
        );
    }
}
