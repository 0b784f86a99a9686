use std::sync::Arc;

use futures_util::future::BoxFuture;
use tokio::time::Instant;

use super::AppStatus;
use super::status::Phase;
use crate::check::Check;
use crate::health::{Facts, Finding, Reason};

impl AppStatus {
    /// The name of the check that is there when we start the app.
    pub const CHECK: &'static str = "app_process";

    /// The check whether the app's process runs.
    #[must_use]
    pub fn check(self: &Arc<Self>) -> Box<dyn Check> {
        Box::new(AppCheck(self.clone()))
    }
}

struct AppCheck(Arc<AppStatus>);

impl Check for AppCheck {
    fn run(&mut self) -> BoxFuture<'_, Finding> {
        let known = self.0.known();
        let now = Instant::now();
        let last = known.last_exit.map(|exit| exit.to_string());
        let mut facts = Facts::default();
        let (pid, up) = match known.phase {
            Phase::Running { pid, since } => (pid.map(u64::from), Some(now.duration_since(since).as_secs())),
            _ => (None, None),
        };
        facts.trusted("pid", pid);
        facts.public("uptime_seconds", up);
        facts.public("restarts", known.restarts);
        facts.public("last_exit", last.clone());
        let finding = match known.phase {
            Phase::Running { .. } => Finding::pass(facts),
            Phase::Pausing { until } => {
                let seconds = until.saturating_duration_since(now).as_secs_f64();
                let ended = last.as_deref().unwrap_or_default();
                let text = format!("The app ended ({ended}) and is started again in {seconds:.1} s");
                Finding::fail(Reason::new("app_ended", text), facts)
            }
            Phase::Down => match last {
                Some(ended) => Finding::fail(Reason::new("app_ended", format!("The app ended ({ended})")), facts),
                None => Finding::inconclusive(Reason::new("app_starting", "The app is being started"), facts),
            },
        };
        Box::pin(std::future::ready(finding))
    }
}
