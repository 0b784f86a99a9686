use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::asker::Asker;
use super::{Board, Plan, PlannedCheck, Schedule};
use crate::clock::Clock;
use crate::health::{
    CheckReport, Group, Lifecycle, Moment, Observation, Outcome, Policy, Report, State, Status, Transition,
};

/// Results that wait for the keeper. It only computes, so a few are enough; askers wait when there are more.
const RESULTS: usize = 64;

/// How much later than planned a result may come before the engine counts as dead: a loaded host must not look dead.
const OVERDUE_SLACK: Duration = Duration::from_secs(15);

/// The task that owns every state machine.
#[derive(Debug)]
pub struct Monitor {
    plan: Plan,
    clock: Clock,
    board: Arc<Board>,
    draining: watch::Receiver<bool>,
}

/// Tells the monitor what it cannot see by itself.
#[derive(Clone, Debug)]
pub struct MonitorHandle(watch::Sender<bool>);

impl MonitorHandle {
    /// The process has been told to stop: readiness goes first.
    pub fn drain(&self) {
        self.0.send_replace(true);
    }
}

/// What the keeper holds of one check.
struct Kept {
    policy: Policy,
    schedule: Schedule,
    /// By when its next result must be there; `None` once it need not be asked any more.
    due: Option<Duration>,
    report: Arc<CheckReport>,
}

impl Monitor {
    /// A monitor that has published its first report, in which everything is unknown.
    #[must_use]
    pub fn new(plan: Plan, clock: Clock) -> (Self, Arc<Board>, MonitorHandle) {
        let now = clock.now();
        let checks: Vec<_> = plan.checks.iter().map(|planned| Arc::new(first_report(planned, now))).collect();
        let groups = Report::aggregate(&plan.groups, &checks);
        let unready_when_draining = plan.unready_when_draining;
        let board = Board::new(Report {
            number: 1,
            at: now,
            lifecycle: Lifecycle::Starting,
            unready_when_draining,
            checks,
            groups,
            overdue_at: None,
        });
        let (sender, draining) = watch::channel(false);
        (Self { plan, clock, board: board.clone(), draining }, board, MonitorHandle(sender))
    }

    /// Asks and publishes until it is dropped.
    pub async fn run(self) {
        let Self { plan, clock, board, mut draining } = self;
        let (results, mut inbox) = mpsc::channel(RESULTS);
        let mut askers = JoinSet::new();
        let mut keeper = Keeper::new(clock, board, plan, results, &mut askers);
        keeper.publish(clock.now());
        let (mut may_ask, mut may_drain) = (true, true);
        loop {
            let next_change = keeper.next_change(clock.now());
            tokio::select! {
                result = inbox.recv(), if may_ask => match result {
                    Some((index, observation)) => keeper.take_in(index, observation),
                    // Every check needed to pass once, and has; there is still a drain to wait for.
                    None => may_ask = false,
                },
                told = draining.changed(), if may_drain => {
                    may_drain = told.is_ok();
                    if *draining.borrow() {
                        keeper.lifecycle = Lifecycle::Draining;
                    }
                }
                () = at(clock, next_change) => keeper.tick(),
            }
            keeper.publish(clock.now());
        }
    }
}

async fn at(clock: Clock, monotonic: Option<Duration>) {
    match monotonic {
        Some(monotonic) => tokio::time::sleep_until(clock.instant(monotonic)).await,
        None => std::future::pending().await,
    }
}

struct Keeper {
    clock: Clock,
    board: Arc<Board>,
    groups: Vec<Group>,
    unready_when_draining: bool,
    lifecycle: Lifecycle,
    number: u64,
    checks: Vec<Kept>,
}

impl Keeper {
    #[expect(clippy::needless_pass_by_value, reason = "dropped here: the inbox must close with the last asker")]
    fn new(
        clock: Clock,
        board: Arc<Board>,
        plan: Plan,
        results: mpsc::Sender<(usize, Observation)>,
        askers: &mut JoinSet<()>,
    ) -> Self {
        let now = clock.now();
        let mut checks = Vec::with_capacity(plan.checks.len());
        for (index, planned) in plan.checks.into_iter().enumerate() {
            let report = Arc::new(first_report(&planned, now));
            let PlannedCheck { name, policy, schedule, depends_on, check, .. } = planned;
            let due = Some(now.monotonic.saturating_add(schedule.timeout).saturating_add(OVERDUE_SLACK));
            checks.push(Kept { policy, schedule, due, report });
            let (board, results) = (board.clone(), results.clone());
            askers.spawn(Asker { index, name, schedule, depends_on, check, board, clock, results }.run());
        }
        let (groups, unready_when_draining) = (plan.groups, plan.unready_when_draining);
        Self { clock, board, groups, unready_when_draining, lifecycle: Lifecycle::Starting, number: 1, checks }
    }

    fn take_in(&mut self, index: usize, observation: Observation) {
        let now = self.clock.now();
        let Some(kept) = self.checks.get_mut(index) else {
            return;
        };
        let outcome = observation.finding.outcome;
        let schedule = kept.schedule;
        let longest = schedule.interval.max(schedule.fast_interval).mul_f64(1.1) + schedule.timeout + OVERDUE_SLACK;
        let done = schedule.run_until_pass && outcome == Outcome::Pass;
        kept.due = (!done).then(|| now.monotonic.saturating_add(longest));
        let report = Arc::make_mut(&mut kept.report);
        let before = report.reason().map(|reason| reason.code);
        report.runs[outcome as usize] += 1;
        let transition = report.state.step(&kept.policy, Some(Arc::new(observation)), now);
        note(report, transition);
        if transition.is_none() {
            note_reason(report, before);
        }
    }

    /// Lets time alone have its effect.
    fn tick(&mut self) {
        let now = self.clock.now();
        for kept in &mut self.checks {
            let report = Arc::make_mut(&mut kept.report);
            let transition = report.state.step(&kept.policy, None, now);
            note(report, transition);
        }
    }

    fn next_change(&self, now: Moment) -> Option<Duration> {
        self.checks.iter().filter_map(|kept| kept.report.state.next_change(&kept.policy, now)).min()
    }

    fn publish(&mut self, now: Moment) {
        if self.lifecycle == Lifecycle::Starting && self.has_started(now) {
            self.lifecycle = Lifecycle::Serving;
            tracing::info!("serving: every readiness check has answered, or its start period is over");
        }
        self.number += 1;
        let checks: Vec<_> = self.checks.iter().map(|kept| kept.report.clone()).collect();
        let report = Report {
            number: self.number,
            at: now,
            lifecycle: self.lifecycle,
            unready_when_draining: self.unready_when_draining,
            groups: Report::aggregate(&self.groups, &checks),
            checks,
            overdue_at: self.checks.iter().filter_map(|kept| kept.due).min(),
        };
        let was = self.board.report().is_ready();
        let is = report.is_ready();
        self.board.publish(report);
        if was != is {
            tracing::info!(ready = is, "readiness changed");
        }
    }

    fn has_started(&self, now: Moment) -> bool {
        let waited_for = self.checks.iter().filter(|kept| kept.report.groups.contains(&Group::Readiness));
        waited_for.into_iter().all(|kept| kept.report.state.has_started(&kept.policy, now))
    }
}

fn first_report(planned: &PlannedCheck, now: Moment) -> CheckReport {
    CheckReport {
        name: planned.name.clone(),
        kind: planned.kind,
        on_failure: planned.policy.on_failure,
        groups: planned.groups.clone(),
        built_in: planned.built_in,
        state: State::new(now),
        runs: [0; 4],
        transitions: [0; 4],
    }
}

/// A transition goes once to the log and once to the metrics.
fn note(report: &mut CheckReport, transition: Option<Transition>) {
    let Some(Transition { from, to, .. }) = transition else {
        return;
    };
    report.transitions[to as usize] += 1;
    let (check, from) = (&*report.name, from.word());
    let reason = report.reason();
    let code = reason.map(|reason| reason.code);
    let sentence = reason.map(|reason| &*reason.public);
    let detail = reason.and_then(|reason| reason.private.as_deref());
    match to {
        Status::Healthy => tracing::info!(check, from, to = to.word(), "check changed"),
        _ => tracing::warn!(check, from, to = to.word(), code, sentence, detail, "check changed"),
    }
}

/// A check that is not healthy for another reason than before, and is not otherwise heard of: "not visible from here" is
/// no transition, and yet why nothing will ever be ready.
fn note_reason(report: &CheckReport, before: Option<&'static str>) {
    let Some(reason) = report.reason().filter(|reason| Some(reason.code) != before) else { return };
    let (check, status) = (&*report.name, report.state.status.word());
    let (code, sentence, detail) = (reason.code, &*reason.public, reason.private.as_deref());
    tracing::warn!(check, status, code, sentence, detail, "check has a new reason");
}
