use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use tokio::task::coop::has_budget_remaining;
use tokio::task::yield_now;
use tokio::time::{Instant, Sleep};

/// One timer for all deadlines of a connection, one at a time.
///
/// A timer is a place in the runtime's wheel, and moving it costs more than a request should pay: so it is moved only
/// when a deadline comes before the one that it is armed for, and otherwise fires early, looks, and is armed again. Nor is
/// it told a second time whom to wake.
#[derive(Debug, Default)]
pub(super) struct Timer {
    sleep: Option<Pin<Box<Sleep>>>,
    /// Whom it wakes as it is armed now.
    wakes: Option<Waker>,
    /// A deadline has passed, and the sockets were not looked at since.
    has_passed: bool,
}

impl Timer {
    /// Ready once the deadline has passed; without one, never.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, deadline: Option<Instant>) -> Poll<()> {
        let Some(deadline) = deadline else { return Poll::Pending };
        if let (Some(sleep), Some(wakes)) = (&self.sleep, &self.wakes)
            && sleep.deadline() <= deadline
            && wakes.will_wake(cx.waker())
            && !sleep.is_elapsed()
        {
            return Poll::Pending;
        }
        self.arm(cx, deadline)
    }

    fn arm(&mut self, cx: &mut Context<'_>, deadline: Instant) -> Poll<()> {
        loop {
            let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
            if sleep.deadline() > deadline {
                sleep.as_mut().reset(deadline);
            }
            // A task whose share of this turn is spent is woken at once, and then the timer was told nothing.
            let tells = has_budget_remaining();
            if sleep.as_mut().poll(cx).is_pending() {
                self.wakes = tells.then(|| cx.waker().clone());
                return Poll::Pending;
            }
            if Instant::now() >= deadline {
                if !std::mem::replace(&mut self.has_passed, true) && look_at_sockets(cx) {
                    return Poll::Pending;
                }
                // Armed anew by the next deadline.
                *self = Self::default();
                return Poll::Ready(());
            }
            self.has_passed = false;
            sleep.as_mut().reset(deadline);
        }
    }
}

/// Has the task woken once the runtime has asked the kernel what has come; whether it will be. A process that was stopped for
/// a while, or a machine that slept, wakes up to deadlines that have passed, and does not know yet that what was waited for
/// came long before them.
fn look_at_sockets(cx: &mut Context<'_>) -> bool {
    pin!(yield_now()).poll(cx).is_pending()
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
    use std::task::Wake;
    use std::time::Duration;

    use tokio::task::coop::consume_budget;
    use tokio::time::{sleep, timeout};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Counts how often it is woken.
    #[derive(Default)]
    struct Woken(AtomicU32);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Relaxed);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_polled_last_is_woken() {
        let (first, last) = (Arc::new(Woken::default()), Arc::new(Woken::default()));
        let (mut timer, deadline) = (Timer::default(), Some(Instant::now() + SECOND));
        for woken in [&first, &first, &last, &last] {
            let waker = woken.clone().into();
            assert!(timer.poll(&mut Context::from_waker(&waker), deadline).is_pending());
        }
        sleep(2 * SECOND).await;
        assert_eq!((first.0.load(Relaxed), last.0.load(Relaxed)), (0, 1));
        let waker = last.clone().into();
        assert!(timer.poll(&mut Context::from_waker(&waker), deadline).is_pending(), "what has come goes first");
        yield_now().await;
        assert_eq!(last.0.load(Relaxed), 2);
        assert!(timer.poll(&mut Context::from_waker(&waker), deadline).is_ready());
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_holds_whatever_others_came_before_it() {
        let (begun, mut timer) = (Instant::now(), Timer::default());
        let pattern = [9, 9, 3, 5, 5, 4, 8];
        for deadline in pattern.map(|seconds| begun + seconds * SECOND) {
            poll_fn(|cx| {
                assert!(timer.poll(cx, Some(deadline)).is_pending() || deadline <= Instant::now());
                Poll::Ready(())
            })
            .await;
        }
        let last = begun + 8 * SECOND;
        timeout(9 * SECOND, poll_fn(|cx| timer.poll(cx, Some(last)))).await.expect("woken in time");
        assert_eq!(Instant::now() - begun, 8 * SECOND);
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_has_had_its_share_is_woken_all_the_same() {
        let (begun, mut timer) = (Instant::now(), Timer::default());
        let ends = Some(begun + SECOND);
        let spent = poll_fn(|cx| {
            while has_budget_remaining() {
                let _ = std::pin::pin!(consume_budget()).poll(cx);
            }
            Poll::Ready(timer.poll(cx, ends))
        });
        assert!(spent.await.is_pending());
        yield_now().await;
        timeout(3 * SECOND, poll_fn(|cx| timer.poll(cx, ends))).await.expect("woken in time");
        assert_eq!(Instant::now() - begun, SECOND);
    }
}
