use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::time::Instant;

use super::rows::{self, Row, Rows};
use super::trouble::Trouble;
use super::{Expectations, Target};
use crate::check::Check;
use crate::health::{Facts, Finding, Reason};

/// A connection to a server on which somebody is logged in.
pub(super) trait Session: Sized + Send {
    /// What is asked on it.
    type Question: Send + Sync;

    /// Connects and logs in.
    fn open(target: &Target) -> impl Future<Output = Result<Self, Trouble>> + Send;

    /// Asks.
    fn ask(
        &mut self,
        target: &Target,
        question: &Self::Question,
    ) -> impl Future<Output = Result<Answer, Trouble>> + Send;

    /// Says goodbye, so that the server does not log a lost connection.
    fn close(self) -> impl Future<Output = ()> + Send;
}

/// What a server answered.
#[derive(Debug, Default)]
pub(super) struct Answer {
    /// If there was something to give any.
    pub(super) rows: Option<Rows>,
    /// What else there is to say, by name.
    pub(super) more: Row,
    /// The server's.
    pub(super) version: Option<String>,
}

/// A check that asks one question again and again.
pub(super) struct SessionCheck<S: Session> {
    pub(super) target: Arc<Target>,
    pub(super) question: S::Question,
    pub(super) expect: Expectations,
    pub(super) kept: Kept<S>,
}

impl<S: Session> Check for SessionCheck<S> {
    fn run(&mut self) -> BoxFuture<'_, Finding> {
        Box::pin(async {
            let begun = Instant::now();
            let (kept, old) = self.kept.take(begun);
            if let Some(old) = old {
                goodbye(old).await;
            }
            let begun = Instant::now();
            let mut facts = Facts::default();
            let asked = self.ask(kept).await;
            facts.public("latency_ms", crate::check::millis(begun.elapsed()));
            let Answer { rows, more, version } = match asked {
                Ok(answer) => answer,
                Err(trouble) => return trouble.finding(&self.target.address, facts),
            };
            if let Some(rows) = rows {
                rows::facts_of(rows, &mut facts);
            }
            rows::add(more, &mut facts);
            if let Some(version) = version.filter(|_| facts.get("server_version").is_none()) {
                facts.trusted("server_version", rows::text(&version));
            }
            judge(&self.expect, facts)
        })
    }
}

impl<S: Session> SessionCheck<S> {
    /// On the kept connection, or on a new one if there is none, or if it turns out that its server is gone.
    async fn ask(&mut self, kept: Option<(S, Instant)>) -> Result<Answer, Trouble> {
        let Self { target, question, .. } = &*self;
        let mut answer = None;
        if let Some((mut session, since)) = kept {
            match session.ask(target, question).await {
                Ok(found) => answer = Some((found, session, since)),
                Err(trouble) if trouble.may_be_stale() => {}
                Err(trouble) => {
                    goodbye(session).await;
                    return Err(trouble);
                }
            }
        }
        let (found, session, since) = match answer {
            Some(answer) => answer,
            None => {
                let since = Instant::now();
                let mut session = S::open(target).await?;
                match session.ask(target, question).await {
                    Ok(found) => (found, session, since),
                    Err(trouble) => {
                        goodbye(session).await;
                        return Err(trouble);
                    }
                }
            }
        };
        if let Some(unwanted) = self.kept.put(session, since) {
            goodbye(unwanted).await;
        }
        Ok(found)
    }
}

/// Whether the facts are as expected.
pub(super) fn judge(expect: &Expectations, facts: Facts) -> Finding {
    match expect.first_unmet(&facts) {
        None => Finding::pass(facts),
        Some(name) => {
            let reason = Reason::new("unexpected_value", "answers with an unexpected value");
            let reason = reason.with_private(format!("of `{name}`"));
            Finding::fail(reason, facts)
        }
    }
}

/// A server that is not there any more need not be waited for.
pub(super) async fn goodbye<S: Session>(session: S) {
    const PATIENCE: Duration = Duration::from_millis(500);
    let _ = tokio::time::timeout(PATIENCE, session.close()).await;
}

/// The connection between two runs.
pub(super) struct Kept<S> {
    session: Option<(S, Instant)>,
    /// When the latest run began.
    asked: Option<Instant>,
    /// Whether the next run will come soon enough to find the connection of any use.
    soon: bool,
}

impl<S> Default for Kept<S> {
    fn default() -> Self {
        Self { session: None, asked: None, soon: true }
    }
}

impl<S> Kept<S> {
    /// A connection serves for so long. A newcomer finds out what an old connection hides: a changed password, a server
    /// that takes no more connections, a name that has moved to another one.
    const LIFETIME: Duration = Duration::from_secs(30);

    /// A run begins: the connection, or else the one that is to be closed first.
    fn take(&mut self, now: Instant) -> (Option<(S, Instant)>, Option<S>) {
        self.soon = self.asked.is_none_or(|asked| now.duration_since(asked) < Self::LIFETIME);
        self.asked = Some(now);
        match self.session.take() {
            Some((session, since)) if now.duration_since(since) < Self::LIFETIME => (Some((session, since)), None),
            Some((old, _)) => (None, Some(old)),
            None => (None, None),
        }
    }

    /// Keeps it, or gives it back.
    fn put(&mut self, session: S, since: Instant) -> Option<S> {
        if !self.soon {
            return Some(session);
        }
        self.session = Some((session, since));
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_kept_for_a_while_and_not_for_rare_runs() {
        let (begun, mut kept) = (Instant::now(), Kept::default());
        let at = |seconds| begun + Duration::from_secs(seconds);
        assert_eq!(kept.take(at(0)), (None, None));
        assert_eq!(kept.put("first", at(0)), None);
        assert_eq!(kept.take(at(20)), (Some(("first", at(0))), None));
        assert_eq!(kept.put("first", at(0)), None);
        // It is replaced when its time is over, however healthy it is.
        assert_eq!(kept.take(at(40)), (None, Some("first")));
        assert_eq!(kept.put("second", at(40)), None);
        // A check that is asked rarely closes its connection each time.
        assert_eq!(kept.take(at(340)), (None, Some("second")));
        assert_eq!(kept.put("third", at(340)), Some("third"));
        assert_eq!(kept.take(at(640)), (None, None));
    }
}
