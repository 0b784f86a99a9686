//! A monitor with scripted checks, for the tests.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::task::JoinSet;

use super::super::{Board, Monitor, MonitorHandle, Plan, PlannedCheck, Schedule};
use crate::check::Check;
use crate::clock::Clock;
use crate::health::{CheckReport, Facts, Finding, Group, Outcome, Policy, Reason, Report, Status};

pub(super) const INTERVAL: Duration = Duration::from_secs(10);
pub(super) const FAST: Duration = Duration::from_secs(2);
pub(super) const TIMEOUT: Duration = Duration::from_secs(1);
/// What the engine grants itself beyond the plan before it counts as dead.
pub(super) const SLACK: Duration = Duration::from_secs(15);
pub(super) const HOUR: Duration = Duration::from_secs(3600);

pub(super) fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub(super) fn found(outcome: Outcome) -> Finding {
    let reason = (outcome != Outcome::Pass).then(|| Reason::new("scripted", "says no"));
    Finding { outcome, reason, facts: Facts::default() }
}

pub(super) type Answer = Box<dyn FnMut(usize) -> BoxFuture<'static, Finding> + Send>;

/// A check that answers by a script and notes when it was asked.
pub(super) struct Scripted {
    pub(super) clock: Clock,
    pub(super) asked: Arc<Mutex<Vec<Duration>>>,
    pub(super) answer: Answer,
    pub(super) late: Option<Finding>,
}

impl Check for Scripted {
    fn run(&mut self) -> BoxFuture<'_, Finding> {
        let round = {
            let mut asked = self.asked.lock().unwrap();
            asked.push(self.clock.now().monotonic);
            asked.len() - 1
        };
        (self.answer)(round)
    }

    fn timed_out(&self) -> Finding {
        self.late.clone().unwrap_or_else(|| Finding::fail(Reason::new("timeout", "is late"), Facts::default()))
    }
}

/// A running monitor, ended with the test.
pub(super) struct Rig {
    pub(super) clock: Clock,
    pub(super) checks: Vec<PlannedCheck>,
    pub(super) unready_when_draining: bool,
}

pub(super) struct Running {
    pub(super) board: Arc<Board>,
    pub(super) handle: MonitorHandle,
    pub(super) tasks: JoinSet<()>,
}

impl Rig {
    pub(super) fn new() -> Self {
        Self { clock: Clock::start(), checks: Vec::new(), unready_when_draining: true }
    }

    /// Adds a check; later changes go through the returned reference.
    pub(super) fn check(
        &mut self,
        name: &str,
        answer: impl FnMut(usize) -> BoxFuture<'static, Finding> + Send + 'static,
    ) -> (&mut PlannedCheck, Arc<Mutex<Vec<Duration>>>) {
        let asked = Arc::<Mutex<Vec<Duration>>>::default();
        let check = Scripted { clock: self.clock, asked: asked.clone(), answer: Box::new(answer), late: None };
        self.checks.push(PlannedCheck {
            name: name.into(),
            kind: "scripted",
            groups: vec![Group::Readiness, Group::Health],
            policy: Policy { stale_after: secs(300), ..Policy::default() },
            schedule: Schedule {
                interval: INTERVAL,
                fast_interval: FAST,
                timeout: TIMEOUT,
                slow_after: Duration::MAX,
                run_until_pass: false,
            },
            depends_on: Vec::new(),
            identity: Default::default(),
            tags: Vec::new(),
            built_in: false,
            check: Some(Box::new(check)),
        });
        (self.checks.last_mut().unwrap(), asked)
    }

    /// A check that gives these outcomes in turn, the last one for ever.
    pub(super) fn script(
        &mut self,
        name: &str,
        outcomes: &[Outcome],
    ) -> (&mut PlannedCheck, Arc<Mutex<Vec<Duration>>>) {
        let outcomes = outcomes.to_vec();
        self.check(name, move |round| {
            let outcome = outcomes.get(round).or(outcomes.last()).copied().unwrap();
            Box::pin(std::future::ready(found(outcome)))
        })
    }

    pub(super) fn monitor(self) -> (Monitor, Arc<Board>, MonitorHandle) {
        let Self { clock, checks, unready_when_draining } = self;
        Monitor::new(Plan { checks, groups: Group::BUILT_IN.to_vec(), unready_when_draining }, clock)
    }

    pub(super) fn start(self) -> Running {
        let (monitor, board, handle) = self.monitor();
        let mut tasks = JoinSet::new();
        tasks.spawn(monitor.run());
        Running { board, handle, tasks }
    }
}

impl Running {
    pub(super) async fn until(&self, what: impl Fn(&Report) -> bool) -> Arc<Report> {
        tokio::time::timeout(24 * HOUR, self.board.wait_for(|report| what(report))).await.expect("it never happened")
    }

    pub(super) async fn until_status(&self, name: &str, status: Status) -> Arc<Report> {
        self.until(|report| one(report, name).state.status == status).await
    }

    pub(super) fn is_alive(&mut self) -> bool {
        self.tasks.try_join_next().is_none()
    }
}

pub(super) fn one<'a>(report: &'a Report, name: &str) -> &'a CheckReport {
    report.check(name).unwrap()
}

pub(super) fn code(report: &Report, name: &str) -> Option<&'static str> {
    one(report, name).state.last.as_ref()?.finding.reason.as_ref().map(|reason| reason.code)
}

pub(super) fn gaps(asked: &Arc<Mutex<Vec<Duration>>>) -> Vec<Duration> {
    asked.lock().unwrap().windows(2).map(|pair| pair[1] - pair[0]).collect()
}

/// Timers round up to the next millisecond.
pub(super) fn is_about(gap: Duration, interval: Duration) -> bool {
    interval.mul_f64(0.9) <= gap && gap <= interval.mul_f64(1.1) + Duration::from_millis(1)
}
