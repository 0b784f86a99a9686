use std::sync::Arc;

use tokio::sync::{mpsc, oneshot, watch};

use super::Plan;

/// Tells the monitor what it cannot see by itself.
#[derive(Clone, Debug)]
pub struct MonitorHandle {
    wishes: watch::Sender<Wishes>,
    plans: mpsc::Sender<Replan>,
}

/// What the process is to look like, whatever the checks say.
#[derive(Clone, Debug, Default)]
pub(super) struct Wishes {
    /// On its way out of service: readiness goes first.
    pub(super) draining: bool,
    /// Taken out of service by an operator, for this reason.
    pub(super) maintenance: Option<Arc<str>>,
}

/// Another plan, and who waits for it to be in effect.
#[derive(Debug)]
pub(super) struct Replan {
    pub(super) plan: Plan,
    pub(super) done: oneshot::Sender<()>,
}

/// The monitor's side.
#[derive(Debug)]
pub(super) struct Inbox {
    pub(super) wishes: watch::Receiver<Wishes>,
    pub(super) plans: mpsc::Receiver<Replan>,
}

impl MonitorHandle {
    pub(super) fn new() -> (Self, Inbox) {
        let (wishes, wished) = watch::channel(Wishes::default());
        let (plans, planned) = mpsc::channel(1);
        (Self { wishes, plans }, Inbox { wishes: wished, plans: planned })
    }

    /// On its way out of service, or back: readiness goes first.
    pub fn drain(&self, draining: bool) {
        self.wishes.send_modify(|wishes| wishes.draining = draining);
    }

    /// Out of service for a reason, or back in it with none. The checks go on.
    pub fn maintenance(&self, reason: Option<Arc<str>>) {
        self.wishes.send_modify(|wishes| wishes.maintenance = reason);
    }

    /// Goes on by another plan; returns when the report says so. What is asked as before keeps what is known of it.
    pub async fn replan(&self, plan: Plan) {
        let (done, in_effect) = oneshot::channel();
        if self.plans.send(Replan { plan, done }).await.is_ok() {
            // An error means that the monitor has ended, and the process with it.
            let _ = in_effect.await;
        }
    }
}
