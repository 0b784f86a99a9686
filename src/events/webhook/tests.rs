//! What waits for a receiver has a bound, in number and in time.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::{MOST_A_MINUTE, MOST_WAITING, Queue};
use crate::events::{EventTotals, Template};
use crate::health::{Event, Group, Moment, Status, Subject};

fn queue(totals: &Arc<EventTotals>) -> (Queue, mpsc::Receiver<String>) {
    let (sender, receiver) = mpsc::channel(MOST_WAITING);
    let queue = Queue {
        sender,
        checks: vec!["a".into()],
        groups: vec!["readiness".into()],
        template: Template::Json,
        service: "s".into(),
        totals: totals.clone(),
        minute: 0,
        in_minute: 0,
    };
    (queue, receiver)
}

fn of_check(name: &str, built_in: bool, is_first: bool, (from, to): (Status, Status)) -> Event {
    let subject = Subject::Check { name: name.into(), built_in };
    Event { id: 1, at: Moment::default(), subject, from, to, is_first, reason: None }
}

const FAILS: (Status, Status) = (Status::Healthy, Status::Unhealthy);

fn at(seconds: u64) -> Moment {
    Moment { monotonic: Duration::from_secs(seconds), unix: Duration::from_secs(seconds) }
}

fn dropped(totals: &EventTotals) -> u64 {
    totals.results().find(|(result, _)| *result == "dropped").map_or(0, |(_, count)| count)
}

#[test]
fn a_minute_takes_so_many_and_no_more() {
    let totals = Arc::default();
    let (mut queue, mut receiver) = queue(&totals);
    let event = of_check("a", false, false, FAILS);
    for _ in 0..MOST_A_MINUTE + 5 {
        queue.offer(&event, at(59));
        // Somebody takes each at once.
        let _ = receiver.try_recv();
    }
    assert_eq!(dropped(&totals), 5);
    queue.offer(&event, at(60));
    assert!(receiver.try_recv().is_ok(), "another minute");
    assert_eq!(dropped(&totals), 5);
}

#[test]
fn what_waits_for_a_receiver_that_takes_nothing_is_bounded() {
    let totals = Arc::default();
    let (mut queue, mut receiver) = queue(&totals);
    let event = of_check("a", false, false, FAILS);
    for minute in 0..10 {
        (0..MOST_A_MINUTE).for_each(|_| queue.offer(&event, at(60 * minute)));
    }
    let waiting = std::iter::from_fn(|| receiver.try_recv().ok()).count();
    assert_eq!(waiting, MOST_WAITING);
    assert_eq!(dropped(&totals), u64::from(10 * MOST_A_MINUTE) - MOST_WAITING as u64);
}

#[test]
fn only_news_for_this_receiver_is_told_and_counted() {
    let totals = Arc::default();
    let (mut queue, mut receiver) = queue(&totals);
    let group = |checks, (from, to)| {
        let subject = Subject::Group { group: Group::Readiness, checks };
        Event { subject, from, to, ..of_check("a", false, false, FAILS) }
    };
    let begins = (Status::Unknown, Status::Healthy);
    let still = (Status::Healthy, Status::Healthy);
    for (event, is_told) in [
        (of_check("a", false, false, FAILS), true),
        (of_check("a", false, true, (Status::Unknown, Status::Unhealthy)), true),
        (of_check("a", false, false, begins), true),
        (of_check("a", false, true, begins), false),
        (of_check("b", false, false, FAILS), false),
        (of_check("a", true, false, FAILS), false),
        (group(FAILS, FAILS), true),
        (group(FAILS, still), true),
        (group(still, FAILS), false),
        (Event { subject: Subject::Plan, ..of_check("a", false, false, FAILS) }, false),
    ] {
        queue.offer(&event, at(0));
        assert_eq!(receiver.try_recv().is_ok(), is_told, "{event:?}");
    }
    assert_eq!(dropped(&totals), 0);
}
