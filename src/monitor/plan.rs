use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::check::Check;
use crate::health::{Group, Policy};

/// All that the monitor is to do.
#[derive(Debug)]
pub struct Plan {
    /// The checks in the order of the configuration.
    pub checks: Vec<PlannedCheck>,
    /// The groups that have a verdict.
    pub groups: Vec<Group>,
    /// Whether a draining process answers "not ready".
    pub unready_when_draining: bool,
}

/// One check, when it is asked and what its answers mean.
pub struct PlannedCheck {
    /// Its name.
    pub name: Arc<str>,
    /// Its kind's name.
    pub kind: &'static str,
    /// Its groups.
    pub groups: Vec<Group>,
    /// Words by which callers select checks.
    pub tags: Vec<Arc<str>>,
    /// What its outcomes mean.
    pub policy: Policy,
    /// When it is asked.
    pub schedule: Schedule,
    /// Checks that must not be failing for this one to be asked.
    pub depends_on: Vec<Arc<str>>,
    /// What tells whether it is still the same after a reload.
    pub identity: Identity,
    /// Part of the program, not of the configuration.
    pub built_in: bool,
    /// The question; `None` where a condition of the configuration has switched it off.
    pub check: Option<Box<dyn Check>>,
}

/// Digests of a check's settings: equal ones mean the same check, before and after a reload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// Of what is asked: with another question, what is known is worth nothing.
    pub question: u64,
    /// Of when it is asked and what the answers mean.
    pub rules: u64,
}

/// When a check is asked.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    /// Between two runs, give or take a tenth, so that the pods of a fleet do not ask in step.
    pub interval: Duration,
    /// Between two runs until it has passed as often in a row as its policy wants.
    pub fast_interval: Duration,
    /// For one run.
    pub timeout: Duration,
    /// A run that takes longer is worth a warning.
    pub slow_after: Duration,
    /// Asked until it passes once, then never again.
    pub run_until_pass: bool,
}

impl fmt::Debug for PlannedCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PlannedCheck({}, {})", self.name, self.kind)
    }
}
