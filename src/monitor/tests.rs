//! The monitor under tokio's paused clock: time passes only while everybody waits, so every figure here is exact.

mod rig;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::time::{advance, sleep};

use self::rig::{Answer, FAST, HOUR, INTERVAL, Rig, SLACK, Scripted, TIMEOUT, code, found, gaps, is_about, one, secs};
use crate::check::Check;
use crate::clock::Clock;
use crate::health::{Facts, Finding, Group, Lifecycle, OnFailure, Outcome, Reason, Report, Status};

#[tokio::test(start_paused = true)]
async fn the_interval_is_quicker_until_it_has_passed_often_enough() {
    use Outcome::{Fail, Inconclusive, Pass, Warn};
    let outcomes = [Pass, Warn, Pass, Fail, Fail, Inconclusive, Warn, Pass, Pass];
    for (wanted, quick) in [(1, "...qqq..."), (2, "q..qqqq..")] {
        let mut rig = Rig::new();
        let (planned, asked) = rig.script("app", &outcomes);
        planned.policy.success_threshold = wanted;
        let running = rig.start();
        running.until(|report| one(report, "app").runs.iter().sum::<u64>() == 10).await;
        for (gap, (quick, outcome)) in gaps(&asked).into_iter().zip(quick.chars().zip(outcomes)) {
            let interval = if quick == 'q' { FAST } else { INTERVAL };
            assert!(is_about(gap, interval), "{wanted}: {gap:?} after {outcome:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn jitter_stays_within_a_tenth_and_is_not_always_the_same() {
    let mut rig = Rig::new();
    let (_, asked) = rig.script("app", &[Outcome::Pass]);
    let (_, other) = rig.script("other", &[Outcome::Pass]);
    let running = rig.start();
    running.until(|report| report.checks.iter().all(|check| check.runs[0] > 200)).await;
    let (gaps, others) = (gaps(&asked), gaps(&other));
    assert!(gaps.iter().all(|gap| is_about(*gap, INTERVAL)), "{gaps:?}");
    let (least, most) = (gaps.iter().min().unwrap(), gaps.iter().max().unwrap());
    assert!(*most - *least > INTERVAL.mul_f64(0.1), "from {least:?} to {most:?}");
    assert_ne!(gaps[..20], others[..20], "checks do not go in step");
}

#[tokio::test(start_paused = true)]
async fn a_run_past_its_timeout_is_what_the_check_says_it_is() {
    let mut rig = Rig::new();
    rig.check("default", |_| Box::pin(std::future::pending()));
    let (planned, _) = rig.check("own", |_| Box::pin(std::future::pending()));
    let late = Finding::inconclusive(Reason::new("host_busy", "could not be asked"), Facts::default());
    let (clock, asked) = (Clock::start(), Arc::default());
    let answer: Answer = Box::new(|_| Box::pin(std::future::pending()));
    planned.check = Some(Box::new(Scripted { clock, asked, answer, late: Some(late) }));
    let running = rig.start();
    let report = running.until(|report| report.checks.iter().all(|check| check.state.last.is_some())).await;
    assert_eq!((one(&report, "default").state.status, code(&report, "default")), (Status::Unhealthy, Some("timeout")));
    assert_eq!((one(&report, "own").state.status, code(&report, "own")), (Status::Unknown, Some("host_busy")));
    for check in &report.checks {
        assert!(is_about(check.state.last.as_ref().unwrap().took, TIMEOUT));
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_that_checks_failure_alone() {
    struct Bomb;
    impl Check for Bomb {
        fn run(&mut self) -> BoxFuture<'_, Finding> {
            Box::pin(std::future::pending())
        }
        fn timed_out(&self) -> Finding {
            panic!("even here")
        }
    }
    let mut rig = Rig::new();
    rig.script("calm", &[Outcome::Pass]);
    rig.check("wild", |round| match round {
        0 => panic!("before the future"),
        1 => Box::pin(async { panic!("in the future") }),
        _ => Box::pin(std::future::ready(found(Outcome::Pass))),
    });
    rig.script("bomb", &[]).0.check = Some(Box::new(Bomb));
    let mut running = rig.start();
    let report = running.until_status("wild", Status::Unhealthy).await;
    assert_eq!(code(&report, "wild"), Some("panicked"));
    let report = running.until_status("wild", Status::Healthy).await;
    assert_eq!(one(&report, "wild").runs, [1, 0, 2, 0], "both panics were failures");
    let report = running.until(|report| one(report, "bomb").runs[2] > 2).await;
    assert_eq!(code(&report, "bomb"), Some("panicked"));
    assert_eq!((one(&report, "calm").state.status, running.is_alive()), (Status::Healthy, true));
}

#[tokio::test(start_paused = true)]
async fn a_check_is_never_asked_twice_at_once() {
    struct Inside(Arc<AtomicUsize>);
    impl Drop for Inside {
        fn drop(&mut self) {
            self.0.fetch_sub(1, SeqCst);
        }
    }
    let inside = Arc::<AtomicUsize>::default();
    let mut rig = Rig::new();
    let count = inside.clone();
    let (_, asked) = rig.check("slow", move |_| {
        assert_eq!(count.fetch_add(1, SeqCst), 0, "the run before has ended");
        let inside = Inside(count.clone());
        Box::pin(async move {
            let _inside = inside;
            sleep(HOUR).await;
            found(Outcome::Pass)
        })
    });
    let running = rig.start();
    let report = running.until(|report| one(report, "slow").runs[2] == 20).await;
    assert_eq!((code(&report, "slow"), inside.load(SeqCst)), (Some("timeout"), 0), "a timeout ends the run itself");
    assert!(gaps(&asked).iter().all(|gap| *gap >= TIMEOUT + FAST.mul_f64(0.9)), "the interval begins at the end");
}

#[tokio::test(start_paused = true)]
async fn a_check_is_not_asked_while_its_parent_is_unhealthy() {
    let mut rig = Rig::new();
    let (_, parent) = rig.script("database", &[Outcome::Pass, Outcome::Fail, Outcome::Fail, Outcome::Pass]);
    let (child, asked) = rig.script("migrations", &[Outcome::Pass]);
    child.depends_on = vec!["database".into()];
    child.schedule.interval = secs(1);
    child.schedule.fast_interval = secs(1);
    let running = rig.start();
    let report = running.until(|report| code(report, "migrations") == Some("depends_on")).await;
    let state = &one(&report, "migrations").state;
    assert_eq!(state.status, Status::Healthy, "one cause, one alarm");
    let sentence = state.last.as_ref().unwrap().finding.reason.as_ref().unwrap().public.clone();
    assert_eq!(sentence, "is not asked while database fails");
    running.until(|report| one(report, "database").runs[0] == 2).await;
    let runs = one(&running.board.report(), "migrations").runs[0];
    running.until(|report| one(report, "migrations").runs[0] > runs).await;
    let parent = parent.lock().unwrap().clone();
    let (failed, recovered) = (parent[1], parent[3]);
    let during = asked.lock().unwrap().iter().filter(|at| **at > failed && **at < recovered).count();
    assert_eq!(during, 0);
}

#[tokio::test(start_paused = true)]
async fn what_must_pass_once_is_not_asked_again() {
    let mut rig = Rig::new();
    let (planned, asked) = rig.script("warm_up", &[Outcome::Fail, Outcome::Warn, Outcome::Pass, Outcome::Fail]);
    planned.schedule.run_until_pass = true;
    planned.policy.stale_after = Duration::MAX;
    let mut running = rig.start();
    let report = running.until_status("warm_up", Status::Healthy).await;
    assert_eq!(report.overdue_at, None, "nothing more is due");
    sleep(48 * HOUR).await;
    assert_eq!(asked.lock().unwrap().len(), 3);
    assert!(running.board.report().is_ready() && running.is_alive());
    running.handle.drain(true);
    running.until(|report| report.lifecycle == Lifecycle::Draining).await;
}

#[tokio::test(start_paused = true)]
async fn a_check_that_hangs_goes_stale_on_time() {
    let mut rig = Rig::new();
    let (planned, _) = rig.check("stuck", |round| match round {
        0 => Box::pin(std::future::ready(found(Outcome::Pass))),
        _ => Box::pin(std::future::pending()),
    });
    planned.schedule.timeout = HOUR;
    planned.policy.stale_after = secs(60);
    let running = rig.start();
    let passed = one(&*running.until_status("stuck", Status::Healthy).await, "stuck").state.last_conclusive.unwrap();
    let report = running.until_status("stuck", Status::Unknown).await;
    let age = report.at.since(passed);
    assert!(age > secs(60) && age <= secs(60) + Duration::from_millis(2), "{age:?}");
    assert!(!report.is_ready());
    assert_eq!(one(&report, "stuck").transitions, [1, 0, 1, 0]);
}

#[tokio::test(start_paused = true)]
async fn serving_begins_when_every_readiness_check_has_answered() {
    let mut rig = Rig::new();
    rig.script("app", &[Outcome::Inconclusive, Outcome::Inconclusive, Outcome::Fail, Outcome::Pass])
        .0
        .policy
        .start_period = HOUR;
    rig.check("aside", |_| Box::pin(std::future::pending())).0.groups = vec![Group::Health];
    let (shown, _) = rig.check("shown", |_| Box::pin(std::future::pending()));
    (shown.schedule.timeout, shown.policy.on_failure) = (HOUR, OnFailure::Ignore);
    let running = rig.start();
    assert_eq!(running.board.report().lifecycle, Lifecycle::Starting);
    assert!(running.board.report().checks.iter().all(|check| check.state.status == Status::Unknown));
    let report = running.until(|report| report.lifecycle == Lifecycle::Serving).await;
    assert_eq!(one(&report, "app").runs, [0, 0, 1, 2], "a failure is an answer");
    assert!(!report.is_ready());
    assert!(running.until(Report::is_ready).await.number > report.number);
    running.handle.drain(true);
    let report = running.until(|report| report.lifecycle == Lifecycle::Draining).await;
    assert!(!report.is_ready());
    assert_eq!(report.status(&Group::Readiness), Status::Healthy, "draining says nothing about the checks");
    let report = running.until(|later| later.number > report.number + 20).await;
    assert_eq!(report.lifecycle, Lifecycle::Draining, "there is no way back");
}

#[tokio::test(start_paused = true)]
async fn serving_begins_when_the_start_period_is_over() {
    let mut rig = Rig::new();
    let (planned, _) = rig.check("silent", |_| Box::pin(std::future::pending()));
    (planned.schedule.timeout, planned.policy.start_period) = (HOUR, secs(30));
    rig.unready_when_draining = false;
    let running = rig.start();
    let report = running.until(|report| report.lifecycle == Lifecycle::Serving).await;
    assert!(report.at.monotonic >= secs(30) && report.at.monotonic <= secs(30) + Duration::from_millis(2));
    assert!(!report.is_ready(), "unknown is never green");
}

#[tokio::test(start_paused = true)]
async fn without_checks_it_serves_and_drains() {
    let mut rig = Rig::new();
    rig.unready_when_draining = false;
    let mut running = rig.start();
    assert!(running.until(Report::is_ready).await.overdue_at.is_none());
    sleep(HOUR).await;
    running.handle.drain(true);
    let report = running.until(|report| report.lifecycle == Lifecycle::Draining).await;
    assert!(report.is_ready() && running.is_alive(), "this configuration stays ready while draining");
}

#[tokio::test(start_paused = true)]
async fn a_check_that_never_goes_stale_needs_no_timer() {
    let mut rig = Rig::new();
    rig.script("event_loop", &[Outcome::Pass]).0.policy.stale_after = Duration::MAX;
    let mut running = rig.start();
    running.until(|report| one(report, "event_loop").runs[0] == 5).await;
    assert!(running.is_alive());
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_is_not_polled_is_overdue() {
    let mut rig = Rig::new();
    let clock = rig.clock;
    rig.script("app", &[Outcome::Pass]);
    rig.check("slow", |_| Box::pin(std::future::pending()));
    let (monitor, board, _handle) = rig.monitor();
    let mut run = Box::pin(monitor.run());
    for _ in 0..600 {
        assert!(tokio::time::timeout(secs(1), &mut run).await.is_err(), "it runs for ever");
        assert!(!board.report().is_overdue(clock.now()), "a working engine is never overdue");
    }
    let due = board.report().overdue_at.unwrap();
    let latest = clock.now().monotonic + INTERVAL.mul_f64(1.1) + TIMEOUT + SLACK;
    assert!(due > clock.now().monotonic && due <= latest, "{due:?}");
    advance(due - clock.now().monotonic).await;
    assert!(!board.report().is_overdue(clock.now()));
    advance(Duration::from_millis(1)).await;
    assert!(board.report().is_overdue(clock.now()));
    let _ = tokio::time::timeout(secs(5), &mut run).await;
    assert!(!board.report().is_overdue(clock.now()), "and works again when it is polled");
}
