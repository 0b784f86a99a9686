use std::time::Duration;

use super::Status;

/// How the outcomes of one check become a status, and how much that status weighs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Passes in a row that make a check healthy again. At least 1.
    pub success_threshold: u32,
    /// Failures in a row that make a check unhealthy. At least 1.
    pub failure_threshold: u32,
    /// After the start, failures do not count for so long, unless the check has passed before.
    pub start_period: Duration,
    /// With no conclusive outcome for longer than this the status is unknown.
    pub stale_after: Duration,
    /// Unhealthy only after failing for so long, beside the threshold.
    pub max_time_in_error: Duration,
    /// What a failure of this check weighs in its groups.
    pub on_failure: OnFailure,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            success_threshold: 1,
            failure_threshold: 1,
            start_period: Duration::ZERO,
            stale_after: Duration::from_secs(300),
            max_time_in_error: Duration::ZERO,
            on_failure: OnFailure::Unhealthy,
        }
    }
}

/// How much a failing check weighs in its groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OnFailure {
    /// The group is as bad as the check.
    Unhealthy,
    /// The group is at most degraded by it.
    Degraded,
    /// The group does not care; the check is shown all the same.
    Ignore,
}

impl OnFailure {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Unhealthy, Self::Degraded, Self::Ignore];

    /// The lower-case word for metric labels.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Unhealthy => "unhealthy",
            Self::Degraded => "degraded",
            Self::Ignore => "ignore",
        }
    }

    /// What a status counts for in a group.
    #[must_use]
    pub fn weigh(self, status: Status) -> Status {
        match self {
            Self::Unhealthy => status,
            Self::Degraded => status.min(Status::Degraded),
            Self::Ignore => Status::Healthy,
        }
    }
}
