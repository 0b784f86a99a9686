//! Tells others when a status changes: webhooks.
//!
//! Reads the record of what has happened like everybody else, so health never waits for whoever is told, and a change that
//! is reversed at once is told of too; each receiver has a queue of its own with a bound, and what does not fit is counted.

mod message;
mod settings;
mod totals;
mod webhook;

use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::JoinSet;

pub use self::settings::{EventsSettings, Template, WebhookError, WebhookSettings, Webhooks};
pub use self::totals::EventTotals;
use self::totals::Outcome;
use self::webhook::Queue;
pub use self::webhook::Webhook;
use crate::clock::Clock;
use crate::monitor::Board;

/// Tells of every change to who is to be told, until it is dropped.
pub async fn run(
    board: Arc<Board>,
    clock: Clock,
    mut webhooks: watch::Receiver<Arc<Vec<Webhook>>>,
    totals: Arc<EventTotals>,
) {
    let mut senders = JoinSet::new();
    let mut queues: Vec<Queue> = Vec::new();
    let mut seen = 0;
    webhooks.mark_changed();
    loop {
        tokio::select! {
            changed = webhooks.changed() => {
                if changed.is_err() {
                    return;
                }
                // What waits in the queues of before is still sent.
                let hooks = webhooks.borrow_and_update().clone();
                queues = hooks.iter().map(|hook| hook.start(&mut senders, totals.clone())).collect();
            }
            report = board.wait_for_event(seen) => {
                let (forgotten, events) = report.history.left_after(seen);
                totals.add(Outcome::Dropped, forgotten);
                for event in events {
                    queues.iter_mut().for_each(|queue| queue.offer(event, clock.now()));
                }
                seen = report.history.last();
            }
            // Nobody asks for their results; they end by themselves.
            Some(_) = senders.join_next() => {}
        }
    }
}
