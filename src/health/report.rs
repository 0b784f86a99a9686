use std::sync::Arc;
use std::time::Duration;

use super::{Event, Group, History, Lifecycle, Moment, OnFailure, Reason, State, Status};

/// Everything that is known at one instant. Immutable; every endpoint, metric and watcher reads the same one.
#[derive(Clone, Debug)]
pub struct Report {
    /// Counts reports from 1.
    pub number: u64,
    /// When it was made.
    pub at: Moment,
    /// The process's phase.
    pub lifecycle: Lifecycle,
    /// Whether a draining process answers "not ready"; some set-ups want it to stay ready until the listener closes.
    pub unready_when_draining: bool,
    /// Why an operator has taken the process out of service, if one has. The checks go on.
    pub maintenance: Option<Arc<str>>,
    /// The checks in the order of the configuration.
    pub checks: Vec<Arc<CheckReport>>,
    /// The groups.
    pub groups: Vec<GroupReport>,
    /// On the monotonic clock: by when the next report must be there. Later than that, the engine has died.
    pub overdue_at: Option<Duration>,
    /// What led to it.
    pub history: Arc<History>,
}

/// One check in a report.
#[derive(Clone, Debug)]
pub struct CheckReport {
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// Its kind: `http`, `cli`, …
    pub kind: &'static str,
    /// What it weighs in its groups.
    pub on_failure: OnFailure,
    /// The groups it belongs to.
    pub groups: Vec<Group>,
    /// Words by which callers select checks, across groups.
    pub tags: Vec<Arc<str>>,
    /// Whether it is asked at all: what a condition of the configuration has switched off is shown, has no facts and
    /// weighs nothing.
    pub enabled: bool,
    /// Part of the program, not of the configuration.
    pub built_in: bool,
    /// Its state machine.
    pub state: State,
    /// Runs so far by outcome, in the order of [`super::Outcome::ALL`].
    pub runs: [u64; 4],
    /// Transitions so far by the status entered, in the order of [`Status::ALL`].
    pub transitions: [u64; 4],
    /// Its last transitions, oldest first.
    pub recent: Arc<[Arc<Event>]>,
}

/// One group in a report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupReport {
    /// Which.
    pub group: Group,
    /// The worst weighted status among its checks; healthy without checks.
    pub status: Status,
}

impl CheckReport {
    /// What the check's status counts for in its groups.
    #[must_use]
    pub fn weighted(&self) -> Status {
        if self.enabled { self.on_failure.weigh(self.state.status) } else { Status::Healthy }
    }

    /// What it counts for in one of its groups. A liveness check that has not been asked yet must not have a process
    /// restarted; for the other groups unknown is not green.
    #[must_use]
    pub fn part_of(&self, group: &Group) -> Status {
        match self.weighted() {
            Status::Unknown if *group == Group::Liveness => Status::Healthy,
            weighted => weighted,
        }
    }

    /// Why the check is not healthy: the reason of the last run, if that was not a pass.
    #[must_use]
    pub fn reason(&self) -> Option<&Reason> {
        if self.state.status == Status::Healthy {
            return None;
        }
        self.state.last.as_ref().and_then(|last| last.finding.reason.as_ref())
    }
}

impl Report {
    /// The verdict of each group over these checks.
    #[must_use]
    pub fn aggregate(groups: &[Group], checks: &[Arc<CheckReport>]) -> Vec<GroupReport> {
        let status_of = |group: &Group| {
            let members = checks.iter().filter(|check| check.groups.contains(group));
            members.map(|check| check.weighted()).max().unwrap_or(Status::Healthy)
        };
        groups.iter().map(|group| GroupReport { group: group.clone(), status: status_of(group) }).collect()
    }

    /// The status of a group by its checks alone; a group that does not exist is unknown.
    #[must_use]
    pub fn status(&self, group: &Group) -> Status {
        self.groups.iter().find(|report| report.group == *group).map_or(Status::Unknown, |report| report.status)
    }

    /// The checks of a group, in the order of the configuration.
    pub fn members<'a>(&'a self, group: &'a Group) -> impl Iterator<Item = &'a Arc<CheckReport>> {
        self.checks.iter().filter(move |check| check.groups.contains(group))
    }

    /// The check that explains the status of a group: the weightiest, and among equals the first.
    #[must_use]
    pub fn weightiest<'a>(&'a self, group: &'a Group) -> Option<&'a Arc<CheckReport>> {
        let mut found: Option<&Arc<CheckReport>> = None;
        for check in self.members(group).filter(|check| check.weighted() > Status::Healthy) {
            if found.is_none_or(|best| check.weighted() > best.weighted()) {
                found = Some(check);
            }
        }
        found
    }

    /// The check of that name.
    #[must_use]
    pub fn check(&self, name: &str) -> Option<&Arc<CheckReport>> {
        self.checks.iter().find(|check| &*check.name == name)
    }

    /// Whether traffic may be sent here.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        let phase = match self.lifecycle {
            Lifecycle::Starting => false,
            Lifecycle::Serving => true,
            Lifecycle::Draining => !self.unready_when_draining,
        };
        phase && self.maintenance.is_none() && self.status(&Group::Readiness).is_up()
    }

    /// Whether the health engine has failed to make the next report in time.
    #[must_use]
    pub fn is_overdue(&self, now: Moment) -> bool {
        self.overdue_at.is_some_and(|at| now.monotonic > at)
    }
}

#[cfg(test)]
mod tests;
