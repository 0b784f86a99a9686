use std::sync::Arc;

use super::CurrentAdmin;
use crate::dialect::{Query, StatusCodes, View};
use crate::health::{Audience, Group, Status};
use crate::settings::Address;

crate::settings! {
    /// HAProxy's agent-check.
    pub struct AgentCheckSettings {
        /// Where it listens; without it there is none.
        listen: Option<Address>,
        /// The group that it speaks of.
        group: Group = "readiness",
    }
}

/// What HAProxy's agent-check is told: a line for whoever connects.
#[derive(Clone, Debug)]
pub struct AgentCheck(pub Arc<CurrentAdmin>);

/// A reason is a line in HAProxy's statistics.
const LONGEST_REASON: usize = 120;

impl AgentCheck {
    /// The line now.
    #[must_use]
    pub fn line(&self) -> String {
        let admin = self.0.get();
        line(&View {
            report: &admin.board.report(),
            totals: &Default::default(),
            service: &admin.identity,
            group: &admin.agent_group,
            detail: false,
            audience: Audience::Public,
            codes: StatusCodes::default(),
            options: &Default::default(),
            query: Query::default(),
            now: admin.clock.now(),
        })
    }
}

/// HAProxy keeps what a line does not mention: so each says everything, and the state after a drain does not outlast it.
fn line(view: &View<'_>) -> String {
    // A dead engine is worse than a drain.
    if view.is_draining() && !view.report.is_overdue(view.now) {
        return "drain\n".to_owned();
    }
    match view.status() {
        Status::Healthy => "up ready 100%\n".to_owned(),
        Status::Degraded => "up ready 50%\n".to_owned(),
        Status::Unknown | Status::Unhealthy => {
            format!("down ready #{}\n", printable(&view.explanation().unwrap_or_default()))
        }
    }
}

/// One line of a terminal's characters: HAProxy shows it to people.
fn printable(text: &str) -> String {
    text.chars().take(LONGEST_REASON).map(|c| if c.is_ascii_graphic() || c == ' ' { c } else { '?' }).collect()
}

#[cfg(test)]
mod tests {
    use super::printable;

    #[test]
    fn a_reason_is_one_line() {
        assert_eq!(printable("db cannot\r\nconnect \u{1b}[0m\u{e9}"), "db cannot??connect ?[0m?");
        assert_eq!(printable(&"x".repeat(1000)).len(), 120);
    }
}
