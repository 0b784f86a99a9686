use std::sync::Arc;
use std::time::Duration;

use crate::check::{Pulse, Resources};
use crate::config::Config;
use crate::health::{Group, Policy};
use crate::monitor::{Identity, Plan, PlannedCheck, Schedule};
use crate::settings::Problem;
use crate::supervise::AppStatus;

/// What the monitor is to do by this configuration.
///
/// # Errors
/// Every check that lacks what it needs, each with its place.
pub fn plan(
    config: &Config,
    resources: &Resources,
    pulse: &Arc<Pulse>,
    app: Option<&Arc<AppStatus>>,
) -> Result<Plan, Vec<Problem>> {
    let upstream = config.app();
    let mut checks = vec![event_loop(pulse)];
    checks.extend(app.map(app_process));
    let mut problems = Vec::new();
    for check in &config.checks {
        // What is switched off may lack what it needs.
        let prepared = check.enabled.then(|| check.prepare(resources)).transpose();
        match prepared {
            Ok(prepared) => checks.push(PlannedCheck {
                name: check.name.as_str().into(),
                kind: check.kind.name,
                groups: check.settings.groups.clone(),
                tags: check.settings.tags.iter().map(|tag| tag.as_str().into()).collect(),
                policy: check.policy(),
                schedule: check.schedule(),
                depends_on: check.settings.depends_on.iter().map(|name| name.as_str().into()).collect(),
                identity: check.identity(upstream),
                built_in: false,
                check: prepared,
            }),
            Err(message) => {
                let message = format!("`checks.{}`: {message}", check.name);
                problems.push(Problem { origin: check.origin.clone(), message });
            }
        }
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let mut groups = Group::BUILT_IN.to_vec();
    for group in config.checks.iter().flat_map(|check| &check.settings.groups) {
        if !groups.contains(group) {
            groups.push(group.clone());
        }
    }
    Ok(Plan { checks, groups, unready_when_draining: config.shutdown.fail_readiness })
}

/// Readiness: the app that we start runs. One failure is enough: whether a process runs is no matter of chance.
fn app_process(app: &Arc<AppStatus>) -> PlannedCheck {
    PlannedCheck {
        name: AppStatus::CHECK.into(),
        kind: "app",
        groups: vec![Group::Readiness, Group::Health],
        tags: Vec::new(),
        policy: Policy { failure_threshold: 1, stale_after: Duration::MAX, ..Policy::default() },
        schedule: Schedule {
            interval: Duration::from_secs(1),
            fast_interval: Duration::from_millis(250),
            timeout: Duration::from_secs(1),
            slow_after: Duration::from_secs(1),
            run_until_pass: false,
        },
        depends_on: Vec::new(),
        identity: Identity::default(),
        built_in: false,
        check: Some(app.check()),
    }
}

/// Liveness: every worker's event loop turns. Three silent beats in a row are needed: a pod is restarted for it.
fn event_loop(pulse: &Arc<Pulse>) -> PlannedCheck {
    PlannedCheck {
        name: Pulse::NAME.into(),
        kind: "pulse",
        groups: vec![Group::Liveness],
        tags: Vec::new(),
        policy: Policy { failure_threshold: 3, stale_after: Duration::MAX, ..Policy::default() },
        schedule: Schedule {
            interval: Duration::from_secs(10),
            fast_interval: Duration::from_secs(5),
            timeout: Duration::from_secs(5),
            slow_after: Duration::from_secs(1),
            run_until_pass: false,
        },
        depends_on: Vec::new(),
        identity: Identity::default(),
        built_in: true,
        check: Some(pulse.check()),
    }
}
