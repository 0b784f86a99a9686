//! So many checks that always pass, and a monitor that has asked them, under a clock that jumps.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use pulsegate::check::Check;
use pulsegate::clock::Clock;
use pulsegate::health::{Facts, Finding, Group, Policy, Report};
use pulsegate::monitor::{Board, Monitor, Plan, PlannedCheck, Schedule};
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;

/// A check that finds what a typical one finds.
struct Passing;

impl Check for Passing {
    fn run(&mut self) -> BoxFuture<'_, Finding> {
        let mut facts = Facts::default();
        facts.public("status_code", 200_u64);
        facts.public("latency_ms", 1.25);
        Box::pin(std::future::ready(Finding::pass(facts)))
    }
}

fn planned(index: usize) -> PlannedCheck {
    let (name, kind) = match index {
        0 => ("claude_cli".to_owned(), "cli"),
        1 => ("authentication".to_owned(), "credentials"),
        2 => ("api_server".to_owned(), "http"),
        _ => (format!("dependency_{index}"), "tcp"),
    };
    PlannedCheck {
        name: name.into(),
        kind,
        groups: vec![Group::Readiness, Group::Health],
        policy: Policy::default(),
        schedule: Schedule {
            interval: Duration::from_secs(10),
            fast_interval: Duration::from_secs(2),
            timeout: Duration::from_secs(5),
            slow_after: Duration::MAX,
            run_until_pass: false,
        },
        depends_on: Vec::new(),
        identity: Default::default(),
        tags: Vec::new(),
        built_in: false,
        check: Some(Box::new(Passing)),
    }
}

/// A running monitor. Its time passes only inside [`Fleet::runtime`], as fast as it can.
pub(crate) struct Fleet {
    pub(crate) runtime: Runtime,
    pub(crate) board: Arc<Board>,
    pub(crate) clock: Clock,
    _monitor: JoinSet<()>,
}

impl Fleet {
    /// A monitor of so many checks, all of them healthy.
    pub(crate) fn start(checks: usize) -> Self {
        let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime");
        let (board, clock, monitor) = runtime.block_on(async {
            let clock = Clock::start();
            let plan = Plan {
                checks: (0..checks).map(planned).collect(),
                groups: Group::BUILT_IN.to_vec(),
                unready_when_draining: true,
            };
            let (monitor, board, _handle) = Monitor::new(plan, clock);
            let mut tasks = JoinSet::new();
            tasks.spawn(monitor.run());
            board.wait_for(Report::is_ready).await;
            (board, clock, tasks)
        });
        Self { runtime, board, clock, _monitor: monitor }
    }
}
