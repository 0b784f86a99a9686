use std::borrow::Cow;

use super::{Group, Lifecycle, Report, Status};

/// Something that is above all checks and has a say in the verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Above {
    /// What it is, where it stands among the checks.
    pub name: &'static str,
    /// What it has the whole be, at least.
    pub status: Status,
    /// Stable, for machines.
    pub code: &'static str,
    /// Why.
    pub sentence: Cow<'static, str>,
}

const ENGINE: &str = "engine";
const LIFECYCLE: &str = "lifecycle";
const MAINTENANCE: &str = "maintenance";

/// What always holds where an answer lists it: that somebody answers.
pub const PING: &str = "ping";

impl Above {
    /// The names that no check of the configuration can have.
    pub const NAMES: [&'static str; 4] = [PING, ENGINE, LIFECYCLE, MAINTENANCE];

    /// The engine makes no reports any more.
    #[must_use]
    pub fn dead_engine(sentence: &'static str) -> Self {
        Self { name: ENGINE, status: Status::Unhealthy, code: "engine_stopped", sentence: sentence.into() }
    }
}

impl Report {
    /// What stands above all checks of a group, if it has a say: for readiness and health a process that is stopping, an
    /// operator's word, or a start that is not over. An engine that has died is for whoever knows the time.
    #[must_use]
    pub fn above(&self, group: &Group) -> Option<Above> {
        let above = |name, status, code, sentence| Some(Above { name, status, code, sentence });
        if self.is_draining(group) {
            return above(LIFECYCLE, Status::Unhealthy, "draining", "shutting down".into());
        }
        if let Some(reason) = self.maintenance_of(group) {
            let sentence = format!("in maintenance: {reason}").into();
            return above(MAINTENANCE, Status::Unhealthy, "maintenance", sentence);
        }
        let starting = *group == Group::Readiness && self.lifecycle == Lifecycle::Starting;
        if starting { above(LIFECYCLE, Status::Unknown, "starting", "starting".into()) } else { None }
    }

    /// The verdict of a group, with what stands above all checks.
    #[must_use]
    pub fn verdict(&self, group: &Group) -> Status {
        let checks = match self.status(group) {
            Status::Unknown if *group == Group::Liveness => {
                self.members(group).map(|check| check.part_of(group)).max().unwrap_or(Status::Healthy)
            }
            status => status,
        };
        self.above(group).map_or(checks, |above| checks.max(above.status))
    }

    /// Whether a stopping process is why this group says no.
    #[must_use]
    pub fn is_draining(&self, group: &Group) -> bool {
        self.lifecycle == Lifecycle::Draining
            && self.unready_when_draining
            && !matches!(group, Group::Liveness | Group::Startup)
    }

    /// Why an operator has this group say no.
    #[must_use]
    pub fn maintenance_of(&self, group: &Group) -> Option<&str> {
        self.maintenance.as_deref().filter(|_| !matches!(group, Group::Liveness | Group::Startup))
    }
}
