use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};

use super::asker::Asker;
use super::handle::{Inbox, Replan, Wishes};
use super::{Board, Identity, MonitorHandle, Plan, PlannedCheck, Schedule};
use crate::clock::Clock;
use crate::health::{
    CheckReport, Chronicle, Group, Lifecycle, Moment, Observation, OnFailure, Outcome, Policy, Report, State, Status,
    Transition,
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
    inbox: Inbox,
}

/// What the keeper holds of one check.
struct Kept {
    /// Names this asking of the check: what an earlier one still has to say is not heard.
    id: u64,
    identity: Identity,
    policy: Policy,
    schedule: Schedule,
    /// By when its next result must be there; `None` once it need not be asked any more.
    due: Option<Duration>,
    report: Arc<CheckReport>,
    _asker: Option<Asking>,
}

/// A running [`Asker`], ended with its check.
struct Asking(AbortHandle);

impl Drop for Asking {
    fn drop(&mut self) {
        self.0.abort();
    }
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
            maintenance: None,
            checks,
            groups,
            overdue_at: None,
            history: Arc::default(),
        });
        let (handle, inbox) = MonitorHandle::new();
        (Self { plan, clock, board: board.clone(), inbox }, board, handle)
    }

    /// Asks and publishes until it is dropped.
    pub async fn run(self) {
        let Self { plan, clock, board, inbox: Inbox { mut wishes, mut plans } } = self;
        let (results, mut observed) = mpsc::channel(RESULTS);
        let mut keeper = Keeper::new(clock, board, results);
        keeper.replan(plan);
        keeper.publish(clock.now());
        let (mut may_wish, mut may_replan) = (true, true);
        loop {
            let next_change = keeper.next_change(clock.now());
            let mut in_effect = None;
            tokio::select! {
                // Never closed: the keeper has a sender for the askers to come.
                Some((id, observation)) = observed.recv() => keeper.take_in(id, observation),
                wished = wishes.changed(), if may_wish => {
                    may_wish = wished.is_ok();
                    keeper.wishes = wishes.borrow().clone();
                }
                replan = plans.recv(), if may_replan => match replan {
                    Some(Replan { plan, done }) => {
                        keeper.replan(plan);
                        in_effect = Some(done);
                    }
                    None => may_replan = false,
                },
                () = at(clock, next_change) => keeper.tick(),
            }
            keeper.publish(clock.now());
            if let Some(done) = in_effect {
                // Whoever asked may have gone.
                let _ = done.send(());
            }
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
    /// Whether every readiness check that counts has answered once, or had its time.
    started: bool,
    wishes: Wishes,
    number: u64,
    chronicle: Chronicle,
    checks: Vec<Kept>,
    /// Askers so far.
    asked: u64,
    askers: JoinSet<()>,
    results: mpsc::Sender<(u64, Observation)>,
}

impl Keeper {
    fn new(clock: Clock, board: Arc<Board>, results: mpsc::Sender<(u64, Observation)>) -> Self {
        Self {
            clock,
            board,
            groups: Vec::new(),
            unready_when_draining: true,
            started: false,
            wishes: Wishes::default(),
            number: 1,
            chronicle: Chronicle::default(),
            checks: Vec::new(),
            asked: 0,
            askers: JoinSet::new(),
            results,
        }
    }

    /// Goes on by another plan. A check that is still the same goes on undisturbed; one whose question is the same keeps
    /// what is known of it; every other one begins unknown. What is no longer planned is no longer asked.
    fn replan(&mut self, plan: Plan) {
        let now = self.clock.now();
        let mut before = std::mem::take(&mut self.checks);
        for planned in plan.checks {
            let same = |kept: &Kept| kept.report.name == planned.name;
            let known = before.iter().position(same).map(|index| before.swap_remove(index));
            let kept = match known {
                Some(kept) if kept.identity == planned.identity => kept,
                known => self.ask(planned, known, now),
            };
            self.checks.push(kept);
        }
        self.groups = plan.groups;
        self.unready_when_draining = plan.unready_when_draining;
        while self.askers.try_join_next().is_some() {}
    }

    fn ask(&mut self, planned: PlannedCheck, known: Option<Kept>, now: Moment) -> Kept {
        let mut report = first_report(&planned, now);
        if let Some(known) = known {
            // Counters never go back.
            (report.runs, report.transitions) = (known.report.runs, known.report.transitions);
            report.recent = known.report.recent.clone();
            if known.identity.question == planned.identity.question {
                report.state = known.report.state.clone();
            }
        }
        self.asked += 1;
        let id = self.asked;
        let PlannedCheck { name, policy, schedule, depends_on, check, identity, .. } = planned;
        let transition = report.state.step(&policy, None, now);
        note(&mut report, transition);
        let due = now.monotonic.saturating_add(schedule.timeout).saturating_add(OVERDUE_SLACK);
        let due = check.is_some().then_some(due);
        let (clock, board, results) = (self.clock, self.board.clone(), self.results.clone());
        let _asker = check.map(|check| {
            let passes_wanted = policy.success_threshold;
            let asker = Asker { id, name, schedule, passes_wanted, depends_on, check, board, clock, results };
            Asking(self.askers.spawn(asker.run()))
        });
        Kept { id, identity, policy, schedule, due, report: Arc::new(report), _asker }
    }

    fn take_in(&mut self, id: u64, observation: Observation) {
        let now = self.clock.now();
        let Some(kept) = self.checks.iter_mut().find(|kept| kept.id == id) else {
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
        if !self.started && !self.wishes.draining && self.has_started(now) {
            self.started = true;
            tracing::info!("serving: every readiness check that counts has answered, or its start period is over");
        }
        self.number += 1;
        let checks: Vec<_> = self.checks.iter().map(|kept| kept.report.clone()).collect();
        let before = self.board.report().clone();
        let mut report = Report {
            number: self.number,
            at: now,
            lifecycle: match (self.wishes.draining, self.started) {
                (true, _) => Lifecycle::Draining,
                (false, true) => Lifecycle::Serving,
                (false, false) => Lifecycle::Starting,
            },
            unready_when_draining: self.unready_when_draining,
            maintenance: self.wishes.maintenance.clone(),
            groups: Report::aggregate(&self.groups, &checks),
            checks,
            overdue_at: self.checks.iter().filter_map(|kept| kept.due).min(),
            history: before.history.clone(),
        };
        self.chronicle.note(&before, &mut report);
        for (kept, check) in self.checks.iter_mut().zip(&report.checks) {
            if !Arc::ptr_eq(&kept.report, check) {
                kept.report = check.clone();
            }
        }
        let was = before.is_ready();
        let is = report.is_ready();
        self.board.publish(report);
        if was != is {
            tracing::info!(ready = is, "readiness changed");
        }
    }

    fn has_started(&self, now: Moment) -> bool {
        self.checks
            .iter()
            .map(|kept| (&kept.report, &kept.policy))
            .filter(|(report, _)| report.enabled && report.groups.contains(&Group::Readiness))
            // Nobody waits for what changes nothing.
            .filter(|(report, _)| report.on_failure != OnFailure::Ignore)
            .all(|(report, policy)| report.state.has_started(policy, now))
    }
}

fn first_report(planned: &PlannedCheck, now: Moment) -> CheckReport {
    CheckReport {
        name: planned.name.clone(),
        kind: planned.kind,
        on_failure: planned.policy.on_failure,
        groups: planned.groups.clone(),
        tags: planned.tags.clone(),
        enabled: planned.check.is_some(),
        built_in: planned.built_in,
        state: State::new(now),
        runs: [0; 4],
        transitions: [0; 4],
        recent: Arc::default(),
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
